//! Going through a whole volume without trusting any of it; shared by the checker and repair.

use crate::device::BlockDevice;
use crate::error::Error;
use crate::layout::{Block, GROUP_BLOCKS, Key, MAGIC_NODE, ROOT_BLOCK};
use crate::node;
use crate::store::{Geometry, Store};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use hashbrown::HashMap;

/// Words in the bitmap of a group.
pub(crate) const GROUP_WORDS: usize = (GROUP_BLOCKS / 64) as usize;

/// Which blocks are in use, as found by following every pointer. Memory grows with the number of
/// groups touched: 4 KiB for each 126 MiB in use.
pub(crate) struct UsedMap {
    groups: HashMap<u64, Box<[u64; GROUP_WORDS]>>,
}

impl UsedMap {
    pub fn new() -> Self {
        Self {
            groups: HashMap::new(),
        }
    }

    /// Marks a block; false when it was marked before.
    pub fn mark(&mut self, block: u64) -> bool {
        let (group, bit) = (block / GROUP_BLOCKS, block % GROUP_BLOCKS);
        let words = self
            .groups
            .entry(group)
            .or_insert_with(|| Box::new([0; GROUP_WORDS]));
        let (word, mask) = (&mut words[(bit / 64) as usize], 1 << (bit % 64));
        let fresh = *word & mask == 0;
        *word |= mask;
        fresh
    }

    pub fn contains(&self, block: u64) -> bool {
        let bit = block % GROUP_BLOCKS;
        self.words(block / GROUP_BLOCKS)
            .is_some_and(|w| w[(bit / 64) as usize] >> (bit % 64) & 1 != 0)
    }

    pub fn words(&self, group: u64) -> Option<&[u64; GROUP_WORDS]> {
        self.groups.get(&group).map(|w| &**w)
    }

    /// The highest group with a mark.
    pub fn last_group(&self) -> u64 {
        self.groups.keys().copied().max().unwrap_or(0)
    }
}

/// Keys whose items could not be read: `low` up to `high` (exclusive; `None` is the end).
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostRange {
    pub block: u64,
    pub low: Key,
    pub high: Option<Key>,
}

/// Visits every leaf of the tree in key order.
///
/// Each node is visited once: `used` takes note of it, and a second pointer to it counts as lost.
pub(crate) fn visit_leaves<D: BlockDevice>(
    store: &mut Store<D>,
    used: &mut UsedMap,
    mut leaf: impl FnMut(&mut Store<D>, &mut UsedMap, &Block),
    mut lost: impl FnMut(LostRange, Error),
) {
    struct Pending {
        range: LostRange,
        level: Option<u8>,
    }
    let root = LostRange {
        block: ROOT_BLOCK,
        low: Key::MIN,
        high: None,
    };
    let mut todo = vec![Pending {
        range: root,
        level: None,
    }];
    while let Some(Pending { range, level }) = todo.pop() {
        let LostRange { low, high, .. } = range;
        let data = match load_node(store, used, range, level) {
            Ok(data) => data,
            Err(error) => {
                lost(range, error);
                continue;
            }
        };
        let level = node::level(&data);
        if level == 0 {
            leaf(store, used, &data);
            continue;
        }
        let children = node::children(&data);
        for (i, child) in children.iter().enumerate().rev() {
            let below = children.get(i + 1).map(|c| c.key.get()).or(high);
            let low = if i == 0 { low } else { child.key.get() };
            let range = LostRange {
                block: child.child.get(),
                low,
                high: below,
            };
            todo.push(Pending {
                range,
                level: Some(level - 1),
            });
        }
    }
}

fn load_node<D: BlockDevice>(
    store: &mut Store<D>,
    used: &mut UsedMap,
    range: LostRange,
    level: Option<u8>,
) -> Result<Box<Block>, Error> {
    let root = level.is_none();
    if !root && (!store.geo.allocatable(range.block) || !used.mark(range.block)) {
        return Err(Error::Corrupt);
    }
    let at = store.load(range.block, MAGIC_NODE)?;
    let data = &store.cache.slot(at).data;
    let fits = match node::bounds(data) {
        None => root,
        Some((first, last)) => {
            let low = if node::level(data) == 0 {
                first >= range.low
            } else {
                first == range.low
            };
            low && range.high.is_none_or(|h| last < h)
        }
    };
    if !fits || level.is_some_and(|l| l != node::level(data)) {
        return Err(Error::Corrupt);
    }
    Ok(data.clone())
}

/// The bits that a group's bitmap should hold, word by word.
pub(crate) fn expected_bits(geo: &Geometry, used: &UsedMap, group: u64, bits: &mut Block) {
    crate::space::init_bitmap(geo, bits, group);
    let Some(words) = used.words(group) else {
        return;
    };
    for (i, word) in words.iter().enumerate() {
        let at = crate::layout::PAYLOAD + i * 8;
        for (byte, add) in bits[at..at + 8].iter_mut().zip(word.to_le_bytes()) {
            *byte |= add;
        }
    }
}

/// A sorted list of the keys of a map; hash maps have no order to report in.
pub(crate) fn sorted_keys<V>(map: &HashMap<u64, V>) -> Vec<u64> {
    let mut keys: Vec<u64> = map.keys().copied().collect();
    keys.sort_unstable();
    keys
}
