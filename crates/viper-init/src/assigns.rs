//! Assigns: names that stand for paths, such as `C:` for `/c`.

use alloc::string::String;
use alloc::vec::Vec;
use viper_rt::Error;

/// Most assigns there can be.
pub const ASSIGNS_MAX: usize = 256;
/// Longest name with its colon, in bytes.
pub const NAME_MAX: usize = 32;
/// Longest path in bytes.
pub const PATH_MAX: usize = 120;

/// The assigns, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigns(Vec<(String, String)>);

impl Default for Assigns {
    /// Those that are always there at first.
    fn default() -> Assigns {
        let preset = [
            ("C:", "/c"),
            ("CERTS:", "/certs"),
            ("L:", "/l"),
            ("S:", "/s"),
            ("SYS:", "/"),
            ("T:", "/t"),
        ];
        Assigns(
            preset
                .map(|(name, path)| (name.into(), path.into()))
                .to_vec(),
        )
    }
}

impl Assigns {
    /// Sets one.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what is not a name or not an absolute path,
    /// [`Error::NameTooLong`], [`Error::LimitReached`].
    pub fn set(&mut self, name: &str, path: &str) -> Result<(), Error> {
        let name = canonical(name)?;
        if !path.starts_with('/') || path.contains('\0') {
            return Err(Error::InvalidArgument);
        }
        if path.len() > PATH_MAX {
            return Err(Error::NameTooLong);
        }
        match self.place(&name) {
            Ok(index) => self.0[index].1 = path.into(),
            Err(_) if self.0.len() >= ASSIGNS_MAX => return Err(Error::LimitReached),
            Err(index) => self.0.insert(index, (name, path.into())),
        }
        Ok(())
    }

    /// Removes one.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn remove(&mut self, name: &str) -> Result<(), Error> {
        let index = self.place(&canonical(name)?).map_err(|_| Error::NotFound)?;
        self.0.remove(index);
        Ok(())
    }

    /// What one stands for.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn find(&self, name: &str) -> Result<&str, Error> {
        let index = self.place(&canonical(name)?).map_err(|_| Error::NotFound)?;
        Ok(&self.0[index].1)
    }

    /// The one at `index`, in alphabetical order.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<(&str, &str)> {
        self.0
            .get(index)
            .map(|(name, path)| (name.as_str(), path.as_str()))
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(n, _)| n.as_str().cmp(name))
    }
}

/// A name as it is kept: upper case, with its colon.
///
/// # Errors
/// [`Error::InvalidArgument`] or [`Error::NameTooLong`].
pub fn canonical(name: &str) -> Result<String, Error> {
    if name.len() > NAME_MAX {
        return Err(Error::NameTooLong);
    }
    let stem = name.strip_suffix(':').ok_or(Error::InvalidArgument)?;
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if stem.is_empty() || !stem.bytes().all(good) {
        return Err(Error::InvalidArgument);
    }
    Ok(name.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_find_remove_in_any_case() {
        let mut assigns = Assigns::default();
        assert_eq!(assigns.find("c:"), Ok("/c"));
        assigns.set("work:", "/home/work").unwrap();
        assert_eq!(assigns.find("Work:"), Ok("/home/work"));
        assigns.set("WORK:", "/w").unwrap();
        assert_eq!(assigns.find("work:"), Ok("/w"));
        assert_eq!(assigns.at(0), Some(("C:", "/c")));
        assigns.remove("wOrk:").unwrap();
        assert_eq!(assigns.remove("work:"), Err(Error::NotFound));
    }

    #[test]
    fn bad_names_and_paths_are_refused() {
        let mut assigns = Assigns::default();
        for name in ["", ":", "a", "a b:", "a/b:", "x:y:"] {
            assert_eq!(
                assigns.set(name, "/"),
                Err(Error::InvalidArgument),
                "{name:?}"
            );
        }
        assert_eq!(assigns.set("A:", "relative"), Err(Error::InvalidArgument));
        assert_eq!(assigns.set(&"A".repeat(40), "/"), Err(Error::NameTooLong));
    }
}
