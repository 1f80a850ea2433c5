//! The one error type of this crate.

use core::fmt;

/// Why an operation was refused. A refused operation changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SchedError {
    /// The scheduler was asked for no core, or for more than [`CORES_MAX`](crate::CORES_MAX).
    CoreCount,
    /// The scheduler does not know this thread.
    NoThread,
    /// The scheduler knows this thread already.
    ThreadExists,
    /// The affinity names none of the scheduler's cores.
    NoCore,
    /// The thread is not in a state for this: woken while runnable, for example.
    WrongState,
    /// The allocator refused memory. Retrying may help.
    OutOfMemory,
}

impl fmt::Display for SchedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CoreCount => "unsupported number of cores",
            Self::NoThread => "no such thread",
            Self::ThreadExists => "thread exists already",
            Self::NoCore => "affinity names no core",
            Self::WrongState => "thread is in the wrong state",
            Self::OutOfMemory => "out of memory for threads",
        })
    }
}

impl core::error::Error for SchedError {}
