//! From a path to an inode.

use crate::device::BlockDevice;
use crate::error::Error;
use crate::fs::Fs;
use crate::inode::FileKind;
use crate::layout::ROOT_INO;
use alloc::vec::Vec;

/// Symbolic links that one walk follows.
pub const MAX_LINKS: usize = 40;
/// The longest path, in bytes, of a walk or after following a link.
pub const MAX_PATH: usize = 4096;

impl<D: BlockDevice> Fs<D> {
    /// The inode that a path leads to, seen from the directory `base`.
    ///
    /// Components are separated by any number of `/`; a path that starts with one is seen from
    /// the root. Links on the way are followed; one that is the last component only when
    /// `follow` or when a `/` comes after it. Permissions are the caller's business.
    ///
    /// # Errors
    /// [`Error::NotFound`] (also for an empty path), [`Error::NotDirectory`], [`Error::Loop`],
    /// [`Error::NameTooLong`].
    pub fn walk(&mut self, base: u64, path: &[u8], follow: bool) -> Result<u64, Error> {
        if path.is_empty() {
            return Err(Error::NotFound);
        }
        if path.len() > MAX_PATH {
            return Err(Error::NameTooLong);
        }
        let mut rest: Vec<u8> = path.to_vec();
        let mut at = if rest[0] == b'/' { ROOT_INO } else { base };
        let mut links = 0;
        loop {
            let skip = rest.iter().take_while(|&&b| b == b'/').count();
            if skip == rest.len() {
                return Ok(at);
            }
            let end = rest[skip..]
                .iter()
                .position(|&b| b == b'/')
                .map_or(rest.len(), |n| skip + n);
            let next = self.lookup(at, &rest[skip..end])?;
            let kind = self.inode(next)?.kind;
            let slash = end < rest.len();
            if kind == FileKind::Symlink && (follow || slash) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::Loop);
                }
                let mut target = self.readlink(next)?;
                if target.first() == Some(&b'/') {
                    at = ROOT_INO;
                }
                target.extend_from_slice(&rest[end..]);
                if target.len() > MAX_PATH {
                    return Err(Error::NameTooLong);
                }
                rest = target;
                continue;
            }
            if slash && kind != FileKind::Directory {
                return Err(Error::NotDirectory);
            }
            at = next;
            rest.drain(..end);
        }
    }

    /// The directory and the last name of a path: where something may be created or removed.
    ///
    /// # Errors
    /// As [`Fs::walk`]; [`Error::InvalidName`] when the path has no last name.
    pub fn walk_parent<'p>(&mut self, base: u64, path: &'p [u8]) -> Result<(u64, &'p [u8]), Error> {
        let end = path.len() - path.iter().rev().take_while(|&&b| b == b'/').count();
        let trimmed = &path[..end];
        let start = trimmed
            .iter()
            .rposition(|&b| b == b'/')
            .map_or(0, |n| n + 1);
        let name = &trimmed[start..];
        crate::dir::check_name(name)?;
        let dir = if start == 0 {
            base
        } else {
            self.walk(base, &trimmed[..start], true)?
        };
        Ok((dir, name))
    }
}
