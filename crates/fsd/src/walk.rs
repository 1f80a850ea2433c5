//! From paths to files, over all volumes, as far as the client may go.
//!
//! While there is one volume, the engine walks for user 0. Otherwise the walk is done here, name by
//! name: a directory that something is mounted on leads to that volume's root, `..` of a root leads
//! out again, links lead wherever they say, and each directory must be the client's to search.

use crate::mounts::Mounts;
use crate::node::Node;
use crate::user::User;
use crate::world::World;
use alloc::vec::Vec;
use viper_rt::Error;
use viperfs::{Attr, FileKind, MAX_LINKS, MAX_PATH, Want};

/// Where a path led.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) node: Node,
    /// The path without links, `.` and `..`; empty if the engine walked.
    pub(crate) path: Vec<u8>,
}

impl Place {
    /// The path of a name in this directory.
    pub(crate) fn join(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path.clone();
        if !path.ends_with(b"/") {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }
}

impl<W: World> Mounts<W> {
    /// What a path leads to.
    ///
    /// # Errors
    /// As `viperfs::Fs::walk`; [`Error::NoRight`] for a directory that is not theirs to search.
    pub(crate) fn place(&mut self, who: User, path: &[u8], follow: bool) -> Result<Place, Error> {
        if !self.is_plain(who) {
            return self.walk(who, path, follow);
        }
        let volume = self.of(Node::ROOT)?;
        let result = volume.fs()?.walk(Node::ROOT.inode(), path, follow);
        let inode = volume.settle(result)?;
        Ok(Place {
            node: Node::new(0, inode),
            path: Vec::new(),
        })
    }

    /// The directory and last name of a path; `otherwise` for a path that has no last name.
    ///
    /// # Errors
    /// As [`Self::place`].
    pub(crate) fn parent<'p>(
        &mut self,
        who: User,
        path: &'p [u8],
        otherwise: Error,
    ) -> Result<(Place, &'p [u8]), Error> {
        if !self.is_plain(who) {
            let (directory, name) = split(path).ok_or(otherwise)?;
            return Ok((self.walk(who, directory, true)?, name));
        }
        let volume = self.of(Node::ROOT)?;
        let result = volume.fs()?.walk_parent(Node::ROOT.inode(), path);
        let (inode, name) = match result {
            Err(viperfs::Error::InvalidName) => return Err(otherwise),
            result => volume.settle(result)?,
        };
        let place = Place {
            node: Node::new(0, inode),
            path: Vec::new(),
        };
        Ok((place, name))
    }

    /// Whether the engine can walk alone.
    #[inline]
    pub(crate) fn is_plain(&self, who: User) -> bool {
        self.is_single() && who.is_root()
    }

    pub(crate) fn attr(&mut self, node: Node) -> Result<Attr, Error> {
        let volume = self.of(node)?;
        let result = volume.fs()?.getattr(node.inode());
        volume.settle(result)
    }

    /// Whether the client may do this with a file. Nothing is looked up for user 0.
    ///
    /// # Errors
    /// [`Error::NoRight`] if not.
    pub(crate) fn permit(&mut self, who: User, node: Node, want: Want) -> Result<(), Error> {
        if who.is_root() {
            return Ok(());
        }
        who.may(want, &self.attr(node)?)
    }

    /// The file of a name in a directory that is theirs to search.
    pub(crate) fn lookup(&mut self, who: User, dir: Node, name: &[u8]) -> Result<Node, Error> {
        self.permit(who, dir, Want::EXECUTE)?;
        let volume = self.of(dir)?;
        let result = volume.fs()?.lookup(dir.inode(), name);
        Ok(dir.beside(volume.settle(result)?))
    }

    pub(crate) fn read_link(&mut self, node: Node) -> Result<Vec<u8>, Error> {
        let volume = self.of(node)?;
        let result = volume.fs()?.readlink(node.inode());
        volume.settle(result)
    }

    /// The path of a directory without links, `.` and `..`.
    ///
    /// # Errors
    /// As [`Self::place`].
    pub(crate) fn real_path(&mut self, path: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.walk(User::default(), path, true)?.path)
    }

    fn walk(&mut self, who: User, path: &[u8], follow: bool) -> Result<Place, Error> {
        if path.len() > MAX_PATH {
            return Err(Error::NameTooLong);
        }
        let mut walk = Walk::default();
        let mut rest = path.to_vec();
        let mut links = 0;
        loop {
            let skip = rest.iter().take_while(|&&b| b == b'/').count();
            let name = rest.get(skip..).unwrap_or_default();
            let end = name.iter().position(|&b| b == b'/').unwrap_or(name.len());
            let (name, behind) = name.split_at(end);
            if name.is_empty() {
                return Ok(walk.done());
            }
            let is_inner = !behind.is_empty();
            match name {
                b"." => self.permit(who, walk.at, Want::EXECUTE)?,
                b".." => {
                    self.permit(who, walk.at, Want::EXECUTE)?;
                    walk.leave();
                }
                name => {
                    let next = self.lookup(who, walk.at, name)?;
                    let kind = self.attr(next)?.kind;
                    if kind == FileKind::Symlink && (follow || is_inner) {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(Error::Loop);
                        }
                        let mut target = self.read_link(next)?;
                        if target.first() == Some(&b'/') {
                            walk = Walk::default();
                        }
                        target.extend_from_slice(behind);
                        if target.len() > MAX_PATH {
                            return Err(Error::NameTooLong);
                        }
                        rest = target;
                        continue;
                    }
                    if is_inner && kind != FileKind::Directory {
                        return Err(Error::NotDirectory);
                    }
                    walk.enter(name, next);
                    if let Some(&volume) = self.table.at(&walk.path) {
                        walk.at = Node::root(volume);
                    }
                }
            }
            rest = behind.to_vec();
        }
    }
}

/// How far a walk has come.
struct Walk {
    at: Node,
    /// The path to it; the root's is empty.
    path: Vec<u8>,
    /// The directories above it, each with the length of its path.
    above: Vec<(Node, usize)>,
}

impl Default for Walk {
    fn default() -> Walk {
        Walk {
            at: Node::ROOT,
            path: Vec::new(),
            above: Vec::new(),
        }
    }
}

impl Walk {
    fn enter(&mut self, name: &[u8], node: Node) {
        self.above.push((self.at, self.path.len()));
        self.path.push(b'/');
        self.path.extend_from_slice(name);
        self.at = node;
    }

    /// To the directory above; the root's is the root.
    fn leave(&mut self) {
        if let Some((node, len)) = self.above.pop() {
            self.path.truncate(len);
            self.at = node;
        }
    }

    fn done(mut self) -> Place {
        if self.path.is_empty() {
            self.path.push(b'/');
        }
        Place {
            node: self.at,
            path: self.path,
        }
    }
}

/// A path in front of its last name, and that name.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slashes = path.iter().rev().take_while(|&&b| b == b'/').count();
    let trimmed = path.get(..path.len() - slashes)?;
    let start = trimmed
        .iter()
        .rposition(|&b| b == b'/')
        .map_or(0, |n| n + 1);
    let (directory, name) = trimmed.split_at(start);
    let is_name = !matches!(name, b"" | b"." | b"..");
    is_name.then_some((directory, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_name_is_split_off() {
        let split = |path: &'static str| split(path.as_bytes());
        assert_eq!(split("/a/b"), Some((&b"/a/"[..], &b"b"[..])));
        assert_eq!(split("/a//"), Some((&b"/"[..], &b"a"[..])));
        for nameless in ["/", "", "/a/..", "/a/./", "//"] {
            assert_eq!(split(nameless), None, "{nameless}");
        }
    }
}
