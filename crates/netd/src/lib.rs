#![doc = include_str!("../README.md")]
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod card;
mod convert;
mod datagrams;
mod flow;
mod lease;
mod local;
mod operations;
mod pipe;
mod questions;
mod refusal;
mod server;
mod sockets;

pub use card::{Card, NetworkCard};
pub use refusal::Refusal;
pub use server::{Client, DEVICE_KEY, Netd};

#[cfg(test)]
mod tests;
