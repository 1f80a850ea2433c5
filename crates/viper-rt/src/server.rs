//! The server loop: one poll set with the supervisor, all clients and the server's own sources.
//!
//! Each client has a channel of its own. What it owns lives in the server's state for it, and is
//! dropped when the channel closes. One round of the loop is one system call: the reply to the last
//! request and the receipt of the next.

mod alarm;
mod clients;

use crate::handle::{Channel, Object, OwnedHandle, PollSet, Reply};
use crate::message::{Bytes, Put, Reader, Writer, buffer, close_unsent};
use crate::sync::Mutex;
use crate::sys::{self, Ipc};
use crate::trace::{self, TraceEvent};
use crate::{clock, program};
use alarm::Alarm;
use alloc::sync::Arc;
use alloc::vec::Vec;
use clients::Clients;
use core::marker::PhantomData;
use viper_abi::{Error, FOREVER, MsgInfo, MsgKind, Signals, Slot};

/// What passes between a server and its supervisor, over the channel in `Slot::SUPERVISOR`.
pub mod supervisor {
    /// Server to supervisor, a message: it serves from now on.
    pub const READY: u16 = 1;
    /// Supervisor to server, a message: process id, rights bits, and the channel of a new client;
    /// behind them, as bytes, what the supervisor grants it in the service's own words, if anything,
    /// and its user and group.
    pub const NEW_CLIENT: u16 = 2;
    /// Supervisor to server, a call: are you well? The reply is empty.
    pub const PING: u16 = 3;
    /// Supervisor to server, a message: finish and end.
    pub const STOP: u16 = 4;
}

/// Who a new client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewClient {
    /// Its process.
    pub process_id: u64,
    /// Service-specific rights that the supervisor grants.
    pub rights: u64,
    /// What the supervisor grants in the service's own words; empty if nothing.
    pub grant: Bytes,
    /// The user for whom it works; 0 is who may do everything.
    pub user: u32,
    /// That user's group.
    pub group: u32,
}

/// The user and group of a client whom the supervisor names none for.
pub const NOBODY: u32 = 65534;

/// A server.
pub trait Service {
    /// What it keeps for a client; dropped when the client goes.
    type Client;

    /// Accepts a client.
    ///
    /// # Errors
    /// Any error refuses it: its channel is closed.
    fn connect(&mut self, who: NewClient) -> Result<Self::Client, Error>;

    /// Handles a request, usually by the `dispatch` of an interface.
    fn request(&mut self, client: &mut Self::Client, request: Reader) -> Answer;

    /// Takes leave of a client. Its replies that are pending are of no use any more.
    fn disconnect(&mut self, client: Self::Client) {
        drop(client);
    }

    /// A source that [`Sources::watch`] put under `key` has signals.
    fn signal(&mut self, key: u32, signals: Signals) {
        let _ = (key, signals);
    }

    /// A channel that [`Sources::watch`] put under `key` has a message.
    fn message(&mut self, key: u32, message: Reader) -> Answer {
        let _ = (key, message);
        Answer::error(Error::NotSupported)
    }

    /// When [`Service::timeout`] wants to be called, in nanoseconds of uptime.
    fn deadline(&self) -> u64 {
        FOREVER
    }

    /// The deadline has passed.
    fn timeout(&mut self) {}

    /// Whether it has nothing left to do: the loop ends then.
    fn is_finished(&self) -> bool {
        false
    }

    /// The supervisor wants it to end: finish what must not be lost.
    fn stop(&mut self) {}
}

/// What a server says to a request.
#[derive(Debug)]
#[must_use]
pub enum Answer {
    /// This message.
    Now(MsgInfo, [u64; 6]),
    /// Somebody keeps the reply and will answer.
    Later,
}

impl Answer {
    fn handles(&self) -> usize {
        match self {
            Answer::Now(info, _) => info.handles(),
            Answer::Later => 0,
        }
    }

    /// A result as a message.
    #[inline]
    pub fn from_result(result: Result<impl Put, Error>) -> Answer {
        let mut message = Writer::new();
        match result.and_then(|value| value.put(&mut message)) {
            Ok(()) => {
                let (info, words) = message.finish(0);
                Answer::Now(info, words)
            }
            Err(error) => Answer::error(error),
        }
    }

    /// An error as a message.
    #[inline]
    pub fn error(error: Error) -> Answer {
        Answer::Now(MsgInfo::new(error.code() as i32 as u32, 0, 0), [0; 6])
    }

    /// The answer of an operation that may take its time.
    #[inline]
    pub fn from_outcome(outcome: Outcome<impl Put>) -> Answer {
        match outcome {
            Outcome::Now(result) => Answer::from_result(result),
            Outcome::Later => Answer::Later,
        }
    }
}

/// What an operation says that may be answered later.
#[derive(Debug)]
#[must_use]
pub enum Outcome<T> {
    /// This result, at once.
    Now(Result<T, Error>),
    /// The call was detached; its [`Pending`] will be answered.
    Later,
}

impl<T> From<Result<T, Error>> for Outcome<T> {
    fn from(result: Result<T, Error>) -> Outcome<T> {
        Outcome::Now(result)
    }
}

/// The call that is being handled, where the interface lets it be answered later.
#[derive(Debug)]
pub struct Deferrable<T>(PhantomData<fn(T)>);

impl<T: Put> Deferrable<T> {
    /// Made by the generated dispatch.
    #[doc(hidden)]
    #[must_use]
    pub fn new() -> Deferrable<T> {
        Deferrable(PhantomData)
    }

    /// Takes the right to reply out of the loop: return [`Outcome::Later`] and answer any time.
    ///
    /// # Errors
    /// [`Error::NotFound`] if nobody waits for an answer, [`Error::LimitReached`].
    pub fn detach(self) -> Result<Pending<T>, Error> {
        let (reply,) = sys::reply_detach()?;
        Ok(Pending {
            reply: Reply::from_raw(reply),
            trace: trace::current(),
            of: PhantomData,
        })
    }
}

/// A call that waits for its answer. Dropping it ends the call with [`Error::PeerClosed`].
#[derive(Debug)]
pub struct Pending<T> {
    reply: Reply,
    trace: u16,
    of: PhantomData<fn(T)>,
}

impl<T: Put> Pending<T> {
    /// Answers. A caller that is gone is no error.
    pub fn answer(self, result: Result<T, Error>) {
        let before = trace::set_current(self.trace);
        if let Answer::Now(info, words) = Answer::from_result(result) {
            trace::note(TraceEvent::END, u64::from(info.label()));
            let sent = sys::reply(self.reply.raw(), info, words, FOREVER);
            match sent.check() {
                // The handle is used up.
                Ok(()) => core::mem::forget(self.reply),
                Err(_) => close_unsent(info),
            }
        }
        trace::set_current(before);
    }

    /// The trace id of the call, to be set while work is done for it.
    #[must_use]
    pub fn trace_id(&self) -> u16 {
        self.trace
    }
}

/// A word as a user or group.
fn number(word: u64) -> u32 {
    u32::try_from(word).unwrap_or(NOBODY)
}

const SUPERVISOR_KEY: u64 = u64::MAX;
const ALARM_KEY: u64 = u64::MAX - 1;
const SOURCE: u64 = 1 << 63;

/// Where a server puts what it wants to hear of, while it runs.
#[derive(Debug)]
pub struct Sources<C> {
    shared: Arc<Shared<C>>,
}

impl<C> Clone for Sources<C> {
    fn clone(&self) -> Self {
        Sources {
            shared: self.shared.clone(),
        }
    }
}

#[derive(Debug)]
struct Shared<C> {
    set: PollSet,
    adopted: Mutex<Vec<(Channel, C)>>,
}

impl<C> Sources<C> {
    /// Calls [`Service::signal`] with `key` when `object` has signals of `mask`.
    ///
    /// # Errors
    /// As [`PollSet::add`].
    pub fn watch(&self, object: &impl Object, key: u32, mask: Signals) -> Result<(), Error> {
        self.shared.set.add(object, SOURCE | u64::from(key), mask)
    }

    /// Does not any more.
    ///
    /// # Errors
    /// As [`PollSet::remove`].
    pub fn unwatch(&self, object: &impl Object) -> Result<(), Error> {
        self.shared.set.remove(object)
    }

    /// Serves one more channel, of a client that the service made itself: from the end of the
    /// request or signal on that is being handled.
    pub fn adopt(&self, channel: Channel, client: C) {
        self.shared.adopted.lock().push((channel, client));
    }
}

/// The loop of a server.
#[derive(Debug)]
pub struct Server<S: Service> {
    shared: Arc<Shared<S::Client>>,
    clients: Clients<S::Client>,
    supervisor: Option<Channel>,
    alarm: Alarm,
    stopping: bool,
}

impl<S: Service> Server<S> {
    /// A loop without clients, that listens to the supervisor in `Slot::SUPERVISOR` if there is one.
    ///
    /// # Errors
    /// [`Error::LimitReached`] or [`Error::OutOfMemory`].
    pub fn new() -> Result<Server<S>, Error> {
        Server::supervised_by(program::take(Slot::SUPERVISOR).map(OwnedHandle::into_object))
    }

    /// A loop that listens to this supervisor.
    ///
    /// # Errors
    /// [`Error::LimitReached`] or [`Error::OutOfMemory`].
    pub fn supervised_by(supervisor: Option<Channel>) -> Result<Server<S>, Error> {
        let set = PollSet::new()?;
        if let Some(channel) = &supervisor {
            set.add(channel, SUPERVISOR_KEY, Signals::PEER_CLOSED)?;
        }
        let alarm = Alarm::new(&set, ALARM_KEY)?;
        let shared = Shared {
            set,
            adopted: Mutex::new(Vec::new()),
        };
        Ok(Server {
            shared: Arc::new(shared),
            clients: Clients::new(),
            supervisor,
            alarm,
            stopping: false,
        })
    }

    /// Where the service registers what it wants to hear of.
    #[must_use]
    pub fn sources(&self) -> Sources<S::Client> {
        Sources {
            shared: self.shared.clone(),
        }
    }

    /// Tells the supervisor that it is ready, and serves until the supervisor stops it or is gone.
    ///
    /// # Errors
    /// Those of the poll set, which do not happen while its handle is valid.
    pub fn run(mut self, service: &mut S) -> Result<(), Error> {
        if let Some(supervisor) = &self.supervisor {
            crate::client::send(supervisor, supervisor::READY, (), FOREVER)?;
        }
        crate::log!(Info, "ready");
        let set = self.shared.set.raw();
        let mut answer = Answer::Later;
        self.adopt();
        while !self.stopping && !service.is_finished() {
            self.alarm.ring_at(service.deadline());
            let handles = answer.handles();
            let got = match answer {
                Answer::Now(info, words) => sys::reply_receive(set, info, words, FOREVER),
                Answer::Later => sys::receive(set, FOREVER),
            };
            answer = match got.check() {
                Ok(()) => self.handle(service, &got),
                // The reply's handles could not be moved: the caller hears of it at least.
                Err(_) if handles > 0 => Answer::error(Error::Internal),
                Err(Error::LimitReached) => Answer::Later,
                Err(error) => return Err(error),
            };
            self.adopt();
            if service.deadline() != FOREVER && clock::now() >= service.deadline() {
                self.time_out(service);
            }
        }
        service.stop();
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn time_out(&mut self, service: &mut S) {
        // The answer is not sent yet, and part of it may stand in the buffer.
        buffer::kept(|| service.timeout());
        self.adopt();
    }

    #[inline]
    fn handle(&mut self, service: &mut S, got: &Ipc) -> Answer {
        let request = Reader::new(got);
        if request.kind() == Some(MsgKind::Signals) {
            self.signals(service, got.key, Signals(got.words[0]));
            return Answer::Later;
        }
        if got.key == SUPERVISOR_KEY {
            return self.supervise(service, request);
        }
        if got.key & SOURCE != 0 {
            return service.message(got.key as u32, request);
        }
        let Some(client) = self.clients.find(got.key) else {
            return Answer::error(Error::PeerClosed);
        };
        let label = request.label();
        crate::log!(Trace, "request {} of client {}", label as u16, got.key);
        if label >> 16 == 0 {
            return service.request(client, request);
        }
        traced(label, || service.request(client, request))
    }

    fn signals(&mut self, service: &mut S, key: u64, signals: Signals) {
        if key == SUPERVISOR_KEY {
            self.stopping = true;
        } else if key == ALARM_KEY {
            self.alarm.rang();
        } else if key & SOURCE != 0 {
            service.signal(key as u32, signals);
        } else if let Some((channel, client)) = self.clients.remove(key) {
            let _ = self.shared.set.remove(&channel);
            drop(channel);
            service.disconnect(client);
            crate::log!(Debug, "client {key} is gone");
        }
    }

    fn supervise(&mut self, service: &mut S, mut request: Reader) -> Answer {
        match request.label() as u16 {
            supervisor::NEW_CLIENT => {
                if let (Ok(process_id), Ok(rights), Ok(channel)) =
                    (request.word(), request.word(), request.handle::<Channel>())
                {
                    let who = NewClient {
                        process_id,
                        rights,
                        grant: request.bytes().unwrap_or(Bytes::clip(&[])),
                        user: request.word().map_or(NOBODY, number),
                        group: request.word().map_or(NOBODY, number),
                    };
                    if let Ok(client) = service.connect(who) {
                        self.admit(channel, client);
                    }
                }
                Answer::Later
            }
            supervisor::PING => Answer::from_result(Ok(())),
            supervisor::STOP => {
                self.stopping = true;
                Answer::from_result(Ok(()))
            }
            _ => Answer::error(Error::NotSupported),
        }
    }

    fn adopt(&mut self) {
        // Not `while let` over the lock: `admit` must not run under it.
        loop {
            let Some((channel, client)) = self.shared.adopted.lock().pop() else {
                return;
            };
            self.admit(channel, client);
        }
    }

    fn admit(&mut self, channel: Channel, client: S::Client) {
        let raw = channel.raw();
        let key = self.clients.insert(channel, client);
        crate::log!(Debug, "client {key}");
        let added = sys::poll_add(self.shared.set.raw(), raw, key, Signals::PEER_CLOSED);
        if added.is_err() {
            self.clients.remove(key);
        }
    }
}

#[cold]
fn traced(label: u32, request: impl FnOnce() -> Answer) -> Answer {
    trace::set_current((label >> 16) as u16);
    trace::note(TraceEvent::BEGIN, u64::from(label as u16));
    let answer = request();
    match &answer {
        Answer::Now(info, _) => trace::note(TraceEvent::END, u64::from(info.label())),
        Answer::Later => trace::note(TraceEvent::LATER, 0),
    }
    trace::set_current(0);
    answer
}

/// Makes a loop, lets `make` build the service on its sources, and serves.
///
/// # Errors
/// Those of [`Server::new`], of `make` and of [`Server::run`].
pub fn serve<S: Service>(
    make: impl FnOnce(Sources<S::Client>) -> Result<S, Error>,
) -> Result<(), Error> {
    let server = Server::new()?;
    let mut service = make(server.sources())?;
    server.run(&mut service)
}
