//! Disks that are not there, not ours, damaged, full or failing.

use super::bench::{Bench, formatted, pattern};
use blkd::fake::FakeDisk;
use viper_proto::fs::flags;
use viper_rt::{Error, clock};

/// The server stays up, says one line, and answers each request with `error`.
fn refused(disk: FakeDisk, has_blkd: bool, error: Error, line: &str) {
    let mut bench = Bench::with(disk, has_blkd);
    let Bench { files, names, .. } = &mut bench;
    for _ in 0..3 {
        assert_eq!(
            files.stat_path(names, "/", true).err(),
            Some(error),
            "{line}"
        );
        assert_eq!(files.open(names, "/f", flags::READ, 0).err(), Some(error));
        assert_eq!(files.make_directory(names, "/d", 0), Err(error));
        assert_eq!(files.statistics(names).err(), Some(error));
        assert_eq!(files.sync(names), Err(error));
    }
    let log = bench.log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].contains(line), "{log:?} says not {line}");
}

#[test]
fn no_disk_or_a_strange_one_is_said_once() {
    refused(FakeDisk::new(8), false, Error::NoService, "no disk");
    refused(
        FakeDisk::new(32768),
        true,
        Error::NoService,
        "no valid viperfs",
    );
    refused(
        FakeDisk::holding(pattern(4 << 20, 5)),
        true,
        Error::NoService,
        "no valid viperfs",
    );
    refused(FakeDisk::new(1), true, Error::NoService, "no valid viperfs");
}

#[test]
fn a_disk_that_was_cut_off_is_said_once() {
    let bytes = formatted(4096).platter().data.clone();
    let cut = FakeDisk::holding(bytes[..8 << 20].to_vec());
    refused(cut, true, Error::Corrupt, "smaller than the volume");
}

#[test]
fn a_disk_that_cannot_be_read_is_said_once() {
    let disk = formatted(4096);
    disk.platter().bad_from = Some(0);
    refused(disk, true, Error::Io, "device input/output error");
}

#[test]
fn a_disk_that_fails_while_it_is_written_becomes_read_only() {
    let mut bench = Bench::new(formatted(4096));
    bench.write("/kept", b"from before").unwrap();
    bench.files.sync(&bench.names).unwrap();
    bench.disk.platter().writes_left = Some(3);
    let mut failed = 0;
    for n in 0..20 {
        let _ = bench.write(&format!("/f{n}"), &pattern(100_000, n));
        failed += u32::from(bench.files.sync(&bench.names).is_err());
    }
    assert!(failed > 0);
    assert_eq!(bench.write("/new", b"x"), Err(Error::ReadOnly));
    assert_eq!(bench.read("/kept").unwrap(), b"from before");
    let log = bench.log();
    assert_eq!(
        log,
        ["the disk failed: the volume is read-only until it works"]
    );
}

#[test]
fn a_disk_that_works_again_gets_everything_that_was_accepted() {
    let mut bench = Bench::new(formatted(4096));
    bench.disk.platter().writes_left = Some(3);
    let mut accepted = Vec::new();
    for n in 0..20 {
        if bench.write(&format!("/f{n}"), &pattern(100_000, n)).is_ok() {
            accepted.push(n);
        }
        let _ = bench.files.sync(&bench.names);
    }
    assert!(!accepted.is_empty() && accepted.len() < 20);
    {
        // It works again, but has forgotten what was not flushed.
        let mut platter = bench.disk.platter();
        platter.data = platter.durable.clone();
        platter.writes_left = None;
    }
    let late = clock::after(20 * clock::SECOND);
    while bench.write("/new", b"x").is_err() {
        assert!(clock::now() < late, "the volume stays read-only");
        clock::sleep(50 * clock::MILLISECOND);
    }
    assert_eq!(bench.log().last().unwrap(), "the disk works again");
    {
        // What was accepted is durable by now.
        let mut platter = bench.disk.platter();
        platter.data = platter.durable.clone();
    }
    bench.names.server_restart(b"fsd").unwrap();
    for n in accepted {
        assert_eq!(bench.read(&format!("/f{n}")).unwrap(), pattern(100_000, n));
    }
}

#[test]
fn a_read_only_disk_is_served_read_only() {
    let disk = formatted(4096);
    disk.platter().is_read_only = true;
    let mut bench = Bench::new(disk);
    assert_eq!(bench.write("/f", b"x"), Err(Error::ReadOnly));
    assert!(bench.files.statistics(&bench.names).unwrap().read_only);
    assert_eq!(bench.log(), [""; 0]);
}

#[test]
fn a_full_disk_takes_no_more_and_is_well_after_deleting() {
    let mut bench = Bench::new(formatted(1024));
    let bytes = pattern(1 << 20, 1);
    let mut kept = 0;
    let error = loop {
        match bench.write(&format!("/f{kept}"), &bytes) {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 10, "it holds more than it is large");
    };
    assert_eq!((error, kept), (Error::NoSpace, 3));
    for n in 0..kept {
        assert_eq!(bench.read(&format!("/f{n}")).unwrap(), bytes);
        let Bench { files, names, .. } = &mut bench;
        files.unlink(names, &format!("/f{n}")).unwrap();
    }
    let Bench { files, names, .. } = &mut bench;
    files.unlink(names, &format!("/f{kept}")).unwrap();
    bench.write("/again", &bytes).unwrap();
    assert_eq!(bench.read("/again").unwrap(), bytes);
    assert_eq!(bench.log(), [""; 0]);
}
