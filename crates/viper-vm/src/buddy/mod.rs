//! Buddy allocator of physical frames, with reference counts.
//!
//! A block of order `n` is `2^n` frames at a multiple of `2^n`. Freeing a block merges it with its
//! buddy (the block whose number differs in bit `n` only) as long as that one is free as well.
//! Single frames pass through a small stack first, so that the common case neither splits nor
//! merges. Each frame costs eight bytes of metadata, which the caller provides.
//!
//! Invariant: each managed frame is in exactly one of: a free block in the list of its order, the
//! stack, a held block, the reserved frames. `free` counts the first two.

mod free_lists;
mod meta;
#[cfg(test)]
mod tests;
mod zones;

use crate::{Frame, FrameRange, FrameRefs, FrameSource, VmError};
use free_lists::FreeLists;
pub use meta::FrameMeta;
use meta::State;
use zones::{Zone, Zones};

/// The largest order: blocks of 1 GiB.
pub const ORDER_MAX: u8 = 18;

/// Single frames kept ready.
const STACK_LEN: usize = 64;

/// How many of them are given back to the free lists when the stack is full.
const STACK_SPILL: usize = 32;

/// The order of the blocks that refill the stack.
const REFILL_ORDER: u8 = 4;

/// The frame allocator.
pub struct Buddy<'m> {
    zones: Zones,
    lists: FreeLists<'m>,
    stack: [u32; STACK_LEN],
    stacked: usize,
    free: usize,
}

impl<'m> Buddy<'m> {
    /// How many records `new` needs for `ranges`.
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] as for [`new`](Self::new).
    pub fn metadata_len(ranges: &[FrameRange]) -> Result<usize, VmError> {
        Ok(Zones::new(ranges)?.frames() as usize)
    }

    /// An allocator for all frames in `ranges` that are not in `reserved`.
    ///
    /// `ranges` ascend and are disjoint, at most eight after neighbours are merged, and hold less
    /// than 1 TiB in total. `reserved` may come in any order, overlap, and reach outside. The
    /// content of `metadata` does not matter.
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] if `ranges` are not so, [`VmError::MetadataTooSmall`].
    ///
    /// # Complexity
    ///
    /// Linear in the number of frames (one store each).
    pub fn new(
        ranges: &[FrameRange],
        reserved: &[FrameRange],
        metadata: &'m mut [FrameMeta],
    ) -> Result<Self, VmError> {
        let zones = Zones::new(ranges)?;
        let metadata = metadata
            .get_mut(..zones.frames() as usize)
            .ok_or(VmError::MetadataTooSmall)?;
        metadata.fill(FrameMeta::RESERVED);
        let lists = FreeLists::new(metadata);
        let mut buddy = Self {
            zones,
            lists,
            stack: [0; STACK_LEN],
            stacked: 0,
            free: 0,
        };
        for zone in zones.iter() {
            let mut next = zone.start;
            while let Some((start, end)) = next_gap(reserved, next, zone.end()) {
                buddy.add_free(*zone, start, end);
                next = end;
            }
        }
        Ok(buddy)
    }

    /// Takes one frame, of undefined content, with one owner.
    ///
    /// # Errors
    ///
    /// [`VmError::OutOfFrames`].
    ///
    /// # Complexity
    ///
    /// O(1); each sixteenth time a block is split.
    #[inline]
    pub fn alloc(&mut self) -> Result<Frame, VmError> {
        if self.stacked == 0 {
            self.refill()?;
        }
        let top = self.stacked.wrapping_sub(1);
        let index = *self.stack.get(top).ok_or(VmError::OutOfFrames)?;
        self.stacked = top;
        self.free -= 1;
        self.lists.set(index, FrameMeta::HELD_ONCE);
        self.zones.frame_at(index).ok_or(VmError::NotManaged)
    }

    /// Takes a block of `2^order` contiguous frames at a multiple of its size, with one owner.
    ///
    /// Only its first frame may be freed, shared or released, and stands for the whole block.
    ///
    /// # Errors
    ///
    /// [`VmError::BadOrder`] above [`ORDER_MAX`], [`VmError::OutOfFrames`].
    ///
    /// # Complexity
    ///
    /// O([`ORDER_MAX`]).
    pub fn alloc_order(&mut self, order: u8) -> Result<Frame, VmError> {
        match order {
            0 => return self.alloc(),
            1..=ORDER_MAX => {}
            _ => return Err(VmError::BadOrder),
        }
        let index = self.take_block(order)?;
        self.lists.set(index, FrameMeta::held(order, 1));
        self.free -= 1 << order;
        self.zones.frame_at(index).ok_or(VmError::NotManaged)
    }

    /// Takes `count` contiguous frames, each with one owner and to be freed on its own.
    ///
    /// The first one is at a multiple of `count` rounded up to a power of two.
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] if `count` is zero, [`VmError::BadOrder`] if it is larger than the
    /// largest block, [`VmError::OutOfFrames`].
    ///
    /// # Complexity
    ///
    /// O(`count`).
    pub fn alloc_run(&mut self, count: u32) -> Result<FrameRange, VmError> {
        if count == 0 {
            return Err(VmError::BadRange);
        }
        let size = count.checked_next_power_of_two().ok_or(VmError::BadOrder)?;
        let start = self.alloc_order(size.trailing_zeros() as u8)?;
        let (zone, index) = self.zones.find(start).ok_or(VmError::NotManaged)?;
        for held in index..index + count {
            self.lists.set(held, FrameMeta::HELD_ONCE);
        }
        self.add_free(zone, start.0 + count, start.0 + size);
        FrameRange::new(start, count)
    }

    /// Gives back a frame or block that has one owner.
    ///
    /// # Errors
    ///
    /// [`VmError::Shared`] if it has more; [`VmError::DoubleFree`] if it is free;
    /// [`VmError::NotManaged`] if it is reserved, unknown, or not the first frame of its block.
    ///
    /// # Complexity
    ///
    /// O(1) for single frames, except that each 32nd time 32 of them are merged; else
    /// O([`ORDER_MAX`]).
    #[inline]
    pub fn free(&mut self, frame: Frame) -> Result<(), VmError> {
        let (zone, index) = self.zones.find(frame).ok_or(VmError::NotManaged)?;
        if self.lists.meta(index) == FrameMeta::HELD_ONCE {
            self.push(index);
            return Ok(());
        }
        self.free_slow(zone, frame, index)
    }

    /// Adds an owner to a frame or block, and says how many it has now.
    ///
    /// # Errors
    ///
    /// [`VmError::TooManyRefs`] at `u32::MAX`, else as [`free`](Self::free).
    pub fn share(&mut self, frame: Frame) -> Result<u32, VmError> {
        let (_, index, order, refs) = self.held(frame)?;
        let refs = refs.checked_add(1).ok_or(VmError::TooManyRefs)?;
        self.lists.set(index, FrameMeta::held(order, refs));
        Ok(refs)
    }

    /// Drops an owner; frees the frame or block and says `true` if it was the last one.
    ///
    /// # Errors
    ///
    /// As [`free`](Self::free), but never [`VmError::Shared`].
    #[inline]
    pub fn release(&mut self, frame: Frame) -> Result<bool, VmError> {
        match self.free(frame) {
            Ok(()) => Ok(true),
            Err(VmError::Shared) => {
                let (_, index, order, refs) = self.held(frame)?;
                self.lists.set(index, FrameMeta::held(order, refs - 1));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Turns a block with one owner into single frames with one owner each.
    ///
    /// # Errors
    ///
    /// As [`free`](Self::free).
    ///
    /// # Complexity
    ///
    /// Linear in the size of the block.
    pub fn split(&mut self, frame: Frame) -> Result<(), VmError> {
        let (_, index, order, refs) = self.held(frame)?;
        if refs != 1 {
            return Err(VmError::Shared);
        }
        for single in index..index + (1 << order) {
            self.lists.set(single, FrameMeta::HELD_ONCE);
        }
        Ok(())
    }

    /// Puts reserved frames into use, such as those of a boot image that is no longer needed.
    ///
    /// # Errors
    ///
    /// [`VmError::NotManaged`] if one of them is not a reserved frame of one of the ranges.
    pub fn unreserve(&mut self, range: FrameRange) -> Result<(), VmError> {
        if range.count() == 0 {
            return Ok(());
        }
        let (zone, index) = self.zones.find(range.start()).ok_or(VmError::NotManaged)?;
        let all_reserved = range.end() <= zone.end()
            && (index..index + range.count())
                .all(|each| self.lists.meta(each).state() == State::Reserved);
        if !all_reserved {
            return Err(VmError::NotManaged);
        }
        self.add_free(zone, range.start().0, range.end());
        Ok(())
    }

    /// Number of owners; 0 if the frame is free, reserved, unknown or inside of a block.
    pub fn ref_count(&self, frame: Frame) -> u32 {
        self.held(frame).map_or(0, |(.., refs)| refs)
    }

    /// Number of frames that can still be handed out, in blocks of whatever size.
    pub fn free_frames(&self) -> usize {
        self.free
    }

    /// Number of frames in all ranges, reserved ones included.
    pub fn total_frames(&self) -> usize {
        self.zones.frames() as usize
    }

    /// Number of free blocks of exactly this order. Frames in the stack are not counted.
    pub fn free_blocks(&self, order: u8) -> usize {
        self.lists.len(order)
    }

    /// Takes a block off the lists, splitting a larger one. Leaves its record to the caller.
    fn take_block(&mut self, order: u8) -> Result<u32, VmError> {
        if let Some(index) = self.lists.take(order) {
            return Ok(index);
        }
        self.spill(self.stacked);
        self.lists.take(order).ok_or(VmError::OutOfFrames)
    }

    /// Refills the empty stack from the smallest free block, or from part of it.
    #[cold]
    fn refill(&mut self) -> Result<(), VmError> {
        let order = self
            .lists
            .smallest()
            .ok_or(VmError::OutOfFrames)?
            .min(REFILL_ORDER);
        let start = self.lists.take(order).ok_or(VmError::OutOfFrames)?;
        let block = start..start + (1 << order);
        for (slot, index) in self.stack.iter_mut().zip(block.rev()) {
            self.lists.set(index, FrameMeta::CACHED);
            *slot = index;
            self.stacked += 1;
        }
        Ok(())
    }

    /// Puts a single frame, held until now, on the stack.
    #[inline]
    fn push(&mut self, index: u32) {
        if self.stacked == STACK_LEN {
            self.spill(STACK_SPILL);
        }
        self.lists.set(index, FrameMeta::CACHED);
        if let Some(slot) = self.stack.get_mut(self.stacked) {
            *slot = index;
            self.stacked += 1;
            self.free += 1;
        }
    }

    /// Moves the `count` oldest frames of the stack to the free lists.
    #[cold]
    fn spill(&mut self, count: usize) {
        let frames = self.stack;
        for &index in frames.iter().take(count) {
            if let Some(zone) = self.zones.of_index(index) {
                self.lists.put(zone, index, 0);
            }
        }
        for (slot, &kept) in self.stack.iter_mut().zip(frames.iter().skip(count)) {
            *slot = kept;
        }
        self.stacked -= count;
    }

    #[cold]
    fn free_slow(&mut self, zone: Zone, frame: Frame, index: u32) -> Result<(), VmError> {
        let (_, _, order, refs) = self.held(frame)?;
        if refs != 1 {
            return Err(VmError::Shared);
        }
        self.lists.put(zone, index, order);
        self.free += 1 << order;
        Ok(())
    }

    /// Adds the frames `start..end` of `zone` to the free lists, in the largest blocks possible.
    fn add_free(&mut self, zone: Zone, mut start: u32, end: u32) {
        while start < end {
            let fits = (end - start).ilog2();
            let order = start.trailing_zeros().min(fits).min(ORDER_MAX.into()) as u8;
            let index = zone.index(start);
            for each in index..index + (1 << order) {
                self.lists.set(each, FrameMeta::EMPTY);
            }
            self.lists.put(zone, index, order);
            self.free += 1 << order;
            start += 1 << order;
        }
    }

    /// The held block that begins at `frame`: zone, index, order, owners.
    fn held(&self, frame: Frame) -> Result<(Zone, u32, u8, u32), VmError> {
        let (zone, index) = self.zones.find(frame).ok_or(VmError::NotManaged)?;
        match self.lists.meta(index).state() {
            State::Held { order, refs } => Ok((zone, index, order, refs)),
            State::Cached | State::Free { .. } => Err(VmError::DoubleFree),
            State::Tail if self.inside_free_block(zone, frame) => Err(VmError::DoubleFree),
            State::Tail | State::Reserved => Err(VmError::NotManaged),
        }
    }

    fn inside_free_block(&self, zone: Zone, frame: Frame) -> bool {
        (1..=ORDER_MAX).any(|order| {
            let head = frame.0 & !((1 << order) - 1);
            head >= zone.start
                && matches!(
                    self.lists.meta(zone.index(head)).state(),
                    State::Free { order: found } if found >= order
                )
        })
    }
}

impl FrameSource for Buddy<'_> {
    #[inline]
    fn alloc_frame(&mut self) -> Option<Frame> {
        self.alloc().ok()
    }

    #[inline]
    fn free_frame(&mut self, frame: Frame) {
        let freed = self.free(frame);
        debug_assert_eq!(freed, Ok(()), "only frames of `alloc_frame` come back");
    }
}

impl FrameRefs for Buddy<'_> {
    #[inline]
    fn share(&mut self, frame: Frame) -> Result<(), VmError> {
        Buddy::share(self, frame).map(|_| ())
    }

    #[inline]
    fn release(&mut self, frame: Frame) -> Result<bool, VmError> {
        Buddy::release(self, frame)
    }
}

impl core::fmt::Debug for Buddy<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Buddy")
            .field("total_frames", &self.total_frames())
            .field("free_frames", &self.free)
            .finish_non_exhaustive()
    }
}

/// The first run of frames in `from..end` that is not reserved.
fn next_gap(reserved: &[FrameRange], from: u32, end: u32) -> Option<(u32, u32)> {
    let mut start = from;
    while let Some(hit) = reserved.iter().find(|range| range.contains(Frame(start))) {
        start = hit.end();
    }
    let ahead = reserved
        .iter()
        .filter(|range| range.count() > 0)
        .map(|range| range.start().0);
    let stop = ahead.filter(|&at| at > start).fold(end, u32::min);
    (start < stop).then_some((start, stop))
}
