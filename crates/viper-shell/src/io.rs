//! Where commands read from and write to.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::context::Context;
use crate::error::{Error, Result};
use crate::system::{FileId, OpenMode, PipeId};

/// Bytes that a pipe between two commands of the shell, or a substitution, holds in memory. What
/// is more goes through a file in `T:`, in pipes.
pub const PIPE_MAX: usize = 1 << 20;
/// Output that is put together before it goes to the console or a file.
pub(crate) const GATHER: usize = 4096;
/// Size of the pieces in which files are read and written.
pub(crate) const CHUNK: usize = 64 * 1024;

/// A file that was opened by a redirection.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) id: FileId,
    pub(crate) path: String,
    pub(crate) offset: u64,
    pub(crate) gathered: Vec<u8>,
}

/// Bytes in memory that are read once.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    pub(crate) at: usize,
}

/// What commands write into memory: substitutions and pipes inside the shell.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    pub(crate) bytes: Vec<u8>,
    /// It may go on in a file when it is more than [`PIPE_MAX`].
    pub(crate) spills: bool,
    /// That file, all of it: open for writing, its path and length.
    pub(crate) file: Option<(FileId, String, u64)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Source {
    Console,
    Null,
    File(Rc<RefCell<OpenFile>>),
    Memory(Rc<RefCell<Memory>>),
    Pipe(PipeId),
}

#[derive(Clone, Debug)]
pub(crate) enum Sink {
    Console,
    ConsoleError,
    Null,
    File(Rc<RefCell<OpenFile>>),
    Memory(Rc<RefCell<Buffer>>),
    Pipe(PipeId),
}

/// The three streams of a command.
#[derive(Clone, Debug)]
pub(crate) struct Io {
    pub(crate) stdin: Source,
    pub(crate) stdout: Sink,
    pub(crate) stderr: Sink,
}

impl Io {
    pub(crate) fn console() -> Self {
        Self {
            stdin: Source::Console,
            stdout: Sink::Console,
            stderr: Sink::ConsoleError,
        }
    }
}

impl Context<'_> {
    /// Writes to standard output.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let sink = self.io.stdout.clone();
        self.write_to(&sink, bytes)
    }

    pub(crate) fn write_to(&mut self, sink: &Sink, bytes: &[u8]) -> Result<()> {
        match sink {
            Sink::Null => Ok(()),
            Sink::Console => {
                self.shell.console.extend_from_slice(bytes);
                if self.shell.console.len() < GATHER {
                    Ok(())
                } else {
                    self.flush_console()
                }
            }
            Sink::ConsoleError => {
                self.flush_quietly();
                self.sys.console_write(bytes, true)
            }
            Sink::Memory(memory) => self.write_memory(&mut memory.borrow_mut(), bytes),
            Sink::File(file) => {
                let mut file = file.borrow_mut();
                file.gathered.extend_from_slice(bytes);
                if file.gathered.len() < GATHER {
                    Ok(())
                } else {
                    self.flush_file(&mut file)
                }
            }
            Sink::Pipe(pipe) => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let count = self.sys.pipe_write(*pipe, rest)?;
                    rest = rest.get(count.max(1)..).unwrap_or(&[]);
                }
                Ok(())
            }
        }
    }

    fn write_memory(&mut self, buffer: &mut Buffer, bytes: &[u8]) -> Result<()> {
        if let Some((file, _, length)) = &mut buffer.file {
            let at = *length;
            *length += bytes.len() as u64;
            return self.write_all(*file, at, bytes);
        }
        if buffer.bytes.len() + bytes.len() <= PIPE_MAX {
            buffer
                .bytes
                .try_reserve(bytes.len())
                .map_err(|_| Error::Exhausted)?;
            buffer.bytes.extend_from_slice(bytes);
            return Ok(());
        }
        if !buffer.spills {
            return Err(Error::PipeFull);
        }
        let kept = core::mem::take(&mut buffer.bytes);
        let path = self.temporary(&kept).map_err(|_| Error::PipeFull)?;
        let file = match self.sys.open(&path, OpenMode::APPEND) {
            Ok(file) => file,
            Err(error) => {
                let _ = self.sys.unlink(&path);
                return Err(error);
            }
        };
        buffer.file = Some((file, path, kept.len() as u64));
        self.write_memory(buffer, bytes)
    }

    /// Reads from standard input; 0 is the end.
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        match self.io.stdin.clone() {
            Source::Null => Ok(0),
            Source::Console => {
                self.flush_console()?;
                match self.typed_ahead(buf) {
                    0 => self.sys.console_read(buf),
                    count => Ok(count),
                }
            }
            Source::Memory(memory) => {
                let mut memory = memory.borrow_mut();
                let rest = memory.bytes.get(memory.at..).unwrap_or(&[]);
                let count = rest.len().min(buf.len());
                for (place, byte) in buf.iter_mut().zip(rest) {
                    *place = *byte;
                }
                memory.at += count;
                Ok(count)
            }
            Source::File(file) => {
                let mut file = file.borrow_mut();
                let count = self.sys.read(file.id, file.offset, buf)?;
                file.offset += count as u64;
                Ok(count)
            }
            Source::Pipe(pipe) => self.sys.pipe_read(pipe, buf),
        }
    }

    /// Takes from what the line editor had already read, up to a line's end.
    fn typed_ahead(&mut self, buf: &mut [u8]) -> usize {
        let ahead = &mut self.shell.ahead;
        let line = ahead
            .iter()
            .position(|&b| b == b'\n' || b == b'\r')
            .map(|at| at + 1);
        let count = line.unwrap_or(ahead.len()).min(buf.len());
        for (place, byte) in buf.iter_mut().zip(ahead.drain(..count)) {
            *place = if byte == b'\r' { b'\n' } else { byte };
        }
        count
    }

    /// Hands gathered console output over. Also the place where Ctrl-C is noticed while writing.
    pub(crate) fn flush_console(&mut self) -> Result<()> {
        if self.shell.console.is_empty() {
            return Ok(());
        }
        let bytes = core::mem::take(&mut self.shell.console);
        self.sys.console_write(&bytes, false)?;
        if self.sys.interrupted() {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Hands console output over where nothing can be done about an error.
    pub(crate) fn flush_quietly(&mut self) {
        let bytes = core::mem::take(&mut self.shell.console);
        if !bytes.is_empty() {
            let _ = self.sys.console_write(&bytes, false);
        }
    }

    pub(crate) fn flush_file(&mut self, file: &mut OpenFile) -> Result<()> {
        let gathered = core::mem::take(&mut file.gathered);
        let (id, at) = (file.id, file.offset);
        file.offset += gathered.len() as u64;
        self.write_all(id, at, &gathered)
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_all(&mut self, file: FileId, mut offset: u64, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = self.sys.write(file, offset, rest)?.min(rest.len());
            if count == 0 {
                return Err(Error::Io);
            }
            offset += count as u64;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Closes a redirection's file, what is gathered written first.
    pub(crate) fn close_file(&mut self, file: &Rc<RefCell<OpenFile>>) -> Result<()> {
        let mut file = file.borrow_mut();
        let written = self.flush_file(&mut file);
        let closed = self.sys.close(file.id);
        written.and(closed)
    }
}
