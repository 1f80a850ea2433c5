//! The run queue of one core: a first-in first-out list per priority and a bitmap of which lists
//! have members. The links are in the threads.

use crate::thread::Threads;
use crate::{CoreId, PRIORITIES, Priority, ThreadId};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunQueue {
    /// Bit n: the list of priority n has members.
    levels: u8,
    count: u32,
    lists: [List; PRIORITIES],
}

#[derive(Clone, Copy, Debug, Default)]
struct List {
    head: Option<ThreadId>,
    tail: Option<ThreadId>,
    count: u32,
}

/// At which end of its list a thread joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was interrupted in its turn.
    Head,
    /// Its turn comes after all others'.
    Tail,
}

impl RunQueue {
    /// Whom a thread that joins comes to stand between.
    #[inline]
    pub(crate) fn place(&self, at: Priority, end: End) -> (Option<ThreadId>, Option<ThreadId>) {
        let list = &self.lists[at.index()];
        match end {
            End::Head => (None, list.head),
            End::Tail => (list.tail, None),
        }
    }

    /// Adds a thread that knows its [place](Self::place).
    #[inline]
    pub(crate) fn insert(&mut self, threads: &mut Threads, id: ThreadId, at: Priority, end: End) {
        let list = &mut self.lists[at.index()];
        match end {
            End::Head => {
                let next = list.head.replace(id);
                list.set_prev(threads, next, Some(id));
            }
            End::Tail => {
                let prev = list.tail.replace(id);
                list.set_next(threads, prev, Some(id));
            }
        }
        list.count += 1;
        self.count += 1;
        self.levels |= 1 << at.level();
    }

    /// Takes the first member of the list of one priority out, with what is left of its turn.
    #[inline]
    pub(crate) fn pop(&mut self, threads: &mut Threads, at: Priority) -> Option<(ThreadId, u64)> {
        let list = &mut self.lists[at.index()];
        let id = list.head?;
        let thread = threads.find(id).ok()?;
        let (next, left_ns) = (thread.next, thread.slice_left_ns);
        list.head = next;
        list.set_prev(threads, next, None);
        list.count -= 1;
        self.count -= 1;
        if list.count == 0 {
            self.levels &= !(1 << at.level());
        }
        Some((id, left_ns))
    }

    /// Takes the member between these two out.
    pub(crate) fn remove(
        &mut self,
        threads: &mut Threads,
        (prev, next): (Option<ThreadId>, Option<ThreadId>),
        at: Priority,
    ) {
        let list = &mut self.lists[at.index()];
        list.set_next(threads, prev, next);
        list.set_prev(threads, next, prev);
        list.count -= 1;
        self.count -= 1;
        if list.count == 0 {
            self.levels &= !(1 << at.level());
        }
    }

    /// The first member of the list of one priority which may run on `core`. O(1) if the first
    /// one may, which in a core's own queue is so.
    pub(crate) fn first_for(
        &self,
        threads: &Threads,
        at: Priority,
        core: CoreId,
    ) -> Option<ThreadId> {
        let mut next = self.lists[at.index()].head;
        while let Some(id) = next {
            let thread = threads.find(id).ok()?;
            if thread.affinity.contains(core) {
                return Some(id);
            }
            next = thread.next;
        }
        None
    }

    /// The highest priority that has members.
    #[inline]
    pub(crate) fn top(&self) -> Option<Priority> {
        Priority::new(self.levels.checked_ilog2()? as u8)
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn count_at(&self, at: Priority) -> u32 {
        self.lists[at.index()].count
    }

    /// The members of the list of one priority, first to last.
    pub(crate) fn members<'a>(
        &self,
        threads: &'a Threads,
        at: Priority,
    ) -> impl Iterator<Item = ThreadId> + use<'a> {
        core::iter::successors(self.lists[at.index()].head, |&id| {
            threads.find(id).ok()?.next
        })
    }
}

impl List {
    /// Makes `next` follow `of`, or be the head if there is no `of`.
    #[inline]
    fn set_next(&mut self, threads: &mut Threads, of: Option<ThreadId>, next: Option<ThreadId>) {
        match of.map(|id| threads.find_mut(id)) {
            Some(Ok(thread)) => thread.next = next,
            _ => self.head = next,
        }
    }

    /// Makes `prev` precede `of`, or be the tail if there is no `of`.
    #[inline]
    fn set_prev(&mut self, threads: &mut Threads, of: Option<ThreadId>, prev: Option<ThreadId>) {
        match of.map(|id| threads.find_mut(id)) {
            Some(Ok(thread)) => thread.prev = prev,
            _ => self.tail = prev,
        }
    }
}
