//! X25519MLKEM768, the hybrid of draft-ietf-tls-ecdhe-mlkem: ML-KEM comes first in the shares
//! and in the secret.

use super::{ActiveX25519, BAD_SHARE, X25519};
use crate::random::generator;
use alloc::boxed::Box;
use alloc::vec::Vec;
use ml_kem::kem::{Decapsulate, Encapsulate, Generate, KeyExport};
use ml_kem::ml_kem_768::{DecapsulationKey, EncapsulationKey};
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, ProtocolVersion};
use zeroize::Zeroize;

const ENCAPSULATION_KEY_LEN: usize = 1184;
const CIPHERTEXT_LEN: usize = 1088;

/// ML-KEM-768 and X25519.
#[derive(Clone, Copy, Debug)]
pub(crate) struct X25519MlKem768(pub(crate) X25519);

impl SupportedKxGroup for X25519MlKem768 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let quantum = DecapsulationKey::generate_from_rng(&mut generator(self.0.0)?);
        Ok(Box::new(Active::new(Box::new(quantum), self.0.start()?)))
    }

    /// The server's part: the client's encapsulation key is answered with a ciphertext.
    fn start_and_complete(&self, client_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (key, classical_share) = split::<ENCAPSULATION_KEY_LEN>(client_share)?;
        // Refuses keys whose coefficients are not reduced (FIPS 203, section 7.2).
        let key = EncapsulationKey::new(&(*key).into()).map_err(|_| BAD_SHARE)?;
        let classical = self.0.start()?;
        let classical_secret = classical.agree(classical_share)?;
        let (ciphertext, mut quantum_secret) = key.encapsulate_with_rng(&mut generator(self.0.0)?);
        let secret = [&quantum_secret[..], classical_secret.as_bytes()].concat();
        quantum_secret.zeroize();
        Ok(CompletedKeyExchange {
            group: self.name(),
            pub_key: [&ciphertext[..], classical.pub_key()].concat(),
            secret: SharedSecret::from(secret),
        })
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

/// The client's part.
pub(crate) struct Active {
    quantum: Box<DecapsulationKey>,
    classical: ActiveX25519,
    share: Vec<u8>,
}

impl Active {
    pub(crate) fn new(quantum: Box<DecapsulationKey>, classical: ActiveX25519) -> Self {
        let key = quantum.encapsulation_key().to_bytes();
        let share = [&key[..], classical.pub_key()].concat();
        Self {
            quantum,
            classical,
            share,
        }
    }
}

impl ActiveKeyExchange for Active {
    fn complete(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        let (ciphertext, classical_share) = split::<CIPHERTEXT_LEN>(server_share)?;
        let classical_secret = self.classical.agree(classical_share)?;
        let mut quantum_secret = self.quantum.decapsulate(&(*ciphertext).into());
        let secret = [&quantum_secret[..], classical_secret.as_bytes()].concat();
        quantum_secret.zeroize();
        Ok(SharedSecret::from(secret))
    }

    /// X25519 is offered by itself with the same share, for servers that know nothing newer.
    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        Some((NamedGroup::X25519, self.classical.pub_key()))
    }

    fn complete_hybrid_component(
        self: Box<Self>,
        server_share: &[u8],
    ) -> Result<SharedSecret, Error> {
        Box::new(self.classical).complete(server_share)
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519MLKEM768
    }
}

/// A share's first `N` bytes, which are ML-KEM's, and the rest, which X25519 checks.
fn split<const N: usize>(share: &[u8]) -> Result<(&[u8; N], &[u8]), Error> {
    share.split_first_chunk::<N>().ok_or(BAD_SHARE)
}
