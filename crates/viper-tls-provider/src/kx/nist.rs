//! The curves P-256 and P-384.

use super::BAD_SHARE;
use crate::random::generator;
use alloc::boxed::Box;
use rustls::crypto::{ActiveKeyExchange, SecureRandom, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup};

/// The first byte of an uncompressed point, the only form RFC 8446, section 4.2.8.2 allows.
const UNCOMPRESSED: u8 = 4;

macro_rules! nist_group {
    ($group:ident, $active:ident, $curve:ident, $name:expr, $share_len:expr) => {
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $group(pub(crate) &'static dyn SecureRandom);

        impl SupportedKxGroup for $group {
            fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
                let secret =
                    <$curve::SecretKey as $curve::elliptic_curve::Generate>::generate_from_rng(
                        &mut generator(self.0)?,
                    );
                Ok(Box::new($active::new(secret)))
            }

            fn name(&self) -> NamedGroup {
                $name
            }
        }

        pub(crate) struct $active {
            secret: $curve::SecretKey,
            share: Box<[u8]>,
        }

        impl $active {
            pub(crate) fn new(secret: $curve::SecretKey) -> Self {
                let share = secret.public_key().to_sec1_bytes();
                Self { secret, share }
            }
        }

        impl ActiveKeyExchange for $active {
            /// Refuses compressed and hybrid points, the point at infinity and points that are
            /// not on the curve.
            fn complete(self: Box<Self>, peer_share: &[u8]) -> Result<SharedSecret, Error> {
                if peer_share.len() != $share_len || peer_share.first() != Some(&UNCOMPRESSED) {
                    return Err(BAD_SHARE);
                }
                let peer = $curve::PublicKey::from_sec1_bytes(peer_share);
                let secret = self.secret.diffie_hellman(&peer.map_err(|_| BAD_SHARE)?);
                Ok(SharedSecret::from(&secret.raw_secret_bytes()[..]))
            }

            fn pub_key(&self) -> &[u8] {
                &self.share
            }

            fn group(&self) -> NamedGroup {
                $name
            }
        }
    };
}

nist_group!(Secp256r1, ActiveP256, p256, NamedGroup::secp256r1, 65);
nist_group!(Secp384r1, ActiveP384, p384, NamedGroup::secp384r1, 97);
