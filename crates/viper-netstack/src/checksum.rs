//! The checksum of TCP: it is looked at before anything is learned from a segment.

use core::net::IpAddr;

use smoltcp::wire::{IpAddress, Ipv4Packet, TcpPacket, UdpPacket};

use crate::frame::{Packet, TCP, UDP, ip};

/// Adds up the 16-bit words of a byte string in network order, with the carry brought back in
/// (RFC 1071); an odd byte at the end counts as if a zero followed.
pub type Sum = fn(&[u8]) -> u16;

/// Whether the checksum of an IPv4 header is right, one without options.
pub(crate) fn is_header_intact(bytes: &[u8; 20], sum: Option<Sum>) -> bool {
    match sum {
        Some(sum) => sum(bytes) == 0xffff,
        None => Ipv4Packet::new_unchecked(bytes).verify_checksum(),
    }
}

/// Whether the transport checksum of a packet that is no fragment is right.
pub(crate) fn is_intact(packet: &Packet<'_>, sum: Option<Sum>) -> bool {
    let source = IpAddress::from(packet.source);
    let destination = IpAddress::from(packet.destination);
    match (packet.protocol, sum) {
        (TCP, Some(sum)) => whole(packet, sum) == 0xffff,
        (TCP, None) => TcpPacket::new_checked(packet.payload)
            .is_ok_and(|segment| segment.verify_checksum(&source, &destination)),
        (UDP, _) => UdpPacket::new_checked(packet.payload)
            .is_ok_and(|datagram| datagram.verify_checksum(&source, &destination)),
        _ => true,
    }
}

/// Writes the checksum of a packet of TCP, whose field is 0, into `bytes`.
pub(crate) fn fill(bytes: &mut [u8], sum: Sum) {
    let Some(packet) = ip(bytes).filter(|packet| packet.protocol == TCP) else {
        return;
    };
    let (checksum, at) = (!whole(&packet, sum), packet.payload_at + CHECKSUM_AT);
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
}

/// The sum over the pseudo header and the segment.
fn whole(packet: &Packet<'_>, sum: Sum) -> u16 {
    let address = |address| match address {
        IpAddr::V4(address) => (u32::from(address) >> 16) + (u32::from(address) & 0xffff),
        IpAddr::V6(address) => address.segments().map(u32::from).iter().sum(),
    };
    let len = packet.payload.len() as u32;
    let parts = [
        address(packet.source),
        address(packet.destination),
        u32::from(packet.protocol),
        len >> 16,
        len & 0xffff,
        sum(packet.payload).into(),
    ];
    let total: u32 = parts.iter().sum();
    let folded = (total & 0xffff) + (total >> 16);
    (folded + (folded >> 16)) as u16
}

const CHECKSUM_AT: usize = 16;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plain(bytes: &[u8]) -> u16 {
        let half = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        let mut sum: u32 = bytes.chunks(2).map(half).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// A packet of TCP from 10.0.0.1 to 10.0.0.2, and one of IPv6, with `len` bytes of data.
    fn packets(len: usize) -> [Vec<u8>; 2] {
        let data: Vec<u8> = (0..len).map(|n| (n * 7) as u8).collect();
        let total = (20 + len) as u16;
        let mut four = vec![0x45, 0];
        four.extend((total + 20).to_be_bytes());
        four.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let mut six = vec![0x60, 0, 0, 0];
        six.extend(total.to_be_bytes());
        six.extend([6, 64]);
        six.extend([0xfd; 31]);
        six.push(1);
        [four, six].map(|mut packet| {
            packet.extend([
                0, 80, 0, 81, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 16, 1, 0, 0, 0, 0, 0,
            ]);
            packet.extend(&data);
            packet
        })
    }

    #[test]
    fn what_is_filled_is_intact_and_one_bit_less_is_not() {
        for len in [0, 1, 2, 3, 536, 1441, 1460] {
            for mut packet in packets(len) {
                fill(&mut packet, plain);
                for sum in [Some(plain as Sum), None] {
                    assert!(is_intact(&ip(&packet).unwrap(), sum), "{len}");
                }
                let from = ip(&packet).unwrap().payload_at;
                for at in from..packet.len() {
                    packet[at] ^= 4;
                    for sum in [Some(plain as Sum), None] {
                        assert!(!is_intact(&ip(&packet).unwrap(), sum), "{len}, {at}");
                    }
                    packet[at] ^= 4;
                }
            }
        }
    }
}
