//! GUID partition tables: where the partitions of a disk are, believed only when everything fits.
//!
//! UEFI specification 2.10, chapter 5.3. Sectors are 512 bytes.

use alloc::vec;
use alloc::vec::Vec;

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 512;
/// Bytes of a table's entries, at most; the usual are 16 KiB.
const ENTRIES_MAX: u64 = 1 << 20;
const ENTRY_MIN: u64 = 128;
const ENTRY_MAX: u64 = 4096;
const HEADER_MIN: usize = 92;

/// A partition, in sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Its place in the table, from 1: what partitioning tools call it by.
    pub(crate) number: u32,
    pub(crate) first: u64,
    pub(crate) count: u64,
}

/// The partitions of a disk of so many sectors, in the order of the table: by the first header, or
/// by the one at the end if that is damaged. `None` if there is no intact table.
///
/// `read` fills a buffer of whole sectors from a sector on; whether it could.
pub(crate) fn partitions(
    sectors: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> bool,
) -> Option<Vec<Partition>> {
    let last = sectors.checked_sub(1)?;
    [1, last]
        .into_iter()
        .find_map(|at| table(at, sectors, &mut read))
}

fn table(
    at: u64,
    sectors: u64,
    read: &mut impl FnMut(u64, &mut [u8]) -> bool,
) -> Option<Vec<Partition>> {
    let mut header = [0; SECTOR];
    if at >= sectors || !read(at, &mut header) {
        return None;
    }
    let header = Header::parse(&header, at, sectors)?;
    let bytes = header.entries.checked_mul(header.entry_bytes)?;
    let mut entries = vec![0; usize::try_from(bytes).ok()?.next_multiple_of(SECTOR)];
    let behind = header
        .entries_at
        .checked_add((entries.len() / SECTOR) as u64)?;
    let outside = header.entries_at < 2 || behind > sectors;
    let overlaps = behind > header.usable.0 && header.entries_at <= header.usable.1;
    if outside || overlaps || !read(header.entries_at, &mut entries) {
        return None;
    }
    let entries = entries.get(..bytes as usize)?;
    if crc32(entries) != header.entries_crc {
        return None;
    }
    let mut found = Vec::new();
    for (number, entry) in (1..).zip(entries.chunks_exact(header.entry_bytes as usize)) {
        if entry.get(..16)?.iter().any(|&byte| byte != 0) {
            found.push(header.partition(number, entry)?);
        }
    }
    let mut sorted = found.clone();
    sorted.sort_unstable_by_key(|partition| partition.first);
    let apart = |pair: &[Partition]| pair[0].first + pair[0].count <= pair[1].first;
    sorted.windows(2).all(apart).then_some(found)
}

/// What a header says; all of it is in range, but nothing is known of the entries.
struct Header {
    /// First and last sector that partitions may use.
    usable: (u64, u64),
    entries_at: u64,
    entries: u64,
    entry_bytes: u64,
    entries_crc: u32,
}

impl Header {
    fn parse(sector: &[u8; SECTOR], at: u64, sectors: u64) -> Option<Header> {
        let len = word(sector, 12)? as usize;
        let is_header = sector.starts_with(b"EFI PART") && (HEADER_MIN..=SECTOR).contains(&len);
        let mut copy = *sector;
        copy[16..20].fill(0);
        if !is_header || crc32(copy.get(..len)?) != word(sector, 16)? {
            return None;
        }
        let usable = (long(sector, 40)?, long(sector, 48)?);
        let (entries, entry_bytes) = (word(sector, 80)?, word(sector, 84)?);
        let header = Header {
            usable,
            entries_at: long(sector, 72)?,
            entries: u64::from(entries),
            entry_bytes: u64::from(entry_bytes),
            entries_crc: word(sector, 88)?,
        };
        let fits = long(sector, 24)? == at
            && usable.0 <= usable.1
            && usable.1 < sectors
            && (ENTRY_MIN..=ENTRY_MAX).contains(&header.entry_bytes)
            && entry_bytes.is_power_of_two()
            && (1..=ENTRIES_MAX / header.entry_bytes).contains(&header.entries);
        fits.then_some(header)
    }

    /// The partition of an entry that is in use.
    fn partition(&self, number: u32, entry: &[u8]) -> Option<Partition> {
        let (first, last) = (long(entry, 32)?, long(entry, 40)?);
        let inside = self.usable.0 <= first && first <= last && last <= self.usable.1;
        inside.then(|| Partition {
            number,
            first,
            count: last - first + 1,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*four))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let eight = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*eight))
}

/// CRC-32 as in Ethernet, which is what the specification wants. A table is read once.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1));
    let byte = |crc: u32, &byte: &u8| (0..8).fold(crc ^ u32::from(byte), step);
    !bytes.iter().fold(u32::MAX, byte)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Puts a table of these partitions (first and last sector) at both ends of a disk.
    pub(crate) fn write_table(disk: &mut [u8], partitions: &[(u64, u64)]) {
        let sectors = (disk.len() / SECTOR) as u64;
        let mut entries = vec![0; 128 * 128];
        for (entry, (first, last)) in entries.chunks_exact_mut(128).zip(partitions) {
            entry[..32].fill(7);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
        }
        for (at, other, table) in [(1, sectors - 1, 2), (sectors - 1, 1, sectors - 33)] {
            let mut header = [0; SECTOR];
            header[..8].copy_from_slice(b"EFI PART");
            header[8..12].copy_from_slice(&0x1_0000u32.to_le_bytes());
            header[12..16].copy_from_slice(&92u32.to_le_bytes());
            let longs = [
                (24, at),
                (32, other),
                (40, 34),
                (48, sectors - 34),
                (72, table),
            ];
            for (place, value) in longs {
                header[place..place + 8].copy_from_slice(&value.to_le_bytes());
            }
            header[80..84].copy_from_slice(&128u32.to_le_bytes());
            header[84..88].copy_from_slice(&128u32.to_le_bytes());
            header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
            seal(&mut header);
            disk[at as usize * SECTOR..][..SECTOR].copy_from_slice(&header);
            disk[table as usize * SECTOR..][..entries.len()].copy_from_slice(&entries);
        }
    }

    fn seal(header: &mut [u8]) {
        header[16..20].fill(0);
        let sum = crc32(&header[..92]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
    }

    fn read(disk: &[u8]) -> Option<Vec<Partition>> {
        partitions((disk.len() / SECTOR) as u64, |at, to| {
            let from = usize::try_from(at)
                .ok()
                .and_then(|at| at.checked_mul(SECTOR));
            let from = from.and_then(|from| disk.get(from..)?.get(..to.len()));
            from.map(|from| to.copy_from_slice(from)).is_some()
        })
    }

    fn disk(partitions: &[(u64, u64)]) -> Vec<u8> {
        let mut disk = vec![0; 512 * SECTOR];
        write_table(&mut disk, partitions);
        disk
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn partitions_are_found_by_either_header() {
        let part = |number, first, count| Partition {
            number,
            first,
            count,
        };
        let expected = vec![part(1, 100, 50), part(2, 40, 8)];
        let good = disk(&[(100, 149), (40, 47)]);
        assert_eq!(read(&good), Some(expected.clone()));
        for broken in [512 + 3, 512 + 30, 512 * 2 + 40, 512 * 20] {
            let mut bad = good.clone();
            bad[broken] ^= 1;
            assert_eq!(read(&bad), Some(expected.clone()), "byte {broken}");
            bad[511 * 512 + 20] ^= 1;
            let header_only = read(&bad);
            assert_eq!(header_only, None, "byte {broken}, and the other header");
        }
        assert_eq!(read(&disk(&[])), Some(vec![]));
        assert_eq!(read(&vec![0; 4096]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn partitions_that_cannot_be_are_not_believed() {
        for bad in [
            &[(33, 40)][..],
            &[(40, 39)],
            &[(400, 479)],
            &[(40, u64::MAX)],
            &[(40, 50), (50, 60)],
            &[(60, 70), (40, 60)],
        ] {
            assert_eq!(read(&disk(bad)), None, "{bad:?}");
        }
    }

    /// Headers with a right checksum that say anything at all.
    #[test]
    fn hostile_headers_are_refused_or_consistent() {
        let good = disk(&[(40, 47)]);
        for place in (24..92).step_by(4).chain([12]) {
            for value in [0u32, 1, 127, 129, 1 << 20, u32::MAX - 3, u32::MAX] {
                let mut bad = good.clone();
                for at in [1, 511] {
                    let header = &mut bad[at * SECTOR..][..SECTOR];
                    header[place..place + 4].copy_from_slice(&value.to_le_bytes());
                    seal(header);
                }
                for found in read(&bad).into_iter().flatten() {
                    assert!(found.count > 0 && found.first + found.count <= 512);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn noise_is_never_a_table_nor_a_panic(
            noise in prop::collection::vec(any::<u8>(), 0..4096),
            at in 0..3000usize,
        ) {
            let mut disk = disk(&[(40, 47)]);
            let end = (at + noise.len()).min(disk.len());
            disk[at..end].copy_from_slice(&noise[..end - at]);
            for found in read(&disk).into_iter().flatten() {
                prop_assert!(found.first + found.count <= 512);
            }
            prop_assert_eq!(read(&noise), None);
        }
    }
}
