//! The long power-cut job: `cargo run --release --example long_crash [STATES] [FIRST_SEED]`.
//!
//! Prints the figures it reached; panics at the first state that is wrong, naming its seed.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/crash.rs"]
mod crash;

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .map(|a| a.parse().expect("a number"));
    let states = args.next().unwrap_or(1_000_000);
    let t = crash::run(states, args.next().unwrap_or(0));
    println!(
        "{} workloads ({} of all {} sequences of 2 and 3 operations), {} states ({} torn, {} cut \
         in recovery, {} with replay): all consistent",
        t.workloads,
        t.sequences,
        crash::sequences(),
        t.states,
        t.torn,
        t.in_recovery,
        t.replayed
    );
}
