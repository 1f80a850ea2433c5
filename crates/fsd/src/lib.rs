#![doc = include_str!("../README.md")]
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod changes;
mod clients;
mod contents;
mod convert;
mod device;
mod disk;
mod gpt;
mod known;
mod locks;
mod mounts;
mod named;
mod names;
mod node;
mod open;
mod paths;
mod service;
mod streams;
mod user;
mod uses;
mod volume;
mod volumes;
mod walk;
mod world;

pub use clients::Client;
pub use disk::{BlockDisk, Connect};
pub use service::Fsd;
pub use world::{System, World};

#[cfg(test)]
mod tests;
