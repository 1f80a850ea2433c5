//! What the operations cost on this machine, in nanoseconds each.
//!
//! `cargo run --release -p viper-cap --example revoke_cost`

use std::hint::black_box;
use std::time::Instant;

use viper_cap::{CapError, CapSpace, Handle, Limits, Rights};

/// As in a kernel: a kind, an index and 64 bits more.
type Object = (u32, u64);

const ROUNDS: u32 = 20_000;
const HANDLES: u32 = 64;

fn main() -> Result<(), CapError> {
    let mut space = CapSpace::<Object>::new()?;
    let mut tables = Vec::new();
    for _ in 0..8 {
        tables.push(space.create_table(Limits::live(1024))?);
    }
    let root = space.insert_root(tables[0], (1, 2), Rights::ALL)?;

    let (mut derive_ns, mut lookup_ns, mut revoke_ns) = (0, 0, 0);
    let mut handles = vec![Handle::INVALID; HANDLES as usize];
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for (at, handle) in handles.iter_mut().enumerate() {
            *handle = space.copy(tables[0], root, tables[at % 8], Rights::ALL)?;
        }
        derive_ns += start.elapsed().as_nanos();

        let start = Instant::now();
        for (at, handle) in handles.iter().enumerate() {
            black_box(
                space
                    .table(tables[at % 8])?
                    .require(black_box(*handle), Rights::ALL)?,
            );
        }
        lookup_ns += start.elapsed().as_nanos();

        let start = Instant::now();
        let mut seen = 0;
        space.revoke(tables[0], root, |object| seen += object.1)?;
        black_box(seen);
        revoke_ns += start.elapsed().as_nanos();
    }
    let each = |total_ns: u128| total_ns as f64 / f64::from(ROUNDS * HANDLES);
    println!("derive into a table {:6.1} ns", each(derive_ns));
    println!("look up and check   {:6.1} ns", each(lookup_ns));
    println!("revoke, per handle  {:6.1} ns", each(revoke_ns));
    Ok(())
}
