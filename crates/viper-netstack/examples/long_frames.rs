//! Shows two stacks frames that were changed or made up, and says how many it were.
//!
//! `long_frames [FRAMES [SEED]]`, ten million with seed 1 if nothing is said; or
//! `long_frames --corpus` to write frames of an undisturbed run to standard output.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/fuzz.rs"]
mod fuzz;

use std::collections::HashSet;
use std::time::Instant;

use fuzz::Fuzz;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("--corpus") {
        return write_corpus();
    }
    let number = |text: Option<String>, default| {
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let frames: u64 = number(first, 10_000_000);
    let seed: u64 = number(arguments.next(), 1);
    let start = Instant::now();
    // A new pair of hosts now and then: some changes are for good.
    let (mut total, mut run) = (0, 0);
    while total < frames {
        let mut fuzz = Fuzz::new(seed.wrapping_add(run));
        while fuzz.frames < 50_000.min(frames - total) {
            fuzz.round(20);
        }
        total += fuzz.frames;
        run += 1;
    }
    println!(
        "{total} frames with seed {seed} in {:.1} s",
        start.elapsed().as_secs_f64()
    );
}

/// One frame of each kind: of the same length, types and flags.
fn write_corpus() {
    let mut fuzz = Fuzz::new(1);
    fuzz.seen = Some(Vec::new());
    for _ in 0..3000 {
        fuzz.round(0);
    }
    println!("# Frames of an undisturbed run, by `long_frames --corpus`.");
    let mut kinds = HashSet::new();
    for frame in fuzz.seen.unwrap_or_default() {
        let part = |at: usize| frame.get(at).copied();
        let kind = (
            frame.len().min(160) / 4,
            part(12),
            part(20),
            part(23),
            part(34),
            part(47),
            part(54),
            part(67),
        );
        if kinds.insert(kind) && kinds.len() < 400 {
            let end = frame.len().min(400);
            println!(
                "{}",
                frame[..end]
                    .iter()
                    .map(|b| format!("{b:02x}"))
                    .collect::<String>()
            );
        }
    }
}
