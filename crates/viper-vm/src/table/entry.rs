//! Descriptors of VMSAv8-64, stage 1, 4 KiB granule (Arm ARM, D8.3).
//!
//! ```text
//! 0 valid   1 table or page   2..5 AttrIndx   6 AP[1] EL0   7 AP[2] read-only
//! 8..10 SH   10 AF   11 nG   12..48 address   53 PXN   54 UXN
//! ```

use crate::{Frame, MemType, PAGE_SHIFT, Perms, PhysAddr, Space, Target};

/// One descriptor. Which bits mean what depends on the level it is found at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(pub u64);

const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
const ATTR_SHIFT: u32 = 2;
const ATTR_MASK: u64 = 0b111 << ATTR_SHIFT;
const EL0: u64 = 1 << 6;
const READ_ONLY: u64 = 1 << 7;
const OUTER_SHAREABLE: u64 = 0b10 << 8;
const INNER_SHAREABLE: u64 = 0b11 << 8;
const ACCESSED: u64 = 1 << 10;
const NOT_GLOBAL: u64 = 1 << 11;
const ADDRESS_MASK: u64 = 0x0000_ffff_ffff_f000;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
const PERMS_MASK: u64 = READ_ONLY | PXN | UXN;

impl Entry {
    pub const INVALID: Self = Self(0);

    /// A descriptor that leads to the next table. No restriction is set in the hierarchy.
    pub const fn table(frame: Frame) -> Self {
        Self(frame.addr().0 | TABLE_OR_PAGE | VALID)
    }

    #[inline]
    pub const fn page(target: Target, space: Space) -> Self {
        Self(Self::block(target, space).0 | TABLE_OR_PAGE)
    }

    #[inline]
    pub const fn block(target: Target, space: Space) -> Self {
        let space_bits = match space {
            Space::User => EL0 | NOT_GLOBAL,
            Space::Kernel => 0,
        };
        let shareable = match target.mem_type {
            MemType::NormalWriteBack => INNER_SHAREABLE,
            MemType::DeviceNgnre | MemType::NormalNonCacheable => OUTER_SHAREABLE,
        };
        let attr = (target.mem_type as u64) << ATTR_SHIFT;
        let base = (target.pa.0 & ADDRESS_MASK) | VALID | ACCESSED;
        Self(base | attr | shareable | space_bits).with_perms(target.perms, space)
    }

    #[inline]
    pub const fn with_perms(self, perms: Perms, space: Space) -> Self {
        let read_only = match perms {
            Perms::ReadWrite => 0,
            Perms::Read | Perms::ReadExecute => READ_ONLY,
        };
        let never = match (perms, space) {
            (Perms::ReadExecute, Space::User) => PXN,
            (Perms::ReadExecute, Space::Kernel) => UXN,
            (Perms::Read | Perms::ReadWrite, _) => PXN | UXN,
        };
        Self(self.0 & !PERMS_MASK | read_only | never)
    }

    /// The same attributes for another address and level: a page of a block that is split.
    pub const fn page_of_block(self, offset_bytes: u64) -> Self {
        Self((self.0 + offset_bytes) | TABLE_OR_PAGE)
    }

    #[inline]
    pub const fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }

    /// The next table, if this is a table descriptor of level 1 or 2.
    #[inline]
    pub const fn next_table(self) -> Option<Frame> {
        if self.0 & (VALID | TABLE_OR_PAGE) == VALID | TABLE_OR_PAGE {
            Some(Frame(((self.0 & ADDRESS_MASK) >> PAGE_SHIFT) as u32))
        } else {
            None
        }
    }

    /// Whether the two differ in permissions at most, so that one may directly follow the other.
    #[inline]
    pub const fn differs_in_perms_only(self, other: Self) -> bool {
        self.0 & !PERMS_MASK == other.0 & !PERMS_MASK
    }

    /// What a valid leaf says. Unknown memory types, which are never written, read as device.
    pub const fn target(self, space: Space) -> Target {
        let execute_never = match space {
            Space::User => UXN,
            Space::Kernel => PXN,
        };
        let perms = match (self.0 & READ_ONLY != 0, self.0 & execute_never != 0) {
            (false, _) => Perms::ReadWrite,
            (true, true) => Perms::Read,
            (true, false) => Perms::ReadExecute,
        };
        let mem_type = match (self.0 & ATTR_MASK) >> ATTR_SHIFT {
            1 => MemType::NormalWriteBack,
            2 => MemType::NormalNonCacheable,
            _ => MemType::DeviceNgnre,
        };
        Target {
            pa: PhysAddr(self.0 & ADDRESS_MASK),
            perms,
            mem_type,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PA: PhysAddr = PhysAddr(0x4_8000_1000);

    /// Expected words, put together by hand from the Arm ARM.
    #[test]
    fn descriptors_have_the_architected_bits() {
        let target = |perms, mem_type| Target {
            pa: PA,
            perms,
            mem_type,
        };
        let cases = [
            (
                Perms::ReadWrite,
                MemType::NormalWriteBack,
                Space::User,
                0x0060_0004_8000_1f47,
            ),
            (
                Perms::Read,
                MemType::NormalWriteBack,
                Space::User,
                0x0060_0004_8000_1fc7,
            ),
            (
                Perms::ReadExecute,
                MemType::NormalWriteBack,
                Space::User,
                0x0020_0004_8000_1fc7,
            ),
            (
                Perms::ReadWrite,
                MemType::DeviceNgnre,
                Space::User,
                0x0060_0004_8000_1e43,
            ),
            (
                Perms::ReadWrite,
                MemType::NormalNonCacheable,
                Space::User,
                0x0060_0004_8000_1e4b,
            ),
            (
                Perms::ReadWrite,
                MemType::NormalWriteBack,
                Space::Kernel,
                0x0060_0004_8000_1707,
            ),
            (
                Perms::ReadExecute,
                MemType::NormalWriteBack,
                Space::Kernel,
                0x0040_0004_8000_1787,
            ),
        ];
        for (perms, mem_type, space, word) in cases {
            let entry = Entry::page(target(perms, mem_type), space);
            assert_eq!(entry.0, word, "{perms:?} {mem_type:?} {space:?}");
            assert_eq!(entry.target(space), target(perms, mem_type));
        }
    }

    #[test]
    fn blocks_are_not_tables() {
        let target = Target {
            pa: PA,
            perms: Perms::Read,
            mem_type: MemType::NormalWriteBack,
        };
        assert_eq!(Entry::block(target, Space::User).next_table(), None);
        assert_eq!(Entry::INVALID.next_table(), None);
        assert_eq!(Entry::table(Frame(7)).next_table(), Some(Frame(7)));
    }
}
