//! Random operations against the model, with remounts; large directories; full volumes.

mod common;
#[path = "common/compare.rs"]
mod compare;

use common::{Model, Op, Rng, fresh, snapshot};
use compare::run;
use viperfs::{
    BlockDevice, Error, FormatOptions, Fs, MemoryDevice, MountOptions, Owner, ROOT_INO, format,
};

fn mount<D: BlockDevice>(dev: D) -> Fs<D> {
    Fs::mount(dev, MountOptions::default()).unwrap()
}

fn scale() -> u64 {
    std::env::var("VIPERFS_MODEL_OPS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(if cfg!(debug_assertions) { 300 } else { 4000 })
}

#[test]
fn small_files_many_names() {
    run(1, 4096, scale(), 20, 6000);
}

#[test]
fn large_files_few_names() {
    run(2, 8192, scale() / 10, 5, 300_000);
}

#[test]
fn smallest_volume_fills_up() {
    for seed in 0..4 {
        run(100 + seed, 256, scale() / 4, 30, 20_000);
    }
}

#[test]
fn directory_with_many_entries() {
    let mut fs = mount(fresh(16384));
    let n = if cfg!(debug_assertions) {
        5_000
    } else {
        100_000
    };
    for i in 0..n {
        fs.create(
            ROOT_INO,
            format!("file-{i}").as_bytes(),
            0o644,
            Owner::default(),
            1,
        )
        .unwrap();
    }
    fs = mount(fs.unmount().unwrap());
    let mut seen = 0;
    fs.readdir(ROOT_INO, 0, |_| {
        seen += 1;
        true
    })
    .unwrap();
    assert_eq!(seen, n);
    for i in (0..n).rev() {
        let name = format!("file-{i}");
        fs.lookup(ROOT_INO, name.as_bytes()).unwrap();
        fs.unlink(ROOT_INO, name.as_bytes(), 2).unwrap();
    }
    assert_eq!(fs.lookup(ROOT_INO, b"file-0"), Err(Error::NotFound));
    fs.sync().unwrap();
    let empty = mount(fresh(16384)).statfs().free_blocks;
    assert_eq!(fs.statfs().free_blocks, empty, "everything was given back");
}

#[test]
fn failed_operations_change_nothing() {
    let mut fs = mount(fresh(256));
    let mut model = Model::new();
    let mut full = 0;
    for i in 0..200u64 {
        let name = format!("f{i}").into_bytes();
        let before = snapshot(&mut fs).unwrap();
        if model
            .apply(&mut fs, &Op::Create(ROOT_INO, name.clone(), 0o644))
            .is_err()
        {
            assert_eq!(snapshot(&mut fs).unwrap(), before);
            full += 1;
            continue;
        }
        let ino = fs.lookup(ROOT_INO, &name).unwrap();
        if model
            .apply(&mut fs, &Op::Write(ino, 0, vec![i as u8; 9000]))
            .is_err()
        {
            full += 1;
        }
        assert_eq!(snapshot(&mut fs).unwrap(), model.snapshot());
    }
    assert!(full > 0, "the volume was meant to fill up");
    for i in 0..200u64 {
        let _ = model.apply(&mut fs, &Op::Unlink(ROOT_INO, format!("f{i}").into_bytes()));
    }
    fs.sync().unwrap();
    assert_eq!(
        fs.statfs().free_blocks,
        mount(fresh(256)).statfs().free_blocks
    );
}

/// A power cut right after each sync, on a volume so full that freed blocks are used again at
/// once: replay must not bring back what a block held in an earlier life.
#[test]
fn cuts_on_a_full_volume() {
    let syncs = if cfg!(debug_assertions) { 60 } else { 1500 };
    let mut rng = Rng::new(9);
    let mut dev = MemoryDevice::new(512);
    let options = FormatOptions {
        journal_blocks: Some(300),
        ..FormatOptions::default()
    };
    format(&mut dev, &options).unwrap();
    let mut fs = mount(dev);
    let mut model = Model::new();
    for _ in 0..syncs {
        for _ in 0..6 {
            // Attributes make and unmake tree nodes, contents take the blocks they leave.
            let name = format!("n{}", rng.below(80)).into_bytes();
            let ino = fs.lookup(ROOT_INO, &name);
            let op = match (ino, rng.below(4)) {
                (Err(_), _) => Op::Create(ROOT_INO, name, 0o644),
                (Ok(_), 0) => Op::Unlink(ROOT_INO, name),
                (Ok(ino), 1) => Op::SetXattr(ino, b"x".to_vec(), vec![7; 1000]),
                (Ok(ino), _) => Op::Write(ino, 0, vec![rng.next() as u8; 12_000]),
            };
            let _ = model.apply(&mut fs, &op);
        }
        if fs.sync().is_err() {
            continue;
        }
        let mut after = mount(fs.device_mut().clone());
        assert_eq!(snapshot(&mut after).unwrap(), model.snapshot());
    }
}
