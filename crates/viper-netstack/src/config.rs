//! What a caller chooses when it makes a stack, an interface or a connection.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::{Cidr, Sum};

/// The limits and habits of a whole stack.
#[derive(Clone, Debug)]
pub struct Config {
    /// How connections are made unless a call says otherwise.
    pub tcp: TcpOptions,
    /// Sockets of all kinds at most, half-open connections included.
    pub sockets_max: usize,
    /// Half-open connections of one listener at most; the oldest makes room for a new one.
    pub half_open_max: usize,
    /// Connections in TIME-WAIT at most; the oldest makes room. They hold no buffers.
    pub time_wait_max: usize,
    /// How long a closed connection is remembered, in nanoseconds.
    pub time_wait_ns: u64,
    /// How long a closed socket may go on sending what it has, in nanoseconds.
    pub linger_ns: u64,
    /// How long a half-open connection may stay so, in nanoseconds.
    pub half_open_ns: u64,
    /// Bytes of received datagrams that one UDP or ping socket keeps per interface.
    pub datagram_bytes: usize,
    /// Received datagrams that one UDP or ping socket keeps per interface.
    pub datagrams_max: usize,
    /// Name servers to ask, before those that DHCP tells.
    pub name_servers: Vec<IpAddr>,
    /// Answers of name servers that are kept at most.
    pub dns_cache_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tcp: TcpOptions::default(),
            sockets_max: 4096,
            half_open_max: 32,
            time_wait_max: 1024,
            time_wait_ns: 30_000_000_000,
            linger_ns: 60_000_000_000,
            half_open_ns: 20_000_000_000,
            datagram_bytes: 65_536,
            datagrams_max: 64,
            name_servers: Vec::new(),
            dns_cache_max: 256,
        }
    }
}

/// How one connection behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// Size of the receive buffer in bytes: the largest window. From 1 KiB to 16 MiB.
    pub receive_bytes: usize,
    /// Size of the send buffer in bytes. From 1 KiB to 16 MiB.
    pub send_bytes: usize,
    /// Whether small writes wait for an acknowledgement (Nagle's algorithm).
    pub nagle: bool,
    /// How long the peer may leave data, or the request to connect, unanswered, in nanoseconds.
    pub timeout_ns: Option<u64>,
    /// After how much silence the peer is asked whether it lives, in nanoseconds.
    pub keep_alive_ns: Option<u64>,
    /// How long an acknowledgement may wait for data to travel with, in nanoseconds.
    pub ack_delay_ns: Option<u64>,
    /// Time to live, or hop limit, of what is sent. 0 means the usual 64.
    pub hop_limit: u8,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            receive_bytes: 65_535,
            send_bytes: 65_535,
            nagle: true,
            timeout_ns: Some(120_000_000_000),
            keep_alive_ns: None,
            ack_delay_ns: Some(10_000_000),
            hop_limit: 0,
        }
    }
}

/// Whether an interface asks for its IPv4 address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dhcp {
    /// No: it has the addresses of its configuration.
    #[default]
    Off,
    /// Yes, and it takes the router and name servers that it is told.
    On,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Medium {
    /// Ethernet frames without their check sequence, from a card with this address.
    Ethernet {
        /// The hardware address.
        mac: [u8; 6],
    },
    /// Bare IP packets.
    Ip,
}

/// One interface.
#[derive(Clone, Debug)]
pub struct InterfaceConfig {
    /// Its name in listings, as `net0`.
    pub name: String,
    /// What its frames are.
    pub medium: Medium,
    /// The largest IP packet in bytes, from 1280 to 65535.
    pub mtu: usize,
    /// Addresses from the start. An Ethernet interface adds its link-local IPv6 address.
    pub addresses: Vec<Cidr>,
    /// Where IPv4 and IPv6 packets for other networks go.
    pub gateways: Vec<IpAddr>,
    /// Whether it asks for an IPv4 address.
    pub dhcp: Dhcp,
    /// Whether it makes itself IPv6 addresses of the prefixes that routers announce (SLAAC).
    pub slaac: bool,
    /// Whether the device fills the TCP and UDP checksums of what is sent; they leave as 0.
    pub checksums_filled: bool,
    /// Whether the device checks the TCP and UDP checksums of what it receives. It says of each
    /// frame whether it did; those that it did not check are checked here.
    pub checksums_checked: bool,
    /// A quick way to add up bytes for the checksums of TCP, if the caller has one.
    pub sum: Option<Sum>,
}

impl InterfaceConfig {
    /// An Ethernet interface that asks for its addresses, with an MTU of 1500.
    pub fn ethernet(name: &str, mac: [u8; 6]) -> Self {
        Self {
            name: name.into(),
            medium: Medium::Ethernet { mac },
            mtu: 1500,
            addresses: Vec::new(),
            gateways: Vec::new(),
            dhcp: Dhcp::On,
            slaac: true,
            checksums_filled: false,
            checksums_checked: false,
            sum: None,
        }
    }

    /// An interface with these addresses, which asks for nothing.
    pub fn fixed(name: &str, medium: Medium, addresses: &[Cidr]) -> Self {
        Self {
            medium,
            addresses: addresses.into(),
            dhcp: Dhcp::Off,
            slaac: false,
            ..Self::ethernet(name, [2, 0, 0, 0, 0, 1])
        }
    }
}
