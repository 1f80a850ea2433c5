//! The regions of an address space: what each range of addresses is meant to be.
//!
//! A sorted vector: a search touches few cache lines, and the number of regions is limited by the
//! owner, so that moving the tail on an insertion stays cheap.

use alloc::vec::Vec;

use crate::{PAGE_SIZE, PageRange, VirtAddr, VmError};

/// What a region is about: typically object, offset, permissions, flags.
pub trait RegionValue: Copy {
    /// The value for the part of the region that begins `offset_bytes` after its start. Values
    /// that hold an offset into an object advance it.
    fn advanced(self, offset_bytes: u64) -> Self;

    /// Whether `next`, which follows directly after `len_bytes` bytes of `self`, is just its
    /// continuation, so that the two may become one region. Never, unless the type says so.
    fn continues(self, len_bytes: u64, next: Self) -> bool {
        let _ = (len_bytes, next);
        false
    }
}

/// A range of pages and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region<T> {
    /// The pages.
    pub range: PageRange,
    /// What they are.
    pub value: T,
}

/// What free range [`RegionMap::find_gap`] looks for.
#[derive(Clone, Copy, Debug)]
pub struct GapRequest {
    /// Length, a positive multiple of [`PAGE_SIZE`].
    pub len_bytes: u64,
    /// Alignment, a power of two of at least [`PAGE_SIZE`].
    pub align_bytes: u64,
    /// The address to take if it is free; else it is ignored.
    pub hint: Option<VirtAddr>,
    /// Where to look.
    pub within: PageRange,
    /// Bytes to keep free on both sides, a multiple of [`PAGE_SIZE`]; may reach outside of
    /// `within`.
    pub guard_bytes: u64,
}

/// Sorted regions that do not overlap, all inside of `bounds`.
#[derive(Debug)]
pub struct RegionMap<T> {
    regions: Vec<Region<T>>,
    bounds: PageRange,
    regions_max: usize,
}

impl<T: RegionValue> RegionMap<T> {
    /// An empty map of at most `regions_max` regions. Takes no memory yet.
    pub const fn new(bounds: PageRange, regions_max: usize) -> Self {
        Self {
            regions: Vec::new(),
            bounds,
            regions_max,
        }
    }

    /// Adds a region; merges it with its neighbours if they [continue](RegionValue::continues).
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] out of bounds, [`VmError::Overlap`], [`VmError::TooManyRegions`],
    /// [`VmError::NoMemory`]. Nothing is changed then.
    ///
    /// # Complexity
    ///
    /// O(log n) to search and O(n) moves.
    pub fn insert(&mut self, range: PageRange, value: T) -> Result<(), VmError> {
        self.check(range)?;
        let at = self.first_ending_after(range.start());
        if self
            .regions
            .get(at)
            .is_some_and(|next| next.range.overlaps(range))
        {
            return Err(VmError::Overlap);
        }
        let previous = at
            .checked_sub(1)
            .and_then(|index| self.regions.get_mut(index));
        if let Some(previous) = previous.filter(|previous| joins(previous, range, value)) {
            previous.range = united(previous.range, range);
            self.merge_between(at.saturating_sub(1), at);
            return Ok(());
        }
        let region = Region { range, value };
        if let Some(next) = self.regions.get_mut(at)
            && joins(&region, next.range, next.value)
        {
            *next = Region {
                range: united(range, next.range),
                value,
            };
            return Ok(());
        }
        self.reserve(1)?;
        self.regions.insert(at, region);
        Ok(())
    }

    /// The region that holds `va`.
    ///
    /// # Complexity
    ///
    /// O(log n).
    #[inline]
    pub fn find(&self, va: VirtAddr) -> Option<&Region<T>> {
        let region = self.regions.get(self.first_ending_after(va))?;
        region.range.contains(va).then_some(region)
    }

    /// The regions that share a page with `range`, ascending, in full length.
    pub fn overlapping(&self, range: PageRange) -> impl Iterator<Item = &Region<T>> {
        let first = self.first_ending_after(range.start());
        let rest = self.regions.get(first..).unwrap_or_default();
        rest.iter()
            .take_while(move |region| region.range.start() < range.end())
    }

    /// Removes whatever lies in `range`, shortening or splitting the regions at its ends, and
    /// calls `removed` with each part that is gone. Holes do not matter.
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] out of bounds; [`VmError::TooManyRegions`] or [`VmError::NoMemory`]
    /// if a region must be split in two and cannot. Nothing is changed then.
    pub fn remove(
        &mut self,
        range: PageRange,
        mut removed: impl FnMut(Region<T>),
    ) -> Result<(), VmError> {
        self.check(range)?;
        self.cut_edges(range)?;
        let (first, last) = self.inside(range);
        for region in self.regions.drain(first..last) {
            removed(region);
        }
        Ok(())
    }

    /// Replaces the value of all pages in `range`, which must lie in regions without holes, by
    /// what `change` makes of it; splits regions at the ends. `change` must be a pure function of
    /// the value, and sees the value of each part already [advanced](RegionValue::advanced).
    ///
    /// # Errors
    ///
    /// [`VmError::Refused`] if `change` returns `None` for any part, [`VmError::Hole`], or as
    /// [`remove`](Self::remove). Nothing is changed then.
    pub fn update(
        &mut self,
        range: PageRange,
        change: impl Fn(T) -> Option<T>,
    ) -> Result<(), VmError> {
        self.check(range)?;
        let mut covered = range.start();
        for region in self.overlapping(range) {
            let part = cut(region, range).ok_or(VmError::Hole)?;
            if part.range.start() != covered {
                return Err(VmError::Hole);
            }
            covered = part.range.end();
            change(part.value).ok_or(VmError::Refused)?;
        }
        if covered != range.end() {
            return Err(VmError::Hole);
        }
        self.cut_edges(range)?;
        let (first, last) = self.inside(range);
        for region in self.regions.get_mut(first..last).unwrap_or_default() {
            region.value = change(region.value).unwrap_or(region.value);
        }
        self.merge_between(first.saturating_sub(1), last);
        Ok(())
    }

    /// A free range as wished: at the hint, else the lowest one.
    ///
    /// # Errors
    ///
    /// [`VmError::NoGap`], or [`VmError::BadRange`] if the request is malformed.
    ///
    /// # Complexity
    ///
    /// O(log n) if the hint is free, else O(n).
    pub fn find_gap(&self, request: &GapRequest) -> Result<PageRange, VmError> {
        let GapRequest {
            len_bytes,
            align_bytes,
            hint,
            within,
            guard_bytes,
        } = *request;
        let malformed = !align_bytes.is_power_of_two()
            || align_bytes < PAGE_SIZE
            || !guard_bytes.is_multiple_of(PAGE_SIZE);
        let within = within.intersection(self.bounds).ok_or(VmError::BadRange)?;
        if malformed || PageRange::new(VirtAddr(0), len_bytes).is_err() {
            return Err(VmError::BadRange);
        }
        if let Some(found) = hint.and_then(|hint| self.at_hint(hint, within, request)) {
            return Ok(found);
        }
        let mut from = within.start().0;
        let mut at = self.first_ending_after(VirtAddr(from.saturating_sub(guard_bytes)));
        loop {
            let next = self.regions.get(at).map(|region| region.range);
            let stop = next.map_or(u64::MAX, |next| next.start().0.saturating_sub(guard_bytes));
            let start = from
                .checked_next_multiple_of(align_bytes)
                .ok_or(VmError::NoGap)?;
            let end = start.checked_add(len_bytes).ok_or(VmError::NoGap)?;
            if end > within.end().0 {
                return Err(VmError::NoGap);
            }
            if end <= stop {
                return PageRange::between(VirtAddr(start), VirtAddr(end));
            }
            let next = next.ok_or(VmError::NoGap)?;
            from = from.max(
                next.end()
                    .0
                    .checked_add(guard_bytes)
                    .ok_or(VmError::NoGap)?,
            );
            at += 1;
        }
    }

    /// All regions, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Region<T>> {
        self.regions.iter()
    }

    /// Number of regions.
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether there is no region.
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Where regions may lie.
    pub fn bounds(&self) -> PageRange {
        self.bounds
    }

    /// Takes out the highest region: a teardown in bounded steps.
    pub fn pop(&mut self) -> Option<Region<T>> {
        self.regions.pop()
    }

    /// A map with the same regions, values and limits, as for `fork`.
    ///
    /// # Errors
    ///
    /// [`VmError::NoMemory`].
    pub fn try_clone(&self) -> Result<Self, VmError> {
        let mut regions = Vec::new();
        regions
            .try_reserve_exact(self.regions.len())
            .map_err(|_| VmError::NoMemory)?;
        regions.extend_from_slice(&self.regions);
        Ok(Self { regions, ..*self })
    }

    /// Index of the first region that does not lie wholly at or below `va`.
    #[inline]
    fn first_ending_after(&self, va: VirtAddr) -> usize {
        self.regions
            .partition_point(|region| region.range.end() <= va)
    }

    /// Indices of the regions in a range at whose ends the regions have been cut.
    fn inside(&self, range: PageRange) -> (usize, usize) {
        let first = self.first_ending_after(range.start());
        let last = self
            .regions
            .partition_point(|region| region.range.start() < range.end());
        (first, last.max(first))
    }

    /// Splits the regions that cross the ends of `range`; both or none.
    fn cut_edges(&mut self, range: PageRange) -> Result<(), VmError> {
        let crosses = |va| {
            self.find(va)
                .is_some_and(|region| region.range.start() < va)
        };
        let (start, end) = (crosses(range.start()), crosses(range.end()));
        self.reserve(usize::from(start) + usize::from(end))?;
        for edge in [range.start(), range.end()] {
            self.cut_at(edge);
        }
        Ok(())
    }

    /// Splits the region that has pages on both sides of `va`, if there is one. There is room.
    fn cut_at(&mut self, va: VirtAddr) {
        let at = self.first_ending_after(va);
        let Some(region) = self.regions.get_mut(at) else {
            return;
        };
        let (below, above) = (
            PageRange::between(region.range.start(), va),
            PageRange::between(va, region.range.end()),
        );
        let (Ok(below), Ok(above)) = (below, above) else {
            return;
        };
        region.range = below;
        let value = region.value.advanced(below.len_bytes());
        self.regions.insert(
            at + 1,
            Region {
                range: above,
                value,
            },
        );
    }

    /// Merges neighbours among the regions `first..=last` where they continue each other.
    fn merge_between(&mut self, first: usize, last: usize) {
        for at in (first..last).rev() {
            let next = self.regions.get(at + 1).copied();
            let (Some(region), Some(next)) = (self.regions.get_mut(at), next) else {
                continue;
            };
            if joins(region, next.range, next.value) {
                region.range = united(region.range, next.range);
                self.regions.remove(at + 1);
            }
        }
    }

    fn at_hint(&self, hint: VirtAddr, within: PageRange, want: &GapRequest) -> Option<PageRange> {
        let range = PageRange::new(hint, want.len_bytes).ok()?;
        let inside = within.start() <= range.start() && range.end() <= within.end();
        let low = range.start().0.saturating_sub(want.guard_bytes);
        let high = range.end().0.saturating_add(want.guard_bytes);
        let kept_free = PageRange::between(VirtAddr(low), VirtAddr(high)).ok()?;
        let fits = inside
            && hint.0.is_multiple_of(want.align_bytes)
            && self.overlapping(kept_free).next().is_none();
        fits.then_some(range)
    }

    fn check(&self, range: PageRange) -> Result<(), VmError> {
        let inside = self.bounds.start() <= range.start() && range.end() <= self.bounds.end();
        if inside {
            Ok(())
        } else {
            Err(VmError::BadRange)
        }
    }

    fn reserve(&mut self, more: usize) -> Result<(), VmError> {
        if more > self.regions_max.saturating_sub(self.regions.len()) && more > 0 {
            return Err(VmError::TooManyRegions);
        }
        self.regions
            .try_reserve(more)
            .map_err(|_| VmError::NoMemory)
    }
}

/// Whether a range with a value directly continues a region.
fn joins<T: RegionValue>(region: &Region<T>, range: PageRange, value: T) -> bool {
    region.range.end() == range.start() && region.value.continues(region.range.len_bytes(), value)
}

/// Two adjacent ranges as one.
fn united(low: PageRange, high: PageRange) -> PageRange {
    PageRange::between(low.start(), high.end()).unwrap_or(low)
}

/// The part of a region inside of `range`, with its own value.
fn cut<T: RegionValue>(region: &Region<T>, range: PageRange) -> Option<Region<T>> {
    let part = region.range.intersection(range)?;
    let offset = part.start().0 - region.range.start().0;
    Some(Region {
        range: part,
        value: region.value.advanced(offset),
    })
}
