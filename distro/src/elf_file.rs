//! What distro does to executables: flatten the kernel, strip programs, look up symbols.

use elf::ElfBytes;
use elf::abi::{PF_X, PT_LOAD, STT_FUNC, STT_NOTYPE};
use elf::endian::LittleEndian;

use crate::error::{Context, Result, unable};

type Elf<'a> = ElfBytes<'a, LittleEndian>;

/// Where the magic number of an arm64 boot image is, and what it says.
const IMAGE_MAGIC_OFFSET: usize = 56;
const IMAGE_MAGIC: &[u8; 4] = b"ARM\x64";
/// The longest flat image that makes sense; a stray segment far away would make it larger.
const FLAT_LIMIT: u64 = 64 << 20;
const HEADER_SIZE: usize = 64;

/// Copies all loadable bytes to where the physical addresses say, as one flat image.
///
/// # Errors
///
/// When the file is not a usable ELF file, or its image would be longer than 64 MiB.
pub fn flatten(file: &[u8]) -> Result<Vec<u8>> {
    let elf = parse(file)?;
    let segments = elf.segments().into_iter().flatten();
    let loads: Vec<_> = segments
        .filter(|s| s.p_type == PT_LOAD && s.p_filesz > 0)
        .collect();
    let Some(base) = loads.iter().map(|s| s.p_paddr).min() else {
        return unable("the kernel has nothing to load");
    };
    let mut image = Vec::new();
    for segment in &loads {
        let start = segment.p_paddr - base;
        let bytes = elf
            .segment_data(segment)
            .context("the kernel is cut short")?;
        let end = start
            .checked_add(segment.p_filesz)
            .filter(|end| *end <= FLAT_LIMIT);
        let Some(end) = end else {
            return unable("the kernel's segments are more than 64 MiB apart");
        };
        let (start, end) = (start as usize, end as usize);
        if image.len() < end {
            image.resize(end, 0);
        }
        image[start..end].copy_from_slice(bytes);
    }
    Ok(image)
}

/// Says whether a flat image carries the header that boot loaders (and QEMU) ask of arm64 kernels.
pub fn is_boot_image(image: &[u8]) -> bool {
    image.get(IMAGE_MAGIC_OFFSET..IMAGE_MAGIC_OFFSET + 4) == Some(IMAGE_MAGIC)
}

/// Cuts everything that is not loaded (symbols, debug information, section headers).
///
/// # Errors
///
/// When the file is not a 64-bit little-endian ELF file or is cut short.
pub fn strip(file: &[u8]) -> Result<Vec<u8>> {
    let elf = parse(file)?;
    let table = elf.ehdr.e_phoff + u64::from(elf.ehdr.e_phnum) * u64::from(elf.ehdr.e_phentsize);
    let segments = elf.segments().into_iter().flatten();
    let last = segments
        .map(|s| s.p_offset.saturating_add(s.p_filesz))
        .max()
        .unwrap_or(0);
    let length = usize::try_from(last.max(table)).unwrap_or(usize::MAX);
    let Some(kept) = file.get(..length.max(HEADER_SIZE)) else {
        return unable("an executable is cut short");
    };
    let mut stripped = kept.to_vec();
    stripped[40..48].fill(0); // e_shoff
    stripped[60..64].fill(0); // e_shnum, e_shstrndx
    Ok(stripped)
}

/// Bytes of all executable segments.
///
/// # Errors
///
/// When the file is not a usable ELF file.
pub fn text_size(file: &[u8]) -> Result<u64> {
    let elf = parse(file)?;
    let segments = elf.segments().into_iter().flatten();
    let texts = segments.filter(|s| s.p_type == PT_LOAD && s.p_flags & PF_X != 0);
    Ok(texts.map(|s| s.p_memsz).fold(0, u64::saturating_add))
}

/// The functions of an executable, for turning addresses into names.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// Start, length, name; sorted by start.
    functions: Vec<(u64, u64, String)>,
}

impl Symbols {
    /// Reads the symbol table; an executable without one has no functions.
    ///
    /// # Errors
    ///
    /// When the file is not a usable ELF file.
    pub fn read(file: &[u8]) -> Result<Self> {
        let elf = parse(file)?;
        let Some((table, names)) = elf.symbol_table().context("bad symbol table")? else {
            return Ok(Self::default());
        };
        let mut functions: Vec<_> = table
            .iter()
            // Assembly often leaves the type out.
            .filter(|symbol| matches!(symbol.st_symtype(), STT_FUNC | STT_NOTYPE))
            .filter_map(|symbol| {
                let name = names.get(symbol.st_name as usize).ok()?;
                // `$x` and `$d` say where code and data begin; they name nothing.
                if symbol.st_value == 0 || name.is_empty() || name.starts_with('$') {
                    return None;
                }
                let name = format!("{:#}", rustc_demangle::demangle(name));
                Some((symbol.st_value, symbol.st_size, name))
            })
            .collect();
        functions.sort();
        functions.dedup_by_key(|(start, ..)| *start);
        Ok(Self { functions })
    }

    /// The function that holds `address`, and the offset in it.
    ///
    /// Symbols without a size (assembly) reach to the next one.
    pub fn find(&self, address: u64) -> Option<(&str, u64)> {
        let after = self
            .functions
            .partition_point(|(start, ..)| *start <= address);
        let (start, size, name) = self.functions.get(after.checked_sub(1)?)?;
        let offset = address - start;
        (*size == 0 || offset < *size).then_some((name.as_str(), offset))
    }
}

fn parse(file: &[u8]) -> Result<Elf<'_>> {
    Elf::minimal_parse(file).context("not a usable ELF file")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A one-segment ELF file: `code` at `paddr`, then `tail` that is not loaded.
    fn sample(paddr: u64, code: &[u8], tail: &[u8]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([2, 0, 183, 0, 1, 0, 0, 0]);
        for word in [0x1000u64, 64, 0] {
            file.extend(word.to_le_bytes());
        }
        file.extend(0u32.to_le_bytes());
        for half in [64u16, 56, 1, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        file.extend(1u32.to_le_bytes());
        file.extend(5u32.to_le_bytes());
        let size = code.len() as u64;
        for word in [120, 0xFFFF_0000_0000_0000, paddr, size, size, 4096] {
            file.extend(word.to_le_bytes());
        }
        file.extend(code);
        file.extend(tail);
        file
    }

    #[test]
    fn flattening_gives_the_loaded_bytes() {
        let file = sample(0x4008_0000, b"kernel", b"debug");
        assert_eq!(flatten(&file).expect("valid"), b"kernel");
    }

    #[test]
    fn stripping_cuts_what_is_not_loaded() {
        let file = sample(0x4008_0000, b"program", b"debug information");
        let stripped = strip(&file).expect("valid");
        assert_eq!(stripped, sample(0x4008_0000, b"program", b""));
        assert_eq!(strip(&stripped).expect("valid"), stripped);
    }

    #[test]
    fn damaged_files_are_errors() {
        let file = sample(0x4008_0000, b"program", b"");
        for length in 0..file.len() {
            assert!(flatten(&file[..length]).is_err(), "cut to {length}");
            assert!(strip(&file[..length]).is_err(), "cut to {length}");
            assert!(Symbols::read(&file[..length]).is_err() || length >= 64);
        }
        assert!(flatten(b"#!/bin/sh\n").is_err());
    }

    #[test]
    fn the_boot_image_header_is_recognised() {
        let mut image = vec![0; 64];
        assert!(!is_boot_image(&image) && !is_boot_image(&[]));
        image[56..60].copy_from_slice(IMAGE_MAGIC);
        assert!(is_boot_image(&image));
    }

    #[test]
    fn addresses_find_their_function() {
        let functions = vec![(0x100, 0x10, "first".into()), (0x200, 0, "assembly".into())];
        let symbols = Symbols { functions };
        assert_eq!(symbols.find(0x10F), Some(("first", 15)));
        assert_eq!(symbols.find(0x110), None);
        assert_eq!(symbols.find(0x300), Some(("assembly", 0x100)));
        assert_eq!(symbols.find(0xFF), None);
    }
}
