#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("virtio 1.2 is little-endian on the wire and so is this crate");

extern crate alloc;

pub mod block;
#[cfg(feature = "bridge")]
pub mod bridge;
mod device;
pub mod dma;
pub mod error;
#[cfg(feature = "fake")]
pub mod fake;
pub mod input;
pub mod net;
mod queue;
pub mod rng;
pub mod transport;

pub use block::{Block, BlockConfig, BlockInfo, Completion, Request, RequestKind, Status};
pub use dma::{DeviceAddress, DmaRegion, DmaSegment, DmaWindow};
pub use error::{Error, ErrorKind};
pub use input::{Input, InputEvent};
pub use net::{Net, NetConfig, NetInfo, Received, Transmit};
pub use rng::Rng;
pub use transport::{DeviceKind, Interrupt, Registers, Transport};
