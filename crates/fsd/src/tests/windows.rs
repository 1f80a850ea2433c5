//! Reading ahead: fewer messages, and never old data.

use super::bench::{Bench, formatted, pattern};
use proptest::prelude::*;
use viper_proto::fs::{FileId, Files, flags};
use viper_proto::names;
use viper_rt::{Error, clock};

const HOW: u32 = flags::READ | flags::WRITE | flags::CREATE;

fn open(files: &mut Files, names: &names::Client) -> FileId {
    files.open(names, "/f", HOW, 0o644).unwrap().0
}

#[test]
fn what_another_client_writes_is_seen_at_once() {
    let mut bench = Bench::new(formatted(4096));
    let Bench { files, names, .. } = &mut bench;
    let mut other = Files::new();
    let (mine, theirs) = (open(files, names), open(&mut other, names));
    let bytes = pattern(100_000, 1);
    files.write(names, mine, 0, &bytes).unwrap();
    let mut part = [0; 1000];
    for round in 0..200u64 {
        let at = round * 500;
        // Mostly from the window, and the next line must be there all the same.
        assert_eq!(files.read(names, mine, at, &mut part[..500]), Ok(500));
        other
            .write(names, theirs, at + 500, &[round as u8; 300])
            .unwrap();
        assert_eq!(files.read(names, mine, at + 500, &mut part[..300]), Ok(300));
        assert_eq!(part[..300], [round as u8; 300]);
    }
    other.truncate(names, theirs, 10).unwrap();
    assert_eq!(files.read(names, mine, 0, &mut part), Ok(10));
    assert_eq!(files.read(names, mine, 10, &mut part), Ok(0));
    other.write(names, theirs, 10, b"more").unwrap();
    assert_eq!(files.read(names, mine, 10, &mut part), Ok(4));
}

/// What the server died with is not served from a window, and what came after is not missed.
#[test]
fn windows_do_not_outlive_their_server() {
    let mut bench = Bench::new(formatted(4096));
    let Bench { files, names, .. } = &mut bench;
    let mut other = Files::new();
    let (mine, theirs) = (open(files, names), open(&mut other, names));
    let mut part = [0; 100];
    for round in 0..20u8 {
        files.write(names, mine, 0, &[round; 5000]).unwrap();
        files.sync(names).unwrap();
        assert_eq!(files.read(names, mine, 0, &mut part), Ok(100));
        names.server_restart(b"fsd").unwrap();
        // As soon as the successor takes a change, everybody sees it.
        other.write(names, theirs, 0, &[round + 100; 100]).unwrap();
        assert_eq!(files.read(names, mine, 0, &mut part), Ok(100));
        assert_eq!(part, [round + 100; 100]);
        other.sync_file(names, theirs).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Read(usize, usize, usize),
    Write(usize, usize, usize, u8),
    Truncate(usize, usize),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let small = 1..20_000usize;
    prop_oneof![
        6 => (0..2usize, 0..90_000usize, small.clone()).prop_map(|(c, at, n)| Step::Read(c, at, n)),
        2 => (0..2usize, 0..90_000usize, 1..70_000usize, any::<u8>())
            .prop_map(|(c, at, n, b)| Step::Write(c, at, n, b)),
        1 => (0..2usize, 0..90_000usize).prop_map(|(c, n)| Step::Truncate(c, n)),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Two clients see one file, whatever they read ahead.
    #[test]
    fn two_clients_agree_with_a_model(steps in prop::collection::vec(step(), 60)) {
        let mut bench = Bench::new(formatted(4096));
        let Bench { files, names, .. } = &mut bench;
        let mut other = Files::new();
        let ids = [open(files, names), open(&mut other, names)];
        let clients = [files, &mut other];
        let mut model: Vec<u8> = Vec::new();
        for step in steps {
            match step {
                Step::Read(c, from, len) => {
                    // In order, from somewhere on: that is what windows are for.
                    let mut buffer = vec![0; len.min(3000)];
                    for at in (from..from + len).step_by(buffer.len()) {
                        let count = clients[c].read(names, ids[c], at as u64, &mut buffer)?;
                        let end = model.len().min(at + buffer.len());
                        let expected = model.get(at..end).unwrap_or(&[]);
                        prop_assert_eq!(&buffer[..count], expected);
                    }
                }
                Step::Write(c, at, len, byte) => {
                    let bytes = vec![byte; len];
                    let wrote = clients[c].write(names, ids[c], at as u64, &bytes)?;
                    prop_assert_eq!(wrote, len);
                    model.resize(model.len().max(at + len), 0);
                    model[at..at + len].fill(byte);
                }
                Step::Truncate(c, len) => {
                    clients[c].truncate(names, ids[c], len as u64)?;
                    model.resize(len, 0);
                }
                Step::Wait => clock::sleep(11 * clock::MILLISECOND),
            }
        }
        let end = clients[0].read(names, ids[0], model.len() as u64, &mut [0; 10]);
        prop_assert_eq!(end, Ok::<_, Error>(0));
    }
}
