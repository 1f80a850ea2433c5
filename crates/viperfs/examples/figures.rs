//! What operations cost: `figures NAME COUNT` runs one of them COUNT times and nothing else after
//! its preparation, to be counted from outside, say with `perf stat -e instructions:u`.
//!
//! Two runs with different counts give the cost of one operation as a difference.

use viperfs::{
    BLOCK_SIZE, Crc32c, FormatOptions, Fs, MemoryDevice, MountOptions, Owner, ROOT_INO, format,
};

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_default();
    let count: u64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut device = MemoryDevice::new(32768);
    let options = FormatOptions {
        uuid: [1; 16],
        ..FormatOptions::default()
    };
    format(&mut device, &options).expect("formats");
    // Checksums by the host's instruction, as a machine with one would have them.
    let options = MountOptions {
        crc32c: Crc32c(crc32c::crc32c),
        ..MountOptions::default()
    };
    let mut fs = Fs::mount(device, options).expect("mounts");
    let owner = Owner::default();
    let file = fs
        .create(ROOT_INO, b"file", 0o644, owner, 1)
        .expect("creates")
        .ino;
    let mut page = vec![7; BLOCK_SIZE];
    match &name[..] {
        "cached-read" => {
            fs.write(file, 0, &page, 1).expect("writes");
            for _ in 0..count {
                fs.read(file, 0, &mut page).expect("reads");
            }
        }
        "lookup" => {
            for _ in 0..count {
                fs.lookup(ROOT_INO, b"file").expect("finds");
            }
        }
        "stat" => {
            for _ in 0..count {
                let ino = fs.walk(ROOT_INO, b"/file", true).expect("finds");
                fs.getattr(ino).expect("is there");
            }
        }
        "create-fsync" => {
            for i in 0..count {
                let name = format!("file-{i}");
                let ino = fs
                    .create(ROOT_INO, name.as_bytes(), 0o644, owner, 1)
                    .expect("creates");
                fs.write(ino.ino, 0, &page, 1).expect("writes");
                fs.fsync(ino.ino).expect("syncs");
            }
        }
        "create" => {
            for i in 0..count {
                let name = format!("file-{i}");
                fs.create(ROOT_INO, name.as_bytes(), 0o644, owner, 1)
                    .expect("creates");
            }
            fs.sync().expect("syncs");
        }
        "write-64m" => {
            let chunk = vec![3; 1 << 16];
            for _ in 0..count {
                for i in 0..1024u64 {
                    fs.write(file, i << 16, &chunk, 1).expect("writes");
                }
                fs.sync().expect("syncs");
            }
        }
        "cold-read-8m" => {
            let chunk = vec![3; 8 << 20];
            fs.write(file, 0, &chunk, 1).expect("writes");
            let mut device = fs.unmount().expect("unmounts");
            for _ in 0..count {
                let mut fs = Fs::mount(&mut device, options).expect("mounts");
                for i in 0..2048 {
                    fs.read(file, i * 4096, &mut page).expect("reads");
                }
            }
        }
        "mount" => {
            let mut device = fs.unmount().expect("unmounts");
            for _ in 0..count {
                let fs = Fs::mount(&mut device, options).expect("mounts");
                fs.unmount().expect("unmounts");
            }
        }
        _ => eprintln!(
            "figures: cached-read, lookup, stat, create, create-fsync, write-64m, cold-read-8m, mount"
        ),
    }
}
