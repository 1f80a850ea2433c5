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
    root: Frame,
    /// Next entry of the root, and of the table it leads to.
    first: u64,
    second: u64,
}

impl Destroy {
    pub(super) const fn new(root: Frame) -> Self {
        Self {
            root,
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
        for _ in 0..entries {
            if self.first == ENTRIES {
                break;
            }
            self.look(mem, frames);
        }
        self.first == ENTRIES
    }

    fn look(&mut self, mem: &impl PhysMem, frames: &mut impl FrameSource) {
        match table_at(mem, self.root, self.first) {
            Some(second) if self.second < ENTRIES => {
                if let Some(third) = table_at(mem, second, self.second) {
                    frames.free_frame(third);
                }
                self.second += 1;
                return;
            }
            Some(second) => frames.free_frame(second),
            None => {}
        }
        self.second = 0;
        self.first += 1;
        if self.first == ENTRIES {
            frames.free_frame(self.root);
        }
    }
}

fn table_at(mem: &impl PhysMem, table: Frame, index: u64) -> Option<Frame> {
    Entry(mem.read_u64(nth_entry(table, index))).next_table()
}
