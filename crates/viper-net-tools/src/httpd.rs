//! What `httpd` does: serves the files below one directory to many clients at once.
//!
//! Nothing here waits. Each connection moves on when its stream says that something changed, a
//! bounded amount at a time and in turn, so that no client can hold up another.

mod answer;
mod arguments;
mod listing;
mod path;
mod session;

pub use answer::{Answer, Body, answer};
pub use arguments::{Arguments, USAGE};
pub use path::file_path;

use crate::stream::Stream;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use session::{Progress, Session};
use viper_http::server::Config;

/// The files that are served. Paths are relative to the directory, have neither empty segments
/// nor `.` and `..`, and are empty for the directory itself.
pub trait Tree {
    /// An open file.
    type File;

    /// Looks a path up. What a symbolic link leads to is not to be found: it may lie elsewhere.
    ///
    /// # Errors
    /// Why it cannot be served.
    fn find(&mut self, path: &str) -> Result<Found<Self::File>, Denied>;

    /// The entries of a directory, in any order.
    ///
    /// # Errors
    /// Why it cannot be served.
    fn list(&mut self, path: &str) -> Result<Vec<Item>, Denied>;

    /// Reads at a position; 0 at the end.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read(&mut self, file: &mut Self::File, at: u64, to: &mut [u8]) -> Result<usize, Denied>;

    /// Closes a file.
    fn close(&mut self, file: Self::File);

    /// Seconds since 1970, if there is a clock.
    fn unix_s(&mut self) -> Option<u64>;
}

/// What is at a path.
#[derive(Debug)]
pub enum Found<F> {
    /// A file, opened.
    File(F, Facts),
    /// A directory.
    Folder,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Size in bytes.
    pub len: u64,
    /// When it was changed last, in seconds since 1970.
    pub modified_s: u64,
    /// Another number whenever the content may be another: part of the entity tag.
    pub version: u64,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// Whether it is a directory.
    pub is_folder: bool,
    /// Size in bytes, of files.
    pub len: u64,
    /// When it was changed last, in seconds since 1970.
    pub modified_s: u64,
}

/// Why something is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It is not there, or not for others.
    NotFound,
    /// The file system has other worries: it may be there later.
    Unavailable,
}

/// How many clients, and how they are treated.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Connections at once.
    pub clients_max: usize,
    /// Sizes and time-outs of each.
    pub connection: Config,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            clients_max: 64,
            connection: Config::default(),
        }
    }
}

/// A client that has been silent for so long may be dropped when another one needs its place.
const SILENT: Duration = Duration::from_secs(1);
/// How much one connection reads from a file at a time, and moves in a turn.
const TURN_LEN: usize = 64 << 10;

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Requests answered, errors included.
    pub requests: u64,
    /// Bytes of answers handed to the streams.
    pub bytes: u64,
    /// Connections dropped to make place.
    pub dropped: u64,
}

/// All connections of a server.
///
/// The caller accepts streams and watches them; `slot` numbers are its keys.
#[derive(Debug)]
pub struct Server<S, T: Tree> {
    settings: Settings,
    tree: T,
    sessions: Vec<Option<Session<S, T::File>>>,
    /// Slots that have something to do.
    ready: Vec<usize>,
    buffer: Vec<u8>,
    counters: Counters,
}

impl<S: Stream, T: Tree> Server<S, T> {
    /// A server without connections.
    #[must_use]
    pub fn new(settings: Settings, tree: T) -> Server<S, T> {
        Server {
            settings,
            tree,
            sessions: Vec::new(),
            ready: Vec::new(),
            buffer: vec![0; TURN_LEN],
            counters: Counters::default(),
        }
    }

    /// Whether another connection can be taken; one that has been silent may have to go for it.
    #[must_use]
    pub fn has_place(&self, now: Duration) -> bool {
        self.len() < self.settings.clients_max || self.most_silent(now).is_some()
    }

    /// Takes a connection. Returns its slot, and the connection that lost it, if one did; gives
    /// the stream back if all places are taken by clients that are being served.
    pub fn admit(&mut self, now: Duration, stream: S) -> Result<(usize, Option<S>), S> {
        let mut before = None;
        let slot = if self.len() < self.settings.clients_max {
            let free = self.sessions.iter().position(Option::is_none);
            free.unwrap_or_else(|| {
                self.sessions.push(None);
                self.sessions.len() - 1
            })
        } else {
            let Some(slot) = self.most_silent(now) else {
                return Err(stream);
            };
            before = self.remove(slot);
            self.counters.dropped += 1;
            slot
        };
        let session = Session::new(stream, self.settings.connection, now);
        if let Some(place) = self.sessions.get_mut(slot) {
            *place = Some(session);
        }
        self.counters.connections += 1;
        self.wake(slot);
        Ok((slot, before))
    }

    /// Something changed at the stream in this slot.
    pub fn wake(&mut self, slot: usize) {
        if !self.ready.contains(&slot) {
            self.ready.push(slot);
        }
    }

    /// Lets each connection that has something to do do some of it. Those that ended are given
    /// to `ended`, with their slots.
    pub fn turn(&mut self, now: Duration, mut ended: impl FnMut(usize, S)) {
        for slot in core::mem::take(&mut self.ready) {
            let Some(Some(session)) = self.sessions.get_mut(slot) else {
                continue;
            };
            let (tree, buffer) = (&mut self.tree, &mut self.buffer);
            match session.advance(now, tree, buffer, &mut self.counters) {
                Progress::More => self.ready.push(slot),
                Progress::Waits => {}
                Progress::Ended => {
                    if let Some(stream) = self.remove(slot) {
                        ended(slot, stream);
                    }
                }
            }
        }
    }

    /// Whether some connection could go on at once.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When to call [`time_out`](Server::time_out), if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.sessions.iter().flatten().map(Session::deadline).min()
    }

    /// Ends what took too long.
    pub fn time_out(&mut self, now: Duration) {
        for slot in 0..self.sessions.len() {
            if let Some(Some(session)) = self.sessions.get_mut(slot)
                && session.deadline() <= now
            {
                session.time_out(now);
                self.wake(slot);
            }
        }
    }

    /// How many connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.iter().flatten().count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The stream in a slot.
    #[must_use]
    pub fn stream(&self, slot: usize) -> Option<&S> {
        Some(self.sessions.get(slot)?.as_ref()?.stream())
    }

    /// The files.
    pub fn tree(&mut self) -> &mut T {
        &mut self.tree
    }

    fn most_silent(&self, now: Duration) -> Option<usize> {
        self.sessions
            .iter()
            .enumerate()
            .filter_map(|(slot, session)| Some((slot, session.as_ref()?.served_at())))
            .filter(|(_, served)| now.saturating_sub(*served) >= SILENT)
            .min_by_key(|(_, served)| *served)
            .map(|(slot, _)| slot)
    }

    fn remove(&mut self, slot: usize) -> Option<S> {
        self.ready.retain(|other| *other != slot);
        let (stream, file) = self.sessions.get_mut(slot)?.take()?.into_parts();
        if let Some(file) = file {
            self.tree.close(file);
        }
        Some(stream)
    }
}
