//! The console server: one terminal, many clients.

use crate::pl011::Pl011;
use viper_console::{Output, Seat, SeatKind, Terminal};
use viper_proto::console::{self, Mode, Serve, Size};
use viper_rt::Error;
use viper_rt::abi::Signals;
use viper_rt::handle::{Channel, Interrupt};
use viper_rt::message::{Bytes, Reader};
use viper_rt::server::{Answer, Deferrable, NewClient, Outcome, Service, Sources};

const CLIENT_DEPTH: u32 = 8;
const UART_KEY: u32 = 1;
/// A serial line does not tell its size; this is what terminals agree on.
const SIZE: Size = Size {
    columns: 80,
    rows: 24,
};

/// The console.
#[derive(Debug)]
pub struct Console {
    uart: Pl011,
    interrupt: Interrupt,
    sources: Sources<Seat>,
    terminal: Terminal,
    seats: u64,
}

impl Console {
    /// A console on this UART.
    ///
    /// # Errors
    /// Those of taking its interrupt.
    pub fn new(uart: Pl011, sources: Sources<Seat>) -> Result<Console, Error> {
        let interrupt = uart.registers().device().interrupt(0)?;
        sources.watch(&interrupt, UART_KEY, Signals::INTERRUPT)?;
        Ok(Console {
            uart,
            interrupt,
            sources,
            terminal: Terminal::new(Some(SIZE)),
            seats: 0,
        })
    }

    fn seat(&mut self) -> Seat {
        self.seats += 1;
        Seat {
            id: self.seats,
            kind: SeatKind::Terminal,
        }
    }

    /// Moves everything that can move between the UART and the clients.
    fn pump(&mut self) {
        while self.terminal.room() > 0 {
            let Some(byte) = self.uart.read() else { break };
            self.terminal.feed(&[byte]);
        }
        self.terminal.advance();
        // What has gone out makes room for writers.
        while self.send() {
            self.terminal.advance();
        }
        self.uart.want_room(!self.terminal.is_quiet());
    }

    /// Gives the UART what it takes; tells whether that was anything.
    fn send(&mut self) -> bool {
        let mut has_sent = false;
        loop {
            let pending = self.terminal.pending(Output::Standard);
            let mut bytes = pending.iter();
            let count = bytes
                .position(|byte| !self.uart.write(*byte))
                .unwrap_or(pending.len());
            if count == 0 {
                return has_sent;
            }
            self.terminal.sent(Output::Standard, count);
            has_sent = true;
        }
    }
}

impl Service for Console {
    type Client = Seat;

    fn connect(&mut self, _: NewClient) -> Result<Seat, Error> {
        Ok(self.seat())
    }

    fn request(&mut self, seat: &mut Seat, request: Reader) -> Answer {
        console::dispatch(self, seat, request)
    }

    fn disconnect(&mut self, seat: Seat) {
        self.terminal.leave(&seat);
        self.pump();
    }

    fn signal(&mut self, key: u32, _: Signals) {
        if key == UART_KEY {
            self.uart.acknowledge();
            self.pump();
            let _ = self.interrupt.acknowledge();
        }
    }

    fn deadline(&self) -> u64 {
        self.terminal.deadline()
    }

    fn timeout(&mut self) {
        self.pump();
    }

    fn stop(&mut self) {
        while !self.terminal.is_quiet() {
            self.send();
        }
    }
}

impl Serve for Console {
    type Client = Seat;

    fn read(
        &mut self,
        seat: &mut Seat,
        call: Deferrable<Bytes>,
        max: u32,
        deadline: u64,
    ) -> Outcome<Bytes> {
        let outcome = self.terminal.read(seat, call, max, deadline);
        if matches!(outcome, Outcome::Later) {
            self.pump();
        }
        outcome
    }

    fn write(&mut self, seat: &mut Seat, call: Deferrable<u32>, bytes: Bytes) -> Outcome<u32> {
        let outcome = self.terminal.write(seat, call, bytes);
        self.pump();
        outcome
    }

    fn set_mode(&mut self, seat: &mut Seat, mode: Mode) -> Result<Mode, Error> {
        let before = self.terminal.set_mode(seat, mode);
        self.pump();
        before
    }

    fn size(&mut self, _: &mut Seat) -> Result<Size, Error> {
        self.terminal.size()
    }

    fn drain(&mut self, seat: &mut Seat, call: Deferrable<()>) -> Outcome<()> {
        self.pump();
        self.terminal.drain(seat, call)
    }

    fn interrupt(&mut self, seat: &mut Seat, call: Deferrable<()>) -> Outcome<()> {
        self.terminal.interrupt(seat, call)
    }

    fn foreground(&mut self, seat: &mut Seat) -> Result<(), Error> {
        self.terminal.foreground(seat);
        Ok(())
    }

    fn duplicate(&mut self, _: &mut Seat) -> Result<Channel, Error> {
        let (ours, theirs) = Channel::pair(CLIENT_DEPTH)?;
        let seat = self.seat();
        self.sources.adopt(ours, seat);
        Ok(theirs)
    }
}

#[cfg(test)]
mod tests;
