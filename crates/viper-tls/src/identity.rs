//! What one shows to the peer: certificates and the private key.

use crate::Error;
use alloc::sync::Arc;
use alloc::vec::Vec;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// A certificate chain and the private key that belongs to it.
#[derive(Clone, Debug)]
pub struct Identity(pub(crate) Arc<CertifiedKey>);

impl Identity {
    /// From two PEM files, which may be the same: the chain, that of the key's owner first, and
    /// the key (`PRIVATE KEY` or `EC PRIVATE KEY`, not encrypted).
    ///
    /// # Errors
    /// [`Error::BadPem`], [`Error::BadCertificate`] when there is no certificate or it is
    /// malformed, [`Error::BadKey`] when there is no key the provider can sign with, and
    /// [`Error::KeyMismatch`] when key and certificate have nothing to do with each other.
    pub fn from_pem(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Self, Error> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Error::BadPem)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Error::BadKey)?;
        Self::new(chain, key, provider)
    }

    /// From a chain of certificates in DER and a private key in PKCS#8 or SEC1.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem).
    pub fn from_der(
        chain: &[Vec<u8>],
        key: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Self, Error> {
        let chain = chain.iter().cloned().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::try_from(key.to_vec()).map_err(|_| Error::BadKey)?;
        Self::new(chain, key, provider)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, Error> {
        if chain.is_empty() {
            return Err(Error::BadCertificate);
        }
        let certified =
            CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => Error::KeyMismatch,
                rustls::Error::InvalidCertificate(_) => Error::BadCertificate,
                _ => Error::BadKey,
            })?;
        Ok(Self(Arc::new(certified)))
    }
}
