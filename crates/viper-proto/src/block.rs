//! The block service (`BLKD:`): sectors of a disk, moved straight between the device and a
//! session's memory.

use viper_rt::handle::{Channel, Memory};
use viper_rt::message::List;
use viper_rt::message_struct;

/// Bytes of a sector.
pub const SECTOR_BYTES: u64 = 512;
/// Most vectors in a request.
pub const VECTORS_MAX: usize = 9;
/// Most sectors that one request may move: 1 MiB.
pub const SECTORS_MAX: u64 = 2048;

message_struct! {
    /// What a disk is.
    pub struct DiskInfo {
        /// Its size in sectors.
        pub sectors: u64,
        /// Whether it refuses to be written.
        pub read_only: bool,
        /// Whether it has a volatile cache that FLUSH empties.
        pub write_cache: bool,
        /// Requests in flight that it takes at once.
        pub queue_depth: u32,
        /// Identifies the medium: the same after the server was restarted.
        pub serial: u64,
    }
}

message_struct! {
    /// A run of sectors, and where in the session's memory it goes.
    pub struct Vector {
        /// First sector.
        pub sector: u64,
        /// Number of sectors.
        pub count: u64,
        /// Byte offset in the session's memory, a multiple of 16.
        pub offset: u64,
    }
}

interface! {
    "block" version 1;

    /// What the disk is.
    1 => retry now info() -> (info: DiskInfo);
    /// Starts a session on this memory, which must be contiguous and stays shared until the session
    /// is closed or the client goes. Needs READ, WRITE and MAP on the memory. At most 8 per client.
    2 => retry now session(memory: Memory) -> (session: u32);
    /// Ends a session. Requests in flight are finished first.
    3 => retry later session_close(session: u32) -> ();
    /// Reads sectors into the session's memory.
    4 => retry later read(session: u32, vectors: List<Vector, VECTORS_MAX>) -> ();
    /// Writes sectors from the session's memory.
    5 => retry later write(session: u32, vectors: List<Vector, VECTORS_MAX>) -> ();
    /// Returns when everything written before is on stable storage.
    6 => retry later flush() -> ();
    /// A channel whose holder has only these sectors: its sector 0 is `first`. They are a part of
    /// what this client has.
    7 => retry now narrow(first: u64, count: u64) -> (channel: Channel);
}
