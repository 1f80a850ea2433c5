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

    /// Forgets stale promises when they are most of what there is. `is_armed` says whether a socket
    /// still has a promise for that time.
    pub(crate) fn tidy(&mut self, sockets: usize, is_armed: impl Fn(u64, SocketId) -> bool) {
        if self.heap.len() > STALE_MIN + 4 * sockets {
            self.heap.retain(|Reverse((time, id))| is_armed(*time, *id));
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

/// So many promises are not worth looking through.
const STALE_MIN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_promises_do_not_pile_up() {
        let mut timers = Timers::default();
        let live = SocketId::from_bits(u64::MAX);
        timers.arm(&mut None, 5, live);
        for number in 0..100_000 {
            timers.arm(&mut None, 1_000 + number, SocketId::from_bits(number));
            timers.tidy(1, |time, id| (time, id) == (5, live));
            assert!(timers.heap.len() <= STALE_MIN + 5);
        }
        assert_eq!(timers.next(), Some(5));
    }
}
