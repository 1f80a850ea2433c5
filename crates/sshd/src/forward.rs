//! Ports that the server listens on for a client.

use crate::channel::Tcp;
use crate::connection::Shared;
use crate::net::{ANY_BIT, Listener, Network};
use crate::terminal::Seat;
use crate::world::World;
use alloc::string::String;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use viper_rt::Error;
use viper_rt::server::Sources;

/// A port.
pub(crate) struct Forward<W: World> {
    listener: <W::Network as Network>::Listener,
    /// As the client asked for it, which is how it knows it.
    address: String,
    port: u16,
}

impl<W: World> Forward<W> {
    /// Listens, on the machine itself only, whatever address the client asks for: the port would
    /// else be open to everybody around.
    pub(crate) fn listen(
        shared: &Shared<'_, W>,
        key: u32,
        address: String,
        port: u16,
    ) -> Result<Self, Error> {
        let at = match address.parse() {
            Ok(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let listener = shared.world.network().listen(at, port)?;
        shared.sources.watch(listener.event(), key, ANY_BIT)?;
        let port = listener.port();
        Ok(Forward {
            listener,
            address,
            port,
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether this is the one that the client means.
    pub(crate) fn is(&self, address: &str, port: u16) -> bool {
        self.address == address && self.port == port
    }

    /// Address and port as the client knows them.
    pub(crate) fn asked(&self) -> (&str, u16) {
        (&self.address, self.port)
    }

    /// The next connection.
    pub(crate) fn accept(&mut self) -> Option<Tcp<W>> {
        self.listener.try_accept().ok()
    }

    /// Listens no more.
    pub(crate) fn end(self, sources: &Sources<Seat>) {
        let _ = sources.unwatch(self.listener.event());
    }
}
