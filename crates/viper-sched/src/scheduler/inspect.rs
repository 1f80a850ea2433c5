//! Questions that change nothing.

use super::Scheduler;
use crate::thread::Thread;
use crate::{CoreId, CoreMask, PRIORITIES, Priority, SchedError, ThreadId, ThreadState};

/// Questions.
impl Scheduler {
    /// Whether `core` was asked to reschedule and has not yet.
    #[inline]
    pub fn needs_reschedule(&self, core: CoreId) -> bool {
        self.cores[core.index()].is_pending
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
            && (0..PRIORITIES).all(|at| (self.waiting_levels >> at & 1 == 1) == (waiting[at] > 0))
            && listed == has(|state| matches!(state, ThreadState::Queued(_)))
            && cores().filter(|&core| self.running(core).is_some()).count()
                == has(|state| matches!(state, ThreadState::Running(_)))
            && self.threads.iter().all(is_placed)
    }

    fn is_queued(&self, id: ThreadId, core: CoreId, at: Priority) -> bool {
        self.threads.find(id).is_ok_and(|thread| {
            thread.state == ThreadState::Queued(core)
                && thread.priority() == at
                && thread.affinity.contains(core)
        })
    }
}
