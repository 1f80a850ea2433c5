//! The errors a system call can return, and their numbers.

macro_rules! errors {
    ($( $(#[doc = $doc:literal])+ $name:ident = $code:literal, $text:literal; )+) => {
        /// Why a system call or a service request failed.
        ///
        /// On the wire an error is its negative code in `x0`; zero is success. Codes are never
        /// reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(i32)]
        pub enum Error { $( $(#[doc = $doc])+ $name = $code, )+ }

        impl Error {
            /// Every error, in the order of declaration.
            pub const ALL: &'static [Error] = &[$(Error::$name),+];

            /// The error with this (negative) code, if there is one.
            #[must_use]
            pub const fn from_code(code: i64) -> Option<Error> {
                match code { $( $code => Some(Error::$name), )+ _ => None }
            }

            /// The identifier, as the tables and traces print it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Error::$name => stringify!($name), )+ }
            }

            /// One sentence for people: lower case, no full stop.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $( Error::$name => $text, )+ }
            }
        }
    };
}

errors! {
    /// The kernel or service broke one of its own invariants.
    Internal = -1, "internal error";
    /// An argument is outside of its documented range.
    InvalidArgument = -2, "invalid argument";
    /// The quota, or the machine, has no memory left for this.
    OutOfMemory = -3, "out of memory";
    /// The named thing does not exist.
    NotFound = -4, "not found";
    /// The named thing exists already.
    AlreadyExists = -5, "already exists";
    /// The capability does not carry the right that this needs.
    NoRight = -6, "permission denied";
    /// There is no such call, or not for this kind of object.
    NotSupported = -7, "not supported";
    /// The thing is in use in a way that excludes this.
    Busy = -8, "busy";
    /// The deadline passed first.
    TimedOut = -9, "timed out";
    /// The handle is not in the table, is stale, or was revoked.
    BadHandle = -100, "bad handle";
    /// The handle names another kind of object.
    WrongKind = -102, "wrong kind of object";
    /// The process or thread has ended.
    Ended = -200, "has ended";
    /// It would have to wait, and the deadline was zero.
    WouldBlock = -300, "would block";
    /// The other end of the channel is gone.
    PeerClosed = -301, "peer closed";
    /// The message is longer than a message can be, or than the receiver takes.
    MessageTooLarge = -302, "message too large";
    /// A message does not have the form its interface declares.
    BadMessage = -303, "malformed message";
    /// The server died before it answered; the operation may or may not have happened.
    ServerDied = -304, "server died";
    /// A limit other than memory is used up: handles, threads, queue places, names.
    LimitReached = -400, "limit reached";
    /// The memory at this address cannot be used this way.
    BadAddress = -401, "bad address";
    /// The device reported a failure or does not answer.
    Io = -500, "device error";
    /// A directory was needed.
    NotDirectory = -504, "not a directory";
    /// A file was needed.
    IsDirectory = -505, "is a directory";
    /// The directory is not empty.
    NotEmpty = -506, "directory not empty";
    /// A name or path is longer than it may be.
    NameTooLong = -507, "name too long";
    /// The file system or device is read-only.
    ReadOnly = -508, "read-only";
    /// No space is left on the device.
    NoSpace = -509, "no space left on device";
    /// Too many symbolic links on the way.
    Loop = -511, "too many symbolic links";
    /// What is stored does not pass its checks.
    Corrupt = -513, "corrupt data";
    /// The file is larger than the file system allows.
    FileTooLarge = -514, "file too large";
    /// Source and target are on different file systems.
    CrossDevice = -515, "on another file system";
    /// The file is not an executable this system can run.
    NotExecutable = -516, "not an executable";
    /// The service is not running.
    NoService = -517, "service not available";
    /// The user interrupted it.
    Interrupted = -518, "interrupted";
    /// Waiting for it would never end.
    Deadlock = -519, "deadlock";
    /// A lock was lost with the server that kept it, and another owner has it now.
    LockLost = -520, "lock lost";
    /// Nobody listens at that address and port.
    ConnectionRefused = -600, "connection refused";
    /// The other end ended the connection at once, and what was on the way is lost.
    ConnectionReset = -601, "connection reset";
    /// There is no way to that host or network, or nobody answers there.
    Unreachable = -602, "host unreachable";
    /// Another socket has that address and port.
    AddressInUse = -603, "address in use";
}

impl Error {
    /// The (negative) code, as it stands in `x0`.
    #[must_use]
    pub const fn code(self) -> i64 {
        self as i32 as i64
    }

    /// Splits a raw `x0` into success or error; unknown negative codes become [`Error::Internal`].
    ///
    /// # Errors
    /// The error that `x0` carries.
    #[inline]
    pub const fn check(x0: u64) -> Result<(), Error> {
        if (x0 as i64) >= 0 {
            return Ok(());
        }
        match Error::from_code(x0 as i64) {
            Some(e) => Err(e),
            None => Err(Error::Internal),
        }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Error {}
