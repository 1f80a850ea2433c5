//! Why there is no result.

use crate::stream::Fault;
use core::fmt;
use viper_http::{Error, Status};

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, or none any more.
    Connection(Fault),
    /// The server does not speak HTTP as it should, or leads nowhere.
    Http(Error),
    /// The server's answer is an error.
    Status(Status),
    /// The server's answer is an error, and it had asked for a certificate that it did not get.
    NotIdentified(Status),
    /// The server's answer is an error, and it had asked for the certificate that it got.
    Identified(Status),
    /// The other part is of something else.
    WrongRange,
    /// The file system.
    File(viper_rt::Error),
    /// The server took too long.
    TimedOut,
}

impl Failure {
    /// What the program returns: 20 if it is for this machine to mend, 10 otherwise.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            Failure::File(_) => 20,
            _ => 10,
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        match fault {
            Fault::Network(viper_rt::Error::TimedOut) => Failure::TimedOut,
            other => Failure::Connection(other),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Http(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Connection(fault) => fault.fmt(f),
            Failure::Http(error) => error.fmt(f),
            Failure::Status(status) => write!(f, "the server answered {status}"),
            Failure::NotIdentified(status) => write!(
                f,
                "the server answered {status}; it wants a certificate of ours (CERT names one)"
            ),
            Failure::Identified(status) => write!(
                f,
                "the server answered {status}; it asked for our certificate, and may not accept it"
            ),
            Failure::WrongRange => {
                f.write_str("the server sent another part than it was asked for")
            }
            Failure::File(error) => error.fmt(f),
            Failure::TimedOut => f.write_str("the server took too long"),
        }
    }
}
