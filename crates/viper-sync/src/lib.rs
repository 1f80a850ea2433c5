#![doc = include_str!("../README.md")]
#![cfg_attr(not(any(test, loom)), no_std)]
#![allow(
    unexpected_cfgs,
    reason = "`--cfg loom` builds the crate for the model checker"
)]

pub mod futex;
mod loom;
pub mod ring;
mod ticket;

pub use ticket::{Relax, SpinHint, TicketGuard, TicketLock};
