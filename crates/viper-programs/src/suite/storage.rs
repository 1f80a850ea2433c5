//! A file is copied while the servers below it are killed.
//!
//! The copy goes on where it was safe when the file server takes unsynced data with it, so each
//! round must end with every byte right, whichever server died at whatever moment.

use super::report::{Verdict, failed};
use super::{Context, Random, exhaust};
use crate::own::Own;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use viper_proto::fs::{FileId, Files, flags};
use viper_proto::names::{self, rights, state};
use viper_rt::abi::FOREVER;
use viper_rt::sync::Mutex;
use viper_rt::thread::{self, JoinHandle};
use viper_rt::{Error, clock, println};

const PART: usize = 128 << 10;
/// Bytes between two points that the copy can go back to.
const SAFE_BYTES: u64 = 8 << 20;
const FROM: &str = "/t/suite.from";
const TO: &str = "/t/suite.to";
const VICTIMS: &[&str] = &["blkd", "fsd"];
/// A service must be back after this at the latest.
const BACK_MAX_NS: u64 = 20 * clock::SECOND;
/// What the system's free memory may differ by: the supervisor's and this program's own heaps.
const MEMORY_SLACK: u64 = 256 << 10;
/// How often a copy may lose what was not safe.
const RETREATS_MAX: u32 = 20;

/// What was seen in all rounds.
#[derive(Default)]
struct Seen {
    kills: u64,
    /// How often data was lost that nobody had been told was safe.
    retreats: u64,
    back_ns: Vec<u64>,
    copy_ns: u64,
}

/// Copies `rounds` times a file of `mib` MiB, with a kill in the middle of each.
///
/// Without the right to kill it copies as often, and the servers may be killed from outside.
pub(super) fn run(context: &mut Context, rounds: u64, mib: u64) -> Verdict {
    let bytes = mib << 20;
    let own = &mut context.own;
    let mut random = Random::new(rounds);
    let mut seen = Seen::default();
    let can_kill = settle(own)?;
    if !can_kill {
        println!("# storage: no right to kill servers, which is left to others");
    }
    put(own, bytes).map_err(failed("source"))?;
    // The first copies show how long one takes, and let heaps grow that stay.
    for round in 0..2 {
        let start = clock::now();
        copy(own, round, bytes, &mut seen)?;
        seen.copy_ns = clock::now() - start;
        check(own, round, bytes)?;
    }
    settle(own)?;
    let before = standing(own)?;
    for round in 2..rounds + 2 {
        let victim = VICTIMS[(round % VICTIMS.len() as u64) as usize];
        let killer = match can_kill {
            true => Some(Killer::start(own, victim, random.below(seen.copy_ns))?),
            false => None,
        };
        let copied = copy(own, round, bytes, &mut seen);
        if let Some(killer) = killer {
            let back = killer.end().map_err(|e| format!("round {round}: {e}"))?;
            seen.kills += 1;
            seen.back_ns.push(back);
        }
        if round % 50 == 0 {
            println!("# storage: round {round} of {rounds}");
        }
        copied
            .and_then(|()| check(own, round, bytes))
            .map_err(|reason| format!("round {round}, {victim} killed: {reason}"))?;
    }
    tell(&mut seen, bytes);
    settle(own)?;
    same(&before, &standing(own)?)?;
    for path in [FROM, TO] {
        own.files
            .unlink(&own.names, path)
            .map_err(failed("unlink"))?;
    }
    Ok(())
}

fn tell(seen: &mut Seen, bytes: u64) {
    seen.back_ns.sort_unstable();
    let ms = |ns: Option<&u64>| ns.map_or(0, |ns| ns / clock::MILLISECOND);
    println!(
        "# storage: {} kills while {} MiB were copied, {} times went back to what was safe",
        seen.kills,
        bytes >> 20,
        seen.retreats
    );
    println!(
        "# storage: back after {} ms in the middle, {} ms at most",
        ms(seen.back_ns.get(seen.back_ns.len() / 2)),
        ms(seen.back_ns.last())
    );
}

/// Starts both servers afresh and waits until nothing is under way. Whether we may do that.
fn settle(own: &mut Own) -> Result<bool, String> {
    match own.files.sync(&own.names) {
        Ok(()) | Err(Error::ServerDied) => {}
        Err(error) => return Err(format!("sync: {}", error.name())),
    }
    for victim in VICTIMS {
        match own.names.server_restart(victim.as_bytes()) {
            Ok(()) => {}
            Err(Error::NoRight) => return Ok(false),
            Err(error) => return Err(format!("restart: {}", error.name())),
        }
        wait_ready(&own.names, victim, 0).map_err(failed("restart"))?;
    }
    own.files
        .stat_path(&own.names, "/", true)
        .map_err(failed("after a restart"))?;
    // What ended servers had is given back a little later.
    clock::sleep(300 * clock::MILLISECOND);
    Ok(true)
}

/// Handles, objects and memory of the system, as far as we may look.
fn standing(own: &Own) -> Result<Vec<(&'static str, u64)>, String> {
    let mut list = exhaust::counters(own)?;
    if let Ok(all) = own.names.system().and_then(|system| system.info()) {
        list.push(("free bytes", all.free_bytes));
    }
    Ok(list)
}

fn same(before: &[(&'static str, u64)], after: &[(&'static str, u64)]) -> Verdict {
    for ((name, old), (_, new)) in before.iter().zip(after) {
        println!("# storage: {name} {old} before, {new} after");
        let slack = match *name {
            "free bytes" | "quota" => MEMORY_SLACK,
            _ => 0,
        };
        if old.abs_diff(*new) > slack {
            return Err(format!("{name}: {old} before, {new} after"));
        }
    }
    Ok(())
}

/// A thread that kills a server at some moment, and waits until it serves again.
struct Killer {
    thread: JoinHandle,
    /// How long the service was away, or what went wrong.
    back: Arc<Mutex<Option<Result<u64, Error>>>>,
}

impl Killer {
    fn start(own: &Own, victim: &'static str, after_ns: u64) -> Result<Killer, String> {
        let given = rights::MANAGE;
        let names = own.names.duplicate(given).map_err(failed("names"))?;
        let names = names::Client::new(names);
        let back = Arc::new(Mutex::new(None));
        let told = back.clone();
        let thread = thread::spawn(move || {
            clock::sleep(after_ns);
            let result = kill(&names, victim);
            *told.lock() = Some(result);
        });
        let thread = thread.map_err(failed("thread"))?;
        Ok(Killer { thread, back })
    }

    fn end(self) -> Result<u64, String> {
        self.thread.join(FOREVER).map_err(failed("join"))?;
        match self.back.lock().take() {
            Some(Ok(ns)) => Ok(ns),
            Some(Err(error)) => Err(format!("the server is not back: {}", error.name())),
            None => Err("its killer has ended".into()),
        }
    }
}

fn kill(names: &names::Client, victim: &str) -> Result<u64, Error> {
    let starts = names.server_status(victim.as_bytes())?.starts;
    let start = clock::now();
    names.server_kill(victim.as_bytes())?;
    wait_ready(names, victim, starts)?;
    // Ready is what it says; an answer from the file system proves it for both.
    Files::new().stat_path(names, "/", true)?;
    Ok(clock::now() - start)
}

/// Waits until a server that was started more than `starts` times is ready.
fn wait_ready(names: &names::Client, server: &str, starts: u32) -> Result<(), Error> {
    let late = clock::after(BACK_MAX_NS);
    loop {
        let status = names.server_status(server.as_bytes())?;
        if status.state == state::READY && status.starts > starts {
            return Ok(());
        }
        if clock::now() > late {
            return Err(Error::TimedOut);
        }
        clock::sleep(5 * clock::MILLISECOND);
    }
}

/// The bytes of the copy that a round makes; `None` for the source.
fn fill(part: &mut [u8], at: u64, round: Option<u64>) {
    let key = round.map_or(0, |round| round + 1);
    for (word, index) in part.chunks_exact_mut(8).zip(at / 8..) {
        let value = index.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(key);
        word.copy_from_slice(&value.to_le_bytes());
    }
}

/// From the source's bytes to those of a round's copy, so that no old copy passes for it.
fn stamp(part: &mut [u8], round: u64) {
    for word in part.as_chunks_mut::<8>().0 {
        *word = u64::from_le_bytes(*word)
            .wrapping_add(round + 1)
            .to_le_bytes();
    }
}

fn put(own: &mut Own, bytes: u64) -> Result<(), Error> {
    let Own { names, files, .. } = own;
    let how = flags::WRITE | flags::CREATE | flags::TRUNCATE;
    let (file, _) = files.open(names, FROM, how, 0o644)?;
    let mut part = alloc::vec![0; PART];
    for at in (0..bytes).step_by(PART) {
        fill(&mut part, at, None);
        write_all(files, names, file, at, &part)?;
    }
    files.sync_file(names, file)?;
    files.close(file)
}

fn write_all(
    files: &mut Files,
    names: &names::Client,
    file: FileId,
    at: u64,
    part: &[u8],
) -> Result<(), Error> {
    let mut done = 0;
    while done < part.len() {
        match files.write(names, file, at + done as u64, &part[done..])? {
            0 => return Err(Error::Io),
            n => done += n,
        }
    }
    Ok(())
}

/// Copies; when data is lost that was not safe, goes back to what was.
fn copy(own: &mut Own, round: u64, bytes: u64, seen: &mut Seen) -> Verdict {
    let Own { names, files, .. } = own;
    let how = flags::READ | flags::WRITE | flags::CREATE;
    let mut part = alloc::vec![0; PART];
    let mut safe = 0;
    for _ in 0..RETREATS_MAX {
        let (from, _) = files
            .open(names, FROM, flags::READ, 0)
            .map_err(failed("open"))?;
        let (to, _) = files
            .open(names, TO, how, 0o644)
            .map_err(failed("create"))?;
        let copied = copy_from(files, names, (from, to), round, bytes, &mut safe, &mut part);
        let _ = (files.close(from), files.close(to));
        match copied {
            Ok(()) => return Ok(()),
            Err(Error::ServerDied) => seen.retreats += 1,
            Err(error) => return Err(format!("copy: {}", error.name())),
        }
    }
    Err("the copy does not get on".into())
}

fn copy_from(
    files: &mut Files,
    names: &names::Client,
    (from, to): (FileId, FileId),
    round: u64,
    bytes: u64,
    safe: &mut u64,
    part: &mut [u8],
) -> Result<(), Error> {
    let mut at = *safe;
    while at < bytes {
        let end = (at + SAFE_BYTES).min(bytes);
        while at < end {
            if files.read(names, from, at, part)? != part.len() {
                return Err(Error::Corrupt);
            }
            stamp(part, round);
            write_all(files, names, to, at, part)?;
            at += part.len() as u64;
        }
        files.sync_file(names, to)?;
        *safe = at;
    }
    Ok(())
}

/// Every byte of a round's copy is right.
fn check(own: &mut Own, round: u64, bytes: u64) -> Verdict {
    let Own { names, files, .. } = own;
    let (to, attributes) = files
        .open(names, TO, flags::READ, 0)
        .map_err(failed("check"))?;
    let (mut part, mut expected) = (alloc::vec![0; PART], alloc::vec![0; PART]);
    let mut verdict = match attributes.size_bytes == bytes {
        true => Ok(()),
        false => Err(format!("the copy has {} bytes", attributes.size_bytes)),
    };
    for at in (0..bytes).step_by(PART) {
        fill(&mut expected, at, Some(round));
        let count = files.read(names, to, at, &mut part);
        if count.map_err(failed("read back"))? != PART || part != expected {
            verdict = verdict.and(Err(format!("the copy is wrong at {at}")));
        }
    }
    let _ = files.close(to);
    verdict
}

/// Files that [`keep`] writes again and again.
const KEPT_FILES: u64 = 16;

/// Replaces files for ever, and says after each that it is safe: until the power is cut.
///
/// Each version is written beside the file and renamed over it, so whoever looks finds one whole.
pub(super) fn keep(context: &mut Context, first: u64) -> Verdict {
    let Own { names, files, .. } = &mut context.own;
    let how = flags::WRITE | flags::CREATE | flags::TRUNCATE;
    for version in first.. {
        let name = format!("/t/keep{}", version % KEPT_FILES);
        let (file, _) = files
            .open(names, "/t/keep.new", how, 0o644)
            .map_err(failed("open"))?;
        let bytes: Vec<u8> = kept_words(version).flat_map(u64::to_le_bytes).collect();
        let mut at = 0;
        for part in bytes.chunks(PART) {
            write_all(files, names, file, at, part).map_err(failed("write"))?;
            at += part.len() as u64;
        }
        files.close(file).map_err(failed("close"))?;
        files
            .rename(names, "/t/keep.new", &name)
            .map_err(failed("rename"))?;
        files.sync(names).map_err(failed("sync"))?;
        println!("kept {} {version} .", version % KEPT_FILES);
    }
    Ok(())
}

/// The words of a version: the version itself first.
fn kept_words(version: u64) -> impl Iterator<Item = u64> {
    let count = 1 + version.wrapping_mul(7919) % 20_000;
    (0..count).map(move |n| version.wrapping_mul(n * 2 + 1))
}
