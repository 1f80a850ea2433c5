//! Moving data between files and clients.

use crate::node::Node;
use crate::volume::Volume;
use crate::world::World;
use alloc::vec;
use alloc::vec::Vec;
use viper_rt::abi::{Rights, Slot};
use viper_rt::handle::Memory;
use viper_rt::object::process_info;
use viper_rt::{Error, Mapping, Object};
use viperfs::{Attr, Piece};

/// Bytes moved at once.
const CHUNK: usize = 64 * 1024;
/// Largest file that is handed out as memory.
const FILE_MEMORY_MAX: u64 = 8 << 20;
/// What file memory must leave of the server's own quota.
const QUOTA_RESERVE: u64 = 2 << 20;
/// What a further volume may come to need of it.
pub(crate) const VOLUME_BYTES: u64 = 5 << 20;
/// Files kept as memory for the next who asks.
const KEPT_MAX: usize = 4;

/// The mover, with its buffer.
pub(crate) struct Contents {
    buffer: Vec<u8>,
    kept: Vec<Kept>,
}

/// A file as memory: good as long as the file is the same.
struct Kept {
    node: Node,
    changed_ns: i64,
    size: u64,
    memory: Memory,
}

impl Contents {
    pub(crate) fn new() -> Self {
        Contents {
            buffer: vec![0; CHUNK],
            kept: Vec::new(),
        }
    }

    /// Reads at most `len` bytes of a file into a client's memory, straight from the cache.
    #[inline]
    pub(crate) fn read<W: World>(
        volume: &mut Volume<W>,
        inode: u64,
        position: u64,
        to: &Mapping,
        offset: usize,
        len: usize,
    ) -> Result<u64, Error> {
        let mut done = 0;
        let result = volume.fs()?.read_with(inode, position, len, |at, piece| {
            // The range was checked: it is within the memory.
            let copied = match piece {
                Piece::Bytes(bytes) => to.write(offset + at, bytes).map(|()| bytes.len()),
                Piece::Zeroes(n) => to.zero(offset + at..offset + at + n).map(|()| n),
            };
            done += copied.unwrap_or(0);
        });
        match result {
            Ok(count) => Ok(count as u64),
            Err(error) => match volume.settle(Err(error)) {
                Err(_) if done > 0 => Ok(done as u64),
                result => result,
            },
        }
    }

    /// Writes bytes of a client's memory to a file, straight into the cache. Fewer only if
    /// something failed on the way.
    pub(crate) fn write<W: World>(
        volume: &mut Volume<W>,
        inode: u64,
        position: u64,
        from: &Mapping,
        offset: usize,
        len: usize,
    ) -> Result<u64, Error> {
        let (fs, now) = volume.changing()?;
        let result = fs.write_with(inode, position, len, now, |at, to| {
            // The range was checked: it is within the memory.
            let _ = from.read(offset + at, to);
        });
        volume.settle(result).map(|count| count as u64)
    }

    /// Keeps nothing any more: memory is needed, or inodes will mean other files.
    pub(crate) fn forget(&mut self) {
        self.kept.clear();
    }

    /// A file's content as memory of its own.
    pub(crate) fn memory<W: World>(
        &mut self,
        volume: &mut Volume<W>,
        node: Node,
        attr: &Attr,
    ) -> Result<Memory, Error> {
        let same = |kept: &Kept| {
            kept.node == node && (kept.changed_ns, kept.size) == (attr.ctime_ns, attr.size)
        };
        if let Some(kept) = self.kept.iter().find(|kept| same(kept)) {
            return hand_out(&kept.memory);
        }
        if attr.size > FILE_MEMORY_MAX {
            return Err(Error::FileTooLarge);
        }
        if !has_room(attr.size) {
            self.kept.clear();
        }
        if !has_room(attr.size) {
            return Err(Error::OutOfMemory);
        }
        let memory = Memory::new(attr.size.max(1))?;
        let mut at = 0;
        while at < attr.size {
            let result = volume.fs()?.read(attr.ino, at, &mut self.buffer);
            let count = volume.settle(result)?;
            if count == 0 {
                return Err(Error::Corrupt);
            }
            memory.write(at, &self.buffer[..count])?;
            at += count as u64;
        }
        let given = hand_out(&memory)?;
        if self.kept.len() == KEPT_MAX {
            self.kept.remove(0);
        }
        self.kept.push(Kept {
            node,
            changed_ns: attr.ctime_ns,
            size: attr.size,
            memory,
        });
        Ok(given)
    }
}

fn hand_out(memory: &Memory) -> Result<Memory, Error> {
    let given = Rights::READ | Rights::EXECUTE | Rights::MAP | Rights::DUPLICATE | Rights::TRANSFER;
    memory.duplicate(given)
}

/// Whether the server's own quota has so much to spare. What it cannot find out it allows.
pub(crate) fn has_room(bytes: u64) -> bool {
    let itself = viper_rt::program::peek(Slot::PROCESS).unwrap_or_default();
    match process_info(itself) {
        Ok(info) if info.limit_bytes > 0 => {
            let free = info.limit_bytes.saturating_sub(info.used_bytes);
            free >= bytes.saturating_add(QUOTA_RESERVE)
        }
        _ => true,
    }
}
