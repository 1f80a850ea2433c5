//! Files for programs: a session with the file service that outlives the server.
//!
//! When the server dies, operations that may be repeated are repeated on its successor, with files
//! opened again by their paths; others fail with `ServerDied`. What was written to a file and not
//! synced is lost with the server: the next operation on that file says so, once, with
//! `ServerDied`, and a file that is not what it was any more says it each time. So who gets `Ok`
//! from a sync has everything on stable storage, whatever died before.
//!
//! Data goes through memory that is shared once: a read or write is one message for each 256 KiB.
//! Who reads a file in small pieces, one after the other, gets them without a message each: see
//! `window`. Who opens a file again that was closed just now, or asks for the same path again, needs
//! no message either while nothing changes: see `rest` and `recent`.

mod mounts;
mod recent;
mod rest;

use super::window::{self, Seen, Windows};
use super::{
    Attributes, Changes, Client, FILES_MAX, LockRange, PATH_INLINE_MAX, PATH_MAX, PathSent,
    Statistics, VolumeId, flags,
};
use crate::names;
use alloc::string::String;
use alloc::vec::Vec;
pub use mounts::Mount;
use recent::Recent;
use rest::Table;
use viper_rt::abi::Rights;
use viper_rt::handle::{Channel, Memory};
use viper_rt::{Error, Mapping, Object, clock, trace};

/// Bytes of a session's memory that data uses.
pub const DATA_BYTES: usize = 256 * 1024;
/// Two paths stand behind the data.
const PATHS_AT: usize = DATA_BYTES;
/// Behind them stands which files rest.
const RESTING_AT: usize = PATHS_AT + 2 * PATH_MAX;
const SESSION_BYTES: usize = RESTING_AT + 4 * FILES_MAX;
/// How long a client waits for the server to come (back).
pub const RECONNECT_NS: u64 = 5 * clock::SECOND;
/// How often it looks for one that is just ending or starting.
const PAUSE_NS: u64 = 5 * clock::MILLISECOND;
/// How often an operation is tried.
const ATTEMPTS: u32 = 5;

/// A file of [`Files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(u32);

#[derive(Debug)]
struct Session {
    client: Client,
    memory: Mapping,
    windows: Windows,
    resting: Table,
    /// Which session this is: a file opened in another one has to be opened again.
    number: u64,
}

#[derive(Debug)]
struct OpenFile {
    path: String,
    flags: u32,
    attributes: Attributes,
    /// What was known before it was opened.
    seen: Option<Seen>,
    remote: u32,
    session: u64,
    /// It is closed for the program.
    rests: bool,
    /// Where the last read ended.
    next_read: u64,
    /// It was changed and not synced since.
    is_unsynced: bool,
    /// What was locked and not unlocked.
    locks: Vec<LockRange>,
}

/// A directory entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the inode.
    pub inode: u64,
    /// See [`super::kind`].
    pub kind: u32,
    /// The name.
    pub name: String,
}

/// The files that a program has open, and the session they are open in.
#[derive(Debug)]
pub struct Files {
    session: Option<Session>,
    sessions: u64,
    open: Vec<Option<OpenFile>>,
    /// Something was changed in this session and not synced since.
    unsynced_in: Option<u64>,
    recent: Recent,
    /// The trace id of the last operation; `None` if operations are not traced.
    traced: Option<u16>,
}

/// While it lives, the thread works for a traced request.
struct Traced;

impl Drop for Traced {
    fn drop(&mut self) {
        trace::set_current(0);
    }
}

impl Default for Files {
    fn default() -> Files {
        Files::new()
    }
}

impl Files {
    /// No session yet: the first operation makes it.
    #[must_use]
    pub const fn new() -> Files {
        Files {
            session: None,
            sessions: 0,
            open: Vec::new(),
            unsynced_in: None,
            recent: Recent::new(),
            traced: None,
        }
    }

    /// Gives each operation from now on a trace id of its own, or none.
    pub fn set_traced(&mut self, traced: bool) {
        self.traced = traced.then_some(0);
    }

    fn trace(&mut self) -> Option<Traced> {
        let id = self.traced?.wrapping_add(1).max(1);
        self.traced = Some(id);
        trace::set_current(id);
        Some(Traced)
    }

    /// Opens a file.
    ///
    /// # Errors
    /// Those of the file service, [`Error::NoService`], [`Error::ServerDied`].
    pub fn open(
        &mut self,
        names: &names::Client,
        path: &str,
        flags: u32,
        mode: u32,
    ) -> Result<(FileId, Attributes), Error> {
        if let Some((index, open)) = self.wake(path, flags) {
            return Ok((index, open.attributes));
        }
        let repeatable = flags & (flags::EXCLUSIVE | flags::TRUNCATE) == 0;
        let (remote, attributes, session, seen) = self.with(names, repeatable, |s| {
            let seen = s.windows.changes();
            let (remote, attributes) = s.client.open(flags, mode, s.path(path, 0)?)?;
            // The number may have been another file's, which the server has closed.
            s.windows.closed(remote);
            Ok((remote, attributes, s.number, seen))
        })?;
        self.forget_resting(session, remote);
        if flags & (flags::CREATE | flags::TRUNCATE) != 0 {
            self.unsynced_in = Some(session);
        }
        let file = OpenFile {
            path: path.into(),
            flags: flags & !(flags::CREATE | flags::EXCLUSIVE | flags::TRUNCATE),
            attributes,
            seen,
            remote,
            session,
            rests: false,
            next_read: 0,
            is_unsynced: flags & flags::TRUNCATE != 0,
            locks: Vec::new(),
        };
        let index = match self.open.iter().position(Option::is_none) {
            Some(index) => {
                self.open[index] = Some(file);
                index
            }
            None => {
                self.open.push(Some(file));
                self.open.len() - 1
            }
        };
        Ok((FileId(index as u32), attributes))
    }

    /// Closes a file.
    ///
    /// # Errors
    /// [`Error::BadHandle`] if it is not open, [`Error::ServerDied`] if changes were lost that
    /// nobody was told of yet.
    pub fn close(&mut self, file: FileId) -> Result<(), Error> {
        if self.rest(file)? {
            return Ok(());
        }
        self.close_now(file)
    }

    /// Closes a file at the server.
    fn close_now(&mut self, file: FileId) -> Result<(), Error> {
        let place = self.open.get_mut(file.0 as usize).ok_or(Error::BadHandle)?;
        let open = place.take().ok_or(Error::BadHandle)?;
        let closed = match &self.session {
            Some(session) if session.number == open.session => session.client.close(open.remote),
            _ => Err(Error::PeerClosed),
        };
        if let Some(session) = &mut self.session {
            session.windows.closed(open.remote);
        }
        match closed {
            Err(Error::PeerClosed) if open.is_unsynced => Err(Error::ServerDied),
            Err(Error::PeerClosed) => Ok(()),
            closed => closed,
        }
    }

    /// Reads at `position`. Returns how many bytes; 0 at the end.
    ///
    /// # Errors
    /// Those of the file service, [`Error::BadHandle`].
    pub fn read(
        &mut self,
        names: &names::Client,
        file: FileId,
        position: u64,
        to: &mut [u8],
    ) -> Result<usize, Error> {
        if to.len() <= window::READ_MAX {
            return self.read_small(names, file, position, to);
        }
        let len = to.len().min(DATA_BYTES);
        let count = self.with_file(names, file, true, |s, remote| {
            s.windows.touched(len);
            let count = s.client.read(remote, position, len as u64, 0)? as usize;
            let part = to.get_mut(..count.min(len)).ok_or(Error::BadMessage)?;
            s.memory.read(0, part)?;
            Ok(part.len())
        })?;
        self.read_to(file, position + count as u64);
        Ok(count)
    }

    /// Reads from what was read ahead, or reads ahead if the file is read in order.
    fn read_small(
        &mut self,
        names: &names::Client,
        file: FileId,
        position: u64,
        to: &mut [u8],
    ) -> Result<usize, Error> {
        let open = in_use(&mut self.open, file)?;
        if let Some(session) = &self.session
            && session.number == open.session
            && let Some((at, count)) = session.windows.find(open.remote, position, to.len())
        {
            let part = to.get_mut(..count).ok_or(Error::Internal)?;
            session.memory.read(at, part)?;
            open.next_read = position + count as u64;
            return Ok(count);
        }
        let is_next = position == open.next_read;
        let count = self.with_file(names, file, true, |s, remote| {
            let (at, len) = s.windows.place(remote, position, to.len(), is_next);
            let seen = s.windows.changes();
            let count = s.client.read(remote, position, len as u64, at as u64)? as usize;
            let count = count.min(len);
            s.windows.fill(at, remote, position, (count, len), seen);
            let part = to.len().min(count);
            let part = to.get_mut(..part).ok_or(Error::Internal)?;
            s.memory.read(at, part)?;
            Ok(part.len())
        })?;
        self.read_to(file, position + count as u64);
        Ok(count)
    }

    fn read_to(&mut self, file: FileId, position: u64) {
        if let Some(Some(open)) = self.open.get_mut(file.0 as usize) {
            open.next_read = position;
        }
    }

    /// Writes at `position`. Returns how many bytes were written.
    ///
    /// # Errors
    /// As [`Files::read`]; [`Error::ServerDied`] for a file opened with APPEND.
    pub fn write(
        &mut self,
        names: &names::Client,
        file: FileId,
        position: u64,
        from: &[u8],
    ) -> Result<usize, Error> {
        let from = &from[..from.len().min(DATA_BYTES)];
        let append = self.file(file)?.flags & flags::APPEND != 0;
        // At a position it may be repeated: the same bytes come to the same place.
        let count = self.with_file(names, file, !append, |s, remote| {
            s.windows.touched(from.len());
            s.memory.write(0, from)?;
            let (count, _) = s.client.write(remote, position, from.len() as u64, 0)?;
            Ok((count as usize).min(from.len()))
        })?;
        self.changed(file);
        Ok(count)
    }

    /// What is known of an open file.
    ///
    /// # Errors
    /// Those of the file service, [`Error::BadHandle`].
    pub fn stat(&mut self, names: &names::Client, file: FileId) -> Result<Attributes, Error> {
        self.with_file(names, file, true, |s, remote| s.client.stat(remote))
    }

    /// What is known of the file at a path; of a link itself unless `follow`.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn stat_path(
        &mut self,
        names: &names::Client,
        path: &str,
        follow: bool,
    ) -> Result<Attributes, Error> {
        if let Some(session) = &self.session
            && let Some(known) = self.recent.find(path, follow, &session.windows)
        {
            return Ok(known);
        }
        let (attributes, seen) = self.with(names, true, |s| {
            let seen = s.windows.changes();
            Ok((s.client.stat_path(follow, s.path(path, 0)?)?, seen))
        })?;
        self.recent.note(path, follow, attributes, seen);
        Ok(attributes)
    }

    /// Appends entries of an open directory to `into`, from `cookie` on (0: the start). Returns
    /// the cookie to go on from, `None` at the end.
    ///
    /// # Errors
    /// Those of the file service, [`Error::BadMessage`] for entries that are malformed.
    pub fn read_directory(
        &mut self,
        names: &names::Client,
        file: FileId,
        cookie: u64,
        into: &mut Vec<Entry>,
    ) -> Result<Option<u64>, Error> {
        // In front of the windows.
        const LEN: usize = 16 * 1024;
        self.with_file(names, file, true, |s, remote| {
            let (used, next) = s.client.read_directory(remote, cookie, LEN as u64, 0)?;
            let used = usize::try_from(used).ok().filter(|&n| n <= LEN);
            let mut bytes = alloc::vec![0; used.ok_or(Error::BadMessage)?];
            s.memory.read(0, &mut bytes)?;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (entry, behind) = parse_entry(rest).ok_or(Error::BadMessage)?;
                into.push(entry);
                rest = behind;
            }
            Ok(if bytes.is_empty() { None } else { Some(next) })
        })
    }

    /// Sets the size of an open file.
    ///
    /// # Errors
    /// Those of the file service, [`Error::BadHandle`].
    pub fn truncate(
        &mut self,
        names: &names::Client,
        file: FileId,
        size_bytes: u64,
    ) -> Result<(), Error> {
        self.with_file(names, file, true, |s, remote| {
            s.client.truncate(remote, size_bytes)
        })?;
        self.changed(file);
        Ok(())
    }

    /// Locks a range of an open file against other clients; see the service's LOCK. When the server
    /// dies the lock is taken again as the file is opened again.
    ///
    /// # Errors
    /// Those of the file service. Any operation on the file is [`Error::LockLost`], once, if another client came first after the server's
    /// death: then none of this client's locks on it are held.
    pub fn lock(
        &mut self,
        names: &names::Client,
        file: FileId,
        range: LockRange,
        deadline: u64,
    ) -> Result<(), Error> {
        // A lock that a dead server may have given is gone with it.
        self.with_file(names, file, true, |s, remote| {
            s.client.lock(remote, range, deadline)
        })?;
        if let Some(Some(open)) = self.open.get_mut(file.0 as usize) {
            open.locks.push(range);
        }
        Ok(())
    }

    /// Gives up what is locked in a range.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn unlock(
        &mut self,
        names: &names::Client,
        file: FileId,
        range: LockRange,
    ) -> Result<(), Error> {
        self.with_file(names, file, true, |s, remote| {
            s.client.unlock(remote, range)
        })?;
        if let Some(Some(open)) = self.open.get_mut(file.0 as usize) {
            open.locks = open.locks.iter().flat_map(|l| without(l, &range)).collect();
        }
        Ok(())
    }

    /// What is in the way of a lock, and whose process it is.
    ///
    /// # Errors
    /// Those of the file service; [`Error::NotFound`] if nothing is.
    pub fn lock_test(
        &mut self,
        names: &names::Client,
        file: FileId,
        range: LockRange,
    ) -> Result<(LockRange, u64), Error> {
        self.with_file(names, file, true, |s, remote| {
            s.client.lock_test(remote, range)
        })
    }

    /// Keeps blocks for a range of an open file.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn allocate(
        &mut self,
        names: &names::Client,
        file: FileId,
        position: u64,
        len: u64,
        keep_size: bool,
    ) -> Result<(), Error> {
        self.with_file(names, file, true, |s, remote| {
            s.client.allocate(remote, position, len, keep_size)
        })?;
        self.changed(file);
        Ok(())
    }

    /// Gives the blocks of a range of an open file back: it reads as zeroes from then on.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn punch(
        &mut self,
        names: &names::Client,
        file: FileId,
        position: u64,
        len: u64,
    ) -> Result<(), Error> {
        self.with_file(names, file, true, |s, remote| {
            s.client.punch(remote, position, len)
        })?;
        self.changed(file);
        Ok(())
    }

    /// The next place that is data, or a hole, from `position` on.
    ///
    /// # Errors
    /// Those of the file service; [`Error::NotFound`] if there is none.
    pub fn seek(
        &mut self,
        names: &names::Client,
        file: FileId,
        position: u64,
        to_hole: bool,
    ) -> Result<u64, Error> {
        self.with_file(names, file, true, |s, remote| {
            s.client.seek(remote, position, to_hole)
        })
    }

    /// Identity and name of the volume.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn volume(&mut self, names: &names::Client) -> Result<(VolumeId, String), Error> {
        self.with(names, true, |s| {
            let (volume, label) = s.client.volume()?;
            Ok((volume, label.as_str()?.into()))
        })
    }

    /// Gives the volume another name.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn set_label(&mut self, names: &names::Client, label: &str) -> Result<(), Error> {
        self.with(names, true, |s| s.client.set_label(label.as_bytes()))
    }

    /// Returns when the file is on stable storage.
    ///
    /// # Errors
    /// Those of the file service; [`Error::ServerDied`] if the server died since the file was
    /// changed last: then the changes since the last sync are lost.
    pub fn sync_file(&mut self, names: &names::Client, file: FileId) -> Result<(), Error> {
        self.with_file(names, file, true, |s, remote| s.client.sync_file(remote))?;
        if let Some(Some(open)) = self.open.get_mut(file.0 as usize) {
            open.is_unsynced = false;
        }
        Ok(())
    }

    /// The content of an open file as memory, with its size.
    ///
    /// # Errors
    /// Those of the file service, [`Error::BadHandle`].
    pub fn file_memory(
        &mut self,
        names: &names::Client,
        file: FileId,
    ) -> Result<(u64, Memory), Error> {
        self.with_file(names, file, true, |s, remote| s.client.file_memory(remote))
    }

    /// A stream over an open file from `position` on.
    ///
    /// # Errors
    /// Those of the file service, [`Error::BadHandle`].
    pub fn stream(
        &mut self,
        names: &names::Client,
        file: FileId,
        position: u64,
    ) -> Result<Channel, Error> {
        self.with_file(names, file, true, |s, remote| {
            s.client.stream(remote, position)
        })
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn make_directory(
        &mut self,
        names: &names::Client,
        path: &str,
        mode: u32,
    ) -> Result<(), Error> {
        self.with_names(names, |s| s.client.make_directory(mode, s.path(path, 0)?))
    }

    /// Removes a file or link.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn unlink(&mut self, names: &names::Client, path: &str) -> Result<(), Error> {
        self.with_names(names, |s| s.client.unlink(s.path(path, 0)?))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn remove_directory(&mut self, names: &names::Client, path: &str) -> Result<(), Error> {
        self.with_names(names, |s| s.client.remove_directory(s.path(path, 0)?))
    }

    /// Renames; what is at the new path is replaced.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn rename(&mut self, names: &names::Client, from: &str, to: &str) -> Result<(), Error> {
        self.with_names(names, |s| s.client.rename(s.path(from, 0)?, s.path(to, 1)?))
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn symlink(&mut self, names: &names::Client, target: &str, at: &str) -> Result<(), Error> {
        self.with_names(names, |s| {
            s.client.symlink(s.path(target, 0)?, s.path(at, 1)?)
        })
    }

    /// Makes a second name for a file.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn link(&mut self, names: &names::Client, from: &str, to: &str) -> Result<(), Error> {
        self.with_names(names, |s| s.client.link(s.path(from, 0)?, s.path(to, 1)?))
    }

    /// The text of a symbolic link.
    ///
    /// # Errors
    /// Those of the file service, [`Error::Corrupt`] if it is not UTF-8.
    pub fn read_link(&mut self, names: &names::Client, path: &str) -> Result<String, Error> {
        self.with(names, true, |s| {
            let count = s.client.read_link(s.path(path, 0)?, PATH_MAX as u64, 0)?;
            let len = usize::try_from(count).ok().filter(|&n| n <= PATH_MAX);
            let mut bytes = alloc::vec![0; len.ok_or(Error::BadMessage)?];
            s.memory.read(0, &mut bytes)?;
            String::from_utf8(bytes).map_err(|_| Error::Corrupt)
        })
    }

    /// Changes attributes.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn set_attributes(
        &mut self,
        names: &names::Client,
        path: &str,
        changes: Changes,
    ) -> Result<(), Error> {
        self.with_names(names, |s| {
            s.client.set_attributes(changes, s.path(path, 0)?)
        })
    }

    /// Returns when everything is on stable storage.
    ///
    /// # Errors
    /// Those of the file service; [`Error::ServerDied`] if the server died since this client
    /// changed something last.
    pub fn sync(&mut self, names: &names::Client) -> Result<(), Error> {
        let _traced = self.trace();
        for _ in 0..ATTEMPTS {
            let session = ensure(&mut self.session, &mut self.sessions, names)?;
            if self.unsynced_in.is_some_and(|at| at != session.number) {
                self.unsynced_in = None;
                return Err(Error::ServerDied);
            }
            match session.client.sync() {
                Err(Error::PeerClosed) => self.session = None,
                Ok(()) => {
                    let here = Some(session.number);
                    let open = self.open.iter_mut().flatten();
                    open.filter(|file| Some(file.session) == here)
                        .for_each(|file| file.is_unsynced = false);
                    self.unsynced_in = None;
                    return Ok(());
                }
                result => return result,
            }
        }
        Err(Error::ServerDied)
    }

    /// What is known of the file system.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn statistics(&mut self, names: &names::Client) -> Result<Statistics, Error> {
        self.with(names, true, |s| s.client.statistics())
    }

    fn file(&self, file: FileId) -> Result<&OpenFile, Error> {
        let place = self.open.get(file.0 as usize).and_then(Option::as_ref);
        place.filter(|open| !open.rests).ok_or(Error::BadHandle)
    }

    /// Runs an operation on an open file, opening it again first if the server is another one.
    fn with_file<T>(
        &mut self,
        names: &names::Client,
        file: FileId,
        repeatable: bool,
        mut operation: impl FnMut(&mut Session, u32) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _traced = self.trace();
        for _ in 0..ATTEMPTS {
            let session = ensure(&mut self.session, &mut self.sessions, names)?;
            let open = in_use(&mut self.open, file)?;
            if open.session != session.number {
                match open.again(session) {
                    Ok(()) => {}
                    Err(Error::PeerClosed) => {
                        self.session = None;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            match operation(session, open.remote) {
                Err(Error::PeerClosed) => self.session = None,
                result => return result,
            }
            if !repeatable {
                open.is_unsynced = false;
                return Err(Error::ServerDied);
            }
        }
        Err(Error::ServerDied)
    }

    /// An open file was changed, in the session there is.
    fn changed(&mut self, file: FileId) {
        if let Some(Some(open)) = self.open.get_mut(file.0 as usize) {
            open.is_unsynced = true;
            self.unsynced_in = Some(open.session);
        }
    }

    /// An operation that changes names.
    fn with_names<T>(
        &mut self,
        names: &names::Client,
        operation: impl FnMut(&mut Session) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let done = self.with(names, false, operation)?;
        self.unsynced_in = self.session.as_ref().map(|session| session.number);
        Ok(done)
    }

    fn with<T>(
        &mut self,
        names: &names::Client,
        repeatable: bool,
        mut operation: impl FnMut(&mut Session) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _traced = self.trace();
        for _ in 0..ATTEMPTS {
            match operation(ensure(&mut self.session, &mut self.sessions, names)?) {
                Err(Error::PeerClosed) if repeatable => self.session = None,
                Err(Error::PeerClosed) => {
                    self.session = None;
                    return Err(Error::ServerDied);
                }
                result => return result,
            }
        }
        Err(Error::ServerDied)
    }
}

/// A file that the program has open.
fn in_use(open: &mut [Option<OpenFile>], file: FileId) -> Result<&mut OpenFile, Error> {
    let place = open.get_mut(file.0 as usize).and_then(Option::as_mut);
    place.filter(|open| !open.rests).ok_or(Error::BadHandle)
}

/// What is left of a lock when a range of it is given up.
fn without(lock: &LockRange, gone: &LockRange) -> impl Iterator<Item = LockRange> {
    let before = (lock.start < gone.start).then(|| LockRange {
        last: lock.last.min(gone.start - 1),
        ..*lock
    });
    let behind = (lock.last > gone.last).then(|| LockRange {
        start: lock.start.max(gone.last + 1),
        ..*lock
    });
    before.into_iter().chain(behind)
}

/// The session, made now if there is none.
fn ensure<'s>(
    session: &'s mut Option<Session>,
    sessions: &mut u64,
    names: &names::Client,
) -> Result<&'s mut Session, Error> {
    if session.is_none() {
        *sessions += 1;
        *session = Some(Session::new(names, *sessions)?);
    }
    session.as_mut().ok_or(Error::Internal)
}

impl OpenFile {
    /// Whether nobody sees a difference between its being closed and its resting.
    fn may_rest(&self) -> bool {
        self.flags & flags::WRITE == 0 && self.locks.is_empty() && !self.is_unsynced
    }

    /// Opens it in another session.
    ///
    /// [`Error::ServerDied`] if it is not what it was: changes that were not synced are lost, or
    /// it is gone, or another file has its name.
    fn again(&mut self, session: &Session) -> Result<(), Error> {
        let path = session.path(&self.path, 0)?;
        let (remote, attributes) = match session.client.open(self.flags, 0, path) {
            Err(Error::NotFound) => return Err(Error::ServerDied),
            result => result?,
        };
        if attributes.inode != self.attributes.inode {
            let _ = session.client.close(remote);
            return Err(Error::ServerDied);
        }
        (self.remote, self.session) = (remote, session.number);
        for lock in &self.locks {
            match session.client.lock(remote, *lock, 0) {
                Err(Error::WouldBlock) => {
                    self.locks.clear();
                    let all = LockRange {
                        last: u64::MAX,
                        ..LockRange::default()
                    };
                    session.client.unlock(remote, all)?;
                    return Err(Error::LockLost);
                }
                result => result?,
            }
        }
        match core::mem::take(&mut self.is_unsynced) {
            true => Err(Error::ServerDied),
            false => Ok(()),
        }
    }
}

impl Session {
    /// A session with the server that there is, or that is about to come.
    fn new(names: &names::Client, number: u64) -> Result<Session, Error> {
        let deadline = clock::after(RECONNECT_NS);
        loop {
            match Session::with_server(names, number, deadline) {
                // It died, but its supervisor has not noticed.
                Err(Error::PeerClosed | Error::Busy) if clock::now() < deadline => {
                    clock::sleep(PAUSE_NS);
                }
                result => return result,
            }
        }
    }

    fn with_server(names: &names::Client, number: u64, deadline: u64) -> Result<Session, Error> {
        let client = Client::new(names.connect(b"FSD:", deadline)?);
        let memory = Memory::new(SESSION_BYTES as u64)?;
        let mapping = Mapping::whole(&memory)?;
        let given = Rights::READ | Rights::WRITE | Rights::MAP | Rights::TRANSFER;
        client.session(memory.duplicate(given | Rights::DUPLICATE)?)?;
        let changes = client.changes().ok();
        let resting = client.resting(RESTING_AT as u64).is_ok();
        Ok(Session {
            client,
            memory: mapping,
            windows: Windows::new(changes.as_ref()),
            resting: Table::new(resting.then_some(RESTING_AT)),
            number,
        })
    }

    /// A path as it is sent; a long one goes into the memory, to place 0 or 1.
    fn path<'a>(&self, path: &'a str, place: usize) -> Result<PathSent<'a>, Error> {
        let bytes = path.as_bytes();
        if bytes.len() > PATH_MAX {
            return Err(Error::NameTooLong);
        }
        if bytes.len() <= PATH_INLINE_MAX {
            return Ok(PathSent::Inline(bytes));
        }
        let offset = PATHS_AT + place * PATH_MAX;
        self.memory.write(offset, bytes)?;
        Ok(PathSent::Shared {
            offset: offset as u64,
            len: bytes.len() as u32,
        })
    }
}

/// Bytes of an entry before its name.
pub const ENTRY_HEADER_BYTES: usize = 16;

/// An entry as READ_DIRECTORY gives it, and what is behind it.
fn parse_entry(bytes: &[u8]) -> Option<(Entry, &[u8])> {
    let (header, rest) = bytes.split_at_checked(ENTRY_HEADER_BYTES)?;
    let inode = u64::from_le_bytes(header.get(..8)?.try_into().ok()?);
    let kind = u32::from_le_bytes(header.get(8..12)?.try_into().ok()?);
    let len = usize::from(u16::from_le_bytes(header.get(12..14)?.try_into().ok()?));
    let name = core::str::from_utf8(rest.get(..len)?).ok()?;
    let behind = rest.get(len.next_multiple_of(8)..)?;
    let entry = Entry {
        inode,
        kind,
        name: name.into(),
    };
    Some((entry, behind))
}

/// Appends an entry in the form of READ_DIRECTORY. Returns whether it fits `space` bytes in all.
pub fn append_entry(to: &mut Vec<u8>, space: usize, inode: u64, kind: u32, name: &[u8]) -> bool {
    let len = ENTRY_HEADER_BYTES + name.len().next_multiple_of(8);
    let Ok(name_len) = u16::try_from(name.len()) else {
        return false;
    };
    if to.len() + len > space {
        return false;
    }
    let end = to.len() + len;
    to.extend(inode.to_le_bytes());
    to.extend(kind.to_le_bytes());
    to.extend(name_len.to_le_bytes());
    to.extend([0; 2]);
    to.extend(name);
    to.resize(end, 0);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_round_trip_and_nonsense_is_refused() {
        let mut bytes = Vec::new();
        assert!(append_entry(&mut bytes, 100, 7, 1, b"name.txt"));
        assert!(append_entry(&mut bytes, 100, 8, 2, b"x"));
        assert!(!append_entry(&mut bytes, 60, 9, 1, b"too much"));
        let (first, rest) = parse_entry(&bytes).unwrap();
        assert_eq!(
            (first.inode, first.kind, first.name.as_str()),
            (7, 1, "name.txt")
        );
        let (second, rest) = parse_entry(rest).unwrap();
        assert_eq!((second.inode, second.name.as_str()), (8, "x"));
        assert!(rest.is_empty());
        for cut in 0..24 {
            assert!(parse_entry(&bytes[..cut]).is_none());
        }
    }
}
