//! The values that cross the system-call boundary.

use crate::Error;

/// A process's name for one of its capabilities: 24-bit slot index, 8-bit generation on top.
///
/// Having a `Handle` proves nothing: it may be stale, foreign or invented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(transparent)]
pub struct Handle(pub u32);

impl Handle {
    /// Never a valid handle: "none" in messages and the caller itself where a call says so.
    pub const NONE: Handle = Handle(0);

    /// Whether this is [`Handle::NONE`].
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

macro_rules! bits {
    ($(#[$m:meta])* $ty:ident($int:ty) { $( $(#[doc = $d:literal])+ $name:ident = $v:expr; )+ }) => {
        $(#[$m])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        #[repr(transparent)]
        pub struct $ty(pub $int);
        impl $ty {
            /// No bit.
            pub const NONE: $ty = $ty(0);
            $( $(#[doc = $d])+ pub const $name: $ty = $ty($v); )+
            /// Every named bit with its name.
            pub const NAMES: &'static [($ty, &'static str)] = &[$(($ty::$name, stringify!($name))),+];
            /// Whether all bits of `other` are set here.
            #[must_use]
            #[inline]
            pub const fn contains(self, other: $ty) -> bool { self.0 & other.0 == other.0 }
            /// Whether any bit of `other` is set here.
            #[must_use]
            #[inline]
            pub const fn intersects(self, other: $ty) -> bool { self.0 & other.0 != 0 }
            /// The bits of both.
            #[must_use]
            #[inline]
            pub const fn union(self, other: $ty) -> $ty { $ty(self.0 | other.0) }
            /// The bits common to both.
            #[must_use]
            #[inline]
            pub const fn intersection(self, other: $ty) -> $ty { $ty(self.0 & other.0) }
            /// These bits without those of `other`.
            #[must_use]
            #[inline]
            pub const fn without(self, other: $ty) -> $ty { $ty(self.0 & !other.0) }
        }
        impl core::ops::BitOr for $ty {
            type Output = $ty;
            fn bitor(self, other: $ty) -> $ty { self.union(other) }
        }
    };
}

bits! {
    /// What a capability allows. Rights only shrink.
    Rights(u32) {
        /// Derive another handle to the same object in the same table.
        DUPLICATE = 1 << 0;
        /// Send the handle to another process in a message.
        TRANSFER = 1 << 1;
        /// Read the object's content or state.
        READ = 1 << 2;
        /// Change the object's content or state.
        WRITE = 1 << 3;
        /// Map the memory executable.
        EXECUTE = 1 << 4;
        /// Map the memory or the device's registers.
        MAP = 1 << 5;
        /// Send and call on the channel end.
        SEND = 1 << 6;
        /// Receive on the channel end or poll set.
        RECEIVE = 1 << 7;
        /// Signal the event.
        SIGNAL = 1 << 8;
        /// Wait for the object's signals.
        WAIT = 1 << 9;
        /// Control the object: kill, configure, carve parts out of it.
        MANAGE = 1 << 10;
        /// Take the device's interrupts.
        IRQ = 1 << 11;
        /// Use the device's DMA allowance.
        DMA = 1 << 12;
    }
}

impl Rights {
    /// Every right there is.
    pub const ALL: Rights = Rights(0x1fff);
}

bits! {
    /// What may be done with mapped memory. Write and execute exclude each other.
    Protection(u32) {
        /// Loads.
        READ = 1;
        /// Stores.
        WRITE = 2;
        /// Instruction fetches.
        EXECUTE = 4;
        /// Map at exactly the address given, failing if it is taken.
        FIXED = 1 << 8;
        /// Leave an unmapped guard page below the mapping.
        GUARD = 1 << 9;
        /// Map every page now instead of at the first touch.
        POPULATE = 1 << 10;
    }
}

bits! {
    /// How a memory object is made.
    MemoryFlags(u32) {
        /// Physically contiguous and pinned from the start: fit for DMA.
        CONTIGUOUS = 1;
    }
}

bits! {
    /// What has happened to an object. Events use the low 32 bits as they like.
    Signals(u64) {
        /// A message waits.
        READABLE = 1 << 32;
        /// The other end of the channel is gone.
        PEER_CLOSED = 1 << 33;
        /// The process or thread has ended.
        ENDED = 1 << 34;
        /// The timer's deadline passed.
        EXPIRED = 1 << 35;
        /// The interrupt fired.
        INTERRUPT = 1 << 36;
    }
}

/// The first word of a message: length, handle count, what it is, and the sender's label.
///
/// Bits 0-8 length in bytes (0..=256), 9-11 handles (0..=4), 12-15 kind, 32-63 label. The kernel
/// writes the kind; a sender's kind is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct MsgInfo(pub u64);

/// What a receive brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MsgKind {
    /// A message without anyone waiting for an answer.
    Message = 0,
    /// A call: the sender waits for the reply.
    Call = 1,
    /// Signals of a member of a poll set: word 0 holds the bits.
    Signals = 2,
}

impl MsgInfo {
    /// An info word with kind [`MsgKind::Message`].
    ///
    /// `len_bytes` and `handles` beyond the limits are kept as they are and refused by the kernel.
    #[must_use]
    #[inline]
    pub const fn new(label: u32, len_bytes: usize, handles: usize) -> MsgInfo {
        let len = if len_bytes > 0x1ff {
            0x1ff
        } else {
            len_bytes as u64
        };
        let handles = if handles > 7 { 7 } else { handles as u64 };
        MsgInfo((label as u64) << 32 | handles << 9 | len)
    }
    /// The sender's label: an operation or a status.
    #[must_use]
    #[inline]
    pub const fn label(self) -> u32 {
        (self.0 >> 32) as u32
    }
    /// Length of the data in bytes; 0..=256 once the kernel has accepted it.
    #[must_use]
    #[inline]
    pub const fn len(self) -> usize {
        (self.0 & 0x1ff) as usize
    }
    /// Whether the message has no data.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
    /// Number of handles; 0..=4 once the kernel has accepted it.
    #[must_use]
    #[inline]
    pub const fn handles(self) -> usize {
        ((self.0 >> 9) & 7) as usize
    }
    /// What a receive brought.
    #[must_use]
    pub const fn kind(self) -> Option<MsgKind> {
        match (self.0 >> 12) & 15 {
            0 => Some(MsgKind::Message),
            1 => Some(MsgKind::Call),
            2 => Some(MsgKind::Signals),
            _ => None,
        }
    }
    /// The same with another kind.
    #[must_use]
    #[inline]
    pub const fn with_kind(self, kind: MsgKind) -> MsgInfo {
        MsgInfo(self.0 & !(15 << 12) | (kind as u64) << 12)
    }
}

/// Longest message in bytes.
pub const MESSAGE_MAX: usize = 256;
/// Most handles in a message.
pub const MESSAGE_HANDLES_MAX: usize = 4;
/// Message words that travel in registers `x2..=x7`.
pub const MESSAGE_WORDS: usize = 6;
/// Bytes of a message that travel in registers.
pub const MESSAGE_REGISTER_BYTES: usize = MESSAGE_WORDS * 8;
/// A deadline that never comes.
pub const FOREVER: u64 = u64::MAX;
/// A deadline that has passed: do not wait.
pub const NOW: u64 = 0;
/// Size of a page in bytes.
pub const PAGE_SIZE: usize = 4096;
/// Most bytes in the name of a process.
pub const PROCESS_NAME_MAX: usize = 32;
/// Lowest address a program may map.
pub const USER_MIN: u64 = 0x1_0000;
/// First address above a program's address space.
pub const USER_MAX: u64 = 1 << 39;
/// Where IPC buffers are mapped, one page a thread.
pub const IPC_BUFFERS: u64 = 0x7f_0000_0000;
/// Most threads in one process.
pub const THREADS_MAX: usize = 1024;

/// A thread's IPC buffer: one page, writable by the thread, named by `TPIDRRO_EL0`.
///
/// Bytes 0..48 of a message stand in registers; bytes 48..256 and the handles stand here.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct IpcBuffer {
    /// Message data. The first 48 bytes are not used by the kernel.
    pub data: [u8; MESSAGE_MAX],
    /// Handles to move with the message, or that came with it.
    pub handles: [Handle; MESSAGE_HANDLES_MAX],
}

macro_rules! numbered {
    ($(#[$m:meta])* $ty:ident: $int:ty { $( $(#[doc = $d:literal])+ $name:ident = $v:literal; )+ }) => {
        $(#[$m])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(transparent)]
        pub struct $ty(pub $int);
        impl $ty {
            $( $(#[doc = $d])+ pub const $name: $ty = $ty($v); )+
            /// The name in lower case, or "unknown".
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.0 { $( $v => stringify!($name), )+ _ => "unknown" }
            }
        }
    };
}

numbered! {
    /// What a capability names.
    Kind: u32 {
        /// A process.
        PROCESS = 1;
        /// A thread.
        THREAD = 2;
        /// Memory: anonymous, physical or for DMA.
        MEMORY = 3;
        /// One end of a channel.
        CHANNEL = 4;
        /// A set of 32 signal bits.
        EVENT = 5;
        /// A set of objects that can be waited for together.
        POLL_SET = 6;
        /// A timer.
        TIMER = 7;
        /// Registers, interrupts and a DMA allowance.
        DEVICE = 8;
        /// One interrupt line.
        INTERRUPT = 9;
        /// An account that memory and objects are charged to.
        QUOTA = 10;
        /// The right to answer one call, once.
        REPLY = 11;
        /// The machine: debug port, power, lists of everything.
        SYSTEM = 12;
    }
}

numbered! {
    /// How a process ended.
    EndReason: u32 {
        /// It has not ended.
        RUNNING = 0;
        /// `process_exit`; the code is the argument.
        EXITED = 1;
        /// `process_kill` by a holder of the right.
        KILLED = 2;
        /// A fault; `fault_*` tell which.
        FAULT = 3;
        /// The last thread ended without `process_exit`.
        NO_THREADS = 4;
    }
}

numbered! {
    /// What a fault was.
    FaultKind: u32 {
        /// No fault.
        NONE = 0;
        /// A load from an address that is not mapped or not readable.
        READ = 1;
        /// A store to an address that is not mapped or not writable.
        WRITE = 2;
        /// An instruction fetch from an address that is not mapped or not executable.
        EXECUTE = 3;
        /// An undefined instruction.
        ILLEGAL = 4;
        /// A misaligned access, stack pointer or program counter.
        ALIGNMENT = 5;
        /// A breakpoint instruction without a debugger.
        BREAKPOINT = 6;
        /// An exception this list has no name for.
        OTHER = 7;
        /// Touched memory could not be had within the quota.
        NO_MEMORY = 8;
    }
}

numbered! {
    /// What `system_power` does.
    PowerAction: u32 {
        /// Turn the machine off.
        OFF = 0;
        /// Start it again.
        RESET = 1;
    }
}

/// What `process_info` and `process_list` tell of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ProcessInfo {
    /// Identifier, never reused.
    pub id: u64,
    /// Identifier of the process that made it.
    pub parent: u64,
    /// Bytes charged to its quota now.
    pub used_bytes: u64,
    /// Bytes its quota allows.
    pub limit_bytes: u64,
    /// Processor time its threads used, in nanoseconds.
    pub cpu_ns: u64,
    /// Messages its threads sent by `send`, `call` and replies.
    pub ipcs: u64,
    /// Address of the fault, if it ended by one.
    pub fault_address: u64,
    /// Program counter of the fault, if it ended by one.
    pub fault_pc: u64,
    /// Exit code.
    pub exit_code: i64,
    /// How it ended, or [`EndReason::RUNNING`].
    pub end_reason: EndReason,
    /// What the fault was.
    pub fault_kind: FaultKind,
    /// Live threads.
    pub threads: u32,
    /// Handles in its table.
    pub handles: u32,
    /// Highest base priority of its threads.
    pub priority: u32,
    /// Bytes of `name` in use.
    pub name_len: u32,
    /// Name, UTF-8.
    pub name: [u8; 32],
}

/// What `handle_list` and `handle_query` tell of a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct HandleInfo {
    /// The handle.
    pub handle: Handle,
    /// What it names.
    pub kind: Kind,
    /// What it allows.
    pub rights: Rights,
    /// Zero.
    pub reserved: u32,
    /// Identifier of the object: two handles to the same object have the same.
    pub object: u64,
}

/// What `system_info` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct SystemInfo {
    /// RAM of the machine in bytes.
    pub ram_bytes: u64,
    /// RAM not in use, in bytes.
    pub free_bytes: u64,
    /// RAM used by the kernel image, its tables and its heap, in bytes.
    pub kernel_bytes: u64,
    /// Nanoseconds since the machine started.
    pub uptime_ns: u64,
    /// Frequency of `CNTVCT_EL0` in hertz.
    pub counter_hz: u64,
    /// Cores that run.
    pub cores: u32,
    /// Processes.
    pub processes: u32,
    /// Threads.
    pub threads: u32,
    /// Handles of all processes.
    pub handles: u32,
    /// Channels (pairs).
    pub channels: u32,
    /// Memory objects.
    pub memories: u32,
    /// Idle time of all cores, in nanoseconds.
    pub idle_ns: u64,
    /// Messages since the start.
    pub ipcs: u64,
    /// Of these, calls and replies that took the direct path.
    pub ipcs_direct: u64,
    /// Context switches.
    pub switches: u64,
    /// Page faults resolved.
    pub page_faults: u64,
    /// From the kernel's first instruction to the first process, in nanoseconds.
    pub first_ns: u64,
}

/// A value that fits a register.
pub trait Word: Copy {
    /// To the register.
    fn to_word(self) -> u64;
    /// From the register; bits that do not fit are cut.
    fn from_word(word: u64) -> Self;
}

macro_rules! words {
    ($($ty:ty: $to:expr, $from:expr;)+) => { $(
        impl Word for $ty {
            #[inline]
            fn to_word(self) -> u64 { let f: fn($ty) -> u64 = $to; f(self) }
            #[inline]
            fn from_word(word: u64) -> $ty { let f: fn(u64) -> $ty = $from; f(word) }
        }
    )+ };
}
words! {
    u64: |v| v, |w| w;
    u32: u64::from, |w| w as u32;
    i64: |v| v as u64, |w| w as i64;
    Handle: |v| u64::from(v.0), |w| Handle(w as u32);
    Rights: |v| u64::from(v.0), |w| Rights(w as u32);
    Protection: |v| u64::from(v.0), |w| Protection(w as u32);
    MemoryFlags: |v| u64::from(v.0), |w| MemoryFlags(w as u32);
    Signals: |v| v.0, Signals;
    MsgInfo: |v| v.0, MsgInfo;
    Kind: |v| u64::from(v.0), |w| Kind(w as u32);
    PowerAction: |v| u64::from(v.0), |w| PowerAction(w as u32);
}

/// The registers of a system call: arguments on the way in, results on the way out.
///
/// `x0` is the status on the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Registers(pub [u64; 10]);

impl Registers {
    /// The status in `x0` as a result.
    ///
    /// # Errors
    /// The error in `x0`.
    #[inline]
    pub fn status(&self) -> Result<(), Error> {
        Error::check(self.0[0])
    }
}
