//! A stretch of data that begins at an aligned address, and is seen to.
//!
//! Records begin anywhere: rustls puts five bytes before them. Targets that must not access words
//! at odd addresses (bare-metal AArch64 among them) then load and store byte by byte, which takes
//! longer than AES does. So records go through here, piece by piece: a copy costs less.

use ::aead::array::{Array, ArraySize};
use ::aead::consts::U16;
use ghash::universal_hash::common::BlockSizeUser;
use ghash::universal_hash::{UhfBackend, UhfClosure, UniversalHash};

/// Bytes of a piece: eight blocks of ChaCha20, which are made at once, or 32 of AES.
pub(super) const LEN: usize = 512;

/// Bytes of a block of AES, GHASH and Poly1305.
pub(super) const BLOCK_LEN: usize = 16;

/// Such a block.
pub(super) type Block = Array<u8, U16>;

/// [`LEN`] bytes.
#[repr(C, align(64))]
pub(super) struct Lines([u8; LEN]);

impl Lines {
    pub(super) const fn new() -> Self {
        Self([0; LEN])
    }

    /// Takes `data` from `at` on, as far as there is room, with zeroes after it.
    pub(super) fn load(&mut self, at: usize, data: &[u8]) {
        self.0[at..at + data.len()].copy_from_slice(data);
        self.clear_after(at + data.len());
    }

    /// Puts zeroes after the first `len` bytes.
    pub(super) fn clear_after(&mut self, len: usize) {
        if len < LEN {
            self.0[len..].fill(0);
        }
    }

    pub(super) fn bytes(&self) -> &[u8; LEN] {
        &self.0
    }

    /// Has `hash` take in the blocks that hold the bytes from `at`, which begins a block, to `end`.
    #[inline(always)]
    pub(super) fn hash(
        &self,
        hash: &mut impl UniversalHash<BlockSize = U16>,
        at: usize,
        end: usize,
    ) {
        let blocks = Array::slice_as_chunks(&self.0).0;
        let blocks = &blocks[at / BLOCK_LEN..end.div_ceil(BLOCK_LEN)];
        hash.update_with_backend(Blocks(blocks));
    }

    pub(super) fn blocks_mut<N: ArraySize>(&mut self) -> &mut [Array<u8, N>] {
        Array::slice_as_chunks_mut(&mut self.0).0
    }

    /// All of it, exclusive or with all of `other`.
    pub(super) fn xor(&mut self, other: &Self) {
        for (to, from) in self.0.iter_mut().zip(&other.0) {
            *to ^= from;
        }
    }
}

/// Blocks for a hash, which `UniversalHash::update` would take, too. But it walks with a pointer,
/// and the compiler knows the alignment of an element only by its index.
struct Blocks<'a>(&'a [Block]);

impl BlockSizeUser for Blocks<'_> {
    type BlockSize = U16;
}

impl UhfClosure for Blocks<'_> {
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "see above")]
    fn call<B: UhfBackend<BlockSize = U16>>(self, backend: &mut B) {
        let (groups, rest) = Array::<Block, B::ParBlocksSize>::slice_as_chunks(self.0);
        for index in 0..groups.len() {
            backend.proc_par_blocks(&groups[index]);
        }
        for index in 0..rest.len() {
            backend.proc_block(&rest[index]);
        }
    }
}
