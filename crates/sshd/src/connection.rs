//! One SSH connection: its session, what its events ask for, and its channels.

use crate::channel::{Channel, Local, Tcp};
use crate::forward::Forward;
use crate::job::{Graves, Job};
use crate::login::{self, Guesses, Identity, Verdict};
use crate::net::{Network, Socket};
use crate::program::{self, Program};
use crate::sftp::Sftp;
use crate::terminal::Seat;
use crate::world::World;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use viper_rt::Error;
use viper_rt::abi::FOREVER;
use viper_rt::clock::{self, SECOND};
use viper_rt::server::Sources;
use viper_ssh::key::KeyOptions;
use viper_ssh::pump::Wire;
use viper_ssh::{
    AuthAnswer, AuthAttempt, AuthMethod, ChannelId, ChannelKind, Error as SshError, Event, Request,
    Server, ServerConfig, Tcpip,
};

/// Rounds after which a connection that goes on lets the others have their turn.
const ROUNDS: u32 = 8;
/// Ports that a client may have listened on.
const FORWARDS_MAX: usize = 16;
/// How long a forwarded connection may take to be made.
const CONNECT_NS: u64 = 30 * SECOND;
/// Bytes of a session's environment, and of a command.
const ENVIRONMENT_MAX: usize = 8 * 1024;
const COMMAND_MAX: usize = 64 * 1024;

/// What the connections share.
pub(crate) struct Shared<'a, W: World> {
    pub(crate) world: &'a mut W,
    pub(crate) sources: &'a Sources<Seat>,
    pub(crate) graves: &'a Graves,
    pub(crate) guesses: &'a mut Guesses,
    pub(crate) space: &'a mut [u8],
}

/// A connection.
pub(crate) struct Connection<W: World> {
    id: u32,
    session: Server,
    socket: Socket<Tcp<W>>,
    wire: Wire,
    pub(crate) channels: BTreeMap<ChannelId, Channel<W>>,
    pub(crate) forwards: Vec<Forward<W>>,
    login: Option<Job<Verdict>>,
    /// For whom its programs and files work, once somebody has logged in.
    identity: Identity,
    /// An answer that is held back until then.
    held_answer: Option<(u64, AuthAnswer)>,
    authenticated: bool,
    permits: KeyOptions,
    /// More may be there to do.
    busy: bool,
    /// When output of a program has waited long enough.
    pub(crate) flush_at: u64,
}

impl<W: World> Connection<W> {
    pub(crate) fn new(
        id: u32,
        config: ServerConfig,
        socket: Socket<Tcp<W>>,
        random: W::Random,
    ) -> Result<Self, SshError> {
        Ok(Connection {
            id,
            session: Server::new(config, random, uptime())?,
            socket,
            wire: Wire::default(),
            channels: BTreeMap::new(),
            forwards: Vec::new(),
            login: None,
            identity: Identity::default(),
            held_answer: None,
            authenticated: false,
            permits: KeyOptions::default(),
            busy: false,
            flush_at: FOREVER,
        })
    }

    pub(crate) fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// The program of a channel.
    pub(crate) fn program(&mut self, channel: ChannelId) -> Option<&mut Program> {
        self.channels.get_mut(&channel)?.program()
    }

    /// When it wants to be looked after, in nanoseconds of uptime.
    pub(crate) fn deadline(&self) -> u64 {
        if self.busy {
            return 0;
        }
        let session = self.session.poll_timeout().map_or(FOREVER, |at| {
            u64::try_from(at.as_nanos()).unwrap_or(FOREVER)
        });
        let answer = self.held_answer.as_ref().map_or(FOREVER, |(at, _)| *at);
        let reads = self.channels.values().filter_map(|c| match &c.local {
            Local::Program(program) => Some(program.terminal.deadline()),
            _ => None,
        });
        reads.fold(session.min(answer).min(self.flush_at), u64::min)
    }

    /// Does what there is to do; tells whether the connection goes on.
    pub(crate) fn pump(&mut self, shared: &mut Shared<'_, W>) -> bool {
        self.busy = false;
        self.flush_at = FOREVER;
        let mut rounds = 0;
        while !self.socket.is_lost() {
            match self.round(shared) {
                Ok(true) if rounds < ROUNDS => rounds += 1,
                Ok(moved) => {
                    self.busy = moved;
                    return !self.wire.is_over();
                }
                Err(_) => break,
            }
        }
        // The last words are on their way; there is nobody to wait for it.
        let _ = self
            .wire
            .pump(uptime(), &mut self.session, &mut self.socket, shared.space);
        false
    }

    /// One time around everything; tells whether anything moved.
    fn round(&mut self, shared: &mut Shared<'_, W>) -> Result<bool, SshError> {
        let now = uptime();
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now)?;
        }
        let space = &mut *shared.space;
        let mut moved = self
            .wire
            .pump(now, &mut self.session, &mut self.socket, space)?;
        while let Some(event) = self.session.poll_event() {
            moved = true;
            self.handle(shared, event)?;
        }
        moved |= self.decide(shared)?;
        moved |= self.connect_channels(shared)?;
        moved |= self.accept_forwarded(shared)?;
        for (id, channel) in &mut self.channels {
            moved |= channel.pump(&mut self.session, *id, shared.world, shared.space);
        }
        let session = &mut self.session;
        self.channels.retain(|id, channel| {
            if channel.is_done() {
                // Drops what is unread; a refused channel is gone already.
                let _ = session.close(*id);
            }
            !channel.is_done()
        });
        Ok(moved)
    }

    /// Gives everything back.
    pub(crate) fn end(mut self, shared: &mut Shared<'_, W>) {
        for channel in self.channels.values_mut() {
            channel.end(shared.world);
        }
        self.forwards
            .drain(..)
            .for_each(|forward| forward.end(shared.sources));
    }

    fn handle(&mut self, shared: &mut Shared<'_, W>, event: Event) -> Result<(), SshError> {
        match event {
            Event::AuthAttempt(attempt) => self.attempt(shared, attempt),
            Event::Authenticated => {
                self.authenticated = true;
                shared.guesses.right(self.socket.peer().ip());
                Ok(())
            }
            Event::ChannelOffered { channel, kind } => self.offered(shared, channel, kind),
            Event::Request {
                channel,
                request,
                reply_wanted,
            } => {
                let granted = self.request(shared, channel, request);
                if reply_wanted {
                    self.session.reply(channel, granted)
                } else {
                    Ok(())
                }
            }
            Event::Eof(channel) => {
                if let Some(channel) = self.channels.get_mut(&channel) {
                    channel.joint.eof_received();
                }
                Ok(())
            }
            Event::Closed(id) | Event::ChannelRefused { channel: id, .. } => {
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.is_closed = true;
                    channel.joint.eof_received();
                    // A connection still gets what came before.
                    if !matches!(channel.local, Local::Tcp(_)) {
                        channel.end(shared.world);
                    }
                }
                Ok(())
            }
            Event::ChannelOpened(id) => {
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.local = match core::mem::replace(&mut channel.local, Local::Nothing) {
                        Local::Offered(socket) => Local::Tcp(socket),
                        other => other,
                    };
                }
                Ok(())
            }
            Event::ForwardRequested { address, port } => {
                let port = self.listen(shared, address, port);
                self.session.answer_forward(port)
            }
            Event::ForwardCancelled { address, port } => {
                let index = self.forwards.iter().position(|f| f.is(&address, port));
                if let Some(index) = index {
                    self.forwards.swap_remove(index).end(shared.sources);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Logging in.
impl<W: World> Connection<W> {
    fn attempt(
        &mut self,
        shared: &mut Shared<'_, W>,
        attempt: AuthAttempt,
    ) -> Result<(), SshError> {
        match attempt.method {
            AuthMethod::None => return self.session.answer_auth(AuthAnswer::Reject),
            AuthMethod::KeyboardInteractive => {
                let questions = AuthAnswer::Ask(login::questions());
                return self.session.answer_auth(questions);
            }
            _ => {}
        }
        let from = self.socket.peer().ip();
        let files = shared.world.files(Identity::default());
        let job = files.and_then(|mut files| {
            let judge = move || login::judge(&mut files, &attempt, from);
            Job::start(shared.sources, shared.graves, self.id, judge)
        });
        match job {
            Ok(job) => {
                self.login = Some(job);
                Ok(())
            }
            Err(_) => self.session.answer_auth(AuthAnswer::Reject),
        }
    }

    /// Answers an attempt to log in, once that is decided and its time has come.
    fn decide(&mut self, shared: &mut Shared<'_, W>) -> Result<bool, SshError> {
        if let Some(verdict) = self.login.as_mut().and_then(Job::poll) {
            self.login = None;
            let from = self.socket.peer().ip();
            let at = match (verdict.accepted, verdict.wrong_guess) {
                (true, _) => 0,
                (false, true) => clock::after(shared.guesses.wrong(from, clock::now())),
                (false, false) => 0,
            };
            let answer = if verdict.accepted {
                self.permits = verdict.options;
                self.identity = verdict.identity;
                AuthAnswer::Accept
            } else {
                AuthAnswer::Reject
            };
            self.held_answer = Some((at, answer));
        }
        match self.held_answer.take() {
            Some((at, answer)) if at <= clock::now() => {
                self.session.answer_auth(answer)?;
                Ok(true)
            }
            other => {
                self.held_answer = other;
                Ok(false)
            }
        }
    }
}

/// Channels.
impl<W: World> Connection<W> {
    fn offered(
        &mut self,
        shared: &mut Shared<'_, W>,
        id: ChannelId,
        kind: ChannelKind,
    ) -> Result<(), SshError> {
        let local = match kind {
            ChannelKind::Session => {
                self.session.accept_channel(id)?;
                Local::Nothing
            }
            ChannelKind::DirectTcpip(to) if self.permits.permits_open(&to.host, to.port) => {
                match self.connect(shared, to) {
                    Ok(job) => Local::Connecting(job),
                    Err(error) => return self.session.refuse_channel(id, error.name()),
                }
            }
            _ => return self.session.refuse_channel(id, "not permitted"),
        };
        self.channels.insert(id, Channel::new(local));
        Ok(())
    }

    fn connect(
        &self,
        shared: &Shared<'_, W>,
        to: Tcpip,
    ) -> Result<Job<Result<Tcp<W>, Error>>, Error> {
        let network = shared.world.network().clone();
        Job::start(shared.sources, shared.graves, self.id, move || {
            network.connect(&to.host, to.port, clock::after(CONNECT_NS))
        })
    }

    /// Accepts or refuses the channels whose connections were made.
    fn connect_channels(&mut self, shared: &mut Shared<'_, W>) -> Result<bool, SshError> {
        let mut refused = Vec::new();
        let mut moved = false;
        for (id, channel) in &mut self.channels {
            let Local::Connecting(job) = &mut channel.local else {
                continue;
            };
            let Some(made) = job.poll() else { continue };
            moved = true;
            match made.and_then(|stream| Socket::new(stream, shared.sources, self.id)) {
                Ok(socket) => {
                    channel.local = Local::Tcp(socket);
                    self.session.accept_channel(*id)?;
                }
                Err(error) => {
                    self.session.refuse_channel(*id, error.name())?;
                    refused.push(*id);
                }
            }
        }
        for id in refused {
            self.channels.remove(&id);
        }
        Ok(moved)
    }

    fn request(&mut self, shared: &mut Shared<'_, W>, id: ChannelId, request: Request) -> bool {
        let Some(channel) = self.channels.get_mut(&id) else {
            return false;
        };
        let started = !matches!(channel.local, Local::Nothing) || channel.launch.started;
        match request {
            Request::Pty { term, size, .. } if !started && !self.permits.no_pty => {
                channel.launch.terminal = Some((term, program::size(size)));
                true
            }
            Request::Env { name, value } if !started => add_variable(channel, &name, &value),
            Request::Shell if !started => self.start(shared, id, None),
            Request::Exec(command) if !started && command.len() <= COMMAND_MAX => {
                match String::from_utf8(command) {
                    Ok(command) => self.start(shared, id, Some(command)),
                    Err(_) => false,
                }
            }
            Request::Subsystem(name) if !started && name == "sftp" => self.start_files(shared, id),
            Request::WindowChange(size) => match channel.program() {
                Some(program) => {
                    program.terminal.resize(program::size(size));
                    true
                }
                None => false,
            },
            Request::Signal(name) => channel.program().is_some_and(|p| p.signal(&name)),
            _ => false,
        }
    }

    fn start(
        &mut self,
        shared: &mut Shared<'_, W>,
        id: ChannelId,
        command: Option<String>,
    ) -> bool {
        let Some(channel) = self.channels.get_mut(&id) else {
            return false;
        };
        let launch = &mut channel.launch;
        launch.started = true;
        launch.user = self.session.user().into();
        launch.identity = self.identity;
        launch.command = match &self.permits.command {
            Some(forced) => {
                let original = command.unwrap_or_default();
                launch
                    .environment
                    .push(format!("SSH_ORIGINAL_COMMAND={original}"));
                Some(forced.clone())
            }
            None => command,
        };
        let permitted = self.permits.environment.iter();
        launch.environment.extend(permitted.cloned());
        launch.environment.push(format!("USER={}", launch.user));
        if let Some((term, _)) = &launch.terminal {
            launch.environment.push(format!("TERM={term}"));
        }
        let place = (self.id, id);
        match Program::start(shared.world, shared.sources, place, launch) {
            Ok(program) => {
                channel.local = Local::Program(program.into());
                true
            }
            Err(error) => {
                shared
                    .world
                    .tell(&format!("a session cannot be started: {error}"));
                false
            }
        }
    }

    fn start_files(&mut self, shared: &mut Shared<'_, W>, id: ChannelId) -> bool {
        if self.permits.command.is_some() {
            return self.start(shared, id, Some(String::from("sftp")));
        }
        let files = shared.world.files(self.identity);
        let files =
            files.and_then(|files| Sftp::start(files, shared.sources, shared.graves, self.id));
        match (files, self.channels.get_mut(&id)) {
            (Ok(files), Some(channel)) => {
                channel.launch.started = true;
                channel.local = Local::Files(files);
                true
            }
            _ => false,
        }
    }
}

/// Ports that are listened on for the client.
impl<W: World> Connection<W> {
    fn listen(&mut self, shared: &Shared<'_, W>, address: String, port: u16) -> Option<u16> {
        if self.permits.no_port_forwarding || self.forwards.len() >= FORWARDS_MAX {
            return None;
        }
        let forward = Forward::listen(shared, self.id, address, port).ok()?;
        let port = forward.port();
        self.forwards.push(forward);
        Some(port)
    }

    fn accept_forwarded(&mut self, shared: &mut Shared<'_, W>) -> Result<bool, SshError> {
        let mut moved = false;
        for forward in &mut self.forwards {
            while let Some(stream) = forward.accept() {
                moved = true;
                let Ok(socket) = Socket::new(stream, shared.sources, self.id) else {
                    continue;
                };
                let from = (&*format!("{}", socket.peer().ip()), socket.peer().port());
                let (address, port) = forward.asked();
                match self.session.open_forwarded_tcpip(address, port, from) {
                    Ok(id) => {
                        self.channels
                            .insert(id, Channel::new(Local::Offered(socket)));
                    }
                    // Too many channels: this connection is dropped, the others go on.
                    Err(SshError::LimitExceeded) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(moved)
    }
}

fn add_variable<W: World>(channel: &mut Channel<W>, name: &str, value: &[u8]) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let known: usize = channel.launch.environment.iter().map(String::len).sum();
    let fits = known + name.len() + value.len() < ENVIRONMENT_MAX;
    match core::str::from_utf8(value) {
        Ok(value) if fits && !name.is_empty() && name.chars().all(plain) => {
            channel.launch.environment.push(format!("{name}={value}"));
            true
        }
        _ => false,
    }
}

/// The time as a session wants it.
pub(crate) fn uptime() -> Duration {
    Duration::from_nanos(clock::now())
}
