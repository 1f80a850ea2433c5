#![doc = include_str!("../README.md")]
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[doc(hidden)]
pub use viper_rt as rt;

#[macro_use]
pub mod interface;

pub mod block;
pub mod console;
pub mod entropy;
pub mod fs;
pub mod names;
pub mod net;
pub mod stream;
