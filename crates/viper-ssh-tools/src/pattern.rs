//! Names of files by patterns: `*.txt`, `sub/[a-c]?`.

use crate::failure::{Result, fail};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use viper_shell::glob::{is_pattern, matches};

/// Files that one pattern may give.
const FOUND_MAX: usize = 20_000;

/// The paths that a pattern gives, in order. What is no pattern is given back as it is.
///
/// `list` tells the names in a directory, and that none are in what is no directory. Names that
/// begin with a dot match only a pattern that does.
///
/// # Errors
/// A sentence when nothing matches, or too much.
pub fn expand(path: &str, mut list: impl FnMut(&str) -> Vec<String>) -> Result<Vec<String>> {
    if !is_pattern(path) {
        return Ok(Vec::from([path.to_string()]));
    }
    let start = path.rfind(':').map_or(0, |at| at + 1);
    let (assign, behind) = path.split_at(start);
    let root = if behind.starts_with('/') { "/" } else { "" };
    let mut found = Vec::from([format!("{assign}{root}")]);
    let mut matched = false;
    for part in behind.split('/').filter(|part| !part.is_empty()) {
        // What comes behind a pattern has to be there.
        matched |= is_pattern(part);
        found = match matched {
            false => found.iter().map(|base| inside(base, part)).collect(),
            true => within(&found, part, &mut list),
        };
        if found.len() > FOUND_MAX {
            return fail(format!("{path}: too many files"));
        }
    }
    match found.is_empty() {
        true => fail(format!("{path}: no file has such a name")),
        false => Ok(found),
    }
}

/// What in these directories matches.
fn within(
    directories: &[String],
    part: &str,
    list: &mut impl FnMut(&str) -> Vec<String>,
) -> Vec<String> {
    let mut found = Vec::new();
    for base in directories {
        for name in list(base) {
            let shows = part.starts_with('.') || !name.starts_with('.');
            if shows && is_plain(&name) && matches(part, &name) {
                found.push(inside(base, &name));
            }
        }
    }
    found
}

/// Whether a name that a server tells may be one here: nothing that leads elsewhere.
#[must_use]
pub fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', ':', '\0'])
}

/// The last part of a path.
#[must_use]
pub fn last(path: &str) -> &str {
    path.trim_end_matches('/')
        .rsplit(['/', ':'])
        .next()
        .unwrap_or(path)
}

/// The path of a name in a directory.
#[must_use]
pub fn inside(directory: &str, name: &str) -> String {
    if directory.is_empty() || directory.ends_with(['/', ':']) {
        format!("{directory}{name}")
    } else {
        format!("{directory}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(directory: &str) -> Vec<String> {
        let names: &[&str] = match directory {
            "" | "/w/" | "T:" => &["a.txt", "b.txt", "c", ".hidden.txt", "sub", "../evil.txt"],
            "/w" => &["a.txt", "sub"],
            "sub" | "/w/sub" | "T:sub" => &["d.txt", "e[1].txt"],
            _ => &[],
        };
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn patterns() {
        let of = |path| expand(path, list).unwrap();
        assert_eq!(of("*.txt"), ["a.txt", "b.txt"]);
        assert_eq!(of("/w/[ab]*"), ["/w/a.txt"]);
        assert_eq!(of("T:?.txt"), ["T:a.txt", "T:b.txt"]);
        assert_eq!(of("*/d.txt"), ["sub/d.txt"]);
        assert_eq!(of("s*/*"), ["sub/d.txt", "sub/e[1].txt"]);
        assert_eq!(of("sub/e\\[*"), ["sub/e[1].txt"]);
        assert_eq!(of(".h*"), [".hidden.txt"]);
        assert_eq!(of("no/pattern"), ["no/pattern"]);
        for nothing in ["*.gz", "*/none", "none/*", "/x/*"] {
            assert!(expand(nothing, list).is_err(), "{nothing}");
        }
    }

    #[test]
    fn names_within_paths() {
        assert!(is_plain("a b") && is_plain("..."));
        for wrong in ["", ".", "..", "../a", "/a", "S:a"] {
            assert!(!is_plain(wrong), "{wrong}");
        }
        assert_eq!(last("a/b//"), "b");
        assert_eq!((last("a/b"), last("T:x"), last("x")), ("b", "x", "x"));
        assert_eq!(inside("T:", "x"), "T:x");
        assert_eq!(inside("/a", "x"), "/a/x");
    }
}
