//! The split virtqueue (2.7), with one fixed table of descriptors per request slot.
//!
//! A slot is a place for one request in flight. Its table lies in the ring itself (direct chains)
//! when the device's ring is long enough for all slots, and else in memory of its own (indirect
//! tables). Links never change, so a request costs two stores per descriptor and no free list walk.
//!
//! Nothing the device writes is believed: see [`SplitQueue::take`].

use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};

use crate::dma::{DmaArray, DmaPool};
use crate::error::Error;
use crate::transport::{QueuePlace, feature};

/// How many requests may be in flight, of how many descriptors each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) depth: u16,
    pub(crate) chain_max: u16,
}

/// A request that the device has given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used<T> {
    pub(crate) slot: u16,
    pub(crate) payload: T,
    /// Bytes that the device says it wrote. Unchecked: clamp it to what it could write.
    pub(crate) written: u32,
}

/// The descriptors of one request.
#[derive(Debug)]
pub(crate) struct Table {
    cells: DmaArray<[u64; 2]>,
    first: usize,
    link_mask: u16,
}

impl Table {
    /// Writes descriptor `position`. All but the last of a request carry [`NEXT`].
    #[inline]
    pub(crate) fn describe(&self, position: u16, address: u64, len: u32, flags: u16) {
        let cell = self.first + usize::from(position);
        let next = (cell as u16 & self.link_mask).wrapping_add(1);
        let rest = descriptor_rest(len, flags, next);
        self.cells.set_pair(cell, address, rest);
    }
}

/// What the driver remembers of a slot, in memory the device cannot reach.
#[derive(Clone, Copy, Debug)]
struct Slot<T> {
    payload: T,
    /// How many requests were queued before it, ever, or [`VACANT`]. A request may stay in flight
    /// while a ring's 16-bit index wraps around, so this one is wider.
    position: u64,
}

/// A queue whose requests carry a `T` each.
#[derive(Debug)]
pub(crate) struct SplitQueue<T> {
    size: u16,
    descriptors: DmaArray<[u64; 2]>,
    available: DmaArray<u16>,
    used: DmaArray<u32>,
    /// The tables of the slots: a view of `descriptors`, or memory of their own.
    cells: DmaArray<[u64; 2]>,
    is_indirect: bool,
    stride_shift: u32,
    /// From a slot to the id that the device knows it by: that of its first descriptor.
    head_shift: u32,
    /// From a cell to its place in the table that its links count in.
    link_mask: u16,
    slots: Vec<Slot<T>>,
    /// The vacant slots: the first `vacant` elements.
    free: Vec<u16>,
    vacant: usize,
    /// Requests ever queued; `published` follows when the device is told. The rings' indices are
    /// the low 16 bits.
    pushed: u64,
    published: u64,
    /// Requests published and not yet taken back.
    waiting: u16,
    last_used: u16,
    used_seen: u16,
    event_index: bool,
    /// Completion index for which an interrupt was last asked.
    armed: u16,
}

impl<T: Copy + Default> SplitQueue<T> {
    /// Bytes of DMA memory that suffice for a queue of this shape, whatever the device offers.
    pub(crate) const fn dma_len(shape: Shape) -> usize {
        let depth = (shape.depth as usize).next_power_of_two();
        let cells = depth * (shape.chain_max as usize).next_power_of_two();
        (cells + depth) * DESCRIPTOR_LEN
            + (cells + RING_EXTRA) * 2
            + (cells + 1) * 8
            + 4 * CACHE_LINE
    }

    /// Carves a queue out of `pool`: at most as deep as `shape` says, less if the device's ring
    /// (of at most `size_max`) is short and it takes no indirect tables.
    pub(crate) fn new(
        pool: &mut DmaPool,
        shape: Shape,
        size_max: u16,
        features: u64,
    ) -> Result<Self, Error> {
        let ring_max = usize::from(floor_power_of_two(size_max).ok_or(Error::QueueUnavailable)?);
        let stride = usize::from(shape.chain_max).next_power_of_two();
        let wished = usize::from(shape.depth.clamp(1, DEPTH_MAX)).next_power_of_two();
        let indirect = wished * stride > ring_max && features & feature::INDIRECT != 0;
        let depth = wished.min(if indirect {
            ring_max
        } else {
            ring_max / stride
        });
        if depth == 0 {
            return Err(Error::QueueUnavailable);
        }
        let size = if indirect { depth } else { depth * stride };
        let descriptors: DmaArray<[u64; 2]> = pool.array(size, CACHE_LINE)?;
        let cells = if indirect {
            pool.array(depth * stride, CACHE_LINE)?
        } else {
            descriptors.alias()
        };
        let stride_shift = stride.trailing_zeros();
        let mut queue = Self {
            size: size as u16,
            descriptors,
            cells,
            is_indirect: indirect,
            stride_shift,
            head_shift: if indirect { 0 } else { stride_shift },
            link_mask: if indirect {
                stride as u16 - 1
            } else {
                u16::MAX
            },
            available: pool.array(size + RING_EXTRA, CACHE_LINE)?,
            used: pool.array(size * 2 + 2, CACHE_LINE)?,
            slots: Vec::new(),
            free: Vec::new(),
            vacant: depth,
            pushed: 0,
            published: 0,
            waiting: 0,
            last_used: 0,
            used_seen: 0,
            event_index: features & feature::EVENT_INDEX != 0,
            armed: 0,
        };
        queue
            .slots
            .try_reserve_exact(depth)
            .map_err(|_| Error::OutOfMemory)?;
        queue
            .free
            .try_reserve_exact(depth)
            .map_err(|_| Error::OutOfMemory)?;
        queue.slots.resize(
            depth,
            Slot {
                payload: T::default(),
                position: VACANT,
            },
        );
        queue.free.extend((0..depth as u16).rev());
        Ok(queue)
    }

    pub(crate) fn place(&self) -> QueuePlace {
        QueuePlace {
            size: self.size,
            descriptors: self.descriptors.base(),
            available: self.available.base(),
            used: self.used.base(),
        }
    }

    pub(crate) fn depth(&self) -> u16 {
        self.slots.len() as u16
    }

    pub(crate) fn in_flight(&self) -> u16 {
        (self.slots.len() - self.vacant) as u16
    }

    /// A slot that may be described. It is taken by [`Self::push`].
    #[inline]
    pub(crate) fn vacant(&self) -> Option<u16> {
        self.free.get(self.vacant.wrapping_sub(1)).copied()
    }

    /// The table of `slot`. What is written there does not count before [`Self::push`].
    #[inline]
    pub(crate) fn table(&self, slot: u16) -> Table {
        Table {
            cells: self.cells.alias(),
            first: usize::from(slot) << self.stride_shift,
            link_mask: self.link_mask,
        }
    }

    /// Queues the `count` descriptors of the vacant `slot`. The device learns of it at the next
    /// [`Self::publish`].
    #[inline]
    pub(crate) fn push(&mut self, slot: u16, count: u16, payload: T) {
        debug_assert_eq!(self.vacant(), Some(slot));
        let Some(state) = self.slots.get_mut(usize::from(slot)) else {
            return;
        };
        *state = Slot {
            payload,
            position: self.pushed,
        };
        self.vacant -= 1;
        if self.is_indirect {
            let table = self.cells.address(usize::from(slot) << self.stride_shift);
            let len = u32::from(count) * DESCRIPTOR_LEN as u32;
            let rest = descriptor_rest(len, INDIRECT, 0);
            self.descriptors.set_pair(usize::from(slot), table, rest);
        }
        let head = slot << self.head_shift;
        let entry = usize::from(self.pushed as u16 & (self.size - 1));
        self.available.set(AVAILABLE_RING + entry, head);
        self.pushed += 1;
    }

    /// Shows the device all that was pushed, and says whether it wants to be notified.
    #[inline]
    pub(crate) fn publish(&mut self) -> bool {
        let batch = (self.pushed - self.published) as u16;
        if batch == 0 {
            return false;
        }
        let new = self.pushed as u16;
        self.available.store_release(AVAILABLE_INDEX, new);
        self.published = self.pushed;
        self.waiting += batch;
        // The index must be visible before the device's wish is read (2.7.13.4.1). A fence among
        // processors does: without ORDER_PLATFORM the device is as one of them (6.3).
        fence(Ordering::SeqCst);
        if self.event_index {
            let event = self.used.get(usize::from(self.size) * 2 + 1) as u16;
            new.wrapping_sub(event).wrapping_sub(1) < batch
        } else {
            self.used.get(0) as u16 & USED_NO_NOTIFY == 0
        }
    }

    /// Whether the device has given back something not yet taken. Reads memory only.
    #[inline]
    pub(crate) fn has_used(&self) -> bool {
        self.used_index() != self.last_used
    }

    /// Takes one request back. `None` also asks for an interrupt at the next completion.
    ///
    /// The index may not run ahead of what is in flight, so a caller that takes until `None` ends
    /// after at most `depth` rounds without new submissions. The id must be the head of a request
    /// that is in flight and was shown to the device.
    ///
    /// # Errors
    ///
    /// [`Error::PeerMisbehaved`]; the queue is then of no use before a reset.
    #[inline]
    pub(crate) fn take(&mut self) -> Result<Option<Used<T>>, Error> {
        if self.used_seen == self.last_used && !self.look()? {
            return Ok(None);
        }
        let entry = usize::from(self.last_used & (self.size - 1)) * 2;
        let [id, written] = self.used.get_two(entry + 1);
        let slot = id >> self.head_shift;
        let is_head = slot << self.head_shift == id;
        let state = self.slots.get_mut(slot as usize).filter(|_| is_head);
        let state = state.ok_or(Error::PeerMisbehaved)?;
        let slot = slot as u16;
        // Neither vacant nor still to be shown to the device.
        if state.position >= self.published {
            return Err(Error::PeerMisbehaved);
        }
        let payload = state.payload;
        state.position = VACANT;
        if let Some(place) = self.free.get_mut(self.vacant) {
            *place = slot;
            self.vacant += 1;
        }
        self.waiting -= 1;
        self.last_used = self.last_used.wrapping_add(1);
        Ok(Some(Used {
            slot,
            payload,
            written,
        }))
    }

    /// Empties the queue and passes on what was in flight. Only after a reset of the device.
    pub(crate) fn cancel_all(&mut self, mut cancelled: impl FnMut(T)) {
        for slot in &mut self.slots {
            if slot.position != VACANT {
                slot.position = VACANT;
                cancelled(slot.payload);
            }
        }
        self.free.clear();
        self.free.extend((0..self.slots.len() as u16).rev());
        self.vacant = self.free.len();
        self.waiting = 0;
    }

    /// Looks for completions; asks for an interrupt if there are none, and looks once more.
    #[inline]
    fn look(&mut self) -> Result<bool, Error> {
        let mut index = self.used_index();
        if index == self.last_used {
            if !self.event_index || self.armed == index {
                return Ok(false);
            }
            self.armed = index;
            self.available
                .set(AVAILABLE_RING + usize::from(self.size), index);
            // As in `publish`: the wish must be visible before the index is read (2.7.7.2).
            fence(Ordering::SeqCst);
            index = self.used_index();
        }
        if index.wrapping_sub(self.last_used) > self.waiting {
            return Err(Error::PeerMisbehaved);
        }
        self.used_seen = index;
        Ok(index != self.last_used)
    }

    #[inline]
    fn used_index(&self) -> u16 {
        (self.used.load_acquire(0) >> 16) as u16
    }
}

/// Descriptor flags (2.7.5).
pub(crate) const NEXT: u16 = 1;
/// The device writes this buffer.
pub(crate) const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// The second half of a descriptor: length, flags, next.
const fn descriptor_rest(len: u32, flags: u16, next: u16) -> u64 {
    len as u64 | (flags as u64) << 32 | (next as u64) << 48
}

fn floor_power_of_two(n: u16) -> Option<u16> {
    n.checked_ilog2().map(|log| 1 << log)
}

/// The position of a slot without request.
const VACANT: u64 = u64::MAX;
const DESCRIPTOR_LEN: usize = 16;
const CACHE_LINE: usize = 64;
/// The most requests that one queue may have in flight.
const DEPTH_MAX: u16 = 1024;
/// Elements of the available ring beside its entries: flags, index, `used_event`.
const RING_EXTRA: usize = 3;
const AVAILABLE_INDEX: usize = 1;
const AVAILABLE_RING: usize = 2;
const USED_NO_NOTIFY: u16 = 1;
