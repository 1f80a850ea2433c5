//! Files in memory.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::parent;
use crate::error::{Error, Result};
use crate::path;
use crate::system::{DirEntry, FileKind, OpenMode, Stat};

/// A tree of files. Paths are absolute and normalised.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Bytes that fit.
    pub capacity: u64,
    /// Nothing can be written.
    pub read_only: bool,
    /// Entries that one `read_dir` gives, at most.
    pub batch: usize,
    names: BTreeMap<String, u64>,
    inodes: BTreeMap<u64, Inode>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Inode {
    kind: FileKind,
    bytes: Vec<u8>,
    target: String,
    mode: u32,
    owner: (u32, u32),
    modified: u64,
    links: u32,
}

const LINKS_MAX: usize = 8;
/// 22-Nov-2026 04:24:10
const CREATED: u64 = 1_795_321_450_000_000_000;

impl Disk {
    pub(super) fn new() -> Self {
        let mut disk = Self {
            capacity: 64 << 20,
            read_only: false,
            batch: 7,
            names: BTreeMap::new(),
            inodes: BTreeMap::new(),
            next: 1,
        };
        disk.insert("/", FileKind::Directory, 0o755);
        disk
    }

    /// Adds a directory. Its parent exists.
    pub fn add_dir(&mut self, path: &str) {
        self.insert(path, FileKind::Directory, 0o755);
    }

    /// Adds a file.
    pub fn add(&mut self, path: &str, bytes: impl AsRef<[u8]>) {
        let inode = self.insert(path, FileKind::File, 0o644);
        if let Some(inode) = self.inodes.get_mut(&inode) {
            inode.bytes = bytes.as_ref().to_vec();
        }
    }

    /// Adds an executable.
    pub fn add_program(&mut self, path: &str, text: &str) {
        self.add(path, text);
        let _ = self.set_mode(path, 0o755);
    }

    /// The bytes of a file; `None` when there is none.
    pub fn bytes(&self, path: &str) -> Option<&[u8]> {
        let inode = self.inodes.get(self.names.get(path)?)?;
        (inode.kind == FileKind::File).then_some(&inode.bytes)
    }

    /// The text of a file; `None` when there is none.
    pub fn text(&self, path: &str) -> Option<String> {
        self.bytes(path)
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The text of an executable, links followed.
    pub(super) fn program(&self, path: &str) -> Result<String> {
        let (path, _) = self.find(path, true)?;
        self.text(&path).ok_or(Error::NotExecutable)
    }

    /// Whether a name is there.
    pub fn exists(&self, path: &str) -> bool {
        self.names.contains_key(path)
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<&str> {
        self.names.keys().map(String::as_str).collect()
    }

    pub(super) fn used(&self) -> u64 {
        self.inodes
            .values()
            .map(|inode| inode.bytes.len() as u64)
            .sum()
    }

    pub(super) fn path_of(&self, inode: u64) -> String {
        let found = self.names.iter().find(|(_, number)| **number == inode);
        found.map(|(name, _)| name.clone()).unwrap_or_default()
    }

    fn insert(&mut self, path: &str, kind: FileKind, mode: u32) -> u64 {
        let number = self.next;
        self.next += 1;
        let (bytes, target) = (Vec::new(), String::new());
        let inode = Inode {
            kind,
            bytes,
            target,
            mode,
            owner: (0, 0),
            modified: CREATED,
            links: 1,
        };
        self.names.insert(path.to_string(), number);
        self.inodes.insert(number, inode);
        number
    }

    /// The path after following the links on the way, and the last one if `follow`.
    fn resolve(&self, path: &str, follow: bool) -> Result<String> {
        let mut followed = 0;
        let mut whole = path.to_string();
        'again: loop {
            let mut here = String::from("/");
            let parts: Vec<&str> = whole.split('/').filter(|part| !part.is_empty()).collect();
            for (i, part) in parts.iter().enumerate() {
                if part.len() > 255 {
                    return Err(Error::NameTooLong);
                }
                let next = path::join(&here, part);
                let last = i + 1 == parts.len();
                let kind = self.names.get(&next).and_then(|n| self.inodes.get(n));
                match kind {
                    Some(inode) if inode.kind == FileKind::Link && (follow || !last) => {
                        followed += 1;
                        if followed > LINKS_MAX {
                            return Err(Error::TooManyLinks);
                        }
                        let base = if inode.target.starts_with('/') {
                            "/"
                        } else {
                            &here
                        };
                        let rest = parts[i + 1..].join("/");
                        whole = path::join(&path::join(base, &inode.target), &rest);
                        continue 'again;
                    }
                    Some(inode) if inode.kind != FileKind::Directory && !last => {
                        return Err(Error::NotADirectory);
                    }
                    None if !last => return Err(Error::NotFound),
                    _ => here = next,
                }
            }
            return Ok(here);
        }
    }

    fn find(&self, path: &str, follow: bool) -> Result<(String, u64)> {
        let path = self.resolve(path, follow)?;
        let number = self.names.get(&path).copied().ok_or(Error::NotFound)?;
        Ok((path, number))
    }

    fn get(&mut self, number: u64) -> Result<&mut Inode> {
        self.inodes.get_mut(&number).ok_or(Error::NotFound)
    }

    fn writable(&self) -> Result<()> {
        if self.read_only {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// A place for a new name.
    fn free_place(&self, path: &str) -> Result<String> {
        self.writable()?;
        let path = self.resolve(path, false)?;
        if self.names.contains_key(&path) {
            return Err(Error::AlreadyExists);
        }
        let (_, above) = self.find(&parent(&path), true)?;
        match self.inodes.get(&above).map(|inode| inode.kind) {
            Some(FileKind::Directory) => Ok(path),
            _ => Err(Error::NotADirectory),
        }
    }

    pub(super) fn open(&mut self, path: &str, mode: OpenMode) -> Result<u64> {
        match self.find(path, true) {
            Ok(_) if mode.exclusive => Err(Error::AlreadyExists),
            Ok((_, number)) => {
                let read_only = self.read_only;
                let inode = self.get(number)?;
                match inode.kind {
                    FileKind::Directory => return Err(Error::IsADirectory),
                    _ if mode.write && read_only => return Err(Error::ReadOnly),
                    _ if mode.write && inode.mode & 0o200 == 0 => {
                        return Err(Error::PermissionDenied);
                    }
                    _ if mode.truncate => inode.bytes.clear(),
                    _ => {}
                }
                Ok(number)
            }
            Err(Error::NotFound) if mode.create => {
                let place = self.resolve(path, true)?;
                let place = self.free_place(&place)?;
                Ok(self.insert(&place, FileKind::File, 0o644))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn read(&mut self, number: u64, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let inode = self.get(number)?;
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(inode.bytes.len());
        let rest = inode.bytes.get(start..).unwrap_or(&[]);
        // Never all that is asked for: readers must go on.
        let count = rest.len().min(buf.len()).min(1000.max(buf.len() / 2));
        for (place, byte) in buf.iter_mut().zip(&rest[..count]) {
            *place = *byte;
        }
        Ok(count)
    }

    pub(super) fn write(&mut self, number: u64, offset: u64, bytes: &[u8]) -> Result<usize> {
        self.writable()?;
        let room = self.capacity.saturating_sub(self.used());
        let count = bytes.len().min(3000);
        let inode = self.get(number)?;
        let start = usize::try_from(offset).map_err(|_| Error::TooLarge)?;
        let end = start.checked_add(count).ok_or(Error::TooLarge)?;
        if end.saturating_sub(inode.bytes.len()) as u64 > room {
            return Err(Error::NoSpace);
        }
        if inode.bytes.len() < end {
            inode.bytes.resize(end, 0);
        }
        if let Some(place) = inode.bytes.get_mut(start..end) {
            place.copy_from_slice(&bytes[..count]);
        }
        Ok(count)
    }

    pub(super) fn stat(&self, path: &str, follow: bool) -> Result<Stat> {
        let (_, number) = self.find(path, follow)?;
        let inode = self.inodes.get(&number).ok_or(Error::NotFound)?;
        Ok(Stat {
            kind: inode.kind,
            size: inode.bytes.len() as u64,
            mode: inode.mode,
            links: inode.links,
            inode: number,
            modified_ns: inode.modified,
            user: inode.owner.0,
            group: inode.owner.1,
        })
    }

    pub(super) fn read_dir(
        &self,
        path: &str,
        from: u64,
        into: &mut Vec<DirEntry>,
    ) -> Result<Option<u64>> {
        let (path, number) = self.find(path, true)?;
        if self.inodes.get(&number).map(|inode| inode.kind) != Some(FileKind::Directory) {
            return Err(Error::NotADirectory);
        }
        let inside = |name: &str| name != "/" && parent(name) == path;
        let mut all = self
            .names
            .iter()
            .filter(|(name, _)| inside(name))
            .skip(from as usize);
        for (name, number) in all.by_ref().take(self.batch) {
            let kind = self
                .inodes
                .get(number)
                .map_or(FileKind::Other, |inode| inode.kind);
            into.push(DirEntry {
                name: path::file_name(name).to_string(),
                kind,
            });
        }
        Ok(all.next().map(|_| from + self.batch as u64))
    }

    pub(super) fn make_dir(&mut self, path: &str) -> Result<()> {
        if path == "/" {
            return Err(Error::AlreadyExists);
        }
        let place = self.free_place(path)?;
        self.insert(&place, FileKind::Directory, 0o755);
        Ok(())
    }

    pub(super) fn unlink(&mut self, path: &str) -> Result<()> {
        self.writable()?;
        let (path, number) = self.find(path, false)?;
        let inode = self.get(number)?;
        if inode.kind == FileKind::Directory {
            return Err(Error::IsADirectory);
        }
        inode.links -= 1;
        if inode.links == 0 {
            self.inodes.remove(&number);
        }
        self.names.remove(&path);
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &str) -> Result<()> {
        self.writable()?;
        let (path, number) = self.find(path, false)?;
        if self.get(number)?.kind != FileKind::Directory {
            return Err(Error::NotADirectory);
        }
        if path == "/" {
            return Err(Error::Busy);
        }
        if self
            .names
            .keys()
            .any(|name| *name != path && path::contains(&path, name))
        {
            return Err(Error::NotEmpty);
        }
        self.names.remove(&path);
        self.inodes.remove(&number);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        self.writable()?;
        let (from, number) = self.find(from, false)?;
        let to = self.resolve(to, false)?;
        if let Ok(stat) = self.stat(&to, false) {
            match stat.kind {
                FileKind::Directory => self.remove_dir(&to)?,
                _ => self.unlink(&to)?,
            }
        } else {
            self.free_place(&to)?;
        }
        let moved: Vec<String> = self
            .names
            .keys()
            .filter(|name| path::contains(&from, name))
            .cloned()
            .collect();
        for name in moved {
            let target = path::join(&to, &name[from.len()..]);
            if let Some(number) = self.names.remove(&name) {
                self.names.insert(target, number);
            }
        }
        self.names.insert(to, number);
        Ok(())
    }

    pub(super) fn symlink(&mut self, target: &str, path: &str) -> Result<()> {
        let place = self.free_place(path)?;
        let number = self.insert(&place, FileKind::Link, 0o777);
        self.get(number)?.target = target.to_string();
        Ok(())
    }

    pub(super) fn read_link(&self, path: &str) -> Result<String> {
        let (_, number) = self.find(path, false)?;
        match self.inodes.get(&number) {
            Some(inode) if inode.kind == FileKind::Link => Ok(inode.target.clone()),
            _ => Err(Error::InvalidArgument),
        }
    }

    pub(super) fn hard_link(&mut self, from: &str, to: &str) -> Result<()> {
        let (_, number) = self.find(from, true)?;
        if self.get(number)?.kind == FileKind::Directory {
            return Err(Error::IsADirectory);
        }
        let place = self.free_place(to)?;
        self.get(number)?.links += 1;
        self.names.insert(place, number);
        Ok(())
    }

    pub(super) fn truncate(&mut self, path: &str, size: u64) -> Result<()> {
        self.writable()?;
        let (_, number) = self.find(path, true)?;
        if size > self.capacity {
            return Err(Error::NoSpace);
        }
        let inode = self.get(number)?;
        if inode.kind == FileKind::Directory {
            return Err(Error::IsADirectory);
        }
        inode.bytes.resize(size as usize, 0);
        Ok(())
    }

    pub(super) fn set_mode(&mut self, path: &str, mode: u32) -> Result<()> {
        self.writable()?;
        let (_, number) = self.find(path, true)?;
        self.get(number)?.mode = mode;
        Ok(())
    }

    pub(super) fn set_owner(&mut self, path: &str, user: u32, group: Option<u32>) -> Result<()> {
        self.writable()?;
        let (_, number) = self.find(path, true)?;
        let inode = self.get(number)?;
        inode.owner = (user, group.unwrap_or(inode.owner.1));
        Ok(())
    }

    pub(super) fn set_modified(&mut self, path: &str, time_ns: u64) -> Result<()> {
        self.writable()?;
        let (_, number) = self.find(path, true)?;
        self.get(number)?.modified = time_ns;
        Ok(())
    }
}
