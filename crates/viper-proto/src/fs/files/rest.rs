//! Files that rest: closed by the program, still open at the server, to be opened again for nothing.
//!
//! The client writes into a word of the shared memory that the file rests, and takes the word back
//! to use it again; the server takes it, too, when the file must be closed. A file rests only if
//! nothing at all has changed since it was opened: then it still has its name, and the server will
//! look at the word before it takes the name away.

use super::super::resting::{IN_USE, RESTS};
use super::super::window::{Seen, Windows};
use super::{FileId, Files, OpenFile, in_use};
use core::sync::atomic::{AtomicU32, Ordering, fence};
use viper_rt::{Error, Mapping};

/// Files of a program that rest at a time.
const RESTING_MAX: usize = 4;

/// What became of a file that should rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
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
    fn rest(&self, memory: &Mapping, remote: u32, windows: &Windows, seen: Option<Seen>) -> Rest {
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
    fn wake(&self, memory: &Mapping, remote: u32) -> bool {
        let (set, failed) = (Ordering::AcqRel, Ordering::Relaxed);
        self.word(memory, remote)
            .is_some_and(|word| word.compare_exchange(RESTS, IN_USE, set, failed).is_ok())
    }
}

impl Files {
    /// Lets a file rest that the program closes; `false` if it must be closed.
    pub(super) fn rest(&mut self, file: FileId) -> Result<bool, Error> {
        let open = in_use(&mut self.open, file)?;
        let Some(session) = &self.session else {
            return Ok(false);
        };
        if session.number != open.session || !open.may_rest() {
            return Ok(false);
        }
        let (memory, windows) = (&session.memory, &session.windows);
        match session
            .resting
            .rest(memory, open.remote, windows, open.seen)
        {
            Rest::Rests => (open.rests, open.next_read) = (true, 0),
            Rest::Refused => return Ok(false),
            Rest::Closed => self.open[file.0 as usize] = None,
        }
        Ok(true)
    }

    /// A file that rests, taken back into use; room for another one if there is none.
    pub(super) fn wake(&mut self, path: &str, flags: u32) -> Option<(FileId, &OpenFile)> {
        let resting = |place: &Option<OpenFile>| place.as_ref().is_some_and(|open| open.rests);
        let same = |open: &OpenFile| open.rests && open.flags == flags && open.path == path;
        let mut places = self.open.iter();
        let Some(index) = places.position(|place| place.as_ref().is_some_and(same)) else {
            if self.open.iter().filter(|place| resting(place)).count() >= RESTING_MAX {
                let first = self.open.iter().position(resting)?;
                self.end_rest(first);
            }
            return None;
        };
        let open = self.open.get_mut(index)?.as_mut()?;
        let session = self.session.as_ref()?;
        let is_right = open.session == session.number && session.windows.is_still(open.seen);
        if !is_right || !session.resting.wake(&session.memory, open.remote) {
            self.end_rest(index);
            return None;
        }
        open.rests = false;
        self.open
            .get(index)?
            .as_ref()
            .map(|open| (FileId(index as u32), open))
    }

    /// Closes a file that rests, unless the server has done so.
    fn end_rest(&mut self, index: usize) {
        let open = self.open.get(index).and_then(Option::as_ref);
        let (Some(open), Some(session)) = (open, &self.session) else {
            return;
        };
        let is_open =
            open.session == session.number && session.resting.wake(&session.memory, open.remote);
        if is_open {
            let _ = self.close_now(FileId(index as u32));
        } else {
            self.open[index] = None;
        }
    }

    /// The server gave the number of a file to another one: none that rests has it any more.
    pub(super) fn forget_resting(&mut self, session: u64, remote: u32) {
        for place in &mut self.open {
            let is_it =
                |open: &OpenFile| open.rests && (open.session, open.remote) == (session, remote);
            if place.as_ref().is_some_and(is_it) {
                *place = None;
            }
        }
    }
}
