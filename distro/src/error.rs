//! Why a command stopped, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

/// Exit code after a kernel panic.
pub const EXIT_PANIC: u8 = 101;
/// Exit code after a time-out.
pub const EXIT_TIMEOUT: u8 = 124;
/// Exit code when this machine cannot build or boot the system.
pub const EXIT_UNABLE: u8 = 125;
/// Exit code after SIGINT, SIGTERM or SIGHUP.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Why a command stopped before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// This machine, the manifest or the sources do not allow to go on; the text says what and why.
    Unable(String),
    /// The kernel panicked; its report has been printed.
    Panic,
    /// The guest was not done after this many seconds.
    Timeout(u64),
    /// A signal asked to stop.
    Interrupted,
}

/// The result of everything that may stop a command.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The exit code of the command, as promised in the README.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Error::Unable(_) => EXIT_UNABLE,
            Error::Panic => EXIT_PANIC,
            Error::Timeout(_) => EXIT_TIMEOUT,
            Error::Interrupted => EXIT_INTERRUPTED,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unable(reason) => f.write_str(reason),
            Error::Panic => f.write_str("the kernel panicked"),
            Error::Timeout(seconds) => write!(f, "the guest was not done after {seconds} s"),
            Error::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {}

/// Adds what was being done to a foreign error.
pub trait Context<T> {
    /// Turns an error into [`Error::Unable`] with `what` in front.
    ///
    /// # Errors
    ///
    /// Always the converted one.
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::Unable(format!("{what}: {error}")))
    }
}

/// A shorthand for the most frequent error.
pub fn unable<T>(reason: impl Into<String>) -> Result<T> {
    Err(Error::Unable(reason.into()))
}
