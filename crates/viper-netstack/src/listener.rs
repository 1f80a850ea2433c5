//! Listeners: requests to connect, half-open connections, and those that wait to be accepted.

use alloc::collections::VecDeque;
use core::net::SocketAddr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::tcp::{Socket as Engine, State};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, IpRepr, TcpPacket,
};

use crate::flow::Key;
use crate::frame::{Packet, Segment, ports};
use crate::slot::Socket;
use crate::stack::{collide, is_for};
use crate::tcp::{Role, Tcp, acknowledgement, listen_endpoint};
use crate::{Error, SocketId, Stack, TcpOptions};

/// A TCP listener.
pub(crate) struct Listener {
    pub(crate) local: SocketAddr,
    backlog: usize,
    options: TcpOptions,
    /// Connections that stand, oldest first.
    pub(crate) queue: VecDeque<SocketId>,
    /// Connections that wait for the peer's acknowledgement, oldest first.
    pub(crate) half_open: VecDeque<SocketId>,
}

impl Stack {
    /// Accepts connections to `local`. An unspecified address means all of ours; `::` takes
    /// IPv4 as well. Port 0 means any; [`listener_address`](Self::listener_address) tells which.
    ///
    /// At most `backlog` connections (1 at least) wait to be accepted; while they do, requests
    /// are not answered, and the peers ask again. Connections get `options`.
    ///
    /// # Errors
    ///
    /// `AddressNotAvailable`, `AddressInUse`, `NoMemory`.
    pub fn tcp_listen(
        &mut self,
        local: SocketAddr,
        backlog: usize,
        options: &TcpOptions,
    ) -> Result<SocketId, Error> {
        if !self.may_bind(local.ip()) {
            return Err(Error::AddressNotAvailable);
        }
        self.room_for_socket()?;
        let local = match local.port() {
            0 => {
                let port = self.ephemeral(|stack, port| !stack.listeners.contains_key(&port));
                SocketAddr::new(local.ip(), port.ok_or(Error::AddressInUse)?)
            }
            _ => local,
        };
        let here = self.listeners.get(&local.port()).into_iter().flatten();
        if here.copied().any(|id| {
            self.listener(id)
                .is_ok_and(|other| collide(other.local, local))
        }) {
            return Err(Error::AddressInUse);
        }
        let listener = Listener {
            local,
            backlog: backlog.max(1),
            options: *options,
            queue: VecDeque::new(),
            half_open: VecDeque::new(),
        };
        let id = self.slots.insert(Socket::Listener(listener));
        self.listeners.entry(local.port()).or_default().push(id);
        Ok(id)
    }

    /// The oldest connection that stands.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none, `BadSocket`.
    pub fn tcp_accept(&mut self, listener: SocketId) -> Result<SocketId, Error> {
        loop {
            let queue = &mut self
                .slots
                .listener_mut(listener)
                .ok_or(Error::BadSocket)?
                .queue;
            let id = queue.pop_front().ok_or(Error::WouldBlock)?;
            if let Some(connection) = self.slots.tcp_mut(id) {
                connection.role = Role::Owned;
                self.mark_ready(id);
                return Ok(id);
            }
        }
    }

    /// Where a listener listens.
    ///
    /// # Errors
    ///
    /// `BadSocket`.
    pub fn listener_address(&self, id: SocketId) -> Result<SocketAddr, Error> {
        self.listener(id).map(|listener| listener.local)
    }

    /// Resets what nobody has accepted, and goes.
    pub(crate) fn close_listener(&mut self, id: SocketId) -> Result<(), Error> {
        let listener = self.slots.listener_mut(id).ok_or(Error::BadSocket)?;
        let local = listener.local;
        let (queue, half_open) = (
            core::mem::take(&mut listener.queue),
            core::mem::take(&mut listener.half_open),
        );
        for id in queue.into_iter().chain(half_open) {
            if let Some(connection) = self.slots.tcp_mut(id) {
                connection.half.get_mut::<Engine>().abort();
                self.abandon(id);
            }
        }
        if let Some(ids) = self.listeners.get_mut(&local.port()) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.listeners.remove(&local.port());
            }
        }
        self.slots.remove(id);
        Ok(())
    }

    /// A request to connect; `false` if nobody listens there.
    ///
    /// Every request gets buffers of its own at once, so their number is limited: when it is
    /// reached, the oldest half-open connection makes room. A flood of forged requests turns
    /// the list over quickly, but who answers sooner than that gets through.
    pub(crate) fn take_request(
        &mut self,
        key: Key,
        frame: &[u8],
        packet: &Packet<'_>,
        segment: &Segment,
    ) -> bool {
        let index = key.interface();
        let Some((local, remote)) = ports(packet.payload).map(|ports| packet.ends(ports)) else {
            return false;
        };
        let Some(id) = self.find_listener(local) else {
            return false;
        };
        let half_open_max = self.config.half_open_max.max(1);
        let Some(listener) = self.slots.listener_mut(id) else {
            return false;
        };
        let options = listener.options;
        let is_full = listener.queue.len() >= listener.backlog;
        let oldest = if listener.half_open.len() >= half_open_max && !is_full {
            listener.half_open.pop_front()
        } else {
            None
        };
        if let Some(oldest) = oldest {
            self.remove_connection(oldest);
        }
        if (is_full || oldest.is_some())
            && let Some(port) = self.ports.get_mut(index)
        {
            port.counters.request_drops += 1;
        }
        if is_full || self.room_for_socket().is_err() {
            return true;
        }
        let Ok(mut half) = self.new_half(index, &options) else {
            return true;
        };
        if half
            .get_mut::<Engine>()
            .listen(listen_endpoint(local))
            .is_err()
        {
            return true;
        }
        let mut connection = Tcp::new(half, Role::HalfOpen(id), (local, remote), &options);
        connection.key = Some(key);
        connection.set_give_up(self.now.saturating_add(self.config.half_open_ns));
        let connection = self.slots.insert(Socket::Tcp(connection));
        self.connections.insert(key, connection);
        if let Some(listener) = self.slots.listener_mut(id) {
            listener.half_open.push_back(connection);
        }
        // If it was not a good segment, the connection is gone after this.
        self.take_segment(connection, frame, packet, segment);
        true
    }

    /// Acts on a new state of a half-open connection.
    pub(crate) fn settle_half_open(&mut self, id: SocketId, listener: SocketId, state: State) {
        if state == State::SynReceived {
            return;
        }
        let is_open = matches!(state, State::Established | State::CloseWait);
        let owner = self.slots.listener_mut(listener);
        let Some(owner) = owner.filter(|_| is_open) else {
            if let Some(owner) = self.slots.listener_mut(listener) {
                owner.half_open.retain(|other| *other != id);
            }
            self.remove_connection(id);
            return;
        };
        owner.half_open.retain(|other| *other != id);
        owner.queue.push_back(id);
        if let Some(connection) = self.slots.tcp_mut(id) {
            connection.role = Role::Queued;
            connection.clear_give_up();
        }
        self.mark_ready(listener);
    }

    /// Answers a segment for a connection in TIME-WAIT, as far as it takes up sequence numbers.
    pub(crate) fn answer_late(
        &mut self,
        index: usize,
        frame: &[u8],
        segment: &Segment,
        (local, remote): (SocketAddr, SocketAddr),
    ) {
        let owes_answer = segment.has(Segment::ACK) && segment.len > 0;
        if !owes_answer || segment.has(Segment::RST | Segment::SYN) {
            return;
        }
        let Some(port) = self.ports.get_mut(index) else {
            return;
        };
        let ports = (local.port(), remote.port());
        let reply = acknowledgement(ports, segment.acknowledgement, segment.end(), 0);
        let (source, destination) = (local.ip().into(), remote.ip().into());
        let header = IpRepr::new(source, destination, IpProtocol::Tcp, reply.buffer_len(), 64);
        let link_len = port.link_len();
        let mac = port.mac;
        let sums = ChecksumCapabilities::default();
        port.queue
            .push_with(link_len + header.buffer_len(), |buffer| {
                let (link, rest) = buffer.split_at_mut(link_len);
                if let (Some(own), Some(from)) = (mac, frame.get(6..12)) {
                    let mut link = EthernetFrame::new_unchecked(link);
                    link.set_src_addr(EthernetAddress(own));
                    link.set_dst_addr(EthernetAddress::from_bytes(from));
                    link.set_ethertype(if local.is_ipv4() {
                        EthernetProtocol::Ipv4
                    } else {
                        EthernetProtocol::Ipv6
                    });
                }
                header.emit(&mut *rest, &sums);
                let (_, payload) = rest.split_at_mut(header.header_len());
                let mut segment = TcpPacket::new_unchecked(payload);
                reply.emit(&mut segment, &source, &destination, &sums);
            });
    }

    /// The listener for `local`: one for that very address before one for all.
    fn find_listener(&self, local: SocketAddr) -> Option<SocketId> {
        let ids = self.listeners.get(&local.port())?;
        ids.iter()
            .filter_map(|id| {
                self.listener(*id)
                    .ok()
                    .map(|listener| (*id, listener.local))
            })
            .filter(|(_, bound)| is_for(*bound, local.ip()))
            .min_by_key(|(_, bound)| (bound.ip().is_unspecified(), bound.is_ipv6()))
            .map(|(id, _)| id)
    }

    fn listener(&self, id: SocketId) -> Result<&Listener, Error> {
        match &self.slots.get(id).ok_or(Error::BadSocket)?.socket {
            Socket::Listener(listener) => Ok(listener),
            _ => Err(Error::BadSocket),
        }
    }
}
