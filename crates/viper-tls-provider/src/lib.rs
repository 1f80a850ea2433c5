#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

extern crate alloc;

mod aead;
mod hash;
mod hkdf;
mod kx;
mod random;
mod sign;
mod verify;

#[cfg(test)]
mod wycheproof;

pub use random::FillFn;
pub use rustls::crypto::{CryptoProvider as Provider, GetRandomFailed};

use alloc::vec;
use rustls::crypto::{CryptoProvider, SecureRandom, SupportedKxGroup};

/// The cipher suites of this provider, for those who assemble their own [`CryptoProvider`].
pub mod suite {
    pub use crate::aead::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
}

/// Cryptography for rustls that draws its randomness from a source the caller names.
///
/// rustls keeps references to key exchange groups and the random source for the life of the
/// program. A `Crypto` holds both, so it is meant for a `static`:
///
/// ```
/// use rustls::crypto::GetRandomFailed;
/// use viper_tls_provider::{Crypto, FillFn};
///
/// fn fill(buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
///     // The system's source goes here. This one makes a working but insecure TLS.
///     buffer.fill(4);
///     Ok(())
/// }
/// static RANDOM: FillFn = FillFn(fill);
/// static CRYPTO: Crypto = Crypto::new(&RANDOM);
///
/// let provider = CRYPTO.provider();
/// assert_eq!(provider.cipher_suites.len(), 3);
/// ```
///
/// Where the source only comes to be at run time, `Box::leak(Box::new(Crypto::new(source)))` once
/// costs about a hundred bytes.
#[derive(Debug)]
pub struct Crypto {
    random: &'static dyn SecureRandom,
    x25519mlkem768: kx::X25519MlKem768,
    x25519: kx::X25519,
    secp256r1: kx::Secp256r1,
    secp384r1: kx::Secp384r1,
}

impl Crypto {
    /// Cryptography that takes every random byte from `random`.
    pub const fn new(random: &'static dyn SecureRandom) -> Self {
        Self {
            random,
            x25519mlkem768: kx::X25519MlKem768(kx::X25519(random)),
            x25519: kx::X25519(random),
            secp256r1: kx::Secp256r1(random),
            secp384r1: kx::Secp384r1(random),
        }
    }

    /// Everything this crate has, in the order in which it should be preferred.
    ///
    /// The suites begin with AES-128-GCM, the cheapest where the processor knows AES, as all that
    /// this is meant for do. [`software_provider`](Self::software_provider) is for the others.
    pub fn provider(&'static self) -> CryptoProvider {
        CryptoProvider {
            cipher_suites: vec![
                suite::TLS13_AES_128_GCM_SHA256,
                suite::TLS13_CHACHA20_POLY1305_SHA256,
                suite::TLS13_AES_256_GCM_SHA384,
            ],
            kx_groups: vec![
                self.x25519mlkem768(),
                self.x25519(),
                self.secp256r1(),
                self.secp384r1(),
            ],
            signature_verification_algorithms: verify::ALGORITHMS,
            secure_random: self.random,
            key_provider: &sign::Keys,
        }
    }

    /// As [`provider`](Self::provider), but with ChaCha20-Poly1305 first: for processors without
    /// AES instructions.
    pub fn software_provider(&'static self) -> CryptoProvider {
        let mut provider = self.provider();
        provider.cipher_suites.swap(0, 1);
        provider
    }

    /// ML-KEM-768 together with X25519: safe as long as one of the two is.
    pub fn x25519mlkem768(&'static self) -> &'static dyn SupportedKxGroup {
        &self.x25519mlkem768
    }

    /// X25519.
    pub fn x25519(&'static self) -> &'static dyn SupportedKxGroup {
        &self.x25519
    }

    /// NIST P-256.
    pub fn secp256r1(&'static self) -> &'static dyn SupportedKxGroup {
        &self.secp256r1
    }

    /// NIST P-384.
    pub fn secp384r1(&'static self) -> &'static dyn SupportedKxGroup {
        &self.secp384r1
    }
}
