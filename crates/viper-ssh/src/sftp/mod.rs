//! SFTP version 3 (draft-ietf-secsh-filexfer-02), client and server, over any stream of bytes.
//!
//! Both machines are driven like a session: `handle_input`, `poll_output`, and for the client
//! `poll_event`. The bytes are those of a channel whose subsystem is `sftp`.

mod attributes;
mod client;
mod frame;
mod server;
mod transfer;

pub use attributes::{Attributes, Entry, FileKind, OpenFlags, Status};
pub use client::{Handle, RequestId, Response, SftpClient, SftpEvent};
pub use server::{SftpFs, SftpServer, Space};
pub use transfer::{Chunk, Download, Upload};

/// The version both sides speak.
pub(crate) const VERSION: u32 = 3;
/// The longest message that is taken or sent.
pub(crate) const MESSAGE_LEN_MAX: usize = 256 * 1024;
/// The most data in one read or write.
pub(crate) const DATA_LEN_MAX: usize = 255 * 1024;

/// Message numbers (section 3).
pub(crate) mod kind {
    pub const INIT: u8 = 1;
    pub const VERSION: u8 = 2;
    pub const OPEN: u8 = 3;
    pub const CLOSE: u8 = 4;
    pub const READ: u8 = 5;
    pub const WRITE: u8 = 6;
    pub const LSTAT: u8 = 7;
    pub const FSTAT: u8 = 8;
    pub const SETSTAT: u8 = 9;
    pub const FSETSTAT: u8 = 10;
    pub const OPENDIR: u8 = 11;
    pub const READDIR: u8 = 12;
    pub const REMOVE: u8 = 13;
    pub const MKDIR: u8 = 14;
    pub const RMDIR: u8 = 15;
    pub const REALPATH: u8 = 16;
    pub const STAT: u8 = 17;
    pub const RENAME: u8 = 18;
    pub const READLINK: u8 = 19;
    pub const SYMLINK: u8 = 20;
    pub const STATUS: u8 = 101;
    pub const HANDLE: u8 = 102;
    pub const DATA: u8 = 103;
    pub const NAME: u8 = 104;
    pub const ATTRS: u8 = 105;
    pub const EXTENDED: u8 = 200;
    pub const EXTENDED_REPLY: u8 = 201;
}

/// Extensions of OpenSSH that are spoken.
pub(crate) mod extension {
    pub const POSIX_RENAME: &str = "posix-rename@openssh.com";
    pub const HARDLINK: &str = "hardlink@openssh.com";
    pub const FSYNC: &str = "fsync@openssh.com";
    pub const LIMITS: &str = "limits@openssh.com";
    pub const STATVFS: &str = "statvfs@openssh.com";
}
