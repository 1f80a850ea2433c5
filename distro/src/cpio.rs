//! Writes cpio archives ("newc"), always the same bytes for the same files.
//!
//! Format: each member is a header of 110 ASCII characters (magic `070701`, then thirteen numbers
//! of eight hexadecimal digits), the name with its NUL padded to four bytes, and the contents
//! padded to four bytes. A member named `TRAILER!!!` ends the archive.

use std::io::{self, Write};

/// A regular file with these permissions.
const MODE_EXECUTABLE: u32 = 0o100_755;
const MODE_PLAIN: u32 = 0o100_644;
const TRAILER: &str = "TRAILER!!!";

/// An archive under construction.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    members: u32,
}

impl Archive {
    /// An archive without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a file. Order is kept; times, owners and device numbers are all zero.
    ///
    /// # Errors
    ///
    /// When `contents` is 4 GiB or longer, or `name` is empty or has a NUL.
    pub fn add(&mut self, name: &str, contents: &[u8], executable: bool) -> io::Result<()> {
        if name.is_empty() || name.contains('\0') || name == TRAILER {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a member name",
            ));
        }
        let mode = if executable {
            MODE_EXECUTABLE
        } else {
            MODE_PLAIN
        };
        self.member(name, mode, contents)
    }

    /// Ends the archive and returns its bytes.
    ///
    /// # Errors
    ///
    /// None in practice; the type is that of [`Archive::add`].
    pub fn finish(mut self) -> io::Result<Vec<u8>> {
        self.members = 0;
        self.member(TRAILER, 0, &[])?;
        Ok(self.bytes)
    }

    fn member(&mut self, name: &str, mode: u32, contents: &[u8]) -> io::Result<()> {
        let size = u32::try_from(contents.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        let inode = if mode == 0 { 0 } else { self.members + 1 };
        let links = 1;
        let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.write_all(b"070701")?;
        for field in fields {
            write!(self.bytes, "{field:08x}")?;
        }
        self.bytes.write_all(name.as_bytes())?;
        self.bytes.push(0);
        self.pad();
        self.bytes.write_all(contents)?;
        self.pad();
        self.members += 1;
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader of its own, so that the writer is not its own judge.
    fn read(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut files = Vec::new();
        let mut at = 0;
        loop {
            let header = std::str::from_utf8(&bytes[at..at + 110]).expect("ASCII");
            assert!(header.starts_with("070701"));
            let field =
                |n: usize| u32::from_str_radix(&header[6 + 8 * n..14 + 8 * n], 16).expect("hex");
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = String::from_utf8(bytes[at + 110..at + 109 + name_size].to_vec());
            let start = (at + 110 + name_size).next_multiple_of(4);
            at = (start + size).next_multiple_of(4);
            let name = name.expect("UTF-8");
            if name == TRAILER {
                assert_eq!(at, bytes.len());
                return files;
            }
            files.push((name, mode, bytes[start..start + size].to_vec()));
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for size in 0..9 {
            let contents = vec![0xA5; size];
            let mut archive = Archive::new();
            archive.add("init", &contents, true).expect("valid");
            archive
                .add("etc/manifest", b"viper\n", false)
                .expect("valid");
            let files = read(&archive.finish().expect("small"));
            assert_eq!(files[0], ("init".into(), MODE_EXECUTABLE, contents));
            assert_eq!(
                files[1],
                ("etc/manifest".into(), MODE_PLAIN, b"viper\n".to_vec())
            );
        }
    }

    #[test]
    fn an_empty_archive_is_its_trailer() {
        let bytes = Archive::new().finish().expect("small");
        assert!(read(&bytes).is_empty());
        assert_eq!(bytes.len(), 124);
    }

    #[test]
    fn names_that_would_break_the_archive_are_refused() {
        for name in ["", "a\0b", TRAILER] {
            assert!(Archive::new().add(name, b"", false).is_err());
        }
    }
}
