//! What a core does next, where a thread goes, who is interrupted.

use super::{Scheduler, Switch};
use crate::queue::End;
use crate::{CoreId, CoreMask, Priority, SchedError, ThreadId, ThreadState};

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
                interrupt: self.find_idler(),
            };
        }
        let left_ns = self.cores[core.index()].slice_end_ns.saturating_sub(now_ns);
        self.cores[core.index()].running = None;
        if let Some(id) = next {
            let left_ns = self.dequeue(id);
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

    /// [`block`](Self::block) and [`reschedule`](Self::reschedule) in one. O(1) on one core.
    #[inline]
    pub fn block_and_reschedule(&mut self, core: CoreId, now_ns: u64) -> Switch {
        if self.core_count > 1 {
            self.block(core);
            return self.reschedule(core, now_ns);
        }
        self.release(core);
        self.cores[core.index()].is_pending = false;
        let next = self.pop(core);
        if let Some((id, left_ns)) = next {
            self.start(core, id, now_ns, left_ns);
        }
        Switch {
            thread: next.map(|(id, _)| id),
            interrupt: None,
        }
    }

    /// Whether [`preempt`](Self::preempt) would do it. O(1).
    #[inline]
    pub fn would_preempt(&self, core: CoreId, id: ThreadId) -> bool {
        if self.core_count > 1 || self.cores[core.index()].is_pending {
            return false;
        }
        let Ok(thread) = self.threads.find(id) else {
            return false;
        };
        let priority = thread.priority();
        thread.state == ThreadState::Blocked
            && self.should_preempt(core, priority)
            && !self.is_waiting_above(priority)
    }

    /// Runs a blocked thread on the only core there is at once, if it is more important than what
    /// runs there, which is queued for the rest of its turn: [`wake`](Self::wake) and
    /// [`reschedule`](Self::reschedule) in one. O(1).
    ///
    /// Refuses, and changes nothing, if the core is to reschedule for another reason. Everything
    /// else was asked by [`would_preempt`](Self::would_preempt).
    pub fn preempt(&mut self, core: CoreId, id: ThreadId, now_ns: u64) -> bool {
        if self.cores[core.index()].is_pending {
            return false;
        }
        let left_ns = self.cores[core.index()].slice_end_ns.saturating_sub(now_ns);
        if let Some(displaced) = self.cores[core.index()].running.take() {
            self.queue_first(core, displaced, left_ns);
        }
        self.start(core, id, now_ns, 0);
        true
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

    /// Takes the thread that runs on `core` off it, blocked, without asking the core for anything:
    /// the caller gives the core a thread by [`adopt`](Self::adopt) before anything else. O(1).
    #[inline]
    pub fn release(&mut self, core: CoreId) -> Option<ThreadId> {
        let id = self.cores[core.index()].running.take()?;
        if let Ok(thread) = self.threads.find_mut(id) {
            thread.state = ThreadState::Blocked;
        }
        Some(id)
    }

    /// Notes that `core`, which was [released](Self::release), runs the blocked thread `to` for the
    /// rest of the turn, because somebody has made it so already. Names the core if it must
    /// reschedule, because someone of a higher priority waits. O(1).
    pub fn adopt(&mut self, core: CoreId, to: ThreadId) -> Option<CoreId> {
        self.occupy(core, to);
        let priority = self.priority(to).ok()?;
        if self.is_waiting_above(priority) {
            self.mark_pending(core)
        } else {
            None
        }
    }

    /// Whether a thread of this priority should not wait for `core`: it idles, or runs a lower
    /// one. O(1).
    #[inline]
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
}

impl Scheduler {
    /// Queues a thread that was running, with the rest of its turn.
    fn put_back(&mut self, id: ThreadId, left_ns: u64) -> Option<CoreId> {
        self.threads.find_mut(id).ok()?.slice_left_ns = left_ns;
        self.requeue(id, if left_ns == 0 { End::Tail } else { End::Head })
    }

    /// Queues a thread that was running on the only core there is, in front of its equals if its
    /// turn has not ended.
    #[inline]
    fn queue_first(&mut self, core: CoreId, id: ThreadId, left_ns: u64) {
        let end = if left_ns == 0 { End::Tail } else { End::Head };
        let Ok(thread) = self.threads.find_mut(id) else {
            return;
        };
        thread.slice_left_ns = left_ns;
        thread.state = ThreadState::Queued(core);
        if end == End::Tail {
            thread.ticket = self.next_ticket;
            self.next_ticket += 1;
        }
        let priority = thread.priority();
        let queue = &mut self.cores[core.index()].queue;
        (thread.prev, thread.next) = queue.place(priority, end);
        queue.insert(&mut self.threads, id, priority, end);
        self.waiting[priority.index()] += 1;
        self.waiting_levels |= 1 << priority.level();
    }

    /// Queues a thread that is in no queue, where it is best off.
    pub(super) fn requeue(&mut self, id: ThreadId, end: End) -> Option<CoreId> {
        let core = match self.core_count {
            1 => CoreId::FIRST,
            _ => self.place(id).ok()?,
        };
        let queue = &mut self.cores[core.index()].queue;
        let thread = self.threads.find_mut(id).ok()?;
        thread.state = ThreadState::Queued(core);
        thread.core = core;
        if end == End::Tail {
            thread.ticket = self.next_ticket;
            self.next_ticket += 1;
        }
        let priority = thread.priority();
        (thread.prev, thread.next) = queue.place(priority, end);
        queue.insert(&mut self.threads, id, priority, end);
        self.waiting[priority.index()] += 1;
        self.waiting_levels |= 1 << priority.level();
        if self.should_preempt(core, priority) {
            self.mark_pending(core)
        } else {
            None
        }
    }

    /// Takes a queued thread out of its queue; it is blocked then. Gives what is left of its turn.
    pub(super) fn dequeue(&mut self, id: ThreadId) -> u64 {
        let Ok(thread) = self.threads.find_mut(id) else {
            return 0;
        };
        let ThreadState::Queued(core) = thread.state else {
            return 0;
        };
        thread.state = ThreadState::Blocked;
        let (priority, left_ns) = (thread.priority(), thread.slice_left_ns);
        let neighbours = (thread.prev, thread.next);
        self.cores[core.index()]
            .queue
            .remove(&mut self.threads, neighbours, priority);
        self.count_out(priority);
        left_ns
    }

    /// Takes the first thread of the highest priority out of a core's own queue, with what is left
    /// of its turn.
    fn pop(&mut self, core: CoreId) -> Option<(ThreadId, u64)> {
        let queue = &mut self.cores[core.index()].queue;
        let at = queue.top()?;
        let (id, left_ns) = queue.pop(&mut self.threads, at)?;
        self.count_out(at);
        Some((id, left_ns))
    }

    /// One thread of this priority less is queued.
    #[inline]
    fn count_out(&mut self, at: Priority) {
        let waiting = &mut self.waiting[at.index()];
        *waiting -= 1;
        if *waiting == 0 {
            self.waiting_levels &= !(1 << at.level());
        }
    }

    /// Gives a core to a thread, for `left_ns` or if that is 0 for a full turn.
    #[inline]
    fn start(&mut self, core: CoreId, id: ThreadId, now_ns: u64, left_ns: u64) {
        let Ok(thread) = self.threads.find_mut(id) else {
            return;
        };
        let slice_ns = if left_ns == 0 {
            self.slices_ns[thread.priority().index()]
        } else {
            left_ns
        };
        thread.state = ThreadState::Running(core);
        thread.core = core;
        let core = &mut self.cores[core.index()];
        core.slice_end_ns = now_ns.saturating_add(slice_ns);
        core.running = Some(id);
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
        let mut levels = u32::from(self.waiting_levels) >> floor << floor;
        while let Some(level) = levels.checked_ilog2() {
            let at = Priority::new(level as u8)?;
            let first = |of: CoreId| {
                self.cores[of.index()]
                    .queue
                    .first_for(&self.threads, at, core)
            };
            let found = match self.core_count {
                1 => first(core),
                _ => CoreMask::first(self.core_count)
                    .iter()
                    .filter_map(|of| {
                        let id = first(of)?;
                        Some((self.threads.find(id).ok()?.ticket, id))
                    })
                    .min()
                    .map(|(_, id)| id),
            };
            if found.is_some() {
                return found;
            }
            levels ^= 1 << level;
        }
        None
    }

    /// Asks one core to reschedule that does less than it could for a thread waiting elsewhere. If
    /// there are more such cores, that one will ask them when it reschedules.
    fn find_idler(&mut self) -> Option<CoreId> {
        if self.core_count == 1 {
            return None; // it is deciding right now
        }
        let highest = Priority::new(self.waiting_levels.checked_ilog2()? as u8);
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
    pub(super) fn mark_pending(&mut self, core: CoreId) -> Option<CoreId> {
        let was_pending = core::mem::replace(&mut self.cores[core.index()].is_pending, true);
        (!was_pending).then_some(core)
    }

    /// Whether a thread of a higher priority is queued on any core. O(1).
    #[inline]
    pub fn is_waiting_above(&self, priority: Priority) -> bool {
        self.waiting_levels >> priority.level() > 1
    }

    /// Whether a thread of this or a higher priority is queued on any core. O(1).
    #[inline]
    pub fn is_waiting_from(&self, priority: Priority) -> bool {
        self.waiting_levels >> priority.level() != 0
    }

    /// The most important thing on a core, running or queued.
    fn rank(&self, core: CoreId) -> u8 {
        self.running_rank(core)
            .max(rank(self.cores[core.index()].queue.top()))
    }

    #[inline]
    fn running_rank(&self, core: CoreId) -> u8 {
        rank(
            self.cores[core.index()]
                .running
                .and_then(|id| self.priority(id).ok()),
        )
    }
}

/// 0 for nothing, so that everything is more important than that.
#[inline]
fn rank(priority: Option<Priority>) -> u8 {
    priority.map_or(0, |priority| priority.level() + 1)
}
