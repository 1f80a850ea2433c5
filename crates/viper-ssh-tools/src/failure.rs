//! Why a program gives up, as a sentence for its user.

use alloc::string::{String, ToString};
use core::fmt;

/// A sentence about what went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

/// What can go wrong in a sentence.
pub type Result<T> = core::result::Result<T, Failure>;

/// Fails with a sentence.
///
/// # Errors
/// Always.
pub fn fail<T>(text: impl fmt::Display) -> Result<T> {
    Err(Failure(text.to_string()))
}

/// Says what an error was about.
pub trait About<T> {
    /// The error, behind a colon, after what it was about.
    ///
    /// # Errors
    /// The sentence, if there was an error.
    fn about(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> About<T> for core::result::Result<T, E> {
    fn about(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure(alloc::format!("{what}: {error}")))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<viper_rt::Error> for Failure {
    fn from(error: viper_rt::Error) -> Failure {
        Failure(error.to_string())
    }
}

impl From<viper_ssh::Error> for Failure {
    fn from(error: viper_ssh::Error) -> Failure {
        Failure(error.to_string())
    }
}
