//! From the guest's way of naming files to paths on the disk.

use crate::error::{Result, unable};

/// Turns `SYS:s/startup`, `C:hello` or `/c/hello` into an absolute path.
///
/// Only the assigns that the system itself makes are known here.
///
/// # Errors
///
/// When the text is neither an absolute path nor begins with such an assign.
pub fn to_path(name: &str) -> Result<String> {
    if name.starts_with('/') {
        return Ok(name.into());
    }
    let Some((assign, rest)) = name.split_once(':') else {
        return unable(format!(
            "`{name}` is no path on the disk: expected /... or SYS:..."
        ));
    };
    let assign = assign.to_ascii_lowercase();
    match assign.as_str() {
        "sys" => Ok(format!("/{rest}")),
        "c" | "s" | "l" | "t" | "certs" => Ok(format!("/{assign}/{rest}")),
        _ => unable(format!("`{name}`: {assign}: is not known before the boot")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assigns_become_folders() {
        for (name, path) in [
            ("/c/hello", "/c/hello"),
            ("SYS:s/startup", "/s/startup"),
            ("c:hello", "/c/hello"),
            ("T:a/b", "/t/a/b"),
        ] {
            assert_eq!(to_path(name).as_deref(), Ok(path));
        }
        assert!(to_path("hello").is_err() && to_path("WORK:x").is_err());
    }
}
