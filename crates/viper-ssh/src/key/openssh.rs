//! The `openssh-key-v1` file format (PROTOCOL.key of OpenSSH).

use aes::Aes256;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use base64ct::{Base64, Encoding};
use cipher::{KeyIvInit, StreamCipher};
use ctr::Ctr128BE;
use zeroize::Zeroizing;

use super::{ECDSA_P256, ED25519, NISTP256, PrivateKey, Secret, decode_base64, padded};
use crate::Error;
use crate::wire::{Put, Reader};

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";
const FILE_LEN_MAX: usize = 64 * 1024;
/// More rounds than anyone asks for: each costs some milliseconds.
const ROUNDS_MAX: u32 = 1024;
const ROUNDS: u32 = 16;
const LINE_LEN: usize = 70;

pub(super) fn read(file: &str, passphrase: Option<&str>) -> Result<PrivateKey, Error> {
    let binary = decode(file)?;
    let mut reader = Reader::new(&binary);
    if reader.bytes(MAGIC.len())? != MAGIC {
        return Err(Error::Malformed);
    }
    let cipher = reader.text()?;
    let kdf = reader.text()?;
    let options = reader.string()?;
    if reader.u32()? != 1 {
        return Err(Error::UnsupportedKey);
    }
    let public = reader.string()?;
    let mut private = Zeroizing::new(reader.string()?.to_vec());
    reader.finish()?;
    match (cipher, kdf) {
        ("none", "none") => {}
        ("aes256-ctr", "bcrypt") => {
            let passphrase = passphrase.filter(|text| !text.is_empty());
            let mut options = Reader::new(options);
            let salt = options.string()?;
            let rounds = options.u32()?;
            apply(
                &mut private,
                passphrase.ok_or(Error::BadPassphrase)?,
                salt,
                rounds,
            )?;
        }
        _ => return Err(Error::UnsupportedKey),
    }
    let key = read_private(&private)?;
    if key.public().blob() == public {
        Ok(key)
    } else {
        Err(Error::Malformed)
    }
}

fn decode(file: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    if file.len() > FILE_LEN_MAX {
        return Err(Error::LimitExceeded);
    }
    let body = file.trim().strip_prefix(BEGIN).ok_or(Error::Malformed)?;
    let body = body.strip_suffix(END).ok_or(Error::Malformed)?;
    let mut base64 = Zeroizing::new(String::with_capacity(body.len()));
    base64.extend(body.chars().filter(|c| !c.is_ascii_whitespace()));
    Ok(Zeroizing::new(decode_base64(&base64)?))
}

/// Encrypts or decrypts, which is the same in counter mode.
fn apply(data: &mut [u8], passphrase: &str, salt: &[u8], rounds: u32) -> Result<(), Error> {
    if rounds == 0 || rounds > ROUNDS_MAX || salt.is_empty() || salt.len() > 64 {
        return Err(Error::LimitExceeded);
    }
    let mut derived = Zeroizing::new([0; 48]);
    bcrypt_pbkdf::bcrypt_pbkdf(passphrase, salt, rounds, &mut *derived)
        .map_err(|_| Error::BadPassphrase)?;
    let (key, iv) = derived.split_at(32);
    let mut stream = Ctr128BE::<Aes256>::new_from_slices(key, iv).map_err(|_| Error::WrongState)?;
    stream
        .try_apply_keystream(data)
        .map_err(|_| Error::LimitExceeded)
}

fn read_private(bytes: &[u8]) -> Result<PrivateKey, Error> {
    let mut reader = Reader::new(bytes);
    // Two equal numbers show that decryption worked.
    if reader.u32()? != reader.u32()? {
        return Err(Error::BadPassphrase);
    }
    let key = match reader.text()? {
        ED25519 => {
            let public = reader.string()?;
            let secret: &[u8; 64] = reader.string()?.try_into().map_err(|_| Error::Malformed)?;
            let key = ed25519_dalek::SigningKey::from_keypair_bytes(secret)
                .map_err(|_| Error::Malformed)?;
            if key.verifying_key().as_bytes() != public {
                return Err(Error::Malformed);
            }
            Secret::Ed25519(key).into()
        }
        ECDSA_P256 => {
            if reader.text()? != NISTP256 {
                return Err(Error::Malformed);
            }
            reader.string()?;
            PrivateKey::from_p256_scalar(&Zeroizing::new(padded(reader.mpint()?)?))?
        }
        _ => return Err(Error::UnsupportedKey),
    };
    reader.string()?;
    for (index, byte) in reader.rest().iter().enumerate() {
        if usize::from(*byte) != (index + 1) & 0xff {
            return Err(Error::Malformed);
        }
    }
    Ok(key)
}

pub(super) fn write(key: &PrivateKey, comment: &str, check: u32) -> String {
    let private = private_part(key, comment, check, 8);
    armour(key, "none", "none", &[], &private)
}

pub(super) fn write_encrypted(
    key: &PrivateKey,
    comment: &str,
    passphrase: &str,
    salt_and_check: [u8; 20],
) -> Result<String, Error> {
    if passphrase.is_empty() {
        return Err(Error::BadPassphrase);
    }
    let mut reader = Reader::new(&salt_and_check);
    let salt = reader.bytes(16)?;
    let mut private = private_part(key, comment, reader.u32()?, 16);
    apply(&mut private, passphrase, salt, ROUNDS)?;
    let mut options = Vec::new();
    options.put_string(salt);
    options.put_u32(ROUNDS);
    Ok(armour(key, "aes256-ctr", "bcrypt", &options, &private))
}

fn private_part(key: &PrivateKey, comment: &str, check: u32, block: usize) -> Zeroizing<Vec<u8>> {
    // Sized at once, so that no copy of the secret stays behind in freed memory.
    let mut out = Zeroizing::new(Vec::with_capacity(512 + comment.len()));
    out.put_u32(check);
    out.put_u32(check);
    match &*key.0 {
        Secret::Ed25519(secret) => {
            out.put_string(ED25519);
            out.put_string(secret.verifying_key().as_bytes());
            out.put_string(*Zeroizing::new(secret.to_keypair_bytes()));
        }
        Secret::EcdsaP256(secret) => {
            out.put_string(ECDSA_P256);
            out.put_string(NISTP256);
            out.put_string(secret.verifying_key().to_sec1_point(false).as_bytes());
            out.put_mpint(&Zeroizing::new(<[u8; 32]>::from(secret.to_bytes()))[..]);
        }
    }
    out.put_string(comment);
    let padding = out.len().next_multiple_of(block) - out.len();
    out.extend((1..=padding).map(|index| index as u8));
    out
}

fn armour(key: &PrivateKey, cipher: &str, kdf: &str, options: &[u8], private: &[u8]) -> String {
    let mut out = Zeroizing::new(Vec::with_capacity(1024 + private.len()));
    out.put_bytes(MAGIC);
    out.put_string(cipher);
    out.put_string(kdf);
    out.put_string(options);
    out.put_u32(1);
    out.put_string(key.public().blob());
    out.put_string(private);
    let mut rest = Base64::encode_string(&out);
    let mut text = BEGIN.to_string();
    text.push('\n');
    while !rest.is_empty() {
        let tail = rest.split_off(rest.len().min(LINE_LEN));
        text.push_str(&rest);
        text.push('\n');
        rest = tail;
    }
    text.push_str(END);
    text.push('\n');
    text
}
