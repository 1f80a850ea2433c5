//! The checker: reads everything, believes nothing, changes nothing.

use crate::checksum::Crc32c;
use crate::device::{BLOCK_SIZE, BlockDevice};
use crate::dir::{name_hash, parse_entry};
use crate::error::MountError;
use crate::extent::Extent;
use crate::inode::{FileKind, Inode};
use crate::layout::{
    Block, GROUP_BLOCKS, InodeItem, Key, MAGIC_BITMAP, MAX_FILE_SIZE, ORPHAN_VALUE, PAYLOAD,
    ROOT_INO, Superblock, kind, zeroed,
};
use crate::node;
use crate::space::{bitmap_block, free_in, fresh_group_free, group_len};
use crate::store::{Geometry, IO_BLOCKS, Store};
use crate::superblock;
use crate::survey::{GROUP_WORDS, UsedMap, expected_bits, sorted_keys, visit_leaves};
use crate::xattr::parse_xattr;
use alloc::vec::Vec;
use hashbrown::{HashMap, HashSet};
use zerocopy::FromBytes;

/// How to check. Take what does not matter from [`Default`]: fields may be added.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// Read the contents of every file too, and verify its checksums.
    pub data: bool,
    /// How to compute checksums.
    pub crc32c: Crc32c,
    /// Problems to list; more are only counted.
    pub list_max: usize,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            data: true,
            crc32c: Crc32c::SOFTWARE,
            list_max: 1000,
        }
    }
}

/// One thing that is wrong with a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The volume cannot be mounted.
    Unmountable(MountError),
    /// A copy of the superblock is damaged or differs from the other.
    Superblock {
        /// Its address.
        block: u64,
    },
    /// A tree node cannot be used; what it held is lost.
    Node {
        /// Its address.
        block: u64,
    },
    /// An item of an inode is malformed.
    Item {
        /// The inode.
        ino: u64,
        /// The kind of item, as in the format document.
        kind: u8,
    },
    /// Items of an inode that does not exist.
    NoInode {
        /// The inode.
        ino: u64,
    },
    /// A block has two owners.
    DoubleUse {
        /// Its address.
        block: u64,
    },
    /// A directory entry leads to an inode that does not exist or is something else.
    Entry {
        /// The directory.
        dir: u64,
        /// Where the entry leads.
        ino: u64,
    },
    /// An inode that no path leads to.
    Unreachable {
        /// The inode.
        ino: u64,
    },
    /// A link count is wrong.
    LinkCount {
        /// The inode.
        ino: u64,
        /// The count it bears.
        stored: u32,
        /// The names there are.
        found: u32,
    },
    /// A size, block count or parent that an inode bears is wrong.
    Attribute {
        /// The inode.
        ino: u64,
    },
    /// A block of a file is not what was written.
    Data {
        /// The inode.
        ino: u64,
        /// The page of the file.
        page: u64,
    },
    /// A bitmap block is damaged.
    Bitmap {
        /// The allocation group.
        group: u64,
    },
    /// Blocks that are in use are marked free.
    MarkedFree {
        /// The allocation group.
        group: u64,
        /// How many.
        count: u64,
    },
    /// Blocks that nobody uses are marked in use.
    Leaked {
        /// The allocation group.
        group: u64,
        /// How many.
        count: u64,
    },
    /// The counters of the volume are wrong.
    Counters,
}

impl core::fmt::Display for Problem {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Unmountable(e) => write!(f, "volume cannot be mounted: {e}"),
            Self::Superblock { block } => write!(f, "superblock at {block} is damaged"),
            Self::Node { block } => write!(f, "tree node at {block} is damaged"),
            Self::Item { ino, kind } => write!(f, "inode {ino}: item of kind {kind} is malformed"),
            Self::NoInode { ino } => write!(f, "inode {ino}: items, but no inode"),
            Self::DoubleUse { block } => write!(f, "block {block} has two owners"),
            Self::Entry { dir, ino } => write!(f, "directory {dir}: entry to {ino} leads nowhere"),
            Self::Unreachable { ino } => write!(f, "inode {ino}: no path leads to it"),
            Self::LinkCount { ino, stored, found } => {
                write!(f, "inode {ino}: link count is {stored}, should be {found}")
            }
            Self::Attribute { ino } => write!(f, "inode {ino}: size, blocks or parent is wrong"),
            Self::Data { ino, page } => write!(f, "inode {ino}: page {page} is damaged"),
            Self::Bitmap { group } => write!(f, "bitmap of group {group} is damaged"),
            Self::MarkedFree { group, count } => {
                write!(f, "group {group}: {count} blocks in use are marked free")
            }
            Self::Leaked { group, count } => {
                write!(f, "group {group}: {count} free blocks are marked in use")
            }
            Self::Counters => f.write_str("the volume's counters are wrong"),
        }
    }
}

/// What the checker found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What is wrong, the first [`CheckOptions::list_max`] of it.
    pub problems: Vec<Problem>,
    /// How many problems there are.
    pub problem_count: u64,
    /// Regular files, links and special nodes.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Blocks in use for file contents.
    pub data_blocks: u64,
    /// Blocks in use for the tree.
    pub tree_blocks: u64,
    /// Committed transactions in the journal that the next mount will write home.
    pub pending_transactions: u64,
    /// Inodes that the next mount will reclaim or trim.
    pub orphans: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problem_count == 0
    }
}

/// How far a check has come: done and total, in some unit that only ever grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Blocks looked at.
    pub done: u64,
    /// Blocks in use, or 0 while that is unknown.
    pub total: u64,
}

/// Checks the volume on a device. Nothing is written; a journal is applied in memory only.
///
/// Memory: about 100 bytes for each inode, 4 KiB for each 126 MiB of blocks in use, the cache.
/// Time is bounded by the blocks of the volume: nothing is visited twice.
pub fn check<D: BlockDevice>(
    mut dev: D,
    options: &CheckOptions,
    progress: impl FnMut(Progress),
) -> Report {
    let mut report = Report::default();
    let sb = match open(&mut dev, options, &mut report) {
        Ok(sb) => sb,
        Err(error) => {
            report.add(options, Problem::Unmountable(error));
            return report;
        }
    };
    let mut store = Store::new(dev, Geometry::new(&sb), options.crc32c, 1024);
    match store.replay(false) {
        Ok(replayed) => report.pending_transactions = replayed.transactions,
        Err(error) => {
            report.add(options, Problem::Unmountable(error.into()));
            return report;
        }
    }
    if store.load_state().is_err() {
        report.add(options, Problem::Counters);
    }
    let seen = Seen::default();
    let mut checker = Checker {
        report,
        options,
        progress,
        seen,
        used: UsedMap::new(),
        total: 0,
    };
    checker.total = store.geo.total.saturating_sub(store.state.free_blocks);
    checker.tree(&mut store);
    checker.inodes();
    checker.space(&mut store);
    checker.report
}

fn open<D: BlockDevice>(
    dev: &mut D,
    options: &CheckOptions,
    report: &mut Report,
) -> Result<Superblock, MountError> {
    let sb = superblock::find(dev, options.crc32c)?;
    superblock::judge(&sb, dev.block_count(), true)?;
    for block in [0, sb.total_blocks.get() - 1] {
        let copy = superblock::read_copy(dev, block, options.crc32c);
        if !matches!(copy, Ok(Some(c)) if superblock::same(&c, &sb)) {
            report.add(options, Problem::Superblock { block });
        }
    }
    Ok(sb)
}

impl Report {
    fn add(&mut self, options: &CheckOptions, problem: Problem) {
        self.problem_count += 1;
        if self.problems.len() < options.list_max {
            self.problems.push(problem);
        }
    }
}

/// What was seen of one inode.
#[derive(Default)]
struct Facts {
    inode: Option<Inode>,
    /// Names that lead here, and the directory of the last.
    names: u32,
    named_in: u64,
    subdirs: u32,
    entries: u64,
    blocks: u64,
    target_bytes: u64,
    /// An extent reaches behind the end of the file.
    past_end: bool,
    /// There are unwritten extents.
    kept: bool,
}

#[derive(Default)]
struct Seen {
    inodes: HashMap<u64, Facts>,
    /// Where entries lead and what they claim is there.
    entries: Vec<(u64, u64, FileKind)>,
    orphans: HashSet<u64>,
}

struct Checker<'o, P> {
    report: Report,
    options: &'o CheckOptions,
    progress: P,
    seen: Seen,
    used: UsedMap,
    total: u64,
}

impl<P: FnMut(Progress)> Checker<'_, P> {
    fn add(&mut self, problem: Problem) {
        self.report.add(self.options, problem);
    }

    fn tree<D: BlockDevice>(&mut self, store: &mut Store<D>) {
        let mut used = core::mem::replace(&mut self.used, UsedMap::new());
        let mut lost = Vec::new();
        let mut last_end = (0, 0);
        visit_leaves(
            store,
            &mut used,
            |store, used, leaf| self.leaf(store, used, leaf, &mut last_end),
            |range, error| lost.push((range, error)),
        );
        for (range, _) in lost {
            self.add(Problem::Node { block: range.block });
        }
        self.used = used;
    }

    fn leaf<D: BlockDevice>(
        &mut self,
        store: &mut Store<D>,
        used: &mut UsedMap,
        leaf: &Block,
        last_end: &mut (u64, u64),
    ) {
        self.report.tree_blocks += 1;
        for i in 0..node::count(leaf) {
            let (Some(key), Some(value)) = (node::key_at(leaf, i), node::value_at(leaf, i)) else {
                continue;
            };
            if key.kind() == kind::EXTENT {
                self.extent(store, used, key, value, last_end);
            } else if !self.item(store.geo.hash_seed, key, value) {
                self.add(Problem::Item {
                    ino: key.ino(),
                    kind: key.kind(),
                });
            }
        }
        let done = self.report.tree_blocks + self.report.data_blocks;
        (self.progress)(Progress {
            done,
            total: self.total.max(done),
        });
    }

    /// Takes note of an item that is no extent; false when it is malformed.
    fn item(&mut self, seed: u64, key: Key, value: &[u8]) -> bool {
        let (ino, offset) = (key.ino(), key.offset());
        if ino == 0 {
            let good = key.kind() == kind::ORPHAN && value == ORPHAN_VALUE;
            if good {
                self.seen.orphans.insert(offset);
            }
            return good;
        }
        let facts = self.seen.inodes.entry(ino).or_default();
        match key.kind() {
            kind::INODE => {
                let item = InodeItem::read_from_bytes(value).ok();
                facts.inode = item.and_then(|i| Inode::from_item(ino, &i));
                offset == 0 && facts.inode.is_some()
            }
            kind::TARGET => {
                let in_order = facts.target_bytes == offset * 1024;
                facts.target_bytes += value.len() as u64;
                in_order && !value.is_empty() && value.len() <= 1024
            }
            kind::XATTR => parse_xattr(value).is_some_and(|(name, _)| at_hash(seed, name, offset)),
            kind::ENTRY => {
                let Some((to, to_kind, name)) = parse_entry(value) else {
                    return false;
                };
                let good = at_hash(seed, name, offset);
                facts.entries += 1;
                facts.subdirs += u32::from(to_kind == FileKind::Directory);
                self.seen.entries.push((ino, to, to_kind));
                let child = self.seen.inodes.entry(to).or_default();
                child.names = child.names.saturating_add(1);
                child.named_in = ino;
                good
            }
            _ => false,
        }
    }

    fn extent<D: BlockDevice>(
        &mut self,
        store: &mut Store<D>,
        used: &mut UsedMap,
        key: Key,
        value: &[u8],
        last_end: &mut (u64, u64),
    ) {
        let ino = key.ino();
        let bad = Problem::Item {
            ino,
            kind: kind::EXTENT,
        };
        let Some(extent) = Extent::parse(key, value) else {
            return self.add(bad);
        };
        let len = extent.len;
        let overlaps = last_end.0 == ino && extent.page < last_end.1;
        *last_end = (ino, extent.end());
        if overlaps || !store.geo.allocatable_run(extent.block, len) {
            return self.add(bad);
        }
        for block in extent.block..extent.block + len {
            if !used.mark(block) {
                self.add(Problem::DoubleUse { block });
            }
        }
        self.report.data_blocks += len;
        let facts = self.seen.inodes.entry(ino).or_default();
        facts.blocks += len;
        let pages = facts
            .inode
            .map_or(0, |i| i.disk_size.div_ceil(BLOCK_SIZE as u64));
        if extent.unwritten() {
            facts.kept = true;
            return;
        }
        facts.past_end |= extent.end() > pages;
        if self.options.data {
            self.contents(store, ino, &extent);
        }
    }

    fn contents<D: BlockDevice>(&mut self, store: &mut Store<D>, ino: u64, extent: &Extent<'_>) {
        let mut io = core::mem::take(&mut store.io);
        for (i, sums) in extent.sums.chunks(IO_BLOCKS).enumerate() {
            let first = (i * IO_BLOCKS) as u64;
            let buf = &mut io[..sums.len() * BLOCK_SIZE];
            let whole = store.dev.read(extent.block + first, buf).is_ok();
            for (j, (data, sum)) in buf.chunks_mut(BLOCK_SIZE).zip(sums).enumerate() {
                let at = first + j as u64;
                let read = whole || store.dev.read(extent.block + at, data).is_ok();
                if !read || store.crc.of(data) != sum.get() {
                    self.add(Problem::Data {
                        ino,
                        page: extent.page + at,
                    });
                }
            }
        }
        store.io = io;
    }

    fn inodes(&mut self) {
        let seen = core::mem::take(&mut self.seen);
        for &(dir, ino, kind) in &seen.entries {
            let found = seen.inodes.get(&ino).and_then(|f| f.inode);
            if found.is_none_or(|i| i.kind != kind) {
                self.add(Problem::Entry { dir, ino });
            }
        }
        let mut rooted = HashSet::new();
        rooted.insert(ROOT_INO);
        for ino in sorted_keys(&seen.inodes) {
            let facts = &seen.inodes[&ino];
            match &facts.inode {
                Some(inode) => self.inode(ino, inode, facts, &seen, &mut rooted),
                // An entry alone was told of above.
                None if facts.entries + facts.blocks + facts.target_bytes > 0 => {
                    self.add(Problem::NoInode { ino });
                }
                None => {}
            }
        }
        if seen.inodes.get(&ROOT_INO).is_none_or(|f| f.inode.is_none()) {
            self.add(Problem::NoInode { ino: ROOT_INO });
        }
        self.report.orphans = seen.orphans.len() as u64;
        for &ino in &seen.orphans {
            if seen.inodes.get(&ino).is_none_or(|f| f.inode.is_none()) {
                self.add(Problem::Item {
                    ino,
                    kind: kind::ORPHAN,
                });
            }
        }
    }

    fn inode(
        &mut self,
        ino: u64,
        inode: &Inode,
        facts: &Facts,
        seen: &Seen,
        rooted: &mut HashSet<u64>,
    ) {
        let orphan = seen.orphans.contains(&ino);
        let is_dir = inode.kind == FileKind::Directory;
        let found = match (is_dir, ino) {
            (true, ROOT_INO) => 2 + facts.subdirs,
            (true, _) if facts.names > 0 => 2 + facts.subdirs,
            _ => facts.names,
        };
        if is_dir {
            self.report.directories += 1;
        } else {
            self.report.files += 1;
        }
        if inode.attr.nlink != found {
            self.add(Problem::LinkCount {
                ino,
                stored: inode.attr.nlink,
                found,
            });
        }
        let reachable = if is_dir {
            reaches_root(ino, seen, rooted)
        } else {
            facts.names > 0
        };
        if !reachable && !orphan {
            self.add(Problem::Unreachable { ino });
        }
        let size_ok = match inode.kind {
            FileKind::Directory => inode.attr.size == facts.entries,
            FileKind::Symlink => inode.attr.size == facts.target_bytes,
            FileKind::File => inode.attr.size <= MAX_FILE_SIZE,
            _ => inode.attr.size == 0,
        };
        let parent_ok = match (is_dir, ino) {
            (true, ROOT_INO) => inode.parent == ROOT_INO && facts.names == 0,
            (true, _) => facts.names <= 1 && (inode.parent == facts.named_in || facts.names == 0),
            _ => true,
        };
        let kind_ok = (is_dir || facts.entries == 0)
            && (inode.kind == FileKind::File || facts.blocks == 0)
            && (inode.kind == FileKind::Symlink || facts.target_bytes == 0);
        let blocks_ok = inode.attr.blocks == facts.blocks
            && (inode.kept() || !facts.kept)
            && (!facts.past_end || (orphan && (inode.untrimmed() || inode.attr.nlink == 0)));
        if !size_ok || !parent_ok || !kind_ok || !blocks_ok {
            self.add(Problem::Attribute { ino });
        }
    }

    fn space<D: BlockDevice>(&mut self, store: &mut Store<D>) {
        let geo = store.geo;
        let ready = store.state.groups_ready.max(1).min(geo.groups);
        let mut free = 0;
        let mut expected = zeroed();
        for group in 0..ready {
            expected.fill(0);
            expected_bits(&geo, &self.used, group, &mut expected);
            free += free_in(&expected);
            let Ok(at) = store.load(bitmap_block(group), MAGIC_BITMAP) else {
                self.add(Problem::Bitmap { group });
                continue;
            };
            let (leaked, missing) = compare(&store.cache.slot(at).data, &expected);
            if missing > 0 {
                self.add(Problem::MarkedFree {
                    group,
                    count: missing,
                });
            }
            if leaked > 0 {
                self.add(Problem::Leaked {
                    group,
                    count: leaked,
                });
            }
        }
        for group in ready..=self.used.last_group() {
            if self.used.words(group).is_some() {
                self.add(Problem::MarkedFree {
                    group,
                    count: group_len(&geo, group),
                });
            }
        }
        let rest: u64 = if ready < geo.groups {
            // All groups between the first and the last are of one size.
            (geo.groups - 1 - ready) * (GROUP_BLOCKS - 1) + fresh_group_free(&geo, geo.groups - 1)
        } else {
            0
        };
        if free + rest != store.state.free_blocks {
            self.add(Problem::Counters);
        }
    }
}

fn at_hash(seed: u64, name: &[u8], offset: u64) -> bool {
    offset & !0xFF == name_hash(seed, name)
}

/// Bits that are set but should not be, and the other way round.
fn compare(stored: &Block, expected: &Block) -> (u64, u64) {
    let (mut leaked, mut missing) = (0, 0);
    for i in PAYLOAD..PAYLOAD + GROUP_WORDS * 8 {
        leaked += u64::from((stored[i] & !expected[i]).count_ones());
        missing += u64::from((expected[i] & !stored[i]).count_ones());
    }
    (leaked, missing)
}

/// Whether following parents from a directory ends at the root; remembers those that do.
fn reaches_root(ino: u64, seen: &Seen, rooted: &mut HashSet<u64>) -> bool {
    let mut way = Vec::new();
    let mut on_way = HashSet::new();
    let mut at = ino;
    while !rooted.contains(&at) {
        let facts = seen.inodes.get(&at).filter(|f| f.names > 0);
        let Some(facts) = facts.filter(|_| on_way.insert(at)) else {
            return false;
        };
        way.push(at);
        at = facts.named_in;
    }
    rooted.extend(way);
    true
}
