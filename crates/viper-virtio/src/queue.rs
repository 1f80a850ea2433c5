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

/// What the driver remembers of a slot, in memory the device cannot reach.
#[derive(Clone, Copy, Debug)]
struct Slot<T> {
    payload: Option<T>,
    /// How many requests were queued before it, ever. A request may stay in flight while a ring's
    /// 16-bit index wraps around, so this one is wider.
    position: u64,
}

/// A queue whose requests carry a `T` each.
#[derive(Debug)]
pub(crate) struct SplitQueue<T> {
    size: u16,
    descriptors: DmaArray<[u64; 2]>,
    available: DmaArray<u16>,
    used: DmaArray<u32>,
    /// Tables of the slots if indirect; else they lie in `descriptors`.
    tables: Option<DmaArray<[u64; 2]>>,
    stride_shift: u32,
    chain_max: u16,
    slots: Vec<Slot<T>>,
    free: Vec<u16>,
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

impl<T: Copy> SplitQueue<T> {
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
        let mut queue = Self {
            size: size as u16,
            descriptors: pool.array(size, CACHE_LINE)?,
            available: pool.array(size + RING_EXTRA, CACHE_LINE)?,
            used: pool.array(size * 2 + 2, CACHE_LINE)?,
            tables: if indirect {
                Some(pool.array(depth * stride, CACHE_LINE)?)
            } else {
                None
            },
            stride_shift: stride.trailing_zeros(),
            chain_max: shape.chain_max,
            slots: Vec::new(),
            free: Vec::new(),
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
                payload: None,
                position: 0,
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
        (self.slots.len() - self.free.len()) as u16
    }

    /// A slot that may be described. It is taken by [`Self::push`].
    pub(crate) fn vacant(&self) -> Option<u16> {
        self.free.last().copied()
    }

    /// Writes descriptor `position` of `slot`, which is below `chain_max`. All but the last of a
    /// request carry [`NEXT`].
    pub(crate) fn describe(&self, slot: u16, position: u16, address: u64, len: u32, flags: u16) {
        debug_assert!(position < self.chain_max);
        let start = usize::from(slot) << self.stride_shift;
        let cell = start + usize::from(position);
        let (table, next) = match &self.tables {
            Some(tables) => (tables, position + 1),
            None => (&self.descriptors, (cell + 1) as u16),
        };
        table.set(cell, descriptor(address, len, flags, next));
    }

    /// Queues the `count` descriptors of the vacant `slot`. The device learns of it at the next
    /// [`Self::publish`].
    pub(crate) fn push(&mut self, slot: u16, count: u16, payload: T) {
        let vacant = self.free.pop();
        debug_assert_eq!(vacant, Some(slot));
        let Some(state) = self.slots.get_mut(usize::from(slot)) else {
            return;
        };
        *state = Slot {
            payload: Some(payload),
            position: self.pushed,
        };
        let start = usize::from(slot) << self.stride_shift;
        let head = match &self.tables {
            Some(tables) => {
                let len = u32::from(count) * DESCRIPTOR_LEN as u32;
                let entry = descriptor(tables.address(start), len, INDIRECT, 0);
                self.descriptors.set(usize::from(slot), entry);
                slot
            }
            None => start as u16,
        };
        let entry = usize::from(self.pushed as u16 & (self.size - 1));
        self.available.set(AVAILABLE_RING + entry, head);
        self.pushed += 1;
    }

    /// Shows the device all that was pushed, and says whether it wants to be notified.
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
    pub(crate) fn has_used(&self) -> bool {
        (self.used.load_acquire(0) >> 16) as u16 != self.last_used
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
    pub(crate) fn take(&mut self) -> Result<Option<Used<T>>, Error> {
        if self.used_seen == self.last_used && !self.look()? {
            return Ok(None);
        }
        let entry = usize::from(self.last_used & (self.size - 1)) * 2;
        let id = self.used.get(entry + 1);
        let written = self.used.get(entry + 2);
        let slot = self.slot_of(id).ok_or(Error::PeerMisbehaved)?;
        let state = self
            .slots
            .get_mut(usize::from(slot))
            .ok_or(Error::PeerMisbehaved)?;
        if state.position >= self.published {
            return Err(Error::PeerMisbehaved);
        }
        let payload = state.payload.take().ok_or(Error::PeerMisbehaved)?;
        self.free.push(slot);
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
        self.slots
            .iter_mut()
            .filter_map(|slot| slot.payload.take())
            .for_each(&mut cancelled);
        self.free.clear();
        self.free.extend((0..self.slots.len() as u16).rev());
        self.waiting = 0;
    }

    /// Looks for completions; asks for an interrupt if there are none, and looks once more.
    fn look(&mut self) -> Result<bool, Error> {
        if !self.has_used() {
            if !self.event_index || self.armed == self.last_used {
                return Ok(false);
            }
            self.armed = self.last_used;
            self.available
                .set(AVAILABLE_RING + usize::from(self.size), self.armed);
            // As in `publish`: the wish must be visible before the index is read (2.7.7.2).
            fence(Ordering::SeqCst);
        }
        let index = (self.used.load_acquire(0) >> 16) as u16;
        if index.wrapping_sub(self.last_used) > self.waiting {
            return Err(Error::PeerMisbehaved);
        }
        self.used_seen = index;
        Ok(index != self.last_used)
    }

    fn slot_of(&self, id: u32) -> Option<u16> {
        let id = u16::try_from(id).ok()?;
        if self.tables.is_some() {
            return Some(id);
        }
        let slot = id >> self.stride_shift;
        (slot << self.stride_shift == id).then_some(slot)
    }
}

/// Descriptor flags (2.7.5).
pub(crate) const NEXT: u16 = 1;
/// The device writes this buffer.
pub(crate) const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

const fn descriptor(address: u64, len: u32, flags: u16, next: u16) -> [u64; 2] {
    [
        address,
        len as u64 | (flags as u64) << 32 | (next as u64) << 48,
    ]
}

fn floor_power_of_two(n: u16) -> Option<u16> {
    n.checked_ilog2().map(|log| 1 << log)
}

const DESCRIPTOR_LEN: usize = 16;
const CACHE_LINE: usize = 64;
/// The most requests that one queue may have in flight.
const DEPTH_MAX: u16 = 1024;
/// Elements of the available ring beside its entries: flags, index, `used_event`.
const RING_EXTRA: usize = 3;
const AVAILABLE_INDEX: usize = 1;
const AVAILABLE_RING: usize = 2;
const USED_NO_NOTIFY: u16 = 1;
