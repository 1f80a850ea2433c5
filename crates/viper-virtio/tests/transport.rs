//! Windows and devices that a driver must refuse.

use std::cell::Cell;
use std::collections::HashMap;

use viper_virtio::fake::FakeMemory;
use viper_virtio::{Block, BlockConfig, DeviceKind, Error, ErrorKind, Registers, Rng, Transport};

const VERSION: usize = 0x004;
const DEVICE_ID: usize = 0x008;
const FEATURES: usize = 0x010;
const FEATURES_SEL: usize = 0x014;
const QUEUE_NUM_MAX: usize = 0x034;
const QUEUE_READY: usize = 0x044;
const STATUS: usize = 0x070;
const GENERATION: usize = 0x0fc;
const CONFIG: usize = 0x100;

/// Registers that hold what was written, and some that lie.
struct Window {
    values: HashMap<usize, u32>,
    features: u64,
    /// Status bits that never stay set, and one that never goes.
    status_refused: u32,
    status_stuck: u32,
    is_restless: bool,
    generation: Cell<u32>,
}

impl Registers for Window {
    fn read(&self, offset: usize) -> u32 {
        let value = |offset| self.values.get(&offset).copied().unwrap_or(0);
        match offset {
            FEATURES if value(FEATURES_SEL) == 1 => (self.features >> 32) as u32,
            FEATURES => self.features as u32,
            STATUS => value(STATUS) & !self.status_refused | self.status_stuck,
            GENERATION if self.is_restless => self.generation.replace(self.generation.get() + 1),
            _ => value(offset),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        if offset != QUEUE_READY {
            self.values.insert(offset, value);
        }
    }
}

fn window(id: u32) -> Window {
    let values = [
        (0, 0x7472_6976),
        (VERSION, 2),
        (DEVICE_ID, id),
        (QUEUE_NUM_MAX, 64),
        (CONFIG, 8),
    ];
    Window {
        values: values.into(),
        features: 1 << 32,
        status_refused: 0,
        status_stuck: 0,
        is_restless: false,
        generation: Cell::new(0),
    }
}

fn block(window: Window) -> Result<Block<Window>, Error> {
    let config = BlockConfig::default();
    let transport = Transport::probe(window)?.expect("a device");
    Block::new(
        transport,
        FakeMemory::new(1 << 16).take(config.dma_len()),
        config,
    )
}

#[test]
fn only_modern_virtio_windows_are_taken() {
    let mut other = window(2);
    other.values.insert(0, 0x7472_6977);
    assert_eq!(Transport::probe(other).err(), Some(Error::NotVirtio));
    let mut legacy = window(2);
    legacy.values.insert(VERSION, 1);
    assert_eq!(Transport::probe(legacy).err(), Some(Error::Legacy));
    assert!(
        Transport::probe(window(0)).unwrap().is_none(),
        "an empty slot"
    );
    for (id, kind) in [
        (1, DeviceKind::Net),
        (2, DeviceKind::Block),
        (4, DeviceKind::Rng),
        (18, DeviceKind::Input),
        (99, DeviceKind::Other(99)),
    ] {
        assert_eq!(Transport::probe(window(id)).unwrap().unwrap().kind(), kind);
    }
}

#[test]
fn a_plain_device_is_driven() {
    let block = block(window(2)).unwrap();
    let info = block.info();
    assert_eq!(
        (info.capacity_sectors, info.block_len, info.segments_max),
        (8, 512, 1)
    );
    assert_eq!(
        (info.depth, info.has_flush, info.topology),
        (4, false, None)
    );
}

#[test]
fn negotiation_fails_in_so_many_words() {
    type Change = fn(&mut Window);
    let cases: [(Change, Error); 9] = [
        (|w| w.features = 0, Error::MissingFeature),
        (|w| w.status_refused = 8, Error::FeaturesRejected),
        (|w| w.status_stuck = 4, Error::ResetTimeout),
        (
            |w| _ = w.values.insert(QUEUE_NUM_MAX, 0),
            Error::QueueUnavailable,
        ),
        (
            |w| _ = w.values.insert(QUEUE_NUM_MAX, 8),
            Error::QueueUnavailable,
        ),
        (
            |w| _ = w.values.insert(QUEUE_READY, 1),
            Error::QueueUnavailable,
        ),
        (|w| w.is_restless = true, Error::PeerMisbehaved),
        (|w| w.features |= 1 << 6, Error::PeerMisbehaved),
        (|w| w.features |= 1 << 1, Error::PeerMisbehaved),
    ];
    for (change, error) in cases {
        let mut window = window(2);
        change(&mut window);
        assert_eq!(block(window).err(), Some(error));
        assert_ne!(error.kind(), ErrorKind::Misuse);
    }
}

#[test]
fn block_lengths_that_make_no_sense_are_refused() {
    for (len, is_sane) in [
        (512, true),
        (4096, true),
        (256, false),
        (513, false),
        (1 << 31, true),
    ] {
        let mut window = window(2);
        window.features |= 1 << 6;
        window.values.insert(CONFIG + 0x14, len);
        assert_eq!(block(window).is_ok(), is_sane, "{len}");
    }
}

#[test]
fn too_little_memory_is_an_error() {
    let enough = BlockConfig::default().dma_len();
    for len in (0..enough).step_by(997) {
        let transport = Transport::probe(window(2)).unwrap().unwrap();
        let memory = FakeMemory::new(1 << 16).take(len);
        match Block::new(
            transport,
            memory,
            BlockConfig {
                depth: 4,
                ..BlockConfig::default()
            },
        ) {
            Ok(_) => assert!(len > 1000),
            Err(error) => assert_eq!(error, Error::OutOfMemory),
        }
    }
    let transport = Transport::probe(window(4)).unwrap().unwrap();
    let memory = FakeMemory::new(1 << 12).take(100);
    assert_eq!(Rng::new(transport, memory).err(), Some(Error::OutOfMemory));
}

#[test]
fn configurations_out_of_bounds_are_refused() {
    for (depth, segments_max) in [(0, 1), (1025, 1), (1, 0), (1, 255), (u16::MAX, u16::MAX)] {
        let transport = Transport::probe(window(2)).unwrap().unwrap();
        let memory = FakeMemory::new(1 << 16).take(1 << 16);
        let config = BlockConfig {
            depth,
            segments_max,
        };
        assert_eq!(
            Block::new(transport, memory, config).err(),
            Some(Error::Invalid)
        );
    }
}
