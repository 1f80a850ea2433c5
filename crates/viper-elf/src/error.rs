//! Why a file is not loaded.

use core::fmt;

/// Why a file cannot be loaded. The `Display` text completes "cannot run it: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ElfError {
    /// No ELF magic at the start.
    NotElf,
    /// A 32-bit file.
    WrongClass,
    /// A big-endian file.
    WrongByteOrder,
    /// Made for another processor: the number that the file gives.
    WrongMachine(u16),
    /// Made for another operating system: the number that the file gives.
    WrongAbi(u8),
    /// An object file, a core dump, or something else that cannot be run.
    NotExecutable,
    /// An ELF version or header size that does not exist.
    BadHeader,
    /// The file ends before something that its headers promise.
    Truncated,
    /// The program headers reach beyond the bytes at hand; this many from the start are needed.
    NeedMore(u64),
    /// More program headers or segments than are allowed.
    TooManySegments,
    /// Nothing to load.
    NoSegments,
    /// A segment whose sizes, alignment or permissions make no sense.
    BadSegment,
    /// A segment that is writable and executable, or an executable stack.
    WriteExecute,
    /// Segments that share a page or do not ascend.
    Overlap,
    /// A segment outside of the addresses that programs may use.
    OutsideUserSpace,
    /// The entry point is not in an executable segment, or misaligned.
    EntryOutside,
    /// Wants an interpreter or shared libraries.
    Dynamic,
    /// A dynamic section or relocation table that makes no sense.
    BadDynamic,
    /// A relocation of a kind other than `RELATIVE`: the number that the file gives.
    UnsupportedRelocation(u32),
    /// A relocation table of a kind other than `RELA`: its tag in the dynamic section.
    UnsupportedTable(u8),
    /// A relocation of something outside of the writable segments.
    RelocationOutside,
    /// A program with fixed addresses cannot be moved.
    NotRelocatable,
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::NotElf => "not an ELF file",
            Self::WrongClass => "it is a 32-bit program",
            Self::WrongByteOrder => "it is a big-endian program",
            Self::WrongMachine(machine) => {
                return write!(
                    f,
                    "it is made for another processor (ELF machine {machine})"
                );
            }
            Self::WrongAbi(abi) => {
                return write!(f, "it is made for another operating system (ELF ABI {abi})");
            }
            Self::NotExecutable => "it is an object file or library, not a program",
            Self::BadHeader => "its ELF header is damaged",
            Self::Truncated => "the file is cut short",
            Self::NeedMore(bytes) => {
                return write!(f, "its headers need the first {bytes} bytes of the file");
            }
            Self::TooManySegments => "it has too many segments",
            Self::NoSegments => "it has nothing to load",
            Self::BadSegment => "one of its segments is malformed",
            Self::WriteExecute => "it asks for memory that is writable and executable",
            Self::Overlap => "its segments overlap or are out of order",
            Self::OutsideUserSpace => "it wants addresses that programs may not use",
            Self::EntryOutside => "its entry point is not in executable memory",
            Self::Dynamic => "it needs a dynamic linker, and there is none",
            Self::BadDynamic => "its dynamic section is malformed",
            Self::UnsupportedRelocation(kind) => {
                return write!(
                    f,
                    "it needs relocations that are not supported (type {kind})"
                );
            }
            Self::UnsupportedTable(tag) => {
                return write!(
                    f,
                    "it needs a relocation table that is not supported (tag {tag})"
                );
            }
            Self::RelocationOutside => "a relocation points outside of its data",
            Self::NotRelocatable => "it has fixed addresses and cannot be moved",
        };
        f.write_str(text)
    }
}

impl core::error::Error for ElfError {}
