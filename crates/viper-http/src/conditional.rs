//! Requests that depend on what the client has already (RFC 9110 section 13).

use crate::{HttpDate, RangeAnswer, RequestHead, Status};
use alloc::string::String;
use alloc::vec::Vec;

/// What tells one version of a resource from the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// The entity tag as `ETag` says it, with its quotes and perhaps `W/`.
    pub etag: Option<String>,
    /// When it was changed last.
    pub modified: Option<HttpDate>,
}

/// What to answer after all conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 200, or what the method does.
    Whole,
    /// 206 or 416, as the range says.
    Range(RangeAnswer),
    /// 304: the client's copy will do.
    NotModified,
    /// 412.
    PreconditionFailed,
}

impl Verdict {
    /// The status it stands for.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Verdict::Whole | Verdict::Range(RangeAnswer::Whole) => Status::OK,
            Verdict::Range(RangeAnswer::Part(_)) => Status::PARTIAL_CONTENT,
            Verdict::Range(RangeAnswer::Unsatisfiable) => Status::RANGE_NOT_SATISFIABLE,
            Verdict::NotModified => Status::NOT_MODIFIED,
            Verdict::PreconditionFailed => Status::PRECONDITION_FAILED,
        }
    }
}

impl Validators {
    /// Evaluates the conditions of a request for an existing resource of `len` bytes, in the order
    /// of RFC 9110 section 13.2.2.
    #[must_use]
    pub fn judge(&self, request: &RequestHead, len: u64) -> Verdict {
        let headers = &request.headers;
        let unmodified_since = |name| {
            let date = HttpDate::parse(headers.text(name)?)?;
            Some(self.modified? <= date)
        };
        if headers.has("If-Match") {
            if !self.matches(request, "If-Match", false) {
                return Verdict::PreconditionFailed;
            }
        } else if unmodified_since("If-Unmodified-Since") == Some(false) {
            return Verdict::PreconditionFailed;
        }
        if headers.has("If-None-Match") {
            if self.matches(request, "If-None-Match", true) {
                return match request.method.is_read() {
                    true => Verdict::NotModified,
                    false => Verdict::PreconditionFailed,
                };
            }
        } else if request.method.is_read() && unmodified_since("If-Modified-Since") == Some(true) {
            return Verdict::NotModified;
        }
        self.range(request, len)
    }

    fn range(&self, request: &RequestHead, len: u64) -> Verdict {
        let mut ranges = request.headers.all("Range");
        match (ranges.next(), ranges.next()) {
            (Some(range), None)
                if request.method == crate::Method::Get && self.if_range(request) =>
            {
                Verdict::Range(RangeAnswer::of(range, len))
            }
            _ => Verdict::Whole,
        }
    }

    /// Whether a range may be answered: the client's other part is of this version.
    fn if_range(&self, request: &RequestHead) -> bool {
        let Some(value) = request.headers.text("If-Range") else {
            return !request.headers.has("If-Range");
        };
        if value.ends_with('"') {
            return self.etag.as_deref() == Some(value) && !value.starts_with("W/");
        }
        HttpDate::parse(value).is_some() && HttpDate::parse(value) == self.modified
    }

    fn matches(&self, request: &RequestHead, name: &str, weak: bool) -> bool {
        request.headers.all(name).any(|value| {
            value == b"*"
                || tags(value).iter().any(|tag| {
                    self.etag
                        .as_deref()
                        .is_some_and(|own| same_tag(own.as_bytes(), tag, weak))
                })
        })
    }
}

/// RFC 9110 section 8.8.3.2: weak comparison looks at the quoted part only.
fn same_tag(own: &[u8], other: &[u8], weak: bool) -> bool {
    let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    if weak {
        opaque(own) == opaque(other)
    } else {
        own == other && !own.starts_with(b"W/")
    }
}

/// The entity tags of a list; commas inside the quotes belong to the tag.
fn tags(list: &[u8]) -> Vec<&[u8]> {
    let mut tags = Vec::new();
    let (mut start, mut quoted) = (0, false);
    for (at, byte) in list.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                tags.push(list[start..at].trim_ascii());
                start = at + 1;
            }
            _ => {}
        }
    }
    tags.push(list[start..].trim_ascii());
    tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ByteRange, Method, Url};

    fn judge(fields: &[(&str, &str)]) -> u16 {
        let url = Url::parse("http://h/").unwrap();
        let mut request = RequestHead::new(Method::Get, &url).unwrap();
        for (name, value) in fields {
            request.headers.push(name, value).unwrap();
        }
        let validators = Validators {
            etag: Some("\"a,b\"".into()),
            modified: HttpDate::parse("Sun, 06 Nov 1994 08:49:37 GMT"),
        };
        validators.judge(&request, 10).status().0
    }

    #[test]
    fn conditions() {
        const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
        for (status, fields) in [
            (200, &[][..]),
            (304, &[("If-None-Match", "\"x\", W/\"a,b\"")]),
            (304, &[("If-None-Match", "*")]),
            (200, &[("If-None-Match", "\"a\", \"b\"")]),
            (304, &[("If-Modified-Since", SAME)]),
            (200, &[("If-Modified-Since", BEFORE)]),
            (200, &[("If-Modified-Since", "yesterday")]),
            (
                200,
                &[("If-None-Match", "\"x\""), ("If-Modified-Since", SAME)],
            ),
            (412, &[("If-Match", "\"x\"")]),
            (412, &[("If-Match", "W/\"a,b\"")]),
            (200, &[("If-Match", "\"a,b\"")]),
            (412, &[("If-Unmodified-Since", BEFORE)]),
            (200, &[("If-Unmodified-Since", SAME)]),
            (206, &[("Range", "bytes=1-")]),
            (416, &[("Range", "bytes=10-")]),
            (206, &[("Range", "bytes=1-"), ("If-Range", "\"a,b\"")]),
            (200, &[("Range", "bytes=1-"), ("If-Range", "\"b\"")]),
            (200, &[("Range", "bytes=1-"), ("If-Range", "W/\"a,b\"")]),
            (206, &[("Range", "bytes=1-"), ("If-Range", SAME)]),
            (200, &[("Range", "bytes=1-"), ("If-Range", BEFORE)]),
            (200, &[("Range", "bytes=1-"), ("Range", "bytes=2-")]),
        ] {
            assert_eq!(judge(fields), status, "{fields:?}");
        }
    }

    #[test]
    fn only_get_has_ranges() {
        let url = Url::parse("http://h/").unwrap();
        let mut request = RequestHead::new(Method::Get, &url).unwrap();
        request.headers.push("Range", "bytes=1-2").unwrap();
        let none = Validators::default();
        let part = RangeAnswer::Part(ByteRange { start: 1, end: 3 });
        assert_eq!(none.judge(&request, 10), Verdict::Range(part));
        request.method = Method::Head;
        assert_eq!(none.judge(&request, 10), Verdict::Whole);
    }
}
