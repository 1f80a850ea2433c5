//! Verifying certificates: what webpki does, and the key usage and exact reasons besides.

use crate::Error;
use alloc::sync::Arc;
use alloc::vec::Vec;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName,
};

/// How a self-signed certificate is told from one of an unknown authority.
///
/// Without `std`, rustls errors carry nothing of ours. This one is for revocation lists, of which
/// there are none here, and makes the right alert: unknown_ca.
const SELF_SIGNED: CertificateError = CertificateError::UnknownRevocationStatus;

/// What the verifiers say of signatures in handshakes, by their `algorithms`.
macro_rules! signatures_of_tls13 {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &CertificateDer<'_>,
            _signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(CertificateError::BadSignature.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.algorithms;
            rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}

/// Verifies what servers show.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    webpki: Arc<WebPkiServerVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(crate) fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let algorithms = provider.signature_verification_algorithms;
        let webpki = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|_| Error::NoRoots)?;
        Ok(Self { webpki, algorithms })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self
            .webpki
            .verify_server_cert(end_entity, intermediates, name, ocsp, now);
        let verified = verified.map_err(|error| explain(end_entity, error))?;
        check_key_usage(end_entity, intermediates)?;
        Ok(verified)
    }

    signatures_of_tls13!();
}

/// Verifies what clients show.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    /// With `optional`, clients may do without; what they do show must be good all the same.
    pub(crate) fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
        optional: bool,
    ) -> Result<Self, Error> {
        let algorithms = provider.signature_verification_algorithms;
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
        if optional {
            builder = builder.allow_unauthenticated();
        }
        let webpki = builder.build().map_err(|_| Error::NoRoots)?;
        Ok(Self { webpki, algorithms })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.webpki.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .webpki
            .verify_client_cert(end_entity, intermediates, now);
        let verified = verified.map_err(|error| explain(end_entity, error))?;
        check_key_usage(end_entity, intermediates)?;
        Ok(verified)
    }

    signatures_of_tls13!();
}

/// Accepts whatever certificate a server shows. That the server has the key to it is checked.
#[derive(Debug)]
pub(crate) struct AcceptAnything {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AcceptAnything {
    pub(crate) fn new(provider: &CryptoProvider) -> Self {
        Self {
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for AcceptAnything {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures_of_tls13!();
}

/// Makes webpki's reason more exact where it leaves something open.
fn explain(end_entity: &CertificateDer<'_>, error: rustls::Error) -> rustls::Error {
    use rustls::Error::InvalidCertificate as Invalid;
    let Invalid(reason @ (CertificateError::UnknownIssuer | CertificateError::Other(_))) = &error
    else {
        return error;
    };
    let Ok(certificate) = Certificate::from_der(end_entity) else {
        return CertificateError::BadEncoding.into();
    };
    let tbs = certificate.tbs_certificate();
    if tbs.issuer() == tbs.subject() {
        return SELF_SIGNED.into();
    }
    match reason {
        CertificateError::Other(_) if has_unknown_critical(&certificate) => {
            CertificateError::UnhandledCriticalExtension.into()
        }
        // webpki says so when an authority's own certificate is shown as a server's.
        CertificateError::Other(_) if is_authority(&certificate) => {
            CertificateError::InvalidPurpose.into()
        }
        _ => error,
    }
}

/// Whether the certificate demands that something be heeded of which neither webpki nor this
/// module knows.
fn has_unknown_critical(certificate: &Certificate) -> bool {
    const KNOWN: [ObjectIdentifier; 5] = [
        KeyUsage::OID,
        SubjectAltName::OID,
        BasicConstraints::OID,
        NameConstraints::OID,
        ExtendedKeyUsage::OID,
    ];
    let extensions = certificate.tbs_certificate().extensions();
    extensions
        .into_iter()
        .flatten()
        .any(|extension| extension.critical && !KNOWN.contains(&extension.extn_id))
}

fn is_authority(certificate: &Certificate) -> bool {
    let constraints = certificate
        .tbs_certificate()
        .get_extension::<BasicConstraints>();
    matches!(
        constraints,
        Ok(Some((_, BasicConstraints { ca: true, .. })))
    )
}

/// Checks the key usage, which webpki leaves to others: where a certificate has the extension, the
/// peer's must allow digital signatures (RFC 8446, section 4.4.2.2), and an authority's signing
/// certificates (RFC 5280, section 6.1.4 (n)).
///
/// Peers may send more than the chain; what is no authority's cannot have been part of it.
fn check_key_usage(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<(), rustls::Error> {
    let end_entity = Certificate::from_der(end_entity);
    let end_entity = end_entity.map_err(|_| CertificateError::BadEncoding)?;
    let mut authorities = intermediates
        .iter()
        .filter_map(|certificate| Certificate::from_der(certificate).ok())
        .filter(is_authority);
    let usable = allows(&end_entity, KeyUsage::digital_signature)
        && authorities.all(|authority| allows(&authority, KeyUsage::key_cert_sign));
    if usable {
        Ok(())
    } else {
        Err(CertificateError::InvalidPurpose.into())
    }
}

/// Whether the certificate's key usage, if there is any, has `bit`.
fn allows(certificate: &Certificate, bit: fn(&KeyUsage) -> bool) -> bool {
    match certificate.tbs_certificate().get_extension::<KeyUsage>() {
        Ok(Some((_, usage))) => bit(&usage),
        Ok(None) => true,
        Err(_) => false,
    }
}
