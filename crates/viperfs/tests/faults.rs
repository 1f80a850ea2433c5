//! Devices that fail, bits that flip, images that lie.

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use common::{FAST, Model, Op, Rng, Snapshot, fast, fresh, snapshot};
use hostile::{exercise, mutate, populated};
use viperfs::{
    BLOCK_SIZE, BlockDevice, CheckOptions, DeviceError, Error, Fs, MemoryDevice, MountOptions,
    Owner, Problem, ROOT_INO, check, repair,
};

/// Fails the request number `at`, and those after it when `stays`.
struct Faulty {
    inner: MemoryDevice,
    count: u64,
    at: u64,
    stays: bool,
}

impl Faulty {
    fn step(&mut self) -> Result<(), DeviceError> {
        self.count += 1;
        let fails = self.count == self.at || (self.stays && self.count > self.at);
        if fails { Err(DeviceError::Io) } else { Ok(()) }
    }
}

impl BlockDevice for Faulty {
    fn block_count(&self) -> u64 {
        self.inner.block_count()
    }
    fn read(&mut self, block: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.step()?;
        self.inner.read(block, buf)
    }
    fn write(&mut self, block: u64, buf: &[u8]) -> Result<(), DeviceError> {
        let result = self.step();
        // A failed write leaves the first half behind.
        let len = if result.is_ok() {
            buf.len()
        } else {
            buf.len() / 2
        };
        let mut old = vec![0; buf.len()];
        self.inner.read(block, &mut old)?;
        old[..len].copy_from_slice(&buf[..len]);
        self.inner.write(block, &old)?;
        result
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.step()
    }
}

fn options(cache_blocks: usize) -> MountOptions {
    MountOptions {
        cache_blocks,
        ..MountOptions::default()
    }
}

/// Runs a workload with one request failing; true when the failure was reached.
fn run_with_fault(seed: u64, at: u64, stays: bool) -> bool {
    let device = Faulty {
        inner: fresh(1024),
        count: 0,
        at: u64::MAX,
        stays,
    };
    let mut fs = Fs::mount(device, options(0)).unwrap();
    let mut rng = Rng::new(seed);
    let mut model = Model::new();
    fs.device_mut().count = 0;
    fs.device_mut().at = at;
    let mut allowed: Vec<Snapshot> = vec![model.snapshot()];
    for i in 0..100 {
        let random = model.random_op(&mut rng, 12, 20_000);
        let op = if i % 8 == 0 { Op::Sync } else { random };
        let result = model.apply(&mut fs, &op);
        if result.is_ok() && matches!(op, Op::Sync | Op::Fsync(_)) {
            allowed.clear();
        }
        allowed.push(model.snapshot());
    }
    let reached = fs.device_mut().count >= at;
    fs.device_mut().at = u64::MAX;
    fs.device_mut().stays = false;
    // What is in memory is still right, and what is on the device is some state since the sync.
    assert_eq!(
        snapshot(&mut fs).unwrap(),
        model.snapshot(),
        "seed {seed} fault {at}"
    );
    let mut device = fs.abandon().inner;
    let report = check(&mut device, &CheckOptions::default(), |_| {});
    assert!(
        report.is_clean(),
        "seed {seed} fault {at}: {:?}",
        report.problems
    );
    let mut fs = Fs::mount(device, MountOptions::default()).unwrap();
    let found = snapshot(&mut fs).unwrap();
    assert!(
        allowed.contains(&found),
        "seed {seed} fault {at}: acknowledged data is missing"
    );
    reached
}

/// Runs a workload with requests failing from `at` on; then the device works again.
fn run_with_recovery(seed: u64, at: u64) -> bool {
    let device = Faulty {
        inner: fresh(1024),
        count: 0,
        at: u64::MAX,
        stays: true,
    };
    let mut fs = Fs::mount(device, options(0)).unwrap();
    let mut rng = Rng::new(seed);
    let mut model = Model::new();
    let mut work = |fs: &mut Fs<Faulty>, model: &mut Model, rounds| {
        for i in 0..rounds {
            let random = model.random_op(&mut rng, 12, 20_000);
            let op = if i % 8 == 0 { Op::Sync } else { random };
            let _ = model.apply(fs, &op);
        }
    };
    fs.device_mut().count = 0;
    fs.device_mut().at = at;
    work(&mut fs, &mut model, 100);
    let failed = fs.statfs().failed;
    if failed {
        assert!(fs.resume().is_err() && fs.statfs().failed, "it fails still");
    }
    let reached = fs.device_mut().count >= at;
    fs.device_mut().at = u64::MAX;
    fs.resume().unwrap();
    assert!(!fs.statfs().read_only && !fs.statfs().failed);
    if failed {
        // Durable at once, and as good as ever from then on.
        let mut copy = Fs::mount(fs.device_mut().inner.clone(), options(0)).unwrap();
        assert_eq!(
            snapshot(&mut copy).unwrap(),
            model.snapshot(),
            "{seed} {at}"
        );
    }
    work(&mut fs, &mut model, 60);
    fs.sync().unwrap();
    assert_eq!(snapshot(&mut fs).unwrap(), model.snapshot());
    let mut device = fs.abandon().inner;
    let report = check(&mut device, &CheckOptions::default(), |_| {});
    assert!(report.is_clean(), "{seed} {at}: {:?}", report.problems);
    let mut fs = Fs::mount(device, options(0)).unwrap();
    assert_eq!(snapshot(&mut fs).unwrap(), model.snapshot(), "{seed} {at}");
    reached
}

#[test]
fn a_device_that_works_again_loses_nothing() {
    for seed in 10..11 {
        let mut at = 1;
        while run_with_recovery(seed, at) {
            at += if at < 60 { 1 } else { 9 };
        }
        assert!(at > 60, "the workload is meant to use the device");
    }
}

#[test]
fn each_request_may_fail() {
    for seed in 0..1 {
        for stays in [false, true] {
            let mut at = 1;
            while run_with_fault(seed, at, stays) {
                at += if at < 40 || !cfg!(debug_assertions) {
                    1
                } else {
                    7
                };
            }
            assert!(at > 40, "the workload is meant to use the device");
        }
    }
}

#[test]
fn failed_write_makes_the_mount_read_only() {
    let device = Faulty {
        inner: fresh(512),
        count: 0,
        at: u64::MAX,
        stays: true,
    };
    let mut fs = Fs::mount(device, MountOptions::default()).unwrap();
    let ino = fs
        .create(ROOT_INO, b"f", 0o644, Owner::default(), 1)
        .unwrap()
        .ino;
    // From here on all metadata is cached, so the request that fails is a write.
    fs.write(ino, 0, b"warm", 1).unwrap();
    fs.sync().unwrap();
    fs.write(ino, 0, b"kept in memory", 1).unwrap();
    fs.device_mut().count = 0;
    fs.device_mut().at = 1;
    assert_eq!(fs.fsync(ino), Err(Error::Device(DeviceError::Io)));
    assert!(fs.statfs().read_only && fs.statfs().failed);
    assert_eq!(fs.write(ino, 0, b"x", 1), Err(Error::ReadOnly));
    assert_eq!(fs.fsync(ino), Err(Error::Device(DeviceError::Io)));
    let mut buf = [0; 14];
    assert_eq!(fs.read(ino, 0, &mut buf), Ok(14));
    assert_eq!(&buf, b"kept in memory");
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

#[test]
fn flipped_bits_are_detected_or_harmless() {
    let (mut device, before) = populated(256);
    let mut rng = Rng::new(5);
    let (mut detected, mut harmless) = (0, 0);
    // Blocks that hold something, metadata or contents.
    let used: Vec<usize> = (0..256)
        .filter(|b| {
            device.bytes()[b * BLOCK_SIZE..][..BLOCK_SIZE]
                .iter()
                .any(|&x| x != 0)
        })
        .collect();
    let quick = if cfg!(debug_assertions) { 300 } else { 10_000 };
    let options = CheckOptions {
        crc32c: FAST,
        ..CheckOptions::default()
    };
    for _ in 0..number("VIPERFS_FLIPS", quick) {
        let block = used[rng.below(used.len() as u64) as usize];
        let at = block * BLOCK_SIZE + rng.below(BLOCK_SIZE as u64) as usize;
        let bit = 1 << rng.below(8);
        device.bytes_mut()[at] ^= bit;
        let report = check(&mut device, &options, |_| {});
        let copy = MountOptions {
            read_only: true,
            cache_blocks: 0,
            ..fast()
        };
        let shown = Fs::mount(&mut device, copy)
            .ok()
            .map(|mut fs| snapshot(&mut fs));
        match shown {
            Some(Ok(found)) => {
                assert_eq!(found, before, "bit {bit} of byte {at} shows wrong data");
                harmless += 1;
            }
            _ => {
                assert!(
                    !report.is_clean(),
                    "bit {bit} of byte {at} is not seen by the checker"
                );
                detected += 1;
            }
        }
        device.bytes_mut()[at] ^= bit;
    }
    println!("{detected} detected, {harmless} harmless");
    assert!(detected > 20 && harmless > 20, "{detected} {harmless}");
}

#[test]
fn lying_images_do_no_harm() {
    let (device, _) = populated(256);
    let first = number("VIPERFS_HOSTILE_SEED", 1);
    for seed in first
        ..first
            + number(
                "VIPERFS_HOSTILE",
                if cfg!(debug_assertions) { 60 } else { 3000 },
            )
    {
        let mut image = device.bytes().to_vec();
        let mut rng = Rng::new(seed);
        mutate(&mut image, &mut rng);
        let result = std::panic::catch_unwind(|| exercise(image));
        assert!(result.is_ok(), "seed {seed}");
    }
}

#[test]
fn repair_makes_damaged_volumes_clean() {
    let (device, before) = populated(512);
    let first = number("VIPERFS_REPAIR_SEED", 1);
    for seed in first..first + number("VIPERFS_REPAIR", 40) {
        let mut rng = Rng::new(seed);
        let mut image = device.bytes().to_vec();
        if seed % 3 == 0 {
            // Whole blocks gone, anywhere but in both superblocks.
            for _ in 0..1 + rng.below(3) {
                let block = (1 + rng.below(300)) as usize;
                image[block * BLOCK_SIZE..][..BLOCK_SIZE].fill(rng.next() as u8);
            }
        } else {
            mutate(&mut image, &mut rng);
        }
        let mut device = MemoryDevice::from_bytes(image);
        let check_options = CheckOptions::default();
        let Ok(done) = repair(&mut device, &check_options, 1, |_| {}) else {
            continue;
        };
        for problem in &done.after.problems {
            assert!(
                matches!(problem, Problem::Data { .. }),
                "seed {seed}: {problem}"
            );
        }
        let mut fs = Fs::mount(&mut device, MountOptions::default()).unwrap();
        // Only lies about sizes, which the other seeds tell, would make this large.
        if seed % 3 == 0 && done.after.is_clean() {
            let after = snapshot(&mut fs).unwrap();
            assert!(!done.before.is_clean() || after == before, "seed {seed}");
        }
        fs.create(ROOT_INO, b"usable", 0o644, Owner::default(), 1)
            .unwrap();
        fs.unmount().unwrap();
        let report = check(&mut device, &check_options, |_| {});
        assert_eq!(report.problems, done.after.problems, "seed {seed}");
    }
}

#[test]
fn repair_of_a_lost_leaf_finds_the_files_again() {
    let (mut device, before) = populated(512);
    // The root of the tree is at block 3: without it, every leaf has to be found by search.
    device.bytes_mut()[3 * BLOCK_SIZE..4 * BLOCK_SIZE].fill(0);
    assert!(Fs::mount(&mut device, MountOptions::default()).is_err());
    let done = repair(&mut device, &CheckOptions::default(), 1, |_| {}).unwrap();
    assert!(done.after.is_clean(), "{:?}", done.after.problems);
    let mut fs = Fs::mount(&mut device, MountOptions::default()).unwrap();
    assert_eq!(snapshot(&mut fs).unwrap(), before);
}
