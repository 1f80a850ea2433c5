//! Copying between the host's files and a mounted volume.

use crate::ToolError;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use viperfs::{BlockDevice, Error, FileKind, Fs, Owner, ROOT_INO, SetAttr};

/// How copies into a volume are marked.
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions {
    /// Time of everything that is created, nanoseconds since 1970.
    pub now_ns: i64,
    /// Take modification times from the host instead of `now_ns`.
    pub keep_times: bool,
    /// Owner of everything that is created.
    pub owner: Owner,
}

impl CopyOptions {
    /// Everything belongs to user 0 and bears one time.
    pub fn at(now_ns: i64) -> Self {
        Self {
            now_ns,
            keep_times: false,
            owner: Owner::default(),
        }
    }
}

const CHUNK: usize = 256 * 1024;

/// Copies the contents of a host directory into a directory of the volume, in name order.
///
/// # Errors
/// The first thing that failed; what was copied before it stays.
pub fn populate<D: BlockDevice>(
    volume: &mut Fs<D>,
    host: &Path,
    dir: u64,
    options: &CopyOptions,
) -> Result<(), ToolError> {
    let mut entries = fs::read_dir(host)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| ToolError::host(host, e))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        put(
            volume,
            &entry.path(),
            dir,
            entry.file_name().as_bytes(),
            options,
        )?;
    }
    Ok(())
}

/// Copies a host file, link or directory (with all in it) to a name in a directory.
/// A file that exists there is overwritten; a directory that exists is merged into.
///
/// # Errors
/// As [`populate`]; kinds other than files, directories and links are refused.
pub fn put<D: BlockDevice>(
    volume: &mut Fs<D>,
    host: &Path,
    dir: u64,
    name: &[u8],
    options: &CopyOptions,
) -> Result<(), ToolError> {
    let meta = fs::symlink_metadata(host).map_err(|e| ToolError::host(host, e))?;
    let failed = |e| ToolError::guest(name, e);
    let mode = meta.permissions().mode() & 0o7777;
    let kind = meta.file_type();
    let ino = if kind.is_dir() {
        let ino = match volume.mkdir(dir, name, mode, options.owner, options.now_ns) {
            Err(Error::Exists) => volume.lookup(dir, name),
            result => result.map(|a| a.ino),
        };
        let ino = ino.map_err(failed)?;
        populate(volume, host, ino, options)?;
        ino
    } else if kind.is_symlink() {
        let target = fs::read_link(host).map_err(|e| ToolError::host(host, e))?;
        let target = target.into_os_string().into_vec();
        let made = volume.symlink(dir, name, &target, options.owner, options.now_ns);
        made.map_err(failed)?.ino
    } else if kind.is_file() {
        let mut file = fs::File::open(host).map_err(|e| ToolError::host(host, e))?;
        let new = volume.lookup(dir, name).is_err();
        let ino = open_for_writing(volume, dir, name, mode, options).map_err(failed)?;
        if let Err(reason) = pour(volume, &mut file, ino, options) {
            // A part of a file is worse than none.
            if new {
                let _ = volume.unlink(dir, name, options.now_ns);
                let _ = volume.sync();
            }
            return Err(ToolError::new(host.display().to_string(), reason));
        }
        ino
    } else {
        return Err(ToolError::new(
            host.display().to_string(),
            "not a file, directory or link",
        ));
    };
    if options.keep_times {
        let time = meta
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(meta.mtime_nsec());
        let set = SetAttr {
            mtime_ns: Some(time),
            atime_ns: Some(time),
            ..SetAttr::default()
        };
        volume.setattr(ino, &set, options.now_ns).map_err(failed)?;
    }
    Ok(())
}

fn open_for_writing<D: BlockDevice>(
    volume: &mut Fs<D>,
    dir: u64,
    name: &[u8],
    mode: u32,
    options: &CopyOptions,
) -> Result<u64, Error> {
    match volume.create(dir, name, mode, options.owner, options.now_ns) {
        Err(Error::Exists) => {
            let ino = volume.lookup(dir, name)?;
            volume.truncate(ino, 0, options.now_ns)?;
            let set = SetAttr {
                mode: Some(mode),
                ..SetAttr::default()
            };
            volume.setattr(ino, &set, options.now_ns)?;
            Ok(ino)
        }
        result => result.map(|a| a.ino),
    }
}

fn pour<D: BlockDevice>(
    volume: &mut Fs<D>,
    from: &mut impl Read,
    ino: u64,
    options: &CopyOptions,
) -> Result<(), String> {
    let mut buf = vec![0; CHUNK];
    let mut at = 0;
    loop {
        let n = from.read(&mut buf).map_err(|e| e.to_string())?;
        if n == 0 {
            return Ok(());
        }
        write_all(volume, ino, at, &buf[..n], options.now_ns).map_err(|e| e.to_string())?;
        at += n as u64;
    }
}

fn write_all<D: BlockDevice>(
    volume: &mut Fs<D>,
    ino: u64,
    mut at: u64,
    mut data: &[u8],
    now_ns: i64,
) -> Result<(), Error> {
    while !data.is_empty() {
        let n = volume.write(ino, at, data, now_ns)?;
        at += n as u64;
        data = &data[n..];
    }
    Ok(())
}

/// Copies a host file to a path of the volume; its directory must exist. When the path is a
/// directory, the file goes into it under its own name.
///
/// # Errors
/// As [`put`].
pub fn put_file<D: BlockDevice>(
    volume: &mut Fs<D>,
    host: &Path,
    guest: &str,
    options: &CopyOptions,
) -> Result<(), ToolError> {
    let path = guest.as_bytes();
    if let Ok(ino) = volume.walk(ROOT_INO, path, true)
        && volume
            .getattr(ino)
            .map_err(|e| ToolError::guest(path, e))?
            .kind
            == FileKind::Directory
    {
        let name = host.file_name().ok_or_else(|| {
            ToolError::new(host.display().to_string(), "has no name to be stored under")
        })?;
        return put(volume, host, ino, name.as_bytes(), options);
    }
    let (dir, name) = volume
        .walk_parent(ROOT_INO, path)
        .map_err(|e| ToolError::guest(path, e))?;
    put(volume, host, dir, name, options)
}

/// Writes bytes to a file of the volume, which is created or overwritten.
///
/// # Errors
/// As [`put_file`].
pub fn put_bytes<D: BlockDevice>(
    volume: &mut Fs<D>,
    guest: &str,
    bytes: &[u8],
    mode: u32,
    options: &CopyOptions,
) -> Result<(), ToolError> {
    let path = guest.as_bytes();
    let failed = |e| ToolError::guest(path, e);
    let (dir, name) = volume.walk_parent(ROOT_INO, path).map_err(failed)?;
    let ino = open_for_writing(volume, dir, name, mode, options).map_err(failed)?;
    write_all(volume, ino, 0, bytes, options.now_ns).map_err(failed)
}

/// Makes a directory and those above it that are missing; returns its inode.
///
/// # Errors
/// The first component that could not be made.
pub fn make_dirs<D: BlockDevice>(
    volume: &mut Fs<D>,
    guest: &str,
    options: &CopyOptions,
) -> Result<u64, ToolError> {
    let mut at = ROOT_INO;
    for name in guest.split('/').filter(|n| !n.is_empty()) {
        let failed = |e| ToolError::guest(guest.as_bytes(), e);
        at = match volume.walk(at, name.as_bytes(), true) {
            Err(Error::NotFound) => {
                let made = volume.mkdir(at, name.as_bytes(), 0o755, options.owner, options.now_ns);
                made.map_err(failed)?.ino
            }
            result => result.map_err(failed)?,
        };
    }
    Ok(at)
}

/// The contents of a file of the volume.
///
/// # Errors
/// A sentence about why not.
pub fn read_file<D: BlockDevice>(volume: &mut Fs<D>, guest: &str) -> Result<Vec<u8>, ToolError> {
    let mut bytes = Vec::new();
    let ino = volume
        .walk(ROOT_INO, guest.as_bytes(), true)
        .map_err(|e| ToolError::guest(guest.as_bytes(), e))?;
    drain(volume, ino, &mut bytes).map_err(|e| ToolError::new(guest, e))?;
    Ok(bytes)
}

/// Writes the contents of an inode to `to`, chunk by chunk.
fn drain<D: BlockDevice>(volume: &mut Fs<D>, ino: u64, to: &mut impl Write) -> Result<(), String> {
    let mut buf = vec![0; CHUNK];
    let mut at = 0;
    loop {
        let n = volume.read(ino, at, &mut buf).map_err(|e| e.to_string())?;
        if n == 0 {
            return Ok(());
        }
        to.write_all(&buf[..n]).map_err(|e| e.to_string())?;
        at += n as u64;
    }
}

/// Copies a file of the volume to a writer.
///
/// # Errors
/// A sentence about why not.
pub fn get<D: BlockDevice>(
    volume: &mut Fs<D>,
    guest: &str,
    to: &mut impl Write,
) -> Result<(), ToolError> {
    let ino = volume
        .walk(ROOT_INO, guest.as_bytes(), true)
        .map_err(|e| ToolError::guest(guest.as_bytes(), e))?;
    drain(volume, ino, to).map_err(|e| ToolError::new(guest, e))
}

/// Copies a file, link or directory (with all in it) of the volume to the host.
///
/// # Errors
/// The first thing that failed; what was copied before it stays.
pub fn get_file<D: BlockDevice>(
    volume: &mut Fs<D>,
    guest: &str,
    host: &Path,
) -> Result<(), ToolError> {
    let ino = volume
        .walk(ROOT_INO, guest.as_bytes(), false)
        .map_err(|e| ToolError::guest(guest.as_bytes(), e))?;
    let into_dir = host.is_dir();
    let name = guest
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let to = if into_dir && !name.is_empty() {
        host.join(name)
    } else {
        host.to_path_buf()
    };
    get_inode(volume, ino, &to)
}

fn get_inode<D: BlockDevice>(volume: &mut Fs<D>, ino: u64, to: &Path) -> Result<(), ToolError> {
    let at = |e: Error| ToolError::new(to.display().to_string(), e);
    let host = |e| ToolError::host(to, e);
    let attr = volume.getattr(ino).map_err(at)?;
    match attr.kind {
        FileKind::Directory => {
            if !to.is_dir() {
                fs::create_dir(to).map_err(host)?;
            }
            for (name, child) in entries(volume, ino).map_err(at)? {
                get_inode(volume, child, &to.join(std::ffi::OsStr::from_bytes(&name)))?;
            }
        }
        FileKind::Symlink => {
            let target = volume.readlink(ino).map_err(at)?;
            std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&target), to).map_err(host)?;
            return Ok(());
        }
        FileKind::File => {
            let mut file = fs::File::create(to).map_err(host)?;
            drain(volume, ino, &mut file)
                .map_err(|e| ToolError::new(to.display().to_string(), e))?;
        }
        _ => {
            return Err(ToolError::new(
                to.display().to_string(),
                "cannot be made on the host",
            ));
        }
    }
    fs::set_permissions(to, fs::Permissions::from_mode(attr.mode)).map_err(host)
}

/// Names and inodes of a directory, in name order.
pub(crate) fn entries<D: BlockDevice>(
    volume: &mut Fs<D>,
    dir: u64,
) -> Result<Vec<(Vec<u8>, u64)>, Error> {
    let mut all = Vec::new();
    volume.readdir(dir, 0, |e| {
        all.push((e.name.to_vec(), e.ino));
        true
    })?;
    all.sort();
    Ok(all)
}

/// Removes a name and, when it is a directory, everything below it.
///
/// # Errors
/// The first thing that failed.
pub fn remove_tree<D: BlockDevice>(
    volume: &mut Fs<D>,
    dir: u64,
    name: &[u8],
    now_ns: i64,
) -> Result<(), Error> {
    let ino = volume.lookup(dir, name)?;
    if volume.getattr(ino)?.kind != FileKind::Directory {
        return volume.unlink(dir, name, now_ns);
    }
    for (child, _) in entries(volume, ino)? {
        remove_tree(volume, ino, &child, now_ns)?;
    }
    volume.rmdir(dir, name, now_ns)
}
