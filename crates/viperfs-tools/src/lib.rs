#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cli;
mod copy;
mod error;
mod file_device;
pub mod fuse;
mod image;

pub use copy::{
    CopyOptions, get, get_file, make_dirs, populate, put, put_bytes, put_file, read_file,
    remove_tree,
};
pub use error::ToolError;
pub use file_device::FileDevice;
pub use image::{
    ImageOptions, create_image, mount_image, mount_image_read_only, now_ns, parse_size, parse_uuid,
    random_uuid,
};
