//! The operations of the console protocol. Those that may have to wait are answered by
//! [`Terminal::advance`], [`Terminal::interrupt_now`], or never if their client goes.

use crate::terminal::{Output, ReadRequest, Seat, SeatKind, Terminal, WriteRequest};
use alloc::vec::Vec;
use viper_proto::console::{Mode, Size};
use viper_proto::stream::CHUNK_MAX;
use viper_rt::message::Bytes;
use viper_rt::server::{Deferrable, Outcome, Pending};
use viper_rt::{Error, clock};

/// Calls of one kind that wait, at most.
const WAITING_MAX: usize = 64;

impl Terminal {
    /// Reads at most `max` bytes, waiting for the first.
    ///
    /// [`Error::InvalidArgument`] for another `max` than the protocol has, [`Error::NoRight`] on a
    /// seat to write on, [`Error::TimedOut`], [`Error::LimitReached`].
    pub fn read(
        &mut self,
        seat: &Seat,
        call: Deferrable<Bytes>,
        max: u32,
        deadline: u64,
    ) -> Outcome<Bytes> {
        let max = max as usize;
        if !(1..=CHUNK_MAX).contains(&max) {
            return Outcome::Now(Err(Error::InvalidArgument));
        }
        if !matches!(seat.kind, SeatKind::Terminal | SeatKind::Input) {
            return Outcome::Now(Err(Error::NoRight));
        }
        if self.readers.is_empty()
            && let Some(bytes) = self.take(max)
        {
            return Outcome::Now(Ok(bytes));
        }
        if deadline <= clock::now() {
            return Outcome::Now(Err(Error::TimedOut));
        }
        if self.readers.len() >= WAITING_MAX {
            return Outcome::Now(Err(Error::LimitReached));
        }
        match call.detach() {
            Ok(pending) => {
                self.readers.push_back(ReadRequest {
                    seat: seat.id,
                    max,
                    deadline,
                    pending,
                });
                Outcome::Later
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    /// Writes; waits while too much is pending.
    ///
    /// [`Error::NoRight`] on a seat to read on, [`Error::LimitReached`].
    pub fn write(&mut self, seat: &Seat, call: Deferrable<u32>, bytes: Bytes) -> Outcome<u32> {
        let to = match seat.kind {
            SeatKind::Terminal | SeatKind::Output => Output::Standard,
            SeatKind::Errors => Output::Errors,
            SeatKind::Input => return Outcome::Now(Err(Error::NoRight)),
        };
        if bytes.is_empty() {
            return Outcome::Now(Ok(0));
        }
        if self.writers.is_empty() && self.accepts_output(to) {
            return Outcome::Now(Ok(self.put_out(to, &bytes)));
        }
        if self.writers.len() >= WAITING_MAX {
            return Outcome::Now(Err(Error::LimitReached));
        }
        match call.detach() {
            Ok(pending) => {
                self.writers.push_back(WriteRequest {
                    seat: seat.id,
                    to,
                    bytes,
                    pending,
                });
                Outcome::Later
            }
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    /// Sets how input is treated. Returns how it was.
    ///
    /// # Errors
    /// [`Error::NotSupported`] where there is no terminal.
    pub fn set_mode(&mut self, seat: &Seat, mode: Mode) -> Result<Mode, Error> {
        self.size()?;
        let before = self.mode;
        self.mode_owner = (mode != Mode::COOKED).then_some(seat.id);
        if mode != before {
            self.apply(mode);
            self.advance();
        }
        Ok(before)
    }

    /// Its size.
    ///
    /// # Errors
    /// [`Error::NotSupported`] where there is no terminal.
    pub fn size(&self) -> Result<Size, Error> {
        self.known_size().ok_or(Error::NotSupported)
    }

    /// Waits until everything written went out.
    pub fn drain(&mut self, seat: &Seat, call: Deferrable<()>) -> Outcome<()> {
        if self.is_quiet() && self.writers.is_empty() {
            return Outcome::Now(Ok(()));
        }
        wait(&mut self.drains, seat, call)
    }

    /// Waits for control-C.
    ///
    /// [`Error::Busy`] if this seat waits for it already.
    pub fn interrupt(&mut self, seat: &Seat, call: Deferrable<()>) -> Outcome<()> {
        if self.watchers.iter().any(|w| w.0 == seat.id) {
            return Outcome::Now(Err(Error::Busy));
        }
        wait(&mut self.watchers, seat, call)
    }

    /// This seat reads before the others, until it is left.
    pub fn foreground(&mut self, seat: &Seat) {
        self.foreground.retain(|id| *id != seat.id);
        self.foreground.push(seat.id);
    }
}

fn wait(list: &mut Vec<(u64, Pending<()>)>, seat: &Seat, call: Deferrable<()>) -> Outcome<()> {
    if list.len() >= WAITING_MAX {
        return Outcome::Now(Err(Error::LimitReached));
    }
    match call.detach() {
        Ok(pending) => {
            list.push((seat.id, pending));
            Outcome::Later
        }
        Err(error) => Outcome::Now(Err(error)),
    }
}
