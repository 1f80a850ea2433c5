#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod conditional;
mod date;
mod error;
mod framing;
mod gzip;
mod head;
mod headers;
mod limits;
mod method;
mod mime;
mod range;
mod reader;
mod redirect;
pub mod server;
pub mod url;

pub use conditional::{Validators, Verdict};
pub use date::HttpDate;
pub use error::{Error, ErrorKind};
pub use framing::{BodyLength, encode_chunk, encode_last_chunk};
pub use gzip::GzipDecoder;
pub use head::{RequestHead, ResponseHead};
pub use headers::{Field, Headers};
pub use limits::Limits;
pub use method::{Method, Status, Version};
pub use mime::media_type;
pub use range::{ByteRange, ContentRange, RangeAnswer};
pub use reader::{Progress, RequestReader, ResponseReader};
pub use redirect::{Redirect, RedirectPolicy};
pub use url::Url;
