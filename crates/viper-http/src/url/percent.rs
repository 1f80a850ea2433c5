//! Percent-encoding (RFC 3986 section 2.1), with the sets of the URL Standard.

use alloc::string::String;
use alloc::vec::Vec;

/// Printable ASCII characters that are encoded in a part of a URL; all others always are.
#[derive(Clone, Copy)]
pub(super) struct Set(&'static [u8]);

pub(super) const FRAGMENT: Set = Set(b" \"<>`");
pub(super) const QUERY: Set = Set(b" \"#<>'");
pub(super) const PATH: Set = Set(b" \"#<>?`{}");
pub(super) const USERINFO: Set = Set(b" \"#<>?^`{}/:;=@[\\]|");
/// What a file name may have and a segment of a path may not, or only with a meaning of its own.
const SEGMENT: Set = Set(b" \"#<>?^`{}/%\\:;=&'+@[]|");

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends `text`, encoding what is in the set. A `%` that is there stays as it is.
pub(super) fn encode_into(text: &str, set: Set, to: &mut String) {
    for byte in text.bytes() {
        if byte == b' ' || !byte.is_ascii_graphic() || set.0.contains(&byte) {
            to.push('%');
            to.push(char::from(HEX[usize::from(byte >> 4)]));
            to.push(char::from(HEX[usize::from(byte & 15)]));
        } else {
            to.push(char::from(byte));
        }
    }
}

/// A file name as one segment of a path: whatever is in it, it decodes to the same.
#[must_use]
pub fn encode_segment(name: &str) -> String {
    let mut text = String::new();
    encode_into(name, SEGMENT, &mut text);
    text
}

/// Decodes `%XX`; a `%` without two digits stays as it is.
#[must_use]
pub fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut to = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |at: usize| {
            let digit = char::from(*bytes.get(at)?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                to.push(high << 4 | low);
                at += 3;
            }
            _ => {
                to.push(byte);
                at += 1;
            }
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive() {
        for name in [
            "a b",
            "100%",
            "%41",
            "ä?#/\\",
            "",
            "a&b=c;d+e",
            "\u{1}\u{7f}",
        ] {
            assert_eq!(decode(&encode_segment(name)), name.as_bytes());
        }
        assert_eq!(decode("%zz%4%"), b"%zz%4%");
    }
}
