//! The table of sockets, and the names that callers know them by.

use alloc::vec::Vec;
use core::net::IpAddr;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::{AnySocket, Socket as EngineSocket};

use crate::listener::Listener;
use crate::ping::Ping;
use crate::tcp::Tcp;
use crate::udp::Udp;

/// The name of a socket. It is never given to another one while the stack lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId {
    index: u32,
    generation: u32,
}

impl SocketId {
    /// The name as a number, to keep where only numbers go.
    pub const fn to_bits(self) -> u64 {
        ((self.generation as u64) << 32) | self.index as u64
    }

    /// The name that [`to_bits`](Self::to_bits) gave. Any number is a name, though of nothing.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// A socket of the engine in a set of its own, so that the engine never searches.
pub(crate) struct Half {
    pub(crate) interface: usize,
    pub(crate) set: SocketSet<'static>,
    /// Whom the last datagram was for.
    pub(crate) to: Option<IpAddr>,
    handle: SocketHandle,
}

impl Half {
    pub(crate) fn new(interface: usize, socket: impl AnySocket<'static>) -> Self {
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Self {
            interface,
            set,
            to: None,
            handle,
        }
    }

    /// Whether the socket sends datagrams, which may need more than one packet.
    pub(crate) fn is_datagram(&self) -> bool {
        self.set
            .iter()
            .all(|(_, socket)| !matches!(socket, EngineSocket::Tcp(_)))
    }

    /// Forgets what the set knew about the peer of the socket before.
    pub(crate) fn renew(mut self, interface: usize) -> Self {
        match self.set.remove(self.handle) {
            EngineSocket::Tcp(socket) => self.handle = self.set.add(socket),
            EngineSocket::Udp(socket) => self.handle = self.set.add(socket),
            EngineSocket::Icmp(socket) => self.handle = self.set.add(socket),
            EngineSocket::Dhcpv4(socket) => self.handle = self.set.add(socket),
        }
        self.interface = interface;
        self
    }

    pub(crate) fn get<T: AnySocket<'static>>(&self) -> &T {
        self.set.get(self.handle)
    }

    pub(crate) fn get_mut<T: AnySocket<'static>>(&mut self) -> &mut T {
        self.set.get_mut(self.handle)
    }
}

/// What a slot holds.
#[expect(clippy::large_enum_variant, reason = "most sockets are TCP's")]
pub(crate) enum Socket {
    Tcp(Tcp),
    Listener(Listener),
    Udp(Udp),
    Ping(Ping),
}

/// A socket with what the poll loop keeps about it.
pub(crate) struct Slot {
    pub(crate) socket: Socket,
    /// Used by the stack itself, and not told to callers.
    pub(crate) is_internal: bool,
    /// In the list of changed sockets.
    pub(crate) is_ready: bool,
    /// In the list of sockets that may have something to send.
    pub(crate) is_dirty: bool,
    /// In the list of sockets that wait for a neighbour's hardware address.
    pub(crate) is_waiting: bool,
    /// The earliest time at which the timers will name this socket.
    pub(crate) armed: Option<u64>,
}

/// All sockets.
#[derive(Default)]
pub(crate) struct Slots {
    slots: Vec<(u32, Option<Slot>)>,
    free: Vec<u32>,
    len: usize,
}

impl Slots {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, socket: Socket) -> SocketId {
        let slot = Slot {
            socket,
            is_internal: false,
            is_ready: false,
            is_dirty: false,
            is_waiting: false,
            armed: None,
        };
        self.len += 1;
        if let Some(index) = self.free.pop()
            && let Some((generation, place)) = self.slots.get_mut(index as usize)
        {
            *place = Some(slot);
            return SocketId {
                index,
                generation: *generation,
            };
        }
        let index = self.slots.len() as u32;
        self.slots.push((1, Some(slot)));
        SocketId {
            index,
            generation: 1,
        }
    }

    pub(crate) fn remove(&mut self, id: SocketId) -> Option<Slot> {
        let (generation, place) = self.slots.get_mut(id.index as usize)?;
        if *generation != id.generation {
            return None;
        }
        let slot = place.take()?;
        self.len -= 1;
        // A place whose names are used up is not used again.
        if let Some(next) = generation.checked_add(1) {
            *generation = next;
            self.free.push(id.index);
        }
        Some(slot)
    }

    pub(crate) fn get(&self, id: SocketId) -> Option<&Slot> {
        let (generation, slot) = self.slots.get(id.index as usize)?;
        if *generation == id.generation {
            slot.as_ref()
        } else {
            None
        }
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut Slot> {
        let (generation, slot) = self.slots.get_mut(id.index as usize)?;
        if *generation == id.generation {
            slot.as_mut()
        } else {
            None
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SocketId, &Slot)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(index, (generation, slot))| {
                let id = SocketId {
                    index: index as u32,
                    generation: *generation,
                };
                slot.as_ref().map(|slot| (id, slot))
            })
    }

    pub(crate) fn tcp_mut(&mut self, id: SocketId) -> Option<&mut Tcp> {
        match &mut self.get_mut(id)?.socket {
            Socket::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    pub(crate) fn tcp(&self, id: SocketId) -> Option<&Tcp> {
        match &self.get(id)?.socket {
            Socket::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    pub(crate) fn listener_mut(&mut self, id: SocketId) -> Option<&mut Listener> {
        match &mut self.get_mut(id)?.socket {
            Socket::Listener(listener) => Some(listener),
            _ => None,
        }
    }
}
