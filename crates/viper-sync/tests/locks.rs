//! The locks between real threads.
#![cfg(not(loom))]
#![allow(
    unexpected_cfgs,
    reason = "`--cfg loom` builds the crate for the model checker"
)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex as Baton};
use std::thread;
use std::time::{Duration, Instant};

use viper_sync::futex::{Futex, Mutex, RawCondvar};
use viper_sync::{Relax, TicketLock};

/// Gives the processor away, as the machine may have fewer of them than threads.
struct Yield;

impl Relax for Yield {
    fn relax() {
        thread::yield_now();
    }
}

/// The same, and counts releases: for one test alone, as tests run side by side.
struct Counted;

static RELEASED: AtomicU32 = AtomicU32::new(0);

impl Relax for Counted {
    fn relax() {
        thread::yield_now();
    }
    fn released() {
        RELEASED.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn ticket_lock_excludes_and_announces_releases() {
    static LOCK: TicketLock<(u64, u64), Counted> = TicketLock::new((0, 0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5000 {
                    let mut both = LOCK.lock();
                    both.0 += 1;
                    both.1 = both.0 * 2;
                }
            });
        }
    });
    assert_eq!(*LOCK.lock(), (20_000, 40_000));
    assert!(!LOCK.is_locked());
    assert_eq!(RELEASED.load(Ordering::Relaxed), 20_001);
}

#[test]
fn ticket_lock_serves_in_order_of_arrival() {
    let lock = TicketLock::<Vec<u32>, Yield>::new(Vec::new());
    thread::scope(|scope| {
        let mut first = lock.lock();
        for number in 0..4 {
            let lock = &lock;
            scope.spawn(move || lock.lock().push(number));
            // Long enough for the thread to have drawn its number.
            thread::sleep(Duration::from_millis(30));
        }
        first.clear();
    });
    assert_eq!(lock.into_inner(), [0, 1, 2, 3]);
}

#[test]
fn ticket_lock_refuses_while_it_is_held() {
    let lock = TicketLock::<_, Yield>::new(5);
    let guard = lock.try_lock().unwrap();
    assert!(lock.is_locked() && lock.try_lock().is_none());
    assert_eq!(format!("{guard:?}"), "5");
    drop(guard);
    assert!(lock.try_lock().is_some());
}

/// A futex made of what the host has.
struct HostFutex {
    baton: Baton<()>,
    woken: Condvar,
}

impl HostFutex {
    const fn new() -> Self {
        Self {
            baton: Baton::new(()),
            woken: Condvar::new(),
        }
    }
}

impl Futex for &HostFutex {
    type Deadline = Instant;

    fn wait(&self, word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> bool {
        let baton = self.baton.lock().unwrap();
        if word.load(Ordering::SeqCst) != expected {
            return true;
        }
        let Some(deadline) = deadline else {
            drop(self.woken.wait(baton).unwrap());
            return true;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        !self.woken.wait_timeout(baton, left).unwrap().1.timed_out()
    }

    fn wake(&self, _: &AtomicU32, count: u32) {
        let _baton = self.baton.lock().unwrap();
        if count == 1 {
            self.woken.notify_one()
        } else {
            self.woken.notify_all()
        }
    }
}

#[test]
fn mutex_excludes() {
    let futex = HostFutex::new();
    let mutex = Mutex::new(0, &futex);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5000).for_each(|_| *mutex.lock() += 1));
        }
    });
    assert_eq!(*mutex.lock(), 20_000);
}

#[test]
fn mutex_gives_up_at_the_deadline() {
    let futex = HostFutex::new();
    let mutex = Mutex::new((), &futex);
    let guard = mutex.lock();
    let soon = || Instant::now() + Duration::from_millis(20);
    assert!(mutex.try_lock().is_none());
    assert!(mutex.lock_until(soon()).is_none());
    drop(guard);
    assert!(mutex.lock_until(soon()).is_some());
}

#[test]
fn condvar_passes_a_value_on() {
    let (futex, condvar_futex, condvar) = (HostFutex::new(), HostFutex::new(), RawCondvar::new());
    let mutex = Mutex::new(Vec::new(), &futex);
    thread::scope(|scope| {
        let taking = scope.spawn(|| {
            let mut sum = 0;
            let mut taken = 0;
            while taken < 1000 {
                let mut queue = mutex.lock();
                while queue.is_empty() {
                    queue.wait(&condvar, &&condvar_futex, None);
                }
                taken += queue.len();
                sum += queue.drain(..).sum::<u64>();
            }
            sum
        });
        for number in 0..1000 {
            mutex.lock().push(number);
            condvar.notify_one(&&condvar_futex);
        }
        assert_eq!(taking.join().unwrap(), 499_500);
    });
    let soon = Instant::now() + Duration::from_millis(20);
    assert!(
        !mutex.lock().wait(&condvar, &&condvar_futex, Some(soon)),
        "nobody notifies"
    );
    condvar.notify_all(&&condvar_futex);
}
