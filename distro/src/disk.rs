//! The disk: made from the manifest, kept or thrown away, files copied in and out.

use std::path::{Path, PathBuf};

use crate::cli::{ExecOptions, MachineOptions};
use crate::error::{Context, Result, unable};
use crate::image::System;
use crate::qemu::Disk;
use crate::scratch::Scratch;

/// What is put on a new disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A folder.
    Directory(String),
    /// A file: path, contents, whether it is a program.
    File(String, Vec<u8>, bool),
}

/// The file system's tools, as this program needs them.
pub trait DiskTools {
    /// Makes an image of `size` bytes with these entries, the same bytes for the same entries.
    ///
    /// # Errors
    ///
    /// When the entries do not fit or the file cannot be written.
    fn create(&self, image: &Path, size: u64, label: &str, entries: &[Entry]) -> Result<()>;
    /// Writes a file into an image.
    ///
    /// # Errors
    ///
    /// When the image is no file system, is full, or cannot be written.
    fn put(&self, image: &Path, path: &str, contents: &[u8]) -> Result<()>;
    /// Reads a file from an image.
    ///
    /// # Errors
    ///
    /// When the image is no file system or has no such file.
    fn get(&self, image: &Path, path: &str) -> Result<Vec<u8>>;
}

/// The tools of this build, when the file system is part of it.
pub fn tools() -> Option<&'static dyn DiskTools> {
    None
}

/// The disk of an `exec` run, with `--put` done.
///
/// # Errors
///
/// When an image is missing or unusable.
pub fn for_exec(system: &System, options: &ExecOptions, scratch: &Scratch) -> Result<Option<Disk>> {
    let copies = !options.put.is_empty() || !options.get.is_empty();
    if options.machine.no_disk {
        return if copies {
            unable("--put and --get need a disk")
        } else {
            Ok(None)
        };
    }
    let disk = match &options.machine.disk {
        Some(path) => Some(named(path)?),
        None if copies => copy_of_built(system, scratch)?,
        None => built(system)?.map(|path| Disk { path, keep: false }),
    };
    for copy in &options.put {
        let Some((disk, tools)) = disk.as_ref().zip(tools()) else {
            return unable("--put: this build has no file system");
        };
        let contents = std::fs::read(&copy.from).context(&copy.from)?;
        tools.put(&disk.path, &copy.to, &contents)?;
    }
    Ok(disk)
}

/// Does `--get`.
///
/// # Errors
///
/// When a file is not on the disk or cannot be written here.
pub fn after_exec(options: &ExecOptions, disk: Option<&Disk>) -> Result<()> {
    for copy in &options.get {
        let Some((disk, tools)) = disk.zip(tools()) else {
            return unable("--get: this build has no file system");
        };
        let contents = tools.get(&disk.path, &copy.from)?;
        std::fs::write(&copy.to, contents).context(&copy.to)?;
    }
    Ok(())
}

/// The user's own image, absolute so that it does not matter where QEMU runs.
fn named(path: &Path) -> Result<Disk> {
    let path = path
        .canonicalize()
        .context(format!("the disk {}", path.display()))?;
    Ok(Disk { path, keep: true })
}

fn copy_of_built(system: &System, scratch: &Scratch) -> Result<Option<Disk>> {
    let Some(built) = built(system)? else {
        return Ok(None);
    };
    let path = scratch.path("disk.img");
    std::fs::copy(&built, &path).context(format!("cannot copy {}", built.display()))?;
    Ok(Some(Disk { path, keep: true }))
}

/// The image made from the manifest, made anew when something in it changed.
///
/// # Errors
///
/// When it cannot be made.
pub fn built(system: &System) -> Result<Option<PathBuf>> {
    let Some(_tools) = tools() else {
        return Ok(None);
    };
    let _ = system;
    Ok(None)
}

/// The disk of an interactive boot: the user's own image, or one that is kept between boots.
///
/// # Errors
///
/// When an image is missing or cannot be made.
pub fn kept(system: &System, options: &MachineOptions, fresh: bool) -> Result<Option<Disk>> {
    if options.no_disk {
        return Ok(None);
    }
    if let Some(path) = &options.disk {
        return named(path).map(Some);
    }
    let Some(built) = built(system)? else {
        return Ok(None);
    };
    let path = system.workspace.images().join("home.img");
    if fresh || !path.exists() {
        std::fs::copy(&built, &path).context(format!("cannot copy {}", built.display()))?;
    }
    Ok(Some(Disk { path, keep: true }))
}
