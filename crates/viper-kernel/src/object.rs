//! The kernel's objects, apart from threads: what they hold and how they are named.

use viper_abi::{EndReason, FaultKind, Kind, Signals};
use viper_cap::{Parked, TableId};
use viper_vm::{Frame, PageList, PageRange, PageTable, RegionMap, RegionValue};

use crate::arena::NIL;
use crate::thread::Queue;

/// What a capability names: an object, and something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// What it is.
    pub kind: Kind,
    /// Where it is in the arena of its kind. Channel ends: twice the channel, plus the side.
    pub index: u32,
    /// For a reply: the number of the call. For a process on its way out: [`ObjectRef::ENDING`].
    pub extra: u64,
}

impl ObjectRef {
    /// Says of a process among the dead that its last thread is gone, not its last name.
    pub const ENDING: u64 = 1;

    /// An object without an extra.
    pub const fn new(kind: Kind, index: u32) -> ObjectRef {
        ObjectRef {
            kind,
            index,
            extra: 0,
        }
    }
}

/// Signals, who waits for them, and the poll set they go to.
#[derive(Clone, Copy, Debug)]
pub struct Notifier {
    /// What is set.
    pub signals: Signals,
    /// Threads in `object_wait`.
    pub waiters: Queue,
    /// Its membership in a poll set, or `NIL`.
    pub member: u32,
}

impl Notifier {
    /// Nothing set, nobody waits.
    pub const NEW: Notifier = Notifier {
        signals: Signals::NONE,
        waiters: Queue::EMPTY,
        member: NIL,
    };
}

/// A process.
pub struct Process {
    /// Its handles.
    pub table: TableId,
    /// What it is charged to.
    pub quota: u32,
    /// Its translation tables, until it has ended.
    pub pages: Option<PageTable>,
    /// Its ASID.
    pub asid: u16,
    /// What is mapped where.
    pub regions: RegionMap<Region>,
    /// Its threads.
    pub threads: Queue,
    /// How many of them live.
    pub thread_count: u32,
    /// How many may.
    pub threads_max: u32,
    /// Which IPC buffers are taken.
    pub ipc_slots: [u64; viper_abi::THREADS_MAX / 64],
    /// Its signals.
    pub notifier: Notifier,
    /// Capabilities and kernel references to it.
    pub refs: u32,
    /// Unique number.
    pub id: u64,
    /// The process that made it.
    pub parent: u64,
    /// How it ended.
    pub end: End,
    /// Processor time of threads that have ended, in nanoseconds.
    pub cpu_ns: u64,
    /// Messages that threads sent which have ended.
    pub ipcs: u64,
    /// Its name.
    pub name: [u8; 32],
    /// Bytes of the name in use.
    pub name_len: u8,
    /// Bytes charged for itself, its translation tables and its handle table.
    pub overhead_bytes: u64,
    /// Of these, bytes for the handle table.
    pub table_bytes: u64,
    /// Its translation tables, on their way out.
    pub ruin: Option<viper_vm::Destroy>,
}

/// How a process ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// Exit code.
    pub code: i64,
    /// If by a fault, which.
    pub fault: FaultKind,
    /// Its address.
    pub address: u64,
    /// Its program counter.
    pub pc: u64,
}

impl End {
    /// It runs.
    pub const RUNNING: End = End {
        reason: EndReason::RUNNING,
        code: 0,
        fault: FaultKind::NONE,
        address: 0,
        pc: 0,
    };
}

/// Part of a memory object, mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The memory object, or `NIL` for IPC buffers, device registers and other fixed frames.
    pub memory: u32,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is allowed: `Protection` bits 0..=2.
    pub protection: u8,
    /// What may be allowed.
    pub protection_max: u8,
}

impl RegionValue for Region {
    fn advanced(self, offset_bytes: u64) -> Region {
        Region {
            offset: self.offset.saturating_add(offset_bytes),
            ..self
        }
    }
}

/// A memory object.
pub struct Memory {
    /// Its pages.
    pub backing: Backing,
    /// Its size.
    pub len_pages: u32,
    /// What its pages are charged to.
    pub quota: u32,
    /// Capabilities and mappings.
    pub refs: u32,
    /// Mappings among these.
    pub maps: u32,
    /// Threads that wait at futex words in it.
    pub futexes: Queue,
}

/// Where a memory object's pages are.
pub enum Backing {
    /// Frames that come when they are touched, and may be shared copy-on-write.
    Paged(PageList),
    /// Contiguous frames that belong to it.
    Contiguous(Frame),
    /// Frames that belong to nobody: parts of the boot image. Read-only.
    Fixed(Frame),
}

/// One end of a channel. Ends `2n` and `2n + 1` belong together.
#[derive(Debug)]
pub struct ChannelEnd {
    /// Capabilities to it. At zero it is closed.
    pub refs: u32,
    /// Threads that wait to receive here.
    pub receivers: Queue,
    /// Threads that wait to hand a message over to this end.
    pub senders: Queue,
    /// First and last queued message.
    pub messages: (u32, u32),
    /// How many messages are queued.
    pub queued: u32,
    /// Who waits for its signals. The signals themselves are computed.
    pub notifier: Notifier,
    /// It is closed and everything that waited at it has been told.
    pub is_buried: bool,
}

impl ChannelEnd {
    /// A fresh end with one capability.
    pub const NEW: ChannelEnd = ChannelEnd {
        refs: 1,
        receivers: Queue::EMPTY,
        senders: Queue::EMPTY,
        messages: (NIL, NIL),
        queued: 0,
        notifier: Notifier::NEW,
        is_buried: false,
    };
}

/// A channel.
pub struct Channel {
    /// The two ends.
    pub ends: [ChannelEnd; 2],
    /// Most messages queued at an end.
    pub depth: u32,
    /// What queued messages are charged to.
    pub quota: u32,
}

/// A queued message.
pub struct Message {
    /// The next one in the queue.
    pub next: u32,
    /// Info word.
    pub info: u64,
    /// The words in registers.
    pub words: [u64; 6],
    /// Where the rest of its data is, or `NIL`.
    pub rest: u32,
    /// Its handles.
    pub parked: Parked,
}

/// What does not travel in registers of a queued message.
pub type Rest = [u64; (viper_abi::MESSAGE_MAX - viper_abi::MESSAGE_REGISTER_BYTES) / 8];

/// An event.
pub struct Event {
    /// Its bits.
    pub notifier: Notifier,
    /// Capabilities to it.
    pub refs: u32,
    /// What it is charged to.
    pub quota: u32,
}

/// A timer.
pub struct Timer {
    /// Its signals.
    pub notifier: Notifier,
    /// Period in nanoseconds, or 0.
    pub period_ns: u64,
    /// Its place in the heap of deadlines, or `NIL`.
    pub deadline_at: u32,
    /// Capabilities to it.
    pub refs: u32,
    /// What it is charged to.
    pub quota: u32,
}

/// A poll set.
pub struct PollSet {
    /// Threads that wait to receive here.
    pub receivers: Queue,
    /// Members with something to deliver, in turn: first and last.
    pub ready: (u32, u32),
    /// First member.
    pub members: u32,
    /// Capabilities to it.
    pub refs: u32,
    /// What it is charged to.
    pub quota: u32,
}

/// An object in a poll set.
pub struct Member {
    /// The set.
    pub set: u32,
    /// The object.
    pub object: ObjectRef,
    /// What comes out with it.
    pub key: u64,
    /// The handle that put it here, and its table: revoked, it takes the object out.
    pub by: (viper_cap::TableId, viper_cap::Handle),
    /// Which signals come out.
    pub mask: Signals,
    /// Lasting signals that came out already.
    pub told: Signals,
    /// Whether it stands in the list of ready ones.
    pub is_ready: bool,
    /// Next and previous ready member.
    pub ready_link: (u32, u32),
    /// Next and previous member of the set.
    pub set_link: (u32, u32),
}

/// Registers, interrupt lines and a DMA allowance.
pub struct Device {
    /// First register's physical address.
    pub base: u64,
    /// Bytes of registers.
    pub len: u64,
    /// First interrupt line.
    pub line: u32,
    /// Number of lines.
    pub lines: u32,
    /// DMA allowance left, in bytes.
    pub dma_bytes: u64,
    /// Capabilities to it.
    pub refs: u32,
    /// What it is charged to.
    pub quota: u32,
}

/// An interrupt line with an owner.
pub struct Interrupt {
    /// Its signals.
    pub notifier: Notifier,
    /// The line.
    pub line: u32,
    /// Capabilities to it.
    pub refs: u32,
    /// What it is charged to.
    pub quota: u32,
}

/// An account.
pub struct Quota {
    /// Where it was carved out of, or `NIL`.
    pub parent: u32,
    /// Bytes it allows.
    pub limit: u64,
    /// Bytes in use.
    pub used: u64,
    /// How many quotas are above it.
    pub depth: u32,
    /// Capabilities, processes and objects that name it.
    pub refs: u32,
}

/// The part of the address space that programs may map.
pub fn user_bounds() -> PageRange {
    use viper_vm::VirtAddr;
    PageRange::between(VirtAddr(viper_abi::USER_MIN), VirtAddr(viper_abi::USER_MAX))
        .expect("the bounds are page-aligned and in order")
}
