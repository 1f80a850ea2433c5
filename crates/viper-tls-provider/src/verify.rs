//! Verifying signatures, of certificates and of handshakes.

use core::fmt;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::pkcs1::DecodeRsaPublicKey;
use rsa::traits::PublicKeyParts;
use rsa::{RsaPublicKey, pkcs1v15, pss};
use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use sha2::{Digest, Sha256, Sha384, Sha512};
use signature::Verifier;

/// Smallest RSA modulus that is taken seriously, in bits.
const RSA_MIN_BITS: u32 = 2048;

/// What certificates may be signed with, and which signatures TLS may carry.
///
/// The mapping begins with the schemes that are preferred. PKCS#1 v1.5 is there for certificates
/// alone: rustls accepts no such signature on a TLS 1.3 handshake.
pub(crate) const ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        ED25519,
        ECDSA_P256_SHA256,
        ECDSA_P256_SHA384,
        ECDSA_P384_SHA256,
        ECDSA_P384_SHA384,
        RSA_PSS_SHA256,
        RSA_PSS_SHA384,
        RSA_PSS_SHA512,
        RSA_PKCS1_SHA256,
        RSA_PKCS1_SHA384,
        RSA_PKCS1_SHA512,
    ],
    mapping: &[
        (SignatureScheme::ED25519, &[ED25519]),
        // In TLS 1.3 the first of the list is the only one; certificates may mix.
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[ECDSA_P256_SHA256, ECDSA_P384_SHA256],
        ),
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[ECDSA_P384_SHA384, ECDSA_P256_SHA384],
        ),
        (SignatureScheme::RSA_PSS_SHA256, &[RSA_PSS_SHA256]),
        (SignatureScheme::RSA_PSS_SHA384, &[RSA_PSS_SHA384]),
        (SignatureScheme::RSA_PSS_SHA512, &[RSA_PSS_SHA512]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[RSA_PKCS1_SHA256]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[RSA_PKCS1_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[RSA_PKCS1_SHA512]),
    ],
};

macro_rules! algorithms {
    ($($name:ident: $key:ident, $signature:ident, $verify:expr;)*) => {
        $(pub(crate) const $name: &dyn SignatureVerificationAlgorithm = &Algorithm {
            name: stringify!($name),
            key: alg_id::$key,
            signature: alg_id::$signature,
            verify: $verify,
        };)*
    };
}

algorithms! {
    ED25519: ED25519, ED25519, ed25519;
    ECDSA_P256_SHA256: ECDSA_P256, ECDSA_SHA256, p256::<Sha256>;
    ECDSA_P256_SHA384: ECDSA_P256, ECDSA_SHA384, p256::<Sha384>;
    ECDSA_P384_SHA256: ECDSA_P384, ECDSA_SHA256, p384::<Sha256>;
    ECDSA_P384_SHA384: ECDSA_P384, ECDSA_SHA384, p384::<Sha384>;
    RSA_PSS_SHA256: RSA_ENCRYPTION, RSA_PSS_SHA256, rsa_pss::<Sha256>;
    RSA_PSS_SHA384: RSA_ENCRYPTION, RSA_PSS_SHA384, rsa_pss::<Sha384>;
    RSA_PSS_SHA512: RSA_ENCRYPTION, RSA_PSS_SHA512, rsa_pss::<Sha512>;
    RSA_PKCS1_SHA256: RSA_ENCRYPTION, RSA_PKCS1_SHA256, rsa_pkcs1::<Sha256>;
    RSA_PKCS1_SHA384: RSA_ENCRYPTION, RSA_PKCS1_SHA384, rsa_pkcs1::<Sha384>;
    RSA_PKCS1_SHA512: RSA_ENCRYPTION, RSA_PKCS1_SHA512, rsa_pkcs1::<Sha512>;
}

/// Verifies a signature: the public key as in the certificate's bit string, message, signature.
type Verify = fn(&[u8], &[u8], &[u8]) -> Option<()>;

struct Algorithm {
    name: &'static str,
    key: AlgorithmIdentifier,
    signature: AlgorithmIdentifier,
    verify: Verify,
}

impl SignatureVerificationAlgorithm for Algorithm {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        (self.verify)(public_key, message, signature).ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

impl fmt::Debug for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Ed25519 (RFC 8032). Keys of small order, under which anything verifies, are refused.
fn ed25519(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = ed25519_dalek::VerifyingKey::try_from(key).ok()?;
    let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
    key.verify_strict(message, &signature).ok()
}

/// The form of points that certificates may have: RFC 5480 lets those who verify refuse others.
const UNCOMPRESSED: u8 = 4;

fn p256<D: Digest>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let _uncompressed = key.first().filter(|&&form| form == UNCOMPRESSED)?;
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
    let signature = p256::ecdsa::Signature::from_der(signature).ok()?;
    key.verify_prehash(&D::digest(message), &signature).ok()
}

fn p384<D: Digest>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let _uncompressed = key.first().filter(|&&form| form == UNCOMPRESSED)?;
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
    let signature = p384::ecdsa::Signature::from_der(signature).ok()?;
    key.verify_prehash(&D::digest(message), &signature).ok()
}

/// An RSA key of 2048 to 8192 bits.
fn rsa_key(der: &[u8]) -> Option<RsaPublicKey> {
    let key = RsaPublicKey::from_pkcs1_der(der).ok()?;
    (key.n().bits() >= RSA_MIN_BITS).then_some(key)
}

/// RSASSA-PSS with a salt as long as the hash, as RFC 8446, section 4.2.3 asks for.
fn rsa_pss<D>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()>
where
    D: Digest + sha2::digest::FixedOutputReset,
{
    let key = pss::VerifyingKey::<D>::new(rsa_key(key)?);
    let signature = pss::Signature::try_from(signature).ok()?;
    key.verify(message, &signature).ok()
}

fn rsa_pkcs1<D>(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()>
where
    D: Digest + pkcs1v15::RsaSignatureAssociatedOid + sha2::digest::const_oid::AssociatedOid,
{
    let key = pkcs1v15::VerifyingKey::<D>::new(rsa_key(key)?);
    let signature = pkcs1v15::Signature::try_from(signature).ok()?;
    key.verify(message, &signature).ok()
}
