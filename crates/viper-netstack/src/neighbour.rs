//! Hardware addresses that are not known yet.
//!
//! The engine asks for one of them a second, whichever it is; that is too slow for a host that
//! comes up and wants its router and its name server. So who waits is written down here, and
//! asked for here if the engine does not. Who does not answer is given up after a while.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    HardwareAddress, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr, NdiscRepr,
};

use crate::frame::ETHERNET_LEN;
use crate::interface::Port;
use crate::{SocketId, Stack};

/// Neighbours that have been asked for.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    asked: Vec<Asked>,
    /// Sockets that wait for one of them.
    waiting: Vec<SocketId>,
    /// What was said last of which there is reason for doubt.
    doubted: Option<[u8; 10]>,
}

#[derive(Debug)]
struct Asked {
    address: IpAddr,
    times: u8,
    last: u64,
}

/// What is to be done about a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ask,
    Wait,
    GiveUp,
}

impl Neighbours {
    /// Whether to believe an ARP message: it has no checksum, and a wrong hardware address would be
    /// used for a while.
    ///
    /// Its sender says twice which hardware it has: in the frame and in the message. Where the two
    /// differ, which some that balance load want so, it must be said twice.
    pub(crate) fn believe(&mut self, frame: &[u8]) -> bool {
        let said = frame
            .get(SENDER_AT..)
            .and_then(|said| said.first_chunk::<10>());
        let Some(said) = said else {
            return false;
        };
        if frame.get(6..12) == Some(&said[..6]) {
            return true;
        }
        self.doubted.replace(*said) == Some(*said)
    }

    fn step(&mut self, address: IpAddr, now: u64) -> Step {
        let Some(position) = self.asked.iter().position(|asked| asked.address == address) else {
            if self.asked.len() >= ASKED_MAX {
                self.asked.remove(0);
            }
            self.asked.push(Asked {
                address,
                times: 1,
                last: now,
            });
            return Step::Ask;
        };
        let Some(asked) = self.asked.get_mut(position) else {
            return Step::Wait;
        };
        let silence = now.saturating_sub(asked.last);
        if silence < AGAIN_NS {
            return Step::Wait;
        }
        if silence < FORGET_NS && asked.times >= TIMES_MAX {
            self.asked.remove(position);
            return Step::GiveUp;
        }
        asked.times = if silence < FORGET_NS {
            asked.times + 1
        } else {
            1
        };
        asked.last = now;
        Step::Ask
    }
}

impl Stack {
    /// A socket could not send to `to` for want of a hardware address, and the engine has, or
    /// has not, asked for one. `None` means that it never will; otherwise whether a frame is to
    /// be sent.
    pub(crate) fn wait_for(
        &mut self,
        id: SocketId,
        index: usize,
        to: IpAddr,
        has_asked: bool,
    ) -> Option<bool> {
        let now = self.now;
        let hop = self.next_hop(index, to);
        let port = self.ports.get_mut(index)?;
        let step = port.neighbours.step(hop, now);
        if step == Step::GiveUp {
            return None;
        }
        if let Some(slot) = self.slots.get_mut(id)
            && !slot.is_waiting
        {
            slot.is_waiting = true;
            port.neighbours.waiting.push(id);
        }
        if step == Step::Ask && !has_asked {
            port.ask_for(hop);
            return Some(true);
        }
        Some(false)
    }

    /// A neighbour has said something: those who wait may try again.
    pub(crate) fn wake_waiting(&mut self, index: usize, neighbour: Option<IpAddr>) {
        let Some(port) = self.ports.get_mut(index) else {
            return;
        };
        port.neighbours
            .asked
            .retain(|asked| Some(asked.address) != neighbour);
        for id in core::mem::take(&mut port.neighbours.waiting) {
            if let Some(slot) = self.slots.get_mut(id) {
                slot.is_waiting = false;
            }
            self.mark_dirty(id);
        }
    }

    /// Who on the link of an interface takes packets to `to`.
    fn next_hop(&self, index: usize, to: IpAddr) -> IpAddr {
        let Some(port) = self.ports.get(index) else {
            return to;
        };
        if port.addresses().any(|cidr| cidr.contains(to)) {
            return to;
        }
        let routes = self
            .routes
            .iter()
            .filter(|route| route.interface.index() == index);
        let route = routes.filter(|route| route.network.contains(to));
        let best = route.max_by_key(|route| route.network.prefix_len());
        let default = port
            .gateways()
            .find(|gateway| gateway.is_ipv4() == to.is_ipv4());
        best.map(|route| route.gateway).or(default).unwrap_or(to)
    }
}

impl Port {
    /// Puts a question for the hardware address of `address` in line.
    fn ask_for(&mut self, address: IpAddr) {
        let (Some(mac), Some(source)) = (self.mac, self.source_for(address)) else {
            return;
        };
        let len = match (source, address) {
            (IpAddr::V4(source), IpAddr::V4(address)) => {
                let question = ArpRepr::EthernetIpv4 {
                    operation: ArpOperation::Request,
                    source_hardware_addr: EthernetAddress(mac),
                    source_protocol_addr: source,
                    target_hardware_addr: EthernetAddress::BROADCAST,
                    target_protocol_addr: address,
                };
                let len = ETHERNET_LEN + question.buffer_len();
                self.queue.push_with(len, |buffer| {
                    let mut frame = EthernetFrame::new_unchecked(buffer);
                    frame.set_src_addr(EthernetAddress(mac));
                    frame.set_dst_addr(EthernetAddress::BROADCAST);
                    frame.set_ethertype(EthernetProtocol::Arp);
                    question.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
                });
                len
            }
            (IpAddr::V6(source), IpAddr::V6(address)) => {
                let hardware = HardwareAddress::Ethernet(EthernetAddress(mac)).into();
                let question = NdiscRepr::NeighborSolicit {
                    target_addr: address,
                    lladdr: Some(hardware),
                };
                let [.., high, low] = address.segments();
                // RFC 4291, 2.7.1.
                let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low);
                write_ndisc(mac, source, group, question, |len, fill| {
                    self.queue.push_with(len, fill);
                    len
                })
            }
            _ => return,
        };
        self.counters.frames_sent += 1;
        self.counters.bytes_sent += len as u64;
    }
}

/// Writes a frame with a message of neighbour discovery to a group.
pub(crate) fn write_ndisc<R>(
    mac: [u8; 6],
    source: Ipv6Addr,
    group: Ipv6Addr,
    message: NdiscRepr<'_>,
    send: impl FnOnce(usize, &mut dyn FnMut(&mut [u8])) -> R,
) -> R {
    let message = Icmpv6Repr::Ndisc(message);
    let header = Ipv6Repr {
        src_addr: source,
        dst_addr: group,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: 255,
    };
    let [.., a, b, c, d] = group.octets();
    let len = ETHERNET_LEN + header.buffer_len() + message.buffer_len();
    send(len, &mut |buffer| {
        let mut frame = EthernetFrame::new_unchecked(buffer);
        frame.set_src_addr(EthernetAddress(mac));
        frame.set_dst_addr(EthernetAddress([0x33, 0x33, a, b, c, d]));
        frame.set_ethertype(EthernetProtocol::Ipv6);
        let mut packet = Ipv6Packet::new_unchecked(frame.payload_mut());
        header.emit(&mut packet);
        let mut body = Icmpv6Packet::new_unchecked(packet.payload_mut());
        message.emit(&source, &group, &mut body, &ChecksumCapabilities::default());
    })
}

/// Where an ARP message names the sender's hardware address and, behind it, its IPv4 address.
const SENDER_AT: usize = ETHERNET_LEN + 8;
/// Neighbours that are asked for at the same time.
const ASKED_MAX: usize = 32;
/// How often one is asked for.
const TIMES_MAX: u8 = 3;
/// Who did not answer for so long may be asked again.
const AGAIN_NS: u64 = 900_000_000;
/// After that, what was before does not count.
const FORGET_NS: u64 = 10_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_contradicts_itself_must_say_so_twice() {
        let mut neighbours = Neighbours::default();
        let mut frame = [0; 42];
        frame[6..12].copy_from_slice(&[2, 1, 1, 1, 1, 1]);
        frame[22..28].copy_from_slice(&[2, 1, 1, 1, 1, 1]);
        frame[28..32].copy_from_slice(&[10, 0, 0, 1]);
        assert!(neighbours.believe(&frame));
        for bit in 0..48 {
            let mut damaged = frame;
            damaged[22 + bit / 8] ^= 1 << (bit % 8);
            assert!(!neighbours.believe(&damaged), "{bit}");
            assert!(neighbours.believe(&frame));
        }
        frame[22..28].copy_from_slice(&[2, 0xbf, 0, 0, 0, 9]);
        assert!(!neighbours.believe(&frame));
        assert!(neighbours.believe(&frame));
        assert!(!neighbours.believe(&frame[..31]));
    }
}
