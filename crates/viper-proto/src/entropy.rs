//! The entropy service (`ENTROPYD:`): random bytes from a hardware source, and the generator that
//! a program makes of them.

use crate::names;
use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};
use viper_rt::message::Bytes;
use viper_rt::{Error, clock};
use zeroize::Zeroize;

/// Most bytes that one call gives.
pub const GET_MAX: u32 = 128;

interface! {
    "entropy" version 1;

    /// Gives `len` random bytes, 1..=128. `NoService` if there is no source.
    1 => retry later get(len: u32) -> (bytes: Bytes);
}

/// How long a program waits for its seed.
const SEED_TIMEOUT_NS: u64 = 5 * clock::SECOND;
/// Bytes after which a generator gets a new seed.
const RESEED_BYTES: u64 = 1 << 20;

/// A program's random generator: ChaCha20, seeded and seeded again by the entropy service.
///
/// It is made only with a seed from a source: there is no constant to fall back to.
pub struct Random {
    generator: ChaCha20Rng,
    since_seed: u64,
}

impl core::fmt::Debug for Random {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Random { .. }")
    }
}

impl Random {
    /// A generator with a fresh seed.
    ///
    /// # Errors
    /// [`Error::NoService`] without a source, [`Error::TimedOut`], those of the connection.
    pub fn new(names: &names::Client) -> Result<Random, Error> {
        Ok(Random {
            generator: seed(names)?,
            since_seed: 0,
        })
    }

    /// Fills `to`, getting a new seed first when one is due.
    ///
    /// # Errors
    /// As [`Random::new`], when a new seed is due.
    pub fn fill(&mut self, names: &names::Client, to: &mut [u8]) -> Result<(), Error> {
        if self.since_seed >= RESEED_BYTES {
            self.generator = seed(names)?;
            self.since_seed = 0;
        }
        self.since_seed = self.since_seed.saturating_add(to.len() as u64);
        self.generator.fill_bytes(to);
        Ok(())
    }
}

impl TryRng for Random {
    type Error = core::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(self.generator.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(self.generator.next_u64())
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Self::Error> {
        self.generator.fill_bytes(to);
        Ok(())
    }
}

impl TryCryptoRng for Random {}

fn seed(names: &names::Client) -> Result<ChaCha20Rng, Error> {
    let channel = names.connect(b"ENTROPYD:", clock::after(SEED_TIMEOUT_NS))?;
    let client = Client::new(channel);
    client.connection().set_timeout(SEED_TIMEOUT_NS);
    let bytes = client.get(32)?;
    let mut seed: [u8; 32] = (*bytes).try_into().map_err(|_| Error::BadMessage)?;
    let generator = ChaCha20Rng::from_seed(seed);
    seed.zeroize();
    Ok(generator)
}
