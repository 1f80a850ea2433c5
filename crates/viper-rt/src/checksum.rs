//! CRC-32C with the processor's instruction for it.

/// Computes CRC-32C (Castagnoli, as in iSCSI) of a byte string with the instruction for it; `None`
/// where there is none. Programs of this system are compiled for a core that has it.
///
/// # Complexity
/// About 0.27 instructions a byte.
pub const CRC32C: Option<fn(&[u8]) -> u32> = instruction();

#[cfg(all(target_os = "none", target_feature = "crc"))]
const fn instruction() -> Option<fn(&[u8]) -> u32> {
    Some(|bytes| {
        // SAFETY: this is compiled only when every core the program may run on has the feature.
        unsafe { crc32c(bytes) }
    })
}

#[cfg(not(all(target_os = "none", target_feature = "crc")))]
const fn instruction() -> Option<fn(&[u8]) -> u32> {
    None
}

#[cfg(all(target_os = "none", target_feature = "crc"))]
#[target_feature(enable = "crc")]
fn crc32c(bytes: &[u8]) -> u32 {
    use core::arch::aarch64::{__crc32cb, __crc32cd};
    let (lines, rest) = bytes.as_chunks::<64>();
    let mut crc = u32::MAX;
    for line in lines {
        for word in line.as_chunks::<8>().0 {
            crc = __crc32cd(crc, u64::from_le_bytes(*word));
        }
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        crc = __crc32cd(crc, u64::from_le_bytes(*word));
    }
    for &byte in rest {
        crc = __crc32cb(crc, byte);
    }
    !crc
}
