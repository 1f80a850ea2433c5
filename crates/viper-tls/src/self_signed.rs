//! Certificates that vouch for themselves, for servers that nobody has certified yet.

use crate::{Error, UnixSeconds};
use alloc::string::String;
use alloc::vec::Vec;
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use core::time::Duration;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::elliptic_curve::Generate;
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use rustls::crypto::SecureRandom;
use rustls::pki_types::DnsName;
use signature::{Keypair, Signer};
use x509_cert::Certificate;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::asn1::{Ia5String, OctetString};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{DateTime, EncodePem};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{
    DynSignatureAlgorithmIdentifier, EncodePublicKey, SignatureBitStringEncoding,
    SubjectPublicKeyInfo, SubjectPublicKeyInfoRef,
};
use x509_cert::time::{Time, Validity};
use zeroize::Zeroizing;

/// A new P-256 key, and a certificate for it that nobody but itself vouches for.
///
/// It lets a server speak TLS from its first start on. Clients refuse it unless they are told to
/// trust this very certificate. P-256 because browsers know nothing newer.
#[derive(Clone)]
pub struct SelfSigned {
    /// The certificate, in PEM.
    pub certificate_pem: String,
    /// The private key, in PEM (PKCS#8).
    pub key_pem: Zeroizing<String>,
}

impl SelfSigned {
    /// Makes a key and a certificate for `names`, host names or IP addresses, that is valid from
    /// a day before `now`, as clocks differ, until `days` days after.
    ///
    /// # Errors
    /// [`Error::BadName`] when there is no name or one is neither, [`Error::NoRandomness`], and
    /// [`Error::BadCertificate`] when the dates are beyond what certificates can say.
    pub fn new(
        names: &[&str],
        now: UnixSeconds,
        days: u32,
        random: &dyn SecureRandom,
    ) -> Result<Self, Error> {
        let mut rng = generator(random)?;
        let key = SigningKey::generate_from_rng(&mut rng);
        Self::with_key::<_, DerSignature>(names, now, days, &mut rng, &key)
    }

    /// The same with an Ed25519 key: quicker, and nothing for browsers.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_ed25519(
        names: &[&str],
        now: UnixSeconds,
        days: u32,
        random: &dyn SecureRandom,
    ) -> Result<Self, Error> {
        let mut rng = generator(random)?;
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        let key = ed25519_dalek::SigningKey::from_bytes(&secret);
        Self::with_key::<_, ed25519_dalek::Signature>(names, now, days, &mut rng, &key)
    }

    fn with_key<K, S>(
        names: &[&str],
        now: UnixSeconds,
        days: u32,
        rng: &mut ChaCha20Rng,
        key: &K,
    ) -> Result<Self, Error>
    where
        K: Signer<S> + Keypair + DynSignatureAlgorithmIdentifier + EncodePrivateKey,
        K::VerifyingKey: EncodePublicKey,
        S: SignatureBitStringEncoding,
    {
        let serial = SerialNumber::generate(rng);
        let names = alternative_names(names)?;
        let validity = validity(now, days).ok_or(Error::BadCertificate)?;
        let certificate = certificate(names, serial, validity, key).map_err(|_| Error::Bug)?;
        let certificate_pem = certificate.to_pem(LineEnding::LF);
        Ok(Self {
            certificate_pem: certificate_pem.map_err(|_| Error::Bug)?,
            key_pem: key.to_pkcs8_pem(LineEnding::LF).map_err(|_| Error::Bug)?,
        })
    }
}

impl fmt::Debug for SelfSigned {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.certificate_pem)
    }
}

fn generator(random: &dyn SecureRandom) -> Result<ChaCha20Rng, Error> {
    let mut seed = Zeroizing::new([0; 32]);
    random.fill(&mut *seed).map_err(|_| Error::NoRandomness)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

fn alternative_names(names: &[&str]) -> Result<Vec<GeneralName>, Error> {
    if names.is_empty() {
        return Err(Error::BadName);
    }
    names.iter().map(|name| alternative_name(name)).collect()
}

fn alternative_name(name: &str) -> Result<GeneralName, Error> {
    if let Ok(address) = IpAddr::from_str(name) {
        let bytes = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let bytes = OctetString::new(bytes).map_err(|_| Error::BadName)?;
        return Ok(GeneralName::IpAddress(bytes));
    }
    DnsName::try_from(name).map_err(|_| Error::BadName)?;
    let name = Ia5String::new(name).map_err(|_| Error::BadName)?;
    Ok(GeneralName::DnsName(name))
}

fn validity(now: UnixSeconds, days: u32) -> Option<Validity> {
    let not_before = time(now.0.saturating_sub(DAY_SECONDS))?;
    let not_after = time(now.0.checked_add(u64::from(days) * DAY_SECONDS)?)?;
    Some(Validity::new(not_before, not_after))
}

const DAY_SECONDS: u64 = 24 * 60 * 60;

fn time(seconds: u64) -> Option<Time> {
    let time = DateTime::from_unix_duration(Duration::from_secs(seconds)).ok()?;
    Some(Time::from(time))
}

fn certificate<K, S>(
    names: Vec<GeneralName>,
    serial: SerialNumber,
    validity: Validity,
    key: &K,
) -> x509_cert::builder::Result<Certificate>
where
    K: Signer<S> + Keypair + DynSignatureAlgorithmIdentifier,
    K::VerifyingKey: EncodePublicKey,
    S: SignatureBitStringEncoding,
{
    let public = SubjectPublicKeyInfo::from_key(&key.verifying_key())?;
    let subject = Name::from_str(SUBJECT)?;
    let mut builder = CertificateBuilder::new(Itself(subject), serial, validity, public)?;
    builder.add_extension(&BasicConstraints {
        ca: false,
        path_len_constraint: None,
    })?;
    builder.add_extension(&KeyUsage(KeyUsages::DigitalSignature.into()))?;
    builder.add_extension(&ExtendedKeyUsage(alloc::vec![SERVER_AUTH]))?;
    builder.add_extension(&SubjectAltName(names))?;
    builder.build::<_, S>(key)
}

/// The names that count are the alternative ones (RFC 9525, section 2).
const SUBJECT: &str = "CN=Self-signed";

/// id-kp-serverAuth (RFC 5280, section 4.2.1.12).
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");

/// A certificate whose subject issued it.
struct Itself(Name);

impl BuilderProfile for Itself {
    fn get_issuer(&self, subject: &Name) -> Name {
        subject.clone()
    }

    fn get_subject(&self) -> Name {
        self.0.clone()
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
