#![doc = include_str!("../README.md")]
#![cfg_attr(target_os = "none", no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod bench;
pub mod devtest;
pub mod kept;
pub mod machine;
pub mod nettest;
pub mod own;
pub mod sh;
pub mod suite;
pub mod wall;
