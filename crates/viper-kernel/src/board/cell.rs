//! State that belongs to whoever holds the kernel lock.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A value that only the holder of the kernel lock (or the boot core, before others run) touches.
pub struct KernelCell<T>(UnsafeCell<T>);

// SAFETY: access is through `get`, whose callers promise that no other access is under way: they
// hold the kernel lock, or are the boot core before any other core or interrupt runs.
unsafe impl<T> Sync for KernelCell<T> {}

impl<T> KernelCell<T> {
    /// A cell with an initial value.
    pub const fn new(value: T) -> Self {
        KernelCell(UnsafeCell::new(value))
    }

    /// The value.
    ///
    /// # Safety
    /// The caller holds the kernel lock or is the only core that runs, and no other reference to
    /// the value is in use.
    #[expect(clippy::mut_from_ref, reason = "exclusive by the kernel lock")]
    #[inline]
    pub unsafe fn get(&self) -> &mut T {
        // SAFETY: exclusive, by the caller's promise.
        unsafe { &mut *self.0.get() }
    }
}

/// The kernel lock: fair, by tickets. `asm/trap.S` knows this layout and releases it, too.
#[repr(C)]
pub struct KernelLock {
    next: AtomicU32,
    serving: AtomicU32,
    /// Whether there are others: alone, a core needs no lock.
    is_shared: AtomicBool,
}

impl KernelLock {
    /// Nobody holds it.
    pub const fn new() -> Self {
        KernelLock {
            next: AtomicU32::new(0),
            serving: AtomicU32::new(0),
            is_shared: AtomicBool::new(false),
        }
    }

    /// There is a second core from now on. Called before it starts.
    pub fn share(&self) {
        self.is_shared.store(true, Ordering::Relaxed);
    }

    /// Waits for the lock.
    #[inline(always)]
    pub fn acquire(&self) {
        if !self.is_shared.load(Ordering::Relaxed) {
            return;
        }
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        while self.serving.load(Ordering::Acquire) != ticket {
            core::hint::spin_loop();
        }
    }

    /// Gives the lock to the next in line.
    ///
    /// # Safety
    /// The caller holds it and uses nothing that it protects afterwards.
    #[inline(always)]
    pub unsafe fn release(&self) {
        if !self.is_shared.load(Ordering::Relaxed) {
            return;
        }
        let next = self.serving.load(Ordering::Relaxed).wrapping_add(1);
        self.serving.store(next, Ordering::Release);
    }
}
