//! Paths as people write them.

use crate::names;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use viper_rt::Error;

/// The absolute path of what is called so from a directory: `/s/startup`, `S:startup`, `../a`.
///
/// An assign stands for its first directory.
///
/// # Errors
/// [`Error::NotFound`] for an assign that there is not; those of the name service.
pub fn resolve_path(names: &names::Client, directory: &str, path: &str) -> Result<String, Error> {
    let whole = match path.split_once(':') {
        Some((assign, rest)) if !assign.contains('/') => {
            let target = names.assign_get(format!("{assign}:").as_bytes());
            let target = target.map_err(|error| match error {
                Error::InvalidArgument | Error::NameTooLong => Error::NotFound,
                other => other,
            })?;
            let first = target.as_str()?.split(';').next().unwrap_or("/");
            format!("{first}/{rest}")
        }
        _ if path.starts_with('/') => path.to_string(),
        _ => format!("{directory}/{path}"),
    };
    Ok(normal_path(&whole))
}

/// An absolute path without `.`, `..` and empty parts. It never leads out of the root.
#[must_use]
pub fn normal_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        for (path, wanted) in [
            ("", "/"),
            (".", "/"),
            ("a//b/./c/", "/a/b/c"),
            ("/a/../..//b", "/b"),
            ("../../..", "/"),
        ] {
            assert_eq!(normal_path(path), wanted, "{path}");
        }
    }
}
