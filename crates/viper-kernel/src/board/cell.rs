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

/// The kernel lock. `asm/trap.S` knows this layout and releases it, too.
///
/// Not strictly in order of arrival: where cores are emulated by fewer of the host's, the next in
/// line often does not run, and everybody would wait for it. But who has waited long keeps
/// newcomers away, so that nobody waits for ever.
#[repr(C)]
pub struct KernelLock {
    is_held: AtomicU32,
    /// Cores that have waited long.
    hungry: AtomicU32,
    /// Whether there are others: alone, a core needs no lock.
    is_shared: AtomicBool,
}

/// Attempts after which a core has waited long.
const PATIENCE: u32 = 1000;

impl KernelLock {
    /// Nobody holds it.
    pub const fn new() -> Self {
        KernelLock {
            is_held: AtomicU32::new(0),
            hungry: AtomicU32::new(0),
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
        if self.hungry.load(Ordering::Relaxed) != 0 || !self.try_take() {
            self.wait();
        }
    }

    #[inline(always)]
    fn try_take(&self) -> bool {
        self.is_held.swap(1, Ordering::Acquire) == 0
    }

    /// Not a function of its own: a call, even one that is never made, would have the short ways
    /// save registers.
    #[inline(always)]
    fn wait(&self) {
        for _ in 0..PATIENCE {
            let may = self.hungry.load(Ordering::Relaxed) == 0;
            if may && self.is_held.load(Ordering::Relaxed) == 0 && self.try_take() {
                return;
            }
            core::hint::spin_loop();
        }
        self.hungry.fetch_add(1, Ordering::Relaxed);
        while self.is_held.load(Ordering::Relaxed) != 0 || !self.try_take() {
            core::hint::spin_loop();
        }
        self.hungry.fetch_sub(1, Ordering::Relaxed);
    }

    /// Gives the lock back.
    ///
    /// # Safety
    /// The caller holds it and uses nothing that it protects afterwards.
    #[inline(always)]
    pub unsafe fn release(&self) {
        if self.is_shared.load(Ordering::Relaxed) {
            self.is_held.store(0, Ordering::Release);
        }
    }
}
