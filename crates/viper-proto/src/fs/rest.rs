//! Files that rest: closed by the program, still open at the server, to be opened again for nothing.
//!
//! The client writes into a word of the shared memory that the file rests, and takes the word back
//! to use it again; the server takes it, too, when the file must be closed. A file rests only if
//! nothing at all has changed since it was opened: then it still has its name, and the server will
//! look at the word before it takes the name away.

use super::resting::{IN_USE, RESTS};
use super::window::{Seen, Windows};
use core::sync::atomic::{AtomicU32, Ordering, fence};
use viper_rt::Mapping;

/// Files of a program that rest at a time.
pub(super) const RESTING_MAX: usize = 4;

/// What became of a file that should rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// It rests.
    Rests,
    /// It cannot: close it.
    Refused,
    /// The server was faster and has closed it.
    Closed,
}

/// The table of words, if the server looks at it.
#[derive(Debug)]
pub(super) struct Table {
    at: Option<usize>,
}

impl Table {
    pub(super) fn new(at: Option<usize>) -> Table {
        Table { at }
    }

    fn word<'m>(&self, memory: &'m Mapping, remote: u32) -> Option<&'m AtomicU32> {
        let at = self.at?.checked_add(remote as usize * 4)?;
        memory.atomic(at).ok()
    }

    /// Lets a file rest about which `seen` was known when it was opened.
    pub(super) fn rest(
        &self,
        memory: &Mapping,
        remote: u32,
        windows: &Windows,
        seen: Option<Seen>,
    ) -> Rest {
        let Some(word) = self.word(memory, remote) else {
            return Rest::Refused;
        };
        word.store(RESTS, Ordering::Release);
        // Either the server sees the word when it changes something after this, or the change is
        // seen here.
        fence(Ordering::SeqCst);
        if windows.is_still(seen) {
            Rest::Rests
        } else if self.wake(memory, remote) {
            Rest::Refused
        } else {
            Rest::Closed
        }
    }

    /// Takes a file back from where it rests; whether it is open still.
    pub(super) fn wake(&self, memory: &Mapping, remote: u32) -> bool {
        let (set, failed) = (Ordering::AcqRel, Ordering::Relaxed);
        self.word(memory, remote)
            .is_some_and(|word| word.compare_exchange(RESTS, IN_USE, set, failed).is_ok())
    }
}
