//! Which volume a path is on: a table of prefixes.

use crate::error::Error;
use crate::path::MAX_PATH;
use alloc::vec::Vec;

/// Mounts by path: absolute, without `.`, `..` or empty components.
///
/// `..` is taken as it stands in the path, before any volume is asked, so no path leaves the table
/// or a mount by it. A server that follows symbolic links resolves again with what the link says.
///
/// # Complexity
/// Looking up compares with every mount once; there are few.
#[derive(Clone, Debug, Default)]
pub struct MountTable<M> {
    /// Longest paths first, so the first that fits is the innermost.
    mounts: Vec<(Vec<u8>, M)>,
}

/// A path as its mount sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved<'t, M> {
    /// What is mounted there.
    pub mount: &'t M,
    /// Where that is mounted.
    pub at: &'t [u8],
    /// The path inside, which starts with `/`.
    pub inside: Vec<u8>,
}

impl<M> MountTable<M> {
    /// An empty table.
    pub const fn new() -> Self {
        Self { mounts: Vec::new() }
    }

    /// Mounts something at a path, seen from the root.
    ///
    /// # Errors
    /// [`Error::Exists`] when something is mounted just there; a bad path.
    pub fn mount(&mut self, path: &[u8], mount: M) -> Result<(), Error> {
        let path = normalize(b"/", path)?;
        if self.mounts.iter().any(|m| m.0 == path) {
            return Err(Error::Exists);
        }
        let at = self.mounts.partition_point(|m| m.0.len() >= path.len());
        self.mounts.insert(at, (path, mount));
        Ok(())
    }

    /// Takes a mount out.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotEmpty`] while something is mounted below it.
    pub fn unmount(&mut self, path: &[u8]) -> Result<M, Error> {
        let path = normalize(b"/", path)?;
        let at = self.mounts.iter().position(|m| m.0 == path);
        let at = at.ok_or(Error::NotFound)?;
        let below = |m: &(Vec<u8>, M)| m.0 != path && inside(&path, &m.0).is_some();
        if self.mounts.iter().any(below) {
            return Err(Error::NotEmpty);
        }
        Ok(self.mounts.remove(at).1)
    }

    /// The innermost mount that a path, seen from the directory `base`, is on.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none; a bad path.
    pub fn resolve(&self, base: &[u8], path: &[u8]) -> Result<Resolved<'_, M>, Error> {
        let path = normalize(base, path)?;
        for (at, mount) in &self.mounts {
            if let Some(rest) = inside(at, &path) {
                let mut inside = Vec::with_capacity(rest.len() + 1);
                inside.push(b'/');
                inside.extend_from_slice(rest);
                return Ok(Resolved { mount, at, inside });
            }
        }
        Err(Error::NotFound)
    }

    /// What is mounted just at a path.
    pub fn at(&self, path: &[u8]) -> Option<&M> {
        let found = self.mounts.iter().find(|mount| mount.0 == path);
        found.map(|mount| &mount.1)
    }

    /// Whether something is mounted at a path or below it.
    pub fn holds(&self, path: &[u8]) -> bool {
        self.mounts
            .iter()
            .any(|mount| inside(path, &mount.0).is_some())
    }

    /// All mounts, inner ones before those that hold them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &M)> {
        self.mounts.iter().map(|(path, mount)| (&path[..], mount))
    }

    /// All mounts, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&[u8], &mut M)> {
        self.mounts
            .iter_mut()
            .map(|(path, mount)| (&path[..], mount))
    }
}

/// What is left of a path below a mount, without the `/` between; `None` when it is elsewhere.
fn inside<'p>(mount: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(mount)?;
    match (mount, rest) {
        (b"/", _) | (_, []) => Some(rest),
        _ => rest.strip_prefix(b"/"),
    }
}

/// An absolute path without `.`, `..` and empty components. `..` at the root stays there.
///
/// # Errors
/// [`Error::NameTooLong`] beyond [`MAX_PATH`] bytes, [`Error::InvalidName`] for a zero byte or a
/// `base` that is not absolute, [`Error::NotFound`] for an empty path.
pub fn normalize(base: &[u8], path: &[u8]) -> Result<Vec<u8>, Error> {
    if path.is_empty() {
        return Err(Error::NotFound);
    }
    if path.contains(&0) || base.first() != Some(&b'/') {
        return Err(Error::InvalidName);
    }
    let absolute = path[0] == b'/';
    let mut out = Vec::with_capacity(path.len() + 1);
    let before = if absolute { &b""[..] } else { base };
    for name in before
        .split(|&b| b == b'/')
        .chain(path.split(|&b| b == b'/'))
    {
        match name {
            b"" | b"." => {}
            b".." => out.truncate(out.iter().rposition(|&b| b == b'/').unwrap_or(0)),
            _ => {
                out.push(b'/');
                out.extend_from_slice(name);
            }
        }
    }
    if out.len() > MAX_PATH {
        return Err(Error::NameTooLong);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> MountTable<u8> {
        let mut table = MountTable::new();
        for (path, id) in [
            (&b"/"[..], 0),
            (b"/mnt/a", 1),
            (b"/mnt/a/deep/", 2),
            (b"/mnt", 3),
        ] {
            table.mount(path, id).unwrap();
        }
        table
    }

    #[test]
    fn the_innermost_mount_wins() {
        let t = table();
        let at = |base: &[u8], path: &[u8]| {
            let r = t.resolve(base, path).unwrap();
            (*r.mount, String::from_utf8(r.inside).unwrap())
        };
        assert_eq!(at(b"/", b"/etc/x"), (0, "/etc/x".into()));
        assert_eq!(at(b"/", b"/mnt/a"), (1, "/".into()));
        assert_eq!(at(b"/", b"/mnt//a/./x/"), (1, "/x".into()));
        assert_eq!(at(b"/mnt/a", b"deep/x"), (2, "/x".into()));
        assert_eq!(at(b"/", b"/mnt/ab"), (3, "/ab".into()));
        assert_eq!(at(b"/", b"/mntx"), (0, "/mntx".into()));
    }

    #[test]
    fn mounts_are_found_by_their_own_path() {
        let t = table();
        assert_eq!(t.at(b"/mnt/a"), Some(&1));
        assert_eq!((t.at(b"/"), t.at(b"/mnt/a/x")), (Some(&0), None));
        assert!(t.holds(b"/mnt") && t.holds(b"/mnt/a/deep") && t.holds(b"/"));
        assert!(!t.holds(b"/mn") && !t.holds(b"/mnt/a/deep/er"));
    }

    #[test]
    fn dots_do_not_escape() {
        let t = table();
        let at = |path: &[u8]| {
            let r = t.resolve(b"/mnt/a/sub", path).unwrap();
            (*r.mount, String::from_utf8(r.inside).unwrap())
        };
        assert_eq!(at(b"../../../../../etc"), (0, "/etc".into()));
        assert_eq!(at(b"../deep/../x"), (1, "/x".into()));
        assert_eq!(at(b".."), (1, "/".into()));
        assert_eq!(at(b"/../mnt/a/../a/deep"), (2, "/".into()));
        for r in ["..", "../..", "a/../../../..", "/a/b/../../../c"] {
            assert!(
                !normalize(b"/x", r.as_bytes())
                    .unwrap()
                    .windows(2)
                    .any(|w| w == b"..")
            );
        }
    }

    #[test]
    fn bad_paths_and_busy_mounts() {
        let mut t = table();
        assert_eq!(t.mount(b"/mnt/./a", 9), Err(Error::Exists));
        assert_eq!(t.unmount(b"/mnt/a"), Err(Error::NotEmpty));
        assert_eq!(t.unmount(b"/mnt/a/deep"), Ok(2));
        assert_eq!(t.unmount(b"/mnt/a"), Ok(1));
        assert_eq!(t.unmount(b"/mnt/a"), Err(Error::NotFound));
        assert_eq!(t.unmount(b"/"), Err(Error::NotEmpty));
        assert_eq!(t.resolve(b"/", b"").err(), Some(Error::NotFound));
        assert_eq!(t.resolve(b"/", b"/a\0").err(), Some(Error::InvalidName));
        assert_eq!(t.resolve(b"x", b"y").err(), Some(Error::InvalidName));
        assert_eq!(
            t.resolve(b"/", &[b'x'; 5000]).err(),
            Some(Error::NameTooLong)
        );
        assert_eq!(
            MountTable::<u8>::new().resolve(b"/", b"/").err(),
            Some(Error::NotFound)
        );
    }
}
