//! Heads: the first line and the header fields of a message.

use crate::headers::{is_field_byte, is_token};
use crate::url::{Url, is_authority};
use crate::{Error, Headers, Limits, Method, Status, Version};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// What to do.
    pub method: Method,
    /// With what: a path with an optional query, an absolute URL, or `*`.
    pub target: String,
    /// The version of the client.
    pub version: Version,
    /// The header fields.
    pub headers: Headers,
}

impl RequestHead {
    /// A request for a URL, with its `Host`. The user and password of the URL are not used.
    ///
    /// # Errors
    /// None for a URL that was parsed; it is the `Result` of [`Headers::push`].
    pub fn new(method: Method, url: &Url) -> Result<RequestHead, Error> {
        let mut headers = Headers::new();
        headers.push("Host", url.authority())?;
        Ok(RequestHead {
            method,
            target: url.target(),
            version: Version::Http11,
            headers,
        })
    }

    /// The path of the target, still percent-encoded; `*` for `*`.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.origin().split('?').next() {
            None | Some("") => "/",
            Some(path) => path,
        }
    }

    /// The query of the target, still percent-encoded.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.origin().split_once('?').map(|(_, query)| query)
    }

    /// Appends the head as it is sent.
    ///
    /// # Errors
    /// [`Error::BadHeader`] if the method is no token, [`Error::BadTarget`] if the target is empty
    /// or has spaces or controls. Nothing is appended then.
    pub fn encode(&self, to: &mut Vec<u8>) -> Result<(), Error> {
        if !is_token(self.method.name()) {
            return Err(Error::BadHeader);
        }
        if self.target.is_empty() || !self.target.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::BadTarget);
        }
        for part in [self.method.name(), " ", &self.target, " "] {
            to.extend_from_slice(part.as_bytes());
        }
        to.extend_from_slice(self.version.name().as_bytes());
        to.extend_from_slice(b"\r\n");
        self.headers.encode(to);
        to.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// The target without scheme and authority.
    fn origin(&self) -> &str {
        match self.target.split_once("://") {
            Some((_, rest)) if !self.target.starts_with('/') => {
                let path = rest.find(['/', '?']).and_then(|at| rest.get(at..));
                path.unwrap_or("/")
            }
            _ => &self.target,
        }
    }

    pub(crate) fn parse(bytes: &[u8], lines: usize, limits: &Limits) -> Result<Self, Error> {
        let mut fields = vec![httparse::EMPTY_HEADER; lines];
        let mut request = httparse::Request::new(&mut fields);
        complete(request.parse(bytes)?, bytes)?;
        let target = request.path.ok_or(Error::BadHead)?;
        if target.len() > limits.target_bytes_max {
            return Err(Error::TargetTooLong);
        }
        let head = RequestHead {
            method: Method::from_name(request.method.ok_or(Error::BadHead)?),
            target: target.to_string(),
            version: version(request.version)?,
            headers: collect(request.headers)?,
        };
        head.check_target()?;
        head.check_host()?;
        Ok(head)
    }

    fn check_target(&self) -> Result<(), Error> {
        let target = self.target.as_str();
        let valid = target.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
            && match target.strip_prefix('/') {
                Some(_) => true,
                None if target == "*" => self.method == Method::Options,
                None => is_absolute(target) && Url::parse(target).is_ok(),
            };
        valid.then_some(()).ok_or(Error::BadTarget)
    }

    /// RFC 9112 section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any
    /// HTTP/1.1 request message that lacks a Host header field and to any request message that
    /// contains more than one Host header field line or a Host header field with an invalid field
    /// value."
    fn check_host(&self) -> Result<(), Error> {
        let mut hosts = self.headers.all("Host");
        match (hosts.next(), hosts.next()) {
            (None, _) if self.version == Version::Http10 => Ok(()),
            (Some(host), None) if is_authority(host) => Ok(()),
            _ => Err(Error::BadHost),
        }
    }
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The version of the server.
    pub version: Version,
    /// How it went.
    pub status: Status,
    /// What the server calls the status; nothing to rely on.
    pub reason: String,
    /// The header fields.
    pub headers: Headers,
}

impl ResponseHead {
    /// An answer with the usual reason and no header fields.
    #[must_use]
    pub fn new(status: Status) -> ResponseHead {
        ResponseHead {
            version: Version::Http11,
            status,
            reason: status.reason().into(),
            headers: Headers::new(),
        }
    }

    /// Adds a header field.
    ///
    /// # Errors
    /// As [`Headers::push`].
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<ResponseHead, Error> {
        self.headers.push(name, value)?;
        Ok(self)
    }

    /// Appends the head as it is sent.
    ///
    /// # Errors
    /// [`Error::BadHead`] for a status outside 100 to 999 or a reason with controls. Nothing is
    /// appended then.
    pub fn encode(&self, to: &mut Vec<u8>) -> Result<(), Error> {
        if !(100..=999).contains(&self.status.0) || !self.reason.bytes().all(is_field_byte) {
            return Err(Error::BadHead);
        }
        for part in [
            self.version.name(),
            " ",
            &self.status.0.to_string(),
            " ",
            &self.reason,
            "\r\n",
        ] {
            to.extend_from_slice(part.as_bytes());
        }
        self.headers.encode(to);
        to.extend_from_slice(b"\r\n");
        Ok(())
    }

    pub(crate) fn parse(bytes: &[u8], lines: usize) -> Result<Self, Error> {
        let mut fields = vec![httparse::EMPTY_HEADER; lines];
        let mut response = httparse::Response::new(&mut fields);
        complete(response.parse(bytes)?, bytes)?;
        let code = response.code.filter(|code| *code >= 100);
        Ok(ResponseHead {
            version: version(response.version)?,
            status: Status(code.ok_or(Error::BadHead)?),
            reason: response.reason.unwrap_or("").to_string(),
            headers: collect(response.headers)?,
        })
    }
}

/// Collects lines up to an empty one, and refuses what does not look like a section of lines.
///
/// No line end but CR LF is taken: whoever is between two programs that take different ones can
/// slip a message past the first.
#[derive(Clone, Debug, Default)]
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    line_len: usize,
    lines: usize,
    carriage_return: bool,
    /// Empty lines that may still come before the first one (RFC 9112 section 2.2).
    skip_max: u8,
}

impl LineBuffer {
    pub(crate) fn new(skip_max: u8) -> LineBuffer {
        LineBuffer {
            skip_max,
            ..LineBuffer::default()
        }
    }

    /// Whether nothing has come yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All lines with their ends, the empty one included.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many lines there are, without the empty one.
    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// Takes bytes up to the end of the empty line. Returns how many, and whether that was it.
    pub(crate) fn feed(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, bool), Error> {
        for (at, &byte) in input.iter().enumerate() {
            if self.bytes.len() >= limits.head_bytes_max {
                return Err(Error::HeadTooLarge);
            }
            if self.bytes.len() == self.bytes.capacity() {
                let more = self.bytes.len().max(256);
                self.bytes
                    .try_reserve(more)
                    .map_err(|_| Error::OutOfMemory)?;
            }
            self.bytes.push(byte);
            if self.take(byte, limits)? {
                return Ok((at + 1, true));
            }
        }
        Ok((input.len(), false))
    }

    fn take(&mut self, byte: u8, limits: &Limits) -> Result<bool, Error> {
        match byte {
            b'\n' if self.carriage_return => return self.line_end(limits),
            b'\n' => return Err(Error::BareLineEnd),
            _ if self.carriage_return => return Err(Error::BareLineEnd),
            b'\r' => self.carriage_return = true,
            b' ' | b'\t' if self.line_len == 0 && self.lines > 0 => {
                return Err(Error::FoldedHeader);
            }
            _ => {
                self.line_len += 1;
                if self.line_len > limits.line_bytes_max {
                    return Err(Error::LineTooLong);
                }
            }
        }
        Ok(false)
    }

    fn line_end(&mut self, limits: &Limits) -> Result<bool, Error> {
        self.carriage_return = false;
        if core::mem::take(&mut self.line_len) > 0 {
            self.lines += 1;
            // One more than headers: the first line of a head.
            if self.lines > limits.headers_max.saturating_add(1) {
                return Err(Error::TooManyHeaders);
            }
            return Ok(false);
        }
        if self.lines == 0 && self.skip_max > 0 {
            self.skip_max -= 1;
            self.bytes.clear();
            return Ok(false);
        }
        Ok(true)
    }
}

/// The fields of a trailer section.
pub(crate) fn parse_trailers(buffer: &LineBuffer) -> Result<Headers, Error> {
    let mut fields = vec![httparse::EMPTY_HEADER; buffer.lines()];
    match httparse::parse_headers(buffer.bytes(), &mut fields)? {
        httparse::Status::Complete((len, fields)) if len == buffer.bytes().len() => collect(fields),
        _ => Err(Error::BadHead),
    }
}

/// Whether scheme and slashes are as RFC 9110 section 4.2 has them; browsers take much else.
fn is_absolute(target: &str) -> bool {
    target.split_once("://").is_some_and(|(scheme, _)| {
        scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
    })
}

fn complete(status: httparse::Status<usize>, bytes: &[u8]) -> Result<(), Error> {
    match status {
        httparse::Status::Complete(len) if len == bytes.len() => Ok(()),
        _ => Err(Error::BadHead),
    }
}

fn collect(fields: &[httparse::Header<'_>]) -> Result<Headers, Error> {
    let mut headers = Headers::new();
    for field in fields {
        headers
            .push(field.name, field.value)
            .map_err(|_| Error::BadHead)?;
    }
    Ok(headers)
}

fn version(minor: Option<u8>) -> Result<Version, Error> {
    match minor {
        Some(0) => Ok(Version::Http10),
        Some(1) => Ok(Version::Http11),
        _ => Err(Error::BadVersion),
    }
}

impl From<httparse::Error> for Error {
    fn from(error: httparse::Error) -> Error {
        match error {
            httparse::Error::Version => Error::BadVersion,
            httparse::Error::TooManyHeaders => Error::TooManyHeaders,
            _ => Error::BadHead,
        }
    }
}
