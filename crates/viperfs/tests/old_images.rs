//! An image written by the first release of format 1 must go on to mount, and lies told about it
//! before must go on to do no harm.
//!
//! `VIPERFS_WRITE_TESTDATA=1` makes the files anew; that is right for a new format version only,
//! under a new name.

mod common;
#[path = "common/hostile.rs"]
mod hostile;

use common::{Rng, Snapshot, fresh, snapshot};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use viperfs::{
    CheckOptions, Fs, MemoryDevice, MountOptions, Owner, ROOT_INO, RenameMode, XattrMode, check,
};

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name)
}

fn writing() -> bool {
    std::env::var_os("VIPERFS_WRITE_TESTDATA").is_some()
}

/// A volume as a power cut left it: transactions in the journal, a deleted file still open.
fn write_image() -> Vec<u8> {
    let mut fs = Fs::mount(fresh(256), MountOptions::default()).unwrap();
    let o = Owner {
        uid: 1000,
        gid: 100,
    };
    let dir = fs.mkdir(ROOT_INO, b"dir", 0o755, o, 1).unwrap().ino;
    for i in 0..24u64 {
        let ino = fs
            .create(dir, format!("file{i}").as_bytes(), 0o640, o, 2)
            .unwrap()
            .ino;
        fs.write(ino, i % 3 * 5000, &vec![i as u8; 1 + 300 * i as usize], 3)
            .unwrap();
        fs.set_xattr(ino, b"user.tag", &[i as u8; 300], XattrMode::Set, 4)
            .unwrap();
    }
    fs.symlink(ROOT_INO, b"link", &[b'x'; 1500], o, 5).unwrap();
    fs.sync().unwrap();
    let mut fs = Fs::mount(fs.unmount().unwrap(), MountOptions::default()).unwrap();
    let open = fs.lookup(dir, b"file7").unwrap();
    fs.pin(open).unwrap();
    fs.unlink(dir, b"file7", 6).unwrap();
    fs.rename(dir, b"file8", ROOT_INO, b"moved", RenameMode::Replace, 7)
        .unwrap();
    fs.sync().unwrap();
    let deep = fs.mkdir(dir, b"deep", 0o700, o, 8).unwrap().ino;
    let first = fs.lookup(dir, b"file1").unwrap();
    fs.link(first, deep, b"hard", 9).unwrap();
    fs.sync().unwrap();
    fs.abandon().into_bytes()
}

fn describe(shown: &Snapshot) -> String {
    let mut text = String::new();
    for (path, s) in shown {
        let sum = viperfs::Crc32c::SOFTWARE.of(&s.content);
        let path = String::from_utf8_lossy(path);
        let (kind, mode) = (s.kind, s.mode);
        let len = s.content.len();
        writeln!(
            text,
            "{kind:o} {mode:o} {} {len} {sum:08x} /{path}",
            s.nlink
        )
        .unwrap();
        for (name, value) in &s.xattrs {
            let name = String::from_utf8_lossy(name);
            let sum = viperfs::Crc32c::SOFTWARE.of(value);
            writeln!(text, "    {name} {} {sum:08x}", value.len()).unwrap();
        }
    }
    text
}

#[test]
fn version_1_image_mounts() {
    if writing() {
        fs::write(testdata("v1-crashed.viperfs"), write_image()).unwrap();
    }
    let mut device = MemoryDevice::from_bytes(fs::read(testdata("v1-crashed.viperfs")).unwrap());
    let report = check(&mut device, &CheckOptions::default(), |_| {});
    assert!(report.is_clean(), "{:?}", report.problems);
    assert!(
        report.pending_transactions == 2 && report.orphans == 1,
        "{report:?}"
    );
    let read_only = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    let before = device.clone();
    let shown = snapshot(&mut Fs::mount(&mut device, read_only).unwrap()).unwrap();
    assert!(device == before, "mounting read-only writes nothing");
    if writing() {
        fs::write(testdata("v1-crashed.txt"), describe(&shown)).unwrap();
    }
    let expected = fs::read_to_string(testdata("v1-crashed.txt")).unwrap();
    assert_eq!(describe(&shown), expected);
    let mut fs = Fs::mount(device, MountOptions::default()).unwrap();
    assert_eq!(fs.counters().orphans, 1);
    assert_eq!(describe(&snapshot(&mut fs).unwrap()), expected);
    let mut device = fs.unmount().unwrap();
    let report = check(&mut device, &CheckOptions::default(), |_| {});
    assert!(report.is_clean() && report.pending_transactions == 0 && report.orphans == 0);
}

/// Each file of the corpus is a list of changes to the old image: an offset and bytes.
#[test]
fn corpus_of_lies_does_no_harm() {
    let image = fs::read(testdata("v1-crashed.viperfs")).unwrap();
    if writing() {
        write_corpus(&image);
    }
    let mut files: Vec<_> = fs::read_dir(testdata("hostile"))
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 50);
    for file in files {
        let mut lie = image.clone();
        for line in fs::read_to_string(&file).unwrap().lines() {
            let (at, bytes) = line.split_once(' ').unwrap();
            let at: usize = at.parse().unwrap();
            for (i, pair) in bytes.as_bytes().chunks(2).enumerate() {
                let pair = std::str::from_utf8(pair).unwrap();
                lie[at + i] = u8::from_str_radix(pair, 16).unwrap();
            }
        }
        let result = std::panic::catch_unwind(|| hostile::exercise(lie));
        assert!(result.is_ok(), "{}", file.display());
    }
}

/// One lie of each class: what mounting and the checker say, without the numbers.
fn write_corpus(image: &[u8]) {
    let mut classes = BTreeSet::new();
    for seed in 0..4000 {
        let mut lie = image.to_vec();
        hostile::mutate(&mut lie, &mut Rng::new(seed));
        let mut device = MemoryDevice::from_bytes(lie.clone());
        let report = check(&mut device, &CheckOptions::default(), |_| {});
        let kinds: BTreeSet<String> = report
            .problems
            .iter()
            .map(|p| {
                format!("{p:?}")
                    .chars()
                    .filter(|c| !c.is_ascii_digit())
                    .collect()
            })
            .collect();
        let mounts = Fs::mount(&mut device, MountOptions::default()).err();
        if classes.len() < 90 && classes.insert(format!("{mounts:?} {kinds:?}")) {
            fs::write(
                testdata(&format!("hostile/{seed:05}.txt")),
                patch(image, &lie),
            )
            .unwrap();
        }
    }
}

fn patch(old: &[u8], new: &[u8]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < old.len() {
        if old[at] == new[at] {
            at += 1;
            continue;
        }
        // A run ends where eight bytes are equal.
        let mut end = at + 1;
        while end < old.len()
            && old[end..]
                .iter()
                .zip(&new[end..])
                .take(8)
                .any(|(a, b)| a != b)
        {
            end += 1;
        }
        write!(text, "{at} ").unwrap();
        new[at..end]
            .iter()
            .for_each(|b| write!(text, "{b:02x}").unwrap());
        text.push('\n');
        at = end;
    }
    text
}
