//! The block driver on an honest disk.

use viper_virtio::fake::{Fake, FakeDisk, FakeMemory, FakeRegisters};
use viper_virtio::{Block, BlockConfig, DmaRegion, Error, Request, RequestKind, Status, Transport};

type Driver = Block<FakeRegisters<FakeDisk>>;

struct Bench {
    disk: Fake<FakeDisk>,
    block: Driver,
    buffer: DmaRegion,
}

fn bench(config: BlockConfig, prepare: impl FnOnce(&Fake<FakeDisk>)) -> Bench {
    let memory = FakeMemory::new(1 << 20);
    let disk = Fake::new(FakeDisk::new(256), &memory);
    prepare(&disk);
    let transport = Transport::probe(disk.registers()).unwrap().unwrap();
    let block = Block::new(transport, memory.take(config.dma_len()), config).unwrap();
    let buffer = memory.take(1 << 18);
    Bench {
        disk,
        block,
        buffer,
    }
}

impl Bench {
    fn submit(
        &mut self,
        kind: RequestKind,
        sector: u64,
        parts: &[(usize, u32)],
        token: u64,
    ) -> Result<(), Error> {
        let segments: Vec<_> = parts
            .iter()
            .map(|(at, len)| self.buffer.segment(*at, *len).unwrap())
            .collect();
        self.block.submit(&Request {
            kind,
            sector,
            segments: &segments,
            token,
        })
    }

    fn one(&mut self, kind: RequestKind, sector: u64, parts: &[(usize, u32)]) -> (Status, u32) {
        self.submit(kind, sector, parts, 99).unwrap();
        self.block.kick().unwrap();
        self.block.on_interrupt().unwrap();
        let done = self.block.poll_completion().unwrap().unwrap();
        assert_eq!(done.token, 99);
        assert_eq!(self.block.poll_completion().unwrap(), None);
        (done.status, done.bytes)
    }
}

/// Direct chains, indirect tables, with and without the event index.
fn variants() -> impl Iterator<Item = (bool, bool, u32)> {
    [false, true].into_iter().flat_map(|indirect| {
        [false, true].into_iter().flat_map(move |event| {
            [16, 64, 1024]
                .into_iter()
                .map(move |ring| (indirect, event, ring))
        })
    })
}

#[test]
fn reads_back_what_it_wrote_over_segments() {
    for (indirect, event, ring) in variants() {
        let mut bench = bench(BlockConfig::default(), |disk| {
            disk.offer(indirect, event);
            disk.limit_queue_size(ring);
        });
        let pattern: Vec<u8> = (0..4096u32).map(|i| (i * 7 % 251) as u8).collect();
        bench.buffer.write(0, &pattern).unwrap();
        let write = bench.one(
            RequestKind::Write,
            3,
            &[(0, 1024), (1024, 100), (1124, 2972)],
        );
        assert_eq!(write, (Status::Ok, 4096));
        let read = bench.one(RequestKind::Read, 3, &[(8192, 4000), (12192, 96)]);
        assert_eq!(read, (Status::Ok, 4096));
        let mut back = vec![0; 4096];
        bench.buffer.read(8192, &mut back).unwrap();
        assert_eq!(back, pattern);
        assert_eq!(bench.one(RequestKind::Flush, 0, &[]), (Status::Ok, 0));
        assert_eq!(bench.disk.model(|disk| disk.flushes), 1);
        assert_eq!(bench.disk.violations(), [""; 0]);
    }
}

#[test]
fn a_batch_costs_one_notification_and_one_acknowledgement() {
    let mut bench = bench(BlockConfig::default(), |_| {});
    for round in 0..100u64 {
        let before = bench.disk.counts();
        for i in 0..32 {
            bench
                .submit(
                    RequestKind::Read,
                    i,
                    &[(i as usize * 512, 512)],
                    round * 32 + i,
                )
                .unwrap();
        }
        assert!(bench.block.kick().unwrap());
        assert!(!bench.block.kick().unwrap(), "nothing new to tell");
        assert!(bench.block.on_interrupt().unwrap().completions);
        for i in 0..32 {
            assert_eq!(
                bench.block.poll_completion().unwrap().unwrap().token,
                round * 32 + i
            );
        }
        assert_eq!(bench.block.poll_completion().unwrap(), None);
        assert!(!bench.disk.is_interrupting());
        let after = bench.disk.counts();
        assert_eq!(after.reads, before.reads);
        assert_eq!(after.writes, before.writes + 2);
        assert_eq!(after.interrupts, before.interrupts + 1);
    }
    assert_eq!(bench.disk.violations(), [""; 0]);
}

#[test]
fn a_device_that_is_awake_is_not_notified() {
    for event_index in [false, true] {
        let mut bench = bench(BlockConfig::default(), |disk| {
            disk.offer(true, event_index);
            disk.set_eager(false);
        });
        let mut kick = |token| {
            bench
                .submit(RequestKind::Read, 0, &[(0, 512)], token)
                .unwrap();
            bench.block.kick().unwrap()
        };
        assert!(kick(0), "the device sleeps at first");
        // It has not looked at the ring since: it is about to.
        assert_eq!(kick(1), !event_index);
        assert_eq!(kick(2), !event_index);
        assert_eq!(bench.disk.waiting(0), 3);
        let notifications = bench.disk.counts().notifications;
        assert_eq!(notifications, if event_index { 1 } else { 3 });
        bench.submit(RequestKind::Read, 0, &[(0, 512)], 3).unwrap();
        assert!(
            bench.block.kick().unwrap(),
            "it has looked, and sleeps again"
        );
    }
}

#[test]
fn completions_come_in_the_order_of_the_device() {
    let mut bench = bench(BlockConfig::default(), |disk| disk.set_eager(false));
    for token in 0..8 {
        bench
            .submit(RequestKind::Read, token, &[(0, 512)], token)
            .unwrap();
    }
    bench.block.kick().unwrap();
    assert_eq!(bench.disk.process(0, 8, |waiting| waiting - 1), 8);
    for token in (0..8).rev() {
        assert_eq!(bench.block.poll_completion().unwrap().unwrap().token, token);
    }
}

#[test]
fn a_full_queue_says_so_and_goes_on() {
    let config = BlockConfig {
        depth: 32,
        segments_max: 1,
    };
    let mut bench = bench(config, |disk| disk.set_eager(false));
    assert_eq!(bench.block.info().depth, 32);
    for token in 0..32 {
        bench
            .submit(RequestKind::Read, 0, &[(0, 512)], token)
            .unwrap();
    }
    assert_eq!(
        bench.submit(RequestKind::Read, 0, &[(0, 512)], 32),
        Err(Error::Full)
    );
    bench.block.kick().unwrap();
    bench.disk.process(0, 1, |_| 0);
    assert_eq!(bench.block.poll_completion().unwrap().unwrap().token, 0);
    bench.submit(RequestKind::Read, 0, &[(0, 512)], 32).unwrap();
    assert_eq!(bench.block.in_flight(), 32);
}

#[test]
fn a_request_outlives_the_wrap_of_the_ring_index() {
    let config = BlockConfig {
        depth: 2,
        segments_max: 2,
    };
    let mut bench = bench(config, |disk| disk.set_eager(false));
    bench
        .submit(RequestKind::Read, 0, &[(0, 512)], u64::MAX)
        .unwrap();
    bench.block.kick().unwrap();
    assert_eq!(bench.disk.waiting(0), 1);
    for token in 0..70_000 {
        bench.submit(RequestKind::Flush, 0, &[], token).unwrap();
        bench.block.kick().unwrap();
        bench.disk.process(0, 1, |waiting| waiting - 1);
        assert!(bench.disk.is_interrupting(), "request {token}");
        assert!(bench.block.on_interrupt().unwrap().completions);
        assert_eq!(bench.block.poll_completion().unwrap().unwrap().token, token);
        assert_eq!(bench.block.poll_completion().unwrap(), None);
    }
    bench.disk.process(0, 1, |_| 0);
    assert_eq!(
        bench.block.poll_completion().unwrap().unwrap().token,
        u64::MAX
    );
    assert_eq!(bench.disk.violations(), [""; 0]);
}

#[test]
fn malformed_requests_are_refused_before_the_device_sees_them() {
    let config = BlockConfig {
        depth: 4,
        segments_max: 3,
    };
    let mut bench = bench(config, |disk| disk.model(|disk| disk.block_len = 1024));
    let ok = (0, 1024);
    use RequestKind::{Flush, Read, Write};
    for (kind, sector, parts, error) in [
        (Read, 0, &[][..], Error::Invalid),
        (Read, 0, &[(0, 0)], Error::Invalid),
        (Read, 0, &[(0, 512)], Error::Invalid),
        (Read, 1, &[ok], Error::Invalid),
        (Write, 0, &[ok, ok, ok, ok], Error::Invalid),
        (Read, 256, &[ok], Error::OutOfRange),
        (Read, 254, &[ok, ok], Error::OutOfRange),
        (Read, u64::MAX - 1, &[ok], Error::OutOfRange),
        (Flush, 2, &[], Error::Invalid),
        (Flush, 0, &[ok], Error::Invalid),
    ] {
        assert_eq!(
            bench.submit(kind, sector, parts, 0),
            Err(error),
            "{kind:?} {sector} {parts:?}"
        );
    }
    assert_eq!(bench.block.in_flight(), 0);
    assert!(!bench.block.kick().unwrap());
    assert_eq!(bench.one(Read, 254, &[ok]), (Status::Ok, 1024));
}

#[test]
fn the_memory_asked_for_is_enough_wherever_it_starts() {
    for depth in [1, 2, 3, 33, 128] {
        for segments_max in [1, 5, 6, 7, 254] {
            for (indirect, ring) in [(false, 1024), (true, 1024), (true, 4), (false, 512)] {
                let config = BlockConfig {
                    depth,
                    segments_max,
                };
                let memory = FakeMemory::new(config.dma_len() + 4096);
                let disk = Fake::new(FakeDisk::new(1), &memory);
                disk.offer(indirect, true);
                disk.limit_queue_size(ring);
                let transport = Transport::probe(disk.registers()).unwrap().unwrap();
                let mut region = memory.take(config.dma_len() + 1);
                region.split_front(1).unwrap();
                let block = Block::new(transport, region, config).unwrap();
                let full = u32::from(depth).next_power_of_two();
                let expected = if indirect {
                    full.min(ring)
                } else {
                    full.min(ring / (u32::from(segments_max) + 2).next_power_of_two())
                };
                assert_eq!(u32::from(block.info().depth), expected);
                assert_eq!(disk.violations(), [""; 0]);
            }
        }
    }
}

#[test]
fn the_last_sector_is_the_last() {
    let mut bench = bench(BlockConfig::default(), |_| {});
    for (sector, sectors, is_inside) in [
        (255, 1, true),
        (255, 2, false),
        (254, 2, true),
        (253, 4, false),
        (256, 1, false),
        (257, 1, false),
        (u64::MAX, 1, false),
        (0, 256, true),
        (0, 257, false),
    ] {
        let result = bench.submit(RequestKind::Read, sector, &[(0, sectors * 512)], 0);
        let expected = if is_inside {
            Ok(())
        } else {
            Err(Error::OutOfRange)
        };
        assert_eq!(result, expected, "{sectors} at {sector}");
    }
}

#[test]
fn a_read_only_disk_refuses_writes() {
    let mut bench = bench(BlockConfig::default(), |disk| {
        disk.model(|disk| disk.is_read_only = true)
    });
    assert!(bench.block.info().is_read_only);
    assert_eq!(
        bench.submit(RequestKind::Write, 0, &[(0, 512)], 0),
        Err(Error::ReadOnly)
    );
}

#[test]
fn an_error_of_the_device_is_reported_and_the_queue_goes_on() {
    let mut bench = bench(BlockConfig::default(), |disk| {
        disk.model(|disk| disk.bad_sector = Some(5))
    });
    assert_eq!(
        bench.one(RequestKind::Read, 5, &[(0, 512)]),
        (Status::IoError, 0)
    );
    assert_eq!(
        bench.one(RequestKind::Read, 6, &[(0, 512)]),
        (Status::Ok, 512)
    );
}

#[test]
fn a_new_capacity_is_seen_after_its_interrupt() {
    let mut bench = bench(BlockConfig::default(), |_| {});
    bench.disk.model(|disk| disk.data.resize(512 * 512, 0));
    bench.disk.config_changed();
    assert!(bench.block.on_interrupt().unwrap().config_changed);
    assert_eq!(bench.block.info().capacity_sectors, 512);
    assert_eq!(
        bench.one(RequestKind::Read, 511, &[(0, 512)]),
        (Status::Ok, 512)
    );
}

#[test]
fn a_short_ring_makes_the_queue_less_deep() {
    let bench = bench(BlockConfig::default(), |disk| {
        disk.offer(false, true);
        disk.limit_queue_size(100);
    });
    assert_eq!(bench.block.info().depth, 4);
}
