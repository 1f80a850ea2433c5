//! A mutex that waits in the kernel, and what is built on it.

use crate::sys;
use core::sync::atomic::{AtomicU32, Ordering};
use viper_abi::FOREVER;

const FREE: u32 = 0;
const HELD: u32 = 1;
const CONTENDED: u32 = 2;

/// A lock word: one compare-exchange when it is free, a futex when it is not.
#[derive(Debug)]
pub struct RawMutex(AtomicU32);

// SAFETY: `lock` returns only after this thread changed the word from FREE, which only `unlock`
// sets, so at most one thread holds it; acquire and release order what it guards.
unsafe impl lock_api::RawMutex for RawMutex {
    const INIT: RawMutex = RawMutex(AtomicU32::new(FREE));
    type GuardMarker = lock_api::GuardSend;

    #[inline]
    fn lock(&self) {
        if !self.try_lock() {
            self.lock_slow();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        let (acquire, relaxed) = (Ordering::Acquire, Ordering::Relaxed);
        self.0
            .compare_exchange(FREE, HELD, acquire, relaxed)
            .is_ok()
    }

    #[inline]
    unsafe fn unlock(&self) {
        if self.0.swap(FREE, Ordering::Release) == CONTENDED {
            let _ = sys::futex_wake(self.address(), 1);
        }
    }
}

impl RawMutex {
    fn address(&self) -> u64 {
        &raw const self.0 as u64
    }

    #[cold]
    fn lock_slow(&self) {
        while self.0.swap(CONTENDED, Ordering::Acquire) != FREE {
            let _ = sys::futex_wait(self.address(), CONTENDED, FOREVER);
        }
    }
}

/// A value that one thread at a time can reach.
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;
/// The right to the value of a [`Mutex`].
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

/// A condition to wait for, with a [`Mutex`].
#[derive(Debug, Default)]
pub struct Condvar(AtomicU32);

impl Condvar {
    /// A condition nobody waits for.
    #[must_use]
    pub const fn new() -> Condvar {
        Condvar(AtomicU32::new(0))
    }

    /// Gives the lock up, waits for a notification or the deadline, and takes the lock again.
    ///
    /// It may return without either: check the condition in a loop.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>, deadline: u64) {
        let seen = self.0.load(Ordering::Relaxed);
        lock_api::MutexGuard::unlocked(guard, || {
            let _ = sys::futex_wait(&raw const self.0 as u64, seen, deadline);
        });
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        self.notify(u32::MAX);
    }

    fn notify(&self, count: u32) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let _ = sys::futex_wake(&raw const self.0 as u64, count);
    }
}
