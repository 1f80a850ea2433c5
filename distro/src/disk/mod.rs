//! The disk: made from the manifest, kept or thrown away, files copied in and out.

mod guest_path;
mod image;
mod roots;
mod tools;
mod viperfs;

use std::path::{Path, PathBuf};

pub use image::{built, kept, sized};
pub use tools::{DiskTools, Entry, Volume, tools};

use crate::cli::{ExecOptions, MachineOptions};
use crate::error::{Context, Result, unable};
use crate::image::System;
use crate::qemu::Disk;
use crate::scratch::Scratch;
use guest_path::to_path;

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
        Some(path) => named(system, path, options.machine.disk_size)?,
        None if options.machine.disk_size.is_some() => {
            named(system, &scratch.path("disk.img"), options.machine.disk_size)?
        }
        None if copies => copy_of_built(system, scratch)?,
        None => Disk::scratch(built(system)?),
    };
    if !options.put.is_empty() {
        put(options, &disk)?;
    }
    Ok(Some(disk))
}

/// The options with further disks as paths that hold wherever QEMU runs.
///
/// # Errors
///
/// When an image is missing.
pub fn with_more(options: &MachineOptions) -> Result<MachineOptions> {
    let mut options = options.clone();
    for path in &mut options.more_disks {
        *path = absolute(path)?;
    }
    Ok(options)
}

fn put(options: &ExecOptions, disk: &Disk) -> Result<()> {
    let mut entries = Vec::new();
    for copy in &options.put {
        let contents = std::fs::read(&copy.from).context(&copy.from)?;
        let executable = contents.starts_with(b"\x7fELF");
        entries.push(Entry::File {
            path: to_path(&copy.to)?,
            contents,
            executable,
        });
    }
    tools().put(&disk.path, &entries)
}

/// Does `--get`.
///
/// # Errors
///
/// When a file is not on the disk or cannot be written here.
pub fn after_exec(options: &ExecOptions, disk: Option<&Disk>) -> Result<()> {
    let Some(disk) = disk else { return Ok(()) };
    for copy in &options.get {
        let contents = tools().get(&disk.path, &to_path(&copy.from)?)?;
        std::fs::write(&copy.to, contents).context(&copy.to)?;
    }
    Ok(())
}

/// The user's own image, absolute so that it does not matter where QEMU runs. With a size it is
/// made if it is not there.
fn named(system: &System, path: &Path, size_mib: Option<u64>) -> Result<Disk> {
    if let Some(size_mib) = size_mib
        && !path.exists()
    {
        sized(system, path, size_mib)?;
    }
    absolute(path).map(Disk::kept)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .context(format!("the disk {}", path.display()))
}

fn copy_of_built(system: &System, scratch: &Scratch) -> Result<Disk> {
    let built = built(system)?;
    let path = scratch.path("disk.img");
    std::fs::copy(&built, &path).context(format!("cannot copy {}", built.display()))?;
    Ok(Disk::kept(path))
}
