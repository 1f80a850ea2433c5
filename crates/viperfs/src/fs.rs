//! A mounted volume: mount, inodes, attributes, durability.

use crate::cache::{FoldHash, flag};
use crate::checksum::Crc32c;
use crate::device::{BLOCK_SIZE, BlockDevice, DeviceError};
use crate::error::{Error, MountError};
use crate::inode::{Attr, FileKind, Inode, SetAttr};
use crate::layout::{InodeItem, Key, ROOT_INO, Superblock, kind};
use crate::space::fresh_volume_free;
use crate::store::{Geometry, Store};
use crate::superblock;
use alloc::string::String;
use alloc::vec::Vec;
use hashbrown::HashMap;
use zerocopy::{FromBytes, IntoBytes};

/// How to mount. Fill in what matters and take the rest from [`Default`]: fields may be added.
#[derive(Clone, Copy, Debug)]
pub struct MountOptions {
    /// Write nothing, not even to recover: committed transactions are applied in memory.
    pub read_only: bool,
    /// Blocks of 4096 bytes in the cache; less than 160 counts as 160.
    pub cache_blocks: usize,
    /// Inodes kept in memory besides those that are pinned or dirty.
    pub cached_inodes: usize,
    /// How to compute checksums.
    pub crc32c: Crc32c,
    /// What this mount may use at most.
    pub quota: Quota,
}

/// Limits on what is on a volume, for one mount. The volume itself knows nothing of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of blocks in use, for contents and metadata, beyond what an empty volume has.
    pub bytes: u64,
    /// Inodes, the root directory included. Any limit makes mounting count them, which reads
    /// the whole tree.
    pub inodes: u64,
}

impl Quota {
    /// No limits.
    pub const NONE: Self = Self {
        bytes: u64::MAX,
        inodes: u64::MAX,
    };
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            cache_blocks: 2048,
            cached_inodes: 1024,
            crc32c: Crc32c::SOFTWARE,
            quota: Quota::NONE,
        }
    }
}

/// What [`Fs::statfs`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatFs {
    /// Bytes in a block.
    pub block_size: u32,
    /// Blocks of the volume.
    pub total_blocks: u64,
    /// Blocks that nobody uses.
    pub free_blocks: u64,
    /// Blocks that new files may take; the rest is kept for deleting and renaming, or past the
    /// quota.
    pub available_blocks: u64,
    /// Inodes there are; `None` unless the mount counts them for a quota.
    pub inodes: Option<u64>,
    /// Name of the volume.
    pub label: String,
    /// Identity of the volume.
    pub uuid: [u8; 16],
    /// Whether writes are refused now.
    pub read_only: bool,
    /// Whether a device error made the mount read-only.
    pub failed: bool,
}

/// What the engine has done since mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Committed transactions that mounting found in the journal.
    pub replayed: u64,
    /// Transactions committed while data was still being written back, because the journal is
    /// small: each is consistent, but is no snapshot of everything acknowledged.
    pub partial_commits: u64,
    /// Files reclaimed or trimmed at mount that a crash had left half-deleted.
    pub orphans: u64,
}

/// A mounted volume.
///
/// Inodes are named by number; [`Fs::lookup`] and [`Fs::walk`] find them by name. Every method
/// that changes something takes effect whole or not at all. Changes are durable after
/// [`Fs::fsync`], [`Fs::sync`] or [`Fs::unmount`] returns `Ok`; a crash before that brings back
/// the volume as it was at the last commit.
pub struct Fs<D: BlockDevice> {
    pub(crate) store: Store<D>,
    pub(crate) inodes: HashMap<u64, Inode, FoldHash>,
    pub(crate) dirty_inodes: Vec<u64>,
    /// Inodes as they were before the operation in progress.
    undo: Vec<(u64, Option<Inode>)>,
    pub(crate) sb: Superblock,
    cached_inodes: usize,
    quota: Quota,
    /// Inodes there are, when the quota needs to know.
    inode_count: Option<u64>,
    pub(crate) counters: Counters,
}

impl<D: BlockDevice> Fs<D> {
    /// Mounts the volume on a device, recovering it first if it was not unmounted.
    ///
    /// # Errors
    /// See [`MountError`]. Nothing is written unless the volume can be mounted.
    pub fn mount(mut dev: D, options: MountOptions) -> Result<Self, MountError> {
        let sb = superblock::find(&mut dev, options.crc32c)?;
        let read_only = options.read_only || dev.is_read_only();
        superblock::judge(&sb, dev.block_count(), read_only)?;
        let geo = Geometry::new(&sb);
        let mut store = Store::new(dev, geo, options.crc32c, options.cache_blocks);
        let replayed = store.replay(!read_only)?;
        store.load_state()?;
        store.read_only = read_only;
        let mut fs = Self {
            store,
            inodes: HashMap::with_hasher(FoldHash),
            dirty_inodes: Vec::new(),
            undo: Vec::new(),
            sb,
            cached_inodes: options.cached_inodes.max(16),
            quota: options.quota,
            inode_count: None,
            counters: Counters {
                replayed: replayed.transactions,
                ..Counters::default()
            },
        };
        if fs.inode(ROOT_INO)?.kind != FileKind::Directory {
            return Err(MountError::Corrupt);
        }
        if !read_only {
            fs.reclaim_orphans()?;
        }
        if options.quota.inodes != u64::MAX {
            fs.inode_count = Some(fs.count_inodes()?);
        }
        Ok(fs)
    }

    /// Makes everything durable and gives the device back. An empty journal is left behind.
    ///
    /// # Errors
    /// Any device error; then the device is lost with the file system, as after a crash. Use
    /// [`Fs::sync`] first to keep it.
    pub fn unmount(mut self) -> Result<D, Error> {
        if !self.store.read_only {
            self.commit()?;
            self.store.checkpoint().map_err(|e| self.store.fail(e))?;
        }
        Ok(self.store.dev)
    }

    /// Gives the device back without writing anything, as a crash would.
    pub fn abandon(self) -> D {
        self.store.dev
    }

    /// The device. Writing to it while mounted is at the caller's risk.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.store.dev
    }

    /// Makes everything acknowledged so far durable.
    ///
    /// # Errors
    /// Any device error; the mount is then read-only.
    pub fn sync(&mut self) -> Result<(), Error> {
        if self.store.failed {
            return Err(Error::Device(DeviceError::Io));
        }
        if self.store.read_only {
            Ok(())
        } else {
            self.commit()
        }
    }

    /// Goes on after a failure of the device: makes everything acknowledged so far durable, and
    /// accepts changes again. Does nothing if the device did not fail.
    ///
    /// Nothing was lost in memory meanwhile. The device must have kept what it acknowledged, or
    /// take part by repeating what it acknowledged since the last flush.
    ///
    /// # Errors
    /// Any device error; the mount then stays read-only.
    pub fn resume(&mut self) -> Result<(), Error> {
        if !self.store.failed {
            return Ok(());
        }
        (self.store.failed, self.store.read_only) = (false, false);
        // What was about to be committed goes first: blocks that it gave back must not be written
        // before it is durable.
        self.store.commit()?;
        // And what was being put into its place: the log may have no room for more.
        self.store.checkpoint().map_err(|e| self.store.fail(e))?;
        self.commit()
    }

    /// Makes this inode durable, with everything else acknowledged so far: a commit is a
    /// snapshot of the whole volume.
    ///
    /// # Errors
    /// [`Error::NotFound`], or any device error; the mount is then read-only.
    pub fn fsync(&mut self, ino: u64) -> Result<(), Error> {
        self.inode(ino)?;
        self.sync()
    }

    /// Sizes and identity of the volume.
    pub fn statfs(&self) -> StatFs {
        let free = self.store.state.free_blocks + self.store.freed_blocks;
        let free = free.saturating_sub(self.store.cache.owed());
        let label = &self.sb.label;
        let end = label.iter().position(|&b| b == 0).unwrap_or(label.len());
        StatFs {
            block_size: BLOCK_SIZE as u32,
            total_blocks: self.store.geo.total,
            free_blocks: free,
            available_blocks: free.saturating_sub(self.reserve()).min(self.quota_left()),
            inodes: self.inode_count,
            label: String::from_utf8_lossy(&label[..end]).into_owned(),
            uuid: self.sb.uuid,
            read_only: self.store.read_only,
            failed: self.store.failed,
        }
    }

    /// What may be on the volume from now on. What is there already stays, however much it is.
    ///
    /// A limit on inodes counts them now, which reads the whole tree, unless they are counted
    /// already.
    ///
    /// # Errors
    /// Any device error, [`Error::Corrupt`]: then the limits are what they were.
    pub fn set_quota(&mut self, quota: Quota) -> Result<(), Error> {
        if quota.inodes == u64::MAX {
            self.inode_count = None;
        } else if self.inode_count.is_none() {
            self.inode_count = Some(self.count_inodes()?);
        }
        self.quota = quota;
        Ok(())
    }

    /// What may be on the volume.
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    /// What the engine has done since mount.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The attributes of an inode.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such inode.
    pub fn getattr(&mut self, ino: u64) -> Result<Attr, Error> {
        match self.inodes.get(&ino) {
            Some(inode) => Ok(inode.attr),
            None => Ok(self.inode_mut(ino)?.attr),
        }
    }

    /// Changes attributes; `now_ns` becomes the change time. Returns the new attributes.
    ///
    /// # Errors
    /// As [`Fs::truncate`] when the size is to change.
    pub fn setattr(&mut self, ino: u64, set: &SetAttr, now_ns: i64) -> Result<Attr, Error> {
        if let Some(size) = set.size {
            self.truncate(ino, size, now_ns)?;
        }
        self.mutate(|fs| {
            let mut inode = fs.inode(ino)?;
            let a = &mut inode.attr;
            a.mode = set.mode.map_or(a.mode, |m| m & 0o7777);
            a.uid = set.uid.unwrap_or(a.uid);
            a.gid = set.gid.unwrap_or(a.gid);
            a.atime_ns = set.atime_ns.unwrap_or(a.atime_ns);
            a.mtime_ns = set.mtime_ns.unwrap_or(a.mtime_ns);
            a.ctime_ns = now_ns;
            fs.put_inode(inode)
        })?;
        self.getattr(ino)
    }

    /// Keeps an inode alive after its last name is gone. Counts.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such inode.
    pub fn pin(&mut self, ino: u64) -> Result<(), Error> {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.pins = inode.pins.saturating_add(1);
            return Ok(());
        }
        let inode = self.inode_mut(ino)?;
        inode.pins = inode.pins.saturating_add(1);
        Ok(())
    }

    /// Undoes one [`Fs::pin`]; the last one reclaims an inode that has no name.
    ///
    /// # Errors
    /// Any error of reclaiming; mounting again then finishes it.
    pub fn unpin(&mut self, ino: u64) -> Result<(), Error> {
        let Some(inode) = self.inodes.get_mut(&ino) else {
            return Err(Error::NotFound);
        };
        inode.pins = inode.pins.saturating_sub(1);
        if inode.pins == 0 && inode.attr.nlink == 0 && !self.store.read_only {
            return self.reclaim(ino);
        }
        Ok(())
    }

    // ---- for the other modules -------------------------------------------------------------

    pub(crate) fn inode(&mut self, ino: u64) -> Result<Inode, Error> {
        self.inode_mut(ino).copied()
    }

    /// The inode in memory, to change what only memory holds of it.
    pub(crate) fn inode_mut(&mut self, ino: u64) -> Result<&mut Inode, Error> {
        if !self.inodes.contains_key(&ino) {
            self.load_inode(ino)?;
        }
        self.inodes.get_mut(&ino).ok_or(Error::Bug)
    }

    fn load_inode(&mut self, ino: u64) -> Result<(), Error> {
        let key = Key::new(ino, kind::INODE, 0);
        if ino == 0 || ino > crate::layout::MAX_INO {
            return Err(Error::NotFound);
        }
        let item = self
            .store
            .get(key, |v| InodeItem::read_from_bytes(v).ok())?;
        let item = item.ok_or(Error::NotFound)?.ok_or(Error::Corrupt)?;
        let inode = Inode::from_item(ino, &item).ok_or(Error::Corrupt)?;
        if self.inodes.len() >= self.cached_inodes {
            self.inodes.retain(|_, i| i.dirty || i.pins > 0);
        }
        self.inodes.insert(ino, inode);
        Ok(())
    }

    pub(crate) fn directory(&mut self, ino: u64) -> Result<Inode, Error> {
        let inode = self.inode(ino)?;
        if inode.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        Ok(inode)
    }

    /// Writes an inode to the tree and to memory, as part of the operation.
    pub(crate) fn put_inode(&mut self, inode: Inode) -> Result<(), Error> {
        let ino = inode.attr.ino;
        self.store
            .update(Key::new(ino, kind::INODE, 0), inode.to_item().as_bytes())?;
        self.remember(ino);
        self.inodes.insert(ino, inode);
        Ok(())
    }

    /// Adds a new inode to the tree and to memory, as part of the operation.
    pub(crate) fn add_inode(&mut self, inode: Inode) -> Result<(), Error> {
        let ino = inode.attr.ino;
        if self.inode_count.is_some_and(|n| n >= self.quota.inodes) {
            return Err(Error::QuotaExceeded);
        }
        self.inode_count = self.inode_count.map(|n| n + 1);
        self.store
            .insert(Key::new(ino, kind::INODE, 0), inode.to_item().as_bytes())?;
        self.remember(ino);
        self.inodes.insert(ino, inode);
        Ok(())
    }

    /// Removes an inode from the tree and from memory, as part of the operation.
    pub(crate) fn drop_inode(&mut self, ino: u64) -> Result<(), Error> {
        self.store.remove(Key::new(ino, kind::INODE, 0))?;
        self.inode_count = self.inode_count.map(|n| n.saturating_sub(1));
        self.remember(ino);
        self.inodes.remove(&ino);
        Ok(())
    }

    fn remember(&mut self, ino: u64) {
        self.undo.push((ino, self.inodes.get(&ino).copied()));
    }

    pub(crate) fn writable(&self) -> Result<(), Error> {
        if self.store.read_only {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// Runs an operation: all of it or, on an error, nothing of it.
    ///
    /// Commits first when the transaction is nearly full, and once more when space or room is
    /// short and a commit may bring some.
    pub(crate) fn mutate<R>(
        &mut self,
        mut f: impl FnMut(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.writable()?;
        if self.store.room() < ROOM_WANTED.min(self.store.tx_limit / 2) {
            self.commit()?;
        }
        match self.attempt(&mut f) {
            Err(Error::NoSpace) if !self.store.running.is_empty() => {
                self.commit()?;
                self.attempt(&mut f)
            }
            result => result,
        }
    }

    /// As [`Self::mutate`], in the middle of a commit: makes room with a partial commit.
    pub(crate) fn mutate_in_commit<R>(
        &mut self,
        mut f: impl FnMut(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        if self.store.room() < ROOM_WANTED.min(self.store.tx_limit / 2) {
            self.counters.partial_commits += 1;
            self.store.commit()?;
        }
        match self.attempt(&mut f) {
            Err(Error::NoSpace) if !self.store.running.is_empty() => {
                self.counters.partial_commits += 1;
                self.store.commit()?;
                self.attempt(&mut f)
            }
            result => result,
        }
    }

    fn attempt<R>(
        &mut self,
        f: &mut impl FnMut(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.undo.clear();
        self.store.begin();
        let inode_count = self.inode_count;
        let result = f(self);
        self.store.end(result.is_ok());
        if result.is_err() {
            self.inode_count = inode_count;
            while let Some((ino, before)) = self.undo.pop() {
                match before {
                    Some(inode) => self.inodes.insert(ino, inode),
                    None => self.inodes.remove(&ino),
                };
            }
        }
        result
    }

    /// Blocks kept back so that deleting, renaming and writing back never fail for want of space.
    pub(crate) fn reserve(&self) -> u64 {
        12 + (self.store.geo.total / 1024).min(52)
    }

    /// Fails unless `blocks` more can be promised, after giving back what is freed if need be.
    pub(crate) fn require(&mut self, blocks: u64) -> Result<(), Error> {
        if self.quota.bytes != u64::MAX && self.quota_left() < blocks {
            // Deleted files count until the commit that gives their blocks back.
            if self.store.freed_blocks > 0 {
                self.commit()?;
            }
            if self.quota_left() < blocks {
                return Err(Error::QuotaExceeded);
            }
        }
        if self.promised(blocks) <= self.store.state.free_blocks {
            return Ok(());
        }
        if self.store.freed_blocks > 0 || self.store.cache.dirty_count > 0 {
            self.commit()?;
        }
        let enough = self.promised(blocks) <= self.store.state.free_blocks;
        if enough { Ok(()) } else { Err(Error::NoSpace) }
    }

    /// Blocks needed for what was promised and `more`: data, the tree above it, the reserve.
    fn promised(&self, more: u64) -> u64 {
        let data = self.store.cache.owed() + more;
        data + data / 16 + self.reserve()
    }

    /// Blocks that the quota still allows.
    fn quota_left(&self) -> u64 {
        let limit = self.quota.bytes / BLOCK_SIZE as u64;
        let free = self.store.state.free_blocks;
        let used = fresh_volume_free(&self.store.geo).saturating_sub(free);
        limit.saturating_sub(used + self.store.cache.owed())
    }

    fn count_inodes(&mut self) -> Result<u64, Error> {
        let (mut count, mut ino) = (0, ROOT_INO);
        loop {
            let from = Key::new(ino, kind::INODE, 0);
            let Some(found) = self.store.first_from(from, |key, _| key)? else {
                return Ok(count);
            };
            count += u64::from(found.kind() == kind::INODE);
            ino = found.ino() + 1;
        }
    }

    /// Incompatible features that the volume has.
    pub(crate) fn features(&self) -> u64 {
        self.sb.incompat.get()
    }

    /// Makes everything acknowledged so far durable, as one transaction if it fits.
    pub(crate) fn commit(&mut self) -> Result<(), Error> {
        self.writable()?;
        self.write_back()?;
        while let Some(ino) = self.dirty_inodes.pop() {
            let Some(&inode) = self.inodes.get(&ino) else {
                continue;
            };
            if !inode.dirty {
                continue;
            }
            let clean = Inode {
                dirty: false,
                disk_size: inode.attr.size,
                ..inode
            };
            if let Err(error) = self.mutate_in_commit(|fs| fs.put_inode(clean)) {
                self.dirty_inodes.push(ino);
                return Err(error);
            }
        }
        self.store.commit()
    }

    /// Changes an inode in memory only; the next commit writes it.
    pub(crate) fn defer_inode(&mut self, mut inode: Inode) {
        if !inode.dirty {
            inode.dirty = true;
            self.dirty_inodes.push(inode.attr.ino);
        }
        self.inodes.insert(inode.attr.ino, inode);
    }

    /// Dirty pages at which writing back starts.
    pub(crate) fn dirty_limit(&self) -> usize {
        self.store.cache.capacity() / 4
    }

    /// Finishes what a crash interrupted: deletes nameless files, trims half-truncated ones.
    fn reclaim_orphans(&mut self) -> Result<(), Error> {
        let mut from = Key::new(0, kind::ORPHAN, 0);
        loop {
            let found = self.store.first_from(from, |key, _| key)?;
            let Some(key) = found.filter(|k| k.same_object(from)) else {
                break;
            };
            let ino = key.offset();
            match self.inode(ino) {
                Ok(inode) if inode.attr.nlink == 0 => self.reclaim(ino)?,
                Ok(_) => self.trim(ino)?,
                Err(Error::NotFound) => self.mutate(|fs| fs.store.remove(key))?,
                Err(error) => return Err(error),
            }
            self.counters.orphans += 1;
            let Some(next) = key.next() else { break };
            from = next;
        }
        if self.counters.orphans > 0 {
            self.commit()
        } else {
            Ok(())
        }
    }

    /// Blocks in the cache now: total, and those that only the cache holds.
    pub fn cache_usage(&self) -> (usize, usize) {
        let pinned = (0..self.store.cache.len() as u32)
            .filter(|&at| self.store.cache.slot(at).flags & flag::PINNED != 0)
            .count();
        (self.store.cache.len(), pinned)
    }
}

/// Blocks that an operation should find free in the transaction when it starts.
const ROOM_WANTED: usize = 64;
