//! The block device (5.2): deep queue, no copies, nothing that blocks.

use alloc::boxed::Box;

use crate::device::{self, Device};
use crate::dma::{DmaArray, DmaPool, DmaRegion, DmaSegment};
use crate::error::Error;
use crate::queue::{self, Shape, SplitQueue};
use crate::transport::{DeviceKind, Interrupt, Registers, Transport, feature};

/// Sizes of a [`Block`] driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockConfig {
    /// Requests in flight at most: 1 to 1024, rounded up to a power of two.
    pub depth: u16,
    /// Segments in one request at most: 1 to 254. Two less than a power of two wastes nothing.
    pub segments_max: u16,
}

impl Default for BlockConfig {
    /// 64 requests of 14 segments: exactly the longest ring that QEMU takes.
    fn default() -> Self {
        Self {
            depth: 64,
            segments_max: 14,
        }
    }
}

impl BlockConfig {
    /// Bytes of DMA memory that suffice for this configuration.
    #[must_use]
    pub const fn dma_len(&self) -> usize {
        let slots = (self.depth as usize).next_power_of_two();
        SplitQueue::<Pending>::dma_len(self.shape()) + slots * (size_of::<Header>() + 1) + 128
    }

    const fn shape(&self) -> Shape {
        Shape {
            depth: self.depth,
            chain_max: self.segments_max.saturating_add(2),
        }
    }

    const fn is_valid(&self) -> bool {
        matches!(self.depth, 1..=1024) && matches!(self.segments_max, 1..=254)
    }
}

/// What to do: the type of a request on the wire (5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Device to memory.
    Read = 0,
    /// Memory to device.
    Write = 1,
    /// Make all writes completed so far durable. Takes no segments; the sector is 0.
    Flush = 4,
}

/// One request. The memory it names stays the device's until its token comes back.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What to do.
    pub kind: RequestKind,
    /// First sector, in units of 512 bytes whatever the block length is.
    pub sector: u64,
    /// Where the data is, in order.
    pub segments: &'a [DmaSegment],
    /// Comes back with the completion. Any value; the driver does not look at it.
    pub token: u64,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Done.
    Ok,
    /// The device failed, or gave no answer that the standard knows.
    IoError,
    /// The device does not know the operation.
    Unsupported,
}

/// A request that has ended; its memory is the caller's again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The token of the request.
    pub token: u64,
    /// How it ended.
    pub status: Status,
    /// Bytes moved: for a read what the device says, at most what was asked; 0 on failure. Fewer
    /// than asked with [`Status::Ok`] means that the rest of the buffer was not written.
    pub bytes: u32,
}

/// What the device can do, as negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// Size of the device in sectors of 512 bytes.
    pub capacity_sectors: u64,
    /// Bytes in a logical block: requests start and end on multiples of it.
    pub block_len: u32,
    /// Segments in one request at most.
    pub segments_max: u16,
    /// Bytes in one segment at most.
    pub segment_len_max: u32,
    /// Requests in flight at most.
    pub depth: u16,
    /// Writes are refused.
    pub is_read_only: bool,
    /// The device has a write cache that [`RequestKind::Flush`] empties. Without one, a completed
    /// write is durable.
    pub has_flush: bool,
    /// How the device likes its requests, if it says so.
    pub topology: Option<Topology>,
}

/// How the device likes its requests: hints for speed (5.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Logical blocks in a physical one.
    pub physical_block_blocks: u32,
    /// Logical blocks before the first aligned one.
    pub alignment_offset_blocks: u8,
    /// Smallest good request, in logical blocks.
    pub io_min_blocks: u16,
    /// Best request, in logical blocks.
    pub io_optimal_blocks: u32,
}

/// A block device.
///
/// Dropping a `Block` frees nothing and leaves the device as it is; [`Block::release`] resets it
/// and gives everything back.
#[derive(Debug)]
pub struct Block<R> {
    device: Device<R, Live>,
}

/// What is made anew at each start of the device.
#[derive(Debug)]
struct Live {
    queue: SplitQueue<Pending>,
    headers: DmaArray<Header>,
    statuses: DmaArray<u8>,
    features: u64,
    info: BlockInfo,
}

/// `virtio_blk_req` up to the data (5.2.6): type, reserved, sector.
type Header = [u64; 2];

#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    token: u64,
    bytes: u32,
    is_read: bool,
}

impl<R: Registers> Block<R> {
    /// Takes over a device, whatever state it is in, and starts it.
    ///
    /// `memory` is at least [`BlockConfig::dma_len`] long; it is lost if this fails.
    ///
    /// # Errors
    ///
    /// [`Error::WrongDevice`], [`Error::Invalid`] for the configuration, [`Error::OutOfMemory`],
    /// or what the negotiation ended with.
    pub fn new(
        transport: Transport<R>,
        memory: DmaRegion,
        config: BlockConfig,
    ) -> Result<Self, Error> {
        if !config.is_valid() {
            return Err(Error::Invalid);
        }
        let device = Device::new(transport, memory, config)?;
        Ok(Self { device })
    }

    /// Queues a request. The device learns of it at the next [`Self::kick`].
    ///
    /// # Errors
    ///
    /// Nothing is queued if it is [`Error::Full`], [`Error::Invalid`], [`Error::OutOfRange`],
    /// [`Error::ReadOnly`] or [`Error::Unsupported`] (a flush without [`BlockInfo::has_flush`]),
    /// or if the device is stopped (the error that stopped it).
    ///
    /// # Complexity
    ///
    /// Linear in the segments; no register access, no allocation.
    pub fn submit(&mut self, request: &Request<'_>) -> Result<(), Error> {
        self.device.check()?;
        let live = &mut self.device.live;
        let slot = live.queue.vacant().ok_or(Error::Full)?;
        let at = usize::from(slot);
        live.info.check_kind(request)?;
        let is_read = request.kind == RequestKind::Read;
        let direction = if is_read { queue::WRITE } else { 0 };
        // Table and header of a vacant slot are ours: they may be written before all is checked.
        let table = live.queue.table(slot);
        let mut position = 1;
        let mut bytes = 0;
        for segment in request.segments {
            let len = segment.len();
            if len.wrapping_sub(1) >= live.info.segment_len_max {
                return Err(Error::Invalid);
            }
            bytes += u64::from(len);
            table.describe(
                position,
                segment.address().raw(),
                len,
                queue::NEXT | direction,
            );
            position += 1;
        }
        if let Some(error) = live.info.misplaced(request, bytes) {
            return Err(error);
        }
        table.describe(position, live.statuses.address(at), 1, queue::WRITE);
        live.headers
            .set_pair(at, request.kind as u64, request.sector);
        live.statuses.set(at, STATUS_NONE);
        live.queue.push(
            slot,
            position + 1,
            Pending {
                token: request.token,
                bytes: bytes as u32,
                is_read,
            },
        );
        Ok(())
    }

    /// Shows the device all requests submitted since the last call: at most one register access,
    /// and none if the device is awake and says so. Returns whether it was notified.
    ///
    /// # Errors
    ///
    /// The error that stopped the device, if it is stopped.
    pub fn kick(&mut self) -> Result<bool, Error> {
        self.device.check()?;
        let notify = self.device.live.queue.publish();
        if notify {
            self.device.transport.notify(QUEUE);
        }
        Ok(notify)
    }

    /// Acknowledges an interrupt. One register access if requests have completed; more only if
    /// the interrupt is about something else. Poll until `None` afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::NeedsReset`] if the device says so, and the error that stopped the device.
    pub fn on_interrupt(&mut self) -> Result<Interrupt, Error> {
        self.device.on_interrupt()
    }

    /// Takes one completion, in the order in which the device gave them. `None` means that an
    /// interrupt will follow the next one. At most as many come as were in flight.
    ///
    /// # Errors
    ///
    /// [`Error::PeerMisbehaved`] when the device gives back what it was not given; the device is
    /// then stopped, its completions no longer taken, until a reset. Else the error that stopped
    /// the device.
    pub fn poll_completion(&mut self) -> Result<Option<Completion>, Error> {
        self.device.check()?;
        let taken = self.device.live.queue.take();
        let Some(used) = self.device.stop_on(taken)? else {
            return Ok(None);
        };
        let Pending {
            token,
            bytes: asked,
            is_read,
        } = used.payload;
        let status = match self.device.live.statuses.get(usize::from(used.slot)) {
            STATUS_OK => Status::Ok,
            STATUS_UNSUPPORTED => Status::Unsupported,
            _ => Status::IoError,
        };
        let bytes = match (status, is_read) {
            (Status::Ok, true) => asked.min(used.written.saturating_sub(1)),
            (Status::Ok, false) => asked,
            _ => 0,
        };
        Ok(Some(Completion {
            token,
            status,
            bytes,
        }))
    }

    /// Resets the device and gives back the token of each request in flight: whether it was
    /// carried out is not known, and its memory is the caller's again. The device stays stopped,
    /// with [`Error::NeedsReset`], until [`Self::reinit`].
    ///
    /// # Errors
    ///
    /// [`Error::ResetTimeout`] if the device does not reset. No token is given back then, for the
    /// device may still use the memory.
    pub fn cancel_all_by_reset(&mut self, mut cancelled: impl FnMut(u64)) -> Result<(), Error> {
        self.device.stop()?;
        let queue = &mut self.device.live.queue;
        queue.cancel_all(|pending| cancelled(pending.token));
        Ok(())
    }

    /// Starts the device anew, on the same memory. Its capacity may have changed.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if requests are in flight: see [`Self::cancel_all_by_reset`]. Else as
    /// for [`Self::new`]; the device then stays stopped, and this may be tried again.
    pub fn reinit(&mut self) -> Result<(), Error> {
        if self.in_flight() != 0 {
            return Err(Error::Invalid);
        }
        self.device.restart()
    }

    /// [`Self::cancel_all_by_reset`], then [`Self::reinit`].
    ///
    /// # Errors
    ///
    /// As for these.
    pub fn reset_and_reinit(&mut self, cancelled: impl FnMut(u64)) -> Result<(), Error> {
        self.cancel_all_by_reset(cancelled)?;
        self.reinit()
    }

    /// Resets the device, gives back the tokens in flight, the transport and the memory.
    ///
    /// # Errors
    ///
    /// The driver itself, if the device does not reset: its memory must not be reused.
    pub fn release(
        mut self,
        cancelled: impl FnMut(u64),
    ) -> Result<(Transport<R>, DmaRegion), Box<Self>> {
        match self.cancel_all_by_reset(cancelled) {
            Ok(()) => Ok(self.device.into_parts()),
            Err(_) => Err(Box::new(self)),
        }
    }

    /// What the device can do.
    #[must_use]
    pub const fn info(&self) -> &BlockInfo {
        &self.device.live.info
    }

    /// Requests submitted and not yet given back.
    #[must_use]
    pub fn in_flight(&self) -> u16 {
        self.device.live.queue.in_flight()
    }
}

impl device::Live for Live {
    type Config = BlockConfig;

    const KIND: DeviceKind = DeviceKind::Block;

    fn start<R: Registers>(
        transport: &mut Transport<R>,
        pool: &mut DmaPool,
        config: &BlockConfig,
    ) -> Result<Self, Error> {
        let features = transport.negotiate(FEATURES | feature::COMMON, 0)?;
        let size_max = transport.queue_size_max(QUEUE)?;
        let queue = SplitQueue::new(pool, config.shape(), size_max, features)?;
        let depth = queue.depth();
        let headers = pool.array(usize::from(depth), size_of::<Header>())?;
        let statuses = pool.array(usize::from(depth), 1)?;
        let info = read_info(transport, features, depth, config)?;
        for slot in 0..depth {
            let header = headers.address(usize::from(slot));
            queue
                .table(slot)
                .describe(0, header, size_of::<Header>() as u32, queue::NEXT);
        }
        transport.start_queue(QUEUE, &queue.place());
        transport.start();
        Ok(Self {
            queue,
            headers,
            statuses,
            features,
            info,
        })
    }

    #[inline]
    fn has_used(&self) -> bool {
        self.queue.has_used()
    }

    fn on_config<R: Registers>(
        &mut self,
        transport: &Transport<R>,
        config: &BlockConfig,
    ) -> Result<(), Error> {
        self.info = read_info(transport, self.features, self.queue.depth(), config)?;
        Ok(())
    }
}

fn read_info<R: Registers>(
    transport: &Transport<R>,
    features: u64,
    depth: u16,
    config: &BlockConfig,
) -> Result<BlockInfo, Error> {
    let has = |bit: u64| features & bit != 0;
    let info = transport.read_config(|space| {
        let segments_max = if has(SEG_MAX) { space.u32(0x0c) } else { 1 };
        let segments_max = u16::try_from(segments_max).unwrap_or(u16::MAX).max(1);
        BlockInfo {
            capacity_sectors: space.u64(0x00),
            block_len: if has(BLK_SIZE) {
                space.u32(0x14)
            } else {
                SECTOR_LEN
            },
            segments_max: segments_max.min(config.segments_max),
            segment_len_max: if has(SIZE_MAX) {
                space.u32(0x08)
            } else {
                u32::MAX
            },
            depth,
            is_read_only: has(RO),
            has_flush: has(FLUSH),
            topology: has(TOPOLOGY).then(|| Topology {
                physical_block_blocks: 1u32.checked_shl(space.u8(0x18).into()).unwrap_or(1),
                alignment_offset_blocks: space.u8(0x19),
                io_min_blocks: space.u16(0x1a),
                io_optimal_blocks: space.u32(0x1c),
            }),
        }
    })?;
    let is_sane = info.block_len.is_power_of_two()
        && info.block_len >= SECTOR_LEN
        && info.segment_len_max > 0;
    if is_sane {
        Ok(info)
    } else {
        Err(Error::PeerMisbehaved)
    }
}

impl BlockInfo {
    /// Whether the device does such requests, of so many segments.
    #[inline]
    fn check_kind(&self, request: &Request<'_>) -> Result<(), Error> {
        match request.kind {
            RequestKind::Write if self.is_read_only => Err(Error::ReadOnly),
            RequestKind::Flush if !self.has_flush => Err(Error::Unsupported),
            RequestKind::Flush if !request.segments.is_empty() => Err(Error::Invalid),
            _ if request.segments.len() > usize::from(self.segments_max) => Err(Error::Invalid),
            _ => Ok(()),
        }
    }

    /// Why a request of `bytes` in all does not lie in whole blocks of the device, if so.
    #[inline]
    fn misplaced(&self, request: &Request<'_>, bytes: u64) -> Option<Error> {
        let block_mask = u64::from(self.block_len - 1);
        let sectors = bytes / u64::from(SECTOR_LEN);
        let sector_mask = block_mask / u64::from(SECTOR_LEN);
        // Only a flush has no data. With the status, one byte more is counted in 32 bits.
        let is_empty = bytes == 0;
        let is_flush = request.kind == RequestKind::Flush;
        if (bytes & block_mask) | (request.sector & sector_mask) != 0
            || is_empty != is_flush
            || is_flush && request.sector != 0
            || bytes >= u64::from(u32::MAX)
        {
            return Some(Error::Invalid);
        }
        match self.capacity_sectors.checked_sub(request.sector) {
            Some(left) if sectors <= left => None,
            _ => Some(Error::OutOfRange),
        }
    }
}

/// Bytes in a sector, the unit of [`Request::sector`].
pub const SECTOR_LEN: u32 = 512;

const QUEUE: u16 = 0;

const SIZE_MAX: u64 = 1 << 1;
const SEG_MAX: u64 = 1 << 2;
const RO: u64 = 1 << 5;
const BLK_SIZE: u64 = 1 << 6;
const FLUSH: u64 = 1 << 9;
const TOPOLOGY: u64 = 1 << 10;
const FEATURES: u64 = SIZE_MAX | SEG_MAX | RO | BLK_SIZE | FLUSH | TOPOLOGY;

const STATUS_OK: u8 = 0;
const STATUS_UNSUPPORTED: u8 = 2;
/// Not in the standard: the device has not answered.
const STATUS_NONE: u8 = 0xff;
