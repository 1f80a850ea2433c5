//! The network for programs: sockets that move data without system calls while it flows.
//!
//! A program that waits for several things puts the `event()` of its sockets into a poll set and
//! calls `try_` methods until they say [`Error::WouldBlock`]; the next change signals the event
//! again. One that waits for one thing uses the methods with a deadline, in nanoseconds of uptime.
//! An event in a poll set cannot be waited for otherwise: those methods say [`Error::Busy`] then.
//!
//! When the server dies, connections and sockets give what they have received and then end with
//! [`Error::ServerDied`]; their events are signalled. Listeners and names come back by themselves.

mod datagrams;
mod session;
mod tcp;

pub use core::net::{IpAddr, SocketAddr};
pub use datagrams::{PingSocket, UdpSocket};
pub use tcp::{TcpListener, TcpReader, TcpStream, TcpWriter};

use super::{AddressInfo, InterfaceInfo, RouteInfo, SocketInfo};
use crate::names;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use session::Inner;
use viper_rt::handle::Channel;
use viper_rt::{Error, clock};

/// How long a client waits for the server to come (back).
pub const RECONNECT_NS: u64 = 5 * clock::SECOND;

/// A session with the network service. Cheap to clone; threads may share it.
#[derive(Clone, Debug)]
pub struct Network(Arc<Inner>);

impl Network {
    /// Connects, through the name service that the program was started with.
    ///
    /// # Errors
    /// [`Error::NoService`] without names, or if the network is switched off; [`Error::TimedOut`];
    /// [`Error::NoRight`] if this process may not use the network.
    pub fn connect() -> Result<Network, Error> {
        Network::connected(Inner::from_startup()?)
    }

    /// Connects through these names.
    ///
    /// # Errors
    /// As [`Network::connect`].
    pub fn connect_through(names: &names::Client) -> Result<Network, Error> {
        Network::connected(Inner::through(names)?)
    }

    /// A session over this channel, which does not come back after the server died.
    #[must_use]
    pub fn over(channel: Channel) -> Network {
        Network(Arc::new(Inner::over(channel)))
    }

    fn connected(inner: Inner) -> Result<Network, Error> {
        inner.session()?;
        Ok(Network(Arc::new(inner)))
    }

    /// The addresses of a name: also of a literal address, and of `localhost`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::TimedOut`], [`Error::Unreachable`] without a name server,
    /// and those of the connection.
    pub fn resolve(&self, name: &str, deadline: u64) -> Result<Vec<IpAddr>, Error> {
        if let Ok(address) = name.parse() {
            return Ok(Vec::from([address]));
        }
        let addresses = self.0.resolve(name.as_bytes(), deadline)?;
        Ok(addresses.iter().map(|a| IpAddr::from(*a)).collect())
    }

    /// Connects to a TCP listener and waits until that is done.
    ///
    /// # Errors
    /// [`Error::ConnectionRefused`], [`Error::Unreachable`], [`Error::TimedOut`],
    /// [`Error::NoRight`], [`Error::LimitReached`], and those of the connection to the server.
    pub fn tcp_connect(&self, to: SocketAddr, deadline: u64) -> Result<TcpStream, Error> {
        let stream = self.tcp_connect_start(to)?;
        stream.wait_connected(deadline)?;
        Ok(stream)
    }

    /// Begins to connect. The event is signalled when [`TcpStream::is_connected`] knows more.
    ///
    /// # Errors
    /// As [`Network::tcp_connect`], as far as it is known at once.
    pub fn tcp_connect_start(&self, to: SocketAddr) -> Result<TcpStream, Error> {
        tcp::connect(&self.0, to)
    }

    /// Listens. Port 0: one that is free. At most `backlog` connections wait to be accepted.
    ///
    /// # Errors
    /// [`Error::AddressInUse`], [`Error::NoRight`], [`Error::LimitReached`], and those of the
    /// connection to the server.
    pub fn tcp_listen(&self, at: SocketAddr, backlog: u32) -> Result<TcpListener, Error> {
        tcp::listen(&self.0, at, backlog)
    }

    /// A socket for UDP. Port 0: one that is free.
    ///
    /// # Errors
    /// As [`Network::tcp_listen`].
    pub fn udp_bind(&self, at: SocketAddr) -> Result<UdpSocket, Error> {
        datagrams::udp(&self.0, at)
    }

    /// A socket for ICMP echoes.
    ///
    /// # Errors
    /// [`Error::NoRight`], [`Error::LimitReached`], and those of the connection to the server.
    pub fn ping_open(&self) -> Result<PingSocket, Error> {
        datagrams::ping(&self.0)
    }

    /// Waits until the network has an address, or none will come soon.
    ///
    /// # Errors
    /// [`Error::NotFound`] without a network card, [`Error::TimedOut`], and those of the
    /// connection to the server.
    pub fn wait_ready(&self, deadline: u64) -> Result<(), Error> {
        self.0.ready(deadline)
    }

    /// The interfaces with their names.
    ///
    /// # Errors
    /// Those of the connection to the server, here and below.
    pub fn interfaces(&self) -> Result<Vec<(String, InterfaceInfo)>, Error> {
        self.0.list(|client, index| {
            let (interface, name) = client.interface_at(index)?;
            Ok((String::from_utf8_lossy(&name).into_owned(), interface))
        })
    }

    /// The addresses of the interfaces.
    ///
    /// # Errors
    /// As [`Network::interfaces`].
    pub fn addresses(&self) -> Result<Vec<AddressInfo>, Error> {
        self.0.list(|client, index| client.address_at(index))
    }

    /// The routes.
    ///
    /// # Errors
    /// As [`Network::interfaces`].
    pub fn routes(&self) -> Result<Vec<RouteInfo>, Error> {
        self.0.list(|client, index| client.route_at(index))
    }

    /// The name servers.
    ///
    /// # Errors
    /// As [`Network::interfaces`].
    pub fn name_servers(&self) -> Result<Vec<IpAddr>, Error> {
        self.0
            .list(|client, index| client.name_server_at(index).map(IpAddr::from))
    }

    /// The sockets of all programs.
    ///
    /// # Errors
    /// As [`Network::interfaces`].
    pub fn sockets(&self) -> Result<Vec<SocketInfo>, Error> {
        self.0.list(|client, index| client.socket_at(index))
    }
}
