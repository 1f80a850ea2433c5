//! Repair: keep what can be read, make it consistent, write a new tree.
//!
//! One way for every kind of damage. The new tree goes to blocks that neither file contents nor
//! the old tree use, and takes effect when the root block is written; until then the volume is as
//! damaged as it was, and afterwards only the bitmaps are left to do, which a further run redoes.

use crate::check::{CheckOptions, Progress, Report, check};
use crate::device::BlockDevice;
use crate::error::{Error, MountError};
use crate::format::write_superblocks;
use crate::layout::{
    Block, Key, MAGIC_BITMAP, MAGIC_NODE, MAGIC_STATE, ROOT_BLOCK, STATE_BLOCK, StateBlock,
    Superblock, seal, set_header, view_mut, zeroed,
};
use crate::node;
use crate::salvage::Salvage;
use crate::space::{bitmap_block, free_in, fresh_group_free};
use crate::store::{Geometry, Store};
use crate::superblock;
use crate::survey::{UsedMap, expected_bits};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use zerocopy::little_endian::U64;

/// What repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// What was wrong before.
    pub before: Report,
    /// What is wrong still: damaged file contents cannot be made up.
    pub after: Report,
    /// Things dropped, moved to `/lost+found` or corrected.
    pub fixes: u64,
}

/// Repairs the volume on a device: writes home what the journal holds, and when anything is wrong
/// then, keeps what can be read and writes new metadata around it.
///
/// # Errors
/// [`MountError`] when there is no superblock to start from, the format is unknown, or the device
/// fails; [`MountError::Recovery`] with [`Error::NoSpace`] when the new tree does not fit.
pub fn repair<D: BlockDevice>(
    mut dev: D,
    options: &CheckOptions,
    now_ns: i64,
    mut progress: impl FnMut(Progress),
) -> Result<Repaired, MountError> {
    let before = check(&mut dev, options, &mut progress);
    let sb = superblock::find(&mut dev, options.crc32c)?;
    superblock::judge(&sb, dev.block_count(), false)?;
    if dev.is_read_only() {
        return Err(MountError::Recovery(Error::ReadOnly));
    }
    let mut fixes = 0;
    if !before.is_clean() {
        fixes = rebuild(&mut dev, &sb, options, now_ns)?;
    }
    // Mounting finishes what a crash left: the journal, files half deleted.
    let mount = crate::MountOptions {
        crc32c: options.crc32c,
        ..Default::default()
    };
    match crate::Fs::mount(&mut dev, mount).and_then(|fs| fs.unmount().map_err(Into::into)) {
        Ok(_) => {}
        Err(error) if before.is_clean() => return Err(error),
        // Told of in `after`.
        Err(_) => {}
    }
    let after = check(&mut dev, options, progress);
    Ok(Repaired {
        before,
        after,
        fixes,
    })
}

fn rebuild<D: BlockDevice>(
    dev: &mut D,
    sb: &Superblock,
    options: &CheckOptions,
    now: i64,
) -> Result<u64, MountError> {
    let mut store = Store::new(dev, Geometry::new(sb), options.crc32c, 1024);
    store.lenient = true;
    // What is intact in the log is applied; what is not is told by `before`.
    let _ = store.replay(true);
    let counters_good = store.load_state().is_ok();
    if !counters_good {
        store.state.groups_ready = store.geo.groups;
    }
    let mut old_tree = UsedMap::new();
    let mut salvage = Salvage::collect(&mut store, &mut old_tree);
    let mut used = salvage.settle(&mut store, now);
    // The search above may have needed the log; forged numbers in it must not outlive repair.
    store.clear_journal()?;
    let items = salvage.items(store.geo.hash_seed);
    let next_ino = salvage.next_ino().max(if counters_good {
        store.state.next_ino
    } else {
        0
    });
    let mut builder = Builder {
        store: &mut store,
        used: &mut used,
        old_tree: &old_tree,
        at: 0,
    };
    let root = builder.tree(&items)?;
    store.flush()?;
    write_block(&mut store, ROOT_BLOCK, MAGIC_NODE, root)?;
    store.flush()?;
    write_maps(&mut store, &used, next_ino)?;
    store.flush()?;
    write_superblocks(&mut store.dev, sb)?;
    Ok(salvage.fixes)
}

fn write_block<D: BlockDevice>(
    store: &mut Store<D>,
    block: u64,
    magic: u32,
    mut data: Box<Block>,
) -> Result<(), Error> {
    set_header(&mut data, magic, block, store.geo.fsid, store.seq);
    seal(&mut data, store.crc);
    store.dev.write(block, &data[..])?;
    Ok(())
}

/// Writes the bitmaps and the counters that follow from what is used.
fn write_maps<D: BlockDevice>(
    store: &mut Store<D>,
    used: &UsedMap,
    next_ino: u64,
) -> Result<(), Error> {
    let geo = store.geo;
    let ready = used.last_group() + 1;
    let mut free = 0;
    for group in 0..ready {
        let mut bits = zeroed();
        expected_bits(&geo, used, group, &mut bits);
        free += free_in(&bits);
        write_block(store, bitmap_block(group), MAGIC_BITMAP, bits)?;
    }
    free += (ready..geo.groups)
        .map(|g| fresh_group_free(&geo, g))
        .sum::<u64>();
    let mut data = zeroed();
    let state: &mut StateBlock = view_mut(&mut data);
    state.next_ino = U64::new(next_ino);
    state.free_blocks = U64::new(free);
    state.groups_ready = U64::new(ready);
    write_block(store, STATE_BLOCK, MAGIC_STATE, data)
}

/// Writes a tree from sorted items, leaves first.
struct Builder<'a, D> {
    store: &'a mut Store<D>,
    used: &'a mut UsedMap,
    old_tree: &'a UsedMap,
    /// Blocks before this one are taken.
    at: u64,
}

impl<D: BlockDevice> Builder<'_, D> {
    /// Returns the root; everything below it is written.
    fn tree(&mut self, items: &BTreeMap<Key, Vec<u8>>) -> Result<Box<Block>, Error> {
        let mut leaf = zeroed();
        node::init(&mut leaf, 0);
        let mut low = Key::MIN;
        let mut below = Vec::new();
        for (&key, value) in items {
            if !node::fits(&leaf, value.len()) {
                below.push((low, self.write(&leaf)?));
                node::init(&mut leaf, 0);
                low = key;
            }
            let count = node::count(&leaf);
            node::insert(&mut leaf, count, key, value);
        }
        if below.is_empty() {
            return Ok(leaf);
        }
        below.push((low, self.write(&leaf)?));
        let mut level = 1;
        loop {
            let mut upper = Vec::new();
            let mut parent = zeroed();
            for chunk in below.chunks(node::FANOUT) {
                node::init(&mut parent, level);
                for (i, &(key, child)) in chunk.iter().enumerate() {
                    node::insert_child(&mut parent, i, key, child);
                }
                if below.len() <= node::FANOUT {
                    return Ok(parent);
                }
                upper.push((chunk[0].0, self.write(&parent)?));
            }
            below = upper;
            level += 1;
        }
    }

    fn write(&mut self, data: &Block) -> Result<u64, Error> {
        let block = self.next_free()?;
        write_block(self.store, block, MAGIC_NODE, Box::new(*data))?;
        Ok(block)
    }

    fn next_free(&mut self) -> Result<u64, Error> {
        let geo = self.store.geo;
        self.at = self.at.max(geo.first_free());
        while self.at < geo.total {
            let block = self.at;
            self.at += 1;
            let free = !self.used.contains(block) && !self.old_tree.contains(block);
            if free && geo.allocatable(block) {
                self.used.mark(block);
                return Ok(block);
            }
        }
        Err(Error::NoSpace)
    }
}
