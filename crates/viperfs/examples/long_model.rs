//! The long model job: `cargo run --release --example long_model [OPERATIONS]`.
//!
//! Random operations, compared with a model in memory after each, on four kinds of volumes, with
//! a check and a remount about every 200. Panics at the first difference, naming its seed.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/compare.rs"]
mod compare;

/// Name, share of the operations in percent, blocks, names, bytes of a write.
const KINDS: [(&str, u64, u64, u64, u64); 4] = [
    ("many small files", 40, 2048, 8, 3_000),
    ("few large files", 5, 8192, 5, 200_000),
    ("smallest volume, full", 30, 256, 20, 20_000),
    ("few names that meet", 25, 1024, 3, 9_000),
];

/// Volumes of each kind.
const PIECES: u64 = 1000;

fn main() {
    let count = std::env::args()
        .nth(1)
        .map(|a| a.parse().expect("a number"));
    let total: u64 = count.unwrap_or(1_000_000);
    for (name, percent, blocks, names, size) in KINDS {
        // In pieces, since a volume that has been full of names for long changes little.
        let ops = total * percent / 100;
        for piece in 0..PIECES {
            compare::run(piece * 1000 + percent, blocks, ops / PIECES, names, size);
        }
        println!("{name}: {ops} operations, each compared: no difference");
    }
}
