//! Images that lie, and a user who asks them everything.
#![allow(dead_code, reason = "each test binary uses its own part")]

use super::common::{FAST, Rng, Snapshot, fast, fresh, snapshot};
use std::collections::BTreeSet;
use viperfs::{
    BLOCK_SIZE, CheckOptions, FileKind, Fs, MemoryDevice, MountOptions, Owner, ROOT_INO,
    RenameMode, SeekTo, XattrMode, check,
};

fn smallest() -> MountOptions {
    MountOptions {
        cache_blocks: 0,
        ..fast()
    }
}

/// A volume with one of everything.
pub fn populated(blocks: u64) -> (MemoryDevice, Snapshot) {
    let mut fs = Fs::mount(fresh(blocks), fast()).unwrap();
    let o = Owner::default();
    let dir = fs.mkdir(ROOT_INO, b"dir", 0o755, o, 1).unwrap().ino;
    for i in 0..40u64 {
        let name = format!("file{i}");
        let ino = fs.create(dir, name.as_bytes(), 0o644, o, 1).unwrap().ino;
        fs.write(ino, i % 3 * 5000, &vec![i as u8; 1 + 300 * i as usize], 1)
            .unwrap();
        fs.set_xattr(ino, b"user.tag", &[i as u8; 200], XattrMode::Set, 1)
            .unwrap();
    }
    let kept = fs.lookup(dir, b"file3").unwrap();
    fs.allocate(kept, 0, 20_000, true, 1).unwrap();
    let target = vec![b'x'; 3000];
    fs.symlink(ROOT_INO, b"link", &target, o, 1).unwrap();
    let deep = fs.mkdir(dir, b"deep", 0o700, o, 1).unwrap().ino;
    let first = fs.lookup(dir, b"file1").unwrap();
    fs.link(first, deep, b"hard", 1).unwrap();
    fs.sync().unwrap();
    let all = snapshot(&mut fs).unwrap();
    (fs.unmount().unwrap(), all)
}

/// Makes the checksum of a block right again, if it looks like metadata.
fn reseal(block: &mut [u8]) {
    if block[4..6] == *b"VP" {
        let sum = FAST.of(&block[4..]);
        block[..4].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Changes a few metadata bytes the way an attacker would: checksums come out right.
pub fn mutate(image: &mut [u8], rng: &mut Rng) {
    let metadata: Vec<usize> = image
        .chunks(BLOCK_SIZE)
        .enumerate()
        .filter(|(_, b)| b[4..6] == *b"VP")
        .map(|(i, _)| i)
        .collect();
    for _ in 0..1 + rng.below(4) {
        let block = metadata[rng.below(metadata.len() as u64) as usize];
        let data = &mut image[block * BLOCK_SIZE..][..BLOCK_SIZE];
        // Heads and slots are at the front; that is where lies do the most harm.
        let span = [96, 400, BLOCK_SIZE as u64 - 8][rng.below(3) as usize];
        let at = 4 + rng.below(span - 4) as usize;
        match rng.below(5) {
            0 => data[at] = rng.next() as u8,
            1 => data[at] ^= 1 << rng.below(8),
            2 => {
                let n = [0, 1, 2, 3, 255, u64::MAX, 1 << 56, 4096, 1 << 63][rng.below(9) as usize];
                let n = n.to_le_bytes();
                let len = (data.len() - at).min([2, 4, 8][rng.below(3) as usize]);
                data[at..at + len].copy_from_slice(&n[..len]);
            }
            3 => {
                let from = rng.below(BLOCK_SIZE as u64 - 64) as usize;
                let n = rng.below(64) as usize;
                let to = (64 + rng.below(BLOCK_SIZE as u64 - 128)) as usize;
                data.copy_within(from..from + n, to.min(BLOCK_SIZE - n));
            }
            _ => {
                // A whole block put elsewhere, with its address made to fit.
                let other = metadata[rng.below(metadata.len() as u64) as usize];
                let copy = image[other * BLOCK_SIZE..][..BLOCK_SIZE].to_vec();
                let data = &mut image[block * BLOCK_SIZE..][..BLOCK_SIZE];
                data.copy_from_slice(&copy);
                data[8..16].copy_from_slice(&(block as u64).to_le_bytes());
            }
        }
        reseal(&mut image[block * BLOCK_SIZE..][..BLOCK_SIZE]);
    }
}

/// Uses an image in every way, within bounds; whatever it holds, this must return.
pub fn exercise(image: Vec<u8>) {
    let mut device = MemoryDevice::from_bytes(image);
    let options = CheckOptions {
        crc32c: FAST,
        ..CheckOptions::default()
    };
    let report = check(&mut device, &options, |_| {});
    assert!(report.problems.len() <= 1000);
    let Ok(mut fs) = Fs::mount(device, smallest()) else {
        return;
    };
    let mut seen = BTreeSet::new();
    let mut todo = vec![ROOT_INO];
    let mut buf = vec![0; 40_000];
    while let Some(ino) = todo.pop() {
        if !seen.insert(ino) || seen.len() > 200 {
            continue;
        }
        let Ok(attr) = fs.getattr(ino) else { continue };
        let _ = fs.readlink(ino);
        let _ = fs.read(ino, 0, &mut buf);
        let _ = fs.read(ino, attr.size.saturating_sub(100), &mut buf);
        let _ = fs.list_xattrs(ino, |_| true);
        let _ = fs.xattr(ino, b"user.tag");
        let mut n = 0;
        let _ = fs.readdir(ino, 0, |e| {
            todo.push(e.ino);
            n += 1;
            n < 300
        });
    }
    let o = Owner::default();
    for (i, &ino) in seen.iter().enumerate() {
        let name = format!("file{i}").into_bytes();
        let _ = fs.write(ino, i as u64 * 3000, &buf[..9000], 1);
        let _ = fs.allocate(ino, i as u64 * 5000, 50_000, i % 2 == 0, 1);
        let _ = fs.punch_hole(ino, i as u64 * 700, 9000, 1);
        let _ = fs.seek(ino, 100, SeekTo::Hole);
        let _ = fs.seek(ino, 100, SeekTo::Data);
        let _ = fs.truncate(ino, i as u64 * 100, 1);
        let _ = fs.set_xattr(ino, b"user.tag", &buf[..500], XattrMode::Set, 1);
        let _ = fs.create(ino, b"new", 0o644, o, 1);
        let _ = fs.rename(ROOT_INO, b"dir", ino, b"x", RenameMode::Replace, 1);
        let _ = fs.unlink(ino, &name, 1);
        let _ = fs.rmdir(ino, b"deep", 1);
        let _ = fs.walk(ino, b"../dir/../link/x", true);
    }
    let _ = fs.sync();
    let _ = fs.unlink(ROOT_INO, b"link", 1);
    let kind = fs.getattr(ROOT_INO).map(|a| a.kind);
    assert!(!matches!(kind, Ok(FileKind::File)));
    let _ = fs.unmount();
}
