//! The session with the server, and a thread that tells all sockets when the server has died.

use super::RECONNECT_NS;
use crate::names;
use crate::net::{ADDRESSES_MAX, Address, Client, STATUS_AT, bits, status};
use crate::net::{Link, memory_bytes, ring_place};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicBool, Ordering};
use viper_rt::abi::{FOREVER, Rights, Signals, Slot};
use viper_rt::handle::{Channel, Event, Memory, PollSet, Process};
use viper_rt::message::List;
use viper_rt::ring::{Consumer, Producer, SharedWord};
use viper_rt::sync::Mutex;
use viper_rt::thread::{self, JoinHandle};
use viper_rt::{Error, Mapping, Object, clock, program, sys};

const SERVICE: &[u8] = b"NETD:";
/// How often an operation that may be repeated is tried.
const ATTEMPTS: u32 = 3;
const WATCH_STACK_BYTES: usize = 16 * 1024;

/// What all sockets of a program share.
#[derive(Debug)]
pub(super) struct Inner {
    names: Option<Mutex<names::Client>>,
    session: Mutex<Option<Arc<Session>>>,
    /// A channel of its own for what takes its time.
    resolver: Mutex<Option<Client>>,
}

impl Inner {
    pub(super) fn from_startup() -> Result<Inner, Error> {
        let channel = program::peek(Slot::NAMES).ok_or(Error::NoService)?;
        // The handle stays the program's.
        let names = ManuallyDrop::new(names::Client::new(Channel::from_raw(channel)));
        Inner::through(&names)
    }

    pub(super) fn through(names: &names::Client) -> Result<Inner, Error> {
        let own = names::Client::new(names.duplicate(0)?);
        Ok(Inner {
            names: Some(Mutex::new(own)),
            session: Mutex::new(None),
            resolver: Mutex::new(None),
        })
    }

    pub(super) fn over(channel: Channel) -> Inner {
        Inner {
            names: None,
            session: Mutex::new(Some(Arc::new(Session::new(channel)))),
            resolver: Mutex::new(None),
        }
    }

    /// The session; a new one if the server of the last has died.
    pub(super) fn session(&self) -> Result<Arc<Session>, Error> {
        let mut session = self.session.lock();
        match &*session {
            Some(old) if !old.is_dead() => Ok(old.clone()),
            _ => {
                let new = Arc::new(Session::new(introduced(self.channel()?)));
                *session = Some(new.clone());
                Ok(new)
            }
        }
    }

    fn channel(&self) -> Result<Channel, Error> {
        let names = self.names.as_ref().ok_or(Error::ServerDied)?;
        names.lock().connect(SERVICE, clock::after(RECONNECT_NS))
    }

    /// Runs an operation that may be repeated.
    pub(super) fn with<T>(
        &self,
        mut operation: impl FnMut(&Arc<Session>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for _ in 0..ATTEMPTS {
            let session = self.session()?;
            match operation(&session) {
                Err(Error::PeerClosed) => session.died(),
                result => return result,
            }
        }
        Err(Error::ServerDied)
    }

    pub(super) fn resolve(
        &self,
        name: &[u8],
        deadline: u64,
    ) -> Result<List<Address, ADDRESSES_MAX>, Error> {
        self.at_length(|client| client.resolve(name, deadline))
    }

    pub(super) fn ready(&self, deadline: u64) -> Result<(), Error> {
        self.at_length(|client| client.ready(deadline))
    }

    /// Runs an operation that may take long, and may be repeated: other threads need not wait.
    fn at_length<T>(&self, operation: impl Fn(&Client) -> Result<T, Error>) -> Result<T, Error> {
        if self.names.is_none() {
            return self.with(|session| session.call(&operation));
        }
        let mut resolver = self.resolver.lock();
        for _ in 0..ATTEMPTS {
            if resolver.is_none() {
                *resolver = Some(Client::new(self.channel()?));
            }
            let client = resolver.as_ref().ok_or(Error::Internal)?;
            match operation(client) {
                Err(Error::PeerClosed) => *resolver = None,
                result => return result,
            }
        }
        Err(Error::ServerDied)
    }

    /// Everything that an operation gives for 0, 1 and so on.
    pub(super) fn list<T>(
        &self,
        at: impl Fn(&Client, u32) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut list = Vec::new();
        for index in 0.. {
            match self.with(|session| session.call(|client| at(client, index))) {
                Ok(item) => list.push(item),
                Err(Error::NotFound) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(list)
    }
}

/// Tells the server whose channel it is. Nothing but lists of sockets depends on it.
fn introduced(channel: Channel) -> Channel {
    let rights = Rights::READ | Rights::TRANSFER;
    let itself = program::peek(Slot::PROCESS).ok_or(Error::NotFound);
    let itself = itself.and_then(|handle| {
        // The handle stays the program's.
        ManuallyDrop::new(Process::from_raw(handle)).duplicate(rights)
    });
    let client = Client::new(channel);
    if let Ok(itself) = itself {
        let _ = client.introduce(itself);
    }
    client.into_channel()
}

/// A channel to the server, and who wants to hear of the server's end.
#[derive(Debug)]
pub(super) struct Session {
    client: Mutex<Client>,
    watched: Arc<Watched>,
    watcher: Mutex<Option<(Event, JoinHandle)>>,
}

#[derive(Debug, Default)]
struct Watched {
    dead: AtomicBool,
    events: Mutex<Vec<Weak<Event>>>,
}

impl Watched {
    fn died(&self) {
        self.dead.store(true, Ordering::Release);
        for event in self.events.lock().drain(..) {
            if let Some(event) = event.upgrade() {
                let _ = event.signal(bits::ALL);
            }
        }
    }
}

impl Session {
    fn new(channel: Channel) -> Session {
        Session {
            client: Mutex::new(Client::new(channel)),
            watched: Arc::new(Watched::default()),
            watcher: Mutex::new(None),
        }
    }

    #[inline]
    pub(super) fn is_dead(&self) -> bool {
        self.watched.dead.load(Ordering::Acquire)
    }

    pub(super) fn died(&self) {
        self.watched.died();
    }

    pub(super) fn call<T>(
        &self,
        operation: impl FnOnce(&Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        operation(&self.client.lock())
    }

    /// Signals this event when the server dies.
    pub(super) fn watch(&self, event: &Arc<Event>) -> Result<(), Error> {
        let mut watcher = self.watcher.lock();
        if watcher.is_none() {
            *watcher = Some(self.start_watcher()?);
        }
        drop(watcher);
        let mut events = self.watched.events.lock();
        events.retain(|e| e.strong_count() > 0);
        events.push(Arc::downgrade(event));
        drop(events);
        if self.is_dead() {
            self.died();
        }
        Ok(())
    }

    fn start_watcher(&self) -> Result<(Event, JoinHandle), Error> {
        const QUIT: u64 = 1;
        let (set, quit) = (PollSet::new()?, Event::new()?);
        set.add(&quit, QUIT, Signals(1))?;
        let client = self.client.lock();
        set.add(client.connection().channel(), 0, Signals::PEER_CLOSED)?;
        drop(client);
        let watched = self.watched.clone();
        let options = thread::Options {
            stack_bytes: WATCH_STACK_BYTES,
            ..thread::Options::default()
        };
        let watcher = thread::spawn_with(options, move || {
            let got = sys::receive(set.raw(), FOREVER);
            if got.check().is_err() || got.key != QUIT {
                watched.died();
            }
        })?;
        Ok((quit, watcher))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some((quit, thread)) = self.watcher.lock().take()
            && quit.signal(1).is_ok()
        {
            let _ = thread.join(clock::after(clock::SECOND));
        }
    }
}

/// What the server answers when it has made a socket.
pub(super) type Made = (Link, Memory, Event, Event);

/// An end of a socket, without its rings. Dropping it closes the socket.
#[derive(Debug)]
pub(super) struct End {
    session: Arc<Session>,
    link: Link,
    status: SharedWord,
    wake: Arc<Event>,
    bell: Event,
    is_aborted: AtomicBool,
}

/// What the server made: an end, and the rings to write to and to read from.
pub(super) fn open(
    session: Arc<Session>,
    (link, memory, wake, bell): Made,
) -> Result<(Arc<End>, Producer, Consumer), Error> {
    let mapping = Mapping::new(&memory, 0, memory_bytes(link.ring_bytes))?;
    let mapping = Arc::new(mapping);
    let (out, back) = if link.is_second { (1, 0) } else { (0, 1) };
    let wake = Arc::new(wake);
    session.watch(&wake)?;
    let end = End {
        session,
        link,
        status: SharedWord::new(mapping.clone(), STATUS_AT)?,
        wake,
        bell,
        is_aborted: AtomicBool::new(false),
    };
    let tx = Producer::new(mapping.clone(), ring_place(out, link.ring_bytes))?;
    let rx = Consumer::new(mapping, ring_place(back, link.ring_bytes))?;
    Ok((Arc::new(end), tx, rx))
}

impl End {
    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn event(&self) -> &Event {
        &self.wake
    }

    /// Tells the other side.
    #[inline]
    pub(super) fn ring(&self, bits: u32) -> Result<(), Error> {
        self.bell.signal(bits)
    }

    /// Whether it is open: `false` while it is being connected.
    ///
    /// # Errors
    /// What ended it.
    #[inline]
    pub(super) fn is_open(&self) -> Result<bool, Error> {
        match self.status.load() as i32 {
            status if status < 0 => {
                Err(Error::from_code(i64::from(status)).unwrap_or(Error::BadMessage))
            }
            _ if self.session.is_dead() => Err(Error::ServerDied),
            status => Ok(status != status::CONNECTING),
        }
    }

    /// Waits for bits of its event.
    #[inline]
    pub(super) fn wait(&self, bits: u32, deadline: u64) -> Result<(), Error> {
        match self.wake.wait(Signals(u64::from(bits)), deadline) {
            Ok(_) => Ok(()),
            Err(Error::WouldBlock) => Err(Error::TimedOut),
            Err(error) => Err(error),
        }
    }

    /// Closing it will end it at once.
    pub(super) fn abort(&self) {
        self.is_aborted.store(true, Ordering::Relaxed);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // A server that is gone needs not be told.
        if !self.session.is_dead() {
            let (socket, abort) = (self.link.socket, self.is_aborted.load(Ordering::Relaxed));
            let _ = self.session.call(|client| client.close(socket, abort));
        }
    }
}
