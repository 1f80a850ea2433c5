//! A whole file at hand.

use crate::bytes::slice_at;
use crate::{ElfError, Headers, Relocations, Segment};

/// An executable file in memory, with its checked headers.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    bytes: &'a [u8],
    headers: Headers,
}

impl<'a> Image<'a> {
    /// Reads the headers of a whole file.
    ///
    /// # Errors
    ///
    /// As [`Headers::parse`], but never [`ElfError::NeedMore`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ElfError> {
        let file_len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(Self {
            bytes,
            headers: Headers::parse(bytes, file_len)?,
        })
    }

    /// What the headers say. [`Headers::placed_at`] moves a relocatable program.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The file's bytes of a segment of this image; the rest of its memory is zero. Empty for a
    /// segment of another file that does not fit.
    pub fn data(&self, segment: &Segment) -> &'a [u8] {
        slice_at(self.bytes, segment.file_offset, segment.file_len).unwrap_or_default()
    }

    /// The relocations of a relocatable program, to be applied for the base where it is loaded.
    /// There are none in one with fixed addresses.
    ///
    /// # Errors
    ///
    /// [`ElfError::BadDynamic`], [`ElfError::UnsupportedTable`], or [`ElfError::Dynamic`] if it
    /// needs shared libraries.
    pub fn relocations(&self) -> Result<Relocations<'a>, ElfError> {
        Relocations::find(self.bytes, self.headers)
    }
}
