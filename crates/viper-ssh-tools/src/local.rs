//! The files of this machine.

use crate::failure::{About, Result, fail};
use alloc::string::String;
use alloc::vec::Vec;
use viper_proto::fs::{Attributes, Changes, Entry, FileId, Files, flags, kind, resolve_path};
use viper_proto::names;
use viper_rt::{Error, clock, program};

/// Longest text file that is read whole.
const TEXT_MAX: usize = 1 << 20;

/// The files, and where the program stands among them.
#[derive(Debug)]
pub struct Local {
    names: names::Client,
    files: Files,
    directory: String,
}

impl Local {
    /// The files, from where the program was started.
    #[must_use]
    pub fn new(names: names::Client) -> Local {
        Local {
            names,
            files: Files::new(),
            directory: program::variable("PWD").unwrap_or("/").into(),
        }
    }

    /// The name service.
    #[must_use]
    pub const fn names(&self) -> &names::Client {
        &self.names
    }

    /// Where relative paths start.
    #[must_use]
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// Lets relative paths start elsewhere.
    ///
    /// # Errors
    /// A sentence if it is no directory.
    pub fn change(&mut self, path: &str) -> Result<()> {
        let whole = self.absolute(path)?;
        if !self.is_directory(&whole) {
            return fail(alloc::format!("{path} is no directory"));
        }
        self.directory = whole;
        Ok(())
    }

    /// The absolute path.
    ///
    /// # Errors
    /// A sentence for an assign that is not known.
    pub fn absolute(&self, path: &str) -> Result<String> {
        resolve_path(&self.names, &self.directory, path).about(path)
    }

    /// Whether there is a directory.
    pub fn is_directory(&mut self, path: &str) -> bool {
        let known = self.stat(path);
        known.is_ok_and(|known| known.kind == kind::DIRECTORY)
    }

    /// What is known of a file.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn stat(&mut self, path: &str) -> Result<Attributes> {
        let whole = self.absolute(path)?;
        self.files.stat_path(&self.names, &whole, true).about(path)
    }

    /// The names in a directory, in order.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn list(&mut self, path: &str) -> Result<Vec<Entry>> {
        let whole = self.absolute(path)?;
        let how = flags::READ | flags::DIRECTORY;
        let (file, _) = self.files.open(&self.names, &whole, how, 0).about(path)?;
        let mut entries = Vec::new();
        let mut next = Ok(Some(0));
        while let Ok(Some(at)) = next {
            next = self
                .files
                .read_directory(&self.names, file, at, &mut entries);
        }
        let _ = self.files.close(file);
        next.about(path)?;
        entries.retain(|entry| entry.name != "." && entry.name != "..");
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The names in a directory; none in what is no directory.
    pub fn names_in(&mut self, path: &str) -> Vec<String> {
        let path = if path.is_empty() { "." } else { path };
        let entries = self.list(path).unwrap_or_default();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    /// Gives a file permissions, and times of last access and change in seconds since 1970.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn keep(
        &mut self,
        path: &str,
        mode: Option<u32>,
        times_s: Option<(u32, u32)>,
    ) -> Result<()> {
        let whole = self.absolute(path)?;
        let mut changes = Changes::default();
        if let Some(mode) = mode {
            changes.which |= Changes::MODE;
            changes.mode = mode & 0o7777;
        }
        if let Some((accessed, modified)) = times_s {
            changes.which |= Changes::ACCESSED | Changes::MODIFIED;
            changes.accessed_ns = u64::from(accessed) * clock::SECOND;
            changes.modified_ns = u64::from(modified) * clock::SECOND;
        }
        let changed = self.files.set_attributes(&self.names, &whole, changes);
        changed.about(path)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn make_directory(&mut self, path: &str) -> Result<()> {
        let whole = self.absolute(path)?;
        self.files
            .make_directory(&self.names, &whole, 0o755)
            .about(path)
    }

    /// Opens a file to be read.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn open(&mut self, path: &str) -> Result<(FileId, Attributes)> {
        let whole = self.absolute(path)?;
        let opened = self.files.open(&self.names, &whole, flags::READ, 0);
        let (file, known) = opened.about(path)?;
        if known.kind == kind::DIRECTORY {
            let _ = self.files.close(file);
            return fail(alloc::format!("{path} is a directory"));
        }
        Ok((file, known))
    }

    /// Makes a file, or empties one.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn create(&mut self, path: &str) -> Result<FileId> {
        let whole = self.absolute(path)?;
        let how = flags::WRITE | flags::CREATE | flags::TRUNCATE;
        let opened = self.files.open(&self.names, &whole, how, 0o644);
        opened.map(|(file, _)| file).about(path)
    }

    /// Opens a file that is there to be written. Returns how long it is, too.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn open_again(&mut self, path: &str) -> Result<(FileId, u64)> {
        let whole = self.absolute(path)?;
        let opened = self.files.open(&self.names, &whole, flags::WRITE, 0);
        opened
            .map(|(file, known)| (file, known.size_bytes))
            .about(path)
    }

    /// Reads; 0 at the end.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn read(
        &mut self,
        file: FileId,
        at: u64,
        to: &mut [u8],
    ) -> core::result::Result<usize, Error> {
        self.files.read(&self.names, file, at, to)
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn write(&mut self, file: FileId, at: u64, from: &[u8]) -> core::result::Result<(), Error> {
        let mut done = 0;
        while let Some(rest) = from.get(done..).filter(|rest| !rest.is_empty()) {
            match self
                .files
                .write(&self.names, file, at + done as u64, rest)?
            {
                0 => return Err(Error::NoSpace),
                count => done += count,
            }
        }
        Ok(())
    }

    /// Closes a file.
    ///
    /// # Errors
    /// Those of the file service.
    pub fn close(&mut self, file: FileId) -> core::result::Result<(), Error> {
        self.files.close(file)
    }

    /// A whole file as text; empty if there is none.
    ///
    /// # Errors
    /// A sentence about why it cannot be read.
    pub fn text(&mut self, path: &str) -> Result<String> {
        let whole = self.absolute(path)?;
        let file = match self.files.open(&self.names, &whole, flags::READ, 0) {
            Ok((file, _)) => file,
            Err(Error::NotFound) => return Ok(String::new()),
            Err(error) => return Err(error).about(path),
        };
        let mut bytes = Vec::new();
        let mut part = [0; 4096];
        let result = loop {
            match self.read(file, bytes.len() as u64, &mut part) {
                Ok(0) => break Ok(()),
                Ok(_) if bytes.len() > TEXT_MAX => break Err(Error::FileTooLarge),
                Ok(count) => bytes.extend_from_slice(&part[..count]),
                Err(error) => break Err(error),
            }
        };
        let _ = self.close(file);
        result.about(path)?;
        String::from_utf8(bytes).about(path)
    }

    /// Puts a line at the end of a file, which is made if need be, with its directory.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn append(&mut self, path: &str, line: &str) -> Result<()> {
        let whole = self.absolute(path)?;
        if let Some((directory, _)) = whole.rsplit_once('/') {
            // It may be there.
            let _ = self.files.make_directory(&self.names, directory, 0o755);
        }
        let how = flags::WRITE | flags::CREATE | flags::APPEND;
        let (file, _) = self
            .files
            .open(&self.names, &whole, how, 0o600)
            .about(path)?;
        let written = self.write(file, 0, line.as_bytes());
        let _ = self.close(file);
        written.about(path)
    }

    /// Writes a whole file in the place of what was there.
    ///
    /// # Errors
    /// A sentence about why not.
    pub fn replace(&mut self, path: &str, text: &str, mode: u32) -> Result<()> {
        let whole = self.absolute(path)?;
        let new = alloc::format!("{whole}.new");
        let how = flags::WRITE | flags::CREATE | flags::TRUNCATE;
        let (file, _) = self.files.open(&self.names, &new, how, mode).about(path)?;
        let written = self.write(file, 0, text.as_bytes());
        let written = written.and_then(|()| self.files.sync_file(&self.names, file));
        let _ = self.close(file);
        written.about(path)?;
        self.files.rename(&self.names, &new, &whole).about(path)
    }
}
