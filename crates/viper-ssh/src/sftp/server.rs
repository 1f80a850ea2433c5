//! The server: requests become calls of an [`SftpFs`].

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::frame::{self, Frames};
use super::{
    Attributes, DATA_LEN_MAX, Entry, MESSAGE_LEN_MAX, OpenFlags, Status, VERSION, extension, kind,
};
use crate::Error;
use crate::output::Output;
use crate::wire::{Put, Reader};

/// With so much output unsent, no more requests are taken.
const OUTPUT_MAX: usize = 512 * 1024;
/// Files and directories that may be open.
const HANDLES_MAX: usize = 64;
/// Names in one answer to a READDIR.
const NAMES_MAX: usize = 64;
/// After so many bytes of names an answer is sent.
const NAMES_LEN_MAX: usize = 32 * 1024;

/// The files a server shows. Paths are as the client sent them; relative ones start wherever
/// the implementation decides, and must not lead out of what the user may see.
#[expect(
    unused_variables,
    reason = "the defaults refuse whatever they are given"
)]
pub trait SftpFs {
    /// An open file. Dropping it closes it.
    type File;
    /// An open directory, with the place up to which it was read.
    type Directory;

    /// Opens a file; `attributes` are for one that is made.
    fn open(
        &mut self,
        path: &str,
        flags: OpenFlags,
        attributes: &Attributes,
    ) -> Result<Self::File, Status>;

    /// Reads from `offset`; 0 means that there is no more.
    fn read(&mut self, file: &mut Self::File, offset: u64, out: &mut [u8])
    -> Result<usize, Status>;

    /// Writes all of `data` at `offset`.
    fn write(&mut self, file: &mut Self::File, offset: u64, data: &[u8]) -> Result<(), Status>;

    /// The attributes of an open file.
    fn file_attributes(&mut self, file: &mut Self::File) -> Result<Attributes, Status>;

    /// The attributes of a file; a symbolic link at the end of the path is followed or not.
    fn attributes(&mut self, path: &str, follow: bool) -> Result<Attributes, Status>;

    /// Opens a directory.
    fn open_directory(&mut self, path: &str) -> Result<Self::Directory, Status>;

    /// The next name in a directory; `None` at its end.
    fn read_directory(&mut self, directory: &mut Self::Directory) -> Result<Option<Entry>, Status>;

    /// The absolute path, without `.` and `..`. It need not exist.
    fn real_path(&mut self, path: &str) -> Result<String, Status>;

    /// Closes a file, when an error may still show.
    fn close(&mut self, file: Self::File) -> Result<(), Status> {
        Ok(())
    }

    /// Changes what is given of an open file's attributes.
    fn set_file_attributes(
        &mut self,
        file: &mut Self::File,
        attributes: &Attributes,
    ) -> Result<(), Status> {
        Err(Status::Unsupported)
    }

    /// Changes what is given of a file's attributes.
    fn set_attributes(&mut self, path: &str, attributes: &Attributes) -> Result<(), Status> {
        Err(Status::Unsupported)
    }

    /// Removes a file.
    fn remove(&mut self, path: &str) -> Result<(), Status> {
        Err(Status::Unsupported)
    }

    /// Makes a directory.
    fn make_directory(&mut self, path: &str, attributes: &Attributes) -> Result<(), Status> {
        Err(Status::Unsupported)
    }

    /// Removes an empty directory.
    fn remove_directory(&mut self, path: &str) -> Result<(), Status> {
        Err(Status::Unsupported)
    }

    /// Renames; whether a file already called `to` is replaced is said by `replace`.
    fn rename(&mut self, from: &str, to: &str, replace: bool) -> Result<(), Status> {
        Err(Status::Unsupported)
    }

    /// Where a symbolic link leads.
    fn read_link(&mut self, path: &str) -> Result<String, Status> {
        Err(Status::Unsupported)
    }

    /// Makes a symbolic link at `path` that leads to `target`.
    fn symlink(&mut self, target: &str, path: &str) -> Result<(), Status> {
        Err(Status::Unsupported)
    }

    /// Gives a file a second name.
    fn hardlink(&mut self, from: &str, to: &str) -> Result<(), Status> {
        Err(Status::Unsupported)
    }

    /// Sees to it that what was written outlives a loss of power.
    fn sync(&mut self, file: &mut Self::File) -> Result<(), Status> {
        Err(Status::Unsupported)
    }

    /// The room of the file system that a path is on.
    fn space(&mut self, path: &str) -> Result<Space, Status> {
        Err(Status::Unsupported)
    }
}

/// How much room a file system has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes of a block.
    pub block_bytes: u64,
    /// Blocks there are.
    pub blocks: u64,
    /// Blocks that are free.
    pub blocks_free: u64,
    /// Files there may be.
    pub files: u64,
    /// Files that may still be made.
    pub files_free: u64,
    /// The longest name in bytes.
    pub name_max: u64,
    /// Whether nothing can be written.
    pub read_only: bool,
}

/// Serves one channel.
pub struct SftpServer<F: SftpFs> {
    fs: F,
    frames: Frames,
    output: Output,
    handles: BTreeMap<u32, Open<F>>,
    next_handle: u32,
    started: bool,
}

enum Open<F: SftpFs> {
    File(F::File),
    Directory(F::Directory),
}

/// An answer that is not just a status.
enum Answer {
    Done,
    Handle(u32),
    Data(Vec<u8>),
    Names(Vec<Entry>),
    Attributes(Attributes),
    Limits,
    Space(Space),
}

impl<F: SftpFs> SftpServer<F> {
    /// A server that waits for the client to start.
    pub fn new(fs: F) -> Self {
        SftpServer {
            fs,
            frames: Frames::default(),
            output: Output::default(),
            handles: BTreeMap::new(),
            next_handle: 0,
            started: false,
        }
    }

    /// The files it serves.
    pub fn fs(&mut self) -> &mut F {
        &mut self.fs
    }

    /// Takes bytes of the client; gives how many were taken.
    ///
    /// Fewer are taken while much output is unsent: send it, then offer the rest again.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::LimitExceeded`] for bytes that are no SFTP. Close the
    /// channel then.
    pub fn handle_input(&mut self, input: &[u8]) -> Result<usize, Error> {
        let mut rest = input;
        while self.output.pending().len() < OUTPUT_MAX {
            let Some(message) = self.frames.next(&mut rest)? else {
                break;
            };
            self.handle(&message)?;
        }
        Ok(input.len() - rest.len())
    }

    /// What has to be sent to the client. Say how much was, by
    /// [`output_sent`](Self::output_sent).
    pub fn poll_output(&self) -> &[u8] {
        self.output.pending()
    }

    /// Drops `len` bytes from the front of the output.
    pub fn output_sent(&mut self, len: usize) {
        self.output.sent(len);
    }

    fn handle(&mut self, message: &[u8]) -> Result<(), Error> {
        let mut body = Reader::new(message);
        let number = body.u8()?;
        let id = body.u32()?;
        if !self.started {
            // The field that is the request's number elsewhere is the version here.
            if number != kind::INIT {
                return Err(Error::UnexpectedMessage(number));
            }
            self.started = true;
            self.send_version();
            return Ok(());
        }
        // A request that cannot be read is answered, not punished: its frame was right.
        let result = match self.request(number, &mut body) {
            Ok(result) => result,
            Err(_) => Err(Status::BadMessage),
        };
        self.answer(id, result);
        Ok(())
    }

    fn send_version(&mut self) {
        let mut out = alloc::vec![kind::VERSION];
        out.put_u32(VERSION);
        for (name, version) in [
            (extension::POSIX_RENAME, "1"),
            (extension::HARDLINK, "1"),
            (extension::FSYNC, "1"),
            (extension::LIMITS, "1"),
            (extension::STATVFS, "2"),
        ] {
            out.put_string(name);
            out.put_string(version);
        }
        frame::push(self.output.bytes(), &out);
    }

    /// Carries a request out. The outer error is one of form.
    fn request(
        &mut self,
        number: u8,
        body: &mut Reader<'_>,
    ) -> Result<Result<Answer, Status>, Error> {
        Ok(match number {
            kind::OPEN => {
                let (path, flags) = (body.text()?, OpenFlags(body.u32()?));
                let attributes = Attributes::parse(body)?;
                self.open(path, flags, &attributes)
            }
            kind::OPENDIR => {
                let path = body.text()?;
                self.has_room()
                    .and_then(|()| self.fs.open_directory(path))
                    .map(|directory| Answer::Handle(self.insert(Open::Directory(directory))))
            }
            kind::CLOSE => self.close(body.string()?),
            kind::READ => {
                let (handle, offset, len) = (body.string()?, body.u64()?, body.u32()?);
                self.read(handle, offset, len)
            }
            kind::WRITE => {
                let (handle, offset, data) = (body.string()?, body.u64()?, body.string()?);
                self.write(handle, offset, data)
            }
            kind::READDIR => self.read_directory(body.string()?),
            kind::FSTAT => {
                let handle = body.string()?;
                self.with_file(handle, |fs, file| fs.file_attributes(file))
                    .map(Answer::Attributes)
            }
            kind::FSETSTAT => {
                let (handle, attributes) = (body.string()?, Attributes::parse(body)?);
                let result =
                    self.with_file(handle, |fs, file| fs.set_file_attributes(file, &attributes));
                result.map(|()| Answer::Done)
            }
            kind::EXTENDED => self.extended(body)?,
            _ => self.path_request(number, body)?,
        })
    }

    /// The requests that name files by their paths.
    fn path_request(
        &mut self,
        number: u8,
        body: &mut Reader<'_>,
    ) -> Result<Result<Answer, Status>, Error> {
        let done = |result: Result<(), Status>| result.map(|()| Answer::Done);
        let name = |name: String| {
            Answer::Names(alloc::vec![Entry {
                name,
                attributes: Attributes::default()
            }])
        };
        let fs = &mut self.fs;
        Ok(match number {
            kind::STAT => fs.attributes(body.text()?, true).map(Answer::Attributes),
            kind::LSTAT => fs.attributes(body.text()?, false).map(Answer::Attributes),
            kind::SETSTAT => {
                let path = body.text()?;
                done(fs.set_attributes(path, &Attributes::parse(body)?))
            }
            kind::REMOVE => done(fs.remove(body.text()?)),
            kind::MKDIR => {
                let path = body.text()?;
                done(fs.make_directory(path, &Attributes::parse(body)?))
            }
            kind::RMDIR => done(fs.remove_directory(body.text()?)),
            kind::REALPATH => fs.real_path(body.text()?).map(name),
            kind::RENAME => done(fs.rename(body.text()?, body.text()?, false)),
            kind::READLINK => fs.read_link(body.text()?).map(name),
            // The draft has the link first; every program follows OpenSSH's other order.
            kind::SYMLINK => done(fs.symlink(body.text()?, body.text()?)),
            _ => Err(Status::Unsupported),
        })
    }

    fn extended(&mut self, body: &mut Reader<'_>) -> Result<Result<Answer, Status>, Error> {
        let done = |result: Result<(), Status>| result.map(|()| Answer::Done);
        Ok(match body.text()? {
            extension::POSIX_RENAME => done(self.fs.rename(body.text()?, body.text()?, true)),
            extension::HARDLINK => done(self.fs.hardlink(body.text()?, body.text()?)),
            extension::FSYNC => {
                let handle = body.string()?;
                done(self.with_file(handle, |fs, file| fs.sync(file)))
            }
            extension::LIMITS => Ok(Answer::Limits),
            extension::STATVFS => self.fs.space(body.text()?).map(Answer::Space),
            _ => Err(Status::Unsupported),
        })
    }

    fn open(
        &mut self,
        path: &str,
        flags: OpenFlags,
        attributes: &Attributes,
    ) -> Result<Answer, Status> {
        self.has_room()?;
        let file = self.fs.open(path, flags, attributes)?;
        Ok(Answer::Handle(self.insert(Open::File(file))))
    }

    fn has_room(&self) -> Result<(), Status> {
        if self.handles.len() < HANDLES_MAX {
            Ok(())
        } else {
            Err(Status::Failure)
        }
    }

    fn insert(&mut self, open: Open<F>) -> u32 {
        // At most HANDLES_MAX numbers are taken, so a free one is near.
        while self.handles.contains_key(&self.next_handle) {
            self.next_handle = self.next_handle.wrapping_add(1);
        }
        let handle = self.next_handle;
        self.next_handle = self.next_handle.wrapping_add(1);
        self.handles.insert(handle, open);
        handle
    }

    fn with_file<T>(
        &mut self,
        handle: &[u8],
        call: impl FnOnce(&mut F, &mut F::File) -> Result<T, Status>,
    ) -> Result<T, Status> {
        match self.handles.get_mut(&handle_number(handle)?) {
            Some(Open::File(file)) => call(&mut self.fs, file),
            _ => Err(Status::Failure),
        }
    }

    fn close(&mut self, handle: &[u8]) -> Result<Answer, Status> {
        match self
            .handles
            .remove(&handle_number(handle)?)
            .ok_or(Status::Failure)?
        {
            Open::File(file) => self.fs.close(file)?,
            Open::Directory(_) => {}
        }
        Ok(Answer::Done)
    }

    fn read(&mut self, handle: &[u8], offset: u64, len: u32) -> Result<Answer, Status> {
        let mut data = alloc::vec![0; (len as usize).min(DATA_LEN_MAX)];
        let len = self.with_file(handle, |fs, file| fs.read(file, offset, &mut data))?;
        if len == 0 && !data.is_empty() {
            return Err(Status::Eof);
        }
        data.truncate(len);
        Ok(Answer::Data(data))
    }

    fn write(&mut self, handle: &[u8], offset: u64, data: &[u8]) -> Result<Answer, Status> {
        self.with_file(handle, |fs, file| fs.write(file, offset, data))?;
        Ok(Answer::Done)
    }

    fn read_directory(&mut self, handle: &[u8]) -> Result<Answer, Status> {
        let open = self.handles.get_mut(&handle_number(handle)?);
        let Some(Open::Directory(directory)) = open else {
            return Err(Status::Failure);
        };
        let (mut names, mut len) = (Vec::new(), 0);
        while names.len() < NAMES_MAX && len < NAMES_LEN_MAX {
            let Some(entry) = self.fs.read_directory(directory)? else {
                break;
            };
            len += 2 * entry.name.len() + 128;
            names.push(entry);
        }
        if names.is_empty() {
            Err(Status::Eof)
        } else {
            Ok(Answer::Names(names))
        }
    }

    fn answer(&mut self, id: u32, result: Result<Answer, Status>) {
        let mut out = Vec::new();
        let start = |out: &mut Vec<u8>, number: u8| {
            out.put_u8(number);
            out.put_u32(id);
        };
        match result {
            Ok(Answer::Handle(handle)) => {
                start(&mut out, kind::HANDLE);
                out.put_string(handle.to_be_bytes());
            }
            Ok(Answer::Data(data)) => {
                start(&mut out, kind::DATA);
                out.put_string(data);
            }
            Ok(Answer::Names(names)) => {
                start(&mut out, kind::NAME);
                out.put_u32(names.len() as u32);
                names.iter().for_each(|entry| entry.write(&mut out));
            }
            Ok(Answer::Attributes(attributes)) => {
                start(&mut out, kind::ATTRS);
                attributes.write(&mut out);
            }
            Ok(Answer::Limits) => {
                start(&mut out, kind::EXTENDED_REPLY);
                for limit in [MESSAGE_LEN_MAX, DATA_LEN_MAX, DATA_LEN_MAX, HANDLES_MAX] {
                    out.put_u64(limit as u64);
                }
            }
            Ok(Answer::Space(space)) => {
                start(&mut out, kind::EXTENDED_REPLY);
                write_space(&mut out, &space);
            }
            Ok(Answer::Done) => write_status(&mut out, id, Status::Ok),
            Err(status) => write_status(&mut out, id, status),
        }
        frame::push(self.output.bytes(), &out);
    }
}

fn write_status(out: &mut Vec<u8>, id: u32, status: Status) {
    out.put_u8(kind::STATUS);
    out.put_u32(id);
    out.put_u32(status.code());
    out.put_string(alloc::format!("{status}"));
    out.put_string("en");
}

/// The fields of POSIX's `statvfs`.
fn write_space(out: &mut Vec<u8>, space: &Space) {
    const READ_ONLY: u64 = 1;
    const NO_IDENTITY: u64 = 0;
    for field in [
        space.block_bytes,
        space.block_bytes,
        space.blocks,
        space.blocks_free,
        space.blocks_free,
        space.files,
        space.files_free,
        space.files_free,
        NO_IDENTITY,
        if space.read_only { READ_ONLY } else { 0 },
        space.name_max,
    ] {
        out.put_u64(field);
    }
}

fn handle_number(handle: &[u8]) -> Result<u32, Status> {
    handle
        .try_into()
        .map(u32::from_be_bytes)
        .map_err(|_| Status::Failure)
}
