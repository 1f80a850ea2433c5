//! Public keys, private keys and signatures, as SSH encodes them.

mod authorized;
mod known;
mod openssh;
mod password;

pub use authorized::{AuthorizedKey, AuthorizedKeys, KeyOptions};
pub use known::{HostKeyCheck, KnownHosts};
pub use password::{PASSWORD_ROUNDS, check_password, hash_password};

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use base64ct::{Base64, Base64Unpadded, Encoding};
use ed25519_dalek::Signer;
use p256::ecdsa;
use p256::ecdsa::signature::Verifier;
use rand_core::CryptoRng;
use rsa::pkcs1v15;
use rsa::{BoxedUint, RsaPublicKey};
use sha2::{Digest, Sha256, Sha512};

use crate::Error;
use crate::algorithm::SignatureAlgorithm;
use crate::wire::{Put, Reader};

/// Smallest RSA modulus that is accepted, in bits. Smaller ones can be factored.
pub const RSA_BITS_MIN: u32 = 2048;
const ED25519: &str = "ssh-ed25519";
const ECDSA_P256: &str = "ecdsa-sha2-nistp256";
const RSA: &str = "ssh-rsa";
const NISTP256: &str = "nistp256";

/// A public key that has been checked: right length, on its curve, large enough.
#[derive(Clone)]
pub struct PublicKey {
    blob: Vec<u8>,
    kind: Box<Kind>,
}

#[derive(Clone)]
enum Kind {
    Ed25519(ed25519_dalek::VerifyingKey),
    EcdsaP256(ecdsa::VerifyingKey),
    Rsa(RsaPublicKey),
}

impl PublicKey {
    /// Reads the encoding used on the wire and, in base64, in files (RFC 4253 section 6.6).
    ///
    /// # Errors
    /// [`Error::Malformed`] for damaged bytes, [`Error::UnsupportedKey`] for other kinds of keys,
    /// RSA keys below [`RSA_BITS_MIN`] and Ed25519 points of small order.
    pub fn from_blob(blob: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(blob);
        let kind = match reader.text()? {
            ED25519 => {
                let bytes = reader.string()?.try_into().map_err(|_| Error::Malformed)?;
                let key =
                    ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| Error::Malformed)?;
                if key.is_weak() {
                    return Err(Error::UnsupportedKey);
                }
                Kind::Ed25519(key)
            }
            ECDSA_P256 => {
                if reader.text()? != NISTP256 {
                    return Err(Error::Malformed);
                }
                let point = reader.string()?;
                // RFC 5656 section 3.1 leaves compressed points optional: only tag 4 is taken.
                if point.first() != Some(&4) {
                    return Err(Error::UnsupportedKey);
                }
                let key = ecdsa::VerifyingKey::from_sec1_bytes(point);
                Kind::EcdsaP256(key.map_err(|_| Error::Malformed)?)
            }
            RSA => {
                let exponent = uint(reader.mpint()?)?;
                let modulus = uint(reader.mpint()?)?;
                if modulus.bits() < RSA_BITS_MIN {
                    return Err(Error::UnsupportedKey);
                }
                let key = RsaPublicKey::new(modulus, exponent);
                Kind::Rsa(key.map_err(|_| Error::UnsupportedKey)?)
            }
            _ => return Err(Error::UnsupportedKey),
        };
        reader.finish()?;
        Ok(PublicKey {
            blob: blob.to_vec(),
            kind: Box::new(kind),
        })
    }

    /// Reads `type base64 [comment]`, the form of `.pub` files.
    ///
    /// # Errors
    /// As [`from_blob`](Self::from_blob), and [`Error::Malformed`] if the type does not fit.
    pub fn from_text(line: &str) -> Result<Self, Error> {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().ok_or(Error::Malformed)?;
        let base64 = words.next().ok_or(Error::Malformed)?;
        let key = Self::from_blob(&decode_base64(base64)?)?;
        if key.type_name() == name {
            Ok(key)
        } else {
            Err(Error::Malformed)
        }
    }

    /// The form of `.pub` files: type and base64.
    pub fn to_text(&self) -> String {
        let mut text = String::from(self.type_name());
        text.push(' ');
        text.push_str(&Base64::encode_string(&self.blob));
        text
    }

    /// The encoding used on the wire.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The name of the kind of key: `ssh-ed25519`, `ecdsa-sha2-nistp256` or `ssh-rsa`.
    pub fn type_name(&self) -> &'static str {
        match *self.kind {
            Kind::Ed25519(_) => ED25519,
            Kind::EcdsaP256(_) => ECDSA_P256,
            Kind::Rsa(_) => RSA,
        }
    }

    /// `SHA256:` and the hash of the key in base64, as OpenSSH prints it.
    pub fn fingerprint(&self) -> String {
        let mut text = String::from("SHA256:");
        text.push_str(&Base64Unpadded::encode_string(&Sha256::digest(&self.blob)));
        text
    }

    /// Whether signatures of this algorithm can come from this key.
    pub fn fits(&self, algorithm: SignatureAlgorithm) -> bool {
        match *self.kind {
            Kind::Ed25519(_) => algorithm == SignatureAlgorithm::Ed25519,
            Kind::EcdsaP256(_) => algorithm == SignatureAlgorithm::EcdsaP256,
            Kind::Rsa(_) => matches!(
                algorithm,
                SignatureAlgorithm::RsaSha256 | SignatureAlgorithm::RsaSha512
            ),
        }
    }

    /// Verifies `signature`, in its wire encoding, over `data`.
    ///
    /// # Errors
    /// [`Error::BadSignature`] whenever it is not exactly a signature of `algorithm` by this key.
    pub fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        data: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        self.verified(algorithm, data, signature)
            .map_err(|_| Error::BadSignature)
    }

    fn verified(
        &self,
        algorithm: SignatureAlgorithm,
        data: &[u8],
        blob: &[u8],
    ) -> Result<(), Error> {
        let refused = |_| Error::BadSignature;
        let mut reader = Reader::new(blob);
        if reader.text()? != algorithm.name() || !self.fits(algorithm) {
            return Err(Error::BadSignature);
        }
        let bytes = reader.string()?;
        reader.finish()?;
        match &*self.kind {
            Kind::Ed25519(key) => {
                let signature = ed25519_dalek::Signature::from_slice(bytes).map_err(refused)?;
                key.verify_strict(data, &signature).map_err(refused)
            }
            Kind::EcdsaP256(key) => {
                let mut reader = Reader::new(bytes);
                let r = padded::<32>(reader.mpint()?)?;
                let s = padded::<32>(reader.mpint()?)?;
                reader.finish()?;
                let signature = ecdsa::Signature::from_scalars(r, s).map_err(refused)?;
                key.verify(data, &signature).map_err(refused)
            }
            Kind::Rsa(key) => verify_rsa(key, algorithm, data, bytes),
        }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.blob == other.blob
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.type_name(), self.fingerprint())
    }
}

fn verify_rsa(
    key: &RsaPublicKey,
    algorithm: SignatureAlgorithm,
    data: &[u8],
    bytes: &[u8],
) -> Result<(), Error> {
    use rsa::traits::PublicKeyParts;
    // Some programs drop leading zeros of the signature, and RFC 8332 section 3 asks for none.
    let missing = key
        .size()
        .checked_sub(bytes.len())
        .ok_or(Error::BadSignature)?;
    let mut full = alloc::vec![0; missing];
    full.extend_from_slice(bytes);
    let signature = pkcs1v15::Signature::try_from(full.as_slice());
    let signature = signature.map_err(|_| Error::BadSignature)?;
    match algorithm {
        SignatureAlgorithm::RsaSha256 => {
            pkcs1v15::VerifyingKey::<Sha256>::new(key.clone()).verify(data, &signature)
        }
        SignatureAlgorithm::RsaSha512 => {
            pkcs1v15::VerifyingKey::<Sha512>::new(key.clone()).verify(data, &signature)
        }
        _ => return Err(Error::BadSignature),
    }
    .map_err(|_| Error::BadSignature)
}

/// A private key: Ed25519 or ECDSA P-256. RSA is verified only, since no constant-time
/// implementation of its private operation is at hand. Wiped from memory when dropped.
#[derive(Clone)]
pub struct PrivateKey(Box<Secret>);

#[derive(Clone)]
enum Secret {
    Ed25519(ed25519_dalek::SigningKey),
    EcdsaP256(ecdsa::SigningKey),
}

impl From<Secret> for PrivateKey {
    fn from(secret: Secret) -> Self {
        PrivateKey(Box::new(secret))
    }
}

impl PrivateKey {
    /// Makes a new Ed25519 key.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self::from_ed25519_seed(&seed)
    }

    /// The Ed25519 key that belongs to these 32 secret bytes (RFC 8032 section 5.1.5).
    pub fn from_ed25519_seed(seed: &[u8; 32]) -> Self {
        Secret::Ed25519(ed25519_dalek::SigningKey::from_bytes(seed)).into()
    }

    /// The ECDSA P-256 key with this scalar, big-endian.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the scalar is zero or not below the order of the curve.
    pub fn from_p256_scalar(scalar: &[u8; 32]) -> Result<Self, Error> {
        let key = ecdsa::SigningKey::from_slice(scalar).map_err(|_| Error::Malformed)?;
        Ok(Secret::EcdsaP256(key).into())
    }

    /// Reads an `openssh-key-v1` file, with its passphrase if it is encrypted.
    ///
    /// # Errors
    /// [`Error::BadPassphrase`] if a passphrase is missing or wrong, [`Error::UnsupportedKey`]
    /// for other kinds of keys and ciphers, [`Error::LimitExceeded`] for a file that asks for an
    /// unreasonable number of bcrypt rounds.
    pub fn from_openssh(file: &str, passphrase: Option<&str>) -> Result<Self, Error> {
        openssh::read(file, passphrase)
    }

    /// Writes an `openssh-key-v1` file without encryption.
    pub fn to_openssh(&self, comment: &str, rng: &mut (impl CryptoRng + ?Sized)) -> String {
        let mut check = [0; 4];
        rng.fill_bytes(&mut check);
        openssh::write(self, comment, u32::from_be_bytes(check))
    }

    /// Writes an `openssh-key-v1` file encrypted with aes256-ctr under bcrypt.
    ///
    /// # Errors
    /// [`Error::BadPassphrase`] if the passphrase is empty.
    pub fn to_openssh_encrypted(
        &self,
        comment: &str,
        passphrase: &str,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<String, Error> {
        let mut salt_and_check = [0; 20];
        rng.fill_bytes(&mut salt_and_check);
        openssh::write_encrypted(self, comment, passphrase, salt_and_check)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let mut blob = Vec::new();
        match &*self.0 {
            Secret::Ed25519(key) => {
                let public = key.verifying_key();
                blob.put_string(ED25519);
                blob.put_string(public.as_bytes());
                PublicKey {
                    blob,
                    kind: Box::new(Kind::Ed25519(public)),
                }
            }
            Secret::EcdsaP256(key) => {
                let public = *key.verifying_key();
                blob.put_string(ECDSA_P256);
                blob.put_string(NISTP256);
                blob.put_string(public.to_sec1_point(false).as_bytes());
                PublicKey {
                    blob,
                    kind: Box::new(Kind::EcdsaP256(public)),
                }
            }
        }
    }

    /// The algorithm with which this key signs.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        match *self.0 {
            Secret::Ed25519(_) => SignatureAlgorithm::Ed25519,
            Secret::EcdsaP256(_) => SignatureAlgorithm::EcdsaP256,
        }
    }

    /// Signs `data`; the result is in its wire encoding.
    pub fn sign(&self, data: &[u8]) -> Vec<u8> {
        let mut blob = Vec::new();
        blob.put_string(self.algorithm().name());
        match &*self.0 {
            Secret::Ed25519(key) => blob.put_string(key.sign(data).to_bytes()),
            Secret::EcdsaP256(key) => {
                let signature: ecdsa::Signature = key.sign(data);
                let (r, s) = signature.split_bytes();
                let mut numbers = Vec::new();
                numbers.put_mpint(&r);
                numbers.put_mpint(&s);
                blob.put_string(numbers);
            }
        }
        blob
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?})", self.public())
    }
}

fn uint(magnitude: &[u8]) -> Result<BoxedUint, Error> {
    if magnitude.len() > RsaPublicKey::MAX_SIZE / 8 {
        return Err(Error::UnsupportedKey);
    }
    Ok(BoxedUint::from_be_slice_vartime(magnitude))
}

fn padded<const N: usize>(magnitude: &[u8]) -> Result<[u8; N], Error> {
    let start = N.checked_sub(magnitude.len()).ok_or(Error::Malformed)?;
    let mut bytes = [0; N];
    bytes
        .get_mut(start..)
        .ok_or(Error::Malformed)?
        .copy_from_slice(magnitude);
    Ok(bytes)
}

/// Decodes base64 that may lack its padding.
fn decode_base64(text: &str) -> Result<Vec<u8>, Error> {
    Base64Unpadded::decode_vec(text.trim_end_matches('=')).map_err(|_| Error::Malformed)
}
