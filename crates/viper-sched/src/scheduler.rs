//! The policy: who runs where, who is interrupted, when a turn ends.
//!
//! What holds whenever no core has a rescheduling pending: no thread waits while a core that it
//! may run on is idle or runs something of a lower priority. Every operation that breaks this
//! leaves some core pending, and names it so that the caller interrupts it; and every core that
//! reschedules looks for one more that should.

use crate::queue::{End, RunQueue};
use crate::thread::{Thread, ThreadState, Threads};
use crate::{CORES_MAX, CoreId, CoreMask, PRIORITIES, Priority, SchedError, ThreadId};

mod decide;
mod inspect;

/// The scheduling policy of a machine with 1 to 8 cores. See the crate documentation.
#[derive(Debug)]
pub struct Scheduler {
    threads: Threads,
    cores: [Core; CORES_MAX],
    core_count: usize,
    slices_ns: [u64; PRIORITIES],
    /// Queued threads on all cores, by priority.
    waiting: [u32; PRIORITIES],
    /// Bit n: threads of priority n are queued.
    waiting_levels: u8,
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
        Ok(Self {
            threads: Threads::new(),
            cores,
            core_count,
            slices_ns,
            waiting: [0; PRIORITIES],
            waiting_levels: 0,
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
            donated: Priority::LOWEST,
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
        self.set_priorities(id, base, donated.unwrap_or(Priority::LOWEST))
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

impl Scheduler {
    fn usable(&self, affinity: CoreMask) -> Result<CoreMask, SchedError> {
        let usable = affinity.intersection(CoreMask::first(self.core_count));
        if usable.is_empty() {
            Err(SchedError::NoCore)
        } else {
            Ok(usable)
        }
    }

    fn set_priorities(
        &mut self,
        id: ThreadId,
        base: Priority,
        donated: Priority,
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
}
