//! Mutated streams and URLs through every parser, ten million or as many as `ROUNDS` says.
//!
//! `SEED=n` gives other ones. Ends with what it did; a failure prints the stream.

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;
use support::fuzz::{Corpus, round};
use support::random::Random;

fn main() {
    let rounds = number("ROUNDS").unwrap_or(10_000_000);
    let seed = number("SEED").unwrap_or(1);
    let corpus = Corpus::load();
    let mut random = Random(seed);
    let start = Instant::now();
    for at in 0..rounds {
        round(&mut random, &corpus);
        if at % 1_000_000 == 999_999 {
            eprintln!("{} rounds, {} s", at + 1, start.elapsed().as_secs());
        }
    }
    println!("{rounds} rounds with seed {seed}: no panic, no difference");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
