#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod arena;
pub mod boot;
pub mod calls;
pub mod cycles;
pub mod deadline;
pub mod dispatch;
pub mod entry;
#[cfg(feature = "fake")]
pub mod fake;
pub mod fast;
pub mod handles;
pub mod ipc;
pub mod kernel;
pub mod line;
pub mod log;
pub mod mapping;
pub mod memory;
pub mod object;
pub mod platform;
pub mod process;
pub mod quota;
pub mod run;
pub mod teardown;
pub mod thread;
pub mod user;
pub mod wait;

pub use entry::Exception;
pub use kernel::Kernel;
pub use platform::{Frames, Platform};
