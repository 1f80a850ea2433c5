//! What the scheduler knows about a thread.

use alloc::vec::Vec;

use crate::{CoreId, CoreMask, Priority, SchedError, ThreadId};

/// Where a thread is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadState {
    /// Waits for something that is not a core.
    Blocked,
    /// Waits in the queue of this core (any core in its affinity may take it from there).
    Queued(CoreId),
    /// Has this core.
    Running(CoreId),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Thread {
    pub(crate) state: ThreadState,
    /// Where it ran or queued last.
    pub(crate) core: CoreId,
    pub(crate) affinity: CoreMask,
    pub(crate) base: Priority,
    /// `LOWEST` if nobody lends it any.
    pub(crate) donated: Priority,
    /// What is left of its time slice while it is queued; 0 asks for a fresh one.
    pub(crate) slice_left_ns: u64,
    /// When it last joined the end of a queue: lower is earlier.
    pub(crate) ticket: u64,
    /// Neighbours in its queue; meaningless elsewhere.
    pub(crate) prev: Option<ThreadId>,
    pub(crate) next: Option<ThreadId>,
}

/// The threads by index.
#[derive(Debug)]
pub(crate) struct Threads {
    threads: Vec<Option<Thread>>,
}

impl Thread {
    /// The effective priority.
    #[inline]
    pub(crate) fn priority(&self) -> Priority {
        self.base.max(self.donated)
    }
}

impl Threads {
    pub(crate) const fn new() -> Self {
        Self {
            threads: Vec::new(),
        }
    }

    pub(crate) fn ensure_capacity(&mut self, count: usize) -> Result<(), SchedError> {
        let missing = count.saturating_sub(self.threads.len());
        self.threads
            .try_reserve(missing)
            .map_err(|_| SchedError::OutOfMemory)?;
        if missing > 0 {
            self.threads.resize(count, None);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn find(&self, id: ThreadId) -> Result<&Thread, SchedError> {
        self.threads
            .get(id.0 as usize)
            .and_then(Option::as_ref)
            .ok_or(SchedError::NoThread)
    }

    #[inline]
    pub(crate) fn find_mut(&mut self, id: ThreadId) -> Result<&mut Thread, SchedError> {
        self.threads
            .get_mut(id.0 as usize)
            .and_then(Option::as_mut)
            .ok_or(SchedError::NoThread)
    }

    pub(crate) fn put(&mut self, id: ThreadId, thread: Option<Thread>) {
        if let Some(place) = self.threads.get_mut(id.0 as usize) {
            *place = thread;
        }
    }

    /// Places for threads, taken or not.
    pub(crate) fn len(&self) -> usize {
        self.threads.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ThreadId, &Thread)> {
        self.threads
            .iter()
            .enumerate()
            .filter_map(|(index, thread)| Some((ThreadId(index as u32), thread.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_costs_40_bytes() {
        assert_eq!(size_of::<Option<Thread>>(), 40);
    }
}
