//! What can go wrong, one sentence each.

use core::fmt;
use rustls::{AlertDescription, CertificateError, PeerIncompatible, PeerMisbehaved};

/// Why there is no connection, or no more of it.
///
/// Nothing here is worth trying again with the same arguments, save a [`Refused`](Self::Refused)
/// that the peer may think better of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is no clock, and certificates cannot be verified without.
    NoClock,
    /// There is no certification authority to trust.
    NoRoots,
    /// The name of the server is neither a DNS name nor an IP address.
    BadName,
    /// A PEM file is malformed.
    BadPem,
    /// A certificate is malformed, or there is none where there should be.
    BadCertificate,
    /// A private key is missing, malformed, or of a kind that cannot sign.
    BadKey,
    /// Private key and certificate do not belong together.
    KeyMismatch,
    /// The cryptography that was configured cannot do TLS 1.3.
    BadProvider,
    /// The random source failed.
    NoRandomness,

    /// A certificate of the peer is past its time.
    Expired,
    /// A certificate of the peer has yet to become valid, or the clock is slow.
    NotYetValid,
    /// The peer's certificate is for another name.
    WrongHost,
    /// The peer's certificate is signed by itself and not among the trusted ones.
    SelfSigned,
    /// No trusted authority stands behind the peer's certificate.
    UnknownAuthority,
    /// The peer's certificate is for another purpose, or one in the chain may not sign others.
    WrongUsage,
    /// A signature in the chain, or under the handshake, is wrong.
    BadSignature,
    /// The peer's certificate is signed in a way that is not supported.
    UnsupportedSignature,
    /// The peer's certificate has a critical extension that is not understood.
    UnknownExtension,
    /// The peer's chain is too long, breaks a constraint, or is otherwise not acceptable.
    BadChain,
    /// The peer showed no certificate.
    NoCertificate,

    /// The peer does not know TLS 1.3.
    OldVersion,
    /// Somebody tried to talk both sides into an older version.
    Downgraded,
    /// There is no version, cipher suite, group or signature scheme that both sides know.
    NothingInCommon,
    /// There is no application protocol that both sides know.
    NoCommonProtocol,
    /// The peer gave up, with this alert (RFC 8446, section 6.2).
    Refused(u8),
    /// The peer sent something that is not TLS.
    Malformed,
    /// The peer broke the rules of TLS.
    Misbehaved,
    /// A record was not protected by the right key.
    BadRecord,
    /// The peer sent a message or record that is larger than allowed.
    TooLarge,
    /// The stream ended before the peer said so: data may have been cut off.
    Truncated,
    /// The connection is over.
    Closed,
    /// A bug in this program.
    Bug,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::NoClock => "there is no clock, and without one no certificate can be verified",
            Error::NoRoots => "there is no certification authority to trust",
            Error::BadName => "this is neither a host name nor an IP address",
            Error::BadPem => "the PEM file is malformed",
            Error::BadCertificate => "the certificate is missing or malformed",
            Error::BadKey => "the private key is missing, malformed, or of an unsupported kind",
            Error::KeyMismatch => "the private key does not belong to the certificate",
            Error::BadProvider => "the cryptography that was configured cannot do TLS 1.3",
            Error::NoRandomness => "the random source failed",
            Error::Expired => "the peer's certificate has expired",
            Error::NotYetValid => "the peer's certificate is not valid yet (is the clock right?)",
            Error::WrongHost => "the peer's certificate is for another host",
            Error::SelfSigned => "the peer's certificate is self-signed and not among the trusted",
            Error::UnknownAuthority => "the peer's certificate is from an unknown authority",
            Error::WrongUsage => "the peer's certificate is not meant for this use",
            Error::BadSignature => "a signature in the peer's certificate or handshake is wrong",
            Error::UnsupportedSignature => "the peer's certificate has an unsupported signature",
            Error::UnknownExtension => "the peer's certificate has an unknown critical extension",
            Error::BadChain => "the peer's certificate chain is not acceptable",
            Error::NoCertificate => "the peer showed no certificate",
            Error::OldVersion => "the peer does not know TLS 1.3",
            Error::Downgraded => "somebody tried to force an older version of TLS",
            Error::NothingInCommon => {
                "the peer has no version, cipher, group or signature in common with us"
            }
            Error::NoCommonProtocol => "the peer has no application protocol in common with us",
            Error::Refused(code) => {
                return match AlertDescription::from(*code) {
                    AlertDescription::Unknown(code) => write!(f, "the peer gave up: alert {code}"),
                    alert => write!(f, "the peer gave up: {}", alert_sentence(alert)),
                };
            }
            Error::Malformed => "the peer sent something that is not TLS",
            Error::Misbehaved => "the peer broke the rules of TLS",
            Error::BadRecord => "a record was damaged or forged",
            Error::TooLarge => "the peer sent a message that is too large",
            Error::Truncated => "the connection was cut off before its end",
            Error::Closed => "the connection is closed",
            Error::Bug => "internal error",
        })
    }
}

impl core::error::Error for Error {}

/// An alert in words.
fn alert_sentence(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnexpectedMessage => "it met an unexpected message",
        AlertDescription::BadRecordMac => "it met a damaged record",
        AlertDescription::RecordOverflow => "it met a record that is too large",
        AlertDescription::HandshakeFailure => "nothing in common, or a certificate is missing",
        AlertDescription::BadCertificate => "it does not accept our certificate",
        AlertDescription::UnsupportedCertificate => "our certificate is not meant for this use",
        AlertDescription::CertificateRevoked => "our certificate was revoked",
        AlertDescription::CertificateExpired => "our certificate has expired",
        AlertDescription::CertificateUnknown => "something is wrong with our certificate",
        AlertDescription::IllegalParameter => "it met an illegal value",
        AlertDescription::UnknownCA => "our certificate is from an authority it does not know",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::DecodeError => "it could not decode a message",
        AlertDescription::DecryptError => "a signature or secret is wrong",
        AlertDescription::ProtocolVersion => "it does not know this version of TLS",
        AlertDescription::InsufficientSecurity => "it wants more security",
        AlertDescription::InternalError => "internal error",
        AlertDescription::UserCanceled => "it was cancelled",
        AlertDescription::MissingExtension => "an extension is missing",
        AlertDescription::UnrecognisedName => "it does not know the host name we asked for",
        AlertDescription::CertificateRequired => "it wants a certificate of ours",
        AlertDescription::NoApplicationProtocol => "no application protocol in common",
        _ => "for a reason that has no words",
    }
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        use rustls::Error as E;
        match error {
            E::InvalidCertificate(error) => of_certificate(&error),
            E::PeerIncompatible(error) => of_incompatible(&error),
            E::PeerMisbehaved(PeerMisbehaved::AttemptedDowngradeToTls12WhenTls13IsSupported) => {
                Error::Downgraded
            }
            E::PeerMisbehaved(PeerMisbehaved::SignedKxWithWrongAlgorithm) => Error::BadSignature,
            E::PeerMisbehaved(_)
            | E::InappropriateMessage { .. }
            | E::InappropriateHandshakeMessage { .. } => Error::Misbehaved,
            E::InvalidMessage(rustls::InvalidMessage::HandshakePayloadTooLarge)
            | E::InvalidMessage(rustls::InvalidMessage::CertificatePayloadTooLarge)
            | E::InvalidMessage(rustls::InvalidMessage::MessageTooLarge)
            | E::PeerSentOversizedRecord => Error::TooLarge,
            E::InvalidMessage(_) => Error::Malformed,
            E::NoCertificatesPresented => Error::NoCertificate,
            E::UnsupportedNameType => Error::BadName,
            E::DecryptError => Error::BadRecord,
            E::AlertReceived(AlertDescription::ProtocolVersion) => Error::OldVersion,
            E::AlertReceived(AlertDescription::NoApplicationProtocol) => Error::NoCommonProtocol,
            E::AlertReceived(alert) => Error::Refused(alert.into()),
            E::FailedToGetCurrentTime => Error::NoClock,
            E::FailedToGetRandomBytes => Error::NoRandomness,
            E::NoApplicationProtocol => Error::NoCommonProtocol,
            _ => Error::Bug,
        }
    }
}

fn of_certificate(error: &CertificateError) -> Error {
    use CertificateError as E;
    match error {
        E::BadEncoding => Error::BadCertificate,
        E::Expired | E::ExpiredContext { .. } => Error::Expired,
        E::NotValidYet | E::NotValidYetContext { .. } => Error::NotYetValid,
        E::NotValidForName | E::NotValidForNameContext { .. } => Error::WrongHost,
        E::UnknownIssuer => Error::UnknownAuthority,
        // See `verify::SELF_SIGNED`.
        E::UnknownRevocationStatus => Error::SelfSigned,
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => Error::WrongUsage,
        E::BadSignature => Error::BadSignature,
        E::UnsupportedSignatureAlgorithmContext { .. }
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Error::UnsupportedSignature,
        E::UnhandledCriticalExtension => Error::UnknownExtension,
        _ => Error::BadChain,
    }
}

fn of_incompatible(error: &PeerIncompatible) -> Error {
    use PeerIncompatible as E;
    match error {
        E::ServerDoesNotSupportTls12Or13
        | E::ServerTlsVersionIsDisabledByOurConfig
        | E::SupportedVersionsExtensionRequired
        | E::Tls12NotOffered
        | E::Tls12NotOfferedOrEnabled => Error::OldVersion,
        _ => Error::NothingInCommon,
    }
}
