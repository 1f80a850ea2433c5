//! Between the engine's words and the protocol's.

use crate::node::Node;
use alloc::vec::Vec;
use viper_proto::fs::{Attributes, Changes, Statistics, VolumeId, kind};
use viper_rt::Error;
use viperfs::{Attr, BLOCK_SIZE, DirEntry, FileKind, MAX_NAME, SetAttr, StatFs};

/// The error that a client is told.
pub(crate) fn error_of(error: viperfs::Error) -> Error {
    use viperfs::{DeviceError, Error as Engine};
    match error {
        Engine::NotFound | Engine::NoAttribute => Error::NotFound,
        Engine::Exists => Error::AlreadyExists,
        Engine::NotDirectory => Error::NotDirectory,
        Engine::IsDirectory => Error::IsDirectory,
        Engine::NotEmpty => Error::NotEmpty,
        Engine::NameTooLong => Error::NameTooLong,
        Engine::InvalidName | Engine::Invalid => Error::InvalidArgument,
        Engine::NoSpace | Engine::QuotaExceeded => Error::NoSpace,
        Engine::ReadOnly | Engine::Device(DeviceError::ReadOnly) => Error::ReadOnly,
        Engine::TooManyLinks | Engine::AttributeTooLarge => Error::LimitReached,
        Engine::FileTooLarge => Error::FileTooLarge,
        Engine::Unsupported => Error::NotSupported,
        Engine::Loop => Error::Loop,
        Engine::Corrupt => Error::Corrupt,
        Engine::Device(_) => Error::Io,
        _ => Error::Internal,
    }
}

/// The number of a kind; 0 for one that the protocol has no name for.
pub(crate) const fn kind_of(kind: FileKind) -> u32 {
    match kind {
        FileKind::File => kind::FILE,
        FileKind::Directory => kind::DIRECTORY,
        FileKind::Symlink => kind::LINK,
        _ => 0,
    }
}

#[inline]
pub(crate) fn attributes_of(node: Node, attr: &Attr) -> Attributes {
    let time = |ns: i64| u64::try_from(ns).unwrap_or(0);
    Attributes {
        inode: node.number(),
        size_bytes: attr.size,
        allocated_bytes: attr.blocks.saturating_mul(BLOCK_SIZE as u64),
        modified_ns: time(attr.mtime_ns),
        changed_ns: time(attr.ctime_ns),
        accessed_ns: time(attr.atime_ns),
        created_ns: time(attr.btime_ns),
        kind: kind_of(attr.kind),
        mode: attr.mode,
        links: attr.nlink,
        user: attr.uid,
        group: attr.gid,
    }
}

/// The changes as the engine takes them.
///
/// # Errors
/// [`Error::InvalidArgument`] for unknown bits and times that cannot be kept.
pub(crate) fn changes_of(changes: &Changes) -> Result<SetAttr, Error> {
    let known =
        Changes::MODE | Changes::USER | Changes::GROUP | Changes::ACCESSED | Changes::MODIFIED;
    if changes.which & !known != 0 {
        return Err(Error::InvalidArgument);
    }
    let has = |bit: u32| changes.which & bit != 0;
    let time = |bit: u32, ns: u64| match i64::try_from(ns) {
        Ok(ns) => Ok(has(bit).then_some(ns)),
        Err(_) if has(bit) => Err(Error::InvalidArgument),
        Err(_) => Ok(None),
    };
    Ok(SetAttr {
        mode: has(Changes::MODE).then_some(changes.mode),
        uid: has(Changes::USER).then_some(changes.user),
        gid: has(Changes::GROUP).then_some(changes.group),
        size: None,
        atime_ns: time(Changes::ACCESSED, changes.accessed_ns)?,
        mtime_ns: time(Changes::MODIFIED, changes.modified_ns)?,
    })
}

/// The volume's identity, as two numbers.
pub(crate) fn volume_of(stat: &StatFs) -> VolumeId {
    let (high, low) = stat.uuid.split_at(8);
    let number = |half: &[u8]| half.iter().fold(0, |n, &byte| n << 8 | u64::from(byte));
    VolumeId {
        uuid_high: number(high),
        uuid_low: number(low),
        failed: stat.failed,
    }
}

pub(crate) fn statistics_of(stat: &StatFs) -> Statistics {
    Statistics {
        block_bytes: u64::from(stat.block_size),
        blocks: stat.total_blocks,
        blocks_free: stat.available_blocks,
        // Inodes are not limited but by space.
        inodes: stat.total_blocks,
        inodes_free: stat.available_blocks,
        name_max: MAX_NAME as u32,
        read_only: stat.read_only,
    }
}

/// Appends a directory entry as READ_DIRECTORY hands it out, if it fits `max` bytes in all.
pub(crate) fn append_entry(
    to: &mut Vec<u8>,
    max: usize,
    directory: Node,
    entry: &DirEntry<'_>,
) -> bool {
    let len = (ENTRY_HEAD + entry.name.len()).next_multiple_of(8);
    if to.len() + len > max {
        return false;
    }
    let end = to.len() + len;
    let number = directory.beside(entry.ino).number();
    to.extend_from_slice(&number.to_le_bytes());
    to.extend_from_slice(&kind_of(entry.kind).to_le_bytes());
    // Names are 255 bytes at most.
    to.extend_from_slice(&(entry.name.len() as u16).to_le_bytes());
    to.extend_from_slice(&[0; 2]);
    to.extend_from_slice(entry.name);
    to.resize(end, 0);
    true
}

const ENTRY_HEAD: usize = 16;
