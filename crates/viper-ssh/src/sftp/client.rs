//! The client: calls become requests, answers become events.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use super::frame::{self, Frames};
use super::{Attributes, DATA_LEN_MAX, Entry, OpenFlags, Status, VERSION, extension, kind};
use crate::Error;
use crate::output::Output;
use crate::request::lossy;
use crate::wire::{Put, Reader};

/// Requests that may be unanswered.
const PENDING_MAX: usize = 128;
/// With so many events unread, no more input is taken.
const EVENTS_MAX: usize = 64;
/// "The length of the handle string MUST NOT exceed 256 data bytes."
const HANDLE_LEN_MAX: usize = 256;
const EXTENSIONS_MAX: usize = 64;
const NAMES_MAX: u32 = 4096;

/// Names a request, so that its answer is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u32);

/// Names an open file or directory of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle(Vec<u8>);

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
    /// It was done, or failed.
    Status {
        /// How it went.
        status: Status,
        /// What the server says to it.
        message: String,
    },
    /// The file or directory is open.
    Handle(Handle),
    /// What was read. May be less than asked for.
    Data(Vec<u8>),
    /// Names: of a directory, or the single one asked for.
    Names(Vec<Entry>),
    /// Attributes.
    Attributes(Attributes),
}

/// What the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SftpEvent {
    /// Requests can be made.
    Ready {
        /// The names of the server's extensions.
        extensions: Vec<String>,
    },
    /// The answer to a request.
    Response {
        /// Which request.
        id: RequestId,
        /// Its answer.
        response: Response,
    },
}

/// The client's side of a channel.
#[derive(Default)]
pub struct SftpClient {
    frames: Frames,
    output: Output,
    events: VecDeque<SftpEvent>,
    pending: BTreeMap<u32, u8>,
    next_id: u32,
    ready: bool,
}

impl SftpClient {
    /// Starts the protocol; the first output is ready at once.
    pub fn new() -> Self {
        let mut client = SftpClient::default();
        let mut out = alloc::vec![kind::INIT];
        out.put_u32(VERSION);
        frame::push(client.output.bytes(), &out);
        client
    }

    /// Takes bytes of the server; gives how many were taken.
    ///
    /// Fewer are taken while many events are unread: read them, then offer the rest again.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::UnexpectedMessage`], [`Error::LimitExceeded`] for what no
    /// right server sends. Close the channel then.
    pub fn handle_input(&mut self, input: &[u8]) -> Result<usize, Error> {
        let mut rest = input;
        while self.events.len() < EVENTS_MAX {
            let Some(message) = self.frames.next(&mut rest)? else {
                break;
            };
            self.handle(&message)?;
        }
        Ok(input.len() - rest.len())
    }

    /// What has to be sent to the server. Say how much was, by
    /// [`output_sent`](Self::output_sent).
    pub fn poll_output(&self) -> &[u8] {
        self.output.pending()
    }

    /// Drops `len` bytes from the front of the output.
    pub fn output_sent(&mut self, len: usize) {
        self.output.sent(len);
    }

    /// The next answer.
    pub fn poll_event(&mut self) -> Option<SftpEvent> {
        self.events.pop_front()
    }

    /// How many requests are unanswered.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    // Requests. Each fails with `WrongState` before the server is ready, and with `LimitExceeded`
    // when too many are unanswered or a path or write is too long.

    /// Opens a file; a [`Response::Handle`] follows.
    ///
    /// # Errors
    /// As all requests: [`Error::WrongState`] before [`SftpEvent::Ready`], and
    /// [`Error::LimitExceeded`] when too many are unanswered or one is too long.
    pub fn open(
        &mut self,
        path: &str,
        flags: OpenFlags,
        attributes: &Attributes,
    ) -> Result<RequestId, Error> {
        self.request(kind::OPEN, |out| {
            out.put_string(path);
            out.put_u32(flags.0);
            attributes.write(out);
        })
    }

    /// Closes a file or directory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn close(&mut self, handle: &Handle) -> Result<RequestId, Error> {
        self.request(kind::CLOSE, |out| out.put_string(&handle.0))
    }

    /// Reads; [`Response::Data`] follows, or [`Status::Eof`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(&mut self, handle: &Handle, offset: u64, len: u32) -> Result<RequestId, Error> {
        self.request(kind::READ, |out| {
            out.put_string(&handle.0);
            out.put_u64(offset);
            out.put_u32(len.min(DATA_LEN_MAX as u32));
        })
    }

    /// Writes. Every server takes 32 KiB at once.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn write(&mut self, handle: &Handle, offset: u64, data: &[u8]) -> Result<RequestId, Error> {
        if data.len() > DATA_LEN_MAX {
            return Err(Error::LimitExceeded);
        }
        self.request(kind::WRITE, |out| {
            out.put_string(&handle.0);
            out.put_u64(offset);
            out.put_string(data);
        })
    }

    /// Asks for a file's attributes; a symbolic link is followed or not.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn attributes(&mut self, path: &str, follow: bool) -> Result<RequestId, Error> {
        let kind = if follow { kind::STAT } else { kind::LSTAT };
        self.request(kind, |out| out.put_string(path))
    }

    /// Asks for an open file's attributes.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn file_attributes(&mut self, handle: &Handle) -> Result<RequestId, Error> {
        self.request(kind::FSTAT, |out| out.put_string(&handle.0))
    }

    /// Changes what is given of a file's attributes.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn set_attributes(&mut self, path: &str, set: &Attributes) -> Result<RequestId, Error> {
        self.request(kind::SETSTAT, |out| {
            out.put_string(path);
            set.write(out);
        })
    }

    /// Changes what is given of an open file's attributes.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn set_file_attributes(
        &mut self,
        handle: &Handle,
        set: &Attributes,
    ) -> Result<RequestId, Error> {
        self.request(kind::FSETSTAT, |out| {
            out.put_string(&handle.0);
            set.write(out);
        })
    }

    /// Opens a directory; a [`Response::Handle`] follows.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_directory(&mut self, path: &str) -> Result<RequestId, Error> {
        self.path_request(kind::OPENDIR, path)
    }

    /// Asks for more names of a directory; [`Response::Names`] follows, or [`Status::Eof`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read_directory(&mut self, handle: &Handle) -> Result<RequestId, Error> {
        self.request(kind::READDIR, |out| out.put_string(&handle.0))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn remove(&mut self, path: &str) -> Result<RequestId, Error> {
        self.path_request(kind::REMOVE, path)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn make_directory(&mut self, path: &str, set: &Attributes) -> Result<RequestId, Error> {
        self.request(kind::MKDIR, |out| {
            out.put_string(path);
            set.write(out);
        })
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn remove_directory(&mut self, path: &str) -> Result<RequestId, Error> {
        self.path_request(kind::RMDIR, path)
    }

    /// Asks for the absolute path; one name follows. `.` is where the session starts.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn real_path(&mut self, path: &str) -> Result<RequestId, Error> {
        self.path_request(kind::REALPATH, path)
    }

    /// Renames; the new name must not be taken.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn rename(&mut self, from: &str, to: &str) -> Result<RequestId, Error> {
        self.request(kind::RENAME, |out| {
            out.put_string(from);
            out.put_string(to);
        })
    }

    /// Renames and replaces, where the server has `posix-rename@openssh.com`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn replace(&mut self, from: &str, to: &str) -> Result<RequestId, Error> {
        self.request(kind::EXTENDED, |out| {
            out.put_string(extension::POSIX_RENAME);
            out.put_string(from);
            out.put_string(to);
        })
    }

    /// Sees a file to the disk, where the server has `fsync@openssh.com`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn sync(&mut self, handle: &Handle) -> Result<RequestId, Error> {
        self.request(kind::EXTENDED, |out| {
            out.put_string(extension::FSYNC);
            out.put_string(&handle.0);
        })
    }

    /// Asks where a symbolic link leads; one name follows.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read_link(&mut self, path: &str) -> Result<RequestId, Error> {
        self.path_request(kind::READLINK, path)
    }

    /// Makes a symbolic link at `path`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn symlink(&mut self, target: &str, path: &str) -> Result<RequestId, Error> {
        self.request(kind::SYMLINK, |out| {
            out.put_string(target);
            out.put_string(path);
        })
    }

    fn path_request(&mut self, number: u8, path: &str) -> Result<RequestId, Error> {
        self.request(number, |out| out.put_string(path))
    }

    fn request(
        &mut self,
        number: u8,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<RequestId, Error> {
        if !self.ready {
            return Err(Error::WrongState);
        }
        let id = self.next_id;
        let mut out = alloc::vec![number];
        out.put_u32(id);
        write(&mut out);
        if self.pending.len() >= PENDING_MAX || out.len() > super::MESSAGE_LEN_MAX {
            return Err(Error::LimitExceeded);
        }
        self.next_id = id.wrapping_add(1);
        self.pending.insert(id, number);
        frame::push(self.output.bytes(), &out);
        Ok(RequestId(id))
    }

    fn handle(&mut self, message: &[u8]) -> Result<(), Error> {
        let mut body = Reader::new(message);
        let number = body.u8()?;
        if !self.ready {
            return self.handle_version(number, body);
        }
        let id = body.u32()?;
        let asked = self
            .pending
            .remove(&id)
            .ok_or(Error::UnexpectedMessage(number))?;
        if !fits(asked, number) {
            return Err(Error::UnexpectedMessage(number));
        }
        let response = read_response(number, &mut body)?;
        self.events.push_back(SftpEvent::Response {
            id: RequestId(id),
            response,
        });
        Ok(())
    }

    fn handle_version(&mut self, number: u8, mut body: Reader<'_>) -> Result<(), Error> {
        if number != kind::VERSION {
            return Err(Error::UnexpectedMessage(number));
        }
        if body.u32()? != VERSION {
            return Err(Error::BadVersion);
        }
        let mut extensions = Vec::new();
        while !body.is_empty() && extensions.len() < EXTENSIONS_MAX {
            extensions.push(lossy(body.string()?));
            body.string()?;
        }
        self.ready = true;
        self.events.push_back(SftpEvent::Ready { extensions });
        Ok(())
    }
}

/// Whether this can be the answer to that request.
fn fits(asked: u8, answer: u8) -> bool {
    match answer {
        kind::STATUS => true,
        kind::HANDLE => matches!(asked, kind::OPEN | kind::OPENDIR),
        kind::DATA => asked == kind::READ,
        kind::NAME => matches!(asked, kind::READDIR | kind::REALPATH | kind::READLINK),
        kind::ATTRS => matches!(asked, kind::STAT | kind::LSTAT | kind::FSTAT),
        _ => false,
    }
}

fn read_response(number: u8, body: &mut Reader<'_>) -> Result<Response, Error> {
    Ok(match number {
        kind::STATUS => {
            let status = Status::from_code(body.u32()?);
            // Old servers leave the text out.
            let message = if body.is_empty() {
                String::new()
            } else {
                lossy(body.string()?)
            };
            Response::Status { status, message }
        }
        kind::HANDLE => {
            let handle = body.string()?;
            if handle.len() > HANDLE_LEN_MAX {
                return Err(Error::LimitExceeded);
            }
            Response::Handle(Handle(handle.to_vec()))
        }
        kind::DATA => Response::Data(body.string()?.to_vec()),
        kind::NAME => {
            let count = body.u32()?;
            if count > NAMES_MAX {
                return Err(Error::LimitExceeded);
            }
            let mut names = Vec::new();
            for _ in 0..count {
                names.push(Entry::parse(body)?);
            }
            Response::Names(names)
        }
        kind::ATTRS => Response::Attributes(Attributes::parse(body)?),
        _ => return Err(Error::UnexpectedMessage(number)),
    })
}
