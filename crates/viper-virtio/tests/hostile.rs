//! The block driver on devices that break the protocol, fall silent, or were left in mid-flight.

use std::collections::BTreeSet;

use proptest::prelude::*;
use viper_virtio::fake::{Fake, FakeDisk, FakeMemory, FakeRegisters, Fault};
use viper_virtio::{
    Block, BlockConfig, Completion, DmaRegion, Error, Request, RequestKind, Status, Transport,
};

type Driver = Block<FakeRegisters<FakeDisk>>;

const CONFIG: BlockConfig = BlockConfig {
    depth: 8,
    segments_max: 2,
};

struct Bench {
    memory: FakeMemory,
    disk: Fake<FakeDisk>,
    block: Driver,
    buffer: DmaRegion,
}

fn start(disk: &Fake<FakeDisk>, memory: &FakeMemory) -> Driver {
    let transport = Transport::probe(disk.registers()).unwrap().unwrap();
    Block::new(transport, memory.take(CONFIG.dma_len()), CONFIG).unwrap()
}

fn bench(indirect: bool, event_index: bool) -> Bench {
    let memory = FakeMemory::new(1 << 16);
    let disk = Fake::new(FakeDisk::new(16), &memory);
    disk.offer(indirect, event_index);
    // Direct chains need 32 entries, so a ring of 8 makes the queue indirect if it can be.
    disk.limit_queue_size(if indirect { 8 } else { 1024 });
    disk.set_eager(false);
    let block = start(&disk, &memory);
    let buffer = memory.take(4096);
    Bench {
        memory,
        disk,
        block,
        buffer,
    }
}

fn both() -> impl Iterator<Item = Bench> {
    [false, true]
        .into_iter()
        .map(|indirect| bench(indirect, true))
}

impl Bench {
    fn read(&mut self, token: u64) -> Result<(), Error> {
        let segments = [self.buffer.segment(0, 512).unwrap()];
        self.block.submit(&Request {
            kind: RequestKind::Read,
            sector: 0,
            segments: &segments,
            token,
        })
    }

    fn reads(&mut self, tokens: std::ops::Range<u64>) {
        tokens.for_each(|token| self.read(token).unwrap());
        self.block.kick().unwrap();
    }

    fn is_stopped_by(&mut self, error: Error) {
        assert_eq!(self.block.poll_completion(), Err(error));
        assert_eq!(self.read(0), Err(error));
        assert_eq!(self.block.kick(), Err(error));
        assert_eq!(self.block.on_interrupt(), Err(error));
    }

    fn recovers_with(&mut self, expected: std::ops::Range<u64>) {
        self.disk.behave();
        let mut tokens = Vec::new();
        self.block
            .reset_and_reinit(|token| tokens.push(token))
            .unwrap();
        tokens.sort_unstable();
        assert_eq!(tokens, expected.collect::<Vec<_>>());
        self.reads(70..71);
        assert_eq!(self.disk.process(0, 9, |_| 0), 1);
        let done = self.block.poll_completion().unwrap().unwrap();
        assert_eq!((done.token, done.status, done.bytes), (70, Status::Ok, 512));
    }
}

#[test]
fn wrong_ids_stop_the_queue_until_a_reset() {
    for id in [1, 3, 31, 32, 0x7fff, 0xffff, 0x1_0000, u32::MAX] {
        for mut bench in both() {
            bench.reads(0..1);
            bench.disk.inject(Fault::Id(id));
            bench.disk.process(0, 1, |_| 0);
            bench.is_stopped_by(Error::PeerMisbehaved);
            bench.recovers_with(0..1);
        }
    }
}

#[test]
fn a_request_given_back_twice_is_taken_once() {
    for mut bench in both() {
        bench.reads(0..3);
        bench.disk.inject(Fault::Twice);
        bench.disk.process(0, 1, |_| 0);
        assert_eq!(bench.block.poll_completion().unwrap().unwrap().token, 0);
        bench.is_stopped_by(Error::PeerMisbehaved);
        bench.recovers_with(1..3);
    }
}

#[test]
fn a_request_given_back_before_it_was_shown_is_refused() {
    for mut bench in both() {
        bench.reads(0..1);
        bench.read(1).unwrap();
        // The second slot's head, as direct chains of four and as indirect tables count.
        let head = if bench.disk.accepted_features() & 1 << 28 != 0 {
            1
        } else {
            4
        };
        bench.disk.inject(Fault::Id(head));
        bench.disk.process(0, 1, |_| 0);
        bench.is_stopped_by(Error::PeerMisbehaved);
        bench.recovers_with(0..2);
    }
}

#[test]
fn an_index_that_jumps_stops_the_queue_at_once() {
    for by in [1, 7, 0x7fff, 0x8000, 0xfffe] {
        for mut bench in both() {
            bench.reads(0..1);
            bench.disk.inject(Fault::IndexJump(by));
            bench.disk.process(0, 1, |_| 0);
            bench.is_stopped_by(Error::PeerMisbehaved);
            bench.recovers_with(0..1);
        }
    }
}

#[test]
fn lengths_are_clamped_to_what_was_asked() {
    for (claimed, bytes) in [
        (0, 0),
        (1, 0),
        (101, 100),
        (513, 512),
        (514, 512),
        (u32::MAX, 512),
    ] {
        let mut bench = bench(false, true);
        bench.reads(0..1);
        bench.disk.inject(Fault::Length(claimed));
        bench.disk.process(0, 1, |_| 0);
        let done = bench.block.poll_completion().unwrap();
        assert_eq!(
            done,
            Some(Completion {
                token: 0,
                status: Status::Ok,
                bytes
            })
        );
    }
}

#[test]
fn an_answer_without_a_status_is_a_failure() {
    let mut bench = bench(false, true);
    bench.reads(0..1);
    bench.disk.inject(Fault::Untouched);
    bench.disk.process(0, 1, |_| 0);
    let done = bench.block.poll_completion().unwrap();
    assert_eq!(
        done,
        Some(Completion {
            token: 0,
            status: Status::IoError,
            bytes: 0
        })
    );
}

#[test]
fn a_silent_device_costs_its_tokens_and_nothing_else() {
    for mut bench in both() {
        bench.reads(0..8);
        (0..8).for_each(|_| bench.disk.inject(Fault::Silence));
        bench.disk.process(0, 8, |_| 0);
        assert_eq!(bench.block.poll_completion(), Ok(None));
        assert_eq!(bench.read(8), Err(Error::Full));
        bench.recovers_with(0..8);
    }
}

#[test]
fn a_device_that_wants_a_reset_says_so_by_interrupt() {
    for mut bench in both() {
        bench.reads(0..2);
        bench.disk.inject(Fault::NeedsReset);
        bench.disk.process(0, 2, |_| 0);
        assert_eq!(bench.block.on_interrupt(), Err(Error::NeedsReset));
        bench.is_stopped_by(Error::NeedsReset);
        bench.recovers_with(0..2);
    }
}

#[test]
fn scribbled_rings_do_no_harm() {
    for byte in [0x00, 0x01, 0x55, 0x80, 0xff] {
        for mut bench in both() {
            bench.reads(0..4);
            bench.disk.inject(Fault::Scribble(byte));
            bench.disk.process(0, 1, |_| 0);
            while let Ok(Some(done)) = bench.block.poll_completion() {
                assert!(done.token < 4);
            }
            bench.disk.behave();
            let mut tokens = 0;
            bench.block.reset_and_reinit(|_| tokens += 1).unwrap();
            assert!((3..=4).contains(&tokens));
            bench.recovers_with(0..0);
        }
    }
}

#[test]
fn without_a_reset_no_token_and_no_memory_comes_back() {
    let mut bench = bench(false, true);
    bench.reads(0..3);
    bench.disk.inject(Fault::StuckReset);
    let none = |_| panic!("the device may still write");
    assert_eq!(
        bench.block.cancel_all_by_reset(none),
        Err(Error::ResetTimeout)
    );
    assert_eq!(bench.block.in_flight(), 3);
    assert_eq!(bench.block.reinit(), Err(Error::Invalid));
    let block = bench
        .block
        .release(none)
        .expect_err("the device did not reset");
    assert_eq!(block.in_flight(), 3);
    bench.disk.behave();
    let mut tokens = Vec::new();
    let (_, region) = block
        .release(|token| tokens.push(token))
        .expect("it did now");
    assert_eq!((tokens, region.len()), (vec![0, 1, 2], CONFIG.dma_len()));
}

#[test]
fn after_a_reset_the_device_writes_no_more() {
    let mut bench = bench(false, true);
    bench.disk.model(|disk| disk.data.fill(0xee));
    bench.reads(0..3);
    assert_eq!(bench.disk.waiting(0), 3);
    let mut tokens = 0;
    bench.block.cancel_all_by_reset(|_| tokens += 1).unwrap();
    assert_eq!(tokens, 3);
    assert_eq!(bench.block.submit(&flush(1)), Err(Error::NeedsReset));
    assert_eq!(bench.disk.process(0, 3, |_| 0), 0);
    bench.block.reinit().unwrap();
    assert_eq!(bench.disk.process(0, 3, |_| 0), 0);
    let mut bytes = [1; 512];
    bench.buffer.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 512]);
}

#[test]
fn a_dropped_driver_leaves_its_memory_to_the_device() {
    let mut bench = bench(false, true);
    bench.disk.model(|disk| disk.data.fill(0xee));
    bench.reads(0..3);
    drop(bench.block);
    // The device goes on, into memory that nobody else has got.
    let others = bench.memory.take(4096);
    assert_eq!(bench.disk.process(0, 3, |_| 0), 3);
    assert_eq!(bench.disk.violations(), [""; 0]);
    let mut bytes = [0; 512];
    bench.buffer.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [0xee; 512]);
    let mut page = [1; 4096];
    others.read(0, &mut page).unwrap();
    assert_eq!(page, [0; 4096]);
}

#[test]
fn a_restarted_driver_takes_a_busy_device_over() {
    let mut bench = bench(true, true);
    bench.reads(0..5);
    let resets = bench.disk.counts().resets;
    drop(bench.block);
    bench.block = start(&bench.disk, &bench.memory);
    assert!(bench.disk.counts().resets > resets);
    assert_eq!(
        bench.disk.process(0, 9, |_| 0),
        0,
        "nothing of the old driver is left"
    );
    bench.recovers_with(0..0);
    assert_eq!(bench.disk.violations(), [""; 0]);
}

fn flush(token: u64) -> Request<'static> {
    Request {
        kind: RequestKind::Flush,
        sector: 0,
        segments: &[],
        token,
    }
}

/// Interprets `script` as moves of the driver's user and of a device, and checks after each that
/// the driver keeps its promises: tokens come back once, nothing hangs, nothing panics.
fn play(script: &[u8]) {
    let mut moves = script.iter().copied();
    let mut next = move || moves.next();
    let setup = next().unwrap_or(0);
    let mut bench = bench(setup & 1 != 0, setup & 2 != 0);
    let rings_base = FakeMemory::BASE;
    let mut in_flight = BTreeSet::new();
    let mut token = 0;
    let mut is_honest = true;
    let mut was_honest = true;
    while let Some(action) = next() {
        let mut argument = || next().unwrap_or(0);
        match action % 12 {
            0..=2 => {
                let result = if argument() % 4 == 0 {
                    bench.block.submit(&flush(token))
                } else {
                    bench.read(token)
                };
                if result.is_ok() {
                    in_flight.insert(token);
                    token += 1;
                } else if is_honest {
                    assert_eq!((result, in_flight.len()), (Err(Error::Full), 8));
                }
            }
            3 => assert!(bench.block.kick().is_ok() || !is_honest),
            4 | 5 => {
                let pick = usize::from(argument());
                bench
                    .disk
                    .process(0, 1 + pick % 4, |waiting| pick % waiting);
            }
            6 => {
                for round in 0.. {
                    let Ok(Some(done)) = bench.block.poll_completion() else {
                        break;
                    };
                    assert!(in_flight.remove(&done.token), "token {} twice", done.token);
                    assert!(done.bytes <= 512);
                    assert!(!is_honest || done.status == Status::Ok);
                    assert!(round < 8, "more completions than requests");
                }
            }
            7 => assert!(bench.block.on_interrupt().is_ok() || !is_honest),
            8 => {
                is_honest = false;
                let value = argument();
                bench.disk.inject(match value % 8 {
                    0 => Fault::Id(u32::from(argument())),
                    1 => Fault::Twice,
                    2 => Fault::Length(u32::from(argument()) * 8),
                    3 => Fault::IndexJump(u16::from(argument())),
                    4 => Fault::Silence,
                    5 => Fault::Untouched,
                    6 => Fault::Scribble(argument()),
                    _ => Fault::NeedsReset,
                });
            }
            9 => {
                // The device writes where it likes in the driver's memory.
                is_honest = false;
                let at = u64::from(argument()) << 4 | u64::from(argument() & 15);
                bench
                    .memory
                    .write(rings_base + at % CONFIG.dma_len() as u64, &[argument()]);
            }
            10 => {
                bench.disk.behave();
                let mut cancelled = BTreeSet::new();
                bench
                    .block
                    .reset_and_reinit(|token| assert!(cancelled.insert(token)))
                    .unwrap();
                assert_eq!(cancelled, in_flight);
                in_flight.clear();
                is_honest = true;
            }
            _ => bench.disk.config_changed(),
        }
        assert_eq!(usize::from(bench.block.in_flight()), in_flight.len());
        was_honest &= is_honest;
        assert!(!was_honest || bench.disk.violations().is_empty());
    }
    let mut cancelled = BTreeSet::new();
    bench.disk.behave();
    bench
        .block
        .release(|token| assert!(cancelled.insert(token)))
        .expect("the device resets");
    assert_eq!(cancelled, in_flight);
}

#[test]
fn replays_the_corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/hostile");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        play(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 4, "the corpus is there");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn keeps_its_promises_whatever_happens(script in prop::collection::vec(any::<u8>(), 0..400)) {
        play(&script);
    }
}
