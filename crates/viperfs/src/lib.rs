#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod access;
mod allocate;
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
mod identity;
mod inode;
mod journal;
mod layout;
mod locks;
mod mounts;
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

pub use access::{Credentials, Want, access, may_remove, mode_after_write};
pub use allocate::SeekTo;
pub use check::{CheckOptions, Problem, Progress, Report, check};
pub use checksum::Crc32c;
pub use device::{BLOCK_SIZE, BlockDevice, CopyIn, CopyOut, DeviceError, MemoryDevice};
pub use dir::{DirEntry, NewNode, RenameMode};
pub use error::{Error, MountError};
pub use file::Piece;
pub use format::{FormatOptions, format};
pub use fs::{Counters, Fs, MountOptions, Quota, StatFs};
pub use inode::{Attr, FileKind, Owner, SetAttr};
pub use layout::{
    MAX_BLOCKS, MAX_FILE_SIZE, MAX_LINK_TARGET, MAX_NAME, MAX_XATTR_VALUE, MIN_BLOCKS, ROOT_INO,
};
pub use locks::{Lock, LockError, LockKind, LockTable, Wait};
pub use mounts::{MountTable, Resolved, normalize};
pub use path::{MAX_LINKS, MAX_PATH};
pub use repair::{Repaired, repair};
pub use xattr::XattrMode;
