//! The kernel heap: slabs of power-of-two objects on frames of the buddy allocator.
//!
//! Objects of up to 1 KiB come from slab pages that know how many of their objects are in use and
//! go back to the buddy allocator when the last one is freed; anything larger is a block of frames.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;

use super::cell::KernelCell;
use super::{OFFSET, direct};
use viper_vm::{Buddy, Frame};

/// All frames of the machine, once `memory::init` has found them.
pub static FRAMES: KernelCell<Option<Buddy<'static>>> = KernelCell::new(None);

#[global_allocator]
static HEAP: Heap = Heap(KernelCell::new([null_mut(); CLASSES]));

const CLASSES: usize = 7; // 16 bytes to 1 KiB
const PAGE: usize = 4096;
const HEADER: usize = 32;

/// First page with a free object, for each class.
struct Heap(KernelCell<[*mut Slab; CLASSES]>);

// SAFETY: see `KernelCell`: allocation happens under the kernel lock or on the boot core alone.
unsafe impl Sync for Heap {}

/// At the start of each slab page.
#[repr(C)]
struct Slab {
    next: *mut Slab,
    previous: *mut Slab,
    free: *mut Free,
    in_use: u32,
    class: u32,
}

struct Free {
    next: *mut Free,
}

fn class_of(layout: Layout) -> Option<usize> {
    let size = layout
        .size()
        .max(layout.align())
        .max(16)
        .next_power_of_two();
    let class = size.trailing_zeros() as usize - 4;
    (class < CLASSES).then_some(class)
}

fn order_of(layout: Layout) -> u8 {
    let pages = layout
        .size()
        .max(layout.align())
        .div_ceil(PAGE)
        .next_power_of_two();
    pages.trailing_zeros() as u8
}

fn take(order: u8) -> *mut u8 {
    // SAFETY: allocation happens under the kernel lock; nothing here is called by the buddy
    // allocator, which does not allocate.
    let frames = unsafe { FRAMES.get() };
    match frames.as_mut().map(|f| f.alloc_order(order)) {
        Some(Ok(frame)) => direct(frame.addr().0) as *mut u8,
        _ => null_mut(),
    }
}

fn give(block: *mut u8) {
    // SAFETY: as in `take`.
    let frames = unsafe { FRAMES.get() };
    let frame = Frame(((block as u64 - OFFSET) >> 12) as u32);
    if let Some(frames) = frames {
        // A failure would mean that the block is not ours: leaking it is the safe answer.
        let _ = frames.free(frame);
    }
}

impl Heap {
    /// Makes a slab page and puts it first in its class.
    ///
    /// # Safety
    /// As for [`KernelCell::get`].
    unsafe fn grow(&self, class: usize) -> *mut Slab {
        let page = take(0);
        if page.is_null() {
            return null_mut();
        }
        let size = 16 << class;
        let mut free: *mut Free = null_mut();
        let mut at = PAGE - size;
        while at >= HEADER.max(size) {
            // SAFETY: the page is 4 KiB of ours; `at` is inside and aligned to `size`.
            unsafe {
                let object = page.add(at).cast::<Free>();
                object.write(Free { next: free });
                free = object;
            }
            at -= size;
        }
        let slab = page.cast::<Slab>();
        // SAFETY: the header's bytes are below the first object.
        unsafe {
            slab.write(Slab {
                next: null_mut(),
                previous: null_mut(),
                free,
                in_use: 0,
                class: class as u32,
            });
            self.link(slab);
        }
        slab
    }

    /// # Safety
    /// `slab` is a live slab page in no list.
    unsafe fn link(&self, slab: *mut Slab) {
        // SAFETY: lists hold live slab pages only; we have exclusive access.
        unsafe {
            let heads = self.0.get();
            let head = &mut heads[(*slab).class as usize];
            (*slab).next = *head;
            (*slab).previous = null_mut();
            if !(*head).is_null() {
                (**head).previous = slab;
            }
            *head = slab;
        }
    }

    /// # Safety
    /// `slab` is a live slab page in the list of its class.
    unsafe fn unlink(&self, slab: *mut Slab) {
        // SAFETY: as in `link`.
        unsafe {
            let (next, previous) = ((*slab).next, (*slab).previous);
            if previous.is_null() {
                self.0.get()[(*slab).class as usize] = next;
            } else {
                (*previous).next = next;
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
        }
    }
}

// SAFETY: objects are disjoint, aligned to their power-of-two size and live until freed; blocks
// come from the buddy allocator. Exclusive access is by the kernel lock.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else {
            return take(order_of(layout));
        };
        // SAFETY: lists hold live slab pages with at least one free object.
        unsafe {
            let mut slab = self.0.get()[class];
            if slab.is_null() {
                slab = self.grow(class);
                if slab.is_null() {
                    return null_mut();
                }
            }
            let object = (*slab).free;
            (*slab).free = (*object).next;
            (*slab).in_use += 1;
            if (*slab).free.is_null() {
                self.unlink(slab);
            }
            object.cast()
        }
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        if class_of(layout).is_none() {
            return give(object);
        }
        let slab = (object as usize & !(PAGE - 1)) as *mut Slab;
        // SAFETY: an object of a slab class lies in a slab page, whose header is at its start.
        unsafe {
            let was_full = (*slab).free.is_null();
            let object = object.cast::<Free>();
            object.write(Free { next: (*slab).free });
            (*slab).free = object;
            (*slab).in_use -= 1;
            if was_full {
                self.link(slab);
            }
            if (*slab).in_use == 0 {
                self.unlink(slab);
                give(slab.cast());
            }
        }
    }
}
