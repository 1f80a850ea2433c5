//! What can go wrong.

use crate::device::DeviceError;

/// Why an operation failed. The volume is as it was before the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No such name, or no such inode.
    NotFound,
    /// The name exists already.
    Exists,
    /// A directory was needed.
    NotDirectory,
    /// The operation does not apply to directories.
    IsDirectory,
    /// The directory still has entries.
    NotEmpty,
    /// The name is longer than 255 bytes, or the path or link target longer than 4095.
    NameTooLong,
    /// The name is empty, `.`, `..`, or holds a `/` or a zero byte.
    InvalidName,
    /// The arguments make no sense for this object.
    Invalid,
    /// No space is left, not even after reclaiming what was freed.
    NoSpace,
    /// The quota of this mount is used up.
    QuotaExceeded,
    /// The volume's format has no place for this; [`crate::Fs::upgrade`] may make one.
    Unsupported,
    /// The mount is read-only, because it was asked for or because a write failed.
    ReadOnly,
    /// The inode has as many links as the format can count.
    TooManyLinks,
    /// The file would grow past [`crate::MAX_FILE_SIZE`].
    FileTooLarge,
    /// More than 40 symbolic links were met on one path.
    Loop,
    /// The inode has no extended attribute of that name.
    NoAttribute,
    /// The extended attribute is larger than the format allows.
    AttributeTooLarge,
    /// What was read is not what was written: a checksum or a structure is wrong.
    Corrupt,
    /// The device failed.
    Device(DeviceError),
    /// An internal promise was broken; please report it.
    Bug,
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NotFound => "no such file or directory",
            Self::Exists => "file exists",
            Self::NotDirectory => "not a directory",
            Self::IsDirectory => "is a directory",
            Self::NotEmpty => "directory not empty",
            Self::NameTooLong => "name too long",
            Self::InvalidName => "invalid name",
            Self::Invalid => "invalid argument",
            Self::NoSpace => "no space left on volume",
            Self::QuotaExceeded => "quota exceeded",
            Self::Unsupported => "not supported by the volume's format",
            Self::ReadOnly => "file system is read-only",
            Self::TooManyLinks => "too many links",
            Self::FileTooLarge => "file too large",
            Self::Loop => "too many levels of symbolic links",
            Self::NoAttribute => "no such attribute",
            Self::AttributeTooLarge => "attribute too large",
            Self::Corrupt => "checksum or structure is wrong",
            Self::Device(error) => return error.fmt(f),
            Self::Bug => "internal error",
        })
    }
}

impl core::error::Error for Error {}

/// Why a volume could not be mounted. Nothing on the device was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountError {
    /// Neither superblock is valid. The device may not hold a viperfs.
    NoSuperblock,
    /// The volume was written by format `major`, which this code does not know.
    NewerFormat {
        /// Major version found.
        major: u16,
    },
    /// The volume needs features (a bit set) that this code does not know.
    UnknownFeatures {
        /// The unknown incompatible feature bits.
        bits: u64,
    },
    /// The volume may be mounted read-only only: unknown features (a bit set) guard writing.
    ReadOnlyFeatures {
        /// The unknown read-only-compatible feature bits.
        bits: u64,
    },
    /// The device is smaller than the volume on it.
    DeviceTooSmall,
    /// A structure that is needed to mount is damaged; run the checker.
    Corrupt,
    /// The device failed.
    Device(DeviceError),
    /// Reclaiming deleted files failed for another reason.
    Recovery(Error),
}

impl From<Error> for MountError {
    fn from(error: Error) -> Self {
        match error {
            Error::Corrupt => Self::Corrupt,
            Error::Device(e) => Self::Device(e),
            other => Self::Recovery(other),
        }
    }
}

impl From<DeviceError> for MountError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl core::fmt::Display for MountError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoSuperblock => f.write_str("no valid viperfs superblock found"),
            Self::NewerFormat { major } => write!(f, "format version {major} is not supported"),
            Self::UnknownFeatures { bits } => write!(f, "unknown required features {bits:#x}"),
            Self::ReadOnlyFeatures { bits } => {
                write!(
                    f,
                    "unknown features {bits:#x} allow mounting read-only only"
                )
            }
            Self::DeviceTooSmall => f.write_str("device is smaller than the volume"),
            Self::Corrupt => f.write_str("volume is damaged, run fsck.viperfs"),
            Self::Device(error) => error.fmt(f),
            Self::Recovery(error) => write!(f, "recovery failed: {error}"),
        }
    }
}

impl core::error::Error for MountError {}
