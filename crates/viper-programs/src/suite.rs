//! `viper-test-suite`: tests of the real kernel, from an ordinary program.
//!
//! `viper-test-suite [FILTER]` runs the tests with FILTER in their name;
//! `viper-test-suite fuzz CALLS [SEED]` and `viper-test-suite storage ROUNDS [MIB]` run longer
//! ones; the latter kills servers if it was started with `Run GRANT manage,system`.

mod calls;
mod children;
mod devices;
mod exhaust;
mod faults;
mod fuzz;
mod memory;
mod messages;
mod report;
mod storage;
mod time;
mod vectors;

use crate::own::Own;
pub use fuzz::Random;
pub use report::{Report, Verdict, want};
use viper_rt::{println, program};

/// A test: its name, and what it does.
type Test = (&'static str, fn() -> report::Verdict);

/// Return code when a test failed.
const FAILED: i64 = 10;

/// What a test gets.
#[derive(Debug)]
pub struct Context {
    own: Own,
}

/// Runs the program: the tests, or the role of a child.
#[must_use]
pub fn run() -> i64 {
    let words = || program::arguments().skip(1);
    if program::arguments().next() == Some("child") {
        return children::role(words());
    }
    let mut context = match Own::new("viper-test-suite") {
        Ok(own) => Context { own },
        Err(error) => {
            println!("not ok start {error}");
            return FAILED;
        }
    };
    let number = |at, default| {
        words()
            .nth(at)
            .and_then(|w| w.parse().ok())
            .unwrap_or(default)
    };
    let first = words().next();
    let mut report = match first {
        Some("fuzz" | "storage" | "keep") => Report::new(None),
        filter => Report::new(filter),
    };
    match first {
        Some("fuzz") => report.run("fuzz", || {
            fuzz::run(&mut context, number(1, 50_000), number(2, 1))
        }),
        Some("keep") => report.run("keep", || storage::keep(&mut context, number(1, 1))),
        Some("storage") => report.run("storage", || {
            storage::run(&mut context, number(1, 20), number(2, 8))
        }),
        _ => all(&mut context, &mut report),
    }
    report.finish()
}

fn all(context: &mut Context, report: &mut Report<'_>) {
    calls::tests(report);
    messages::tests(report);
    time::tests(report);
    vectors::tests(report);
    memory::tests(report);
    faults::tests(context, report);
    children::tests(context, report);
    devices::tests(context, report);
    exhaust::tests(context, report);
    report.run("fuzz", || fuzz::run(context, 50_000, 1));
    report.run("storage", || storage::run(context, 2, 2));
}
