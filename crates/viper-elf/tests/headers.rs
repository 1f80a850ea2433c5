//! Made-up files: each field wrong in turn.

mod common;

use common::{File, LOAD, Program};
use viper_elf::{ElfError, Headers, Image, Kind, Perms, USER_END, USER_START};

fn error(file: &File) -> ElfError {
    Image::parse(&file.bytes()).unwrap_err()
}

fn with_code(change: impl FnOnce(&mut Program)) -> ElfError {
    let mut file = File::small();
    change(&mut file.programs[0]);
    error(&file)
}

fn with_byte(at: usize, value: u8) -> ElfError {
    let mut bytes = File::small().bytes();
    bytes[at] = value;
    Image::parse(&bytes).unwrap_err()
}

#[test]
fn a_plain_program_is_accepted() {
    let file = File::small();
    let bytes = file.bytes();
    let image = Image::parse(&bytes).unwrap();
    let headers = image.headers();
    assert_eq!((headers.kind(), headers.entry()), (Kind::Fixed, 0x1_0100));
    let [code, data] = headers.segments() else {
        panic!("two segments")
    };
    assert_eq!(
        (code.vaddr, code.perms, code.end()),
        (0x1_0000, Perms::ReadExecute, 0x1_0200)
    );
    assert_eq!(
        (data.vaddr, data.perms, data.mem_len),
        (0x2_0200, Perms::ReadWrite, 0x3000)
    );
    assert_eq!((data.page_start(), data.page_end()), (0x2_0000, 0x2_4000));
    assert_eq!(image.data(data), &bytes[0x200..0x300]);
    assert_eq!(headers.memory_len(), 0x5000);
    assert_eq!(headers.file_offset_of(0x2_0210, 0x10), Some(0x210));
    assert_eq!(headers.file_offset_of(0x2_02f8, 0x10), None);
    assert_eq!(image.relocations().unwrap().count(), 0);
    assert_eq!(headers.placed_at(0x1000), Err(ElfError::NotRelocatable));
    assert_eq!(
        (headers.tls(), headers.relro(), headers.stack_len()),
        (None, None, None)
    );
}

#[test]
fn each_wrong_identity_has_its_error() {
    assert_eq!(Image::parse(b"").unwrap_err(), ElfError::NotElf);
    assert_eq!(Image::parse(b"#!/bin/sh").unwrap_err(), ElfError::NotElf);
    assert_eq!(
        Image::parse(b"\x7fELF\x02\x01").unwrap_err(),
        ElfError::Truncated
    );
    assert_eq!(with_byte(0, 0), ElfError::NotElf);
    assert_eq!(with_byte(4, 1), ElfError::WrongClass);
    assert_eq!(with_byte(5, 2), ElfError::WrongByteOrder);
    assert_eq!(with_byte(6, 0), ElfError::BadHeader);
    assert_eq!(with_byte(7, 9), ElfError::WrongAbi(9));
    assert_eq!(with_byte(16, 1), ElfError::NotExecutable);
    assert_eq!(with_byte(18, 62), ElfError::WrongMachine(62));
    assert_eq!(with_byte(20, 2), ElfError::BadHeader);
    assert_eq!(with_byte(52, 63), ElfError::BadHeader);
    assert_eq!(with_byte(54, 32), ElfError::BadHeader);
    assert_eq!(with_byte(56, 0), ElfError::NoSegments);
    assert_eq!(with_byte(56, 65), ElfError::TooManySegments);
    assert_eq!(with_byte(57, 0xff), ElfError::TooManySegments);
    assert_eq!(with_byte(39, 0xff), ElfError::Truncated);
}

#[test]
fn each_wrong_segment_has_its_error() {
    assert_eq!(with_code(|code| code.flags = 7), ElfError::WriteExecute);
    assert_eq!(with_code(|code| code.flags = 3), ElfError::WriteExecute);
    assert_eq!(with_code(|code| code.flags = 0), ElfError::BadSegment);
    assert_eq!(with_code(|code| code.flags = 4), ElfError::EntryOutside);
    assert_eq!(
        with_code(|code| code.file_len = 0x201),
        ElfError::BadSegment
    );
    assert_eq!(
        with_code(|code| code.file_len = u64::MAX),
        ElfError::BadSegment
    );
    assert_eq!(
        with_code(|code| code.mem_len = u64::MAX),
        ElfError::BadSegment
    );
    assert_eq!(
        with_code(|code| code.mem_len = u64::MAX - 0x1_0000),
        ElfError::OutsideUserSpace
    );
    assert_eq!(with_code(|code| code.mem_len = 0), ElfError::BadSegment);
    assert_eq!(
        with_code(|code| code.offset = u64::MAX),
        ElfError::BadSegment
    );
    assert_eq!(
        with_code(|code| code.offset = 0x1_0000),
        ElfError::Truncated
    );
    assert_eq!(with_code(|code| code.offset = 8), ElfError::BadSegment);
    assert_eq!(with_code(|code| code.align = 3), ElfError::BadSegment);
    assert_eq!(
        with_code(|code| code.vaddr = USER_END),
        ElfError::OutsideUserSpace
    );
    assert_eq!(
        with_code(|code| code.vaddr = USER_START - 0x1000),
        ElfError::OutsideUserSpace
    );
    assert_eq!(with_code(|code| code.mem_len = 0x1_0001), ElfError::Overlap);
    assert_eq!(with_code(|code| code.vaddr = 0x3_0000), ElfError::Overlap);
    assert_eq!(with_code(|code| code.kind = 0), ElfError::EntryOutside);
    assert_eq!(with_code(|code| code.kind = 3), ElfError::Dynamic);
    let mut file = File::small();
    file.programs
        .iter_mut()
        .for_each(|program| program.kind = 4);
    assert_eq!(error(&file), ElfError::NoSegments);
    file.programs = (0..17)
        .map(|at| Program::code(0x1_0000 + at * 0x1000))
        .collect();
    assert_eq!(error(&file), ElfError::TooManySegments);
    file.programs.pop();
    assert!(Image::parse(&file.bytes()).is_ok());
}

#[test]
fn the_entry_must_be_code() {
    for entry in [0, 0xfffc, 0x1_0102, 0x1_01fe, 0x1_0200, 0x2_0200, u64::MAX] {
        assert_eq!(
            error(&File {
                entry,
                ..File::small()
            }),
            ElfError::EntryOutside,
            "{entry:#x}"
        );
    }
}

#[test]
fn other_program_headers_are_checked_too() {
    let with = |program: Program| {
        let mut file = File::small();
        file.programs.push(program);
        Image::parse(&file.bytes()).map(|image| *image.headers())
    };
    let data = Program {
        kind: LOAD,
        ..File::small().programs[1]
    };
    let stack = Program {
        kind: 0x6474_e551,
        flags: 6,
        mem_len: 0x8000,
        ..Program::EMPTY
    };
    assert_eq!(with(stack).unwrap().stack_len(), Some(0x8000));
    assert_eq!(
        with(Program {
            mem_len: 0,
            ..stack
        })
        .unwrap()
        .stack_len(),
        None
    );
    assert_eq!(
        with(Program { flags: 7, ..stack }),
        Err(ElfError::WriteExecute)
    );
    let tls = Program {
        kind: 7,
        file_len: 8,
        mem_len: 24,
        align: 16,
        ..data
    };
    let found = with(tls).unwrap().tls().unwrap();
    assert_eq!(
        (found.vaddr, found.file_len, found.mem_len, found.align),
        (0x2_0200, 8, 24, 16)
    );
    assert_eq!(
        with(Program { align: 0, ..tls })
            .unwrap()
            .tls()
            .unwrap()
            .align,
        1
    );
    assert_eq!(
        with(Program { align: 8192, ..tls }),
        Err(ElfError::BadSegment)
    );
    assert_eq!(
        with(Program { align: 24, ..tls }),
        Err(ElfError::BadSegment)
    );
    assert_eq!(
        with(Program {
            vaddr: 0x9_0000,
            ..tls
        }),
        Err(ElfError::BadSegment)
    );
    assert_eq!(
        with(Program {
            offset: 0x1000,
            ..tls
        }),
        Err(ElfError::Truncated)
    );
    assert_eq!(
        with(Program { mem_len: 4, ..tls }),
        Err(ElfError::BadSegment)
    );
    assert_eq!(
        with(Program {
            mem_len: 0,
            file_len: 0,
            ..tls
        })
        .unwrap()
        .tls(),
        None
    );
    let relro = Program {
        kind: 0x6474_e552,
        mem_len: 0xe00,
        ..data
    };
    assert_eq!(with(relro).unwrap().relro(), Some((0x2_0200, 0xe00)));
    assert_eq!(
        with(Program {
            mem_len: 0x9000,
            ..relro
        }),
        Err(ElfError::BadSegment)
    );
    assert_eq!(
        with(Program {
            vaddr: u64::MAX,
            ..relro
        }),
        Err(ElfError::BadSegment)
    );
    let table = Program {
        kind: 6,
        vaddr: 0x1_0040,
        ..data
    };
    assert_eq!(with(table).unwrap().program_headers(), Some((0x1_0040, 3)));
    assert_eq!(
        with(Program {
            vaddr: 0x9_0000,
            ..table
        })
        .unwrap()
        .program_headers(),
        None
    );
    assert_eq!(
        with(Program {
            vaddr: u64::MAX,
            ..table
        })
        .unwrap()
        .program_headers(),
        None
    );
    let dynamic = Program {
        kind: 2,
        mem_len: 0x20,
        ..data
    };
    assert!(with(dynamic).is_ok());
    assert_eq!(
        with(Program {
            vaddr: 0x9_0000,
            ..dynamic
        }),
        Err(ElfError::BadSegment)
    );
}

#[test]
fn headers_suffice_without_the_rest_of_the_file() {
    let bytes = File::small().bytes();
    let len = bytes.len() as u64;
    let whole = Headers::parse(&bytes, len).unwrap();
    let table_end = 64 + 2 * 56;
    assert_eq!(Headers::parse(&bytes[..table_end], len), Ok(whole));
    assert_eq!(
        Headers::parse(&bytes[..table_end - 1], len),
        Err(ElfError::NeedMore(176))
    );
    assert_eq!(
        Headers::parse(&bytes[..20], len),
        Err(ElfError::NeedMore(64))
    );
    assert_eq!(Headers::parse(&bytes, len - 1), Err(ElfError::Truncated));
    assert_eq!(Headers::parse(&bytes, 100), Err(ElfError::Truncated));
}

#[test]
fn errors_are_sentences() {
    let text = |error: ElfError| format!("cannot run it: {error}");
    assert_eq!(
        text(ElfError::WrongMachine(62)),
        "cannot run it: it is made for another processor (ELF machine 62)"
    );
    assert_eq!(text(ElfError::NotElf), "cannot run it: not an ELF file");
}
