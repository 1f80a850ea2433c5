//! The name service: what a process reaches through the channel in `Slot::NAMES`.
//!
//! A service name ends with a colon, as does an assign. Names are not case-sensitive.

use viper_rt::handle::{Channel, Memory, Process, System};
use viper_rt::message::Bytes;
use viper_rt::message_struct;

message_struct! {
    /// A server that the manifest names.
    pub struct ServerStatus {
        /// Its process, 0 if it does not run.
        pub process_id: u64,
        /// See [`state`].
        pub state: u32,
        /// How often it was started.
        pub starts: u32,
        /// Nanoseconds of uptime when it was started last.
        pub started_ns: u64,
        /// The exit code it ended with last.
        pub exit_code: i64,
    }
}

/// What a server is doing.
pub mod state {
    /// Switched off at boot, or by command.
    pub const OFF: u32 = 0;
    /// Started, not ready yet.
    pub const STARTING: u32 = 1;
    /// Serves.
    pub const READY: u32 = 2;
    /// Ended; waits for its next start.
    pub const WAITING: u32 = 3;
    /// Ended too often; not started again by itself.
    pub const FAILED: u32 = 4;
}

/// Rights of a name channel.
pub mod rights {
    /// Change assigns.
    pub const ASSIGN: u64 = 1;
    /// Start, stop and kill servers.
    pub const MANAGE: u64 = 2;
    /// Get the system: debug port, lists of processes, power.
    pub const SYSTEM: u64 = 4;
    /// Read trace rings.
    pub const TRACE: u64 = 8;
    /// Read the boot archive.
    pub const BOOT: u64 = 16;
    /// Leave bytes for a successor.
    pub const KEEP: u64 = 32;
    /// Set the clock.
    pub const CLOCK: u64 = 64;
    /// All of them.
    pub const ALL: u64 = 127;
}

interface! {
    "names" version 1;

    /// Connects to a service. Waits until it is ready, at most until the deadline; a service that
    /// is switched off or has failed for good is `NoService` at once, an unknown one `NotFound`.
    1 => retry later connect(name: Bytes, deadline: u64) -> (channel: Channel);
    /// Makes a name channel for a child, with these rights or fewer.
    2 => once now duplicate(rights: u64) -> (channel: Channel);
    /// Sets an assign: `name` (with its colon) stands for `path` from now on. Needs ASSIGN.
    3 => retry now assign_set(name: Bytes, path: Bytes) -> ();
    /// Removes an assign. Needs ASSIGN.
    4 => once now assign_remove(name: Bytes) -> ();
    /// What an assign stands for.
    5 => retry now assign_get(name: Bytes) -> (path: Bytes);
    /// The assign at `index`, in alphabetical order: name and path. `NotFound` behind the last.
    6 => retry now assign_at(index: u32) -> (name: Bytes, path: Bytes);
    /// The server at `index`, in the order of the manifest. `NotFound` behind the last.
    7 => retry now server_at(index: u32) -> (name: Bytes, status: ServerStatus);
    /// What a server is doing.
    8 => retry now server_status(name: Bytes) -> (status: ServerStatus);
    /// Ends a server; its restart rule applies. Needs MANAGE.
    9 => once now server_kill(name: Bytes) -> ();
    /// Ends a server if it runs, and starts it at once, whatever its state. Needs MANAGE.
    10 => once now server_restart(name: Bytes) -> ();
    /// Ends a server and switches it off. Needs MANAGE.
    11 => once now server_stop(name: Bytes) -> ();
    /// The system, with the rights it grants to programs. Needs SYSTEM.
    12 => retry now system() -> (system: System);
    /// The process of a server. Needs MANAGE.
    13 => retry now server_process(name: Bytes) -> (process: Process);
    /// The trace ring of a server, to be mapped read-only. Needs TRACE.
    14 => retry now trace_ring(name: Bytes) -> (ring: Memory);
    /// A file of the boot archive: its length, and its bytes from `offset` on as far as they fit a
    /// message. Needs BOOT, as the next two.
    15 => retry now boot_file(name: Bytes, offset: u64) -> (len_bytes: u64, bytes: Bytes);
    /// A file of the boot archive as memory of its own, and its length.
    16 => retry now boot_memory(name: Bytes) -> (len_bytes: u64, memory: Memory);
    /// The name of the boot file at `index`, and its length. `NotFound` behind the last.
    17 => retry now boot_at(index: u32) -> (len_bytes: u64, name: Bytes);
    /// Nanoseconds between 1970 and the start of the machine. `NoService` without a clock.
    18 => retry now wall_clock() -> (boot_ns: u64);
    /// Ends a process, what it started, and what that started. Only its starter may, and only if
    /// the manifest names the starter. A process that has ended is no trouble.
    19 => retry now end_family(process_id: u64) -> ();
    /// Keeps bytes in a slot (0 to 15) until the machine stops, for the process of the manifest that
    /// this channel belongs to, also for those that follow when it dies. No bytes: forgets them.
    /// Needs KEEP, as the next.
    20 => retry now keep(slot: u32, bytes: Bytes) -> ();
    /// The bytes kept in a slot, none if there are none.
    21 => retry now kept(slot: u32) -> (bytes: Bytes);
    /// Makes a name channel for a child that works for a user: servers are told so of each client
    /// that comes by it, and by channels made from it. Only user 0 may name another than itself.
    22 => once now duplicate_as(rights: u64, user: u32, group: u32) -> (channel: Channel);
    /// Sets what `wall_clock` says from now on, until the machine stops. `InvalidArgument` for a
    /// time that has no nanoseconds since 1970. Needs CLOCK.
    23 => retry now set_wall_clock(boot_ns: u64) -> ();
}
