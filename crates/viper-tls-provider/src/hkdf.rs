//! HMAC, from which rustls makes HKDF.

use alloc::boxed::Box;
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use rustls::crypto::hmac::{Hmac as HmacAlgorithm, Key, Tag};
use sha2::{Sha256, Sha384};

pub(crate) struct HmacSha256;
pub(crate) struct HmacSha384;

impl HmacAlgorithm for HmacSha256 {
    fn with_key(&self, key: &[u8]) -> Box<dyn Key> {
        keyed::<Sha256>(key, 32)
    }

    fn hash_output_len(&self) -> usize {
        32
    }
}

impl HmacAlgorithm for HmacSha384 {
    fn with_key(&self, key: &[u8]) -> Box<dyn Key> {
        keyed::<Sha384>(key, 48)
    }

    fn hash_output_len(&self) -> usize {
        48
    }
}

fn keyed<D>(key: &[u8], tag_len: usize) -> Box<dyn Key>
where
    D: EagerHash + 'static,
    Hmac<D>: Mac + KeyInit + Clone + Send + Sync,
{
    let mac = <Hmac<D> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    Box::new(Keyed { mac, tag_len })
}

struct Keyed<M> {
    mac: M,
    tag_len: usize,
}

impl<M: Mac + Clone + Send + Sync> Key for Keyed<M> {
    fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> Tag {
        let mut mac = self.mac.clone();
        mac.update(first);
        for part in middle {
            mac.update(part);
        }
        mac.update(last);
        Tag::new(&mac.finalize().into_bytes())
    }

    fn tag_len(&self) -> usize {
        self.tag_len
    }
}
