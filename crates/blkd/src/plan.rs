//! From a client's vectors to requests of the device: checked first, then cut.

use viper_proto::block::{SECTOR_BYTES, SECTORS_MAX, VECTORS_MAX, Vector};
use viper_rt::Error;
use viper_rt::message::List;
use viper_virtio::BlockInfo;

/// Segments in a request of the device at most, whatever it would take.
pub(crate) const SEGMENTS_MAX: usize = 14;

/// The vectors of a message.
pub(crate) type Vectors = List<Vector, VECTORS_MAX>;

/// Checks vectors against a disk and `memory_bytes` of session memory.
///
/// # Errors
/// [`Error::InvalidArgument`] for what is empty, misaligned, too much or out of range.
pub(crate) fn check(vectors: &[Vector], info: &BlockInfo, memory_bytes: u64) -> Result<(), Error> {
    let block_sectors = u64::from(info.block_len) / SECTOR_BYTES;
    let mut sum = 0u64;
    for vector in vectors {
        let aligned = vector.offset % 16 == 0
            && vector.sector % block_sectors == 0
            && vector.count % block_sectors == 0;
        // Bounded first, so that nothing below overflows.
        let bounded = (1..=SECTORS_MAX).contains(&vector.count);
        if !aligned || !bounded {
            return Err(Error::InvalidArgument);
        }
        let end = vector.sector.checked_add(vector.count);
        let memory_end = vector.offset.checked_add(vector.count * SECTOR_BYTES);
        let inside = end.is_some_and(|end| end <= info.capacity_sectors)
            && memory_end.is_some_and(|end| end <= memory_bytes);
        if !inside {
            return Err(Error::InvalidArgument);
        }
        sum += vector.count;
    }
    if (1..=SECTORS_MAX).contains(&sum) {
        Ok(())
    } else {
        Err(Error::InvalidArgument)
    }
}

/// A piece of session memory: byte offset and length.
pub(crate) type Piece = (u64, u32);

/// One request of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) sector: u64,
    pieces: [Piece; SEGMENTS_MAX],
    count: usize,
}

impl Chunk {
    pub(crate) fn pieces(&self) -> &[Piece] {
        self.pieces.get(..self.count).unwrap_or(&[])
    }
}

/// Where cutting stands in a list of checked vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    index: usize,
    /// Sectors of the vector at `index` that are cut already.
    done: u64,
}

impl Cursor {
    /// Cuts the next request off. Neighbours on the disk become segments of one request.
    pub(crate) fn next(&mut self, vectors: &[Vector], info: &BlockInfo) -> Option<Chunk> {
        let segments_max = usize::from(info.segments_max).clamp(1, SEGMENTS_MAX);
        let segment_sectors = segment_sectors(info);
        let first = vectors.get(self.index)?;
        let mut chunk = Chunk {
            sector: first.sector + self.done,
            pieces: [(0, 0); SEGMENTS_MAX],
            count: 0,
        };
        let mut end = chunk.sector;
        while let Some(vector) = vectors.get(self.index) {
            if chunk.count == segments_max || vector.sector + self.done != end {
                break;
            }
            let sectors = (vector.count - self.done).min(segment_sectors);
            let offset = vector.offset + self.done * SECTOR_BYTES;
            // At most SECTORS_MAX sectors: fits.
            chunk.pieces[chunk.count] = (offset, (sectors * SECTOR_BYTES) as u32);
            chunk.count += 1;
            end += sectors;
            self.done += sectors;
            if self.done == vector.count {
                *self = Cursor {
                    index: self.index + 1,
                    done: 0,
                };
            }
        }
        Some(chunk)
    }

    /// Whether everything is cut.
    pub(crate) fn is_done(&self, vectors: &[Vector]) -> bool {
        self.index >= vectors.len()
    }
}

/// Most sectors in a segment: whole blocks, at least one.
fn segment_sectors(info: &BlockInfo) -> u64 {
    let len = info.segment_len_max - info.segment_len_max % info.block_len;
    (u64::from(len.max(info.block_len)) / SECTOR_BYTES).min(SECTORS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn info() -> BlockInfo {
        BlockInfo {
            capacity_sectors: 1000,
            block_len: 512,
            segments_max: 3,
            segment_len_max: 2048,
            depth: 4,
            is_read_only: false,
            has_flush: true,
            topology: None,
        }
    }

    const fn vector(sector: u64, count: u64, offset: u64) -> Vector {
        Vector {
            sector,
            count,
            offset,
        }
    }

    #[test]
    fn what_is_outside_or_crooked_is_refused() {
        let bad = [
            vector(1000, 1, 0),
            vector(999, 2, 0),
            vector(u64::MAX, 2, 0),
            vector(0, u64::MAX, 0),
            vector(0, 0, 0),
            vector(0, 1, u64::MAX - 15),
            vector(0, 1, 8192 - 496),
            vector(0, 1, 8),
            vector(0, SECTORS_MAX + 1, 0),
        ];
        for vector in bad {
            assert_eq!(
                check(&[vector], &info(), 8192),
                Err(Error::InvalidArgument),
                "{vector:?}"
            );
        }
        assert_eq!(check(&[], &info(), 8192), Err(Error::InvalidArgument));
        assert_eq!(check(&[vector(999, 1, 8192 - 512)], &info(), 8192), Ok(()));
        let large = BlockInfo {
            block_len: 4096,
            ..info()
        };
        assert_eq!(
            check(&[vector(4, 8, 0)], &large, 8192),
            Err(Error::InvalidArgument)
        );
        assert_eq!(check(&[vector(8, 8, 0)], &large, 8192), Ok(()));
        let much = [vector(0, 900, 0); 3];
        assert_eq!(
            check(&much, &info(), 1 << 20),
            Err(Error::InvalidArgument),
            "above 1 MiB"
        );
    }

    #[test]
    fn neighbours_become_one_request() {
        let vectors = [vector(10, 2, 0), vector(12, 1, 4096), vector(20, 6, 512)];
        let mut cursor = Cursor::default();
        let first = cursor.next(&vectors, &info()).unwrap();
        assert_eq!(
            (first.sector, first.pieces()),
            (10, &[(0, 1024), (4096, 512)][..])
        );
        let second = cursor.next(&vectors, &info()).unwrap();
        assert_eq!(
            (second.sector, second.pieces()),
            (20, &[(512, 2048), (2560, 1024)][..])
        );
        assert!(cursor.is_done(&vectors));
        assert_eq!(cursor.next(&vectors, &info()), None);
    }

    proptest! {
        /// Whatever passes the check is cut into exactly its bytes, within the device's limits.
        #[test]
        fn cutting_loses_nothing(
            list in prop::collection::vec((0u64..965, 1u64..40, 0u64..40), 1..VECTORS_MAX),
            segments_max in 0u16..20,
            segment_len_max in 512u32..9000,
        ) {
            let info = BlockInfo { segments_max, segment_len_max, ..info() };
            let vectors: Vec<Vector> =
                list.iter().map(|&(s, c, o)| vector(s, c, o * 256)).collect();
            let memory = 30_000;
            prop_assume!(check(&vectors, &info, memory).is_ok());
            let mut wanted = Vec::new();
            for v in &vectors {
                wanted.extend((0..v.count).map(|n| (v.sector + n, v.offset + n * 512)));
            }
            let mut got = Vec::new();
            let mut cursor = Cursor::default();
            while let Some(chunk) = cursor.next(&vectors, &info) {
                prop_assert!(chunk.pieces().len() <= usize::from(segments_max.max(1)));
                prop_assert!(!chunk.pieces().is_empty());
                let mut sector = chunk.sector;
                for &(offset, len) in chunk.pieces() {
                    prop_assert!(len <= segment_len_max && len % 512 == 0 && len > 0);
                    prop_assert!(offset + u64::from(len) <= memory);
                    for n in 0..u64::from(len) / 512 {
                        got.push((sector, offset + n * 512));
                        sector += 1;
                    }
                }
                prop_assert!(sector <= info.capacity_sectors);
            }
            prop_assert_eq!(got, wanted);
        }
    }
}
