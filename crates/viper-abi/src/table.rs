//! The system-call table: the one place where a call is declared.
//!
//! [`for_each_syscall!`](crate::for_each_syscall) hands the whole table to a macro of the reader:
//! the kernel makes its dispatch from it, the runtime its stubs, this crate the numbers and the
//! documentation.

/// Hands the table to the macro `$then`.
///
/// `$then` receives entries of the form
///
/// ```text
/// #[doc = ..] NUMBER => name(arg: Type, ..) -> (result: Type, ..)
///     rights { arg: RIGHT, .. } errors { Error: "when", .. } since VERSION;
/// ```
#[macro_export]
macro_rules! for_each_syscall {
    ($then:path) => {
        $then! {
            /// Give a handle back. The object lives on while anything else names it.
            1 => handle_close(handle: Handle) -> ()
                rights { }
                errors { BadHandle: "`handle` is not in the table" }
                since 1;
            /// Make a second handle to the same object, with these rights or fewer.
            ///
            /// The new handle is derived from the old one: revoking the old one deletes it.
            2 => handle_duplicate(handle: Handle, rights: Rights) -> (copy: Handle)
                rights { handle: DUPLICATE }
                errors {
                    BadHandle: "`handle` is not in the table",
                    NoRight: "`handle` lacks DUPLICATE, or `rights` asks for more than it has",
                    LimitReached: "the handle table is full",
                    OutOfMemory: "the quota has no room for a larger table"
                }
                since 1;
            /// Delete every handle derived from this one, in every process; it stays itself.
            ///
            /// Derived are duplicates, handles given to other processes, and what was made by the
            /// handle's authority: narrowed devices, interrupts, quotas. What is mapped stays
            /// mapped, so that nobody can pull memory away from under those it was shared with.
            3 => handle_revoke(handle: Handle) -> (count: u64)
                rights { handle: DUPLICATE }
                errors { BadHandle: "`handle` is not in the table", NoRight: "`handle` lacks DUPLICATE" }
                since 1;
            /// Tell what a handle is. Writes a `HandleInfo` to `info`.
            4 => handle_query(handle: Handle, info: u64) -> ()
                rights { }
                errors {
                    BadHandle: "`handle` is not in the table",
                    BadAddress: "`info` cannot be written"
                }
                since 1;
            /// Derive a handle with these rights into another process's table.
            ///
            /// Returns the number it has there.
            5 => handle_give(process: Handle, handle: Handle, rights: Rights) -> (there: Handle)
                rights { process: MANAGE, handle: TRANSFER }
                errors {
                    BadHandle: "a handle is not in the table",
                    WrongKind: "`process` is not a process",
                    NoRight: "a right is missing, or `rights` asks for more than `handle` has",
                    Ended: "the process has ended",
                    LimitReached: "its handle table is full",
                    OutOfMemory: "its quota has no room for a larger table"
                }
                since 1;
            /// List a process's handles as `HandleInfo`s, starting at slot index `from`.
            ///
            /// Returns how many were written and the index to go on from (0 at the end).
            6 => handle_list(process: Handle, from: u32, infos: u64, max: u32)
                -> (count: u32, next: u32)
                rights { process: READ }
                errors {
                    BadHandle: "`process` is not in the table",
                    WrongKind: "`process` is not a process",
                    NoRight: "`process` lacks READ",
                    BadAddress: "`infos` cannot be written"
                }
                since 1;

            /// Make a channel: two ends, each a queue of at most `depth` messages (1..=64).
            10 => channel_create(depth: u32) -> (a: Handle, b: Handle)
                rights { }
                errors {
                    InvalidArgument: "`depth` is 0 or above 64",
                    LimitReached: "the handle table is full",
                    OutOfMemory: "the quota is used up"
                }
                since 1;
            /// Send a message and wait for the reply.
            ///
            /// The words and the reply's words are in `x2..=x7`, the deadline in `x8`, the rest of
            /// the message and the handles in the IPC buffer. When a receiver waits, the message
            /// goes straight across, the core switches to it, and it runs on the caller's time and
            /// at the caller's priority if that is higher.
            11 => call(channel: Handle, info: MsgInfo, w0: u64, w1: u64, w2: u64, w3: u64, w4: u64,
                w5: u64) -> (info: MsgInfo, w0: u64, w1: u64, w2: u64, w3: u64, w4: u64, w5: u64)
                rights { channel: SEND }
                errors {
                    BadHandle: "`channel` or a handle in the message is not in the table",
                    WrongKind: "`channel` is not a channel",
                    NoRight: "`channel` lacks SEND, or a handle in the message lacks TRANSFER",
                    MessageTooLarge: "more than 256 bytes or 4 handles",
                    PeerClosed: "the other end is gone, or went before it replied",
                    TimedOut: "the deadline passed; a late reply is dropped",
                    WouldBlock: "the deadline is zero and nobody waits to receive",
                    LimitReached: "a table is full: the handles stay with the sender"
                }
                since 1;
            /// Put a message into the other end's queue, waiting for a place until the deadline.
            12 => send(channel: Handle, info: MsgInfo, w0: u64, w1: u64, w2: u64, w3: u64, w4: u64,
                w5: u64) -> ()
                rights { channel: SEND }
                errors {
                    BadHandle: "`channel` or a handle in the message is not in the table",
                    WrongKind: "`channel` is not a channel",
                    NoRight: "`channel` lacks SEND, or a handle in the message lacks TRANSFER",
                    MessageTooLarge: "more than 256 bytes or 4 handles",
                    PeerClosed: "the other end is gone",
                    TimedOut: "the deadline passed before there was a place",
                    WouldBlock: "the deadline is zero and the queue is full",
                    OutOfMemory: "the quota of the channel's maker is used up"
                }
                since 1;
            /// Take the next message of a channel end, or the next message or signals of a poll set.
            ///
            /// The deadline is in `x8` on the way in. On the way out `x8` is the key of the member
            /// of the poll set (0 for a channel end) and `x1` tells what came. Of a call, the
            /// thread keeps the right to reply until it replies, detaches it or receives again.
            13 => receive(source: Handle) -> (info: MsgInfo, w0: u64, w1: u64, w2: u64, w3: u64,
                w4: u64, w5: u64)
                rights { source: RECEIVE }
                errors {
                    BadHandle: "`source` is not in the table",
                    WrongKind: "`source` is neither a channel nor a poll set",
                    NoRight: "`source` lacks RECEIVE",
                    PeerClosed: "the other end is gone and the queue is empty",
                    TimedOut: "the deadline passed",
                    WouldBlock: "the deadline is zero and nothing waits",
                    LimitReached: "the handle table has no room for the message's handles: it waits on",
                    Busy: "the channel end is a member of a poll set"
                }
                since 1;
            /// Reply to the call received last, and receive as `receive` does.
            ///
            /// Without a call to reply to, it only receives.
            14 => reply_receive(source: Handle, info: MsgInfo, w0: u64, w1: u64, w2: u64, w3: u64,
                w4: u64, w5: u64) -> (info: MsgInfo, w0: u64, w1: u64, w2: u64, w3: u64, w4: u64,
                w5: u64)
                rights { source: RECEIVE }
                errors {
                    BadHandle: "`source` or a handle in the reply is not in the table",
                    WrongKind: "`source` is neither a channel nor a poll set",
                    NoRight: "`source` lacks RECEIVE, or a handle in the reply lacks TRANSFER",
                    MessageTooLarge: "more than 256 bytes or 4 handles",
                    PeerClosed: "the other end is gone and the queue is empty",
                    TimedOut: "the deadline passed",
                    WouldBlock: "the deadline is zero and nothing waits",
                    LimitReached: "a handle table is full",
                    Busy: "the channel end is a member of a poll set"
                }
                since 1;
            /// Reply to a call: by a detached reply, or (`Handle::NONE`) to the call received last.
            ///
            /// The reply right is used up, whether the caller still waits or not.
            15 => reply(reply: Handle, info: MsgInfo, w0: u64, w1: u64, w2: u64, w3: u64, w4: u64,
                w5: u64) -> ()
                rights { }
                errors {
                    BadHandle: "`reply` or a handle in the message is not in the table",
                    WrongKind: "`reply` is not a reply",
                    NoRight: "a handle in the message lacks TRANSFER",
                    MessageTooLarge: "more than 256 bytes or 4 handles",
                    NotFound: "there is no call to reply to, or the caller gave up",
                    LimitReached: "the caller's handle table is full; it gets the error, too"
                }
                since 1;
            /// Turn the right to reply to the call received last into a handle.
            ///
            /// Closing the handle without a reply ends the call with `PeerClosed`.
            16 => reply_detach() -> (reply: Handle)
                rights { }
                errors {
                    NotFound: "there is no call to reply to",
                    LimitReached: "the handle table is full",
                    OutOfMemory: "the quota has no room for a larger table"
                }
                since 1;

            /// Make an event: 32 signal bits, all clear.
            20 => event_create() -> (event: Handle)
                rights { }
                errors { LimitReached: "the handle table is full", OutOfMemory: "the quota is used up" }
                since 1;
            /// Set bits of an event, and wake who waits for them.
            21 => event_signal(event: Handle, bits: u32) -> ()
                rights { event: SIGNAL }
                errors {
                    BadHandle: "`event` is not in the table",
                    WrongKind: "`event` is not an event",
                    NoRight: "`event` lacks SIGNAL"
                }
                since 1;
            /// Wait until one of the signals in `mask` is set, and take it.
            ///
            /// Bits of events, EXPIRED and INTERRUPT are cleared by being returned; READABLE,
            /// PEER_CLOSED and ENDED stay. `deadline` is absolute, in nanoseconds of uptime.
            22 => object_wait(object: Handle, mask: Signals, deadline: u64) -> (signals: Signals)
                rights { object: WAIT }
                errors {
                    BadHandle: "`object` is not in the table, or the object ended meanwhile",
                    WrongKind: "the object has no signals",
                    NoRight: "`object` lacks WAIT",
                    InvalidArgument: "`mask` is empty",
                    TimedOut: "the deadline passed",
                    WouldBlock: "the deadline is zero and no signal is set",
                    Busy: "the object is a member of a poll set"
                }
                since 1;
            /// Make a poll set: a set of objects that are waited for together with `receive`.
            23 => poll_create() -> (set: Handle)
                rights { }
                errors { LimitReached: "the handle table is full", OutOfMemory: "the quota is used up" }
                since 1;
            /// Put an object into a poll set, under a key of the caller's choice.
            ///
            /// From then on its messages and the signals in `mask` come out of the set, in turn.
            24 => poll_add(set: Handle, object: Handle, key: u64, mask: Signals) -> ()
                rights { set: MANAGE, object: WAIT }
                errors {
                    BadHandle: "a handle is not in the table",
                    WrongKind: "`set` is not a poll set, or the object has no signals",
                    NoRight: "`set` lacks MANAGE or `object` lacks WAIT (channels: RECEIVE)",
                    AlreadyExists: "the object is in a poll set already"
                }
                since 1;
            /// Take an object out of the poll set it is in.
            25 => poll_remove(set: Handle, object: Handle) -> ()
                rights { set: MANAGE }
                errors {
                    BadHandle: "a handle is not in the table",
                    WrongKind: "`set` is not a poll set",
                    NoRight: "`set` lacks MANAGE",
                    NotFound: "the object is not in this set"
                }
                since 1;
            /// Make a timer, not running.
            26 => timer_create() -> (timer: Handle)
                rights { }
                errors { LimitReached: "the handle table is full", OutOfMemory: "the quota is used up" }
                since 1;
            /// Start, move or (`FOREVER`) stop a timer; it sets EXPIRED at `deadline`.
            ///
            /// With a `period_ns` above zero (at least 1000) it goes on from there.
            27 => timer_set(timer: Handle, deadline: u64, period_ns: u64) -> ()
                rights { timer: WRITE }
                errors {
                    BadHandle: "`timer` is not in the table",
                    WrongKind: "`timer` is not a timer",
                    NoRight: "`timer` lacks WRITE",
                    InvalidArgument: "`period_ns` is between 1 and 999",
                    OutOfMemory: "no place in the queue of deadlines"
                }
                since 1;
            /// Nanoseconds since the machine started.
            28 => clock_now() -> (now_ns: u64)
                rights { }
                errors { }
                since 1;
            /// Sleep until `deadline`.
            29 => sleep_until(deadline: u64) -> ()
                rights { }
                errors { }
                since 1;

            /// Make a memory object of `size_bytes` (rounded up to pages), all zero.
            ///
            /// Pages are charged to the caller's quota when they are first touched; contiguous
            /// memory at once. At most 4 GiB; contiguous at most 16 MiB.
            40 => memory_create(size_bytes: u64, flags: MemoryFlags) -> (memory: Handle)
                rights { }
                errors {
                    InvalidArgument: "the size is zero or too large, or a flag is unknown",
                    LimitReached: "the handle table is full",
                    OutOfMemory: "the quota or the machine has no room"
                }
                since 1;
            /// Make a copy-on-write copy of a memory object.
            41 => memory_clone(memory: Handle) -> (copy: Handle)
                rights { memory: READ }
                errors {
                    BadHandle: "`memory` is not in the table",
                    WrongKind: "`memory` is not memory",
                    NoRight: "`memory` lacks READ",
                    NotSupported: "the memory is contiguous or physical",
                    LimitReached: "the handle table is full",
                    OutOfMemory: "the quota or the machine has no room"
                }
                since 1;
            /// Map part of a memory object into a process (`Handle::NONE`: the caller).
            ///
            /// `address` is a hint (0: anywhere) unless FIXED is set. Offset in pages, length
            /// rounded up to pages.
            42 => memory_map(process: Handle, memory: Handle, offset: u64, len_bytes: u64,
                protection: Protection, address: u64) -> (address: u64)
                rights { process: MANAGE, memory: MAP }
                errors {
                    BadHandle: "a handle is not in the table",
                    WrongKind: "`process` is not a process or `memory` is not memory",
                    NoRight: "a right is missing: MANAGE; MAP and READ, WRITE, EXECUTE as asked",
                    InvalidArgument: "empty, unaligned, outside of the object, or write with execute",
                    AlreadyExists: "FIXED, and something is mapped there",
                    Ended: "the process has ended",
                    OutOfMemory: "no room in the address space, the quota or the machine"
                }
                since 1;
            /// Unmap whole pages.
            43 => memory_unmap(process: Handle, address: u64, len_bytes: u64) -> ()
                rights { process: MANAGE }
                errors {
                    BadHandle: "`process` is not in the table",
                    WrongKind: "`process` is not a process",
                    NoRight: "`process` lacks MANAGE",
                    InvalidArgument: "empty, unaligned or outside of the address space",
                    OutOfMemory: "splitting a mapping needs memory that is not there"
                }
                since 1;
            /// Change the protection of mapped pages, within the rights they were mapped with.
            44 => memory_protect(process: Handle, address: u64, len_bytes: u64,
                protection: Protection) -> ()
                rights { process: MANAGE }
                errors {
                    BadHandle: "`process` is not in the table",
                    WrongKind: "`process` is not a process",
                    NoRight: "`process` lacks MANAGE, or the memory's handle lacked the right",
                    InvalidArgument: "empty, unaligned, not mapped, or write with execute",
                    OutOfMemory: "splitting a mapping needs memory that is not there"
                }
                since 1;
            /// Size of a memory object and how much of it has frames.
            45 => memory_info(memory: Handle) -> (size_bytes: u64, committed_bytes: u64)
                rights { }
                errors { BadHandle: "`memory` is not in the table", WrongKind: "`memory` is not memory" }
                since 1;
            /// Copy from a memory object into the caller's memory. At most 1 MiB.
            46 => memory_read(memory: Handle, offset: u64, address: u64, len_bytes: u64) -> ()
                rights { memory: READ }
                errors {
                    BadHandle: "`memory` is not in the table",
                    WrongKind: "`memory` is not memory",
                    NoRight: "`memory` lacks READ",
                    InvalidArgument: "outside of the object or too long",
                    BadAddress: "the caller's memory cannot be written",
                    OutOfMemory: "a page could not be had"
                }
                since 1;
            /// Copy from the caller's memory into a memory object. At most 1 MiB.
            47 => memory_write(memory: Handle, offset: u64, address: u64, len_bytes: u64) -> ()
                rights { memory: WRITE }
                errors {
                    BadHandle: "`memory` is not in the table",
                    WrongKind: "`memory` is not memory",
                    NoRight: "`memory` lacks WRITE",
                    InvalidArgument: "outside of the object or too long",
                    BadAddress: "the caller's memory cannot be read",
                    OutOfMemory: "a page could not be had"
                }
                since 1;
            /// Make instructions that were written to mapped pages visible to all cores.
            48 => memory_sync_code(address: u64, len_bytes: u64) -> ()
                rights { }
                errors { BadAddress: "a page is not mapped", InvalidArgument: "longer than 16 MiB" }
                since 1;

            /// Make an empty process that is charged to `quota`. At most 32 bytes of name.
            50 => process_create(quota: Handle, name: u64, name_len: u32) -> (process: Handle)
                rights { quota: WRITE }
                errors {
                    BadHandle: "`quota` is not in the table",
                    WrongKind: "`quota` is not a quota",
                    NoRight: "`quota` lacks WRITE",
                    InvalidArgument: "the name is too long or not UTF-8",
                    BadAddress: "the name cannot be read",
                    LimitReached: "the handle table is full, or no address space is left",
                    OutOfMemory: "the quota or the machine has no room"
                }
                since 1;
            /// End the calling process.
            51 => process_exit(code: i64) -> ()
                rights { }
                errors { }
                since 1;
            /// End a process; it ends as [`EndReason::KILLED`].
            52 => process_kill(process: Handle, code: i64) -> ()
                rights { process: MANAGE }
                errors {
                    BadHandle: "`process` is not in the table",
                    WrongKind: "`process` is not a process",
                    NoRight: "`process` lacks MANAGE",
                    Ended: "it has ended already"
                }
                since 1;
            /// Tell about a process (`Handle::NONE`: the caller). Writes a `ProcessInfo`.
            53 => process_info(process: Handle, info: u64) -> ()
                rights { process: READ }
                errors {
                    BadHandle: "`process` is not in the table",
                    WrongKind: "`process` is not a process",
                    NoRight: "`process` lacks READ",
                    BadAddress: "`info` cannot be written"
                }
                since 1;
            /// List processes as `ProcessInfo`s with ids from `from` on.
            54 => process_list(system: Handle, from: u64, infos: u64, max: u32)
                -> (count: u32, next: u64)
                rights { system: READ }
                errors {
                    BadHandle: "`system` is not in the table",
                    WrongKind: "`system` is not the system",
                    NoRight: "`system` lacks READ",
                    BadAddress: "`infos` cannot be written"
                }
                since 1;
            /// Get a handle to the process with this id.
            55 => process_open(system: Handle, id: u64) -> (process: Handle)
                rights { system: MANAGE }
                errors {
                    BadHandle: "`system` is not in the table",
                    WrongKind: "`system` is not the system",
                    NoRight: "`system` lacks MANAGE",
                    NotFound: "no such process",
                    LimitReached: "the handle table is full",
                    OutOfMemory: "the quota has no room for a larger table"
                }
                since 1;
            /// Lower the most handles and threads that a process can have at a time.
            ///
            /// A limit above the present one changes nothing; what there is already stays.
            56 => process_limit(process: Handle, handles: u32, threads: u32) -> ()
                rights { process: MANAGE }
                errors {
                    BadHandle: "`process` is not in the table",
                    WrongKind: "`process` is not a process",
                    NoRight: "`process` lacks MANAGE",
                    Ended: "the process has ended"
                }
                since 1;
            /// Make a thread in a process (`Handle::NONE`: the caller) and start it.
            ///
            /// It begins at `entry` with `x0 = argument` and the given stack pointer and
            /// `TPIDR_EL0`. `options` is priority (bits 0-7, 0..=7, at most the caller's own) and
            /// affinity (bits 8-15, a mask of cores, 0 for any).
            60 => thread_create(process: Handle, entry: u64, stack: u64, argument: u64, tls: u64,
                options: u64) -> (thread: Handle, id: u64)
                rights { process: MANAGE }
                errors {
                    BadHandle: "`process` is not in the table",
                    WrongKind: "`process` is not a process",
                    NoRight: "`process` lacks MANAGE, or the priority is above the caller's",
                    InvalidArgument: "a core or priority that does not exist, or stack not aligned to 16",
                    Ended: "the process has ended",
                    LimitReached: "too many threads, or the handle table is full",
                    OutOfMemory: "the quota or the machine has no room"
                }
                since 1;
            /// End the calling thread.
            61 => thread_exit() -> ()
                rights { }
                errors { }
                since 1;
            /// Change a thread's priority and affinity (`Handle::NONE`: the caller).
            62 => thread_set(thread: Handle, options: u64) -> ()
                rights { thread: MANAGE }
                errors {
                    BadHandle: "`thread` is not in the table",
                    WrongKind: "`thread` is not a thread",
                    NoRight: "`thread` lacks MANAGE, or the priority is above the caller's",
                    InvalidArgument: "a core or priority that does not exist",
                    Ended: "the thread has ended"
                }
                since 1;
            /// Let another thread of the same priority run.
            63 => thread_yield() -> ()
                rights { }
                errors { }
                since 1;

            /// Wait until woken, if the 32-bit word at `address` still is `expected`.
            70 => futex_wait(address: u64, expected: u32, deadline: u64) -> ()
                rights { }
                errors {
                    BadAddress: "`address` is unaligned or cannot be read",
                    WouldBlock: "the word is not `expected`",
                    TimedOut: "the deadline passed"
                }
                since 1;
            /// Wake at most `count` threads that wait at this address. Returns how many.
            71 => futex_wake(address: u64, count: u32) -> (woken: u32)
                rights { }
                errors { BadAddress: "`address` is unaligned or not mapped" }
                since 1;

            /// Carve a quota out of another. What it does not use stays with the parent. The new
            /// handle is derived from the old one.
            80 => quota_create(parent: Handle, limit_bytes: u64) -> (quota: Handle)
                rights { parent: WRITE }
                errors {
                    BadHandle: "`parent` is not in the table",
                    WrongKind: "`parent` is not a quota",
                    NoRight: "`parent` lacks WRITE",
                    LimitReached: "the handle table is full, or quotas nest deeper than 8",
                    OutOfMemory: "the caller's quota is used up"
                }
                since 1;
            /// What a quota allows and what is used.
            81 => quota_info(quota: Handle) -> (limit_bytes: u64, used_bytes: u64)
                rights { quota: READ }
                errors {
                    BadHandle: "`quota` is not in the table",
                    WrongKind: "`quota` is not a quota",
                    NoRight: "`quota` lacks READ"
                }
                since 1;

            /// Narrow a device to part of its registers, interrupts and DMA allowance.
            ///
            /// `interrupts` is the first line in bits 0-31 and the number of lines in 32-63. The
            /// new handle is derived from the old one and has its rights.
            90 => device_narrow(device: Handle, base: u64, len_bytes: u64, interrupts: u64,
                dma_bytes: u64) -> (narrowed: Handle)
                rights { device: MANAGE }
                errors {
                    BadHandle: "`device` is not in the table",
                    WrongKind: "`device` is not a device",
                    NoRight: "`device` lacks MANAGE",
                    InvalidArgument: "not within the device's own ranges",
                    LimitReached: "the handle table is full",
                    OutOfMemory: "the quota is used up"
                }
                since 1;
            /// What a device is: its registers, interrupts and DMA allowance left.
            91 => device_info(device: Handle)
                -> (base: u64, len_bytes: u64, interrupts: u64, dma_bytes: u64)
                rights { }
                errors { BadHandle: "`device` is not in the table", WrongKind: "`device` is not a device" }
                since 1;
            /// Map a device's registers. Only whole pages that belong to it alone.
            92 => device_map(device: Handle) -> (address: u64)
                rights { device: MAP }
                errors {
                    BadHandle: "`device` is not in the table",
                    WrongKind: "`device` is not a device",
                    NoRight: "`device` lacks MAP",
                    NotSupported: "the registers share a page with others: use device_read and device_write",
                    OutOfMemory: "no room in the address space, the quota or the machine"
                }
                since 1;
            /// Read a 32-bit register at a byte offset.
            93 => device_read(device: Handle, offset: u64) -> (value: u32)
                rights { device: MAP }
                errors {
                    BadHandle: "`device` is not in the table",
                    WrongKind: "`device` is not a device",
                    NoRight: "`device` lacks MAP",
                    InvalidArgument: "unaligned or outside of the device"
                }
                since 1;
            /// Write a 32-bit register at a byte offset.
            94 => device_write(device: Handle, offset: u64, value: u32) -> ()
                rights { device: MAP }
                errors {
                    BadHandle: "`device` is not in the table",
                    WrongKind: "`device` is not a device",
                    NoRight: "`device` lacks MAP",
                    InvalidArgument: "unaligned or outside of the device"
                }
                since 1;
            /// Take one of a device's interrupt lines (`index` counts from its first).
            ///
            /// The line is enabled; when it fires it is masked, and INTERRUPT set, until
            /// `interrupt_ack`. It has one owner at a time, and is derived from the device.
            95 => interrupt_create(device: Handle, index: u32) -> (interrupt: Handle)
                rights { device: IRQ }
                errors {
                    BadHandle: "`device` is not in the table",
                    WrongKind: "`device` is not a device",
                    NoRight: "`device` lacks IRQ",
                    InvalidArgument: "the device has no such line",
                    Busy: "the line has an owner",
                    LimitReached: "the handle table is full",
                    OutOfMemory: "the quota is used up"
                }
                since 1;
            /// Unmask an interrupt after it was handled.
            96 => interrupt_ack(interrupt: Handle) -> ()
                rights { interrupt: WAIT }
                errors {
                    BadHandle: "`interrupt` is not in the table",
                    WrongKind: "`interrupt` is not an interrupt",
                    NoRight: "`interrupt` lacks WAIT"
                }
                since 1;
            /// Make contiguous memory for a device, and tell the address the device sees it at.
            ///
            /// Counts against the device's DMA allowance and the quota.
            97 => dma_create(device: Handle, size_bytes: u64) -> (memory: Handle, device_address: u64)
                rights { device: DMA }
                errors {
                    BadHandle: "`device` is not in the table",
                    WrongKind: "`device` is not a device",
                    NoRight: "`device` lacks DMA",
                    InvalidArgument: "the size is zero or above 16 MiB",
                    LimitReached: "the DMA allowance is used up, or the handle table is full",
                    OutOfMemory: "the quota or the machine has no room"
                }
                since 1;
            /// Let a device use somebody's contiguous memory: its address as the device sees it.
            ///
            /// The memory keeps its frames as long as the device exists or the memory does.
            98 => dma_address(device: Handle, memory: Handle) -> (device_address: u64, size_bytes: u64)
                rights { device: DMA, memory: MAP }
                errors {
                    BadHandle: "a handle is not in the table",
                    WrongKind: "not a device, or not memory",
                    NoRight: "`device` lacks DMA or `memory` lacks MAP",
                    NotSupported: "the memory is not contiguous"
                }
                since 1;

            /// Write to the debug port. At most 256 bytes.
            100 => debug_write(system: Handle, text: u64, len: u32) -> ()
                rights { system: WRITE }
                errors {
                    BadHandle: "`system` is not in the table",
                    WrongKind: "`system` is not the system",
                    NoRight: "`system` lacks WRITE",
                    InvalidArgument: "longer than 256 bytes",
                    BadAddress: "the text cannot be read"
                }
                since 1;
            /// Read from the debug port, waiting for the first byte until the deadline.
            ///
            /// For recovery: takes the port's interrupt away from any driver.
            101 => debug_read(system: Handle, text: u64, len: u32, deadline: u64) -> (count: u32)
                rights { system: MANAGE }
                errors {
                    BadHandle: "`system` is not in the table",
                    WrongKind: "`system` is not the system",
                    NoRight: "`system` lacks MANAGE",
                    InvalidArgument: "empty or longer than 256 bytes",
                    BadAddress: "the text cannot be written",
                    TimedOut: "the deadline passed"
                }
                since 1;
            /// Turn the machine off or start it again.
            102 => system_power(system: Handle, action: PowerAction) -> ()
                rights { system: MANAGE }
                errors {
                    BadHandle: "`system` is not in the table",
                    WrongKind: "`system` is not the system",
                    NoRight: "`system` lacks MANAGE",
                    InvalidArgument: "no such action"
                }
                since 1;
            /// Tell about the machine. Writes a `SystemInfo`.
            103 => system_info(system: Handle, info: u64) -> ()
                rights { system: READ }
                errors {
                    BadHandle: "`system` is not in the table",
                    WrongKind: "`system` is not the system",
                    NoRight: "`system` lacks READ",
                    BadAddress: "`info` cannot be written"
                }
                since 1;
            /// Do nothing: what entering and leaving the kernel costs.
            104 => null() -> ()
                rights { }
                errors { }
                since 1;
        }
    };
}
