//! Memory mapped into this process.

use crate::handle::{Memory, Object};
use crate::sys;
use core::ops::Range;
use core::sync::atomic::AtomicU32;
use viper_abi::{Error, Handle, Protection};

/// A mapping of a memory object: unmapped on drop.
///
/// Others may share the memory and change it at any time. So there are no references into it in
/// safe code: bytes are copied in and out.
#[derive(Debug)]
pub struct Mapping {
    address: *mut u8,
    len_bytes: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and every access is a copy through a
// raw pointer that does not depend on which thread makes it.
unsafe impl Send for Mapping {}
// SAFETY: as above; concurrent copies can tear but touch nothing outside of the mapping.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len_bytes` (rounded up to pages) of `memory` from `offset` on, readable and writable.
    ///
    /// # Errors
    /// [`Error::NoRight`], [`Error::InvalidArgument`], [`Error::OutOfMemory`].
    pub fn new(memory: &Memory, offset: u64, len_bytes: usize) -> Result<Mapping, Error> {
        let rw = Protection::READ | Protection::WRITE;
        Mapping::with(memory, offset, len_bytes, rw)
    }

    /// Maps it readable only.
    ///
    /// # Errors
    /// As [`Mapping::new`].
    pub fn read_only(memory: &Memory, offset: u64, len_bytes: usize) -> Result<Mapping, Error> {
        Mapping::with(memory, offset, len_bytes, Protection::READ)
    }

    /// Maps all of it, readable and writable.
    ///
    /// # Errors
    /// As [`Mapping::new`].
    pub fn whole(memory: &Memory) -> Result<Mapping, Error> {
        let (size, _) = memory.size()?;
        let size = usize::try_from(size).map_err(|_| Error::OutOfMemory)?;
        Mapping::new(memory, 0, size)
    }

    /// Maps with a protection of the caller's choice.
    ///
    /// # Errors
    /// As [`Mapping::new`]; FIXED is refused with [`Error::InvalidArgument`].
    pub fn with(
        memory: &Memory,
        offset: u64,
        len_bytes: usize,
        protection: Protection,
    ) -> Result<Mapping, Error> {
        if protection.intersects(Protection::FIXED) {
            return Err(Error::InvalidArgument);
        }
        // SAFETY: without FIXED the kernel maps where nothing is: no memory in use changes.
        let (address,) = unsafe {
            sys::memory_map(
                Handle::NONE,
                memory.raw(),
                offset,
                len_bytes as u64,
                protection,
                0,
            )?
        };
        Ok(Mapping {
            address: address as *mut u8,
            len_bytes,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.address
    }

    /// Its length in bytes, as asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len_bytes
    }

    /// Whether it is empty; never, as the kernel refuses that.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len_bytes == 0
    }

    /// Copies out from `offset` on.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if that reaches outside.
    #[inline]
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result<(), Error> {
        let at = self.check(offset, to.len())?;
        // SAFETY:
        // 1. `check` showed the range to be inside of the mapping, which lives as long as `self`.
        // 2. `to` cannot overlap it: no reference into a mapping exists in safe code.
        unsafe { core::ptr::copy_nonoverlapping(at, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// Copies in from `offset` on.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if that reaches outside.
    #[inline]
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), Error> {
        let at = self.check(offset, from.len())?;
        // SAFETY: as in `read`; writers of a mapping asked for WRITE, else the kernel ends us.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), at, from.len()) };
        Ok(())
    }

    /// The number at a byte offset, for what the sharers of the memory agree on without a message.
    /// Changing it in a mapping that is not writable ends the program.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it reaches outside or is not aligned.
    #[inline]
    pub fn atomic(&self, offset: usize) -> Result<&AtomicU32, Error> {
        let at = self.check(offset, 4)?;
        if !offset.is_multiple_of(4) {
            return Err(Error::InvalidArgument);
        }
        // SAFETY:
        // 1. `check` showed the number to be inside of the mapping, which lives as long as `self`
        //    and begins at a page; so the number is aligned.
        // 2. Any bytes are a number, and a reference to an atomic allows that others change it.
        Ok(unsafe { AtomicU32::from_ptr(at.cast()) })
    }

    /// Copies a range within the mapping; source and target may overlap.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if that reaches outside.
    pub fn copy_within(&self, from: Range<usize>, to: usize) -> Result<(), Error> {
        let len = from
            .end
            .checked_sub(from.start)
            .ok_or(Error::InvalidArgument)?;
        let (source, target) = (self.check(from.start, len)?, self.check(to, len)?);
        // SAFETY: both ranges are inside of the mapping.
        unsafe { core::ptr::copy(source, target, len) };
        Ok(())
    }

    /// Copies from another mapping.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if that reaches outside of either.
    #[inline]
    pub fn copy_from(
        &self,
        offset: usize,
        other: &Mapping,
        other_offset: usize,
        len: usize,
    ) -> Result<(), Error> {
        let (source, target) = (other.check(other_offset, len)?, self.check(offset, len)?);
        // SAFETY: both ranges are inside of their mappings; `copy` allows them to overlap.
        unsafe { core::ptr::copy(source, target, len) };
        Ok(())
    }

    /// Fills a range with zeroes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if that reaches outside.
    pub fn zero(&self, range: Range<usize>) -> Result<(), Error> {
        let len = range
            .end
            .checked_sub(range.start)
            .ok_or(Error::InvalidArgument)?;
        let at = self.check(range.start, len)?;
        // SAFETY: the range is inside of the mapping.
        unsafe { core::ptr::write_bytes(at, 0, len) };
        Ok(())
    }

    /// The bytes, by reference.
    ///
    /// # Safety
    /// Nobody writes to the memory while the reference lives: no other mapping, no device.
    #[must_use]
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: the mapping is readable and as long; the caller answers for the rest.
        unsafe { core::slice::from_raw_parts(self.address, self.len_bytes) }
    }

    /// Leaves it mapped for good and tells where.
    #[must_use]
    pub fn leak(self) -> *mut u8 {
        let address = self.address;
        core::mem::forget(self);
        address
    }

    fn check(&self, offset: usize, len: usize) -> Result<*mut u8, Error> {
        match offset.checked_add(len) {
            // SAFETY: `offset` is at most the length of the mapping.
            Some(end) if end <= self.len_bytes => Ok(unsafe { self.address.add(offset) }),
            _ => Err(Error::InvalidArgument),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: references into the mapping cannot outlive `self`.
        let _ =
            unsafe { sys::memory_unmap(Handle::NONE, self.address as u64, self.len_bytes as u64) };
    }
}
