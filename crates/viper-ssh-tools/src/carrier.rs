//! What carries a session: a TCP connection, or a channel of another session.

use crate::failure::Failure;
use crate::link::Link;
use alloc::boxed::Box;
use core::time::Duration;
use viper_proto::net::client::TcpStream;
use viper_rt::Error;
use viper_rt::handle::Event as Signal;
use viper_ssh::pump::{Duplex, Got};
use viper_ssh::{ChannelId, Event, Stream};

/// A TCP connection as something that never blocks.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    lost: Option<Error>,
}

impl Socket {
    /// This connection.
    #[must_use]
    pub const fn new(stream: TcpStream) -> Socket {
        Socket { stream, lost: None }
    }

    /// Whether it broke.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// The connection.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Duplex for Socket {
    fn get(&mut self, which: Stream, to: &mut [u8]) -> Got {
        if which == Stream::Stderr || self.is_lost() {
            return Got::End;
        }
        match self.stream.try_read(to) {
            Ok(0) => Got::End,
            Ok(len) => Got::Bytes(len),
            Err(Error::WouldBlock) => Got::Nothing,
            Err(error) => {
                self.lost = Some(error);
                Got::End
            }
        }
    }

    fn put(&mut self, from: &[u8]) -> usize {
        if self.is_lost() {
            return from.len();
        }
        match self.stream.try_write(from) {
            Ok(len) => len,
            Err(Error::WouldBlock) => 0,
            Err(error) => {
                self.lost = Some(error);
                from.len()
            }
        }
    }

    fn finish(&mut self) {
        let _ = self.stream.shutdown_write();
    }
}

/// A channel through a machine on the way. What moves here moves the session with that machine.
pub struct Hop {
    link: Link,
    channel: ChannelId,
    ended: bool,
    failure: Option<Failure>,
}

impl Hop {
    /// This open channel of a session, which has no others.
    #[must_use]
    pub const fn new(link: Link, channel: ChannelId) -> Hop {
        Hop {
            link,
            channel,
            ended: false,
            failure: None,
        }
    }

    /// Lets the session go on; tells whether anything moved.
    fn turn(&mut self) -> bool {
        let went_on = self.go_on();
        went_on.unwrap_or_else(|failure| {
            self.failure = Some(failure);
            false
        })
    }

    fn go_on(&mut self) -> crate::failure::Result<bool> {
        let mut moved = self.link.pump()?;
        while let Some(event) = self.link.event()? {
            moved = true;
            self.ended |= matches!(event, Event::Eof(_) | Event::Closed(_));
        }
        Ok(moved)
    }
}

impl Duplex for Hop {
    fn get(&mut self, which: Stream, to: &mut [u8]) -> Got {
        if which == Stream::Stderr {
            return Got::End;
        }
        loop {
            let moved = self.turn();
            // A channel that is no more has nothing to read.
            match self.link.session.read(self.channel, to).unwrap_or(0) {
                0 if self.ended || self.failure.is_some() => return Got::End,
                0 if !moved => return Got::Nothing,
                0 => {}
                count => return Got::Bytes(count),
            }
        }
    }

    fn put(&mut self, from: &[u8]) -> usize {
        let sent = self.link.session.write(self.channel, from);
        self.turn();
        // What is gone takes all of it.
        sent.unwrap_or(from.len())
    }

    fn finish(&mut self) {
        let _ = self.link.session.send_eof(self.channel);
        self.turn();
    }
}

/// What carries a session.
pub enum Carrier {
    /// A TCP connection.
    Tcp(Socket),
    /// A machine on the way.
    Hop(Box<Hop>),
}

impl Carrier {
    /// Signalled when something may have changed.
    #[must_use]
    pub fn signal(&self) -> &Signal {
        match self {
            Carrier::Tcp(socket) => socket.stream().event(),
            Carrier::Hop(hop) => hop.link.carrier().signal(),
        }
    }

    /// Why it broke, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Carrier::Tcp(socket) => socket.lost.map(Failure::from),
            Carrier::Hop(hop) => hop.failure.clone(),
        }
    }

    /// When it has something to do by itself, in uptime.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self {
            Carrier::Tcp(_) => None,
            Carrier::Hop(hop) => hop.link.poll_timeout(),
        }
    }

    /// Takes leave of the machines on the way.
    pub fn close(self) {
        if let Carrier::Hop(hop) = self {
            hop.link.close();
        }
    }
}

impl Duplex for Carrier {
    fn get(&mut self, which: Stream, to: &mut [u8]) -> Got {
        match self {
            Carrier::Tcp(socket) => socket.get(which, to),
            Carrier::Hop(hop) => hop.get(which, to),
        }
    }

    fn put(&mut self, from: &[u8]) -> usize {
        match self {
            Carrier::Tcp(socket) => socket.put(from),
            Carrier::Hop(hop) => hop.put(from),
        }
    }

    fn finish(&mut self) {
        match self {
            Carrier::Tcp(socket) => socket.finish(),
            Carrier::Hop(hop) => hop.finish(),
        }
    }
}
