//! All interleavings, as far as the bounds go. Run with `RUSTFLAGS="--cfg loom"`.
#![cfg(loom)]
#![allow(
    unexpected_cfgs,
    reason = "`--cfg loom` builds the crate for the model checker"
)]

use loom::model::Builder;
use loom::sync::{Arc, Condvar, Mutex as Baton};
use loom::thread;
use viper_sync::futex::{AtomicU32, Futex, Mutex, RawCondvar, RawMutex};
use viper_sync::ring::{AtomicU64, Consumer, Producer, Ring, RingHeader, RingLayout};
use viper_sync::{SpinHint, TicketLock};

/// Explores with up to `preemptions` switches away from threads that could go on.
fn model(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

#[test]
fn ticket_lock_excludes() {
    model(3, || {
        let lock = Arc::new(TicketLock::<_, SpinHint>::new(0));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let lock = lock.clone();
                thread::spawn(move || *lock.lock() += 1)
            })
            .collect();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(*lock.lock(), 2);
    });
}

#[test]
fn ticket_lock_tries() {
    model(3, || {
        let lock = Arc::new(TicketLock::<_, SpinHint>::new(0));
        let other = {
            let lock = lock.clone();
            thread::spawn(move || lock.try_lock().map(|mut count| *count += 1).is_some())
        };
        *lock.lock() += 1;
        let both = other.join().unwrap();
        assert_eq!(*lock.lock(), 1 + i32::from(both));
        assert!(!lock.is_locked());
    });
}

/// A wake-up that is remembered, like a notification bit of the kernel.
#[derive(Default)]
struct Bell {
    rung: Baton<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }
    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

struct Shared {
    header: RingHeader,
    slots: Vec<AtomicU64>,
    to_consumer: Bell,
    to_producer: Bell,
}

impl Shared {
    fn new(layout: RingLayout) -> Self {
        let shared = Self {
            header: RingHeader::new(),
            slots: (0..layout.slot_words())
                .map(|_| AtomicU64::new(0))
                .collect(),
            to_consumer: Bell::default(),
            to_producer: Bell::default(),
        };
        shared.ring(layout).init();
        shared
    }
    fn ring(&self, layout: RingLayout) -> Ring<'_> {
        Ring::from_parts(&self.header, &self.slots, layout).unwrap()
    }
}

/// If a wake-up could get lost, some interleaving would end with both sides asleep, which loom
/// reports as a deadlock.
fn pass_all(entries: u32, count: u64, preemptions: usize) {
    model(preemptions, move || {
        let layout = RingLayout::new(entries, 1).unwrap();
        let shared = Arc::new(Shared::new(layout));
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || {
                let mut producer = Producer::<1>::new(shared.ring(layout)).unwrap();
                for number in 1..=count {
                    while producer.push(&[number]).is_err() {
                        if producer.prepare_wait().unwrap() {
                            shared.to_producer.wait();
                        }
                    }
                    if producer.publish() {
                        shared.to_consumer.ring();
                    }
                }
            })
        };
        let mut consumer = Consumer::<1>::new(shared.ring(layout)).unwrap();
        for number in 1..=count {
            let entry = loop {
                if let Some(entry) = consumer.pop().unwrap() {
                    break entry;
                }
                if consumer.prepare_wait().unwrap() {
                    shared.to_consumer.wait();
                }
            };
            assert_eq!(entry, [number]);
            if consumer.release() {
                shared.to_producer.ring();
            }
        }
        writer.join().unwrap();
        assert_eq!(consumer.pop(), Ok(None));
    });
}

#[test]
fn ring_loses_no_wake_up_with_room() {
    pass_all(2, 2, 3);
}

#[test]
fn ring_loses_no_wake_up_when_full() {
    pass_all(1, 2, 2);
}

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
    model(2, || {
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
    model(3, || {
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
    model(3, || {
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
    model(2, || {
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
