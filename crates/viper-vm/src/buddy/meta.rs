//! What is recorded of one frame, in eight bytes.
//!
//! ```text
//! bits   0..3   3..8    8..36     36..64
//! free   tag    order   next      previous   (indices of block heads of the same order)
//! held   tag    order   -         32..64: reference count
//! ```
//! Only the first frame of a block, its head, carries a record; the others are `TAIL`.

/// The record of one frame. All bit patterns are valid, so zeroed memory may be used for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct FrameMeta(u64);

/// A record, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not the head of a block.
    Tail,
    /// Kept out of use since boot.
    Reserved,
    /// In the stack of single frames.
    Cached,
    /// Head of a free block.
    Free { order: u8 },
    /// Head of a block with `refs` owners.
    Held { order: u8, refs: u32 },
}

const TAG_MASK: u64 = 0b111;
const TAG_RESERVED: u64 = 1;
const TAG_CACHED: u64 = 2;
const TAG_FREE: u64 = 3;
const TAG_HELD: u64 = 4;
const ORDER_SHIFT: u32 = 3;
const ORDER_MASK: u64 = 0b1_1111;
const NEXT_SHIFT: u32 = 8;
const PREVIOUS_SHIFT: u32 = 36;
const REFS_SHIFT: u32 = 32;

/// The index that stands for "none". Real ones are smaller.
pub(super) const NIL: u32 = (1 << 28) - 1;

impl FrameMeta {
    /// A record of nothing, to fill a slice with.
    pub const EMPTY: Self = Self(0);
    pub(super) const RESERVED: Self = Self(TAG_RESERVED);
    pub(super) const CACHED: Self = Self(TAG_CACHED);
    /// A single frame with one owner.
    pub(super) const HELD_ONCE: Self = Self::held(0, 1);

    pub(super) const fn held(order: u8, refs: u32) -> Self {
        Self(TAG_HELD | (order as u64) << ORDER_SHIFT | (refs as u64) << REFS_SHIFT)
    }

    pub(super) const fn free(order: u8, next: u32, previous: u32) -> Self {
        let links = (next as u64) << NEXT_SHIFT | (previous as u64) << PREVIOUS_SHIFT;
        Self(TAG_FREE | (order as u64) << ORDER_SHIFT | links)
    }

    pub(super) const fn state(self) -> State {
        match self.0 & TAG_MASK {
            TAG_RESERVED => State::Reserved,
            TAG_CACHED => State::Cached,
            TAG_FREE => State::Free {
                order: self.order(),
            },
            TAG_HELD => State::Held {
                order: self.order(),
                refs: (self.0 >> REFS_SHIFT) as u32,
            },
            _ => State::Tail,
        }
    }

    pub(super) const fn is_free(self, order: u8) -> bool {
        let wanted = TAG_FREE | (order as u64) << ORDER_SHIFT;
        self.0 & (TAG_MASK | ORDER_MASK << ORDER_SHIFT) == wanted
    }

    pub(super) const fn next(self) -> u32 {
        (self.0 >> NEXT_SHIFT) as u32 & NIL
    }

    pub(super) const fn previous(self) -> u32 {
        (self.0 >> PREVIOUS_SHIFT) as u32
    }

    const fn order(self) -> u8 {
        (self.0 >> ORDER_SHIFT & ORDER_MASK) as u8
    }
}
