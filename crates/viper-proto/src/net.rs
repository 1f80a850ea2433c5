//! The network service (`NETD:`): sockets, names and what there is to know of the interfaces.
//!
//! Messages make and end sockets; data never goes through them. A socket has memory with two byte
//! rings ([`viper_rt::ring`]) and two events: `wake` is signalled for its owner, `bell` by its
//! owner. Programs use [`client`], which does all that.

pub mod client;
pub mod datagram;
pub mod rules;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use viper_rt::handle::{Event, Memory, Process};
use viper_rt::message::{Bytes, List};
use viper_rt::message_struct;
use viper_rt::ring::{self, Place};

/// Most addresses that a name is resolved to.
pub const ADDRESSES_MAX: usize = 8;
/// Bits of a socket's events.
pub mod bits {
    /// There is something to read, or the end of it.
    pub const READ: u32 = 1;
    /// There is room to write.
    pub const WRITE: u32 = 2;
    /// Both: the state of the socket has changed.
    pub const ALL: u32 = READ | WRITE;
}

/// Where a socket's memory holds its status, see [`status`].
pub const STATUS_AT: usize = 2 * ring::HEADER_BYTES;
/// Where a socket's data begins.
pub const DATA_AT: usize = 4096;

/// The status word of a socket. Negative: the error that ended it.
pub mod status {
    /// A connection that is being made.
    pub const CONNECTING: i32 = 0;
    /// Works.
    pub const OPEN: i32 = 1;
}

/// The place of one of a socket's rings: 0 is written by its first end, 1 by its second.
#[must_use]
pub const fn ring_place(index: usize, ring_bytes: u32) -> Place {
    Place {
        header: index * ring::HEADER_BYTES,
        data: DATA_AT + index * ring_bytes as usize,
        len_bytes: ring_bytes,
    }
}

/// Bytes of memory of a socket with two rings of `ring_bytes` each.
#[must_use]
pub const fn memory_bytes(ring_bytes: u32) -> usize {
    DATA_AT + 2 * ring_bytes as usize
}

message_struct! {
    /// An IP address; one of version 4 as the IPv6 address that it maps to (RFC 4291, 2.5.5.2).
    #[derive(Hash, PartialOrd, Ord)]
    pub struct Address {
        /// Its first eight bytes as a big-endian number.
        pub high: u64,
        /// The others.
        pub low: u64,
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Address {
        let v6 = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let number = u128::from(v6);
        Address {
            high: (number >> 64) as u64,
            low: number as u64,
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> IpAddr {
        let number = u128::from(address.high) << 64 | u128::from(address.low);
        Ipv6Addr::from(number).to_canonical()
    }
}

message_struct! {
    /// An address and a port.
    #[derive(Hash, PartialOrd, Ord)]
    pub struct Endpoint {
        /// The address.
        pub address: Address,
        /// The port.
        pub port: u16,
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(at: SocketAddr) -> Endpoint {
        Endpoint {
            address: at.ip().into(),
            port: at.port(),
        }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(at: Endpoint) -> SocketAddr {
        SocketAddr::new(at.address.into(), at.port)
    }
}

/// Nowhere: port 0 of 0.0.0.0.
pub const UNSPECIFIED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

message_struct! {
    /// What a client has to know of a new socket, beside its handles.
    pub struct Link {
        /// Its number in this session.
        pub socket: u32,
        /// Bytes of each of its rings.
        pub ring_bytes: u32,
        /// Whether this is the second end: it writes ring 1 and reads ring 0.
        pub is_second: bool,
        /// Where it is.
        pub local: Endpoint,
        /// Whom it talks to, if that is fixed.
        pub peer: Endpoint,
    }
}

/// What a socket is.
pub mod kind {
    /// A TCP connection.
    pub const TCP: u32 = 1;
    /// A TCP listener.
    pub const LISTENER: u32 = 2;
    /// A UDP socket.
    pub const UDP: u32 = 3;
    /// A socket for ICMP echoes.
    pub const PING: u32 = 4;
}

/// States of TCP connections (RFC 9293, 3.3.2), as [`SocketInfo::state`] numbers them.
pub mod tcp_state {
    /// Closed, or not a TCP socket.
    pub const CLOSED: u32 = 0;
    /// Waits for connections.
    pub const LISTEN: u32 = 1;
    /// Has asked for a connection.
    pub const SYN_SENT: u32 = 2;
    /// Has been asked for one, and has agreed.
    pub const SYN_RECEIVED: u32 = 3;
    /// Open.
    pub const ESTABLISHED: u32 = 4;
    /// This end is done; its end is on the way.
    pub const FIN_WAIT_1: u32 = 5;
    /// This end is done, the other is not.
    pub const FIN_WAIT_2: u32 = 6;
    /// The other end is done, this is not.
    pub const CLOSE_WAIT: u32 = 7;
    /// Both are done at the same time.
    pub const CLOSING: u32 = 8;
    /// Both are done; waits for the last word.
    pub const LAST_ACK: u32 = 9;
    /// Both are done; what is late is let run out.
    pub const TIME_WAIT: u32 = 10;
    /// The names, by number.
    pub const NAMES: [&str; 11] = [
        "CLOSED",
        "LISTEN",
        "SYN-SENT",
        "SYN-RECEIVED",
        "ESTABLISHED",
        "FIN-WAIT-1",
        "FIN-WAIT-2",
        "CLOSE-WAIT",
        "CLOSING",
        "LAST-ACK",
        "TIME-WAIT",
    ];
}

message_struct! {
    /// A socket, for lists.
    pub struct SocketInfo {
        /// See [`kind`].
        pub kind: u32,
        /// See [`tcp_state`].
        pub state: u32,
        /// The process it belongs to; 0 if that has let go of it.
        pub process_id: u64,
        /// Where it is.
        pub local: Endpoint,
        /// Whom it talks to.
        pub peer: Endpoint,
        /// Bytes (or connections, of a listener) that its owner has not taken yet.
        pub receive_queue: u64,
        /// Bytes that the other end has not acknowledged yet.
        pub send_queue: u64,
    }
}

message_struct! {
    /// An interface.
    pub struct InterfaceInfo {
        /// See [`medium`].
        pub medium: u32,
        /// Whether its link is up.
        pub is_up: bool,
        /// Bytes in a packet at most.
        pub mtu: u32,
        /// Its hardware address in the low 48 bits, first byte highest; 0 if it has none.
        pub hardware: u64,
        /// Packets received.
        pub packets_in: u64,
        /// Bytes received.
        pub bytes_in: u64,
        /// Packets sent.
        pub packets_out: u64,
        /// Bytes sent.
        pub bytes_out: u64,
        /// Packets that were dropped, in either direction.
        pub dropped: u64,
    }
}

/// What kind of interface one is.
pub mod medium {
    /// The machine itself.
    pub const LOOPBACK: u32 = 0;
    /// Ethernet.
    pub const ETHERNET: u32 = 1;
}

message_struct! {
    /// An address of an interface.
    pub struct AddressInfo {
        /// Which interface.
        pub interface: u32,
        /// The address.
        pub address: Address,
        /// Bits of it that name the network.
        pub prefix_bits: u32,
        /// See [`origin`].
        pub origin: u32,
    }
}

/// Where an address or route comes from.
pub mod origin {
    /// It is always there.
    pub const FIXED: u32 = 0;
    /// DHCP.
    pub const DHCP: u32 = 1;
    /// A router's advertisement (SLAAC).
    pub const ROUTER: u32 = 2;
}

message_struct! {
    /// A route.
    pub struct RouteInfo {
        /// The network.
        pub network: Address,
        /// Bits of it that count; of the 32 of a version 4 network, if it is one.
        pub prefix_bits: u32,
        /// Who forwards; unspecified if nobody has to.
        pub gateway: Address,
        /// Which interface.
        pub interface: u32,
        /// See [`origin`].
        pub origin: u32,
    }
}

interface! {
    "network" version 1;

    /// The addresses of a name; of an address in text, itself. `NotFound` if it has none.
    1 => retry later resolve(name: Bytes, deadline: u64)
        -> (addresses: List<Address, ADDRESSES_MAX>);
    /// Starts a TCP connection. Its status word tells when it is made, or has failed.
    ///
    /// `NoRight` if this client may not.
    2 => once now tcp_connect(to: Endpoint)
        -> (link: Link, memory: Memory, wake: Event, bell: Event);
    /// Listens for TCP connections. Port 0: one that is free. `wake` is signalled when there are.
    ///
    /// At most `backlog` wait. Needs SIGNAL on the event. `AddressInUse`, `NoRight`.
    3 => once now tcp_listen(at: Endpoint, backlog: u32, wake: Event)
        -> (listener: u32, local: Endpoint);
    /// Takes a connection that waits; `WouldBlock` if none does.
    4 => once now tcp_accept(listener: u32)
        -> (link: Link, memory: Memory, wake: Event, bell: Event);
    /// A socket for UDP. Port 0: one that is free. Its rings hold datagrams, see `datagram`.
    5 => once now udp_bind(at: Endpoint)
        -> (link: Link, memory: Memory, wake: Event, bell: Event);
    /// A socket for ICMP echoes, of version 4 and 6. Its rings hold datagrams whose port is the
    /// echo's sequence number.
    6 => once now ping_open()
        -> (link: Link, memory: Memory, wake: Event, bell: Event);
    /// Ends a socket or listener. A connection is closed once what was written is out, or at once
    /// if `abort`.
    7 => once now close(socket: u32, abort: bool) -> ();
    /// The interface at `index`. `NotFound` behind the last, as in the next four.
    8 => retry now interface_at(index: u32) -> (interface: InterfaceInfo, name: Bytes);
    /// The address at `index`.
    9 => retry now address_at(index: u32) -> (address: AddressInfo);
    /// The route at `index`.
    10 => retry now route_at(index: u32) -> (route: RouteInfo);
    /// The name server at `index`.
    11 => retry now name_server_at(index: u32) -> (address: Address);
    /// The socket at `index`, of all clients.
    12 => retry now socket_at(index: u32) -> (socket: SocketInfo);
    /// Returns when the network has an address, or none will come soon. `NotFound` if there is no
    /// card.
    13 => retry later ready(deadline: u64) -> ();
    /// Tells whose process this client is, for lists of sockets. Needs READ on the process.
    14 => retry now introduce(process: Process) -> ();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in [
            "1.2.3.4",
            "::1",
            "fe80::1234",
            "0.0.0.0",
            "::",
            "255.255.255.255",
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address);
        }
        let at: SocketAddr = "[2001:db8::7]:443".parse().unwrap();
        assert_eq!(SocketAddr::from(Endpoint::from(at)), at);
    }
}
