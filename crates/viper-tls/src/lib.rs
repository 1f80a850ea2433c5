#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

extern crate alloc;

mod buffer;
mod config;
mod connection;
mod error;
mod identity;
mod roots;
mod self_signed;
mod sessions;
mod verify;

#[cfg(test)]
mod tests;

pub use config::{ClientConfig, ServerConfig};
pub use connection::{Connection, PeerInfo};
pub use error::Error;
pub use identity::Identity;
pub use roots::Roots;
pub use self_signed::SelfSigned;
pub use viper_tls_provider as provider;

/// Seconds since the beginning of 1970 in UTC, from a clock that can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixSeconds(pub u64);
