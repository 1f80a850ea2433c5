//! The certification authorities that are trusted.

use crate::Error;
use alloc::sync::Arc;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::der::{Decode, Header, Length, Reader, SliceReader};

/// Certification authorities, one of which must stand behind a peer's certificate.
#[derive(Clone, Debug)]
pub struct Roots(RootCertStore);

impl Default for Roots {
    fn default() -> Self {
        Self(RootCertStore::empty())
    }
}

impl Roots {
    /// Nobody is trusted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the certificates of a file: PEM (other sections in it are skipped), or one or several
    /// certificates in DER. Returns how many were added.
    ///
    /// A certificate is taken for what it says: it does not have to be signed by itself, and its
    /// dates and constraints are not looked at, as RFC 5280, section 6.1.1 has it. Those in forms
    /// that no current authority uses are skipped.
    ///
    /// # Errors
    /// [`Error::BadPem`] and [`Error::BadCertificate`] when the file is malformed, or has no usable
    /// certificate at all; what came before the fault stays added.
    pub fn add(&mut self, file: &[u8]) -> Result<usize, Error> {
        let added = if file.first() == Some(&DER_SEQUENCE) {
            self.add_der(file)?
        } else {
            self.add_pem(file)?
        };
        if added == 0 {
            return Err(Error::BadCertificate);
        }
        Ok(added)
    }

    fn add_pem(&mut self, file: &[u8]) -> Result<usize, Error> {
        let mut added = 0;
        for certificate in CertificateDer::pem_slice_iter(file) {
            let certificate = certificate.map_err(|_| Error::BadPem)?;
            added += usize::from(self.0.add(certificate).is_ok());
        }
        Ok(added)
    }

    fn add_der(&mut self, file: &[u8]) -> Result<usize, Error> {
        let mut added = 0;
        let mut rest = file;
        while !rest.is_empty() {
            let len = element_len(rest).ok_or(Error::BadCertificate)?;
            let (certificate, after) = rest.split_at_checked(len).ok_or(Error::BadCertificate)?;
            added += usize::from(self.0.add(certificate.into()).is_ok());
            rest = after;
        }
        Ok(added)
    }

    /// How many authorities are trusted.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn store(self) -> Arc<RootCertStore> {
        Arc::new(self.0)
    }
}

/// The tag every certificate in DER begins with. No PEM file does: it is the digit 0.
const DER_SEQUENCE: u8 = 0x30;

/// The length of the element that `bytes` begin with, header included.
fn element_len(bytes: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(bytes).ok()?;
    let header = Header::decode(&mut reader).ok()?;
    let total: Length = (reader.position() + header.length()).ok()?;
    usize::try_from(total).ok()
}
