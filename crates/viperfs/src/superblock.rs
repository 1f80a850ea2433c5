//! The superblock and its copy: read, judged, written.

use crate::checksum::Crc32c;
use crate::device::{BLOCK_SIZE, BlockDevice};
use crate::error::MountError;
use crate::layout::{
    GROUP_BLOCKS, JOURNAL_START, KNOWN_INCOMPAT_FEATURES, KNOWN_RO_FEATURES, MAGIC_SUPER,
    MAX_BLOCKS, MIN_BLOCKS, SUPER_BLOCK, Superblock, VERSION_MAJOR, fsid_of, header, verify, view,
    zeroed,
};
use zerocopy::IntoBytes;

/// The fewest blocks a journal may have, headers included.
pub(crate) const MIN_JOURNAL: u64 = 48;
/// The most blocks a journal may have.
pub(crate) const MAX_JOURNAL: u64 = 16384;

/// Reads one copy; `None` when it is not intact.
pub(crate) fn read_copy<D: BlockDevice>(
    dev: &mut D,
    block: u64,
    crc: Crc32c,
) -> Result<Option<Superblock>, MountError> {
    let mut data = zeroed();
    dev.read(block, &mut data[..])?;
    let sb: &Superblock = view(&data);
    let good = header(&data).magic.get() == MAGIC_SUPER
        && verify(&data, MAGIC_SUPER, block, fsid_of(&sb.uuid), crc);
    Ok(good.then_some(*sb))
}

/// The first intact copy: block 0, then the last block of the device.
///
/// A primary that cannot be read is treated like one that is damaged.
pub(crate) fn find<D: BlockDevice>(dev: &mut D, crc: Crc32c) -> Result<Superblock, MountError> {
    let count = dev.block_count();
    if count == 0 {
        return Err(MountError::NoSuperblock);
    }
    let primary = read_copy(dev, SUPER_BLOCK, crc);
    if let Ok(Some(sb)) = primary {
        return Ok(sb);
    }
    match (read_copy(dev, count - 1, crc), primary) {
        (Ok(Some(sb)), _) => Ok(sb),
        (Err(e), _) | (_, Err(e)) => Err(e),
        _ => Err(MountError::NoSuperblock),
    }
}

/// Whether this code may use the volume, and whether its numbers make sense.
pub(crate) fn judge(
    sb: &Superblock,
    device_blocks: u64,
    read_only: bool,
) -> Result<(), MountError> {
    if sb.major.get() != VERSION_MAJOR {
        return Err(MountError::NewerFormat {
            major: sb.major.get(),
        });
    }
    let unknown = sb.incompat.get() & !KNOWN_INCOMPAT_FEATURES;
    if unknown != 0 {
        return Err(MountError::UnknownFeatures { bits: unknown });
    }
    let guarded = sb.ro_compat.get() & !KNOWN_RO_FEATURES;
    if guarded != 0 && !read_only {
        return Err(MountError::ReadOnlyFeatures { bits: guarded });
    }
    let (total, journal) = (sb.total_blocks.get(), sb.journal_blocks.get());
    let sane = sb.block_size.get() as usize == BLOCK_SIZE
        && (MIN_BLOCKS..=MAX_BLOCKS).contains(&total)
        && sb.journal_start.get() == JOURNAL_START
        && (MIN_JOURNAL..=MAX_JOURNAL).contains(&journal)
        && JOURNAL_START + journal + 8 < total.min(GROUP_BLOCKS);
    if !sane {
        return Err(MountError::Corrupt);
    }
    if total > device_blocks {
        return Err(MountError::DeviceTooSmall);
    }
    Ok(())
}

/// Whether two copies say the same; their headers differ by nature.
pub(crate) fn same(a: &Superblock, b: &Superblock) -> bool {
    let skip = size_of::<crate::layout::Header>();
    a.as_bytes()[skip..] == b.as_bytes()[skip..]
}
