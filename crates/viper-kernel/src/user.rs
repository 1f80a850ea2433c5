//! Copies from and to the memory of programs.

use viper_abi::{Error, PAGE_SIZE};
use viper_vm::{PhysAddr, VirtAddr};

use crate::arena::NIL;
use crate::kernel::Kernel;
use crate::mapping::Access;
use crate::platform::Platform;
use crate::thread::FutexKey;

const PAGE: u64 = PAGE_SIZE as u64;

impl<P: Platform> Kernel<P> {
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
