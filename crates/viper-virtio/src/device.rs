//! What every driver has: a device behind its transport, the memory they share, and what stopped it.

use crate::dma::{DmaPool, DmaRegion};
use crate::error::Error;
use crate::transport::{DeviceKind, Interrupt, Registers, Transport};

/// What a driver makes anew at each start of its device.
pub(crate) trait Live: Sized {
    /// What the driver was told when it was made.
    type Config;

    /// The only kind of device that will do.
    const KIND: DeviceKind;

    /// Negotiates, lays out queues and starts the device, which has been reset.
    fn start<R: Registers>(
        transport: &mut Transport<R>,
        pool: &mut DmaPool,
        config: &Self::Config,
    ) -> Result<Self, Error>;

    /// Whether the device has given something back that has not been taken.
    fn has_used(&self) -> bool;

    /// The device says that its configuration has changed.
    fn on_config<R: Registers>(
        &mut self,
        _transport: &Transport<R>,
        _config: &Self::Config,
    ) -> Result<(), Error> {
        Ok(())
    }

    /// Erases what nobody else should read, before the memory is given back.
    fn erase(&mut self) {}
}

/// A device that a driver has taken over.
#[derive(Debug)]
pub(crate) struct Device<R, L: Live> {
    pub(crate) transport: Transport<R>,
    pub(crate) config: L::Config,
    pub(crate) live: L,
    pool: DmaPool,
    /// Why the device is stopped, if it is.
    state: Result<(), Error>,
}

impl<R: Registers, L: Live> Device<R, L> {
    /// Takes over a device, whatever state it is in, and starts it.
    pub(crate) fn new(
        mut transport: Transport<R>,
        memory: DmaRegion,
        config: L::Config,
    ) -> Result<Self, Error> {
        if transport.kind() != L::KIND {
            return Err(Error::WrongDevice);
        }
        let mut pool = DmaPool::new(memory);
        let live = L::start(&mut transport, &mut pool, &config)?;
        Ok(Self {
            transport,
            config,
            live,
            pool,
            state: Ok(()),
        })
    }

    /// The error that stopped the device, if it is stopped.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.state
    }

    /// Lets an error stop the device.
    #[inline]
    pub(crate) fn stop_on<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = outcome {
            self.state = Err(error);
        }
        outcome
    }

    /// Acknowledges an interrupt: one register access if something was given back, more only if
    /// the interrupt is about something else.
    #[inline]
    pub(crate) fn on_interrupt(&mut self) -> Result<Interrupt, Error> {
        self.state?;
        if self.live.has_used() {
            return Ok(self.transport.acknowledge_completions());
        }
        let interrupt = self.transport.acknowledge_any();
        if interrupt.config_changed {
            let outcome = if self.transport.needs_reset() {
                Err(Error::NeedsReset)
            } else {
                self.live.on_config(&self.transport, &self.config)
            };
            self.stop_on(outcome)?;
        }
        Ok(interrupt)
    }

    /// Resets the device, which lets go of all memory. It stays stopped.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        self.state = Err(Error::NeedsReset);
        self.transport.reset()
    }

    /// Starts the device anew, on the same memory.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        // The device lets go of the old rings before new ones are laid over them.
        self.stop()?;
        self.pool.rewind();
        self.live = L::start(&mut self.transport, &mut self.pool, &self.config)?;
        self.state = Ok(());
        Ok(())
    }

    /// Gives back transport and memory of a device that [`stop`](Self::stop) has reset.
    pub(crate) fn into_parts(mut self) -> (Transport<R>, DmaRegion) {
        self.live.erase();
        drop(self.live);
        (self.transport, self.pool.into_region())
    }
}
