//! Locks of clients on ranges of files, and those who wait for one.

use crate::node::Node;
use alloc::vec::Vec;
use viper_proto::fs::LockRange;
use viper_rt::abi::{FOREVER, NOW};
use viper_rt::server::{Deferrable, Outcome, Pending};
use viper_rt::{Error, clock};
use viperfs::{Lock, LockError, LockKind, LockTable, Wait};

/// Locks of all clients, and as many who wait.
const LOCKS_MAX: usize = 4096;

/// A client that waits.
struct Waiter {
    ticket: u64,
    owner: u64,
    inode: u64,
    deadline: u64,
    pending: Pending<()>,
}

/// The locks on files of all volumes.
pub(crate) struct Locks {
    table: LockTable,
    waiters: Vec<Waiter>,
}

impl Locks {
    pub(crate) fn new() -> Locks {
        Locks {
            table: LockTable::new(LOCKS_MAX),
            waiters: Vec::new(),
        }
    }

    /// Locks now, or when the way is free.
    pub(crate) fn lock(
        &mut self,
        call: Deferrable<()>,
        node: Node,
        lock: Lock,
        deadline: u64,
    ) -> Outcome<()> {
        let inode = node.number();
        if deadline == NOW || deadline <= clock::now() {
            return Outcome::Now(self.table.set(inode, lock).map_err(said));
        }
        match self.table.wait(inode, lock) {
            Ok(Wait::Queued(ticket)) => match call.detach() {
                Ok(pending) => {
                    self.waiters.push(Waiter {
                        ticket,
                        owner: lock.owner,
                        inode,
                        deadline,
                        pending,
                    });
                    Outcome::Later
                }
                Err(error) => {
                    self.table.cancel(ticket);
                    Outcome::Now(Err(error))
                }
            },
            Ok(_) => {
                // One kind may have taken the place of the other: others may go on.
                self.grant();
                Outcome::Now(Ok(()))
            }
            Err(error) => Outcome::Now(Err(said(error))),
        }
    }

    pub(crate) fn unlock(&mut self, node: Node, owner: u64, range: LockRange) -> Result<(), Error> {
        let done = self
            .table
            .unlock(node.number(), owner, range.start, range.last);
        self.grant();
        done.map_err(said)
    }

    /// What is in the way of a lock, and the process that holds it.
    pub(crate) fn test(&self, node: Node, lock: &Lock) -> Result<(LockRange, u64), Error> {
        if lock.end < lock.start {
            return Err(Error::InvalidArgument);
        }
        let held = self
            .table
            .test(node.number(), lock)
            .ok_or(Error::NotFound)?;
        let range = LockRange {
            start: held.start,
            last: held.end,
            exclusive: held.kind == LockKind::Exclusive,
        };
        Ok((range, u64::from(held.pid)))
    }

    /// A client has closed a file for the last time.
    #[inline]
    pub(crate) fn closed(&mut self, node: Node, owner: u64) {
        let inode = node.number();
        if self.table.locks(inode).is_empty() && self.waiters.is_empty() {
            return;
        }
        self.table.release(inode, owner);
        self.waiters
            .retain(|waiter| waiter.owner != owner || waiter.inode != inode);
        self.grant();
    }

    /// A client is gone.
    pub(crate) fn gone(&mut self, owner: u64) {
        self.table.release_owner(owner);
        self.waiters.retain(|waiter| waiter.owner != owner);
        self.grant();
    }

    /// When [`Self::expire`] wants to be called.
    #[inline]
    pub(crate) fn deadline(&self) -> u64 {
        let deadlines = self.waiters.iter().map(|waiter| waiter.deadline);
        deadlines.min().unwrap_or(FOREVER)
    }

    /// Tells those who have waited long enough.
    pub(crate) fn expire(&mut self) {
        let now = clock::now();
        while let Some(at) = self.waiters.iter().position(|w| w.deadline <= now) {
            let waiter = self.waiters.swap_remove(at);
            self.table.cancel(waiter.ticket);
            waiter.pending.answer(Err(Error::TimedOut));
        }
        self.grant();
    }

    /// Answers those whose way is free.
    fn grant(&mut self) {
        while let Some(ticket) = self.table.next_granted() {
            let found = self.waiters.iter().position(|w| w.ticket == ticket);
            if let Some(at) = found {
                self.waiters.swap_remove(at).pending.answer(Ok(()));
            }
        }
    }
}

/// A lock as the table has it.
pub(crate) fn lock_of(owner: u64, process_id: u64, range: &LockRange) -> Lock {
    Lock {
        owner,
        pid: u32::try_from(process_id).unwrap_or(u32::MAX),
        kind: match range.exclusive {
            true => LockKind::Exclusive,
            false => LockKind::Shared,
        },
        start: range.start,
        end: range.last,
    }
}

fn said(error: LockError) -> Error {
    match error {
        LockError::Conflict(_) => Error::WouldBlock,
        LockError::Deadlock => Error::Deadlock,
        LockError::Full => Error::LimitReached,
        LockError::Invalid => Error::InvalidArgument,
        _ => Error::Internal,
    }
}
