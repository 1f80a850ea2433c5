//! Protection of one packet: the ciphers and MACs, each over one contiguous buffer.
//!
//! A buffer holds `length (4) || padding length, payload, padding || tag`. Which part is encrypted
//! and authenticated differs between the four families, and only here.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use alloc::boxed::Box;
use chacha20::ChaCha20Legacy;
use cipher::{KeyInit, KeyIvInit, StreamCipher, StreamCipherSeek};
use ctr::Ctr128BE;
use hmac::{Hmac, Mac as _};
use poly1305::Poly1305;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::Error;
use crate::algorithm::{Cipher, Mac, Protection};

/// Size of the length field in front of every packet.
pub(crate) const LENGTH_LEN: usize = 4;
const TAG_LEN: usize = 16;

/// The keys of one direction, ready for use.
pub(crate) enum PacketCipher {
    /// Before the first key exchange.
    Plain,
    ChaChaPoly(Box<ChaChaPoly>),
    Gcm(Box<Gcm>),
    Ctr(Box<Ctr>),
}

/// `chacha20-poly1305@openssh.com`: one key for the length, one for the rest.
pub(crate) struct ChaChaPoly {
    main: [u8; 32],
    header: [u8; 32],
}

impl Drop for ChaChaPoly {
    fn drop(&mut self) {
        self.main.zeroize();
        self.header.zeroize();
    }
}

pub(crate) struct Gcm {
    key: GcmKey,
    nonce: [u8; 12],
}

enum GcmKey {
    Aes128(Aes128Gcm),
    Aes256(Aes256Gcm),
}

pub(crate) struct Ctr {
    stream: CtrStream,
    mac: MacKey,
    encrypt_then_mac: bool,
}

enum CtrStream {
    Aes128(Ctr128BE<Aes128>),
    Aes192(Ctr128BE<Aes192>),
    Aes256(Ctr128BE<Aes256>),
}

enum MacKey {
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

/// How many bytes of key material a [`Protection`] takes.
pub(crate) struct KeySizes {
    pub iv: usize,
    pub key: usize,
    pub mac: usize,
}

impl KeySizes {
    pub fn of(protection: Protection) -> Self {
        let (iv, key) = match protection.cipher {
            Cipher::ChaCha20Poly1305 => (0, 64),
            Cipher::Aes128Gcm => (12, 16),
            Cipher::Aes256Gcm => (12, 32),
            Cipher::Aes128Ctr => (16, 16),
            Cipher::Aes192Ctr => (16, 24),
            Cipher::Aes256Ctr => (16, 32),
        };
        let mac = match protection.mac {
            None => 0,
            Some(Mac::HmacSha256 | Mac::HmacSha256Etm) => 32,
            Some(Mac::HmacSha512 | Mac::HmacSha512Etm) => 64,
        };
        KeySizes { iv, key, mac }
    }
}

impl PacketCipher {
    /// Sets up the keys, whose lengths must be those of [`KeySizes`].
    ///
    /// # Errors
    /// [`Error::WrongState`] if a length differs, which is a fault of this crate.
    pub fn new(protection: Protection, iv: &[u8], key: &[u8], mac: &[u8]) -> Result<Self, Error> {
        let wrong = |_| Error::WrongState;
        let stream = match protection.cipher {
            Cipher::ChaCha20Poly1305 => {
                let (main, header) = key.split_at_checked(32).ok_or(Error::WrongState)?;
                return Ok(PacketCipher::ChaChaPoly(Box::new(ChaChaPoly {
                    main: main.try_into().map_err(|_| Error::WrongState)?,
                    header: header.try_into().map_err(|_| Error::WrongState)?,
                })));
            }
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => {
                let nonce = iv.try_into().map_err(|_| Error::WrongState)?;
                let key = match protection.cipher {
                    Cipher::Aes128Gcm => {
                        GcmKey::Aes128(Aes128Gcm::new_from_slice(key).map_err(wrong)?)
                    }
                    _ => GcmKey::Aes256(Aes256Gcm::new_from_slice(key).map_err(wrong)?),
                };
                return Ok(PacketCipher::Gcm(Box::new(Gcm { key, nonce })));
            }
            Cipher::Aes128Ctr => {
                CtrStream::Aes128(Ctr128BE::new_from_slices(key, iv).map_err(wrong)?)
            }
            Cipher::Aes192Ctr => {
                CtrStream::Aes192(Ctr128BE::new_from_slices(key, iv).map_err(wrong)?)
            }
            Cipher::Aes256Ctr => {
                CtrStream::Aes256(Ctr128BE::new_from_slices(key, iv).map_err(wrong)?)
            }
        };
        let algorithm = protection.mac.ok_or(Error::WrongState)?;
        let mac = match algorithm {
            Mac::HmacSha256 | Mac::HmacSha256Etm => {
                MacKey::Sha256(Hmac::new_from_slice(mac).map_err(wrong)?)
            }
            Mac::HmacSha512 | Mac::HmacSha512Etm => {
                MacKey::Sha512(Hmac::new_from_slice(mac).map_err(wrong)?)
            }
        };
        let encrypt_then_mac = matches!(algorithm, Mac::HmacSha256Etm | Mac::HmacSha512Etm);
        Ok(PacketCipher::Ctr(Box::new(Ctr {
            stream,
            mac,
            encrypt_then_mac,
        })))
    }

    /// Length of the tag behind each packet.
    pub fn tag_len(&self) -> usize {
        match self {
            PacketCipher::Plain => 0,
            PacketCipher::ChaChaPoly(_) | PacketCipher::Gcm(_) => TAG_LEN,
            PacketCipher::Ctr(ctr) => ctr.mac.len(),
        }
    }

    /// The multiple to which packets are padded.
    pub fn block_len(&self) -> usize {
        match self {
            PacketCipher::Plain | PacketCipher::ChaChaPoly(_) => 8,
            PacketCipher::Gcm(_) | PacketCipher::Ctr(_) => 16,
        }
    }

    /// Whether the length field counts towards the whole blocks.
    pub fn pads_length(&self) -> bool {
        match self {
            PacketCipher::Plain => true,
            PacketCipher::ChaChaPoly(_) | PacketCipher::Gcm(_) => false,
            PacketCipher::Ctr(ctr) => !ctr.encrypt_then_mac,
        }
    }

    /// How many bytes must be there before [`open_length`](Self::open_length) can work.
    pub fn header_len(&self) -> usize {
        match self {
            PacketCipher::Ctr(ctr) if !ctr.encrypt_then_mac => 16,
            _ => LENGTH_LEN,
        }
    }

    /// Encrypts `packet`, all but its last `tag_len` bytes, and fills those in.
    pub fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), Error> {
        let body_end = packet
            .len()
            .checked_sub(self.tag_len())
            .ok_or(Error::WrongState)?;
        let (body, tag) = packet.split_at_mut(body_end);
        match self {
            PacketCipher::Plain => Ok(()),
            PacketCipher::ChaChaPoly(keys) => keys.seal(sequence, body, tag),
            PacketCipher::Gcm(gcm) => gcm.seal(body, tag),
            PacketCipher::Ctr(ctr) => ctr.seal(sequence, body, tag),
        }
    }

    /// Tells the packet's length field from its first `header_len` bytes.
    ///
    /// Called once for each packet: it may advance the key stream. The value is not yet
    /// authenticated and only says how much to wait for.
    pub fn open_length(&mut self, sequence: u32, header: &mut [u8]) -> Result<u32, Error> {
        if let PacketCipher::Ctr(ctr) = self
            && !ctr.encrypt_then_mac
        {
            ctr.stream.apply(header)?;
        }
        let mut length = *header
            .first_chunk::<LENGTH_LEN>()
            .ok_or(Error::WrongState)?;
        if let PacketCipher::ChaChaPoly(keys) = self {
            stream(&keys.header, sequence, 0, &mut length)?;
        }
        Ok(u32::from_be_bytes(length))
    }

    /// Authenticates and decrypts a whole packet with its tag, in place.
    pub fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), Error> {
        let body_end = packet
            .len()
            .checked_sub(self.tag_len())
            .ok_or(Error::WrongState)?;
        let (body, tag) = packet.split_at_mut(body_end);
        match self {
            PacketCipher::Plain => Ok(()),
            PacketCipher::ChaChaPoly(keys) => keys.open(sequence, body, tag),
            PacketCipher::Gcm(gcm) => gcm.open(body, tag),
            PacketCipher::Ctr(ctr) => ctr.open(sequence, body, tag),
        }
    }
}

/// Applies the original ChaCha20 (64-bit nonce) from the given block on.
fn stream(key: &[u8; 32], sequence: u32, block: u64, data: &mut [u8]) -> Result<(), Error> {
    let nonce = u64::from(sequence).to_be_bytes();
    let mut cipher = ChaCha20Legacy::new(&(*key).into(), &nonce.into());
    cipher.try_seek(block * 64).map_err(|_| Error::WrongState)?;
    cipher
        .try_apply_keystream(data)
        .map_err(|_| Error::WrongState)
}

impl ChaChaPoly {
    fn tag(&self, sequence: u32, body: &[u8]) -> Result<[u8; TAG_LEN], Error> {
        let mut key = Zeroizing::new([0; 32]);
        stream(&self.main, sequence, 0, &mut *key)?;
        Ok(Poly1305::new(&(*key).into()).compute_unpadded(body).into())
    }

    fn seal(&self, sequence: u32, body: &mut [u8], tag: &mut [u8]) -> Result<(), Error> {
        let (length, rest) = body
            .split_at_mut_checked(LENGTH_LEN)
            .ok_or(Error::WrongState)?;
        stream(&self.header, sequence, 0, length)?;
        stream(&self.main, sequence, 1, rest)?;
        tag.copy_from_slice(&self.tag(sequence, body)?);
        Ok(())
    }

    fn open(&self, sequence: u32, body: &mut [u8], tag: &[u8]) -> Result<(), Error> {
        if !bool::from(self.tag(sequence, body)?.as_slice().ct_eq(tag)) {
            return Err(Error::BadMac);
        }
        let (_, rest) = body
            .split_at_mut_checked(LENGTH_LEN)
            .ok_or(Error::WrongState)?;
        stream(&self.main, sequence, 1, rest)
    }
}

impl Gcm {
    /// The nonce for this packet; the next one is counted up (RFC 5647 section 7.1).
    fn next_nonce(&mut self) -> [u8; 12] {
        let nonce = self.nonce;
        if let Some(counter) = self.nonce.last_chunk_mut::<8>() {
            *counter = u64::from_be_bytes(*counter).wrapping_add(1).to_be_bytes();
        }
        nonce
    }

    fn seal(&mut self, body: &mut [u8], tag: &mut [u8]) -> Result<(), Error> {
        let nonce = self.next_nonce().into();
        let (length, rest) = body
            .split_at_mut_checked(LENGTH_LEN)
            .ok_or(Error::WrongState)?;
        let sealed = match &self.key {
            GcmKey::Aes128(key) => key.encrypt_inout_detached(&nonce, length, rest.into()),
            GcmKey::Aes256(key) => key.encrypt_inout_detached(&nonce, length, rest.into()),
        };
        tag.copy_from_slice(&sealed.map_err(|_| Error::WrongState)?);
        Ok(())
    }

    fn open(&mut self, body: &mut [u8], tag: &[u8]) -> Result<(), Error> {
        let nonce = self.next_nonce().into();
        let tag: [u8; TAG_LEN] = tag.try_into().map_err(|_| Error::WrongState)?;
        let (length, rest) = body
            .split_at_mut_checked(LENGTH_LEN)
            .ok_or(Error::WrongState)?;
        let tag = tag.into();
        match &self.key {
            GcmKey::Aes128(key) => key.decrypt_inout_detached(&nonce, length, rest.into(), &tag),
            GcmKey::Aes256(key) => key.decrypt_inout_detached(&nonce, length, rest.into(), &tag),
        }
        .map_err(|_| Error::BadMac)
    }
}

impl Ctr {
    fn seal(&mut self, sequence: u32, body: &mut [u8], tag: &mut [u8]) -> Result<(), Error> {
        if self.encrypt_then_mac {
            let (_, rest) = body
                .split_at_mut_checked(LENGTH_LEN)
                .ok_or(Error::WrongState)?;
            self.stream.apply(rest)?;
            self.mac.write(sequence, body, tag);
            Ok(())
        } else {
            self.mac.write(sequence, body, tag);
            self.stream.apply(body)
        }
    }

    fn open(&mut self, sequence: u32, body: &mut [u8], tag: &[u8]) -> Result<(), Error> {
        if self.encrypt_then_mac {
            self.mac.verify(sequence, body, tag)?;
            let (_, rest) = body
                .split_at_mut_checked(LENGTH_LEN)
                .ok_or(Error::WrongState)?;
            self.stream.apply(rest)
        } else {
            // The first block was decrypted by `open_length`.
            let (_, rest) = body.split_at_mut_checked(16).ok_or(Error::WrongState)?;
            self.stream.apply(rest)?;
            self.mac.verify(sequence, body, tag)
        }
    }
}

impl CtrStream {
    fn apply(&mut self, data: &mut [u8]) -> Result<(), Error> {
        match self {
            CtrStream::Aes128(stream) => stream.try_apply_keystream(data),
            CtrStream::Aes192(stream) => stream.try_apply_keystream(data),
            CtrStream::Aes256(stream) => stream.try_apply_keystream(data),
        }
        .map_err(|_| Error::SequenceExhausted)
    }
}

impl MacKey {
    fn len(&self) -> usize {
        match self {
            MacKey::Sha256(_) => 32,
            MacKey::Sha512(_) => 64,
        }
    }

    fn write(&self, sequence: u32, data: &[u8], tag: &mut [u8]) {
        match self {
            MacKey::Sha256(key) => {
                tag.copy_from_slice(&digest(key, sequence, data).finalize().into_bytes())
            }
            MacKey::Sha512(key) => {
                tag.copy_from_slice(&digest(key, sequence, data).finalize().into_bytes())
            }
        }
    }

    fn verify(&self, sequence: u32, data: &[u8], tag: &[u8]) -> Result<(), Error> {
        match self {
            MacKey::Sha256(key) => digest(key, sequence, data).verify_slice(tag),
            MacKey::Sha512(key) => digest(key, sequence, data).verify_slice(tag),
        }
        .map_err(|_| Error::BadMac)
    }
}

fn digest<M: hmac::Mac + Clone>(key: &M, sequence: u32, data: &[u8]) -> M {
    let mut mac = key.clone();
    mac.update(&sequence.to_be_bytes());
    mac.update(data);
    mac
}
