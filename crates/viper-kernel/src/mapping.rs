//! What is mapped where, and page faults.

use viper_abi::{Error, FaultKind, Kind, PAGE_SIZE, Protection};
use viper_vm::{
    GapRequest, Invalidate, Leaf, MemType, PageRange, PageTable, Perms, Target, VirtAddr, VmError,
};

use crate::arena::NIL;
use crate::kernel::{Kernel, vm_error};
use crate::object::{Backing, ObjectRef, Region, user_bounds};
use crate::platform::{Frames, Platform};

const PAGE: u64 = PAGE_SIZE as u64;
/// Protection bits that a region keeps.
const ACCESS: u8 = 7;
/// Most regions in an address space.
pub const REGIONS_MAX: usize = 4096;

/// Translation cache maintenance for one address space.
struct Asid(u16);

impl<P: Platform> Invalidate<P> for Asid {
    #[inline]
    fn invalidate_in(&mut self, platform: &mut P, va: VirtAddr) {
        platform.invalidate_page(self.0, va);
    }
    #[inline]
    fn invalidate_now_in(&mut self, platform: &mut P, va: VirtAddr) {
        platform.invalidate_page(self.0, va);
    }
}

/// What a faulting access wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

impl Access {
    const fn bit(self) -> u8 {
        match self {
            Access::Read => Protection::READ.0 as u8,
            Access::Write => Protection::WRITE.0 as u8,
            Access::Execute => Protection::EXECUTE.0 as u8,
        }
    }

    /// The fault it ends in if it is not allowed.
    pub const fn fault(self) -> FaultKind {
        match self {
            Access::Read => FaultKind::READ,
            Access::Write => FaultKind::WRITE,
            Access::Execute => FaultKind::EXECUTE,
        }
    }
}

fn perms(protection: u8) -> Option<Perms> {
    let has = |p: Protection| protection & p.0 as u8 != 0;
    Perms::from_flags(
        has(Protection::READ),
        has(Protection::WRITE),
        has(Protection::EXECUTE),
    )
}

/// The address range of a request, rounded up to pages.
///
/// # Errors
/// [`Error::InvalidArgument`] if it is empty, unaligned or outside of the address space.
pub fn user_range(address: u64, len_bytes: u64) -> Result<PageRange, Error> {
    let len = len_bytes
        .checked_next_multiple_of(PAGE)
        .ok_or(Error::InvalidArgument)?;
    let range = PageRange::new(VirtAddr(address), len).map_err(|_| Error::InvalidArgument)?;
    let bounds = user_bounds();
    if range.start() < bounds.start() || range.end() > bounds.end() {
        return Err(Error::InvalidArgument);
    }
    Ok(range)
}

impl<P: Platform> Kernel<P> {
    /// Maps part of a memory object into a process.
    ///
    /// # Errors
    /// As `memory_map` documents, rights aside.
    #[expect(clippy::too_many_arguments, reason = "as many as the call has")]
    pub fn map_memory(
        &mut self,
        process: u32,
        memory: u32,
        offset: u64,
        len_bytes: u64,
        protection: Protection,
        max: u8,
        address: u64,
    ) -> Result<u64, Error> {
        let object = &self.memories[memory];
        let len = len_bytes
            .checked_next_multiple_of(PAGE)
            .ok_or(Error::InvalidArgument)?;
        let end = offset.checked_add(len).ok_or(Error::InvalidArgument)?;
        if !offset.is_multiple_of(PAGE) || len == 0 || end > u64::from(object.len_pages) * PAGE {
            return Err(Error::InvalidArgument);
        }
        let access = protection.0 as u8 & ACCESS;
        if perms(access).is_none() {
            return Err(Error::InvalidArgument);
        }
        let value = Region {
            memory,
            offset,
            protection: access,
            protection_max: max & ACCESS,
        };
        let range = self.place(process, len, protection, address)?;
        self.processes[process]
            .regions
            .insert(range, value)
            .map_err(vm_error)?;
        self.memories[memory].maps += 1;
        self.memories[memory].refs += 1;
        Ok(range.start().0)
    }

    /// Brings in the pages of a fresh mapping, from number `first` on: one slice. Says where the
    /// next one begins, if there is one.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve); the mapping is gone then.
    pub fn populate(
        &mut self,
        process: u32,
        range: PageRange,
        protection: Protection,
        first: u64,
    ) -> Result<Option<u64>, Error> {
        let access = match protection.contains(Protection::WRITE) {
            true => Access::Write,
            false => Access::Read,
        };
        let end = range.len_pages().min(first + u64::from(self.work_max));
        for page in first..end {
            let va = VirtAddr(range.start().0 + page * PAGE);
            if let Err(e) = self.resolve(process, va, access) {
                self.unmap(process, range)?;
                return Err(e);
            }
        }
        Ok((end < range.len_pages()).then_some(end))
    }

    /// Finds room in an address space.
    fn place(
        &mut self,
        process: u32,
        len: u64,
        protection: Protection,
        address: u64,
    ) -> Result<PageRange, Error> {
        if self.processes[process].pages.is_none() {
            return Err(Error::Ended);
        }
        let regions = &self.processes[process].regions;
        if protection.contains(Protection::FIXED) {
            let range = user_range(address, len)?;
            if range.end().0 > viper_abi::IPC_BUFFERS {
                return Err(Error::InvalidArgument);
            }
            return Ok(range);
        }
        let within = PageRange::between(VirtAddr(1 << 32), VirtAddr(viper_abi::IPC_BUFFERS))
            .map_err(vm_error)?;
        let guard = if protection.contains(Protection::GUARD) {
            PAGE
        } else {
            0
        };
        let request = GapRequest {
            len_bytes: len,
            align_bytes: PAGE,
            hint: (address != 0).then_some(VirtAddr(address & !(PAGE - 1))),
            within,
            guard_bytes: guard,
        };
        regions.find_gap(&request).map_err(|_| Error::OutOfMemory)
    }

    /// Unmaps pages of a process, mapped or not.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if a region would have to be split and there is no room.
    pub fn unmap(&mut self, process: u32, range: PageRange) -> Result<(), Error> {
        let cut = self.cut_memories(process, range);
        self.add_mappings(cut);
        self.has_news = true;
        let Kernel {
            processes,
            memories,
            dead,
            platform,
            ..
        } = self;
        let target = &mut processes[process];
        let removed = target.regions.remove(range, |region| {
            // Frames go back in `bury`, after the translations are gone.
            if let Some(memory) = memories.get_mut(region.value.memory) {
                memory.maps -= 1;
                memory.refs -= 1;
                if memory.refs == 0 {
                    dead.push(ObjectRef::new(Kind::MEMORY, region.value.memory));
                }
            }
        });
        if let Err(e) = removed {
            self.drop_mappings(cut);
            return Err(vm_error(e));
        }
        if let Some(table) = &mut target.pages {
            unmap_present(table, platform, target.asid, range);
        }
        Ok(())
    }

    /// As much from the start of a range as is unmapped or protected in one go.
    pub fn part(&self, process: u32, range: PageRange) -> PageRange {
        let mut left = self.work_max;
        let Some(table) = &self.processes[process].pages else {
            return range;
        };
        if range.len_pages() <= u64::from(left) {
            return range;
        }
        let stopped = table.walk(&self.platform, range, |_| {
            left -= 1;
            match left {
                0 => core::ops::ControlFlow::Break(()),
                _ => core::ops::ControlFlow::Continue(()),
            }
        });
        match stopped {
            Ok(Some(next)) => PageRange::between(range.start(), next).unwrap_or(range),
            _ => range,
        }
    }

    /// The memory objects whose regions the ends of a range cut in two.
    fn cut_memories(&self, process: u32, range: PageRange) -> [u32; 2] {
        let regions = &self.processes[process].regions;
        [range.start(), range.end()].map(|edge| {
            let cut = regions
                .find(edge)
                .filter(|region| region.range.start() < edge);
            cut.map_or(NIL, |region| region.value.memory)
        })
    }

    fn add_mappings(&mut self, memories: [u32; 2]) {
        for memory in memories.into_iter().filter(|&m| m != NIL) {
            self.memories[memory].maps += 1;
            self.memories[memory].refs += 1;
        }
    }

    fn drop_mappings(&mut self, memories: [u32; 2]) {
        for memory in memories.into_iter().filter(|&m| m != NIL) {
            self.memories[memory].maps -= 1;
            self.memories[memory].refs -= 1;
        }
    }

    /// Changes the protection of mapped pages.
    ///
    /// # Errors
    /// As `memory_protect` documents.
    pub fn protect(
        &mut self,
        process: u32,
        range: PageRange,
        protection: Protection,
    ) -> Result<(), Error> {
        let access = protection.0 as u8 & ACCESS;
        let wanted = perms(access).ok_or(Error::InvalidArgument)?;
        let cut = self.cut_memories(process, range);
        let target = &mut self.processes[process];
        target
            .regions
            .update(range, |region| {
                let allowed = region.memory != NIL && access & !region.protection_max == 0;
                allowed.then_some(Region {
                    protection: access,
                    ..region
                })
            })
            .map_err(vm_error)?;
        self.add_mappings(cut);
        let target = &mut self.processes[process];
        let Some(table) = &mut target.pages else {
            return Err(Error::Ended);
        };
        if wanted == Perms::ReadWrite {
            // Frames may be shared copy-on-write: the next access sorts it out.
            unmap_present(table, &mut self.platform, target.asid, range);
        } else {
            protect_present(table, &mut self.platform, target.asid, range, wanted);
        }
        Ok(())
    }

    /// Makes an access to user memory possible, or says why it is not.
    ///
    /// # Errors
    /// [`Error::BadAddress`] if the access is not allowed, [`Error::OutOfMemory`].
    pub fn resolve(&mut self, process: u32, va: VirtAddr, access: Access) -> Result<(), Error> {
        let va = va.page();
        let Region {
            memory,
            offset,
            protection,
            ..
        } = {
            let region = self.processes[process]
                .regions
                .find(va)
                .ok_or(Error::BadAddress)?;
            let at = va.0 - region.range.start().0;
            Region {
                offset: region.value.offset + at,
                ..region.value
            }
        };
        if protection & access.bit() == 0 || memory == NIL {
            return Err(Error::BadAddress);
        }
        let write = access == Access::Write;
        let frame = self.frame_for(memory, (offset / PAGE) as u32, write)?;
        let mut allowed = perms(protection).ok_or(Error::BadAddress)?;
        if allowed == Perms::ReadWrite && !write {
            let own = match &self.memories[memory].backing {
                Backing::Paged(_) => self.frames.ref_count(frame) == 1,
                Backing::Contiguous(_) => true,
                Backing::Fixed(_) => false,
            };
            if !own {
                allowed = Perms::Read;
            }
        }
        if allowed == Perms::ReadExecute {
            self.platform.sync_code(frame);
        }
        let target = Target {
            pa: frame.addr(),
            perms: allowed,
            mem_type: MemType::NormalWriteBack,
        };
        self.map_frame(process, va, target)?;
        self.counters.page_faults += 1;
        Ok(())
    }

    /// Writes a translation, in place of another if need be; tables are charged to the process.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::Ended`].
    pub fn map_frame(&mut self, process: u32, va: VirtAddr, target: Target) -> Result<(), Error> {
        let free_before = self.frames.free_frames();
        let owner = &mut self.processes[process];
        let (asid, quota) = (owner.asid, owner.quota);
        let table = owner.pages.as_mut().ok_or(Error::Ended)?;
        let mut asid = Asid(asid);
        match table.map(&mut self.platform, &mut self.frames, va, target) {
            Ok(_) => {}
            Err(VmError::AlreadyMapped) => {
                table
                    .replace(&mut self.platform, &mut asid, va, target)
                    .map_err(vm_error)?;
            }
            Err(e) => return Err(vm_error(e)),
        }
        let tables = (free_before - self.frames.free_frames()) as u64 * PAGE;
        if tables == 0 {
            return Ok(());
        }
        if let Err(e) = self.charge(quota, tables) {
            self.unmap_with_tables(process, va);
            return Err(e);
        }
        self.processes[process].overhead_bytes += tables;
        Ok(())
    }

    /// Takes back a page that was just mapped, with the tables that were made for it alone.
    #[cold]
    fn unmap_with_tables(&mut self, process: u32, va: VirtAddr) {
        let owner = &mut self.processes[process];
        if let Some(table) = &mut owner.pages
            && let Ok(page) = PageRange::new(va, PAGE)
        {
            let (platform, frames) = (&mut self.platform, &mut self.frames);
            // Nothing is split, so that nothing is needed and nothing can fail.
            let _ = table.unmap_range(platform, frames, &mut Asid(owner.asid), page, |_| {});
        }
    }

    /// Takes write access away from all mappings of a memory object: its frames are shared now.
    pub fn write_protect(&mut self, memory: u32) {
        if self.memories[memory].maps == 0 {
            return;
        }
        for at in 0.. {
            let Some(at) = self.processes.next_from(at) else {
                break;
            };
            let process = &mut self.processes[at];
            let Some(table) = &mut process.pages else {
                continue;
            };
            for region in process.regions.iter().filter(|r| r.value.memory == memory) {
                let write = Protection::WRITE.0 as u8;
                if region.value.protection & write == 0 {
                    continue;
                }
                protect_present(
                    table,
                    &mut self.platform,
                    process.asid,
                    region.range,
                    Perms::Read,
                );
            }
            if at == u32::MAX {
                break;
            }
        }
    }

    /// A page of a memory object has a new frame: mappings of the old one go.
    pub fn unmap_page_everywhere(&mut self, memory: u32, page: u32) {
        let offset = u64::from(page) * PAGE;
        let mut next = self.processes.next_from(0);
        while let Some(at) = next {
            next = self.processes.next_from(at + 1);
            let process = &mut self.processes[at];
            let Some(table) = &mut process.pages else {
                continue;
            };
            for region in process.regions.iter().filter(|r| r.value.memory == memory) {
                let Some(inside) = offset.checked_sub(region.value.offset) else {
                    continue;
                };
                if inside < region.range.len_bytes() {
                    let va = VirtAddr(region.range.start().0 + inside);
                    // It may not be mapped there.
                    let _ = table.unmap(&mut self.platform, &mut Asid(process.asid), va);
                }
            }
        }
    }
}

/// Visits the mapped pages of a range. A visit may change the page's own mapping.
fn each_present<P: Platform>(
    table: &mut PageTable,
    platform: &mut P,
    range: PageRange,
    mut visit: impl FnMut(&mut PageTable, &mut P, Leaf),
) {
    let mut from = range.start();
    while let Ok(rest) = PageRange::between(from, range.end()) {
        let mut found = None;
        let _ = table.walk(platform, rest, |leaf| {
            found = Some(leaf);
            core::ops::ControlFlow::Break(())
        });
        let Some(leaf) = found else { return };
        visit(table, platform, leaf);
        from = VirtAddr(leaf.va.0 + PAGE);
    }
}

/// Unmaps the mapped pages of a range; the tables stay.
fn unmap_present<P: Platform>(
    table: &mut PageTable,
    platform: &mut P,
    asid: u16,
    range: PageRange,
) {
    each_present(table, platform, range, |table, platform, leaf| {
        // It was found mapped just now.
        let _ = table.unmap(platform, &mut Asid(asid), leaf.va);
    });
}

/// Changes what may be done with the mapped pages of a range.
fn protect_present<P: Platform>(
    table: &mut PageTable,
    platform: &mut P,
    asid: u16,
    range: PageRange,
    perms: Perms,
) {
    each_present(table, platform, range, |table, platform, leaf| {
        if perms.can_execute()
            && let Some(frame) = leaf.target.pa.frame()
        {
            platform.sync_code(frame);
        }
        // It was found mapped just now, and device memory is not protected by anybody.
        let _ = table.protect(platform, &mut Asid(asid), leaf.va, perms);
    });
}
