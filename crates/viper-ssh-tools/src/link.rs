//! The connection to a server: a session, what carries it, and what is waited for besides.

use crate::arguments::Options;
use crate::carrier::{Carrier, Hop, Socket};
use crate::failure::{About, Result, fail};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use viper_proto::entropy::Random;
use viper_proto::names;
use viper_proto::net::client::Network;
use viper_rt::abi::{FOREVER, Signals};
use viper_rt::handle::{Event as Signal, PollSet};
use viper_rt::{Error, clock, sys};
use viper_ssh::pump::{Duplex, Wire};
use viper_ssh::{Client, Config, Event};

const CONNECT_NS: u64 = 30 * clock::SECOND;
const SPACE_BYTES: usize = 32 * 1024;
/// How long the last words may take.
const GOODBYE_NS: u64 = 2 * clock::SECOND;
/// Who connects, for machines on the way that want to know.
const ORIGINATOR: (&str, u16) = ("127.0.0.1", 0);
const ANY_BIT: Signals = Signals(0xffff_ffff);

/// The connection.
pub struct Link {
    /// The session.
    pub session: Client,
    /// Room for bytes on their way.
    pub space: Vec<u8>,
    carrier: Carrier,
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
        let deadline = clock::after(CONNECT_NS);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let mut stream = Err(Error::NotFound);
        for address in network.resolve(bare, deadline).about(host)? {
            stream = network.tcp_connect(SocketAddr::new(address, port), deadline);
            if stream.is_ok() {
                break;
            }
        }
        let socket = Socket::new(stream.about(format!("{host} port {port}"))?);
        Link::over(Carrier::Tcp(socket), names, options)
    }

    /// Connects to a host as the machine at the end of `before` sees it.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn through(
        mut before: Link,
        names: &names::Client,
        (host, port): (&str, u16),
        options: &Options,
    ) -> Result<Link> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let channel = before.session.open_direct_tcpip(bare, port, ORIGINATOR)?;
        loop {
            match before.next_event()? {
                Event::ChannelOpened(_) => break,
                Event::ChannelRefused { message, .. } => {
                    before.close();
                    return fail(format!("{host} port {port}: {message}"));
                }
                _ => {}
            }
        }
        // It is in one set only.
        before.unwatch(before.carrier.signal());
        let hop = Hop::new(before, channel);
        Link::over(Carrier::Hop(Box::new(hop)), names, options)
    }

    fn over(carrier: Carrier, names: &names::Client, options: &Options) -> Result<Link> {
        let random = Random::new(names).about("random numbers")?;
        let mut config = Config {
            keepalive_time: Some(Duration::from_secs(60)),
            ..Config::default()
        };
        if let Some(bytes) = options.rekey_bytes {
            config.rekey_bytes = bytes;
        }
        let session = Client::new(&config, random, uptime())?;
        let set = PollSet::new()?;
        set.add(carrier.signal(), 0, ANY_BIT)?;
        Ok(Link {
            session,
            space: alloc::vec![0; SPACE_BYTES],
            carrier,
            wire: Wire::default(),
            set,
        })
    }

    /// What carries it.
    #[must_use]
    pub const fn carrier(&self) -> &Carrier {
        &self.carrier
    }

    /// When there is something to do even if nothing comes, in uptime.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let (own, below) = (self.session.poll_timeout(), self.carrier.poll_timeout());
        own.into_iter().chain(below).min()
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
            .pump(now, &mut self.session, &mut self.carrier, space)?;
        match self.carrier.failure() {
            Some(failure) => Err(failure),
            None => Ok(moved),
        }
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
        let at = self.poll_timeout();
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
        while !self.session.poll_output().is_empty() && self.carrier.failure().is_none() {
            let taken = self.carrier.put(self.session.poll_output());
            self.session.output_sent(taken);
            let waited = taken > 0
                || sys::receive(viper_rt::Object::raw(&self.set), deadline)
                    .check()
                    .is_ok();
            if !waited {
                break;
            }
        }
        self.carrier.close();
    }
}
