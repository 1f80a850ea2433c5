#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod calls;
mod terminal;
#[cfg(test)]
mod tests;

pub use terminal::{OUTPUT_MAX, Output, Seat, SeatKind, Terminal};
