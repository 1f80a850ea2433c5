//! Memory shared with a device: the only module of this crate with unsafe code.
//!
//! Nothing here forms a Rust reference into memory that a device may write. Every access is a
//! volatile or atomic one through a raw pointer, checked against the bounds of its array.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use crate::error::Error;

/// An address as a device sees it: a physical address, or one behind an IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct DeviceAddress(u64);

impl DeviceAddress {
    /// Wraps a raw address. It proves nothing: see [`DmaRegion`] and [`DmaWindow`].
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw address.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }
}

/// A piece of memory that a device may be told to read or write.
///
/// Made by [`DmaWindow::segment`] and [`DmaRegion::segment`], so whoever holds one has been given
/// memory that devices may touch. That the piece is free of other use is the holder's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaSegment {
    address: DeviceAddress,
    len: u32,
}

impl DmaSegment {
    /// Names `len` bytes at `address`.
    ///
    /// # Safety
    ///
    /// As for [`DmaWindow::new`], for these bytes.
    #[must_use]
    pub const unsafe fn new(address: DeviceAddress, len: u32) -> Self {
        Self { address, len }
    }

    /// Where the segment starts, for the device.
    #[must_use]
    pub const fn address(&self) -> DeviceAddress {
        self.address
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether the segment has no bytes. Drivers refuse such a segment.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Device-contiguous memory of somebody else, for instance a client, open to devices.
///
/// A window has no CPU pointer: the driver moves data without looking at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaWindow {
    base: DeviceAddress,
    len: u64,
}

impl DmaWindow {
    /// Opens `len` bytes at `base` to devices.
    ///
    /// # Safety
    ///
    /// 1. The memory is device-contiguous and stays pinned until each request that names it has
    ///    completed or the device that got it has been reset.
    /// 2. No Rust reference to it exists while such a request is in flight: sharers use raw
    ///    pointers, atomics or copies.
    #[must_use]
    pub const unsafe fn new(base: DeviceAddress, len: u64) -> Self {
        Self { base, len }
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the window has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The `len` bytes at `offset`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if they are not all inside the window.
    pub fn segment(&self, offset: u64, len: u32) -> Result<DmaSegment, Error> {
        let end = offset
            .checked_add(u64::from(len))
            .ok_or(Error::OutOfRange)?;
        if end > self.len {
            return Err(Error::OutOfRange);
        }
        let address = self.base.0.checked_add(offset).ok_or(Error::OutOfRange)?;
        Ok(DmaSegment {
            address: DeviceAddress(address),
            len,
        })
    }
}

/// Device-contiguous memory that the driver owns: its rings and request headers, its buffers.
///
/// Dropping a region frees nothing, on purpose: a device that has not been reset may still write
/// to it. Drivers give their region back from `release`, which resets the device first.
#[derive(Debug)]
pub struct DmaRegion {
    base: DeviceAddress,
    cpu: NonNull<u8>,
    len: usize,
}

// SAFETY: a region is the exclusive owner of its memory (contract of `new`), which is tied to no
// thread.
unsafe impl Send for DmaRegion {}

impl DmaRegion {
    /// Takes `len` bytes, at `cpu` for the processor and at `base` for the device.
    ///
    /// # Safety
    ///
    /// 1. `cpu` is valid for reads and writes of `len` bytes, and `base` names the same bytes,
    ///    contiguous and coherent, for the device.
    /// 2. Both stay so for as long as the program runs, or until the region (or all the parts it
    ///    was split into) is destroyed by its last owner after the devices it was given to were
    ///    reset.
    /// 3. Nobody else accesses the bytes meanwhile, but for the device and for what gets
    ///    [`DmaSegment`]s of it.
    ///
    /// `cpu` and `base` should be congruent modulo 4096: only then does an alignment asked for
    /// hold on both sides. A region where they are not is refused when it is carved.
    #[must_use]
    pub const unsafe fn new(cpu: NonNull<u8>, base: DeviceAddress, len: usize) -> Self {
        Self { base, cpu, len }
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the region has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the region starts, for the device.
    #[must_use]
    pub const fn base(&self) -> DeviceAddress {
        self.base
    }

    /// Splits the first `len` bytes off; the region keeps the rest.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if the region is shorter.
    pub fn split_front(&mut self, len: usize) -> Result<Self, Error> {
        let rest_len = self.len.checked_sub(len).ok_or(Error::OutOfMemory)?;
        let rest_base = self
            .base
            .0
            .checked_add(len as u64)
            .ok_or(Error::OutOfMemory)?;
        let front = Self {
            base: self.base,
            cpu: self.cpu,
            len,
        };
        // SAFETY: `len <= self.len`, so the result is inside the region or one past its end.
        self.cpu = unsafe { self.cpu.add(len) };
        self.base = DeviceAddress(rest_base);
        self.len = rest_len;
        Ok(front)
    }

    /// The `len` bytes at `offset`, for a request.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if they are not all inside the region.
    pub fn segment(&self, offset: usize, len: u32) -> Result<DmaSegment, Error> {
        self.check(offset, len as usize)?;
        let address = self
            .base
            .0
            .checked_add(offset as u64)
            .ok_or(Error::OutOfRange)?;
        Ok(DmaSegment {
            address: DeviceAddress(address),
            len,
        })
    }

    /// Copies bytes at `offset` out to `to`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if they are not all inside the region.
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result<(), Error> {
        self.check(offset, to.len())?;
        for (i, byte) in to.iter_mut().enumerate() {
            // SAFETY: `offset + i` is inside the region (checked), which is valid for reads.
            *byte = unsafe { self.cpu.as_ptr().add(offset + i).read_volatile() };
        }
        Ok(())
    }

    /// Copies `from` into the region at `offset`.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] if it does not fit.
    pub fn write(&mut self, offset: usize, from: &[u8]) -> Result<(), Error> {
        self.check(offset, from.len())?;
        for (i, byte) in from.iter().enumerate() {
            // SAFETY: `offset + i` is inside the region (checked), which is valid for writes.
            unsafe { self.cpu.as_ptr().add(offset + i).write_volatile(*byte) };
        }
        Ok(())
    }

    fn check(&self, offset: usize, len: usize) -> Result<(), Error> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(Error::OutOfRange),
        }
    }
}

/// Equal buffers in a region, each either the driver's or lent to the device.
///
/// References into a buffer exist only while it is the driver's.
#[derive(Debug)]
pub(crate) struct DmaBuffers {
    region: DmaRegion,
    len_each: usize,
    is_lent: Box<[bool]>,
}

impl DmaBuffers {
    /// As many buffers of `len_each` bytes as fit the region, at most `count_max`.
    pub(crate) fn new(region: DmaRegion, len_each: usize, count_max: usize) -> Self {
        let count = region.len.checked_div(len_each).unwrap_or(0);
        Self {
            is_lent: vec![false; count.min(count_max)].into_boxed_slice(),
            region,
            len_each,
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.is_lent.len()
    }

    /// Bytes in each.
    pub(crate) const fn len_each(&self) -> usize {
        self.len_each
    }

    /// The first `len` bytes of buffer `index`, if it is the driver's and as long.
    pub(crate) fn bytes(&self, index: usize, len: usize) -> Option<&[u8]> {
        let at = self.own(index, len)?;
        // SAFETY:
        // 1. `own` showed the bytes to be inside of the region, which is valid for reads, and
        //    initialised memory.
        // 2. The buffer is not lent, so the device does not write it (contract of `take_back`),
        //    and others of this program need `&mut self`.
        Some(unsafe { core::slice::from_raw_parts(at, len) })
    }

    /// The same, to be written.
    pub(crate) fn bytes_mut(&mut self, index: usize, len: usize) -> Option<&mut [u8]> {
        let at = self.own(index, len)?;
        // SAFETY: as in `bytes`, and `self` is borrowed exclusively.
        Some(unsafe { core::slice::from_raw_parts_mut(at, len) })
    }

    /// Lends the first `len` bytes of buffer `index` to the device; `None` if they are lent.
    pub(crate) fn lend(&mut self, index: usize, len: usize) -> Option<DmaSegment> {
        self.own(index, len)?;
        let segment = self.region.segment(index * self.len_each, len as u32);
        *self.is_lent.get_mut(index)? = true;
        segment.ok()
    }

    /// Takes buffer `index` back.
    ///
    /// # Safety
    ///
    /// The device does not access the buffer any more: it has given back the request that named
    /// the segment of [`Self::lend`], or never saw it, or was reset since.
    pub(crate) unsafe fn take_back(&mut self, index: usize) {
        if let Some(is_lent) = self.is_lent.get_mut(index) {
            *is_lent = false;
        }
    }

    fn own(&self, index: usize, len: usize) -> Option<*mut u8> {
        let is_own = self.is_lent.get(index).is_some_and(|is_lent| !is_lent);
        if !is_own || len > self.len_each {
            return None;
        }
        // SAFETY: `index` is below the number of buffers that fit the region.
        Some(unsafe { self.region.cpu.as_ptr().add(index * self.len_each) })
    }
}

/// Hands out typed arrays from a region, front to back, and keeps the region for its owner.
#[derive(Debug)]
pub(crate) struct DmaPool {
    region: DmaRegion,
    taken: usize,
}

impl DmaPool {
    pub(crate) const fn new(region: DmaRegion) -> Self {
        Self { region, taken: 0 }
    }

    /// Starts over from the front. The caller drops every array and has reset the device.
    pub(crate) const fn rewind(&mut self) {
        self.taken = 0;
    }

    /// Gives the region back. The caller has dropped every array and reset the device.
    pub(crate) fn into_region(self) -> DmaRegion {
        self.region
    }

    /// A zeroed array of `count` elements at a multiple of `align` (a power of two).
    pub(crate) fn array<T: Plain>(
        &mut self,
        count: usize,
        align: usize,
    ) -> Result<DmaArray<T>, Error> {
        let align = align.max(align_of::<T>());
        let start = self.region.cpu.as_ptr() as usize;
        let skew = (start ^ self.region.base.0 as usize) & (align - 1);
        let at = start
            .checked_add(self.taken)
            .and_then(|a| a.checked_next_multiple_of(align));
        let offset = at.ok_or(Error::OutOfMemory)? - start;
        let len = count
            .checked_mul(size_of::<T>())
            .ok_or(Error::OutOfMemory)?;
        if skew != 0 || self.region.check(offset, len).is_err() {
            return Err(Error::OutOfMemory);
        }
        self.taken = offset + len;
        let segment_base = self.region.base.0.checked_add(offset as u64);
        let array = DmaArray {
            base: DeviceAddress(segment_base.ok_or(Error::OutOfMemory)?),
            // SAFETY: `offset + len` is inside the region (checked above).
            cpu: unsafe { self.region.cpu.add(offset) }.cast(),
            len: count,
            _element: PhantomData,
        };
        array.zero();
        Ok(array)
    }
}

/// Element types of a [`DmaArray`].
///
/// # Safety
///
/// Any bytes are a valid value, there is no padding, and all zeroes is `ZERO`.
pub(crate) unsafe trait Plain: Copy {
    const ZERO: Self;
}

// SAFETY: integers have neither invalid values nor padding.
unsafe impl Plain for u8 {
    const ZERO: Self = 0;
}
// SAFETY: as for `u8`.
unsafe impl Plain for u16 {
    const ZERO: Self = 0;
}
// SAFETY: as for `u8`.
unsafe impl Plain for u32 {
    const ZERO: Self = 0;
}
// SAFETY: an array of integers has neither invalid values nor padding.
unsafe impl Plain for [u64; 2] {
    const ZERO: Self = [0, 0];
}

/// An array in DMA memory, carved from a pool whose region outlives it (`DmaPool::into_region`).
#[derive(Debug)]
pub(crate) struct DmaArray<T> {
    base: DeviceAddress,
    cpu: NonNull<T>,
    len: usize,
    _element: PhantomData<T>,
}

// SAFETY: the bytes belong to the driver that holds the pool and all its arrays, on any thread.
unsafe impl<T: Send> Send for DmaArray<T> {}

impl<T: Plain> DmaArray<T> {
    pub(crate) const fn base(&self) -> DeviceAddress {
        self.base
    }

    /// Where element `i` is for the device. `i` is within the array.
    pub(crate) const fn address(&self, i: usize) -> u64 {
        debug_assert!(i < self.len);
        self.base.0.wrapping_add((i * size_of::<T>()) as u64)
    }

    /// Element `i`; zero beyond the end, which is a bug of this crate and never a wild access.
    #[inline]
    pub(crate) fn get(&self, i: usize) -> T {
        debug_assert!(i < self.len);
        if i >= self.len {
            return T::ZERO;
        }
        // SAFETY: `i` is within the array, which is valid, aligned and of plain values.
        unsafe { self.cpu.add(i).read_volatile() }
    }

    /// Sets element `i`; nothing happens beyond the end, which is a bug of this crate.
    #[inline]
    pub(crate) fn set(&self, i: usize, value: T) {
        debug_assert!(i < self.len);
        if i < self.len {
            // SAFETY: `i` is within the array, which is valid and aligned.
            unsafe { self.cpu.add(i).write_volatile(value) };
        }
    }

    pub(crate) fn zero(&self) {
        (0..self.len).for_each(|i| self.set(i, T::ZERO));
    }
}

impl DmaArray<[u64; 2]> {
    /// The same array once more: for a copy whose place and length stay in registers.
    pub(crate) const fn alias(&self) -> Self {
        Self {
            base: self.base,
            cpu: self.cpu,
            len: self.len,
            _element: PhantomData,
        }
    }

    /// Sets element `i`, as two stores and no copy on the way; nothing happens beyond the end.
    #[inline]
    pub(crate) fn set_pair(&self, i: usize, first: u64, second: u64) {
        debug_assert!(i < self.len);
        if i < self.len {
            // SAFETY: `i` is within the array.
            let pair = unsafe { self.cpu.add(i) }.cast::<u64>();
            // SAFETY: both halves of element `i` are valid and aligned.
            unsafe {
                pair.write_volatile(first);
                pair.add(1).write_volatile(second);
            }
        }
    }
}

impl DmaArray<u16> {
    /// Publishes `value`: the device that reads it sees all that was written before.
    pub(crate) fn store_release(&self, i: usize, value: u16) {
        debug_assert!(i < self.len);
        if i < self.len {
            // SAFETY: `i` is within the array, which is valid and aligned; on our side the bytes
            // are accessed by this one driver.
            unsafe { AtomicU16::from_ptr(self.cpu.add(i).as_ptr()) }
                .store(value, Ordering::Release);
        }
    }
}

impl DmaArray<u32> {
    /// Elements `i` and `i + 1`; zeroes unless both are within the array.
    #[inline]
    pub(crate) fn get_two(&self, i: usize) -> [u32; 2] {
        debug_assert!(i + 1 < self.len);
        if i + 1 >= self.len {
            return [0, 0];
        }
        // SAFETY: `i` is within the array.
        let first = unsafe { self.cpu.add(i) };
        // SAFETY: elements `i` and `i + 1` are within the array, valid and aligned.
        unsafe { [first.read_volatile(), first.add(1).read_volatile()] }
    }

    /// Reads a value that the device publishes: what it wrote before is seen after.
    pub(crate) fn load_acquire(&self, i: usize) -> u32 {
        debug_assert!(i < self.len);
        if i >= self.len {
            return 0;
        }
        // SAFETY: as in `store_release`.
        unsafe { AtomicU32::from_ptr(self.cpu.add(i).as_ptr()) }.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests;
