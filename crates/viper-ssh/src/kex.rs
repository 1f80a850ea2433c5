//! Key exchange: shares, the shared secret, the exchange hash and the keys made from it.
//!
//! Curve25519 as in RFC 8731; ML-KEM-768 with X25519 as in draft-ietf-sshm-mlkem-hybrid-kex.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ml_kem::kem::{Decapsulate, Encapsulate, KeyExport};
use ml_kem::ml_kem_768;
use sha2::{Digest, Sha256};
use x25519_dalek::{EphemeralSecret, PublicKey as X25519Public};
use zeroize::Zeroizing;

use crate::Error;
use crate::algorithm::{Kex, Protection};
use crate::cipher::{KeySizes, PacketCipher};
use crate::random::Random;
use crate::wire::Put;

const X25519_LEN: usize = 32;
const KEM_PUBLIC_LEN: usize = 1184;
const KEM_CIPHERTEXT_LEN: usize = 1088;

/// The hash of an exchange; that of the first one is the session identifier.
pub(crate) type Hash = [u8; 32];

/// The shared secret `K` as a field of the exchange hash: an mpint, or a string if hybrid.
pub(crate) struct SharedSecret(Zeroizing<Vec<u8>>);

/// The client's half of an exchange, waiting for the server's.
pub(crate) struct ClientShare {
    secret: EphemeralSecret,
    kem: Option<Box<ml_kem_768::DecapsulationKey>>,
    public: Vec<u8>,
}

impl ClientShare {
    pub fn new(kex: Kex, random: &mut Random) -> Self {
        let mut public = Vec::new();
        let kem = (kex == Kex::MlKem768X25519).then(|| {
            let seed = Zeroizing::new(random.array::<64>());
            let kem = Box::new(ml_kem_768::DecapsulationKey::from_seed((*seed).into()));
            public.extend_from_slice(&kem.encapsulation_key().to_bytes());
            kem
        });
        let secret = EphemeralSecret::random_from_rng(random);
        public.extend_from_slice(X25519Public::from(&secret).as_bytes());
        ClientShare {
            secret,
            kem,
            public,
        }
    }

    /// What goes into SSH_MSG_KEX_ECDH_INIT.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Completes the exchange with the server's share.
    ///
    /// # Errors
    /// [`Error::BadKeyShare`] for a share of wrong length or one that makes the secret zero.
    pub fn finish(self, server_share: &[u8]) -> Result<SharedSecret, Error> {
        let Some(kem) = self.kem else {
            return Ok(SharedSecret::mpint(&agree(self.secret, server_share)?));
        };
        let (ciphertext, classic) = server_share
            .split_at_checked(KEM_CIPHERTEXT_LEN)
            .ok_or(Error::BadKeyShare)?;
        let classic = agree(self.secret, classic)?;
        let ciphertext = ciphertext.try_into().map_err(|_| Error::BadKeyShare)?;
        let quantum = kem.decapsulate(&ciphertext);
        Ok(SharedSecret::hybrid(&quantum, &classic))
    }
}

/// The server's half: takes the client's share, gives its own and the secret.
///
/// # Errors
/// As [`ClientShare::finish`]; also for an ML-KEM key that is not reduced (FIPS 203 section 7.2).
pub(crate) fn respond(
    kex: Kex,
    client_share: &[u8],
    random: &mut Random,
) -> Result<(Vec<u8>, SharedSecret), Error> {
    let mut reply = Vec::new();
    if kex != Kex::MlKem768X25519 {
        let secret = EphemeralSecret::random_from_rng(random);
        reply.extend_from_slice(X25519Public::from(&secret).as_bytes());
        return Ok((reply, SharedSecret::mpint(&agree(secret, client_share)?)));
    }
    let (kem, classic) = client_share
        .split_at_checked(KEM_PUBLIC_LEN)
        .ok_or(Error::BadKeyShare)?;
    let kem = kem.try_into().map_err(|_| Error::BadKeyShare)?;
    let kem = ml_kem_768::EncapsulationKey::new(&kem).map_err(|_| Error::BadKeyShare)?;
    let (ciphertext, quantum) = kem.encapsulate_with_rng(random);
    let secret = EphemeralSecret::random_from_rng(random);
    reply.extend_from_slice(&ciphertext);
    reply.extend_from_slice(X25519Public::from(&secret).as_bytes());
    let classic = agree(secret, classic)?;
    Ok((reply, SharedSecret::hybrid(&quantum, &classic)))
}

/// X25519. "Clients and servers MUST also abort if the length of the received public keys are not
/// the expected lengths", and "MUST check that the result is not all-zero" (RFC 8731 section 3).
fn agree(secret: EphemeralSecret, theirs: &[u8]) -> Result<x25519_dalek::SharedSecret, Error> {
    let theirs: [u8; X25519_LEN] = theirs.try_into().map_err(|_| Error::BadKeyShare)?;
    let shared = secret.diffie_hellman(&X25519Public::from(theirs));
    if shared.was_contributory() {
        Ok(shared)
    } else {
        Err(Error::BadKeyShare)
    }
}

impl SharedSecret {
    fn mpint(shared: &x25519_dalek::SharedSecret) -> Self {
        let mut field = Zeroizing::new(Vec::with_capacity(40));
        field.put_mpint(shared.as_bytes());
        SharedSecret(field)
    }

    fn hybrid(quantum: &[u8], classic: &x25519_dalek::SharedSecret) -> Self {
        let hash = Sha256::new()
            .chain_update(quantum)
            .chain_update(classic.as_bytes())
            .finalize();
        let mut field = Zeroizing::new(Vec::with_capacity(40));
        field.put_string(hash);
        SharedSecret(field)
    }

    /// `HASH(K || H || letter || session_id)`, prolonged as in RFC 4253 section 7.2.
    fn derive(&self, hash: &Hash, letter: u8, session: &Hash, len: usize) -> Zeroizing<Vec<u8>> {
        let prefix = Sha256::new().chain_update(&*self.0).chain_update(hash);
        let first = prefix
            .clone()
            .chain_update([letter])
            .chain_update(session)
            .finalize();
        let mut key = Zeroizing::new(Vec::with_capacity(128));
        key.extend_from_slice(&first);
        while key.len() < len {
            let next = prefix.clone().chain_update(&*key).finalize();
            key.extend_from_slice(&next);
        }
        key.truncate(len);
        key
    }

    /// The keys of one direction.
    pub fn packet_cipher(
        &self,
        hash: &Hash,
        session: &Hash,
        protection: Protection,
        client_to_server: bool,
    ) -> Result<PacketCipher, Error> {
        let letters = if client_to_server { *b"ACE" } else { *b"BDF" };
        let sizes = KeySizes::of(protection);
        let iv = self.derive(hash, letters[0], session, sizes.iv);
        let key = self.derive(hash, letters[1], session, sizes.key);
        let mac = self.derive(hash, letters[2], session, sizes.mac);
        PacketCipher::new(protection, &iv, &key, &mac)
    }
}

/// Everything both sides have seen, in the order in which it is hashed (RFC 5656 section 4).
pub(crate) struct Transcript<'a> {
    pub client_version: &'a [u8],
    pub server_version: &'a [u8],
    pub client_init: &'a [u8],
    pub server_init: &'a [u8],
    pub host_key: &'a [u8],
    pub client_share: &'a [u8],
    pub server_share: &'a [u8],
}

impl Transcript<'_> {
    pub fn hash(&self, secret: &SharedSecret) -> Hash {
        let mut hash = Sha256::new();
        for field in [
            self.client_version,
            self.server_version,
            self.client_init,
            self.server_init,
            self.host_key,
            self.client_share,
            self.server_share,
        ] {
            hash.update((field.len() as u32).to_be_bytes());
            hash.update(field);
        }
        hash.update(&*secret.0);
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn random() -> Random {
        Random::new(ChaCha20Rng::from_seed([7; 32]))
    }

    #[test]
    fn both_sides_agree() {
        for kex in Kex::ALL {
            let client = ClientShare::new(*kex, &mut random());
            let (share, server_secret) = respond(*kex, client.public(), &mut random()).unwrap();
            let client_secret = client.finish(&share).unwrap();
            assert_eq!(client_secret.0, server_secret.0, "{}", kex.name());
        }
    }

    /// Points of small order on the curve and its twist, and values that reduce to them.
    #[test]
    fn an_all_zero_secret_is_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        let mut p = [0xff; 32];
        (p[0], p[31]) = (0xed, 0x7f);
        let order_eight = [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f,
            0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16,
            0x5f, 0x49, 0xb8, 0x00,
        ];
        for point in [[0; 32], one, p, order_eight] {
            let result = respond(Kex::Curve25519, &point, &mut random());
            assert_eq!(result.err(), Some(Error::BadKeyShare));
            let client = ClientShare::new(Kex::Curve25519, &mut random());
            assert_eq!(client.finish(&point).err(), Some(Error::BadKeyShare));
            // The classic part of a hybrid share is checked as well.
            let client = ClientShare::new(Kex::MlKem768X25519, &mut random());
            let mut share = client.public().to_vec();
            share[KEM_PUBLIC_LEN..].copy_from_slice(&point);
            let result = respond(Kex::MlKem768X25519, &share, &mut random());
            assert_eq!(result.err(), Some(Error::BadKeyShare));
        }
    }

    #[test]
    fn shares_of_wrong_length_are_refused() {
        for kex in Kex::ALL {
            let client = ClientShare::new(*kex, &mut random());
            let mut share = client.public().to_vec();
            share.push(0);
            assert_eq!(
                respond(*kex, &share, &mut random()).err(),
                Some(Error::BadKeyShare)
            );
            share.truncate(share.len() - 2);
            assert_eq!(
                respond(*kex, &share, &mut random()).err(),
                Some(Error::BadKeyShare)
            );
            assert_eq!(client.finish(&[]).err(), Some(Error::BadKeyShare));
        }
    }

    #[test]
    fn an_unreduced_kem_key_is_refused() {
        let client = ClientShare::new(Kex::MlKem768X25519, &mut random());
        let mut share = client.public().to_vec();
        share[..3].copy_from_slice(&[0xff; 3]);
        let result = respond(Kex::MlKem768X25519, &share, &mut random());
        assert_eq!(result.err(), Some(Error::BadKeyShare));
    }
}
