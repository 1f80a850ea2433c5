//! The pages of a memory object: a sparse map from page number to frame.
//!
//! Two levels: a vector of chunks, and chunks of up to 512 frame numbers that grow as needed, so
//! that an object of one page costs a few dozen bytes.

use alloc::vec::Vec;

use crate::{Frame, FrameRefs, VmError};

/// Pages in a chunk: 2 MiB.
const CHUNK_PAGES: usize = 512;

/// The frame number that stands for "no page". Its address would be just below 16 TiB.
const NONE: u32 = u32::MAX;

/// The frames of a memory object, by page number. Owns one reference to each.
///
/// Dropping it does not release the frames, as it cannot reach them: [`release`](Self::release)
/// does.
#[derive(Debug)]
pub struct PageList {
    chunks: Vec<Vec<u32>>,
    len_pages: u32,
    present: u32,
}

impl PageList {
    /// An object of `len_pages` pages, none of them present. Takes no memory yet.
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] beyond [`LEN_MAX`](Self::LEN_MAX).
    pub const fn new(len_pages: u32) -> Result<Self, VmError> {
        if len_pages > Self::LEN_MAX {
            return Err(VmError::BadRange);
        }
        Ok(Self {
            chunks: Vec::new(),
            len_pages,
            present: 0,
        })
    }

    /// The largest number of pages of an object: 4 GiB.
    pub const LEN_MAX: u32 = 1 << 20;

    /// The frame of a page, if it is present.
    #[inline]
    pub fn frame(&self, page: u32) -> Option<Frame> {
        let chunk = self.chunks.get(page as usize / CHUNK_PAGES)?;
        let &number = chunk.get(page as usize % CHUNK_PAGES)?;
        (number != NONE).then_some(Frame(number))
    }

    /// Makes `frame` the page `page`, and returns the frame that was there, which is the caller's
    /// again. The object owns the reference to `frame` then.
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] past the end, [`VmError::NoMemory`]. The caller keeps `frame` then.
    pub fn set(&mut self, page: u32, frame: Frame) -> Result<Option<Frame>, VmError> {
        if frame.0 == NONE {
            return Err(VmError::BadRange);
        }
        let slot = self.slot(page)?;
        let old = core::mem::replace(slot, frame.0);
        if old == NONE {
            self.present += 1;
            return Ok(None);
        }
        Ok(Some(Frame(old)))
    }

    /// Makes room for `page`, so that the next [`set`](Self::set) of it cannot fail.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn prepare(&mut self, page: u32) -> Result<(), VmError> {
        self.slot(page).map(|_| ())
    }

    /// Takes a page out, with the reference to its frame.
    pub fn take(&mut self, page: u32) -> Option<Frame> {
        let chunk = self.chunks.get_mut(page as usize / CHUNK_PAGES)?;
        let slot = chunk.get_mut(page as usize % CHUNK_PAGES)?;
        let old = core::mem::replace(slot, NONE);
        if old == NONE {
            return None;
        }
        self.present -= 1;
        Some(Frame(old))
    }

    /// The first page present from `page` on, with its frame.
    ///
    /// # Complexity
    ///
    /// Linear in the distance, skipping chunks that do not exist.
    pub fn next_present(&self, page: u32) -> Option<(u32, Frame)> {
        let first = page as usize / CHUNK_PAGES;
        let mut skip = page as usize % CHUNK_PAGES;
        for (number, chunk) in self.chunks.iter().enumerate().skip(first) {
            let rest = chunk.get(skip..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|&frame| frame != NONE) {
                let frame = *rest.get(at)?;
                return Some(((number * CHUNK_PAGES + skip + at) as u32, Frame(frame)));
            }
            skip = 0;
        }
        None
    }

    /// All pages present, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Frame)> {
        let mut from = 0;
        core::iter::from_fn(move || {
            let found = self.next_present(from)?;
            from = found.0 + 1;
            Some(found)
        })
    }

    /// A second object of the same pages for copy-on-write: each frame has one owner more.
    ///
    /// # Errors
    ///
    /// [`VmError::NoMemory`] or an error of [`FrameRefs::share`]. All owners are as before then.
    ///
    /// # Complexity
    ///
    /// Linear in the number of pages; see [`share_into`](Self::share_into) for steps.
    pub fn clone_shared(&self, refs: &mut impl FrameRefs) -> Result<Self, VmError> {
        let mut copy = Self {
            chunks: Vec::new(),
            len_pages: self.len_pages,
            present: 0,
        };
        match self.share_into(&mut copy, 0, self.len_pages, refs) {
            Ok(()) => Ok(copy),
            Err(error) => {
                copy.release(refs, u32::MAX);
                Err(error)
            }
        }
    }

    /// Puts the pages `first..end` of this object into `copy` as well, at the same places, which
    /// must be empty. Each frame has one owner more then.
    ///
    /// # Errors
    ///
    /// [`VmError::AlreadyMapped`] if a place is taken, [`VmError::BadRange`] past the end of
    /// `copy`, else as [`clone_shared`](Self::clone_shared). Nothing is shared then.
    pub fn share_into(
        &self,
        copy: &mut Self,
        first: u32,
        end: u32,
        refs: &mut impl FrameRefs,
    ) -> Result<(), VmError> {
        let mut from = first;
        while let Some((page, frame)) = self.next_present(from).filter(|found| found.0 < end) {
            if let Err(error) = share_page(copy, page, frame, refs) {
                self.unshare(copy, first, page, refs);
                return Err(error);
            }
            from = page + 1;
        }
        Ok(())
    }

    /// Releases the pages `first..end`, and says how many frames became free.
    pub fn release_range(&mut self, first: u32, end: u32, refs: &mut impl FrameRefs) -> u32 {
        let mut freed = 0;
        let mut from = first;
        while let Some((page, frame)) = self.next_present(from).filter(|found| found.0 < end) {
            self.take(page);
            freed += u32::from(refs.release(frame) == Ok(true));
            from = page + 1;
        }
        freed
    }

    /// Looks at up to `slots` pages, present or not, from the end; releases them with the memory
    /// of chunks left behind. A chunk below the last page present counts as one. `true` once
    /// nothing is left. For teardown in bounded steps.
    pub fn release(&mut self, refs: &mut impl FrameRefs, slots: u32) -> bool {
        let mut left = slots;
        while let Some(chunk) = self.chunks.last_mut() {
            if self.present == 0 && left > 0 {
                left -= 1;
                chunk.clear();
            }
            while left > 0
                && let Some(number) = chunk.pop()
            {
                left -= 1;
                if number != NONE {
                    self.present -= 1;
                    // The only error would be a frame nobody owns, and this object owns it.
                    let _ = refs.release(Frame(number));
                }
            }
            if !chunk.is_empty() {
                return false;
            }
            self.chunks.pop();
        }
        true
    }

    /// Changes the length; pages past a new end are released.
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] beyond [`LEN_MAX`](Self::LEN_MAX).
    pub fn resize(&mut self, len_pages: u32, refs: &mut impl FrameRefs) -> Result<(), VmError> {
        if len_pages > Self::LEN_MAX {
            return Err(VmError::BadRange);
        }
        self.release_range(len_pages, self.len_pages, refs);
        self.len_pages = len_pages;
        Ok(())
    }

    /// Length of the object in pages, present or not.
    pub const fn len_pages(&self) -> u32 {
        self.len_pages
    }

    /// Number of pages present.
    pub const fn present(&self) -> u32 {
        self.present
    }

    /// Undoes `share_into` for the pages `first..end`.
    fn unshare(&self, copy: &mut Self, first: u32, end: u32, refs: &mut impl FrameRefs) {
        let mut from = first;
        while let Some((page, _)) = self.next_present(from).filter(|found| found.0 < end) {
            copy.release_range(page, page + 1, refs);
            from = page + 1;
        }
    }

    /// The slot of a page, with the chunk made large enough.
    fn slot(&mut self, page: u32) -> Result<&mut u32, VmError> {
        if page >= self.len_pages {
            return Err(VmError::BadRange);
        }
        let (number, at) = (page as usize / CHUNK_PAGES, page as usize % CHUNK_PAGES);
        if number >= self.chunks.len() {
            let more = number + 1 - self.chunks.len();
            self.chunks
                .try_reserve(more)
                .map_err(|_| VmError::NoMemory)?;
            self.chunks.resize_with(number + 1, Vec::new);
        }
        let chunk = self.chunks.get_mut(number).ok_or(VmError::BadRange)?;
        if at >= chunk.len() {
            let rest = self.len_pages as usize - number * CHUNK_PAGES;
            let len = (at + 1).next_power_of_two().min(rest).min(CHUNK_PAGES);
            chunk
                .try_reserve_exact(len - chunk.len())
                .map_err(|_| VmError::NoMemory)?;
            chunk.resize(len, NONE);
        }
        chunk.get_mut(at).ok_or(VmError::BadRange)
    }
}

/// Adds one owner to `frame` and puts it into `copy`; or neither.
fn share_page(
    copy: &mut PageList,
    page: u32,
    frame: Frame,
    refs: &mut impl FrameRefs,
) -> Result<(), VmError> {
    if copy.frame(page).is_some() {
        return Err(VmError::AlreadyMapped);
    }
    copy.prepare(page)?;
    refs.share(frame)?;
    copy.set(page, frame).map(|_| ())
}
