//! Why a connection, a key file or an SFTP stream was refused.

use core::fmt;

/// Everything that can go wrong, in one small value.
///
/// After any error from a [`Session`](crate::Session) the connection is over: what is left in
/// `poll_output` (usually a disconnect message) may still be sent, then the stream is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The peer's first lines are no SSH-2 identification (RFC 4253 section 4.2).
    BadVersion,
    /// A message or file ended early, was too long, or held a value its field cannot have.
    Malformed,
    /// A packet's length field is below the minimum, above the limit or not whole blocks.
    BadPacketLength,
    /// A packet failed its authentication code. Opaque on purpose.
    BadMac,
    /// No algorithm of this kind is offered by both sides.
    NoCommonAlgorithm(AlgorithmKind),
    /// The message is known but may not come at this point of the protocol.
    UnexpectedMessage(u8),
    /// Under strict key exchange, a packet came that the exchange does not need.
    StrictKexViolation,
    /// The peer's key share is invalid or gives an all-zero shared secret (RFC 8731 section 3).
    BadKeyShare,
    /// The signature does not fit the key and the data.
    BadSignature,
    /// The server's host key was refused by the caller.
    HostKeyRefused,
    /// `known_hosts` names another key for this host: possibly an interception.
    HostKeyChanged,
    /// `known_hosts` marks this key as revoked.
    HostKeyRevoked,
    /// The key is of a kind, or of a size, that this crate does not use.
    UnsupportedKey,
    /// A sequence number was about to be used twice under one key.
    SequenceExhausted,
    /// More data came than the channel's window allows.
    WindowExceeded,
    /// The message names a channel that is not open.
    NoSuchChannel,
    /// The channel no longer takes data: it was closed, or its end was announced.
    ChannelClosed,
    /// The call does not fit the state of the session.
    WrongState,
    /// Too many failed attempts to authenticate.
    TooManyAttempts,
    /// The peer did not act in the time it had.
    TimedOut,
    /// The peer ended the connection with this reason code (RFC 4253 section 11.1).
    Disconnected(u32),
    /// A limit on memory held for the peer would be exceeded.
    LimitExceeded,
    /// The passphrase is missing or wrong, or the private key file is damaged.
    BadPassphrase,
}

/// Which part of the negotiation found nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlgorithmKind {
    /// Key exchange method.
    Kex,
    /// Type of the server's host key.
    HostKey,
    /// Cipher of one direction.
    Cipher,
    /// Message authentication code of one direction.
    Mac,
    /// Compression of one direction.
    Compression,
}

/// Whose fault an [`Error`] is, and so what the caller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Bytes that no correct program sends.
    Malformed,
    /// Well-formed, but a breach of the protocol or of its cryptography.
    PeerMisbehaved,
    /// Correct, but nothing this crate can work with.
    Unsupported,
    /// The peer, or the caller, decided against going on.
    Refused,
    /// A time or memory limit was reached.
    Resource,
    /// The caller used the crate wrongly.
    Local,
}

impl Error {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::BadVersion | Error::Malformed | Error::BadPacketLength => ErrorKind::Malformed,
            Error::BadMac
            | Error::UnexpectedMessage(_)
            | Error::StrictKexViolation
            | Error::BadKeyShare
            | Error::BadSignature
            | Error::WindowExceeded
            | Error::NoSuchChannel => ErrorKind::PeerMisbehaved,
            Error::NoCommonAlgorithm(_) | Error::UnsupportedKey => ErrorKind::Unsupported,
            Error::HostKeyRefused
            | Error::HostKeyChanged
            | Error::HostKeyRevoked
            | Error::TooManyAttempts
            | Error::Disconnected(_) => ErrorKind::Refused,
            Error::TimedOut | Error::LimitExceeded | Error::SequenceExhausted => {
                ErrorKind::Resource
            }
            Error::ChannelClosed | Error::WrongState | Error::BadPassphrase => ErrorKind::Local,
        }
    }

    /// The reason code to send in SSH_MSG_DISCONNECT (RFC 4253 section 11.1), if one is due.
    pub(crate) fn disconnect_reason(&self) -> Option<u32> {
        match self {
            Error::Disconnected(_) => None,
            Error::BadMac => Some(5),
            Error::NoCommonAlgorithm(_) | Error::BadKeyShare | Error::BadSignature => Some(3),
            Error::HostKeyRefused | Error::HostKeyChanged | Error::HostKeyRevoked => Some(9),
            Error::TooManyAttempts => Some(14),
            Error::TimedOut => Some(10),
            Error::BadVersion => Some(8),
            _ => Some(2),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Error::BadVersion => "the peer does not speak SSH-2",
            Error::Malformed => "malformed message",
            Error::BadPacketLength => "bad packet length",
            Error::BadMac => "message authentication failed",
            Error::NoCommonAlgorithm(kind) => {
                return write!(f, "no common algorithm: {}", kind.name());
            }
            Error::UnexpectedMessage(number) => {
                return write!(f, "message {number} is not allowed here");
            }
            Error::StrictKexViolation => "packet not allowed during strict key exchange",
            Error::BadKeyShare => "the peer's key share is invalid",
            Error::BadSignature => "bad signature",
            Error::HostKeyRefused => "the host key was refused",
            Error::HostKeyChanged => "the host key differs from the known one",
            Error::HostKeyRevoked => "the host key is revoked",
            Error::UnsupportedKey => "unsupported key type or size",
            Error::SequenceExhausted => "sequence numbers are used up",
            Error::WindowExceeded => "more data than the window allows",
            Error::NoSuchChannel => "no such channel",
            Error::ChannelClosed => "the channel is closed",
            Error::WrongState => "not possible in this state",
            Error::TooManyAttempts => "too many authentication failures",
            Error::TimedOut => "timed out",
            Error::Disconnected(code) => {
                return write!(f, "the peer disconnected (reason {code})");
            }
            Error::LimitExceeded => "a limit on held data was reached",
            Error::BadPassphrase => "wrong passphrase or damaged key file",
        };
        f.write_str(text)
    }
}

impl core::error::Error for Error {}

impl AlgorithmKind {
    fn name(self) -> &'static str {
        match self {
            AlgorithmKind::Kex => "key exchange",
            AlgorithmKind::HostKey => "host key",
            AlgorithmKind::Cipher => "cipher",
            AlgorithmKind::Mac => "message authentication code",
            AlgorithmKind::Compression => "compression",
        }
    }
}
