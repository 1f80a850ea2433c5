use super::hybrid::Active;
use super::nist::{ActiveP256, ActiveP384};
use super::*;
use crate::Crypto;
use crate::random::tests::COUNTER;
use ml_kem::ml_kem_768::DecapsulationKey;

static CRYPTO: Crypto = Crypto::new(&COUNTER);

/// The X25519 secret for a private key, as a client gets it.
pub(crate) fn x25519(private: &[u8], public: &[u8]) -> Option<Vec<u8>> {
    let private: [u8; 32] = private.try_into().unwrap();
    let active = Box::new(ActiveX25519::new(StaticSecret::from(private)));
    Some(active.complete(public).ok()?.secret_bytes().to_vec())
}

pub(crate) fn x25519_public(private: &[u8; 32]) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*private)).to_bytes()
}

/// The same for P-256 or P-384; the private key may have leading zeros more or less.
pub(crate) fn nist(p384: bool, private: &[u8], public: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = private
        .iter()
        .copied()
        .skip_while(|&byte| byte == 0)
        .collect();
    let padded = |len: usize| [vec![0; len - digits.len()], digits.clone()].concat();
    let active: Box<dyn ActiveKeyExchange> = if p384 {
        Box::new(ActiveP384::new(
            p384::SecretKey::from_slice(&padded(48)).unwrap(),
        ))
    } else {
        Box::new(ActiveP256::new(
            p256::SecretKey::from_slice(&padded(32)).unwrap(),
        ))
    };
    Some(active.complete(public).ok()?.secret_bytes().to_vec())
}

fn groups() -> [&'static dyn SupportedKxGroup; 4] {
    [
        CRYPTO.x25519mlkem768(),
        CRYPTO.x25519(),
        CRYPTO.secp256r1(),
        CRYPTO.secp384r1(),
    ]
}

#[test]
fn both_sides_agree() {
    for group in groups() {
        let client = group.start().unwrap();
        assert_eq!(client.group(), group.name());
        let server = group.start_and_complete(client.pub_key()).unwrap();
        assert_eq!(server.group, group.name());
        let secret = client.complete(&server.pub_key).unwrap();
        assert_eq!(secret.secret_bytes(), server.secret.secret_bytes());
        assert!(secret.secret_bytes().iter().any(|&byte| byte != 0));
    }
}

#[test]
fn shares_and_secrets_have_the_length_the_standards_say() {
    let lengths = [(1216, 1120, 64), (32, 32, 32), (65, 65, 32), (97, 97, 48)];
    for (group, (client_len, server_len, secret_len)) in groups().iter().zip(lengths) {
        let client = group.start().unwrap();
        assert_eq!(client.pub_key().len(), client_len);
        let server = group.start_and_complete(client.pub_key()).unwrap();
        assert_eq!(server.pub_key.len(), server_len);
        assert_eq!(server.secret.secret_bytes().len(), secret_len);
    }
}

#[test]
fn shares_of_other_lengths_are_refused() {
    for group in groups() {
        let share = group.start().unwrap().pub_key().to_vec();
        for bad in [&share[..share.len() - 1], &[&share[..], &[0]].concat(), &[]] {
            assert_eq!(group.start_and_complete(bad).err(), Some(BAD_SHARE));
            assert_eq!(group.start().unwrap().complete(bad).err(), Some(BAD_SHARE));
        }
    }
}

/// Points whose order divides eight: every secret with them is zero.
const SMALL_ORDER: [[u8; 32]; 4] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
];

#[test]
fn an_all_zero_x25519_secret_is_refused() {
    for share in SMALL_ORDER {
        let client = CRYPTO.x25519().start().unwrap();
        assert_eq!(client.complete(&share).err(), Some(BAD_SHARE));
        assert_eq!(
            CRYPTO.x25519().start_and_complete(&share).err(),
            Some(BAD_SHARE)
        );
        // In the hybrid too, whichever side sends it.
        let hybrid = CRYPTO.x25519mlkem768();
        let client = hybrid.start().unwrap();
        let mut bad = client.pub_key().to_vec();
        bad[1184..].copy_from_slice(&share);
        assert_eq!(hybrid.start_and_complete(&bad).err(), Some(BAD_SHARE));
        let mut bad = hybrid.start_and_complete(client.pub_key()).unwrap().pub_key;
        bad[1088..].copy_from_slice(&share);
        assert_eq!(client.complete(&bad).err(), Some(BAD_SHARE));
        let client = hybrid.start().unwrap();
        assert_eq!(
            client.complete_hybrid_component(&share).err(),
            Some(BAD_SHARE)
        );
    }
}

#[test]
fn only_uncompressed_points_are_taken() {
    use p256::elliptic_curve::sec1::ToSec1Point;
    let secret = p256::SecretKey::from_slice(&[3; 32]).unwrap();
    let point = secret.public_key().to_sec1_point(false);
    let uncompressed = point.as_bytes();
    let group = CRYPTO.secp256r1();
    assert!(group.start_and_complete(uncompressed).is_ok());
    let compressed = secret.public_key().to_sec1_point(true);
    let mut hybrid = uncompressed.to_vec();
    hybrid[0] = 6 | hybrid[64] & 1;
    let mut off_curve = uncompressed.to_vec();
    off_curve[64] ^= 1;
    for bad in [compressed.as_bytes(), &hybrid, &off_curve, &[0]] {
        assert_eq!(group.start_and_complete(bad).err(), Some(BAD_SHARE));
    }
    let secret = p384::SecretKey::from_slice(&[3; 48]).unwrap();
    let compressed = secret.public_key().to_sec1_point(true);
    let mut hybrid = secret.public_key().to_sec1_point(false).as_bytes().to_vec();
    assert!(CRYPTO.secp384r1().start_and_complete(&hybrid).is_ok());
    hybrid[0] = 7 & (6 | hybrid[96] & 1);
    for bad in [compressed.as_bytes(), &hybrid] {
        assert_eq!(
            CRYPTO.secp384r1().start_and_complete(bad).err(),
            Some(BAD_SHARE)
        );
    }
}

#[test]
fn an_unreduced_encapsulation_key_is_refused() {
    let group = CRYPTO.x25519mlkem768();
    let mut share = group.start().unwrap().pub_key().to_vec();
    // Two coefficients of 4095, where 3328 is the largest.
    share[..3].fill(0xff);
    assert_eq!(group.start_and_complete(&share).err(), Some(BAD_SHARE));
}

#[test]
fn the_hybrid_offers_its_classical_half() {
    let classical = ActiveX25519::new(StaticSecret::from([7; 32]));
    let quantum = DecapsulationKey::from_seed([9; 64].into());
    let hybrid = Box::new(Active::new(Box::new(quantum), classical));
    let (group, share) = hybrid.hybrid_component().unwrap();
    assert_eq!(
        (group, share),
        (NamedGroup::X25519, &x25519_public(&[7; 32])[..])
    );
    assert_eq!(hybrid.pub_key()[1184..], *share);
    let server = CRYPTO.x25519().start_and_complete(share).unwrap();
    let secret = hybrid.complete_hybrid_component(&server.pub_key).unwrap();
    assert_eq!(secret.secret_bytes(), server.secret.secret_bytes());
}
