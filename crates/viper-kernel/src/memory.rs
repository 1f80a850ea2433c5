//! Memory objects and their frames.

use viper_abi::{Error, Kind, PAGE_SIZE, Rights};
use viper_vm::{Frame, FrameRefs, FrameSource, PageList};

use crate::kernel::{Kernel, vm_error};
use crate::object::{Backing, Memory, ObjectRef};
use crate::platform::{Frames, Platform};
use crate::quota::OBJECT_BYTES;
use crate::thread::Queue;

const PAGE: u64 = PAGE_SIZE as u64;
/// Largest memory object: 4 GiB.
pub const MEMORY_PAGES_MAX: u64 = 1 << 20;
/// Largest contiguous memory object: 16 MiB.
pub const CONTIGUOUS_PAGES_MAX: u64 = 4096;

impl<P: Platform> Kernel<P> {
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
}
