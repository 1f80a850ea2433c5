//! CRC-32C with the processor's instruction for it, and the sums of the Internet protocols.

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

/// Adds up the 16-bit words of a byte string in network order, with the carry brought back in
/// (RFC 1071): what the checksums of IP, TCP and UDP are the complement of. An odd byte at the end
/// counts as if a zero followed.
///
/// # Complexity
/// About a third of an instruction a byte.
#[must_use]
pub fn internet(bytes: &[u8]) -> u16 {
    let (head, middle, tail) = middle(bytes);
    let middle = fold(u64::from(fold(middle)) + u64::from(pairs(tail)));
    // Of what begins at an odd place, every byte is in the other half of its word.
    let middle = if head.len() % 2 == 1 {
        middle.swap_bytes()
    } else {
        middle
    };
    // In the order of this machine's words until here.
    u16::from_be(fold(u64::from(middle) + u64::from(pairs(head))))
}

/// The sum of the words of 64 bits that are aligned, with the carry brought back in, and what lies
/// before and behind them: the target has no unaligned loads.
///
/// A carry after each word keeps it from being made of vector instructions. They would be fewer,
/// but threads that use vectors cost more to switch, and emulators are slow with them.
fn middle(bytes: &[u8]) -> (&[u8], u64, &[u8]) {
    // SAFETY: any eight bytes are a number.
    let (head, words, tail) = unsafe { bytes.align_to::<u64>() };
    let (mut sum, mut carry) = (0_u64, false);
    // The loop's own instructions once for 256 bytes, and for 32 of what is left.
    let (pages, rest) = words.as_chunks::<32>();
    let (lines, rest) = rest.as_chunks::<4>();
    for page in pages {
        for word in page {
            (sum, carry) = sum.carrying_add(*word, carry);
        }
    }
    for line in lines {
        for word in line {
            (sum, carry) = sum.carrying_add(*word, carry);
        }
    }
    for word in rest {
        (sum, carry) = sum.carrying_add(*word, carry);
    }
    // With a carry the sum is not all ones: that would take another one that is, with a carry.
    (head, sum + u64::from(carry), tail)
}

/// The few bytes before and behind the words.
fn pairs(bytes: &[u8]) -> u32 {
    let (pairs, last) = bytes.as_chunks::<2>();
    let sum: u32 = pairs
        .iter()
        .map(|&pair| u32::from(u16::from_ne_bytes(pair)))
        .sum();
    let last = last
        .first()
        .map_or(0, |&last| u16::from_ne_bytes([last, 0]));
    sum + u32::from(last)
}

fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    // Below three times 2^16 now, then at most 2^16 + 1, then a number of 16 bits.
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use super::internet;

    fn plain(bytes: &[u8]) -> u16 {
        let half = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        let mut sum: u32 = bytes.chunks(2).map(half).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn sums_of_every_length_at_every_place_are_right() {
        let mut state = 7_u32;
        let mut bytes = [0_u8; 1600];
        for byte in &mut bytes {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        for start in 0..17 {
            for len in (0..200).chain([1440, 1460, 1461, 1583]) {
                let part = &bytes[start..start + len];
                assert_eq!(internet(part), plain(part), "{len} bytes from {start} on");
            }
        }
        // All ones, and nothing at all.
        for len in 0..70 {
            assert_eq!(internet(&[0xff; 70][..len]), plain(&[0xff; 70][..len]));
            assert_eq!(internet(&[0; 70][..len]), 0);
        }
    }
}
