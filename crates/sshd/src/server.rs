//! The server: accepts connections, and gives each its turn.

use crate::connection::{Connection, Shared};
use crate::host_key::{self, HostKey};
use crate::job::{Graves, Job};
use crate::login::{Guesses, Identity};
use crate::net::{ANY_BIT, Listener, Network, Socket, Stream};
use crate::terminal::Seat;
use crate::world::World;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use viper_console::Terminal;
use viper_proto::console::{self, Mode, Size};
use viper_rt::Error;
use viper_rt::abi::{FOREVER, Signals};
use viper_rt::clock::{self, MICROSECOND, SECOND};
use viper_rt::handle::Channel;
use viper_rt::message::{Bytes, Reader};
use viper_rt::server::{Answer, Deferrable, NewClient, Outcome, Service, Sources};
use viper_ssh::{PrivateKey, ServerConfig};

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The port to listen on.
    pub port: u16,
    /// Connections at a time.
    pub connections_max: usize,
    /// Of these, how many may not have logged in yet.
    pub strangers_max: usize,
    /// How long a log-in may take.
    pub login_time: Duration,
    /// A client that is silent for so long is asked for a sign of life.
    pub keepalive_time: Duration,
    /// New keys after so many bytes in one direction.
    pub rekey_bytes: u64,
    /// New keys after this time.
    pub rekey_time: Duration,
    /// Whether passwords are asked for.
    pub password: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            port: 22,
            connections_max: 24,
            strangers_max: 8,
            login_time: Duration::from_secs(60),
            keepalive_time: Duration::from_secs(60),
            rekey_bytes: 1 << 30,
            rekey_time: Duration::from_secs(3600),
            password: true,
        }
    }
}

const LISTENER_KEY: u32 = 0;
const HOST_KEY_KEY: u32 = 1;
const FIRST_CONNECTION: u32 = 2;
/// Output of programs is sent together: when nothing came for so long, or so much is there.
const GATHER_NS: u64 = 300 * MICROSECOND;
const GATHER_MAX: usize = 16 * 1024;
/// A listener that fails is made again after this time.
const RETRY_NS: u64 = SECOND;
const SPACE_BYTES: usize = 32 * 1024;
/// Bytes that a client may send ahead on one channel.
const WINDOW_BYTES: u32 = 256 * 1024;
const CHANNELS_MAX: usize = 16;

type ListenerOf<W> = <<W as World>::Network as Network>::Listener;

/// The SSH server.
pub struct Sshd<W: World> {
    world: W,
    settings: Settings,
    sources: Sources<Seat>,
    listener: Option<ListenerOf<W>>,
    /// When to listen again, if that failed.
    retry_at: u64,
    host_key: Option<PrivateKey>,
    making_key: Option<Job<Result<HostKey, Error>>>,
    connections: BTreeMap<u32, Connection<W>>,
    next_connection: u32,
    graves: Graves,
    guesses: Guesses,
    space: Vec<u8>,
    /// When a connection wants to be looked after.
    deadline: u64,
}

impl<W: World> Sshd<W> {
    /// A server that listens.
    ///
    /// # Errors
    /// Those of the network.
    pub fn new(world: W, settings: Settings, sources: Sources<Seat>) -> Result<Self, Error> {
        let mut sshd = Sshd {
            world,
            settings,
            sources,
            listener: None,
            retry_at: FOREVER,
            host_key: None,
            making_key: None,
            connections: BTreeMap::new(),
            next_connection: FIRST_CONNECTION,
            graves: Graves::default(),
            guesses: Guesses::default(),
            space: alloc::vec![0; SPACE_BYTES],
            deadline: FOREVER,
        };
        sshd.listen()?;
        Ok(sshd)
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.listener.as_ref().map_or(0, Listener::port)
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    fn listen(&mut self) -> Result<(), Error> {
        let at = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let listener = self.world.network().listen(at, self.settings.port)?;
        self.sources
            .watch(listener.event(), LISTENER_KEY, ANY_BIT)?;
        self.listener = Some(listener);
        self.retry_at = FOREVER;
        Ok(())
    }

    /// Takes the connections that wait. The first of all has to wait for the host key.
    fn accept(&mut self) {
        while let Some(listener) = &mut self.listener {
            if self.host_key.is_none() && self.making_key.is_some() {
                return;
            }
            match listener.try_accept() {
                Ok(stream) => self.welcome(stream),
                Err(Error::WouldBlock) => return,
                Err(_) => {
                    let _ = self.sources.unwatch(listener.event());
                    self.listener = None;
                    self.retry_at = clock::after(RETRY_NS);
                }
            }
        }
    }

    fn welcome(&mut self, stream: <W::Network as Network>::Stream) {
        self.graves.tidy();
        let strangers = self.connections.values().filter(|c| !c.is_authenticated());
        let is_full = self.connections.len() >= self.settings.connections_max
            || strangers.count() >= self.settings.strangers_max;
        // Whoever is too many sees the connection close.
        if is_full || stream.peer().port() == 0 {
            return;
        }
        let id = self.next_connection;
        self.next_connection = id.checked_add(1).unwrap_or(FIRST_CONNECTION);
        if self.connections.contains_key(&id) {
            return;
        }
        let Ok(socket) = Socket::new(stream, &self.sources, id) else {
            return;
        };
        let Some(config) = self.config() else { return };
        let random = match self.world.random() {
            Ok(random) => random,
            Err(error) => {
                let line = alloc::format!("no random numbers, so no connections: {error}");
                return self.world.tell(&line);
            }
        };
        if let Ok(connection) = Connection::new(id, config, socket, random) {
            self.connections.insert(id, connection);
            self.pump(id);
        }
    }

    fn config(&self) -> Option<ServerConfig> {
        let mut config = ServerConfig::new(Vec::from([self.host_key.clone()?]));
        config.password = self.settings.password;
        config.keyboard_interactive = self.settings.password;
        let common = &mut config.common;
        common.rekey_bytes = self.settings.rekey_bytes;
        common.rekey_time = self.settings.rekey_time;
        common.login_time = self.settings.login_time;
        common.keepalive_time = Some(self.settings.keepalive_time);
        common.window_len = WINDOW_BYTES;
        common.channels_max = CHANNELS_MAX;
        Some(config)
    }

    /// Has the host key read or made, on a thread of its own. Nobody pays for it who never
    /// connects.
    fn need_host_key(&mut self) {
        if self.host_key.is_some() || self.making_key.is_some() {
            return;
        }
        let (files, random) = (self.world.files(Identity::default()), self.world.random());
        let work = move || {
            let (mut files, mut random) = (files.ok(), random?);
            Ok(host_key::load(files.as_mut(), &mut random))
        };
        match Job::start(&self.sources, &self.graves, HOST_KEY_KEY, work) {
            Ok(job) => self.making_key = Some(job),
            Err(error) => self.world.tell(&alloc::format!("no host key: {error}")),
        }
    }

    fn host_key_made(&mut self) {
        let Some(made) = self.making_key.as_mut().and_then(Job::poll) else {
            return;
        };
        self.making_key = None;
        match made {
            Ok(HostKey { key, notice }) => {
                self.host_key = Some(key);
                if let Some(notice) = notice {
                    self.world.tell(&notice);
                }
            }
            Err(error) => {
                self.world.tell(&alloc::format!("no host key: {error}"));
                // Those who wait see their connections close; the next may have more luck.
                if let Some(listener) = &mut self.listener {
                    while listener.try_accept().is_ok() {}
                }
            }
        }
        self.accept();
    }

    /// Gives a connection its turn.
    fn pump(&mut self, id: u32) {
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        let mut shared = Shared {
            world: &mut self.world,
            sources: &self.sources,
            graves: &self.graves,
            guesses: &mut self.guesses,
            space: &mut self.space,
        };
        if connection.pump(&mut shared) {
            self.connections.insert(id, connection);
        } else {
            connection.end(&mut shared);
            self.graves.tidy();
        }
        self.look_ahead();
    }

    fn look_ahead(&mut self) {
        let deadlines = self.connections.values().map(Connection::deadline);
        self.deadline = deadlines.min().unwrap_or(FOREVER);
    }

    fn terminal(&mut self, seat: &Seat) -> Result<&mut Terminal, Error> {
        let connection = self.connections.get_mut(&seat.connection);
        let program = connection.and_then(|c| c.program(seat.channel));
        program.map(|p| &mut p.terminal).ok_or(Error::PeerClosed)
    }

    /// A program wrote: it goes out soon, together with what it writes next.
    fn gather(&mut self, seat: &Seat) {
        let waiting = self.terminal(seat).map_or(0, |t| t.waiting());
        if waiting >= GATHER_MAX {
            self.pump(seat.connection);
        } else if let Some(connection) = self.connections.get_mut(&seat.connection) {
            connection.flush_at = connection.flush_at.min(clock::after(GATHER_NS));
            self.deadline = self.deadline.min(connection.flush_at);
        }
    }
}

impl<W: World> Service for Sshd<W> {
    type Client = Seat;

    fn connect(&mut self, _: NewClient) -> Result<Seat, Error> {
        // It offers no service but that on its port.
        Err(Error::NotSupported)
    }

    fn request(&mut self, seat: &mut Seat, request: Reader) -> Answer {
        console::dispatch(self, seat, request)
    }

    fn disconnect(&mut self, seat: Seat) {
        if let Ok(terminal) = self.terminal(&seat) {
            terminal.leave(&seat.seat);
        }
    }

    fn signal(&mut self, key: u32, _: Signals) {
        match key {
            LISTENER_KEY => {
                self.need_host_key();
                self.accept();
            }
            HOST_KEY_KEY => self.host_key_made(),
            id => self.pump(id),
        }
    }

    fn deadline(&self) -> u64 {
        self.deadline.min(self.retry_at)
    }

    fn timeout(&mut self) {
        let now = clock::now();
        if self.retry_at <= now && self.listen().is_err() {
            self.retry_at = now.saturating_add(RETRY_NS);
        }
        let due = self.connections.iter().filter(|(_, c)| c.deadline() <= now);
        let due: Vec<u32> = due.map(|(id, _)| *id).collect();
        due.into_iter().for_each(|id| self.pump(id));
        self.look_ahead();
    }

    fn stop(&mut self) {
        let ids: Vec<u32> = self.connections.keys().copied().collect();
        for id in ids {
            if let Some(connection) = self.connections.remove(&id) {
                connection.end(&mut Shared {
                    world: &mut self.world,
                    sources: &self.sources,
                    graves: &self.graves,
                    guesses: &mut self.guesses,
                    space: &mut self.space,
                });
            }
        }
    }
}

impl<W: World> console::Serve for Sshd<W> {
    type Client = Seat;

    fn read(
        &mut self,
        seat: &mut Seat,
        call: Deferrable<Bytes>,
        max: u32,
        deadline: u64,
    ) -> Outcome<Bytes> {
        let outcome = match self.terminal(seat) {
            Ok(terminal) => terminal.read(&seat.seat, call, max, deadline),
            Err(_) => return Outcome::Now(Ok(Bytes::clip(&[]))),
        };
        // What was taken makes room for more input; what was written before is asked about.
        self.gather(seat);
        outcome
    }

    fn write(&mut self, seat: &mut Seat, call: Deferrable<u32>, bytes: Bytes) -> Outcome<u32> {
        let outcome = match self.terminal(seat) {
            Ok(terminal) => terminal.write(&seat.seat, call, bytes),
            Err(error) => return Outcome::Now(Err(error)),
        };
        self.gather(seat);
        outcome
    }

    fn set_mode(&mut self, seat: &mut Seat, mode: Mode) -> Result<Mode, Error> {
        let result = self.terminal(seat)?.set_mode(&seat.seat, mode);
        self.gather(seat);
        result
    }

    fn size(&mut self, seat: &mut Seat) -> Result<Size, Error> {
        self.terminal(seat)?.size()
    }

    fn drain(&mut self, seat: &mut Seat, call: Deferrable<()>) -> Outcome<()> {
        let outcome = match self.terminal(seat) {
            Ok(terminal) => terminal.drain(&seat.seat, call),
            Err(error) => return Outcome::Now(Err(error)),
        };
        self.gather(seat);
        outcome
    }

    fn interrupt(&mut self, seat: &mut Seat, call: Deferrable<()>) -> Outcome<()> {
        match self.terminal(seat) {
            Ok(terminal) => terminal.interrupt(&seat.seat, call),
            Err(error) => Outcome::Now(Err(error)),
        }
    }

    fn foreground(&mut self, seat: &mut Seat) -> Result<(), Error> {
        self.terminal(seat)?.foreground(&seat.seat);
        Ok(())
    }

    fn duplicate(&mut self, seat: &mut Seat) -> Result<Channel, Error> {
        let connection = self.connections.get_mut(&seat.connection);
        let program = connection.and_then(|c| c.program(seat.channel));
        program.ok_or(Error::PeerClosed)?.duplicate(seat)
    }
}
