//! The image made from the manifest, and the one that interactive boots keep.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use super::{DiskTools, Entry, Volume, named, roots, tools};
use crate::cli::MachineOptions;
use crate::error::{Context, Error, Result, unable};
use crate::image::System;
use crate::qemu::Disk;
use crate::ui;
use crate::workspace::write_if_changed;

/// The image made from the manifest, made anew when something in it changed.
///
/// # Errors
///
/// When it cannot be made.
pub fn built(system: &System) -> Result<PathBuf> {
    let path = system.workspace.images().join("disk.img");
    make(tools(), &path, &volume(system), &entries(system)?)?;
    Ok(path)
}

/// An image like [`built`], of another size, made anew at `path`.
///
/// # Errors
///
/// When it cannot be made.
pub fn sized(system: &System, path: &Path, size_mib: u64) -> Result<()> {
    let volume = Volume {
        size: size_mib << 20,
        ..volume(system)
    };
    tools().create(path, &volume, &entries(system)?)
}

/// The disk of an interactive boot: the user's own image, or one that is kept between boots.
///
/// The programs on a kept one are brought up to date; other files are the user's.
///
/// # Errors
///
/// When an image is missing or cannot be made.
pub fn kept(system: &System, options: &MachineOptions, fresh: bool) -> Result<Option<Disk>> {
    if options.no_disk {
        return Ok(None);
    }
    if let Some(path) = &options.disk {
        return named(system, path, options.disk_size).map(Some);
    }
    if options.disk_size.is_some() {
        return unable("--disk-size needs --disk IMG, or `exec`");
    }
    let built = built(system)?;
    let path = system.workspace.images().join("home.img");
    let programs = programs(system)?;
    keep(tools(), &built, &path, &programs, fresh)?;
    Ok(Some(Disk::kept(path)))
}

fn make(tools: &dyn DiskTools, path: &Path, volume: &Volume, entries: &[Entry]) -> Result<()> {
    let stamp = stamp(&(volume, entries));
    if path.exists() && is_stamped(path, &stamp) {
        return Ok(());
    }
    ui::note("making the disk");
    // Beside the final place, so that nobody ever sees half a disk.
    let half = path.with_extension(format!("{}.half", std::process::id()));
    let made = tools.create(&half, volume, entries);
    let moved = made.and_then(|()| std::fs::rename(&half, path).context(path.display()));
    if moved.is_err() {
        let _ = std::fs::remove_file(&half);
    }
    moved?;
    write_if_changed(&stamp_of(path), stamp.as_bytes()).map(drop)
}

fn keep(
    tools: &dyn DiskTools,
    built: &Path,
    path: &Path,
    programs: &[Entry],
    fresh: bool,
) -> Result<()> {
    let stamp = stamp(&programs);
    if fresh || !path.exists() {
        std::fs::copy(built, path).context(format!("cannot copy {}", built.display()))?;
    } else if !is_stamped(path, &stamp) {
        ui::note("bringing the programs on the kept disk up to date");
        tools.put(path, programs).map_err(|error| {
            Error::Unable(format!(
                "{}: {error} (--fresh-disk makes a new one)",
                path.display()
            ))
        })?;
    }
    write_if_changed(&stamp_of(path), stamp.as_bytes()).map(drop)
}

fn volume(system: &System) -> Volume {
    let disk = &system.manifest.disk;
    Volume {
        size: disk.size_mib << 20,
        label: disk.label.clone(),
        uuid: disk.uuid.clone(),
        time_s: disk.time_s,
    }
}

fn entries(system: &System) -> Result<Vec<Entry>> {
    let disk = &system.manifest.disk;
    let mut entries: Vec<_> = disk
        .directories
        .iter()
        .cloned()
        .map(Entry::Directory)
        .collect();
    for (path, source) in &disk.files {
        let source = system.workspace.root().join(source);
        let contents = std::fs::read(&source).context(source.display())?;
        entries.push(Entry::File {
            path: path.clone(),
            contents,
            executable: false,
        });
    }
    entries.extend(disk.roots.iter().map(|path| roots::file(path)));
    entries.extend(programs(system)?);
    entries.extend(disk.modes.iter().map(|(path, &mode)| Entry::Mode {
        path: path.clone(),
        mode,
    }));
    Ok(entries)
}

/// Programs, and processes that live on the disk.
fn programs(system: &System) -> Result<Vec<Entry>> {
    let manifest = &system.manifest;
    let processes = manifest
        .process
        .iter()
        .filter(|(_, process)| !process.is_boot());
    let homes = processes.map(|(name, process)| (name, &process.home));
    let programs = manifest
        .program
        .iter()
        .map(|(name, program)| (name, &program.path));
    let mut entries = Vec::new();
    for (name, path) in homes.chain(programs) {
        if let Some(contents) = system.stripped(name)? {
            entries.push(Entry::File {
                path: path.clone(),
                contents,
                executable: true,
            });
        }
    }
    Ok(entries)
}

/// Changes when the input or this program (and with it the file system's code) changes.
fn stamp(input: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let own = std::env::current_exe().and_then(std::fs::metadata);
    if let Ok(own) = own {
        own.len().hash(&mut hasher);
        own.modified().ok().hash(&mut hasher);
    }
    format!("{:016x}\n", hasher.finish())
}

fn stamp_of(image: &Path) -> PathBuf {
    image.with_extension("stamp")
}

fn is_stamped(image: &Path, stamp: &str) -> bool {
    std::fs::read_to_string(stamp_of(image)).is_ok_and(|found| found == stamp)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::unable;

    /// Counts what is asked of it; an image is a text that says what was done to it.
    #[derive(Default)]
    struct FakeTools {
        created: Cell<u32>,
        updated: Cell<u32>,
        broken: bool,
    }

    impl DiskTools for FakeTools {
        fn create(&self, image: &Path, _: &Volume, entries: &[Entry]) -> Result<()> {
            self.created.set(self.created.get() + 1);
            std::fs::write(image, format!("{} entries", entries.len())).context("write")?;
            if self.broken {
                unable("broken")
            } else {
                Ok(())
            }
        }

        fn put(&self, image: &Path, _: &[Entry]) -> Result<()> {
            self.updated.set(self.updated.get() + 1);
            let old = std::fs::read_to_string(image).context("read")?;
            std::fs::write(image, old + ", updated").context("write")
        }

        fn get(&self, _: &Path, path: &str) -> Result<Vec<u8>> {
            unable(path)
        }

        fn check(&self, _: &Path) -> Result<Vec<String>> {
            Ok(Vec::new())
        }
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("distro-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn volume() -> Volume {
        Volume {
            size: 1 << 20,
            label: "SYS".into(),
            uuid: "0".into(),
            time_s: 0,
        }
    }

    fn program(contents: &[u8]) -> Entry {
        Entry::File {
            path: "/c/a".into(),
            contents: contents.into(),
            executable: true,
        }
    }

    #[test]
    fn an_image_is_made_once_and_again_when_something_changed() {
        let (folder, tools) = (Folder::new("make"), FakeTools::default());
        let path = folder.0.join("disk.img");
        for (entry, times) in [(b"1", 1), (b"1", 1), (b"2", 2), (b"2", 2)] {
            make(&tools, &path, &volume(), &[program(entry)]).expect("made");
            assert_eq!(tools.created.get(), times);
        }
        std::fs::remove_file(&path).expect("removed");
        make(&tools, &path, &volume(), &[program(b"2")]).expect("made");
        assert_eq!(tools.created.get(), 3);
    }

    #[test]
    fn a_failure_leaves_no_half_image() {
        let folder = Folder::new("half");
        let tools = FakeTools {
            broken: true,
            ..FakeTools::default()
        };
        let path = folder.0.join("disk.img");
        assert!(make(&tools, &path, &volume(), &[]).is_err());
        assert_eq!(folder.0.read_dir().expect("readable").count(), 0);
    }

    #[test]
    fn a_kept_disk_keeps_its_files_and_gets_new_programs() {
        let (folder, tools) = (Folder::new("keep"), FakeTools::default());
        let (built, home) = (folder.0.join("disk.img"), folder.0.join("home.img"));
        std::fs::write(&built, "new").expect("written");
        let run = |contents: &[u8], fresh| {
            keep(&tools, &built, &home, &[program(contents)], fresh).expect("kept");
            std::fs::read_to_string(&home).expect("readable")
        };
        assert_eq!(run(b"1", false), "new");
        std::fs::write(&home, "user's").expect("written");
        assert_eq!(run(b"1", false), "user's");
        assert_eq!(run(b"2", false), "user's, updated");
        assert_eq!(run(b"2", false), "user's, updated");
        assert_eq!(run(b"2", true), "new");
    }
}
