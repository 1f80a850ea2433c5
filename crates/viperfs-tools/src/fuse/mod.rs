//! A mounted volume as a FUSE file system.
//!
//! Requests come one at a time and are answered before the next, but for locks that have to wait:
//! their answers are kept until the lock is free. The kernel checks permissions.

mod convert;
mod requests;

use crate::FileDevice;
use fuser::{Errno, INodeNo, ReplyEmpty, Request};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use viperfs::{Attr, Fs, Lock, LockError, LockTable, Owner, Wait};

/// Locks that all processes together may hold.
const LOCKS_MAX: usize = 1 << 16;

/// A volume that a FUSE session and its starter share.
#[derive(Clone)]
pub struct SharedVolume(Arc<Mutex<Inner>>);

struct Inner {
    volume: Option<Fs<FileDevice>>,
    locks: LockTable,
    /// Answers owed to processes that wait for a lock, by ticket.
    waiting: HashMap<u64, ReplyEmpty>,
}

impl SharedVolume {
    /// Takes a mounted volume.
    pub fn new(volume: Fs<FileDevice>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            volume: Some(volume),
            locks: LockTable::new(LOCKS_MAX),
            waiting: HashMap::new(),
        })))
    }

    /// Makes everything durable that was written so far.
    ///
    /// # Errors
    /// As [`Fs::sync`].
    pub fn sync(&self) -> Result<(), viperfs::Error> {
        match &mut self.lock().volume {
            Some(volume) if !volume.statfs().read_only => volume.sync(),
            _ => Ok(()),
        }
    }

    /// Ends the use of the volume; requests fail from here on.
    ///
    /// # Errors
    /// As [`Fs::unmount`].
    pub fn finish(&self) -> Result<(), viperfs::Error> {
        match self.lock().volume.take() {
            Some(volume) => volume.unmount().map(drop),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic in a request leaves the volume as the engine keeps it: whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a request on the volume.
    fn with<R>(
        &self,
        f: impl FnOnce(&mut Fs<FileDevice>) -> Result<R, viperfs::Error>,
    ) -> Result<R, Errno> {
        let mut inner = self.lock();
        let volume = inner.volume.as_mut().ok_or(Errno::ENODEV)?;
        f(volume).map_err(convert::errno)
    }
}

impl Inner {
    /// Takes a lock, now or, with `sleep`, when it is free; answers then.
    fn take_lock(&mut self, file: u64, lock: Lock, sleep: bool, reply: ReplyEmpty) {
        let result = if sleep {
            self.locks.wait(file, lock)
        } else {
            self.locks.set(file, lock).map(|()| Wait::Granted)
        };
        match result {
            Ok(Wait::Queued(ticket)) => {
                self.waiting.insert(ticket, reply);
            }
            Ok(_) => reply.ok(),
            Err(error) => reply.error(match error {
                LockError::Deadlock => Errno::EDEADLK,
                LockError::Full => Errno::ENOLCK,
                LockError::Invalid => Errno::EINVAL,
                _ => Errno::EAGAIN,
            }),
        }
        // Turning an exclusive lock into a shared one lets others in.
        self.answer_waiters();
    }

    fn answer_waiters(&mut self) {
        while let Some(ticket) = self.locks.next_granted() {
            if let Some(reply) = self.waiting.remove(&ticket) {
                reply.ok();
            }
        }
    }
}

/// Who owns what a request creates: in a set-group-id directory, the directory's group does.
fn owner_in(parent: &Attr, request: &Request) -> Owner {
    let gid = if parent.mode & 0o2000 != 0 {
        parent.gid
    } else {
        request.gid()
    };
    Owner {
        uid: request.uid(),
        gid,
    }
}

fn number(ino: INodeNo) -> u64 {
    ino.0
}
