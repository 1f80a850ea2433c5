//! The data types of the wire (RFC 4251 section 5): a checked reader, and writers on `Vec<u8>`.

use alloc::vec::Vec;

use crate::Error;

/// Reads fields from a message. Every read is checked; nothing is assumed about the bytes.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(Error::Malformed)?;
        self.rest = tail;
        Ok(head)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, tail) = self.rest.split_first_chunk().ok_or(Error::Malformed)?;
        self.rest = tail;
        Ok(*head)
    }

    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// "All non-zero values MUST be interpreted as TRUE."
    pub fn bool(&mut self) -> Result<bool, Error> {
        Ok(self.u8()? != 0)
    }

    pub fn string(&mut self) -> Result<&'a [u8], Error> {
        let len = self.u32()?;
        self.bytes(usize::try_from(len).map_err(|_| Error::Malformed)?)
    }

    pub fn text(&mut self) -> Result<&'a str, Error> {
        core::str::from_utf8(self.string()?).map_err(|_| Error::Malformed)
    }

    /// The magnitude of a non-negative multiple precision integer, without leading zeros.
    pub fn mpint(&mut self) -> Result<&'a [u8], Error> {
        let bytes = self.string()?;
        if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            return Err(Error::Malformed);
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.get(zeros..).ok_or(Error::Malformed)
    }

    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// Checks that nothing is left over.
    pub fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Error::Malformed)
        }
    }
}

/// Appends fields to a message.
pub(crate) trait Put {
    fn put_u8(&mut self, value: u8);
    fn put_bytes(&mut self, bytes: &[u8]);

    fn put_bool(&mut self, value: bool) {
        self.put_u8(u8::from(value));
    }

    fn put_u32(&mut self, value: u32) {
        self.put_bytes(&value.to_be_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put_bytes(&value.to_be_bytes());
    }

    /// A string. Its length is bounded by the packet limit long before 32 bits matter.
    fn put_string(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.put_u32(bytes.len() as u32);
        self.put_bytes(bytes);
    }

    fn put_mpint(&mut self, magnitude: &[u8]) {
        let zeros = magnitude.iter().take_while(|byte| **byte == 0).count();
        let digits = &magnitude[zeros..];
        let sign = usize::from(digits.first().is_some_and(|first| first & 0x80 != 0));
        self.put_u32((digits.len() + sign) as u32);
        self.put_bytes(&[0][..sign]);
        self.put_bytes(digits);
    }

    fn put_name_list<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        let mut list = Vec::new();
        for name in names {
            if !list.is_empty() {
                list.push(b',');
            }
            list.extend_from_slice(name.as_bytes());
        }
        self.put_string(&list);
    }
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 4251 section 5.
    #[test]
    fn mpint_examples_of_the_rfc() {
        let cases: [(&[u8], &[u8]); 3] = [
            (&[], &[0, 0, 0, 0]),
            (
                &[0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
                &[0, 0, 0, 8, 0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7],
            ),
            (&[0x80], &[0, 0, 0, 2, 0, 0x80]),
        ];
        for (magnitude, encoded) in cases {
            let mut out = Vec::new();
            out.put_mpint(magnitude);
            assert_eq!(out, encoded);
            assert_eq!(Reader::new(&out).mpint(), Ok(magnitude));
        }
    }

    #[test]
    fn a_negative_mpint_is_refused() {
        assert_eq!(
            Reader::new(&[0, 0, 0, 1, 0xff]).mpint(),
            Err(Error::Malformed)
        );
    }

    #[test]
    fn short_strings_are_refused() {
        assert_eq!(
            Reader::new(&[0, 0, 0, 2, 1]).string(),
            Err(Error::Malformed)
        );
        assert_eq!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff]).string(),
            Err(Error::Malformed)
        );
        assert_eq!(Reader::new(&[0, 0]).u32(), Err(Error::Malformed));
    }

    #[test]
    fn name_lists() {
        let mut out = Vec::new();
        out.put_name_list(["zlib", "none"].into_iter());
        assert_eq!(Reader::new(&out).string(), Ok(&b"zlib,none"[..]));
    }
}
