//! The one error type of this crate.

use core::fmt;

/// Why an operation was refused. A refused operation changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CapError {
    /// The table id names no live table: never created, being destroyed, or gone.
    BadTable,
    /// The handle does not resolve: never issued, closed, moved away or revoked.
    BadHandle,
    /// The requested rights are not a subset of the rights held.
    RightsExceeded,
    /// The caller needs rights that the capability does not have.
    RightsMissing,
    /// The table holds as many capabilities, or has used up as many slots, as its limits allow.
    TableFull,
    /// The allocator refused memory. Retrying may help.
    OutOfMemory,
    /// The same handle was named twice in one move.
    DuplicateHandle,
    /// More handles in one move than [`MOVE_MAX`](crate::MOVE_MAX).
    TooManyHandles,
}

impl fmt::Display for CapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadTable => "no such capability table",
            Self::BadHandle => "handle does not resolve",
            Self::RightsExceeded => "requested rights exceed the rights held",
            Self::RightsMissing => "capability lacks a needed right",
            Self::TableFull => "capability table is full",
            Self::OutOfMemory => "out of memory for capabilities",
            Self::DuplicateHandle => "handle named twice in one move",
            Self::TooManyHandles => "too many handles in one move",
        })
    }
}

impl core::error::Error for CapError {}
