#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod algorithm;
mod channel;
mod cipher;
mod client;
mod config;
mod connection;
mod error;
mod event;
#[cfg(test)]
mod hostile;
mod kex;
pub mod key;
mod message;
mod output;
mod packet;
pub mod pump;
mod random;
mod request;
mod server;
mod session;
pub mod sftp;
mod transport;
mod version;
mod wire;

pub use algorithm::{Algorithms, Cipher, Kex, Mac, Negotiated, Protection, SignatureAlgorithm};
pub use channel::{ChannelId, Stream};
pub use client::{Client, ClientRole, Credential};
pub use config::{Config, ServerConfig};
pub use error::{AlgorithmKind, Error, ErrorKind};
pub use event::{AuthAnswer, AuthAttempt, AuthMethod, Event, Prompt, Prompts};
pub use key::{PrivateKey, PublicKey};
pub use packet::MAX_PACKET_LEN;
pub use request::{ChannelKind, Request, Tcpip, TerminalSize};
pub use server::{Server, ServerRole};
pub use session::{Role, Session};
