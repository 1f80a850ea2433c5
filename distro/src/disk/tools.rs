//! What this program needs of the file system's tools.

use std::path::Path;

use crate::error::Result;

/// What a new volume is to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Volume {
    /// Size of the image in bytes.
    pub size: u64,
    /// Name.
    pub label: String,
    /// Identity, as 32 hexadecimal digits with or without dashes.
    pub uuid: String,
    /// Time of creation of everything on it, in seconds since 1970.
    pub time_s: i64,
}

/// What is put on a volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// A folder; those above it are made too.
    Directory(String),
    /// The permissions of what is there by then.
    Mode {
        /// Absolute path.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// A file, created or overwritten.
    File {
        /// Absolute path.
        path: String,
        /// What is in it.
        contents: Vec<u8>,
        /// Whether it is a program.
        executable: bool,
    },
}

/// The file system's tools.
pub trait DiskTools {
    /// Makes an image with these entries, the same bytes for the same entries.
    ///
    /// # Errors
    ///
    /// When the entries do not fit or the file cannot be written.
    fn create(&self, image: &Path, volume: &Volume, entries: &[Entry]) -> Result<()>;

    /// Writes entries into an image.
    ///
    /// # Errors
    ///
    /// When the image is no volume, is full, or cannot be written.
    fn put(&self, image: &Path, entries: &[Entry]) -> Result<()>;

    /// Reads a file from an image.
    ///
    /// # Errors
    ///
    /// When the image is no volume or has no such file.
    fn get(&self, image: &Path, path: &str) -> Result<Vec<u8>>;

    /// Checks an image, which nobody uses: every problem in a line.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    fn check(&self, image: &Path) -> Result<Vec<String>>;
}

/// The tools of the file system that the guest has.
pub fn tools() -> &'static dyn DiskTools {
    &super::viperfs::Viperfs
}
