//! Page tables of VMSAv8-64: 4 KiB granule, 39-bit addresses, three levels (`TnSZ` = 25).
//!
//! A valid descriptor never changes to another valid one that differs in more than permissions:
//! it goes through invalid and a completed TLB invalidation (break-before-make, Arm ARM D8.16).
//! The frames that leaves point to belong to the caller; those of the tables to the table.

mod destroy;
mod entry;
mod range;

use crate::{Frame, FrameSource, Invalidate, PAGE_SHIFT, PAGE_SIZE, PageRange, PhysAddr};
use crate::{PhysMem, VirtAddr, VmError};
pub use destroy::Destroy;
use entry::Entry;

/// Bytes that a block descriptor of level 2 maps.
pub const BLOCK_SIZE: u64 = 2 << 20;

/// Physical addresses must be below this (frame numbers have 32 bits).
const PA_LIMIT: u64 = 1 << 44;

const ENTRIES: u64 = 512;
const VA_BITS: u32 = 39;

/// Which half of the addresses a table serves, and so who may use its mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// `TTBR0`: `0..2^39`. Not global (tagged with an ASID), open to EL0, never executable by EL1.
    User,
    /// `TTBR1`: the topmost `2^39` bytes. Global, closed to EL0.
    Kernel,
}

/// What may be done with a page. Writable and executable at once cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Perms {
    /// Read only, as also used for copy-on-write.
    Read,
    /// Read and write.
    ReadWrite,
    /// Read and execute.
    ReadExecute,
}

/// How memory behaves. The number is the index into `MAIR_EL1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MemType {
    /// Device-nGnRE: registers.
    DeviceNgnre = 0,
    /// Normal, write-back cacheable, inner shareable: RAM.
    NormalWriteBack = 1,
    /// Normal, not cacheable: buffers of devices that do not snoop.
    NormalNonCacheable = 2,
}

/// Where a mapping leads, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Physical address of the first byte; page-aligned and below 16 TiB.
    pub pa: PhysAddr,
    /// What may be done there.
    pub perms: Perms,
    /// How the memory behaves.
    pub mem_type: MemType,
}

/// A mapping as found in a table: a page, or a whole block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leaf {
    /// Virtual address of the first byte.
    pub va: VirtAddr,
    /// Size: [`PAGE_SIZE`], [`BLOCK_SIZE`], or 1 GiB in tables built by others.
    pub len_bytes: u64,
    /// What it maps.
    pub target: Target,
}

/// What [`PageTable::map`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mapped {
    /// The page was not mapped before.
    New,
    /// Exactly this mapping was there already: another processor was faster.
    Unchanged,
}

/// The root of a tree of translation tables.
///
/// Holds no cache: it is only the number of the root frame. No frame is freed when it is dropped;
/// see [`destroy`](Self::destroy).
#[derive(Debug)]
pub struct PageTable {
    root: Frame,
    space: Space,
    slots: Slots,
}

/// Entries of a root, a bit each.
#[derive(Clone, Copy, Debug)]
struct Slots([u64; ENTRIES as usize / 64]);

/// Where a walk ended: at the first descriptor that is not a table.
struct Stop {
    level: u32,
    at: PhysAddr,
    entry: Entry,
}

impl Perms {
    /// The permissions for a set of flags, or `None` for no access and for write with execute.
    ///
    /// Every access implies reading, as there is no write-only or execute-only page.
    pub const fn from_flags(read: bool, write: bool, execute: bool) -> Option<Self> {
        match (read, write, execute) {
            (_, true, true) | (false, false, false) => None,
            (_, true, false) => Some(Self::ReadWrite),
            (_, false, true) => Some(Self::ReadExecute),
            (true, false, false) => Some(Self::Read),
        }
    }

    /// Whether stores are allowed.
    pub const fn can_write(self) -> bool {
        matches!(self, Self::ReadWrite)
    }

    /// Whether instruction fetch is allowed.
    pub const fn can_execute(self) -> bool {
        matches!(self, Self::ReadExecute)
    }
}

impl PageTable {
    /// An empty table.
    ///
    /// # Errors
    ///
    /// [`VmError::OutOfFrames`].
    pub fn new(
        mem: &mut impl PhysMem,
        frames: &mut impl FrameSource,
        space: Space,
    ) -> Result<Self, VmError> {
        let root = frames.alloc_frame().ok_or(VmError::OutOfFrames)?;
        mem.zero_frame(root);
        mem.publish();
        Ok(Self {
            root,
            space,
            slots: Slots::NONE,
        })
    }

    /// Adopts a tree that somebody else has built, such as boot code.
    ///
    /// Its frames are given to the [`FrameSource`] when they become empty or the table is
    /// destroyed, so they must come from there.
    pub const fn from_root(root: Frame, space: Space) -> Self {
        Self {
            root,
            space,
            slots: Slots::ALL,
        }
    }

    /// The frame of the first level, for `TTBRn_EL1`.
    pub const fn root(&self) -> Frame {
        self.root
    }

    /// Maps one page. No TLB maintenance is needed.
    ///
    /// # Errors
    ///
    /// [`VmError::AlreadyMapped`] if another mapping is there, [`VmError::OutOfFrames`] for
    /// tables, [`VmError::BadRange`] if an address is misaligned or out of bounds,
    /// [`VmError::Refused`] for executable device memory. Nothing is changed then.
    ///
    /// # Complexity
    ///
    /// Three loads and one store if the tables are there.
    #[inline]
    pub fn map(
        &mut self,
        mem: &mut impl PhysMem,
        frames: &mut impl FrameSource,
        va: VirtAddr,
        target: Target,
    ) -> Result<Mapped, VmError> {
        self.check(va, target)?;
        let stop = self.descend(mem, va);
        let entry = Entry::page(target, self.space);
        if stop.level == 3 && stop.entry == entry {
            return Ok(Mapped::Unchanged);
        }
        self.install(mem, frames, va, stop, entry)?;
        mem.publish();
        Ok(Mapped::New)
    }

    /// Points a mapped page somewhere else, as after copy-on-write, and returns what was there.
    ///
    /// The page is unmapped for an instant unless only permissions change: another processor may
    /// take a fault that finds everything in order.
    ///
    /// # Errors
    ///
    /// [`VmError::NotMapped`]; [`VmError::BadRange`] and [`VmError::Refused`] as for
    /// [`map`](Self::map), and `BadRange` if a block is there.
    pub fn replace<M: PhysMem>(
        &mut self,
        mem: &mut M,
        tlb: &mut impl Invalidate<M>,
        va: VirtAddr,
        target: Target,
    ) -> Result<Leaf, VmError> {
        self.check(va, target)?;
        let stop = self.page_at(mem, va)?;
        self.change(mem, tlb, va, &stop, Entry::page(target, self.space));
        Ok(self.leaf(va, &stop))
    }

    /// Removes the mapping of one page, and returns what was there. Keeps the tables.
    ///
    /// # Errors
    ///
    /// [`VmError::NotMapped`]; [`VmError::BadRange`] if the address is misaligned or out of
    /// bounds, or lies in a block (use [`unmap_range`](Self::unmap_range)).
    pub fn unmap<M: PhysMem>(
        &mut self,
        mem: &mut M,
        tlb: &mut impl Invalidate<M>,
        va: VirtAddr,
    ) -> Result<Leaf, VmError> {
        self.check_va(va)?;
        let stop = self.page_at(mem, va)?;
        mem.write_u64(stop.at, Entry::INVALID.0);
        tlb.invalidate_in(mem, va);
        Ok(self.leaf(va, &stop))
    }

    /// Changes what may be done with one page.
    ///
    /// # Errors
    ///
    /// As for [`replace`](Self::replace).
    pub fn protect<M: PhysMem>(
        &mut self,
        mem: &mut M,
        tlb: &mut impl Invalidate<M>,
        va: VirtAddr,
        perms: Perms,
    ) -> Result<(), VmError> {
        self.check_va(va)?;
        let stop = self.page_at(mem, va)?;
        check_kind(perms, stop.entry.target(self.space).mem_type)?;
        self.change(
            mem,
            tlb,
            va,
            &stop,
            stop.entry.with_perms(perms, self.space),
        );
        Ok(())
    }

    /// The mapping that serves `va`, which need not be aligned.
    pub fn lookup(&self, mem: &impl PhysMem, va: VirtAddr) -> Option<Leaf> {
        self.check_va(va.page()).ok()?;
        let stop = self.descend(mem, va);
        stop.entry.is_valid().then(|| self.leaf(va, &stop))
    }

    /// The physical address behind `va`, which need not be aligned.
    pub fn translate(&self, mem: &impl PhysMem, va: VirtAddr) -> Option<PhysAddr> {
        let leaf = self.lookup(mem, va)?;
        Some(PhysAddr(leaf.target.pa.0 + (va.0 - leaf.va.0)))
    }

    /// Begins to give back the tables. See [`Destroy`].
    pub fn destroy(self) -> Destroy {
        Destroy::new(self.root, self.slots)
    }

    /// Walks from the root to the first descriptor that is not a table. `va` has been checked.
    #[inline]
    fn descend(&self, mem: &impl PhysMem, va: VirtAddr) -> Stop {
        let mut table = self.root;
        let mut level = 1;
        loop {
            let at = entry_at(table, va, level);
            let entry = Entry(mem.read_u64(at));
            match entry.next_table() {
                Some(next) if level < 3 => table = next,
                _ => return Stop { level, at, entry },
            }
            level += 1;
        }
    }

    /// Writes a page descriptor where a walk ended, with the tables that are missing. Nothing is
    /// linked in before everything is there.
    #[inline]
    fn install(
        &mut self,
        mem: &mut impl PhysMem,
        frames: &mut impl FrameSource,
        va: VirtAddr,
        stop: Stop,
        entry: Entry,
    ) -> Result<(), VmError> {
        if stop.entry.is_valid() {
            return Err(VmError::AlreadyMapped);
        }
        let first = match stop.level {
            3 => entry,
            2 => Entry::table(new_table(mem, frames, va, 3, entry)?),
            _ => {
                let third = new_table(mem, frames, va, 3, entry)?;
                match new_table(mem, frames, va, 2, Entry::table(third)) {
                    Ok(second) => Entry::table(second),
                    Err(error) => {
                        frames.free_frame(third);
                        return Err(error);
                    }
                }
            }
        };
        mem.write_u64(stop.at, first.0);
        if stop.level == 1 {
            self.slots.add(va);
        }
        Ok(())
    }

    /// Replaces a valid page descriptor, with break-before-make where the architecture asks for it.
    fn change<M: PhysMem>(
        &self,
        mem: &mut M,
        tlb: &mut impl Invalidate<M>,
        va: VirtAddr,
        stop: &Stop,
        entry: Entry,
    ) {
        if entry == stop.entry {
            return;
        }
        if entry.differs_in_perms_only(stop.entry) {
            mem.write_u64(stop.at, entry.0);
            tlb.invalidate_in(mem, va);
        } else {
            mem.write_u64(stop.at, Entry::INVALID.0);
            tlb.invalidate_now_in(mem, va);
            mem.write_u64(stop.at, entry.0);
            mem.publish();
        }
    }

    fn page_at(&self, mem: &impl PhysMem, va: VirtAddr) -> Result<Stop, VmError> {
        let stop = self.descend(mem, va);
        match (stop.entry.is_valid(), stop.level) {
            (false, _) => Err(VmError::NotMapped),
            (true, 3) => Ok(stop),
            (true, _) => Err(VmError::BadRange),
        }
    }

    fn leaf(&self, va: VirtAddr, stop: &Stop) -> Leaf {
        let len_bytes = span(stop.level);
        let va = VirtAddr(va.0 & !(len_bytes - 1));
        Leaf {
            va,
            len_bytes,
            target: stop.entry.target(self.space),
        }
    }

    #[inline]
    fn check(&self, va: VirtAddr, target: Target) -> Result<(), VmError> {
        self.check_va(va)?;
        if !target.pa.is_page_aligned() || target.pa.0 >= PA_LIMIT {
            return Err(VmError::BadRange);
        }
        check_kind(target.perms, target.mem_type)
    }

    #[inline]
    fn check_va(&self, va: VirtAddr) -> Result<(), VmError> {
        let top = match self.space {
            Space::User => 0,
            Space::Kernel => u64::MAX >> VA_BITS,
        };
        let fits = va.0 >> VA_BITS == top && va.is_page_aligned();
        if fits { Ok(()) } else { Err(VmError::BadRange) }
    }

    fn check_range(&self, range: PageRange) -> Result<(), VmError> {
        self.check_va(range.start())?;
        self.check_va(VirtAddr(range.end().0 - PAGE_SIZE))
    }
}

#[inline]
fn check_kind(perms: Perms, mem_type: MemType) -> Result<(), VmError> {
    match (perms, mem_type) {
        (Perms::ReadExecute, MemType::DeviceNgnre) => Err(VmError::Refused),
        _ => Ok(()),
    }
}

impl Slots {
    const NONE: Self = Self([0; ENTRIES as usize / 64]);
    const ALL: Self = Self([u64::MAX; ENTRIES as usize / 64]);

    /// Adds the one that serves `va`.
    fn add(&mut self, va: VirtAddr) {
        let slot = (va.0 >> shift(1)) % ENTRIES;
        if let Some(word) = self.0.get_mut(slot as usize / 64) {
            *word |= 1 << (slot % 64);
        }
    }

    /// Takes one out.
    fn take(&mut self) -> Option<u64> {
        let mut words = self.0.iter_mut().enumerate();
        let (index, word) = words.find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros();
        *word &= *word - 1;
        Some(index as u64 * 64 + u64::from(bit))
    }
}

/// A table of `level` that holds one descriptor, the one for `va`.
#[cold]
fn new_table(
    mem: &mut impl PhysMem,
    frames: &mut impl FrameSource,
    va: VirtAddr,
    level: u32,
    entry: Entry,
) -> Result<Frame, VmError> {
    let table = frames.alloc_frame().ok_or(VmError::OutOfFrames)?;
    mem.zero_frame(table);
    mem.write_u64(entry_at(table, va, level), entry.0);
    mem.publish();
    Ok(table)
}

/// Bytes that one descriptor of `level` stands for.
const fn span(level: u32) -> u64 {
    1 << shift(level)
}

const fn shift(level: u32) -> u32 {
    PAGE_SHIFT + 9 * (3 - level)
}

/// Address of the descriptor for `va` in a table of `level`.
#[inline]
const fn entry_at(table: Frame, va: VirtAddr, level: u32) -> PhysAddr {
    PhysAddr(table.addr().0 + ((va.0 >> shift(level)) % ENTRIES) * 8)
}

const fn nth_entry(table: Frame, index: u64) -> PhysAddr {
    PhysAddr(table.addr().0 + index * 8)
}
