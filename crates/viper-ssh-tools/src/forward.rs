//! Forwarded ports, in both directions.

use crate::arguments::Forwarded;
use crate::carrier::Socket;
use crate::failure::{About, Result};
use crate::link::Link;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use viper_proto::net::client::{Network, TcpListener, TcpStream};
use viper_rt::{Error, clock};
use viper_ssh::pump::Joint;
use viper_ssh::{ChannelId, ChannelKind, Event};

const CONNECT_NS: u64 = 10 * clock::SECOND;
const BACKLOG: u32 = 8;

struct Channel {
    joint: Joint,
    socket: Socket,
    is_open: bool,
    /// The server has closed it: what came before that is still delivered.
    is_closed: bool,
}

/// The forwarded ports and their connections.
pub struct Forwards {
    network: Network,
    listeners: Vec<(TcpListener, Forwarded)>,
    remote: Vec<Forwarded>,
    channels: BTreeMap<ChannelId, Channel>,
}

impl Forwards {
    /// Listens on the local ports, and asks the server to listen on the remote ones.
    ///
    /// # Errors
    /// A sentence about a port that cannot be listened on.
    pub fn start(
        link: &mut Link,
        network: Network,
        local: &[Forwarded],
        remote: &[Forwarded],
    ) -> Result<Forwards> {
        let mut listeners = Vec::new();
        for forwarded in local {
            let bind = forwarded.bind.parse();
            let at = bind.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let listener = network.tcp_listen(SocketAddr::new(at, forwarded.port), BACKLOG);
            let listener = listener.about(format!("port {}", forwarded.port))?;
            link.watch(listener.event())?;
            listeners.push((listener, forwarded.clone()));
        }
        for forwarded in remote {
            let bind = match forwarded.bind.as_str() {
                "" => "localhost",
                bind => bind,
            };
            link.session.request_forward(bind, forwarded.port)?;
        }
        Ok(Forwards {
            network,
            listeners,
            remote: remote.to_vec(),
            channels: BTreeMap::new(),
        })
    }

    /// Handles an event if it is about a forwarded connection.
    ///
    /// # Errors
    /// What ended the session.
    pub fn handle(&mut self, link: &mut Link, event: &Event) -> Result<()> {
        match event {
            Event::ChannelOpened(id) => {
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.is_open = true;
                }
            }
            Event::ChannelRefused { channel, .. } => self.end(link, *channel),
            Event::Closed(id) => {
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.is_closed = true;
                    channel.joint.eof_received();
                }
            }
            Event::Eof(id) => {
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.joint.eof_received();
                }
            }
            Event::ChannelOffered {
                channel,
                kind: ChannelKind::ForwardedTcpip(from),
            } => match self.connect(from.port) {
                Ok(stream) => {
                    link.session.accept_channel(*channel)?;
                    self.add(link, *channel, stream, true)?;
                }
                Err(error) => link.session.refuse_channel(*channel, error.name())?,
            },
            _ => {}
        }
        Ok(())
    }

    /// Where connections to a port of the server go.
    fn connect(&self, port: u16) -> core::result::Result<TcpStream, Error> {
        let forwarded = self.remote.iter().find(|f| f.port == port);
        let forwarded = forwarded.ok_or(Error::NotFound)?;
        let deadline = clock::after(CONNECT_NS);
        let mut stream = Err(Error::NotFound);
        for address in self.network.resolve(&forwarded.host, deadline)? {
            let to = SocketAddr::new(address, forwarded.host_port);
            stream = self.network.tcp_connect(to, deadline);
            if stream.is_ok() {
                break;
            }
        }
        stream
    }

    fn add(
        &mut self,
        link: &mut Link,
        id: ChannelId,
        stream: TcpStream,
        is_open: bool,
    ) -> Result<()> {
        link.watch(stream.event())?;
        let channel = Channel {
            joint: Joint::default(),
            socket: Socket::new(stream),
            is_open,
            is_closed: false,
        };
        self.channels.insert(id, channel);
        Ok(())
    }

    fn end(&mut self, link: &Link, id: ChannelId) {
        if let Some(channel) = self.channels.remove(&id) {
            link.unwatch(channel.socket.stream().event());
        }
    }

    /// Takes connections and moves bytes; tells whether anything happened.
    ///
    /// # Errors
    /// What ended the session.
    pub fn pump(&mut self, link: &mut Link) -> Result<bool> {
        let mut moved = false;
        let mut taken = Vec::new();
        for (listener, forwarded) in &mut self.listeners {
            while let Ok(stream) = listener.try_accept() {
                let (host, port) = (forwarded.host.as_str(), forwarded.host_port);
                let from = format!("{}", stream.peer().ip());
                let from = (from.as_str(), stream.peer().port());
                // One too many is dropped; the others go on.
                if let Ok(id) = link.session.open_direct_tcpip(host, port, from) {
                    taken.push((id, stream));
                }
            }
        }
        for (id, stream) in taken {
            self.add(link, id, stream, false)?;
            moved = true;
        }
        let mut over = Vec::new();
        for (id, channel) in self.channels.iter_mut().filter(|(_, c)| c.is_open) {
            let Link { session, space, .. } = link;
            let (joint, socket) = (&mut channel.joint, &mut channel.socket);
            moved |= joint.pump(session, *id, socket, space);
            let has_ended = joint.is_drained() || channel.is_closed;
            if socket.is_lost() || has_ended && joint.is_finished() {
                over.push(*id);
            }
        }
        for id in over {
            let _ = link.session.close(id);
            self.end(link, id);
            moved = true;
        }
        Ok(moved)
    }
}
