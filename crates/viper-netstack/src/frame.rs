//! Looks at a frame far enough to know whom it is for.
//!
//! Nothing here is trusted afterwards: the engine parses the frame again and checks everything.
//! What this decides is only which socket the engine is shown, and which frames it never sees
//! because nothing good can come of them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An IP packet, as its header describes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) hop_limit: u8,
    pub(crate) payload: &'a [u8],
    pub(crate) fragment: Option<Fragment>,
    /// Where the payload begins, behind the headers of IP.
    pub(crate) payload_at: usize,
}

/// Where an IPv4 fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) id: u16,
    pub(crate) is_first: bool,
}

/// The parts of a TCP header that decide where a segment goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// Payload bytes, and one for each of SYN and FIN.
    pub(crate) len: u32,
}

impl Segment {
    pub(crate) const FIN: u8 = 1;
    pub(crate) const SYN: u8 = 2;
    pub(crate) const RST: u8 = 4;
    pub(crate) const PSH: u8 = 8;
    pub(crate) const ACK: u8 = 16;

    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Nothing but an acknowledgement.
    pub(crate) const fn is_bare(&self) -> bool {
        self.len == 0 && self.flags & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::ACK
    }

    /// A request to connect: SYN without ACK, RST or FIN.
    pub(crate) const fn is_request(&self) -> bool {
        self.flags & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }
}

/// What an Ethernet frame carries.
pub(crate) enum Carried<'a> {
    Ip(&'a [u8]),
    Arp,
    Other,
}

/// Takes the Ethernet header off.
pub(crate) fn ethernet(frame: &[u8]) -> Carried<'_> {
    let (Some(kind), Some(payload)) = (word(frame, 12), frame.get(ETHERNET_LEN..)) else {
        return Carried::Other;
    };
    match kind {
        0x0800 | 0x86dd => Carried::Ip(payload),
        0x0806 => Carried::Arp,
        _ => Carried::Other,
    }
}

/// Who sent an ARP message, or so it says.
pub(crate) fn arp_sender(frame: &[u8]) -> Option<IpAddr> {
    let sender: &[u8; 4] = frame.get(ETHERNET_LEN + 14..)?.first_chunk()?;
    Some(IpAddr::V4(Ipv4Addr::from(*sender)))
}

/// Reads the IP header of `bytes`, and a hop-by-hop header if there is one.
pub(crate) fn ip(bytes: &[u8]) -> Option<Packet<'_>> {
    match bytes.first()? >> 4 {
        4 => ipv4(bytes),
        6 => ipv6(bytes),
        _ => None,
    }
}

fn ipv4(bytes: &[u8]) -> Option<Packet<'_>> {
    let header: &[u8; 20] = bytes.first_chunk()?;
    let header_len = usize::from(header[0] & 15) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header_len < 20 || total_len < header_len {
        return None;
    }
    let payload = bytes.get(header_len..total_len)?;
    let position = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    let fragment = (position != 0).then(|| Fragment {
        id: u16::from_be_bytes([header[4], header[5]]),
        is_first: position & 0x1fff == 0,
    });
    Some(Packet {
        source: IpAddr::V4(Ipv4Addr::new(
            header[12], header[13], header[14], header[15],
        )),
        destination: IpAddr::V4(Ipv4Addr::new(
            header[16], header[17], header[18], header[19],
        )),
        protocol: header[9],
        hop_limit: header[8],
        payload,
        fragment,
        payload_at: header_len,
    })
}

fn ipv6(bytes: &[u8]) -> Option<Packet<'_>> {
    let (header, rest) = bytes.split_first_chunk::<40>()?;
    let address = |at: usize| {
        let octets: Option<[u8; 16]> = header.get(at..at + 16)?.try_into().ok();
        octets.map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
    };
    let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let mut payload = rest.get(..payload_len)?;
    let mut protocol = header[6];
    if protocol == HOP_BY_HOP {
        let (next, len) = (*payload.first()?, *payload.get(1)?);
        protocol = next;
        payload = payload.get(8 + usize::from(len) * 8..)?;
    }
    Some(Packet {
        source: address(8)?,
        destination: address(24)?,
        protocol,
        hop_limit: header[7],
        payload,
        fragment: None,
        payload_at: 40 + rest.len().min(payload_len) - payload.len(),
    })
}

/// The source and destination port that TCP and UDP have in the same place.
pub(crate) fn ports(payload: &[u8]) -> Option<(u16, u16)> {
    Some((word(payload, 0)?, word(payload, 2)?))
}

/// Reads the TCP header that `payload` begins with.
pub(crate) fn segment(payload: &[u8]) -> Option<Segment> {
    let header: &[u8; 20] = payload.first_chunk()?;
    let header_len = usize::from(header[12] >> 4) * 4;
    if header_len < 20 {
        return None;
    }
    let data_len = payload.len().checked_sub(header_len)?;
    let flags = header[13];
    let phantom = u32::from(flags & Segment::SYN != 0) + u32::from(flags & Segment::FIN != 0);
    Some(Segment {
        sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        acknowledgement: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
        flags,
        window: u16::from_be_bytes([header[14], header[15]]),
        len: data_len as u32 + phantom,
    })
}

impl Packet<'_> {
    /// Our end and the peer's end, of a packet that came to us.
    pub(crate) fn ends(&self, ports: (u16, u16)) -> (SocketAddr, SocketAddr) {
        (
            SocketAddr::new(self.destination, ports.1),
            SocketAddr::new(self.source, ports.0),
        )
    }
}

pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*pair))
}

pub(crate) const ETHERNET_LEN: usize = 14;
pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;
