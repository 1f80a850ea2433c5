//! Every bit on the disk, as types. The prose is in `docs/formats/viperfs.SPEC.md`.
//!
//! All integers are little endian, all types have alignment 1 and no padding.

use crate::checksum::Crc32c;
use crate::device::BLOCK_SIZE;
use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// [`BLOCK_SIZE`], for arithmetic with addresses and sizes.
pub(crate) const BLOCK_BYTES: u64 = BLOCK_SIZE as u64;

/// A block in memory: at an address where its numbers are aligned as they are in the block, and a
/// page of its own, where that is what memory is made of.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub(crate) struct Block([u8; BLOCK_SIZE]);

impl core::ops::Deref for Block {
    type Target = [u8; BLOCK_SIZE];
    #[inline(always)]
    fn deref(&self) -> &[u8; BLOCK_SIZE] {
        &self.0
    }
}

impl core::ops::DerefMut for Block {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8; BLOCK_SIZE] {
        &mut self.0
    }
}

pub(crate) const VERSION_MAJOR: u16 = 1;
pub(crate) const VERSION_MINOR: u16 = 1;
/// Incompatible feature: extents may be unwritten (SPEC 4.3).
pub(crate) const FEATURE_UNWRITTEN: u64 = 1;
/// Incompatible feature: the superblock stores the fsid, because the uuid was changed (SPEC 2.1).
pub(crate) const FEATURE_STORED_FSID: u64 = 2;
/// Read-only-compatible and incompatible features that this code knows.
pub(crate) const KNOWN_RO_FEATURES: u64 = 0;
pub(crate) const KNOWN_INCOMPAT_FEATURES: u64 = FEATURE_UNWRITTEN | FEATURE_STORED_FSID;

pub(crate) const MAGIC_SUPER: u32 = u32::from_le_bytes(*b"VPFS");
pub(crate) const MAGIC_BITMAP: u32 = u32::from_le_bytes(*b"VPbm");
pub(crate) const MAGIC_STATE: u32 = u32::from_le_bytes(*b"VPst");
pub(crate) const MAGIC_NODE: u32 = u32::from_le_bytes(*b"VPnd");
pub(crate) const MAGIC_JOURNAL: u32 = u32::from_le_bytes(*b"VPjh");
pub(crate) const MAGIC_DESCRIPTOR: u32 = u32::from_le_bytes(*b"VPjd");

/// Where the payload of bitmaps, nodes, descriptors starts.
pub(crate) const PAYLOAD: usize = 64;
/// Blocks in an allocation group: the bits that fit in one bitmap block.
pub(crate) const GROUP_BLOCKS: u64 = ((BLOCK_SIZE - PAYLOAD) * 8) as u64;

pub(crate) const SUPER_BLOCK: u64 = 0;
pub(crate) const FIRST_BITMAP: u64 = 1;
pub(crate) const STATE_BLOCK: u64 = 2;
pub(crate) const ROOT_BLOCK: u64 = 3;
pub(crate) const JOURNAL_START: u64 = 4;

/// The inode of the root directory.
pub const ROOT_INO: u64 = 1;
/// The largest file, in bytes.
pub const MAX_FILE_SIZE: u64 = 1 << 50;
/// The longest name, in bytes.
pub const MAX_NAME: usize = 255;
/// The longest target of a symbolic link, in bytes.
pub const MAX_LINK_TARGET: usize = 4095;
/// The longest value of an extended attribute, in bytes.
pub const MAX_XATTR_VALUE: usize = 1024;
/// The smallest volume, in blocks (1 MiB).
pub const MIN_BLOCKS: u64 = 256;
/// The largest volume, in blocks (16 TiB).
pub const MAX_BLOCKS: u64 = 1 << 32;

pub(crate) const MAX_INO: u64 = (1 << 56) - 1;
/// Inode flag: extents behind the end of the file are still to be removed (see SPEC 6.2).
pub(crate) const FLAG_UNTRIMMED: u32 = 1;
/// Inode flag: the file may have unwritten extents.
pub(crate) const FLAG_KEPT: u32 = 2;
/// Extent flag: the blocks are kept for the file, but hold nothing yet; they read as zeroes.
pub(crate) const EXTENT_UNWRITTEN: u16 = 1;
/// Pages (blocks) that one extent item may cover.
pub(crate) const EXTENT_MAX: u64 = 256;
/// Pages that one unwritten extent may cover: what fits in a group.
pub(crate) const UNWRITTEN_MAX: u64 = GROUP_BLOCKS - 1;

/// Starts every metadata block.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    /// CRC-32C of bytes 4..4096.
    pub crc: U32,
    pub magic: U32,
    /// The address of this block.
    pub block: U64,
    /// Which volume it belongs to, derived from the uuid.
    pub fsid: U64,
    /// Transaction that wrote it.
    pub seq: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Superblock {
    pub header: Header,
    pub major: U16,
    pub minor: U16,
    pub block_size: U32,
    pub compat: U64,
    pub ro_compat: U64,
    pub incompat: U64,
    pub uuid: [u8; 16],
    pub label: [u8; 64],
    pub total_blocks: U64,
    pub journal_start: U64,
    pub journal_blocks: U64,
    pub hash_seed: U64,
    pub created_ns: I64,
    /// With [`FEATURE_STORED_FSID`]: what the headers of all other blocks carry.
    pub fsid: U64,
}

impl Superblock {
    /// The tag that the metadata blocks of this volume carry.
    pub fn volume_fsid(&self) -> u64 {
        if self.incompat.get() & FEATURE_STORED_FSID != 0 {
            self.fsid.get()
        } else {
            fsid_of(&self.uuid)
        }
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct StateBlock {
    pub header: Header,
    pub next_ino: U64,
    pub free_blocks: U64,
    /// Groups whose bitmap block is initialised; the rest are free but for their bitmap block.
    pub groups_ready: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct JournalHeader {
    pub header: Header,
    /// Sequence number of the transaction at the start of the log.
    pub start_seq: U64,
    /// The header with the larger epoch is the valid one.
    pub epoch: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct DescriptorHead {
    pub header: Header,
    /// Blocks logged by the whole transaction.
    pub total: U32,
    /// Which descriptor of the transaction this is.
    pub index: U32,
    pub reserved: [u8; 24],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct LogEntry {
    pub block: U64,
    pub crc: U32,
    pub reserved: U32,
}

/// Log entries in one descriptor block.
pub(crate) const LOG_ENTRIES: usize = (BLOCK_SIZE - PAYLOAD) / size_of::<LogEntry>();

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct NodeHead {
    pub header: Header,
    pub level: u8,
    pub reserved0: u8,
    pub count: U16,
    /// Leaf: lowest offset of item data. Interior: 4096.
    pub data_start: U16,
    pub reserved: [u8; 26],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct DiskKey {
    pub offset: U64,
    /// `ino << 8 | kind`.
    pub object: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct LeafSlot {
    pub key: DiskKey,
    pub start: U16,
    pub len: U16,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ChildSlot {
    pub key: DiskKey,
    pub child: U64,
}

/// Value of an inode item.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct InodeItem {
    pub mode: U32,
    pub nlink: U32,
    pub uid: U32,
    pub gid: U32,
    pub size: U64,
    pub blocks: U64,
    pub atime: I64,
    pub mtime: I64,
    pub ctime: I64,
    pub btime: I64,
    /// Directories: the parent. Others: 0.
    pub parent: U64,
    pub rdev: U64,
    pub flags: U32,
    pub reserved: [u8; 12],
}

/// Head of a directory entry item; the name follows.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct EntryHead {
    pub ino: U64,
    pub kind: u8,
    pub name_len: u8,
}

/// Head of an extended attribute item; name and value follow.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct XattrHead {
    pub name_len: u8,
    pub reserved: u8,
    pub value_len: U16,
}

/// Head of an extent item; one CRC-32C (`u32`) per block follows.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct ExtentHead {
    pub block: U64,
    pub len: U16,
    pub flags: U16,
    pub reserved: U32,
}

/// Value of an orphan item: reserved, and not empty because no item may be.
pub(crate) const ORPHAN_VALUE: [u8; 8] = [0; 8];

/// What an item is. The order is the order in the tree.
pub(crate) mod kind {
    pub const INODE: u8 = 1;
    pub const TARGET: u8 = 2;
    pub const XATTR: u8 = 3;
    pub const ENTRY: u8 = 4;
    pub const EXTENT: u8 = 5;
    /// Belongs to inode 0: the offset is an inode to be reclaimed or trimmed at mount.
    pub const ORPHAN: u8 = 6;
}

/// Where an item sorts: by inode, then kind, then offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key(u128);

impl Key {
    pub const MIN: Self = Self(0);

    pub const fn new(ino: u64, kind: u8, offset: u64) -> Self {
        Self(((ino << 8 | kind as u64) as u128) << 64 | offset as u128)
    }
    pub const fn ino(self) -> u64 {
        (self.0 >> 72) as u64
    }
    pub const fn kind(self) -> u8 {
        (self.0 >> 64) as u8
    }
    pub const fn offset(self) -> u64 {
        self.0 as u64
    }
    /// The next key, or `None` after the last.
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(k) => Some(Self(k)),
            None => None,
        }
    }
    /// The key before, or `None` before the first.
    pub const fn prev(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(k) => Some(Self(k)),
            None => None,
        }
    }
    /// Whether both keys are of the same inode and kind.
    pub const fn same_object(self, other: Self) -> bool {
        self.0 >> 64 == other.0 >> 64
    }
}

impl DiskKey {
    #[inline]
    pub fn get(&self) -> Key {
        Key((self.object.get() as u128) << 64 | self.offset.get() as u128)
    }
    pub fn from(key: Key) -> Self {
        Self {
            offset: U64::new(key.0 as u64),
            object: U64::new((key.0 >> 64) as u64),
        }
    }
}

/// The tag that metadata blocks of a volume carry.
pub(crate) fn fsid_of(uuid: &[u8; 16]) -> u64 {
    let (a, b) = uuid.split_at(8);
    let half = |s: &[u8]| s.iter().rev().fold(0u64, |n, &x| n << 8 | x as u64);
    half(a) ^ half(b).rotate_left(1)
}

/// Fills in the header of `block`, without a checksum.
pub(crate) fn set_header(data: &mut Block, magic: u32, block: u64, fsid: u64, seq: u64) {
    let header = Header {
        crc: U32::new(0),
        magic: U32::new(magic),
        block: U64::new(block),
        fsid: U64::new(fsid),
        seq: U64::new(seq),
    };
    data[..size_of::<Header>()].copy_from_slice(header.as_bytes());
}

/// Computes and stores the checksum of a block whose header is filled in.
pub(crate) fn seal(data: &mut Block, crc: Crc32c) -> u32 {
    let sum = crc.of(&data[4..]);
    data[..4].copy_from_slice(&sum.to_le_bytes());
    sum
}

/// The header of a block. Proves nothing about it.
#[inline]
pub(crate) fn header(data: &[u8; BLOCK_SIZE]) -> &Header {
    view(data)
}

/// Reads a type at the start of a block.
#[inline]
pub(crate) fn view<T>(data: &[u8; BLOCK_SIZE]) -> &T
where
    T: FromBytes + Immutable + KnownLayout + Unaligned,
{
    T::ref_from_prefix(data)
        .expect("every layout type is smaller than a block")
        .0
}

/// Writes a type at the start of a block.
#[inline]
pub(crate) fn view_mut<T>(data: &mut Block) -> &mut T
where
    T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned,
{
    T::mut_from_prefix(&mut data[..])
        .expect("every layout type is smaller than a block")
        .0
}

/// Whether the header names this magic, address and volume and the checksum is right.
pub(crate) fn verify(
    data: &[u8; BLOCK_SIZE],
    magic: u32,
    block: u64,
    fsid: u64,
    crc: Crc32c,
) -> bool {
    let h = header(data);
    h.magic.get() == magic
        && h.block.get() == block
        && h.fsid.get() == fsid
        && h.crc.get() == crc.of(&data[4..])
}

/// A block of zeroes on the heap. Zeroed by the allocator, who may know that it is.
pub(crate) fn zeroed() -> alloc::boxed::Box<Block> {
    let layout = core::alloc::Layout::new::<Block>();
    Block::new_box_zeroed().unwrap_or_else(|_| alloc::alloc::handle_alloc_error(layout))
}
