//! AES-GCM (NIST SP 800-38D) for nonces of 96 bits: the crates' AES and GHASH, put together so that
//! both see aligned blocks.

use super::lines::{BLOCK_LEN, Block, LEN, Lines};
use super::{Aead, NONCE_LEN, TAG_LEN, same_tag};
use ::aead::KeyInit;
use ::aead::consts::U16;
use aes::{Aes128, Aes256};
use cipher::{BlockCipherEncrypt, BlockSizeUser};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;

pub(crate) type Aes128Gcm = Gcm<Aes128>;
pub(crate) type Aes256Gcm = Gcm<Aes256>;

/// A key, made ready.
pub(crate) struct Gcm<C> {
    cipher: C,
    hash: GHash,
}

impl<C> Aead for Gcm<C>
where
    C: KeyInit + BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + Send + Sync + 'static,
{
    fn with_key(key: &[u8]) -> Option<Self> {
        // rustls gives as many bytes as were asked for. Others can only make keys of 32.
        let cipher = C::new_from_slice(key.get(..C::key_size())?).ok()?;
        let mut hash_key = Block::default();
        cipher.encrypt_block(&mut hash_key);
        let hash = GHash::new(&hash_key);
        Some(Self { cipher, hash })
    }

    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        let mut hash = self.hash.clone();
        hash_padded(&mut hash, aad);
        let mut counter = Counter::new(nonce);
        let mask = counter.mask(&self.cipher);
        let (mut text, mut stream) = (Lines::new(), Lines::new());
        for piece in data.chunks_mut(LEN) {
            counter.apply(&self.cipher, piece, &mut text, &mut stream);
            hash_lines(&mut hash, &text, piece.len());
        }
        tag(hash, mask, aad.len(), data.len())
    }

    fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        expected: [u8; TAG_LEN],
    ) -> Option<()> {
        let mut hash = self.hash.clone();
        hash_padded(&mut hash, aad);
        hash_padded(&mut hash, data);
        let mut counter = Counter::new(nonce);
        let mask = counter.mask(&self.cipher);
        same_tag(tag(hash, mask, aad.len(), data.len()), expected)?;
        let (mut text, mut stream) = (Lines::new(), Lines::new());
        for piece in data.chunks_mut(LEN) {
            counter.apply(&self.cipher, piece, &mut text, &mut stream);
        }
        Some(())
    }
}

/// The counter block: a nonce, and 32 bits that begin at one (section 7.1).
struct Counter {
    /// The block in little-endian order, its last 32 bits 0.
    nonce: u128,
    count: u32,
}

impl Counter {
    fn new(nonce: [u8; NONCE_LEN]) -> Self {
        let mut block = [0; BLOCK_LEN];
        block[..NONCE_LEN].copy_from_slice(&nonce);
        Self {
            nonce: u128::from_le_bytes(block),
            count: 1,
        }
    }

    /// Wraps after 64 GiB; records are shorter.
    fn next(&mut self) -> Block {
        let block = self.nonce | (u128::from(self.count.swap_bytes()) << 96);
        self.count = self.count.wrapping_add(1);
        block.to_le_bytes().into()
    }

    /// What the tag is hidden under.
    fn mask(&mut self, cipher: &impl BlockCipherEncrypt<BlockSize = U16>) -> Block {
        let mut block = self.next();
        cipher.encrypt_block(&mut block);
        block
    }

    /// Encrypts or decrypts up to [`LEN`] bytes; `text` holds them afterwards, too.
    #[expect(
        clippy::needless_range_loop,
        reason = "alignment is known by index only"
    )]
    fn apply(
        &mut self,
        cipher: &impl BlockCipherEncrypt<BlockSize = U16>,
        piece: &mut [u8],
        text: &mut Lines,
        stream: &mut Lines,
    ) {
        let blocks = &mut stream.blocks_mut()[..piece.len().div_ceil(BLOCK_LEN)];
        for index in 0..blocks.len() {
            blocks[index] = self.next();
        }
        cipher.encrypt_blocks(blocks);
        text.load(0, piece);
        text.xor(stream);
        text.clear_after(piece.len());
        piece.copy_from_slice(&text.bytes()[..piece.len()]);
    }
}

/// Takes in `data` and as many zeroes as fill its last block.
fn hash_padded(hash: &mut GHash, data: &[u8]) {
    let mut text = Lines::new();
    for piece in data.chunks(LEN) {
        text.load(0, piece);
        hash_lines(hash, &text, piece.len());
    }
}

/// Takes in the blocks that hold the first `len` bytes.
///
/// The only place that does, so that the hash becomes part of it and knows where blocks lie.
fn hash_lines(hash: &mut GHash, text: &Lines, len: usize) {
    text.hash(hash, 0, len);
}

fn tag(mut hash: GHash, mask: Block, aad_len: usize, data_len: usize) -> [u8; TAG_LEN] {
    let bits = ((aad_len as u128 * 8) << 64) | (data_len as u128 * 8);
    hash_padded(&mut hash, &bits.to_be_bytes());
    let hash: [u8; TAG_LEN] = hash.finalize().into();
    (u128::from_ne_bytes(hash) ^ u128::from_ne_bytes(mask.into())).to_ne_bytes()
}
