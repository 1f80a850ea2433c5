//! The one error of this crate.

use core::fmt;

/// Why a call on the stack did nothing, or why a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Nothing there, or no room; the socket will be named by `take_ready` when that changes.
    WouldBlock,
    /// The peer has closed its half, and everything it sent has been read.
    Finished,
    /// The peer refused: a reset answered the connection request, or a port is unreachable.
    Refused,
    /// The peer, or somebody in its name, reset the connection.
    Reset,
    /// The peer did not answer in time.
    TimedOut,
    /// A router, or the silence of the address itself, says that the host cannot be reached.
    HostUnreachable,
    /// No interface leads to that address.
    NoRoute,
    /// The local address of the connection is gone.
    AddressGone,
    /// Another socket holds that address and port.
    AddressInUse,
    /// No interface has that local address.
    AddressNotAvailable,
    /// The socket is not connected, or its sending half is closed.
    NotConnected,
    /// No such socket, or not of the kind that the call is for.
    BadSocket,
    /// An argument makes no sense: port 0, a mixture of address families, a bad name.
    BadArgument,
    /// Larger than what can be sent or kept.
    TooLarge,
    /// The tables, or memory, are full.
    NoMemory,
    /// No such name, or it has no address of that family.
    NameNotFound,
    /// No name server gave a usable answer.
    NameServerFailed,
    /// No name server is known.
    NoNameServer,
    /// A packet does not have the form that it should have.
    Malformed,
}

impl Error {
    const fn text(self) -> &'static str {
        match self {
            Self::WouldBlock => "would block",
            Self::Finished => "end of stream",
            Self::Refused => "connection refused",
            Self::Reset => "connection reset",
            Self::TimedOut => "timed out",
            Self::HostUnreachable => "host unreachable",
            Self::NoRoute => "no route to host",
            Self::AddressGone => "local address gone",
            Self::AddressInUse => "address in use",
            Self::AddressNotAvailable => "address not available",
            Self::NotConnected => "not connected",
            Self::BadSocket => "no such socket",
            Self::BadArgument => "bad argument",
            Self::TooLarge => "too large",
            Self::NoMemory => "out of memory or table space",
            Self::NameNotFound => "name not found",
            Self::NameServerFailed => "name server failed",
            Self::NoNameServer => "no name server known",
            Self::Malformed => "malformed packet",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Error {}
