//! What repair keeps: every object that can still be read, made consistent with the others.

use crate::device::BlockDevice;
use crate::dir::{name_hash, parse_entry};
use crate::extent::{Extent, OwnedExtent};
use crate::inode::{FileKind, Inode};
use crate::layout::{
    BLOCK_BYTES, Block, EntryHead, FLAG_KEPT, GROUP_BLOCKS, InodeItem, Key, MAGIC_NODE,
    MAX_FILE_SIZE, MAX_INO, ROOT_INO, header, kind, verify, zeroed,
};
use crate::node;
use crate::store::Store;
use crate::survey::{LostRange, UsedMap, visit_leaves};
use crate::xattr::parse_xattr;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, IntoBytes};

/// One inode and all it owns.
#[derive(Default)]
struct Object {
    inode: Option<Inode>,
    target: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    entries: BTreeMap<Vec<u8>, (u64, FileKind)>,
    /// By first page.
    extents: BTreeMap<u64, OwnedExtent>,
}

/// Everything that can still be read.
#[derive(Default)]
pub(crate) struct Salvage {
    objects: BTreeMap<u64, Object>,
    orphans: BTreeSet<u64>,
    /// Things that had to be dropped, moved or corrected.
    pub fixes: u64,
}

type Items = BTreeMap<Key, (u64, Vec<u8>)>;

impl Salvage {
    /// Reads the tree, and, where parts of it are lost, every block that may have been part of it.
    pub fn collect<D: BlockDevice>(store: &mut Store<D>, used: &mut UsedMap) -> Self {
        let mut items = Items::new();
        let mut lost = Vec::new();
        visit_leaves(
            store,
            used,
            |_, _, leaf| keep_items(leaf, u64::MAX, &mut items, |_| true),
            |range, _| lost.push(range),
        );
        let mut salvage = Self {
            fixes: lost.len() as u64,
            ..Self::default()
        };
        if !lost.is_empty() {
            search(store, used, &lost, &mut items);
        }
        for (key, (_, value)) in &items {
            if !salvage.add(key, value) {
                salvage.fixes += 1;
            }
        }
        salvage
    }

    fn add(&mut self, key: &Key, value: &[u8]) -> bool {
        let (ino, offset) = (key.ino(), key.offset());
        if ino == 0 {
            return key.kind() == kind::ORPHAN && self.orphans.insert(offset);
        }
        let object = self.objects.entry(ino).or_default();
        match key.kind() {
            kind::INODE => {
                let item = InodeItem::read_from_bytes(value).ok();
                object.inode = item.and_then(|i| Inode::from_item(ino, &i));
                object.inode.is_some()
            }
            kind::TARGET => {
                let fits = object.target.len() as u64 == offset.saturating_mul(1024);
                if fits {
                    object.target.extend_from_slice(value);
                }
                fits
            }
            kind::XATTR => match parse_xattr(value) {
                Some((n, v)) => object.xattrs.insert(n.to_vec(), v.to_vec()).is_none(),
                None => false,
            },
            kind::ENTRY => match parse_entry(value) {
                Some((to, k, name)) => object.entries.insert(name.to_vec(), (to, k)).is_none(),
                None => false,
            },
            kind::EXTENT => match Extent::parse(*key, value) {
                Some(e) => object.extents.insert(e.page, e.to_owned()).is_none(),
                None => false,
            },
            _ => false,
        }
    }

    /// Makes everything consistent. Returns the blocks that file contents use.
    pub fn settle<D: BlockDevice>(&mut self, store: &mut Store<D>, now: i64) -> UsedMap {
        self.drop_orphans();
        self.revive_inodes(now);
        let used = self.settle_extents(store);
        self.settle_entries();
        self.attach_lost(now);
        self.settle_inodes();
        used
    }

    /// The next inode number that was never used.
    pub fn next_ino(&self) -> u64 {
        self.objects.keys().next_back().map_or(ROOT_INO, |&i| i) + 1
    }

    fn drop_orphans(&mut self) {
        for ino in core::mem::take(&mut self.orphans) {
            let nameless = |o: &Object| o.inode.is_none_or(|i| i.attr.nlink == 0);
            if self.objects.get(&ino).is_some_and(nameless) {
                self.objects.remove(&ino);
            }
        }
    }

    /// Gives an inode to objects that lost theirs and still hold something.
    fn revive_inodes(&mut self, now: i64) {
        self.objects.entry(ROOT_INO).or_default();
        let before = self.objects.len();
        self.objects.retain(|&ino, o| {
            let holds = !o.entries.is_empty() || !o.extents.is_empty();
            ino == ROOT_INO || (ino <= MAX_INO && (o.inode.is_some() || holds))
        });
        self.fixes += (before - self.objects.len()) as u64;
        for (&ino, object) in &mut self.objects {
            let is_dir = ino == ROOT_INO || !object.entries.is_empty();
            let root_is_odd =
                ino == ROOT_INO && object.inode.is_some_and(|i| i.kind != FileKind::Directory);
            if object.inode.is_some() && !root_is_odd {
                continue;
            }
            self.fixes += 1;
            let kind = if is_dir {
                FileKind::Directory
            } else {
                FileKind::File
            };
            let mut inode = Inode::blank(ino, kind, if is_dir { 0o700 } else { 0o600 }, now);
            if let Some(last) = object.extents.values().rfind(|e| !e.unwritten()) {
                inode.set_size(last.end().saturating_mul(BLOCK_BYTES).min(MAX_FILE_SIZE));
            }
            object.inode = Some(inode);
        }
    }

    /// Drops extents that overlap, lie outside the volume, are behind the end of their file or
    /// share blocks with others; of those that share, the first whose checksums are right stays.
    fn settle_extents<D: BlockDevice>(&mut self, store: &mut Store<D>) -> UsedMap {
        let shared = self.shared_blocks();
        let mut used = UsedMap::new();
        let inos: Vec<u64> = self.objects.keys().copied().collect();
        for ino in inos {
            let Some(object) = self.objects.get_mut(&ino) else {
                continue;
            };
            let extents = core::mem::take(&mut object.extents);
            let Some(inode) = object.inode.as_mut() else {
                continue;
            };
            let pages = inode.disk_size.div_ceil(BLOCK_BYTES);
            let mut end = 0;
            let mut kept = BTreeMap::new();
            for (page, mut extent) in extents {
                let inside = pages.saturating_sub(page);
                if inside < extent.len && !extent.unwritten() {
                    extent.sums.truncate(inside as usize);
                    extent.len = inside;
                    self.fixes += u64::from(!inode.untrimmed());
                }
                let blocks = extent.blocks();
                let usable = inode.kind == FileKind::File
                    && page >= end
                    && store.geo.allocatable_run(extent.block, extent.len);
                let free = blocks.clone().all(|b| !used.contains(b));
                let disputed = blocks.clone().any(|b| shared.contains(b));
                if !usable || !free || (disputed && !intact(store, &extent)) {
                    self.fixes += u64::from(extent.len > 0);
                    continue;
                }
                for b in blocks {
                    used.mark(b);
                }
                end = extent.end();
                inode.flags |= if extent.unwritten() { FLAG_KEPT } else { 0 };
                kept.insert(page, extent);
            }
            inode.attr.blocks = kept.values().map(|e| e.len).sum();
            inode.set_untrimmed(false);
            if let Some(object) = self.objects.get_mut(&ino) {
                object.extents = kept;
            }
        }
        used
    }

    /// Blocks that more than one extent claims.
    fn shared_blocks(&self) -> UsedMap {
        let (mut seen, mut shared) = (UsedMap::new(), UsedMap::new());
        for extent in self.objects.values().flat_map(|o| o.extents.values()) {
            for b in extent.blocks() {
                if !seen.mark(b) {
                    shared.mark(b);
                }
            }
        }
        shared
    }

    /// Drops entries that lead nowhere and further names of directories; corrects kinds.
    fn settle_entries(&mut self) {
        let kinds: BTreeMap<u64, (FileKind, u64)> = self
            .objects
            .iter()
            .filter_map(|(&i, o)| o.inode.map(|n| (i, (n.kind, n.parent))))
            .collect();
        let mut homes: BTreeMap<u64, u64> = BTreeMap::new();
        for pass in 0..2 {
            for (&dir, object) in &mut self.objects {
                let is_dir = object.inode.is_some_and(|i| i.kind == FileKind::Directory);
                let before = object.entries.len();
                let mut here = BTreeSet::new();
                object.entries.retain(|_, (ino, kind)| {
                    let Some(&(real, parent)) = kinds.get(ino) else {
                        return false;
                    };
                    if !is_dir || *ino == ROOT_INO {
                        return false;
                    }
                    self.fixes += u64::from(*kind != real);
                    *kind = real;
                    if real != FileKind::Directory {
                        return true;
                    }
                    // First pass: the name that the directory itself knows; second: any one.
                    if pass == 0 {
                        if parent == dir && here.insert(*ino) {
                            homes.entry(*ino).or_insert(dir);
                        }
                        return true;
                    }
                    *homes.entry(*ino).or_insert(dir) == dir && here.insert(*ino)
                });
                self.fixes += (before - object.entries.len()) as u64;
            }
        }
    }

    /// Puts what no path leads to into `/lost+found`.
    fn attach_lost(&mut self, now: i64) {
        loop {
            let reached = self.reachable();
            let lost: Vec<u64> = self
                .objects
                .keys()
                .copied()
                .filter(|i| !reached.contains(i))
                .collect();
            let Some(&first) = lost.first() else { return };
            // A lost directory that no lost one holds is the top of its tree; in a ring, any is.
            let held: BTreeSet<u64> = lost
                .iter()
                .filter_map(|i| self.objects.get(i))
                .flat_map(|o| o.entries.values().map(|e| e.0))
                .collect();
            let mut tops: Vec<u64> = lost.iter().copied().filter(|i| !held.contains(i)).collect();
            if tops.is_empty() {
                tops.push(first);
            }
            let home = self.lost_and_found(now);
            for ino in tops {
                let Some(kind) = self.objects.get(&ino).and_then(|o| o.inode).map(|i| i.kind)
                else {
                    continue;
                };
                self.fixes += 1;
                if kind == FileKind::Directory {
                    for object in self.objects.values_mut() {
                        object.entries.retain(|_, e| e.0 != ino);
                    }
                }
                if let Some(dir) = self.objects.get_mut(&home) {
                    dir.entries
                        .insert(format!("#{ino}").into_bytes(), (ino, kind));
                }
            }
        }
    }

    fn reachable(&self) -> BTreeSet<u64> {
        let mut reached = BTreeSet::from([ROOT_INO]);
        let mut todo = Vec::from([ROOT_INO]);
        while let Some(dir) = todo.pop() {
            for (ino, _) in self
                .objects
                .get(&dir)
                .into_iter()
                .flat_map(|o| o.entries.values())
            {
                if reached.insert(*ino) {
                    todo.push(*ino);
                }
            }
        }
        reached
    }

    fn lost_and_found(&mut self, now: i64) -> u64 {
        let name = b"lost+found".to_vec();
        let next = self.next_ino();
        let root = self.objects.entry(ROOT_INO).or_default();
        if let Some(&(ino, FileKind::Directory)) = root.entries.get(&name) {
            return ino;
        }
        root.entries.insert(name, (next, FileKind::Directory));
        let inode = Inode::blank(next, FileKind::Directory, 0o700, now);
        self.objects.insert(
            next,
            Object {
                inode: Some(inode),
                ..Object::default()
            },
        );
        next
    }

    /// Brings link counts, sizes and parents in line with what there is.
    fn settle_inodes(&mut self) {
        let mut names: BTreeMap<u64, (u32, u64)> = BTreeMap::new();
        for (&dir, object) in &self.objects {
            for (ino, _) in object.entries.values() {
                let n = names.entry(*ino).or_default();
                *n = (n.0.saturating_add(1), dir);
            }
        }
        for (&ino, object) in &mut self.objects {
            let Some(inode) = object.inode.as_mut() else {
                continue;
            };
            let before = inode.to_item();
            let (links, home) = names.get(&ino).copied().unwrap_or_default();
            let subdirs = object
                .entries
                .values()
                .filter(|e| e.1 == FileKind::Directory)
                .count();
            match inode.kind {
                FileKind::Directory => {
                    inode.attr.nlink = 2 + subdirs as u32;
                    inode.parent = if ino == ROOT_INO { ROOT_INO } else { home };
                    inode.set_size(object.entries.len() as u64);
                }
                FileKind::Symlink => inode.set_size(object.target.len() as u64),
                FileKind::File => {}
                _ => inode.set_size(0),
            }
            if inode.kind != FileKind::Directory {
                inode.attr.nlink = links;
            }
            if inode.kind != FileKind::Symlink {
                object.target.clear();
            }
            self.fixes += u64::from(before.as_bytes() != inode.to_item().as_bytes());
        }
    }

    /// All items in key order, ready to become a tree.
    pub fn items(&self, seed: u64) -> BTreeMap<Key, Vec<u8>> {
        let mut items = BTreeMap::new();
        for (&ino, object) in &self.objects {
            let Some(inode) = object.inode else { continue };
            items.insert(
                Key::new(ino, kind::INODE, 0),
                inode.to_item().as_bytes().to_vec(),
            );
            for (i, chunk) in object.target.chunks(1024).enumerate() {
                items.insert(Key::new(ino, kind::TARGET, i as u64), chunk.to_vec());
            }
            for (name, value) in &object.xattrs {
                let item = crate::xattr::encode(name, value);
                insert_hashed(&mut items, ino, kind::XATTR, name_hash(seed, name), item);
            }
            for (name, &(to, k)) in &object.entries {
                let head = EntryHead {
                    ino: U64::new(to),
                    kind: k.entry_byte(),
                    name_len: name.len() as u8,
                };
                let item = [head.as_bytes(), name].concat();
                insert_hashed(&mut items, ino, kind::ENTRY, name_hash(seed, name), item);
            }
            for (&page, extent) in &object.extents {
                let item = extent.item(page, extent.end());
                items.insert(Key::new(ino, kind::EXTENT, page), item);
            }
        }
        items
    }
}

fn insert_hashed(items: &mut BTreeMap<Key, Vec<u8>>, ino: u64, kind: u8, hash: u64, item: Vec<u8>) {
    let free = (hash..hash + 256)
        .map(|offset| Key::new(ino, kind, offset))
        .find(|key| !items.contains_key(key));
    if let Some(key) = free {
        items.insert(key, item);
    }
}

fn keep_items(leaf: &Block, seq: u64, items: &mut Items, wanted: impl Fn(Key) -> bool) {
    for i in 0..node::count(leaf) {
        let (Some(key), Some(value)) = (node::key_at(leaf, i), node::value_at(leaf, i)) else {
            continue;
        };
        let newer = items.get(&key).is_none_or(|(old, _)| *old < seq);
        if newer && wanted(key) {
            items.insert(key, (seq, value.to_vec()));
        }
    }
}

/// Looks for leaves that hold keys of the lost ranges; of each item the newest wins.
///
/// Any block may be one that a lost node pointed to, and the log, which is not wiped when it
/// starts over, may hold a copy of a lost leaf itself.
fn search<D: BlockDevice>(
    store: &mut Store<D>,
    used: &UsedMap,
    lost: &[LostRange],
    items: &mut Items,
) {
    let geo = store.geo;
    let end = geo
        .total
        .min(store.state.groups_ready.max(1) * GROUP_BLOCKS);
    let blocks = (0..end).filter(|&b| geo.allocatable(b) && !used.contains(b));
    let log = geo.log_start..geo.log_start + geo.log_len;
    let mut data = zeroed();
    for block in log.clone().chain(blocks) {
        if store.dev.read(block, &mut data[..]).is_err() {
            continue;
        }
        let home = header(&data).block.get();
        let ours = home == block || (log.contains(&block) && lost.iter().any(|r| r.block == home));
        if !ours
            || !verify(&data, MAGIC_NODE, home, geo.fsid, store.crc)
            || !node::valid(&data)
            || node::level(&data) != 0
        {
            continue;
        }
        let seq = header(&data).seq.get().min(u64::MAX - 1);
        keep_items(&data, seq, items, |key| {
            lost.iter()
                .any(|r| key >= r.low && r.high.is_none_or(|h| key < h))
        });
    }
}

/// Whether blocks hold what their checksums say. Nothing proves that unwritten ones are theirs.
fn intact<D: BlockDevice>(store: &mut Store<D>, extent: &OwnedExtent) -> bool {
    let mut data = zeroed();
    !extent.unwritten()
        && extent.sums.iter().zip(extent.blocks()).all(|(sum, block)| {
            store.dev.read(block, &mut data[..]).is_ok() && store.crc.of(&data[..]) == sum.get()
        })
}
