//! Mutated records and handshakes against both sides, for long.
//!
//!     long [RUNS [FIRST]]       10,000,000 runs unless it says otherwise
//!     long --record FOLDER      writes the streams of undisturbed connections, for `corpus/`
//!
//! Every run depends on its number alone, apart from the sessions that earlier ones left.
//! `VIPER_FUZZ_SHOW=1` prints each number before its run.

#[path = "../tests/fuzz/mod.rs"]
mod fuzz;

use std::collections::BTreeMap;
use std::time::Instant;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let world = fuzz::World::new();
    if let [flag, folder] = &arguments[..]
        && flag == "--record"
    {
        for (name, bytes) in world.record() {
            std::fs::write(format!("{folder}/{name}"), bytes).expect("writable");
        }
        return;
    }
    let number = |index: usize, or: u64| {
        let argument = arguments.get(index);
        argument.map_or(or, |text| text.parse().expect("a number"))
    };
    let (runs, first) = (number(0, 10_000_000), number(1, 0));
    let show = std::env::var_os("VIPER_FUZZ_SHOW").is_some();
    let begun = Instant::now();
    let mut outcomes = BTreeMap::new();
    for run in first..first + runs {
        if show {
            eprintln!("{run}");
        }
        let outcome = world.run(run);
        let outcome = outcome.map_or("accepted".into(), |error| format!("{error:?}"));
        *outcomes.entry(outcome).or_insert(0u64) += 1;
    }
    for (outcome, count) in &outcomes {
        println!("{count:>10} {outcome}");
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{runs} runs, no panic, {:.0} runs/s", runs as f64 / seconds);
}
