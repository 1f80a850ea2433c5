//! The dynamic section of a static position-independent program: its `RELATIVE` relocations.

use crate::bytes::{slice_at, u64_at};
use crate::{ElfError, Headers, Kind, Perms};

/// One word to be written: `base + addend` goes to address `base + place`, as 8 bytes,
/// little-endian, where `base` is what [`Headers::placed_at`] was or will be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Relocation {
    /// Where, before the program is placed; the 8 bytes lie in a writable segment.
    pub place: u64,
    /// What, before the program is placed. Not checked in any way.
    pub addend: u64,
}

/// The relocations of a program, each checked as it is read.
#[derive(Clone, Debug)]
pub struct Relocations<'a> {
    table: &'a [u8],
    headers: Headers,
}

const ENTRY_LEN: usize = 16;
const RELOCATION_LEN: usize = 24;
const R_NONE: u32 = 0;
const R_AARCH64_RELATIVE: u32 = 1027;

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_PLTRELSZ: u64 = 2;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_RELAENT: u64 = 9;
const DT_RELSZ: u64 = 18;
const DT_RELRSZ: u64 = 35;

impl<'a> Relocations<'a> {
    pub(crate) fn find(bytes: &'a [u8], headers: Headers) -> Result<Self, ElfError> {
        let none = Self {
            table: &[],
            headers,
        };
        let span = match (headers.kind(), headers.dynamic()) {
            (Kind::Relocatable, Some(span)) => span,
            _ => return Ok(none),
        };
        let in_memory = |vaddr, len| {
            let offset = headers.file_offset_of(vaddr, len)?;
            slice_at(bytes, offset, len)
        };
        let section = in_memory(span.vaddr, span.len).ok_or(ElfError::BadDynamic)?;
        let (mut at, mut len) = (None, 0);
        for entry in section.chunks_exact(ENTRY_LEN) {
            let (Some(tag), Some(value)) = (u64_at(entry, 0), u64_at(entry, 8)) else {
                break;
            };
            match tag {
                DT_NULL => break,
                DT_NEEDED => return Err(ElfError::Dynamic),
                DT_RELA => at = Some(value),
                DT_RELASZ => len = value,
                DT_RELAENT if value != RELOCATION_LEN as u64 => return Err(ElfError::BadDynamic),
                DT_PLTRELSZ | DT_RELSZ | DT_RELRSZ if value > 0 => {
                    return Err(ElfError::UnsupportedTable(tag as u8));
                }
                _ => {}
            }
        }
        if len == 0 {
            return Ok(none);
        }
        let table = at
            .and_then(|vaddr| in_memory(vaddr, len))
            .ok_or(ElfError::BadDynamic)?;
        if !table.len().is_multiple_of(RELOCATION_LEN) {
            return Err(ElfError::BadDynamic);
        }
        Ok(Self { table, headers })
    }

    fn check(&self, raw: &[u8]) -> Result<Option<Relocation>, ElfError> {
        let field = |at| u64_at(raw, at).ok_or(ElfError::BadDynamic);
        let (place, info, addend) = (field(0)?, field(8)?, field(16)?);
        match info as u32 {
            R_NONE => return Ok(None),
            R_AARCH64_RELATIVE if info >> 32 == 0 => {}
            R_AARCH64_RELATIVE => return Err(ElfError::BadDynamic),
            other => return Err(ElfError::UnsupportedRelocation(other)),
        }
        let writable = self
            .headers
            .segments()
            .iter()
            .any(|segment| segment.perms == Perms::ReadWrite && segment.contains(place, 8));
        if !writable {
            return Err(ElfError::RelocationOutside);
        }
        Ok(Some(Relocation { place, addend }))
    }
}

impl Iterator for Relocations<'_> {
    type Item = Result<Relocation, ElfError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (raw, rest) = self.table.split_at_checked(RELOCATION_LEN)?;
            self.table = rest;
            if let Some(found) = self.check(raw).transpose() {
                return Some(found);
            }
        }
    }
}
