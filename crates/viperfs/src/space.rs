//! Free space: one bitmap block per group, set bits are in use.
//!
//! Freed runs keep their bits until the transaction that freed them commits, so no block is
//! written again while a crash could still bring back what it held.

use crate::device::BlockDevice;
use crate::error::Error;
use crate::layout::{Block, FIRST_BITMAP, GROUP_BLOCKS, MAGIC_BITMAP, PAYLOAD};
use crate::store::{Geometry, Store};

/// Where the bitmap of a group lives.
pub(crate) fn bitmap_block(group: u64) -> u64 {
    if group == 0 {
        FIRST_BITMAP
    } else {
        group * GROUP_BLOCKS
    }
}

/// The number of blocks that a group has on this volume.
pub(crate) fn group_len(geo: &Geometry, group: u64) -> u64 {
    GROUP_BLOCKS.min(geo.total - group * GROUP_BLOCKS)
}

fn word(bits: &Block, i: usize) -> u64 {
    let at = PAYLOAD + i * 8;
    u64::from_le_bytes(bits[at..at + 8].try_into().expect("eight bytes"))
}

fn put_word(bits: &mut Block, i: usize, value: u64) {
    let at = PAYLOAD + i * 8;
    bits[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Sets or clears a run of bits; returns how many changed.
pub(crate) fn set_run(bits: &mut Block, start: u64, len: u64, on: bool) -> u64 {
    let (mut bit, end, mut changed) = (start, start + len, 0);
    while bit < end {
        let n = (64 - bit % 64).min(end - bit);
        let mask = (u64::MAX >> (64 - n)) << (bit % 64);
        let i = (bit / 64) as usize;
        let old = word(bits, i);
        let new = if on { old | mask } else { old & !mask };
        changed += u64::from((old ^ new).count_ones());
        put_word(bits, i, new);
        bit += n;
    }
    changed
}

/// The first bit at or after `from` that equals `on`, or `end`.
fn next_bit(bits: &Block, from: u64, end: u64, on: bool) -> u64 {
    let mut bit = from;
    while bit < end {
        let mut w = word(bits, (bit / 64) as usize);
        if !on {
            w = !w;
        }
        w >>= bit % 64;
        if w != 0 {
            return (bit + u64::from(w.trailing_zeros())).min(end);
        }
        bit = (bit / 64 + 1) * 64;
    }
    end
}

/// The first free run of `want` bits in `from..end`, or else the longest there is.
fn find_run(bits: &Block, from: u64, end: u64, want: u64) -> Option<(u64, u64)> {
    let (mut at, mut best) = (from, (0, 0));
    loop {
        at = next_bit(bits, at, end, false);
        if at >= end {
            break;
        }
        let stop = next_bit(bits, at, end.min(at + want), true);
        if stop - at > best.1 {
            best = (at, stop - at);
            if best.1 >= want {
                break;
            }
        }
        at = stop;
    }
    (best.1 > 0).then_some(best)
}

/// Marks the bits of a fresh bitmap that are never free: its own block, what lies before
/// `first_free` in group 0, the backup superblock, and what is past the end of the volume.
pub(crate) fn init_bitmap(geo: &Geometry, bits: &mut Block, group: u64) {
    let len = group_len(geo, group);
    set_run(bits, len, GROUP_BLOCKS - len, true);
    let fixed = if group == 0 { geo.first_free() } else { 1 };
    set_run(bits, 0, fixed, true);
    if group == geo.groups - 1 {
        set_run(bits, len - 1, 1, true);
    }
}

/// Blocks that are free in a group that was never used.
pub(crate) fn fresh_group_free(geo: &Geometry, group: u64) -> u64 {
    let len = group_len(geo, group);
    let fixed = if group == 0 { geo.first_free() } else { 1 };
    let last = u64::from(group == geo.groups - 1 && len > fixed);
    len - fixed - last
}

/// Blocks that are free on an empty volume.
pub(crate) fn fresh_volume_free(geo: &Geometry) -> u64 {
    let last = geo.groups - 1;
    let middle = if last > 1 {
        (last - 1) * (GROUP_BLOCKS - 1)
    } else {
        0
    };
    let ends = fresh_group_free(geo, 0)
        + if last > 0 {
            fresh_group_free(geo, last)
        } else {
            0
        };
    ends + middle
}

/// Set bits of a bitmap, from which the free count follows.
pub(crate) fn free_in(bits: &Block) -> u64 {
    (0..(GROUP_BLOCKS / 64) as usize)
        .map(|i| u64::from(word(bits, i).count_zeros()))
        .sum()
}

impl<D: BlockDevice> Store<D> {
    /// Allocates a run of 1 to `want` blocks, near `goal` if that is not 0.
    ///
    /// # Errors
    /// [`Error::NoSpace`] when nothing is free now; freed blocks may come after a commit.
    pub fn allocate(&mut self, goal: u64, want: u64) -> Result<(u64, u64), Error> {
        if self.state.free_blocks == 0 {
            return Err(Error::NoSpace);
        }
        let goal = if goal == 0 || goal >= self.geo.total {
            self.goal
        } else {
            goal
        };
        let first = (goal / GROUP_BLOCKS).min(self.state.groups_ready - 1);
        let mut fallback = None;
        // Exactly at the goal, when that continues a file.
        if let Some(run) = self.try_group(first, goal % GROUP_BLOCKS, want)? {
            return self.take(run);
        }
        for i in 0..self.geo.groups {
            let group = (first + i) % self.geo.groups;
            if group >= self.state.groups_ready {
                if group != self.state.groups_ready {
                    continue;
                }
                self.open_group(group)?;
            }
            match self.find_in(group, 0, want)? {
                Some(run) if run.1 >= want.min(8) => return self.take(run),
                other => fallback = fallback.or(other),
            }
        }
        match fallback {
            Some(run) => self.take(run),
            None => Err(Error::NoSpace),
        }
    }

    /// The run in a group from a bit on, if it is long enough.
    fn try_group(&mut self, group: u64, from: u64, want: u64) -> Result<Option<(u64, u64)>, Error> {
        let run = self.find_in(group, from, want)?;
        Ok(run.filter(|r| r.1 >= want || r.0 % GROUP_BLOCKS == from && r.1 >= want / 4))
    }

    fn find_in(&mut self, group: u64, from: u64, want: u64) -> Result<Option<(u64, u64)>, Error> {
        if self.group_free[group as usize] == 0 {
            return Ok(None);
        }
        let at = self.load(bitmap_block(group), MAGIC_BITMAP)?;
        let bits = &self.cache.slot(at).data;
        if self.group_free[group as usize] == u16::MAX {
            self.group_free[group as usize] = free_in(bits) as u16;
        }
        let end = group_len(&self.geo, group);
        Ok(find_run(bits, from, end, want).map(|(s, n)| (group * GROUP_BLOCKS + s, n)))
    }

    /// Marks a run that was found free as used.
    fn take(&mut self, (start, len): (u64, u64)) -> Result<(u64, u64), Error> {
        // A bitmap that offers a block that can never be free has been tampered with.
        if !self.geo.allocatable_run(start, len) || self.state.free_blocks < len {
            return Err(Error::Corrupt);
        }
        let group = start / GROUP_BLOCKS;
        let at = self.load(bitmap_block(group), MAGIC_BITMAP)?;
        set_run(self.modify(at)?, start % GROUP_BLOCKS, len, true);
        self.state.free_blocks -= len;
        self.group_free[group as usize] =
            self.group_free[group as usize].saturating_sub(len as u16);
        self.goal = start + len;
        Ok((start, len))
    }

    /// Brings the bitmap of the first unused group into being.
    fn open_group(&mut self, group: u64) -> Result<(), Error> {
        let geo = self.geo;
        let at = self.fresh(bitmap_block(group), MAGIC_BITMAP)?;
        init_bitmap(&geo, self.modify(at)?, group);
        self.state.groups_ready = group + 1;
        self.group_free[group as usize] = fresh_group_free(&geo, group) as u16;
        Ok(())
    }

    /// Frees a run when the running transaction commits.
    ///
    /// The bitmap joins the transaction now, so that clearing the bits later cannot fail.
    pub fn free(&mut self, start: u64, len: u64) -> Result<(), Error> {
        if !self.geo.allocatable_run(start, len) || start / GROUP_BLOCKS >= self.state.groups_ready
        {
            return Err(Error::Corrupt);
        }
        let at = self.load(bitmap_block(start / GROUP_BLOCKS), MAGIC_BITMAP)?;
        self.modify(at)?;
        self.freed.push((start, len));
        self.freed_blocks += len;
        Ok(())
    }

    /// Clears the bits of what the transaction freed, as its last change.
    pub fn apply_freed(&mut self) -> Result<(), Error> {
        self.freed_blocks = 0;
        while let Some((start, len)) = self.freed.pop() {
            let group = start / GROUP_BLOCKS;
            let at = self.load(bitmap_block(group), MAGIC_BITMAP)?;
            let changed = set_run(self.modify(at)?, start % GROUP_BLOCKS, len, false);
            self.state.free_blocks += changed;
            let count = &mut self.group_free[group as usize];
            if *count != u16::MAX {
                *count += changed as u16;
            }
            // A block freed twice means that two owners had it.
            if changed != len {
                return Err(Error::Corrupt);
            }
        }
        Ok(())
    }
}
