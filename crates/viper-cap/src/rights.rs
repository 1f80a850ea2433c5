//! Rights: a set of bits whose meaning belongs to the user of this crate.

use core::fmt;
use core::ops::{BitAnd, BitOr};

/// A set of rights. Deriving a capability can only keep or drop members, never add any.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Rights(u32);

impl Rights {
    /// No right at all.
    pub const NONE: Self = Self(0);
    /// Every right.
    pub const ALL: Self = Self(u32::MAX);

    /// The set whose members are the one bits of `bits`.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The members as bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether every member of `other` is in `self`.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether every member of `self` is in `other`.
    #[inline]
    pub const fn is_subset_of(self, other: Self) -> bool {
        other.contains(self)
    }

    /// The members in both sets.
    #[inline]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The members in either set. For naming combinations; a capability never gains rights.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the set has no member.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitAnd for Rights {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        self.intersection(other)
    }
}

impl BitOr for Rights {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({:#x})", self.0)
    }
}
