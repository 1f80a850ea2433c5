//! Locks between clients, over their death and the server's.

use super::bench::{Bench, formatted};
use viper_proto::fs::{FileId, Files, LockRange, flags};
use viper_proto::names;
use viper_rt::{Error, clock, thread};

const HOW: u32 = flags::READ | flags::WRITE | flags::CREATE;

const fn range(start: u64, last: u64, exclusive: bool) -> LockRange {
    LockRange {
        start,
        last,
        exclusive,
    }
}

fn open(files: &mut Files, names: &names::Client) -> FileId {
    files.open(names, "/f", HOW, 0o644).unwrap().0
}

#[test]
fn clients_lock_each_other_out_until_they_go() {
    let mut bench = Bench::new(formatted(1024));
    let Bench { files, names, .. } = &mut bench;
    let mut other = Files::new();
    let (mine, theirs) = (open(files, names), open(&mut other, names));
    let (low, high) = (range(0, 99, true), range(100, u64::MAX, true));
    files.lock(names, mine, low, 0).unwrap();
    let blocked = Err(Error::WouldBlock);
    assert_eq!(other.lock(names, theirs, range(99, 100, false), 0), blocked);
    other.lock(names, theirs, high, 0).unwrap();
    assert_eq!(
        files.lock_test(names, mine, range(5, 500, false)),
        Ok((high, 1))
    );
    let free = files.lock_test(names, mine, low);
    assert_eq!(free.err(), Some(Error::NotFound));
    assert_eq!(
        files.lock(names, mine, range(9, 8, true), 0),
        Err(Error::InvalidArgument)
    );
    // Waiting ends at the deadline, or at once when it would never end.
    let soon = clock::after(30 * clock::MILLISECOND);
    assert_eq!(files.lock(names, mine, high, soon), Err(Error::TimedOut));
    assert!(clock::now() >= soon);
    // Closing gives up; so does going away.
    other.close(theirs).unwrap();
    files.lock(names, mine, high, 0).unwrap();
    files.unlock(names, mine, range(50, 200, false)).unwrap();
    let theirs = open(&mut other, names);
    other.lock(names, theirs, range(50, 200, true), 0).unwrap();
    assert_eq!(files.lock(names, mine, range(200, 200, false), 0), blocked);
    drop(other);
    let late = clock::after(5 * clock::SECOND);
    files
        .lock(names, mine, range(200, 200, false), late)
        .unwrap();
}

#[test]
fn who_waits_gets_it_when_it_is_free() {
    let mut bench = Bench::new(formatted(1024));
    let Bench { files, names, .. } = &mut bench;
    let all = range(0, u64::MAX, true);
    let mine = open(files, names);
    files.lock(names, mine, all, 0).unwrap();
    let other_names = names::Client::new(names.duplicate(0).unwrap());
    let waits = thread::spawn(move || {
        let mut other = Files::new();
        let theirs = open(&mut other, &other_names);
        let late = clock::after(10 * clock::SECOND);
        other.lock(&other_names, theirs, all, late).unwrap();
        other.write(&other_names, theirs, 0, b"after").unwrap();
    });
    let waits = waits.unwrap();
    clock::sleep(50 * clock::MILLISECOND);
    files.write(names, mine, 0, b"first").unwrap();
    files.unlock(names, mine, all).unwrap();
    waits.join(clock::after(10 * clock::SECOND)).unwrap();
    files
        .lock(names, mine, all, clock::after(clock::SECOND))
        .unwrap();
    let mut found = [0; 5];
    files.read(names, mine, 0, &mut found).unwrap();
    assert_eq!(&found, b"after");
}

#[test]
fn locks_come_back_with_the_server_or_are_said_to_be_lost() {
    let mut bench = Bench::new(formatted(1024));
    let Bench { files, names, .. } = &mut bench;
    let mut other = Files::new();
    let (mine, theirs) = (open(files, names), open(&mut other, names));
    files.sync(names).unwrap();
    let mut byte = [0];
    let (one, two) = (range(0, 9, true), range(20, 29, true));
    files.lock(names, mine, one, 0).unwrap();
    files.lock(names, mine, two, 0).unwrap();
    files.unlock(names, mine, range(5, 9, true)).unwrap();
    names.server_restart(b"fsd").unwrap();
    // The first operation takes them again.
    files.read(names, mine, 0, &mut byte).unwrap();
    for (part, is_free) in [
        (range(0, 4, true), false),
        (range(5, 9, true), true),
        (two, false),
    ] {
        let locked = other.lock(names, theirs, part, 0);
        assert_eq!(locked.is_ok(), is_free, "{part:?}");
    }
    other.unlock(names, theirs, range(0, 9, true)).unwrap();
    // Another one comes first.
    names.server_restart(b"fsd").unwrap();
    other.lock(names, theirs, two, 0).unwrap();
    assert_eq!(files.read(names, mine, 0, &mut byte), Err(Error::LockLost));
    assert_eq!(files.read(names, mine, 0, &mut byte), Ok(0));
    other.lock(names, theirs, one, 0).unwrap();
}

#[test]
fn space_is_kept_and_given_back() {
    let mut bench = Bench::new(formatted(1024));
    let Bench { files, names, .. } = &mut bench;
    let file = open(files, names);
    let free = files.statistics(names).unwrap().blocks_free;
    files.allocate(names, file, 0, 100 * 4096, false).unwrap();
    files.sync(names).unwrap();
    assert_eq!(files.stat(names, file).unwrap().size_bytes, 100 * 4096);
    assert!(files.statistics(names).unwrap().blocks_free + 100 <= free);
    assert_eq!(files.seek(names, file, 0, false), Err(Error::NotFound));
    files.write(names, file, 4096 * 7, &[1; 4096]).unwrap();
    assert_eq!(files.seek(names, file, 0, false), Ok(4096 * 7));
    assert_eq!(files.seek(names, file, 4096 * 7, true), Ok(4096 * 8));
    let mut byte = [9];
    files.read(names, file, 4096 * 7, &mut byte).unwrap();
    files.punch(names, file, 0, 100 * 4096).unwrap();
    files.read(names, file, 4096 * 7, &mut byte).unwrap();
    assert_eq!(byte, [0]);
    files.sync(names).unwrap();
    assert!(files.statistics(names).unwrap().blocks_free + 5 > free);
    let (volume, label) = files.volume(names).unwrap();
    assert_eq!(
        (volume.uuid_low, label.as_str()),
        (0x0707_0707_0707_0707, "test")
    );
    files.set_label(names, "other").unwrap();
    names.server_restart(b"fsd").unwrap();
    assert_eq!(files.volume(names).unwrap().1, "other");
    assert_eq!(
        files.set_label(names, &"x".repeat(65)),
        Err(Error::NameTooLong)
    );
}
