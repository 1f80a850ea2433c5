//! The cipher suites: protecting records as RFC 8446, section 5.2 has it.

mod chacha;
mod gcm;
mod lines;

use crate::hash::{Sha256Hash, Sha384Hash};
use crate::hkdf::{HmacSha256, HmacSha384};
use alloc::boxed::Box;
use chacha::ChaCha20Poly1305;
use gcm::{Aes128Gcm, Aes256Gcm};
use rustls::crypto::CipherSuiteCommon;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    NONCE_LEN, Nonce, OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload,
    Tls13AeadAlgorithm, UnsupportedOperationError, make_tls13_aad,
};
use rustls::crypto::tls13::HkdfUsingHmac;
use rustls::{
    CipherSuite, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite, Tls13CipherSuite,
};
use subtle::ConstantTimeEq;

/// Records that may go under one AES-GCM key before rustls changes it, or gives up.
///
/// RFC 8446, section 5.5 allows 2^24.5 records of full size.
const AES_GCM_LIMIT_RECORDS: u64 = 1 << 24;

/// The same for ChaCha20-Poly1305, where the sequence number ends before security does
/// (RFC 8446, section 5.5). Finite all the same: a key that has served that long has served well.
const CHACHA20_POLY1305_LIMIT_RECORDS: u64 = 1 << 62;

/// TLS_AES_128_GCM_SHA256.
pub static TLS13_AES_128_GCM_SHA256: SupportedCipherSuite =
    SupportedCipherSuite::Tls13(&Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: CipherSuite::TLS13_AES_128_GCM_SHA256,
            hash_provider: &Sha256Hash,
            confidentiality_limit: AES_GCM_LIMIT_RECORDS,
        },
        hkdf_provider: &HkdfUsingHmac(&HmacSha256),
        aead_alg: &AES_128_GCM,
        quic: None,
    });

/// TLS_AES_256_GCM_SHA384.
pub static TLS13_AES_256_GCM_SHA384: SupportedCipherSuite =
    SupportedCipherSuite::Tls13(&Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: CipherSuite::TLS13_AES_256_GCM_SHA384,
            hash_provider: &Sha384Hash,
            confidentiality_limit: AES_GCM_LIMIT_RECORDS,
        },
        hkdf_provider: &HkdfUsingHmac(&HmacSha384),
        aead_alg: &AES_256_GCM,
        quic: None,
    });

/// TLS_CHACHA20_POLY1305_SHA256.
pub static TLS13_CHACHA20_POLY1305_SHA256: SupportedCipherSuite =
    SupportedCipherSuite::Tls13(&Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            hash_provider: &Sha256Hash,
            confidentiality_limit: CHACHA20_POLY1305_LIMIT_RECORDS,
        },
        hkdf_provider: &HkdfUsingHmac(&HmacSha256),
        aead_alg: &CHACHA20_POLY1305,
        quic: None,
    });

static AES_128_GCM: Algorithm = Algorithm {
    key_len: 16,
    encrypter: encrypter::<Aes128Gcm>,
    decrypter: decrypter::<Aes128Gcm>,
    secrets: |key, iv| ConnectionTrafficSecrets::Aes128Gcm { key, iv },
};

static AES_256_GCM: Algorithm = Algorithm {
    key_len: 32,
    encrypter: encrypter::<Aes256Gcm>,
    decrypter: decrypter::<Aes256Gcm>,
    secrets: |key, iv| ConnectionTrafficSecrets::Aes256Gcm { key, iv },
};

static CHACHA20_POLY1305: Algorithm = Algorithm {
    key_len: 32,
    encrypter: encrypter::<ChaCha20Poly1305>,
    decrypter: decrypter::<ChaCha20Poly1305>,
    secrets: |key, iv| ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
};

struct Algorithm {
    key_len: usize,
    encrypter: fn(AeadKey, Iv) -> Box<dyn MessageEncrypter>,
    decrypter: fn(AeadKey, Iv) -> Box<dyn MessageDecrypter>,
    secrets: fn(AeadKey, Iv) -> ConnectionTrafficSecrets,
}

impl Tls13AeadAlgorithm for Algorithm {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        (self.encrypter)(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        (self.decrypter)(key, iv)
    }

    fn key_len(&self) -> usize {
        self.key_len
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Ok((self.secrets)(key, iv))
    }
}

fn encrypter<A: Aead>(key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
    Box::new(Records::<A>::new(&key, iv))
}

fn decrypter<A: Aead>(key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
    Box::new(Records::<A>::new(&key, iv))
}

/// An AEAD with nonces of 12 bytes and tags of 16, as all of TLS 1.3 here.
trait Aead: Sized + Send + Sync + 'static {
    fn with_key(key: &[u8]) -> Option<Self>;

    /// Encrypts in place; returns the tag.
    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN];

    /// Decrypts in place. Where the tag is wrong `data` stays as it is.
    fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: [u8; TAG_LEN],
    ) -> Option<()>;
}

const TAG_LEN: usize = 16;

/// Compares in a time that does not depend on where they differ.
fn same_tag(computed: [u8; TAG_LEN], expected: [u8; TAG_LEN]) -> Option<()> {
    bool::from(computed.ct_eq(&expected)).then_some(())
}

/// One direction of a connection.
struct Records<A> {
    aead: A,
    iv: Iv,
}

impl<A: Aead> Records<A> {
    fn new(key: &AeadKey, iv: Iv) -> Self {
        let aead = A::with_key(key.as_ref()).expect("rustls asks for keys of `key_len` bytes");
        Self { aead, iv }
    }
}

impl<A: Aead> MessageEncrypter for Records<A> {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        sequence: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let total_len = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(total_len);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        let nonce = Nonce::new(&self.iv, sequence).0;
        let aad = make_tls13_aad(total_len);
        let tag = self.aead.seal(nonce, &aad, payload.as_mut());
        payload.extend_from_slice(&tag);
        // Every protected record says it is application data of TLS 1.2 (section 5.2).
        Ok(OutboundOpaqueMessage::new(
            ContentType::ApplicationData,
            ProtocolVersion::TLSv1_2,
            payload,
        ))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + 1 + TAG_LEN
    }
}

impl<A: Aead> MessageDecrypter for Records<A> {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        sequence: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let payload = &mut message.payload;
        let aad = make_tls13_aad(payload.len());
        let (data, tag) = payload
            .split_last_chunk_mut::<TAG_LEN>()
            .ok_or(Error::DecryptError)?;
        let nonce = Nonce::new(&self.iv, sequence).0;
        let opened = self.aead.open(nonce, &aad, data, *tag);
        opened.ok_or(Error::DecryptError)?;
        let data_len = data.len();
        payload.truncate(data_len);
        message.into_tls13_unpadded_message()
    }
}

#[cfg(test)]
pub(crate) mod tests;
