//! Users: what they may do is what modes and owners say, whatever they send.

use super::bench::{Bench, formatted};
use viper_proto::fs::{Changes, FileId, Files, MountOptions, attribute, flags, kind};
use viper_proto::names;
use viper_rt::Error;

/// A user with files of its own.
struct Person {
    names: names::Client,
    files: Files,
}

impl Person {
    fn new(bench: &Bench, user: u32, group: u32) -> Person {
        Person {
            names: bench.names_as(user, group),
            files: Files::new(),
        }
    }

    fn open(&mut self, path: &str, how: u32, mode: u32) -> Result<FileId, Error> {
        let opened = self.files.open(&self.names, path, how, mode);
        opened.map(|(file, _)| file)
    }

    fn make(&mut self, path: &str, mode: u32) -> Result<(), Error> {
        let file = self.open(path, flags::WRITE | flags::CREATE, mode)?;
        self.files.close(file)
    }

    fn mode(&mut self, path: &str) -> u32 {
        self.files.stat_path(&self.names, path, false).unwrap().mode
    }

    fn change(&mut self, path: &str, changes: Changes) -> Result<(), Error> {
        self.files.set_attributes(&self.names, path, changes)
    }
}

fn mode(mode: u32) -> Changes {
    Changes {
        which: Changes::MODE,
        mode,
        ..Changes::default()
    }
}

fn owner(user: u32, group: u32) -> Changes {
    Changes {
        which: Changes::USER | Changes::GROUP,
        user,
        group,
        ..Changes::default()
    }
}

/// The system, two users of one group, and a directory that everybody may write.
fn people() -> (Bench, Person, Person) {
    let mut bench = Bench::new(formatted(4096));
    let Bench { files, names, .. } = &mut bench;
    files.make_directory(names, "/t", 0o1777).unwrap();
    files.make_directory(names, "/s", 0o755).unwrap();
    bench.write("/s/secret", b"x").unwrap();
    let Bench { files, names, .. } = &mut bench;
    files
        .set_attributes(names, "/s/secret", mode(0o600))
        .unwrap();
    let (ann, bob) = (Person::new(&bench, 10, 5), Person::new(&bench, 11, 5));
    (bench, ann, bob)
}

#[test]
fn files_are_their_makers_and_modes_hold() {
    let (bench, mut ann, mut bob) = people();
    ann.make("/t/a", 0o640).unwrap();
    let stat = ann.files.stat_path(&ann.names, "/t/a", true).unwrap();
    assert_eq!((stat.user, stat.group, stat.mode), (10, 5, 0o640));
    assert!(bob.open("/t/a", flags::READ, 0).is_ok());
    assert_eq!(bob.open("/t/a", flags::WRITE, 0), Err(Error::NoRight));
    let how = flags::WRITE | flags::CREATE | flags::TRUNCATE;
    assert_eq!(bob.open("/t/a", how, 0), Err(Error::NoRight));
    let mut stranger = Person::new(&bench, 12, 6);
    assert_eq!(stranger.open("/t/a", flags::READ, 0), Err(Error::NoRight));
    for person in [&mut ann, &mut stranger] {
        assert_eq!(
            person.open("/s/secret", flags::READ, 0),
            Err(Error::NoRight)
        );
        assert_eq!(person.make("/s/new", 0o644), Err(Error::NoRight));
        let made = person.files.make_directory(&person.names, "/s/d", 0o755);
        assert_eq!(made, Err(Error::NoRight));
        let made = person.files.symlink(&person.names, "x", "/s/l");
        assert_eq!(made, Err(Error::NoRight));
        let gone = person.files.unlink(&person.names, "/s/secret");
        assert_eq!(gone, Err(Error::NoRight));
    }
    // A directory that is not theirs to search hides what is below, known before or not.
    ann.files.make_directory(&ann.names, "/t/d", 0o755).unwrap();
    ann.make("/t/d/f", 0o644).unwrap();
    assert!(bob.open("/t/d/f", flags::READ, 0).is_ok());
    ann.change("/t/d", mode(0o700)).unwrap();
    assert_eq!(bob.open("/t/d/f", flags::READ, 0), Err(Error::NoRight));
    assert_eq!(
        bob.files.stat_path(&bob.names, "/t/d/f", true).err(),
        Some(Error::NoRight)
    );
    let how = flags::READ | flags::DIRECTORY;
    assert_eq!(bob.open("/t/d", how, 0), Err(Error::NoRight));
    // Its maker may write what its mode lets nobody write.
    let file = ann
        .open("/t/locked", flags::WRITE | flags::CREATE, 0o444)
        .unwrap();
    assert_eq!(ann.files.write(&ann.names, file, 0, b"x"), Ok(1));
    assert_eq!(ann.open("/t/locked", flags::WRITE, 0), Err(Error::NoRight));
}

#[test]
fn sticky_directories_keep_names_for_their_owners() {
    let (_bench, mut ann, mut bob) = people();
    ann.make("/t/a", 0o666).unwrap();
    bob.make("/t/b", 0o666).unwrap();
    assert_eq!(bob.files.unlink(&bob.names, "/t/a"), Err(Error::NoRight));
    assert_eq!(
        bob.files.rename(&bob.names, "/t/b", "/t/a"),
        Err(Error::NoRight)
    );
    assert_eq!(
        bob.files.rename(&bob.names, "/t/a", "/t/c"),
        Err(Error::NoRight)
    );
    bob.files.rename(&bob.names, "/t/b", "/t/c").unwrap();
    ann.files.unlink(&ann.names, "/t/a").unwrap();
    let away = bob.files.rename(&bob.names, "/t/c", "/s/c");
    assert_eq!(away, Err(Error::NoRight));
}

#[test]
fn only_owners_change_modes_and_only_the_system_owners() {
    let (mut bench, mut ann, mut bob) = people();
    ann.make("/t/a", 0o666).unwrap();
    assert_eq!(bob.change("/t/a", mode(0o600)), Err(Error::NoRight));
    assert_eq!(bob.change("/t/a", owner(11, 5)), Err(Error::NoRight));
    assert_eq!(ann.change("/t/a", owner(11, 5)), Err(Error::NoRight));
    assert_eq!(ann.change("/t/a", owner(10, 0)), Err(Error::NoRight));
    ann.change("/t/a", owner(10, 5)).unwrap();
    ann.change("/t/a", mode(0o4777)).unwrap();
    assert_eq!(ann.mode("/t/a"), 0o4777);
    let file = bob.open("/t/a", flags::WRITE, 0).unwrap();
    bob.files.write(&bob.names, file, 0, b"mine").unwrap();
    assert_eq!(ann.mode("/t/a"), 0o777, "nobody runs as ann what bob wrote");
    let Bench { files, names, .. } = &mut bench;
    files.set_attributes(names, "/t/a", owner(11, 7)).unwrap();
    let stat = files.stat_path(names, "/t/a", true).unwrap();
    assert_eq!((stat.user, stat.group, stat.kind), (11, 7, kind::FILE));
    bob.change("/t/a", mode(0o600)).unwrap();
    assert_eq!(ann.open("/t/a", flags::READ, 0), Err(Error::NoRight));
    assert!(
        files
            .open(names, "/t/a", flags::READ | flags::WRITE, 0)
            .is_ok()
    );
}

#[test]
fn the_system_is_for_the_system() {
    let (bench, mut ann, _) = people();
    let options = MountOptions {
        quota_bytes: u64::MAX,
        quota_inodes: u64::MAX,
        ..MountOptions::default()
    };
    let Person { files, names } = &mut ann;
    assert_eq!(files.mount(names, "D1", "/t", options), Err(Error::NoRight));
    assert_eq!(files.unmount(names, "/t", true), Err(Error::NoRight));
    assert_eq!(files.set_quota(names, "/", 1, 1), Err(Error::NoRight));
    assert_eq!(files.set_label(names, "MINE"), Err(Error::NoRight));
    let mut nobody = Person::new(&bench, u32::MAX, u32::MAX);
    assert!(nobody.open("/s/secret", flags::READ, 0).is_err());
}

#[test]
fn named_attributes_are_read_written_and_guarded() {
    let (mut bench, mut ann, mut bob) = people();
    ann.make("/t/a", 0o644).unwrap();
    let Person { files, names } = &mut ann;
    let value = vec![7; 1000];
    files
        .set_attribute(names, "/t/a", "user.note", &value, 0)
        .unwrap();
    assert_eq!(
        files.attribute(names, "/t/a", "user.note", 0),
        Ok(value.clone())
    );
    let set =
        |files: &mut Files, flags| files.set_attribute(names, "/t/a", "user.note", b"", flags);
    assert_eq!(set(files, attribute::CREATE), Err(Error::AlreadyExists));
    assert_eq!(
        set(files, attribute::CREATE | attribute::REPLACE),
        Err(Error::InvalidArgument)
    );
    assert_eq!(set(files, 64), Err(Error::InvalidArgument));
    let other = files.set_attribute(names, "/t/a", "user.no", b"", attribute::REPLACE);
    assert_eq!(other, Err(Error::NotFound));
    files
        .set_attribute(names, "/t/a", &format!("user.{}", "n".repeat(200)), b"", 0)
        .unwrap();
    assert_eq!(files.attributes(names, "/t/a", 0).unwrap().len(), 2);
    let system = files.set_attribute(names, "/t/a", "security.x", b"", 0);
    assert_eq!(system, Err(Error::NoRight));
    assert_eq!(
        bob.files.attribute(&bob.names, "/t/a", "user.note", 0),
        Ok(value)
    );
    let set = bob
        .files
        .set_attribute(&bob.names, "/t/a", "user.note", b"", 0);
    assert_eq!(set, Err(Error::NoRight));
    let Bench { files, names, .. } = &mut bench;
    files
        .set_attribute(names, "/t/a", "security.x", b"s", 0)
        .unwrap();
    files.symlink(names, "/t/a", "/t/l").unwrap();
    assert_eq!(
        files.attributes(names, "/t/l", attribute::NO_FOLLOW),
        Ok(vec![])
    );
    assert_eq!(files.attributes(names, "/t/l", 0).unwrap().len(), 3);
    files
        .remove_attribute(names, "/t/l", "user.note", 0)
        .unwrap();
    let gone = files.attribute(names, "/t/a", "user.note", 0);
    assert_eq!(gone, Err(Error::NotFound));
    let (file, _) = files.open(names, "/t/a", flags::WRITE, 0).unwrap();
    let flushes = bench.disk.platter().flushes;
    let Bench { files, names, .. } = &mut bench;
    files.write(names, file, 0, b"data").unwrap();
    files.sync_data(names, file).unwrap();
    files.write(names, file, 0, b"more").unwrap();
    files.sync_volume(names, file).unwrap();
    assert!(
        bench.disk.platter().flushes >= flushes + 2,
        "both are barriers"
    );
}
