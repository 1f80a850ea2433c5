//! The files that SFTP shows: those of the file service, from its root, and assigns by their name.

use alloc::format;
use alloc::string::String;
use alloc::vec::{IntoIter, Vec};
use viper_proto::fs::{
    Attributes as Known, Changes, FileId, Files, flags, kind, normal_path, resolve_path,
};
use viper_proto::names::Client;
use viper_rt::Error;
use viper_ssh::sftp::{Attributes, Entry, OpenFlags, SftpFs, Space, Status};

const SECOND_NS: u64 = 1_000_000_000;
const NEW_FILE_MODE: u32 = 0o644;
const NEW_DIRECTORY_MODE: u32 = 0o755;

/// The guest's files.
#[derive(Debug)]
pub struct GuestFiles {
    names: Client,
    files: Files,
}

/// An open file.
#[derive(Debug)]
pub struct OpenFile {
    id: FileId,
    path: String,
    appends: bool,
}

impl GuestFiles {
    /// Files reached through this name channel.
    #[must_use]
    pub fn new(names: Client) -> GuestFiles {
        GuestFiles {
            names,
            files: Files::new(),
        }
    }

    /// The absolute path of what a client calls so: `/s/startup`, `s/startup`, `S:startup`.
    fn resolve(&self, path: &str) -> Result<String, Status> {
        // Clients that take the path for an absolute one put a slash before the assign.
        let path = match path.strip_prefix('/') {
            Some(rest) if rest.split('/').next().is_some_and(|p| p.contains(':')) => rest,
            _ => path,
        };
        resolve_path(&self.names, "/", path).map_err(status)
    }

    fn change(&mut self, path: &str, set: &Attributes) -> Result<(), Status> {
        let mut changes = Changes::default();
        if let Some(mode) = set.permissions {
            changes.which |= Changes::MODE;
            changes.mode = mode & 0o7777;
        }
        if let Some((user, group)) = set.owner {
            changes.which |= Changes::USER | Changes::GROUP;
            (changes.user, changes.group) = (user, group);
        }
        if let Some((accessed, modified)) = set.times {
            changes.which |= Changes::ACCESSED | Changes::MODIFIED;
            changes.accessed_ns = u64::from(accessed) * SECOND_NS;
            changes.modified_ns = u64::from(modified) * SECOND_NS;
        }
        if changes.which == 0 {
            return Ok(());
        }
        self.files
            .set_attributes(&self.names, path, changes)
            .map_err(status)
    }
}

fn status(error: Error) -> Status {
    match error {
        Error::NotFound | Error::NotDirectory => Status::NoSuchFile,
        Error::NoRight | Error::ReadOnly => Status::PermissionDenied,
        Error::NotSupported => Status::Unsupported,
        _ => Status::Failure,
    }
}

fn attributes(known: &Known) -> Attributes {
    let seconds = |ns: u64| u32::try_from(ns / SECOND_NS).unwrap_or(u32::MAX);
    let kind_bits = match known.kind {
        kind::DIRECTORY => 0o040_000,
        kind::LINK => 0o120_000,
        _ => 0o100_000,
    };
    Attributes {
        size: Some(known.size_bytes),
        owner: Some((known.user, known.group)),
        permissions: Some(kind_bits | known.mode & 0o7777),
        times: Some((seconds(known.accessed_ns), seconds(known.modified_ns))),
    }
}

impl SftpFs for GuestFiles {
    type File = OpenFile;
    type Directory = IntoIter<Entry>;

    fn open(
        &mut self,
        path: &str,
        wanted: OpenFlags,
        set: &Attributes,
    ) -> Result<OpenFile, Status> {
        let path = self.resolve(path)?;
        let mut how = 0;
        for (flag, ours) in [
            (OpenFlags::READ, flags::READ),
            (OpenFlags::WRITE, flags::WRITE),
            (OpenFlags::APPEND, flags::WRITE | flags::APPEND),
            (OpenFlags::CREATE, flags::CREATE),
            (OpenFlags::TRUNCATE, flags::TRUNCATE),
            (OpenFlags::EXCLUSIVE, flags::EXCLUSIVE),
        ] {
            how |= if wanted.contains(flag) { ours } else { 0 };
        }
        let mode = set.permissions.map_or(NEW_FILE_MODE, |m| m & 0o7777);
        let opened = self.files.open(&self.names, &path, how, mode);
        let (id, known) = opened.map_err(status)?;
        if known.kind == kind::DIRECTORY {
            let _ = self.files.close(id);
            return Err(Status::Failure);
        }
        Ok(OpenFile {
            id,
            path,
            appends: wanted.contains(OpenFlags::APPEND),
        })
    }

    fn read(&mut self, file: &mut OpenFile, offset: u64, out: &mut [u8]) -> Result<usize, Status> {
        self.files
            .read(&self.names, file.id, offset, out)
            .map_err(status)
    }

    fn write(&mut self, file: &mut OpenFile, offset: u64, data: &[u8]) -> Result<(), Status> {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            let at = if file.appends {
                0
            } else {
                offset + done as u64
            };
            match self.files.write(&self.names, file.id, at, rest) {
                Ok(0) => return Err(Status::Failure),
                Ok(count) => done += count,
                Err(error) => return Err(status(error)),
            }
        }
        Ok(())
    }

    fn file_attributes(&mut self, file: &mut OpenFile) -> Result<Attributes, Status> {
        let known = self.files.stat(&self.names, file.id).map_err(status)?;
        Ok(attributes(&known))
    }

    fn attributes(&mut self, path: &str, follow: bool) -> Result<Attributes, Status> {
        let path = self.resolve(path)?;
        let known = self.files.stat_path(&self.names, &path, follow);
        known.map(|known| attributes(&known)).map_err(status)
    }

    fn open_directory(&mut self, path: &str) -> Result<IntoIter<Entry>, Status> {
        let path = self.resolve(path)?;
        let (names, files) = (&self.names, &mut self.files);
        let how = flags::READ | flags::DIRECTORY;
        let (id, _) = files.open(names, &path, how, 0).map_err(status)?;
        let mut found = Vec::new();
        let mut cookie = Ok(Some(0));
        while let Ok(Some(at)) = cookie {
            cookie = files.read_directory(names, id, at, &mut found);
        }
        let _ = files.close(id);
        cookie.map_err(status)?;
        let mut entries = Vec::with_capacity(found.len());
        for entry in found {
            let whole = format!("{path}/{}", entry.name);
            // What was removed meanwhile is left out.
            if let Ok(known) = files.stat_path(names, &normal_path(&whole), false) {
                entries.push(Entry {
                    name: entry.name,
                    attributes: attributes(&known),
                });
            }
        }
        Ok(entries.into_iter())
    }

    fn read_directory(&mut self, directory: &mut IntoIter<Entry>) -> Result<Option<Entry>, Status> {
        Ok(directory.next())
    }

    fn real_path(&mut self, path: &str) -> Result<String, Status> {
        self.resolve(path)
    }

    fn close(&mut self, file: OpenFile) -> Result<(), Status> {
        self.files.close(file.id).map_err(status)
    }

    fn set_file_attributes(&mut self, file: &mut OpenFile, set: &Attributes) -> Result<(), Status> {
        if let Some(size) = set.size {
            self.files
                .truncate(&self.names, file.id, size)
                .map_err(status)?;
        }
        let path = core::mem::take(&mut file.path);
        let result = self.change(&path, set);
        file.path = path;
        result
    }

    fn set_attributes(&mut self, path: &str, set: &Attributes) -> Result<(), Status> {
        let path = self.resolve(path)?;
        if let Some(size) = set.size {
            let opened = self.files.open(&self.names, &path, flags::WRITE, 0);
            let (id, _) = opened.map_err(status)?;
            let result = self.files.truncate(&self.names, id, size);
            let _ = self.files.close(id);
            result.map_err(status)?;
        }
        self.change(&path, set)
    }

    fn remove(&mut self, path: &str) -> Result<(), Status> {
        let path = self.resolve(path)?;
        self.files.unlink(&self.names, &path).map_err(status)
    }

    fn make_directory(&mut self, path: &str, set: &Attributes) -> Result<(), Status> {
        let path = self.resolve(path)?;
        let mode = set.permissions.map_or(NEW_DIRECTORY_MODE, |m| m & 0o7777);
        self.files
            .make_directory(&self.names, &path, mode)
            .map_err(status)
    }

    fn remove_directory(&mut self, path: &str) -> Result<(), Status> {
        let path = self.resolve(path)?;
        self.files
            .remove_directory(&self.names, &path)
            .map_err(status)
    }

    fn rename(&mut self, from: &str, to: &str, replace: bool) -> Result<(), Status> {
        let (from, to) = (self.resolve(from)?, self.resolve(to)?);
        if !replace && self.files.stat_path(&self.names, &to, false).is_ok() {
            return Err(Status::Failure);
        }
        self.files.rename(&self.names, &from, &to).map_err(status)
    }

    fn read_link(&mut self, path: &str) -> Result<String, Status> {
        let path = self.resolve(path)?;
        self.files.read_link(&self.names, &path).map_err(status)
    }

    fn symlink(&mut self, target: &str, path: &str) -> Result<(), Status> {
        let path = self.resolve(path)?;
        self.files
            .symlink(&self.names, target, &path)
            .map_err(status)
    }

    fn hardlink(&mut self, from: &str, to: &str) -> Result<(), Status> {
        let (from, to) = (self.resolve(from)?, self.resolve(to)?);
        self.files.link(&self.names, &from, &to).map_err(status)
    }

    fn sync(&mut self, file: &mut OpenFile) -> Result<(), Status> {
        self.files.sync_file(&self.names, file.id).map_err(status)
    }

    fn space(&mut self, path: &str) -> Result<Space, Status> {
        let path = self.resolve(path)?;
        let known = self.files.statistics_at(&self.names, &path);
        let known = known.map_err(status)?;
        Ok(Space {
            block_bytes: known.block_bytes,
            blocks: known.blocks,
            blocks_free: known.blocks_free,
            files: known.inodes,
            files_free: known.inodes_free,
            name_max: known.name_max.into(),
            read_only: known.read_only,
        })
    }
}
