//! Paths as users type them.

use alloc::string::String;
use alloc::vec::Vec;
use viper_rt::Error;

/// The absolute path that is meant by `NAME:rest`, `/rest`, `:rest` or a relative path.
pub(super) fn absolute(
    typed: &str,
    current: &str,
    assign: impl FnOnce(&str) -> Result<String, Error>,
) -> Result<String, Error> {
    if let Some(rest) = typed.strip_prefix(['/', ':']) {
        return Ok(join("/", rest));
    }
    if let Some((name, rest)) = typed.split_once(':')
        && !name.contains('/')
    {
        let (assigned, _) = typed.split_at(name.len() + 1);
        return Ok(join(&assign(assigned)?, rest));
    }
    Ok(join(current, typed))
}

/// `base` with `rest` added, without `.` and `..`.
pub(super) fn join(base: &str, rest: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(rest.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    String::from("/") + &parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_paths() {
        let of = |typed| {
            absolute(typed, "/home/me", |name| match name {
                "T:" => Ok("/t".into()),
                _ => Err(Error::NotFound),
            })
        };
        for (typed, path) in [
            ("a", Ok("/home/me/a")),
            ("../b/./c", Ok("/home/b/c")),
            ("/x", Ok("/x")),
            (":x/y", Ok("/x/y")),
            ("T:", Ok("/t")),
            ("T:f.part", Ok("/t/f.part")),
            ("a/b:c", Ok("/home/me/a/b:c")),
            ("U:x", Err(Error::NotFound)),
            ("", Ok("/home/me")),
        ] {
            assert_eq!(of(typed).as_deref(), path.as_ref().map(|p| *p), "{typed}");
        }
    }
}
