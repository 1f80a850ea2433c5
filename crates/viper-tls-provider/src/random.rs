//! Randomness, which comes from outside.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use rustls::Error;
use rustls::crypto::{GetRandomFailed, SecureRandom};
use zeroize::Zeroizing;

/// A random source that is a plain function, for instance one that asks the operating system.
///
/// The function fills the whole slice with unpredictable bytes, or fails; it may be called by
/// several threads at a time.
#[derive(Clone, Copy, Debug)]
pub struct FillFn(pub fn(&mut [u8]) -> Result<(), GetRandomFailed>);

impl SecureRandom for FillFn {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
        (self.0)(buffer)
    }
}

/// A generator for one operation, seeded with 32 bytes from `source`.
///
/// The RustCrypto crates want generators that cannot fail. This way a source may fail, and an
/// operation asks it once, however often it has to draw.
pub(crate) fn generator(source: &dyn SecureRandom) -> Result<ChaCha20Rng, Error> {
    let mut seed = Zeroizing::new([0; 32]);
    source.fill(&mut *seed)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU64, Ordering};

    /// Different bytes at each call, the same ones in each run.
    #[derive(Debug)]
    pub(crate) struct Counter(AtomicU64);

    pub(crate) static COUNTER: Counter = Counter(AtomicU64::new(1));

    impl SecureRandom for Counter {
        fn fill(&self, buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
            use chacha20::rand_core::Rng;
            let seed = self.0.fetch_add(1, Ordering::Relaxed);
            ChaCha20Rng::seed_from_u64(seed).fill_bytes(buffer);
            Ok(())
        }
    }

    #[test]
    fn a_failing_source_is_an_error() {
        let failing = FillFn(|_| Err(GetRandomFailed));
        assert_eq!(
            generator(&failing).err(),
            Some(Error::FailedToGetRandomBytes)
        );
    }
}
