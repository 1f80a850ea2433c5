//! Who waits, who runs: deadlines, wakes, cores, borrowed priorities.

use viper_abi::{Error, Kind, Signals};
use viper_sched::{CoreId, ThreadId};

use crate::arena::NIL;
use crate::deadline::Owner;
use crate::kernel::{CORES_MAX, Kernel, WOKEN};
use crate::object::ObjectRef;
use crate::platform::Platform;
use crate::thread::{Special, State, Wait};

impl<P: Platform> Kernel<P> {
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
