#![doc = include_str!("../README.md")]
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod channel;
mod connection;
pub mod files;
mod forward;
pub mod guest;
mod host_key;
mod job;
mod login;
pub mod net;
mod program;
mod queue;
mod server;
mod sftp;
mod terminal;
pub mod world;

pub use host_key::HOST_KEY;
pub use login::{AUTHORIZED_KEYS, Identity, USERS};
pub use server::{Settings, Sshd};
pub use terminal::Seat;
