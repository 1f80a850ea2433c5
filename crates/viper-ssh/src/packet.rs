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
        if length > MAX_PACKET_LEN - LENGTH_LEN || length < 1 + MIN_PADDING {
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
