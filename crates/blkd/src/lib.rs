#![doc = include_str!("../README.md")]
#![cfg_attr(target_os = "none", no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod disk;
mod dma;
#[cfg(all(not(target_os = "none"), any(test, feature = "fake")))]
pub mod fake;
mod jobs;
mod plan;
mod registers;
mod service;

pub use disk::Disk;
pub use dma::{open_window, own_region};
pub use registers::DeviceRegisters;
pub use service::{Blkd, Client, Hardware, OpenWindow, SILENCE_MAX_NS};

#[cfg(test)]
mod tests;
