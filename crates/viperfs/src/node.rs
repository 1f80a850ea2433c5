//! One node of the tree, in its block.
//!
//! Leaf: sorted slots grow up from the head, item data grows down from the end and is kept
//! compact. Interior: sorted `(key, child)` pairs; the key is a lower bound of everything below.
//! Functions here assume a node that [`valid`] accepted; they keep it so.

use crate::device::BLOCK_SIZE;
use crate::layout::{Block, ChildSlot, DiskKey, Key, LeafSlot, NodeHead, PAYLOAD, view, view_mut};
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes for slots and data in a node.
pub(crate) const CAPACITY: usize = BLOCK_SIZE - PAYLOAD;
const LEAF_SLOT: usize = size_of::<LeafSlot>();
const CHILD_SLOT: usize = size_of::<ChildSlot>();
/// Children of an interior node.
pub(crate) const FANOUT: usize = CAPACITY / CHILD_SLOT;
/// The longest item value: three fit in a leaf, so a split always makes room.
pub(crate) const MAX_ITEM: usize = CAPACITY / 3 - LEAF_SLOT;
/// The root is at most this level; 2^32 blocks need far less.
pub(crate) const MAX_LEVEL: u8 = 8;

pub(crate) fn level(node: &Block) -> u8 {
    view::<NodeHead>(node).level
}

pub(crate) fn count(node: &Block) -> usize {
    view::<NodeHead>(node).count.get() as usize
}

fn data_start(node: &Block) -> usize {
    view::<NodeHead>(node).data_start.get() as usize
}

fn set_head(node: &mut Block, count: usize, data_start: usize) {
    let head: &mut NodeHead = view_mut(node);
    head.count = U16::new(count as u16);
    head.data_start = U16::new(data_start as u16);
}

/// Makes an empty node.
pub(crate) fn init(node: &mut Block, level: u8) {
    node.fill(0);
    view_mut::<NodeHead>(node).level = level;
    set_head(node, 0, BLOCK_SIZE);
}

pub(crate) fn slots(node: &Block) -> &[LeafSlot] {
    let n = count(node);
    <[LeafSlot]>::ref_from_bytes(&node[PAYLOAD..PAYLOAD + n * LEAF_SLOT])
        .expect("slots of a valid leaf are inside it")
}

fn slots_mut(node: &mut Block, n: usize) -> &mut [LeafSlot] {
    <[LeafSlot]>::mut_from_bytes(&mut node[PAYLOAD..PAYLOAD + n * LEAF_SLOT])
        .expect("slots of a valid leaf are inside it")
}

pub(crate) fn children(node: &Block) -> &[ChildSlot] {
    let n = count(node);
    <[ChildSlot]>::ref_from_bytes(&node[PAYLOAD..PAYLOAD + n * CHILD_SLOT])
        .expect("children of a valid node are inside it")
}

fn children_mut(node: &mut Block, n: usize) -> &mut [ChildSlot] {
    <[ChildSlot]>::mut_from_bytes(&mut node[PAYLOAD..PAYLOAD + n * CHILD_SLOT])
        .expect("children of a valid node are inside it")
}

/// Whether the structure inside the block holds together. Child addresses are not looked at.
pub(crate) fn valid(node: &Block) -> bool {
    let (n, level, low) = (count(node), level(node), data_start(node));
    if level > MAX_LEVEL || low > BLOCK_SIZE {
        return false;
    }
    if level > 0 {
        return (1..=FANOUT).contains(&n)
            && low == BLOCK_SIZE
            && children(node)
                .windows(2)
                .all(|w| w[0].key.get() < w[1].key.get());
    }
    if PAYLOAD + n * LEAF_SLOT > low {
        return false;
    }
    let mut bytes = 0;
    for slot in slots(node) {
        let (start, len) = (slot.start.get() as usize, slot.len.get() as usize);
        if start < low || start + len > BLOCK_SIZE || len == 0 || len > MAX_ITEM {
            return false;
        }
        bytes += len;
    }
    bytes == BLOCK_SIZE - low
        && slots(node)
            .windows(2)
            .all(|w| w[0].key.get() < w[1].key.get())
        && disjoint(node)
}

/// Whether no two items share bytes: with the total known to be exact, data must tile the area.
fn disjoint(node: &Block) -> bool {
    let mut map = [0u64; BLOCK_SIZE / 64];
    slots(node).iter().all(|slot| {
        let start = slot.start.get() as usize;
        let end = start + slot.len.get() as usize;
        let mut at = start;
        while at < end {
            let n = (64 - at % 64).min(end - at);
            let mask = (u64::MAX >> (64 - n)) << (at % 64);
            if map[at / 64] & mask != 0 {
                return false;
            }
            map[at / 64] |= mask;
            at += n;
        }
        true
    })
}

/// First and last key of a node that is not empty.
pub(crate) fn bounds(node: &Block) -> Option<(Key, Key)> {
    if level(node) == 0 {
        let s = slots(node);
        Some((s.first()?.key.get(), s.last()?.key.get()))
    } else {
        let c = children(node);
        Some((c.first()?.key.get(), c.last()?.key.get()))
    }
}

/// Finds a key in a leaf: its slot, or where it would go.
#[inline]
pub(crate) fn search(node: &Block, key: Key) -> Result<usize, usize> {
    slots(node).binary_search_by(|slot| slot.key.get().cmp(&key))
}

/// The child to follow for a key: the last whose bound is not above it, or the first.
#[inline]
pub(crate) fn child_index(node: &Block, key: Key) -> usize {
    children(node)
        .partition_point(|c| c.key.get() <= key)
        .saturating_sub(1)
}

pub(crate) fn key_at(node: &Block, i: usize) -> Option<Key> {
    slots(node).get(i).map(|s| s.key.get())
}

pub(crate) fn value_at(node: &Block, i: usize) -> Option<&[u8]> {
    let slot = slots(node).get(i)?;
    let start = slot.start.get() as usize;
    node.get(start..start + slot.len.get() as usize)
}

pub(crate) fn value_at_mut(node: &mut Block, i: usize) -> Option<&mut [u8]> {
    let slot = slots(node).get(i)?;
    let (start, len) = (slot.start.get() as usize, slot.len.get() as usize);
    node.get_mut(start..start + len)
}

pub(crate) fn child_at(node: &Block, i: usize) -> Option<(Key, u64)> {
    children(node).get(i).map(|c| (c.key.get(), c.child.get()))
}

/// Bytes in use for slots and data.
pub(crate) fn used(node: &Block) -> usize {
    if level(node) == 0 {
        count(node) * LEAF_SLOT + BLOCK_SIZE - data_start(node)
    } else {
        count(node) * CHILD_SLOT
    }
}

/// Whether an item with a value of `len` bytes fits.
pub(crate) fn fits(node: &Block, len: usize) -> bool {
    used(node) + LEAF_SLOT + len <= CAPACITY
}

/// Inserts an item at slot `i`; the caller has checked order and room.
///
/// No value is empty: an empty one would share its place with another item.
pub(crate) fn insert(node: &mut Block, i: usize, key: Key, value: &[u8]) {
    let (n, low) = (count(node), data_start(node));
    let start = low - value.len();
    node[start..low].copy_from_slice(value);
    let at = PAYLOAD + i * LEAF_SLOT;
    node.copy_within(at..PAYLOAD + n * LEAF_SLOT, at + LEAF_SLOT);
    let slot = LeafSlot {
        key: DiskKey::from(key),
        start: U16::new(start as u16),
        len: U16::new(value.len() as u16),
    };
    node[at..at + LEAF_SLOT].copy_from_slice(slot.as_bytes());
    set_head(node, n + 1, start);
}

/// Removes the item at slot `i` and closes the gap in the data.
pub(crate) fn remove(node: &mut Block, i: usize) {
    let (n, low) = (count(node), data_start(node));
    let (start, len) = (
        slots(node)[i].start.get() as usize,
        slots(node)[i].len.get() as usize,
    );
    node.copy_within(low..start, low + len);
    for slot in slots_mut(node, n) {
        let s = slot.start.get() as usize;
        if s < start {
            slot.start = U16::new((s + len) as u16);
        }
    }
    let at = PAYLOAD + i * LEAF_SLOT;
    node.copy_within(at + LEAF_SLOT..PAYLOAD + n * LEAF_SLOT, at);
    node[PAYLOAD + (n - 1) * LEAF_SLOT..PAYLOAD + n * LEAF_SLOT].fill(0);
    node[low..low + len].fill(0);
    set_head(node, n - 1, low + len);
}

/// Moves the items from slot `from` on to the empty or lower-keyed leaf `to`, at its end.
pub(crate) fn move_tail(node: &mut Block, from: usize, to: &mut Block) {
    for i in from..count(node) {
        let key = slots(node)[i].key.get();
        let value = value_at(node, i).expect("slot of a valid leaf");
        insert(to, count(to), key, value);
    }
    while count(node) > from {
        remove(node, count(node) - 1);
    }
}

/// Inserts a child at position `i`; the caller has checked order and room.
pub(crate) fn insert_child(node: &mut Block, i: usize, key: Key, child: u64) {
    let n = count(node);
    let at = PAYLOAD + i * CHILD_SLOT;
    node.copy_within(at..PAYLOAD + n * CHILD_SLOT, at + CHILD_SLOT);
    let slot = ChildSlot {
        key: DiskKey::from(key),
        child: U64::new(child),
    };
    node[at..at + CHILD_SLOT].copy_from_slice(slot.as_bytes());
    set_head(node, n + 1, BLOCK_SIZE);
}

/// Removes the child at position `i`.
pub(crate) fn remove_child(node: &mut Block, i: usize) {
    let n = count(node);
    let at = PAYLOAD + i * CHILD_SLOT;
    node.copy_within(at + CHILD_SLOT..PAYLOAD + n * CHILD_SLOT, at);
    node[PAYLOAD + (n - 1) * CHILD_SLOT..PAYLOAD + n * CHILD_SLOT].fill(0);
    set_head(node, n - 1, BLOCK_SIZE);
}

/// Changes the lower bound of the child at position `i`.
pub(crate) fn set_child_key(node: &mut Block, i: usize, key: Key) {
    let n = count(node);
    if let Some(slot) = children_mut(node, n).get_mut(i) {
        slot.key = DiskKey::from(key);
    }
}

/// Moves the children from position `from` on to the end of `to`.
pub(crate) fn move_children(node: &mut Block, from: usize, to: &mut Block) {
    for i in from..count(node) {
        let (key, child) = child_at(node, i).expect("position below count");
        insert_child(to, count(to), key, child);
    }
    while count(node) > from {
        remove_child(node, count(node) - 1);
    }
}

/// Where to split a leaf into which an item of `len` bytes will go at slot `i`.
///
/// An item that goes last gets a leaf of its own, so ascending keys fill leaves to the brim.
pub(crate) fn split_point(node: &Block, i: usize) -> usize {
    let n = count(node);
    if i == n {
        return n;
    }
    let half = used(node) / 2;
    let mut sum = 0;
    for (at, slot) in slots(node).iter().enumerate() {
        let size = LEAF_SLOT + slot.len.get() as usize;
        // Stop at whichever boundary is nearer to the half: no side then exceeds two thirds.
        if sum + size / 2 >= half {
            return at.clamp(1, n.max(2) - 1);
        }
        sum += size;
    }
    n.max(2) - 1
}
