//! Segments to load, and the template of thread-local data.

use crate::{ElfError, PAGE_SIZE};

/// What a segment's memory may be used for. Every segment is readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Perms {
    /// Constants.
    Read,
    /// Data.
    ReadWrite,
    /// Code.
    ReadExecute,
}

/// A part of the file that goes to memory.
///
/// Proven: the file range lies in the file, `file_len <= mem_len`, `mem_len > 0`, nothing wraps
/// around, and offset and address are equal modulo [`PAGE_SIZE`]. Memory past `file_len` is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Where its bytes begin in the file.
    pub file_offset: u64,
    /// How many bytes the file has of it.
    pub file_len: u64,
    /// Where it begins in memory.
    pub vaddr: u64,
    /// How many bytes it takes there.
    pub mem_len: u64,
    /// What it may be used for.
    pub perms: Perms,
}

/// The initial content of thread-local storage.
///
/// Proven: the file range lies in the file, `file_len <= mem_len`, nothing wraps around, the
/// initialised part lies in one segment, the alignment is a power of two of at most [`PAGE_SIZE`].
/// Not proven: that `mem_len` is reasonable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Where the initialised part begins in the file.
    pub file_offset: u64,
    /// Length of the initialised part.
    pub file_len: u64,
    /// Where the initialised part lies in memory once loaded.
    pub vaddr: u64,
    /// Length for each thread, the zeroed rest included.
    pub mem_len: u64,
    /// Alignment for each thread.
    pub align: u64,
}

const FLAG_EXECUTE: u32 = 1;
const FLAG_WRITE: u32 = 2;
const FLAG_READ: u32 = 4;

impl Segment {
    /// First address after it.
    pub const fn end(&self) -> u64 {
        self.vaddr.wrapping_add(self.mem_len)
    }

    /// Address of the first of its pages.
    pub const fn page_start(&self) -> u64 {
        self.vaddr & !(PAGE_SIZE - 1)
    }

    /// First address after its pages.
    pub const fn page_end(&self) -> u64 {
        self.end().wrapping_add(PAGE_SIZE - 1) & !(PAGE_SIZE - 1)
    }

    /// Whether `len` bytes at `vaddr` lie in it.
    pub const fn contains(&self, vaddr: u64, len: u64) -> bool {
        match vaddr.checked_sub(self.vaddr) {
            Some(offset) => len <= self.mem_len && offset <= self.mem_len - len,
            None => false,
        }
    }

    /// The file offset of `len` bytes at `vaddr`, if the file has them in this segment.
    pub const fn file_offset_of(&self, vaddr: u64, len: u64) -> Option<u64> {
        match vaddr.checked_sub(self.vaddr) {
            Some(offset) if len <= self.file_len && offset <= self.file_len - len => {
                Some(self.file_offset + offset)
            }
            _ => None,
        }
    }
}

impl Perms {
    pub(crate) const fn from_flags(flags: u32) -> Result<Self, ElfError> {
        match (
            flags & FLAG_READ != 0,
            flags & FLAG_WRITE != 0,
            flags & FLAG_EXECUTE != 0,
        ) {
            (_, true, true) => Err(ElfError::WriteExecute),
            (_, true, false) => Ok(Self::ReadWrite),
            (_, false, true) => Ok(Self::ReadExecute),
            (true, false, false) => Ok(Self::Read),
            (false, false, false) => Err(ElfError::BadSegment),
        }
    }
}
