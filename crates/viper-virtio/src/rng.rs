//! The entropy device (5.4).

use alloc::boxed::Box;

use crate::device::{self, Device};
use crate::dma::{DmaArray, DmaPool, DmaRegion};
use crate::error::Error;
use crate::queue::{self, Shape, SplitQueue};
use crate::transport::{DeviceKind, Interrupt, Registers, Transport, feature};

/// An entropy source: ask with [`Rng::request`], take with [`Rng::poll`]. One request at a time.
///
/// Dropping an `Rng` frees nothing; [`Rng::release`] resets the device and gives everything back.
#[derive(Debug)]
pub struct Rng<R> {
    device: Device<R, Live>,
}

#[derive(Debug)]
struct Live {
    /// Carries the number of bytes asked for.
    queue: SplitQueue<u32>,
    buffer: DmaArray<u8>,
}

impl<R: Registers> Rng<R> {
    /// Bytes that one request brings at most.
    pub const REQUEST_LEN_MAX: usize = REQUEST_LEN_MAX;

    /// Bytes of DMA memory that suffice.
    pub const DMA_LEN: usize = SplitQueue::<u32>::dma_len(SHAPE) + Self::REQUEST_LEN_MAX + 64;

    /// Takes over a device, whatever state it is in, and starts it.
    ///
    /// `memory` is at least [`Self::DMA_LEN`] long; it is lost if this fails.
    ///
    /// # Errors
    ///
    /// [`Error::WrongDevice`], [`Error::OutOfMemory`], or what the negotiation ended with.
    pub fn new(transport: Transport<R>, memory: DmaRegion) -> Result<Self, Error> {
        let device = Device::new(transport, memory, ())?;
        Ok(Self { device })
    }

    /// Asks for up to `len` bytes (at most [`Self::REQUEST_LEN_MAX`]) and notifies the device.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] while a request is in flight, [`Error::Invalid`] for a length of zero, and
    /// the error that stopped the device.
    pub fn request(&mut self, len: usize) -> Result<(), Error> {
        self.device.check()?;
        if len == 0 {
            return Err(Error::Invalid);
        }
        let Live { queue, buffer } = &mut self.device.live;
        if queue.in_flight() != 0 {
            return Err(Error::Full);
        }
        let len = len.min(REQUEST_LEN_MAX) as u32;
        let slot = queue.vacant().ok_or(Error::Full)?;
        queue
            .table(slot)
            .describe(0, buffer.address(0), len, queue::WRITE);
        queue.push(slot, 1, len);
        if queue.publish() {
            self.device.transport.notify(QUEUE);
        }
        Ok(())
    }

    /// Takes what a completed request brought, and erases the driver's copy. Returns the number of
    /// bytes, at the start of `out`; what does not fit into `out` is lost. `None` means that
    /// nothing has come, and that an interrupt will tell when it does if a request is in flight.
    ///
    /// # Errors
    ///
    /// [`Error::PeerMisbehaved`] when the device gives back what it was not given, or says that it
    /// brought more than was asked (or nothing): its bytes cannot be trusted to be random. The
    /// device is then stopped until a reset. Else the error that stopped the device.
    pub fn poll(&mut self, out: &mut [u8]) -> Result<Option<usize>, Error> {
        self.device.check()?;
        let taken = self.device.live.take();
        let Some(len) = self.device.stop_on(taken)? else {
            return Ok(None);
        };
        let buffer = &mut self.device.live.buffer;
        let kept = len.min(out.len());
        for (i, byte) in out.iter_mut().take(kept).enumerate() {
            *byte = buffer.get(i);
        }
        buffer.zero();
        Ok(Some(kept))
    }

    /// Acknowledges an interrupt. Poll afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::NeedsReset`] if the device says so, and the error that stopped the device.
    pub fn on_interrupt(&mut self) -> Result<Interrupt, Error> {
        self.device.on_interrupt()
    }

    /// Resets the device and starts it anew. A request in flight is forgotten.
    ///
    /// # Errors
    ///
    /// As for [`Self::new`]; the device then stays stopped, and this may be tried again.
    pub fn reset_and_reinit(&mut self) -> Result<(), Error> {
        self.device.restart()
    }

    /// Resets the device and gives back transport and memory.
    ///
    /// # Errors
    ///
    /// The driver itself, if the device does not reset: its memory must not be reused.
    pub fn release(mut self) -> Result<(Transport<R>, DmaRegion), Box<Self>> {
        match self.device.stop() {
            Ok(()) => Ok(self.device.into_parts()),
            Err(_) => Err(Box::new(self)),
        }
    }
}

impl device::Live for Live {
    type Config = ();

    const KIND: DeviceKind = DeviceKind::Rng;

    fn start<R: Registers>(
        transport: &mut Transport<R>,
        pool: &mut DmaPool,
        (): &(),
    ) -> Result<Self, Error> {
        let features = transport.negotiate(feature::COMMON, 0)?;
        let size_max = transport.queue_size_max(QUEUE)?;
        let queue = SplitQueue::new(pool, SHAPE, size_max, features)?;
        let buffer = pool.array(REQUEST_LEN_MAX, 64)?;
        transport.start_queue(QUEUE, &queue.place());
        transport.start();
        Ok(Self { queue, buffer })
    }

    fn has_used(&self) -> bool {
        self.queue.has_used()
    }

    fn erase(&mut self) {
        self.buffer.zero();
    }
}

impl Live {
    fn take(&mut self) -> Result<Option<usize>, Error> {
        let Some(used) = self.queue.take()? else {
            return Ok(None);
        };
        if used.written == 0 || used.written > used.payload {
            return Err(Error::PeerMisbehaved);
        }
        Ok(Some(used.written as usize))
    }
}

const REQUEST_LEN_MAX: usize = 256;
const QUEUE: u16 = 0;
const SHAPE: Shape = Shape {
    depth: 1,
    chain_max: 1,
};
