//! The global allocator: talc over memory objects that are mapped as the heap grows.

use crate::sync::RawMutex;
use crate::sys;
use core::alloc::Layout;
use talc::{TalcLock, base::Talc, base::binning::Binning, source::Source};
use viper_abi::{Handle, MemoryFlags, Protection};

#[global_allocator]
static HEAP: TalcLock<RawMutex, Grow> = TalcLock::new(Grow {
    next_bytes: FIRST_BYTES,
});

const FIRST_BYTES: usize = 1 << 20;
const LARGEST_BYTES: usize = 32 << 20;

/// Maps a new region, twice as large each time. Pages cost memory when they are touched.
#[derive(Debug)]
struct Grow {
    next_bytes: usize,
}

// SAFETY: `acquire` claims a fresh mapping that nobody else knows, never unmaps it, and does not
// allocate: the calls below are plain system calls.
unsafe impl Source for Grow {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let overhead = layout.align().max(4096) + 4096;
        let needed = layout.size().checked_add(overhead).ok_or(())?;
        let size = needed.max(talc.source.next_bytes).next_multiple_of(4096);
        let base = map(size as u64)?;
        talc.source.next_bytes = (talc.source.next_bytes * 2).min(LARGEST_BYTES);
        // SAFETY: the region was just mapped readable and writable and is nobody else's.
        unsafe { talc.claim(base, size) }.map(|_| ()).ok_or(())
    }
}

fn map(size: u64) -> Result<*mut u8, ()> {
    let (memory,) = sys::memory_create(size, MemoryFlags::NONE).map_err(|_| ())?;
    let rw = Protection::READ | Protection::WRITE;
    // SAFETY: without FIXED, nothing in use is mapped over.
    let mapped = unsafe { sys::memory_map(Handle::NONE, memory, 0, size, rw, 0) };
    let _ = sys::handle_close(memory);
    mapped.map(|(address,)| address as *mut u8).map_err(|_| ())
}
