#![doc = include_str!("../README.md")]
#![cfg_attr(target_os = "none", no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod arguments;
pub mod carrier;
pub mod commands;
pub mod failure;
pub mod forward;
pub mod hosts;
pub mod keyboard;
pub mod link;
pub mod local;
pub mod login;
pub mod pattern;
pub mod remote;
pub mod shell;
pub mod transfer;
pub mod user;
