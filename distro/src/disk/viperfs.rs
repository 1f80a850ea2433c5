//! The file system's own tools, as [`DiskTools`].

use std::path::Path;

use viperfs::{CheckOptions, Fs, ROOT_INO, SetAttr};
use viperfs_tools::{
    CopyOptions, FileDevice, ImageOptions, create_image, make_dirs, mount_image, parse_uuid,
    put_bytes, read_file,
};

use super::{DiskTools, Entry, Volume};
use crate::error::{Context, Result};

/// Permissions of programs and of everything else.
const PROGRAM: u32 = 0o755;
const PLAIN: u32 = 0o644;

/// The engine that also runs in the guest's file server.
#[derive(Debug)]
pub struct Viperfs;

impl DiskTools for Viperfs {
    fn create(&self, image: &Path, volume: &Volume, entries: &[Entry]) -> Result<()> {
        let options = ImageOptions {
            size: volume.size,
            label: volume.label.clone(),
            uuid: parse_uuid(&volume.uuid).context("disk.uuid")?,
            now_ns: volume.time_s.saturating_mul(1_000_000_000),
        };
        let mut fs = create_image(image, &options).context("making the disk")?;
        write(&mut fs, entries, &CopyOptions::at(options.now_ns))?;
        fs.unmount().map(drop).context(image.display())
    }

    fn put(&self, image: &Path, entries: &[Entry]) -> Result<()> {
        let mut fs = mount_image(image).context("the disk")?;
        write(&mut fs, entries, &CopyOptions::at(viperfs_tools::now_ns()))?;
        fs.unmount().map(drop).context(image.display())
    }

    fn get(&self, image: &Path, path: &str) -> Result<Vec<u8>> {
        // Mounting for writing completes what the guest had begun, as the next boot would.
        let mut fs = mount_image(image).context("the disk")?;
        let contents = read_file(&mut fs, path).context("the disk");
        fs.unmount().map(drop).context(image.display())?;
        contents
    }

    fn check(&self, image: &Path) -> Result<Vec<String>> {
        let mut device = FileDevice::open(image, true).context(image.display())?;
        let mut report = viperfs::check(&mut device, &CheckOptions::default(), |_| {});
        let listed = report.problems.drain(..).map(|p| format!("{p:?}"));
        Ok(listed.collect())
    }
}

fn write(fs: &mut Fs<FileDevice>, entries: &[Entry], options: &CopyOptions) -> Result<()> {
    for entry in entries {
        match entry {
            Entry::Directory(path) => {
                make_dirs(fs, path, options).context("the disk")?;
            }
            Entry::Mode { path, mode } => {
                let inode = fs.walk(ROOT_INO, path.as_bytes(), false);
                let set = SetAttr {
                    mode: Some(*mode),
                    ..SetAttr::default()
                };
                let done = inode.and_then(|inode| fs.setattr(inode, &set, options.now_ns));
                done.context(format!("the disk: {path}"))?;
            }
            Entry::File {
                path,
                contents,
                executable,
            } => {
                let mode = if *executable { PROGRAM } else { PLAIN };
                if let Some((directory, _)) = path.rsplit_once('/') {
                    make_dirs(fs, directory, options).context("the disk")?;
                }
                put_bytes(fs, path, contents, mode, options).context("the disk")?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_can_be_got_and_equal_input_makes_equal_bytes() {
        let dir = std::env::temp_dir().join(format!("distro-viperfs-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let (a, b) = (dir.join("a.img"), dir.join("b.img"));
        let volume = Volume {
            size: 4 << 20,
            label: "SYS".into(),
            uuid: "76697065-726f-4373-8000-000000000001".into(),
            time_s: 1_767_225_600,
        };
        let file = |path: &str, contents: &[u8]| Entry::File {
            path: path.into(),
            contents: contents.into(),
            executable: true,
        };
        let entries = [Entry::Directory("/c/d".into()), file("/c/d/one", b"1")];
        Viperfs.create(&a, &volume, &entries).expect("made");
        Viperfs.create(&b, &volume, &entries).expect("made");
        assert!(std::fs::read(&a).expect("readable") == std::fs::read(&b).expect("readable"));
        Viperfs
            .put(&a, &[file("/c/two", &[7; 100_000])])
            .expect("put");
        assert_eq!(Viperfs.get(&a, "/c/two").expect("there"), [7; 100_000]);
        assert_eq!(Viperfs.get(&a, "/c/d/one").expect("there"), b"1");
        assert!(Viperfs.get(&a, "/c/none").is_err());
        // Directories on the way are made.
        Viperfs
            .put(&a, &[file("/new/er/three", b"3")])
            .expect("put");
        assert_eq!(Viperfs.get(&a, "/new/er/three").expect("there"), b"3");
        assert!(Viperfs.check(&a).expect("readable").is_empty());
        let mut bytes = std::fs::read(&a).expect("readable");
        bytes[100] ^= 1;
        std::fs::write(&a, bytes).expect("written");
        assert!(!Viperfs.check(&a).expect("readable").is_empty());
        let _ = std::fs::remove_dir_all(&dir);
    }
}
