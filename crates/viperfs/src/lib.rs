#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod cache;
mod check;
mod checksum;
mod device;
mod dir;
mod error;
mod extent;
mod file;
mod format;
mod fs;
mod inode;
mod journal;
mod layout;
mod node;
mod path;
mod repair;
mod salvage;
mod space;
mod store;
mod superblock;
mod survey;
mod tree;
mod xattr;

pub use check::{CheckOptions, Problem, Progress, Report, check};
pub use checksum::Crc32c;
pub use device::{BLOCK_SIZE, BlockDevice, DeviceError, MemoryDevice};
pub use dir::{DirEntry, NewNode, RenameMode};
pub use error::{Error, MountError};
pub use format::{FormatOptions, format};
pub use fs::{Counters, Fs, MountOptions, StatFs};
pub use inode::{Attr, FileKind, Owner, SetAttr};
pub use layout::{
    MAX_BLOCKS, MAX_FILE_SIZE, MAX_LINK_TARGET, MAX_NAME, MAX_XATTR_VALUE, MIN_BLOCKS, ROOT_INO,
};
pub use path::{MAX_LINKS, MAX_PATH};
pub use repair::{Repaired, repair};
pub use xattr::XattrMode;
