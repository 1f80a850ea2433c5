//! The ways into the kernel and the one way out.

use viper_abi::{EndReason, Error, FaultKind, Kind, Signals};
use viper_sched::{CoreId, ThreadId};
use viper_vm::VirtAddr;

use crate::arena::NIL;
use crate::kernel::Kernel;
use crate::mapping::Access;
use crate::object::ObjectRef;
use crate::platform::Platform;
use crate::thread::{Context, Special, State, Wait};

/// How many times a thread gets its vector registers with the core after it asked for them.
const VECTOR_TURNS: u8 = 32;

/// What the processor reports of an exception in user code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// An access to memory that has no translation, or one that forbids it.
    Memory(Access, u64),
    /// A vector instruction while they are off.
    Vector,
    /// Anything else.
    Other(FaultKind, u64),
}

impl<P: Platform> Kernel<P> {
    /// A system call of the thread that runs on `core`. Gives the context to go on with if it is
    /// another than that thread's.
    #[inline]
    pub fn on_syscall(&mut self, core: usize, thread: u32, number: u16) -> Option<*mut Context> {
        self.this_core = core;
        self.has_news = self.unsettled | u16::from(self.dying) != 0;
        if self.has_news {
            self.settle();
            if self.collect_dying() {
                return Some(self.leave());
            }
        }
        self.dispatch(thread, number);
        self.has_news.then(|| self.leave())
    }

    /// An exception in the thread that runs on `core`.
    pub fn on_exception(&mut self, core: usize, thread: u32, what: Exception) -> *mut Context {
        self.this_core = core;
        self.has_news = self.unsettled | u16::from(self.dying) != 0;
        self.settle();
        if self.collect_dying() {
            return self.leave();
        }
        let context: *mut Context = &mut self.threads[thread].context;
        match what {
            Exception::Memory(access, address) => {
                let process = self.threads[thread].process;
                match self.resolve(process, VirtAddr(address), access) {
                    Ok(()) => {}
                    Err(Error::OutOfMemory) => self.fault(thread, FaultKind::NO_MEMORY, address),
                    Err(_) => self.fault(thread, access.fault(), address),
                }
            }
            Exception::Vector => self.give_vectors(thread),
            Exception::Other(kind, address) => self.fault(thread, kind, address),
        }
        if self.has_news { self.leave() } else { context }
    }

    // ----- Vector registers ------------------------------------------------------------------
    //
    // They are off until a thread uses them, and go with it when it gives up the core. A thread
    // that has used them gets them back with the core a few times without asking, as asking is
    // dearer; then it has to ask again, so that who uses them no longer stops paying for them.

    /// The thread uses vector registers: until it gives up the core, they are its.
    fn give_vectors(&mut self, thread: u32) {
        let t = &mut self.threads[thread];
        t.special.set(Special::EAGER, true);
        t.vector_turns = VECTOR_TURNS;
        self.load_vectors(self.this_core, thread);
    }

    fn load_vectors(&mut self, core: usize, thread: u32) {
        if !core::mem::replace(&mut self.cores[core].fp_enabled, true) {
            self.platform.fp_enable(true);
        }
        let t = &mut self.threads[thread];
        t.special.set(Special::VECTORS, true);
        self.platform.fp_load(&t.fp);
    }

    /// One thread takes its vector registers along, another one or none gets the core.
    #[inline(never)]
    pub fn exchange_vectors(&mut self, core: usize, from: u32, to: u32) {
        if let Some(t) = self.threads.get_mut(from)
            && t.special.has(Special::VECTORS)
        {
            t.special.set(Special::VECTORS, false);
            self.platform.fp_save(&mut t.fp);
        }
        if let Some(t) = self.threads.get_mut(to)
            && t.special.has(Special::EAGER)
        {
            t.vector_turns -= 1;
            t.special.set(Special::EAGER, t.vector_turns > 0);
            self.load_vectors(core, to);
        } else if core::mem::replace(&mut self.cores[core].fp_enabled, false) {
            self.platform.fp_enable(false);
        }
    }

    /// An interrupt on `core`; `line` is `None` for the timer and for calls from other cores.
    pub fn on_interrupt(&mut self, core: usize, line: Option<u32>) {
        self.this_core = core;
        self.settle();
        self.collect_dying();
        let Some(line) = line else {
            // Another core may have changed what this one's timer is for.
            self.cores[core].timer_at = u64::MAX;
            self.is_timer_stale = true;
            return;
        };
        self.platform.set_interrupt(line, false);
        let owner = self.line_owner.get(line as usize).copied().unwrap_or(NIL);
        if owner != NIL {
            self.notify(ObjectRef::new(Kind::INTERRUPT, owner), Signals::INTERRUPT);
        } else if Some(line) == self.platform.debug_interrupt() {
            self.feed_debug_readers();
        }
    }

    /// The timer of this core.
    pub fn on_timer(&mut self, core: usize) {
        self.this_core = core;
        self.settle();
        self.cores[core].timer_at = u64::MAX;
        self.collect_dying();
        self.run_deadlines();
        let this = self.core_id();
        let now = self.platform.now_ns();
        if self.sched.slice_end_ns(this).is_some_and(|end| end <= now) {
            self.reschedule(this, now);
        }
    }

    /// Whether the thread that ran here was ended by another core; what it had goes back now.
    #[inline]
    fn collect_dying(&mut self) -> bool {
        self.dying != 0 && self.collect_own_dying()
    }

    #[cold]
    #[inline(never)]
    fn collect_own_dying(&mut self) -> bool {
        let this = 1 << (self.this_core & 7);
        if self.dying & this == 0 {
            return false;
        }
        self.dying &= !this;
        self.finish_thread(self.cores[self.this_core].current);
        true
    }

    fn feed_debug_readers(&mut self) {
        let mut buffer = [0; 64];
        while let Some(thread) = self.debug_readers.first() {
            let State::Blocked(Wait::DebugRead(to, len)) = self.threads[thread].state else {
                return;
            };
            let want = buffer.len().min(len as usize);
            let count = self.platform.debug_read(&mut buffer[..want]);
            if count == 0 {
                if let Some(line) = self.platform.debug_interrupt() {
                    self.platform.set_interrupt(line, true);
                }
                return;
            }
            let written = self.write_process(thread, to, &buffer[..count]);
            self.threads[thread].context.x[1] = count as u64;
            self.wake_with(thread, written);
        }
    }

    /// Writes to the memory of a thread that does not run, through its memory objects.
    fn write_process(&mut self, thread: u32, to: u64, bytes: &[u8]) -> Result<(), Error> {
        let process = self.threads[thread].process;
        for (i, byte) in bytes.iter().enumerate() {
            let va = VirtAddr(to + i as u64);
            let table = |k: &Self| {
                k.processes[process]
                    .pages
                    .as_ref()
                    .and_then(|p| p.lookup(&k.platform, va))
            };
            if !table(self).is_some_and(|leaf| leaf.target.perms.can_write()) {
                self.resolve(process, va, Access::Write)?;
            }
            let leaf = table(self).ok_or(Error::BadAddress)?;
            let pa = viper_vm::PhysAddr(leaf.target.pa.0 + (va.0 - leaf.va.0));
            self.platform.write_bytes(pa, core::slice::from_ref(byte));
        }
        Ok(())
    }

    /// Bytes of RAM that can still be handed out.
    pub fn platform_free_bytes(&self) -> u64 {
        use crate::platform::Frames;
        self.frames.free_frames() as u64 * viper_abi::PAGE_SIZE as u64
    }

    // ----- Out -------------------------------------------------------------------------------

    /// Decides what this core does next, and says in which context.
    #[inline]
    pub fn leave(&mut self) -> *mut Context {
        if !self.dead.is_empty() {
            self.bury();
        }
        let core = self.core_id();
        let previous = self.cores[core.index()].current;
        // Whoever ran and is blocked now gives the core up.
        let now = self.platform.now_ns();
        let gives_up = core::mem::replace(&mut self.gives_up, false);
        if self.arrival != NIL {
            self.arrive(core, gives_up, now);
        }
        if gives_up {
            self.pass_on(core, now);
        } else if self.sched.needs_reschedule(core) {
            self.reschedule(core, now);
        }
        let next = self.sched.running(core).map_or(NIL, |t| t.0);
        self.cores[core.index()].current = next;
        if next != previous {
            self.switch(core, previous, now);
        }
        if self.is_timer_stale {
            self.program_timer();
        }
        match self.threads.get_mut(next) {
            Some(thread) => {
                thread.state = State::Running(core.index() as u8);
                thread.context.core = core.index() as u32;
                &mut thread.context
            }
            None => self.platform.idle_context(self.this_core),
        }
    }

    /// Puts the thread that is to have this core on it, or in line if it is not that simple.
    fn arrive(&mut self, core: CoreId, gives_up: bool, now: u64) {
        let thread = core::mem::replace(&mut self.arrival, NIL);
        let before = self.sched.running(core);
        if gives_up || !self.sched.preempt(core, ThreadId(thread), now) {
            // This core decides right after this, so that nobody need be told.
            let _ = self.sched.wake(ThreadId(thread));
            return;
        }
        if let Some(ThreadId(displaced)) = before {
            self.threads[displaced].state = State::Ready;
        }
        self.note_turn(core);
    }

    /// The thread that ran has blocked: somebody else's turn.
    #[inline]
    fn pass_on(&mut self, core: CoreId, now: u64) {
        let decision = self.sched.block_and_reschedule(core, now);
        if let Some(other) = decision.interrupt {
            self.nudge(other);
        }
        self.note_turn(core);
    }

    /// A turn has begun: the timer may have to end it.
    #[inline]
    fn note_turn(&mut self, core: CoreId) {
        if self.sched.core_count() > 1 {
            self.is_timer_stale = true;
        } else if self.sched.queued(core) > 0 {
            let set = self.cores[core.index()].timer_at;
            let end = self.sched.slice_end_ns(core);
            self.is_timer_stale |= end.is_some_and(|end| end < set);
        }
    }

    fn reschedule(&mut self, core: CoreId, now: u64) {
        let before = self.sched.running(core);
        let decision = self.sched.reschedule(core, now);
        if let Some(other) = decision.interrupt {
            self.nudge(other);
        }
        if decision.thread != before
            && let Some(ThreadId(old)) = before
            && matches!(self.threads[old].state, State::Running(_))
        {
            self.threads[old].state = State::Ready;
        }
        self.note_turn(core);
    }

    /// Another thread, or none, runs on this core from now on.
    #[inline]
    fn switch(&mut self, core: CoreId, previous: u32, now: u64) {
        let since = core::mem::replace(&mut self.cores[core.index()].since, now);
        let spent = now - since;
        self.counters.switches += 1;
        if let Some(t) = self.threads.get_mut(previous) {
            t.cpu_ns += spent;
        } else {
            self.counters.idle_ns += spent;
        }
        let next = self.cores[core.index()].current;
        self.exchange_vectors(core.index(), previous, next);
    }

    /// How long this core has done what it did last. From now on, it does something else.
    #[inline]
    pub fn time_spent(&mut self, now: u64) -> u64 {
        let core = &mut self.cores[self.this_core];
        now - core::mem::replace(&mut core.since, now)
    }

    fn program_timer(&mut self) {
        self.is_timer_stale = false;
        let core = self.core_id();
        let mut at = self.deadlines.next();
        if self.sched.queued(core) > 0
            && let Some(end) = self.sched.slice_end_ns(core)
        {
            at = at.min(end);
        }
        if !self.dead.is_empty() {
            at = 0; // goes on with it as soon as interrupts are let in
        }
        // A timer that comes too early is set anew then; that is cheaper than moving it each time.
        let set = &mut self.cores[self.this_core].timer_at;
        if at < *set {
            *set = at;
            self.platform.set_timer(at);
        }
        if self.sched.core_count() > 1 {
            self.share_turns();
        }
    }

    /// Cores where somebody now waits for the end of a turn must set their timers, too.
    fn share_turns(&mut self) {
        for index in (0..self.sched.core_count()).filter(|&c| c != self.this_core) {
            let Some(core) = CoreId::new(index) else {
                continue;
            };
            if self.sched.queued(core) > 0
                && let Some(end) = self.sched.slice_end_ns(core)
                && end < self.cores[index].timer_at
            {
                // It will set its timer when it comes by; asking it once is enough.
                self.cores[index].timer_at = end;
                self.platform.interrupt_core(index);
            }
        }
    }

    /// Ends the process of a thread from outside of any call: for tests and the boot code.
    pub fn stop_process(&mut self, process: u32) {
        self.end_process(process, EndReason::KILLED, 0);
    }
}
