#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod bytes;
mod dynamic;
mod error;
mod headers;
mod image;
mod segment;

pub use dynamic::{Relocation, Relocations};
pub use error::ElfError;
pub use headers::{Headers, Kind, PROGRAM_HEADERS_MAX, SEGMENTS_MAX};
pub use image::Image;
pub use segment::{Perms, Segment, Tls};

/// The lowest address a program may use: the pages below catch null pointers.
pub const USER_START: u64 = 0x1_0000;

/// The first address that a program may not use.
pub const USER_END: u64 = 0x40_0000_0000;

/// Bytes in a page: two segments never share one.
pub const PAGE_SIZE: u64 = 4096;
