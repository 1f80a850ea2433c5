//! The policy: who runs where, who is interrupted, when a turn ends.
//!
//! What holds whenever no core has a rescheduling pending: no thread waits while a core that it
//! may run on is idle or runs something of a lower priority. Every operation that breaks this
//! leaves some core pending, and names it so that the caller interrupts it; and every core that
//! reschedules looks for one more that should.

use crate::queue::{End, RunQueue};
use crate::thread::{Thread, ThreadState, Threads};
use crate::{CORES_MAX, CoreId, CoreMask, PRIORITIES, Priority, SchedError, ThreadId};

/// The scheduling policy of a machine with 1 to 8 cores. See the crate documentation.
#[derive(Debug)]
pub struct Scheduler {
    threads: Threads,
    cores: [Core; CORES_MAX],
    core_count: usize,
    slices_ns: [u64; PRIORITIES],
    /// Queued threads on all cores, by priority.
    waiting: [u32; PRIORITIES],
    /// Numbers the turns, so that threads in different queues can be told apart by age.
    next_ticket: u64,
}

/// What a core does after [`Scheduler::reschedule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Switch {
    /// The thread to run; `None` to idle.
    pub thread: Option<ThreadId>,
    /// A core that must reschedule too: interrupt it.
    pub interrupt: Option<CoreId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Core {
    queue: RunQueue,
    running: Option<ThreadId>,
    /// When the running thread's turn ends.
    slice_end_ns: u64,
    /// It was asked to reschedule and has not done so yet.
    is_pending: bool,
}

/// Threads come, go and change.
impl Scheduler {
    /// A scheduler without threads for cores 0 to `core_count` - 1, all of which will reschedule
    /// when asked. `slices_ns` is the length of a turn for each priority, in nanoseconds.
    ///
    /// # Errors
    /// [`SchedError::CoreCount`].
    pub fn new(core_count: usize, slices_ns: [u64; PRIORITIES]) -> Result<Self, SchedError> {
        if core_count == 0 || core_count > CORES_MAX {
            return Err(SchedError::CoreCount);
        }
        let cores = [Core::default(); CORES_MAX];
        let waiting = [0; PRIORITIES];
        Ok(Self {
            threads: Threads::new(),
            cores,
            core_count,
            slices_ns,
            waiting,
            next_ticket: 0,
        })
    }

    /// Makes room for threads 0 to `count` - 1, so that adding them does not allocate.
    ///
    /// # Errors
    /// [`SchedError::OutOfMemory`].
    pub fn ensure_capacity(&mut self, count: usize) -> Result<(), SchedError> {
        self.threads.ensure_capacity(count)
    }

    /// Adds a thread, blocked. O(1) but for growth.
    ///
    /// # Errors
    /// [`SchedError::ThreadExists`], [`SchedError::NoCore`], [`SchedError::OutOfMemory`].
    pub fn add(
        &mut self,
        id: ThreadId,
        base: Priority,
        affinity: CoreMask,
    ) -> Result<(), SchedError> {
        if self.threads.find(id).is_ok() {
            return Err(SchedError::ThreadExists);
        }
        let affinity = self.usable(affinity)?;
        let core = affinity.iter().next().ok_or(SchedError::NoCore)?;
        let count = (id.0 as usize)
            .checked_add(1)
            .ok_or(SchedError::OutOfMemory)?;
        self.threads.ensure_capacity(count)?;
        let thread = Thread {
            state: ThreadState::Blocked,
            core,
            affinity,
            base,
            donated: None,
            slice_left_ns: 0,
            ticket: 0,
            prev: None,
            next: None,
        };
        self.threads.put(id, Some(thread));
        Ok(())
    }

    /// Forgets a thread, whatever it does. If it runs, names its core: until that one has
    /// rescheduled, the thread may still execute there. O(1).
    ///
    /// # Errors
    /// [`SchedError::NoThread`].
    pub fn remove(&mut self, id: ThreadId) -> Result<Option<CoreId>, SchedError> {
        let interrupt = self.suspend(id)?;
        self.threads.put(id, None);
        Ok(interrupt)
    }

    /// Makes a blocked thread runnable, with a fresh turn. Names the core that must reschedule
    /// for it, if one must. O(cores).
    ///
    /// # Errors
    /// [`SchedError::NoThread`], [`SchedError::WrongState`] if it is runnable already.
    pub fn wake(&mut self, id: ThreadId) -> Result<Option<CoreId>, SchedError> {
        let thread = self.threads.find_mut(id)?;
        if thread.state != ThreadState::Blocked {
            return Err(SchedError::WrongState);
        }
        thread.slice_left_ns = 0;
        Ok(self.requeue(id, End::Tail))
    }

    /// Blocks a thread whatever it does: queued, running or blocked. If it runs, names its core,
    /// which must reschedule. O(1).
    ///
    /// # Errors
    /// [`SchedError::NoThread`].
    pub fn suspend(&mut self, id: ThreadId) -> Result<Option<CoreId>, SchedError> {
        let state = self.threads.find(id)?.state;
        match state {
            ThreadState::Blocked => Ok(None),
            ThreadState::Queued(_) => {
                self.dequeue(id);
                Ok(None)
            }
            ThreadState::Running(core) => {
                let interrupt = self.mark_pending(core);
                self.block(core);
                Ok(interrupt)
            }
        }
    }

    /// Changes a thread's own priority. Names the core that must reschedule. O(cores).
    ///
    /// # Errors
    /// [`SchedError::NoThread`].
    pub fn set_base(&mut self, id: ThreadId, base: Priority) -> Result<Option<CoreId>, SchedError> {
        let donated = self.threads.find(id)?.donated;
        self.set_priorities(id, base, donated)
    }

    /// Lends a thread the priority of those who wait for it, or takes it back. It counts as the
    /// higher of this and its own. Names the core that must reschedule. O(cores).
    ///
    /// # Errors
    /// [`SchedError::NoThread`].
    pub fn set_donated(
        &mut self,
        id: ThreadId,
        donated: Option<Priority>,
    ) -> Result<Option<CoreId>, SchedError> {
        let base = self.threads.find(id)?.base;
        self.set_priorities(id, base, donated)
    }

    /// Changes where a thread may run. Names the core that must reschedule. O(cores).
    ///
    /// # Errors
    /// [`SchedError::NoThread`], [`SchedError::NoCore`].
    pub fn set_affinity(
        &mut self,
        id: ThreadId,
        affinity: CoreMask,
    ) -> Result<Option<CoreId>, SchedError> {
        let affinity = self.usable(affinity)?;
        let state = self.threads.find(id)?.state;
        match state {
            ThreadState::Queued(_) => {
                self.dequeue(id);
                self.threads.find_mut(id)?.affinity = affinity;
                Ok(self.requeue(id, End::Tail))
            }
            ThreadState::Running(core) if !affinity.contains(core) => {
                self.threads.find_mut(id)?.affinity = affinity;
                Ok(self.mark_pending(core))
            }
            _ => {
                self.threads.find_mut(id)?.affinity = affinity;
                Ok(None)
            }
        }
    }
}

/// Cores decide.
impl Scheduler {
    /// Decides what `core` does from `now_ns` on, and makes it so. Call it when
    /// [`needs_reschedule`](Self::needs_reschedule) says so, after the interrupt of another core,
    /// when the running thread has blocked, and when its turn has ended.
    ///
    /// A running thread keeps the core unless one of a higher priority waits, or its turn has
    /// ended and one of its own priority waits. One that was interrupted in its turn comes first
    /// in its priority next time. O(cores), and threads in other cores' queues that may not run
    /// here.
    pub fn reschedule(&mut self, core: CoreId, now_ns: u64) -> Switch {
        self.cores[core.index()].is_pending = false;
        let running = self.cores[core.index()].running;
        let is_over = now_ns >= self.cores[core.index()].slice_end_ns;
        let (may_stay, floor) = match running.map(|id| self.threads.find(id)) {
            Some(Ok(thread)) if thread.affinity.contains(core) => {
                (true, thread.priority().level() + u8::from(!is_over))
            }
            _ => (false, 0),
        };
        let next = self.find_best(core, floor);
        if next.is_none() && may_stay {
            if is_over && let Some(id) = running {
                self.start(core, id, now_ns, 0);
            }
            return Switch {
                thread: running,
                interrupt: None,
            };
        }
        let left_ns = self.cores[core.index()].slice_end_ns.saturating_sub(now_ns);
        self.cores[core.index()].running = None;
        if let Some(id) = next {
            let left_ns = self
                .threads
                .find(id)
                .map_or(0, |thread| thread.slice_left_ns);
            self.dequeue(id);
            self.start(core, id, now_ns, left_ns);
        }
        let displaced = running.and_then(|id| self.put_back(id, left_ns));
        let interrupt = displaced.or_else(|| self.find_idler());
        Switch {
            thread: next,
            interrupt,
        }
    }

    /// Blocks the thread that runs on `core`, which must reschedule next. O(1).
    pub fn block(&mut self, core: CoreId) -> Option<ThreadId> {
        let id = self.cores[core.index()].running.take()?;
        self.cores[core.index()].is_pending = true;
        if let Ok(thread) = self.threads.find_mut(id) {
            thread.state = ThreadState::Blocked;
        }
        Some(id)
    }

    /// Ends the turn of the thread that runs on `core`, which must reschedule next and lets others
    /// of its priority go first. O(1).
    pub fn end_slice(&mut self, core: CoreId) {
        self.cores[core.index()].slice_end_ns = 0;
        self.cores[core.index()].is_pending = true;
    }

    /// Blocks the thread that runs on `core` and runs the blocked thread `to` there, for the rest
    /// of the same turn: the way of a call to a server and back, without a pass through the
    /// queues. O(1).
    ///
    /// Refuses, and changes nothing, if that would not be what `reschedule` decides: `to` is not
    /// blocked, may not run here, or someone of a higher priority waits. Then wake `to`, block
    /// and reschedule.
    #[inline]
    pub fn hand_over(&mut self, core: CoreId, to: ThreadId) -> bool {
        let Some(from) = self.cores[core.index()].running else {
            return false;
        };
        let Ok(thread) = self.threads.find(to) else {
            return false;
        };
        let is_fit = thread.state == ThreadState::Blocked
            && thread.affinity.contains(core)
            && !self.cores[core.index()].is_pending
            && !self.is_waiting_above(thread.priority());
        if !is_fit {
            return false;
        }
        if let Ok(thread) = self.threads.find_mut(from) {
            thread.state = ThreadState::Blocked;
        }
        self.occupy(core, to);
        true
    }

    /// Whether `core` was asked to reschedule and has not yet.
    #[inline]
    pub fn needs_reschedule(&self, core: CoreId) -> bool {
        self.cores[core.index()].is_pending
    }

    /// Whether a thread of this priority should not wait for `core`: it idles, or runs a lower
    /// one. O(1).
    pub fn should_preempt(&self, core: CoreId, priority: Priority) -> bool {
        self.running_rank(core) < rank(Some(priority))
    }

    /// Where a thread would best go now: the core it was on last if that idles or does less
    /// important things; else one in its affinity that idles; else the one that does the least
    /// important things, then the one with the shortest queue. O(cores).
    ///
    /// # Errors
    /// [`SchedError::NoThread`].
    pub fn place(&self, id: ThreadId) -> Result<CoreId, SchedError> {
        let thread = self.threads.find(id)?;
        let last = thread.core;
        let may_stay = thread.affinity.contains(last);
        if may_stay && self.rank(last) < rank(Some(thread.priority())) {
            return Ok(last);
        }
        let cost = |core: &CoreId| {
            let queued = self.cores[core.index()].queue.count();
            (self.rank(*core), queued, *core != last)
        };
        thread
            .affinity
            .iter()
            .min_by_key(cost)
            .ok_or(SchedError::NoCore)
    }

    /// The thread that has `core`.
    #[inline]
    pub fn running(&self, core: CoreId) -> Option<ThreadId> {
        self.cores[core.index()].running
    }

    /// When the turn of the thread that runs on `core` ends; `None` if the core idles. Set a timer
    /// for it and call `reschedule` then.
    #[inline]
    pub fn slice_end_ns(&self, core: CoreId) -> Option<u64> {
        let core = &self.cores[core.index()];
        core.running.map(|_| core.slice_end_ns)
    }

    /// What a thread does.
    ///
    /// # Errors
    /// [`SchedError::NoThread`].
    pub fn state(&self, id: ThreadId) -> Result<ThreadState, SchedError> {
        Ok(self.threads.find(id)?.state)
    }

    /// The effective priority of a thread.
    ///
    /// # Errors
    /// [`SchedError::NoThread`].
    #[inline]
    pub fn priority(&self, id: ThreadId) -> Result<Priority, SchedError> {
        Ok(self.threads.find(id)?.priority())
    }

    /// Where a thread may run.
    ///
    /// # Errors
    /// [`SchedError::NoThread`].
    pub fn affinity(&self, id: ThreadId) -> Result<CoreMask, SchedError> {
        Ok(self.threads.find(id)?.affinity)
    }

    /// How many threads wait in the queue of `core`.
    pub fn queued(&self, core: CoreId) -> usize {
        self.cores[core.index()].queue.count() as usize
    }

    /// How many cores there are.
    pub fn core_count(&self) -> usize {
        self.core_count
    }

    /// Walks everything and says whether it fits together: each thread is where its state says
    /// and nowhere else. For tests and fuzzing. O(everything).
    pub fn is_consistent(&self) -> bool {
        let cores = || CoreMask::first(self.core_count).iter();
        let mut listed = 0;
        let mut in_place = true;
        let mut waiting = [0; PRIORITIES];
        for core in cores() {
            let queue = &self.cores[core.index()].queue;
            for at in (0..PRIORITIES as u8).filter_map(Priority::new) {
                let members = queue
                    .members(&self.threads, at)
                    .take(self.threads.len() + 1);
                let count = members
                    .map(|id| in_place &= self.is_queued(id, core, at))
                    .count();
                in_place &= count == queue.count_at(at) as usize;
                listed += count;
                waiting[at.index()] += count as u32;
            }
        }
        let is_placed = |(id, thread): (ThreadId, &Thread)| match thread.state {
            ThreadState::Running(core) => self.running(core) == Some(id),
            _ => true,
        };
        let has = |wanted: fn(&ThreadState) -> bool| {
            self.threads
                .iter()
                .filter(|(_, thread)| wanted(&thread.state))
                .count()
        };
        in_place
            && waiting == self.waiting
            && listed == has(|state| matches!(state, ThreadState::Queued(_)))
            && cores().filter(|&core| self.running(core).is_some()).count()
                == has(|state| matches!(state, ThreadState::Running(_)))
            && self.threads.iter().all(is_placed)
    }
}

impl Scheduler {
    fn usable(&self, affinity: CoreMask) -> Result<CoreMask, SchedError> {
        let usable = affinity.intersection(CoreMask::first(self.core_count));
        if usable.is_empty() {
            Err(SchedError::NoCore)
        } else {
            Ok(usable)
        }
    }

    fn is_queued(&self, id: ThreadId, core: CoreId, at: Priority) -> bool {
        self.threads.find(id).is_ok_and(|thread| {
            thread.state == ThreadState::Queued(core)
                && thread.priority() == at
                && thread.affinity.contains(core)
        })
    }

    fn set_priorities(
        &mut self,
        id: ThreadId,
        base: Priority,
        donated: Option<Priority>,
    ) -> Result<Option<CoreId>, SchedError> {
        let thread = self.threads.find_mut(id)?;
        let (state, before) = (thread.state, thread.priority());
        let after = Thread {
            base,
            donated,
            ..*thread
        }
        .priority();
        if let ThreadState::Queued(_) = state
            && before != after
        {
            self.dequeue(id);
        }
        let thread = self.threads.find_mut(id)?;
        (thread.base, thread.donated) = (base, donated);
        Ok(match state {
            ThreadState::Queued(_) if before != after => self.requeue(id, End::Tail),
            ThreadState::Running(core) if after < before && self.is_waiting_above(after) => {
                self.mark_pending(core)
            }
            _ => None,
        })
    }

    /// Queues a thread that was running, with the rest of its turn.
    fn put_back(&mut self, id: ThreadId, left_ns: u64) -> Option<CoreId> {
        self.threads.find_mut(id).ok()?.slice_left_ns = left_ns;
        self.requeue(id, if left_ns == 0 { End::Tail } else { End::Head })
    }

    /// Queues a thread that is in no queue, where it is best off.
    fn requeue(&mut self, id: ThreadId, end: End) -> Option<CoreId> {
        let core = self.place(id).ok()?;
        let thread = self.threads.find_mut(id).ok()?;
        thread.state = ThreadState::Queued(core);
        thread.core = core;
        if end == End::Tail {
            thread.ticket = self.next_ticket;
            self.next_ticket += 1;
        }
        let priority = thread.priority();
        self.cores[core.index()]
            .queue
            .insert(&mut self.threads, id, priority, end);
        self.waiting[priority.index()] += 1;
        if self.should_preempt(core, priority) {
            self.mark_pending(core)
        } else {
            None
        }
    }

    /// Takes a queued thread out of its queue; it is blocked then.
    fn dequeue(&mut self, id: ThreadId) {
        let Ok(thread) = self.threads.find_mut(id) else {
            return;
        };
        let ThreadState::Queued(core) = thread.state else {
            return;
        };
        thread.state = ThreadState::Blocked;
        let priority = thread.priority();
        self.cores[core.index()]
            .queue
            .remove(&mut self.threads, id, priority);
        self.waiting[priority.index()] -= 1;
    }

    /// Gives a core to a thread, for `left_ns` or if that is 0 for a full turn.
    fn start(&mut self, core: CoreId, id: ThreadId, now_ns: u64, left_ns: u64) {
        let Ok(priority) = self.priority(id) else {
            return;
        };
        let slice_ns = if left_ns == 0 {
            self.slices_ns[priority.index()]
        } else {
            left_ns
        };
        self.cores[core.index()].slice_end_ns = now_ns.saturating_add(slice_ns);
        self.occupy(core, id);
    }

    #[inline]
    fn occupy(&mut self, core: CoreId, id: ThreadId) {
        self.cores[core.index()].running = Some(id);
        if let Ok(thread) = self.threads.find_mut(id) {
            thread.state = ThreadState::Running(core);
            thread.core = core;
        }
    }

    /// The queued thread that `core` should run next, of level `floor` or above: of the highest
    /// priority in any queue, the one that has waited longest.
    fn find_best(&self, core: CoreId, floor: u8) -> Option<ThreadId> {
        let levels = (floor..PRIORITIES as u8).rev().filter_map(Priority::new);
        let mut waiting = levels.filter(|at| self.waiting[at.index()] > 0);
        waiting.find_map(|at| {
            let first = |of: CoreId| {
                let id = self.cores[of.index()]
                    .queue
                    .first_for(&self.threads, at, core)?;
                Some((self.threads.find(id).ok()?.ticket, id))
            };
            let firsts = CoreMask::first(self.core_count).iter().filter_map(first);
            firsts.min().map(|(_, id)| id)
        })
    }

    /// Asks one core to reschedule that does less than it could for a thread waiting elsewhere. If
    /// there are more such cores, that one will ask them when it reschedules.
    fn find_idler(&mut self) -> Option<CoreId> {
        let highest = Priority::new(self.waiting.iter().rposition(|&count| count > 0)? as u8);
        let is_idler = |core: &CoreId| {
            let running = self.running_rank(*core);
            running < rank(highest)
                && !self.cores[core.index()].is_pending
                && self.find_best(*core, running).is_some()
        };
        let idler = CoreMask::first(self.core_count).iter().find(is_idler)?;
        self.mark_pending(idler)
    }

    /// Asks a core to reschedule; names it unless it was asked already.
    fn mark_pending(&mut self, core: CoreId) -> Option<CoreId> {
        let was_pending = core::mem::replace(&mut self.cores[core.index()].is_pending, true);
        (!was_pending).then_some(core)
    }

    #[inline]
    fn is_waiting_above(&self, priority: Priority) -> bool {
        self.waiting
            .iter()
            .skip(priority.index() + 1)
            .any(|&count| count > 0)
    }

    /// The most important thing on a core, running or queued.
    fn rank(&self, core: CoreId) -> u8 {
        self.running_rank(core)
            .max(rank(self.cores[core.index()].queue.top()))
    }

    fn running_rank(&self, core: CoreId) -> u8 {
        rank(
            self.cores[core.index()]
                .running
                .and_then(|id| self.priority(id).ok()),
        )
    }
}

/// 0 for nothing, so that everything is more important than that.
fn rank(priority: Option<Priority>) -> u8 {
    priority.map_or(0, |priority| priority.level() + 1)
}
