//! Control messages: echo requests and neighbours for the engine, answers for ping sockets, and
//! errors for the sockets whose packets caused them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use smoltcp::wire::{Icmpv4Packet, Icmpv6Packet};

use crate::flow::Key;
use crate::frame::{self, ICMP, Packet, TCP, UDP, word};
use crate::slot::Socket;
use crate::{Error, Stack};

impl Stack {
    /// Takes a control message in; `false` if it is dropped.
    ///
    /// Redirects, time stamps and the like are not for hosts that are careful.
    pub(crate) fn take_icmp(&mut self, index: usize, frame: &[u8], packet: &Packet<'_>) -> bool {
        let Some(&kind) = packet.payload.first() else {
            return false;
        };
        let ident = word(packet.payload, 4);
        if packet.fragment.is_some() {
            let port = self.ports.get_mut(index);
            let start = port.and_then(|port| port.fragments.ports(packet));
            let Some((head, ident)) = start else {
                // The first one is still to come: until then the engine keeps the others.
                self.take_system(index, frame);
                return true;
            };
            if head >> 8 != u16::from(ECHO_REPLY) || !self.take_echo(index, frame, Some(ident)) {
                self.take_system(index, frame);
            }
            return true;
        }
        match (packet.protocol == ICMP, kind) {
            (true, ECHO_REPLY) | (false, ECHO_REPLY_6) => self.take_echo(index, frame, ident),
            (true, ECHO_REQUEST) | (false, ECHO_REQUEST_6 | QUERY_6) => {
                self.take_system(index, frame);
                true
            }
            (false, ANNOUNCEMENT_6) => {
                let now = self.now;
                self.ports
                    .get_mut(index)
                    .is_some_and(|port| port.take_announcement(packet, now))
            }
            (false, SOLICITATION_6 | ADVERTISEMENT_6) => {
                self.take_system(index, frame);
                self.wake_waiting(index, Some(packet.source));
                true
            }
            (true, 3 | 11 | 12) | (false, 1 | 3 | 4) => self.take_error(index, packet),
            _ => false,
        }
    }

    /// An error about a packet that we have sent, or so it says.
    fn take_error(&mut self, index: usize, packet: &Packet<'_>) -> bool {
        if !is_intact(packet) {
            return false;
        }
        let Some(error) = meaning(packet) else {
            return true;
        };
        let Some(cause) = packet.payload.get(8..).and_then(embedded) else {
            return false;
        };
        match cause.protocol {
            TCP => {
                let key = Key::new(index, cause.local, cause.remote);
                if let Some(&id) = self.connections.get(&key) {
                    self.refuse(id, error);
                }
            }
            UDP => {
                if let Some(id) = self.find_datagram(cause.local)
                    && let Some(slot) = self.slots.get_mut(id)
                    && let Socket::Udp(socket) = &mut slot.socket
                {
                    socket.note_error(error, cause.remote);
                    self.mark_ready(id);
                }
            }
            frame::ICMP | frame::ICMPV6 => {
                if let Some(&id) = self.pings.get(&cause.remote.port())
                    && let Some(slot) = self.slots.get_mut(id)
                    && let Socket::Ping(socket) = &mut slot.socket
                {
                    socket.error = Some(error);
                    self.mark_ready(id);
                }
            }
            _ => {}
        }
        true
    }
}

/// What an error message says to the socket: `None` if nothing follows from it.
fn meaning(packet: &Packet<'_>) -> Option<Error> {
    let (kind, code) = (*packet.payload.first()?, *packet.payload.get(1)?);
    match (packet.protocol == ICMP, kind, code) {
        // RFC 792 and RFC 1122, 3.2.2.1: protocol, port; the need to fragment says nothing.
        (true, 3, 2 | 3) | (false, 1, 4) | (false, 4, 1) => Some(Error::Refused),
        (true, 3, 4) | (true, 12, _) | (false, 4, _) => None,
        _ => Some(Error::HostUnreachable),
    }
}

fn is_intact(packet: &Packet<'_>) -> bool {
    match (packet.source, packet.destination) {
        (IpAddr::V4(_), _) => {
            Icmpv4Packet::new_checked(packet.payload).is_ok_and(|message| message.verify_checksum())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => Icmpv6Packet::new_checked(packet.payload)
            .is_ok_and(|message| message.verify_checksum(&source, &destination)),
        _ => false,
    }
}

/// The packet that an error message is about, of which only the beginning is there.
struct Cause {
    protocol: u8,
    local: SocketAddr,
    /// The other end; the identifier of an echo request shows as its port.
    remote: SocketAddr,
}

fn embedded(bytes: &[u8]) -> Option<Cause> {
    let (source, destination, protocol, rest) = match bytes.first()? >> 4 {
        4 => {
            let header: &[u8; 20] = bytes.first_chunk()?;
            let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
            let destination = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
            let rest = bytes.get(usize::from(header[0] & 15) * 4..)?;
            (IpAddr::V4(source), IpAddr::V4(destination), header[9], rest)
        }
        6 => {
            let (header, rest) = bytes.split_first_chunk::<40>()?;
            let source: [u8; 16] = header.get(8..24)?.try_into().ok()?;
            let destination: [u8; 16] = header.get(24..40)?.try_into().ok()?;
            let source = IpAddr::V6(Ipv6Addr::from(source));
            (
                source,
                IpAddr::V6(Ipv6Addr::from(destination)),
                header[6],
                rest,
            )
        }
        _ => return None,
    };
    let (local_port, remote_port) = match protocol {
        TCP | UDP => frame::ports(rest)?,
        _ => (0, word(rest, 4)?),
    };
    Some(Cause {
        protocol,
        local: SocketAddr::new(source, local_port),
        remote: SocketAddr::new(destination, remote_port),
    })
}

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_6: u8 = 128;
const ECHO_REPLY_6: u8 = 129;
const QUERY_6: u8 = 130;
const ANNOUNCEMENT_6: u8 = 134;
const SOLICITATION_6: u8 = 135;
const ADVERTISEMENT_6: u8 = 136;
