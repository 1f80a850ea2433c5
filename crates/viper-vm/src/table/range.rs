//! Operations on whole ranges of addresses.

use core::ops::ControlFlow;

use super::entry::Entry;
use super::{BLOCK_SIZE, ENTRIES, Leaf, PageTable, Perms, Stop, Target};
use super::{check_kind, entry_at, new_table, nth_entry, span};
use crate::{
    Frame, FrameSource, Invalidate, PAGE_SIZE, PageRange, PhysAddr, PhysMem, VirtAddr, VmError,
};

impl PageTable {
    /// Maps a range to contiguous memory from `target.pa` on, by blocks of 2 MiB where both
    /// addresses allow it.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map), and [`VmError::AlreadyMapped`] if any page of it is mapped. What
    /// had been mapped is unmapped again, hence `tlb`.
    ///
    /// # Complexity
    ///
    /// Linear in the number of pages and blocks.
    pub fn map_range<M: PhysMem>(
        &mut self,
        mem: &mut M,
        frames: &mut impl FrameSource,
        tlb: &mut impl Invalidate<M>,
        range: PageRange,
        target: Target,
    ) -> Result<(), VmError> {
        self.check_range(range)?;
        self.check(range.start(), target)?;
        let last = target.pa.0.checked_add(range.len_bytes() - PAGE_SIZE);
        let last = last.ok_or(VmError::BadRange)?;
        self.check(
            range.start(),
            Target {
                pa: PhysAddr(last),
                ..target
            },
        )?;
        let mut done = 0;
        while done < range.len_bytes() {
            let va = VirtAddr(range.start().0 + done);
            let rest = Target {
                pa: PhysAddr(target.pa.0 + done),
                ..target
            };
            match self.map_largest(mem, frames, va, rest, range.len_bytes() - done) {
                Ok(len_bytes) => done += len_bytes,
                Err(error) => {
                    if let Ok(mapped) = PageRange::new(range.start(), done) {
                        self.unmap_range(mem, frames, tlb, mapped, |_| {})?;
                    }
                    return Err(error);
                }
            }
        }
        mem.publish();
        Ok(())
    }

    /// Removes all mappings in a range, calls `removed` for each, and frees the tables that
    /// become empty.
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] if it is out of bounds; [`VmError::OutOfFrames`] if it cuts a block
    /// and there is no frame for the table that takes its place. Nothing is changed then.
    ///
    /// # Complexity
    ///
    /// Linear in the number of mappings and of tables touched.
    pub fn unmap_range<M: PhysMem>(
        &mut self,
        mem: &mut M,
        frames: &mut impl FrameSource,
        tlb: &mut impl Invalidate<M>,
        range: PageRange,
        mut removed: impl FnMut(Leaf),
    ) -> Result<(), VmError> {
        self.check_range(range)?;
        self.split_edges(mem, frames, tlb, range)?;
        let mut va = range.start();
        while va < range.end() {
            let stop = self.descend(mem, va);
            if stop.entry.is_valid() {
                mem.write_u64(stop.at, Entry::INVALID.0);
                tlb.invalidate_in(mem, va);
                removed(self.leaf(va, &stop));
            }
            let Some(next) = next_after(va, stop.level).filter(|next| *next < range.end()) else {
                self.prune(mem, frames, tlb, va);
                break;
            };
            if next.0.is_multiple_of(BLOCK_SIZE) {
                self.prune(mem, frames, tlb, va);
            }
            va = next;
        }
        Ok(())
    }

    /// Changes what may be done with each mapped page of a range.
    ///
    /// # Errors
    ///
    /// As [`unmap_range`](Self::unmap_range), and [`VmError::Refused`] for device memory that
    /// would become executable.
    pub fn protect_range<M: PhysMem>(
        &mut self,
        mem: &mut M,
        frames: &mut impl FrameSource,
        tlb: &mut impl Invalidate<M>,
        range: PageRange,
        perms: Perms,
    ) -> Result<(), VmError> {
        self.check_range(range)?;
        if perms.can_execute() {
            self.each_stop(mem, range, |_, stop| {
                check_kind(perms, stop.entry.target(self.space).mem_type)
            })?;
        }
        self.split_edges(mem, frames, tlb, range)?;
        let mut va = range.start();
        while va < range.end() {
            let stop = self.descend(mem, va);
            if stop.entry.is_valid() {
                let entry = stop.entry.with_perms(perms, self.space);
                self.change(mem, tlb, va, &stop, entry);
            }
            let Some(next) = next_after(va, stop.level) else {
                break;
            };
            va = next;
        }
        Ok(())
    }

    /// Shows each mapping that touches a range to `visit`, in ascending order. If it breaks,
    /// returns where to go on.
    ///
    /// # Errors
    ///
    /// [`VmError::BadRange`] if it is out of bounds.
    ///
    /// # Complexity
    ///
    /// Linear in the number of mappings and of tables in the range.
    pub fn walk(
        &self,
        mem: &impl PhysMem,
        range: PageRange,
        mut visit: impl FnMut(Leaf) -> ControlFlow<()>,
    ) -> Result<Option<VirtAddr>, VmError> {
        self.check_range(range)?;
        let stopped = self.each_stop(mem, range, |va, stop| match visit(self.leaf(va, stop)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(next_after(va, stop.level)),
        });
        Ok(stopped.err().flatten().filter(|next| *next < range.end()))
    }

    /// Calls `visit` for each leaf of a checked range until it fails.
    fn each_stop<E>(
        &self,
        mem: &impl PhysMem,
        range: PageRange,
        mut visit: impl FnMut(VirtAddr, &Stop) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut va = range.start();
        while va < range.end() {
            let stop = self.descend(mem, va);
            if stop.entry.is_valid() {
                visit(va, &stop)?;
            }
            let Some(next) = next_after(va, stop.level) else {
                break;
            };
            va = next;
        }
        Ok(())
    }

    /// Maps a block or a page at `va`, and says how many bytes that were.
    fn map_largest(
        &mut self,
        mem: &mut impl PhysMem,
        frames: &mut impl FrameSource,
        va: VirtAddr,
        target: Target,
        len_bytes: u64,
    ) -> Result<u64, VmError> {
        let stop = self.descend(mem, va);
        let aligned = (va.0 | target.pa.0).is_multiple_of(BLOCK_SIZE) && len_bytes >= BLOCK_SIZE;
        if !aligned || stop.level == 3 || stop.entry.is_valid() {
            self.install(mem, frames, va, stop, Entry::page(target, self.space))?;
            return Ok(PAGE_SIZE);
        }
        let block = Entry::block(target, self.space);
        let entry = match stop.level {
            2 => block,
            _ => Entry::table(new_table(mem, frames, va, 2, block)?),
        };
        mem.write_u64(stop.at, entry.0);
        if stop.level == 1 {
            self.slots.add(va);
        }
        Ok(BLOCK_SIZE)
    }

    /// Splits the blocks that an end of the range cuts.
    fn split_edges<M: PhysMem>(
        &mut self,
        mem: &mut M,
        frames: &mut impl FrameSource,
        tlb: &mut impl Invalidate<M>,
        range: PageRange,
    ) -> Result<(), VmError> {
        for edge in [range.start(), range.end()] {
            if !edge.0.is_multiple_of(BLOCK_SIZE) {
                self.split(mem, frames, tlb, edge)?;
            }
        }
        // A block of 1 GiB, which only others can have built, is not split.
        let first = self.descend(mem, range.start());
        let last = self.descend(mem, VirtAddr(range.end().0 - PAGE_SIZE));
        let whole = |stop: &Stop, edge: VirtAddr| {
            stop.level != 1 || !stop.entry.is_valid() || edge.0.is_multiple_of(span(1))
        };
        let fits = whole(&first, range.start()) && whole(&last, range.end());
        if fits { Ok(()) } else { Err(VmError::BadRange) }
    }

    /// Turns the block of 2 MiB around `va`, if there is one, into pages.
    fn split<M: PhysMem>(
        &mut self,
        mem: &mut M,
        frames: &mut impl FrameSource,
        tlb: &mut impl Invalidate<M>,
        va: VirtAddr,
    ) -> Result<(), VmError> {
        let stop = self.descend(mem, va);
        if stop.level != 2 || !stop.entry.is_valid() {
            return Ok(());
        }
        let table = frames.alloc_frame().ok_or(VmError::OutOfFrames)?;
        for index in 0..ENTRIES {
            let page = stop.entry.page_of_block(index * PAGE_SIZE);
            mem.write_u64(nth_entry(table, index), page.0);
        }
        mem.write_u64(stop.at, Entry::INVALID.0);
        tlb.invalidate_now_in(mem, va.page());
        mem.write_u64(stop.at, Entry::table(table).0);
        mem.publish();
        Ok(())
    }

    /// Frees the tables of levels 3 and 2 on the way to `va` if they are empty.
    fn prune<M: PhysMem>(
        &mut self,
        mem: &mut M,
        frames: &mut impl FrameSource,
        tlb: &mut impl Invalidate<M>,
        va: VirtAddr,
    ) {
        let at_first = entry_at(self.root, va, 1);
        let Some(second) = Entry(mem.read_u64(at_first)).next_table() else {
            return;
        };
        let at_second = entry_at(second, va, 2);
        if let Some(third) = Entry(mem.read_u64(at_second)).next_table() {
            if !is_empty(mem, third) {
                return;
            }
            unlink(mem, frames, tlb, va, at_second, third);
        }
        if is_empty(mem, second) {
            unlink(mem, frames, tlb, va, at_first, second);
        }
    }
}

/// Takes an empty table out of its tree and frees it.
fn unlink<M: PhysMem>(
    mem: &mut M,
    frames: &mut impl FrameSource,
    tlb: &mut impl Invalidate<M>,
    va: VirtAddr,
    at: PhysAddr,
    table: Frame,
) {
    mem.write_u64(at, Entry::INVALID.0);
    tlb.invalidate_now_in(mem, va);
    frames.free_frame(table);
}

fn is_empty(mem: &impl PhysMem, table: Frame) -> bool {
    mem.is_zero(nth_entry(table, 0), ENTRIES)
}

/// The first address after the descriptor of `level` that serves `va`.
fn next_after(va: VirtAddr, level: u32) -> Option<VirtAddr> {
    VirtAddr(va.0 & !(span(level) - 1)).checked_add(span(level))
}
