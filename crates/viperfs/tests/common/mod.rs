//! A plain in-memory model of the file system, random operations, and snapshots to compare.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use viperfs::{
    BlockDevice, Crc32c, Error, FileKind, FormatOptions, Fs, MemoryDevice, MountOptions, Owner,
    ROOT_INO, RenameMode, XattrMode, format,
};

/// The host's instruction: checksums would be most of the work.
pub const FAST: Crc32c = Crc32c(crc32c::crc32c);

/// Mounting with it.
pub fn fast() -> MountOptions {
    MountOptions {
        crc32c: FAST,
        ..MountOptions::default()
    }
}

/// A small deterministic generator (xorshift64*).
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }
}

pub fn fresh(blocks: u64) -> MemoryDevice {
    let mut dev = MemoryDevice::new(blocks);
    let options = FormatOptions {
        label: "test",
        uuid: *b"0123456789abcdef",
        ..FormatOptions::default()
    };
    format(&mut dev, &options).unwrap();
    dev
}

/// What one path shows: enough to tell any two states apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    pub kind: u32,
    pub nlink: u32,
    pub mode: u32,
    pub content: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The whole tree, by path.
pub type Snapshot = BTreeMap<Vec<u8>, Shown>;

/// Reads everything there is through the public interface.
pub fn snapshot<D: BlockDevice>(fs: &mut Fs<D>) -> Result<Snapshot, Error> {
    let mut all = Snapshot::new();
    let mut todo = vec![(ROOT_INO, Vec::new())];
    while let Some((ino, path)) = todo.pop() {
        let attr = fs.getattr(ino)?;
        let mut content = Vec::new();
        match attr.kind {
            FileKind::File => {
                content = vec![0xEE; attr.size as usize];
                assert_eq!(fs.read(ino, 0, &mut content)?, content.len());
            }
            FileKind::Symlink => content = fs.readlink(ino)?,
            FileKind::Directory => {
                let mut n = 0;
                fs.readdir(ino, 0, |e| {
                    let mut child = path.clone();
                    child.push(b'/');
                    child.extend_from_slice(e.name);
                    todo.push((e.ino, child));
                    n += 1;
                    true
                })?;
                assert_eq!(attr.size, n, "directory size counts its entries");
            }
            _ => {}
        }
        let mut names = Vec::new();
        fs.list_xattrs(ino, |n| {
            names.push(n.to_vec());
            true
        })?;
        let mut xattrs = BTreeMap::new();
        for name in names {
            let value = fs.xattr(ino, &name)?;
            xattrs.insert(name, value);
        }
        let kind = attr.kind.mode_bits();
        all.insert(
            path,
            Shown {
                kind,
                nlink: attr.nlink,
                mode: attr.mode,
                content,
                xattrs,
            },
        );
    }
    Ok(all)
}

#[derive(Clone, Debug)]
pub struct Node {
    kind: FileKind,
    mode: u32,
    nlink: u32,
    data: Vec<u8>,
    entries: BTreeMap<Vec<u8>, u64>,
    parent: u64,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The model: what the volume should hold.
#[derive(Clone, Debug)]
pub struct Model {
    pub nodes: BTreeMap<u64, Node>,
    /// Inodes pinned since the last mount, with or without a name.
    pub pins: Vec<u64>,
}

#[derive(Clone, Debug)]
pub enum Op {
    Create(u64, Vec<u8>, u32),
    Mkdir(u64, Vec<u8>),
    Symlink(u64, Vec<u8>, Vec<u8>),
    Link(u64, u64, Vec<u8>),
    Unlink(u64, Vec<u8>),
    Rmdir(u64, Vec<u8>),
    Rename(u64, Vec<u8>, u64, Vec<u8>, RenameMode),
    Write(u64, u64, Vec<u8>),
    Truncate(u64, u64),
    Allocate(u64, u64, u64, bool),
    Punch(u64, u64, u64),
    SetXattr(u64, Vec<u8>, Vec<u8>),
    RemoveXattr(u64, Vec<u8>),
    Fsync(u64),
    Sync,
    Pin(u64),
    Unpin(u64),
}

impl Model {
    pub fn new() -> Self {
        let mut nodes = BTreeMap::new();
        nodes.insert(ROOT_INO, Node::new(FileKind::Directory, 0o755, ROOT_INO));
        Self {
            nodes,
            pins: Vec::new(),
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut all = Snapshot::new();
        let mut todo = vec![(ROOT_INO, Vec::new())];
        while let Some((ino, path)) = todo.pop() {
            let node = &self.nodes[&ino];
            for (name, child) in &node.entries {
                let mut p: Vec<u8> = path.clone();
                p.push(b'/');
                p.extend_from_slice(name);
                todo.push((*child, p));
            }
            all.insert(
                path,
                Shown {
                    kind: node.kind.mode_bits(),
                    nlink: node.nlink,
                    mode: node.mode,
                    content: node.data.clone(),
                    xattrs: node.xattrs.clone(),
                },
            );
        }
        all
    }

    fn pick(&self, rng: &mut Rng, kind: Option<FileKind>) -> u64 {
        let all: Vec<u64> = self
            .nodes
            .iter()
            .filter(|(_, n)| kind.is_none_or(|k| n.kind == k))
            .map(|(i, _)| *i)
            .collect();
        if all.is_empty() {
            ROOT_INO
        } else {
            all[rng.below(all.len() as u64) as usize]
        }
    }

    /// A random operation; most make sense, some must fail. `size` scales writes, in bytes.
    pub fn random_op(&self, rng: &mut Rng, names: u64, size: u64) -> Op {
        let dir = self.pick(rng, Some(FileKind::Directory));
        let file = self.pick(rng, Some(FileKind::File));
        let name = |rng: &mut Rng| format!("n{}", rng.below(names)).into_bytes();
        match rng.below(100) {
            0..15 => Op::Create(dir, name(rng), 0o600 + rng.below(64) as u32),
            15..22 => Op::Mkdir(dir, name(rng)),
            22..26 => Op::Symlink(dir, name(rng), vec![b't'; 1 + rng.below(2000) as usize]),
            26..31 => Op::Link(self.pick(rng, None), dir, name(rng)),
            31..41 => Op::Unlink(dir, name(rng)),
            41..45 => Op::Rmdir(dir, name(rng)),
            45..57 => {
                let to = self.pick(rng, Some(FileKind::Directory));
                let mode = match rng.below(6) {
                    0 => RenameMode::NoReplace,
                    1 => RenameMode::Exchange,
                    _ => RenameMode::Replace,
                };
                Op::Rename(dir, name(rng), to, name(rng), mode)
            }
            57..75 => {
                let old = self.nodes[&file].data.len() as u64;
                let at = match rng.below(4) {
                    0 => old,
                    1 => rng.below(4) * 4096,
                    _ => rng.below(old + size),
                };
                let len = 1 + rng.below(size);
                let tag = rng.next();
                Op::Write(
                    file,
                    at,
                    (0..len)
                        .map(|i| (tag >> (i % 7 * 8)) as u8 ^ i as u8)
                        .collect(),
                )
            }
            75..78 => {
                let (at, len) = (rng.below(size * 2), 1 + rng.below(size));
                Op::Allocate(file, at, len, rng.below(2) == 0)
            }
            78..82 => Op::Punch(file, rng.below(size), 1 + rng.below(size)),
            82..88 => Op::Truncate(file, rng.below(size * 2)),
            88..93 => {
                let value = vec![rng.next() as u8; rng.below(1025) as usize];
                Op::SetXattr(self.pick(rng, None), name(rng), value)
            }
            93..95 => Op::RemoveXattr(self.pick(rng, None), name(rng)),
            95 if self.nodes[&file].kind == FileKind::File => Op::Pin(file),
            96 if !self.pins.is_empty() => {
                Op::Unpin(self.pins[rng.below(self.pins.len() as u64) as usize])
            }
            95..98 => Op::Fsync(file),
            _ => Op::Sync,
        }
    }

    /// Applies an operation to both; panics when they disagree on the outcome.
    ///
    /// Returns the error if both failed. `NoSpace` and device errors from the engine leave the
    /// model alone.
    pub fn apply<D: BlockDevice>(&mut self, fs: &mut Fs<D>, op: &Op) -> Result<(), Error> {
        let now = 1_000;
        let o = Owner::default();
        let real: Result<u64, Error> = match op {
            Op::Create(d, n, mode) => fs.create(*d, n, *mode, o, now).map(|a| a.ino),
            Op::Mkdir(d, n) => fs.mkdir(*d, n, 0o755, o, now).map(|a| a.ino),
            Op::Symlink(d, n, t) => fs.symlink(*d, n, t, o, now).map(|a| a.ino),
            Op::Link(i, d, n) => fs.link(*i, *d, n, now).map(|a| a.ino),
            Op::Unlink(d, n) => fs.unlink(*d, n, now).map(|()| 0),
            Op::Rmdir(d, n) => fs.rmdir(*d, n, now).map(|()| 0),
            Op::Rename(d, n, e, m, mode) => fs.rename(*d, n, *e, m, *mode, now).map(|()| 0),
            Op::Write(i, at, data) => fs.write(*i, *at, data, now).map(|n| n as u64),
            Op::Truncate(i, size) => fs.truncate(*i, *size, now).map(|()| 0),
            Op::Allocate(i, at, len, keep) => fs.allocate(*i, *at, *len, *keep, now).map(|()| 0),
            Op::Punch(i, at, len) => fs.punch_hole(*i, *at, *len, now).map(|()| 0),
            Op::SetXattr(i, n, v) => fs.set_xattr(*i, n, v, XattrMode::Set, now).map(|()| 0),
            Op::RemoveXattr(i, n) => fs.remove_xattr(*i, n, now).map(|()| 0),
            Op::Fsync(i) => fs.fsync(*i).map(|()| 0),
            Op::Sync => fs.sync().map(|()| 0),
            Op::Pin(i) => fs.pin(*i).map(|()| 0),
            Op::Unpin(i) => fs.unpin(*i).map(|()| 0),
        };
        if let Err(error @ (Error::NoSpace | Error::Device(_) | Error::ReadOnly)) = real {
            return Err(error);
        }
        let mut next = self.clone();
        let expected = next.predict(op, real.unwrap_or(0));
        assert_eq!(real.map(|_| ()), expected, "outcome of {op:?}");
        *self = next;
        real.map(|_| ())
    }

    fn predict(&mut self, op: &Op, result: u64) -> Result<(), Error> {
        match op {
            Op::Create(d, n, mode) => self.add(*d, n, result, FileKind::File, *mode, &[]),
            Op::Mkdir(d, n) => self.add(*d, n, result, FileKind::Directory, 0o755, &[]),
            Op::Symlink(d, n, t) => self.add(*d, n, result, FileKind::Symlink, 0o777, t),
            Op::Link(i, d, n) => {
                if self.node(*i)?.kind == FileKind::Directory {
                    return Err(Error::IsDirectory);
                }
                self.enter(*d, n, *i)?;
                self.nodes.get_mut(i).unwrap().nlink += 1;
                Ok(())
            }
            Op::Unlink(d, n) => {
                let i = self.child(*d, n)?;
                if self.nodes[&i].kind == FileKind::Directory {
                    return Err(Error::IsDirectory);
                }
                self.nodes.get_mut(d).unwrap().entries.remove(n);
                self.unref(i);
                Ok(())
            }
            Op::Rmdir(d, n) => {
                let i = self.child(*d, n)?;
                if self.nodes[&i].kind != FileKind::Directory {
                    return Err(Error::NotDirectory);
                }
                if !self.nodes[&i].entries.is_empty() {
                    return Err(Error::NotEmpty);
                }
                self.nodes.get_mut(d).unwrap().entries.remove(n);
                self.nodes.get_mut(d).unwrap().nlink -= 1;
                self.nodes.remove(&i);
                Ok(())
            }
            Op::Rename(d, n, e, m, mode) => self.rename(*d, n, *e, m, *mode),
            Op::Write(i, at, data) => {
                let node = self.file(*i)?;
                let at = *at as usize;
                let end = at + result as usize;
                if node.data.len() < end {
                    node.data.resize(end, 0);
                }
                node.data[at..end].copy_from_slice(&data[..result as usize]);
                Ok(())
            }
            Op::Truncate(i, size) => {
                self.file(*i)?.data.resize(*size as usize, 0);
                Ok(())
            }
            Op::Allocate(i, at, len, keep) => {
                let node = self.file(*i)?;
                let end = (*at + *len) as usize;
                if !keep && node.data.len() < end {
                    node.data.resize(end, 0);
                }
                Ok(())
            }
            Op::Punch(i, at, len) => {
                let node = self.file(*i)?;
                let end = ((*at + *len) as usize).min(node.data.len());
                if (*at as usize) < end {
                    node.data[*at as usize..end].fill(0);
                }
                Ok(())
            }
            Op::SetXattr(i, n, v) => {
                self.node(*i)?;
                self.nodes
                    .get_mut(i)
                    .unwrap()
                    .xattrs
                    .insert(n.clone(), v.clone());
                Ok(())
            }
            Op::RemoveXattr(i, n) => {
                self.node(*i)?;
                let gone = self.nodes.get_mut(i).unwrap().xattrs.remove(n);
                gone.map(|_| ()).ok_or(Error::NoAttribute)
            }
            Op::Fsync(i) => self.node(*i).map(|_| ()),
            Op::Sync => Ok(()),
            Op::Pin(i) => {
                self.pins.push(*i);
                Ok(())
            }
            Op::Unpin(i) => {
                let at = self.pins.iter().position(|p| p == i).unwrap();
                self.pins.remove(at);
                Ok(())
            }
        }
    }

    fn rename(
        &mut self,
        d: u64,
        n: &[u8],
        e: u64,
        m: &[u8],
        mode: RenameMode,
    ) -> Result<(), Error> {
        for dir in [d, e] {
            if self.node(dir)?.kind != FileKind::Directory {
                return Err(Error::NotDirectory);
            }
        }
        let from = self.child(d, n)?;
        let is_dir = |i: u64, s: &Self| s.nodes[&i].kind == FileKind::Directory;
        if is_dir(from, self) && self.inside(e, from) {
            return Err(Error::Invalid);
        }
        let to = self.child(e, m).ok();
        match (to, mode) {
            (Some(_), RenameMode::NoReplace) => return Err(Error::Exists),
            (None, RenameMode::Exchange) => return Err(Error::NotFound),
            (Some(to), _) if to == from => return Ok(()),
            (Some(to), RenameMode::Exchange) => {
                if is_dir(to, self) && self.inside(d, to) {
                    return Err(Error::Invalid);
                }
                self.nodes
                    .get_mut(&d)
                    .unwrap()
                    .entries
                    .insert(n.to_vec(), to);
                self.nodes
                    .get_mut(&e)
                    .unwrap()
                    .entries
                    .insert(m.to_vec(), from);
                self.reparent(from, d, e);
                self.reparent(to, e, d);
                return Ok(());
            }
            (Some(to), _) => {
                match (is_dir(from, self), is_dir(to, self)) {
                    (true, false) => return Err(Error::NotDirectory),
                    (false, true) => return Err(Error::IsDirectory),
                    (true, true) if !self.nodes[&to].entries.is_empty() => {
                        return Err(Error::NotEmpty);
                    }
                    _ => {}
                }
                if is_dir(to, self) {
                    self.nodes.get_mut(&e).unwrap().nlink -= 1;
                    self.nodes.remove(&to);
                } else {
                    self.unref(to);
                }
            }
            (None, _) => {}
        }
        self.nodes.get_mut(&d).unwrap().entries.remove(n);
        self.nodes
            .get_mut(&e)
            .unwrap()
            .entries
            .insert(m.to_vec(), from);
        self.reparent(from, d, e);
        Ok(())
    }

    fn reparent(&mut self, ino: u64, from: u64, to: u64) {
        if self.nodes[&ino].kind == FileKind::Directory {
            self.nodes.get_mut(&ino).unwrap().parent = to;
            self.nodes.get_mut(&from).unwrap().nlink -= 1;
            self.nodes.get_mut(&to).unwrap().nlink += 1;
        }
    }

    fn inside(&self, mut dir: u64, ancestor: u64) -> bool {
        loop {
            if dir == ancestor {
                return true;
            }
            if dir == ROOT_INO {
                return false;
            }
            dir = self.nodes[&dir].parent;
        }
    }

    fn node(&self, ino: u64) -> Result<&Node, Error> {
        self.nodes.get(&ino).ok_or(Error::NotFound)
    }

    fn file(&mut self, ino: u64) -> Result<&mut Node, Error> {
        let node = self.nodes.get_mut(&ino).ok_or(Error::NotFound)?;
        match node.kind {
            FileKind::File => Ok(node),
            FileKind::Directory => Err(Error::IsDirectory),
            _ => Err(Error::Invalid),
        }
    }

    fn child(&self, dir: u64, name: &[u8]) -> Result<u64, Error> {
        let node = self.node(dir)?;
        if node.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        node.entries.get(name).copied().ok_or(Error::NotFound)
    }

    fn enter(&mut self, dir: u64, name: &[u8], ino: u64) -> Result<(), Error> {
        match self.child(dir, name) {
            Ok(_) => Err(Error::Exists),
            Err(Error::NotFound) if self.nodes.contains_key(&dir) => {
                self.nodes
                    .get_mut(&dir)
                    .unwrap()
                    .entries
                    .insert(name.to_vec(), ino);
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    fn add(
        &mut self,
        dir: u64,
        name: &[u8],
        ino: u64,
        kind: FileKind,
        mode: u32,
        target: &[u8],
    ) -> Result<(), Error> {
        self.enter(dir, name, ino)?;
        let mut node = Node::new(kind, mode, dir);
        node.data = target.to_vec();
        self.nodes.insert(ino, node);
        if kind == FileKind::Directory {
            self.nodes.get_mut(&dir).unwrap().nlink += 1;
        }
        Ok(())
    }

    fn unref(&mut self, ino: u64) {
        let node = self.nodes.get_mut(&ino).unwrap();
        node.nlink -= 1;
        if node.nlink == 0 {
            self.nodes.remove(&ino);
        }
    }
}

impl Node {
    fn new(kind: FileKind, mode: u32, parent: u64) -> Self {
        Self {
            kind,
            mode,
            nlink: if kind == FileKind::Directory { 2 } else { 1 },
            data: Vec::new(),
            entries: BTreeMap::new(),
            parent,
            xattrs: BTreeMap::new(),
        }
    }
}
