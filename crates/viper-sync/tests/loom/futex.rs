//! The sleeping locks exclude, and strand nobody.

use loom::sync::{Arc, Condvar, Mutex as Baton};
use loom::thread;
use viper_sync::futex::{AtomicU32, Futex, Mutex, RawCondvar, RawMutex};

use crate::model;

/// A futex of one word: sleeping is waiting for any wake-up, as early returns are allowed.
#[derive(Default)]
struct OneWord {
    baton: Baton<()>,
    woken: Condvar,
}

impl Futex for &OneWord {
    type Deadline = ();

    fn wait(&self, word: &AtomicU32, expected: u32, deadline: Option<()>) -> bool {
        let baton = self.baton.lock().unwrap();
        if word.load(loom::sync::atomic::Ordering::Relaxed) != expected {
            return true;
        }
        if deadline.is_some() {
            return false;
        }
        drop(self.woken.wait(baton).unwrap());
        true
    }

    fn wake(&self, _: &AtomicU32, count: u32) {
        let _baton = self.baton.lock().unwrap();
        match count {
            1 => self.woken.notify_one(),
            _ => self.woken.notify_all(),
        }
    }
}

/// A mutex with its futex, to be shared by threads.
struct Counter {
    raw: RawMutex,
    futex: OneWord,
    /// Loom sees an unordered access here as one.
    count: loom::cell::UnsafeCell<u32>,
}

// SAFETY: `count` is accessed under `raw` only; if not, loom fails the test.
unsafe impl Sync for Counter {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Counter {}

impl Counter {
    fn new() -> Self {
        let count = loom::cell::UnsafeCell::new(0);
        Self {
            raw: RawMutex::new(),
            futex: OneWord::default(),
            count,
        }
    }

    fn add(&self) {
        // SAFETY: the callers have the mutex.
        self.count.with_mut(|count| unsafe { *count += 1 });
    }

    fn get(&self) -> u32 {
        // SAFETY: the callers have the mutex.
        self.count.with(|count| unsafe { *count })
    }
}

#[test]
fn mutex_excludes_and_wakes() {
    model(3, || {
        let shared = Arc::new(Counter::new());
        let others: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.raw.lock(&&shared.futex);
                    shared.add();
                    shared.raw.unlock(&&shared.futex);
                })
            })
            .collect();
        shared.raw.lock(&&shared.futex);
        shared.add();
        shared.raw.unlock(&&shared.futex);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(shared.get(), 3);
    });
}

#[test]
fn a_passed_deadline_strands_nobody() {
    model(4, || {
        let shared = Arc::new(Counter::new());
        let hasty = {
            let shared = shared.clone();
            thread::spawn(move || {
                let taken = shared.raw.lock_until(&&shared.futex, ());
                if taken {
                    shared.add();
                    shared.raw.unlock(&&shared.futex);
                }
                taken
            })
        };
        let patient = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.raw.lock(&&shared.futex);
                shared.add();
                shared.raw.unlock(&&shared.futex);
            })
        };
        let taken = hasty.join().unwrap();
        patient.join().unwrap();
        assert_eq!(shared.get(), 1 + u32::from(taken));
        assert!(shared.raw.try_lock());
    });
}

#[test]
fn condvar_loses_no_notification() {
    model(4, || {
        let shared = Arc::new((Counter::new(), RawCondvar::new(), OneWord::default()));
        let other = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (counter, condvar, futex) = &*shared;
                counter.raw.lock(&&counter.futex);
                counter.add();
                counter.raw.unlock(&&counter.futex);
                condvar.notify_one(&futex);
            })
        };
        let (counter, condvar, futex) = &*shared;
        counter.raw.lock(&&counter.futex);
        while counter.get() == 0 {
            condvar.wait(&counter.raw, &&counter.futex, &futex, None);
        }
        counter.raw.unlock(&&counter.futex);
        other.join().unwrap();
    });
}

/// Spins instead of sleeping: the guard's cell accesses are what is checked here.
struct Yield;

impl Futex for Yield {
    type Deadline = ();
    fn wait(&self, _: &AtomicU32, _: u32, _: Option<()>) -> bool {
        thread::yield_now();
        true
    }
    fn wake(&self, _: &AtomicU32, _: u32) {}
}

#[test]
fn mutex_guards_its_content() {
    model(3, || {
        let mutex = Arc::new(Mutex::new(0, Yield));
        let other = {
            let mutex = mutex.clone();
            thread::spawn(move || *mutex.lock() += 1)
        };
        *mutex.lock() += 1;
        other.join().unwrap();
        assert_eq!(*mutex.lock(), 2);
    });
}
