//! The heap fails at each allocation in turn: nothing panics, nothing is half-done.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::Owners;
use viper_vm::{Frame, PAGE_SIZE, PageList, PageRange, RegionMap, RegionValue, VirtAddr, VmError};

/// The heap of the host, which refuses after some allocations of a thread.
struct Limited;

thread_local! {
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[global_allocator]
static HEAP: Limited = Limited;

fn granted() -> bool {
    LEFT.with(|left| match left.get() {
        usize::MAX => true,
        0 => false,
        some => {
            left.set(some - 1);
            true
        }
    })
}

// SAFETY: passes everything on to the system's heap, or refuses with a null pointer, as a heap may.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !granted() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }
    unsafe fn realloc(&self, old: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        if !granted() {
            return std::ptr::null_mut();
        }
        // SAFETY: as above; `old` came from `System`.
        unsafe { System.realloc(old, layout, len) }
    }
    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above; `old` came from `System`.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Runs with `count` allocations allowed.
fn with_allocations<R>(count: usize, run: impl FnOnce() -> R) -> R {
    LEFT.set(count);
    let result = run();
    LEFT.set(usize::MAX);
    result
}

/// Tries with 0, 1, 2... allocations until it works; returns how many failures there were.
fn until_it_works(mut attempt: impl FnMut() -> Result<(), VmError>) -> usize {
    for count in 0..100 {
        match with_allocations(count, &mut attempt) {
            Ok(()) => return count,
            Err(error) => assert_eq!(error, VmError::NoMemory),
        }
    }
    panic!("does not work with 100 allocations");
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Offset(u64);

impl RegionValue for Offset {
    fn advanced(self, offset_bytes: u64) -> Self {
        Self(self.0 + offset_bytes)
    }
}

fn pages(first: u64, len: u64) -> PageRange {
    PageRange::new(VirtAddr(first * PAGE_SIZE), len * PAGE_SIZE).unwrap()
}

#[test]
fn regions_change_wholly_or_not_at_all() {
    let mut failures = 0;
    let mut map = RegionMap::new(pages(0, 10_000), 1000);
    let mut check =
        |map: &mut RegionMap<Offset>,
         change: &dyn Fn(&mut RegionMap<Offset>) -> Result<(), VmError>| {
            let before: Vec<_> = map.iter().copied().collect();
            failures += until_it_works(|| {
                let result = change(map);
                assert!(result.is_ok() || map.iter().eq(&before));
                result
            });
        };
    for round in 0..40 {
        let first = round * 30;
        check(&mut map, &|map| map.insert(pages(first, 20), Offset(0)));
        check(&mut map, &|map| map.remove(pages(first + 3, 2), |_| {}));
        check(&mut map, &|map| {
            map.update(pages(first + 8, 2), |offset| Some(Offset(offset.0 + 1)))
        });
    }
    assert!(failures >= 5, "the map has grown several times");
    assert_eq!(map.len(), 40 * 4);
    assert_eq!(until_it_works(|| map.try_clone().map(drop)), 1);
}

#[test]
fn pages_are_shared_wholly_or_not_at_all() {
    let mut owners = Owners::new(usize::MAX);
    let mut list = PageList::new(5000).unwrap();
    for page in [0, 1, 100, 600, 601, 4999] {
        let frame = owners.fresh(Frame(page));
        let failures = until_it_works(|| list.set(page, frame).map(drop));
        assert_eq!(failures > 0, [0, 1, 100, 600, 4999].contains(&page));
    }
    let mut copy = None;
    let failures = until_it_works(|| {
        assert!(owners.count.values().all(|&count| count == 1));
        copy = Some(list.clone_shared(&mut owners)?);
        Ok(())
    });
    assert!(failures >= 5, "chunks and their growth");
    assert!(owners.count.values().all(|&count| count == 2));
    let mut copy = copy.unwrap();
    assert!(copy.iter().eq(list.iter()));
    // Giving back needs no memory.
    with_allocations(0, || while !copy.release(&mut owners, 7) {});
    with_allocations(0, || list.release(&mut owners, u32::MAX));
    assert!(owners.count.is_empty());
}
