//! The memory ranges, and the way between frame numbers and metadata indices.

use super::meta::NIL;
use crate::{Frame, FrameRange, VmError};

const ZONES_MAX: usize = 8;

/// A range of frames, whose records begin at index `base`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Zone {
    pub start: u32,
    count: u32,
    base: u32,
}

/// All ranges, ascending and disjoint. Unused ones are empty.
#[derive(Clone, Copy)]
pub(super) struct Zones {
    zones: [Zone; ZONES_MAX],
}

impl Zone {
    pub fn end(self) -> u32 {
        self.start + self.count
    }

    /// Index of a frame that is known to lie in the zone.
    #[inline]
    pub fn index(self, frame: u32) -> u32 {
        self.base.wrapping_add(frame.wrapping_sub(self.start))
    }

    /// Frame number of an index that is known to belong to the zone.
    #[inline]
    pub fn frame(self, index: u32) -> u32 {
        self.start.wrapping_add(index.wrapping_sub(self.base))
    }
}

impl Zones {
    pub fn new(ranges: &[FrameRange]) -> Result<Self, VmError> {
        let mut zones = [Zone::default(); ZONES_MAX];
        let mut used = 0_usize;
        let mut frames = 0_u32;
        for range in ranges.iter().filter(|range| range.count() > 0) {
            let (start, count) = (range.start().0, range.count());
            match used.checked_sub(1).and_then(|last| zones.get_mut(last)) {
                Some(last) if start < last.end() => return Err(VmError::BadRange),
                Some(last) if start == last.end() => last.count += count,
                _ => {
                    let zone = zones.get_mut(used).ok_or(VmError::BadRange)?;
                    *zone = Zone {
                        start,
                        count,
                        base: frames,
                    };
                    used += 1;
                }
            }
            frames = count
                .checked_add(frames)
                .filter(|&sum| sum < NIL)
                .ok_or(VmError::BadRange)?;
        }
        Ok(Self { zones })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Zone> {
        self.zones.iter()
    }

    /// Number of frames in all zones.
    pub fn frames(&self) -> u32 {
        self.zones.iter().map(|zone| zone.count).sum()
    }

    /// The zone and the index of a frame.
    #[inline]
    pub fn find(&self, frame: Frame) -> Option<(Zone, u32)> {
        let zone = self
            .zones
            .iter()
            .find(|zone| frame.0.wrapping_sub(zone.start) < zone.count)?;
        Some((*zone, zone.index(frame.0)))
    }

    #[inline]
    pub fn of_index(&self, index: u32) -> Option<Zone> {
        self.zones
            .iter()
            .find(|zone| index.wrapping_sub(zone.base) < zone.count)
            .copied()
    }

    #[inline]
    pub fn frame_at(&self, index: u32) -> Option<Frame> {
        self.of_index(index).map(|zone| Frame(zone.frame(index)))
    }
}
