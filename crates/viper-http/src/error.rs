//! Why a message was refused, and whose fault that is.

use crate::Status;
use core::fmt;

/// Everything that can be wrong with a message, in one small value.
///
/// After any error from a reader or a [`Connection`](crate::server::Connection) the stream cannot
/// be used for another message: nobody knows where the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The first line is no request or status line, or a header line has no valid form.
    BadHead,
    /// The version is not HTTP/1.0 or HTTP/1.1.
    BadVersion,
    /// A line ends in LF alone, or has a CR in its midst.
    BareLineEnd,
    /// A header is continued on a second line (RFC 9112 section 5.2 lets us refuse).
    FoldedHeader,
    /// The head, or the trailer section, has more bytes than the limit.
    HeadTooLarge,
    /// One line has more bytes than the limit.
    LineTooLong,
    /// The request target has more bytes than the limit.
    TargetTooLong,
    /// More header lines than the limit.
    TooManyHeaders,
    /// A header name or value that may not be written: not a token, or with CR, LF or NUL.
    BadHeader,
    /// The request target is neither a path, an absolute URL nor `*`.
    BadTarget,
    /// HTTP/1.1 without `Host`, or with more than one, or with one that names no host.
    BadHost,
    /// `Content-Length` is not one number.
    BadContentLength,
    /// The length is told twice: `Content-Length` repeated, or beside `Transfer-Encoding`.
    AmbiguousLength,
    /// `Transfer-Encoding` does not end in `chunked`, or came with HTTP/1.0.
    BadTransferEncoding,
    /// A transfer coding other than `chunked`.
    UnsupportedTransferEncoding,
    /// An expectation other than `100-continue`.
    UnsupportedExpectation,
    /// A chunk's size line or its end is wrong.
    BadChunk,
    /// The body has more bytes than the limit, before or after decompression.
    BodyTooLarge,
    /// The stream ended before the message did.
    UnexpectedEnd,
    /// The body was said to be gzip and is not, or its checksum or length is wrong.
    BadGzip,
    /// The content coding is none that can be decoded.
    UnsupportedContentEncoding,
    /// More redirects than the limit.
    TooManyRedirects,
    /// A redirect without a `Location` that can be followed.
    BadLocation,
    /// A redirect from https to http.
    InsecureRedirect,
    /// The peer took longer than it may.
    TimedOut,
    /// The call does not fit the state of the exchange.
    WrongState,
    /// Memory for the message could not be had.
    OutOfMemory,
}

/// Whose fault an [`Error`] is, and so what the caller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Bytes that no correct program sends.
    Malformed,
    /// Correct, but more than this side is willing to hold.
    LimitExceeded,
    /// Correct, but nothing this crate does.
    Unsupported,
    /// The peer went away or was too slow.
    Peer,
    /// A policy of this side forbids it.
    Refused,
    /// A mistake or a shortage on this side.
    Local,
}

impl Error {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(self) -> ErrorKind {
        use Error as E;
        match self {
            E::HeadTooLarge
            | E::LineTooLong
            | E::TargetTooLong
            | E::TooManyHeaders
            | E::BodyTooLarge => ErrorKind::LimitExceeded,
            E::BadVersion
            | E::UnsupportedTransferEncoding
            | E::UnsupportedExpectation
            | E::UnsupportedContentEncoding => ErrorKind::Unsupported,
            E::UnexpectedEnd | E::TimedOut => ErrorKind::Peer,
            E::TooManyRedirects | E::InsecureRedirect => ErrorKind::Refused,
            E::WrongState | E::OutOfMemory => ErrorKind::Local,
            _ => ErrorKind::Malformed,
        }
    }

    /// The status with which a server answers a request that fails so.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Error::HeadTooLarge | Error::LineTooLong | Error::TooManyHeaders => Status(431),
            Error::TargetTooLong => Status(414),
            Error::BodyTooLarge => Status(413),
            Error::BadVersion => Status(505),
            Error::UnsupportedTransferEncoding => Status(501),
            Error::UnsupportedExpectation => Status(417),
            Error::UnsupportedContentEncoding => Status(415),
            Error::TimedOut => Status(408),
            Error::OutOfMemory | Error::WrongState => Status(500),
            _ => Status(400),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::BadHead => "malformed message head",
            Error::BadVersion => "neither HTTP/1.0 nor HTTP/1.1",
            Error::BareLineEnd => "line end that is not CR LF",
            Error::FoldedHeader => "header continued on a second line",
            Error::HeadTooLarge => "message head too large",
            Error::LineTooLong => "header line too long",
            Error::TargetTooLong => "request target too long",
            Error::TooManyHeaders => "too many headers",
            Error::BadHeader => "header that may not be sent",
            Error::BadTarget => "malformed request target",
            Error::BadHost => "missing, repeated or malformed Host",
            Error::BadContentLength => "malformed Content-Length",
            Error::AmbiguousLength => "length of the body told twice",
            Error::BadTransferEncoding => "malformed Transfer-Encoding",
            Error::UnsupportedTransferEncoding => "unknown transfer coding",
            Error::UnsupportedExpectation => "unknown expectation",
            Error::BadChunk => "malformed chunk",
            Error::BodyTooLarge => "body too large",
            Error::UnexpectedEnd => "connection closed before the end of the message",
            Error::BadGzip => "damaged gzip data",
            Error::UnsupportedContentEncoding => "unknown content coding",
            Error::TooManyRedirects => "too many redirects",
            Error::BadLocation => "redirect to nowhere",
            Error::InsecureRedirect => "redirect from https to http",
            Error::TimedOut => "the peer took too long",
            Error::WrongState => "call out of turn",
            Error::OutOfMemory => "out of memory",
        })
    }
}

impl core::error::Error for Error {}
