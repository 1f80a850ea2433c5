//! The binary packet protocol (RFC 4253 section 6): one [`Sealer`] and one [`Opener`] a session.

use alloc::vec::Vec;

use rand_core::Rng;

use crate::Error;
use crate::cipher::{LENGTH_LEN, PacketCipher};
use crate::random::Random;

/// The largest packet, without its tag, that is sent or accepted (RFC 4253 section 6.1).
pub const MAX_PACKET_LEN: usize = 35_000;
/// The largest payload that is sure to fit into [`MAX_PACKET_LEN`].
pub(crate) const MAX_PAYLOAD_LEN: usize = MAX_PACKET_LEN - LENGTH_LEN - 1 - 19;
const MIN_PADDING: usize = 4;
/// Packets under one key. Far below 2^32, where nonces and sequence numbers would repeat.
const MAX_PACKETS: u32 = 1 << 31;

/// What a direction has carried under its present keys.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    pub bytes: u64,
    pub packets: u32,
}

impl Usage {
    fn count(&mut self, len: usize) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(len as u64);
        self.packets = self.packets.saturating_add(1);
        if self.packets > MAX_PACKETS {
            Err(Error::SequenceExhausted)
        } else {
            Ok(())
        }
    }
}

/// Turns payloads into packets.
pub(crate) struct Sealer {
    cipher: PacketCipher,
    sequence: u32,
    usage: Usage,
}

impl Sealer {
    pub fn new() -> Self {
        Sealer {
            cipher: PacketCipher::Plain,
            sequence: 0,
            usage: Usage::default(),
        }
    }

    /// Switches to new keys; strict key exchange also starts the sequence numbers anew.
    pub fn rekey(&mut self, cipher: PacketCipher, reset_sequence: bool) {
        self.cipher = cipher;
        self.usage = Usage::default();
        if reset_sequence {
            self.sequence = 0;
        }
    }

    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Appends the packet to `out`.
    pub fn seal(
        &mut self,
        payload: &[u8],
        random: &mut Random,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let block = self.cipher.block_len();
        let counted = if self.cipher.pads_length() {
            LENGTH_LEN
        } else {
            0
        };
        let unpadded = counted + 1 + payload.len() + MIN_PADDING;
        let padding = MIN_PADDING + (block - unpadded % block) % block;
        let packet_len = 1 + payload.len() + padding;
        if packet_len + LENGTH_LEN > MAX_PACKET_LEN {
            return Err(Error::LimitExceeded);
        }
        let start = out.len();
        out.extend_from_slice(&(packet_len as u32).to_be_bytes());
        out.push(padding as u8);
        out.extend_from_slice(payload);
        let padding_start = out.len();
        out.resize(padding_start + padding + self.cipher.tag_len(), 0);
        random.fill_bytes(&mut out[padding_start..padding_start + padding]);
        self.cipher.seal(self.sequence, &mut out[start..])?;
        self.sequence = self.sequence.wrapping_add(1);
        self.usage.count(packet_len)
    }
}

/// Turns a stream of bytes into payloads. Holds at most one packet.
pub(crate) struct Opener {
    cipher: PacketCipher,
    sequence: u32,
    usage: Usage,
    held: Vec<u8>,
    /// Length of the whole packet with its tag, once known.
    total: Option<usize>,
}

impl Opener {
    pub fn new() -> Self {
        Opener {
            cipher: PacketCipher::Plain,
            sequence: 0,
            usage: Usage::default(),
            held: Vec::new(),
            total: None,
        }
    }

    /// Switches to new keys. Only between packets.
    pub fn rekey(&mut self, cipher: PacketCipher, reset_sequence: bool) {
        self.cipher = cipher;
        self.usage = Usage::default();
        if reset_sequence {
            self.sequence = 0;
        }
    }

    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The sequence number of the packet to come.
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Takes bytes off the front of `input` until a packet is whole, then gives its payload.
    pub fn open(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let total = match self.total {
            Some(total) => total,
            None => {
                let header = self.cipher.header_len();
                if !self.fill(input, header) {
                    return Ok(None);
                }
                let length = self.cipher.open_length(self.sequence, &mut self.held)?;
                let total = self.check_length(length)?;
                self.total = Some(total);
                total
            }
        };
        if !self.fill(input, total) {
            return Ok(None);
        }
        self.cipher.open(self.sequence, &mut self.held)?;
        let payload = self.payload(total)?;
        self.sequence = self.sequence.wrapping_add(1);
        self.usage.count(total)?;
        self.held.clear();
        self.total = None;
        Ok(Some(payload))
    }

    /// Fills `held` up to `len`; tells whether it is there.
    fn fill(&mut self, input: &mut &[u8], len: usize) -> bool {
        let take = len.saturating_sub(self.held.len()).min(input.len());
        let (head, tail) = input.split_at(take);
        self.held.extend_from_slice(head);
        *input = tail;
        self.held.len() >= len
    }

    /// The whole packet's length with tag, after the checks of RFC 4253 section 6.
    fn check_length(&self, length: u32) -> Result<usize, Error> {
        let length = usize::try_from(length).map_err(|_| Error::BadPacketLength)?;
        if !(1 + MIN_PADDING..=MAX_PACKET_LEN - LENGTH_LEN).contains(&length) {
            return Err(Error::BadPacketLength);
        }
        let counted = if self.cipher.pads_length() {
            length + LENGTH_LEN
        } else {
            length
        };
        let total = LENGTH_LEN + length;
        if !counted.is_multiple_of(self.cipher.block_len()) || total < self.cipher.header_len() {
            return Err(Error::BadPacketLength);
        }
        Ok(total + self.cipher.tag_len())
    }

    fn payload(&self, total: usize) -> Result<Vec<u8>, Error> {
        let body = self.held.get(LENGTH_LEN..total - self.cipher.tag_len());
        let (padding, rest) = body
            .and_then(<[u8]>::split_first)
            .ok_or(Error::BadPacketLength)?;
        let padding = usize::from(*padding);
        let len = rest
            .len()
            .checked_sub(padding)
            .ok_or(Error::BadPacketLength)?;
        if padding < MIN_PADDING || len == 0 {
            return Err(Error::BadPacketLength);
        }
        rest.get(..len)
            .map(<[u8]>::to_vec)
            .ok_or(Error::BadPacketLength)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::{Cipher, Mac, Protection};
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex = hex.trim_matches('-');
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    struct Vector {
        protection: Protection,
        keys: [Vec<u8>; 3],
        sequence: u32,
        plain: Vec<u8>,
        sealed: Vec<u8>,
    }

    impl Vector {
        fn cipher(&self) -> PacketCipher {
            let [key, iv, mac] = &self.keys;
            PacketCipher::new(self.protection, iv, key, mac).unwrap()
        }
    }

    fn vectors() -> Vec<Vector> {
        let file = include_str!("../testdata/packets.txt");
        let lines = file.lines().filter(|line| !line.starts_with('#'));
        let read = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            Vector {
                protection: Protection {
                    cipher: Cipher::from_name(words[0]).unwrap(),
                    mac: Mac::from_name(words[1]),
                },
                keys: [bytes(words[2]), bytes(words[3]), bytes(words[4])],
                sequence: words[5].parse().unwrap(),
                plain: bytes(words[6]),
                sealed: bytes(words[7]),
            }
        };
        lines.map(read).collect()
    }

    /// Two packets for each pair of algorithms, which share their key stream or nonces.
    #[test]
    fn packets_of_another_program() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 30);
        for pair in vectors.chunks(2) {
            let (mut sealer, mut opener) = (pair[0].cipher(), pair[0].cipher());
            for vector in pair {
                let mut packet = vector.plain.clone();
                packet.resize(packet.len() + sealer.tag_len(), 0);
                sealer.seal(vector.sequence, &mut packet).unwrap();
                assert_eq!(packet, vector.sealed);
                let header = opener.header_len();
                let length = opener
                    .open_length(vector.sequence, &mut packet[..header])
                    .unwrap();
                assert_eq!(length as usize, vector.plain.len() - LENGTH_LEN);
                opener.open(vector.sequence, &mut packet).unwrap();
                assert_eq!(
                    packet[LENGTH_LEN..][..length as usize],
                    vector.plain[LENGTH_LEN..]
                );
            }
        }
    }

    #[test]
    fn any_changed_bit_is_noticed() {
        for vector in vectors().iter().step_by(2) {
            for at in 0..vector.sealed.len() {
                let mut opener = Opener::new();
                opener.rekey(vector.cipher(), false);
                opener.sequence = vector.sequence;
                let mut changed = vector.sealed.clone();
                changed[at] ^= 1 << (at % 8);
                let result = opener.open(&mut changed.as_slice());
                // A changed length may also ask for more than is there.
                let noticed = matches!(
                    result,
                    Err(Error::BadMac | Error::BadPacketLength) | Ok(None)
                );
                assert!(
                    noticed,
                    "{} at {at}: {result:?}",
                    vector.protection.cipher.name()
                );
            }
        }
    }

    #[test]
    fn another_sequence_number_is_noticed() {
        for vector in vectors().iter().step_by(2) {
            // The nonce of GCM does not come from the sequence number.
            if matches!(
                vector.protection.cipher,
                Cipher::Aes128Gcm | Cipher::Aes256Gcm
            ) {
                continue;
            }
            let mut opener = Opener::new();
            opener.rekey(vector.cipher(), false);
            opener.sequence = vector.sequence + 1;
            let result = opener.open(&mut vector.sealed.as_slice());
            assert!(matches!(
                result,
                Err(Error::BadMac | Error::BadPacketLength) | Ok(None)
            ));
        }
    }

    #[test]
    fn lengths_out_of_range() {
        let cases: [&[u8]; 6] = [
            &[0, 0, 0, 0],
            &[0, 0, 0, 4, 3, 0, 0, 0],
            &[0, 0, 0, 13, 4],
            &[0, 0, 0x88, 0xbc],
            &[0xff, 0xff, 0xff, 0xff],
            // All padding, and less padding than there must be.
            &[0, 0, 0, 12, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ];
        for case in cases {
            let result = Opener::new().open(&mut &*case);
            assert_eq!(result, Err(Error::BadPacketLength), "{case:?}");
        }
        let short_padding = [0, 0, 0, 12, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(
            Opener::new().open(&mut &short_padding[..]),
            Err(Error::BadPacketLength)
        );
    }

    #[test]
    fn every_length_up_to_the_limit() {
        let mut random = Random::new(ChaCha20Rng::from_seed([1; 32]));
        for vector in vectors().iter().step_by(6) {
            let (mut sealer, mut opener) = (Sealer::new(), Opener::new());
            sealer.rekey(vector.cipher(), true);
            opener.rekey(vector.cipher(), true);
            for len in (1..70).chain([MAX_PAYLOAD_LEN - 1, MAX_PAYLOAD_LEN]) {
                let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let mut out = Vec::new();
                sealer.seal(&payload, &mut random, &mut out).unwrap();
                assert_eq!(opener.open(&mut out.as_slice()), Ok(Some(payload)));
            }
        }
        let mut out = Vec::new();
        let long = [0; MAX_PACKET_LEN];
        let result = Sealer::new().seal(&long, &mut random, &mut out);
        assert_eq!((result, out.len()), (Err(Error::LimitExceeded), 0));
    }
}
