//! Memory objects and mappings.

use viper_abi::{Error, Handle, Kind, MemoryFlags, PAGE_SIZE, Protection, Rights};
use viper_vm::{PageRange, PhysAddr, VirtAddr};

use crate::kernel::{Handled, Kernel, Stop};
use crate::mapping::user_range;
use crate::platform::Platform;

impl<P: Platform> Kernel<P> {
    /// A call on `range` has done `part` of it: the thread makes it again for the rest.
    fn go_on_from(&mut self, thread: u32, range: PageRange, part: PageRange) -> Handled<()> {
        let x = &mut self.threads[thread].context.x;
        x[1] = part.end().0;
        x[2] = range.end().0 - part.end().0;
        Err(Stop::Again)
    }

    pub fn memory_create(
        &mut self,
        thread: u32,
        size_bytes: u64,
        flags: MemoryFlags,
    ) -> Handled<(Handle,)> {
        if flags.without(MemoryFlags::CONTIGUOUS) != MemoryFlags::NONE {
            return Err(Error::InvalidArgument.into());
        }
        let contiguous = flags.contains(MemoryFlags::CONTIGUOUS);
        Ok((self.new_memory(thread, size_bytes, contiguous)?.0,))
    }

    pub fn memory_clone(&mut self, thread: u32, memory: Handle) -> Handled<(Handle,)> {
        let index = self.object(thread, memory, Kind::MEMORY, Rights::READ)?;
        Ok((self.clone_memory(thread, index)?,))
    }

    pub fn memory_map(
        &mut self,
        thread: u32,
        process: Handle,
        memory: Handle,
        offset: u64,
        len_bytes: u64,
        protection: Protection,
        address: u64,
    ) -> Handled<(u64,)> {
        let process = self.process_or_self(thread, process, Rights::MANAGE)?;
        let index = self.object(thread, memory, Kind::MEMORY, Rights::MAP)?;
        let mut max = 0;
        for (right, access) in [
            (Rights::READ, Protection::READ),
            (Rights::WRITE, Protection::WRITE),
            (Rights::EXECUTE, Protection::EXECUTE),
        ] {
            if self.has_rights(thread, memory, right) {
                max |= access.0 as u8;
            }
        }
        if protection.0 as u8 & 7 & !max != 0 {
            return Err(Error::NoRight.into());
        }
        let known = Protection::READ
            | Protection::WRITE
            | Protection::EXECUTE
            | Protection::FIXED
            | Protection::GUARD
            | Protection::POPULATE;
        if protection.without(known) != Protection::NONE {
            return Err(Error::InvalidArgument.into());
        }
        // Not 0 if this is the same call again, for the rest of the pages.
        let done = core::mem::take(&mut self.threads[thread].progress);
        let at = match done {
            0 => self.map_memory(process, index, offset, len_bytes, protection, max, address)?,
            _ => address,
        };
        if protection.contains(Protection::POPULATE) {
            let range = user_range(at, len_bytes)?;
            if let Some(next) = self.populate(process, range, protection, done)? {
                let thread = &mut self.threads[thread];
                thread.progress = next;
                thread.context.x[5] = at;
                return Err(Stop::Again);
            }
        }
        Ok((at,))
    }

    pub fn memory_unmap(
        &mut self,
        thread: u32,
        process: Handle,
        address: u64,
        len_bytes: u64,
    ) -> Handled<()> {
        let process = self.process_or_self(thread, process, Rights::MANAGE)?;
        let range = program_range(address, len_bytes)?;
        let part = self.part(process, range);
        if part == range || self.unmap(process, part).is_err() {
            self.unmap(process, range)?;
            return Ok(());
        }
        self.go_on_from(thread, range, part)
    }

    pub fn memory_protect(
        &mut self,
        thread: u32,
        process: Handle,
        address: u64,
        len_bytes: u64,
        protection: Protection,
    ) -> Handled<()> {
        let process = self.process_or_self(thread, process, Rights::MANAGE)?;
        let range = program_range(address, len_bytes)?;
        let part = self.part(process, range);
        if part == range || self.protect(process, part, protection).is_err() {
            self.protect(process, range, protection)?;
            return Ok(());
        }
        self.go_on_from(thread, range, part)
    }

    pub fn memory_info(&mut self, thread: u32, memory: Handle) -> Handled<(u64, u64)> {
        let index = self.object(thread, memory, Kind::MEMORY, Rights::NONE)?;
        let memory = &self.memories[index];
        let size = u64::from(memory.len_pages) * PAGE_SIZE as u64;
        let committed = match &memory.backing {
            crate::object::Backing::Paged(list) => u64::from(list.present()) * PAGE_SIZE as u64,
            _ => size,
        };
        Ok((size, committed))
    }

    pub fn memory_read(
        &mut self,
        thread: u32,
        memory: Handle,
        offset: u64,
        address: u64,
        len_bytes: u64,
    ) -> Handled<()> {
        let index = self.object(thread, memory, Kind::MEMORY, Rights::READ)?;
        self.copy_memory(thread, index, offset, address, len_bytes, false)?;
        Ok(())
    }

    pub fn memory_write(
        &mut self,
        thread: u32,
        memory: Handle,
        offset: u64,
        address: u64,
        len_bytes: u64,
    ) -> Handled<()> {
        let index = self.object(thread, memory, Kind::MEMORY, Rights::WRITE)?;
        self.copy_memory(thread, index, offset, address, len_bytes, true)?;
        Ok(())
    }

    pub fn memory_sync_code(&mut self, thread: u32, address: u64, len_bytes: u64) -> Handled<()> {
        let before = address % PAGE_SIZE as u64;
        let len_bytes = len_bytes.max(1).checked_add(before);
        let range = user_range(address - before, len_bytes.ok_or(Error::InvalidArgument)?)?;
        if range.len_bytes() > 16 << 20 {
            return Err(Error::InvalidArgument.into());
        }
        let process = self.threads[thread].process;
        let mut va = range.start();
        while va < range.end() {
            let pages = self.processes[process].pages.as_ref().ok_or(Error::Ended)?;
            let frame = pages
                .translate(&self.platform, va)
                .and_then(PhysAddr::frame);
            self.platform.sync_code(frame.ok_or(Error::BadAddress)?);
            va = VirtAddr(va.0 + PAGE_SIZE as u64);
        }
        Ok(())
    }
}

/// A range that a program may unmap and protect: below the IPC buffers.
fn program_range(address: u64, len_bytes: u64) -> Result<PageRange, Error> {
    let range = user_range(address, len_bytes)?;
    if range.end().0 > viper_abi::IPC_BUFFERS {
        Err(Error::InvalidArgument)
    } else {
        Ok(range)
    }
}
