//! The file service (`FSD:`): files by path, their data through a session's memory.
//!
//! Paths are absolute, without assigns: clients resolve those before. Data never stands in
//! messages: offsets name places in the memory that the client shares at the start of its session.

use viper_rt::handle::{Channel, Memory};
use viper_rt::message::{Bytes, Put, Reader, Take, Writer};
use viper_rt::{Error, message_struct};

mod files;
mod paths;
mod window;

pub use files::{Entry, FileId, Files, Mount, append_entry};
pub use paths::{normal_path, resolve_path};

/// Longest path in bytes.
pub const PATH_MAX: usize = 4096;
/// Longest path that stands in a message itself; longer ones stand in the session's memory.
pub const PATH_INLINE_MAX: usize = 96;
/// Most bytes that one READ or WRITE moves.
pub const TRANSFER_MAX: u64 = 1 << 20;

/// How long data that a client keeps may be used without asking, if CHANGES says that nothing was
/// changed: a server that follows one that died answers nothing for so long.
pub const LEASE_NS: u64 = 10 * viper_rt::clock::MILLISECOND;

/// Files that a client may have open.
pub const FILES_MAX: usize = 256;

/// What the words of the table of RESTING say.
pub mod resting {
    /// The client uses the file, or has none of this number.
    pub const IN_USE: u32 = 0;
    /// It does not: the server may close it. Set by the client.
    pub const RESTS: u32 = 1;
    /// The server has closed it. Set by the server where it found [`RESTS`].
    pub const CLOSED: u32 = 2;
}

/// Flags of OPEN.
pub mod flags {
    /// Read.
    pub const READ: u32 = 1;
    /// Write.
    pub const WRITE: u32 = 2;
    /// Make it if it does not exist.
    pub const CREATE: u32 = 4;
    /// With CREATE: fail if it exists.
    pub const EXCLUSIVE: u32 = 8;
    /// Cut it to nothing.
    pub const TRUNCATE: u32 = 16;
    /// Every write goes to the end.
    pub const APPEND: u32 = 32;
    /// It must be a directory.
    pub const DIRECTORY: u32 = 64;
    /// A symbolic link at the end is not followed.
    pub const NO_FOLLOW: u32 = 128;
}

/// Kinds of files.
pub mod kind {
    /// A regular file.
    pub const FILE: u32 = 1;
    /// A directory.
    pub const DIRECTORY: u32 = 2;
    /// A symbolic link.
    pub const LINK: u32 = 3;
}

message_struct! {
    /// What is known of a file.
    pub struct Attributes {
        /// Number of its inode.
        pub inode: u64,
        /// Size in bytes.
        pub size_bytes: u64,
        /// Bytes that its blocks take.
        pub allocated_bytes: u64,
        /// Last change of the content, in nanoseconds since 1970.
        pub modified_ns: u64,
        /// Last change of anything.
        pub changed_ns: u64,
        /// Last access.
        pub accessed_ns: u64,
        /// When it was made.
        pub created_ns: u64,
        /// See [`kind`].
        pub kind: u32,
        /// Permission bits, as in POSIX.
        pub mode: u32,
        /// Number of names.
        pub links: u32,
        /// Owner.
        pub user: u32,
        /// Group.
        pub group: u32,
    }
}

message_struct! {
    /// What SET_ATTRIBUTES is to change: fields whose bit is in `which`.
    pub struct Changes {
        /// [`Changes::MODE`] and the like.
        pub which: u32,
        /// Permission bits.
        pub mode: u32,
        /// Owner.
        pub user: u32,
        /// Group.
        pub group: u32,
        /// Last access, in nanoseconds since 1970.
        pub accessed_ns: u64,
        /// Last change of the content.
        pub modified_ns: u64,
    }
}

impl Changes {
    /// Change the mode.
    pub const MODE: u32 = 1;
    /// Change the owner.
    pub const USER: u32 = 2;
    /// Change the group.
    pub const GROUP: u32 = 4;
    /// Change the time of the last access.
    pub const ACCESSED: u32 = 8;
    /// Change the time of the last modification.
    pub const MODIFIED: u32 = 16;
}

message_struct! {
    /// What is known of a file system.
    pub struct Statistics {
        /// Bytes of a block.
        pub block_bytes: u64,
        /// Blocks there are.
        pub blocks: u64,
        /// Blocks free.
        pub blocks_free: u64,
        /// Inodes there are.
        pub inodes: u64,
        /// Inodes free.
        pub inodes_free: u64,
        /// Longest name in bytes.
        pub name_max: u32,
        /// Whether it refuses to be written.
        pub read_only: bool,
    }
}

message_struct! {
    /// A range of a file to be locked, or what is locked.
    pub struct LockRange {
        /// First byte.
        pub start: u64,
        /// Last byte; `u64::MAX`: the end of the file wherever it is.
        pub last: u64,
        /// Alone, to write; otherwise together with others who read.
        pub exclusive: bool,
    }
}

message_struct! {
    /// Which volume it is.
    pub struct VolumeId {
        /// First half of its identity, as a big-endian number.
        pub uuid_high: u64,
        /// Second half.
        pub uuid_low: u64,
        /// Whether a disk error made it read-only, for now.
        pub failed: bool,
    }
}

message_struct! {
    /// How a volume is to be mounted.
    pub struct MountOptions {
        /// Without ever writing to it.
        pub read_only: bool,
        /// Bytes that may be in use on it, beyond what an empty volume has; `u64::MAX`: no limit.
        pub quota_bytes: u64,
        /// Files and directories that may be on it; `u64::MAX`: no limit.
        pub quota_inodes: u64,
    }
}

message_struct! {
    /// What is known of a mount.
    pub struct MountInfo {
        /// See [`mount_state`].
        pub state: u32,
        /// Files, directories and streams that are open on it.
        pub open_files: u32,
        /// Bytes that may be in use; `u64::MAX`: no limit.
        pub quota_bytes: u64,
        /// Files and directories that may be there; `u64::MAX`: no limit.
        pub quota_inodes: u64,
        /// Files and directories there are; 0 when nobody counts them, which a limit makes happen.
        pub inodes: u64,
    }
}

/// What state a mount is in.
pub mod mount_state {
    /// It can be read and written.
    pub const WRITABLE: u32 = 0;
    /// It was mounted to be read only, or must not be written.
    pub const READ_ONLY: u32 = 1;
    /// The disk failed: it is read-only until the disk works again.
    pub const FAILED: u32 = 2;
    /// There is no disk, or no volume on it, at this time.
    pub const ABSENT: u32 = 3;
}

/// Flags of the operations on attributes with names.
pub mod attribute {
    /// Of a symbolic link itself.
    pub const NO_FOLLOW: u32 = 1;
    /// To set: fail with `AlreadyExists` if it is there.
    pub const CREATE: u32 = 2;
    /// To set: fail with `NotFound` if it is not there.
    pub const REPLACE: u32 = 4;
}

/// Longest path that a volume may be mounted at.
pub const MOUNT_PATH_MAX: usize = 128;

/// A path in a message: short ones stand there, long ones in the session's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathText {
    /// The bytes themselves.
    Inline(ShortPath),
    /// Where they are in the session's memory.
    Shared {
        /// Byte offset.
        offset: u64,
        /// Length in bytes, at most [`PATH_MAX`].
        len: u32,
    },
}

/// A path that stood in a message: its bytes, by `Deref`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortPath {
    len: usize,
    bytes: [u8; PATH_INLINE_MAX],
}

impl core::ops::Deref for ShortPath {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// A path that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathSent<'a> {
    /// The bytes themselves, at most [`PATH_INLINE_MAX`].
    Inline(&'a [u8]),
    /// Where they are in the session's memory.
    Shared {
        /// Byte offset.
        offset: u64,
        /// Length in bytes, at most [`PATH_MAX`].
        len: u32,
    },
}

impl Put for PathSent<'_> {
    fn put(self, to: &mut Writer) -> Result<(), Error> {
        match self {
            PathSent::Inline(bytes) if bytes.len() > PATH_INLINE_MAX => Err(Error::MessageTooLarge),
            PathSent::Inline(bytes) => {
                to.word(0)?;
                to.bytes(bytes)
            }
            PathSent::Shared { offset, len } => {
                to.word(u64::from(len))?;
                to.word(offset)
            }
        }
    }
}

impl Take for PathText {
    type Sent<'a> = PathSent<'a>;
    fn take(from: &mut Reader) -> Result<PathText, Error> {
        match from.word()? {
            0 => {
                let mut bytes = [0; PATH_INLINE_MAX];
                let len = from.bytes_into(&mut bytes)?;
                Ok(PathText::Inline(ShortPath { len, bytes }))
            }
            len if len <= PATH_MAX as u64 => Ok(PathText::Shared {
                offset: from.word()?,
                len: len as u32,
            }),
            _ => Err(Error::NameTooLong),
        }
    }
}

interface! {
    "file" version 1;

    /// Shares the memory that all data goes through. Once per client; needs READ, WRITE and MAP.
    1 => retry now session(memory: Memory) -> ();
    /// Opens a file. `mode` is for a file it makes.
    2 => once now open(flags: u32, mode: u32, path: PathText) -> (file: u32, attributes: Attributes);
    /// Closes a file.
    3 => once now close(file: u32) -> ();
    /// Reads at most `len` bytes at `position` into the session's memory at `offset`. Returns how
    /// many; 0 at the end.
    4 => retry later read(file: u32, position: u64, len: u64, offset: u64) -> (count: u64);
    /// Writes `len` bytes at `position` (with APPEND: at the end) from the session's memory at
    /// `offset`. Returns how many, and the size of the file then.
    5 => once later write(file: u32, position: u64, len: u64, offset: u64)
        -> (count: u64, size_bytes: u64);
    /// What is known of an open file.
    6 => retry now stat(file: u32) -> (attributes: Attributes);
    /// What is known of the file at a path; of a link itself if `follow` is false.
    7 => retry now stat_path(follow: bool, path: PathText) -> (attributes: Attributes);
    /// Reads entries of a directory into the session's memory, from `cookie` on (0: the start), as
    /// many as fit `len` bytes. Returns the bytes used and the cookie to go on from.
    ///
    /// Entries: inode u64, kind u32, name length u16, two zero bytes, name, padded to 8.
    /// No bytes: the end.
    8 => retry later read_directory(file: u32, cookie: u64, len: u64, offset: u64)
        -> (used: u64, next: u64);
    /// Makes a directory.
    9 => once now make_directory(mode: u32, path: PathText) -> ();
    /// Removes a name of a file or link.
    10 => once now unlink(path: PathText) -> ();
    /// Removes an empty directory.
    11 => once now remove_directory(path: PathText) -> ();
    /// Renames; what is at the new path is replaced.
    12 => once now rename(from: PathText, to: PathText) -> ();
    /// Makes a symbolic link at `path`.
    13 => once now symlink(target: PathText, path: PathText) -> ();
    /// Reads a symbolic link into the session's memory. Returns its length.
    14 => retry now read_link(path: PathText, len: u64, offset: u64) -> (count: u64);
    /// Makes a second name for a file.
    15 => once now link(from: PathText, to: PathText) -> ();
    /// Sets the size of an open file.
    16 => retry now truncate(file: u32, size_bytes: u64) -> ();
    /// Changes attributes.
    17 => retry now set_attributes(changes: Changes, path: PathText) -> ();
    /// Returns when the file's data and attributes are on stable storage.
    18 => retry later sync_file(file: u32) -> ();
    /// Returns when everything is on stable storage.
    19 => retry later sync() -> ();
    /// What is known of the file system.
    20 => retry now statistics() -> (statistics: Statistics);
    /// A stream channel that reads or writes an open file from `position` on.
    21 => once now stream(file: u32, position: u64) -> (channel: Channel);
    /// A read-only memory object with the file's content as it is now, for mapping and programs.
    22 => retry later file_memory(file: u32) -> (size_bytes: u64, memory: Memory);
    /// A page to be mapped readable. Its first word is another one after each change of anything,
    /// content, attributes or names, before the change is answered. What was read stays right while
    /// the word is what it was before, and for [`LEASE_NS`] after it was read at most.
    23 => retry now changes() -> (counter: Memory);
    /// Locks a range of an open file against other clients: advisory, as POSIX has it. Waits for
    /// whoever is in the way until the deadline; `WouldBlock` if that has passed already,
    /// `Deadlock` if waiting would never end. All locks of a client go when it goes, those on a
    /// file when it has closed it as often as it opened it.
    24 => retry later lock(file: u32, range: LockRange, deadline: u64) -> ();
    /// Gives up what this client has locked in a range, whatever kind of lock it is.
    25 => retry now unlock(file: u32, range: LockRange) -> ();
    /// What would be in the way of a lock. `NotFound`: nothing.
    26 => retry now lock_test(file: u32, range: LockRange) -> (held: LockRange, process_id: u64);
    /// Keeps blocks for a range of a file, so that the first write there does not fail for want of
    /// space. The file grows to its end unless `keep_size`.
    27 => retry now allocate(file: u32, position: u64, len: u64, keep_size: bool) -> ();
    /// Gives the blocks of a range back: it reads as zeroes from then on.
    28 => retry now punch(file: u32, position: u64, len: u64) -> ();
    /// The next place that is data, or a hole, from `position` on. `NotFound` if there is none.
    29 => retry now seek(file: u32, position: u64, to_hole: bool) -> (position: u64);
    /// Name and identity of the volume.
    30 => retry now volume() -> (volume: VolumeId, label: Bytes);
    /// Gives the volume another name, at most 64 bytes. Durable on return.
    31 => retry now set_label(label: Bytes) -> ();
    /// The mount at `index`: what is known of it, its device, and where it is. `NotFound` behind
    /// the last. The first is the one at `/`.
    32 => retry now mount_at(index: u32) -> (mount: MountInfo, device: Bytes, path: Bytes);
    /// Mounts the volume of a device (`D1`; `D1.2` for its second partition) on a directory: what
    /// was there is not seen while it is. Nothing refused: it is mounted. Otherwise a sentence that
    /// says what is wrong with the device. Needs user 0.
    ///
    /// `NotFound`, `NotDirectory` are about the path; `AlreadyExists`: something is mounted there.
    33 => once now mount(options: MountOptions, device: Bytes, path: PathText) -> (refused: Bytes);
    /// Ends a mount, with everything on stable storage. `Busy` while a file is open on it, or
    /// something is mounted below. If the disk fails it stays mounted, unless `force` gives up what
    /// the disk does not take. Needs user 0.
    34 => once now unmount(force: bool, path: PathText) -> ();
    /// Sets what a mount may hold. What is there already stays. Needs user 0.
    35 => retry now set_quota(bytes: u64, inodes: u64, path: PathText) -> ();
    /// Name and identity of the volume that a path is on.
    36 => retry now volume_at(path: PathText) -> (volume: VolumeId, label: Bytes);
    /// What is known of the file system that a path is on.
    37 => retry now statistics_at(path: PathText) -> (statistics: Statistics);
    /// Returns when the file's data, and what is needed to read it, are on stable storage.
    38 => retry later sync_data(file: u32) -> ();
    /// Returns when everything of the volume that the file is on is on stable storage.
    39 => retry later sync_volume(file: u32) -> ();
    /// Reads an attribute by its name into the session's memory, unless it has more than `len`
    /// bytes. Returns how many it has. `NotFound` also if there is no such attribute.
    40 => retry now attribute_get(flags: u32, path: PathText, name: PathText, len: u64, offset: u64)
        -> (size_bytes: u64);
    /// Sets an attribute from the session's memory.
    41 => once now attribute_set(flags: u32, path: PathText, name: PathText, len: u64, offset: u64)
        -> ();
    /// Removes an attribute.
    42 => once now attribute_remove(flags: u32, path: PathText, name: PathText) -> ();
    /// The names of all attributes, each with a zero byte behind it, unless they have more than
    /// `len` bytes. Returns how many they have.
    43 => retry now attribute_list(flags: u32, path: PathText, len: u64, offset: u64)
        -> (size_bytes: u64);
    /// From now on word N of the table at `offset` of the session's memory, [`FILES_MAX`] words of
    /// 4 bytes, says how it is with file N: see [`resting`]. A file that was read only need not be
    /// closed: it may rest, and be used again by whoever takes its word back from
    /// [`resting::RESTS`]. The server closes what rests before that could make a difference: before
    /// a name goes, and when the client has no room for another file.
    44 => retry now resting(offset: u64) -> ();
}
