//! The system tests: each boots machines and judges what they say.
//!
//! A test is a name and a function of a [`Lab`]. It passes when the function returns `Ok`.

mod boot;
mod devices;
mod flows;
mod http;
mod lab;
mod mounts;
mod net;
mod power;
mod ssh;
mod storage;
mod suite;
mod wire;
mod write_log;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

pub use lab::{Lab, Outcome};

use crate::error::{Error, Result, unable};
use crate::image::System;

/// Why a test failed.
pub type Verdict = std::result::Result<(), String>;

/// A system test.
#[derive(Clone, Copy)]
pub struct Test {
    /// Its name: words with hyphens, unique.
    pub name: &'static str,
    run: Run,
    /// Whether it takes minutes.
    long: bool,
}

#[derive(Clone, Copy)]
enum Run {
    /// One verdict.
    One(fn(&Lab<'_>) -> Verdict),
    /// A verdict for each part that it finds, named by the guest.
    Parts(fn(&Lab<'_>) -> Vec<(String, Verdict)>),
}

const fn one(name: &'static str, run: fn(&Lab<'_>) -> Verdict) -> Test {
    Test {
        name,
        run: Run::One(run),
        long: false,
    }
}

const fn long(name: &'static str, run: fn(&Lab<'_>) -> Verdict) -> Test {
    Test {
        name,
        run: Run::One(run),
        long: true,
    }
}

const fn parts(name: &'static str, run: fn(&Lab<'_>) -> Vec<(String, Verdict)>) -> Test {
    Test {
        name,
        run: Run::Parts(run),
        long: false,
    }
}

/// All tests, in the order of running.
pub fn all() -> Vec<Test> {
    [
        boot::TESTS,
        devices::TESTS,
        suite::TESTS,
        net::TESTS,
        flows::TESTS,
        wire::TESTS,
        http::TESTS,
        storage::TESTS,
        mounts::TESTS,
        power::TESTS,
        ssh::TESTS,
        write_log::TESTS,
    ]
    .concat()
}

/// The tests with `filter` in their name: the long ones or the others.
pub fn chosen(filter: Option<&str>, long: bool) -> Vec<Test> {
    let named = |test: &Test| filter.is_none_or(|part| test.name.contains(part));
    all()
        .into_iter()
        .filter(|test| test.long == long && named(test))
        .collect()
}

/// Runs tests, `jobs` machines at a time; prints a line each and the sum alone on the last.
///
/// # Errors
///
/// [`Error::Interrupted`] after a signal; [`Error::Unable`] when no test has the name.
pub fn run(system: &System, tests: &[Test], jobs: u8) -> Result<ExitCode> {
    if tests.is_empty() {
        return unable("no test has this in its name");
    }
    // Once, before several machines want it.
    crate::disk::built(system)?;
    let tally = Tally::default();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if crate::child::interrupted() {
                        return;
                    }
                    run_one(system, test, &tally);
                }
            });
        }
    });
    if crate::child::interrupted() {
        return Err(Error::Interrupted);
    }
    let (passed, failed) = *tally.counts.lock().expect("no panic while counting");
    println!("{passed} passed, {failed} failed");
    Ok(ExitCode::from(u8::from(failed > 0)))
}

fn run_one(system: &System, test: &Test, tally: &Tally) {
    let started = Instant::now();
    let lab = match Lab::new(system) {
        Ok(lab) => lab,
        Err(error) => return tally.add(test.name, Err(error.to_string()), started, &[]),
    };
    match test.run {
        Run::One(function) => {
            let verdict = function(&lab);
            tally.add(test.name, verdict, started, &lab.last_log());
        }
        Run::Parts(function) => {
            for (part, verdict) in function(&lab) {
                tally.add(
                    &format!("{}/{part}", test.name),
                    verdict,
                    started,
                    &lab.last_log(),
                );
            }
        }
    }
}

/// Counts and prints; one lock, so that lines of two machines do not mix.
#[derive(Default)]
struct Tally {
    counts: Mutex<(usize, usize)>,
}

impl Tally {
    fn add(&self, name: &str, verdict: Verdict, started: Instant, log: &[String]) {
        let mut counts = self.counts.lock().expect("no panic while counting");
        let seconds = started.elapsed().as_secs_f32();
        match verdict {
            Ok(()) => {
                counts.0 += 1;
                println!("ok {name} ({seconds:.1} s)");
            }
            Err(reason) => {
                counts.1 += 1;
                println!("FAILED {name} ({seconds:.1} s): {reason}");
                for line in &log[log.len().saturating_sub(25)..] {
                    eprintln!("| {line}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_can_be_filtered() {
        let names: BTreeSet<_> = all().iter().map(|test| test.name).collect();
        assert_eq!(names.len(), all().len());
        assert!(chosen(Some("smp"), false).len() < all().len());
        assert!(chosen(Some("no such test"), false).is_empty());
    }
}
