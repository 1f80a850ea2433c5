//! Connections within the machine: the two programs share the rings, and the server only brings
//! them together and tells each of the other's end.

use crate::card::NetworkCard;
use crate::convert::is_for;
use crate::pipe::Shared;
use crate::server::{Client, Netd, RING_BYTES};
use crate::sockets::{Kind, LocalEnd, Socket};
use alloc::rc::Rc;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use viper_proto::net::{Link, bits, status};
use viper_rt::Error;
use viper_rt::abi::FOREVER;
use viper_rt::handle::{Event, Memory};

/// First of the ports that connections within the machine come from (RFC 6335, 6).
const EPHEMERAL_MIN: u16 = 49_152;

impl<C: NetworkCard> Netd<C> {
    /// The address itself, or this machine's for no address at all; and whether it is ours.
    pub(crate) fn within(&self, to: SocketAddr) -> (SocketAddr, bool) {
        let ip = match to.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        (
            SocketAddr::new(ip, to.port()),
            ip.is_loopback() || self.own.contains(&ip),
        )
    }

    /// Connects two programs of this machine.
    pub(crate) fn connect_local(
        &mut self,
        client: &Client,
        to: SocketAddr,
    ) -> Result<(Link, Memory, Event, Event), Error> {
        let listener = self
            .sockets
            .iter()
            .find_map(|(index, socket)| match &socket.kind {
                Kind::Listener(listener) if is_for(listener.local, to) => Some(index),
                _ => None,
            });
        let listener = listener.ok_or(Error::ConnectionRefused)?;
        let local = SocketAddr::new(to.ip(), self.local_port(to)?);
        let shared = Rc::new(Shared::new(RING_BYTES)?);
        shared.set_status(status::OPEN);
        let (memory, wake, bell) = shared.handles(0)?;
        let Some(Kind::Listener(listener)) = self.sockets.get_mut(listener).map(|s| &mut s.kind)
        else {
            return Err(Error::ConnectionRefused);
        };
        if listener.pending.len() >= listener.backlog {
            return Err(Error::ConnectionRefused);
        }
        listener.pending.push_back(LocalEnd {
            shared: shared.clone(),
            end: 1,
            local: to,
            peer: local,
        });
        let _ = listener.wake.signal(bits::READ);
        let end = LocalEnd {
            shared,
            end: 0,
            local,
            peer: to,
        };
        Ok((self.add_local(client, end), memory, wake, bell))
    }

    /// Takes the oldest connection from within the machine, if one waits.
    pub(crate) fn accept_local(
        &mut self,
        client: &Client,
        listener: u32,
    ) -> Result<Option<(Link, Memory, Event, Event)>, Error> {
        let Some(Kind::Listener(listener)) = self.sockets.get_mut(listener).map(|s| &mut s.kind)
        else {
            return Err(Error::BadHandle);
        };
        let Some(end) = listener.pending.pop_front() else {
            return Ok(None);
        };
        let (memory, wake, bell) = match end.shared.handles(1) {
            Ok(handles) => handles,
            Err(error) => {
                listener.pending.push_front(end);
                return Err(error);
            }
        };
        Ok(Some((self.add_local(client, end), memory, wake, bell)))
    }

    fn add_local(&mut self, client: &Client, end: LocalEnd) -> Link {
        let mut link = Link {
            socket: 0,
            ring_bytes: end.shared.ring_bytes(),
            is_second: end.end == 1,
            local: end.local.into(),
            peer: end.peer.into(),
        };
        link.socket = self.sockets.insert(Socket {
            owner: Some(client.number),
            process_id: client.process_id,
            kind: Kind::Local(end),
            give_up: FOREVER,
        });
        link
    }

    /// An end within the machine is gone: the other is told.
    pub(crate) fn close_local(&mut self, index: u32, abort: bool) {
        if let Some(Socket {
            kind: Kind::Local(end),
            ..
        }) = self.sockets.remove(index)
        {
            end_of(&end, abort);
        }
    }

    /// Nobody listens any more: those that wait are turned away.
    pub(crate) fn close_listener(&mut self, index: u32) {
        if let Some(Socket {
            kind: Kind::Listener(listener),
            ..
        }) = self.sockets.remove(index)
        {
            listener.pending.iter().for_each(|end| end_of(end, true));
            self.by_id.remove(&listener.id);
            let _ = self.stack.close(listener.id);
        }
    }

    /// A port for the near end of a connection to `to` that no other such connection has.
    fn local_port(&self, to: SocketAddr) -> Result<u16, Error> {
        let taken = |port: u16| {
            self.sockets.iter().any(|(_, socket)| match &socket.kind {
                Kind::Local(end) => end.local.port() == port || end.peer.port() == port,
                Kind::Listener(listener) => listener.local.port() == port,
                _ => false,
            })
        };
        let start = self.clients_seen() as u16;
        (0..=u16::MAX - EPHEMERAL_MIN)
            .map(|n| EPHEMERAL_MIN + (start.wrapping_add(n) & (u16::MAX - EPHEMERAL_MIN)))
            .find(|&port| port != to.port() && !taken(port))
            .ok_or(Error::LimitReached)
    }
}

fn end_of(end: &LocalEnd, abort: bool) {
    if abort {
        // Without an end of the stream: what is read behind the last byte is the error.
        end.shared.set_status(Error::ConnectionReset.code() as i32);
    } else {
        end.shared.close_end(end.end);
    }
    end.shared.signal(end.end ^ 1, bits::ALL);
}
