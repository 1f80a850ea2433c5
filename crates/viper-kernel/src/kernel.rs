//! The kernel: all its objects, under one lock, and what its entry points do with them.
//!
//! Every entry (system call, interrupt, fault) is a function on `&mut Kernel` that ends by saying
//! which context the core goes on with. Nothing in here blocks, touches a register, or keeps a
//! stack: a thread that waits is a record of what it waits for (`thread::Wait`).

use alloc::vec::Vec;
use viper_abi::{Error, Rights};
use viper_cap::{CapError, CapSpace, Handle};
use viper_sched::Scheduler;
use viper_vm::VmError;

use crate::arena::{Arena, NIL};
use crate::deadline::Deadlines;
use crate::object::{
    Channel, Device, Event, Interrupt, Member, Memory, Message, ObjectRef, PollSet, Process, Quota,
    Rest, Timer,
};
use crate::platform::Platform;
use crate::thread::{Queue, Thread};

/// Most cores.
pub const CORES_MAX: usize = 8;
/// How long a thread runs before another of its priority gets its turn.
pub const SLICE_NS: u64 = 5_000_000;
/// In [`Kernel::unsettled`]: there is a woken thread.
pub const WOKEN: u16 = 1 << 8;
/// Highest interrupt line, plus one.
pub const LINES: usize = 1020;

/// What a core does.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub struct Core {
    /// The thread that runs, or `NIL`.
    pub current: u32,
    /// What the timer is set to.
    pub timer_at: u64,
    /// Since when the current thread runs, or the core idles.
    pub since: u64,
    /// Whether user code may use the vector registers.
    pub fp_enabled: bool,
}

impl Core {
    const NEW: Core = Core {
        current: NIL,
        timer_at: u64::MAX,
        since: 0,
        fp_enabled: false,
    };
}

/// Counters for `system_info`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Messages that took the long way.
    pub ipcs: u64,
    /// Messages of processes that are gone.
    pub ended_ipcs: u64,
    /// Messages that took the long way, but straight across.
    pub ipcs_direct: u64,
    /// Context switches.
    pub switches: u64,
    /// Page faults resolved.
    pub page_faults: u64,
    /// Idle time of all cores.
    pub idle_ns: u64,
    /// RAM in bytes.
    pub ram_bytes: u64,
    /// RAM the kernel image and tables take.
    pub kernel_bytes: u64,
    /// Frequency of the counter.
    pub counter_hz: u64,
    /// From the first instruction of the kernel to the first process.
    pub first_ns: u64,
}

/// Everything the kernel knows.
pub struct Kernel<P: Platform> {
    /// The machine.
    pub platform: P,
    /// Its frames.
    pub frames: P::Frames,
    /// All capabilities.
    pub caps: CapSpace<ObjectRef>,
    /// Run queues.
    pub sched: Scheduler,
    /// What each core does.
    pub cores: [Core; CORES_MAX],
    /// Processes.
    pub processes: Arena<Process>,
    /// Threads.
    pub threads: Arena<Thread>,
    /// Memory objects.
    pub memories: Arena<Memory>,
    /// Channels.
    pub channels: Arena<Channel>,
    /// Queued messages.
    pub messages: Arena<Message>,
    /// The long parts of those that have one.
    pub rests: Arena<Rest>,
    /// Events.
    pub events: Arena<Event>,
    /// Timers.
    pub timers: Arena<Timer>,
    /// Poll sets.
    pub sets: Arena<PollSet>,
    /// Their members.
    pub members: Arena<Member>,
    /// Devices.
    pub devices: Arena<Device>,
    /// Interrupts.
    pub interrupts: Arena<Interrupt>,
    /// Quotas.
    pub quotas: Arena<Quota>,
    /// Which interrupt object owns a line.
    pub line_owner: Vec<u32>,
    /// Deadlines.
    pub deadlines: Deadlines,
    /// Objects whose last capability is gone, to be ended, and processes on their way out. The
    /// last goes first: what ends with an object goes before it.
    pub dead: Vec<ObjectRef>,
    /// How much is torn down in one go: see `teardown`.
    pub work_max: u32,
    /// Threads that wait for the debug port.
    pub debug_readers: Queue,
    /// Which ASIDs are taken.
    pub asids: Vec<u64>,
    /// The next process, thread or call gets this number.
    pub next_id: u64,
    /// Statistics.
    pub counters: Counters,
    /// The core that is in the kernel.
    pub this_core: usize,
    /// Cores whose thread changed by the short way, of which the scheduler has not been told, and
    /// [`WOKEN`].
    pub unsettled: u16,
    /// With [`WOKEN`]: a thread that a signal made ready, of which the scheduler has not been told.
    pub woken: u32,
    /// A deadline or a run queue has changed since the timer was last looked at.
    pub is_timer_stale: bool,
    /// A ready thread that is in no run queue yet because it is about to get this core, or `NIL`.
    pub arrival: u32,
    /// The thread that runs on this core has just blocked.
    pub gives_up: bool,
    /// Cores whose threads were ended by others and that have not come by since.
    pub dying: u8,
    /// The entry under way changed who should run, or ended something: `leave` has work to do.
    pub has_news: bool,
    /// How much is logged: see `log`.
    pub log_level: u8,
    /// Whether the first process has ended: the machine stops.
    pub first_process: u64,
}

/// What a system call's handler says: results for the registers, or why not.
pub type Handled<T> = Result<T, Stop>;

/// Why a handler has no results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The call failed.
    Error(Error),
    /// The registers are written, or will be when the thread is woken.
    Written,
    /// Not done yet: the thread makes the call again, with the arguments in its registers.
    Again,
}

impl From<Error> for Stop {
    fn from(e: Error) -> Stop {
        Stop::Error(e)
    }
}

impl From<CapError> for Stop {
    fn from(e: CapError) -> Stop {
        Stop::Error(cap_error(e))
    }
}

impl From<VmError> for Stop {
    fn from(e: VmError) -> Stop {
        Stop::Error(vm_error(e))
    }
}

/// The error a program sees for a capability error.
pub const fn cap_error(e: CapError) -> Error {
    match e {
        CapError::BadHandle | CapError::DuplicateHandle => Error::BadHandle,
        CapError::RightsExceeded | CapError::RightsMissing => Error::NoRight,
        CapError::TableFull => Error::LimitReached,
        CapError::OutOfMemory => Error::OutOfMemory,
        CapError::TooManyHandles => Error::MessageTooLarge,
        CapError::BadTable => Error::Ended,
        _ => Error::Internal,
    }
}

/// The error a program sees for a memory error.
pub const fn vm_error(e: VmError) -> Error {
    match e {
        VmError::OutOfFrames | VmError::NoMemory | VmError::TooManyRegions => Error::OutOfMemory,
        VmError::TooManyRefs => Error::LimitReached,
        VmError::AlreadyMapped | VmError::Overlap => Error::AlreadyExists,
        VmError::Refused => Error::NoRight,
        VmError::NotManaged | VmError::DoubleFree | VmError::Shared => Error::Internal,
        VmError::BadRange | VmError::Hole | VmError::NotMapped | VmError::BadOrder => {
            Error::InvalidArgument
        }
        _ => Error::OutOfMemory,
    }
}

/// A handle from a register.
#[inline]
pub const fn cap_handle(handle: viper_abi::Handle) -> Handle {
    Handle::from_raw(handle.0)
}

/// Rights as the capability table has them.
pub const fn cap_rights(rights: Rights) -> viper_cap::Rights {
    viper_cap::Rights::from_bits(rights.0)
}

impl<P: Platform> Kernel<P> {
    /// A kernel without processes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(platform: P, frames: P::Frames, cores: usize) -> Result<Self, Error> {
        let mut line_owner = Vec::new();
        line_owner
            .try_reserve_exact(LINES)
            .map_err(|_| Error::OutOfMemory)?;
        line_owner.resize(LINES, NIL);
        let words = usize::from(platform.asid_max()) / 64 + 1;
        let mut asids = Vec::new();
        asids
            .try_reserve_exact(words)
            .map_err(|_| Error::OutOfMemory)?;
        asids.resize(words, 0);
        Ok(Kernel {
            platform,
            frames,
            caps: CapSpace::new().map_err(cap_error)?,
            sched: Scheduler::new(cores, [SLICE_NS; viper_sched::PRIORITIES])
                .map_err(|_| Error::InvalidArgument)?,
            cores: [Core::NEW; CORES_MAX],
            processes: Arena::new(),
            threads: Arena::new(),
            memories: Arena::new(),
            channels: Arena::new(),
            messages: Arena::new(),
            rests: Arena::new(),
            events: Arena::new(),
            timers: Arena::new(),
            sets: Arena::new(),
            members: Arena::new(),
            devices: Arena::new(),
            interrupts: Arena::new(),
            quotas: Arena::new(),
            line_owner,
            deadlines: Deadlines::new(),
            dead: Vec::new(),
            work_max: crate::teardown::WORK_MAX,
            debug_readers: Queue::EMPTY,
            asids,
            next_id: 1,
            counters: Counters::default(),
            this_core: 0,
            unsettled: 0,
            woken: NIL,
            is_timer_stale: false,
            arrival: NIL,
            gives_up: false,
            dying: 0,
            has_news: false,
            log_level: 0,
            first_process: 0,
        })
    }

    /// A number that was never used before.
    pub fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }
}
