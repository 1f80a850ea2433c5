//! Servers that die in the middle. See `docs/design/storage-restart.md`.

use super::bench::{Bench, formatted, pattern};
use std::thread;
use std::time::Duration;
use viper_proto::fs::{FileId, Files, flags};
use viper_proto::names;
use viper_rt::{Error, clock};

#[test]
fn files_survive_the_death_of_the_block_server() {
    let mut bench = Bench::new(formatted(4096));
    let bytes = pattern(600_000, 1);
    let Bench { files, names, .. } = &mut bench;
    let how = flags::READ | flags::WRITE | flags::CREATE;
    let (file, _) = files.open(names, "/f", how, 0o644).unwrap();
    for (n, part) in bytes.chunks(50_000).enumerate() {
        names.server_restart(b"blkd").unwrap();
        assert_eq!(
            files.write(names, file, n as u64 * 50_000, part),
            Ok(part.len())
        );
        if n % 3 == 0 {
            files.sync_file(names, file).unwrap();
        }
    }
    names.server_restart(b"blkd").unwrap();
    files.sync_file(names, file).unwrap();
    names.server_restart(b"fsd").unwrap();
    assert_eq!(bench.read("/f").unwrap(), bytes);
    assert_eq!(bench.log(), [""; 0]);
}

/// The worst disk: with its server it loses everything that it took and that was not flushed.
#[test]
fn a_disk_that_forgets_with_its_server_is_told_again() {
    let mut bench = Bench::new(formatted(4096));
    for n in 0..12u32 {
        let bytes = pattern(300_000, n);
        bench.write("/f", &bytes).unwrap();
        // Let it write back, then lose it in the middle of that or after.
        thread::sleep(Duration::from_millis(u64::from(n) * 10));
        bench.names.server_kill(b"blkd").unwrap();
        {
            let mut platter = bench.disk.platter();
            platter.data = platter.durable.clone();
        }
        bench.names.server_restart(b"blkd").unwrap();
        bench.files.sync(&bench.names).unwrap();
        bench.names.server_restart(b"fsd").unwrap();
        assert_eq!(bench.read("/f").unwrap(), bytes, "round {n}");
    }
    assert_eq!(bench.log(), [""; 0]);
}

#[test]
fn open_files_survive_the_death_of_the_file_server() {
    let mut bench = Bench::new(formatted(4096));
    let bytes = pattern(100_000, 1);
    bench.write("/f", &bytes).unwrap();
    let Bench { files, names, .. } = &mut bench;
    files.sync(names).unwrap();
    let (file, _) = files
        .open(names, "/f", flags::READ | flags::WRITE, 0)
        .unwrap();
    let mut part = [0; 1000];
    for n in 0..10 {
        names.server_restart(b"fsd").unwrap();
        assert_eq!(files.read(names, file, n * 1000, &mut part), Ok(1000));
        assert_eq!(part, bytes[n as usize * 1000..][..1000]);
        assert_eq!(files.write(names, file, n * 1000, &part), Ok(1000));
        files.sync_file(names, file).unwrap();
    }
    names.server_restart(b"fsd").unwrap();
    assert_eq!(
        files.make_directory(names, "/d", 0o755).err(),
        Some(Error::ServerDied)
    );
    files.make_directory(names, "/d", 0o755).unwrap();
    assert_eq!(bench.read("/f").unwrap(), bytes);
    assert_eq!(bench.log(), [""; 0]);
}

#[test]
fn changes_become_durable_by_themselves() {
    let mut bench = Bench::new(formatted(4096));
    bench.write("/f", b"not synced by anybody").unwrap();
    let start = clock::now();
    thread::sleep(Duration::from_millis(400));
    let Bench { names, disk, .. } = &mut bench;
    names.server_kill(b"fsd").unwrap();
    {
        let mut platter = disk.platter();
        platter.data = platter.durable.clone();
    }
    names.server_restart(b"fsd").unwrap();
    assert_eq!(bench.read("/f").unwrap(), b"not synced by anybody");
    assert!(clock::now() - start < 10 * clock::SECOND);
}

/// Whoever got `Ok` from a sync has everything; who lost something hears of it.
#[test]
fn what_is_lost_with_the_file_server_is_said_once() {
    let mut bench = Bench::new(formatted(4096));
    let Bench { files, names, .. } = &mut bench;
    let how = flags::READ | flags::WRITE | flags::CREATE;
    let (file, _) = files.open(names, "/f", how, 0o644).unwrap();
    files.write(names, file, 0, b"first").unwrap();
    files.sync_file(names, file).unwrap();
    let died = Some(Error::ServerDied);
    let mut byte = [0; 5];
    type Operation = fn(&mut Files, &names::Client, FileId) -> Result<usize, Error>;
    let operations: [Operation; 4] = [
        |files, names, file| files.write(names, file, 5, b"more"),
        |files, names, file| files.sync_file(names, file).map(|()| 4),
        |files, names, file| files.read(names, file, 0, &mut [0; 4]),
        |files, names, _| files.sync(names).map(|()| 4),
    ];
    for operation in operations {
        files.write(names, file, 0, b"second").unwrap();
        names.server_restart(b"fsd").unwrap();
        assert_eq!(operation(files, names, file).err(), died);
        let _ = files.read(names, file, 0, &mut byte);
        assert_eq!(operation(files, names, file), Ok(4));
        files.write(names, file, 0, b"first").unwrap();
        files.sync(names).unwrap();
    }
    // A file that was never durable, and one that another has the name of.
    let (new, _) = files.open(names, "/new", how, 0o644).unwrap();
    let (other, _) = files.open(names, "/other", how, 0o644).unwrap();
    names.server_restart(b"fsd").unwrap();
    assert_eq!(files.read(names, new, 0, &mut byte).err(), died);
    files.rename(names, "/f", "/g").unwrap();
    let (third, _) = files.open(names, "/f", how, 0o644).unwrap();
    files.sync(names).unwrap();
    names.server_restart(b"fsd").unwrap();
    assert_eq!(files.read(names, file, 0, &mut byte).err(), died);
    assert_eq!(files.read(names, third, 0, &mut byte), Ok(0));
    // The last chance to say it.
    files.write(names, third, 0, b"x").unwrap();
    names.server_restart(b"fsd").unwrap();
    assert_eq!(files.close(third).err(), died);
    assert_eq!(files.close(other), Ok(()));
}
