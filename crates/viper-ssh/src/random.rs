//! The caller's random generator, boxed so that sessions need no type parameter for it.

use alloc::boxed::Box;
use core::convert::Infallible;

use rand_core::{CryptoRng, Rng, TryCryptoRng, TryRng};

/// Owns the generator for the lifetime of a session.
pub(crate) struct Random(Box<dyn CryptoRng + Send>);

impl Random {
    pub fn new(rng: impl CryptoRng + Send + 'static) -> Self {
        Random(Box::new(rng))
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(dst);
        Ok(())
    }
}

impl TryCryptoRng for Random {}
