//! Signing: private keys in PKCS#8 or SEC1.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use p256::pkcs8::DecodePrivateKey;
use rustls::crypto::KeyProvider;
use rustls::pki_types::{AlgorithmIdentifier, PrivateKeyDer, SubjectPublicKeyInfoDer, alg_id};
use rustls::sign::{Signer, SigningKey, public_key_to_spki};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use signature::Signer as _;

/// Loads private keys: Ed25519, and ECDSA with P-256 and P-384.
#[derive(Debug)]
pub(crate) struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let secret = match &key {
            PrivateKeyDer::Pkcs8(der) => from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Sec1(der) => from_sec1(der.secret_sec1_der()),
            _ => None,
        };
        let secret = secret.ok_or_else(|| Error::General(UNKNOWN_KEY.into()))?;
        Ok(Arc::new(Key(Arc::new(secret))))
    }
}

const UNKNOWN_KEY: &str = "the private key is not Ed25519, ECDSA P-256 or ECDSA P-384";

fn from_pkcs8(der: &[u8]) -> Option<Secret> {
    let ed25519 = || ed25519_dalek::SigningKey::from_pkcs8_der(der).ok();
    let p256 = || p256::SecretKey::from_pkcs8_der(der).ok();
    let p384 = || p384::SecretKey::from_pkcs8_der(der).ok();
    ed25519()
        .map(Secret::Ed25519)
        .or_else(|| p256().map(|key| Secret::P256(key.into())))
        .or_else(|| p384().map(|key| Secret::P384(key.into())))
}

fn from_sec1(der: &[u8]) -> Option<Secret> {
    let p256 = p256::SecretKey::from_sec1_der(der).ok();
    let p384 = || p384::SecretKey::from_sec1_der(der).ok();
    p256.map(|key| Secret::P256(key.into()))
        .or_else(|| p384().map(|key| Secret::P384(key.into())))
}

enum Secret {
    Ed25519(ed25519_dalek::SigningKey),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

impl Secret {
    /// In TLS 1.3 the key alone decides the scheme.
    fn scheme(&self) -> SignatureScheme {
        match self {
            Secret::Ed25519(_) => SignatureScheme::ED25519,
            Secret::P256(_) => SignatureScheme::ECDSA_NISTP256_SHA256,
            Secret::P384(_) => SignatureScheme::ECDSA_NISTP384_SHA384,
        }
    }

    fn algorithm(&self) -> AlgorithmIdentifier {
        match self {
            Secret::Ed25519(_) => alg_id::ED25519,
            Secret::P256(_) => alg_id::ECDSA_P256,
            Secret::P384(_) => alg_id::ECDSA_P384,
        }
    }

    fn public_key(&self) -> Vec<u8> {
        match self {
            Secret::Ed25519(key) => key.verifying_key().to_bytes().to_vec(),
            Secret::P256(key) => key.verifying_key().to_sec1_bytes().into_vec(),
            Secret::P384(key) => key.verifying_key().to_sec1_bytes().into_vec(),
        }
    }

    /// A signature; the nonces of ECDSA are those of RFC 6979, so that no bad random number can
    /// give the key away.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(match self {
            Secret::Ed25519(key) => key.try_sign(message)?.to_bytes().to_vec(),
            Secret::P256(key) => {
                let signature: p256::ecdsa::Signature = key.try_sign(message)?;
                signature.to_der().as_bytes().to_vec()
            }
            Secret::P384(key) => {
                let signature: p384::ecdsa::Signature = key.try_sign(message)?;
                signature.to_der().as_bytes().to_vec()
            }
        })
    }
}

struct Key(Arc<Secret>);

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = self.0.scheme();
        offered
            .contains(&scheme)
            .then(|| Box::new(KeySigner(self.0.clone())) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        let key = self.0.public_key();
        Some(public_key_to_spki(&self.0.algorithm(), key))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match *self.0 {
            Secret::Ed25519(_) => SignatureAlgorithm::ED25519,
            Secret::P256(_) | Secret::P384(_) => SignatureAlgorithm::ECDSA,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.0.scheme())
    }
}

struct KeySigner(Arc<Secret>);

impl Signer for KeySigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.0.sign(message);
        signature.map_err(|_| Error::General("the signature could not be made".into()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.0.scheme()
    }
}

impl fmt::Debug for KeySigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySigner({:?})", self.0.scheme())
    }
}
