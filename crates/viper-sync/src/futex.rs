//! Sleeping locks over one system primitive: wait while a word has a value.
//!
//! In the way that has become usual: the fast paths are one atomic operation, and the system is
//! asked only if somebody has to sleep or sleeps.

use core::fmt;
use core::ops::{Deref, DerefMut};

pub use crate::loom::AtomicU32;
use crate::loom::{Ordering, UnsafeCell};

/// The system's way to sleep on a word, and to wake sleepers.
pub trait Futex {
    /// A point in time, on whatever clock.
    type Deadline: Copy;

    /// Sleeps if `*word == expected`, until [`wake`](Self::wake) or the deadline; `false` if the
    /// deadline has passed, in which case it has used up no wake-up. Checking and going to sleep
    /// are one step as seen by `wake`. It may return early without a reason.
    fn wait(&self, word: &AtomicU32, expected: u32, deadline: Option<Self::Deadline>) -> bool;

    /// Wakes up to `count` of those who sleep on `word`.
    fn wake(&self, word: &AtomicU32, count: u32);
}

/// A lock without content: one word.
#[derive(Debug)]
pub struct RawMutex {
    /// [`FREE`], [`HELD`] or [`AWAITED`].
    state: AtomicU32,
}

/// A condition variable: one word.
///
/// Weakness: a waiter misses its wake-up if exactly a multiple of 2^32 notifications come between
/// its look at the word and its sleep.
#[derive(Debug)]
pub struct RawCondvar {
    /// Number of notifications so far.
    count: AtomicU32,
}

/// A sleeping lock around a `T`.
pub struct Mutex<T: ?Sized, F: Futex> {
    raw: RawMutex,
    futex: F,
    content: UnsafeCell<T>,
}

/// Access to the content of a [`Mutex`]; releases it when dropped.
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct MutexGuard<'a, T: ?Sized, F: Futex> {
    lock: &'a Mutex<T, F>,
    /// Some systems release a lock by the thread that took it only: do not send the guard.
    content: core::marker::PhantomData<(&'a mut T, *mut ())>,
}

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody may sleep.
const AWAITED: u32 = 2;

macro_rules! maybe_const {
    ($(#[$meta:meta])* pub fn $($rest:tt)*) => {
        $(#[$meta])* #[cfg(not(loom))] pub const fn $($rest)*
        $(#[$meta])* #[cfg(loom)] pub fn $($rest)*
    };
}

impl RawMutex {
    maybe_const! {
        /// A free lock.
        pub fn new() -> Self {
            Self { state: AtomicU32::new(FREE) }
        }
    }

    /// Takes the lock, sleeping as long as somebody else has it.
    #[inline]
    pub fn lock<F: Futex>(&self, futex: &F) {
        if !self.try_lock() {
            self.lock_slow(futex, None);
        }
    }

    /// Takes the lock; `false` if the deadline passed before.
    #[inline]
    pub fn lock_until<F: Futex>(&self, futex: &F, deadline: F::Deadline) -> bool {
        self.try_lock() || self.lock_slow(futex, Some(deadline))
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> bool {
        self.state
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Releases the lock, which the caller has. To release it otherwise is a mistake, but harms
    /// nothing except what the lock was meant to protect.
    #[inline]
    pub fn unlock<F: Futex>(&self, futex: &F) {
        if self.state.swap(FREE, Ordering::Release) == AWAITED {
            futex.wake(&self.state, 1);
        }
    }

    /// Who sleeps leaves `AWAITED` behind, so that the holder wakes somebody. Who wakes up cannot
    /// know whether others sleep on, so it takes the lock as `AWAITED`, too: at worst, one
    /// needless wake-up follows.
    #[cold]
    fn lock_slow<F: Futex>(&self, futex: &F, deadline: Option<F::Deadline>) -> bool {
        while self.state.swap(AWAITED, Ordering::Acquire) != FREE {
            if !futex.wait(&self.state, AWAITED, deadline) {
                return false;
            }
        }
        true
    }
}

impl Default for RawMutex {
    fn default() -> Self {
        Self::new()
    }
}

impl RawCondvar {
    maybe_const! {
        /// Nobody waits.
        pub fn new() -> Self {
            Self { count: AtomicU32::new(0) }
        }
    }

    /// Releases `mutex`, sleeps until notified, and takes it again; `false` if the deadline has
    /// passed. It may return early without a reason: check the condition in a loop.
    ///
    /// A notification by somebody who had changed the condition under the mutex is not missed.
    pub fn wait<F: Futex>(
        &self,
        mutex: &RawMutex,
        mutex_futex: &F,
        futex: &F,
        deadline: Option<F::Deadline>,
    ) -> bool {
        // Relaxed: the mutex orders this load before the release, thus before any notification
        // for a change that the caller has not seen.
        let seen = self.count.load(Ordering::Relaxed);
        mutex.unlock(mutex_futex);
        let woken = futex.wait(&self.count, seen, deadline);
        mutex.lock(mutex_futex);
        woken
    }

    /// Wakes one waiter.
    pub fn notify_one<F: Futex>(&self, futex: &F) {
        self.count.fetch_add(1, Ordering::Relaxed);
        futex.wake(&self.count, 1);
    }

    /// Wakes all waiters.
    pub fn notify_all<F: Futex>(&self, futex: &F) {
        self.count.fetch_add(1, Ordering::Relaxed);
        futex.wake(&self.count, u32::MAX);
    }
}

impl Default for RawCondvar {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: the raw lock is held by one guard at a time, and the content is reached through the
// guard only, so it moves between threads as a whole: `T: Send` suffices. The futex is shared.
unsafe impl<T: ?Sized + Send, F: Futex + Sync> Sync for Mutex<T, F> {}

// SAFETY: sending the mutex sends its content and its futex, which both are `Send`.
unsafe impl<T: ?Sized + Send, F: Futex + Send> Send for Mutex<T, F> {}

// SAFETY: a shared guard gives out `&T` and nothing of the futex.
unsafe impl<T: ?Sized + Sync, F: Futex> Sync for MutexGuard<'_, T, F> {}

impl<T, F: Futex> Mutex<T, F> {
    maybe_const! {
        /// A free lock around `content`.
        pub fn new(content: T, futex: F) -> Self {
            Self { raw: RawMutex::new(), futex, content: UnsafeCell::new(content) }
        }
    }
}

impl<T: ?Sized, F: Futex> Mutex<T, F> {
    /// Takes the lock, sleeping as long as somebody else has it. Not reentrant.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T, F> {
        self.raw.lock(&self.futex);
        self.guard()
    }

    /// Takes the lock, unless the deadline passes before.
    pub fn lock_until(&self, deadline: F::Deadline) -> Option<MutexGuard<'_, T, F>> {
        self.raw
            .lock_until(&self.futex, deadline)
            .then(|| self.guard())
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T, F>> {
        self.raw.try_lock().then(|| self.guard())
    }

    fn guard(&self) -> MutexGuard<'_, T, F> {
        MutexGuard {
            lock: self,
            content: core::marker::PhantomData,
        }
    }
}

impl<'a, T: ?Sized, F: Futex> MutexGuard<'a, T, F> {
    /// Waits on a condition variable with this lock released meanwhile; see [`RawCondvar::wait`].
    /// `false` if the deadline has passed. `futex` serves the condition variable.
    pub fn wait(&mut self, condvar: &RawCondvar, futex: &F, deadline: Option<F::Deadline>) -> bool {
        // `&mut self` proves that no reference to the content lives on meanwhile.
        condvar.wait(&self.lock.raw, &self.lock.futex, futex, deadline)
    }
}

impl<T: ?Sized, F: Futex> Deref for MutexGuard<'_, T, F> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY:
        // 1. The pointer is valid: it is that of a cell in the lock, which `self` borrows.
        // 2. Nobody writes: the guard has the lock (it is made after taking it, and only `drop`
        //    and `wait`, which takes it again, release it), and `&mut` is made from `&mut self`
        //    only.
        // 3. The writes of former holders are visible: they were released by `unlock` and
        //    acquired by `try_lock` or `lock_slow`.
        unsafe { &*self.lock.content.get() }
    }
}

impl<T: ?Sized, F: Futex> DerefMut for MutexGuard<'_, T, F> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; moreover `&mut self` excludes all references made by this guard.
        unsafe { &mut *self.lock.content.get_mut() }
    }
}

impl<T: ?Sized, F: Futex> Drop for MutexGuard<'_, T, F> {
    #[inline]
    fn drop(&mut self) {
        self.lock.raw.unlock(&self.lock.futex);
    }
}

impl<T: ?Sized, F: Futex> fmt::Debug for Mutex<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex")
            .field("raw", &self.raw)
            .finish_non_exhaustive()
    }
}
