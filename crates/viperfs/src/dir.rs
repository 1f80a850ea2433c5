//! Directories and the operations on names.
//!
//! An entry's key is a hash of its name, so a lookup is one descent whatever the directory's
//! size, and a cursor for reading is a key: it stays right while entries come and go.

use crate::device::BlockDevice;
use crate::error::Error;
use crate::fs::Fs;
use crate::inode::{Attr, FileKind, Inode, Owner};
use crate::layout::{EntryHead, Key, MAX_INO, MAX_LINK_TARGET, MAX_NAME, kind};
use alloc::vec::Vec;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, IntoBytes};

/// An entry as [`Fs::readdir`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirEntry<'a> {
    /// The name: bytes, by convention UTF-8.
    pub name: &'a [u8],
    /// Where it leads.
    pub ino: u64,
    /// What that is.
    pub kind: FileKind,
    /// The cursor to go on with after this entry.
    pub next: u64,
}

/// What [`Fs::rename`] does when the new name exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RenameMode {
    /// Replace it, atomically, if the kinds allow.
    Replace,
    /// Fail with [`Error::Exists`].
    NoReplace,
    /// Exchange the two; both must exist.
    Exchange,
}

/// What a new inode is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewNode {
    /// What it is; not a link, which [`Fs::symlink`] makes.
    pub kind: FileKind,
    /// Permission bits; only `0o7777` counts.
    pub mode: u32,
    /// Who owns it.
    pub owner: Owner,
    /// Device number, for device nodes.
    pub rdev: u64,
}

/// An entry that was found.
#[derive(Clone, Copy)]
struct Found {
    key: Key,
    ino: u64,
    kind: FileKind,
}

/// Bytes of a link's target in one item.
const TARGET_CHUNK: usize = 1024;
/// Names with the same hash that a directory can hold.
const COLLISIONS: u64 = 256;
/// The deepest directory that rename looks up from.
const DEPTH_MAX: usize = 1 << 16;

/// The first key offset for a name: 55 bits of hash, then 8 to tell apart names that share them.
pub(crate) fn name_hash(seed: u64, name: &[u8]) -> u64 {
    let mut h = seed ^ 0xCBF2_9CE4_8422_2325;
    for &b in name {
        h = (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    h ^= h >> 32;
    h = h.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    h ^= h >> 32;
    (h >> 9) << 8
}

pub(crate) fn check_name(name: &[u8]) -> Result<(), Error> {
    if name.len() > MAX_NAME {
        return Err(Error::NameTooLong);
    }
    let bad = name.is_empty() || name == b"." || name == b".." || name.contains(&0);
    if bad || name.contains(&b'/') {
        Err(Error::InvalidName)
    } else {
        Ok(())
    }
}

/// The parts of an entry item; `None` when its shape is wrong.
pub(crate) fn parse_entry(value: &[u8]) -> Option<(u64, FileKind, &[u8])> {
    let (head, name) = EntryHead::ref_from_prefix(value).ok()?;
    let kind = FileKind::from_entry_byte(head.kind)?;
    let ino = head.ino.get();
    let good = head.name_len as usize == name.len() && check_name(name).is_ok();
    (good && ino != 0 && ino <= MAX_INO).then_some((ino, kind, name))
}

fn encode_entry(ino: u64, kind: FileKind, name: &[u8]) -> Vec<u8> {
    let head = EntryHead {
        ino: U64::new(ino),
        kind: kind.entry_byte(),
        name_len: name.len() as u8,
    };
    let mut value = Vec::with_capacity(size_of::<EntryHead>() + name.len());
    value.extend_from_slice(head.as_bytes());
    value.extend_from_slice(name);
    value
}

impl<D: BlockDevice> Fs<D> {
    /// The inode that a name in a directory leads to. Knows `.` and `..`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`].
    pub fn lookup(&mut self, dir: u64, name: &[u8]) -> Result<u64, Error> {
        let parent = self.directory(dir)?.parent;
        match name {
            b"." => Ok(dir),
            b".." => Ok(parent),
            _ => Ok(self.find(dir, name)?.ok_or(Error::NotFound)?.ino),
        }
    }

    /// Makes an empty regular file.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::NotDirectory`], [`Error::NoSpace`], a bad name.
    pub fn create(
        &mut self,
        dir: u64,
        name: &[u8],
        mode: u32,
        owner: Owner,
        now_ns: i64,
    ) -> Result<Attr, Error> {
        let node = NewNode {
            kind: FileKind::File,
            mode,
            owner,
            rdev: 0,
        };
        self.make_node(dir, name, &node, now_ns)
    }

    /// Makes an empty directory.
    ///
    /// # Errors
    /// As [`Fs::create`], and [`Error::TooManyLinks`].
    pub fn mkdir(
        &mut self,
        dir: u64,
        name: &[u8],
        mode: u32,
        owner: Owner,
        now_ns: i64,
    ) -> Result<Attr, Error> {
        let node = NewNode {
            kind: FileKind::Directory,
            mode,
            owner,
            rdev: 0,
        };
        self.make_node(dir, name, &node, now_ns)
    }

    /// Makes a file, a directory or a special node.
    ///
    /// # Errors
    /// As [`Fs::mkdir`]; [`Error::Invalid`] for a link.
    pub fn make_node(
        &mut self,
        dir: u64,
        name: &[u8],
        node: &NewNode,
        now_ns: i64,
    ) -> Result<Attr, Error> {
        if node.kind == FileKind::Symlink {
            return Err(Error::Invalid);
        }
        self.add_node(dir, name, node, &[], now_ns)
    }

    /// Makes a symbolic link to `target`, which is not looked at.
    ///
    /// # Errors
    /// As [`Fs::create`]; [`Error::Invalid`] for a target that is empty or holds a zero byte.
    pub fn symlink(
        &mut self,
        dir: u64,
        name: &[u8],
        target: &[u8],
        owner: Owner,
        now_ns: i64,
    ) -> Result<Attr, Error> {
        if target.len() > MAX_LINK_TARGET {
            return Err(Error::NameTooLong);
        }
        if target.is_empty() || target.contains(&0) {
            return Err(Error::Invalid);
        }
        let node = NewNode {
            kind: FileKind::Symlink,
            mode: 0o777,
            owner,
            rdev: 0,
        };
        self.add_node(dir, name, &node, target, now_ns)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is no link.
    pub fn readlink(&mut self, ino: u64) -> Result<Vec<u8>, Error> {
        let inode = self.inode(ino)?;
        if inode.kind != FileKind::Symlink {
            return Err(Error::Invalid);
        }
        let mut target = Vec::new();
        let first = Key::new(ino, kind::TARGET, 0);
        self.store.scan(first, |key, value| {
            let more = key.same_object(first) && target.len() <= MAX_LINK_TARGET;
            if more {
                target.extend_from_slice(value);
            }
            more
        })?;
        if target.len() as u64 != inode.attr.size {
            Err(Error::Corrupt)
        } else {
            Ok(target)
        }
    }

    /// Gives an inode one more name.
    ///
    /// # Errors
    /// [`Error::IsDirectory`], [`Error::Exists`], [`Error::TooManyLinks`], [`Error::NoSpace`].
    pub fn link(&mut self, ino: u64, dir: u64, name: &[u8], now_ns: i64) -> Result<Attr, Error> {
        check_name(name)?;
        self.writable()?;
        self.require(0)?;
        self.mutate(|fs| {
            let mut inode = fs.inode(ino)?;
            if inode.kind == FileKind::Directory {
                return Err(Error::IsDirectory);
            }
            if inode.attr.nlink == 0 {
                return Err(Error::NotFound);
            }
            fs.directory(dir)?;
            inode.attr.nlink = inode.attr.nlink.checked_add(1).ok_or(Error::TooManyLinks)?;
            inode.attr.ctime_ns = now_ns;
            fs.add_entry(dir, name, ino, inode.kind)?;
            fs.put_inode(inode)?;
            fs.change_dir(dir, 1, 0, now_ns)
        })?;
        self.getattr(ino)
    }

    /// Removes a name that is no directory; the inode goes with its last name and pin.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::IsDirectory`].
    pub fn unlink(&mut self, dir: u64, name: &[u8], now_ns: i64) -> Result<(), Error> {
        check_name(name)?;
        let rest = self.mutate(|fs| {
            fs.directory(dir)?;
            let found = fs.find(dir, name)?.ok_or(Error::NotFound)?;
            if found.kind == FileKind::Directory {
                return Err(Error::IsDirectory);
            }
            fs.store.remove(found.key)?;
            fs.change_dir(dir, -1, 0, now_ns)?;
            fs.drop_link(found.ino, now_ns)
        })?;
        self.finish_delete(rest)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`], [`Error::NotEmpty`].
    pub fn rmdir(&mut self, dir: u64, name: &[u8], now_ns: i64) -> Result<(), Error> {
        check_name(name)?;
        let rest = self.mutate(|fs| {
            fs.directory(dir)?;
            let found = fs.find(dir, name)?.ok_or(Error::NotFound)?;
            fs.directory(found.ino)?;
            if !fs.is_empty(found.ino)? {
                return Err(Error::NotEmpty);
            }
            fs.store.remove(found.key)?;
            fs.change_dir(dir, -1, -1, now_ns)?;
            fs.drop_link(found.ino, now_ns)
        })?;
        self.finish_delete(rest)
    }

    /// Moves a name, atomically, over another if `mode` says so.
    ///
    /// Two names of the same inode are left as they are, as POSIX wants.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Exists`], [`Error::NotDirectory`], [`Error::IsDirectory`],
    /// [`Error::NotEmpty`], [`Error::Invalid`] for a directory into itself, [`Error::NoSpace`].
    pub fn rename(
        &mut self,
        old_dir: u64,
        old_name: &[u8],
        new_dir: u64,
        new_name: &[u8],
        mode: RenameMode,
        now_ns: i64,
    ) -> Result<(), Error> {
        check_name(old_name)?;
        check_name(new_name)?;
        self.writable()?;
        let rest = self.mutate(|fs| {
            fs.directory(old_dir)?;
            fs.directory(new_dir)?;
            let from = fs.find(old_dir, old_name)?.ok_or(Error::NotFound)?;
            let to = fs.find(new_dir, new_name)?;
            if from.kind == FileKind::Directory && fs.is_inside(new_dir, from.ino)? {
                return Err(Error::Invalid);
            }
            match (to, mode) {
                (Some(_), RenameMode::NoReplace) => Err(Error::Exists),
                (None, RenameMode::Exchange) => Err(Error::NotFound),
                (Some(to), _) if to.ino == from.ino => Ok(None),
                (Some(to), RenameMode::Exchange) => {
                    if to.kind == FileKind::Directory && fs.is_inside(old_dir, to.ino)? {
                        return Err(Error::Invalid);
                    }
                    fs.point(from.key, to.ino, to.kind, old_name)?;
                    fs.point(to.key, from.ino, from.kind, new_name)?;
                    fs.settle_move(from, old_dir, new_dir, now_ns)?;
                    fs.settle_move(to, new_dir, old_dir, now_ns)?;
                    Ok(None)
                }
                (Some(to), _) => {
                    fs.check_replace(from, to)?;
                    fs.point(to.key, from.ino, from.kind, new_name)?;
                    fs.store.remove(from.key)?;
                    let dirs = -i64::from(to.kind == FileKind::Directory);
                    fs.change_dir(old_dir, -1, 0, now_ns)?;
                    fs.change_dir(new_dir, 0, dirs, now_ns)?;
                    fs.settle_move(from, old_dir, new_dir, now_ns)?;
                    fs.drop_link(to.ino, now_ns)
                }
                (None, _) => {
                    fs.store.remove(from.key)?;
                    fs.add_entry(new_dir, new_name, from.ino, from.kind)?;
                    fs.change_dir(old_dir, -1, 0, now_ns)?;
                    fs.change_dir(new_dir, 1, 0, now_ns)?;
                    fs.settle_move(from, old_dir, new_dir, now_ns)?;
                    Ok(None)
                }
            }
        })?;
        self.finish_delete(rest)
    }

    /// Shows the entries of a directory from `cursor` on (0 is the start) to `each`, until it
    /// returns `false`. `.` and `..` are not among them.
    ///
    /// A cursor stays valid while entries are added and removed: entries that exist all along are
    /// shown once.
    ///
    /// # Errors
    /// [`Error::NotDirectory`], [`Error::Corrupt`].
    pub fn readdir(
        &mut self,
        dir: u64,
        cursor: u64,
        mut each: impl FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<(), Error> {
        self.directory(dir)?;
        let first = Key::new(dir, kind::ENTRY, cursor);
        let mut intact = true;
        self.store.scan(first, |key, value| {
            if !key.same_object(first) {
                return false;
            }
            let Some((ino, kind, name)) = parse_entry(value) else {
                intact = false;
                return false;
            };
            each(&DirEntry {
                name,
                ino,
                kind,
                next: key.offset().saturating_add(1),
            })
        })?;
        if intact { Ok(()) } else { Err(Error::Corrupt) }
    }

    // ---- parts of operations ---------------------------------------------------------------

    fn find(&mut self, dir: u64, name: &[u8]) -> Result<Option<Found>, Error> {
        let hash = name_hash(self.store.geo.hash_seed, name);
        let first = Key::new(dir, kind::ENTRY, hash);
        let mut result = Ok(None);
        self.store.scan(first, |key, value| {
            if !key.same_object(first) || key.offset() >= hash + COLLISIONS {
                return false;
            }
            // Hashes rarely meet, so this is the name nearly always; what it is not needs no look.
            if value.get(size_of::<EntryHead>()..) != Some(name) {
                return true;
            }
            result = parse_entry(value)
                .map(|(ino, kind, _)| Some(Found { key, ino, kind }))
                .ok_or(Error::Corrupt);
            false
        })?;
        result
    }

    fn add_entry(&mut self, dir: u64, name: &[u8], ino: u64, to: FileKind) -> Result<(), Error> {
        let hash = name_hash(self.store.geo.hash_seed, name);
        let first = Key::new(dir, kind::ENTRY, hash);
        let (mut free, mut taken) = (hash, false);
        self.store.scan(first, |key, value| {
            if !key.same_object(first) || key.offset() >= hash + COLLISIONS {
                return false;
            }
            if key.offset() == free {
                free += 1;
            }
            taken |= parse_entry(value).is_some_and(|e| e.2 == name);
            !taken
        })?;
        if taken {
            return Err(Error::Exists);
        }
        if free >= hash + COLLISIONS {
            return Err(Error::NoSpace);
        }
        self.store.insert(
            Key::new(dir, kind::ENTRY, free),
            &encode_entry(ino, to, name),
        )
    }

    /// Points an entry that exists somewhere else.
    fn point(&mut self, key: Key, ino: u64, to: FileKind, name: &[u8]) -> Result<(), Error> {
        self.store.update(key, &encode_entry(ino, to, name))
    }

    fn is_empty(&mut self, dir: u64) -> Result<bool, Error> {
        let first = Key::new(dir, kind::ENTRY, 0);
        let found = self
            .store
            .first_from(first, |key, _| key.same_object(first))?;
        Ok(!found.unwrap_or(false))
    }

    /// Whether `dir` is `ancestor` or below it.
    fn is_inside(&mut self, mut dir: u64, ancestor: u64) -> Result<bool, Error> {
        for _ in 0..DEPTH_MAX {
            if dir == ancestor {
                return Ok(true);
            }
            let parent = self.directory(dir)?.parent;
            if parent == dir {
                return Ok(false);
            }
            dir = parent;
        }
        Err(Error::Corrupt)
    }

    /// Counts entries and subdirectories that came to or went from a directory.
    fn change_dir(&mut self, dir: u64, entries: i64, dirs: i64, now: i64) -> Result<(), Error> {
        let mut inode = self.directory(dir)?;
        inode.set_size(inode.attr.size.saturating_add_signed(entries));
        let links = i64::from(inode.attr.nlink) + dirs;
        inode.attr.nlink = u32::try_from(links).map_err(|_| Error::TooManyLinks)?;
        inode.touch(now);
        self.put_inode(inode)
    }

    /// What a move changes in the moved inode, and in the link counts of the directories.
    fn settle_move(&mut self, moved: Found, from: u64, to: u64, now: i64) -> Result<(), Error> {
        let mut inode = self.inode(moved.ino)?;
        inode.attr.ctime_ns = now;
        let is_dir = inode.kind == FileKind::Directory;
        if is_dir {
            inode.parent = to;
        }
        self.put_inode(inode)?;
        if is_dir && from != to {
            self.change_dir(from, 0, -1, now)?;
            self.change_dir(to, 0, 1, now)?;
        }
        Ok(())
    }

    fn check_replace(&mut self, from: Found, to: Found) -> Result<(), Error> {
        let dir = FileKind::Directory;
        match (from.kind == dir, to.kind == dir) {
            (true, false) => Err(Error::NotDirectory),
            (false, true) => Err(Error::IsDirectory),
            (true, true) if !self.is_empty(to.ino)? => Err(Error::NotEmpty),
            _ => Ok(()),
        }
    }

    /// Takes a link from an inode. The last one deletes it, or, if it is pinned or too large for
    /// one operation, puts it on the orphan list; in the latter case its number is returned.
    fn drop_link(&mut self, ino: u64, now: i64) -> Result<Option<u64>, Error> {
        let mut inode = self.inode(ino)?;
        inode.attr.ctime_ns = now;
        let gone = inode.kind == FileKind::Directory || inode.attr.nlink <= 1;
        inode.attr.nlink = if gone { 0 } else { inode.attr.nlink - 1 };
        self.put_inode(inode)?;
        if !gone {
            return Ok(None);
        }
        if inode.pins > 0 {
            self.add_orphan(ino)?;
            return Ok(None);
        }
        if !self.delete_step(ino)? {
            self.add_orphan(ino)?;
        }
        Ok(Some(ino))
    }

    /// After the operation: forgets the pages of what was deleted and deletes what is left.
    fn finish_delete(&mut self, rest: Option<u64>) -> Result<(), Error> {
        let Some(ino) = rest else { return Ok(()) };
        self.store.cache.drop_pages(ino, 0, u64::MAX);
        if self.inodes.contains_key(&ino) {
            // The name is gone. What cannot be given back now is on the orphan list.
            let _ = self.reclaim(ino);
        }
        Ok(())
    }

    fn add_node(
        &mut self,
        dir: u64,
        name: &[u8],
        node: &NewNode,
        target: &[u8],
        now: i64,
    ) -> Result<Attr, Error> {
        check_name(name)?;
        self.writable()?;
        self.require(0)?;
        self.mutate(|fs| {
            fs.directory(dir)?;
            let ino = fs.store.state.next_ino;
            if ino >= MAX_INO {
                return Err(Error::NoSpace);
            }
            fs.store.state.next_ino += 1;
            let is_dir = node.kind == FileKind::Directory;
            fs.add_entry(dir, name, ino, node.kind)?;
            let inode = new_inode(
                ino,
                node,
                target.len() as u64,
                if is_dir { dir } else { 0 },
                now,
            );
            fs.add_inode(inode)?;
            for (i, chunk) in target.chunks(TARGET_CHUNK).enumerate() {
                fs.store
                    .insert(Key::new(ino, kind::TARGET, i as u64), chunk)?;
            }
            fs.change_dir(dir, 1, i64::from(is_dir), now)?;
            Ok(inode.attr)
        })
    }
}

fn new_inode(ino: u64, node: &NewNode, size: u64, parent: u64, now: i64) -> Inode {
    let mut inode = Inode::blank(ino, node.kind, node.mode, now);
    inode.attr.uid = node.owner.uid;
    inode.attr.gid = node.owner.gid;
    inode.attr.rdev = node.rdev;
    inode.parent = parent;
    inode.set_size(size);
    inode
}
