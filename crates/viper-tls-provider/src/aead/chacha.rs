//! ChaCha20-Poly1305 (RFC 8439): the crates' ChaCha20 and Poly1305, put together so that both see
//! aligned blocks, and that the Poly1305 key comes out of the first batch of the stream.

use super::lines::{LEN, Lines};
use super::{Aead, NONCE_LEN, TAG_LEN, same_tag};
use ::aead::KeyInit;
use chacha20::{ChaChaCore, KeyIvInit, R20, variants::Ietf};
use cipher::StreamCipherCore;
use poly1305::Poly1305;
use poly1305::universal_hash::UniversalHash;
use zeroize::Zeroizing;

/// What the stream's first block leaves for data: only the Poly1305 key is taken from it.
const FIRST: usize = 64;
const KEY_LEN: usize = 32;

/// A key.
pub(crate) struct ChaCha20Poly1305(Zeroizing<[u8; KEY_LEN]>);

impl Aead for ChaCha20Poly1305 {
    fn with_key(key: &[u8]) -> Option<Self> {
        let key = key.first_chunk()?;
        Some(Self(Zeroizing::new(*key)))
    }

    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        let (mut stream, mut mac) = Stream::new(self, nonce);
        mac_padded(&mut mac, aad);
        let mut text = Lines::new();
        for piece in pieces(data) {
            let at = stream.apply(piece, &mut text);
            mac_lines(&mut mac, &text, at, piece.len());
        }
        tag(mac, aad.len(), data.len())
    }

    fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        expected: [u8; TAG_LEN],
    ) -> Option<()> {
        let (mut stream, mut mac) = Stream::new(self, nonce);
        mac_padded(&mut mac, aad);
        mac_padded(&mut mac, data);
        same_tag(tag(mac, aad.len(), data.len()), expected)?;
        let mut text = Lines::new();
        for piece in pieces(data) {
            stream.apply(piece, &mut text);
        }
        Some(())
    }
}

/// The key stream, a batch of blocks at a time.
struct Stream {
    core: ChaChaCore<R20, Ietf>,
    lines: Lines,
    /// Where in `lines` the part begins that has not been used.
    at: usize,
}

impl Stream {
    /// The stream after the Poly1305 key, and what that key begins (section 2.6).
    fn new(key: &ChaCha20Poly1305, nonce: [u8; NONCE_LEN]) -> (Self, Poly1305) {
        let core = ChaChaCore::new(&(*key.0).into(), &nonce.into());
        let lines = Lines::new();
        let mut stream = Self {
            core,
            lines,
            at: LEN,
        };
        stream.refill();
        stream.at = FIRST;
        let (mac_key, _) = stream.lines.bytes().split_at(KEY_LEN);
        let mac = Poly1305::new_from_slice(mac_key).expect("a key of the right length");
        (stream, mac)
    }

    fn refill(&mut self) {
        self.core.write_keystream_blocks(self.lines.blocks_mut());
        self.at = 0;
    }

    /// Encrypts or decrypts one of [`pieces`]. Says where `text` holds it afterwards, with zeroes
    /// after it.
    fn apply(&mut self, piece: &mut [u8], text: &mut Lines) -> usize {
        if self.at == LEN {
            self.refill();
        }
        let (at, end) = (self.at, self.at + piece.len());
        self.at = LEN;
        text.load(at, piece);
        text.xor(&self.lines);
        text.clear_after(end);
        piece.copy_from_slice(&text.bytes()[at..end]);
        at
    }
}

/// Cuts data as the batches of the stream go.
fn pieces(data: &mut [u8]) -> impl Iterator<Item = &mut [u8]> {
    let (first, rest) = data.split_at_mut(data.len().min(LEN - FIRST));
    core::iter::once(first).chain(rest.chunks_mut(LEN))
}

/// Takes in `data` and as many zeroes as fill its last block.
fn mac_padded(mac: &mut Poly1305, data: &[u8]) {
    let mut text = Lines::new();
    for piece in data.chunks(LEN) {
        text.load(0, piece);
        mac_lines(mac, &text, 0, piece.len());
    }
}

/// Takes in the blocks that hold `len` bytes from `at` on.
///
/// The only place that does, so that the sum becomes part of it and knows where blocks lie.
fn mac_lines(mac: &mut Poly1305, text: &Lines, at: usize, len: usize) {
    text.hash(mac, at, at + len);
}

fn tag(mut mac: Poly1305, aad_len: usize, data_len: usize) -> [u8; TAG_LEN] {
    let lengths = ((data_len as u128) << 64) | aad_len as u128;
    mac_padded(&mut mac, &lengths.to_le_bytes());
    mac.finalize().into()
}
