//! One capability table: slots in one contiguous array, found by index, checked by generation.
//!
//! A slot keeps in `key` the one handle that resolves to it. Lookup is a bounds check and one
//! comparison. A slot that nothing resolves to keeps `INDEX_MASK` as the index of its key, which
//! no handle within bounds has, and the generation it will have next.

use alloc::vec::Vec;

use crate::forest::NodeId;
use crate::handle::INDEX_MASK;
use crate::{CapError, Handle, Rights};

/// What a handle resolves to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<O> {
    /// What the capability is for, as the user of this crate describes it.
    pub object: O,
    /// What its holder may do with it.
    pub rights: Rights,
}

/// How far one table may grow.
///
/// A slot serves 255 handles one after another, then retires: its bytes are spent, but it holds
/// no capability. `live_max` is the limit a program notices; `slots_max` bounds the memory that a
/// program can use up by opening and closing for a long time (about 32 bytes per 255 handles).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Capabilities held at the same time.
    pub live_max: u32,
    /// Slots, whether in use, free or retired. At most 2^24 - 1, more is taken as that.
    pub slots_max: u32,
}

/// The capabilities of one process. Read here; change through [`CapSpace`](crate::CapSpace).
#[derive(Debug)]
pub struct CapTable<O> {
    slots: Vec<Slot<O>>,
    free_head: u32,
    free_count: u32,
    live_count: u32,
    retired_count: u32,
    limits: Limits,
    /// Odd while the table is live, even while it is being destroyed or free.
    pub(crate) generation: u32,
    /// For a free table, the next free one.
    pub(crate) next_free: u32,
    pub(crate) is_dying: bool,
}

/// The live capabilities of a table, in the order of their slots.
#[derive(Debug)]
pub struct Iter<'a, O> {
    slots: core::slice::Iter<'a, Slot<O>>,
}

#[derive(Clone, Copy, Debug)]
struct Slot<O> {
    entry: Entry<O>,
    key: Handle,
    /// The node in the forest; in a free slot, the next free slot.
    node: u32,
}

impl Limits {
    /// At most `live_max` capabilities at a time, and no bound on retired slots but the format's.
    pub const fn live(live_max: u32) -> Self {
        Self {
            live_max,
            slots_max: INDEX_MASK,
        }
    }
}

impl<O: Copy> CapTable<O> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free_head: NIL,
            free_count: 0,
            live_count: 0,
            retired_count: 0,
            limits: Limits {
                live_max: 0,
                slots_max: 0,
            },
            generation: 0,
            next_free: NIL,
            is_dying: false,
        }
    }

    /// The capability that `handle` names, if it names one here. O(1).
    #[inline]
    pub fn lookup(&self, handle: Handle) -> Option<&Entry<O>> {
        self.slot(handle).map(|slot| &slot.entry)
    }

    /// Like [`lookup`](Self::lookup), and checks that the holder has `needed`.
    ///
    /// # Errors
    /// [`CapError::BadHandle`], [`CapError::RightsMissing`].
    #[inline]
    pub fn require(&self, handle: Handle, needed: Rights) -> Result<&Entry<O>, CapError> {
        let entry = self.lookup(handle).ok_or(CapError::BadHandle)?;
        if !entry.rights.contains(needed) {
            return Err(CapError::RightsMissing);
        }
        Ok(entry)
    }

    /// The live capabilities, in slot order.
    pub fn iter(&self) -> Iter<'_, O> {
        self.iter_from(0)
    }

    /// The live capabilities in slots `first_index` and up: to list a table in several steps.
    pub fn iter_from(&self, first_index: u32) -> Iter<'_, O> {
        Iter {
            slots: self
                .slots
                .get(first_index as usize..)
                .unwrap_or_default()
                .iter(),
        }
    }

    /// How many capabilities it holds.
    pub fn len(&self) -> usize {
        self.live_count as usize
    }

    /// Whether it holds no capability.
    pub fn is_empty(&self) -> bool {
        self.live_count == 0
    }

    /// How many slots have used up their generations.
    pub fn retired(&self) -> usize {
        self.retired_count as usize
    }

    /// How many slots the table's array has room for, for accounting. It never gets less.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// Whether there are places for `count` more capabilities without growth. O(1).
    #[inline]
    pub fn has_room(&self, count: usize) -> bool {
        self.free_count as usize + self.slots.capacity() - self.slots.len() >= count
    }

    /// Bytes of memory that the table's array holds, for accounting.
    pub fn size_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<O>>()
    }

    /// The limits it was created with.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn open(&mut self, limits: Limits) {
        let slots_max = limits.slots_max.min(INDEX_MASK);
        self.limits = Limits {
            slots_max,
            ..limits
        };
    }

    /// Makes sure that the next `count` calls of `claim` succeed without allocating.
    pub(crate) fn reserve(&mut self, count: u32) -> Result<(), CapError> {
        if self.limits.live_max.saturating_sub(self.live_count) < count {
            return Err(CapError::TableFull);
        }
        let fresh = count.saturating_sub(self.free_count) as usize;
        let (len, slots_max) = (self.slots.len(), self.limits.slots_max as usize);
        if slots_max.saturating_sub(len) < fresh {
            return Err(CapError::TableFull);
        }
        if self.slots.capacity() - len >= fresh {
            return Ok(());
        }
        let chunk = len
            .clamp(CHUNK_MIN, CHUNK_MAX)
            .min(slots_max - len)
            .max(fresh);
        self.slots
            .try_reserve_exact(chunk)
            .map_err(|_| CapError::OutOfMemory)
    }

    /// The slot that the next `claim` uses.
    #[inline]
    pub(crate) fn next_index(&self) -> u32 {
        if self.free_head == NIL {
            self.slots.len() as u32
        } else {
            self.free_head
        }
    }

    /// Puts a capability into a free slot. The caller has reserved it.
    pub(crate) fn claim(&mut self, entry: Entry<O>, node: NodeId) -> Handle {
        self.live_count += 1;
        let index = self.free_head;
        let Some(slot) = self.slots.get_mut(index as usize) else {
            let key = Handle::new(self.slots.len() as u32, GENERATION_FIRST);
            self.slots.push(Slot {
                entry,
                key,
                node: node.raw(),
            });
            return key;
        };
        self.free_head = slot.node;
        self.free_count -= 1;
        *slot = Slot {
            entry,
            key: Handle::new(index, slot.key.generation()),
            node: node.raw(),
        };
        slot.key
    }

    /// Empties a live slot; the handle to it is stale from now on. The slot is free for the next
    /// generation, or retired if there is none.
    pub(crate) fn release(&mut self, index: u32) -> Entry<O> {
        let slot = &mut self.slots[index as usize];
        self.live_count -= 1;
        if slot.key.generation() == u8::MAX {
            slot.key = Handle::INVALID;
            self.retired_count += 1;
        } else {
            slot.key = Handle::new(INDEX_MASK, slot.key.generation() + 1);
            slot.node = self.free_head;
            self.free_head = index;
            self.free_count += 1;
        }
        slot.entry
    }

    /// Empties a live slot, but keeps it from being claimed until `unpin`.
    pub(crate) fn void(&mut self, index: u32) -> Entry<O> {
        let slot = &mut self.slots[index as usize];
        slot.key = Handle::INVALID;
        slot.entry
    }

    /// Frees a slot for use with the same generation: only for slots whose handles never leave
    /// this crate.
    pub(crate) fn unpin(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        slot.key = Handle::new(INDEX_MASK, GENERATION_FIRST);
        slot.node = self.free_head;
        self.free_head = index;
        self.free_count += 1;
        self.live_count -= 1;
    }

    /// The capability in slot `index`, whatever its generation.
    pub(crate) fn occupant(&self, index: u32) -> Option<(&Entry<O>, NodeId)> {
        let slot = self.slots.get(index as usize)?;
        slot.is_live()
            .then_some((&slot.entry, NodeId::from_raw(slot.node)))
    }

    /// Drops the last slot of the array; gives the node if it was live.
    pub(crate) fn pop_slot(&mut self) -> Option<Option<(Entry<O>, NodeId)>> {
        let slot = self.slots.pop()?;
        Some(
            slot.is_live()
                .then_some((slot.entry, NodeId::from_raw(slot.node))),
        )
    }

    #[inline]
    pub(crate) fn resolve(&self, handle: Handle) -> Option<(&Entry<O>, NodeId)> {
        self.slot(handle)
            .map(|slot| (&slot.entry, NodeId::from_raw(slot.node)))
    }

    #[inline]
    pub(crate) fn node(&self, handle: Handle) -> Option<NodeId> {
        self.slot(handle).map(|slot| NodeId::from_raw(slot.node))
    }

    #[inline]
    fn slot(&self, handle: Handle) -> Option<&Slot<O>> {
        let slot = self.slots.get(handle.index() as usize)?;
        (slot.key == handle).then_some(slot)
    }
}

impl<'a, O: Copy> IntoIterator for &'a CapTable<O> {
    type Item = (Handle, &'a Entry<O>);
    type IntoIter = Iter<'a, O>;
    fn into_iter(self) -> Iter<'a, O> {
        self.iter()
    }
}

impl<'a, O> Iterator for Iter<'a, O> {
    type Item = (Handle, &'a Entry<O>);

    fn next(&mut self) -> Option<Self::Item> {
        let slot = self.slots.find(|slot| slot.is_live())?;
        Some((slot.key, &slot.entry))
    }
}

impl<O> Slot<O> {
    fn is_live(&self) -> bool {
        self.key.index() != INDEX_MASK
    }
}

pub(crate) const NIL: u32 = u32::MAX;
const GENERATION_FIRST: u8 = 1;
/// The array at least doubles while it is small; then each growth copies a bounded number of
/// bytes too much, never half a table.
const CHUNK_MIN: usize = 16;
const CHUNK_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_with_a_16_byte_object_is_32_bytes() {
        assert_eq!(size_of::<Slot<(u32, u64)>>(), 32);
    }
}
