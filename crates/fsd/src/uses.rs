//! Which parts of which disks are mounted: none of them twice, as two engines that write one
//! volume destroy it.

use alloc::vec::Vec;
use core::cell::RefCell;

/// A mounted part of a disk, in sectors.
#[derive(Clone, Copy, Debug)]
struct Use {
    volume: u32,
    disk: u32,
    first: u64,
    end: u64,
}

/// What is mounted.
#[derive(Debug, Default)]
pub(crate) struct Uses(RefCell<Vec<Use>>);

impl Uses {
    /// Whether nothing is mounted on a part of a disk: first sector and count; `None`: all of it.
    pub(crate) fn are_free(&self, disk: u32, part: Option<(u64, u64)>) -> bool {
        let (first, end) = ends(part);
        let overlaps = |u: &Use| u.disk == disk && u.first < end && first < u.end;
        !self.0.borrow().iter().any(overlaps)
    }

    /// A volume is mounted there.
    pub(crate) fn begins(&self, volume: u32, disk: u32, part: Option<(u64, u64)>) {
        self.ends(volume);
        let (first, end) = ends(part);
        self.0.borrow_mut().push(Use {
            volume,
            disk,
            first,
            end,
        });
    }

    /// A volume is not mounted any more.
    pub(crate) fn ends(&self, volume: u32) {
        self.0.borrow_mut().retain(|u| u.volume != volume);
    }
}

fn ends(part: Option<(u64, u64)>) -> (u64, u64) {
    part.map_or((0, u64::MAX), |(first, count)| {
        (first, first.saturating_add(count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_touch_are_apart_and_those_that_overlap_are_not() {
        let uses = Uses::default();
        assert!(uses.are_free(0, None));
        uses.begins(0, 0, None);
        uses.begins(1, 1, Some((100, 50)));
        assert!(!uses.are_free(0, Some((5, 5))) && !uses.are_free(1, None));
        assert!(uses.are_free(1, Some((50, 50))) && uses.are_free(1, Some((150, 1))));
        assert!(!uses.are_free(1, Some((149, 1))) && !uses.are_free(1, Some((0, u64::MAX))));
        uses.begins(1, 1, Some((0, 10)));
        assert!(uses.are_free(1, Some((100, 50))));
        uses.ends(1);
        assert!(uses.are_free(1, None) && uses.are_free(2, None));
    }
}
