//! The one tree of the volume: sorted items in a B+ tree whose root never moves.
//!
//! Descent checks each child's level and key range against its parent, so a forged volume can
//! neither loop nor show the same node twice.

use crate::device::BlockDevice;
use crate::error::Error;
use crate::layout::{Key, MAGIC_NODE, ROOT_BLOCK};
use crate::node::{self, CAPACITY, FANOUT, MAX_LEVEL};
use crate::store::Store;

/// One step of a descent.
#[derive(Clone, Copy)]
struct Step {
    block: u64,
    /// The child that was followed; in the leaf, unused.
    index: usize,
}

/// The way from the root to a leaf, root first.
struct Path {
    steps: [Step; MAX_LEVEL as usize + 2],
    len: usize,
    /// The cache slot of the leaf, until the next block is loaded.
    slot: u32,
    /// Every key of the leaf is in `low..high`; `None` is no bound.
    low: Key,
    high: Option<Key>,
}

impl Path {
    fn leaf(&self) -> u64 {
        self.steps[self.len - 1].block
    }

    fn push(&mut self, block: u64) -> Result<(), Error> {
        let step = self.steps.get_mut(self.len).ok_or(Error::Bug)?;
        *step = Step { block, index: 0 };
        self.len += 1;
        Ok(())
    }

    /// Makes room for a new level below the root.
    fn push_below_root(&mut self, block: u64) -> Result<(), Error> {
        self.push(block)?;
        self.steps.copy_within(1..self.len - 1, 2);
        self.steps[1] = Step {
            block,
            index: self.steps[0].index,
        };
        self.steps[0].index = 0;
        Ok(())
    }
}

impl<D: BlockDevice> Store<D> {
    fn descend(&mut self, key: Key) -> Result<Path, Error> {
        let mut path = Path {
            steps: [Step { block: 0, index: 0 }; MAX_LEVEL as usize + 2],
            len: 0,
            slot: 0,
            low: Key::MIN,
            high: None,
        };
        let mut block = ROOT_BLOCK;
        let mut at = self.load(block, MAGIC_NODE)?;
        let mut level = node::level(&self.cache.slot(at).data);
        loop {
            path.push(block)?;
            let data = &self.cache.slot(at).data;
            if level == 0 {
                path.slot = at;
                return Ok(path);
            }
            let index = node::child_index(data, key);
            let (low, child) = node::child_at(data, index).ok_or(Error::Corrupt)?;
            if let Some((next, _)) = node::child_at(data, index + 1) {
                path.high = Some(next);
            }
            path.low = low;
            path.steps[path.len - 1].index = index;
            if !self.geo.allocatable(child) {
                return Err(Error::Corrupt);
            }
            block = child;
            at = self.load(block, MAGIC_NODE)?;
            let data = &self.cache.slot(at).data;
            level -= 1;
            let (first, last) = node::bounds(data).ok_or(Error::Corrupt)?;
            // The first child of a node carries the lower bound of the node itself.
            let low_ok = if level == 0 {
                first >= low
            } else {
                first == low
            };
            if node::level(data) != level || !low_ok || path.high.is_some_and(|h| last >= h) {
                return Err(Error::Corrupt);
            }
        }
    }

    /// The slot of the leaf that holds a key, and the item's index there.
    pub fn locate(&mut self, key: Key) -> Result<Option<(u32, usize)>, Error> {
        let at = self.descend(key)?.slot;
        Ok(node::search(&self.cache.slot(at).data, key)
            .ok()
            .map(|i| (at, i)))
    }

    /// The value of a key, as seen by `f`.
    pub fn get<R>(&mut self, key: Key, f: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, Error> {
        let Some((at, i)) = self.locate(key)? else {
            return Ok(None);
        };
        Ok(node::value_at(&self.cache.slot(at).data, i).map(f))
    }

    /// The first item at or after a key, as seen by `f`.
    pub fn first_from<R>(
        &mut self,
        mut key: Key,
        f: impl FnOnce(Key, &[u8]) -> R,
    ) -> Result<Option<R>, Error> {
        loop {
            let path = self.descend(key)?;
            let at = path.slot;
            let data = &self.cache.slot(at).data;
            let i = node::search(data, key).unwrap_or_else(|i| i);
            if let (Some(found), Some(value)) = (node::key_at(data, i), node::value_at(data, i)) {
                return Ok(Some(f(found, value)));
            }
            match path.high {
                Some(high) => key = high,
                None => return Ok(None),
            }
        }
    }

    /// The last item at or before a key, as seen by `f`.
    pub fn last_to<R>(
        &mut self,
        mut key: Key,
        f: impl FnOnce(Key, &[u8]) -> R,
    ) -> Result<Option<R>, Error> {
        loop {
            let path = self.descend(key)?;
            let at = path.slot;
            let data = &self.cache.slot(at).data;
            let end = node::search(data, key).map_or_else(|i| i, |i| i + 1);
            if end > 0
                && let (Some(found), Some(value)) =
                    (node::key_at(data, end - 1), node::value_at(data, end - 1))
            {
                return Ok(Some(f(found, value)));
            }
            // Nothing that low in this leaf: whatever is before it sorts below its bound.
            match path.low.prev() {
                Some(before) if path.low <= key => key = before,
                _ => return Ok(None),
            }
        }
    }

    /// Calls `f` on items from `key` on, in order, until it returns `false` or the items end.
    /// One descent per leaf. `f` must not touch the tree.
    pub fn scan(
        &mut self,
        mut key: Key,
        mut f: impl FnMut(Key, &[u8]) -> bool,
    ) -> Result<(), Error> {
        loop {
            let path = self.descend(key)?;
            let at = path.slot;
            let data = &self.cache.slot(at).data;
            let mut i = node::search(data, key).unwrap_or_else(|i| i);
            while let (Some(found), Some(value)) = (node::key_at(data, i), node::value_at(data, i))
            {
                if !f(found, value) {
                    return Ok(());
                }
                i += 1;
            }
            match path.high {
                Some(high) => key = high,
                None => return Ok(()),
            }
        }
    }

    /// Adds an item.
    ///
    /// # Errors
    /// [`Error::Exists`] when the key is taken.
    pub fn insert(&mut self, key: Key, value: &[u8]) -> Result<(), Error> {
        debug_assert!((1..=node::MAX_ITEM).contains(&value.len()));
        let mut path = self.descend(key)?;
        let at = path.slot;
        let data = &self.cache.slot(at).data;
        let i = match node::search(data, key) {
            Ok(_) => return Err(Error::Exists),
            Err(i) => i,
        };
        if node::fits(data, value.len()) {
            node::insert(self.modify(at)?, i, key, value);
            return Ok(());
        }
        self.split_leaf(&mut path, i, key, value)
    }

    /// Changes the value of an item that exists.
    pub fn update(&mut self, key: Key, value: &[u8]) -> Result<(), Error> {
        let (at, i) = self.locate(key)?.ok_or(Error::Corrupt)?;
        let data = self.modify(at)?;
        let old = node::value_at_mut(data, i).ok_or(Error::Bug)?;
        if old.len() == value.len() {
            old.copy_from_slice(value);
            return Ok(());
        }
        let grown = value.len().saturating_sub(old.len());
        if node::used(data) + grown <= CAPACITY {
            node::remove(data, i);
            node::insert(data, i, key, value);
            return Ok(());
        }
        self.remove(key)?;
        self.insert(key, value)
    }

    /// Removes an item that exists.
    pub fn remove(&mut self, key: Key) -> Result<(), Error> {
        let mut path = self.descend(key)?;
        let at = path.slot;
        let i = node::search(&self.cache.slot(at).data, key).map_err(|_| Error::Corrupt)?;
        let data = self.modify(at)?;
        node::remove(data, i);
        if node::used(data) < CAPACITY / 3 {
            let depth = path.len - 1;
            self.rebalance(&mut path, depth)?;
        }
        Ok(())
    }

    fn new_node(&mut self, level: u8, near: u64) -> Result<u64, Error> {
        let (block, _) = self.allocate(near, 1)?;
        let fsid = self.geo.fsid;
        let at = self.fresh(block, MAGIC_NODE)?;
        let data = self.modify(at)?;
        node::init(data, level);
        crate::layout::set_header(data, MAGIC_NODE, block, fsid, 0);
        Ok(block)
    }

    fn free_node(&mut self, block: u64) -> Result<(), Error> {
        self.free(block, 1)?;
        self.freed_nodes = true;
        Ok(())
    }

    /// Changes two nodes at once: takes the second out of its slot meanwhile.
    fn modify_two(
        &mut self,
        first: u64,
        second: u64,
        f: impl FnOnce(&mut crate::layout::Block, &mut crate::layout::Block),
    ) -> Result<(), Error> {
        let a = self.load(first, MAGIC_NODE)?;
        self.modify(a)?;
        let b = self.load(second, MAGIC_NODE)?;
        self.modify(b)?;
        if a == b {
            return Err(Error::Corrupt);
        }
        let (x, y) = self.cache.two(a, b);
        f(x, y);
        Ok(())
    }

    /// Moves the contents of a full root into a new child, so that the root can stay in place.
    fn grow_root(&mut self, path: &mut Path) -> Result<(), Error> {
        let at = self.load(ROOT_BLOCK, MAGIC_NODE)?;
        let level = node::level(&self.cache.slot(at).data);
        if level >= MAX_LEVEL {
            return Err(Error::NoSpace);
        }
        let child = self.new_node(level, ROOT_BLOCK)?;
        self.modify_two(ROOT_BLOCK, child, |root, child| {
            if level == 0 {
                node::move_tail(root, 0, child);
            } else {
                node::move_children(root, 0, child);
            }
        })?;
        let fsid = self.geo.fsid;
        let at = self.load(ROOT_BLOCK, MAGIC_NODE)?;
        let root = self.modify(at)?;
        node::init(root, level + 1);
        crate::layout::set_header(root, MAGIC_NODE, ROOT_BLOCK, fsid, 0);
        node::insert_child(root, 0, Key::MIN, child);
        path.push_below_root(child)
    }

    fn split_leaf(
        &mut self,
        path: &mut Path,
        i: usize,
        key: Key,
        value: &[u8],
    ) -> Result<(), Error> {
        if path.len == 1 {
            self.grow_root(path)?;
        }
        let left = path.leaf();
        let right = self.new_node(0, left)?;
        let mut separator = key;
        self.modify_two(left, right, |left, right| {
            let m = node::split_point(left, i);
            node::move_tail(left, m, right);
            if i > m || (i == m && node::used(right) < node::used(left)) {
                node::insert(right, i - m, key, value);
            } else {
                node::insert(left, i, key, value);
            }
            if let Some((first, _)) = node::bounds(right) {
                separator = first;
            }
        })?;
        let parent = path.len - 2;
        self.add_child(path, parent, separator, right)
    }

    /// Adds a child after the one that the path follows at `depth`.
    fn add_child(
        &mut self,
        path: &mut Path,
        mut depth: usize,
        key: Key,
        child: u64,
    ) -> Result<(), Error> {
        let at = self.load(path.steps[depth].block, MAGIC_NODE)?;
        if node::count(&self.cache.slot(at).data) < FANOUT {
            let index = path.steps[depth].index + 1;
            node::insert_child(self.modify(at)?, index, key, child);
            return Ok(());
        }
        if depth == 0 {
            self.grow_root(path)?;
            depth = 1;
        }
        let Step { block: left, index } = path.steps[depth];
        let at = self.load(left, MAGIC_NODE)?;
        let level = node::level(&self.cache.slot(at).data);
        let right = self.new_node(level, left)?;
        let index = index + 1;
        // As in leaves: what goes last starts a node of its own.
        let m = if index == FANOUT {
            FANOUT - 1
        } else {
            FANOUT / 2
        };
        let mut separator = key;
        self.modify_two(left, right, |left, right| {
            node::move_children(left, m, right);
            if index > m {
                node::insert_child(right, index - m, key, child);
            } else {
                node::insert_child(left, index, key, child);
            }
            if let Some((first, _)) = node::bounds(right) {
                separator = first;
            }
        })?;
        self.add_child(path, depth - 1, separator, right)
    }

    /// Merges an underfull node with a neighbour if both fit in one; drops it when empty.
    fn rebalance(&mut self, path: &mut Path, depth: usize) -> Result<(), Error> {
        if depth == 0 {
            return self.shrink_root();
        }
        let block = path.steps[depth].block;
        let Step {
            block: parent,
            index,
        } = path.steps[depth - 1];
        let at = self.load(block, MAGIC_NODE)?;
        let used = node::used(&self.cache.slot(at).data);
        if used == 0 {
            self.free_node(block)?;
            return self.drop_child(path, depth - 1, index);
        }
        let at = self.load(parent, MAGIC_NODE)?;
        let siblings = &self.cache.slot(at).data;
        let right = node::child_at(siblings, index + 1);
        let left = index
            .checked_sub(1)
            .and_then(|i| node::child_at(siblings, i));
        if let Some((_, right)) = right
            && self.fits_with(right, used)?
        {
            self.merge(block, right)?;
            return self.drop_child(path, depth - 1, index + 1);
        }
        if let Some((_, left)) = left
            && self.fits_with(left, used)?
        {
            self.merge(left, block)?;
            return self.drop_child(path, depth - 1, index);
        }
        Ok(())
    }

    fn fits_with(&mut self, block: u64, used: usize) -> Result<bool, Error> {
        if !self.geo.allocatable(block) {
            return Err(Error::Corrupt);
        }
        let at = self.load(block, MAGIC_NODE)?;
        Ok(node::used(&self.cache.slot(at).data) + used <= CAPACITY)
    }

    /// Moves everything from `right` into `left` and frees `right`.
    fn merge(&mut self, left: u64, right: u64) -> Result<(), Error> {
        let mut ordered = true;
        self.modify_two(left, right, |left, right| {
            let (last, first) = (node::bounds(left), node::bounds(right));
            ordered = node::level(left) == node::level(right)
                && last.is_some_and(|l| first.is_some_and(|f| l.1 < f.0));
            if !ordered {
                return;
            }
            if node::level(left) == 0 {
                node::move_tail(right, 0, left);
            } else {
                node::move_children(right, 0, left);
            }
        })?;
        if !ordered {
            return Err(Error::Corrupt);
        }
        self.free_node(right)
    }

    /// Takes a child out of the node at `depth` and looks after what that leaves.
    fn drop_child(&mut self, path: &mut Path, depth: usize, index: usize) -> Result<(), Error> {
        let at = self.load(path.steps[depth].block, MAGIC_NODE)?;
        let data = self.modify(at)?;
        let low = node::child_at(data, index).map_or(Key::MIN, |c| c.0);
        node::remove_child(data, index);
        if index == 0 {
            node::set_child_key(data, 0, low);
        }
        if depth == 0 || node::used(data) < CAPACITY / 3 {
            return self.rebalance(path, depth);
        }
        Ok(())
    }

    /// Pulls an only child up into the root; an empty root becomes a leaf.
    fn shrink_root(&mut self) -> Result<(), Error> {
        loop {
            let at = self.load(ROOT_BLOCK, MAGIC_NODE)?;
            let data = &self.cache.slot(at).data;
            let (level, count) = (node::level(data), node::count(data));
            let fsid = self.geo.fsid;
            if level == 0 || count > 1 {
                return Ok(());
            }
            let child = node::child_at(data, 0).map(|c| c.1);
            if let Some(child) = child {
                let at = self.load(child, MAGIC_NODE)?;
                if node::level(&self.cache.slot(at).data) != level - 1 {
                    return Err(Error::Corrupt);
                }
            }
            let at = self.load(ROOT_BLOCK, MAGIC_NODE)?;
            let root = self.modify(at)?;
            node::init(root, if child.is_some() { level - 1 } else { 0 });
            crate::layout::set_header(root, MAGIC_NODE, ROOT_BLOCK, fsid, 0);
            let Some(child) = child else { return Ok(()) };
            self.modify_two(ROOT_BLOCK, child, |root, child| {
                if level == 1 {
                    node::move_tail(child, 0, root);
                } else {
                    node::move_children(child, 0, root);
                }
            })?;
            self.free_node(child)?;
        }
    }
}
