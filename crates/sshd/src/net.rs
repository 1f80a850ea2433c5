//! What the server needs of a network: streams, listeners, and connections to elsewhere.

use crate::terminal::Seat;
use core::net::{IpAddr, SocketAddr};
use viper_rt::Error;
use viper_rt::abi::Signals;
use viper_rt::handle::Event;
use viper_rt::server::Sources;
use viper_ssh::Stream as Which;
use viper_ssh::pump::{Duplex, Got};

/// All bits of an event.
pub(crate) const ANY_BIT: Signals = Signals(0xffff_ffff);

/// A TCP connection that never blocks.
pub trait Stream: Send + 'static {
    /// Reads; 0 at the end.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when nothing is there, others when the connection is lost.
    fn try_read(&mut self, to: &mut [u8]) -> Result<usize, Error>;

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] without room, others when the connection is lost.
    fn try_write(&mut self, from: &[u8]) -> Result<usize, Error>;

    /// Says that nothing more will be written.
    ///
    /// # Errors
    /// When the connection is lost.
    fn shutdown_write(&mut self) -> Result<(), Error>;

    /// Who is at the other end.
    fn peer(&self) -> SocketAddr;

    /// Signalled whenever more could be read or written, or it ended.
    fn event(&self) -> &Event;
}

/// A TCP port that is listened on.
pub trait Listener {
    /// Its connections.
    type Stream: Stream;

    /// The next connection.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when there is none, others when it listens no more.
    fn try_accept(&mut self) -> Result<Self::Stream, Error>;

    /// The port.
    fn port(&self) -> u16;

    /// Signalled when there may be a connection.
    fn event(&self) -> &Event;
}

/// A network.
pub trait Network: Clone + Send + 'static {
    /// Its connections.
    type Stream: Stream;
    /// Its listeners.
    type Listener: Listener<Stream = Self::Stream>;

    /// Listens on a port; 0 lets the network choose.
    ///
    /// # Errors
    /// Those of the network service.
    fn listen(&self, at: IpAddr, port: u16) -> Result<Self::Listener, Error>;

    /// Connects to a host by name or address. Waits until the deadline, in nanoseconds of uptime.
    ///
    /// # Errors
    /// Those of the network service.
    fn connect(&self, host: &str, port: u16, deadline: u64) -> Result<Self::Stream, Error>;
}

/// A connection whose changes come to the loop under a key.
#[derive(Debug)]
pub(crate) struct Socket<S: Stream> {
    stream: S,
    sources: Sources<Seat>,
    lost: bool,
}

impl<S: Stream> Socket<S> {
    pub(crate) fn new(stream: S, sources: &Sources<Seat>, key: u32) -> Result<Self, Error> {
        sources.watch(stream.event(), key, ANY_BIT)?;
        Ok(Socket {
            stream,
            sources: sources.clone(),
            lost: false,
        })
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.stream.peer()
    }

    /// Whether it broke, in both directions.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }
}

impl<S: Stream> Drop for Socket<S> {
    fn drop(&mut self) {
        let _ = self.sources.unwatch(self.stream.event());
    }
}

impl<S: Stream> Duplex for Socket<S> {
    fn get(&mut self, which: Which, to: &mut [u8]) -> Got {
        if which == Which::Stderr || self.lost {
            return Got::End;
        }
        match self.stream.try_read(to) {
            Ok(0) => Got::End,
            Ok(len) => Got::Bytes(len),
            Err(Error::WouldBlock) => Got::Nothing,
            Err(_) => {
                self.lost = true;
                Got::End
            }
        }
    }

    fn put(&mut self, from: &[u8]) -> usize {
        if self.lost {
            return from.len();
        }
        match self.stream.try_write(from) {
            Ok(len) => len,
            Err(Error::WouldBlock) => 0,
            Err(_) => {
                self.lost = true;
                from.len()
            }
        }
    }

    fn finish(&mut self) {
        // One that is lost needs no goodbye.
        let _ = self.stream.shutdown_write();
    }
}
