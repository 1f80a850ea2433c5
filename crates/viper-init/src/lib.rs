#![doc = include_str!("../README.md")]
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod archive;
pub mod assigns;
pub mod board;
pub mod init;
pub mod manifest;
pub mod options;
pub mod supervision;
pub mod world;
