//! The server on the fake kernel, over the real block server on a fake disk.

mod access;
mod bench;
mod damage;
mod files;
mod locks;
mod mounts;
mod restarts;
mod resting;
mod windows;
