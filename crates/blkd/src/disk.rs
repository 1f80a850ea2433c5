//! What the server needs of a disk: the driver's interface, so that tests can put another below.

use viper_virtio::{Block, BlockInfo, Completion, Error, Registers, Request};

/// A disk with a queue.
pub trait Disk {
    /// What it can do.
    fn info(&self) -> BlockInfo;

    /// Requests submitted and not yet given back.
    fn in_flight(&self) -> u16;

    /// Queues a request.
    ///
    /// # Errors
    /// As [`Block::submit`].
    fn submit(&mut self, request: &Request<'_>) -> Result<(), Error>;

    /// Shows the device what was queued.
    ///
    /// # Errors
    /// The error that stopped the device.
    fn kick(&mut self) -> Result<(), Error>;

    /// Acknowledges an interrupt.
    ///
    /// # Errors
    /// As [`Block::on_interrupt`].
    fn on_interrupt(&mut self) -> Result<(), Error>;

    /// Takes one completion.
    ///
    /// # Errors
    /// As [`Block::poll_completion`].
    fn poll_completion(&mut self) -> Result<Option<Completion>, Error>;

    /// Resets the device, passes on the tokens in flight, and starts it anew.
    ///
    /// # Errors
    /// As [`Block::reset_and_reinit`].
    fn restart(&mut self, cancelled: &mut dyn FnMut(u64)) -> Result<(), Error>;
}

impl<R: Registers> Disk for Block<R> {
    fn info(&self) -> BlockInfo {
        *Block::info(self)
    }

    fn in_flight(&self) -> u16 {
        Block::in_flight(self)
    }

    fn submit(&mut self, request: &Request<'_>) -> Result<(), Error> {
        Block::submit(self, request)
    }

    fn kick(&mut self) -> Result<(), Error> {
        Block::kick(self).map(|_| ())
    }

    fn on_interrupt(&mut self) -> Result<(), Error> {
        Block::on_interrupt(self).map(|_| ())
    }

    fn poll_completion(&mut self) -> Result<Option<Completion>, Error> {
        Block::poll_completion(self)
    }

    fn restart(&mut self, cancelled: &mut dyn FnMut(u64)) -> Result<(), Error> {
        self.reset_and_reinit(cancelled)
    }
}
