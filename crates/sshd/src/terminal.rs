//! What a program of a session has as standard input and output, joined to its SSH channel.

use viper_console::{Output, Terminal};
use viper_ssh::pump::{Duplex, Got};
use viper_ssh::{ChannelId, Stream};

/// One channel of a program to its terminal or streams.
#[derive(Clone, Debug)]
pub struct Seat {
    pub(crate) connection: u32,
    pub(crate) channel: ChannelId,
    pub(crate) seat: viper_console::Seat,
}

/// A terminal as the other end of an SSH channel.
pub(crate) struct Screen<'a>(pub(crate) &'a mut Terminal);

impl Duplex for Screen<'_> {
    fn get(&mut self, stream: Stream, to: &mut [u8]) -> Got {
        let output = match stream {
            Stream::Data => Output::Standard,
            Stream::Stderr => Output::Errors,
        };
        match self.0.take_out(output, to) {
            0 if self.0.is_hung_up() => Got::End,
            0 => Got::Nothing,
            count => Got::Bytes(count),
        }
    }

    fn put(&mut self, from: &[u8]) -> usize {
        let taken = self.0.feed(from);
        self.0.advance();
        taken
    }

    fn finish(&mut self) {
        self.0.end_input();
    }
}
