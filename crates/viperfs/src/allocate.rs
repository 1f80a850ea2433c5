//! Space ahead of contents, and holes behind them: allocate, punch, seek.
//!
//! Blocks are kept for a file as unwritten extents: they read as zeroes, and the first write goes
//! to the kept block itself. That is the one place where contents are written to a block that an
//! extent names already; a crash before the commit that turns it into a written one leaves it
//! unwritten, so nobody sees what the block holds.

use crate::device::BlockDevice;
use crate::error::Error;
use crate::file::{PAGE, PUNCH_STEP, require_file};
use crate::fs::Fs;
use crate::layout::{FEATURE_UNWRITTEN, FLAG_KEPT, MAX_FILE_SIZE, UNWRITTEN_MAX};

/// What [`Fs::seek`] looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeekTo {
    /// A page that has been written.
    Data,
    /// A hole, something unwritten, or the end of the file.
    Hole,
}

/// Runs that one operation keeps; each may change another bitmap block.
const KEEP_STEP: usize = 8;

impl<D: BlockDevice> Fs<D> {
    /// Keeps blocks for `len` bytes from `offset` on, so that writing there cannot fail for want
    /// of space the first time. What has no block yet reads as zeroes. The file grows to the end
    /// of the range unless `keep_size`.
    ///
    /// Overwriting what has been written needs space as ever, since it moves to fresh blocks.
    ///
    /// # Errors
    /// [`Error::NoSpace`] before anything changed; [`Error::Unsupported`] on volumes of format 1.0
    /// ([`Fs::upgrade`]); [`Error::Invalid`] for an empty range or what is no file;
    /// [`Error::FileTooLarge`]. After a device error a part of the range may be kept.
    pub fn allocate(
        &mut self,
        ino: u64,
        offset: u64,
        len: u64,
        keep_size: bool,
        now_ns: i64,
    ) -> Result<(), Error> {
        self.writable()?;
        let inode = self.inode(ino)?;
        require_file(inode.kind)?;
        let end = offset.checked_add(len).filter(|&e| e <= MAX_FILE_SIZE);
        let end = end.ok_or(Error::FileTooLarge)?;
        if len == 0 {
            return Err(Error::Invalid);
        }
        if self.features() & FEATURE_UNWRITTEN == 0 {
            return Err(Error::Unsupported);
        }
        if inode.untrimmed() {
            self.trim(ino)?;
        }
        let (mut at, last) = (offset / PAGE, end.div_ceil(PAGE));
        let (missing, _) = self.store.census(ino, at, last)?;
        self.require(missing)?;
        while at < last {
            at = self.mutate(|fs| fs.keep_step(ino, at, last))?;
        }
        if !keep_size && end > inode.attr.size {
            return self.truncate(ino, end, now_ns);
        }
        let mut inode = self.inode(ino)?;
        inode.attr.ctime_ns = now_ns;
        self.defer_inode(inode);
        Ok(())
    }

    /// Keeps blocks for some of the pages `at..last`; returns where to go on. Part of an operation.
    fn keep_step(&mut self, ino: u64, mut at: u64, last: u64) -> Result<u64, Error> {
        let mut inode = self.inode(ino)?;
        for _ in 0..KEEP_STEP {
            let mut end = last;
            while let Some(extent) = self.store.extent_from(ino, at)? {
                if extent.page > at {
                    end = end.min(extent.page);
                    break;
                }
                at = extent.end();
            }
            if at >= end {
                at = last;
                break;
            }
            let goal = self.store.goal_for(ino, at)?;
            let wanted = (end - at).min(UNWRITTEN_MAX);
            let (block, got) = self.store.allocate(goal, wanted)?;
            self.store.add_unwritten(ino, at, block, got)?;
            inode.attr.blocks = inode.attr.blocks.saturating_add(got);
            at += got;
        }
        inode.flags |= FLAG_KEPT;
        self.put_inode(inode)?;
        Ok(at)
    }

    /// Makes `len` bytes from `offset` on read as zeroes and gives back the blocks that lie wholly
    /// inside. The size stays; kept blocks behind the end go when the range covers them.
    ///
    /// Very scattered files (more than 32 extents in the range) are punched in steps, from the
    /// front; a crash or a device error in between leaves the rest of the range as it was.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty range or what is no file, [`Error::NoSpace`] for the pages
    /// at the edges, which are rewritten.
    pub fn punch_hole(
        &mut self,
        ino: u64,
        offset: u64,
        len: u64,
        now_ns: i64,
    ) -> Result<(), Error> {
        self.writable()?;
        let inode = self.inode(ino)?;
        require_file(inode.kind)?;
        if len == 0 {
            return Err(Error::Invalid);
        }
        let end = offset.saturating_add(len);
        // A page that holds the end of the file goes whole when the range reaches that end.
        let last = if end >= inode.attr.size {
            end.div_ceil(PAGE)
        } else {
            end / PAGE
        };
        let first = offset.div_ceil(PAGE);
        self.require(2)?;
        // The edges come first, because only reading them can fail; a dirty page stays.
        let head = (offset / PAGE < first, offset / PAGE);
        let tail = (last == end / PAGE && !end.is_multiple_of(PAGE), end / PAGE);
        let head = self.edge(ino, head)?;
        let tail = self.edge(ino, tail)?;
        let mut at = Some(first);
        while let Some(from) = at.filter(|&from| from < last) {
            at = self.mutate(|fs| {
                let (freed, next) = fs.store.punch(ino, from, last, PUNCH_STEP)?;
                let mut inode = fs.inode(ino)?;
                inode.attr.blocks = inode.attr.blocks.saturating_sub(freed);
                fs.put_inode(inode)?;
                Ok(next)
            })?;
            self.store.cache.drop_pages(ino, from, at.unwrap_or(last));
        }
        for (page, slot) in [head, tail].into_iter().flatten() {
            let start = offset.saturating_sub(page * PAGE) as usize;
            let stop = (end - page * PAGE).min(PAGE) as usize;
            self.store.cache.slot_mut(slot).data[start..stop].fill(0);
        }
        let mut inode = self.inode(ino)?;
        inode.touch(now_ns);
        self.defer_inode(inode);
        Ok(())
    }

    /// Brings a page at the edge of a hole into the cache, to stay there until it is written.
    fn edge(&mut self, ino: u64, (wanted, page): (bool, u64)) -> Result<Option<(u64, u32)>, Error> {
        if !wanted {
            return Ok(None);
        }
        let slot = match self.store.cache.find((ino, page)) {
            Some(slot) => Some(slot),
            None => self.fill(ino, page, 1, false)?,
        };
        if let Some(slot) = slot {
            self.store.cache.mark_dirty(slot);
        }
        Ok(slot.map(|slot| (page, slot)))
    }

    /// The first place at or after `offset` that is data or a hole; `None` when `offset` is not
    /// inside the file, or when no data follows. In whole pages, but for `offset` itself.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no file; errors of writing back, which this may do.
    pub fn seek(&mut self, ino: u64, offset: u64, to: SeekTo) -> Result<Option<u64>, Error> {
        let inode = self.inode(ino)?;
        require_file(inode.kind)?;
        let size = inode.attr.size;
        if offset >= size {
            return Ok(None);
        }
        // Pages that only the cache holds are in no extent yet.
        if self.store.cache.dirty_count > 0 && !self.store.read_only {
            self.write_back()?;
        }
        let mut page = offset / PAGE;
        while let Some(extent) = self.store.extent_from(ino, page)? {
            if extent.unwritten() {
                if to == SeekTo::Hole && extent.page <= page {
                    break;
                }
                page = extent.end();
                continue;
            }
            match to {
                SeekTo::Data => {
                    let at = (extent.page * PAGE).max(offset);
                    return Ok((at < size).then_some(at));
                }
                SeekTo::Hole if extent.page > page => break,
                SeekTo::Hole => page = extent.end(),
            }
        }
        Ok(match to {
            SeekTo::Data => None,
            SeekTo::Hole => Some((page * PAGE).max(offset).min(size)),
        })
    }
}
