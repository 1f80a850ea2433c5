//! CRC-32C with the processor's instruction for it.

/// Computes CRC-32C (Castagnoli, as in iSCSI) of a byte string with the instruction for it; `None`
/// where there is none. Programs of this system are compiled for a core that has it.
///
/// # Complexity
/// About 0.2 instructions a byte.
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
    // The target has no unaligned loads: numbers are read where they are aligned.
    // SAFETY: any eight bytes are a number.
    let (head, words, tail) = unsafe { bytes.align_to::<u64>() };
    let single = |crc, bytes: &[u8]| bytes.iter().fold(crc, |crc, &byte| __crc32cb(crc, byte));
    let mut crc = single(u32::MAX, head);
    // Pairs of loads, and the loop's own instructions once for 256 bytes.
    let (lines, rest) = words.as_chunks::<32>();
    for line in lines {
        for word in line {
            crc = __crc32cd(crc, u64::from_le(*word));
        }
    }
    for word in rest {
        crc = __crc32cd(crc, u64::from_le(*word));
    }
    crc = single(crc, tail);
    !crc
}
