//! The kernel: all its objects, under one lock, and what its entry points do with them.
//!
//! Every entry (system call, interrupt, fault) is a function on `&mut Kernel` that ends by saying
//! which context the core goes on with. Nothing in here blocks, touches a register, or keeps a
//! stack: a thread that waits is a record of what it waits for (`thread::Wait`).

use alloc::vec::Vec;
use viper_abi::{Error, Kind, Rights, Signals};
use viper_cap::{CapError, CapSpace, Handle, TableId};
use viper_sched::{CoreId, Scheduler, ThreadId};
use viper_vm::VmError;

use crate::arena::{Arena, NIL};
use crate::deadline::{Deadlines, Owner};
use crate::object::{
    Channel, Device, Event, Interrupt, Member, Memory, Message, ObjectRef, PollSet, Process, Quota,
    Rest, Timer,
};
use crate::platform::Platform;
use crate::thread::{Queue, Special, State, Thread, Wait};

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

/// What an object costs its quota, apart from memory pages: more than its records take.
pub const OBJECT_BYTES: u64 = 256;
/// What a thread costs: its record and its IPC buffer.
pub const THREAD_BYTES: u64 = 4096 + 2048;
/// What a process costs: its record, the root of its tables, its handle table.
pub const PROCESS_BYTES: u64 = 4096 * 3;
/// What a queued message costs.
pub const MESSAGE_BYTES: u64 = 384;
/// What a place for a capability costs: a slot in its table and a node in the forest.
pub const HANDLE_BYTES: u64 = 64;
/// Places in a handle table that are part of what a process costs.
const PLACES_FREE: usize = 16;

/// What a handle table of so many places costs.
const fn table_bytes(places: usize) -> u64 {
    places.saturating_sub(PLACES_FREE) as u64 * HANDLE_BYTES
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

    // ----- Handles ---------------------------------------------------------------------------

    /// The handle table of a thread's process.
    #[inline]
    pub fn table_of(&self, thread: u32) -> TableId {
        self.threads[thread].context.table
    }

    /// The object behind a handle, if it is of this kind and the handle has these rights.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::WrongKind`], [`Error::NoRight`].
    #[inline]
    pub fn object(
        &self,
        thread: u32,
        handle: viper_abi::Handle,
        kind: Kind,
        rights: Rights,
    ) -> Result<u32, Error> {
        let entry = self
            .caps
            .query(self.table_of(thread), cap_handle(handle))
            .map_err(cap_error)?;
        if entry.object.kind != kind {
            return Err(Error::WrongKind);
        }
        if !entry.rights.contains(cap_rights(rights)) {
            return Err(Error::NoRight);
        }
        Ok(entry.object.index)
    }

    /// A process named by a handle, or the caller's own.
    ///
    /// # Errors
    /// As [`object`](Self::object).
    pub fn process_or_self(
        &self,
        thread: u32,
        handle: viper_abi::Handle,
        rights: Rights,
    ) -> Result<u32, Error> {
        if handle.is_none() {
            return Ok(self.threads[thread].process);
        }
        self.object(thread, handle, Kind::PROCESS, rights)
    }

    /// Makes sure that a process's handle table has room, which is charged to the process: the
    /// table never shrinks, and neither does what it costs.
    ///
    /// # Errors
    /// [`Error::LimitReached`], [`Error::OutOfMemory`].
    #[inline]
    pub fn make_room(&mut self, process: u32, count: usize) -> Result<(), Error> {
        let owner = &self.processes[process];
        let table = self.caps.table(owner.table).map_err(cap_error)?;
        if table.has_room(count) && table_bytes(table.capacity()) <= owner.table_bytes {
            return Ok(());
        }
        self.make_more_room(process, count)
    }

    #[cold]
    fn make_more_room(&mut self, process: u32, count: usize) -> Result<(), Error> {
        let owner = &self.processes[process];
        self.caps.reserve(owner.table, count).map_err(cap_error)?;
        let table = self.caps.table(owner.table).map_err(cap_error)?;
        let bytes = table_bytes(table.capacity());
        let more = bytes.saturating_sub(owner.table_bytes);
        self.charge(owner.quota, more)?;
        let owner = &mut self.processes[process];
        owner.table_bytes = bytes;
        owner.overhead_bytes += more;
        Ok(())
    }

    /// Gives a thread's process the first capability to a new object.
    ///
    /// # Errors
    /// [`Error::LimitReached`], [`Error::OutOfMemory`].
    pub fn install(
        &mut self,
        thread: u32,
        object: ObjectRef,
        rights: Rights,
    ) -> Result<viper_abi::Handle, Error> {
        self.install_under(thread, None, object, rights)
    }

    /// The same for an object that exists by the authority of one of the process's handles:
    /// revoking that one takes it away.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::LimitReached`], [`Error::OutOfMemory`].
    pub fn install_under(
        &mut self,
        thread: u32,
        by: Option<viper_abi::Handle>,
        object: ObjectRef,
        rights: Rights,
    ) -> Result<viper_abi::Handle, Error> {
        self.reserve_dead()?;
        self.make_room(self.threads[thread].process, 1)?;
        let (table, rights) = (self.table_of(thread), cap_rights(rights));
        let handle = match by {
            None => self.caps.insert_root(table, object, rights),
            Some(by) => self
                .caps
                .insert_under(table, cap_handle(by), table, object, rights),
        };
        Ok(viper_abi::Handle(handle.map_err(cap_error)?.raw()))
    }

    /// Adds a capability or kernel reference to an object.
    pub fn add_ref(&mut self, object: ObjectRef) {
        if let Some(refs) = self.refs_mut(object) {
            *refs += 1;
        }
    }

    fn refs_mut(&mut self, object: ObjectRef) -> Option<&mut u32> {
        let i = object.index;
        Some(match object.kind {
            Kind::PROCESS => &mut self.processes[i].refs,
            Kind::THREAD => &mut self.threads[i].refs,
            Kind::MEMORY => &mut self.memories[i].refs,
            Kind::CHANNEL => &mut self.channels[i / 2].ends[(i % 2) as usize].refs,
            Kind::EVENT => &mut self.events[i].refs,
            Kind::POLL_SET => &mut self.sets[i].refs,
            Kind::TIMER => &mut self.timers[i].refs,
            Kind::DEVICE => &mut self.devices[i].refs,
            Kind::INTERRUPT => &mut self.interrupts[i].refs,
            Kind::QUOTA => &mut self.quotas[i].refs,
            _ => return None,
        })
    }

    /// Takes a capability or kernel reference away; the object ends in [`Self::bury`].
    pub fn drop_ref(&mut self, object: ObjectRef) {
        if object.kind == Kind::REPLY {
            // The right to reply is gone unused: the caller learns of it.
            self.abandon_call(object.index, object.extra);
            return;
        }
        let Some(refs) = self.refs_mut(object) else {
            return;
        };
        *refs -= 1;
        if *refs == 0 {
            // Room was reserved when the object was made.
            self.dead.push(object);
            self.has_news = true;
        }
    }

    /// Makes sure that all objects that live, and one more, have a place among the dead.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn reserve_dead(&mut self) -> Result<(), Error> {
        // A process can be on its way out and without a name at the same time.
        let live = 2 * self.processes.len()
            + self.threads.len()
            + self.memories.len()
            + 2 * self.channels.len()
            + self.events.len()
            + self.sets.len()
            + self.timers.len()
            + self.devices.len()
            + self.interrupts.len()
            + self.quotas.len();
        let wanted = live as usize + 8;
        let have = self.dead.capacity();
        if have < wanted {
            let more = wanted - self.dead.len() + wanted / 2;
            self.dead
                .try_reserve(more)
                .map_err(|_| Error::OutOfMemory)?;
        }
        Ok(())
    }

    // ----- Quotas ----------------------------------------------------------------------------

    /// Charges bytes to a quota and those above it: to all or, on an error, to none.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    #[inline]
    pub fn charge(&mut self, quota: u32, bytes: u64) -> Result<(), Error> {
        let mut at = quota;
        while at != NIL {
            let q = &self.quotas[at];
            if q.limit - q.used < bytes {
                return Err(Error::OutOfMemory);
            }
            at = q.parent;
        }
        let mut at = quota;
        while at != NIL {
            let q = &mut self.quotas[at];
            q.used += bytes;
            at = q.parent;
        }
        Ok(())
    }

    /// Gives bytes back.
    #[inline]
    pub fn refund(&mut self, quota: u32, bytes: u64) {
        let mut at = quota;
        while at != NIL {
            let q = &mut self.quotas[at];
            q.used -= bytes;
            at = q.parent;
        }
    }

    /// Charges an object to the quota of a thread's process, which it then keeps alive.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn charge_object(&mut self, thread: u32, bytes: u64) -> Result<u32, Error> {
        self.reserve_dead()?;
        let quota = self.processes[self.threads[thread].process].quota;
        self.charge(quota, bytes)?;
        self.quotas[quota].refs += 1;
        Ok(quota)
    }

    /// Undoes [`charge_object`](Self::charge_object).
    pub fn refund_object(&mut self, quota: u32, bytes: u64) {
        self.refund(quota, bytes);
        self.drop_ref(ObjectRef::new(Kind::QUOTA, quota));
    }

    /// Makes an object: charges it, puts it into its arena, gives the caller a handle.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::LimitReached`]; nothing is left behind then.
    pub fn create<T>(
        &mut self,
        thread: u32,
        by: Option<viper_abi::Handle>,
        kind: Kind,
        rights: Rights,
        arena: impl Fn(&mut Self) -> &mut Arena<T>,
        make: impl FnOnce(u32) -> T,
    ) -> Result<(viper_abi::Handle, u32), Error> {
        let quota = self.charge_object(thread, OBJECT_BYTES)?;
        let index = match arena(self).insert(make(quota)) {
            Ok(index) => index,
            Err(e) => {
                self.refund_object(quota, OBJECT_BYTES);
                return Err(e);
            }
        };
        match self.install_under(thread, by, ObjectRef::new(kind, index), rights) {
            Ok(handle) => Ok((handle, index)),
            Err(e) => {
                arena(self).remove(index);
                self.refund_object(quota, OBJECT_BYTES);
                Err(e)
            }
        }
    }

    // ----- Deadlines -------------------------------------------------------------------------

    /// Gives a thread or timer without a deadline one.
    pub fn set_deadline(&mut self, owner: Owner, at: u64) {
        self.is_timer_stale = true;
        self.has_news = true;
        let (threads, timers) = (&mut self.threads, &mut self.timers);
        self.deadlines
            .insert(at, owner, |owner, place| match owner {
                Owner::Thread(t) => threads[t].deadline_at = place,
                Owner::Timer(t) => timers[t].deadline_at = place,
            });
    }

    fn cancel_deadline(&mut self, place: u32) {
        let (threads, timers) = (&mut self.threads, &mut self.timers);
        self.deadlines.remove(place, |owner, place| match owner {
            Owner::Thread(t) => threads[t].deadline_at = place,
            Owner::Timer(t) => timers[t].deadline_at = place,
        });
    }

    /// Takes a timer's deadline away.
    pub fn stop_timer(&mut self, timer: u32) {
        let place = core::mem::replace(&mut self.timers[timer].deadline_at, NIL);
        if place != NIL {
            self.cancel_deadline(place);
        }
    }

    /// Does what is due.
    pub fn run_deadlines(&mut self) {
        let now = self.platform.now_ns();
        loop {
            let (threads, timers) = (&mut self.threads, &mut self.timers);
            self.is_timer_stale = true;
            let due = self.deadlines.pop_due(now, |owner, place| match owner {
                Owner::Thread(t) => threads[t].deadline_at = place,
                Owner::Timer(t) => timers[t].deadline_at = place,
            });
            match due {
                None => return,
                Some(Owner::Thread(t)) => {
                    self.threads[t].deadline_at = NIL;
                    let sleeps = self.threads[t].state == State::Blocked(Wait::Sleep);
                    self.wake_with(t, if sleeps { Ok(()) } else { Err(Error::TimedOut) });
                }
                Some(Owner::Timer(t)) => {
                    self.timers[t].deadline_at = NIL;
                    let period = self.timers[t].period_ns;
                    if period != 0 {
                        self.set_deadline(Owner::Timer(t), now.saturating_add(period));
                    }
                    self.notify(ObjectRef::new(Kind::TIMER, t), Signals::EXPIRED);
                }
            }
        }
    }

    // ----- Waiting and running ---------------------------------------------------------------

    /// Makes the running thread wait. `deadline` is absolute; the caller has dealt with zero.
    #[inline(always)]
    pub fn block(&mut self, thread: u32, wait: Wait, deadline: u64) {
        self.has_news = true;
        self.gives_up = true;
        self.threads[thread].state = State::Blocked(wait);
        if deadline != u64::MAX {
            self.set_deadline(Owner::Thread(thread), deadline);
        }
    }

    /// Takes a blocked thread out of what it waits in, and its deadline away.
    pub fn unwait(&mut self, thread: u32) {
        let State::Blocked(wait) = self.threads[thread].state else {
            return;
        };
        let place = core::mem::replace(&mut self.threads[thread].deadline_at, NIL);
        if place != NIL {
            self.cancel_deadline(place);
        }
        self.leave_queue(thread, wait);
    }

    /// Ends a thread's wait with a status.
    pub fn wake_with(&mut self, thread: u32, status: Result<(), Error>) {
        self.unwait(thread);
        let t = &mut self.threads[thread];
        t.call_number = 0;
        t.context.set_status(status);
        self.make_ready(thread);
    }

    /// Puts a thread that waits no longer into a run queue.
    #[inline]
    pub fn make_ready(&mut self, thread: u32) {
        self.threads[thread].state = State::Ready;
        self.enqueue(thread);
    }

    /// Puts a thread that is ready into a run queue, or on this core if it is more important than
    /// what runs here.
    #[inline]
    pub fn enqueue(&mut self, thread: u32) {
        if self.arrival == NIL && self.sched.would_preempt(self.core_id(), ThreadId(thread)) {
            // `leave` puts it on this core, unless something better comes up until then.
            self.arrival = thread;
            self.has_news = true;
            return;
        }
        if let Ok(Some(core)) = self.sched.wake(ThreadId(thread)) {
            self.nudge(core);
        }
        let core = &self.cores[self.this_core];
        let is_alone = self.sched.core_count() == 1;
        let turn_ends = self.sched.slice_end_ns(self.core_id());
        if !is_alone || turn_ends.is_none_or(|end| end < core.timer_at) {
            self.is_timer_stale = true;
            self.has_news = true;
        }
    }

    /// A core has something better to do.
    pub fn nudge(&mut self, core: CoreId) {
        self.has_news = true;
        if core.index() != self.this_core {
            self.platform.interrupt_core(core.index());
        }
    }

    /// The running thread has just blocked on another, which goes on at once on this core, if
    /// nobody of a higher priority waits.
    #[inline]
    pub fn hand_over(&mut self, to: u32) {
        if self.sched.hand_over(self.core_id(), ThreadId(to)) {
            self.gives_up = false;
            self.threads[to].state = State::Running(self.this_core as u8);
            self.counters.ipcs_direct += 1;
        } else {
            self.make_ready(to);
        }
    }

    /// Tells the scheduler which threads the short way has switched to.
    ///
    /// The short way only changes who is current: the scheduler still thinks that the core runs
    /// whoever it decided for last. Everything that asks the scheduler comes by here first.
    #[inline]
    pub fn settle(&mut self) {
        if self.unsettled != 0 {
            self.settle_cores();
        }
    }

    #[cold]
    #[inline(never)]
    fn settle_cores(&mut self) {
        let cores = core::mem::take(&mut self.unsettled);
        let changed = || (0..CORES_MAX).filter(move |c| cores & 1 << c != 0);
        // A thread may have gone from one of these cores to another: all leave before any arrives.
        for core in changed().filter_map(CoreId::new) {
            self.sched.release(core);
        }
        for core in changed().filter_map(CoreId::new) {
            let current = self.cores[core.index()].current;
            if let Some(core) = self.sched.adopt(core, ThreadId(current)) {
                self.nudge(core);
            }
        }
        if cores & WOKEN != 0 {
            let woken = core::mem::replace(&mut self.woken, NIL);
            self.enqueue(woken);
        }
    }

    /// The core that is in the kernel, as the scheduler names it.
    #[inline]
    pub fn core_id(&self) -> CoreId {
        CoreId::new(self.this_core).unwrap_or(CoreId::FIRST)
    }

    /// A thread works for another: it runs at least at that one's priority.
    #[inline]
    pub fn donate(&mut self, from: u32, to: u32) {
        let (from, id) = (ThreadId(from), ThreadId(to));
        let (Ok(lent), Ok(own)) = (self.sched.priority(from), self.sched.priority(id)) else {
            return;
        };
        if lent > own {
            self.threads[to].special.set(Special::LIFTED, true);
            if let Ok(Some(core)) = self.sched.set_donated(id, Some(lent)) {
                self.nudge(core);
            }
        }
    }

    /// A thread owes its caller nothing any more.
    #[inline]
    pub fn forget_caller(&mut self, thread: u32) {
        self.threads[thread].caller = None;
        self.undonate(thread);
    }

    /// The work is done.
    #[inline]
    pub fn undonate(&mut self, thread: u32) {
        let special = &mut self.threads[thread].special;
        if !special.has(Special::LIFTED) {
            return;
        }
        special.set(Special::LIFTED, false);
        if let Ok(Some(core)) = self.sched.set_donated(ThreadId(thread), None) {
            self.nudge(core);
        }
    }
}
