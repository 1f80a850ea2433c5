//! A block device made of a file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use viperfs::{BLOCK_SIZE, BlockDevice, DeviceError};

/// A file (or a host's block device) as a block device.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    blocks: u64,
    read_only: bool,
}

impl FileDevice {
    /// Opens an image. While it is open for writing, no other program of these can open it.
    ///
    /// # Errors
    /// Whatever the host says; [`io::ErrorKind::ResourceBusy`] when it is in use.
    pub fn open(path: &Path, read_only: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(!read_only).open(path)?;
        claim(&file, read_only)?;
        Self::from_file(file, read_only)
    }

    /// Uses a file that is open already.
    ///
    /// # Errors
    /// Whatever the host says about its size.
    pub fn from_file(mut file: File, read_only: bool) -> io::Result<Self> {
        // Seeking tells the size of block devices too, which metadata does not.
        let bytes = io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        Ok(Self {
            file,
            blocks: bytes / BLOCK_SIZE as u64,
            read_only,
        })
    }

    fn offset(&self, block: u64, len: usize) -> Result<u64, DeviceError> {
        let end = block
            .checked_add((len / BLOCK_SIZE) as u64)
            .ok_or(DeviceError::OutOfRange)?;
        if end > self.blocks {
            return Err(DeviceError::OutOfRange);
        }
        Ok(block * BLOCK_SIZE as u64)
    }
}

impl Drop for FileDevice {
    fn drop(&mut self) {
        // Closing alone leaves the lock to a process that was being started meanwhile.
        let _ = self.file.unlock();
    }
}

/// Locks an image against other programs until it is closed.
pub(crate) fn claim(file: &File, read_only: bool) -> io::Result<()> {
    let locked = if read_only {
        file.try_lock_shared()
    } else {
        file.try_lock()
    };
    match locked {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "in use by another program",
        )),
        // Some hosts have no locks; then the user has to know.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl BlockDevice for FileDevice {
    fn block_count(&self) -> u64 {
        self.blocks
    }

    fn read(&mut self, block: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        let offset = self.offset(block, buf.len())?;
        self.file
            .read_exact_at(buf, offset)
            .map_err(|_| DeviceError::Io)
    }

    fn write(&mut self, block: u64, buf: &[u8]) -> Result<(), DeviceError> {
        if self.read_only {
            return Err(DeviceError::ReadOnly);
        }
        let offset = self.offset(block, buf.len())?;
        self.file
            .write_all_at(buf, offset)
            .map_err(|_| DeviceError::Io)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.file.sync_data().map_err(|_| DeviceError::Io)
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }
}
