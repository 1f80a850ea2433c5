//! Key exchange groups.

mod hybrid;
mod nist;

pub(crate) use hybrid::X25519MlKem768;
pub(crate) use nist::{Secp256r1, Secp384r1};

use crate::random::generator;
use alloc::boxed::Box;
use rustls::crypto::{ActiveKeyExchange, SecureRandom, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved};
use x25519_dalek::{PublicKey, StaticSecret};

/// What a share that no honest peer would send is answered with.
const BAD_SHARE: Error = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);

/// X25519 (RFC 7748).
#[derive(Clone, Copy, Debug)]
pub(crate) struct X25519(pub(crate) &'static dyn SecureRandom);

impl X25519 {
    fn start(self) -> Result<ActiveX25519, Error> {
        let secret = StaticSecret::random_from_rng(&mut generator(self.0)?);
        Ok(ActiveX25519::new(secret))
    }
}

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new((*self).start()?))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

pub(crate) struct ActiveX25519 {
    secret: StaticSecret,
    share: PublicKey,
}

impl ActiveX25519 {
    pub(crate) fn new(secret: StaticSecret) -> Self {
        let share = PublicKey::from(&secret);
        Self { secret, share }
    }

    /// The secret of both sides.
    ///
    /// An all-zero one is refused, as RFC 8446, section 7.4.2 demands: it comes from a share of
    /// small order, with which the peer alone would decide what the secret is.
    pub(crate) fn agree(&self, peer_share: &[u8]) -> Result<x25519_dalek::SharedSecret, Error> {
        let peer_share: [u8; 32] = peer_share.try_into().map_err(|_| BAD_SHARE)?;
        let secret = self.secret.diffie_hellman(&PublicKey::from(peer_share));
        if secret.was_contributory() {
            Ok(secret)
        } else {
            Err(BAD_SHARE)
        }
    }
}

impl ActiveKeyExchange for ActiveX25519 {
    fn complete(self: Box<Self>, peer_share: &[u8]) -> Result<SharedSecret, Error> {
        let secret = self.agree(peer_share)?;
        Ok(SharedSecret::from(&secret.as_bytes()[..]))
    }

    fn pub_key(&self) -> &[u8] {
        self.share.as_bytes()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[cfg(test)]
pub(crate) mod tests;
