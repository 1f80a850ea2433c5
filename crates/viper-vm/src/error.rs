//! The one error of the crate.

use core::fmt;

/// Why an operation on memory was refused. Nothing was changed, unless its documentation says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VmError {
    /// No free frame, or no free block of the wanted order.
    OutOfFrames,
    /// The heap refused memory for bookkeeping.
    NoMemory,
    /// The metadata slice is shorter than the ranges need.
    MetadataTooSmall,
    /// A range is empty, misaligned, wraps around, is out of order or lies out of bounds.
    BadRange,
    /// An order above [`ORDER_MAX`](crate::ORDER_MAX), or not the order of that block.
    BadOrder,
    /// The frame is outside of all memory ranges, reserved, or inside of a block.
    NotManaged,
    /// The frame is free already.
    DoubleFree,
    /// The frame has several owners, so that one of them may not free it for all.
    Shared,
    /// A reference count is at its maximum.
    TooManyRefs,
    /// A valid mapping is in the way.
    AlreadyMapped,
    /// Nothing is mapped there.
    NotMapped,
    /// A region is in the way.
    Overlap,
    /// The map holds as many regions as its owner allows.
    TooManyRegions,
    /// No free range of addresses is large enough.
    NoGap,
    /// Part of the range belongs to no region.
    Hole,
    /// The caller's own rule refused the change of a region.
    Refused,
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfFrames => "no free frame of the wanted size",
            Self::NoMemory => "no heap memory for bookkeeping",
            Self::MetadataTooSmall => "frame metadata slice is too small",
            Self::BadRange => "range is empty, misaligned or out of bounds",
            Self::BadOrder => "wrong block order",
            Self::NotManaged => "frame is not handed out by this allocator",
            Self::DoubleFree => "frame is free already",
            Self::Shared => "frame has other owners",
            Self::TooManyRefs => "too many references to one frame",
            Self::AlreadyMapped => "a mapping is in the way",
            Self::NotMapped => "nothing is mapped there",
            Self::Overlap => "a region is in the way",
            Self::TooManyRegions => "too many regions",
            Self::NoGap => "no free range of addresses is large enough",
            Self::Hole => "part of the range belongs to no region",
            Self::Refused => "the region does not allow the change",
        })
    }
}

impl core::error::Error for VmError {}
