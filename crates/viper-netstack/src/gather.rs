//! Segments of one stream that come right one after the other, made into one.
//!
//! Most of what a segment costs does not depend on how much it carries: to find its connection, to
//! judge it, to answer it. A card hands over what it has received in one go, and in a stream each
//! segment continues the one before it, as each acknowledgement says what the one before it said
//! and more. Only what is so plain that nothing is lost by it is put together: what is expected
//! next, with headers that differ in their lengths, sums, numbers and the PUSH flag alone.

use alloc::vec::Vec;
use core::net::IpAddr;

use smoltcp::wire::{Ipv4Packet, Ipv6Packet, TcpPacket};

use crate::checksum::{is_header_intact, is_intact};
use crate::frame::{Packet, Segment, TCP, ip, segment, word};
use crate::{SocketId, Sum};

/// The data of segments that follow each other, behind the headers of the first; or the last of
/// several acknowledgements.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    /// What it is for, while there is something.
    to: Option<Stream>,
    frame: Vec<u8>,
}

/// What all segments have in common, and what the next one begins with.
#[derive(Clone, Copy, Debug)]
struct Stream {
    interface: usize,
    id: SocketId,
    ip_at: usize,
    tcp_at: usize,
    source: IpAddr,
    destination: IpAddr,
    last: Segment,
    has_many: bool,
}

/// What was gathered. Give the frame back with [`Gather::recycle`].
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) id: SocketId,
    pub(crate) frame: Vec<u8>,
    /// Where in the frame the packet begins.
    pub(crate) packet_at: usize,
    /// It is the data of more than one segment.
    pub(crate) has_many: bool,
}

impl Gather {
    /// Begins with a segment; `false` if it is not plain enough, or if what was gathered before has
    /// not been taken. The packet begins at `ip_at` in the frame.
    pub(crate) fn begin(
        &mut self,
        interface: usize,
        id: SocketId,
        (frame, ip_at): (&[u8], usize),
        packet: &Packet<'_>,
        segment: &Segment,
        sum: Option<Sum>,
    ) -> bool {
        let ip_len = match packet.source {
            IpAddr::V4(_) => IPV4_LEN,
            IpAddr::V6(_) => IPV6_LEN,
        };
        let is_worth_it = segment.len >= WORTH_MIN || segment.is_bare();
        if self.to.is_some() || !is_worth_it || !is_plain(packet, segment, ip_len) {
            return false;
        }
        // The engine will see another sum, which is right.
        if !is_header_whole(frame, ip_at, packet, sum) {
            return false;
        }
        let tcp_at = ip_at + ip_len;
        // What lies behind the packet is padding.
        let Some(frame) = frame.get(..tcp_at + packet.payload.len()) else {
            return false;
        };
        if self.frame.try_reserve(LEN_MAX.max(frame.len())).is_err() {
            return false;
        }
        self.frame.extend_from_slice(frame);
        self.to = Some(Stream {
            interface,
            id,
            ip_at,
            tcp_at,
            source: packet.source,
            destination: packet.destination,
            last: *segment,
            has_many: false,
        });
        true
    }

    /// Adds a frame that continues what was gathered; `false` if it does not, or if anything about
    /// it is not as it was before.
    pub(crate) fn add(
        &mut self,
        interface: usize,
        frame: &[u8],
        is_checked: bool,
        sum: Option<Sum>,
    ) -> bool {
        let Some(stream) = &mut self.to else {
            return false;
        };
        let (ip_at, tcp_at) = (stream.ip_at, stream.tcp_at);
        if interface != stream.interface || frame.get(..ip_at) != self.frame.get(..ip_at) {
            return false;
        }
        let Some(packet) = frame.get(ip_at..).and_then(ip) else {
            return false;
        };
        let Some(segment) = segment(packet.payload) else {
            return false;
        };
        let end = tcp_at + packet.payload.len();
        // Version, header length and class; and the ports.
        let is_alike = |at: usize| word(frame, at) == word(&self.frame, at);
        let continues = is_plain(&packet, &segment, tcp_at - ip_at)
            && (packet.source, packet.destination) == (stream.source, stream.destination)
            && is_alike(ip_at)
            && is_alike(tcp_at)
            && is_alike(tcp_at + 2)
            && (stream.is_continued_by(&segment) || stream.is_replaced_by(&segment))
            && self.frame.len() + segment.len as usize <= LEN_MAX;
        let is_whole = || {
            is_header_whole(frame, ip_at, &packet, sum) && (is_checked || is_intact(&packet, sum))
        };
        if !continues || !is_whole() {
            return false;
        }
        let from = if segment.is_bare() {
            self.frame.clear();
            0
        } else {
            stream.has_many = true;
            tcp_at + TCP_LEN
        };
        // It is not longer than what was reserved.
        self.frame
            .extend_from_slice(frame.get(from..end).unwrap_or(&[]));
        stream.last = Segment {
            flags: stream.last.flags | segment.flags,
            ..segment
        };
        true
    }

    /// What was gathered, if anything was.
    pub(crate) fn finish(&mut self) -> Option<Gathered> {
        let stream = self.to.take()?;
        let mut frame = core::mem::take(&mut self.frame);
        let packet = frame.get_mut(stream.ip_at..)?;
        let ip_len = stream.tcp_at - stream.ip_at;
        // It is no longer than `LEN_MAX`, or one packet.
        let len = packet.len() as u16;
        if ip_len == IPV4_LEN {
            let mut packet = Ipv4Packet::new_unchecked(&mut *packet);
            packet.set_total_len(len);
            packet.fill_checksum();
        } else {
            Ipv6Packet::new_unchecked(&mut *packet).set_payload_len(len - ip_len as u16);
        }
        TcpPacket::new_unchecked(packet.get_mut(ip_len..)?).set_psh(stream.last.has(Segment::PSH));
        Some(Gathered {
            id: stream.id,
            frame,
            packet_at: stream.ip_at,
            has_many: stream.has_many,
        })
    }

    /// Keeps the memory of a frame for the next.
    pub(crate) fn recycle(&mut self, mut frame: Vec<u8>) {
        frame.clear();
        self.frame = frame;
    }
}

impl Stream {
    /// Whether a segment is the data that follows.
    fn is_continued_by(&self, next: &Segment) -> bool {
        self.last.len > 0
            && next.len > 0
            && next.sequence == self.last.end()
            && next.acknowledgement == self.last.acknowledgement
            && next.window == self.last.window
    }

    /// Whether a segment acknowledges more than the last, and nothing else is in either. One that
    /// acknowledges the same says something by that (RFC 5681, 3.2), as do windows then.
    fn is_replaced_by(&self, next: &Segment) -> bool {
        let newly = next.acknowledgement.wrapping_sub(self.last.acknowledgement);
        self.last.is_bare()
            && next.is_bare()
            && next.sequence == self.last.sequence
            && newly.cast_signed() > 0
    }
}

/// Whether a packet is data or an acknowledgement and nothing else: no options, no other flags.
fn is_plain(packet: &Packet<'_>, segment: &Segment, ip_len: usize) -> bool {
    packet.protocol == TCP
        && packet.fragment.is_none()
        && packet.payload_at == ip_len
        && packet.payload.len() == TCP_LEN + segment.len as usize
        && segment.flags & !Segment::PSH == Segment::ACK
}

/// Whether the checksum of the IP header is right, if there is one.
fn is_header_whole(frame: &[u8], ip_at: usize, packet: &Packet<'_>, sum: Option<Sum>) -> bool {
    let header = || frame.get(ip_at..)?.first_chunk::<IPV4_LEN>();
    match packet.source {
        IpAddr::V4(_) => header().is_some_and(|header| is_header_intact(header, sum)),
        IpAddr::V6(_) => true,
    }
}

const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const TCP_LEN: usize = 20;
/// Less data than this is not worth being copied.
const WORTH_MIN: u32 = 256;
/// The longest frame that is made. The peer gets its answer, and goes on, before a whole window
/// of data has been gathered.
const LEN_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::fill;
    use crate::checksum::tests::plain as sum;

    const DATA: usize = 400;

    /// The segment number `n` of a stream, in a frame, with its sums right.
    fn frame(n: u32, is_ipv6: bool) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        let len = (TCP_LEN + DATA) as u16;
        if is_ipv6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(len.to_be_bytes());
            frame.extend([TCP, 64]);
            frame.extend([0xfd; 31]);
            frame.push(1);
        } else {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((len + 20).to_be_bytes());
            frame.extend([0, n as u8, 0x40, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        }
        frame.extend([0, 80, 0, 81]);
        frame.extend((u32::MAX - 500).wrapping_add(n * DATA as u32).to_be_bytes());
        frame.extend([5, 6, 7, 8, 0x50, Segment::ACK, 1, 0, 0, 0, 0, 0]);
        frame.extend((0..DATA).map(|at| at as u8 ^ n as u8));
        mend(&mut frame);
        frame
    }

    /// Puts the sums right.
    fn mend(frame: &mut [u8]) {
        let packet = &mut frame[14..];
        if packet[0] >> 4 == 4 {
            Ipv4Packet::new_unchecked(&mut *packet).fill_checksum();
        }
        if let Some(at) = ip(packet).map(|packet| packet.payload_at) {
            packet[at + 16..at + 18].fill(0);
            fill(packet, sum);
        }
    }

    fn begun(is_ipv6: bool) -> Gather {
        let mut gather = Gather::default();
        let first = frame(0, is_ipv6);
        let packet = ip(&first[14..]).unwrap();
        let segment = segment(packet.payload).unwrap();
        assert!(gather.begin(
            1,
            SocketId::from_bits(7),
            (&first, 14),
            &packet,
            &segment,
            None
        ));
        gather
    }

    #[test]
    fn what_continues_is_put_together() {
        for is_ipv6 in [false, true] {
            let mut gather = begun(is_ipv6);
            for n in 1..5 {
                assert!(gather.add(1, &frame(n, is_ipv6), false, Some(sum)));
            }
            let gathered = gather.finish().unwrap();
            assert!(gathered.has_many);
            let whole = gathered.frame;
            let packet = ip(&whole[gathered.packet_at..]).unwrap();
            let segment = segment(packet.payload).unwrap();
            assert_eq!(segment.len as usize, 5 * DATA);
            let data = |n| frame(n, is_ipv6)[whole.len() - 5 * DATA..].to_vec();
            let expected: Vec<u8> = (0..5).flat_map(data).collect();
            assert!(whole.ends_with(&expected));
            assert!(gather.finish().is_none());
        }
    }

    /// An acknowledgement of `number`, from the same peer.
    fn bare(number: u32, is_ipv6: bool) -> Vec<u8> {
        let mut bare = frame(0, is_ipv6);
        bare.truncate(bare.len() - DATA);
        if is_ipv6 {
            bare[18..20].copy_from_slice(&20_u16.to_be_bytes());
        } else {
            bare[16..18].copy_from_slice(&40_u16.to_be_bytes());
        }
        let at = bare.len() - 12;
        bare[at..at + 4].copy_from_slice(&number.to_be_bytes());
        mend(&mut bare);
        // As short frames are.
        bare.resize(bare.len().max(60), 0);
        bare
    }

    #[test]
    fn the_last_acknowledgement_stands_for_all() {
        for is_ipv6 in [false, true] {
            let first = bare(u32::MAX - 1000, is_ipv6);
            let packet = ip(&first[14..]).unwrap();
            let segment_of = |frame: &[u8]| segment(ip(&frame[14..]).unwrap().payload).unwrap();
            let mut gather = Gather::default();
            let id = SocketId::from_bits(7);
            assert!(gather.begin(1, id, (&first, 14), &packet, &segment_of(&first), None));
            let next = bare(600, is_ipv6);
            assert!(gather.add(1, &next, false, Some(sum)));
            // Twice the same, one that was overtaken, and data.
            for other in [next.clone(), bare(599, is_ipv6), frame(0, is_ipv6)] {
                assert!(!gather.add(1, &other, false, Some(sum)));
            }
            let gathered = gather.finish().unwrap();
            assert!(!gathered.has_many);
            assert!(next.starts_with(&gathered.frame));
            assert_eq!(segment_of(&gathered.frame).acknowledgement, 600);
            // It does not follow data, either.
            assert!(!begun(is_ipv6).add(1, &next, false, Some(sum)));
        }
    }

    #[test]
    fn padding_is_no_data() {
        let mut padded = frame(0, false);
        padded.extend([9; 4]);
        let packet = ip(&padded[14..]).unwrap();
        let segment_of = segment(packet.payload).unwrap();
        let mut gather = Gather::default();
        assert!(gather.begin(
            1,
            SocketId::from_bits(7),
            (&padded, 14),
            &packet,
            &segment_of,
            None
        ));
        let mut padded = frame(1, false);
        padded.extend([9; 4]);
        assert!(gather.add(1, &padded, false, None));
        let whole = gather.finish().unwrap().frame;
        let packet = ip(&whole[14..]).unwrap();
        assert_eq!(packet.payload.len(), TCP_LEN + 2 * DATA);
        assert!(whole.ends_with(&frame(1, false)[54..]));
    }

    #[test]
    fn it_ends_before_it_is_too_long() {
        let mut gather = begun(false);
        let count = (1..)
            .take_while(|n| gather.add(1, &frame(*n, false), false, None))
            .count();
        let whole = gather.finish().unwrap().frame;
        assert_eq!(whole.len(), frame(0, false).len() + count * DATA);
        assert!(whole.len() <= LEN_MAX && whole.len() + DATA > LEN_MAX);
    }

    #[test]
    fn a_first_header_with_a_wrong_sum_is_left_to_the_engine() {
        for sum in [Some(sum as Sum), None] {
            let mut first = frame(0, false);
            // Its lifetime: the sum of TCP does not know of it.
            first[22] ^= 1;
            let packet = ip(&first[14..]).unwrap();
            let segment = segment(packet.payload).unwrap();
            let id = SocketId::from_bits(7);
            let mut gather = Gather::default();
            assert!(!gather.begin(1, id, (&first, 14), &packet, &segment, sum));
        }
    }

    #[test]
    fn what_is_damaged_is_not() {
        for is_ipv6 in [false, true] {
            let mut gather = begun(is_ipv6);
            let good = frame(1, is_ipv6);
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                // Nothing guards the flow label and the hop limit of IPv6.
                if is_ipv6 && [16, 17, 21].contains(&(bit / 8)) {
                    continue;
                }
                for sum in [Some(sum as Sum), None] {
                    assert!(!gather.add(1, &bad, false, sum), "bit {bit}");
                }
            }
            for len in 0..good.len() {
                assert!(!gather.add(1, &good[..len], true, None));
            }

            assert!(!gather.add(2, &good, false, None));
            assert!(gather.add(1, &good, false, None));
        }
    }

    #[test]
    fn nothing_but_numbers_and_sums_may_differ() {
        for is_ipv6 in [false, true] {
            let headers = frame(1, is_ipv6).len() - DATA;
            let tcp = headers - TCP_LEN;
            for bit in 0..headers * 8 {
                let mut other = frame(1, is_ipv6);
                other[bit / 8] ^= 1 << (bit % 8);
                mend(&mut other);
                let may_differ = match (bit / 8, is_ipv6) {
                    // Identification and lifetime; and sums, which are mended.
                    (18 | 19 | 22 | 24 | 25, false) | (16 | 17 | 21, true) => true,
                    // How long it is: what is behind is padding then.
                    (16 | 17, false) | (18 | 19, true) => {
                        let packet = ip(&other[14..]);
                        packet.is_some_and(|packet| packet.payload.len() > TCP_LEN)
                    }
                    // Whether it may be made into fragments.
                    (20, false) => bit % 8 >= 6,
                    (at, _) if at == tcp + 16 || at == tcp + 17 => true,
                    (at, _) if at == tcp + 13 => 1 << (bit % 8) == Segment::PSH,
                    // The urgent pointer means nothing without its flag; and what was reserved.
                    (at, _) if at >= tcp + 18 => true,
                    (at, _) if at == tcp + 12 => bit % 8 < 4,
                    _ => false,
                };
                let is_added = begun(is_ipv6).add(1, &other, false, Some(sum));
                assert_eq!(is_added, may_differ, "bit {} of byte {}", bit % 8, bit / 8);
            }
        }
    }
}
