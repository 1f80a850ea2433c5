//! Inodes: what they are outside, on the disk, and in memory.

use crate::layout::{FLAG_KEPT, FLAG_UNTRIMMED, InodeItem, MAX_FILE_SIZE};
use zerocopy::little_endian::{I64, U32, U64};

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe; the engine only stores it.
    Fifo,
    /// A socket; the engine only stores it.
    Socket,
    /// A character device; the engine only stores it.
    CharDevice,
    /// A block device; the engine only stores it.
    BlockDevice,
}

impl FileKind {
    /// The file type bits of a POSIX mode.
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::File => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// From the file type bits of a POSIX mode; `None` when they name nothing.
    pub const fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::CharDevice,
            0o040_000 => Self::Directory,
            0o060_000 => Self::BlockDevice,
            0o100_000 => Self::File,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    /// The byte in directory entries: the type bits shifted down.
    pub(crate) const fn entry_byte(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }

    pub(crate) const fn from_entry_byte(byte: u8) -> Option<Self> {
        if byte > 15 {
            return None;
        }
        Self::from_mode((byte as u32) << 12)
    }
}

/// The attributes of an inode. Times are nanoseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attr {
    /// Inode number, never used again after the inode is gone.
    pub ino: u64,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// Names that lead here; 0 for one that lives on only because it is pinned.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Files: bytes. Directories: entries. Links: bytes of the target.
    pub size: u64,
    /// Data blocks of 4096 bytes in use on the device.
    pub blocks: u64,
    /// Last access; the engine itself does not update it.
    pub atime_ns: i64,
    /// Last change of the contents.
    pub mtime_ns: i64,
    /// Last change of the attributes or the contents.
    pub ctime_ns: i64,
    /// Creation.
    pub btime_ns: i64,
    /// Device number, for device nodes.
    pub rdev: u64,
}

/// Changes for [`crate::Fs::setattr`]; `None` leaves a field alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// New permission bits; only `0o7777` counts.
    pub mode: Option<u32>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New size in bytes, as by [`crate::Fs::truncate`].
    pub size: Option<u64>,
    /// New access time.
    pub atime_ns: Option<i64>,
    /// New modification time.
    pub mtime_ns: Option<i64>,
}

/// Who owns what is created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// An inode in memory.
#[derive(Clone, Copy)]
pub(crate) struct Inode {
    pub kind: FileKind,
    pub attr: Attr,
    pub parent: u64,
    pub flags: u32,
    /// The size in the tree: never past what has been written back.
    pub disk_size: u64,
    /// The attributes here are newer than the tree's.
    pub dirty: bool,
    pub pins: u32,
    /// Page that a sequential reader would ask for next.
    pub next_page: u64,
    /// Pages to read ahead.
    pub window: u32,
}

impl Inode {
    pub fn from_item(ino: u64, item: &InodeItem) -> Option<Self> {
        let kind = FileKind::from_mode(item.mode.get())?;
        if kind == FileKind::File && item.size.get() > MAX_FILE_SIZE {
            return None;
        }
        let attr = Attr {
            ino,
            kind,
            mode: item.mode.get() & 0o7777,
            nlink: item.nlink.get(),
            uid: item.uid.get(),
            gid: item.gid.get(),
            size: item.size.get(),
            blocks: item.blocks.get(),
            atime_ns: item.atime.get(),
            mtime_ns: item.mtime.get(),
            ctime_ns: item.ctime.get(),
            btime_ns: item.btime.get(),
            rdev: item.rdev.get(),
        };
        Some(Self {
            kind,
            attr,
            parent: item.parent.get(),
            flags: item.flags.get(),
            disk_size: attr.size,
            dirty: false,
            pins: 0,
            next_page: 0,
            window: 1,
        })
    }

    /// A new inode: no contents, one link (two for a directory), nobody's.
    pub fn blank(ino: u64, kind: FileKind, mode: u32, now: i64) -> Self {
        let attr = Attr {
            ino,
            kind,
            mode: mode & 0o7777,
            nlink: if kind == FileKind::Directory { 2 } else { 1 },
            uid: 0,
            gid: 0,
            size: 0,
            blocks: 0,
            atime_ns: now,
            mtime_ns: now,
            ctime_ns: now,
            btime_ns: now,
            rdev: 0,
        };
        Self {
            kind,
            attr,
            parent: 0,
            flags: 0,
            disk_size: 0,
            dirty: false,
            pins: 0,
            next_page: 0,
            window: 1,
        }
    }

    pub fn to_item(self) -> InodeItem {
        let a = self.attr;
        InodeItem {
            mode: U32::new(self.kind.mode_bits() | a.mode),
            nlink: U32::new(a.nlink),
            uid: U32::new(a.uid),
            gid: U32::new(a.gid),
            size: U64::new(self.disk_size),
            blocks: U64::new(a.blocks),
            atime: I64::new(a.atime_ns),
            mtime: I64::new(a.mtime_ns),
            ctime: I64::new(a.ctime_ns),
            btime: I64::new(a.btime_ns),
            parent: U64::new(self.parent),
            rdev: U64::new(a.rdev),
            flags: U32::new(self.flags),
            reserved: [0; 12],
        }
    }

    /// Sets a size that the tree may show at once: directories and links.
    pub fn set_size(&mut self, size: u64) {
        self.attr.size = size;
        self.disk_size = size;
    }

    /// Whether extents behind the end are still to be removed.
    pub fn untrimmed(&self) -> bool {
        self.flags & FLAG_UNTRIMMED != 0
    }

    pub fn set_untrimmed(&mut self, on: bool) {
        self.flags = if on {
            self.flags | FLAG_UNTRIMMED
        } else {
            self.flags & !FLAG_UNTRIMMED
        };
    }

    /// Whether the file may have unwritten extents.
    pub fn kept(&self) -> bool {
        self.flags & FLAG_KEPT != 0
    }

    pub fn touch(&mut self, now: i64) {
        self.attr.mtime_ns = now;
        self.attr.ctime_ns = now;
    }
}
