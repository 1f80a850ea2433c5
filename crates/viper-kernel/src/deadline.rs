//! The heap of deadlines: which thread or timer comes next.
//!
//! A binary heap whose entries know where they are, so that cancelling is O(log n). Room is
//! reserved when a thread or timer is made; setting a deadline never fails.

use alloc::vec::Vec;
use viper_abi::Error;

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A waiting thread.
    Thread(u32),
    /// A timer.
    Timer(u32),
}

/// All deadlines, in nanoseconds of uptime.
#[derive(Debug, Default)]
pub struct Deadlines {
    heap: Vec<(u64, Owner)>,
    owners: usize,
}

impl Deadlines {
    /// None.
    pub const fn new() -> Self {
        Deadlines {
            heap: Vec::new(),
            owners: 0,
        }
    }

    /// Makes sure that one more owner can have a deadline.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn add_owner(&mut self) -> Result<(), Error> {
        let more = (self.owners + 1).saturating_sub(self.heap.len());
        self.heap
            .try_reserve(more)
            .map_err(|_| Error::OutOfMemory)?;
        self.owners += 1;
        Ok(())
    }

    /// An owner without a deadline is gone.
    pub fn remove_owner(&mut self) {
        self.owners -= 1;
    }

    /// How many deadlines are set.
    pub const fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none is set.
    pub const fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The next deadline.
    #[inline]
    pub fn next(&self) -> u64 {
        self.heap.first().map_or(u64::MAX, |&(at, _)| at)
    }

    /// Adds a deadline. `moved` is told where each entry that moves is now, this one included.
    pub fn insert(&mut self, at: u64, owner: Owner, mut moved: impl FnMut(Owner, u32)) {
        self.heap.push((at, owner));
        let mut i = self.heap.len() - 1;
        while i > 0 && self.heap[(i - 1) / 2].0 > at {
            self.heap.swap(i, (i - 1) / 2);
            moved(self.heap[i].1, i as u32);
            i = (i - 1) / 2;
        }
        moved(owner, i as u32);
    }

    /// Takes the deadline at a place out.
    pub fn remove(&mut self, place: u32, mut moved: impl FnMut(Owner, u32)) {
        let i = place as usize;
        if i >= self.heap.len() {
            return;
        }
        let (_, _) = self.heap.swap_remove(i);
        if i < self.heap.len() {
            self.settle(i, &mut moved);
        }
    }

    /// Takes the first deadline out if it has passed.
    pub fn pop_due(&mut self, now: u64, moved: impl FnMut(Owner, u32)) -> Option<Owner> {
        let &(at, owner) = self.heap.first()?;
        if at > now {
            return None;
        }
        self.remove(0, moved);
        Some(owner)
    }

    fn settle(&mut self, mut i: usize, moved: &mut impl FnMut(Owner, u32)) {
        while i > 0 && self.heap[(i - 1) / 2].0 > self.heap[i].0 {
            self.heap.swap(i, (i - 1) / 2);
            moved(self.heap[i].1, i as u32);
            i = (i - 1) / 2;
        }
        loop {
            let (left, right) = (2 * i + 1, 2 * i + 2);
            let mut least = i;
            for child in [left, right] {
                if child < self.heap.len() && self.heap[child].0 < self.heap[least].0 {
                    least = child;
                }
            }
            if least == i {
                break;
            }
            self.heap.swap(i, least);
            moved(self.heap[i].1, i as u32);
            i = least;
        }
        moved(self.heap[i].1, i as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_true_and_order_is_kept() {
        let mut d = Deadlines::new();
        let mut place = [u32::MAX; 200];
        let mut at = [0u64; 200];
        let mut seed = 7u64;
        for round in 0..5000usize {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let i = (seed >> 33) as usize % 200;
            let mut moved = |o: Owner, p: u32| {
                if let Owner::Thread(t) = o {
                    place[t as usize] = p;
                }
            };
            if at[i] == 0 {
                at[i] = 1 + (seed >> 40) % 1000;
                d.insert(at[i], Owner::Thread(i as u32), &mut moved);
            } else {
                let p = place[i];
                d.remove(p, |o, p| {
                    if let Owner::Thread(t) = o {
                        place[t as usize] = p;
                    }
                });
                at[i] = 0;
            }
            for t in 0..200 {
                if at[t] != 0 {
                    assert_eq!(
                        d.heap[place[t] as usize],
                        (at[t], Owner::Thread(t as u32)),
                        "{round}"
                    );
                }
            }
            assert_eq!(
                d.next(),
                at.iter()
                    .copied()
                    .filter(|&a| a != 0)
                    .min()
                    .unwrap_or(u64::MAX)
            );
        }
    }
}
