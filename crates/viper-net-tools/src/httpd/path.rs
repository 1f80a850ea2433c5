//! From the path of a request to that of a file.

use alloc::string::String;
use alloc::vec::Vec;
use viper_http::url::percent_decode;

/// Longest path that is looked up, in bytes.
const PATH_MAX: usize = 1024;

/// The path of a file below the directory that is served, decoded, and whether the request's path
/// ends in a slash. `None` if it can name none.
///
/// Nothing is resolved: a path with `.`, `..` or an empty segment is none, decoded or not. Clients
/// resolve them before they ask.
#[must_use]
pub fn file_path(requested: &str) -> Option<(String, bool)> {
    let rest = requested.strip_prefix('/')?;
    let is_folder = rest.is_empty() || rest.ends_with('/');
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.is_empty() {
        return (requested == "/").then(|| (String::new(), true));
    }
    let mut segments = Vec::new();
    for segment in rest.split('/') {
        // Decoded once, and after the split: `%2f` is part of a name, which no file has.
        let name = String::from_utf8(percent_decode(segment)).ok()?;
        let is_name = !matches!(name.as_str(), "" | "." | "..")
            && !name.contains(['/', '\\', ':', '\0'])
            && !name.chars().any(char::is_control);
        if !is_name {
            return None;
        }
        segments.push(name);
    }
    let path = segments.join("/");
    (path.len() <= PATH_MAX).then_some((path, is_folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (requested, path) in [
            ("/", Some(("", true))),
            ("/a", Some(("a", false))),
            ("/a/b%20c", Some(("a/b c", false))),
            ("/a/", Some(("a", true))),
            ("/...", Some(("...", false))),
            ("/a%2520", Some(("a%20", false))),
            ("//", None),
            ("/a//b", None),
            ("/..", None),
            ("/../a", None),
            ("/a/../b", None),
            ("/a/%2e%2E/b", None),
            ("/a/.%2e", None),
            ("/.", None),
            ("/a%2fb", None),
            ("/a%5c..", None),
            ("/..%5ca", None),
            ("/SYS:c", None),
            ("/a%00", None),
            ("/a%0a", None),
            ("/%ff", None),
            ("*", None),
            ("", None),
        ] {
            let found = file_path(requested);
            let found = found
                .as_ref()
                .map(|(path, folder)| (path.as_str(), *folder));
            assert_eq!(found, path, "{requested}");
        }
        assert_eq!(file_path(&("/".to_owned() + &"x".repeat(2000))), None);
    }

    /// Whatever is asked for, what comes out has only names in it.
    #[test]
    fn nothing_leads_out() {
        let parts = [
            "..", ".", "/", "%2e", "%2f", "a", "\\", "%5c", ":", "%252e", "%00", "?",
        ];
        let mut state = 1_u64;
        for _ in 0..50_000 {
            let mut requested = String::from("/");
            for _ in 0..6 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                requested.push_str(parts[(state >> 33) as usize % parts.len()]);
            }
            if let Some((path, _)) = file_path(&requested) {
                let ok = path.is_empty()
                    || path
                        .split('/')
                        .all(|s| !matches!(s, "" | "." | "..") && !s.contains([':', '\\']));
                assert!(ok, "{requested} gives {path}");
            }
        }
    }
}
