//! Several volumes: mounted, crossed by links, busy, failing, and kept over the server's death.

use super::bench::{Bench, formatted, pattern};
use crate::gpt::tests::write_table;
use blkd::fake::FakeDisk;
use viper_proto::fs::{LockRange, MountOptions, flags, mount_state};
use viper_rt::Error;

const PLAIN: MountOptions = MountOptions {
    read_only: false,
    quota_bytes: u64::MAX,
    quota_inodes: u64::MAX,
};

/// A machine with two volumes, the second of them at `/mnt`.
fn two() -> (Bench, FakeDisk) {
    let second = formatted(2048);
    let mut bench = Bench::with_more(formatted(4096), true, std::slice::from_ref(&second));
    let Bench { files, names, .. } = &mut bench;
    files.make_directory(names, "/mnt", 0o755).unwrap();
    assert_eq!(files.mount(names, "D1", "/mnt", PLAIN), Ok(None));
    (bench, second)
}

fn refusal(bench: &mut Bench, device: &str) -> String {
    let Bench { files, names, .. } = bench;
    files.mount(names, device, "/mnt", PLAIN).unwrap().unwrap()
}

#[test]
fn two_volumes_have_files_of_their_own() {
    let (mut bench, _) = two();
    bench.write("/mnt/f", &pattern(300_000, 1)).unwrap();
    bench.write("/f", &pattern(200_000, 2)).unwrap();
    assert_eq!(bench.read("/mnt/f").unwrap(), pattern(300_000, 1));
    assert_eq!(bench.read("/f").unwrap(), pattern(200_000, 2));
    let Bench { files, names, .. } = &mut bench;
    // Blocks are given when they are written back, at some time.
    let stat = |files: &mut viper_proto::fs::Files, path| {
        let found = files.stat_path(names, path, true);
        found.map(|found| (found.inode, found.size_bytes, found.modified_ns))
    };
    let (a, b) = (stat(files, "/mnt/f").unwrap(), stat(files, "/f").unwrap());
    assert_ne!(a.0, b.0, "files of two volumes are two files");
    assert_eq!(stat(files, "/mnt/../f").unwrap(), b);
    assert_eq!(stat(files, "/mnt/./f").unwrap(), a);
    assert_eq!(stat(files, "/mnt/f/x").err(), Some(Error::NotDirectory));
    let blocks =
        |path, files: &mut viper_proto::fs::Files| files.statistics_at(names, path).unwrap().blocks;
    assert_eq!((blocks("/", files), blocks("/mnt/f", files)), (4096, 2048));
    let mount = files.mount_at(names, 1).unwrap().unwrap();
    assert_eq!((mount.device.as_str(), mount.path.as_str()), ("D1", "/mnt"));
    assert_eq!(mount.info.state, mount_state::WRITABLE);
    assert_eq!(files.mount_at(names, 0).unwrap().unwrap().path, "/");
    assert_eq!(files.mount_at(names, 2).unwrap(), None);
    let (volume, label) = files.volume_at(names, "/mnt").unwrap();
    assert_eq!(
        (label.as_str(), volume.uuid_low),
        ("test", 0x0707_0707_0707_0707)
    );
}

#[test]
fn links_lead_from_one_volume_to_another() {
    let (mut bench, _) = two();
    bench.write("/outside", b"out").unwrap();
    let Bench { files, names, .. } = &mut bench;
    files.make_directory(names, "/mnt/d", 0o755).unwrap();
    files.symlink(names, "/mnt/d", "/in").unwrap();
    files.symlink(names, "/outside", "/mnt/d/abs").unwrap();
    files.symlink(names, "../../outside", "/mnt/d/rel").unwrap();
    files
        .symlink(names, "../../new", "/mnt/d/dangling")
        .unwrap();
    files.symlink(names, "self", "/mnt/self").unwrap();
    assert_eq!(
        files.stat_path(names, "/mnt/self", true).err(),
        Some(Error::Loop)
    );
    bench.write("/in/file", b"in").unwrap();
    assert_eq!(bench.read("/mnt/d/file").unwrap(), b"in");
    assert_eq!(bench.read("/in/abs").unwrap(), b"out");
    assert_eq!(bench.read("/in/rel").unwrap(), b"out");
    // As POSIX has it, `..` of a link's target is the target's parent.
    assert_eq!(bench.read("/in/../d/file").unwrap(), b"in");
    bench.write("/in/dangling", b"made").unwrap();
    assert_eq!(bench.read("/new").unwrap(), b"made");
    let Bench { files, names, .. } = &mut bench;
    for (from, to) in [("/outside", "/mnt/x"), ("/mnt/d/file", "/y")] {
        assert_eq!(files.rename(names, from, to), Err(Error::CrossDevice));
        assert_eq!(files.link(names, from, to), Err(Error::CrossDevice));
    }
    files.rename(names, "/mnt/d/file", "/mnt/file").unwrap();
    files.link(names, "/in/../file", "/mnt/again").unwrap();
    assert_eq!(bench.read("/mnt/again").unwrap(), b"in");
}

#[test]
fn what_is_in_use_stays_mounted() {
    let (mut bench, _) = two();
    bench.write("/mnt/f", b"x").unwrap();
    let Bench { files, names, .. } = &mut bench;
    let (file, _) = files.open(names, "/mnt/f", flags::READ, 0).unwrap();
    let mount = files.mount_at(names, 1).unwrap().unwrap();
    assert_eq!(mount.info.open_files, 1);
    assert_eq!(files.unmount(names, "/mnt", false), Err(Error::Busy));
    assert_eq!(files.unmount(names, "/mnt", true), Err(Error::Busy));
    let stream = files.stream(names, file, 0).unwrap();
    files.close(file).unwrap();
    assert_eq!(files.unmount(names, "/mnt", false), Err(Error::Busy));
    drop(stream);
    assert_eq!(files.remove_directory(names, "/mnt"), Err(Error::Busy));
    assert_eq!(files.rename(names, "/mnt", "/other"), Err(Error::Busy));
    assert_eq!(files.unmount(names, "/", false), Err(Error::Busy));
    assert_eq!(files.unmount(names, "/mnt/f", false), Err(Error::NotFound));
    let taken = files.mount(names, "D1", "/mnt", PLAIN);
    assert_eq!(taken, Err(Error::AlreadyExists));
    // The channel's end is heard of a little later.
    while files.unmount(names, "/mnt", false) == Err(Error::Busy) {}
    assert_eq!(
        files.stat_path(names, "/mnt/f", true).err(),
        Some(Error::NotFound)
    );
    assert_eq!(files.unmount(names, "/mnt", false), Err(Error::NotFound));
    assert_eq!(files.unmount(names, "/", false), Err(Error::Busy));
    assert_eq!(files.mount(names, "D1", "/mnt", PLAIN), Ok(None));
    assert_eq!(bench.read("/mnt/f").unwrap(), b"x");
}

#[test]
fn what_rests_keeps_no_volume() {
    let (mut bench, _) = two();
    bench.write("/mnt/f", b"x").unwrap();
    let Bench { files, names, .. } = &mut bench;
    for _ in 0..5 {
        let (file, _) = files.open(names, "/mnt/f", flags::READ, 0).unwrap();
        files.close(file).unwrap();
        let mount = files.mount_at(names, 1).unwrap().unwrap();
        assert_eq!(mount.info.open_files, 0);
        let (file, _) = files.open(names, "/mnt/f", flags::READ, 0).unwrap();
        files.close(file).unwrap();
        files.stat_path(names, "/mnt/f", true).unwrap();
        assert_eq!(files.unmount(names, "/mnt", false), Ok(()));
        let known = files.stat_path(names, "/mnt/f", true).err();
        assert_eq!(known, Some(Error::NotFound));
        let opened = files.open(names, "/mnt/f", flags::READ, 0).err();
        assert_eq!(opened, Some(Error::NotFound));
        assert_eq!(files.mount(names, "D1", "/mnt", PLAIN), Ok(None));
    }
}

#[test]
fn a_device_that_cannot_be_mounted_is_refused_with_a_sentence() {
    let newer = formatted(2048);
    for at in [0, 2047 * 4096] {
        let platter = &mut newer.platter().data;
        let block = &mut platter[at..at + 4096];
        block[32..34].copy_from_slice(&9u16.to_le_bytes());
        let sum = viperfs::Crc32c::SOFTWARE.of(&block[4..]);
        block[..4].copy_from_slice(&sum.to_le_bytes());
    }
    let noise = FakeDisk::holding(pattern(4 << 20, 5));
    let blank = FakeDisk::new(32768);
    let mut bench = Bench::with_more(formatted(4096), true, &[blank, noise, newer]);
    let Bench { files, names, .. } = &mut bench;
    files.make_directory(names, "/mnt", 0o755).unwrap();
    assert_eq!(files.mount(names, "D1", "/no", PLAIN), Err(Error::NotFound));
    bench.write("/file", b"").unwrap();
    let Bench { files, names, .. } = &mut bench;
    let on_file = files.mount(names, "D3", "/file", PLAIN);
    assert_eq!(on_file, Err(Error::NotDirectory));
    for (device, words) in [
        ("D1", "D1: no valid viperfs"),
        ("D2", "D2: no valid viperfs"),
        ("D3", "D3: format version 9 is not supported"),
        ("D2.1", "D2 has no intact partition table"),
        ("D0", "D0 is mounted already"),
        ("D0.1", "D0 has no intact partition table"),
        ("D7", "devices are D0 to D3"),
        ("SYS", "devices are D0 to D3"),
    ] {
        let said = refusal(&mut bench, device);
        assert!(said.contains(words), "{device}: {said}");
    }
    assert_eq!(bench.log(), [""; 0], "it is said to who asked");
    let mut alone = Bench::new(formatted(4096));
    let Bench { files, names, .. } = &mut alone;
    files.make_directory(names, "/mnt", 0o755).unwrap();
    assert_eq!(refusal(&mut alone, "D1"), "there is no disk D1");
}

#[test]
fn partitions_are_mounted_by_number_and_never_twice() {
    let mut bytes = vec![0; 24 << 20];
    write_table(&mut bytes, &[(2048, 10239), (16384, 24575), (30720, 40959)]);
    for first in [2048, 16384] {
        let volume = formatted(1024).platter().data.clone();
        bytes[first * 512..][..volume.len()].copy_from_slice(&volume);
    }
    let disk = FakeDisk::holding(bytes);
    let mut bench = Bench::with_more(formatted(4096), true, &[disk]);
    let Bench { files, names, .. } = &mut bench;
    for path in ["/mnt", "/a", "/b"] {
        files.make_directory(names, path, 0o755).unwrap();
    }
    assert_eq!(files.mount(names, "D1.2", "/b", PLAIN), Ok(None));
    bench.write("/b/f", b"second").unwrap();
    assert_eq!(refusal(&mut bench, "D1.2"), "D1.2 is mounted already");
    let said = refusal(&mut bench, "D1.3");
    assert!(said.contains("D1.3: no valid viperfs"), "{said}");
    assert_eq!(
        refusal(&mut bench, "D1.4"),
        "D1 has no partition 4, but 3 others"
    );
    let Bench { files, names, .. } = &mut bench;
    // The first that has a volume, as the system's own disk is found.
    assert_eq!(files.mount(names, "d1:", "/a", PLAIN), Ok(None));
    bench.write("/a/f", b"first").unwrap();
    assert_eq!(refusal(&mut bench, "D1.1"), "D1.1 is mounted already");
    assert_eq!(refusal(&mut bench, "D1"), "D1 is mounted already");
    assert_eq!(bench.read("/b/f").unwrap(), b"second");
    assert_eq!(bench.read("/a/f").unwrap(), b"first");
}

#[test]
fn a_mount_may_be_read_only_and_small() {
    let (mut bench, _) = two();
    bench.write("/mnt/f", b"x").unwrap();
    let Bench { files, names, .. } = &mut bench;
    files.unmount(names, "/mnt", false).unwrap();
    let options = MountOptions {
        read_only: true,
        ..PLAIN
    };
    assert_eq!(files.mount(names, "D1", "/mnt", options), Ok(None));
    let mount = files.mount_at(names, 1).unwrap().unwrap();
    assert_eq!(mount.info.state, mount_state::READ_ONLY);
    assert_eq!(bench.read("/mnt/f").unwrap(), b"x");
    assert_eq!(bench.write("/mnt/g", b"y"), Err(Error::ReadOnly));
    bench.write("/g", b"y").unwrap();
    let Bench { files, names, .. } = &mut bench;
    files.unmount(names, "/mnt", false).unwrap();
    let options = MountOptions {
        quota_bytes: 1 << 20,
        quota_inodes: 3,
        ..PLAIN
    };
    assert_eq!(files.mount(names, "D1", "/mnt", options), Ok(None));
    let big = bench.write("/mnt/big", &pattern(2 << 20, 3));
    assert_eq!(big, Err(Error::NoSpace));
    bench.write("/big", &pattern(2 << 20, 3)).unwrap();
    assert_eq!(bench.write("/mnt/more", b""), Err(Error::NoSpace));
    let Bench { files, names, .. } = &mut bench;
    files.set_quota(names, "/mnt", u64::MAX, u64::MAX).unwrap();
    bench.write("/mnt/big", &pattern(2 << 20, 3)).unwrap();
    bench.write("/mnt/more", b"").unwrap();
}

#[test]
fn mounts_outlive_the_server_with_files_and_locks() {
    let (mut bench, _) = two();
    bench.write("/mnt/f", &pattern(10_000, 1)).unwrap();
    bench.write("/f", &pattern(10_000, 2)).unwrap();
    let Bench { files, names, .. } = &mut bench;
    files.sync(names).unwrap();
    let (file, attributes) = files.open(names, "/mnt/f", flags::READ, 0).unwrap();
    let range = LockRange {
        last: 9,
        exclusive: true,
        ..LockRange::default()
    };
    files.lock(names, file, range, 0).unwrap();
    names.server_restart(b"fsd").unwrap();
    let mut bytes = [0; 100];
    assert_eq!(files.read(names, file, 50, &mut bytes), Ok(100));
    assert_eq!(bytes, pattern(10_000, 1)[50..150]);
    assert_eq!(files.stat(names, file).unwrap().inode, attributes.inode);
    let mount = files.mount_at(names, 1).unwrap().unwrap();
    assert_eq!((mount.device.as_str(), mount.path.as_str()), ("D1", "/mnt"));
    files.close(file).unwrap();
    files.unmount(names, "/mnt", false).unwrap();
    names.server_restart(b"fsd").unwrap();
    assert_eq!(files.mount_at(names, 1).unwrap(), None);
    assert_eq!(bench.read("/f").unwrap(), pattern(10_000, 2));
}

#[test]
fn a_second_disk_that_fails_takes_nothing_with_it() {
    let (mut bench, second) = two();
    bench.write("/mnt/f", b"before").unwrap();
    bench.files.sync(&bench.names).unwrap();
    second.platter().writes_left = Some(0);
    bench.write("/mnt/g", b"lost").unwrap();
    assert_eq!(bench.files.sync(&bench.names), Err(Error::Io));
    assert_eq!(bench.write("/mnt/h", b"no"), Err(Error::ReadOnly));
    assert_eq!(bench.read("/mnt/f").unwrap(), b"before");
    bench.write("/first", b"works").unwrap();
    assert_eq!(bench.read("/first").unwrap(), b"works");
    let log = bench.log();
    assert_eq!(
        log,
        ["/mnt: the disk failed: the volume is read-only until it works"]
    );
    let Bench { files, names, .. } = &mut bench;
    let mount = files.mount_at(names, 1).unwrap().unwrap();
    assert_eq!(mount.info.state, mount_state::FAILED);
    assert!(files.unmount(names, "/mnt", false).is_err());
    files.unmount(names, "/mnt", true).unwrap();
    assert_eq!(files.sync(names), Ok(()));
    // It works again: what was durable is there.
    second.platter().writes_left = None;
    assert_eq!(files.mount(names, "D1", "/mnt", PLAIN), Ok(None));
    assert_eq!(bench.read("/mnt/f").unwrap(), b"before");
}
