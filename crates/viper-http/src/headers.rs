//! The header fields of a message, in their order.

use crate::Error;
use alloc::string::String;
use alloc::vec::Vec;

/// One header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    name: String,
    value: Vec<u8>,
}

impl Field {
    /// The name as it was written.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value without the spaces around it. Any bytes but controls: the encoding is not told.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

/// Header fields. Names are compared without regard to case.
///
/// Looking a name up takes time linear in the number of fields, which [`Limits`](crate::Limits)
/// bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    fields: Vec<Field>,
}

impl Headers {
    /// No fields.
    #[must_use]
    pub fn new() -> Headers {
        Headers::default()
    }

    /// Appends a field.
    ///
    /// # Errors
    /// [`Error::BadHeader`] unless the name is a token and the value has no control characters
    /// but tabs: nothing that is put in here can end a header early.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        let value = value.as_ref().trim_ascii();
        if !is_token(name) || !value.iter().all(|&b| is_field_byte(b)) {
            return Err(Error::BadHeader);
        }
        self.fields.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
        self.fields.push(Field {
            name: name.into(),
            value: value.into(),
        });
        Ok(())
    }

    /// Sets a field, removing all others of this name.
    ///
    /// # Errors
    /// As [`push`](Headers::push).
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.remove(name);
        self.push(name, value)
    }

    /// Removes all fields of this name.
    pub fn remove(&mut self, name: &str) {
        self.fields.retain(|f| !f.name.eq_ignore_ascii_case(name));
    }

    /// The first value of this name.
    #[must_use]
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The first value of this name, if it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.bytes(name).and_then(|v| core::str::from_utf8(v).ok())
    }

    /// All values of this name.
    pub fn all<'h>(&'h self, name: &str) -> impl Iterator<Item = &'h [u8]> {
        self.fields
            .iter()
            .filter(move |f| f.name.eq_ignore_ascii_case(name))
            .map(|f| f.value.as_slice())
    }

    /// The elements of a comma-separated list, over all fields of this name, without the empty
    /// ones. Commas in quotes are not looked at: for lists of tokens.
    pub fn list<'h>(&'h self, name: &str) -> impl Iterator<Item = &'h [u8]> {
        self.all(name)
            .flat_map(|v| v.split(|&b| b == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|v| !v.is_empty())
    }

    /// Whether a list of tokens has this one.
    #[must_use]
    pub fn list_has(&self, name: &str, token: &str) -> bool {
        self.list(name)
            .any(|t| t.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Whether there is a field of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// All fields.
    pub fn iter(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter()
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Appends the lines, without the empty one that ends them.
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        for field in &self.fields {
            to.extend_from_slice(field.name.as_bytes());
            to.extend_from_slice(b": ");
            to.extend_from_slice(&field.value);
            to.extend_from_slice(b"\r\n");
        }
    }
}

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

pub(crate) fn is_field_byte(b: u8) -> bool {
    b == b'\t' || (b >= b' ' && b != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_header_early() {
        let mut headers = Headers::new();
        for (name, value) in [
            ("X", "a\r\nSet-Cookie: b"),
            ("X", "a\nb"),
            ("X", "a\0"),
            ("X: y", "a"),
            ("", "a"),
            ("X\r\n", "a"),
        ] {
            assert_eq!(headers.push(name, value), Err(Error::BadHeader));
        }
        assert!(headers.is_empty());
    }

    #[test]
    fn lists_span_fields() {
        let mut headers = Headers::new();
        headers.push("connection", "a , ,B").unwrap();
        headers.push("Connection", "close").unwrap();
        let all: Vec<_> = headers.list("CONNECTION").collect();
        assert_eq!(all, [b"a".as_slice(), b"B", b"close"]);
        assert!(headers.list_has("connection", "b"));
        headers.set("connection", "x").unwrap();
        assert_eq!(headers.len(), 1);
    }
}
