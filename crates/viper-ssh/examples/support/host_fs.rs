//! The host's files below one directory, for the SFTP server.
//!
//! Symbolic links are followed wherever they lead: for tests only.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use viper_ssh::sftp::{Attributes, Entry, OpenFlags, SftpFs, Status};

pub struct HostFs {
    root: PathBuf,
}

impl HostFs {
    pub fn new(root: PathBuf) -> Self {
        HostFs { root }
    }

    fn host(&self, path: &str) -> PathBuf {
        self.root.join(normal(path).trim_start_matches('/'))
    }
}

/// The absolute path without `.` and `..`.
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    format!("/{}", parts.join("/"))
}

fn status(error: io::Error) -> Status {
    match error.kind() {
        ErrorKind::NotFound => Status::NoSuchFile,
        ErrorKind::PermissionDenied => Status::PermissionDenied,
        ErrorKind::Unsupported => Status::Unsupported,
        _ => Status::Failure,
    }
}

fn attributes(metadata: &Metadata) -> Attributes {
    Attributes {
        size: Some(metadata.len()),
        owner: Some((metadata.uid(), metadata.gid())),
        permissions: Some(metadata.mode()),
        times: Some((metadata.atime() as u32, metadata.mtime() as u32)),
    }
}

fn apply(file: &File, attributes: &Attributes) -> io::Result<()> {
    if let Some(size) = attributes.size {
        file.set_len(size)?;
    }
    if let Some(mode) = attributes.permissions {
        file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
    }
    if let Some((access, change)) = attributes.times {
        let time = |seconds: u32| UNIX_EPOCH + Duration::from_secs(seconds.into());
        let times = fs::FileTimes::new()
            .set_accessed(time(access))
            .set_modified(time(change));
        file.set_times(times)?;
    }
    Ok(())
}

impl SftpFs for HostFs {
    type File = File;
    type Directory = Vec<Entry>;

    fn open(&mut self, path: &str, flags: OpenFlags, set: &Attributes) -> Result<File, Status> {
        let has = |flag| flags.contains(flag);
        let mut options = OpenOptions::new();
        options
            .read(has(OpenFlags::READ))
            .append(has(OpenFlags::APPEND));
        options
            .write(has(OpenFlags::WRITE))
            .mode(set.permissions.unwrap_or(0o666) & 0o777);
        options
            .truncate(has(OpenFlags::TRUNCATE))
            .create(has(OpenFlags::CREATE));
        options.create_new(has(OpenFlags::CREATE | OpenFlags::EXCLUSIVE));
        options.open(self.host(path)).map_err(status)
    }

    fn read(&mut self, file: &mut File, offset: u64, out: &mut [u8]) -> Result<usize, Status> {
        file.read_at(out, offset).map_err(status)
    }

    fn write(&mut self, file: &mut File, offset: u64, data: &[u8]) -> Result<(), Status> {
        file.write_all_at(data, offset).map_err(status)
    }

    fn file_attributes(&mut self, file: &mut File) -> Result<Attributes, Status> {
        file.metadata()
            .map(|metadata| attributes(&metadata))
            .map_err(status)
    }

    fn set_file_attributes(&mut self, file: &mut File, set: &Attributes) -> Result<(), Status> {
        apply(file, set).map_err(status)
    }

    fn attributes(&mut self, path: &str, follow: bool) -> Result<Attributes, Status> {
        let path = self.host(path);
        let metadata = if follow {
            fs::metadata(path)
        } else {
            fs::symlink_metadata(path)
        };
        metadata
            .map(|metadata| attributes(&metadata))
            .map_err(status)
    }

    fn set_attributes(&mut self, path: &str, set: &Attributes) -> Result<(), Status> {
        let path = self.host(path);
        let file = if set.size.is_some() {
            OpenOptions::new().write(true).open(path)
        } else {
            File::open(path)
        };
        file.and_then(|file| apply(&file, set)).map_err(status)
    }

    fn open_directory(&mut self, path: &str) -> Result<Vec<Entry>, Status> {
        let path = self.host(path);
        let mut entries = Vec::new();
        for name in [".", ".."] {
            let metadata = fs::metadata(path.join(name)).map_err(status)?;
            entries.push(Entry {
                name: name.into(),
                attributes: attributes(&metadata),
            });
        }
        for entry in fs::read_dir(&path).map_err(status)?.flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(Entry {
                name,
                attributes: attributes(&metadata),
            });
        }
        entries.reverse();
        Ok(entries)
    }

    fn read_directory(&mut self, directory: &mut Vec<Entry>) -> Result<Option<Entry>, Status> {
        Ok(directory.pop())
    }

    fn real_path(&mut self, path: &str) -> Result<String, Status> {
        Ok(normal(path))
    }

    fn remove(&mut self, path: &str) -> Result<(), Status> {
        fs::remove_file(self.host(path)).map_err(status)
    }

    fn make_directory(&mut self, path: &str, _set: &Attributes) -> Result<(), Status> {
        fs::create_dir(self.host(path)).map_err(status)
    }

    fn remove_directory(&mut self, path: &str) -> Result<(), Status> {
        fs::remove_dir(self.host(path)).map_err(status)
    }

    fn rename(&mut self, from: &str, to: &str, replace: bool) -> Result<(), Status> {
        let to = self.host(to);
        if !replace && to.symlink_metadata().is_ok() {
            return Err(Status::Failure);
        }
        fs::rename(self.host(from), to).map_err(status)
    }

    fn read_link(&mut self, path: &str) -> Result<String, Status> {
        let target = fs::read_link(self.host(path)).map_err(status)?;
        Ok(target.to_string_lossy().into_owned())
    }

    fn symlink(&mut self, target: &str, path: &str) -> Result<(), Status> {
        symlink(target, self.host(path)).map_err(status)
    }

    fn hardlink(&mut self, from: &str, to: &str) -> Result<(), Status> {
        fs::hard_link(self.host(from), self.host(to)).map_err(status)
    }

    fn sync(&mut self, file: &mut File) -> Result<(), Status> {
        file.sync_all().map_err(status)
    }
}
