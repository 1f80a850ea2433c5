//! The connection to a server: a session over a TCP stream, and what is waited for besides.

use crate::arguments::Options;
use crate::failure::{About, Failure, Result, fail};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use viper_proto::entropy::Random;
use viper_proto::names;
use viper_proto::net::client::{Network, TcpStream};
use viper_rt::abi::{FOREVER, Signals};
use viper_rt::handle::{Event as Signal, PollSet};
use viper_rt::{Error, clock, sys};
use viper_ssh::pump::{Duplex, Got, Wire};
use viper_ssh::{Client, Config, Event, Stream};

const CONNECT_NS: u64 = 30 * clock::SECOND;
const SPACE_BYTES: usize = 32 * 1024;
/// How long the last words may take.
const GOODBYE_NS: u64 = 2 * clock::SECOND;
const ANY_BIT: Signals = Signals(0xffff_ffff);

/// A TCP connection as something that never blocks.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    lost: Option<Error>,
}

impl Socket {
    /// This connection.
    #[must_use]
    pub const fn new(stream: TcpStream) -> Socket {
        Socket { stream, lost: None }
    }

    /// Whether it broke.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// The connection.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl Duplex for Socket {
    fn get(&mut self, which: Stream, to: &mut [u8]) -> Got {
        if which == Stream::Stderr || self.is_lost() {
            return Got::End;
        }
        match self.stream.try_read(to) {
            Ok(0) => Got::End,
            Ok(len) => Got::Bytes(len),
            Err(Error::WouldBlock) => Got::Nothing,
            Err(error) => {
                self.lost = Some(error);
                Got::End
            }
        }
    }

    fn put(&mut self, from: &[u8]) -> usize {
        if self.is_lost() {
            return from.len();
        }
        match self.stream.try_write(from) {
            Ok(len) => len,
            Err(Error::WouldBlock) => 0,
            Err(error) => {
                self.lost = Some(error);
                from.len()
            }
        }
    }

    fn finish(&mut self) {
        let _ = self.stream.shutdown_write();
    }
}

/// The connection.
pub struct Link {
    /// The session.
    pub session: Client,
    /// Room for bytes on their way.
    pub space: Vec<u8>,
    socket: Socket,
    wire: Wire,
    set: PollSet,
}

/// The time as a session wants it.
fn uptime() -> Duration {
    Duration::from_nanos(clock::now())
}

impl Link {
    /// Connects to a host by its name.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn connect(
        names: &names::Client,
        network: &Network,
        (host, port): (&str, u16),
        options: &Options,
    ) -> Result<Link> {
        let random = Random::new(names).about("random numbers")?;
        let mut config = Config {
            keepalive_time: Some(Duration::from_secs(60)),
            ..Config::default()
        };
        if let Some(bytes) = options.rekey_bytes {
            config.rekey_bytes = bytes;
        }
        let session = Client::new(&config, random, uptime())?;
        let deadline = clock::after(CONNECT_NS);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut stream = Err(Error::NotFound);
        for address in network.resolve(bare, deadline).about(host)? {
            stream = network.tcp_connect(SocketAddr::new(address, port), deadline);
            if stream.is_ok() {
                break;
            }
        }
        let socket = Socket::new(stream.about(alloc::format!("{host} port {port}"))?);
        let set = PollSet::new()?;
        set.add(socket.stream.event(), 0, ANY_BIT)?;
        Ok(Link {
            session,
            space: alloc::vec![0; SPACE_BYTES],
            socket,
            wire: Wire::default(),
            set,
        })
    }

    /// Has [`Link::wait`] return when this is signalled.
    ///
    /// # Errors
    /// Those of the poll set.
    pub fn watch(&self, signal: &Signal) -> core::result::Result<(), Error> {
        self.set.add(signal, 1, ANY_BIT)
    }

    /// Not any more.
    pub fn unwatch(&self, signal: &Signal) {
        let _ = self.set.remove(signal);
    }

    /// Moves bytes between the session and the network; tells whether any moved.
    ///
    /// # Errors
    /// What ended the session.
    pub fn pump(&mut self) -> Result<bool> {
        let now = uptime();
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now)?;
        }
        let space = &mut self.space;
        let moved = self
            .wire
            .pump(now, &mut self.session, &mut self.socket, space)?;
        if let Some(error) = self.socket.lost {
            return Err(Failure::from(error));
        }
        Ok(moved)
    }

    /// The next event.
    ///
    /// # Errors
    /// A sentence when the server closed the connection and there is nothing more.
    pub fn event(&mut self) -> Result<Option<Event>> {
        match self.session.poll_event() {
            None if self.wire.is_over() => fail("the server closed the connection"),
            event => Ok(event),
        }
    }

    /// Waits until there may be something to do.
    ///
    /// # Errors
    /// Those of the poll set.
    pub fn wait(&mut self) -> Result<()> {
        let at = self.session.poll_timeout();
        let deadline = at.map_or(FOREVER, |at| {
            u64::try_from(at.as_nanos()).unwrap_or(FOREVER)
        });
        match sys::receive(viper_rt::Object::raw(&self.set), deadline).check() {
            Ok(()) | Err(Error::TimedOut | Error::WouldBlock) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The next event, waited for; for what comes before the channels.
    ///
    /// # Errors
    /// As [`Link::pump`] and [`Link::event`].
    pub fn next_event(&mut self) -> Result<Event> {
        loop {
            let moved = self.pump()?;
            if let Some(event) = self.event()? {
                return Ok(event);
            }
            if !moved {
                self.wait()?;
            }
        }
    }

    /// Says goodbye.
    pub fn close(mut self) {
        self.session.disconnect("done");
        let deadline = clock::after(GOODBYE_NS);
        while !self.session.poll_output().is_empty() && !self.socket.is_lost() {
            let taken = self.socket.put(self.session.poll_output());
            self.session.output_sent(taken);
            let waited = taken > 0
                || sys::receive(viper_rt::Object::raw(&self.set), deadline)
                    .check()
                    .is_ok();
            if !waited {
                break;
            }
        }
    }
}
