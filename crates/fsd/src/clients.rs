//! What the server keeps for a client: its memory and its open files.

use crate::node::Node;
use crate::user::User;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use viper_proto::fs::{PATH_MAX, PathText};
use viper_rt::abi::{Protection, Rights};
use viper_rt::handle::Memory;
use viper_rt::server::NewClient;
use viper_rt::{Error, Mapping, Object};

/// Files that a client may have open.
const FILES_MAX: usize = 256;
/// Most bytes of memory that a client may share.
const MEMORY_MAX: u64 = 4 << 20;

/// An open file. It is pinned: its inode stays though its names may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenFile {
    pub(crate) node: Node,
    /// Flags of OPEN, and [`TAKES_ID`].
    pub(crate) flags: u32,
    pub(crate) is_directory: bool,
}

/// Of an open file: a write takes the bits that would let others act for its owner.
pub(crate) const TAKES_ID: u32 = 1 << 31;

/// A client that works with files.
#[derive(Debug, Default)]
pub struct FileClient {
    /// Its number, as owner of locks.
    pub(crate) number: u64,
    pub(crate) process_id: u64,
    /// Who it is.
    pub(crate) user: User,
    shared: Option<Mapping>,
    files: Vec<Option<OpenFile>>,
}

/// A client that reads or writes one file from a position on.
#[derive(Debug)]
pub struct StreamClient {
    pub(crate) file: OpenFile,
    pub(crate) position: u64,
}

/// What the server keeps for a client.
#[derive(Debug)]
pub enum Client {
    /// One that came through the name service.
    Files(FileClient),
    /// One that STREAM made.
    Stream(StreamClient),
}

impl FileClient {
    pub(crate) fn new(number: u64, who: &NewClient) -> FileClient {
        FileClient {
            number,
            process_id: who.process_id,
            user: User {
                user: who.user,
                group: who.group,
            },
            ..FileClient::default()
        }
    }

    /// Takes the memory that data goes through.
    ///
    /// It is populated now: touching it later can then not fail for want of the client's quota,
    /// which would be the end of the server.
    pub(crate) fn share(&mut self, memory: &Memory) -> Result<(), Error> {
        let needed = Rights::READ | Rights::WRITE | Rights::MAP;
        if !memory.owned().info()?.rights.contains(needed) {
            return Err(Error::NoRight);
        }
        if self.shared.is_some() {
            return Err(Error::AlreadyExists);
        }
        let (size, _) = memory.size()?;
        if size > MEMORY_MAX {
            return Err(Error::InvalidArgument);
        }
        let how = Protection::READ | Protection::WRITE | Protection::POPULATE;
        self.shared = Some(Mapping::with(memory, 0, size as usize, how)?);
        Ok(())
    }

    /// The shared memory, and `offset` and `len` as a range that is within.
    #[inline]
    pub(crate) fn range(&self, offset: u64, len: u64) -> Result<(&Mapping, usize), Error> {
        let shared = self.shared.as_ref().ok_or(Error::NotSupported)?;
        match offset.checked_add(len) {
            Some(end) if end <= shared.len() as u64 => Ok((shared, offset as usize)),
            _ => Err(Error::InvalidArgument),
        }
    }

    /// A path, checked for its form: absolute, not too long, without zero bytes.
    pub(crate) fn path<'t>(&self, text: &'t PathText) -> Result<Cow<'t, [u8]>, Error> {
        let path = self.text(text)?;
        if path.first() == Some(&b'/') && !path.contains(&0) {
            Ok(path)
        } else {
            Err(Error::InvalidArgument)
        }
    }

    /// A text as it is. Copied once: the client may change its memory at any time.
    pub(crate) fn text<'t>(&self, text: &'t PathText) -> Result<Cow<'t, [u8]>, Error> {
        match text {
            PathText::Inline(bytes) => Ok(Cow::Borrowed(bytes)),
            PathText::Shared { offset, len } => {
                let (shared, offset) = self.range(*offset, u64::from(*len))?;
                let mut path = alloc::vec![0; (*len as usize).min(PATH_MAX)];
                shared.read(offset, &mut path)?;
                Ok(Cow::Owned(path))
            }
        }
    }

    /// Puts bytes into the shared memory, unless they are more than `len`. Returns how many.
    pub(crate) fn give(&self, bytes: &[u8], len: u64, offset: u64) -> Result<u64, Error> {
        let count = bytes.len() as u64;
        if count <= len {
            let (shared, offset) = self.range(offset, count)?;
            shared.write(offset, bytes)?;
        }
        Ok(count)
    }

    /// Bytes of the shared memory. Copied once: the client may change its memory at any time.
    pub(crate) fn take(&self, len: u64, offset: u64) -> Result<Vec<u8>, Error> {
        let (shared, offset) = self.range(offset, len)?;
        let mut bytes = alloc::vec![0; len as usize];
        shared.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    #[inline]
    pub(crate) fn file(&self, id: u32) -> Result<OpenFile, Error> {
        match self.files.get(id as usize) {
            Some(Some(file)) => Ok(*file),
            _ => Err(Error::BadHandle),
        }
    }

    /// An open file that has `flag`.
    #[inline]
    pub(crate) fn file_with(&self, id: u32, flag: u32) -> Result<OpenFile, Error> {
        let file = self.file(id)?;
        if file.flags & flag == flag {
            Ok(file)
        } else {
            Err(Error::NoRight)
        }
    }

    /// Whether another file may be opened.
    pub(crate) fn check_room(&self) -> Result<(), Error> {
        let is_full = self.files.len() >= FILES_MAX && self.files.iter().all(Option::is_some);
        if is_full {
            Err(Error::LimitReached)
        } else {
            Ok(())
        }
    }

    pub(crate) fn insert(&mut self, file: OpenFile) -> u32 {
        let free = self.files.iter().position(Option::is_none);
        let at = free.unwrap_or(self.files.len());
        if at == self.files.len() {
            self.files.push(None);
        }
        self.files[at] = Some(file);
        at as u32
    }

    pub(crate) fn remove(&mut self, id: u32) -> Result<OpenFile, Error> {
        let place = self.files.get_mut(id as usize);
        place.and_then(Option::take).ok_or(Error::BadHandle)
    }

    /// Whether it has a file open.
    pub(crate) fn has_open(&self, node: Node) -> bool {
        self.files.iter().flatten().any(|file| file.node == node)
    }

    /// The open files, on the client's end.
    pub(crate) fn into_files(self) -> impl Iterator<Item = OpenFile> {
        self.files.into_iter().flatten()
    }
}
