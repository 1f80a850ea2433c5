//! Kept blocks, holes, quotas; what volumes are called; what older formats lack.

mod common;

use common::{Rng, fresh, snapshot};
use viperfs::{
    BLOCK_SIZE, CheckOptions, Crc32c, Error, Fs, MemoryDevice, MountError, MountOptions, Owner,
    Quota, ROOT_INO, SeekTo, XattrMode, check,
};

fn mount(device: MemoryDevice) -> Fs<MemoryDevice> {
    Fs::mount(device, MountOptions::default()).unwrap()
}

fn file(fs: &mut Fs<MemoryDevice>, name: &[u8]) -> u64 {
    let made = fs.create(ROOT_INO, name, 0o644, Owner::default(), 1);
    made.unwrap().ino
}

fn clean(device: &mut MemoryDevice) {
    let report = check(device, &CheckOptions::default(), |_| {});
    assert!(report.is_clean(), "{:?}", report.problems);
}

#[test]
fn kept_blocks_can_be_written_on_a_full_volume() {
    let mut fs = mount(fresh(512));
    let kept = file(&mut fs, b"kept");
    fs.allocate(kept, 0, 40 * 4096, true, 2).unwrap();
    let attr = fs.getattr(kept).unwrap();
    assert_eq!((attr.size, attr.blocks), (0, 40));
    fs.sync().unwrap();
    let filler = file(&mut fs, b"filler");
    let mut size = 0;
    while let Ok(n) = fs.write(filler, size, &[3; 4096], 1) {
        size += n as u64;
    }
    assert_eq!(fs.write(filler, size, b"x", 1), Err(Error::NoSpace));
    assert_eq!(
        fs.allocate(kept, 0, 80 * 4096, true, 2),
        Err(Error::NoSpace)
    );
    let before = fs.statfs().free_blocks;
    for i in 0..40 {
        assert_eq!(
            fs.write(kept, i * 4096, &[7; 4096], 3),
            Ok(4096),
            "page {i}"
        );
    }
    fs.sync().unwrap();
    assert!(
        before - fs.statfs().free_blocks <= 2,
        "only the tree may grow"
    );
    assert_eq!(fs.getattr(kept).unwrap().blocks, 40);
    let mut device = fs.unmount().unwrap();
    clean(&mut device);
    let mut fs = mount(device);
    let mut all = vec![0; 40 * 4096];
    assert_eq!(fs.read(kept, 0, &mut all), Ok(40 * 4096));
    assert!(all.iter().all(|&b| b == 7));
}

#[test]
fn kept_blocks_read_as_zeroes_whatever_they_held() {
    let mut fs = mount(fresh(256));
    let old = file(&mut fs, b"old");
    fs.write(old, 0, &[9; 300_000], 1).unwrap();
    fs.sync().unwrap();
    fs.unlink(ROOT_INO, b"old", 2).unwrap();
    fs.sync().unwrap();
    let new = file(&mut fs, b"new");
    fs.allocate(new, 100, 300_000, false, 3).unwrap();
    fs.write(new, 50_000, b"middle", 3).unwrap();
    let mut device = fs.unmount().unwrap();
    clean(&mut device);
    let mut fs = mount(device);
    let mut all = vec![1; 300_200];
    assert_eq!(fs.read(new, 0, &mut all), Ok(300_100));
    assert_eq!(&all[50_000..50_006], b"middle");
    all[50_000..50_006].fill(0);
    assert!(all[..300_100].iter().all(|&b| b == 0));
}

#[test]
fn holes_give_blocks_back() {
    let mut fs = mount(fresh(512));
    let ino = file(&mut fs, b"f");
    let empty = fs.statfs().free_blocks;
    fs.write(ino, 0, &[5; 100_000], 1).unwrap();
    fs.sync().unwrap();
    let full = fs.getattr(ino).unwrap().blocks;
    fs.punch_hole(ino, 5_000, 60_000, 2).unwrap();
    fs.sync().unwrap();
    let attr = fs.getattr(ino).unwrap();
    assert_eq!(
        (attr.size, attr.blocks, attr.mtime_ns),
        (100_000, full - 13, 2)
    );
    assert_eq!(fs.seek(ino, 0, SeekTo::Hole), Ok(Some(8192)));
    assert_eq!(fs.seek(ino, 8192, SeekTo::Data), Ok(Some(61_440)));
    assert_eq!(fs.seek(ino, 61_441, SeekTo::Data), Ok(Some(61_441)));
    assert_eq!(fs.seek(ino, 61_441, SeekTo::Hole), Ok(Some(100_000)));
    assert_eq!(fs.seek(ino, 100_000, SeekTo::Hole), Ok(None));
    let mut all = vec![1; 100_000];
    fs.read(ino, 0, &mut all).unwrap();
    assert!(all[..5_000].iter().all(|&b| b == 5) && all[65_000..].iter().all(|&b| b == 5));
    assert!(all[5_000..65_000].iter().all(|&b| b == 0));
    // A range to the end takes the last page whole; one behind the end takes kept blocks.
    fs.allocate(ino, 100_000, 50_000, true, 3).unwrap();
    fs.punch_hole(ino, 0, u64::MAX, 3).unwrap();
    fs.sync().unwrap();
    assert_eq!(fs.getattr(ino).unwrap().blocks, 0);
    assert_eq!(fs.seek(ino, 0, SeekTo::Data), Ok(None));
    assert_eq!(fs.statfs().free_blocks, empty);
    assert_eq!(fs.punch_hole(ino, 5, 0, 3), Err(Error::Invalid));
    assert_eq!(fs.punch_hole(ROOT_INO, 5, 1, 3), Err(Error::IsDirectory));
    clean(&mut fs.unmount().unwrap());
}

/// More extents than one operation removes, so that punching goes on in steps.
#[test]
fn scattered_files_are_punched_in_steps() {
    let mut fs = mount(fresh(2048));
    let ino = file(&mut fs, b"f");
    for i in 0..200 {
        fs.write(ino, i * 8192, &[i as u8; 4096], 1).unwrap();
    }
    fs.sync().unwrap();
    fs.punch_hole(ino, 2 * 8192, 190 * 8192, 2).unwrap();
    assert_eq!(fs.getattr(ino).unwrap().blocks, 10);
    fs.allocate(ino, 0, 200 * 8192, false, 2).unwrap();
    assert_eq!(fs.getattr(ino).unwrap().blocks, 400);
    let mut page = [1; 4096];
    fs.read(ino, 195 * 8192, &mut page).unwrap();
    assert_eq!(page, [195; 4096]);
    clean(&mut fs.unmount().unwrap());
}

#[test]
fn labels_and_identities_change() {
    let mut fs = mount(fresh(256));
    let ino = file(&mut fs, b"f");
    fs.write(ino, 0, b"still here", 1).unwrap();
    fs.set_label("a new name").unwrap();
    assert_eq!(fs.set_label(&"x".repeat(65)), Err(Error::NameTooLong));
    assert_eq!(fs.set_label("a\0b"), Err(Error::InvalidName));
    fs.set_uuid([9; 16]).unwrap();
    fs.sync().unwrap();
    let mut device = fs.abandon();
    clean(&mut device);
    let mut fs = mount(device);
    assert_eq!(
        (&fs.statfs().label[..], fs.statfs().uuid),
        ("a new name", [9; 16])
    );
    fs.write(ino, 0, b"still here, really", 1).unwrap();
    let shown = snapshot(&mut fs).unwrap();
    let mut device = fs.unmount().unwrap();
    // The copy knows, too.
    device.bytes_mut()[..BLOCK_SIZE].fill(0);
    let mut fs = mount(device);
    assert_eq!(
        (&fs.statfs().label[..], fs.statfs().uuid),
        ("a new name", [9; 16])
    );
    assert_eq!(snapshot(&mut fs).unwrap(), shown);
}

/// An image as the first release made them has no place for unwritten extents.
#[test]
fn older_volumes_are_upgraded_when_asked() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v1-crashed.viperfs");
    let mut fs = mount(MemoryDevice::from_bytes(std::fs::read(path).unwrap()));
    let ino = file(&mut fs, b"new");
    assert_eq!(fs.allocate(ino, 0, 10, false, 1), Err(Error::Unsupported));
    fs.upgrade().unwrap();
    fs.allocate(ino, 0, 10, false, 1).unwrap();
    let mut device = fs.unmount().unwrap();
    clean(&mut device);
    assert_eq!(mount(device).getattr(ino).unwrap().blocks, 1);
}

/// Each bit of each set of features, set alone: mount, mount read-only, or a sentence.
#[test]
fn unknown_features_are_refused_or_mounted_read_only() {
    let good = fresh(256);
    for (at, known) in [(40, u64::MAX), (48, 0), (56, 3)] {
        for bit in 0..64 {
            let mut device = good.clone();
            let byte = at + bit / 8;
            device.bytes_mut()[byte] ^= 1 << (bit % 8);
            let sum = Crc32c::SOFTWARE.of(&device.bytes()[4..BLOCK_SIZE]);
            device.bytes_mut()[..4].copy_from_slice(&sum.to_le_bytes());
            if known >> bit & 1 == 1 {
                continue;
            }
            let before = device.clone();
            let bits = 1 << bit;
            let error = Fs::mount(&mut device, MountOptions::default()).err();
            let read_only = MountOptions {
                read_only: true,
                ..MountOptions::default()
            };
            let shown = Fs::mount(&mut device, read_only).map(|mut fs| snapshot(&mut fs));
            if at == 48 {
                assert_eq!(error, Some(MountError::ReadOnlyFeatures { bits }));
                assert!(shown.unwrap().is_ok());
            } else {
                assert_eq!(error, Some(MountError::UnknownFeatures { bits }));
                assert_eq!(shown.err(), error);
            }
            assert!(error.unwrap().to_string().contains("unknown"));
            assert!(device == before, "nothing was written");
        }
    }
    let mut device = good;
    device.bytes_mut()[40] = 0xFF;
    let sum = Crc32c::SOFTWARE.of(&device.bytes()[4..BLOCK_SIZE]);
    device.bytes_mut()[..4].copy_from_slice(&sum.to_le_bytes());
    mount(device);
}

#[test]
fn quotas_bound_bytes_and_inodes() {
    let quota = Quota {
        bytes: 64 * 4096,
        inodes: 5,
    };
    let options = MountOptions {
        quota,
        ..MountOptions::default()
    };
    let mut fs = Fs::mount(fresh(1024), options).unwrap();
    let a = file(&mut fs, b"a");
    for name in [b"b", b"c", b"d"] {
        file(&mut fs, name);
    }
    let o = Owner::default();
    assert_eq!(fs.statfs().inodes, Some(5));
    assert_eq!(
        fs.create(ROOT_INO, b"e", 0o644, o, 1),
        Err(Error::QuotaExceeded)
    );
    fs.unlink(ROOT_INO, b"d", 1).unwrap();
    file(&mut fs, b"e");
    let mut size = 0;
    let full = loop {
        match fs.write(a, size, &[1; 4096], 1) {
            Ok(n) => size += n as u64,
            Err(error) => break error,
        }
    };
    assert_eq!(full, Error::QuotaExceeded);
    assert!((50 * 4096..=64 * 4096).contains(&size), "{size}");
    assert_eq!(
        fs.allocate(a, 0, 500 * 4096, true, 1),
        Err(Error::QuotaExceeded)
    );
    assert_eq!(fs.statfs().available_blocks, 0);
    fs.truncate(a, 0, 1).unwrap();
    fs.write(a, 0, &[2; 20_000], 1).unwrap();
    // Another mount counts what it finds.
    let mut fs = Fs::mount(fs.unmount().unwrap(), options).unwrap();
    assert_eq!(fs.statfs().inodes, Some(5));
    assert_eq!(
        fs.create(ROOT_INO, b"f", 0o644, o, 1),
        Err(Error::QuotaExceeded)
    );
    let mut fs = mount(fs.unmount().unwrap());
    file(&mut fs, b"f");
    assert_eq!(fs.statfs().inodes, None);
}

#[test]
fn read_only_mounts_change_nothing() {
    let mut fs = mount(fresh(256));
    let ino = file(&mut fs, b"f");
    fs.write(ino, 0, b"text", 1).unwrap();
    fs.sync().unwrap();
    let mut device = fs.abandon();
    let before = device.clone();
    let options = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    let mut fs = Fs::mount(&mut device, options).unwrap();
    let o = Owner::default();
    let ro = Error::ReadOnly;
    assert_eq!(fs.create(ROOT_INO, b"g", 0o644, o, 1).err(), Some(ro));
    assert_eq!(fs.mkdir(ROOT_INO, b"g", 0o755, o, 1).err(), Some(ro));
    assert_eq!(fs.symlink(ROOT_INO, b"g", b"t", o, 1).err(), Some(ro));
    assert_eq!(fs.link(ino, ROOT_INO, b"g", 1).err(), Some(ro));
    assert_eq!(fs.write(ino, 0, b"x", 1), Err(ro));
    assert_eq!(fs.truncate(ino, 0, 1), Err(ro));
    assert_eq!(fs.allocate(ino, 0, 1, false, 1), Err(ro));
    assert_eq!(fs.punch_hole(ino, 0, 1, 1), Err(ro));
    assert_eq!(fs.unlink(ROOT_INO, b"f", 1), Err(ro));
    assert_eq!(fs.set_xattr(ino, b"a", b"b", XattrMode::Set, 1), Err(ro));
    assert_eq!(fs.set_label("x"), Err(ro));
    assert_eq!(fs.set_uuid([1; 16]), Err(ro));
    assert_eq!(fs.seek(ino, 0, SeekTo::Data), Ok(Some(0)));
    assert_eq!(fs.sync(), Ok(()));
    fs.unmount().unwrap();
    assert!(device == before);
}

/// Repair keeps what is kept: the tree is lost, and found again.
#[test]
fn repair_knows_kept_blocks() {
    let mut fs = mount(fresh(512));
    let mut rng = Rng::new(3);
    for i in 0..30 {
        let ino = file(&mut fs, format!("f{i}").as_bytes());
        fs.allocate(ino, rng.below(20_000), 1 + rng.below(20_000), i % 2 == 0, 1)
            .unwrap();
        fs.write(ino, rng.below(20_000), &[i as u8; 900], 1)
            .unwrap();
        fs.set_xattr(ino, b"x", &[1; 200], XattrMode::Set, 1)
            .unwrap();
    }
    fs.sync().unwrap();
    let before = snapshot(&mut fs).unwrap();
    let blocks = |fs: &mut Fs<MemoryDevice>| -> Vec<u64> {
        let all = (0..30).map(|i| fs.lookup(ROOT_INO, format!("f{i}").as_bytes()).unwrap());
        let all: Vec<u64> = all.collect();
        all.into_iter()
            .map(|i| fs.getattr(i).unwrap().blocks)
            .collect()
    };
    let kept = blocks(&mut fs);
    let mut device = fs.unmount().unwrap();
    device.bytes_mut()[3 * BLOCK_SIZE..4 * BLOCK_SIZE].fill(0);
    let done = viperfs::repair(&mut device, &CheckOptions::default(), 1, |_| {}).unwrap();
    assert!(done.after.is_clean(), "{:?}", done.after.problems);
    let mut fs = mount(device);
    assert_eq!(snapshot(&mut fs).unwrap(), before);
    assert_eq!(blocks(&mut fs), kept);
}
