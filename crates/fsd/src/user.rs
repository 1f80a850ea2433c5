//! Who a client is, and what that lets it do.
//!
//! The supervisor says it as it introduces the client; nothing that the client sends changes it.
//! Rules are those of `viperfs::access`. User 0 may do everything, so nothing is looked up for it.

use viper_rt::Error;
use viperfs::{Attr, Credentials, Owner, Want};

/// The user and group of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl User {
    /// Whether it is the one that may do everything.
    #[inline]
    pub(crate) const fn is_root(self) -> bool {
        self.user == 0
    }

    pub(crate) const fn credentials(self) -> Credentials<'static> {
        Credentials {
            uid: self.user,
            gid: self.group,
            groups: &[],
        }
    }

    /// The owner of what it makes.
    pub(crate) fn owner(self) -> Owner {
        Owner {
            uid: self.user,
            gid: self.group,
        }
    }

    /// Whether it may do this.
    ///
    /// # Errors
    /// [`Error::NoRight`] if not.
    pub(crate) fn may(self, want: Want, attr: &Attr) -> Result<(), Error> {
        self.check(attr.permits(&self.credentials(), want))
    }

    /// Whether it is user 0.
    ///
    /// # Errors
    /// [`Error::NoRight`] if not.
    pub(crate) fn administers(self) -> Result<(), Error> {
        self.check(false)
    }

    /// Whether a file is its own.
    ///
    /// # Errors
    /// [`Error::NoRight`] if not.
    pub(crate) fn owns(self, attr: &Attr) -> Result<(), Error> {
        self.check(attr.uid == self.user)
    }

    /// What depends on a rule; user 0 always may.
    ///
    /// # Errors
    /// [`Error::NoRight`] if it may not.
    pub(crate) fn check(self, may: bool) -> Result<(), Error> {
        if may || self.is_root() {
            Ok(())
        } else {
            Err(Error::NoRight)
        }
    }
}
