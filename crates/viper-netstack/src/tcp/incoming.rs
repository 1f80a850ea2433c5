//! Segments that come in: which connection they are for, and what the engine is shown of them.
//!
//! The engine takes some for what they are not, and these it sees changed or not at all.

use smoltcp::socket::tcp::{Socket as Engine, State};
use smoltcp::time::Duration;
use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

use super::{Tcp, endpoint};
use crate::address::is_unicast;
use crate::flow::Key;
use crate::frame::{Packet, Segment, segment};
use crate::stack::instant;
use crate::{Error, SocketId, Stack};

impl Tcp {
    fn ack_delay(&self) -> Option<Duration> {
        self.engine().ack_delay()
    }

    /// The sequence number that a bare acknowledgement should have had, if the engine would
    /// throw it away for the one that it has.
    ///
    /// RFC 9293, 3.10.7.4 has the acknowledgement of a segment outside the window ignored. When
    /// both sides repeat what the other has received already, that is all either ever hears:
    /// nothing would go on for ever. Only a keep-alive must stay as it is, for it is answered.
    fn expected_instead(&self, segment: &Segment) -> Option<u32> {
        let expected = self
            .expected()
            .filter(|_| segment.is_bare() && !self.is_finished)?;
        let distance = expected.wrapping_sub(segment.sequence) as i32;
        let is_near = distance.unsigned_abs() <= WINDOW_MAX;
        (is_near && !(0..=1).contains(&distance)).then_some(expected)
    }

    /// Whether a segment that the engine has answered with a reset is about a connection that was
    /// there before this one, which waits for the answer to its request.
    ///
    /// The peer remembers it in TIME-WAIT. Now it forgets it, and may be asked again; the engine
    /// would do that after its time-out.
    fn was_taken_for_old(&mut self, segment: &Segment) -> bool {
        let is_about_old = self.engine().state() == State::SynSent
            && segment.has(Segment::ACK)
            && !segment.has(Segment::SYN | Segment::RST | Segment::FIN);
        if is_about_old && self.has_sent && self.times_asked_again < ASKED_AGAIN_MAX {
            self.times_asked_again += 1;
            return true;
        }
        false
    }

    /// Where a reset would have to be, if this one is within the window but not there.
    ///
    /// RFC 5961, 3.2: who cannot see the numbers of a connection would else have to hit the window
    /// only to end it. It is answered with what is expected, and who meant it comes back with that.
    fn reset_expected_at(&self, segment: &Segment) -> Option<u32> {
        let is_synchronized = !matches!(
            self.engine().state(),
            State::Closed | State::Listen | State::SynSent
        );
        let expected = self
            .expected()
            .filter(|_| is_synchronized && segment.has(Segment::RST))?;
        let ahead = segment.sequence.wrapping_sub(expected);
        (1..=WINDOW_MAX).contains(&ahead).then_some(expected)
    }

    /// Whether a segment only repeats that the peer lacks our FIN, and nothing else.
    ///
    /// Three of them make the engine repeat data at once that it does not have, and forget to
    /// repeat the FIN in time.
    fn is_pointless(&mut self, segment: &Segment) -> bool {
        if !segment.has(Segment::ACK) {
            return false;
        }
        let old = self.acknowledged.replace(segment.acknowledgement);
        let engine = self.engine();
        let owes_fin = matches!(
            engine.state(),
            State::FinWait1 | State::Closing | State::LastAck
        );
        let is_repeated = segment.is_bare() && old == Some(segment.acknowledgement);
        is_repeated && owes_fin && engine.send_queue() == 0
    }

    /// Learns from a segment that was shown to the engine what the peer has; whether it lacks
    /// the first of what was sent to it.
    fn note_acknowledged(&mut self, now: u64, segment: &Segment) -> bool {
        let is_past = matches!(
            self.engine().state(),
            State::Closed | State::Listen | State::SynSent | State::SynReceived
        );
        if is_past || !segment.has(Segment::ACK) || segment.has(Segment::RST) {
            return false;
        }
        let is_same = core::mem::replace(&mut self.window, segment.window) == segment.window;
        let is_bare = segment.is_bare() && is_same;
        self.recovery
            .note_acknowledged(now, segment.acknowledgement, is_bare)
    }

    /// Acknowledgements after which the engine repeats the first segment that the peer lacks.
    ///
    /// It counts duplicates, and does so anew after one with another window. The last puts the
    /// window right again.
    fn duplicates(&self) -> Option<[TcpRepr<'static>; 5]> {
        let expected = self.expected()?;
        let acknowledged = self.recovery.first()?;
        let other = self.like_peers(expected, acknowledged, self.window.checked_sub(1)?);
        let last = self.like_peers(expected, acknowledged, self.window);
        Some([other, other, other, other, last])
    }

    /// The sequence number that the peer is to use next.
    fn expected(&self) -> Option<u32> {
        let waiting = self.engine().recv_queue() as u32 + u32::from(self.is_finished);
        Some(self.first?.wrapping_add(self.read).wrapping_add(waiting))
    }

    /// An acknowledgement as the peer would send it.
    fn like_peers(&self, sequence: u32, acknowledged: u32, window: u16) -> TcpRepr<'static> {
        let ports = (self.remote.port(), self.local.port());
        acknowledgement(ports, sequence, acknowledged, window)
    }

    /// Learns from a SYN that the engine has accepted where the stream of the peer begins.
    fn note_first(&mut self, segment: &Segment) {
        let has_begun = !matches!(self.engine().state(), State::SynSent | State::Closed);
        if self.first.is_none() && has_begun {
            self.first = Some(segment.sequence.wrapping_add(1));
        }
    }
}

impl Stack {
    /// Takes a segment in; `false` if it is dropped.
    pub(crate) fn take_tcp(&mut self, index: usize, frame: &[u8], packet: &Packet<'_>) -> bool {
        // A segment in fragments could not be checked, and everybody else avoids them (RFC 879).
        if packet.fragment.is_some() {
            return false;
        }
        let ports = crate::frame::ports(packet.payload);
        let Some(ports) = ports.filter(|(from, to)| *from != 0 && *to != 0) else {
            return false;
        };
        if !is_unicast(packet.destination) {
            return false;
        }
        let (local, remote) = packet.ends(ports);
        let key = Key::new(index, local, remote);
        let Some(segment) = segment(packet.payload) else {
            return false;
        };
        if let Some(&id) = self.connections.get(&key) {
            if !self.gather(id, index, frame, packet, &segment) {
                self.take_segment(id, frame, packet, &segment);
            }
            return true;
        }
        if self.time_wait.contains(&key) {
            if !segment.is_request() {
                self.answer_late(index, frame, &segment, (local, remote));
                return true;
            }
            // RFC 9293, 3.10.7.4: a new connection may take the place of the old one.
            self.time_wait.remove(&key);
        }
        if segment.is_request() && self.take_request(key, frame, packet, &segment) {
            return true;
        }
        // The engine answers with a reset if there is to be one.
        self.take_system(index, frame);
        true
    }

    /// Keeps the data of a segment for what may follow it; `false` if it is none of that kind.
    fn gather(
        &mut self,
        id: SocketId,
        index: usize,
        frame: &[u8],
        packet: &Packet<'_>,
        segment: &Segment,
    ) -> bool {
        let (link_len, sum) = match self.ports.get(index) {
            Some(port) if index != 0 => (port.link_len(), port.sum),
            _ => return false,
        };
        // What is not in order is answered one by one: the peer counts the answers.
        let expected = self.slots.tcp(id).and_then(Tcp::expected);
        expected == Some(segment.sequence)
            && self
                .gathered
                .begin(index, id, (frame, link_len), packet, segment, sum)
    }

    /// Shows the connection what was gathered for it.
    pub(crate) fn take_gathered(&mut self) {
        let Some(gathered) = self.gathered.finish() else {
            return;
        };
        let packet = gathered.frame.get(gathered.packet_at..);
        if let Some(packet) = packet.and_then(crate::frame::ip)
            && let Some(segment) = segment(packet.payload)
        {
            // The engine takes it for one segment, and would wait for the second before it answers.
            let delay = self.slots.tcp(gathered.id).and_then(Tcp::ack_delay);
            if gathered.has_many && delay.is_some() {
                self.set_ack_delay(gathered.id, Duration::ZERO);
            }
            self.take_segment(gathered.id, &gathered.frame, &packet, &segment);
            if gathered.has_many
                && let Some(delay) = delay
            {
                self.set_ack_delay(gathered.id, delay);
            }
        }
        self.gathered.recycle(gathered.frame);
    }

    fn set_ack_delay(&mut self, id: SocketId, delay: Duration) {
        if let Some(connection) = self.slots.tcp_mut(id) {
            connection.engine_mut().set_ack_delay(Some(delay));
        }
    }

    /// Shows a segment to the connection that it is for.
    pub(crate) fn take_segment(
        &mut self,
        id: SocketId,
        frame: &[u8],
        packet: &Packet<'_>,
        segment: &Segment,
    ) {
        let now = instant(self.now);
        let Some(connection) = self.slots.tcp_mut(id) else {
            return;
        };
        connection.heard = self.now;
        if let Some(expected) = connection.reset_expected_at(segment) {
            self.challenge(id, expected);
            return;
        }
        if connection.is_pointless(segment) {
            return;
        }
        let mut has_answered = false;
        if let Some(port) = self.ports.get_mut(connection.half.interface) {
            let waiting = port.queue.len();
            let link_len = port.link_len();
            let expected = connection.expected_instead(segment);
            let mut copy = [0; COPY_MAX];
            let moved = expected.and_then(|expected| {
                let copy = copy.get_mut(..frame.len())?;
                copy.copy_from_slice(frame);
                set_sequence(copy.get_mut(link_len + packet.payload_at..)?, expected)?;
                Some(&*copy)
            });
            port.feed(now, moved.unwrap_or(frame), &mut connection.half.set);
            has_answered = port.queue.len() > waiting;
        }
        if segment.has(Segment::SYN) {
            connection.note_first(segment);
        }
        if has_answered && connection.was_taken_for_old(segment) {
            self.ask_again(id);
            return;
        }
        let is_lost =
            connection.half.interface != 0 && connection.note_acknowledged(self.now, segment);
        if is_lost {
            self.repeat_first(id);
        }
        self.settle(id, Error::Reset);
        self.mark_dirty(id);
    }

    /// Has the engine ask for a connection again, with other numbers.
    fn ask_again(&mut self, id: SocketId) {
        let Some(connection) = self.slots.tcp_mut(id) else {
            return;
        };
        let (local, remote) = (endpoint(connection.local), endpoint(connection.remote));
        if let Some(port) = self.ports.get_mut(connection.half.interface) {
            connection.engine_mut().abort();
            // It could be done before, and nothing has changed.
            let _ =
                connection
                    .half
                    .get_mut::<Engine>()
                    .connect(port.engine.context(), remote, local);
        }
        self.settle(id, Error::Reset);
        self.mark_dirty(id);
    }

    /// Has the engine repeat the first segment that is not acknowledged.
    pub(super) fn repeat_first(&mut self, id: SocketId) {
        let duplicates = self.slots.tcp(id).and_then(Tcp::duplicates);
        if let Some(duplicates) = duplicates {
            self.pretend(id, &duplicates);
        }
    }

    /// Has the engine tell the peer what is expected of it, not more often than is good.
    fn challenge(&mut self, id: SocketId, expected: u32) {
        // It answers so what lies behind the window.
        let like = |tcp: &Tcp| {
            let acknowledged = tcp.acknowledged?;
            Some(tcp.like_peers(expected.wrapping_sub(2), acknowledged, tcp.window))
        };
        if let Some(segment) = self.slots.tcp(id).and_then(like) {
            self.pretend(id, &[segment]);
        }
    }

    /// Shows the engine segments that the peer has not sent.
    fn pretend(&mut self, id: SocketId, segments: &[TcpRepr<'static>]) {
        let now = instant(self.now);
        let Some(connection) = self.slots.tcp_mut(id) else {
            return;
        };
        let ends = (connection.remote.ip(), connection.local.ip());
        if let Some(port) = self.ports.get_mut(connection.half.interface) {
            for segment in segments {
                let mut frame = [0; COPY_MAX];
                if let Some(frame) = port.frame_of(ends, segment, &mut frame) {
                    port.feed(now, frame, &mut connection.half.set);
                }
            }
        }
    }
}

/// A segment that is nothing but an acknowledgement, from one port to another.
pub(crate) fn acknowledgement(
    (from, to): (u16, u16),
    sequence: u32,
    acknowledged: u32,
    window: u16,
) -> TcpRepr<'static> {
    TcpRepr {
        src_port: from,
        dst_port: to,
        control: TcpControl::None,
        seq_number: TcpSeqNumber(sequence as i32),
        ack_number: Some(TcpSeqNumber(acknowledged as i32)),
        window_len: window,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    }
}

/// Writes a sequence number into a segment and brings its checksum up to date (RFC 1624).
fn set_sequence(segment: &mut [u8], sequence: u32) -> Option<()> {
    let (header, _) = segment.split_first_chunk_mut::<20>()?;
    let old = [header[4], header[5], header[6], header[7]];
    let new = sequence.to_be_bytes();
    header[4..8].copy_from_slice(&new);
    let half =
        |bytes: &[u8; 4], at: usize| u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let mut sum = u32::from(!u16::from_be_bytes([header[16], header[17]]));
    sum += (0xffff - half(&old, 0)) + (0xffff - half(&old, 2)) + half(&new, 0) + half(&new, 2);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    header[16..18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    Some(())
}

/// The longest frame that is only an acknowledgement: headers, options and padding.
const COPY_MAX: usize = 128;
/// So often a request to connect is repeated at once.
const ASKED_AGAIN_MAX: u8 = 2;
/// The largest window (RFC 7323, 2.3).
const WINDOW_MAX: u32 = 1 << 30;
