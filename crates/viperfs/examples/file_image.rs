//! Makes a volume in a file, writes to it and checks it: `file_image IMAGE`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use viperfs::{
    BLOCK_SIZE, BlockDevice, CheckOptions, DeviceError, FormatOptions, Fs, MountOptions, Owner,
    ROOT_INO, check, format,
};

/// A file as a block device.
struct Image(File, u64);

impl BlockDevice for Image {
    fn block_count(&self) -> u64 {
        self.1
    }
    fn read(&mut self, block: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        let at = block * BLOCK_SIZE as u64;
        self.0.read_exact_at(buf, at).map_err(|_| DeviceError::Io)
    }
    fn write(&mut self, block: u64, buf: &[u8]) -> Result<(), DeviceError> {
        let at = block * BLOCK_SIZE as u64;
        self.0.write_all_at(buf, at).map_err(|_| DeviceError::Io)
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.0.sync_data().map_err(|_| DeviceError::Io)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: file_image IMAGE")?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.set_len(16 << 20)?;
    let mut image = Image(file, (16 << 20) / BLOCK_SIZE as u64);
    format(
        &mut image,
        &FormatOptions {
            label: "example",
            ..Default::default()
        },
    )?;
    let mut fs = Fs::mount(image, MountOptions::default())?;
    let ino = fs
        .create(ROOT_INO, b"greeting", 0o644, Owner::default(), 0)?
        .ino;
    fs.write(ino, 0, b"hello\n", 0)?;
    let report = check(fs.unmount()?, &CheckOptions::default(), |_| {});
    println!("{} files, clean: {}", report.files, report.is_clean());
    Ok(())
}
