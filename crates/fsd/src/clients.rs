//! What the server keeps for a client: its memory and its open files.

use crate::node::Node;
use crate::user::User;
use alloc::borrow::Cow;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{OnceCell, RefCell};
use core::sync::atomic::{AtomicU32, Ordering};
use viper_proto::fs::{FILES_MAX, PATH_MAX, PathText, resting};
use viper_rt::abi::{Protection, Rights};
use viper_rt::handle::Memory;
use viper_rt::server::NewClient;
use viper_rt::{Error, Mapping, Object};

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
    shared: Option<Rc<Mapping>>,
    opened: Rc<Opened>,
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
        self.shared = Some(Rc::new(Mapping::with(memory, 0, size as usize, how)?));
        Ok(())
    }

    /// The shared memory, and `offset` and `len` as a range that is within.
    #[inline]
    pub(crate) fn range(&self, offset: u64, len: u64) -> Result<(&Mapping, usize), Error> {
        let shared = self.shared.as_deref().ok_or(Error::NotSupported)?;
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
        match self.opened.files.borrow().get(id as usize) {
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

    /// Looks from now on at the table at `offset` of the shared memory for files that rest.
    pub(crate) fn watch_resting(&self, offset: u64) -> Result<(), Error> {
        let (_, offset) = self.range(offset, (FILES_MAX * 4) as u64)?;
        let shared = self.shared.clone().ok_or(Error::NotSupported)?;
        shared.atomic(offset)?;
        let table = self.opened.resting.set((shared, offset));
        table.map_err(|_| Error::AlreadyExists)
    }

    /// Its open files, for those who close what rests.
    pub(crate) fn opened(&self) -> &Rc<Opened> {
        &self.opened
    }
}

/// The open files of a client.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    files: RefCell<Vec<Option<OpenFile>>>,
    /// The memory and the place in it that say which of them rest.
    resting: OnceCell<(Rc<Mapping>, usize)>,
}

impl Opened {
    /// Whether another file may be opened.
    pub(crate) fn has_room(&self) -> bool {
        let files = self.files.borrow();
        files.len() < FILES_MAX || files.iter().any(Option::is_none)
    }

    pub(crate) fn insert(&self, file: OpenFile) -> u32 {
        let mut files = self.files.borrow_mut();
        let free = files.iter().position(Option::is_none);
        let at = free.unwrap_or(files.len());
        if at == files.len() {
            files.push(None);
        }
        files[at] = Some(file);
        if let Some(word) = self.word(at) {
            word.store(resting::IN_USE, Ordering::Release);
        }
        at as u32
    }

    pub(crate) fn remove(&self, id: u32) -> Result<OpenFile, Error> {
        let mut files = self.files.borrow_mut();
        let place = files.get_mut(id as usize);
        place.and_then(Option::take).ok_or(Error::BadHandle)
    }

    /// Whether it has a file open.
    pub(crate) fn has_open(&self, node: Node) -> bool {
        let files = self.files.borrow();
        files.iter().flatten().any(|file| file.node == node)
    }

    /// Takes away a file that rests, and that its client cannot take back into use any more.
    pub(crate) fn take_resting(&self) -> Option<OpenFile> {
        self.resting.get()?;
        let mut files = self.files.borrow_mut();
        let mut places = files.iter_mut().enumerate();
        let (_, place) = places.find(|(id, place)| place.is_some() && self.is_resting(*id))?;
        place.take()
    }

    fn is_resting(&self, id: usize) -> bool {
        let (rests, closed) = (resting::RESTS, resting::CLOSED);
        let (set, failed) = (Ordering::AcqRel, Ordering::Relaxed);
        self.word(id)
            .is_some_and(|word| word.compare_exchange(rests, closed, set, failed).is_ok())
    }

    fn word(&self, id: usize) -> Option<&AtomicU32> {
        let (memory, at) = self.resting.get()?;
        // There are FILES_MAX words, and no more files.
        memory.atomic(at + id * 4).ok()
    }

    /// Takes all of them, on the client's end.
    pub(crate) fn take_all(&self) -> Vec<Option<OpenFile>> {
        self.files.take()
    }
}
