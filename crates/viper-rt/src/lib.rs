#![doc = include_str!("../README.md")]
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

/// The interface with the kernel.
pub use viper_abi as abi;
pub use viper_abi::Error;

#[cfg(target_os = "none")]
mod arch {
    pub(crate) mod entry;
    mod memory;
}
pub mod checksum;
pub mod client;
pub mod clock;
pub mod handle;
#[cfg(target_os = "none")]
mod heap;
#[cfg(not(target_os = "none"))]
pub mod host;
pub mod log;
pub mod mapping;
pub mod message;
pub mod object;
#[cfg(target_os = "none")]
mod panic;
pub mod program;
pub mod registers;
pub mod ring;
pub mod server;
pub mod spawn;
pub mod stdio;
pub mod sync;
pub mod sys;
pub mod thread;
pub mod trace;
#[cfg(feature = "virtio")]
pub mod virtio;

pub use handle::Object;
pub use mapping::Mapping;
