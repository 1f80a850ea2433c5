//! Rings of fixed-size entries in memory shared with a peer that is not trusted.
//!
//! One side produces, the other consumes. Each side believes nothing that it finds in the shared
//! memory: it keeps its own position to itself, checks that of the peer each time it is read, and
//! knows the size by agreement ([`RingLayout`]) and not from the header. A hostile peer can make
//! entries garbage, claim entries that do not exist, or stop; it cannot cause an access out of
//! bounds, nor undefined behaviour, as all accesses are atomic ones.
//!
//! Nothing here blocks. Before a side sleeps it says so ([`Consumer::prepare_wait`]), and the
//! other is told by [`Producer::publish`] when a wake-up is due. The wake-up itself is the
//! caller's, and must be remembered if it comes before the sleep, as a notification bit is.

mod consumer;
mod layout;
mod producer;

pub use crate::loom::AtomicU64;
pub use consumer::Consumer;
pub use layout::{Ring, RingHeader, RingLayout};
pub use producer::Producer;

use core::fmt;

/// Why a ring refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RingError {
    /// There is no room until the consumer releases entries.
    Full,
    /// The peer's position is impossible: it is broken or hostile, and the ring is of no use.
    Corrupt,
    /// The header is not one of this version, or of another layout than agreed.
    WrongHeader,
    /// A number of entries that is no power of two, or sizes that are zero or too large.
    BadLayout,
    /// The memory is too small or misaligned.
    BadMemory,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "ring is full",
            Self::Corrupt => "peer has an impossible position in the ring",
            Self::WrongHeader => "ring header is not the agreed one",
            Self::BadLayout => "ring sizes are out of bounds",
            Self::BadMemory => "ring memory is too small or misaligned",
        })
    }
}

impl core::error::Error for RingError {}
