#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod decode;
pub mod discipline;
pub mod edit;
pub mod history;
pub mod termios;
pub mod width;

pub use decode::{Decoder, Key};
pub use discipline::{Discipline, ReadOutcome, Signal};
pub use edit::{Completion, EditEvent, Editor};
pub use history::History;
pub use termios::Termios;
