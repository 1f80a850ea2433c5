use super::*;

/// An AEAD under its size of key.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    Aes128,
    Aes256,
    ChaCha20,
}

impl Which {
    pub(crate) fn new(chacha: bool, key_bits: usize) -> Self {
        match (chacha, key_bits) {
            (true, _) => Which::ChaCha20,
            (false, 128) => Which::Aes128,
            (false, _) => Which::Aes256,
        }
    }

    pub(crate) fn seal(self, key: &[u8], nonce: [u8; 12], aad: &[u8], plain: &[u8]) -> Vec<u8> {
        fn seal<A: Aead>(key: &[u8], nonce: [u8; 12], aad: &[u8], plain: &[u8]) -> Vec<u8> {
            let mut data = plain.to_vec();
            let aead = A::with_key(key).unwrap();
            let tag = aead.seal(nonce, aad, &mut data);
            [data, tag.to_vec()].concat()
        }
        match self {
            Which::Aes128 => seal::<Aes128Gcm>(key, nonce, aad, plain),
            Which::Aes256 => seal::<Aes256Gcm>(key, nonce, aad, plain),
            Which::ChaCha20 => seal::<ChaCha20Poly1305>(key, nonce, aad, plain),
        }
    }

    pub(crate) fn open(
        self,
        key: &[u8],
        nonce: [u8; 12],
        aad: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        fn open<A: Aead>(
            key: &[u8],
            nonce: [u8; 12],
            aad: &[u8],
            sealed: &[u8],
        ) -> Option<Vec<u8>> {
            let (data, tag) = sealed.split_last_chunk::<TAG_LEN>()?;
            let mut data = data.to_vec();
            A::with_key(key)?.open(nonce, aad, &mut data, *tag)?;
            Some(data)
        }
        match self {
            Which::Aes128 => open::<Aes128Gcm>(key, nonce, aad, sealed),
            Which::Aes256 => open::<Aes256Gcm>(key, nonce, aad, sealed),
            Which::ChaCha20 => open::<ChaCha20Poly1305>(key, nonce, aad, sealed),
        }
    }
}

fn suites() -> [&'static Tls13CipherSuite; 3] {
    [
        TLS13_AES_128_GCM_SHA256,
        TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
    ]
    .map(|suite| suite.tls13().unwrap())
}

/// RFC 8446, section 5.5: a sender has to change keys before the limit.
#[test]
fn confidentiality_limits_are_finite() {
    for suite in suites() {
        let limit = suite.common.confidentiality_limit;
        assert!(limit < u64::MAX);
        if suite.common.suite != CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 {
            assert_eq!(limit, 1 << 24);
        }
    }
}

fn key(algorithm: &dyn Tls13AeadAlgorithm) -> AeadKey {
    assert!(algorithm.key_len() <= 32);
    AeadKey::from([5; 32])
}

#[test]
fn records_come_back() {
    for suite in &suites() {
        let algorithm = suite.aead_alg;
        let mut encrypter = algorithm.encrypter(key(algorithm), Iv::from([9; 12]));
        let mut decrypter = algorithm.decrypter(key(algorithm), Iv::from([9; 12]));
        for (sequence, len) in [(0, 0), (1, 1), (2, 16), (u64::MAX, 16384)] {
            let data = vec![7; len];
            let record = encrypter
                .encrypt(
                    OutboundPlainMessage {
                        typ: ContentType::Handshake,
                        version: ProtocolVersion::TLSv1_3,
                        payload: data.as_slice().into(),
                    },
                    sequence,
                )
                .unwrap();
            let sealed = record.payload.as_ref().to_vec();
            assert_eq!(sealed.len(), encrypter.encrypted_payload_len(len));
            let mut open = |mut bytes: Vec<u8>, sequence| {
                let message = InboundOpaqueMessage::new(
                    ContentType::ApplicationData,
                    ProtocolVersion::TLSv1_2,
                    &mut bytes,
                );
                let opened = decrypter.decrypt(message, sequence);
                opened.map(|message| (message.typ, message.payload.to_vec()))
            };
            let opened = open(sealed.clone(), sequence).unwrap();
            assert_eq!(opened, (ContentType::Handshake, data));
            assert_eq!(open(sealed.clone(), sequence ^ 1), Err(Error::DecryptError));
            for damaged in [0, sealed.len() / 2, sealed.len() - 1] {
                let mut damaged_record = sealed.clone();
                damaged_record[damaged] ^= 1;
                assert_eq!(open(damaged_record, sequence), Err(Error::DecryptError));
            }
            assert_eq!(
                open(sealed[..15].to_vec(), sequence),
                Err(Error::DecryptError)
            );
        }
    }
}

/// The same as the crates that are made for it, at each length about the borders of the pieces
/// that data goes through in, and at any offset from an aligned address.
#[test]
fn the_crates_for_the_whole_agree() {
    use ::aead::{AeadInOut, KeyInit};

    fn check<A: Aead, B: AeadInOut + KeyInit>(len: usize, offset: usize) {
        let (key, nonce, aad) = ([3; 32], [4; 12], [5; 21]);
        let aad = &aad[..len % 22];
        let plain: Vec<u8> = (0..len).map(|i| (i * 7 + offset) as u8).collect();
        let ours = A::with_key(&key).unwrap();
        let theirs = B::new_from_slice(&key[..B::key_size()]).unwrap();

        let mut buffer = vec![0; offset + len];
        let data = &mut buffer[offset..];
        data.copy_from_slice(&plain);
        let tag = ours.seal(nonce, aad, data);
        let mut expected = plain.clone();
        let theirs_nonce = nonce[..].try_into().expect("12 bytes");
        let expected_tag = theirs
            .encrypt_inout_detached(theirs_nonce, aad, expected.as_mut_slice().into())
            .unwrap();
        assert_eq!(data, expected, "{len} bytes");
        assert_eq!(tag[..], expected_tag[..], "{len} bytes");

        let mut wrong = tag;
        wrong[len % TAG_LEN] ^= 1 << (len % 8);
        assert!(ours.open(nonce, aad, data, wrong).is_none());
        assert_eq!(data, expected, "what is not authentic is not decrypted");
        assert!(ours.open(nonce, aad, data, tag).is_some());
        assert_eq!(data, plain);
    }

    let borders = [0, 16, 64, 448, 512, 960, 1024, 16384];
    for border in borders {
        for len in usize::saturating_sub(border, 2)..border + 3 {
            check::<Aes128Gcm, aes_gcm::Aes128Gcm>(len, len % 16);
            check::<Aes256Gcm, aes_gcm::Aes256Gcm>(len, len % 16);
            check::<ChaCha20Poly1305, chacha20poly1305::ChaCha20Poly1305>(len, len % 16);
        }
    }
}
