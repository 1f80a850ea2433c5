//! What the engine takes for a device: at most one frame to read, and a way out for others.

use alloc::vec::Vec;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::Sum;
use crate::checksum::fill;
use crate::device::{FrameDevice, FrameQueue, scratch};
use crate::frame::{ETHERNET_LEN, Segment, TCP, ip, segment};
use crate::recovery::Recovery;
use crate::status::Counters;

/// One conversation with the engine.
pub(crate) struct Wire<'a> {
    pub(crate) frame: Option<&'a [u8]>,
    pub(crate) out: Out<'a>,
    pub(crate) abilities: &'a DeviceCapabilities,
    pub(crate) counters: &'a mut Counters,
    /// How the checksums of TCP are filled in, if that is to be done here.
    pub(crate) sum: Option<Sum>,
    /// Who is told of the data of TCP that is sent, and when that is in nanoseconds.
    pub(crate) watch: Option<(&'a mut Recovery, u64)>,
}

/// Where frames go.
pub(crate) enum Out<'a> {
    /// Into a queue: loopback, or replies to a frame that is being looked at.
    Queue(&'a mut FrameQueue),
    /// To a device, with a place to write when the device has changed its mind.
    Device(&'a mut dyn FrameDevice, &'a mut Vec<u8>),
}

impl Out<'_> {
    fn has_room(&self) -> bool {
        match self {
            Self::Queue(queue) => queue.has_room(),
            Self::Device(device, _) => device.can_transmit(),
        }
    }

    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> (R, bool) {
        match self {
            Self::Queue(queue) => {
                let room = queue.has_room();
                (queue.push_with(len, fill), room)
            }
            Self::Device(device, spare) => {
                let (mut fill, mut result) = (Some(fill), None);
                device.transmit(len, &mut |buffer| {
                    if buffer.len() == len
                        && let Some(fill) = fill.take()
                    {
                        result = Some(fill(buffer));
                    }
                });
                match (result, fill) {
                    (Some(result), _) => (result, true),
                    (None, Some(fill)) => (fill(scratch(spare, len)), false),
                    (None, None) => unreachable!("a closure that ran has left its result"),
                }
            }
        }
    }
}

impl Device for Wire<'_> {
    type RxToken<'b>
        = Received<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Sending<'b>
    where
        Self: 'b;

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let frame = self.frame.take()?;
        let sending = Sending {
            out: shorten(&mut self.out),
            counters: &mut *self.counters,
            sum: self.sum,
            watch: None,
            link_len: link_len(self.abilities),
        };
        Some((Received { frame }, sending))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        if !self.out.has_room() {
            return None;
        }
        Some(Sending {
            out: shorten(&mut self.out),
            counters: &mut *self.counters,
            sum: self.sum,
            watch: self.watch.as_mut().map(|(who, now)| (&mut **who, *now)),
            link_len: link_len(self.abilities),
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.abilities.clone()
    }
}

/// The frame that was put in.
pub(crate) struct Received<'a> {
    frame: &'a [u8],
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.frame)
    }
}

/// The right to send one frame.
pub(crate) struct Sending<'a> {
    out: Out<'a>,
    counters: &'a mut Counters,
    sum: Option<Sum>,
    watch: Option<(&'a mut Recovery, u64)>,
    link_len: usize,
}

fn link_len(abilities: &DeviceCapabilities) -> usize {
    match abilities.medium {
        Medium::Ethernet => ETHERNET_LEN,
        _ => 0,
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, f: F) -> R {
        let (watch, sum, link_len) = (self.watch.take(), self.sum, self.link_len);
        let (result, sent) = self.out.send(len, |frame| {
            let result = f(frame);
            if let (Some(sum), Some(packet)) = (sum, frame.get_mut(link_len..)) {
                fill(packet, sum);
            }
            if let Some((recovery, now)) = watch {
                note(recovery, now, frame.get(link_len..).unwrap_or(&[]));
            }
            result
        });
        if sent {
            self.counters.frames_sent += 1;
            self.counters.bytes_sent += len as u64;
        } else {
            self.counters.send_drops += 1;
        }
        result
    }
}

/// Tells of the data in a packet.
fn note(recovery: &mut Recovery, now: u64, packet: &[u8]) {
    let data = ip(packet).filter(|packet| packet.protocol == TCP);
    if let Some(segment) = data.and_then(|packet| segment(packet.payload)) {
        let phantom = u32::from(segment.has(Segment::SYN)) + u32::from(segment.has(Segment::FIN));
        recovery.note_sent(now, segment.sequence, segment.len - phantom);
    }
}

fn shorten<'b>(out: &'b mut Out<'_>) -> Out<'b> {
    match out {
        Out::Queue(queue) => Out::Queue(queue),
        Out::Device(device, spare) => Out::Device(&mut **device, spare),
    }
}
