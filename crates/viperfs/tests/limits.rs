//! The ends of the ranges: largest volume, longest names, sparse files, small memory.

mod common;

use common::fresh;
use std::collections::HashMap;
use viperfs::{
    BLOCK_SIZE, BlockDevice, CheckOptions, DeviceError, Error, FormatOptions, Fs, MAX_BLOCKS,
    MAX_FILE_SIZE, MIN_BLOCKS, MemoryDevice, MountError, MountOptions, Owner, ROOT_INO, SetAttr,
    check, format,
};

/// A device of any size that remembers only what was written.
struct Sparse {
    blocks: u64,
    written: HashMap<u64, Box<[u8]>>,
}

impl BlockDevice for Sparse {
    fn block_count(&self) -> u64 {
        self.blocks
    }
    fn read(&mut self, block: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        for (i, out) in buf.chunks_mut(BLOCK_SIZE).enumerate() {
            match self.written.get(&(block + i as u64)) {
                Some(data) => out.copy_from_slice(data),
                None => out.fill(0),
            }
        }
        Ok(())
    }
    fn write(&mut self, block: u64, buf: &[u8]) -> Result<(), DeviceError> {
        for (i, data) in buf.chunks(BLOCK_SIZE).enumerate() {
            self.written.insert(block + i as u64, data.into());
        }
        Ok(())
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

#[test]
fn sixteen_tebibytes() {
    let mut device = Sparse {
        blocks: MAX_BLOCKS,
        written: HashMap::new(),
    };
    format(&mut device, &FormatOptions::default()).unwrap();
    let written = device.written.len();
    assert!(written < 5000, "formatting writes little: {written}");
    let mut fs = Fs::mount(device, MountOptions::default()).unwrap();
    let ino = fs
        .create(ROOT_INO, b"far", 0o644, Owner::default(), 1)
        .unwrap()
        .ino;
    for i in 0..20 {
        fs.write(ino, i << 44, &[i as u8 + 1; 5000], 1).unwrap();
    }
    // Blocks for nearly all of it, whatever group they are in, and back again.
    let most = if std::env::var_os("VIPER_LONG").is_some() {
        15 << 40
    } else {
        1 << 38
    };
    let free = fs.statfs().free_blocks;
    let kept = fs
        .create(ROOT_INO, b"kept", 0o644, Owner::default(), 1)
        .unwrap()
        .ino;
    fs.allocate(kept, 0, most, true, 1).unwrap();
    assert_eq!(fs.getattr(kept).unwrap().blocks, most >> 12);
    fs.write(kept, most - 10, b"at the end", 1).unwrap();
    fs.sync().unwrap();
    assert!(free - fs.statfs().free_blocks >= most >> 12);
    fs.unlink(ROOT_INO, b"kept", 1).unwrap();
    fs.sync().unwrap();
    assert!(fs.statfs().free_blocks >= free - 60);
    assert_eq!(
        fs.write(ino, MAX_FILE_SIZE - 1, b"xy", 1),
        Err(Error::FileTooLarge)
    );
    let mut device = fs.unmount().unwrap();
    let report = check(&mut device, &CheckOptions::default(), |_| {});
    assert!(report.is_clean(), "{:?}", report.problems);
    let mut fs = Fs::mount(device, MountOptions::default()).unwrap();
    assert_eq!(fs.getattr(ino).unwrap().blocks, 40);
    let mut buf = [9; 5001];
    fs.read(ino, 7 << 44, &mut buf).unwrap();
    assert!(buf[..5000] == [8; 5000] && buf[5000] == 0);
}

/// Counts requests and the blocks they move.
struct Counting {
    inner: MemoryDevice,
    reads: u64,
}

impl BlockDevice for Counting {
    fn block_count(&self) -> u64 {
        self.inner.block_count()
    }
    fn read(&mut self, block: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.reads += (buf.len() / BLOCK_SIZE) as u64;
        self.inner.read(block, buf)
    }
    fn write(&mut self, block: u64, buf: &[u8]) -> Result<(), DeviceError> {
        self.inner.write(block, buf)
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.inner.flush()
    }
}

/// What a name costs in a directory of 100,000, with nothing but the root of the tree cached.
#[test]
fn large_directories_cost_a_descent() {
    let n: u64 = if cfg!(debug_assertions) {
        10_000
    } else {
        100_000
    };
    let mut fs = Fs::mount(fresh(16384), MountOptions::default()).unwrap();
    let o = Owner::default();
    let dir = fs.mkdir(ROOT_INO, b"dir", 0o755, o, 1).unwrap().ino;
    let name = |i: u64| format!("a file with number {i}").into_bytes();
    for i in 0..n {
        fs.create(dir, &name(i), 0o644, o, 1).unwrap();
    }
    let device = Counting {
        inner: fs.unmount().unwrap(),
        reads: 0,
    };
    // The smallest cache, and other work in between that takes it over.
    let options = MountOptions {
        cache_blocks: 0,
        cached_inodes: 16,
        ..MountOptions::default()
    };
    let mut fs = Fs::mount(device, options).unwrap();
    let mut worst = 0;
    for i in 0..200 {
        fs.device_mut().reads = 0;
        let ino = fs.lookup(dir, &name(i * (n / 200))).unwrap();
        let lookup = fs.device_mut().reads;
        assert!(lookup <= 4, "a lookup read {lookup} blocks");
        fs.getattr(ino).unwrap();
        let both = fs.device_mut().reads;
        assert!(both <= 7, "a lookup and getattr read {both} blocks");
        worst = worst.max(lookup);
    }
    println!("{n} names: a lookup reads {worst} blocks at most");
    let mut cursor = 0;
    let mut seen = 0;
    fs.device_mut().reads = 0;
    loop {
        let before = seen;
        fs.readdir(dir, cursor, |e| {
            seen += 1;
            cursor = e.next;
            seen - before < 500
        })
        .unwrap();
        if seen == before {
            break;
        }
    }
    assert_eq!(seen, n);
    let reads = fs.device_mut().reads;
    // Leaves hold at least 20 names of this length, and a part of one is read twice.
    assert!(
        reads < n / 20 + n / 500 * 5,
        "reading all names read {reads} blocks"
    );
    fs.device_mut().reads = 0;
    for i in 0..100 {
        fs.unlink(dir, &name(i * 7), 2).unwrap();
        fs.create(dir, &name(n + i), 0o644, o, 2).unwrap();
    }
    let reads = fs.device_mut().reads;
    assert!(reads < 100 * 30, "100 names changed read {reads} blocks");
}

#[test]
fn more_than_one_group() {
    let mut device = Sparse {
        blocks: 3 * 32256 + 100,
        written: HashMap::new(),
    };
    format(&mut device, &FormatOptions::default()).unwrap();
    let mut fs = Fs::mount(device, MountOptions::default()).unwrap();
    let empty = fs.statfs().free_blocks;
    let ino = fs
        .create(ROOT_INO, b"large", 0o644, Owner::default(), 1)
        .unwrap()
        .ino;
    let chunk = vec![1; 1 << 20];
    let mut size = 0;
    let full = loop {
        match fs.write(ino, size, &chunk, 1) {
            Ok(n) => size += n as u64,
            Err(error) => break error,
        }
    };
    assert_eq!(full, Error::NoSpace);
    assert!(size > 360 << 20, "{size}");
    fs.sync().unwrap();
    let mut device = fs.unmount().unwrap();
    let quick = CheckOptions {
        data: false,
        ..CheckOptions::default()
    };
    let report = check(&mut device, &quick, |_| {});
    assert!(report.is_clean(), "{:?}", report.problems);
    let mut fs = Fs::mount(device, MountOptions::default()).unwrap();
    fs.unlink(ROOT_INO, b"large", 2).unwrap();
    fs.sync().unwrap();
    assert_eq!(fs.statfs().free_blocks, empty);
    assert!(check(fs.unmount().unwrap(), &quick, |_| {}).is_clean());
}

#[test]
fn names_and_targets_have_their_limits() {
    let mut fs = Fs::mount(fresh(512), MountOptions::default()).unwrap();
    let o = Owner::default();
    let longest = [b'n'; 255];
    let ino = fs.create(ROOT_INO, &longest, 0o644, o, 1).unwrap().ino;
    assert_eq!(fs.lookup(ROOT_INO, &longest), Ok(ino));
    assert_eq!(
        fs.create(ROOT_INO, &[b'n'; 256], 0o644, o, 1),
        Err(Error::NameTooLong)
    );
    for bad in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
        assert_eq!(
            fs.create(ROOT_INO, bad, 0o644, o, 1),
            Err(Error::InvalidName)
        );
    }
    let link = fs.symlink(ROOT_INO, b"l", &[b't'; 4095], o, 1).unwrap().ino;
    assert_eq!(fs.readlink(link).unwrap(), [b't'; 4095]);
    assert_eq!(
        fs.symlink(ROOT_INO, b"m", &[b't'; 4096], o, 1),
        Err(Error::NameTooLong)
    );
}

#[test]
fn links_are_followed_up_to_a_limit() {
    let mut fs = Fs::mount(fresh(512), MountOptions::default()).unwrap();
    let o = Owner::default();
    let dir = fs.mkdir(ROOT_INO, b"d", 0o755, o, 1).unwrap().ino;
    let file = fs.create(dir, b"f", 0o644, o, 1).unwrap().ino;
    fs.symlink(ROOT_INO, b"abs", b"/d//f", o, 1).unwrap();
    fs.symlink(dir, b"rel", b"../abs", o, 1).unwrap();
    fs.symlink(dir, b"here", b".", o, 1).unwrap();
    fs.symlink(ROOT_INO, b"loop", b"loop", o, 1).unwrap();
    assert_eq!(fs.walk(ROOT_INO, b"/d/rel", true), Ok(file));
    assert_ne!(fs.walk(ROOT_INO, b"d/rel", false), Ok(file));
    assert_eq!(fs.walk(dir, b"here/here/../d/./here/f", true), Ok(file));
    assert_eq!(fs.walk(ROOT_INO, b"loop", true), Err(Error::Loop));
    assert_eq!(fs.walk(ROOT_INO, b"d/f/", true), Err(Error::NotDirectory));
    assert_eq!(fs.walk(ROOT_INO, b"d/f/x", true), Err(Error::NotDirectory));
    assert_eq!(fs.walk(ROOT_INO, b"../../d", true), Ok(dir));
    assert_eq!(
        fs.walk_parent(ROOT_INO, b"/d/new/").unwrap(),
        (dir, &b"new"[..])
    );
}

#[test]
fn holes_truncation_and_growth_read_as_zeroes() {
    let mut fs = Fs::mount(fresh(512), MountOptions::default()).unwrap();
    let ino = fs
        .create(ROOT_INO, b"f", 0o644, Owner::default(), 1)
        .unwrap()
        .ino;
    fs.write(ino, 100_000, b"end", 1).unwrap();
    fs.sync().unwrap();
    assert_eq!(fs.getattr(ino).unwrap().blocks, 1);
    fs.write(ino, 0, &[7; 4096], 1).unwrap();
    fs.sync().unwrap();
    fs.truncate(ino, 10, 1).unwrap();
    fs.sync().unwrap();
    // Mounted anew, so that the page comes from the device, where old bytes are behind the end.
    let mut fs = Fs::mount(fs.unmount().unwrap(), MountOptions::default()).unwrap();
    fs.setattr(
        ino,
        &SetAttr {
            size: Some(9000),
            ..SetAttr::default()
        },
        2,
    )
    .unwrap();
    let mut fs = Fs::mount(fs.unmount().unwrap(), MountOptions::default()).unwrap();
    let mut buf = [1; 9000];
    assert_eq!(fs.read(ino, 0, &mut buf), Ok(9000));
    assert!(buf[..10] == [7; 10] && buf[10..].iter().all(|&b| b == 0));
}

#[test]
fn pinned_files_outlive_their_names() {
    let mut fs = Fs::mount(fresh(512), MountOptions::default()).unwrap();
    let empty = fs.statfs().free_blocks;
    let ino = fs
        .create(ROOT_INO, b"f", 0o644, Owner::default(), 1)
        .unwrap()
        .ino;
    fs.write(ino, 0, &[7; 50_000], 1).unwrap();
    fs.pin(ino).unwrap();
    fs.unlink(ROOT_INO, b"f", 1).unwrap();
    fs.write(ino, 50_000, b"more", 1).unwrap();
    fs.sync().unwrap();
    let mut buf = [0; 4];
    assert_eq!(fs.read(ino, 50_000, &mut buf), Ok(4));
    assert_eq!(fs.getattr(ino).unwrap().nlink, 0);
    fs.unpin(ino).unwrap();
    assert_eq!(fs.getattr(ino), Err(Error::NotFound));
    fs.sync().unwrap();
    assert_eq!(fs.statfs().free_blocks, empty);
}

#[test]
fn cache_stays_within_its_bound() {
    let mut fs = Fs::mount(
        fresh(4096),
        MountOptions {
            cache_blocks: 0,
            ..Default::default()
        },
    );
    let fs = fs.as_mut().unwrap();
    let o = Owner::default();
    for i in 0..300u64 {
        let ino = fs
            .create(ROOT_INO, format!("f{i}").as_bytes(), 0o644, o, 1)
            .unwrap()
            .ino;
        fs.write(ino, 0, &[i as u8; 30_000], 1).unwrap();
        let (total, pinned) = fs.cache_usage();
        assert!(total <= 160 && pinned <= 130, "{total} {pinned}");
    }
}

#[test]
fn refused_mounts_write_nothing_and_say_why() {
    let mut device = fresh(MIN_BLOCKS);
    let good = device.clone();
    let reseal = |bytes: &mut [u8]| {
        let sum = viperfs::Crc32c::SOFTWARE.of(&bytes[4..BLOCK_SIZE]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
    };
    let mut refused = |at: usize, expected: MountError| {
        device = good.clone();
        device.bytes_mut()[at] = 0x80;
        reseal(device.bytes_mut());
        let before = device.clone();
        let error = Fs::mount(&mut device, MountOptions::default()).err();
        assert_eq!(error, Some(expected));
        assert!(device == before);
        let read_only = MountOptions {
            read_only: true,
            ..MountOptions::default()
        };
        Fs::mount(&mut device, read_only).is_ok()
    };
    assert!(!refused(32, MountError::NewerFormat { major: 0x80 }));
    assert!(refused(48, MountError::ReadOnlyFeatures { bits: 0x80 }));
    assert!(!refused(56, MountError::UnknownFeatures { bits: 0x80 }));
    let mut empty = viperfs::MemoryDevice::new(10);
    assert_eq!(
        Fs::mount(&mut empty, MountOptions::default()).err(),
        Some(MountError::NoSuperblock)
    );
}
