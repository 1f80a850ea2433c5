#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod ast;
pub mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod glob;
pub mod interactive;
pub mod parse;
pub mod shell;
pub mod system;

mod arith;
mod commands;
mod complete;
mod context;
mod exec;
mod expand;
mod io;
mod path;
mod pipeline;
mod program;
mod simple;
mod text;

pub use context::{CALLS_MAX, LEVELS_MAX};
pub use error::{Error, Result};
pub use interactive::Session;
pub use io::PIPE_MAX;
pub use shell::{Outcome, Shell};
pub use system::System;
