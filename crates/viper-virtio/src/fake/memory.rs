//! Memory with two sides: a pointer for the driver, device addresses for the device.

use alloc::vec::Vec;
use core::cell::Cell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, Ordering};

use crate::dma::{DeviceAddress, DmaRegion};

/// A stretch of DMA memory for tests. It is never freed, as real DMA memory is not.
#[derive(Clone, Debug)]
pub struct FakeMemory {
    bytes: &'static [AtomicU8],
    taken: alloc::rc::Rc<Cell<usize>>,
}

impl FakeMemory {
    /// Where the memory starts for devices.
    pub const BASE: u64 = 0x1_4000_0000;

    /// Zeroed memory of `len` bytes, on a page boundary.
    ///
    /// # Panics
    ///
    /// When the host has no memory.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let mut bytes = Vec::new();
        bytes.resize_with(len + PAGE, || AtomicU8::new(0));
        let bytes: &'static [AtomicU8] = bytes.leak();
        let start = bytes.as_ptr() as usize;
        let skip = start.next_multiple_of(PAGE) - start;
        let bytes = bytes
            .get(skip..skip + len)
            .expect("a page more than `len` was allocated");
        Self {
            bytes,
            taken: alloc::rc::Rc::default(),
        }
    }

    /// Takes the next `len` bytes, from a page boundary on, for a driver or as a buffer.
    ///
    /// # Panics
    ///
    /// When not that many are left: the test asked for too little memory.
    #[must_use]
    #[allow(unsafe_code)]
    pub fn take(&self, len: usize) -> DmaRegion {
        let start = self.taken.get();
        let part = self
            .bytes
            .get(start..start + len)
            .expect("memory for the whole test");
        self.taken.set((start + len).next_multiple_of(PAGE));
        let cpu = NonNull::new(part.as_ptr().cast_mut())
            .expect("slices are not null")
            .cast();
        let base = DeviceAddress::new(Self::BASE + start as u64);
        // SAFETY:
        // 1. `part` is `len` bytes that may be written through a shared pointer (atomics), and the
        //    only meaning of `base` is `Self::read` and `Self::write`, on the same bytes.
        // 2. They were leaked.
        // 3. `taken` went past them, so nobody else gets them; the fake device alone accesses them
        //    too, through atomics.
        unsafe { DmaRegion::new(cpu, base, len) }
    }

    /// Where the byte at a device address is for the processor, as a driver's allocator knows it.
    ///
    /// # Panics
    ///
    /// When the address is outside of the memory.
    #[must_use]
    pub fn pointer(&self, address: u64) -> NonNull<u8> {
        let start = address.checked_sub(Self::BASE).map(|start| start as usize);
        let rest = start
            .and_then(|start| self.bytes.get(start..))
            .filter(|rest| !rest.is_empty());
        let slice = rest.expect("an address inside the memory");
        NonNull::from(slice).cast()
    }

    /// Reads as a device does. False if some byte is outside the memory.
    pub fn read(&self, address: u64, to: &mut [u8]) -> bool {
        let Some(from) = self.slice(address, to.len()) else {
            return false;
        };
        from.iter()
            .zip(to)
            .for_each(|(from, to)| *to = from.load(Ordering::Relaxed));
        true
    }

    /// Writes as a device does. False, and nothing written, if some byte is outside the memory.
    pub fn write(&self, address: u64, from: &[u8]) -> bool {
        let Some(to) = self.slice(address, from.len()) else {
            return false;
        };
        to.iter()
            .zip(from)
            .for_each(|(to, from)| to.store(*from, Ordering::Relaxed));
        true
    }

    /// Whether the `len` bytes at `address` are all inside the memory.
    #[must_use]
    pub fn contains(&self, address: u64, len: usize) -> bool {
        self.slice(address, len).is_some()
    }

    pub(super) fn read_u16(&self, address: u64) -> u16 {
        let mut bytes = [0; 2];
        self.read(address, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    fn slice(&self, address: u64, len: usize) -> Option<&[AtomicU8]> {
        let start = usize::try_from(address.checked_sub(Self::BASE)?).ok()?;
        self.bytes.get(start..start.checked_add(len)?)
    }
}

const PAGE: usize = 4096;
