//! The network card (5.1): one receive and one transmit queue, frames in the caller's memory.
//!
//! The header that virtio puts before each frame lies in the driver's memory, so that clients'
//! buffers hold the frame alone and cannot be used to forge a header.

mod frames;
mod types;

use alloc::boxed::Box;

use crate::device::{self, Device};
use crate::dma::{DmaArray, DmaPool, DmaRegion, DmaSegment};
use crate::error::Error;
use crate::queue::{self, Shape, SplitQueue};
use crate::transport::{DeviceKind, Interrupt, Registers, Transport, feature};

pub use frames::{NetFrames, NetFramesConfig};
pub use types::{Cancelled, Checksum, ChecksumPlace, NetInfo, Received, Transmit};

/// Sizes of a [`Net`] driver and what it asks of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetConfig {
    /// Receive buffers posted at most: 1 to 1024, rounded up to a power of two.
    pub receive_depth: u16,
    /// Frames in transmission at most: 1 to 1024, rounded up to a power of two.
    pub transmit_depth: u16,
    /// Segments in one frame or buffer at most: 1 to 31. One less than a power of two wastes
    /// nothing.
    pub segments_max: u16,
    /// Take checksum offload in both directions, if offered. Received frames may then come
    /// without a checksum: see [`Checksum::Partial`].
    pub wants_checksum_offload: bool,
}

impl Default for NetConfig {
    /// 128 buffers each way, of up to three segments, no offload.
    fn default() -> Self {
        Self {
            receive_depth: 128,
            transmit_depth: 128,
            segments_max: 3,
            wants_checksum_offload: false,
        }
    }
}

impl NetConfig {
    /// Bytes of DMA memory that suffice for this configuration.
    #[must_use]
    pub const fn dma_len(&self) -> usize {
        Lane::dma_len(self.receive()) + Lane::dma_len(self.transmit())
    }

    const fn receive(&self) -> Shape {
        Shape {
            depth: self.receive_depth,
            chain_max: self.segments_max.saturating_add(1),
        }
    }

    const fn transmit(&self) -> Shape {
        Shape {
            depth: self.transmit_depth,
            chain_max: self.segments_max.saturating_add(1),
        }
    }

    const fn is_valid(&self) -> bool {
        matches!(self.receive_depth, 1..=1024)
            && matches!(self.transmit_depth, 1..=1024)
            && matches!(self.segments_max, 1..=31)
    }
}

/// A network card.
///
/// Dropping a `Net` frees nothing and leaves the device as it is; [`Net::release`] resets it and
/// gives everything back.
#[derive(Debug)]
pub struct Net<R> {
    device: Device<R, Live>,
}

#[derive(Debug)]
struct Live {
    receive: Lane,
    transmit: Lane,
    features: u64,
    info: NetInfo,
}

/// A queue with a header per slot.
#[derive(Debug)]
struct Lane {
    queue: SplitQueue<Pending>,
    headers: DmaArray<Header>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    token: u64,
    bytes: u32,
}

/// `virtio_net_hdr` (5.1.6), 12 bytes in 16: flags, GSO type, header length, GSO size, checksum
/// start in the first word, checksum offset and number of buffers in the second.
type Header = [u64; 2];

impl<R: Registers> Net<R> {
    /// Takes over a device, whatever state it is in, and starts it. It receives nothing before
    /// buffers are posted.
    ///
    /// `memory` is at least [`NetConfig::dma_len`] long; it is lost if this fails.
    ///
    /// # Errors
    ///
    /// [`Error::WrongDevice`], [`Error::Invalid`] for the configuration, [`Error::OutOfMemory`],
    /// or what the negotiation ended with.
    pub fn new(
        transport: Transport<R>,
        memory: DmaRegion,
        config: NetConfig,
    ) -> Result<Self, Error> {
        if !config.is_valid() {
            return Err(Error::Invalid);
        }
        let device = Device::new(transport, memory, config)?;
        Ok(Self { device })
    }

    /// Posts a buffer for one frame, of [`RECEIVE_LEN_MIN`] bytes or more. The device learns of it
    /// at the next [`Self::kick`].
    ///
    /// # Errors
    ///
    /// Nothing is posted if it is [`Error::Full`] or [`Error::Invalid`], or if the device is
    /// stopped (the error that stopped it).
    pub fn post_receive(&mut self, segments: &[DmaSegment], token: u64) -> Result<(), Error> {
        self.device.check()?;
        let bytes = self.check(segments)?;
        if bytes < RECEIVE_LEN_MIN {
            return Err(Error::Invalid);
        }
        self.device
            .live
            .receive
            .push([0, 0], segments, queue::WRITE, Pending { token, bytes })
    }

    /// Queues a frame. The device learns of it at the next [`Self::kick`].
    ///
    /// # Errors
    ///
    /// Nothing is queued if it is [`Error::Full`], [`Error::Invalid`] or [`Error::Unsupported`]
    /// (a checksum without [`NetInfo::has_transmit_checksum`]), or if the device is stopped (the
    /// error that stopped it).
    pub fn transmit(&mut self, frame: &Transmit<'_>) -> Result<(), Error> {
        self.device.check()?;
        let bytes = self.check(frame.segments)?;
        let header = match frame.checksum {
            None => [0, 0],
            Some(_) if !self.device.live.info.has_transmit_checksum => {
                return Err(Error::Unsupported);
            }
            Some(place) => {
                let at = u32::from(place.start) + u32::from(place.offset);
                if at + 2 > bytes {
                    return Err(Error::Invalid);
                }
                [
                    NEEDS_CHECKSUM | u64::from(place.start) << 48,
                    u64::from(place.offset),
                ]
            }
        };
        self.device.live.transmit.push(
            header,
            frame.segments,
            0,
            Pending {
                token: frame.token,
                bytes,
            },
        )
    }

    /// Shows the device all that was posted and queued since the last call: at most one register
    /// access for each direction.
    ///
    /// # Errors
    ///
    /// The error that stopped the device, if it is stopped.
    pub fn kick(&mut self) -> Result<(), Error> {
        self.device.check()?;
        if self.device.live.receive.queue.publish() {
            self.device.transport.notify(RECEIVE);
        }
        if self.device.live.transmit.queue.publish() {
            self.device.transport.notify(TRANSMIT);
        }
        Ok(())
    }

    /// Acknowledges an interrupt. One register access if frames have come or gone; more only if
    /// the interrupt is about something else. Poll both directions until `None` afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::NeedsReset`] if the device says so, and the error that stopped the device.
    pub fn on_interrupt(&mut self) -> Result<Interrupt, Error> {
        self.device.on_interrupt()
    }

    /// Takes one received frame. `None` means that an interrupt will follow the next one.
    ///
    /// # Errors
    ///
    /// [`Error::PeerMisbehaved`] when the device gives back what it was not given; it is then
    /// stopped until a reset. Else the error that stopped the device.
    pub fn poll_receive(&mut self) -> Result<Option<Received>, Error> {
        self.device.check()?;
        let taken = self.device.live.receive.queue.take();
        let Some(used) = self.device.stop_on(taken)? else {
            return Ok(None);
        };
        let [word, more] = self.device.live.receive.headers.get(usize::from(used.slot));
        let Pending { token, bytes } = used.payload;
        let bytes = bytes.min(used.written.saturating_sub(HEADER_LEN));
        let checksum = match word & (NEEDS_CHECKSUM | DATA_VALID) {
            _ if !self.device.live.info.has_receive_checksum => Checksum::Unknown,
            0 => Checksum::Unknown,
            DATA_VALID => Checksum::Valid,
            _ => Checksum::Partial(ChecksumPlace {
                start: (word >> 48) as u16,
                offset: more as u16,
            }),
        };
        Ok(Some(Received {
            token,
            bytes,
            checksum,
        }))
    }

    /// Takes back one frame that the device is done with, as its token. `None` means that an
    /// interrupt will follow the next one. To send without such interrupts, use
    /// [`Self::reclaim_transmit`] instead, and this only when the queue is full.
    ///
    /// # Errors
    ///
    /// As for [`Self::poll_receive`].
    pub fn poll_transmit(&mut self) -> Result<Option<u64>, Error> {
        self.device.check()?;
        let taken = self.device.live.transmit.queue.take();
        Ok(self.device.stop_on(taken)?.map(|used| used.payload.token))
    }

    /// As [`Self::poll_transmit`], without asking for an interrupt.
    ///
    /// # Errors
    ///
    /// As for [`Self::poll_receive`].
    pub fn reclaim_transmit(&mut self) -> Result<Option<u64>, Error> {
        self.device.check()?;
        if !self.device.live.transmit.queue.has_used() {
            return Ok(None);
        }
        self.poll_transmit()
    }

    /// Resets the device and gives back all tokens. It stays stopped, with [`Error::NeedsReset`],
    /// until [`Self::reinit`].
    ///
    /// # Errors
    ///
    /// [`Error::ResetTimeout`] if the device does not reset. No token is given back then, for the
    /// device may still use the memory.
    pub fn cancel_all_by_reset(
        &mut self,
        mut cancelled: impl FnMut(Cancelled),
    ) -> Result<(), Error> {
        self.device.stop()?;
        let Live {
            receive, transmit, ..
        } = &mut self.device.live;
        receive
            .queue
            .cancel_all(|pending| cancelled(Cancelled::Receive(pending.token)));
        transmit
            .queue
            .cancel_all(|pending| cancelled(Cancelled::Transmit(pending.token)));
        Ok(())
    }

    /// Starts the device anew, on the same memory.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if buffers are with the device: see [`Self::cancel_all_by_reset`]. Else
    /// as for [`Self::new`]; the device then stays stopped, and this may be tried again.
    pub fn reinit(&mut self) -> Result<(), Error> {
        if self.receiving() != 0 || self.transmitting() != 0 {
            return Err(Error::Invalid);
        }
        self.device.restart()
    }

    /// [`Self::cancel_all_by_reset`], then [`Self::reinit`].
    ///
    /// # Errors
    ///
    /// As for these.
    pub fn reset_and_reinit(&mut self, cancelled: impl FnMut(Cancelled)) -> Result<(), Error> {
        self.cancel_all_by_reset(cancelled)?;
        self.reinit()
    }

    /// Resets the device, gives back all tokens, the transport and the memory.
    ///
    /// # Errors
    ///
    /// The driver itself, if the device does not reset: its memory must not be reused.
    pub fn release(
        mut self,
        cancelled: impl FnMut(Cancelled),
    ) -> Result<(Transport<R>, DmaRegion), Box<Self>> {
        match self.cancel_all_by_reset(cancelled) {
            Ok(()) => Ok(self.device.into_parts()),
            Err(_) => Err(Box::new(self)),
        }
    }

    /// What the device is.
    #[must_use]
    pub const fn info(&self) -> &NetInfo {
        &self.device.live.info
    }

    /// Receive buffers that are with the device.
    #[must_use]
    pub fn receiving(&self) -> u16 {
        self.device.live.receive.queue.in_flight()
    }

    /// Frames that are with the device.
    #[must_use]
    pub fn transmitting(&self) -> u16 {
        self.device.live.transmit.queue.in_flight()
    }

    fn check(&self, segments: &[DmaSegment]) -> Result<u32, Error> {
        if segments.is_empty() || segments.len() > usize::from(self.device.config.segments_max) {
            return Err(Error::Invalid);
        }
        let mut bytes = 0u32;
        for segment in segments {
            if segment.is_empty() {
                return Err(Error::Invalid);
            }
            bytes = bytes.checked_add(segment.len()).ok_or(Error::Invalid)?;
        }
        if bytes > FRAME_LEN_MAX {
            Err(Error::Invalid)
        } else {
            Ok(bytes)
        }
    }
}

impl device::Live for Live {
    type Config = NetConfig;

    const KIND: DeviceKind = DeviceKind::Net;

    fn start<R: Registers>(
        transport: &mut Transport<R>,
        pool: &mut DmaPool,
        config: &NetConfig,
    ) -> Result<Self, Error> {
        let offload = if config.wants_checksum_offload {
            CSUM | GUEST_CSUM
        } else {
            0
        };
        let wanted = MAC | STATUS | MTU | offload | feature::COMMON;
        let features = transport.negotiate(wanted, 0)?;
        let size_max = transport.queue_size_max(RECEIVE)?;
        let receive = Lane::new(pool, config.receive(), size_max, features, queue::WRITE)?;
        let size_max = transport.queue_size_max(TRANSMIT)?;
        let transmit = Lane::new(pool, config.transmit(), size_max, features, 0)?;
        let info = read_info(transport, features, &receive, &transmit, config)?;
        transport.start_queue(RECEIVE, &receive.queue.place());
        transport.start_queue(TRANSMIT, &transmit.queue.place());
        transport.start();
        Ok(Self {
            receive,
            transmit,
            features,
            info,
        })
    }

    #[inline]
    fn has_used(&self) -> bool {
        self.receive.queue.has_used() || self.transmit.queue.has_used()
    }

    fn on_config<R: Registers>(
        &mut self,
        transport: &Transport<R>,
        config: &NetConfig,
    ) -> Result<(), Error> {
        let (receive, transmit) = (&self.receive, &self.transmit);
        self.info = read_info(transport, self.features, receive, transmit, config)?;
        Ok(())
    }
}

fn read_info<R: Registers>(
    transport: &Transport<R>,
    features: u64,
    receive: &Lane,
    transmit: &Lane,
    config: &NetConfig,
) -> Result<NetInfo, Error> {
    let has = |bit: u64| features & bit != 0;
    let info = transport.read_config(|space| NetInfo {
        mac: has(MAC).then(|| core::array::from_fn(|i| space.u8(i))),
        mtu: has(MTU).then(|| space.u16(10)),
        is_link_up: !has(STATUS) || space.u16(6) & LINK_UP != 0,
        has_transmit_checksum: has(CSUM),
        has_receive_checksum: has(GUEST_CSUM),
        receive_depth: receive.queue.depth(),
        transmit_depth: transmit.queue.depth(),
        segments_max: config.segments_max,
    })?;
    match info.mtu {
        Some(mtu) if mtu < MTU_MIN => Err(Error::PeerMisbehaved),
        _ => Ok(info),
    }
}

impl Lane {
    const fn dma_len(shape: Shape) -> usize {
        let slots = (shape.depth as usize).next_power_of_two();
        SplitQueue::<Pending>::dma_len(shape) + slots * size_of::<Header>() + 64
    }

    fn new(
        pool: &mut DmaPool,
        shape: Shape,
        size_max: u16,
        features: u64,
        direction: u16,
    ) -> Result<Self, Error> {
        let queue = SplitQueue::new(pool, shape, size_max, features)?;
        let headers: DmaArray<Header> = pool.array(queue.depth().into(), size_of::<Header>())?;
        for slot in 0..queue.depth() {
            let header = headers.address(slot.into());
            queue
                .table(slot)
                .describe(0, header, HEADER_LEN, queue::NEXT | direction);
        }
        Ok(Self { queue, headers })
    }

    fn push(
        &mut self,
        header: Header,
        segments: &[DmaSegment],
        direction: u16,
        pending: Pending,
    ) -> Result<(), Error> {
        let slot = self.queue.vacant().ok_or(Error::Full)?;
        let (last, others) = segments.split_last().ok_or(Error::Invalid)?;
        let [first, second] = header;
        self.headers.set_pair(slot.into(), first, second);
        let table = self.queue.table(slot);
        let mut position = 1;
        for segment in others {
            let address = segment.address().raw();
            table.describe(position, address, segment.len(), queue::NEXT | direction);
            position += 1;
        }
        table.describe(position, last.address().raw(), last.len(), direction);
        self.queue.push(slot, position + 1, pending);
        Ok(())
    }
}

/// Bytes that a receive buffer holds at least: a full Ethernet frame (5.1.6.3.1).
pub const RECEIVE_LEN_MIN: u32 = 1514;

/// Bytes in a frame or buffer at most.
pub const FRAME_LEN_MAX: u32 = 65_550;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;
const HEADER_LEN: u32 = 12;

const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
const MTU: u64 = 1 << 3;
const MAC: u64 = 1 << 5;
const STATUS: u64 = 1 << 16;

const LINK_UP: u16 = 1;
/// The least that the standard lets a device say (5.1.4.1).
const MTU_MIN: u16 = 68;
const NEEDS_CHECKSUM: u64 = 1;
const DATA_VALID: u64 = 2;
