//! Datagrams.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use smoltcp::socket::udp::{
    PacketBuffer, PacketMetadata, SendError, Socket as Engine, UdpMetadata,
};
use smoltcp::wire::IpListenEndpoint;

use crate::address::is_unicast;
use crate::frame::Packet;
use crate::interface::Sent;
use crate::slot::{Half, Slots, Socket};
use crate::stack::{collide, instant, is_for};
use crate::tcp::endpoint;
use crate::{Error, FrameDevice, SocketId, Stack};

/// A UDP socket: for each interface that it has to do with, one socket of the engine to receive
/// and one to send.
pub(crate) struct Udp {
    pub(crate) local: SocketAddr,
    receivers: Vec<Half>,
    senders: Vec<Half>,
    /// Bytes and number of datagrams that each half keeps.
    space: (usize, usize),
    /// What control messages said, and about whom.
    error: Option<(Error, SocketAddr)>,
    wants_room: bool,
}

impl Udp {
    /// Bytes that wait to be read, and bytes that wait to be sent.
    pub(crate) fn queues(&self) -> (usize, usize) {
        let received = self
            .receivers
            .iter()
            .map(|half| half.get::<Engine>().recv_queue())
            .sum();
        let unsent = self
            .senders
            .iter()
            .map(|half| half.get::<Engine>().send_queue())
            .sum();
        (received, unsent)
    }

    /// Keeps what a control message says about something sent to `remote`.
    pub(crate) fn note_error(&mut self, error: Error, remote: SocketAddr) {
        self.error = Some((error, remote));
    }
}

impl Stack {
    /// A UDP socket at `local`. An unspecified address means all of ours; `::` takes IPv4 as
    /// well. Port 0 means any; [`udp_address`](Self::udp_address) tells which.
    ///
    /// # Errors
    ///
    /// `AddressNotAvailable`, `AddressInUse`, `NoMemory`.
    pub fn udp_bind(&mut self, local: SocketAddr) -> Result<SocketId, Error> {
        let space = (self.config.datagram_bytes, self.config.datagrams_max);
        self.udp_bind_with(local, space)
    }

    /// A UDP socket for small datagrams.
    pub(crate) fn udp_bind_small(&mut self, local: SocketAddr) -> Result<SocketId, Error> {
        self.udp_bind_with(local, SMALL)
    }

    fn udp_bind_with(
        &mut self,
        local: SocketAddr,
        space: (usize, usize),
    ) -> Result<SocketId, Error> {
        if !self.may_bind(local.ip()) {
            return Err(Error::AddressNotAvailable);
        }
        self.room_for_socket()?;
        let local = match local.port() {
            0 => {
                let port = self.ephemeral(|stack, port| !stack.datagrams.contains_key(&port));
                SocketAddr::new(local.ip(), port.ok_or(Error::AddressInUse)?)
            }
            _ => local,
        };
        let here = self.datagrams.get(&local.port()).into_iter().flatten();
        if here
            .copied()
            .any(|id| self.udp(id).is_ok_and(|other| collide(other.local, local)))
        {
            return Err(Error::AddressInUse);
        }
        let socket = Udp {
            local,
            space,
            receivers: Vec::new(),
            senders: Vec::new(),
            error: None,
            wants_room: false,
        };
        let id = self.slots.insert(Socket::Udp(socket));
        self.datagrams.entry(local.port()).or_default().push(id);
        Ok(id)
    }

    /// Where a UDP socket is bound.
    ///
    /// # Errors
    ///
    /// `BadSocket`.
    pub fn udp_address(&self, id: SocketId) -> Result<SocketAddr, Error> {
        self.udp(id).map(|socket| socket.local)
    }

    /// Puts a datagram of `len` bytes, which `fill` writes, in line for `to`. It leaves with
    /// the next [`poll`](Self::poll), or when the peer's hardware address is known.
    ///
    /// # Errors
    ///
    /// `WouldBlock` without room, and the socket becomes ready when there is some; `TooLarge`;
    /// `BadArgument`, `NoRoute`, `AddressNotAvailable`, `NoMemory`, `BadSocket`. An error that
    /// a control message brought (`Refused`, `HostUnreachable`) is told once, by the next call.
    pub fn udp_send_with(
        &mut self,
        id: SocketId,
        to: SocketAddr,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Error> {
        let socket = self.udp_mut(id)?;
        if let Some((error, _)) = socket.error.take() {
            return Err(error);
        }
        let bound = socket.local.ip();
        if to.port() == 0 || to.ip().is_unspecified() {
            return Err(Error::BadArgument);
        }
        let index = self.route_to(to.ip()).ok_or(Error::NoRoute)?;
        let source = match bound {
            ip if !ip.is_unspecified() => ip,
            _ => self
                .source_for(index, to.ip())
                .ok_or(Error::AddressNotAvailable)?,
        };
        if source.is_ipv4() != to.is_ipv4() {
            return Err(Error::BadArgument);
        }
        if len > self.datagram_max(index, to.ip()) {
            return Err(Error::TooLarge);
        }
        let half = self.udp_half(id, index, Direction::Send)?;
        half.to = Some(to.ip());
        let mut metadata = UdpMetadata::from(endpoint(to));
        metadata.local_address = Some(source.into());
        match half.get_mut::<Engine>().send(len, metadata) {
            Ok(buffer) => fill(buffer),
            Err(SendError::BufferFull) => {
                self.udp_mut(id)?.wants_room = true;
                return Err(Error::WouldBlock);
            }
            Err(SendError::Unaddressable) => return Err(Error::BadArgument),
        }
        self.mark_dirty(id);
        Ok(())
    }

    /// Puts a copy of `data` in line for `to`.
    ///
    /// # Errors
    ///
    /// As [`udp_send_with`](Self::udp_send_with).
    pub fn udp_send(&mut self, id: SocketId, to: SocketAddr, data: &[u8]) -> Result<(), Error> {
        self.udp_send_with(id, to, data.len(), |buffer| buffer.copy_from_slice(data))
    }

    /// Shows the oldest received datagram to `take`, with where it is from and which address
    /// of ours it was sent to, and forgets it.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none; an error that a control message brought, once;
    /// `BadSocket`.
    pub fn udp_recv_with<R>(
        &mut self,
        id: SocketId,
        take: impl FnOnce(&[u8], SocketAddr, IpAddr) -> R,
    ) -> Result<R, Error> {
        let socket = self.udp_mut(id)?;
        for half in &mut socket.receivers {
            if let Ok((data, metadata)) = half.get_mut::<Engine>().recv() {
                let from = metadata.endpoint;
                let to = metadata
                    .local_address
                    .map_or(socket.local.ip(), IpAddr::from);
                return Ok(take(data, SocketAddr::new(from.addr.into(), from.port), to));
            }
        }
        let error = socket.error.take();
        Err(error.map_or(Error::WouldBlock, |(error, _)| error))
    }

    /// Copies the oldest received datagram to `to`, as much as fits; returns its length, which
    /// may be larger, and where it is from.
    ///
    /// # Errors
    ///
    /// As [`udp_recv_with`](Self::udp_recv_with).
    pub fn udp_recv(&mut self, id: SocketId, to: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        self.udp_recv_with(id, |data, from, _| {
            to.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
            (data.len(), from)
        })
    }

    /// Takes a datagram in; `false` if it is dropped.
    pub(crate) fn take_udp(&mut self, index: usize, frame: &[u8], packet: &Packet<'_>) -> bool {
        let Some(port) = self.ports.get_mut(index) else {
            return false;
        };
        let ports = match packet.fragment {
            None => crate::frame::ports(packet.payload),
            Some(_) => port.fragments.ports(packet),
        };
        let Some(ports) = ports else {
            // The first fragment is still to come: until then the engine keeps the others.
            let is_later = packet.fragment.is_some();
            if is_later {
                self.take_system(index, frame);
            }
            return is_later;
        };
        if ports.1 == DHCP_CLIENT && packet.destination.is_ipv4() {
            self.take_system(index, frame);
            return true;
        }
        let (local, _) = packet.ends(ports);
        let Some(id) = self.find_datagram(local) else {
            if !is_unicast(packet.destination) {
                return false;
            }
            // The engine answers that there is no such port.
            self.take_system(index, frame);
            return true;
        };
        if self.udp_half(id, index, Direction::Receive).is_err() {
            return false;
        }
        let now = instant(self.now);
        if let (Some(port), Some(half)) = (
            self.ports.get_mut(index),
            half(&mut self.slots, id, index, Direction::Receive),
        ) {
            let before = half.get::<Engine>().recv_queue();
            let could = half.get::<Engine>().can_recv();
            port.feed(now, frame, &mut half.set);
            let socket = half.get::<Engine>();
            if socket.recv_queue() > before || (socket.can_recv() && !could) {
                self.mark_ready(id);
            }
        }
        true
    }

    /// Lets a UDP or ping socket send what it has in line.
    pub(crate) fn send_datagrams(
        &mut self,
        id: SocketId,
        devices: &mut [&mut dyn FrameDevice],
    ) -> bool {
        let now = instant(self.now);
        let Some(slot) = self.slots.get_mut(id) else {
            return false;
        };
        let halves = senders(&mut slot.socket);
        let mut total = Sent::default();
        let mut waits = Vec::new();
        for half in halves.iter_mut() {
            let index = half.interface;
            let Some(port) = self.ports.get_mut(index) else {
                continue;
            };
            let sent = port.flush(now, half, None, Self::device(devices, index));
            total.packets += sent.packets;
            total.is_stalled |= sent.is_stalled;
            total.next = [total.next, sent.next].into_iter().flatten().min();
            if let (true, Some(to)) = (sent.is_waiting, half.to) {
                waits.push((index, to, sent.has_asked));
            }
        }
        let has_room = match &mut slot.socket {
            Socket::Udp(socket) if total.packets > 0 => core::mem::take(&mut socket.wants_room),
            _ => false,
        };
        if has_room {
            self.mark_ready(id);
        }
        let mut asks = false;
        for (index, to, has_asked) in waits {
            match self.wait_for(id, index, to, has_asked) {
                Some(is_asked) => asks |= is_asked,
                None => self.give_up_datagrams(id, index, to),
            }
        }
        self.note_sent(id, total) | asks
    }

    /// Nobody answers there: what is in line goes, and the owner is told.
    fn give_up_datagrams(&mut self, id: SocketId, index: usize, to: IpAddr) {
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        match &mut slot.socket {
            Socket::Udp(socket) => {
                socket.senders.retain(|half| half.interface != index);
                socket.wants_room = false;
                socket.note_error(Error::HostUnreachable, SocketAddr::new(to, 0));
            }
            Socket::Ping(socket) => socket.give_up(index),
            _ => return,
        }
        self.mark_ready(id);
    }

    pub(crate) fn close_udp(&mut self, id: SocketId) -> Result<(), Error> {
        let local = self.udp(id)?.local;
        if let Some(ids) = self.datagrams.get_mut(&local.port()) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.datagrams.remove(&local.port());
            }
        }
        self.slots.remove(id);
        Ok(())
    }

    /// The socket that datagrams to `local` are for: one for that very address before others.
    pub(crate) fn find_datagram(&self, local: SocketAddr) -> Option<SocketId> {
        let ids = self.datagrams.get(&local.port())?;
        let is_for_all = !is_unicast(local.ip());
        ids.iter()
            .filter_map(|id| self.udp(*id).ok().map(|socket| (*id, socket.local)))
            .filter(|(_, bound)| is_for(*bound, local.ip()) || is_for_all)
            .min_by_key(|(_, bound)| (bound.ip().is_unspecified(), bound.is_ipv6()))
            .map(|(id, _)| id)
    }

    /// The largest datagram that an interface can carry to an address of that family.
    fn datagram_max(&self, index: usize, to: IpAddr) -> usize {
        let mtu = self.ports.get(index).map_or(0, |port| port.mtu);
        match to {
            IpAddr::V4(_) => mtu.max(FRAGMENTED_MAX) - 20 - 8,
            IpAddr::V6(_) => mtu.saturating_sub(40 + 8),
        }
    }

    /// The socket of the engine for an interface and a direction, made if need be.
    fn udp_half(
        &mut self,
        id: SocketId,
        index: usize,
        direction: Direction,
    ) -> Result<&mut Half, Error> {
        if half(&mut self.slots, id, index, direction).is_none() {
            let socket = self.udp_mut(id)?;
            let (used, unused) = (buffer(socket.space)?, buffer((0, 0))?);
            let mut engine = match direction {
                Direction::Receive => Engine::new(used, unused),
                Direction::Send => Engine::new(unused, used),
            };
            let endpoint = IpListenEndpoint {
                addr: None,
                port: socket.local.port(),
            };
            engine.bind(endpoint).map_err(|_| Error::BadArgument)?;
            let halves = match direction {
                Direction::Receive => &mut socket.receivers,
                Direction::Send => &mut socket.senders,
            };
            halves.push(Half::new(index, engine));
        }
        half(&mut self.slots, id, index, direction).ok_or(Error::BadSocket)
    }

    fn udp(&self, id: SocketId) -> Result<&Udp, Error> {
        match &self.slots.get(id).ok_or(Error::BadSocket)?.socket {
            Socket::Udp(socket) => Ok(socket),
            _ => Err(Error::BadSocket),
        }
    }

    fn udp_mut(&mut self, id: SocketId) -> Result<&mut Udp, Error> {
        match &mut self.slots.get_mut(id).ok_or(Error::BadSocket)?.socket {
            Socket::Udp(socket) => Ok(socket),
            _ => Err(Error::BadSocket),
        }
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Receive,
    Send,
}

fn half(slots: &mut Slots, id: SocketId, index: usize, direction: Direction) -> Option<&mut Half> {
    let Socket::Udp(socket) = &mut slots.get_mut(id)?.socket else {
        return None;
    };
    let halves = match direction {
        Direction::Receive => &mut socket.receivers,
        Direction::Send => &mut socket.senders,
    };
    halves.iter_mut().find(|half| half.interface == index)
}

fn senders(socket: &mut Socket) -> &mut [Half] {
    match socket {
        Socket::Udp(socket) => &mut socket.senders,
        Socket::Ping(socket) => socket.halves_mut(),
        Socket::Tcp(_) | Socket::Listener(_) => &mut [],
    }
}

fn buffer((bytes, count): (usize, usize)) -> Result<PacketBuffer<'static>, Error> {
    let mut storage = Vec::new();
    storage
        .try_reserve_exact(bytes)
        .map_err(|_| Error::NoMemory)?;
    storage.resize(bytes, 0);
    let mut metadata = Vec::new();
    metadata
        .try_reserve_exact(count)
        .map_err(|_| Error::NoMemory)?;
    metadata.resize(count, PacketMetadata::EMPTY);
    Ok(PacketBuffer::new(metadata, storage))
}

/// For queries and their replies.
const SMALL: (usize, usize) = (8192, 8);
const DHCP_CLIENT: u16 = 68;
/// The largest packet that the engine can cut up (`fragmentation-buffer-size`).
const FRAGMENTED_MAX: usize = 16_384;
