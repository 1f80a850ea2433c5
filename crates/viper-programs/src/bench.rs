//! `bench [FILTER]`: what operations cost, in guest instructions, a line each.

mod basic;
mod network;
mod sample;
mod services;
mod tls;

use crate::machine::instructions;
use crate::own::Own;
pub use sample::{Figure, Sampler, median};
use viper_rt::abi::{FOREVER, Slot};
use viper_rt::handle::Channel;
use viper_rt::{Error, Object, println, program, sys};

/// Return code when something could not be measured.
const FAILED: i64 = 10;

/// Runs the program: the measurements, or the role of a child.
#[must_use]
pub fn run() -> i64 {
    match program::arguments().nth(1) {
        Some("echo") => return echo(),
        Some("exit") => return 0,
        Some("tcp-echo") => return network::echo(),
        _ => {}
    }
    if !counts() {
        println!("# the figures are instruction counts: run the machine with --icount");
        return FAILED;
    }
    match measure_all(program::arguments().nth(1).unwrap_or_default()) {
        Ok(0) => 0,
        Ok(missing) => {
            println!("# {missing} figures could not be measured");
            FAILED
        }
        Err(error) => {
            println!("# bench: {error}");
            FAILED
        }
    }
}

/// Whether the instruction counter counts.
fn counts() -> bool {
    let start = instructions();
    let _ = sys::null();
    instructions() != start
}

/// Answers calls with what they brought until the caller is gone.
fn echo() -> i64 {
    let Some(channel) = program::take(Slot::CHANNEL) else {
        return FAILED;
    };
    let server: Channel = channel.into_object();
    let mut got = sys::receive(server.raw(), FOREVER);
    while got.check().is_ok() {
        got = sys::reply_receive(server.raw(), got.info, got.words, FOREVER);
    }
    0
}

fn measure_all(filter: &str) -> Result<usize, Error> {
    let mut own = Own::new("bench")?;
    let sampler = Sampler::new();
    let mut missing = 0;
    let wanted = |name: &str| name.contains(filter);
    match own.devtest() {
        // It prints its figures itself.
        Ok(0) => {}
        Ok(code) => {
            println!("# devtest ended with {code}");
            missing += 1;
        }
        Err(error) => println!("# no figures of interrupts: {error}"),
    }
    for (name, row) in basic::ROWS.iter().filter(|row| wanted(row.0)) {
        missing += usize::from(!shown(name, row(&sampler, &own)));
    }
    for (name, row) in tls::ROWS.iter().filter(|row| wanted(row.0)) {
        missing += usize::from(!shown(name, row(&sampler)));
    }
    let rows = services::ROWS.iter().chain(network::ROWS);
    for (name, row) in rows.filter(|row| wanted(row.0)) {
        missing += usize::from(!shown(name, row(&sampler, &mut own)));
    }
    Ok(missing)
}

fn shown(name: &str, figure: Result<Figure, Error>) -> bool {
    match figure {
        Ok(figure) => println!("{figure}"),
        Err(error) => println!("# {name}: {error}"),
    }
    figure.is_ok()
}
