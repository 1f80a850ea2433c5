//! Methods, versions and status codes.

use alloc::string::String;
use core::fmt;

/// A request method (RFC 9110 section 9). Case matters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// Transfer a representation.
    Get,
    /// As `Get`, the head only.
    Head,
    /// Process the body.
    Post,
    /// Replace the resource by the body.
    Put,
    /// Remove the resource.
    Delete,
    /// Say what can be done.
    Options,
    /// Any other token.
    Other(String),
}

impl Method {
    /// The method of this name; any token is one.
    #[must_use]
    pub fn from_name(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "DELETE" => Method::Delete,
            "OPTIONS" => Method::Options,
            other => Method::Other(other.into()),
        }
    }

    /// As it is written.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Other(name) => name,
        }
    }

    /// Whether the method only asks, so that `Last-Modified` and `ETag` answer it with 304.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Method::Get | Method::Head)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Version {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }
}

/// A status code, 100 to 999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status(pub u16);

impl Status {
    /// 100
    pub const CONTINUE: Status = Status(100);
    /// 200
    pub const OK: Status = Status(200);
    /// 206
    pub const PARTIAL_CONTENT: Status = Status(206);
    /// 301
    pub const MOVED_PERMANENTLY: Status = Status(301);
    /// 304
    pub const NOT_MODIFIED: Status = Status(304);
    /// 400
    pub const BAD_REQUEST: Status = Status(400);
    /// 403
    pub const FORBIDDEN: Status = Status(403);
    /// 404
    pub const NOT_FOUND: Status = Status(404);
    /// 405
    pub const METHOD_NOT_ALLOWED: Status = Status(405);
    /// 412
    pub const PRECONDITION_FAILED: Status = Status(412);
    /// 416
    pub const RANGE_NOT_SATISFIABLE: Status = Status(416);
    /// 500
    pub const INTERNAL_ERROR: Status = Status(500);
    /// 503
    pub const UNAVAILABLE: Status = Status(503);

    /// 1xx: another head follows.
    #[must_use]
    pub fn is_informational(self) -> bool {
        self.0 / 100 == 1
    }

    /// 2xx.
    #[must_use]
    pub fn is_success(self) -> bool {
        self.0 / 100 == 2
    }

    /// A status that sends the client elsewhere, if there is a `Location`.
    #[must_use]
    pub fn is_redirect(self) -> bool {
        matches!(self.0, 301 | 302 | 303 | 307 | 308)
    }

    /// Whether an answer with this status never has a body (RFC 9112 section 6.3).
    #[must_use]
    pub fn is_bodiless(self) -> bool {
        self.is_informational() || matches!(self.0, 204 | 304)
    }

    /// The usual words for it; empty if there are none.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self.0 {
            100 => "Continue",
            101 => "Switching Protocols",
            200 => "OK",
            201 => "Created",
            202 => "Accepted",
            204 => "No Content",
            206 => "Partial Content",
            300 => "Multiple Choices",
            301 => "Moved Permanently",
            302 => "Found",
            303 => "See Other",
            304 => "Not Modified",
            307 => "Temporary Redirect",
            308 => "Permanent Redirect",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            406 => "Not Acceptable",
            408 => "Request Timeout",
            409 => "Conflict",
            410 => "Gone",
            411 => "Length Required",
            412 => "Precondition Failed",
            413 => "Content Too Large",
            414 => "URI Too Long",
            415 => "Unsupported Media Type",
            416 => "Range Not Satisfiable",
            417 => "Expectation Failed",
            421 => "Misdirected Request",
            426 => "Upgrade Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            451 => "Unavailable For Legal Reasons",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            507 => "Insufficient Storage",
            _ => "",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason();
        if reason.is_empty() {
            write!(f, "{:03}", self.0)
        } else {
            write!(f, "{:03} {reason}", self.0)
        }
    }
}
