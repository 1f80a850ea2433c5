//! The ELF header and the program headers (System V gABI, chapters 4 and 5; Arm ELF for AArch64).

use crate::bytes::{slice_at, u16_at, u32_at, u64_at};
use crate::{ElfError, PAGE_SIZE, Perms, Segment, Tls, USER_END, USER_START};

/// How many program headers a file may have.
pub const PROGRAM_HEADERS_MAX: u16 = 64;

/// How many of them may be segments to load.
pub const SEGMENTS_MAX: usize = 16;

/// How a program is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// At the addresses that it names (`ET_EXEC`).
    Fixed,
    /// Anywhere; its addresses are relative to a base of the loader's choice (`ET_DYN`).
    Relocatable,
}

/// All that the headers of a program say, checked.
///
/// Proven: at least one segment; they ascend, share no page, are not writable and executable at
/// once, and lie in [`USER_START`]`..`[`USER_END`] (relocatable ones: can be moved there, see
/// [`placed_at`](Self::placed_at)); the entry point is in an executable one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    kind: Kind,
    entry: u64,
    segments: [Segment; SEGMENTS_MAX],
    count: usize,
    stack_len: Option<u64>,
    tls: Option<Tls>,
    relro: Option<Span>,
    dynamic: Option<Span>,
    program_headers: Option<u64>,
    program_header_count: u16,
}

/// Bytes in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub vaddr: u64,
    pub len: u64,
}

/// One program header as it stands in the file.
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    vaddr: u64,
    file_len: u64,
    mem_len: u64,
    align: u64,
}

const HEADER_LEN: u16 = 64;
const PROGRAM_HEADER_LEN: u16 = 56;

const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const VERSION: u8 = 1;
const ABI_SYSTEM_V: u8 = 0;
/// Set by linkers for symbols that static programs have resolved already.
const ABI_GNU: u8 = 3;
const TYPE_EXECUTABLE: u16 = 2;
const TYPE_SHARED: u16 = 3;
const MACHINE_AARCH64: u16 = 183;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_PHDR: u32 = 6;
const PT_TLS: u32 = 7;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PT_GNU_RELRO: u32 = 0x6474_e552;
const FLAG_EXECUTE: u32 = 1;

const NO_SEGMENT: Segment = Segment {
    file_offset: 0,
    file_len: 0,
    vaddr: 0,
    mem_len: 0,
    perms: Perms::Read,
};

impl Headers {
    /// Reads the headers from the first bytes of a file of `file_len` bytes.
    ///
    /// A page is enough for usual programs, and [`ElfError::NeedMore`] says so if it is not. The
    /// content of segments and dynamic section is not looked at.
    ///
    /// # Errors
    ///
    /// Whatever is wrong first: see [`ElfError`].
    ///
    /// # Complexity
    ///
    /// Linear in the number of program headers, which is at most [`PROGRAM_HEADERS_MAX`].
    pub fn parse(first_bytes: &[u8], file_len: u64) -> Result<Self, ElfError> {
        let at_hand = u64::try_from(first_bytes.len())
            .unwrap_or(u64::MAX)
            .min(file_len);
        let first_bytes = slice_at(first_bytes, 0, at_hand).unwrap_or_default();
        let (mut headers, table) = Self::parse_file_header(first_bytes, file_len)?;
        for raw in table.chunks_exact(PROGRAM_HEADER_LEN.into()) {
            let header = ProgramHeader::parse(raw).ok_or(ElfError::BadHeader)?;
            headers.add(&header, file_len)?;
        }
        headers.check()?;
        Ok(headers)
    }

    /// The headers of a relocatable program that is loaded `base` bytes further up.
    ///
    /// # Errors
    ///
    /// [`ElfError::NotRelocatable`] if it has fixed addresses, [`ElfError::BadSegment`] if `base`
    /// is not a multiple of [`PAGE_SIZE`], [`ElfError::OutsideUserSpace`].
    pub fn placed_at(&self, base: u64) -> Result<Self, ElfError> {
        if self.kind == Kind::Fixed {
            return Err(ElfError::NotRelocatable);
        }
        if !base.is_multiple_of(PAGE_SIZE) {
            return Err(ElfError::BadSegment);
        }
        let fits = |segment: &Segment| {
            let start = segment.vaddr.checked_add(base);
            let end = segment.page_end().checked_add(base);
            start >= Some(USER_START) && end.is_some_and(|end| end <= USER_END)
        };
        if !self.segments().iter().all(fits) {
            return Err(ElfError::OutsideUserSpace);
        }
        // All other addresses lie inside of segments, so none of them overflows.
        let mut placed = *self;
        placed.kind = Kind::Fixed;
        placed.entry += base;
        for segment in placed.segments.iter_mut().take(placed.count) {
            segment.vaddr += base;
        }
        placed.tls = placed.tls.map(|tls| Tls {
            vaddr: tls.vaddr + base,
            ..tls
        });
        let moved = |span: Span| Span {
            vaddr: span.vaddr + base,
            ..span
        };
        placed.relro = placed.relro.map(moved);
        placed.dynamic = placed.dynamic.map(moved);
        placed.program_headers = placed.program_headers.map(|vaddr| vaddr + base);
        Ok(placed)
    }

    /// How it is placed; [`Kind::Fixed`] once it has been.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Address of the first instruction: in an executable segment, a multiple of 4.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// What to load, ascending.
    pub fn segments(&self) -> &[Segment] {
        self.segments.get(..self.count).unwrap_or_default()
    }

    /// The stack size that the program asks for, in bytes. Not checked in any way.
    pub fn stack_len(&self) -> Option<u64> {
        self.stack_len
    }

    /// The template of thread-local data.
    pub fn tls(&self) -> Option<Tls> {
        self.tls
    }

    /// Address and length of what may become read-only after relocation, inside of the pages
    /// of one segment.
    pub fn relro(&self) -> Option<(u64, u64)> {
        self.relro.map(|span| (span.vaddr, span.len))
    }

    /// Address and number of the program headers, if they are in loaded memory (`AT_PHDR`).
    pub fn program_headers(&self) -> Option<(u64, u16)> {
        self.program_headers
            .map(|vaddr| (vaddr, self.program_header_count))
    }

    /// Number of bytes in pages that the segments take.
    pub fn memory_len(&self) -> u64 {
        self.segments()
            .iter()
            .map(|segment| segment.page_end() - segment.page_start())
            .sum()
    }

    pub(crate) fn dynamic(&self) -> Option<Span> {
        self.dynamic
    }

    /// The file offset of `len` bytes at `vaddr`, if one segment has all of them in the file.
    pub fn file_offset_of(&self, vaddr: u64, len: u64) -> Option<u64> {
        self.segments()
            .iter()
            .find_map(|segment| segment.file_offset_of(vaddr, len))
    }

    /// Checks the file header, and returns the bytes of the program headers.
    fn parse_file_header(bytes: &[u8], file_len: u64) -> Result<(Self, &[u8]), ElfError> {
        let identity = bytes.get(..4).ok_or(ElfError::NotElf)?;
        if identity != b"\x7fELF" {
            return Err(ElfError::NotElf);
        }
        let header = bytes.get(..usize::from(HEADER_LEN)).ok_or({
            if file_len < HEADER_LEN.into() {
                ElfError::Truncated
            } else {
                ElfError::NeedMore(HEADER_LEN.into())
            }
        })?;
        check_identity(header)?;
        let short = |at| u16_at(header, at).ok_or(ElfError::BadHeader);
        let long = |at| u64_at(header, at).ok_or(ElfError::BadHeader);
        let kind = match short(16)? {
            TYPE_EXECUTABLE => Kind::Fixed,
            TYPE_SHARED => Kind::Relocatable,
            _ => return Err(ElfError::NotExecutable),
        };
        let count = short(56)?;
        match (short(52)?, short(54)?, count) {
            (_, _, 0) => return Err(ElfError::NoSegments),
            (HEADER_LEN, PROGRAM_HEADER_LEN, 1..=PROGRAM_HEADERS_MAX) => {}
            (HEADER_LEN, PROGRAM_HEADER_LEN, _) => return Err(ElfError::TooManySegments),
            _ => return Err(ElfError::BadHeader),
        }
        let (offset, len) = (long(32)?, u64::from(PROGRAM_HEADER_LEN) * u64::from(count));
        let end = offset.checked_add(len).filter(|end| *end <= file_len);
        let end = end.ok_or(ElfError::Truncated)?;
        let table = slice_at(bytes, offset, len).ok_or(ElfError::NeedMore(end))?;
        let headers = Self {
            kind,
            entry: long(24)?,
            segments: [NO_SEGMENT; SEGMENTS_MAX],
            count: 0,
            stack_len: None,
            tls: None,
            relro: None,
            dynamic: None,
            program_headers: None,
            program_header_count: count,
        };
        Ok((headers, table))
    }

    fn add(&mut self, header: &ProgramHeader, file_len: u64) -> Result<(), ElfError> {
        match header.kind {
            PT_LOAD => return self.add_segment(header, file_len),
            PT_INTERP => return Err(ElfError::Dynamic),
            PT_DYNAMIC => set_once(&mut self.dynamic, header.span()?)?,
            PT_GNU_RELRO => set_once(&mut self.relro, header.span()?)?,
            PT_TLS if header.mem_len > 0 => set_once(&mut self.tls, header.tls(file_len)?)?,
            PT_PHDR => self.program_headers = Some(header.vaddr),
            PT_GNU_STACK if header.flags & FLAG_EXECUTE != 0 => {
                return Err(ElfError::WriteExecute);
            }
            PT_GNU_STACK => self.stack_len = Some(header.mem_len).filter(|&len| len > 0),
            _ => {}
        }
        Ok(())
    }

    fn add_segment(&mut self, header: &ProgramHeader, file_len: u64) -> Result<(), ElfError> {
        let segment = header.segment(file_len)?;
        if segment.mem_len == 0 {
            return Ok(());
        }
        let previous = self.segments().last();
        if previous.is_some_and(|previous| segment.page_start() < previous.page_end()) {
            return Err(ElfError::Overlap);
        }
        *self
            .segments
            .get_mut(self.count)
            .ok_or(ElfError::TooManySegments)? = segment;
        self.count += 1;
        Ok(())
    }

    /// What can only be told once all program headers have been seen.
    fn check(&mut self) -> Result<(), ElfError> {
        let (Some(first), Some(last)) = (self.segments().first(), self.segments().last()) else {
            return Err(ElfError::NoSegments);
        };
        let inside = match self.kind {
            // The end has been checked, segment by segment.
            Kind::Fixed => first.vaddr >= USER_START,
            Kind::Relocatable => last.page_end() - first.page_start() <= USER_END - USER_START,
        };
        if !inside {
            return Err(ElfError::OutsideUserSpace);
        }
        let entry_fits = self
            .segments()
            .iter()
            .any(|segment| segment.perms == Perms::ReadExecute && segment.contains(self.entry, 4));
        if !entry_fits || !self.entry.is_multiple_of(4) {
            return Err(ElfError::EntryOutside);
        }
        let within = |vaddr, len| self.segments().iter().any(|each| each.contains(vaddr, len));
        let dynamic_fits = self.dynamic.is_none_or(|span| within(span.vaddr, span.len));
        let tls_fits = self
            .tls
            .is_none_or(|tls| tls.file_len == 0 || within(tls.vaddr, tls.file_len));
        // Linkers round the end up to a page.
        let relro_fits = self.relro.is_none_or(|span| {
            let end = span.vaddr + span.len;
            let mut pages = self
                .segments()
                .iter()
                .map(|each| each.page_start()..=each.page_end());
            pages.any(|pages| pages.contains(&span.vaddr) && pages.contains(&end))
        });
        if !(dynamic_fits && tls_fits && relro_fits) {
            return Err(ElfError::BadSegment);
        }
        let table_len = u64::from(self.program_header_count) * u64::from(PROGRAM_HEADER_LEN);
        self.program_headers = self
            .program_headers
            .filter(|&vaddr| within(vaddr, table_len));
        Ok(())
    }
}

impl ProgramHeader {
    fn parse(raw: &[u8]) -> Option<Self> {
        Some(Self {
            kind: u32_at(raw, 0)?,
            flags: u32_at(raw, 4)?,
            offset: u64_at(raw, 8)?,
            vaddr: u64_at(raw, 16)?,
            file_len: u64_at(raw, 32)?,
            mem_len: u64_at(raw, 40)?,
            align: u64_at(raw, 48)?,
        })
    }

    fn segment(&self, file_len: u64) -> Result<Segment, ElfError> {
        self.check_file_range(file_len)?;
        let perms = Perms::from_flags(self.flags)?;
        let congruent = self.offset % PAGE_SIZE == self.vaddr % PAGE_SIZE;
        if !congruent && self.file_len > 0 {
            return Err(ElfError::BadSegment);
        }
        Ok(Segment {
            file_offset: self.offset,
            file_len: self.file_len,
            vaddr: self.vaddr,
            mem_len: self.mem_len,
            perms,
        })
    }

    fn tls(&self, file_len: u64) -> Result<Tls, ElfError> {
        self.check_file_range(file_len)?;
        let align = self.align.max(1);
        if align > PAGE_SIZE {
            return Err(ElfError::BadSegment);
        }
        Ok(Tls {
            file_offset: self.offset,
            file_len: self.file_len,
            vaddr: self.vaddr,
            mem_len: self.mem_len,
            align,
        })
    }

    fn span(&self) -> Result<Span, ElfError> {
        self.vaddr
            .checked_add(self.mem_len)
            .ok_or(ElfError::BadSegment)?;
        Ok(Span {
            vaddr: self.vaddr,
            len: self.mem_len,
        })
    }

    /// The file has the bytes, memory has room for them, and neither wraps around.
    fn check_file_range(&self, file_len: u64) -> Result<(), ElfError> {
        let file_end = self
            .offset
            .checked_add(self.file_len)
            .ok_or(ElfError::BadSegment)?;
        let end = self
            .vaddr
            .checked_add(self.mem_len)
            .ok_or(ElfError::BadSegment)?;
        let aligned = self.align == 0 || self.align.is_power_of_two();
        if self.file_len > self.mem_len || end > USER_END || !aligned {
            return Err(if end > USER_END {
                ElfError::OutsideUserSpace
            } else {
                ElfError::BadSegment
            });
        }
        if file_end > file_len {
            Err(ElfError::Truncated)
        } else {
            Ok(())
        }
    }
}

fn check_identity(header: &[u8]) -> Result<(), ElfError> {
    let byte = |at| header.get(at).copied().ok_or(ElfError::BadHeader);
    if byte(4)? != CLASS_64 {
        return Err(ElfError::WrongClass);
    }
    if byte(5)? != LITTLE_ENDIAN {
        return Err(ElfError::WrongByteOrder);
    }
    let machine = u16_at(header, 18).ok_or(ElfError::BadHeader)?;
    if machine != MACHINE_AARCH64 {
        return Err(ElfError::WrongMachine(machine));
    }
    if !matches!(byte(7)?, ABI_SYSTEM_V | ABI_GNU) {
        return Err(ElfError::WrongAbi(byte(7)?));
    }
    if byte(6)? != VERSION || u32_at(header, 20) != Some(VERSION.into()) {
        return Err(ElfError::BadHeader);
    }
    Ok(())
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), ElfError> {
    match slot.replace(value) {
        Some(_) => Err(ElfError::BadSegment),
        None => Ok(()),
    }
}
