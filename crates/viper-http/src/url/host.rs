//! Hosts: names and addresses.

use super::{UrlError, percent_decode};
use alloc::string::String;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name, in lower case.
    Name(String),
    /// An address.
    Ipv4(Ipv4Addr),
    /// An address; written in brackets.
    Ipv6(Ipv6Addr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Ipv4(address) => address.fmt(f),
            Host::Ipv6(address) => {
                f.write_str("[")?;
                fmt_ipv6(address, f)?;
                f.write_str("]")
            }
        }
    }
}

impl Host {
    pub(super) fn parse(text: &str) -> Result<Host, UrlError> {
        if let Some(rest) = text.strip_prefix('[') {
            let address = rest.strip_suffix(']').ok_or(UrlError::BadHost)?;
            return parse_ipv6(address).map(Host::Ipv6).ok_or(UrlError::BadHost);
        }
        let decoded = percent_decode(text);
        if !decoded.is_ascii() {
            return Err(UrlError::HostNotAscii);
        }
        let mut name = String::from_utf8(decoded).map_err(|_| UrlError::HostNotAscii)?;
        name.make_ascii_lowercase();
        if name.is_empty() || name.bytes().any(is_forbidden) {
            return Err(UrlError::BadHost);
        }
        if ends_in_number(&name) {
            return parse_ipv4(&name).map(Host::Ipv4).ok_or(UrlError::BadHost);
        }
        Ok(Host::Name(name))
    }
}

/// The "forbidden domain code points" of the URL Standard.
fn is_forbidden(b: u8) -> bool {
    !b.is_ascii_graphic() || b"#/:<>?@[\\]^|%".contains(&b)
}

/// Whether the last label is a number, which makes the whole an address or an error.
fn ends_in_number(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or("");
    (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())) || number(last).is_some()
}

/// Decimal, octal (`0…`) or hexadecimal (`0x…`), as in the addresses of old. At most 2^32.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = if let Some(hex) = text.strip_prefix("0x") {
        (hex, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        (&text[1..], 8)
    } else if text.is_empty() {
        return None;
    } else {
        (text, 10)
    };
    let mut value = 0;
    for c in digits.chars() {
        // Too large stays too large.
        value = (value * u64::from(radix) + u64::from(c.to_digit(radix)?)).min(1 << 32);
    }
    Some(value)
}

fn parse_ipv4(name: &str) -> Option<Ipv4Addr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut address: u64 = 0;
    let mut parts = name.split('.').enumerate().peekable();
    while let Some((at, part)) = parts.next() {
        let value = number(part)?;
        let left = u32::try_from(4_usize.checked_sub(at)?).ok()?;
        // The last part stands for all bytes that are left.
        let bytes = if parts.peek().is_some() { 1 } else { left };
        if left == 0 || value >= 1 << (8 * bytes) {
            return None;
        }
        address |= value << (8 * (left - bytes));
    }
    u32::try_from(address).ok().map(Ipv4Addr::from)
}

/// As the standard library, which knows no zones and takes no number twice.
fn parse_ipv6(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok()
}

/// RFC 5952, but no dotted form: addresses that stand for IPv4 ones are written like all others.
fn fmt_ipv6(address: &Ipv6Addr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let parts = address.segments();
    let (start, len) = longest_zeroes(&parts);
    let mut at = 0;
    while let Some(part) = parts.get(at) {
        if len > 1 && at == start {
            f.write_str(if at == 0 { "::" } else { ":" })?;
            at += len;
            continue;
        }
        write!(f, "{part:x}")?;
        at += 1;
        if at < parts.len() {
            f.write_str(":")?;
        }
    }
    Ok(())
}

/// Where the first longest run of zeroes begins, and how long it is.
fn longest_zeroes(parts: &[u16; 8]) -> (usize, usize) {
    let mut best = (0, 0);
    for start in 0..parts.len() {
        let len = parts.iter().skip(start).take_while(|p| **p == 0).count();
        if len > best.1 {
            best = (start, len);
        }
    }
    best
}
