//! File contents: cached reads, delayed writes, write-back to fresh blocks, truncation.
//!
//! Data is never overwritten in place: write-back puts pages into newly allocated blocks and
//! repoints the extents in the running transaction, so a crash shows old pages or new, whole.

use crate::device::{BLOCK_SIZE, BlockDevice};
use crate::error::Error;
use crate::fs::Fs;
use crate::inode::{FileKind, Inode};
use crate::layout::{Key, MAX_FILE_SIZE, ORPHAN_VALUE, kind};
use crate::store::{IO_BLOCKS, Store};
use core::ops::Range;
use zerocopy::little_endian::U32;

pub(crate) const PAGE: u64 = BLOCK_SIZE as u64;
/// Extents removed in one operation; larger files are deleted in steps.
pub(crate) const PUNCH_STEP: usize = 32;

/// A part of what [`Fs::read_with`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// So many zeroes: a hole.
    Zeroes(usize),
}

impl<D: BlockDevice> Fs<D> {
    /// Reads up to `buf.len()` bytes from `offset` on; fewer only at the end of the file.
    ///
    /// # Errors
    /// [`Error::IsDirectory`], [`Error::Invalid`] for what has no contents, [`Error::Corrupt`]
    /// when a block is not what was written.
    ///
    /// # Complexity
    /// A cached page costs two hash probes and the copy; nothing is allocated.
    pub fn read(&mut self, ino: u64, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        self.read_with(ino, offset, buf.len(), |at, piece| match piece {
            Piece::Bytes(bytes) => buf[at..at + bytes.len()].copy_from_slice(bytes),
            Piece::Zeroes(len) => buf[at..at + len].fill(0),
        })
    }

    /// Shows up to `len` bytes from `offset` on, straight from the cache: pieces in order, each
    /// with its distance from `offset`. Returns how many bytes; fewer only at the end of the file.
    ///
    /// # Errors
    /// As [`Fs::read`]; pieces may have been shown by then.
    ///
    /// # Complexity
    /// A cached page costs two hash probes; nothing is allocated.
    #[inline]
    pub fn read_with(
        &mut self,
        ino: u64,
        offset: u64,
        len: usize,
        mut show: impl FnMut(usize, Piece<'_>),
    ) -> Result<usize, Error> {
        let (size, sequential) = self.begin_read(ino, offset, len)?;
        if offset >= size {
            return Ok(0);
        }
        let len = len.min((size - offset).min(usize::MAX as u64) as usize);
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let (page, within) = (at / PAGE, (at % PAGE) as usize);
            let n = (BLOCK_SIZE - within).min(len - done);
            let slot = match self.store.cache.find((ino, page)) {
                Some(slot) => Some(slot),
                None => {
                    let wanted = (within + len - done).div_ceil(BLOCK_SIZE);
                    self.fill(ino, page, wanted, sequential)?
                }
            };
            show(
                done,
                match slot {
                    Some(slot) => {
                        Piece::Bytes(&self.store.cache.slot(slot).data[within..within + n])
                    }
                    None => Piece::Zeroes(n),
                },
            );
            done += n;
        }
        Ok(len)
    }

    /// The size of a file, and whether a read starts where the last one stopped.
    #[inline]
    fn begin_read(&mut self, ino: u64, offset: u64, len: usize) -> Result<(u64, bool), Error> {
        let begin = |inode: &mut Inode| {
            require_file(inode.kind)?;
            let sequential = offset / PAGE == inode.next_page;
            inode.next_page = offset.saturating_add(len as u64) / PAGE;
            Ok((inode.attr.size, sequential))
        };
        match self.inodes.get_mut(&ino) {
            Some(inode) => begin(inode),
            None => begin(self.inode_mut(ino)?),
        }
    }

    /// Writes bytes at `offset`, growing the file as needed; returns how many.
    ///
    /// Fewer than asked only when an error struck after the first page.
    ///
    /// # Errors
    /// [`Error::NoSpace`] before anything changed, [`Error::FileTooLarge`],
    /// [`Error::IsDirectory`], [`Error::ReadOnly`], or an error of reading a page to be merged.
    pub fn write(
        &mut self,
        ino: u64,
        offset: u64,
        data: &[u8],
        now_ns: i64,
    ) -> Result<usize, Error> {
        let fill = |at: usize, to: &mut [u8]| to.copy_from_slice(&data[at..at + to.len()]);
        self.write_with(ino, offset, data.len(), now_ns, fill)
    }

    /// Writes `len` bytes at `offset`, which `fill` puts into the cache in pieces: in order, each
    /// with its distance from `offset`. It must fill each piece to its end. Returns how many bytes.
    ///
    /// # Errors
    /// As [`Fs::write`].
    pub fn write_with(
        &mut self,
        ino: u64,
        offset: u64,
        len: usize,
        now_ns: i64,
        mut fill: impl FnMut(usize, &mut [u8]),
    ) -> Result<usize, Error> {
        self.writable()?;
        let inode = self.inode(ino)?;
        require_file(inode.kind)?;
        let end = offset
            .checked_add(len as u64)
            .filter(|&e| e <= MAX_FILE_SIZE);
        let end = end.ok_or(Error::FileTooLarge)?;
        if len == 0 {
            return Ok(0);
        }
        if inode.untrimmed() && end > inode.attr.size {
            self.trim(ino)?;
        }
        let (first, last) = (offset / PAGE, (end - 1) / PAGE);
        let past_tail = first > inode.attr.size / PAGE;
        let kept = if inode.kept() {
            self.store.census(ino, first, last + 1)?.1
        } else {
            0
        };
        let fresh = last - first + 1 - kept + u64::from(past_tail);
        if fresh > 0 {
            self.require(fresh)?;
        }
        if past_tail {
            self.settle_tail(ino, inode.attr.size)?;
        }
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let (page, within) = (at / PAGE, (at % PAGE) as usize);
            let n = (BLOCK_SIZE - within).min(len - done);
            let place = within..within + n;
            match self.write_page(ino, page, place, now_ns, |to| fill(done, to)) {
                Ok(()) => done += n,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn write_page(
        &mut self,
        ino: u64,
        page: u64,
        place: Range<usize>,
        now: i64,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Error> {
        if self.store.cache.dirty_count >= self.dirty_limit() {
            self.write_back()?;
        }
        let end = place.end as u64;
        let slot = self.page_to_change(ino, page, place.len() == BLOCK_SIZE)?;
        fill(&mut self.store.cache.slot_mut(slot).data[place]);
        self.store.cache.mark_dirty(slot);
        let mut inode = self.inode(ino)?;
        if inode.kept() && self.store.kept_blocks(ino, page, 1)?.0.is_some() {
            self.store.cache.mark_kept(slot);
        }
        inode.attr.size = inode.attr.size.max(page * PAGE + end);
        inode.touch(now);
        self.defer_inode(inode);
        Ok(())
    }

    /// The cached page, read or made of zeroes; its old bytes do not matter when `whole`.
    fn page_to_change(&mut self, ino: u64, page: u64, whole: bool) -> Result<u32, Error> {
        if let Some(slot) = self.store.cache.find((ino, page)) {
            return Ok(slot);
        }
        if !whole && let Some(slot) = self.fill(ino, page, 1, false)? {
            return Ok(slot);
        }
        let slot = self.store.cache.claim((ino, page));
        if !whole {
            self.store.cache.slot_mut(slot).data.fill(0);
        }
        Ok(slot)
    }

    /// Brings a page into the cache, and pages after it when the file is read in sequence.
    /// `None` when the page is a hole.
    pub(crate) fn fill(
        &mut self,
        ino: u64,
        page: u64,
        wanted: usize,
        sequential: bool,
    ) -> Result<Option<u32>, Error> {
        let inode = self.inode_mut(ino)?;
        inode.window = if sequential {
            (inode.window * 2).min(IO_BLOCKS as u32)
        } else {
            1
        };
        let mut count = wanted.max(inode.window as usize);
        let size = inode.attr.size;
        let to_end = size.div_ceil(PAGE).saturating_sub(page).max(1);
        count = count
            .min(IO_BLOCKS)
            .min(to_end.min(IO_BLOCKS as u64) as usize);
        let mut sums = [0; IO_BLOCKS];
        let Some(run) = self.store.map(ino, page, &mut sums[..count])? else {
            return Ok(None);
        };
        let mut n = 1;
        while n < run.count && !self.store.cache.contains((ino, page + n as u64)) {
            n += 1;
        }
        if n == 1
            || self
                .read_run(ino, page, run.block, size, &sums[..n])
                .is_err()
        {
            // Reading ahead must not make a page fail that is good by itself.
            self.read_run(ino, page, run.block, size, &sums[..1])?;
        }
        self.store
            .cache
            .find((ino, page))
            .map(Some)
            .ok_or(Error::Corrupt)
    }

    /// Reads consecutive blocks into the cache; those whose checksum is wrong are left out.
    fn read_run(
        &mut self,
        ino: u64,
        page: u64,
        block: u64,
        size: u64,
        sums: &[u32],
    ) -> Result<(), Error> {
        let Store {
            dev,
            cache,
            io,
            crc,
            ..
        } = &mut self.store;
        let scratch = &mut io[..sums.len() * BLOCK_SIZE];
        dev.read_with(block, scratch, &mut |copy| {
            for (i, &sum) in sums.iter().enumerate() {
                let at = page + i as u64;
                let slot = cache.claim((ino, at));
                let data = &mut cache.slot_mut(slot).data;
                copy(i, data);
                // The copy is judged: nobody else can change that any more.
                if crc.of(&data[..]) != sum {
                    cache.remove((ino, at));
                    continue;
                }
                // What a truncation left behind the end of the file is not part of it.
                let valid = size.saturating_sub(at * PAGE).min(PAGE) as usize;
                data[valid..].fill(0);
            }
        })?;
        Ok(())
    }

    /// Makes sure that the page that holds the end of the file reads as zeroes behind it, on the
    /// device too, before the file grows past that page.
    fn settle_tail(&mut self, ino: u64, size: u64) -> Result<(), Error> {
        if size.is_multiple_of(PAGE) {
            return Ok(());
        }
        let page = size / PAGE;
        let slot = match self.store.cache.find((ino, page)) {
            Some(slot) => Some(slot),
            None => self.fill(ino, page, 1, false)?,
        };
        if let Some(slot) = slot {
            self.store.cache.mark_dirty(slot);
        }
        Ok(())
    }

    /// Writes all dirty pages to fresh blocks and points the extents there.
    pub(crate) fn write_back(&mut self) -> Result<(), Error> {
        let list = self.store.cache.take_dirty();
        let mut at = 0;
        while at < list.len() {
            let (ino, page) = self.store.cache.slot(list[at]).key;
            let mut end = at + 1;
            while end < list.len()
                && end - at < IO_BLOCKS
                && self.store.cache.slot(list[end]).key == (ino, page + (end - at) as u64)
            {
                end += 1;
            }
            if let Err(error) = self.mutate_in_commit(|fs| fs.write_run(ino, page, &list[at..end]))
            {
                self.store.cache.dirty.extend_from_slice(&list[at..]);
                return Err(error);
            }
            for &slot in &list[at..end] {
                self.store.cache.mark_clean(slot);
            }
            at = end;
        }
        Ok(())
    }

    /// Writes consecutive pages of a file; part of an operation.
    fn write_run(&mut self, ino: u64, page: u64, slots: &[u32]) -> Result<(), Error> {
        let mut inode = self.inode(ino)?;
        let mut done = 0;
        while done < slots.len() {
            let (first, left) = (page + done as u64, (slots.len() - done) as u64);
            let (kept, alike) = if inode.kept() {
                self.store.kept_blocks(ino, first, left)?
            } else {
                (None, left)
            };
            let mut sums = [U32::new(0); IO_BLOCKS];
            if let Some(block) = kept {
                let n = alike as usize;
                self.write_blocks(block, &slots[done..done + n], &mut sums)?;
                self.store.settle_kept(ino, first, &sums[..n])?;
                done += n;
                continue;
            }
            let goal = self.store.goal_for(ino, first)?;
            let (block, got) = self.store.allocate(goal, alike)?;
            let n = got as usize;
            self.write_blocks(block, &slots[done..done + n], &mut sums)?;
            let (freed, _) = self.store.punch(ino, first, first + got, usize::MAX)?;
            self.store.add_extent(ino, first, block, &sums[..n])?;
            inode.attr.blocks = inode.attr.blocks.saturating_add(got).saturating_sub(freed);
            done += n;
        }
        let end = (page + slots.len() as u64) * PAGE;
        inode.disk_size = inode.disk_size.max(inode.attr.size.min(end));
        if inode.disk_size == inode.attr.size {
            inode.dirty = false;
        }
        self.put_inode(inode)
    }

    fn write_blocks(&mut self, block: u64, slots: &[u32], sums: &mut [U32]) -> Result<(), Error> {
        let Store {
            dev,
            cache,
            io,
            crc,
            ..
        } = &mut self.store;
        let scratch = &mut io[..slots.len() * BLOCK_SIZE];
        let result = dev.write_with(block, scratch, &mut |copy| {
            for (n, (&slot, sum)) in slots.iter().zip(sums.iter_mut()).enumerate() {
                let data = &cache.slot(slot).data;
                *sum = U32::new(crc.of(&data[..]));
                copy(n, data);
            }
        });
        self.store.unflushed = true;
        result.map_err(|e| self.store.fail(e.into()))
    }

    /// Sets the size of a file: cuts it off, or grows it by a hole.
    ///
    /// # Errors
    /// [`Error::FileTooLarge`], [`Error::IsDirectory`], [`Error::NoSpace`] when growing.
    pub fn truncate(&mut self, ino: u64, size: u64, now_ns: i64) -> Result<(), Error> {
        self.writable()?;
        let mut inode = self.inode(ino)?;
        require_file(inode.kind)?;
        if size > MAX_FILE_SIZE {
            return Err(Error::FileTooLarge);
        }
        if size < inode.attr.size {
            return self.shrink(inode, size, now_ns);
        }
        if size > inode.attr.size {
            if inode.untrimmed() {
                self.trim(ino)?;
            }
            self.require(2)?;
            self.settle_tail(ino, inode.attr.size)?;
            inode = self.inode(ino)?;
            inode.attr.size = size;
        }
        inode.touch(now_ns);
        self.defer_inode(inode);
        Ok(())
    }

    fn shrink(&mut self, inode: Inode, size: u64, now: i64) -> Result<(), Error> {
        let (ino, old) = (inode.attr.ino, inode.attr.size);
        let first = size.div_ceil(PAGE);
        let more = self.mutate(|fs| {
            let (freed, more) = fs.store.punch(ino, first, u64::MAX, PUNCH_STEP)?;
            let mut inode = fs.inode(ino)?;
            inode.attr.size = size;
            inode.disk_size = inode.disk_size.min(size);
            inode.attr.blocks = inode.attr.blocks.saturating_sub(freed);
            inode.touch(now);
            if more.is_some() {
                inode.set_untrimmed(true);
                fs.add_orphan(ino)?;
            }
            fs.put_inode(inode)?;
            Ok(more.is_some())
        })?;
        self.store.cache.drop_pages(ino, first, old.div_ceil(PAGE));
        if !size.is_multiple_of(PAGE)
            && let Some(slot) = self.store.cache.find((ino, size / PAGE))
        {
            self.store.cache.slot_mut(slot).data[(size % PAGE) as usize..].fill(0);
        }
        if more {
            // It is cut off; what cannot be given back now will be before it grows, or at mount.
            let _ = self.trim(ino);
        }
        Ok(())
    }

    /// Unmaps everything behind the end of a file in steps; the file is on the orphan list.
    pub(crate) fn trim(&mut self, ino: u64) -> Result<(), Error> {
        loop {
            let more = self.mutate(|fs| {
                let mut inode = fs.inode(ino)?;
                let first = inode.attr.size.div_ceil(PAGE);
                let (freed, more) = fs.store.punch(ino, first, u64::MAX, PUNCH_STEP)?;
                inode.attr.blocks = inode.attr.blocks.saturating_sub(freed);
                let more = more.is_some();
                inode.set_untrimmed(more);
                fs.put_inode(inode)?;
                if !more && inode.attr.nlink > 0 {
                    fs.remove_orphan(ino)?;
                }
                Ok(more)
            })?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Puts an inode on the list of what mounting must finish.
    pub(crate) fn add_orphan(&mut self, ino: u64) -> Result<(), Error> {
        match self
            .store
            .insert(Key::new(0, kind::ORPHAN, ino), &ORPHAN_VALUE)
        {
            Err(Error::Exists) => Ok(()),
            result => result,
        }
    }

    /// Takes an inode off that list.
    fn remove_orphan(&mut self, ino: u64) -> Result<(), Error> {
        let key = Key::new(0, kind::ORPHAN, ino);
        if self.store.locate(key)?.is_none() {
            return Ok(());
        }
        self.store.remove(key)
    }

    /// Deletes an inode without names and all it owns, in steps.
    pub(crate) fn reclaim(&mut self, ino: u64) -> Result<(), Error> {
        self.store.cache.drop_pages(ino, 0, u64::MAX);
        loop {
            let done = self.mutate(|fs| {
                if !fs.delete_step(ino)? {
                    return Ok(false);
                }
                fs.remove_orphan(ino)?;
                Ok(true)
            })?;
            if done {
                return Ok(());
            }
        }
    }

    /// Deletes what one operation can of an inode; true when it is gone. Part of an operation.
    pub(crate) fn delete_step(&mut self, ino: u64) -> Result<bool, Error> {
        let (freed, more) = self.store.punch(ino, 0, u64::MAX, PUNCH_STEP)?;
        if more.is_some() {
            let mut inode = self.inode(ino)?;
            inode.attr.blocks = inode.attr.blocks.saturating_sub(freed);
            self.put_inode(inode)?;
            return Ok(false);
        }
        for _ in 0..PUNCH_STEP {
            let first = Key::new(ino, kind::TARGET, 0);
            let found = self.store.first_from(first, |key, _| key)?;
            match found.filter(|k| k.ino() == ino && k.kind() <= kind::XATTR) {
                Some(key) => self.store.remove(key)?,
                None => {
                    self.drop_inode(ino)?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

pub(crate) fn require_file(kind: FileKind) -> Result<(), Error> {
    match kind {
        FileKind::File => Ok(()),
        FileKind::Directory => Err(Error::IsDirectory),
        _ => Err(Error::Invalid),
    }
}
