//! Frames that nobody would send: changed ones of those that went by.

use super::weather::Dice;

/// A frame made of one of `seeds`, for the card with the address `to`.
///
/// Three of four get right checksums, so that what is wrong with them is seen deeper inside.
pub fn changed(seeds: &[Vec<u8>], dice: &mut Dice, to: [u8; 6]) -> Vec<u8> {
    let mut frame = match seeds.len() {
        0 => vec![0; 60],
        count => seeds[dice.below(count)].clone(),
    };
    if frame.len() < HEADER {
        frame.resize(HEADER, 0);
    }
    // Most are for this card; some for all, or for somebody else.
    if dice.below(16) != 0 {
        frame[..6].copy_from_slice(&to);
    }
    for _ in 0..=dice.below(4) {
        change(&mut frame, dice);
    }
    if dice.below(4) != 0 {
        set_checksums(&mut frame);
    }
    frame
}

fn change(frame: &mut Vec<u8>, dice: &mut Dice) {
    const EDGES: [u8; 8] = [0, 1, 0x0f, 0x45, 0x7f, 0x80, 0xfe, 0xff];
    let headers = frame.len().min(HEADERS);
    match dice.below(8) {
        // Behind the hardware addresses, where most is decided.
        0..=2 if headers > 12 => {
            let at = 12 + dice.below(headers - 12);
            frame[at] = dice.next() as u8;
        }
        3 if headers > 12 => {
            let at = 12 + dice.below(headers - 12);
            frame[at] = EDGES[dice.below(EDGES.len())];
        }
        4 => {
            let at = dice.below(frame.len());
            frame[at] ^= 1 << dice.below(8);
        }
        5 => {
            let len = HEADER + dice.below(frame.len() - HEADER + 1);
            frame.truncate(len);
        }
        6 => {
            let more = dice.below(64);
            frame.extend((0..more).map(|n| n as u8));
            frame.truncate(FRAME_MAX);
        }
        _ if frame.len() > HEADER + 20 => {
            // The length that the packet claims, or the protocol.
            let at = HEADER + [2, 3, 6, 7, 9][dice.below(5)];
            frame[at] = dice.next() as u8;
        }
        _ => {}
    }
}

/// Makes the checksums right as far as the frame can be understood.
fn set_checksums(frame: &mut [u8]) {
    let Some((header, packet)) = frame.split_at_mut_checked(HEADER) else {
        return;
    };
    match header[12..14] {
        [8, 0] => set_ipv4(packet),
        [0x86, 0xdd] if packet.len() > 40 => {
            let protocol = packet[6];
            let (header, payload) = packet.split_at_mut(40);
            let pseudo = sum(&header[8..40]) + u32::from(protocol) + payload.len() as u32;
            set_transport(payload, protocol, pseudo);
        }
        _ => {}
    }
}

fn set_ipv4(packet: &mut [u8]) {
    let len = packet.first().map_or(0, |byte| usize::from(byte & 15) * 4);
    if len < 20 || packet.len() < len {
        return;
    }
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    packet[10..12].fill(0);
    let checksum = fold(sum(&packet[..len]));
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    let end = total.clamp(len, packet.len());
    let protocol = packet[9];
    let (header, payload) = packet[..end].split_at_mut(len);
    let pseudo = sum(&header[12..20]) + u32::from(protocol) + payload.len() as u32;
    set_transport(payload, protocol, pseudo);
}

fn set_transport(payload: &mut [u8], protocol: u8, pseudo: u32) {
    let (at, pseudo) = match protocol {
        1 => (2, 0),
        6 => (16, pseudo),
        17 => (6, pseudo),
        58 => (2, pseudo),
        _ => return,
    };
    let Some(field) = payload.get_mut(at..at + 2) else {
        return;
    };
    field.fill(0);
    let checksum = fold(pseudo + sum(payload));
    payload[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn sum(bytes: &[u8]) -> u32 {
    let half = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(half).sum()
}

const fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

const HEADER: usize = 14;
/// How far headers go.
const HEADERS: usize = 90;
const FRAME_MAX: usize = 1514;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_differ_fit_and_are_mostly_for_the_card() {
        let to = [2, 1, 1, 1, 1, 1];
        let mut dice = Dice::new(3);
        let seeds = [vec![8; 60], vec![0; 3], vec![1; 1514]];
        let frames: Vec<_> = (0..2000).map(|_| changed(&seeds, &mut dice, to)).collect();
        assert!(
            frames
                .iter()
                .all(|frame| (14..=1514).contains(&frame.len()))
        );
        let for_card = frames.iter().filter(|frame| frame[..6] == to).count();
        assert!(for_card > 1600, "{for_card}");
        let mut unique = frames.clone();
        unique.sort();
        unique.dedup();
        assert!(unique.len() > 1500, "{}", unique.len());
    }

    #[test]
    fn checksums_are_right() {
        // A header of RFC 1071's kind, from a real packet: its checksum is b861.
        let mut packet = vec![
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7,
        ];
        packet.resize(0x73, 0);
        let mut frame = vec![0; 12];
        frame.extend([8, 0]);
        frame.extend(packet);
        set_checksums(&mut frame);
        assert_eq!(frame[24..26], [0xb8, 0x61]);
    }
}
