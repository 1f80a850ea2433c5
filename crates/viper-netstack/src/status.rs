//! What there is to see from outside: lists of sockets and interfaces, and counters.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use smoltcp::socket::tcp;

use crate::slot::{Slot, Socket};
use crate::tcp::Role;
use crate::{Cidr, InterfaceId, Medium, SocketId, Stack};

/// What an interface has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Frames that came in.
    pub frames_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Frames that went out.
    pub frames_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Received frames that nobody could want: malformed, forged, or for somebody else.
    pub receive_drops: u64,
    /// Frames that found no room on their way out.
    pub send_drops: u64,
    /// Connection requests that found the backlog full, or pushed out an older one.
    pub request_drops: u64,
}

/// Where the DHCP client of an interface stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DhcpState {
    /// Not used.
    Off,
    /// Looking for a server, or waiting for its answer.
    Asking,
    /// The interface has an address, which is renewed in time.
    Bound {
        /// Who gave it.
        server: Ipv4Addr,
    },
}

/// An interface as listings show it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InterfaceStatus {
    /// Its name for calls.
    pub id: InterfaceId,
    /// Its name for people.
    pub name: String,
    /// What its frames are.
    pub medium: Medium,
    /// The largest IP packet in bytes.
    pub mtu: usize,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// The default routers, IPv4 and IPv6.
    pub gateways: Vec<IpAddr>,
    /// Where its DHCP client stands.
    pub dhcp: DhcpState,
    /// What it has done.
    pub counters: Counters,
}

/// The states of a TCP connection (RFC 9293, 3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the standard")]
pub enum TcpState {
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

/// What kind of socket a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketKind {
    /// A TCP connection.
    Tcp,
    /// A TCP listener.
    Listener,
    /// A UDP socket.
    Udp,
    /// A socket for echo requests.
    Ping,
}

/// A socket as listings show it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SocketStatus {
    /// Its name for calls.
    pub id: SocketId,
    /// What it is.
    pub kind: SocketKind,
    /// Its own end. A ping socket shows its identifier as the port.
    pub local: SocketAddr,
    /// The other end, of a connection.
    pub remote: Option<SocketAddr>,
    /// The state of a connection or listener.
    pub state: Option<TcpState>,
    /// Bytes that were received and not read yet; connections that wait, of a listener.
    pub receive_queue: usize,
    /// Bytes that the peer has not acknowledged; half-open connections, of a listener.
    pub send_queue: usize,
    /// Whether somebody has it: not so for connections that close, or were not accepted yet.
    pub is_owned: bool,
}

impl Stack {
    /// All interfaces, loopback first.
    pub fn interfaces(&self) -> impl Iterator<Item = InterfaceStatus> {
        self.ports
            .iter()
            .enumerate()
            .map(|(index, port)| InterfaceStatus {
                id: InterfaceId(index as u8),
                name: port.name.clone(),
                medium: port.mac.map_or(Medium::Ip, |mac| Medium::Ethernet { mac }),
                mtu: port.mtu,
                addresses: port.addresses().collect(),
                gateways: port.gateways().collect(),
                dhcp: port.dhcp_state(),
                counters: port.counters,
            })
    }

    /// All sockets, those included that nobody has any more. Connections in TIME-WAIT that
    /// were closed are not listed but counted by [`time_wait_len`](Self::time_wait_len).
    pub fn sockets(&self) -> impl Iterator<Item = SocketStatus> {
        self.slots.iter().map(|(id, slot)| status(id, slot))
    }

    /// How many sockets there are of all kinds.
    pub fn sockets_len(&self) -> usize {
        self.slots.len()
    }

    /// How many closed connections are remembered.
    pub fn time_wait_len(&self) -> usize {
        self.time_wait.len()
    }
}

fn status(id: SocketId, slot: &Slot) -> SocketStatus {
    match &slot.socket {
        Socket::Tcp(connection) => {
            let socket = connection.half.get::<tcp::Socket>();
            SocketStatus {
                id,
                kind: SocketKind::Tcp,
                local: connection.local,
                remote: Some(connection.remote),
                state: Some(state(socket.state())),
                receive_queue: socket.recv_queue(),
                send_queue: socket.send_queue(),
                is_owned: connection.role == Role::Owned,
            }
        }
        Socket::Listener(listener) => SocketStatus {
            id,
            kind: SocketKind::Listener,
            local: listener.local,
            remote: None,
            state: Some(TcpState::Listen),
            receive_queue: listener.queue.len(),
            send_queue: listener.half_open.len(),
            is_owned: true,
        },
        Socket::Udp(socket) => SocketStatus {
            id,
            kind: SocketKind::Udp,
            local: socket.local,
            remote: None,
            state: None,
            receive_queue: socket.queues().0,
            send_queue: socket.queues().1,
            is_owned: true,
        },
        Socket::Ping(socket) => SocketStatus {
            id,
            kind: SocketKind::Ping,
            local: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), socket.ident),
            remote: None,
            state: None,
            receive_queue: socket.receive_queue(),
            send_queue: 0,
            is_owned: true,
        },
    }
}

pub(crate) fn state(state: tcp::State) -> TcpState {
    match state {
        tcp::State::Closed => TcpState::Closed,
        tcp::State::Listen => TcpState::Listen,
        tcp::State::SynSent => TcpState::SynSent,
        tcp::State::SynReceived => TcpState::SynReceived,
        tcp::State::Established => TcpState::Established,
        tcp::State::FinWait1 => TcpState::FinWait1,
        tcp::State::FinWait2 => TcpState::FinWait2,
        tcp::State::CloseWait => TcpState::CloseWait,
        tcp::State::Closing => TcpState::Closing,
        tcp::State::LastAck => TcpState::LastAck,
        tcp::State::TimeWait => TcpState::TimeWait,
    }
}
