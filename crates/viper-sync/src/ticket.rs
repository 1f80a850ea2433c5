//! A spin lock that serves in the order of arrival.
//!
//! Each comer draws a number and waits until it is served, so that no processor starves: a plain
//! test-and-set lock favours the processor that released it last, because the line is in its
//! cache.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use crate::loom::{AtomicU32, Ordering, UnsafeCell, spin_loop};

/// What a processor does while it waits for a lock.
pub trait Relax {
    /// Passes a little time. Called once per look at the lock; may return at any time, so `WFE`
    /// is fine if [`released`](Self::released) sends an event.
    fn relax();

    /// Called after each release of a lock that others may wait for: the place for `SEV`, after a
    /// barrier that completes the store (`DSB ISHST`). Does nothing by default.
    #[inline]
    fn released() {}
}

/// The hint of `core::hint::spin_loop`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpinHint;

/// A fair spin lock around a `T`.
///
/// Up to 2^32 - 1 may wait at a time. Not reentrant: to lock twice on one processor is a deadlock,
/// so mask the interrupts whose handlers take the same lock.
pub struct TicketLock<T: ?Sized, R = SpinHint> {
    /// The number that the next comer draws.
    next: AtomicU32,
    /// The number being served.
    serving: AtomicU32,
    relax: PhantomData<fn() -> R>,
    content: UnsafeCell<T>,
}

/// Access to the content of a [`TicketLock`]; releases it when dropped.
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct TicketGuard<'a, T: ?Sized, R: Relax = SpinHint> {
    lock: &'a TicketLock<T, R>,
    ticket: u32,
    /// A guard may be shared like `&mut T`, and stays on the processor that took it.
    content: PhantomData<(&'a mut T, *mut ())>,
}

// SAFETY: the lock hands out one guard at a time, and with it the only way to the content, which
// thereby moves between processors: `T: Send` is all that this needs. `R` is only a type name.
unsafe impl<T: ?Sized + Send, R> Sync for TicketLock<T, R> {}

// SAFETY: sending the lock sends its content, and `T` is `Send`. `R` is only a type name.
unsafe impl<T: ?Sized + Send, R> Send for TicketLock<T, R> {}

// SAFETY: a shared guard gives out `&T` only.
unsafe impl<T: ?Sized + Sync, R: Relax> Sync for TicketGuard<'_, T, R> {}

impl<T, R> TicketLock<T, R> {
    /// A free lock around `content`.
    #[cfg(not(loom))]
    pub const fn new(content: T) -> Self {
        Self {
            next: AtomicU32::new(0),
            serving: AtomicU32::new(0),
            relax: PhantomData,
            content: UnsafeCell::new(content),
        }
    }

    /// A free lock around `content`.
    #[cfg(loom)]
    pub fn new(content: T) -> Self {
        Self {
            next: AtomicU32::new(0),
            serving: AtomicU32::new(0),
            relax: PhantomData,
            content: UnsafeCell::new(content),
        }
    }

    /// The content, once nobody else can have it.
    pub fn into_inner(self) -> T {
        self.content.into_inner()
    }
}

impl<T: ?Sized, R: Relax> TicketLock<T, R> {
    /// Waits for its turn.
    ///
    /// # Complexity
    ///
    /// Uncontended: one atomic addition and one load. Waits as long as those before it hold it.
    #[inline]
    pub fn lock(&self) -> TicketGuard<'_, T, R> {
        // Relaxed: the number orders nothing. What the last holder did is acquired below.
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        while self.serving.load(Ordering::Acquire) != ticket {
            R::relax();
        }
        TicketGuard {
            lock: self,
            ticket,
            content: PhantomData,
        }
    }

    /// Takes the lock if it is free right now.
    #[inline]
    pub fn try_lock(&self) -> Option<TicketGuard<'_, T, R>> {
        let ticket = self.serving.load(Ordering::Acquire);
        let drawn = self.next.compare_exchange(
            ticket,
            ticket.wrapping_add(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        drawn.ok().map(|_| TicketGuard {
            lock: self,
            ticket,
            content: PhantomData,
        })
    }

    /// Whether somebody holds it or waits for it. Out of date as soon as it is known.
    pub fn is_locked(&self) -> bool {
        self.next.load(Ordering::Relaxed) != self.serving.load(Ordering::Relaxed)
    }
}

impl<T: ?Sized, R: Relax> Deref for TicketGuard<'_, T, R> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY:
        // 1. The pointer is valid: it is that of a cell in the lock, which `self` borrows.
        // 2. Nobody writes: `serving` equals `self.ticket` until this guard is dropped, all other
        //    tickets differ (2^32 of them would have to wait at once to meet again), and the
        //    only `&mut` to the content is made from `&mut self`.
        // 3. The writes of former holders are visible: they were released by the store in `drop`
        //    and acquired by the load in `lock` or `try_lock`.
        unsafe { &*self.lock.content.get() }
    }
}

impl<T: ?Sized, R: Relax> DerefMut for TicketGuard<'_, T, R> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; moreover `&mut self` excludes all references made by this guard.
        unsafe { &mut *self.lock.content.get_mut() }
    }
}

impl<T: ?Sized, R: Relax> Drop for TicketGuard<'_, T, R> {
    #[inline]
    fn drop(&mut self) {
        // A plain store: only the holder writes `serving`.
        self.lock
            .serving
            .store(self.ticket.wrapping_add(1), Ordering::Release);
        R::released();
    }
}

impl<T: ?Sized + fmt::Debug, R: Relax> fmt::Debug for TicketGuard<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized, R: Relax> fmt::Debug for TicketLock<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketLock")
            .field("locked", &self.is_locked())
            .finish_non_exhaustive()
    }
}

impl Relax for SpinHint {
    #[inline]
    fn relax() {
        spin_loop();
    }
}
