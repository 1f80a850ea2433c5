//! Paths: `NAME:rest`, `/a/b`, and relative ones; joined and normalised by their text alone.
//!
//! `a/..` is removed without looking at the disk, also when `a` is a symbolic link.

use alloc::string::String;
use alloc::vec::Vec;

/// Longest path that is handled, in bytes.
pub(crate) const PATH_MAX: usize = 4096;

/// A path as typed, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Typed<'a> {
    /// `NAME:rest`
    Assign(&'a str, &'a str),
    /// `/rest` or `:rest`
    Root(&'a str),
    /// Relative to the current directory.
    Relative(&'a str),
}

impl<'a> Typed<'a> {
    pub(crate) fn new(path: &'a str) -> Self {
        if let Some(rest) = path.strip_prefix(['/', ':']) {
            return Self::Root(rest);
        }
        match path.split_once(':') {
            Some((name, rest)) if !name.contains('/') => Self::Assign(name, rest),
            _ => Self::Relative(path),
        }
    }
}

/// `base` (absolute) with `rest` added, absolute and normalised.
pub(crate) fn join(base: &str, rest: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(rest.split('/')) {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            name => parts.push(name),
        }
    }
    let mut path = String::from("/");
    path.push_str(&parts.join("/"));
    path
}

/// The last component; empty for the root.
pub(crate) fn file_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit(['/', ':']).next().unwrap_or(path)
}

/// Whether `inner` is `outer` or lies below it. Both absolute and normalised.
pub(crate) fn contains(outer: &str, inner: &str) -> bool {
    match inner.strip_prefix(outer.trim_end_matches('/')) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// How an absolute path is shown: `SYS:a/b`.
pub(crate) fn shown(path: &str) -> String {
    let mut text = String::from("SYS:");
    text.push_str(path.trim_start_matches('/'));
    text
}

/// `name` in directory `dir`, as the user would type it.
pub(crate) fn beside(dir: &str, name: &str) -> String {
    let mut text = String::from(dir);
    if !dir.is_empty() && !dir.ends_with(['/', ':']) {
        text.push('/');
    }
    text.push_str(name);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_apart() {
        assert_eq!(Typed::new("C:x/y"), Typed::Assign("C", "x/y"));
        assert_eq!(Typed::new("a/b:c"), Typed::Relative("a/b:c"));
        assert_eq!(Typed::new("/a"), Typed::Root("a"));
        assert_eq!(Typed::new(":a"), Typed::Root("a"));
    }

    #[test]
    fn joined() {
        assert_eq!(join("/", "a/./b//c"), "/a/b/c");
        assert_eq!(join("/a/b", "../../../x"), "/x");
        assert_eq!(join("/a", ""), "/a");
        assert_eq!(join("/", ".."), "/");
    }

    #[test]
    fn parts() {
        assert_eq!(file_name("/a/b"), "b");
        assert_eq!(file_name("C:dir"), "dir");
        assert_eq!(file_name("/"), "");
        assert!(contains("/a", "/a/b") && contains("/a", "/a") && contains("/", "/x"));
        assert!(!contains("/a", "/ab"));
        assert_eq!(shown("/a/b"), "SYS:a/b");
        assert_eq!(beside("C:", "x"), "C:x");
        assert_eq!(beside("d", "x"), "d/x");
        assert_eq!(beside("", "x"), "x");
    }
}
