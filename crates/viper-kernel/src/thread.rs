//! Threads: what the core saves of them, what they wait for, and the queues they wait in.

use viper_abi::{Handle, Signals};
use viper_vm::Frame;

use crate::arena::{Arena, NIL};
use crate::object::ObjectRef;

/// The registers of a thread while it does not run. `asm/trap.S` knows this layout.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct Context {
    /// `x0..=x30`.
    pub x: [u64; 31],
    /// `SP_EL0`.
    pub sp: u64,
    /// Program counter.
    pub pc: u64,
    /// `PSTATE`.
    pub pstate: u64,
    /// `TPIDR_EL0`.
    pub tls: u64,
    /// Address of the IPC buffer: `TPIDRRO_EL0`.
    pub ipc_buffer: u64,
    /// `TTBR0_EL1` with the ASID.
    pub ttbr0: u64,
    /// The thread, or `NIL` for an idle context.
    pub thread: u32,
    /// The core it runs on.
    pub core: u32,
    /// The handle table of its process.
    pub table: viper_cap::TableId,
}

impl Context {
    /// All zero, no thread.
    pub const ZERO: Context = Context {
        x: [0; 31],
        sp: 0,
        pc: 0,
        pstate: 0,
        tls: 0,
        ipc_buffer: 0,
        ttbr0: 0,
        thread: NIL,
        core: 0,
        table: viper_cap::TableId::NONE,
    };

    /// Sets the status in `x0`.
    #[inline]
    pub fn set_status(&mut self, status: Result<(), viper_abi::Error>) {
        self.x[0] = match status {
            Ok(()) => 0,
            Err(e) => e.code() as u64,
        };
    }
}

/// Vector registers, `FPCR`, `FPSR`. `asm/trap.S` knows this layout.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct FpState {
    /// `q0..=q31`.
    pub q: [u128; 32],
    /// `FPCR` and `FPSR`.
    pub control: [u64; 2],
}

impl FpState {
    /// All zero: what a thread starts with.
    pub const ZERO: FpState = FpState {
        q: [0; 32],
        control: [0; 2],
    };
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A message on a channel end.
    ReceiveEnd(u32),
    /// A message or signals of a poll set.
    ReceiveSet(u32),
    /// Somebody who takes its call; it stands in the receiving end's queue of senders.
    Call(u32),
    /// A place for its message in the receiving end's queue.
    Send(u32),
    /// The reply to its call.
    Reply,
    /// Signals of an object.
    Signals(ObjectRef, Signals),
    /// A wake-up at this address.
    Futex(FutexKey),
    /// Its deadline only.
    Sleep,
    /// Input at the debug port, to be written to this address and length.
    DebugRead(u64, u32),
}

/// What identifies a futex word wherever it is mapped: memory object and offset in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FutexKey {
    /// The memory object.
    pub memory: u32,
    /// Offset in it.
    pub offset: u64,
}

/// Whether a thread runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// On this core now.
    Running(u8),
    /// In a run queue.
    Ready,
    /// Waiting.
    Blocked(Wait),
    /// Ended while running on another core, which has been told.
    Dying(u8),
    /// Ended.
    Ended,
}

/// A thread.
pub struct Thread {
    /// Its registers while it does not run. First, for the fast path's sake.
    pub context: Context,
    /// Its process.
    pub process: u32,
    /// Whether it runs.
    pub state: State,
    /// Whose call it received last and has not answered: thread and call number.
    pub caller: Option<(u32, u64)>,
    /// The number of its current call, unique in the system.
    pub call_number: u64,
    /// The frame of its IPC buffer.
    pub ipc_frame: Frame,
    /// Which of the process's IPC buffers it is.
    pub ipc_slot: u16,
    /// Its base priority.
    pub priority: u8,
    /// What needs looking after.
    pub special: Special,
    /// How many more times it gets its vector registers with the core, without asking.
    pub vector_turns: u8,
    /// Its neighbours in the queue it waits in.
    pub queue_link: Link,
    /// Its neighbours among the threads of its process.
    pub process_link: Link,
    /// Its place in the heap of deadlines, or `NIL`.
    pub deadline_at: u32,
    /// Unique number.
    pub id: u64,
    /// Messages it sent that its process has not been told of.
    pub ipcs: u64,
    /// Processor time that its process has not been told of, in nanoseconds.
    pub cpu_ns: u64,
    /// What the call that it makes again and again has done so far.
    pub progress: u64,
    /// Capabilities and kernel references to it.
    pub refs: u32,
    /// Its signals.
    pub notifier: crate::object::Notifier,
    /// Its vector registers while they are not on a core.
    pub fp: FpState,
}

/// What about a thread needs looking after when it gives up a core or gets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Special(u8);

impl Special {
    /// Nothing.
    pub const NONE: Special = Special(0);
    /// It runs at the priority of somebody it works for.
    pub const LIFTED: Special = Special(1);
    /// The vector registers of the core it runs on are its.
    pub const VECTORS: Special = Special(2);
    /// It was ended while it ran on another core.
    pub const DYING: Special = Special(4);
    /// It may not run on every core.
    pub const PINNED: Special = Special(8);
    /// It has used vector registers lately: it gets them with the core.
    pub const EAGER: Special = Special(16);

    /// Whether this is so.
    #[inline(always)]
    pub const fn has(self, what: Special) -> bool {
        self.0 & what.0 != 0
    }

    /// Notes that it is so, or not.
    #[inline(always)]
    pub const fn set(&mut self, what: Special, so: bool) {
        self.0 = if so {
            self.0 | what.0
        } else {
            self.0 & !what.0
        };
    }

    /// What is so of either.
    #[inline(always)]
    pub const fn or(self, other: Special) -> Special {
        Special(self.0 | other.0)
    }

    /// Whether the short way is closed to it.
    #[inline(always)]
    pub const fn is_awkward(self) -> bool {
        self.0 & (Special::LIFTED.0 | Special::DYING.0 | Special::PINNED.0) != 0
    }
}

/// Neighbours in an intrusive list.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    next: u32,
    previous: u32,
}

impl Link {
    /// In no list.
    pub const NONE: Link = Link {
        next: NIL,
        previous: NIL,
    };
}

/// A FIFO of threads, linked through one of their links.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    head: u32,
    tail: u32,
}

/// Which link of a thread a queue uses.
pub trait Via {
    /// The link.
    fn link(thread: &mut Thread) -> &mut Link;
}

/// The link for waiting.
pub struct Waiting;
/// The link for the threads of a process.
pub struct Siblings;

impl Via for Waiting {
    #[inline]
    fn link(thread: &mut Thread) -> &mut Link {
        &mut thread.queue_link
    }
}

impl Via for Siblings {
    fn link(thread: &mut Thread) -> &mut Link {
        &mut thread.process_link
    }
}

impl Queue {
    /// Nobody waits.
    pub const EMPTY: Queue = Queue {
        head: NIL,
        tail: NIL,
    };

    /// Whether nobody waits.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// The first in line.
    #[inline]
    pub const fn first(&self) -> Option<u32> {
        if self.head == NIL {
            None
        } else {
            Some(self.head)
        }
    }

    /// The one after `thread`.
    pub fn after<V: Via>(threads: &mut Arena<Thread>, thread: u32) -> Option<u32> {
        let next = V::link(&mut threads[thread]).next;
        (next != NIL).then_some(next)
    }

    /// Puts a thread that is in no queue at the end.
    #[inline]
    pub fn push<V: Via>(&mut self, threads: &mut Arena<Thread>, thread: u32) {
        *V::link(&mut threads[thread]) = Link {
            next: NIL,
            previous: self.tail,
        };
        if self.tail == NIL {
            self.head = thread;
        } else {
            V::link(&mut threads[self.tail]).next = thread;
        }
        self.tail = thread;
    }

    /// Whether exactly one thread waits.
    #[inline(always)]
    pub const fn is_single(&self) -> bool {
        self.head == self.tail && self.head != NIL
    }

    /// Takes the only thread in the queue, whose link is `link`, out of it.
    ///
    /// Gives `false`, and changes nothing, if there are others.
    #[inline(always)]
    pub fn take_only(&mut self, link: &mut Link) -> bool {
        if self.head != self.tail {
            return false;
        }
        *self = Queue::EMPTY;
        *link = Link::NONE;
        true
    }

    /// Puts a thread into an empty queue; gives `false`, and changes nothing, if it is not empty.
    #[inline(always)]
    pub fn put_only(&mut self, thread: u32) -> bool {
        if self.head != NIL {
            return false;
        }
        *self = Queue {
            head: thread,
            tail: thread,
        };
        true
    }

    /// Takes a thread that is in this queue out of it.
    #[inline]
    pub fn remove<V: Via>(&mut self, threads: &mut Arena<Thread>, thread: u32) {
        let Link { next, previous } = *V::link(&mut threads[thread]);
        match previous {
            NIL => self.head = next,
            p => V::link(&mut threads[p]).next = next,
        }
        match next {
            NIL => self.tail = previous,
            n => V::link(&mut threads[n]).previous = previous,
        }
        *V::link(&mut threads[thread]) = Link::NONE;
    }
}

/// The data of a message, apart from where it came from.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Info word.
    pub info: u64,
    /// The words in registers.
    pub words: [u64; 6],
}

/// A handle as the ABI has it.
pub const fn abi_handle(handle: viper_cap::Handle) -> Handle {
    if handle.raw() == u32::MAX {
        Handle::NONE
    } else {
        Handle(handle.raw())
    }
}
