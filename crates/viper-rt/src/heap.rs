//! The global allocator: talc over memory objects that are mapped as the heap grows, and beside it
//! whole pages, for those who want just that.

use crate::sync::{Mutex, RawMutex};
use crate::sys;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};
use talc::{TalcLock, base::Talc, base::binning::Binning, source::Source};
use viper_abi::{Handle, MemoryFlags, Protection};

#[global_allocator]
static HEAP: Heap = Heap {
    pages: Mutex::new(Pages {
        free: None,
        fresh: null_mut(),
        fresh_count: 0,
    }),
    rest: TalcLock::new(Grow {
        next_bytes: FIRST_BYTES,
    }),
};

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
        let base = map(size as u64, Protection(0))?;
        talc.source.next_bytes = (talc.source.next_bytes * 2).min(LARGEST_BYTES);
        // SAFETY: the region was just mapped readable and writable and is nobody else's.
        unsafe { talc.claim(base, size) }.map(|_| ()).ok_or(())
    }
}

/// Pages apart from the rest.
struct Heap {
    pages: Mutex<Pages>,
    rest: TalcLock<RawMutex, Grow>,
}

// SAFETY: a layout says which of the two allocators has it, and both are sound: pages are taken
// from mappings that nobody else knows, each given to one owner at a time.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_page(layout) {
            return self
                .pages
                .lock()
                .take()
                .map_or(null_mut(), |(page, _)| page);
        }
        // SAFETY: as the caller's.
        unsafe { self.rest.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_page(layout) {
            // SAFETY: as the caller's.
            return unsafe { self.rest.alloc_zeroed(layout) };
        }
        let Some((page, is_fresh)) = self.pages.lock().take() else {
            return null_mut();
        };
        if !is_fresh {
            // SAFETY: the page is ours now, and as long.
            unsafe { page.write_bytes(0, PAGE_BYTES) };
        }
        page
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if is_page(layout) {
            return self.pages.lock().give(at);
        }
        // SAFETY: as the caller's: the layout says that it came from there.
        unsafe { self.rest.dealloc(at, layout) };
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_page(layout) && layout.align() < PAGE_BYTES {
            // SAFETY: as the caller's; of this alignment it is no page, however long.
            return unsafe { self.rest.realloc(at, layout, size) };
        }
        // SAFETY: the caller promises that `size` does not overflow.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: as the caller's.
        let to = unsafe { self.alloc(new) };
        if !to.is_null() {
            // SAFETY: both are that long and different; `at` was the caller's to give up.
            unsafe {
                core::ptr::copy_nonoverlapping(at, to, size.min(layout.size()));
                self.dealloc(at, layout);
            }
        }
        to
    }
}

const PAGE_BYTES: usize = 4096;
/// Pages that are mapped at once, and present from the start.
const PAGES_AT_ONCE: usize = 32;

/// Whether what is wanted is a page.
#[inline]
const fn is_page(layout: Layout) -> bool {
    layout.size() == PAGE_BYTES && layout.align() == PAGE_BYTES
}

/// Pages: those given back, in a list through their first words, and those never used.
struct Pages {
    free: Option<NonNull<Option<NonNull<u8>>>>,
    fresh: *mut u8,
    fresh_count: usize,
}

// SAFETY: the pages belong to the process, not to a thread.
unsafe impl Send for Pages {}

impl Pages {
    /// A page, and whether it is known to be zeroed.
    fn take(&mut self) -> Option<(*mut u8, bool)> {
        if let Some(first) = self.free {
            // SAFETY: `give` put it there, and nobody has had the page since.
            self.free = unsafe { first.read() }.map(NonNull::cast);
            return Some((first.as_ptr().cast(), false));
        }
        if self.fresh_count == 0 {
            let present = Protection::POPULATE;
            self.fresh = map((PAGES_AT_ONCE * PAGE_BYTES) as u64, present).ok()?;
            self.fresh_count = PAGES_AT_ONCE;
        }
        let page = self.fresh;
        self.fresh_count -= 1;
        // SAFETY: the mapping has at least this page.
        self.fresh = unsafe { page.add(PAGE_BYTES) };
        Some((page, true))
    }

    /// Takes a page back that [`take`](Self::take) gave.
    fn give(&mut self, page: *mut u8) {
        let Some(page) = NonNull::new(page) else {
            return;
        };
        let link = page.cast::<Option<NonNull<u8>>>();
        // SAFETY: the page is ours again, and aligned for a pointer.
        unsafe { link.write(self.free.map(NonNull::cast)) };
        self.free = Some(link);
    }
}

fn map(size: u64, how: Protection) -> Result<*mut u8, ()> {
    let (memory,) = sys::memory_create(size, MemoryFlags::NONE).map_err(|_| ())?;
    let rw = Protection::READ | Protection::WRITE | how;
    // SAFETY: without FIXED, nothing in use is mapped over.
    let mapped = unsafe { sys::memory_map(Handle::NONE, memory, 0, size, rw, 0) };
    let _ = sys::handle_close(memory);
    mapped.map(|(address,)| address as *mut u8).map_err(|_| ())
}
