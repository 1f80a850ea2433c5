//! Names: handles name capabilities inside a table, table ids name tables.

use core::fmt;

/// Names one capability in one table: a 24-bit slot index and, on top, an 8-bit generation.
///
/// A claim by whoever passes it: a `Handle` may come straight from an untrusted register. It
/// proves nothing until [`CapTable::lookup`](crate::CapTable::lookup) resolves it. Issued
/// generations are 1 to 255, so the value 0 is never a capability, and neither is
/// [`Handle::INVALID`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Handle(u32);

impl Handle {
    /// The value that never resolves.
    pub const INVALID: Self = Self(u32::MAX);

    /// Takes any value, valid or not.
    #[inline]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// The value as it crosses the system call boundary.
    #[inline]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The slot index, 0 to 2^24 - 1.
    #[inline]
    pub const fn index(self) -> u32 {
        self.0 & INDEX_MASK
    }

    /// The generation, 1 to 255 in every handle that was ever issued.
    #[inline]
    pub const fn generation(self) -> u8 {
        (self.0 >> INDEX_BITS) as u8
    }

    pub(crate) const fn new(index: u32, generation: u8) -> Self {
        Self((generation as u32) << INDEX_BITS | (index & INDEX_MASK))
    }
}

impl Default for Handle {
    fn default() -> Self {
        Self::INVALID
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::INVALID => f.write_str("Handle(invalid)"),
            _ => write!(f, "Handle({}.{})", self.index(), self.generation()),
        }
    }
}

/// Names one table of a [`CapSpace`](crate::CapSpace). Never names another one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl TableId {
    /// Names no table: generations of live tables are odd.
    pub const NONE: Self = Self {
        index: 0,
        generation: 0,
    };

    /// The position in the arena of tables: small, unique among live tables, reused later.
    pub const fn index(self) -> u32 {
        self.index
    }
}

const INDEX_BITS: u32 = 24;

/// The index part of a handle. As an index it is out of bounds in every table, so it also marks
/// slots that no handle resolves to.
pub(crate) const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
