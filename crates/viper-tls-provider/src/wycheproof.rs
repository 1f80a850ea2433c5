//! The vectors of project Wycheproof for every algorithm here, through the code that rustls calls.
//!
//! Each set's count is pinned, so that a set that becomes empty, or a filter that lets nothing
//! through, is noticed. The two sets that take long without optimisation are sampled, one vector in
//! eight, unless `VIPER_LONG` is set or the optimiser is on.

use crate::aead::tests as records;
use crate::hkdf::{HmacSha256, HmacSha384};
use crate::kx::tests as shares;
use crate::random::tests::COUNTER;
use crate::verify;
use ::wycheproof::TestResult::{self, Acceptable, Invalid, Valid};
use ::wycheproof::{
    aead, ecdh, ecdsa, eddsa, hkdf, mac, mlkem, rsa_pkcs1_verify, rsa_pss_verify, xdh,
};
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::hmac::Hmac;
use rustls::crypto::tls13::{Hkdf, HkdfUsingHmac};
use rustls::pki_types::SignatureVerificationAlgorithm;

/// Whether an outcome is what the vector wants; `Acceptable` ones may go either way.
fn expect(result: TestResult, good: bool, what: &str, id: usize) {
    match result {
        Valid => assert!(good, "{what} {id} is valid"),
        Invalid => assert!(!good, "{what} {id} is invalid"),
        Acceptable => {}
    }
}

/// Whether to leave a vector of a slow set out.
fn is_left_out(id: usize) -> bool {
    cfg!(debug_assertions) && std::env::var_os("VIPER_LONG").is_none() && !id.is_multiple_of(8)
}

#[test]
fn aeads() {
    let mut count = 0;
    for name in [aead::TestName::AesGcm, aead::TestName::ChaCha20Poly1305] {
        let set = aead::TestSet::load(name).unwrap();
        let groups = set.test_groups.iter();
        // TLS has nonces of 96 bits, and AES keys of 128 or 256 only.
        let groups = groups.filter(|group| group.nonce_size == 96 && group.key_size != 192);
        for group in groups {
            let chacha = name == aead::TestName::ChaCha20Poly1305;
            let algorithm = records::Which::new(chacha, group.key_size);
            for test in &group.tests {
                count += 1;
                let nonce = test.nonce[..].try_into().unwrap();
                let sealed = algorithm.seal(&test.key, nonce, &test.aad, &test.pt);
                let wanted = [&test.ct[..], &test.tag[..]].concat();
                expect(test.result, sealed == wanted, "sealing", test.tc_id);
                let opened = algorithm.open(&test.key, nonce, &test.aad, &wanted);
                let good = opened.as_deref() == Some(&test.pt[..]);
                expect(test.result, good, "opening", test.tc_id);
                assert!(good || opened.is_none());
            }
        }
    }
    assert_eq!(count, 449);
}

#[test]
fn x25519() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let mut count = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        count += 1;
        let agreed = shares::x25519(&test.private_key, &test.public_key);
        let zero = test.shared_secret.iter().all(|&byte| byte == 0);
        if zero {
            assert_eq!(agreed, None, "an all-zero secret, {}", test.tc_id);
        } else if let Some(agreed) = agreed {
            assert_eq!(agreed, test.shared_secret[..], "{}", test.tc_id);
        } else {
            assert_eq!(test.result, Invalid, "{}", test.tc_id);
        }
    }
    assert_eq!(count, 518);
}

#[test]
fn nist_curves() {
    use ecdh::{TestFlag, TestName};
    let mut count = 0;
    for (name, p384) in [
        (TestName::EcdhSecp256r1Ecpoint, false),
        (TestName::EcdhSecp384r1Ecpoint, true),
    ] {
        let set = ecdh::TestSet::load(name).unwrap();
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            count += 1;
            if is_left_out(test.tc_id) {
                continue;
            }
            let agreed = shares::nist(p384, &test.private_key, &test.public_key);
            let compressed = test.flags.contains(&TestFlag::CompressedPoint);
            if compressed {
                assert_eq!(agreed, None, "a compressed point, {}", test.tc_id);
            } else {
                let good = agreed.as_deref() == Some(&test.shared_secret[..]);
                expect(test.result, good, "ECDH", test.tc_id);
            }
        }
    }
    assert_eq!(count, 1145);
}

#[test]
fn ml_kem() {
    use ml_kem::kem::{Decapsulate, KeyExport};
    use ml_kem::ml_kem_768::{DecapsulationKey, EncapsulationKey};
    use mlkem::TestName;
    let from_seed = |seed: &[u8]| {
        let seed: [u8; 64] = seed.try_into().ok()?;
        Some(DecapsulationKey::from_seed(seed.into()))
    };
    let mut count = 0;

    let set = mlkem::TestSet::load(TestName::MlKem768KeyGenSeed).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        count += 1;
        let key = from_seed(test.seed.as_ref().unwrap());
        let public = key.map(|key| key.encapsulation_key().to_bytes().to_vec());
        let good = public.as_deref() == test.encaps_key.as_ref().map(|key| &key[..]);
        expect(test.result, good, "key generation", test.tc_id);
    }

    let set = mlkem::TestSet::load(TestName::MlKem768).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        count += 1;
        let key = from_seed(test.seed.as_ref().unwrap());
        let ciphertext: Option<[u8; 1088]> = test.ct.as_ref().unwrap()[..].try_into().ok();
        let secret = key
            .zip(ciphertext)
            .map(|(key, ciphertext)| key.decapsulate(&ciphertext.into()));
        let wanted = test.shared_secret.as_ref().map(|key| &key[..]);
        let good = secret.as_ref().map(|secret| &secret[..]) == wanted;
        expect(
            test.result,
            good && wanted.is_some(),
            "decapsulation",
            test.tc_id,
        );
    }

    // Whole shares, as the server gets them.
    let group = crate::kx::X25519MlKem768(crate::kx::X25519(&COUNTER));
    let honest = shares::x25519_public(&[7; 32]);
    let set = mlkem::TestSet::load(TestName::MlKem768Encaps).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        count += 1;
        let key = &test.encaps_key.as_ref().unwrap()[..];
        let answer = group.start_and_complete(&[key, &honest].concat());
        expect(test.result, answer.is_ok(), "encapsulation", test.tc_id);
        let (Ok(key), Some(message)) = (<[u8; 1184]>::try_from(key), &test.msg) else {
            continue;
        };
        let (Ok(key), Ok(message)) = (
            EncapsulationKey::new(&key.into()),
            <[u8; 32]>::try_from(&message[..]),
        ) else {
            continue;
        };
        let (ciphertext, secret) = key.encapsulate_deterministic(&message.into());
        let good = test
            .ct
            .as_ref()
            .is_some_and(|wanted| wanted[..] == ciphertext[..])
            && test
                .shared_secret
                .as_ref()
                .is_some_and(|wanted| wanted[..] == secret[..]);
        expect(test.result, good, "encapsulation", test.tc_id);
    }
    assert_eq!(count, 566);
}

#[test]
fn hkdfs() {
    let mut count = 0;
    for (name, algorithm) in [
        (hkdf::TestName::HkdfSha256, &HmacSha256 as &dyn Hmac),
        (hkdf::TestName::HkdfSha384, &HmacSha384),
    ] {
        let set = hkdf::TestSet::load(name).unwrap();
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            count += 1;
            let hkdf = HkdfUsingHmac(algorithm);
            let expander = hkdf.extract_from_secret(Some(&test.salt), &test.ikm);
            let mut output = vec![0; test.size];
            let done = expander.expand_slice(&[&test.info], &mut output);
            let good = done.is_ok() && output == test.okm[..];
            expect(test.result, good, "HKDF", test.tc_id);
        }
    }
    assert_eq!(count, 169);
}

#[test]
fn hmacs() {
    let mut count = 0;
    for (name, algorithm) in [
        (mac::TestName::HmacSha256, &HmacSha256 as &dyn Hmac),
        (mac::TestName::HmacSha384, &HmacSha384),
    ] {
        let set = mac::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            for test in &group.tests {
                count += 1;
                let tag = algorithm.with_key(&test.key).sign(&[&test.msg]);
                let good = tag.as_ref()[..group.tag_size / 8] == test.tag[..];
                expect(test.result, good, "HMAC", test.tc_id);
            }
        }
    }
    assert_eq!(count, 348);
}

fn verifies(
    algorithm: &dyn SignatureVerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    algorithm.verify_signature(key, message, signature).is_ok()
}

#[test]
fn ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut count = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            count += 1;
            let good = verifies(verify::ED25519, &group.key.pk, &test.msg, &test.sig);
            expect(test.result, good, "Ed25519", test.tc_id);
        }
    }
    assert_eq!(count, 151);
}

#[test]
fn ecdsas() {
    use ecdsa::TestName;
    let mut count = 0;
    for (name, algorithm) in [
        (TestName::EcdsaSecp256r1Sha256, verify::ECDSA_P256_SHA256),
        (TestName::EcdsaSecp384r1Sha256, verify::ECDSA_P384_SHA256),
        (TestName::EcdsaSecp384r1Sha384, verify::ECDSA_P384_SHA384),
    ] {
        let set = ecdsa::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            for test in &group.tests {
                count += 1;
                let good = verifies(algorithm, &group.key.key, &test.msg, &test.sig);
                expect(test.result, good, "ECDSA", test.tc_id);
            }
        }
    }
    assert_eq!(count, 1460);
}

#[test]
fn rsa_pss() {
    use rsa_pss_verify::TestName;
    let mut count = 0;
    // Those whose salt is as long as the hash, as TLS and certificates have it.
    for (name, algorithm) in [
        (
            TestName::RsaPss2048Sha256Mgf1SaltLen32,
            verify::RSA_PSS_SHA256,
        ),
        (
            TestName::RsaPss2048Sha384Mgf1SaltLen48,
            verify::RSA_PSS_SHA384,
        ),
        (
            TestName::RsaPss3072Sha256Mgf1SaltLen32,
            verify::RSA_PSS_SHA256,
        ),
        (
            TestName::RsaPss4096Sha256Mgf1SaltLen32,
            verify::RSA_PSS_SHA256,
        ),
        (
            TestName::RsaPss4096Sha384Mgf1SaltLen48,
            verify::RSA_PSS_SHA384,
        ),
        (
            TestName::RsaPss4096Sha512Mgf1SaltLen64,
            verify::RSA_PSS_SHA512,
        ),
    ] {
        let set = rsa_pss_verify::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            for test in &group.tests {
                count += 1;
                let good = verifies(algorithm, &group.asn_key, &test.msg, &test.sig);
                expect(test.result, good, "PSS", test.tc_id);
            }
        }
    }
    // Another salt length is not what TLS means by these names.
    let set = rsa_pss_verify::TestSet::load(TestName::RsaPss2048Sha256Mgf1SaltLen0).unwrap();
    for group in &set.test_groups {
        for test in &group.tests {
            count += 1;
            let good = verifies(verify::RSA_PSS_SHA256, &group.asn_key, &test.msg, &test.sig);
            assert!(!good || test.result == Invalid, "no salt, {}", test.tc_id);
        }
    }
    assert_eq!(count, 888);
}

#[test]
fn rsa_pkcs1() {
    use rsa_pkcs1_verify::TestName;
    let mut count = 0;
    for (name, algorithm) in [
        (TestName::Rsa2048Sha256, verify::RSA_PKCS1_SHA256),
        (TestName::Rsa2048Sha384, verify::RSA_PKCS1_SHA384),
        (TestName::Rsa2048Sha512, verify::RSA_PKCS1_SHA512),
        (TestName::Rsa3072Sha256, verify::RSA_PKCS1_SHA256),
        (TestName::Rsa3072Sha384, verify::RSA_PKCS1_SHA384),
        (TestName::Rsa3072Sha512, verify::RSA_PKCS1_SHA512),
        (TestName::Rsa4096Sha256, verify::RSA_PKCS1_SHA256),
        (TestName::Rsa4096Sha384, verify::RSA_PKCS1_SHA384),
        (TestName::Rsa4096Sha512, verify::RSA_PKCS1_SHA512),
        (TestName::Rsa8192Sha256, verify::RSA_PKCS1_SHA256),
        (TestName::Rsa8192Sha384, verify::RSA_PKCS1_SHA384),
        (TestName::Rsa8192Sha512, verify::RSA_PKCS1_SHA512),
    ] {
        let set = rsa_pkcs1_verify::TestSet::load(name).unwrap();
        for group in &set.test_groups {
            for test in &group.tests {
                count += 1;
                if is_left_out(test.tc_id) {
                    continue;
                }
                let good = verifies(algorithm, &group.asn_key, &test.msg, &test.sig);
                expect(test.result, good, "PKCS#1", test.tc_id);
            }
        }
    }
    assert_eq!(count, 3106);
}
