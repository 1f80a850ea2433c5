//! The poll loop: frames in, sockets that they are for, what those have to send, and when next.

use crate::address::is_unicast;
use crate::checksum::is_intact;
use crate::frame::{self, Carried, ICMP, ICMPV6, Packet, TCP, UDP};
use crate::interface::STALL_NS;
use crate::slot::Socket;
use crate::stack::instant;
use crate::{FrameDevice, SocketId, Stack};

impl Stack {
    /// Moves frames: takes what the devices have received, sends what the sockets have to send,
    /// and acts on timers. `devices[0]` belongs to the first interface that was added.
    ///
    /// Returns when to call it again at the latest, in nanoseconds; `None` means when there is
    /// a reason to. Any call on a socket may make that earlier: poll after it. A call does a
    /// bounded amount of work and returns `now` if there is more.
    ///
    /// Time that goes backwards counts as standing still.
    pub fn poll(&mut self, now: u64, devices: &mut [&mut dyn FrameDevice]) -> Option<u64> {
        self.begin(now);
        for _ in 0..ROUNDS {
            let received = self.take_received(BATCH, devices);
            if !(self.send_round(devices) || received) {
                break;
            }
        }
        self.next_deadline()
    }

    /// Half of [`poll`](Self::poll): takes what the devices have received, a bounded number of
    /// frames, and says whether there was anything.
    ///
    /// The two halves are for callers that keep received bytes in a place of their own. Who reads
    /// from the sockets that are ready before it calls [`transmit`](Self::transmit) tells the
    /// peers in the same acknowledgements that there is room again.
    pub fn receive(&mut self, now: u64, devices: &mut [&mut dyn FrameDevice]) -> bool {
        self.now = self.now.max(now);
        self.take_received(BATCH_APART, devices)
    }

    /// The other half of [`poll`](Self::poll): sends what the sockets have to send, and acts on
    /// timers.
    ///
    /// Returns when to poll again as `poll` does; it does not know what the devices have received.
    pub fn transmit(&mut self, now: u64, devices: &mut [&mut dyn FrameDevice]) -> Option<u64> {
        self.begin(now);
        for _ in 0..ROUNDS {
            if !self.send_round(devices) {
                break;
            }
        }
        self.next_deadline()
    }

    fn begin(&mut self, now: u64) {
        self.now = self.now.max(now);
        self.fire_timers();
        for id in core::mem::take(&mut self.stalled) {
            self.mark_dirty(id);
        }
    }

    fn send_round(&mut self, devices: &mut [&mut dyn FrameDevice]) -> bool {
        let served = self.serve(devices);
        let resolved = self.serve_resolver();
        self.send(devices) || served || resolved
    }

    fn fire_timers(&mut self) {
        self.time_wait.expire(self.now);
        let slots = &self.slots;
        self.timers.tidy(slots.len(), |time, id| {
            slots.get(id).is_some_and(|slot| slot.armed == Some(time))
        });
        while let Some((deadline, id)) = self.timers.expired(self.now) {
            let Some(slot) = self.slots.get_mut(id) else {
                continue;
            };
            if slot.armed == Some(deadline) {
                slot.armed = None;
                self.mark_dirty(id);
            }
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        let busy = !self.dirty.is_empty() || self.ports.iter().any(|port| !port.queue.is_empty());
        let stalled = !self.stalled.is_empty();
        let times = [
            busy.then_some(self.now),
            stalled.then(|| self.now.saturating_add(STALL_NS)),
            self.timers.next(),
            self.resolver.next(),
        ];
        let ports = self.ports.iter().filter_map(|port| port.due);
        times
            .into_iter()
            .flatten()
            .chain(ports)
            .min()
            .map(|next| next.max(self.now))
    }

    fn take_received(&mut self, batch: usize, devices: &mut [&mut dyn FrameDevice]) -> bool {
        let mut any = false;
        for index in 1..self.ports.len() {
            let Some(device) = Self::device(devices, index) else {
                continue;
            };
            for _ in 0..batch {
                if !device.receive(&mut |frame, checked| self.take(index, frame, checked)) {
                    break;
                }
                any = true;
            }
            self.take_gathered();
            if let Some(port) = self.ports.get_mut(index) {
                port.send_answers(device);
            }
        }
        for _ in 0..batch {
            let Some(buffer) = self
                .ports
                .first_mut()
                .and_then(|port| port.queue.pop_buffer())
            else {
                break;
            };
            self.take(0, buffer.frame(), true);
            if let Some(port) = self.ports.first_mut() {
                port.queue.recycle(buffer);
            }
            any = true;
        }
        any
    }

    fn serve(&mut self, devices: &mut [&mut dyn FrameDevice]) -> bool {
        let now = self.now;
        let mut any = false;
        for (index, port) in self.ports.iter_mut().enumerate() {
            if port.due.is_none_or(|due| due > now) {
                continue;
            }
            any |= port.serve(instant(now), Self::device(devices, index));
            let (solicits, has_changed) = port.serve_slaac(now);
            self.addresses_changed |= has_changed;
            any |= solicits;
            if port.take_lease(now) {
                self.addresses_changed = true;
                port.due = Some(now);
                any = true;
            }
        }
        any
    }

    fn send(&mut self, devices: &mut [&mut dyn FrameDevice]) -> bool {
        let mut any = false;
        for _ in 0..self.dirty.len() {
            let Some(id) = self.dirty.pop_front() else {
                break;
            };
            let Some(slot) = self.slots.get_mut(id) else {
                continue;
            };
            slot.is_dirty = false;
            any |= match &slot.socket {
                Socket::Tcp(_) => self.send_tcp(id, devices),
                Socket::Udp(_) | Socket::Ping(_) => self.send_datagrams(id, devices),
                Socket::Listener(_) => false,
            };
        }
        any
    }

    /// Notes what came of letting a socket send; `true` if it has sent something.
    pub(crate) fn note_sent(&mut self, id: SocketId, sent: crate::interface::Sent) -> bool {
        let Some(slot) = self.slots.get_mut(id) else {
            return sent.packets > 0;
        };
        if sent.is_stalled {
            self.stalled.push(id);
            return sent.packets > 0;
        }
        if let Some(next) = sent.next {
            if next <= self.now {
                self.mark_dirty(id);
            } else {
                self.timers.arm(&mut slot.armed, next, id);
            }
        }
        sent.packets > 0
    }

    /// Takes one frame in.
    fn take(&mut self, index: usize, frame: &[u8], checked: bool) {
        let Some(port) = self.ports.get_mut(index) else {
            return;
        };
        port.counters.frames_received += 1;
        port.counters.bytes_received += frame.len() as u64;
        let is_checked = port.checks_frames && checked;
        if self.gathered.add(index, frame, is_checked, port.sum) {
            return;
        }
        self.take_gathered();
        if !self.take_packet(index, frame, checked)
            && let Some(port) = self.ports.get_mut(index)
        {
            port.counters.receive_drops += 1;
        }
    }

    /// Finds out whom a frame is for; `false` if it is dropped here.
    fn take_packet(&mut self, index: usize, frame: &[u8], checked: bool) -> bool {
        let Some(port) = self.ports.get(index) else {
            return false;
        };
        let bytes = match port.mac {
            None => frame,
            Some(mac) => {
                if !is_for_card(frame, mac) {
                    return false;
                }
                match frame::ethernet(frame) {
                    Carried::Ip(bytes) => bytes,
                    Carried::Arp => {
                        let port = self.ports.get_mut(index);
                        if !port.is_some_and(|port| port.neighbours.believe(frame)) {
                            return false;
                        }
                        self.take_system(index, frame);
                        self.wake_waiting(index, frame::arp_sender(frame));
                        return true;
                    }
                    Carried::Other => return false,
                }
            }
        };
        let Some(packet) = frame::ip(bytes) else {
            return false;
        };
        if !self.is_plausible(index, &packet) {
            return false;
        }
        let is_checked = index == 0 || (port.checks_frames && checked);
        // The engine checks the others, but TCP's are looked at here before it sees them.
        let checks_here = packet.protocol == TCP || port.checks_frames;
        if checks_here && !is_checked && packet.fragment.is_none() && !is_intact(&packet, port.sum)
        {
            return false;
        }
        match packet.protocol {
            TCP => self.take_tcp(index, frame, &packet),
            UDP => self.take_udp(index, frame, &packet),
            ICMP | ICMPV6 => self.take_icmp(index, frame, &packet),
            _ => {
                self.take_system(index, frame);
                true
            }
        }
    }

    /// Shows a frame to the engine that is for no socket of a caller.
    pub(crate) fn take_system(&mut self, index: usize, frame: &[u8]) {
        let now = instant(self.now);
        if let Some(port) = self.ports.get_mut(index) {
            port.feed_system(now, frame);
            port.due = Some(self.now);
        }
    }

    /// Whether a packet can have come this way: addresses of this host do not come from outside
    /// (RFC 1122, 3.2.1.3), and nobody but a DHCP client is nobody.
    fn is_plausible(&self, index: usize, packet: &Packet<'_>) -> bool {
        let (source, destination) = (packet.source, packet.destination);
        if destination.is_unspecified() || source.is_multicast() {
            return false;
        }
        if index == 0 {
            return true;
        }
        let is_from_here = source.is_loopback() || self.is_own(source);
        !(is_from_here || destination.is_loopback())
            && (is_unicast(source) || (source.is_unspecified() && packet.protocol != TCP))
    }
}

/// Whether a frame is addressed to this card or to many.
fn is_for_card(frame: &[u8], mac: [u8; 6]) -> bool {
    frame
        .first_chunk::<6>()
        .is_some_and(|to| *to == mac || to[0] & 1 == 1)
}

/// How often one call of `poll` goes round before it returns.
const ROUNDS: usize = 64;
/// Frames that are taken from one device before others have their turn.
const BATCH: usize = 64;
/// The same where what was received is read at once: as many full segments as are made into one.
const BATCH_APART: usize = 11;
