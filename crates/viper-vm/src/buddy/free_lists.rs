//! Doubly linked lists of free blocks, one per order, threaded through the metadata.

use super::ORDER_MAX;
use super::meta::{FrameMeta, NIL};
use super::zones::Zone;

const ORDERS: usize = ORDER_MAX as usize + 1;

pub(super) struct FreeLists<'m> {
    meta: &'m mut [FrameMeta],
    heads: [u32; ORDERS],
    lens: [u32; ORDERS],
    /// Bit `n` is set if list `n` is not empty.
    occupied: u32,
}

impl<'m> FreeLists<'m> {
    pub fn new(meta: &'m mut [FrameMeta]) -> Self {
        Self {
            meta,
            heads: [NIL; ORDERS],
            lens: [0; ORDERS],
            occupied: 0,
        }
    }

    /// The record of a frame; an index out of bounds, which never occurs, reads as reserved.
    #[inline]
    pub fn meta(&self, index: u32) -> FrameMeta {
        self.meta
            .get(index as usize)
            .copied()
            .unwrap_or(FrameMeta::RESERVED)
    }

    #[inline]
    pub fn set(&mut self, index: u32, meta: FrameMeta) {
        if let Some(slot) = self.meta.get_mut(index as usize) {
            *slot = meta;
        }
    }

    pub fn len(&self, order: u8) -> usize {
        self.lens
            .get(usize::from(order))
            .map_or(0, |&len| len as usize)
    }

    /// The order of the smallest free block.
    pub fn smallest(&self) -> Option<u8> {
        (self.occupied != 0).then(|| self.occupied.trailing_zeros() as u8)
    }

    /// Takes a block of `order`, cut from the smallest that is large enough. Its head and tails
    /// are recorded as tails.
    pub fn take(&mut self, order: u8) -> Option<u32> {
        let enough = self
            .occupied
            .checked_shr(order.into())
            .filter(|&bits| bits != 0)?;
        let mut found = order + enough.trailing_zeros() as u8;
        let index = *self.heads.get(usize::from(found))?;
        self.unlink(index, found);
        while found > order {
            found -= 1;
            self.link(index + (1 << found), found);
        }
        Some(index)
    }

    /// Frees the block at `index`, merging it with its buddies inside of `zone`.
    pub fn put(&mut self, zone: Zone, index: u32, mut order: u8) {
        let mut start = zone.frame(index);
        self.set(index, FrameMeta::EMPTY);
        while order < ORDER_MAX {
            let size = 1 << order;
            let buddy = start ^ size;
            let fits = buddy >= zone.start && zone.end().checked_sub(size) >= Some(buddy);
            if !fits || !self.meta(zone.index(buddy)).is_free(order) {
                break;
            }
            self.unlink(zone.index(buddy), order);
            start &= !size;
            order += 1;
        }
        self.link(zone.index(start), order);
    }

    fn link(&mut self, index: u32, order: u8) {
        let list = usize::from(order);
        let (Some(head), Some(len)) = (self.heads.get_mut(list), self.lens.get_mut(list)) else {
            return;
        };
        let next = core::mem::replace(head, index);
        *len += 1;
        self.occupied |= 1 << order;
        self.set(index, FrameMeta::free(order, next, NIL));
        if next != NIL {
            let after = self.meta(next).next();
            self.set(next, FrameMeta::free(order, after, index));
        }
    }

    fn unlink(&mut self, index: u32, order: u8) {
        let list = usize::from(order);
        let (next, previous) = (self.meta(index).next(), self.meta(index).previous());
        self.set(index, FrameMeta::EMPTY);
        if next != NIL {
            let after = self.meta(next).next();
            self.set(next, FrameMeta::free(order, after, previous));
        }
        if previous != NIL {
            let before = self.meta(previous).previous();
            self.set(previous, FrameMeta::free(order, next, before));
        } else if let Some(head) = self.heads.get_mut(list) {
            *head = next;
        }
        if let Some(len) = self.lens.get_mut(list) {
            *len -= 1;
            if *len == 0 {
                self.occupied &= !(1 << order);
            }
        }
    }
}
