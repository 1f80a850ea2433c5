//! Rings between threads, against a queue, and against a peer that writes whatever it likes.
#![cfg(not(loom))]
#![allow(
    unexpected_cfgs,
    reason = "`--cfg loom` builds the crate for the model checker"
)]

use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;
use viper_sync::ring::{Consumer, Producer, Ring, RingError, RingHeader, RingLayout};

/// Shared memory as another process sees it: words.
#[repr(C, align(64))]
struct Memory([AtomicU64; 24 + 64]);

impl Memory {
    fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 24 + 64])
    }

    fn ring(&self, layout: RingLayout) -> Ring<'_> {
        let start = NonNull::from(self).cast();
        // SAFETY: the memory is borrowed as long as the ring lives, and it is made of atomics.
        unsafe { Ring::from_raw(start, size_of::<Self>(), layout) }.unwrap()
    }
}

fn layout(entries: u32, words: u32) -> RingLayout {
    RingLayout::new(entries, words).unwrap()
}

#[derive(Clone, Debug)]
enum Op {
    Push(u64),
    Publish,
    Pop,
    Release,
    PushMany(usize),
    PopMany(usize),
    ProducerWaits,
    ConsumerWaits,
    /// Both sides attach anew, without what they had not shown to the other.
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => any::<u64>().prop_map(Op::Push),
        2 => Just(Op::Publish),
        4 => Just(Op::Pop),
        2 => Just(Op::Release),
        1 => (0..6usize).prop_map(Op::PushMany),
        1 => (0..6usize).prop_map(Op::PopMany),
        1 => Just(Op::ProducerWaits),
        1 => Just(Op::ConsumerWaits),
        1 => Just(Op::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn agrees_with_a_queue(
        ops in prop::collection::vec(op(), 0..120),
        order in 0..4u32,
        start in prop_oneof![Just(0u32), Just(u32::MAX - 3)],
    ) {
        let memory = Memory::new();
        let layout = layout(1 << order, 3);
        let room = 1usize << order;
        let ring = memory.ring(layout);
        ring.init();
        // Positions wrap around sooner or later.
        let side = u64::from(start) | u64::from(start.wrapping_sub(1)) << 32;
        memory.0[8].store(side, Ordering::Relaxed);
        memory.0[16].store(side, Ordering::Relaxed);
        let mut producer = Producer::<3>::new(ring).unwrap();
        let mut consumer = Consumer::<3>::new(ring).unwrap();
        // Entries: not published, published, read but not released.
        let (mut hidden, mut shown, mut read) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        let (mut producer_waits, mut consumer_waits) = (false, false);
        for op in ops {
            let used = hidden.len() + shown.len() + read.len();
            match op {
                Op::Push(value) => {
                    let entry = [value, !value, 7];
                    let pushed = producer.push(&entry);
                    prop_assert_eq!(pushed == Err(RingError::Full), used == room);
                    if pushed.is_ok() {
                        hidden.push_back(entry);
                    }
                }
                Op::PushMany(count) => {
                    let entry = |at| [at, used as u64, 9];
                    let entries: Vec<_> = (0..count as u64).map(entry).collect();
                    let done = producer.push_slice(&entries).unwrap();
                    prop_assert_eq!(done, count.min(room - used));
                    hidden.extend(&entries[..done]);
                }
                Op::Publish => {
                    let wake = producer.publish();
                    prop_assert_eq!(wake, consumer_waits && !hidden.is_empty());
                    consumer_waits &= !wake;
                    shown.append(&mut hidden);
                }
                Op::Pop => {
                    let found = consumer.pop().unwrap();
                    prop_assert_eq!(found, shown.pop_front());
                    read.extend(found);
                }
                Op::PopMany(count) => {
                    let mut found = vec![[0; 3]; count];
                    let done = consumer.pop_slice(&mut found).unwrap();
                    prop_assert_eq!(done, count.min(shown.len()));
                    prop_assert!(found[..done].iter().copied().eq(shown.drain(..done)));
                    read.extend(&found[..done]);
                }
                Op::Release => {
                    let wake = consumer.release();
                    prop_assert_eq!(wake, producer_waits && !read.is_empty());
                    producer_waits &= !wake;
                    read.clear();
                }
                Op::ProducerWaits => {
                    producer_waits = used == room;
                    prop_assert_eq!(producer.prepare_wait(), Ok(producer_waits));
                    prop_assert_eq!(producer.room().unwrap() as usize, room - used);
                }
                Op::ConsumerWaits => {
                    consumer_waits = shown.is_empty();
                    prop_assert_eq!(consumer.prepare_wait(), Ok(consumer_waits));
                    prop_assert_eq!(consumer.available().unwrap() as usize, shown.len());
                }
                Op::Restart => {
                    producer = Producer::new(ring).unwrap();
                    consumer = Consumer::new(ring).unwrap();
                    hidden.clear();
                    read.extend(shown.drain(..));
                    std::mem::swap(&mut read, &mut shown);
                }
            }
        }
    }

    /// The peer owns the memory. Nothing may panic, and a wrong position must be noticed.
    #[test]
    fn a_hostile_peer_is_survived(
        ops in prop::collection::vec(
            (op(), 0..88usize, prop_oneof![any::<u64>(), 0..20u64]),
            0..80,
        ),
    ) {
        let memory = Memory::new();
        let ring = memory.ring(layout(8, 3));
        ring.init();
        let mut producer = Producer::<3>::new(ring).unwrap();
        let mut consumer = Consumer::<3>::new(ring).unwrap();
        for (op, at, value) in ops {
            memory.0[at].store(value, Ordering::Relaxed);
            match op {
                Op::Push(value) => drop(producer.push(&[value; 3])),
                Op::PushMany(count) => {
                    prop_assert!(producer.push_slice(&vec![[1; 3]; count]).unwrap_or(0) <= 8);
                }
                Op::Publish => drop(producer.publish()),
                Op::Pop => drop(consumer.pop()),
                Op::PopMany(count) => {
                    prop_assert!(consumer.pop_slice(&mut vec![[1; 3]; count]).unwrap_or(0) <= 16);
                }
                Op::Release => drop(consumer.release()),
                Op::ProducerWaits => drop(producer.prepare_wait()),
                Op::ConsumerWaits => drop(consumer.prepare_wait()),
                Op::Restart => {
                    if let (Ok(new_producer), Ok(new_consumer)) =
                        (Producer::new(ring), Consumer::new(ring))
                    {
                        (producer, consumer) = (new_producer, new_consumer);
                    }
                }
            }
            prop_assert!(producer.room().unwrap_or(0) <= 8);
            prop_assert!(consumer.available().unwrap_or(0) <= 8);
        }
    }
}

#[test]
fn impossible_positions_are_noticed() {
    let memory = Memory::new();
    let ring = memory.ring(layout(8, 1));
    ring.init();
    let mut producer = Producer::<1>::new(ring).unwrap();
    let mut consumer = Consumer::<1>::new(ring).unwrap();
    let (tail, head) = (&memory.0[8], &memory.0[16]);
    for wrong in [9, u32::MAX, 1 << 31] {
        tail.store(wrong.into(), Ordering::Relaxed);
        assert_eq!(consumer.pop(), Err(RingError::Corrupt));
        assert_eq!(consumer.prepare_wait(), Err(RingError::Corrupt));
        assert_eq!(Consumer::<1>::new(ring).unwrap_err(), RingError::Corrupt);
        tail.store(0, Ordering::Relaxed);
    }
    for wrong in [1, 9, u32::MAX - 8] {
        head.store(wrong.into(), Ordering::Relaxed);
        assert_eq!(producer.room(), Err(RingError::Corrupt));
        assert_eq!(producer.prepare_wait(), Err(RingError::Corrupt));
        assert_eq!(Producer::<1>::new(ring).unwrap_err(), RingError::Corrupt);
        head.store(0, Ordering::Relaxed);
    }
    assert_eq!(producer.room(), Ok(8));
    assert_eq!(consumer.pop(), Ok(None));
}

#[test]
fn layouts_and_memory_are_checked() {
    for (entries, words) in [
        (0, 1),
        (3, 1),
        (1 << 21, 1),
        (1, 0),
        (1, 513),
        (u32::MAX, 1),
    ] {
        assert_eq!(RingLayout::new(entries, words), Err(RingError::BadLayout));
    }
    assert_eq!(layout(64, 8).len_bytes(), 192 + 64 * 64);
    let memory = Memory::new();
    let start = NonNull::from(&memory).cast::<u8>();
    let try_at = |offset: usize, len| {
        // SAFETY: as in `Memory::ring`; the offset and length stay inside.
        unsafe { Ring::from_raw(start.add(offset), len, layout(8, 1)).map(|_| ()) }
    };
    assert_eq!(try_at(0, 192 + 64), Ok(()));
    assert_eq!(try_at(0, 192 + 63), Err(RingError::BadMemory));
    assert_eq!(try_at(32, 192 + 64), Err(RingError::BadMemory));
    assert_eq!(try_at(64, 192 + 64), Ok(()));
    let header = RingHeader::new();
    let slots = [const { AtomicU64::new(0) }; 7];
    let parts = Ring::from_parts(&header, &slots, layout(8, 1)).map(|_| ());
    assert_eq!(parts, Err(RingError::BadMemory));
}

#[test]
fn headers_are_versioned() {
    let memory = Memory::new();
    let ring = memory.ring(layout(8, 2));
    assert_eq!(ring.check(), Err(RingError::WrongHeader));
    ring.init();
    assert_eq!(ring.check(), Ok(()));
    assert_eq!(
        memory.0[0].load(Ordering::Relaxed).to_le_bytes(),
        *b"VRNG\x01\0\0\0"
    );
    assert_eq!(memory.0[1].load(Ordering::Relaxed), 8 | 2 << 32);
    assert_eq!(
        memory.ring(layout(4, 2)).check(),
        Err(RingError::WrongHeader)
    );
    assert_eq!(
        memory.ring(layout(8, 4)).check(),
        Err(RingError::WrongHeader)
    );
    assert_eq!(Producer::<3>::new(ring).unwrap_err(), RingError::BadLayout);
    assert_eq!(Consumer::<1>::new(ring).unwrap_err(), RingError::BadLayout);
    memory.0[0].fetch_add(1 << 32, Ordering::Relaxed);
    assert_eq!(ring.check(), Err(RingError::WrongHeader));
}

#[test]
fn threads_pass_everything_in_order() {
    const COUNT: u64 = 200_000;
    let memory = Memory::new();
    let ring = memory.ring(layout(16, 4));
    ring.init();
    let (reader, writer) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        let consuming = scope.spawn(|| {
            let mut consumer = Consumer::<4>::new(ring).unwrap();
            let mut next = 0;
            while next < COUNT {
                while let Some(entry) = consumer.pop().unwrap() {
                    assert_eq!(entry, [next, next + 1, next + 2, !next]);
                    next += 1;
                }
                if consumer.release() {
                    writer.fetch_add(1, Ordering::Release);
                }
                if consumer.prepare_wait().unwrap() && next < COUNT {
                    while reader.swap(0, Ordering::Acquire) == 0 {
                        thread::yield_now();
                    }
                }
            }
        });
        let mut producer = Producer::<4>::new(ring).unwrap();
        for next in 0..COUNT {
            while producer.push(&[next, next + 1, next + 2, !next]).is_err() {
                if producer.publish() {
                    reader.fetch_add(1, Ordering::Release);
                }
                if producer.prepare_wait().unwrap() {
                    while writer.swap(0, Ordering::Acquire) == 0 {
                        thread::yield_now();
                    }
                }
            }
        }
        if producer.publish() {
            reader.fetch_add(1, Ordering::Release);
        }
        consuming.join().unwrap();
    });
}
