//! Giving back a whole tree of tables in bounded steps.

use super::entry::Entry;
use super::{ENTRIES, Slots, nth_entry};
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
    /// Entries of the root that may lead to a table.
    slots: Slots,
    /// The table that an entry of the root led to, while its own entries are looked at.
    middle: Option<Frame>,
    /// Next entry of that table.
    next: u64,
}

impl Destroy {
    pub(super) const fn new(root: Frame, slots: Slots) -> Self {
        Self {
            root: Some(root),
            slots,
            middle: None,
            next: 0,
        }
    }

    /// Looks at no more than `entries` descriptors, freeing the tables they lead to; `true` once
    /// all of them are free. There are 512 to look at for each GiB with a mapping in it.
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
                left -= 1;
                if let Some(slot) = self.slots.take() {
                    self.middle = Entry(mem.read_u64(nth_entry(root, slot))).next_table();
                    self.next = 0;
                } else {
                    frames.free_frame(root);
                    self.root = None;
                }
                continue;
            };
            if let Some(last) = next_table(mem, middle, &mut self.next, &mut left) {
                frames.free_frame(last);
            } else if self.next == ENTRIES {
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
        let group = (ENTRIES - *at).min(GROUP).min(*left as u64);
        // Nearly all entries of nearly all tables are empty.
        if mem.is_zero(nth_entry(table, *at), group) {
            *at += group;
            *left -= group as usize;
            continue;
        }
        for _ in 0..group {
            let entry = Entry(mem.read_u64(nth_entry(table, *at)));
            *at += 1;
            *left -= 1;
            if let Some(next) = entry.next_table() {
                return Some(next);
            }
        }
    }
    None
}

/// Entries that are looked at together.
const GROUP: u64 = 64;
