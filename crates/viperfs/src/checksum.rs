//! CRC-32C, computed here or by whoever has an instruction for it.

use crc::{CRC_32_ISCSI, Crc, Table};

static SOFTWARE: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// A function that computes CRC-32C (Castagnoli, as in iSCSI) of a byte string.
///
/// [`Crc32c::SOFTWARE`] is portable and table-driven. A caller that has a faster one, say the
/// AArch64 `crc32cx` instruction, passes it in [`crate::MountOptions::crc32c`]: the engine itself
/// contains no unsafe code and so cannot name the instruction.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(pub fn(&[u8]) -> u32);

impl Crc32c {
    /// The portable implementation.
    pub const SOFTWARE: Self = Self(|bytes| SOFTWARE.checksum(bytes));

    /// The checksum of `bytes`.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> u32 {
        (self.0)(bytes)
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::SOFTWARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_vectors() {
        // RFC 3720, B.4.
        assert_eq!(Crc32c::SOFTWARE.of(&[0; 32]), 0x8A91_36AA);
        assert_eq!(Crc32c::SOFTWARE.of(&[0xFF; 32]), 0x62A8_AB43);
    }
}
