//! Parts of a representation (RFC 9110 section 14).

use crate::framing::decimal;
use core::fmt;

/// What a `Range` asks of something that has so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeAnswer {
    /// All of it: there is no range, or none that has to be understood. Several ranges are among
    /// these; a server may answer them so.
    Whole,
    /// 206, with these bytes.
    Part(ByteRange),
    /// 416: no byte of it.
    Unsatisfiable,
}

/// Bytes `start..end`; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset after the last byte.
    pub end: u64,
}

impl ByteRange {
    /// How many bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

impl RangeAnswer {
    /// Reads the value of `Range` for `len` bytes.
    #[must_use]
    pub fn of(value: &[u8], len: u64) -> RangeAnswer {
        parse(value, len).unwrap_or(RangeAnswer::Whole)
    }
}

fn parse(value: &[u8], len: u64) -> Option<RangeAnswer> {
    let (unit, range) = split_once(value, b'=')?;
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let (first, last) = split_once(range.trim_ascii(), b'-')?;
    let (start, end) = match (first.is_empty(), last.is_empty()) {
        (true, true) => return None,
        (true, false) => (len.saturating_sub(decimal(last)?), len),
        (false, true) => (decimal(first)?, len),
        (false, false) => {
            let (first, last) = (decimal(first)?, decimal(last)?);
            if last < first {
                return None;
            }
            (first, len.min(last + 1))
        }
    };
    Some(if start < end {
        RangeAnswer::Part(ByteRange { start, end })
    } else {
        RangeAnswer::Unsatisfiable
    })
}

/// The value of `Content-Range`.
///
/// ```
/// use viper_http::ContentRange;
///
/// let range = ContentRange::parse(b"bytes 5-9/20").unwrap();
/// assert_eq!((range.range.unwrap().start, range.complete), (5, Some(20)));
/// assert_eq!(range.to_string(), "bytes 5-9/20");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// Which bytes these are; `None` in a 416.
    pub range: Option<ByteRange>,
    /// How many bytes there are in all, if the server knows.
    pub complete: Option<u64>,
}

impl ContentRange {
    /// Reads the value; `None` if it contradicts itself.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<ContentRange> {
        let (unit, rest) = split_once(value, b' ')?;
        let (range, complete) = split_once(rest, b'/')?;
        if !unit.eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let complete = match complete {
            b"*" => None,
            number => Some(decimal(number)?),
        };
        let range = match range {
            b"*" => None,
            range => {
                let (first, last) = split_once(range, b'-')?;
                let (start, end) = (decimal(first)?, decimal(last)? + 1);
                if start >= end || complete.is_some_and(|complete| end > complete) {
                    return None;
                }
                Some(ByteRange { start, end })
            }
        };
        if range.is_none() && complete.is_none() {
            return None;
        }
        Some(ContentRange { range, complete })
    }
}

impl fmt::Display for ContentRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.range {
            Some(range) => write!(f, "bytes {}-{}/", range.start, range.end.saturating_sub(1))?,
            None => f.write_str("bytes */")?,
        }
        match self.complete {
            Some(complete) => complete.fmt(f),
            None => f.write_str("*"),
        }
    }
}

fn split_once(text: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|b| *b == mark)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let part = |start, end| RangeAnswer::Part(ByteRange { start, end });
        for (value, len, answer) in [
            ("bytes=0-0", 10, part(0, 1)),
            ("Bytes=2-5", 10, part(2, 6)),
            ("bytes=2-", 10, part(2, 10)),
            ("bytes=-3", 10, part(7, 10)),
            ("bytes=-30", 10, part(0, 10)),
            ("bytes=5-99", 10, part(5, 10)),
            ("bytes=5-9999999999999999999", 10, part(5, 10)),
            ("bytes=10-", 10, RangeAnswer::Unsatisfiable),
            ("bytes=-0", 10, RangeAnswer::Unsatisfiable),
            ("bytes=-5", 0, RangeAnswer::Unsatisfiable),
            ("bytes=0-", 0, RangeAnswer::Unsatisfiable),
            ("bytes=5-4", 10, RangeAnswer::Whole),
            ("bytes=-", 10, RangeAnswer::Whole),
            ("bytes=0-1,3-4", 10, RangeAnswer::Whole),
            ("bytes=99999999999999999999-", 10, RangeAnswer::Whole),
            ("lines=0-1", 10, RangeAnswer::Whole),
            ("bytes", 10, RangeAnswer::Whole),
        ] {
            assert_eq!(RangeAnswer::of(value.as_bytes(), len), answer, "{value}");
        }
    }

    #[test]
    fn content_ranges() {
        for bad in [
            "bytes 5-4/10",
            "bytes 0-10/10",
            "bytes */*",
            "bytes 1/2",
            "bytes=1-2/3",
            "lines 1-2/3",
            "bytes -2/3",
        ] {
            assert_eq!(ContentRange::parse(bad.as_bytes()), None, "{bad}");
        }
        for good in ["bytes 0-9/10", "bytes 0-9/*", "bytes */10"] {
            let range = ContentRange::parse(good.as_bytes()).unwrap();
            assert_eq!(std::format!("{range}"), good);
        }
    }
}
