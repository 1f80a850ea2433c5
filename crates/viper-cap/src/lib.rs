#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod error;
mod forest;
mod handle;
mod rights;
mod space;
mod table;
mod transit;

pub use error::CapError;
pub use handle::{Handle, TableId};
pub use rights::Rights;
pub use space::{CapSpace, Destroyed, Revoked};
pub use table::{CapTable, Entry, Iter, Limits};
pub use transit::Parked;

/// How many capabilities one [`CapSpace::transfer_many`] or [`CapSpace::park`] moves at most.
pub const MOVE_MAX: usize = 4;
