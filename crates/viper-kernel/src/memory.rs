//! Memory objects, what is mapped where, and page faults.

use viper_abi::{Error, FaultKind, Kind, PAGE_SIZE, Protection, Rights};
use viper_vm::{
    Frame, FrameRefs, FrameSource, GapRequest, Invalidate, Leaf, MemType, PageList, PageRange,
    PageTable, Perms, PhysAddr, Target, VirtAddr, VmError,
};

use crate::arena::NIL;
use crate::kernel::{Kernel, OBJECT_BYTES, vm_error};
use crate::object::{Backing, Memory, ObjectRef, Region, user_bounds};
use crate::platform::{Frames, Platform};
use crate::thread::{FutexKey, Queue};

const PAGE: u64 = PAGE_SIZE as u64;
/// Protection bits that a region keeps.
const ACCESS: u8 = 7;
/// Most regions in an address space.
pub const REGIONS_MAX: usize = 4096;
/// Largest memory object: 4 GiB.
pub const MEMORY_PAGES_MAX: u64 = 1 << 20;
/// Largest contiguous memory object: 16 MiB.
pub const CONTIGUOUS_PAGES_MAX: u64 = 4096;

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
    // ----- Objects ---------------------------------------------------------------------------

    /// Makes a memory object for a thread's process.
    ///
    /// # Errors
    /// As `memory_create` documents.
    pub fn new_memory(
        &mut self,
        thread: u32,
        size_bytes: u64,
        contiguous: bool,
    ) -> Result<(viper_abi::Handle, u32), Error> {
        let pages = size_bytes.div_ceil(PAGE);
        let max = if contiguous {
            CONTIGUOUS_PAGES_MAX
        } else {
            MEMORY_PAGES_MAX
        };
        if pages == 0 || pages > max {
            return Err(Error::InvalidArgument);
        }
        let backing = if contiguous {
            self.contiguous(thread, pages as u32)?
        } else {
            Backing::Paged(PageList::new(pages as u32).map_err(vm_error)?)
        };
        self.add_memory(thread, pages as u32, backing)
    }

    fn contiguous(&mut self, thread: u32, pages: u32) -> Result<Backing, Error> {
        let quota = self.processes[self.threads[thread].process].quota;
        self.charge(quota, u64::from(pages) * PAGE)?;
        let Ok(first) = self.frames.alloc_contiguous(pages) else {
            self.refund(quota, u64::from(pages) * PAGE);
            return Err(Error::OutOfMemory);
        };
        for i in 0..pages {
            self.platform.zero_frame(Frame(first.0 + i));
        }
        Ok(Backing::Contiguous(first))
    }

    /// Gives a backing its object and the caller a handle to it.
    fn add_memory(
        &mut self,
        thread: u32,
        len_pages: u32,
        backing: Backing,
    ) -> Result<(viper_abi::Handle, u32), Error> {
        let charged = self.charge_object(thread, OBJECT_BYTES);
        let quota = self.processes[self.threads[thread].process].quota;
        let memory = Memory {
            backing,
            len_pages,
            quota,
            refs: 1,
            maps: 0,
            futexes: Queue::EMPTY,
        };
        if let Err(e) = charged {
            self.free_backing(memory);
            return Err(e);
        }
        // On a failure below the object exists and `bury` takes it back whole.
        let index = match self.memories.insert_or_back(memory) {
            Ok(index) => index,
            Err((e, memory)) => {
                self.free_backing(memory);
                self.refund_object(quota, OBJECT_BYTES);
                return Err(e);
            }
        };
        let object = ObjectRef::new(Kind::MEMORY, index);
        let rights = Rights::DUPLICATE
            | Rights::TRANSFER
            | Rights::READ
            | Rights::WRITE
            | Rights::EXECUTE
            | Rights::MAP;
        match self.install(thread, object, rights) {
            Ok(handle) => Ok((handle, index)),
            Err(e) => {
                self.drop_ref(object);
                Err(e)
            }
        }
    }

    /// Makes a copy-on-write copy of a memory object.
    ///
    /// # Errors
    /// As `memory_clone` documents.
    pub fn clone_memory(&mut self, thread: u32, memory: u32) -> Result<viper_abi::Handle, Error> {
        let Backing::Paged(pages) = &self.memories[memory].backing else {
            return Err(Error::NotSupported);
        };
        let (present, len_pages) = (u64::from(pages.present()), self.memories[memory].len_pages);
        let quota = self.processes[self.threads[thread].process].quota;
        // The copy is charged as if every page were its own: it can become so at any time.
        self.charge(quota, present * PAGE)?;
        let Backing::Paged(pages) = &self.memories[memory].backing else {
            return Err(Error::NotSupported);
        };
        let copy = match pages.clone_shared(&mut self.frames) {
            Ok(copy) => copy,
            Err(e) => {
                self.refund(quota, present * PAGE);
                return Err(vm_error(e));
            }
        };
        self.write_protect(memory);
        self.add_memory(thread, len_pages, Backing::Paged(copy))
            .map(|(handle, _)| handle)
    }

    /// Takes write access away from all mappings of a memory object: its frames are shared now.
    fn write_protect(&mut self, memory: u32) {
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

    /// The last capability and mapping of a memory object is gone.
    pub fn end_memory(&mut self, index: u32) {
        while let Some(thread) = self.memories[index].futexes.first() {
            self.wake_with(thread, Err(Error::BadAddress));
        }
        if let Some(memory) = self.memories.remove(index) {
            let quota = memory.quota;
            self.free_backing(memory);
            self.refund_object(quota, OBJECT_BYTES);
        }
    }

    /// Gives back up to `left` pages of a memory object that nothing names any more, and counts
    /// them off; says whether none is left.
    pub fn shrink_memory(&mut self, index: u32, left: &mut u32) -> bool {
        let memory = &mut self.memories[index];
        let Backing::Paged(list) = &mut memory.backing else {
            return true;
        };
        let before = list.present();
        let is_done = list.release(&mut self.frames, *left);
        *left = if is_done {
            left.saturating_sub(1 + before)
        } else {
            0
        };
        let (quota, given) = (memory.quota, before - list.present());
        self.refund(quota, u64::from(given) * PAGE);
        is_done
    }

    fn free_backing(&mut self, memory: Memory) {
        let pages = match memory.backing {
            Backing::Paged(mut list) => {
                let present = list.present();
                while !list.release(&mut self.frames, u32::MAX) {}
                u64::from(present)
            }
            Backing::Contiguous(first) => {
                for i in 0..memory.len_pages {
                    // Each frame was handed out on its own and has one owner.
                    let _ = self.frames.release(Frame(first.0 + i));
                }
                u64::from(memory.len_pages)
            }
            Backing::Fixed(_) => 0,
        };
        self.refund(memory.quota, pages * PAGE);
    }

    /// The frame of a page of a memory object, which comes into being if need be.
    ///
    /// With `write`, a frame that is shared copy-on-write is replaced by a copy.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::NoRight`] for a write to fixed memory.
    pub fn frame_for(&mut self, memory: u32, page: u32, write: bool) -> Result<Frame, Error> {
        let object = &mut self.memories[memory];
        let quota = object.quota;
        let list = match &mut object.backing {
            Backing::Contiguous(first) => return Ok(Frame(first.0 + page)),
            Backing::Fixed(_) if write => return Err(Error::NoRight),
            Backing::Fixed(first) => return Ok(Frame(first.0 + page)),
            Backing::Paged(list) => list,
        };
        match list.frame(page) {
            Some(frame) if !write || self.frames.ref_count(frame) == 1 => Ok(frame),
            Some(shared) => {
                let own = self.frames.alloc_frame().ok_or(Error::OutOfMemory)?;
                self.platform.copy_frame(own, shared);
                list.set(page, own).map_err(vm_error)?;
                let _ = self.frames.release(shared);
                if self.memories[memory].maps > 0 {
                    self.unmap_page_everywhere(memory, page);
                }
                Ok(own)
            }
            None => {
                list.prepare(page).map_err(vm_error)?;
                self.charge(quota, PAGE)?;
                let Some(frame) = self.frames.alloc_frame() else {
                    self.refund(quota, PAGE);
                    return Err(Error::OutOfMemory);
                };
                self.platform.zero_frame(frame);
                if let Backing::Paged(list) = &mut self.memories[memory].backing {
                    list.set(page, frame).map_err(vm_error)?;
                }
                Ok(frame)
            }
        }
    }

    /// A page of a memory object has a new frame: mappings of the old one go.
    fn unmap_page_everywhere(&mut self, memory: u32, page: u32) {
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

    // ----- Mappings --------------------------------------------------------------------------

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
        if protection.contains(Protection::POPULATE) {
            for page in 0..range.len_pages() {
                let va = VirtAddr(range.start().0 + page * PAGE);
                let access = if access & 2 != 0 {
                    Access::Write
                } else {
                    Access::Read
                };
                if let Err(e) = self.resolve(process, va, access) {
                    self.unmap(process, range)?;
                    return Err(e);
                }
            }
        }
        Ok(range.start().0)
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

    // ----- User memory -----------------------------------------------------------------------

    /// Copies from the caller's memory, bringing pages in as its own access would.
    ///
    /// # Errors
    /// [`Error::BadAddress`], [`Error::OutOfMemory`].
    pub fn read_user(&mut self, thread: u32, from: u64, to: &mut [u8]) -> Result<(), Error> {
        self.prepare_user(thread, from, to.len() as u64, Access::Read)?;
        self.platform
            .copy_in(to, from)
            .map_err(|()| Error::BadAddress)
    }

    /// Copies to the caller's memory, bringing pages in as its own access would.
    ///
    /// # Errors
    /// [`Error::BadAddress`], [`Error::OutOfMemory`].
    pub fn write_user(&mut self, thread: u32, to: u64, from: &[u8]) -> Result<(), Error> {
        self.prepare_user(thread, to, from.len() as u64, Access::Write)?;
        self.platform
            .copy_out(to, from)
            .map_err(|()| Error::BadAddress)
    }

    /// Makes the pages of a range accessible. The copy itself still is unprivileged.
    ///
    /// # Errors
    /// [`Error::BadAddress`], [`Error::OutOfMemory`].
    pub fn prepare_user(
        &mut self,
        thread: u32,
        address: u64,
        len_bytes: u64,
        access: Access,
    ) -> Result<(), Error> {
        let end = address.checked_add(len_bytes).ok_or(Error::BadAddress)?;
        if end > viper_abi::USER_MAX {
            return Err(Error::BadAddress);
        }
        let process = self.threads[thread].process;
        let mut va = VirtAddr(address).page();
        while va.0 < end {
            let present = self.processes[process]
                .pages
                .as_ref()
                .and_then(|table| table.lookup(&self.platform, va))
                .is_some_and(|leaf| access != Access::Write || leaf.target.perms.can_write());
            if !present {
                self.resolve(process, va, access)?;
            }
            va = VirtAddr(va.0 + PAGE);
        }
        Ok(())
    }

    /// Copies between a memory object and the caller's memory.
    ///
    /// # Errors
    /// As `memory_read` and `memory_write` document.
    pub fn copy_memory(
        &mut self,
        thread: u32,
        memory: u32,
        offset: u64,
        address: u64,
        len_bytes: u64,
        write: bool,
    ) -> Result<(), Error> {
        let size = u64::from(self.memories[memory].len_pages) * PAGE;
        let end = offset
            .checked_add(len_bytes)
            .ok_or(Error::InvalidArgument)?;
        if len_bytes > 1 << 20 || end > size {
            return Err(Error::InvalidArgument);
        }
        let access = if write { Access::Read } else { Access::Write };
        self.prepare_user(thread, address, len_bytes, access)?;
        let mut buffer = [0u8; 512];
        let mut done = 0;
        while done < len_bytes {
            let at = offset + done;
            let part = (512 - at % 512).min(len_bytes - done) as usize;
            let piece = &mut buffer[..part];
            // The caller may have this very memory mapped, so that either side's copy-on-write
            // moves the other side's frame: the frame is looked up last, the user side each time.
            if write {
                self.read_user(thread, address + done, piece)?;
            }
            let frame = self.frame_for(memory, (at / PAGE) as u32, write)?;
            let pa = PhysAddr(frame.addr().0 + at % PAGE);
            if write {
                self.platform.write_bytes(pa, piece);
            } else {
                self.platform.read_bytes(pa, piece);
                self.write_user(thread, address + done, piece)?;
            }
            done += part as u64;
        }
        Ok(())
    }

    /// What identifies the futex word at an address of the caller.
    ///
    /// # Errors
    /// [`Error::BadAddress`].
    pub fn futex_key(&self, thread: u32, address: u64) -> Result<FutexKey, Error> {
        if !address.is_multiple_of(4) {
            return Err(Error::BadAddress);
        }
        let process = &self.processes[self.threads[thread].process];
        let region = process
            .regions
            .find(VirtAddr(address))
            .ok_or(Error::BadAddress)?;
        if region.value.memory == NIL {
            return Err(Error::BadAddress);
        }
        let offset = region.value.offset + (address - region.range.start().0);
        Ok(FutexKey {
            memory: region.value.memory,
            offset,
        })
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
