//! Giving back a whole tree of tables in bounded steps.

use super::entry::Entry;
use super::{ENTRIES, nth_entry};
use crate::{Frame, FrameSource, PhysMem};

/// A tree on its way out. [`step`](Self::step) it until it says that it is done.
///
/// The address space must not be in use any more, and its ASID must have been invalidated: the
/// tables go back without any TLB maintenance.
#[derive(Debug)]
#[must_use = "the tables are given back by `step` only"]
pub struct Destroy {
    /// `None` once it is free.
    root: Option<Frame>,
    /// The table that an entry of the root led to, while its own entries are looked at.
    middle: Option<Frame>,
    /// Next entry of the root, and of that table.
    first: u64,
    second: u64,
}

impl Destroy {
    pub(super) const fn new(root: Frame) -> Self {
        Self {
            root: Some(root),
            middle: None,
            first: 0,
            second: 0,
        }
    }

    /// Looks at no more than `entries` descriptors, freeing the tables they lead to; `true` once
    /// all of them are free. A full tree has some 262,000 entries to look at, a usual one 2,000.
    pub fn step(
        &mut self,
        mem: &impl PhysMem,
        frames: &mut impl FrameSource,
        entries: usize,
    ) -> bool {
        let mut left = entries;
        while left > 0
            && let Some(root) = self.root
        {
            let Some(middle) = self.middle else {
                self.middle = next_table(mem, root, &mut self.first, &mut left);
                self.second = 0;
                if self.middle.is_none() && self.first == ENTRIES {
                    frames.free_frame(root);
                    self.root = None;
                }
                continue;
            };
            if let Some(last) = next_table(mem, middle, &mut self.second, &mut left) {
                frames.free_frame(last);
            } else if self.second == ENTRIES {
                frames.free_frame(middle);
                self.middle = None;
            }
        }
        self.root.is_none()
    }
}

/// The next table that an entry leads to from `at` on, which goes on behind it; `None` at the end,
/// or when `left` entries were looked at.
fn next_table(mem: &impl PhysMem, table: Frame, at: &mut u64, left: &mut usize) -> Option<Frame> {
    while *at < ENTRIES && *left > 0 {
        let group = (ENTRIES - *at).min(GROUP);
        // Nearly all entries of nearly all tables are empty.
        let is_empty = group == GROUP && *left >= GROUP as usize && {
            let read = |i| mem.read_u64(nth_entry(table, *at + i));
            (0..GROUP).fold(0, |all, i| all | read(i)) == 0
        };
        if is_empty {
            *at += GROUP;
            *left -= GROUP as usize;
            continue;
        }
        for _ in 0..group.min(*left as u64) {
            let entry = mem.read_u64(nth_entry(table, *at));
            *at += 1;
            *left -= 1;
            if entry != 0
                && let Some(next) = Entry(entry).next_table()
            {
                return Some(next);
            }
        }
    }
    None
}

/// Entries that are looked at together.
const GROUP: u64 = 8;
