//! When to look at a socket again.
//!
//! A heap of promises, some of them stale: a deadline that moves later is not moved in the heap,
//! but found out when its time comes. Retransmission timers are set and put off with every
//! segment, and that must not cost anything.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;

use crate::SocketId;

/// Deadlines of sockets, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(u64, SocketId)>>,
}

impl Timers {
    /// Promises to name `id` at `deadline`, unless `armed` already promises that or earlier.
    pub(crate) fn arm(&mut self, armed: &mut Option<u64>, deadline: u64, id: SocketId) {
        if armed.is_none_or(|earlier| deadline < earlier) {
            *armed = Some(deadline);
            self.heap.push(Reverse((deadline, id)));
        }
    }

    /// The next socket whose time has come, with the time that it was promised.
    pub(crate) fn expired(&mut self, now: u64) -> Option<(u64, SocketId)> {
        let Reverse((deadline, id)) = *self.heap.peek()?;
        if deadline > now {
            return None;
        }
        self.heap.pop();
        Some((deadline, id))
    }

    /// The earliest promise.
    pub(crate) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((deadline, _))| *deadline)
    }
}
