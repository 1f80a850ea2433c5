//! The log of QEMU's `blklogwrites`: every write and flush of a run, in order, and the images that
//! a power cut between any two of them may leave.
//!
//! The format is that of dm-log-writes: a superblock, then an entry's header in a sector of its
//! own followed by its data. All numbers are little-endian.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::{Context, Result, unable};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
/// Largest data of an entry that is believed.
const DATA_MAX: u64 = 1 << 30;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Everything before is durable.
    Flush,
    /// These bytes went to this offset; `true` if everything before is durable, too.
    Write(u64, Vec<u8>, bool),
}

/// Reads a log.
///
/// # Errors
///
/// When the file cannot be read or is not such a log.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let file = File::open(path).context(path.display())?;
    parse(&mut BufReader::new(file)).context(path.display())?
}

fn parse(file: &mut (impl Read + Seek)) -> std::io::Result<Result<Vec<Entry>>> {
    let [magic, version, count] = numbers(file)?;
    let mut sector = [0; 4];
    file.read_exact(&mut sector)?;
    let sector = u64::from(u32::from_le_bytes(sector));
    if magic != MAGIC || version != VERSION || !sector.is_power_of_two() || sector < 512 {
        return Ok(unable("not a log of writes"));
    }
    let mut entries = Vec::new();
    let mut at = sector;
    for _ in 0..count {
        file.seek(SeekFrom::Start(at))?;
        let [start, sectors, flags, _] = numbers(file)?;
        at += sector;
        let len = sectors.saturating_mul(sector);
        if len > DATA_MAX {
            return Ok(unable("an entry of the log of writes is damaged"));
        }
        if flags & DISCARD != 0 || len == 0 {
            if flags & FLUSH != 0 {
                entries.push(Entry::Flush);
            }
            continue;
        }
        file.seek(SeekFrom::Start(at))?;
        let mut data = vec![0; len as usize];
        file.read_exact(&mut data)?;
        at += len;
        entries.push(Entry::Write(start * sector, data, flags & FLUSH != 0));
    }
    Ok(Ok(entries))
}

fn numbers<const N: usize>(file: &mut impl Read) -> std::io::Result<[u64; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes)?;
        *number = u64::from_le_bytes(bytes);
    }
    Ok(numbers)
}

/// How a cut treats the writes since the last flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All are there: the power went at this very moment.
    InOrder,
    /// Any subset, in any order, by this seed; of the last one only some of its sectors.
    Shuffled(u64),
}

/// The writes that a cut before entry `at` leaves, in the order in which they are to be applied.
pub fn survivors(entries: &[Entry], at: usize, cut: Cut) -> Vec<(u64, &[u8])> {
    let flushed = entries[..at]
        .iter()
        .rposition(|entry| matches!(entry, Entry::Flush | Entry::Write(_, _, true)))
        .unwrap_or(0);
    let mut kept = writes(&entries[..flushed]);
    let mut tail = writes(&entries[flushed..at]);
    if let Cut::Shuffled(seed) = cut {
        let mut random = Random(seed ^ at as u64);
        tail.retain(|_| random.below(2) == 0);
        for n in (1..tail.len()).rev() {
            tail.swap(n, random.below(n as u64 + 1) as usize);
        }
        if let Some((_, data)) = tail.last_mut() {
            let sectors = data.len() as u64 / 512;
            *data = &data[..512 * (random.below(sectors) + 1) as usize];
        }
    }
    kept.append(&mut tail);
    kept
}

fn writes(entries: &[Entry]) -> Vec<(u64, &[u8])> {
    entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Flush => None,
            Entry::Write(at, data, _) => Some((*at, &data[..])),
        })
        .collect()
}

/// SplitMix64: the same subsets on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn log(entries: &[(u64, &[u8], u64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [MAGIC, VERSION, entries.len() as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(512_u32.to_le_bytes());
        bytes.resize(512, 0);
        for (start, data, flags) in entries {
            let at = bytes.len();
            for number in [*start, data.len() as u64 / 512, *flags, 0] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.resize(at + 512, 0);
            bytes.extend(*data);
        }
        bytes
    }

    fn three() -> Vec<Entry> {
        let bytes = log(&[
            (1, &[1; 512], 0),
            (0, &[], FLUSH),
            (2, &[2; 1024], 0),
            (3, &[3; 512], 0),
        ]);
        parse(&mut Cursor::new(bytes))
            .expect("read")
            .expect("a log")
    }

    #[test]
    fn entries_come_in_order() {
        let entries = three();
        assert_eq!(entries[0], Entry::Write(512, vec![1; 512], false));
        assert_eq!(entries[1], Entry::Flush);
        assert_eq!(entries.len(), 4);
    }

    #[test]
    fn what_was_flushed_is_in_every_cut_and_the_rest_in_some() {
        let entries = three();
        assert_eq!(survivors(&entries, 4, Cut::InOrder).len(), 3);
        let mut sizes = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let left = survivors(&entries, 4, Cut::Shuffled(seed));
            assert_eq!(left[0], (512, &[1_u8; 512][..]));
            sizes.insert(left.iter().map(|(_, data)| data.len()).sum::<usize>());
        }
        assert_eq!(
            sizes.into_iter().collect::<Vec<_>>(),
            [512, 1024, 1536, 2048]
        );
    }

    #[test]
    fn damage_is_an_error() {
        let mut bytes = log(&[(1, &[1; 512], 0)]);
        bytes.truncate(700);
        assert!(parse(&mut Cursor::new(bytes)).is_err());
        let mut bytes = log(&[(1, &[1; 512], 0)]);
        bytes[520..528].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(parse(&mut Cursor::new(bytes)).expect("read").is_err());
        assert!(
            parse(&mut Cursor::new(vec![7; 600]))
                .expect("read")
                .is_err()
        );
    }
}
