//! What can go wrong below the shell, and how it is said.

/// Why the system refused. Every variant is one sentence to the user: see [`Error::sentence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// No such file, directory, process, server or assign.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// A directory was needed.
    NotADirectory,
    /// A file was needed.
    IsADirectory,
    /// The directory still has entries.
    NotEmpty,
    /// The volume is full.
    NoSpace,
    /// The volume is read-only.
    ReadOnly,
    /// The right for this is missing.
    PermissionDenied,
    /// The name or path is too long.
    NameTooLong,
    /// The name holds characters that names cannot hold.
    InvalidName,
    /// The arguments make no sense to the system.
    InvalidArgument,
    /// Too many symbolic links on the way.
    TooManyLinks,
    /// Source and target are on different volumes.
    CrossDevice,
    /// The file would be larger than it may be.
    TooLarge,
    /// It is in use.
    Busy,
    /// The device reported an error.
    Io,
    /// What is on the disk makes no sense.
    Corrupt,
    /// The server that does this ended meanwhile; whether the request was done is not known.
    ServerDied,
    /// The server that does this is not running.
    NoServer,
    /// It took too long.
    TimedOut,
    /// Ctrl-C was pressed.
    Interrupted,
    /// No memory, handles or other quota left.
    Exhausted,
    /// The file is not a program, or is damaged.
    NotExecutable,
    /// The reader of a pipe is gone.
    BrokenPipe,
    /// More than [`crate::PIPE_MAX`] between two commands of the shell.
    PipeFull,
    /// This system cannot do that.
    Unsupported,
}

impl Error {
    /// The error as the end of a sentence, as in `Type: SYS:x: no such file or directory`.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotFound => "no such file or directory",
            Self::AlreadyExists => "already exists",
            Self::NotADirectory => "not a directory",
            Self::IsADirectory => "is a directory",
            Self::NotEmpty => "directory is not empty",
            Self::NoSpace => "no space left on the volume",
            Self::ReadOnly => "volume is read-only",
            Self::PermissionDenied => "permission denied",
            Self::NameTooLong => "name is too long",
            Self::InvalidName => "not a valid name",
            Self::InvalidArgument => "not a valid argument",
            Self::TooManyLinks => "too many symbolic links",
            Self::CrossDevice => "on another volume",
            Self::TooLarge => "file would be too large",
            Self::Busy => "in use",
            Self::Io => "device error",
            Self::Corrupt => "data on the disk is damaged",
            Self::ServerDied => "the server ended during the request",
            Self::NoServer => "the server for this is not running",
            Self::TimedOut => "took too long",
            Self::Interrupted => "interrupted",
            Self::Exhausted => "out of memory or handles",
            Self::NotExecutable => "not a program, or damaged",
            Self::BrokenPipe => "nobody reads the output any more",
            Self::PipeFull => "a pipe between commands of the shell holds at most 1 MiB",
            Self::Unsupported => "not supported by this system",
        }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.sentence())
    }
}

impl core::error::Error for Error {}

/// A result of the system.
pub type Result<T> = core::result::Result<T, Error>;
