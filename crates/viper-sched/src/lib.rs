#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod error;
mod ids;
mod queue;
mod scheduler;
mod thread;

pub use error::SchedError;
pub use ids::{CORES_MAX, CoreId, CoreMask, PRIORITIES, Priority, ThreadId};
pub use scheduler::{Scheduler, Switch};
pub use thread::ThreadState;
