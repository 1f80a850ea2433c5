//! Making an empty volume.

use crate::checksum::Crc32c;
use crate::device::{BLOCK_SIZE, BlockDevice};
use crate::error::Error;
use crate::inode::{FileKind, Inode};
use crate::journal::journal_header;
use crate::layout::{
    Block, FEATURE_UNWRITTEN, FIRST_BITMAP, GROUP_BLOCKS, JOURNAL_START, Key, MAGIC_BITMAP,
    MAGIC_NODE, MAGIC_STATE, MAGIC_SUPER, MAX_BLOCKS, MIN_BLOCKS, ROOT_BLOCK, ROOT_INO,
    STATE_BLOCK, SUPER_BLOCK, StateBlock, Superblock, VERSION_MAJOR, VERSION_MINOR, fsid_of, kind,
    seal, set_header, view_mut, zeroed,
};
use crate::node;
use crate::space::{fresh_volume_free, init_bitmap};
use crate::store::{Geometry, IO_BLOCKS};
use crate::superblock::{MAX_JOURNAL, MIN_JOURNAL};
use alloc::boxed::Box;
use alloc::vec;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{I64, U16, U32, U64};

/// How to make a volume. The same options make the same bytes.
#[derive(Clone, Debug, Default)]
pub struct FormatOptions<'a> {
    /// Name of the volume, at most 64 bytes.
    pub label: &'a str,
    /// Identity of the volume; should be unique, because stale blocks are told by it.
    pub uuid: [u8; 16],
    /// Blocks of the volume; `None` takes the whole device.
    pub blocks: Option<u64>,
    /// Blocks of the journal; `None` takes 1/32 of the volume, within 48 and 2048.
    pub journal_blocks: Option<u64>,
    /// Time of creation, in nanoseconds since 1970.
    pub now_ns: i64,
    /// Permission bits of the root directory; 0 means `0o755`.
    pub root_mode: u32,
}

/// Makes an empty volume on a device, whatever it held before.
///
/// # Errors
/// [`Error::Invalid`] for options that the format cannot carry (nothing was written),
/// [`Error::Device`] when the device fails.
pub fn format<D: BlockDevice>(mut dev: D, options: &FormatOptions<'_>) -> Result<(), Error> {
    let total = options.blocks.unwrap_or_else(|| dev.block_count());
    let wanted = (total / 32).clamp(MIN_JOURNAL, 2048);
    let journal = options.journal_blocks.unwrap_or(wanted);
    if !(MIN_BLOCKS..=MAX_BLOCKS).contains(&total)
        || total > dev.block_count()
        || options.label.len() > 64
        || !(MIN_JOURNAL..=MAX_JOURNAL).contains(&journal)
        || JOURNAL_START + journal + 8 >= total.min(GROUP_BLOCKS)
    {
        return Err(Error::Invalid);
    }
    let sb = superblock(options, total, journal);
    let geo = Geometry::new(&sb);
    // Make sure that no half-made volume mounts.
    dev.write(SUPER_BLOCK, &zeroed()[..])?;
    dev.write(total - 1, &zeroed()[..])?;
    dev.flush()?;
    clear(&mut dev, JOURNAL_START + 2, journal - 2)?;
    for (block, mut data) in initial_blocks(options, &geo) {
        seal(&mut data, Crc32c::SOFTWARE);
        dev.write(block, &data[..])?;
    }
    dev.flush()?;
    write_superblocks(&mut dev, &sb)
}

fn superblock(options: &FormatOptions<'_>, total: u64, journal: u64) -> Superblock {
    let mut data = zeroed();
    let sb: &mut Superblock = view_mut(&mut data);
    sb.major = U16::new(VERSION_MAJOR);
    sb.minor = U16::new(VERSION_MINOR);
    sb.block_size = U32::new(BLOCK_SIZE as u32);
    sb.incompat = U64::new(FEATURE_UNWRITTEN);
    sb.uuid = options.uuid;
    for (to, from) in sb.label.iter_mut().zip(options.label.bytes()) {
        *to = from;
    }
    sb.total_blocks = U64::new(total);
    sb.journal_start = U64::new(JOURNAL_START);
    sb.journal_blocks = U64::new(journal);
    sb.hash_seed = U64::new(fsid_of(&options.uuid).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    sb.created_ns = I64::new(options.now_ns);
    *sb
}

/// Writes both copies of the superblock.
pub(crate) fn write_superblocks<D: BlockDevice>(dev: &mut D, sb: &Superblock) -> Result<(), Error> {
    for block in [sb.total_blocks.get() - 1, SUPER_BLOCK] {
        let mut data = zeroed();
        *view_mut::<Superblock>(&mut data) = *sb;
        set_header(&mut data, MAGIC_SUPER, block, fsid_of(&sb.uuid), 0);
        seal(&mut data, Crc32c::SOFTWARE);
        dev.write(block, &data[..])?;
        dev.flush()?;
    }
    Ok(())
}

fn clear<D: BlockDevice>(dev: &mut D, start: u64, len: u64) -> Result<(), Error> {
    let zeroes = vec![0; IO_BLOCKS * BLOCK_SIZE];
    let mut at = start;
    while at < start + len {
        let n = (start + len - at).min(IO_BLOCKS as u64);
        dev.write(at, &zeroes[..n as usize * BLOCK_SIZE])?;
        at += n;
    }
    Ok(())
}

fn initial_blocks(options: &FormatOptions<'_>, geo: &Geometry) -> [(u64, Box<Block>); 5] {
    let fsid = geo.fsid;
    let mut bitmap = zeroed();
    set_header(&mut bitmap, MAGIC_BITMAP, FIRST_BITMAP, fsid, 0);
    init_bitmap(geo, &mut bitmap, 0);
    let mut state = zeroed();
    set_header(&mut state, MAGIC_STATE, STATE_BLOCK, fsid, 0);
    let s: &mut StateBlock = view_mut(&mut state);
    s.next_ino = U64::new(ROOT_INO + 1);
    s.free_blocks = U64::new(fresh_volume_free(geo));
    s.groups_ready = U64::new(1);
    let mut root = zeroed();
    node::init(&mut root, 0);
    set_header(&mut root, MAGIC_NODE, ROOT_BLOCK, fsid, 0);
    let item = root_directory(options).to_item();
    node::insert(
        &mut root,
        0,
        Key::new(ROOT_INO, kind::INODE, 0),
        item.as_bytes(),
    );
    [
        (FIRST_BITMAP, bitmap),
        (STATE_BLOCK, state),
        (ROOT_BLOCK, root),
        (
            JOURNAL_START,
            journal_header(JOURNAL_START, fsid, 0, 1, Crc32c::SOFTWARE),
        ),
        (
            JOURNAL_START + 1,
            journal_header(JOURNAL_START + 1, fsid, 1, 1, Crc32c::SOFTWARE),
        ),
    ]
}

fn root_directory(options: &FormatOptions<'_>) -> Inode {
    let mode = if options.root_mode == 0 {
        0o755
    } else {
        options.root_mode
    };
    let mut inode = Inode::blank(ROOT_INO, FileKind::Directory, mode, options.now_ns);
    inode.parent = ROOT_INO;
    inode
}
