//! The block cache: metadata by address, file pages by inode and index, under one bound.
//!
//! Eviction is CLOCK (second chance): a hit costs one hash probe and one flag, with no list to
//! relink. Blocks that are newer than their home on the device are never evicted; the engine
//! bounds how many there are.

use crate::layout::{Block, zeroed};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::{BuildHasher, Hasher};
use hashbrown::HashMap;

/// What a slot holds: `(0, block)` for metadata, `(ino, page)` for file data.
pub(crate) type CacheKey = (u64, u64);

/// Slot flags.
pub(crate) mod flag {
    /// Used since the clock hand last passed.
    pub const RECENT: u8 = 1;
    /// File page not yet written to the device.
    pub const DIRTY: u8 = 2;
    /// Metadata changed by the running transaction.
    pub const RUNNING: u8 = 4;
    /// Metadata committed to the log, not yet at home.
    pub const LOGGED: u8 = 8;
    /// Metadata saved by the operation in progress, for undo.
    pub const SAVED: u8 = 16;
    /// The slot holds nothing.
    pub const EMPTY: u8 = 32;
    /// Dirty file page that has a block kept for it: writing it needs no space.
    pub const KEPT: u8 = 64;
    /// Any of these: the cache holds the only good copy.
    pub const PINNED: u8 = DIRTY | RUNNING | LOGGED | SAVED;
}

pub(crate) struct Slot {
    pub key: CacheKey,
    pub flags: u8,
    pub data: Box<Block>,
}

pub(crate) struct Cache {
    map: HashMap<CacheKey, u32, FoldHash>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    hand: usize,
    capacity: usize,
    /// Slots that became dirty, each once, in order. A slot may have been cleaned since.
    pub dirty: Vec<u32>,
    /// Dirty pages now.
    pub dirty_count: usize,
    /// Dirty pages now that have a block kept for them.
    kept_count: usize,
}

impl Cache {
    pub fn new(capacity: usize) -> Self {
        Self {
            // Made once: growing would move all of it again and again.
            map: HashMap::with_capacity_and_hasher(capacity, FoldHash),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            capacity,
            dirty: Vec::new(),
            dirty_count: 0,
            kept_count: 0,
        }
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub fn find(&mut self, key: CacheKey) -> Option<u32> {
        let at = *self.map.get(&key)?;
        self.slots[at as usize].flags |= flag::RECENT;
        Some(at)
    }

    pub fn contains(&self, key: CacheKey) -> bool {
        self.map.contains_key(&key)
    }

    #[inline]
    pub fn slot(&self, at: u32) -> &Slot {
        &self.slots[at as usize]
    }

    #[inline]
    pub fn slot_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.slots[at as usize]
    }

    /// The bytes of two different slots.
    pub fn two(&mut self, a: u32, b: u32) -> (&mut Block, &mut Block) {
        let (low, high) = (a.min(b) as usize, a.max(b) as usize);
        let (head, tail) = self.slots.split_at_mut(high);
        let (x, y) = (&mut head[low].data, &mut tail[0].data);
        if a < b { (x, y) } else { (y, x) }
    }

    /// A slot for a key that is not in the cache; its bytes are whatever they were.
    pub fn claim(&mut self, key: CacheKey) -> u32 {
        let at = match self.free.pop() {
            Some(at) => at,
            None if self.slots.len() < self.capacity => self.grow(),
            None => self.evict().unwrap_or_else(|| self.grow()),
        };
        let slot = &mut self.slots[at as usize];
        slot.key = key;
        slot.flags = flag::RECENT;
        self.map.insert(key, at);
        at
    }

    fn grow(&mut self) -> u32 {
        self.slots.push(Slot {
            key: (0, 0),
            flags: flag::EMPTY,
            data: zeroed(),
        });
        (self.slots.len() - 1) as u32
    }

    /// Gives up the first unpinned slot that was not used for a turn of the clock.
    fn evict(&mut self) -> Option<u32> {
        for _ in 0..self.slots.len() * 2 {
            let at = self.hand;
            self.hand = if at + 1 == self.slots.len() {
                0
            } else {
                at + 1
            };
            let slot = &mut self.slots[at];
            if slot.flags & (flag::PINNED | flag::EMPTY) != 0 {
                continue;
            }
            if slot.flags & flag::RECENT != 0 {
                slot.flags &= !flag::RECENT;
                continue;
            }
            let key = slot.key;
            self.map.remove(&key);
            return Some(at as u32);
        }
        None
    }

    /// Forgets a key, whatever state its slot is in.
    pub fn remove(&mut self, key: CacheKey) {
        if let Some(at) = self.map.remove(&key) {
            let slot = &mut self.slots[at as usize];
            self.dirty_count -= usize::from(slot.flags & flag::DIRTY != 0);
            self.kept_count -= usize::from(slot.flags & flag::KEPT != 0);
            slot.flags = flag::EMPTY;
            self.free.push(at);
        }
    }

    pub fn mark_dirty(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        if slot.flags & flag::DIRTY == 0 {
            slot.flags |= flag::DIRTY;
            self.dirty.push(at);
            self.dirty_count += 1;
        }
    }

    pub fn mark_clean(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        if slot.flags & flag::DIRTY != 0 {
            self.dirty_count -= 1;
            self.kept_count -= usize::from(slot.flags & flag::KEPT != 0);
            slot.flags &= !(flag::DIRTY | flag::KEPT);
        }
    }

    /// Notes that a dirty page has a block kept for it.
    pub fn mark_kept(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        if slot.flags & (flag::DIRTY | flag::KEPT) == flag::DIRTY {
            slot.flags |= flag::KEPT;
            self.kept_count += 1;
        }
    }

    /// Dirty pages that will need a fresh block each.
    pub fn owed(&self) -> u64 {
        (self.dirty_count - self.kept_count) as u64
    }

    /// Takes the list of dirty slots, sorted by inode and page, without stale or double entries.
    pub fn take_dirty(&mut self) -> Vec<u32> {
        let mut list = core::mem::take(&mut self.dirty);
        list.retain(|&at| self.slots[at as usize].flags & flag::DIRTY != 0);
        list.sort_unstable_by_key(|&at| self.slots[at as usize].key);
        list.dedup();
        list
    }

    /// Forgets the pages of an inode from `first` up to `end` (exclusive).
    pub fn drop_pages(&mut self, ino: u64, first: u64, end: u64) {
        if end.saturating_sub(first) <= self.slots.len() as u64 {
            for page in first..end {
                self.remove((ino, page));
            }
            return;
        }
        for at in 0..self.slots.len() {
            let slot = &self.slots[at];
            if slot.flags & flag::EMPTY == 0
                && slot.key.0 == ino
                && (first..end).contains(&slot.key.1)
            {
                self.remove(self.slots[at].key);
            }
        }
    }
}

/// Hash by folded multiplication: a few instructions for the two words of a key.
#[derive(Clone, Copy, Default)]
pub(crate) struct FoldHash;

impl BuildHasher for FoldHash {
    type Hasher = FoldHasher;
    fn build_hasher(&self) -> FoldHasher {
        FoldHasher(0x243F_6A88_85A3_08D3)
    }
}

pub(crate) struct FoldHasher(u64);

impl Hasher for FoldHasher {
    #[inline]
    fn write_u64(&mut self, n: u64) {
        let wide = u128::from(self.0 ^ n) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (wide as u64) ^ (wide >> 64) as u64;
    }
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(u64::from(b));
        }
    }
    fn finish(&self) -> u64 {
        self.0
    }
}
