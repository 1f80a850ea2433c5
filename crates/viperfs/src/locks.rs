//! Advisory locks on byte ranges, with the rules of POSIX record locks.
//!
//! A table for one volume or many: files and owners are whatever numbers the server gives. It
//! holds no file and blocks nobody; a request that has to wait gets a ticket, and the server asks
//! [`LockTable::next_granted`] after every unlock.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Whether a lock shares its range with others of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockKind {
    /// Many owners may hold it together: a read lock.
    Shared,
    /// One owner holds it alone: a write lock.
    Exclusive,
}

/// A lock, held or asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Who holds it; locks of one owner never conflict.
    pub owner: u64,
    /// Process to show to others who ask who is in the way.
    pub pid: u32,
    /// Shared or exclusive.
    pub kind: LockKind,
    /// First byte.
    pub start: u64,
    /// Last byte; `u64::MAX` is the end of any file.
    pub end: u64,
}

impl Lock {
    fn overlaps(&self, start: u64, end: u64) -> bool {
        self.start <= end && start <= self.end
    }

    fn conflicts(&self, other: &Self) -> bool {
        self.owner != other.owner
            && self.overlaps(other.start, other.end)
            && (self.kind == LockKind::Exclusive || other.kind == LockKind::Exclusive)
    }
}

/// Why a lock was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockError {
    /// This lock of another owner is in the way.
    Conflict(Lock),
    /// Waiting would never end: the holder waits for the asker, perhaps through others.
    Deadlock,
    /// The table holds as many locks and waiters as it may.
    Full,
    /// The range ends before it starts.
    Invalid,
}

impl core::fmt::Display for LockError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Conflict(_) => "locked by another owner",
            Self::Deadlock => "waiting for the lock would never end",
            Self::Full => "too many locks",
            Self::Invalid => "range ends before it starts",
        })
    }
}

impl core::error::Error for LockError {}

/// What [`LockTable::wait`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// The lock is held now.
    Granted,
    /// The request waits under this ticket.
    Queued(u64),
}

struct Waiter {
    ticket: u64,
    file: u64,
    lock: Lock,
}

/// Locks on many files. Memory is bounded by the number of locks given to [`LockTable::new`].
///
/// # Complexity
/// Linear in the locks of the file; finding deadlocks and granting, in waiters times those.
pub struct LockTable {
    /// Per file: sorted by start; ranges of one owner do not overlap.
    files: BTreeMap<u64, Vec<Lock>>,
    /// First come, first served.
    waiters: Vec<Waiter>,
    next_ticket: u64,
    held: usize,
    max: usize,
}

impl LockTable {
    /// A table for at most `max` locks and as many waiters.
    pub const fn new(max: usize) -> Self {
        Self {
            files: BTreeMap::new(),
            waiters: Vec::new(),
            next_ticket: 1,
            held: 0,
            max,
        }
    }

    /// A lock that would be in the way of this one, if any.
    pub fn test(&self, file: u64, lock: &Lock) -> Option<Lock> {
        let held = self.files.get(&file)?;
        held.iter().find(|l| l.conflicts(lock)).copied()
    }

    /// Takes a lock, in place of what its owner held in that range.
    ///
    /// # Errors
    /// Any [`LockError`] but `Deadlock`; the owner's locks are then as they were.
    pub fn set(&mut self, file: u64, lock: Lock) -> Result<(), LockError> {
        if lock.end < lock.start {
            return Err(LockError::Invalid);
        }
        if let Some(other) = self.test(file, &lock) {
            return Err(LockError::Conflict(other));
        }
        self.change(file, lock.owner, lock.start, lock.end, Some(lock))
    }

    /// Gives up what an owner holds in a range; a lock may be cut short or in two.
    ///
    /// # Errors
    /// [`LockError::Full`] when cutting in two needs a lock more than there may be,
    /// [`LockError::Invalid`].
    pub fn unlock(&mut self, file: u64, owner: u64, start: u64, end: u64) -> Result<(), LockError> {
        if end < start {
            return Err(LockError::Invalid);
        }
        self.change(file, owner, start, end, None)
    }

    /// Gives up all that an owner holds or waits for on a file, as closing it does.
    pub fn release(&mut self, file: u64, owner: u64) {
        self.waiters
            .retain(|w| w.file != file || w.lock.owner != owner);
        if let Some(held) = self.files.get_mut(&file) {
            let before = held.len();
            held.retain(|l| l.owner != owner);
            self.held -= before - held.len();
            if held.is_empty() {
                self.files.remove(&file);
            }
        }
    }

    /// Gives up all that an owner holds or waits for, on any file.
    pub fn release_owner(&mut self, owner: u64) {
        self.waiters.retain(|w| w.lock.owner != owner);
        let mut held = 0;
        self.files.retain(|_, locks| {
            locks.retain(|l| l.owner != owner);
            held += locks.len();
            !locks.is_empty()
        });
        self.held = held;
    }

    /// Takes a lock, or queues for it.
    ///
    /// # Errors
    /// [`LockError::Deadlock`], [`LockError::Full`], [`LockError::Invalid`].
    pub fn wait(&mut self, file: u64, lock: Lock) -> Result<Wait, LockError> {
        match self.set(file, lock) {
            Ok(()) => return Ok(Wait::Granted),
            Err(LockError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
        if self.waits_for(file, &lock) {
            return Err(LockError::Deadlock);
        }
        if self.waiters.len() >= self.max {
            return Err(LockError::Full);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiters.push(Waiter { ticket, file, lock });
        Ok(Wait::Queued(ticket))
    }

    /// Takes a waiter out of the queue; false when it is not there, granted perhaps.
    pub fn cancel(&mut self, ticket: u64) -> bool {
        let before = self.waiters.len();
        self.waiters.retain(|w| w.ticket != ticket);
        self.waiters.len() < before
    }

    /// The next waiter whose way is free now: it holds its lock from here on. Ask until `None`.
    pub fn next_granted(&mut self) -> Option<u64> {
        for i in 0..self.waiters.len() {
            let Waiter { ticket, file, lock } = self.waiters[i];
            if self.set(file, lock).is_ok() {
                self.waiters.remove(i);
                return Some(ticket);
            }
        }
        None
    }

    /// The locks on a file, by start.
    pub fn locks(&self, file: u64) -> &[Lock] {
        self.files.get(&file).map_or(&[], |locks| locks)
    }

    /// Replaces what an owner holds in a range by `new`, merging with equal neighbours.
    fn change(
        &mut self,
        file: u64,
        owner: u64,
        start: u64,
        end: u64,
        new: Option<Lock>,
    ) -> Result<(), LockError> {
        let old = self.files.get(&file).map_or(&[][..], |locks| locks);
        let mut next = Vec::with_capacity(old.len() + 2);
        let mut new = new;
        for lock in old {
            let mine = lock.owner == owner;
            if let Some(n) = new
                .as_mut()
                .filter(|n| mine && n.kind == lock.kind && touch(n, lock))
            {
                n.start = n.start.min(lock.start);
                n.end = n.end.max(lock.end);
                continue;
            }
            if !mine || !lock.overlaps(start, end) {
                next.push(*lock);
                continue;
            }
            if let Some(before) = start.checked_sub(1).filter(|&b| b >= lock.start) {
                next.push(Lock {
                    end: before,
                    ..*lock
                });
            }
            if let Some(after) = end.checked_add(1).filter(|&a| a <= lock.end) {
                next.push(Lock {
                    start: after,
                    ..*lock
                });
            }
        }
        next.extend(new);
        let held = self.held - old.len() + next.len();
        // Giving something up must not fail because others hold too much.
        if held > self.max && held > self.held {
            return Err(LockError::Full);
        }
        self.held = held;
        if next.is_empty() {
            self.files.remove(&file);
        } else {
            next.sort_unstable_by_key(|l| (l.start, l.owner));
            self.files.insert(file, next);
        }
        Ok(())
    }

    /// Whether the owner of a request is waited for by somebody that the request would wait for.
    fn waits_for(&self, file: u64, lock: &Lock) -> bool {
        let mut seen = Vec::new();
        let mut todo = self.holders(file, lock);
        while let Some(owner) = todo.pop() {
            if owner == lock.owner {
                return true;
            }
            if seen.contains(&owner) {
                continue;
            }
            seen.push(owner);
            for waiter in self.waiters.iter().filter(|w| w.lock.owner == owner) {
                todo.extend(self.holders(waiter.file, &waiter.lock));
            }
        }
        false
    }

    fn holders(&self, file: u64, lock: &Lock) -> Vec<u64> {
        let held = self.locks(file).iter();
        held.filter(|l| l.conflicts(lock))
            .map(|l| l.owner)
            .collect()
    }
}

/// Whether two ranges overlap or lie next to each other.
fn touch(a: &Lock, b: &Lock) -> bool {
    a.start <= b.end.saturating_add(1) && b.start <= a.end.saturating_add(1)
}

#[cfg(test)]
mod tests;
