//! The input device (5.8): keyboards, mice, tablets.

use alloc::boxed::Box;

use crate::device::{self, Device};
use crate::dma::{DmaArray, DmaPool, DmaRegion};
use crate::error::Error;
use crate::queue::{self, Shape, SplitQueue};
use crate::transport::{DeviceKind, Interrupt, Registers, Transport, feature, reg};

/// What a user did, in the codes of Linux's `input-event-codes.h`, as the standard has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputEvent {
    /// The kind: 0 end of a report, 1 key or button, 2 relative, 3 absolute movement.
    pub kind: u16,
    /// Which key or axis.
    pub code: u16,
    /// 0 released, 1 pressed, 2 repeated; or by how much (as `i32`) or where to it moved.
    pub value: u32,
}

/// A source of input events. The device drops events while 64 wait to be polled.
///
/// Dropping an `Input` frees nothing; [`Input::release`] resets the device and gives everything
/// back.
#[derive(Debug)]
pub struct Input<R> {
    device: Device<R, Live>,
}

#[derive(Debug)]
struct Live {
    queue: SplitQueue<()>,
    /// Two words for each slot: kind and code, value.
    events: DmaArray<u32>,
}

impl<R: Registers> Input<R> {
    /// Bytes of DMA memory that suffice.
    pub const DMA_LEN: usize =
        SplitQueue::<()>::dma_len(SHAPE) + SHAPE.depth as usize * EVENT_LEN as usize + 64;

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

    /// Takes the next event. `None` means that an interrupt will follow the next one; only then is
    /// the device told, if it wants to be, that the buffers taken are free again.
    ///
    /// # Errors
    ///
    /// [`Error::PeerMisbehaved`] when the device gives back what it was not given, or less than an
    /// event; it is then stopped until a reset. Else the error that stopped the device.
    pub fn poll(&mut self) -> Result<Option<InputEvent>, Error> {
        self.device.check()?;
        let taken = self.device.live.take();
        if taken == Ok(None) && self.device.live.queue.publish() {
            self.device.transport.notify(QUEUE);
        }
        self.device.stop_on(taken)
    }

    /// Acknowledges an interrupt. Poll afterwards until `None`.
    ///
    /// # Errors
    ///
    /// [`Error::NeedsReset`] if the device says so, and the error that stopped the device.
    pub fn on_interrupt(&mut self) -> Result<Interrupt, Error> {
        self.device.on_interrupt()
    }

    /// Asks the device about itself (5.8.4): the answer to `select` and `subselect`, at the start
    /// of `out`. Select 1 is its name, 0x11 with an event kind the bit map of its codes.
    /// An answer of no bytes means that there is none. The device may raise an interrupt for the
    /// change of its configuration that a question is.
    pub fn query(&mut self, select: u8, subselect: u8, out: &mut [u8]) -> usize {
        let registers = self.device.transport.registers_mut();
        // Both in one access, of which the device ignores the rest: with one byte after the other
        // there is a question in between that it may have no answer to.
        registers.write(reg::CONFIG, u32::from(select) | u32::from(subselect) << 8);
        let len = usize::from(registers.read_u8(reg::CONFIG + 2));
        let len = len.min(ANSWER_LEN_MAX).min(out.len());
        for (i, byte) in out.iter_mut().take(len).enumerate() {
            *byte = registers.read_u8(reg::CONFIG + ANSWER + i);
        }
        len
    }

    /// Resets the device and starts it anew. Events not yet polled are lost.
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

    const KIND: DeviceKind = DeviceKind::Input;

    fn start<R: Registers>(
        transport: &mut Transport<R>,
        pool: &mut DmaPool,
        (): &(),
    ) -> Result<Self, Error> {
        let features = transport.negotiate(feature::COMMON, 0)?;
        let size_max = transport.queue_size_max(QUEUE)?;
        let queue = SplitQueue::new(pool, SHAPE, size_max, features)?;
        let events = pool.array(usize::from(queue.depth()) * 2, EVENT_LEN as usize)?;
        let mut live = Live { queue, events };
        (0..live.queue.depth()).for_each(|_| live.post());
        transport.start_queue(QUEUE, &live.queue.place());
        transport.start();
        if live.queue.publish() {
            transport.notify(QUEUE);
        }
        Ok(live)
    }

    fn has_used(&self) -> bool {
        self.queue.has_used()
    }

    fn erase(&mut self) {
        self.events.zero();
    }
}

impl Live {
    fn take(&mut self) -> Result<Option<InputEvent>, Error> {
        let Some(used) = self.queue.take()? else {
            return Ok(None);
        };
        if used.written < EVENT_LEN {
            return Err(Error::PeerMisbehaved);
        }
        let [word, value] = self.events.get_two(usize::from(used.slot) * 2);
        self.post();
        Ok(Some(InputEvent {
            kind: word as u16,
            code: (word >> 16) as u16,
            value,
        }))
    }

    /// Gives the device a buffer, if one is with us.
    fn post(&mut self) {
        let Some(slot) = self.queue.vacant() else {
            return;
        };
        let address = self.events.address(usize::from(slot) * 2);
        self.queue
            .table(slot)
            .describe(0, address, EVENT_LEN, queue::WRITE);
        self.queue.push(slot, 1, ());
    }
}

const QUEUE: u16 = 0;
const SHAPE: Shape = Shape {
    depth: 64,
    chain_max: 1,
};
const EVENT_LEN: u32 = 8;
/// Where the answers to queries are in the configuration space, and how long they may be.
const ANSWER: usize = 8;
const ANSWER_LEN_MAX: usize = 128;
