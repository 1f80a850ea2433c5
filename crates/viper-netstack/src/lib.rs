#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod address;
mod checksum;
mod config;
mod device;
pub mod dns;
mod error;
mod flow;
mod frame;
mod gather;
mod icmp;
mod interface;
mod listener;
mod neighbour;
mod ping;
mod poll;
mod recovery;
mod slaac;
mod slot;
pub mod sntp;
mod stack;
mod status;
mod tcp;
mod time_wait;
mod timer;
mod udp;
mod wire;

pub use address::{Cidr, Route};
pub use checksum::Sum;
pub use config::{Config, Dhcp, InterfaceConfig, Medium, TcpOptions};
pub use device::{FrameDevice, FrameQueue};
pub use dns::{Family, QueryId};
pub use error::Error;
pub use interface::InterfaceId;
pub use ping::EchoReply;
pub use slot::SocketId;
pub use stack::Stack;
pub use status::{Counters, DhcpState, InterfaceStatus, SocketKind, SocketStatus, TcpState};
