//! A certification authority for tests.

use super::{DAY, NOW, provider};
use crate::{Identity, Roots};
use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use core::str::FromStr;
use core::time::Duration;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::elliptic_curve::Generate;
use p256::pkcs8::EncodePrivateKey;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::asn1::{Ia5String, OctetString};
use x509_cert::der::flagset::FlagSet;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{DateTime, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::constraints::NameConstraints;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};

pub(super) const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
pub(super) const CLIENT_AUTH: &str = "1.3.6.1.5.5.7.3.2";

/// What is in a certificate, apart from keys.
#[derive(Clone)]
pub(super) struct Spec {
    pub(super) subject: &'static str,
    pub(super) names: Vec<&'static str>,
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    pub(super) authority: bool,
    pub(super) path_len: Option<u8>,
    pub(super) key_usage: Option<FlagSet<KeyUsages>>,
    pub(super) purposes: Vec<&'static str>,
    pub(super) permitted: Option<&'static str>,
    pub(super) unknown_critical: bool,
}

impl Spec {
    pub(super) fn authority(subject: &'static str) -> Self {
        Self {
            subject,
            names: vec![],
            not_before: NOW.0 - 100 * DAY,
            not_after: NOW.0 + 100 * DAY,
            authority: true,
            path_len: None,
            key_usage: Some(KeyUsages::KeyCertSign | KeyUsages::CRLSign),
            purposes: vec![],
            permitted: None,
            unknown_critical: false,
        }
    }

    pub(super) fn server(name: &'static str) -> Self {
        Self {
            subject: "CN=server",
            names: vec![name],
            authority: false,
            key_usage: Some(KeyUsages::DigitalSignature.into()),
            purposes: vec![SERVER_AUTH],
            ..Self::authority("")
        }
    }

    pub(super) fn client() -> Self {
        Self {
            subject: "CN=client",
            names: vec![],
            purposes: vec![CLIENT_AUTH],
            ..Self::server("")
        }
    }
}

/// A certificate with its key, and whom it can sign for.
#[derive(Clone)]
pub(super) struct Entity {
    name: &'static str,
    key: SigningKey,
    pub(super) der: Vec<u8>,
}

impl Entity {
    pub(super) fn self_signed(spec: &Spec) -> Self {
        let key = key();
        let der = certificate(spec, &key, spec.subject, &key);
        Self {
            name: spec.subject,
            key,
            der,
        }
    }

    pub(super) fn signs(&self, spec: &Spec) -> Self {
        let key = key();
        let der = certificate(spec, &key, self.name, &self.key);
        Self {
            name: spec.subject,
            key,
            der,
        }
    }

    pub(super) fn roots(&self) -> Roots {
        let mut roots = Roots::new();
        assert_eq!(roots.add(&self.der), Ok(1));
        roots
    }

    /// As somebody who shows `above` besides the own certificate.
    pub(super) fn identity(&self, above: &[&Entity]) -> Identity {
        let above = above.iter().map(|entity| entity.der.clone());
        let chain: Vec<_> = core::iter::once(self.der.clone()).chain(above).collect();
        let key = self.key.to_pkcs8_der().unwrap();
        Identity::from_der(&chain, key.as_bytes(), &provider()).unwrap()
    }

    /// Like `identity`, without a look at the certificate.
    pub(super) fn unchecked_identity(&self) -> Identity {
        let key = self.key.to_pkcs8_der().unwrap().as_bytes().to_vec();
        let key = PrivateKeyDer::try_from(key).unwrap();
        let key = provider().key_provider.load_private_key(key).unwrap();
        let chain = vec![self.der.clone().into()];
        Identity(CertifiedKey::new(chain, key).into())
    }
}

fn key() -> SigningKey {
    use core::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let seed = NEXT.fetch_add(1, Ordering::Relaxed);
    SigningKey::generate_from_rng(&mut ChaCha20Rng::seed_from_u64(seed))
}

fn certificate(spec: &Spec, key: &SigningKey, issuer: &str, signer: &SigningKey) -> Vec<u8> {
    let public = SubjectPublicKeyInfo::from_key(key.verifying_key()).unwrap();
    let names = Names {
        subject: Name::from_str(spec.subject).unwrap(),
        issuer: Name::from_str(issuer).unwrap(),
    };
    let validity = Validity::new(time(spec.not_before), time(spec.not_after));
    let serial = SerialNumber::new(&[1]).unwrap();
    let mut builder = CertificateBuilder::new(names, serial, validity, public).unwrap();
    let constraints = BasicConstraints {
        ca: spec.authority,
        path_len_constraint: spec.path_len,
    };
    builder.add_extension(&constraints).unwrap();
    if let Some(usage) = spec.key_usage {
        builder.add_extension(&KeyUsage(usage)).unwrap();
    }
    if !spec.purposes.is_empty() {
        let purposes = spec
            .purposes
            .iter()
            .map(|oid| ObjectIdentifier::new_unwrap(oid));
        let purposes = ExtendedKeyUsage(purposes.collect());
        builder.add_extension(&purposes).unwrap();
    }
    if !spec.names.is_empty() {
        let names = spec.names.iter().map(|name| general_name(name)).collect();
        builder.add_extension(&SubjectAltName(names)).unwrap();
    }
    if let Some(domain) = spec.permitted {
        let subtree = GeneralSubtree {
            base: general_name(domain),
            minimum: 0,
            maximum: None,
        };
        let constraints = NameConstraints {
            permitted_subtrees: Some(vec![subtree]),
            excluded_subtrees: None,
        };
        builder.add_extension(&constraints).unwrap();
    }
    if spec.unknown_critical {
        let extension = Extension {
            extn_id: ObjectIdentifier::new_unwrap("1.3.6.1.4.1.99999.1"),
            critical: true,
            extn_value: OctetString::new([5, 0]).unwrap(),
        };
        builder.add_extension(extension).unwrap();
    }
    let certificate = builder.build::<_, DerSignature>(signer).unwrap();
    certificate.to_der().unwrap()
}

fn general_name(name: &str) -> GeneralName {
    match core::net::Ipv4Addr::from_str(name) {
        Ok(address) => GeneralName::IpAddress(OctetString::new(address.octets()).unwrap()),
        Err(_) => GeneralName::DnsName(Ia5String::new(name).unwrap()),
    }
}

fn time(seconds: u64) -> Time {
    Time::from(DateTime::from_unix_duration(Duration::from_secs(seconds)).unwrap())
}

struct Names {
    subject: Name,
    issuer: Name,
}

impl BuilderProfile for Names {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _key: SubjectPublicKeyInfoRef<'_>,
        _issuer_key: SubjectPublicKeyInfoRef<'_>,
        _certificate: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        Ok(Vec::new())
    }
}
