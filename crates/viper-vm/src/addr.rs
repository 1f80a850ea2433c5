//! Addresses, frames and page-aligned ranges, as distinct types.

use crate::VmError;

/// Binary logarithm of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

/// Bytes in a page and in a frame.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

/// A physical address, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PhysAddr(pub u64);

/// A virtual address, in bytes. Nothing is claimed about who may use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct VirtAddr(pub u64);

/// A physical page frame: its address divided by [`PAGE_SIZE`]. Reaches 16 TiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Frame(pub u32);

/// A run of frames: `start` and the `count - 1` after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRange {
    start: Frame,
    count: u32,
}

/// A non-empty, page-aligned range of virtual addresses, `start..end`.
///
/// Having one proves: both ends are multiples of [`PAGE_SIZE`] and `start < end`. It does **not**
/// prove that anything is mapped there, or that it lies in the user half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageRange {
    start: VirtAddr,
    end: VirtAddr,
}

impl PhysAddr {
    /// Whether the address is a multiple of [`PAGE_SIZE`].
    #[inline]
    pub const fn is_page_aligned(self) -> bool {
        self.0.is_multiple_of(PAGE_SIZE)
    }

    /// The frame that holds this address, or `None` beyond 16 TiB.
    #[inline]
    pub const fn frame(self) -> Option<Frame> {
        let number = self.0 >> PAGE_SHIFT;
        if number <= u32::MAX as u64 {
            Some(Frame(number as u32))
        } else {
            None
        }
    }
}

impl VirtAddr {
    /// Whether the address is a multiple of [`PAGE_SIZE`].
    #[inline]
    pub const fn is_page_aligned(self) -> bool {
        self.0.is_multiple_of(PAGE_SIZE)
    }

    /// The start of the page that holds this address.
    #[inline]
    pub const fn page(self) -> Self {
        Self(self.0 & !(PAGE_SIZE - 1))
    }

    /// The address `bytes` further on, or `None` on overflow.
    #[inline]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

impl Frame {
    /// Address of the first byte.
    #[inline]
    pub const fn addr(self) -> PhysAddr {
        PhysAddr((self.0 as u64) << PAGE_SHIFT)
    }

    /// The frame `count` further on, or `None` past the last frame number.
    #[inline]
    pub const fn checked_add(self, count: u32) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

impl FrameRange {
    /// `count` frames from `start` on; `count` may be zero.
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] if the end exceeds the frame numbers.
    pub const fn new(start: Frame, count: u32) -> Result<Self, VmError> {
        match start.0.checked_add(count) {
            Some(_) => Ok(Self { start, count }),
            None => Err(VmError::BadRange),
        }
    }

    /// The frames that lie wholly inside of `len_bytes` bytes at `base`: what memory of those
    /// bounds can be used.
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] if the bytes wrap around or exceed 16 TiB.
    pub const fn inside(base: PhysAddr, len_bytes: u64) -> Result<Self, VmError> {
        let (Some(end), Some(start)) = (
            base.0.checked_add(len_bytes),
            base.0.checked_next_multiple_of(PAGE_SIZE),
        ) else {
            return Err(VmError::BadRange);
        };
        Self::between(start >> PAGE_SHIFT, end >> PAGE_SHIFT)
    }

    /// The frames that any of `len_bytes` bytes at `base` touches: what must be reserved to keep
    /// those bytes.
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] if the bytes wrap around or exceed 16 TiB.
    pub const fn covering(base: PhysAddr, len_bytes: u64) -> Result<Self, VmError> {
        let Some(end) = base.0.checked_add(len_bytes) else {
            return Err(VmError::BadRange);
        };
        if len_bytes == 0 {
            return Self::between(base.0 >> PAGE_SHIFT, base.0 >> PAGE_SHIFT);
        }
        Self::between(base.0 >> PAGE_SHIFT, end.div_ceil(PAGE_SIZE))
    }

    /// First frame.
    pub const fn start(self) -> Frame {
        self.start
    }

    /// Number of frames.
    pub const fn count(self) -> u32 {
        self.count
    }

    /// The first frame number after the range.
    pub const fn end(self) -> u32 {
        self.start.0 + self.count
    }

    /// Whether `frame` is one of them.
    #[inline]
    pub const fn contains(self, frame: Frame) -> bool {
        frame.0.wrapping_sub(self.start.0) < self.count
    }

    const fn between(start: u64, end: u64) -> Result<Self, VmError> {
        if end > u32::MAX as u64 || start > u32::MAX as u64 {
            return Err(VmError::BadRange);
        }
        let count = end.saturating_sub(start) as u32;
        Ok(Self {
            start: Frame(start as u32),
            count,
        })
    }
}

impl PageRange {
    /// `len_bytes` bytes at `start`.
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] unless both are multiples of [`PAGE_SIZE`], the length is not zero
    /// and the end does not wrap around.
    #[inline]
    pub const fn new(start: VirtAddr, len_bytes: u64) -> Result<Self, VmError> {
        match start.checked_add(len_bytes) {
            Some(end) => Self::between(start, end),
            None => Err(VmError::BadRange),
        }
    }

    /// From `start` up to, not including, `end`.
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] unless both are multiples of [`PAGE_SIZE`] and `start < end`.
    #[inline]
    pub const fn between(start: VirtAddr, end: VirtAddr) -> Result<Self, VmError> {
        if start.is_page_aligned() && end.is_page_aligned() && start.0 < end.0 {
            Ok(Self { start, end })
        } else {
            Err(VmError::BadRange)
        }
    }

    /// First address.
    #[inline]
    pub const fn start(self) -> VirtAddr {
        self.start
    }

    /// First address after the range.
    #[inline]
    pub const fn end(self) -> VirtAddr {
        self.end
    }

    /// Length in bytes: a positive multiple of [`PAGE_SIZE`].
    #[inline]
    pub const fn len_bytes(self) -> u64 {
        self.end.0 - self.start.0
    }

    /// Length in pages.
    #[inline]
    pub const fn len_pages(self) -> u64 {
        self.len_bytes() >> PAGE_SHIFT
    }

    /// Whether `va` lies in the range.
    #[inline]
    pub const fn contains(self, va: VirtAddr) -> bool {
        self.start.0 <= va.0 && va.0 < self.end.0
    }

    /// Whether the ranges share a page.
    #[inline]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start.0 < other.end.0 && other.start.0 < self.end.0
    }

    /// The part that both have, if any.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (start < end).then_some(Self { start, end })
    }
}
