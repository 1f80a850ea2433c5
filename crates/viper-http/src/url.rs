//! URLs of the schemes http and https, read as browsers read them.
//!
//! The rules are those of the [URL Standard](https://url.spec.whatwg.org/) for these two schemes,
//! without internationalised names: a host with characters beyond ASCII is refused, not guessed.

mod host;
mod percent;

pub use host::Host;
pub use percent::{decode as percent_decode, encode_segment};

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use percent::{FRAGMENT, PATH, QUERY, USERINFO, encode_into};

/// Which protocol carries the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In clear text; port 80.
    Http,
    /// Over TLS; port 443.
    Https,
}

impl Scheme {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port when none is told.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Why a text is no URL that can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// A scheme other than http and https.
    UnsupportedScheme,
    /// A reference without a scheme, and nothing that it refers to.
    Relative,
    /// There is no host.
    NoHost,
    /// The host is neither a name nor an address.
    BadHost,
    /// The host has characters beyond ASCII; its `xn--` form would do.
    HostNotAscii,
    /// The port is not a number up to 65535.
    BadPort,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UrlError::UnsupportedScheme => "neither http nor https",
            UrlError::Relative => "no scheme, such as http://",
            UrlError::NoHost => "no host",
            UrlError::BadHost => "malformed host",
            UrlError::HostNotAscii => "host with characters beyond ASCII",
            UrlError::BadPort => "malformed port",
        })
    }
}

impl core::error::Error for UrlError {}

/// An http or https URL in its normal form.
///
/// Its text has only printable ASCII characters, so that it may go into a request as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    scheme: Scheme,
    username: String,
    password: String,
    host: Host,
    /// Unless it is the scheme's own.
    port: Option<u16>,
    path: String,
    query: Option<String>,
    fragment: Option<String>,
}

impl Url {
    /// Reads an absolute URL.
    ///
    /// # Errors
    /// See [`UrlError`]; [`UrlError::Relative`] without a scheme.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        Url::read(text, None)
    }

    /// Reads a reference as it stands in a document at this URL, such as `../other?x`.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn join(&self, reference: &str) -> Result<Url, UrlError> {
        Url::read(reference, Some(self))
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The user's name, percent-encoded; empty if there is none.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password, percent-encoded; empty if there is none.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Forgets user and password.
    pub fn clear_credentials(&mut self) {
        self.username.clear();
        self.password.clear();
    }

    /// Takes over user and password of another URL if this one has none.
    pub fn inherit_credentials(&mut self, from: &Url) {
        if self.username.is_empty() && self.password.is_empty() {
            self.username.clone_from(&from.username);
            self.password.clone_from(&from.password);
        }
    }

    /// User and password as `Authorization` says them (RFC 7617), if there are any.
    #[must_use]
    pub fn basic_authorization(&self) -> Option<String> {
        if self.username.is_empty() && self.password.is_empty() {
            return None;
        }
        let mut bytes = percent_decode(&self.username);
        bytes.push(b':');
        bytes.extend(percent_decode(&self.password));
        Some(String::from("Basic ") + &base64(&bytes))
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port that is told, or the scheme's own.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }

    /// The path, percent-encoded; it begins with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query without `?`, percent-encoded.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The fragment without `#`, percent-encoded.
    #[must_use]
    pub fn fragment(&self) -> Option<&str> {
        self.fragment.as_deref()
    }

    /// Takes over the fragment of another URL if this one has none, as a redirect does.
    pub fn inherit_fragment(&mut self, from: &Url) {
        if self.fragment.is_none() {
            self.fragment.clone_from(&from.fragment);
        }
    }

    /// Host and port as `Host` says them.
    #[must_use]
    pub fn authority(&self) -> String {
        let mut text = self.host.to_string();
        if let Some(port) = self.port {
            text.push(':');
            text.push_str(&port.to_string());
        }
        text
    }

    /// Path and query: the target of a request to the host.
    #[must_use]
    pub fn target(&self) -> String {
        let mut text = self.path.clone();
        if let Some(query) = &self.query {
            text.push('?');
            text.push_str(query);
        }
        text
    }

    /// Whether both have the same scheme, host and port.
    #[must_use]
    pub fn is_same_origin(&self, other: &Url) -> bool {
        self.scheme == other.scheme && self.host == other.host && self.port() == other.port()
    }

    /// The last segment of the path, decoded: what the file would be called. Empty if there is
    /// none, or if it cannot be a name (`/`, NUL or no UTF-8 in it).
    #[must_use]
    pub fn file_name(&self) -> String {
        let last = self.path.rsplit('/').next().unwrap_or("");
        match String::from_utf8(percent_decode(last)) {
            Ok(name) if !name.contains(['/', '\\', ':', '\0']) && name != ".." && name != "." => {
                name
            }
            _ => String::new(),
        }
    }

    fn read(text: &str, base: Option<&Url>) -> Result<Url, UrlError> {
        let text = cleaned(text);
        let (before, fragment) = split_at_first(&text, '#');
        let mut url = match split_scheme(before) {
            Some((name, rest)) => {
                let scheme = match name.to_ascii_lowercase().as_str() {
                    "http" => Scheme::Http,
                    "https" => Scheme::Https,
                    _ => return Err(UrlError::UnsupportedScheme),
                };
                match base.filter(|base| base.scheme == scheme) {
                    Some(base) => base.refer(rest)?,
                    None => Url::read_authority(scheme, rest.trim_start_matches(is_slash))?,
                }
            }
            None => base.ok_or(UrlError::Relative)?.refer(before)?,
        };
        url.fragment = fragment.map(|text| encoded(text, FRAGMENT));
        Ok(url)
    }

    /// A reference without scheme and fragment.
    fn refer(&self, reference: &str) -> Result<Url, UrlError> {
        let (path, query) = split_at_first(reference, '?');
        let mut slashes = path.chars();
        if slashes.next().is_some_and(is_slash) && slashes.next().is_some_and(is_slash) {
            return Url::read_authority(self.scheme, reference.trim_start_matches(is_slash));
        }
        let mut url = self.clone();
        if !path.is_empty() || query.is_some() {
            url.query = query.map(|text| encoded(text, QUERY));
        }
        if path.starts_with(is_slash) {
            url.path = normal_path("", path);
        } else if !path.is_empty() {
            let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            url.path = normal_path(folder, path);
        }
        Ok(url)
    }

    /// What follows `//`.
    fn read_authority(scheme: Scheme, text: &str) -> Result<Url, UrlError> {
        let end = text.find(['/', '\\', '?']).unwrap_or(text.len());
        let (authority, rest) = text.split_at(end);
        let (userinfo, host_port) = match authority.rsplit_once('@') {
            Some((userinfo, host)) => (userinfo, host),
            None => ("", authority),
        };
        let (username, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        let (host, port) = split_port(host_port);
        if host.is_empty() {
            return Err(UrlError::NoHost);
        }
        let host = Host::parse(host)?;
        let port = read_port(port)?.filter(|port| *port != scheme.default_port());
        let (path, query) = split_at_first(rest, '?');
        Ok(Url {
            scheme,
            username: encoded(username, USERINFO),
            password: encoded(password, USERINFO),
            host,
            port,
            path: normal_path("", path),
            query: query.map(|text| encoded(text, QUERY)),
            fragment: None,
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        if !self.username.is_empty() || !self.password.is_empty() {
            f.write_str(&self.username)?;
            if !self.password.is_empty() {
                write!(f, ":{}", self.password)?;
            }
            f.write_str("@")?;
        }
        write!(f, "{}{}", self.authority(), self.target())?;
        match &self.fragment {
            Some(fragment) => write!(f, "#{fragment}"),
            None => Ok(()),
        }
    }
}

impl core::str::FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Url, UrlError> {
        Url::parse(text)
    }
}

/// Whether a value of `Host` is a host with an optional port.
pub(crate) fn is_authority(value: &[u8]) -> bool {
    let Ok(text) = core::str::from_utf8(value) else {
        return false;
    };
    let (host, port) = split_port(text);
    !host.contains(['%', '@', '/', '\\']) && Host::parse(host).is_ok() && read_port(port).is_ok()
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit) & 63) as usize;
            let is_filler = digit > group.len();
            text.push(if is_filler {
                '='
            } else {
                char::from(DIGITS[index])
            });
        }
    }
    text
}

fn is_slash(c: char) -> bool {
    matches!(c, '/' | '\\')
}

/// Without controls and spaces around it, and without tabs and line ends in it.
fn cleaned(text: &str) -> Cow<'_, str> {
    let text = text.trim_matches(|c: char| c <= ' ');
    if text.contains(['\t', '\n', '\r']) {
        Cow::Owned(text.replace(['\t', '\n', '\r'], ""))
    } else {
        Cow::Borrowed(text)
    }
}

fn split_at_first(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once(':')?;
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    valid.then_some((name, rest))
}

/// Host and port, the colon in between; colons in brackets belong to the host.
fn split_port(text: &str) -> (&str, &str) {
    let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
    match text.get(after_brackets..).and_then(|rest| rest.find(':')) {
        Some(colon) => {
            let at = after_brackets + colon;
            (&text[..at], &text[at + 1..])
        }
        None => (text, ""),
    }
}

fn read_port(text: &str) -> Result<Option<u16>, UrlError> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(UrlError::BadPort);
    }
    let digits = text.trim_start_matches('0');
    let port = if digits.is_empty() { "0" } else { digits };
    port.parse().map(Some).map_err(|_| UrlError::BadPort)
}

fn encoded(text: &str, set: percent::Set) -> String {
    let mut to = String::new();
    encode_into(text, set, &mut to);
    to
}

/// Joins a path to a folder (without its last slash), and resolves `.` and `..`.
fn normal_path(folder: &str, path: &str) -> String {
    let mut segments: Vec<Cow<'_, str>> = folder.split('/').skip(1).map(Cow::from).collect();
    let path = path.strip_prefix(is_slash).unwrap_or(path);
    let mut rest = path.split(is_slash).peekable();
    while let Some(segment) = rest.next() {
        let is_last = rest.peek().is_none();
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        match plain.as_str() {
            ".." => {
                segments.pop();
            }
            "." => {}
            _ => {
                segments.push(encoded(segment, PATH).into());
                continue;
            }
        }
        if is_last {
            segments.push("".into());
        }
    }
    let mut text = String::new();
    for segment in &segments {
        text.push('/');
        text.push_str(segment);
    }
    if text.is_empty() {
        text.push('/');
    }
    text
}
