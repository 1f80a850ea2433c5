//! Files that rest and answers that are remembered: fewer messages, and nobody can tell.

use super::bench::{Bench, formatted};
use proptest::prelude::*;
use std::collections::BTreeMap;
use viper_proto::fs::{FILES_MAX, Files, PathSent, flags, resting};
use viper_proto::names;
use viper_rt::handle::Memory;
use viper_rt::{Error, Mapping, Object, clock, host};

fn free(files: &mut Files, names: &names::Client) -> u64 {
    files.sync(names).unwrap();
    files.statistics(names).unwrap().blocks_free
}

#[test]
fn a_resting_file_does_not_keep_its_blocks() {
    let mut bench = Bench::new(formatted(4096));
    bench.write("/keep", &[1; 4096]).unwrap();
    let Bench { files, names, .. } = &mut bench;
    let before = free(files, names);
    for _ in 0..10 {
        let mut other = Files::new();
        let how = flags::WRITE | flags::CREATE;
        let (file, _) = other.open(names, "/f", how, 0o644).unwrap();
        other.write(names, file, 0, &[1; 200_000]).unwrap();
        other.close(file).unwrap();
        for _ in 0..3 {
            let (file, _) = files.open(names, "/f", flags::READ, 0).unwrap();
            files.close(file).unwrap();
            assert_eq!(files.stat(names, file), Err(Error::BadHandle));
            assert_eq!(files.close(file), Err(Error::BadHandle));
        }
        other.unlink(names, "/f").unwrap();
        assert_eq!(free(&mut other, names), before);
        let again = files.open(names, "/f", flags::READ, 0);
        assert_eq!(again.unwrap_err(), Error::NotFound);
    }
}

#[test]
fn a_file_that_lost_its_name_while_open_does_not_rest() {
    let mut bench = Bench::new(formatted(4096));
    let Bench { files, names, .. } = &mut bench;
    let before = free(files, names);
    let mut other = Files::new();
    let (file, _) = other
        .open(names, "/f", flags::WRITE | flags::CREATE, 0o644)
        .unwrap();
    other.write(names, file, 0, &[1; 200_000]).unwrap();
    other.close(file).unwrap();
    let (file, _) = files.open(names, "/f", flags::READ, 0).unwrap();
    other.unlink(names, "/f").unwrap();
    assert!(free(&mut other, names) < before);
    files.close(file).unwrap();
    assert_eq!(free(&mut other, names), before);
}

/// Without looking at the server a file is opened again: it is, after the server's death, too.
#[test]
fn files_that_rest_do_not_outlive_their_server() {
    let mut bench = Bench::new(formatted(4096));
    bench.write("/f", b"1234").unwrap();
    let Bench { files, names, .. } = &mut bench;
    files.sync(names).unwrap();
    for _ in 0..5 {
        let (file, _) = files.open(names, "/f", flags::READ, 0).unwrap();
        files.close(file).unwrap();
        names.server_restart(b"fsd").unwrap();
        let (file, attributes) = files.open(names, "/f", flags::READ, 0).unwrap();
        assert_eq!(attributes.size_bytes, 4);
        assert_eq!(files.read(names, file, 0, &mut [0; 10]), Ok(4));
        files.close(file).unwrap();
    }
}

#[test]
fn the_server_takes_what_rests_and_nothing_else() {
    let mut bench = Bench::new(formatted(4096));
    bench.write("/f", b"1234").unwrap();
    let raw = bench.connect();
    let memory = Memory::new(8192).unwrap();
    assert_eq!(raw.resting(0), Err(Error::NotSupported));
    raw.session(memory.try_clone().unwrap()).unwrap();
    for bad in [1, 2, 8192 - 1023, 8192, u64::MAX, u64::MAX - 3] {
        assert_eq!(raw.resting(bad), Err(Error::InvalidArgument), "{bad}");
    }
    assert_eq!(raw.resting(4096), Ok(()));
    assert_eq!(raw.resting(0), Err(Error::AlreadyExists));
    let table = Mapping::whole(&memory).unwrap();
    let word = |id: usize| table.atomic(4096 + id * 4).unwrap();
    let set = std::sync::atomic::Ordering::SeqCst;
    let open = || raw.open(flags::READ, 0, PathSent::Inline(b"/f"));
    for id in 0..FILES_MAX {
        assert_eq!(open().unwrap().0 as usize, id);
    }
    assert_eq!(open().unwrap_err(), Error::LimitReached);
    // What a client writes there makes a difference to its own files only.
    word(3).store(resting::RESTS, set);
    word(200).store(resting::RESTS, set);
    word(4).store(77, set);
    assert_eq!(open().unwrap().0, 3);
    assert_eq!(word(3).load(set), resting::IN_USE);
    assert_eq!(word(200).load(set), resting::CLOSED);
    assert_eq!(raw.stat(200), Err(Error::BadHandle));
    assert!(raw.stat(4).is_ok());
    assert_eq!(open().unwrap().0, 200);
    assert_eq!(open().unwrap_err(), Error::LimitReached);
    let Bench { files, names, .. } = &mut bench;
    assert_eq!(files.stat_path(names, "/f", true).unwrap().size_bytes, 4);
}

/// Within a lease, and while nothing changes, the server is not needed: not even alive.
#[test]
fn nothing_is_asked_while_nothing_changes() {
    let mut bench = Bench::new(formatted(4096));
    bench.write("/f", b"1234").unwrap();
    let Bench { files, names, .. } = &mut bench;
    files.sync(names).unwrap();
    host::at_one_time(|| {
        let (file, _) = files.open(names, "/f", flags::READ, 0).unwrap();
        files.close(file).unwrap();
        files.stat_path(names, "/f", true).unwrap();
        let _ = names.server_kill(b"fsd");
        let known = files.stat_path(names, "/f", true).unwrap();
        assert_eq!(known.size_bytes, 4);
        let (file, _) = files.open(names, "/f", flags::READ, 0).unwrap();
        files.close(file).unwrap();
    });
}

#[derive(Clone, Debug)]
enum Step {
    /// A client opens, looks and closes.
    Look(usize, usize),
    Stat(usize, usize),
    Write(usize, usize, usize),
    Remove(usize, usize),
    Rename(usize, usize, usize),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let (client, name) = (0..2usize, 0..6usize);
    prop_oneof![
        8 => (client.clone(), name.clone()).prop_map(|(c, n)| Step::Look(c, n)),
        6 => (client.clone(), name.clone()).prop_map(|(c, n)| Step::Stat(c, n)),
        3 => (client.clone(), name.clone(), 1..9000usize)
            .prop_map(|(c, n, l)| Step::Write(c, n, l)),
        1 => (client.clone(), name.clone()).prop_map(|(c, n)| Step::Remove(c, n)),
        1 => (client, name.clone(), name).prop_map(|(c, n, m)| Step::Rename(c, n, m)),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    /// Two clients see the same names and sizes as a map of them, at each step.
    #[test]
    fn two_clients_agree_with_a_map(steps in prop::collection::vec(step(), 200)) {
        let mut bench = Bench::new(formatted(4096));
        let Bench { files, names, .. } = &mut bench;
        let mut other = Files::new();
        let clients = [files, &mut other];
        let mut model: BTreeMap<usize, usize> = BTreeMap::new();
        let path = |n: usize| format!("/f{n}");
        for step in steps {
            match step {
                Step::Look(c, n) => {
                    let opened = clients[c].open(names, &path(n), flags::READ, 0);
                    let size = opened.as_ref().map(|(_, a)| a.size_bytes as usize).ok();
                    prop_assert_eq!(size, model.get(&n).copied());
                    if let Ok((file, _)) = opened {
                        let mut buffer = [0; 10_000];
                        let count = clients[c].read(names, file, 0, &mut buffer)?;
                        prop_assert_eq!(Some(count), size);
                        prop_assert!(buffer[..count].iter().all(|&byte| byte == n as u8));
                        clients[c].close(file)?;
                    }
                }
                Step::Stat(c, n) => {
                    let known = clients[c].stat_path(names, &path(n), true);
                    let size = known.map(|a| a.size_bytes as usize).ok();
                    prop_assert_eq!(size, model.get(&n).copied());
                }
                Step::Write(c, n, len) => {
                    let how = flags::WRITE | flags::CREATE | flags::TRUNCATE;
                    let (file, _) = clients[c].open(names, &path(n), how, 0o644)?;
                    clients[c].write(names, file, 0, &vec![n as u8; len])?;
                    clients[c].close(file)?;
                    model.insert(n, len);
                }
                Step::Remove(c, n) => {
                    let is_gone = clients[c].unlink(names, &path(n)).is_ok();
                    prop_assert_eq!(is_gone, model.remove(&n).is_some());
                }
                // To a name that nobody looks at.
                Step::Rename(c, n, m) => {
                    let done = clients[c].rename(names, &path(n), &format!("{}x", path(m)));
                    prop_assert_eq!(done.is_ok(), model.remove(&n).is_some());
                }
                Step::Wait => clock::sleep(11 * clock::MILLISECOND),
            }
        }
    }
}
