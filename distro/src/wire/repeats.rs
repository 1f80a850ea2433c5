//! Sees which TCP segments on a wire were sent before.

use std::collections::HashMap;

/// What each sender has sent so far.
#[derive(Debug, Default)]
pub struct Repeats {
    /// The end of what was sent, by addresses and ports.
    ends: HashMap<[u8; 12], u32>,
}

impl Repeats {
    /// Whether a frame carries TCP data that was all sent before.
    pub fn note(&mut self, frame: &[u8]) -> bool {
        self.look(frame).unwrap_or(false)
    }

    fn look(&mut self, frame: &[u8]) -> Option<bool> {
        let packet = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
        let header = usize::from(packet.first()? & 15) * 4;
        let total = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
        let segment = packet.get(header..total).filter(|_| packet[9] == TCP)?;
        let sequence = u32::from_be_bytes(segment.get(4..8)?.try_into().ok()?);
        let offset = usize::from(segment.get(12)? >> 4) * 4;
        let len = segment.len().checked_sub(offset)? as u32;
        let mut key = [0; 12];
        key[..8].copy_from_slice(packet.get(12..20)?);
        key[8..].copy_from_slice(&segment[..4]);
        let end = sequence.wrapping_add(len);
        if segment.get(13)? & SYN != 0 {
            self.ends.insert(key, end.wrapping_add(1));
            return Some(false);
        }
        let known = self.ends.entry(key).or_insert(sequence);
        if end.wrapping_sub(*known) as i32 > 0 {
            *known = end;
            return Some(false);
        }
        Some(len > 0)
    }
}

const TCP: u8 = 6;
const SYN: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flags: u8, sequence: u32, len: usize) -> Vec<u8> {
        let mut frame = vec![0; 14 + 20 + 20 + len];
        frame[12] = 8;
        frame[14] = 0x45;
        frame[16..18].copy_from_slice(&(40 + len as u16).to_be_bytes());
        frame[23] = TCP;
        frame[38..42].copy_from_slice(&sequence.to_be_bytes());
        frame[46] = 0x50;
        frame[47] = flags;
        frame
    }

    #[test]
    fn only_data_that_was_sent_before_counts() {
        let mut repeats = Repeats::default();
        let start = u32::MAX - 50;
        assert!(!repeats.note(&segment(SYN, start - 1, 0)));
        assert!(!repeats.note(&segment(16, start, 100)));
        assert!(!repeats.note(&segment(16, start.wrapping_add(100), 100)));
        assert!(repeats.note(&segment(16, start, 100)));
        assert!(!repeats.note(&segment(16, start.wrapping_add(200), 0)));
        assert!(!repeats.note(&segment(SYN, 5, 0)));
        assert!(!repeats.note(&segment(16, 6, 10)));
    }

    #[test]
    fn anything_may_come_by() {
        let mut repeats = Repeats::default();
        let whole = segment(16, 1, 9);
        for len in 0..whole.len() {
            repeats.note(&whole[..len]);
        }
        for byte in 0..whole.len() {
            let mut frame = whole.clone();
            frame[byte] = 0xff;
            repeats.note(&frame);
        }
    }
}
