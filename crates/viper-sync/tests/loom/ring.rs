//! Rings deliver everything, and no wake-up gets lost.

use loom::sync::{Arc, Condvar, Mutex as Baton};
use loom::thread;
use viper_sync::ring::{AtomicU64, Consumer, Producer, Ring, RingHeader, RingLayout};

use crate::model;

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
    pass_all(2, 2, 5);
}

#[test]
fn ring_loses_no_wake_up_when_full() {
    pass_all(1, 2, 4);
}
