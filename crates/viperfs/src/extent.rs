//! Which blocks hold which pages of a file, and what their checksums are.

use crate::device::BlockDevice;
use crate::error::Error;
use crate::layout::{
    EXTENT_MAX, EXTENT_UNWRITTEN, ExtentHead, Key, MAX_BLOCKS, UNWRITTEN_MAX, kind,
};
use crate::store::Store;
use alloc::vec::Vec;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

/// An extent item, checked: its blocks exist, and it has a checksum for each of them, or for none
/// when they are unwritten.
#[derive(Clone, Copy)]
pub(crate) struct Extent<'a> {
    pub page: u64,
    pub block: u64,
    pub len: u64,
    pub sums: &'a [U32],
}

impl<'a> Extent<'a> {
    /// From an item of this file; `None` when its shape is wrong.
    pub fn parse(key: Key, value: &'a [u8]) -> Option<Self> {
        let (head, rest) = ExtentHead::ref_from_prefix(value).ok()?;
        let sums = <[U32]>::ref_from_bytes(rest).ok()?;
        let len = u64::from(head.len.get());
        let shape = match head.flags.get() {
            0 => len == sums.len() as u64 && (1..=EXTENT_MAX).contains(&len),
            EXTENT_UNWRITTEN => sums.is_empty() && (1..=UNWRITTEN_MAX).contains(&len),
            _ => false,
        };
        let good =
            shape && head.block.get() < MAX_BLOCKS && key.offset().checked_add(len).is_some();
        good.then_some(Self {
            page: key.offset(),
            block: head.block.get(),
            len,
            sums,
        })
    }

    pub fn end(&self) -> u64 {
        self.page + self.len
    }

    pub fn unwritten(&self) -> bool {
        self.sums.is_empty()
    }

    pub fn to_owned(self) -> OwnedExtent {
        OwnedExtent {
            page: self.page,
            block: self.block,
            len: self.len,
            sums: self.sums.to_vec(),
        }
    }
}

/// A copy of an extent that outlives the tree's buffers.
#[derive(Clone)]
pub(crate) struct OwnedExtent {
    pub page: u64,
    pub block: u64,
    pub len: u64,
    pub sums: Vec<U32>,
}

impl OwnedExtent {
    pub fn end(&self) -> u64 {
        self.page + self.len
    }

    pub fn unwritten(&self) -> bool {
        self.sums.is_empty()
    }

    /// The blocks it claims; bounds have not been checked.
    pub fn blocks(&self) -> core::ops::Range<u64> {
        self.block..self.block.saturating_add(self.len)
    }

    /// The item for the pages `from..to` of it.
    pub fn item(&self, from: u64, to: u64) -> Vec<u8> {
        let (skip, len) = (from - self.page, to - from);
        if self.unwritten() {
            return encode(self.block + skip, len, &[]);
        }
        let sums = &self.sums[skip as usize..(skip + len) as usize];
        encode(self.block + skip, len, sums)
    }
}

/// A run of pages that lie next to each other on the device.
pub(crate) struct Mapping {
    pub block: u64,
    pub count: usize,
}

fn extent_key(ino: u64, page: u64) -> Key {
    Key::new(ino, kind::EXTENT, page)
}

/// An extent item; unwritten when there are no checksums.
fn encode(block: u64, len: u64, sums: &[U32]) -> Vec<u8> {
    let flags = if sums.is_empty() { EXTENT_UNWRITTEN } else { 0 };
    let head = ExtentHead {
        block: U64::new(block),
        len: U16::new(len as u16),
        flags: U16::new(flags),
        reserved: U32::new(0),
    };
    let mut value = Vec::with_capacity(size_of::<ExtentHead>() + sums.len() * 4);
    value.extend_from_slice(head.as_bytes());
    value.extend_from_slice(sums.as_bytes());
    value
}

impl<D: BlockDevice> Store<D> {
    /// Maps up to `sums.len()` pages from `page` on; `None` for a hole or what is unwritten.
    pub fn map(&mut self, ino: u64, page: u64, sums: &mut [u32]) -> Result<Option<Mapping>, Error> {
        let want = extent_key(ino, page);
        let geo = self.geo;
        let found = self.last_to(want, |key, value| {
            if !key.same_object(want) {
                return Ok(None);
            }
            let extent = Extent::parse(key, value).ok_or(Error::Corrupt)?;
            if extent.end() <= page || extent.unwritten() {
                return Ok(None);
            }
            if !geo.allocatable_run(extent.block, extent.len) {
                return Err(Error::Corrupt);
            }
            let skip = (page - extent.page) as usize;
            let count = (extent.sums.len() - skip).min(sums.len());
            for (to, from) in sums.iter_mut().zip(&extent.sums[skip..skip + count]) {
                *to = from.get();
            }
            Ok(Some(Mapping {
                block: extent.block + skip as u64,
                count,
            }))
        })?;
        found.unwrap_or(Ok(None))
    }

    /// The first extent that touches pages at or after `page`.
    pub fn extent_from(&mut self, ino: u64, page: u64) -> Result<Option<OwnedExtent>, Error> {
        let want = extent_key(ino, page);
        let own = |key: Key, value: &[u8]| {
            if !key.same_object(want) {
                return Ok(None);
            }
            let e = Extent::parse(key, value).ok_or(Error::Corrupt)?;
            Ok(Some(e.to_owned()))
        };
        if let Some(extent) = self.last_to(want, own)?.unwrap_or(Ok(None))?
            && extent.end() > page
        {
            return Ok(Some(extent));
        }
        self.first_from(want, own)?.unwrap_or(Ok(None))
    }

    /// Where the blocks of the last extent before `page` end; 0 when there is none.
    pub fn goal_for(&mut self, ino: u64, page: u64) -> Result<u64, Error> {
        let want = extent_key(ino, page);
        let found = self.last_to(want, |key, value| {
            let extent = Extent::parse(key, value).filter(|_| key.same_object(want));
            extent.map_or(0, |e| e.block + e.len)
        })?;
        Ok(found.unwrap_or(0))
    }

    /// Adds pages that are in no extent, growing the extent before them where they continue it.
    pub fn add_extent(
        &mut self,
        ino: u64,
        page: u64,
        block: u64,
        sums: &[U32],
    ) -> Result<(), Error> {
        let want = extent_key(ino, page);
        let before = self.last_to(want, |key, value| {
            let e = Extent::parse(key, value).filter(|_| key.same_object(want))?;
            let joins = !e.unwritten()
                && e.end() == page
                && e.block + e.len == block
                && e.len + sums.len() as u64 <= EXTENT_MAX;
            joins.then(|| {
                let mut all = Vec::with_capacity(e.sums.len() + sums.len());
                all.extend_from_slice(e.sums);
                all.extend_from_slice(sums);
                (key, encode(e.block, all.len() as u64, &all))
            })
        })?;
        match before.flatten() {
            Some((key, value)) => self.update(key, &value),
            None => self.insert(want, &encode(block, sums.len() as u64, sums)),
        }
    }

    /// Keeps a run of blocks for pages that are in no extent; they read as zeroes until written.
    pub fn add_unwritten(
        &mut self,
        ino: u64,
        page: u64,
        block: u64,
        len: u64,
    ) -> Result<(), Error> {
        self.insert(extent_key(ino, page), &encode(block, len, &[]))
    }

    /// The blocks kept for the pages from `page` on, or `None`, and for how many pages, `max` at
    /// most, that holds.
    pub fn kept_blocks(
        &mut self,
        ino: u64,
        page: u64,
        max: u64,
    ) -> Result<(Option<u64>, u64), Error> {
        let mut at = page;
        while at < page + max
            && let Some(extent) = self.extent_from(ino, at)?
        {
            if !extent.unwritten() {
                at = extent.end();
                continue;
            }
            if extent.page > page {
                return Ok((None, max.min(extent.page - page)));
            }
            if !self.geo.allocatable_run(extent.block, extent.len) {
                return Err(Error::Corrupt);
            }
            let block = extent.block + (page - extent.page);
            return Ok((Some(block), max.min(extent.end() - page)));
        }
        Ok((None, max))
    }

    /// Of the pages `from..to`: how many have no block, and how many have one that is unwritten.
    pub fn census(&mut self, ino: u64, from: u64, to: u64) -> Result<(u64, u64), Error> {
        let (mut at, mut missing, mut kept) = (from, to - from, 0);
        while at < to
            && let Some(extent) = self.extent_from(ino, at)?
        {
            let (start, end) = (extent.page.max(at), extent.end().min(to));
            if start >= end {
                break;
            }
            missing -= end - start;
            kept += if extent.unwritten() { end - start } else { 0 };
            at = end;
        }
        Ok((missing, kept))
    }

    /// Turns unwritten pages into written ones, whose checksums are known now.
    pub fn settle_kept(&mut self, ino: u64, page: u64, sums: &[U32]) -> Result<(), Error> {
        let end = page + sums.len() as u64;
        let extent = self.extent_from(ino, page)?.ok_or(Error::Bug)?;
        if !extent.unwritten() || extent.page > page || extent.end() < end {
            return Err(Error::Bug);
        }
        self.take_out(ino, &extent, page, end)?;
        self.add_extent(ino, page, extent.block + (page - extent.page), sums)
    }

    /// Unmaps the pages `from..to` and frees their blocks, at most `limit` extents of them.
    ///
    /// Returns the blocks freed and, when extents are left in the range, the page to go on from.
    pub fn punch(
        &mut self,
        ino: u64,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<(u64, Option<u64>), Error> {
        let mut freed = 0;
        let mut left = limit;
        while let Some(extent) = self.extent_from(ino, from)? {
            if extent.page >= to {
                return Ok((freed, None));
            }
            if left == 0 {
                return Ok((freed, Some(extent.page.max(from))));
            }
            left -= 1;
            let (start, end) = (from.max(extent.page), to.min(extent.end()));
            self.take_out(ino, &extent, start, end)?;
            self.free(extent.block + (start - extent.page), end - start)?;
            freed += end - start;
        }
        Ok((freed, None))
    }

    /// Takes the pages `start..end` out of an extent that covers them.
    fn take_out(
        &mut self,
        ino: u64,
        extent: &OwnedExtent,
        start: u64,
        end: u64,
    ) -> Result<(), Error> {
        let key = extent_key(ino, extent.page);
        if start > extent.page {
            self.update(key, &extent.item(extent.page, start))?;
        } else {
            self.remove(key)?;
        }
        if end < extent.end() {
            self.insert(extent_key(ino, end), &extent.item(end, extent.end()))?;
        }
        Ok(())
    }
}
