//! What a linker really makes, and hostile variants of it.

use proptest::prelude::*;
use viper_elf::{
    ElfError, Headers, Image, Kind, PAGE_SIZE, Perms, Relocation, USER_END, USER_START,
};

const EXEC: &[u8] = include_bytes!("../testdata/exec.elf");
const STACK: &[u8] = include_bytes!("../testdata/stack.elf");
const PIE: &[u8] = include_bytes!("../testdata/pie.elf");
const RELR: &[u8] = include_bytes!("../testdata/relr.elf");

#[test]
fn fixed_program() {
    let image = Image::parse(EXEC).unwrap();
    let headers = image.headers();
    assert_eq!(headers.kind(), Kind::Fixed);
    let perms: Vec<_> = headers
        .segments()
        .iter()
        .map(|segment| segment.perms)
        .collect();
    assert!(perms.contains(&Perms::ReadExecute) && perms.contains(&Perms::ReadWrite));
    assert_eq!(image.relocations().unwrap().count(), 0);
    assert_eq!(
        Image::parse(STACK).unwrap().headers().stack_len(),
        Some(131_072)
    );
}

/// The expected values are those that `readelf` prints.
#[test]
fn position_independent_program() {
    let image = Image::parse(PIE).unwrap();
    let headers = image.headers();
    assert_eq!(
        (headers.kind(), headers.entry()),
        (Kind::Relocatable, 0x1_030c)
    );
    assert_eq!(headers.segments().len(), 4);
    assert_eq!(headers.relro(), Some((0x2_0348, 0xcb8)));
    assert_eq!(headers.program_headers(), Some((0x40, 8)));
    let relocations: Result<Vec<_>, _> = image.relocations().unwrap().collect();
    let expected = [
        (0x2_0348, 0x2d8),
        (0x2_0350, 0x2d8),
        (0x2_0358, 0x2d8),
        (0x2_0430, 0x3_044c),
        (0x2_0438, 0x2_0348),
        (0x2_0440, 0x3_0448),
    ];
    let expected = expected.map(|(place, addend)| Relocation { place, addend });
    assert_eq!(relocations.unwrap(), expected);
}

#[test]
fn placing_moves_everything() {
    let headers = *Image::parse(PIE).unwrap().headers();
    let base = 0x20_0000;
    let placed = headers.placed_at(base).unwrap();
    assert_eq!(placed.kind(), Kind::Fixed);
    assert_eq!(placed.entry(), headers.entry() + base);
    for (before, after) in headers.segments().iter().zip(placed.segments()) {
        assert_eq!(after.vaddr, before.vaddr + base);
        assert_eq!(
            (after.file_offset, after.mem_len),
            (before.file_offset, before.mem_len)
        );
    }
    assert_eq!(placed.relro(), Some((0x22_0348, 0xcb8)));
    assert_eq!(placed.program_headers(), Some((0x20_0040, 8)));
    assert_eq!(placed.placed_at(base), Err(ElfError::NotRelocatable));
    assert_eq!(headers.placed_at(12), Err(ElfError::BadSegment));
    for base in [
        0,
        PAGE_SIZE,
        USER_END,
        USER_END - 0x3_2000,
        !(PAGE_SIZE - 1),
    ] {
        assert_eq!(
            headers.placed_at(base),
            Err(ElfError::OutsideUserSpace),
            "{base:#x}"
        );
    }
    assert!(headers.placed_at(USER_START).is_ok());
    assert!(headers.placed_at(USER_END - 0x3_3000).is_ok());
}

#[test]
fn packed_relocations_are_refused() {
    let image = Image::parse(RELR).unwrap();
    assert_eq!(
        image.relocations().unwrap_err(),
        ElfError::UnsupportedTable(35)
    );
}

#[test]
fn a_bad_relocation_is_found() {
    let with = |at: usize, value: u8| {
        let mut bytes = PIE.to_vec();
        bytes[0x248 + at] = value;
        Image::parse(&bytes)
            .unwrap()
            .relocations()
            .unwrap()
            .next()
            .unwrap()
    };
    assert_eq!(with(8, 1), Err(ElfError::UnsupportedRelocation(0x401)));
    assert_eq!(with(12, 1), Err(ElfError::BadDynamic));
    assert_eq!(with(2, 1), Err(ElfError::RelocationOutside));
    assert_eq!(with(7, 0xff), Err(ElfError::RelocationOutside));
}

/// The dynamic section is at 0x360; its entries are, in turn, FLAGS_1, DEBUG, RELA, RELASZ,
/// RELAENT, RELACOUNT...
#[test]
fn a_bad_dynamic_section_is_found() {
    let with = |entry: usize, tag: Option<u8>, value: Option<u64>| {
        let mut bytes = PIE.to_vec();
        let at = 0x360 + entry * 16;
        if let Some(tag) = tag {
            bytes[at..at + 8].copy_from_slice(&u64::from(tag).to_le_bytes());
        }
        if let Some(value) = value {
            bytes[at + 8..at + 16].copy_from_slice(&value.to_le_bytes());
        }
        Image::parse(&bytes)
            .unwrap()
            .relocations()
            .map(Iterator::count)
    };
    assert_eq!(with(0, None, None), Ok(6));
    assert_eq!(with(1, Some(1), None), Err(ElfError::Dynamic));
    assert_eq!(with(2, None, Some(0x9_0000)), Err(ElfError::BadDynamic));
    assert_eq!(with(2, None, Some(u64::MAX)), Err(ElfError::BadDynamic));
    assert_eq!(with(2, Some(21), None), Err(ElfError::BadDynamic));
    assert_eq!(with(3, None, Some(145)), Err(ElfError::BadDynamic));
    assert_eq!(with(3, None, Some(u64::MAX)), Err(ElfError::BadDynamic));
    assert_eq!(with(3, None, Some(48)), Ok(2));
    assert_eq!(with(3, None, Some(0)), Ok(0));
    assert_eq!(with(4, None, Some(16)), Err(ElfError::BadDynamic));
    for tag in [2, 18, 35] {
        assert_eq!(
            with(5, Some(tag), Some(8)),
            Err(ElfError::UnsupportedTable(tag))
        );
        assert_eq!(with(5, Some(tag), Some(0)), Ok(6));
    }
    // The end of the list hides what follows.
    assert_eq!(with(2, Some(0), None), Ok(0));
}

#[test]
fn truncated_files_are_refused() {
    for file in [EXEC, PIE] {
        let end = |image: &Image| {
            image
                .headers()
                .segments()
                .iter()
                .map(|each| each.file_offset + each.file_len)
                .max()
        };
        let needed = end(&Image::parse(file).unwrap()).unwrap() as usize;
        for len in 0..file.len() {
            let result = Image::parse(&file[..len]);
            assert_eq!(result.is_ok(), len >= needed, "{len} of {needed}");
        }
    }
}

/// What must hold of any file that is accepted.
fn check(bytes: &[u8]) {
    let Ok(image) = Image::parse(bytes) else {
        return;
    };
    let headers = image.headers();
    let mut end = 0;
    for segment in headers.segments() {
        assert!(segment.mem_len > 0 && segment.file_len <= segment.mem_len);
        assert!(segment.page_start() >= end, "overlap");
        end = segment.page_end();
        assert_eq!(image.data(segment).len() as u64, segment.file_len);
    }
    assert!(end <= USER_END);
    assert!(headers.memory_len() <= USER_END);
    assert!(headers.segments().iter().any(|segment| {
        segment.perms == Perms::ReadExecute && segment.contains(headers.entry(), 4)
    }));
    if let Ok(relocations) = image.relocations() {
        for relocation in relocations.flatten() {
            let writable = headers
                .segments()
                .iter()
                .find(|each| each.contains(relocation.place, 8));
            assert_eq!(writable.unwrap().perms, Perms::ReadWrite);
        }
    }
    for base in [0, USER_START, 0x1234_5000, USER_END - USER_START] {
        let Ok(placed) = headers.placed_at(base) else {
            continue;
        };
        assert!(
            placed
                .segments()
                .iter()
                .all(|segment| segment.vaddr >= USER_START)
        );
        assert!(
            placed
                .segments()
                .iter()
                .all(|segment| segment.page_end() <= USER_END)
        );
    }
    let first = &bytes[..bytes.len().min(PAGE_SIZE as usize)];
    if let Ok(early) = Headers::parse(first, bytes.len() as u64) {
        assert_eq!(&early, headers);
    }
}

/// Values that are likely to upset somebody.
fn nasty() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..0x4_0000u64,
        Just(u64::MAX),
        (0..64u32).prop_map(|bit| 1 << bit),
        (0..64u32).prop_map(|bit| (1u64 << bit).wrapping_neg()),
        (0..0x2000u64).prop_map(|near| USER_END - 0x1000 + near),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: 8 * ProptestConfig::default().cases,
        ..Default::default()
    })]

    #[test]
    fn mutated_files_are_refused_or_sound(
        which in 0..4usize,
        words in prop::collection::vec((0..0x380usize, nasty(), 1..9usize), 1..5),
        len in prop::option::weighted(0.2, 0..2500usize),
    ) {
        let mut bytes = [EXEC, STACK, PIE, RELR][which].to_vec();
        for (at, value, width) in words {
            let at = if width == 8 { at & !7 } else { at };
            bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        bytes.truncate(len.unwrap_or(usize::MAX));
        check(&bytes);
    }

    #[test]
    fn noise_is_refused_or_sound(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut file = EXEC[..64].to_vec();
        file.extend(&bytes);
        check(&file);
        check(&bytes);
    }
}

#[test]
fn every_single_bit_of_the_headers_may_flip() {
    for file in [EXEC, PIE] {
        for at in 0..0x380 * 8 {
            let mut bytes = file.to_vec();
            bytes[at / 8] ^= 1 << (at % 8);
            check(&bytes);
        }
    }
}
