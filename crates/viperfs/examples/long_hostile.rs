//! The long job on hostile images: `cargo run --release --example long_hostile [IMAGES] [SEED]`.
//!
//! Each image is made by a few changes with right checksums, then checked, mounted, walked, read,
//! written and unmounted. A panic ends the job, naming the seed; so does more memory than stated,
//! and an image that takes a minute.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/hostile.rs"]
mod hostile;

use cap::Cap;
use common::Rng;
use std::alloc::System;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What one image may make the engine allocate, the image itself included: the checker's cache
/// (4 MiB) and the image (1 MiB) are most of it.
const BOUND: usize = 8 << 20;

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .map(|a| a.parse().expect("a number"));
    let images: u64 = args.next().unwrap_or(1_000_000);
    let first: u64 = args.next().unwrap_or(1);
    std::thread::spawn(watch);
    let (device, _) = hostile::populated(256);
    ALLOCATOR
        .set_limit(ALLOCATOR.allocated() + BOUND)
        .expect("there is room");
    let before = ALLOCATOR.allocated();
    let mut slowest = Duration::ZERO;
    for seed in first..first + images {
        CURRENT.store(seed, Ordering::Relaxed);
        let start = Instant::now();
        let mut image = device.bytes().to_vec();
        hostile::mutate(&mut image, &mut Rng::new(seed));
        let result = std::panic::catch_unwind(|| hostile::exercise(image));
        assert!(result.is_ok(), "seed {seed}");
        slowest = slowest.max(start.elapsed());
        let done = seed - first + 1;
        if done.is_multiple_of(100_000) || done == images {
            let most = (ALLOCATOR.max_allocated() - before) >> 10;
            println!("{done} images: no panic, at most {most} KiB allocated, {slowest:?} for one");
        }
    }
}

/// The seed that is being tried.
static CURRENT: AtomicU64 = AtomicU64::new(0);

/// Ends the job when one seed is tried for a minute.
fn watch() {
    loop {
        let seed = CURRENT.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(60));
        if seed != 0 && seed == CURRENT.load(Ordering::Relaxed) {
            eprintln!("seed {seed} does not come to its end");
            std::process::exit(1);
        }
    }
}
