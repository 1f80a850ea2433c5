//! Which blocks hold which pages of a file, and what their checksums are.

use crate::device::BlockDevice;
use crate::error::Error;
use crate::layout::{EXTENT_MAX, ExtentHead, Key, MAX_BLOCKS, kind};
use crate::store::Store;
use alloc::vec::Vec;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

/// An extent item, checked: its blocks exist and its checksums are as many as its blocks.
#[derive(Clone, Copy)]
pub(crate) struct Extent<'a> {
    pub page: u64,
    pub block: u64,
    pub sums: &'a [U32],
}

impl<'a> Extent<'a> {
    /// From an item of this file; `None` when its shape is wrong.
    pub fn parse(key: Key, value: &'a [u8]) -> Option<Self> {
        let (head, rest) = ExtentHead::ref_from_prefix(value).ok()?;
        let sums = <[U32]>::ref_from_bytes(rest).ok()?;
        let len = u64::from(head.len.get());
        let good = len == sums.len() as u64
            && (1..=EXTENT_MAX).contains(&len)
            && head.flags.get() == 0
            && head.block.get() < MAX_BLOCKS
            && key.offset().checked_add(len).is_some();
        good.then_some(Self {
            page: key.offset(),
            block: head.block.get(),
            sums,
        })
    }

    pub fn end(&self) -> u64 {
        self.page + self.sums.len() as u64
    }
}

/// A copy of an extent that outlives the tree's buffers.
pub(crate) struct OwnedExtent {
    pub page: u64,
    pub block: u64,
    pub sums: Vec<U32>,
}

impl OwnedExtent {
    pub fn end(&self) -> u64 {
        self.page + self.sums.len() as u64
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

fn encode(block: u64, sums: &[U32]) -> Vec<u8> {
    let head = ExtentHead {
        block: U64::new(block),
        len: U16::new(sums.len() as u16),
        flags: U16::new(0),
        reserved: U32::new(0),
    };
    let mut value = Vec::with_capacity(size_of::<ExtentHead>() + sums.len() * 4);
    value.extend_from_slice(head.as_bytes());
    value.extend_from_slice(sums.as_bytes());
    value
}

impl<D: BlockDevice> Store<D> {
    /// Maps up to `sums.len()` pages from `page` on; `None` for a hole.
    pub fn map(&mut self, ino: u64, page: u64, sums: &mut [u32]) -> Result<Option<Mapping>, Error> {
        let want = extent_key(ino, page);
        let geo = self.geo;
        let found = self.last_to(want, |key, value| {
            if !key.same_object(want) {
                return Ok(None);
            }
            let extent = Extent::parse(key, value).ok_or(Error::Corrupt)?;
            if extent.end() <= page {
                return Ok(None);
            }
            if !geo.allocatable_run(extent.block, extent.sums.len() as u64) {
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
            Ok(Some(OwnedExtent {
                page: e.page,
                block: e.block,
                sums: e.sums.to_vec(),
            }))
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
            extent.map_or(0, |e| e.block + e.sums.len() as u64)
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
            let len = e.sums.len() as u64;
            let joins =
                e.end() == page && e.block + len == block && len + sums.len() as u64 <= EXTENT_MAX;
            joins.then(|| {
                let mut all = Vec::with_capacity(e.sums.len() + sums.len());
                all.extend_from_slice(e.sums);
                all.extend_from_slice(sums);
                (key, encode(e.block, &all))
            })
        })?;
        match before.flatten() {
            Some((key, value)) => self.update(key, &value),
            None => self.insert(want, &encode(block, sums)),
        }
    }

    /// Unmaps the pages `from..to` and frees their blocks, at most `limit` extents of them.
    ///
    /// Returns the blocks freed and whether extents are left in the range.
    pub fn punch(
        &mut self,
        ino: u64,
        from: u64,
        to: u64,
        limit: usize,
    ) -> Result<(u64, bool), Error> {
        let mut freed = 0;
        let mut left = limit;
        while let Some(extent) = self.extent_from(ino, from)? {
            if extent.page >= to {
                return Ok((freed, false));
            }
            if left == 0 {
                return Ok((freed, true));
            }
            left -= 1;
            freed += self.cut(ino, &extent, from, to)?;
        }
        Ok((freed, false))
    }

    /// Takes the pages `from..to` out of one extent that overlaps them.
    fn cut(&mut self, ino: u64, extent: &OwnedExtent, from: u64, to: u64) -> Result<u64, Error> {
        let key = extent_key(ino, extent.page);
        let (start, end) = (from.max(extent.page), to.min(extent.end()));
        let (head, tail) = ((start - extent.page) as usize, (end - extent.page) as usize);
        if head > 0 {
            self.update(key, &encode(extent.block, &extent.sums[..head]))?;
        } else {
            self.remove(key)?;
        }
        if tail < extent.sums.len() {
            let value = encode(extent.block + tail as u64, &extent.sums[tail..]);
            self.insert(extent_key(ino, end), &value)?;
        }
        self.free(extent.block + head as u64, end - start)?;
        Ok(end - start)
    }
}
