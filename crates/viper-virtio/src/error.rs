//! What can go wrong, and whose fault it was.

use core::fmt;

/// Why an operation was refused or a device given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The window does not start with the virtio magic number.
    NotVirtio,
    /// The device speaks the legacy interface (version 1); only version 2 is driven.
    Legacy,
    /// The window holds another kind of device than this driver is for.
    WrongDevice,
    /// The device does not offer a feature that the driver cannot do without.
    MissingFeature,
    /// The device did not accept the features chosen, although it offered them.
    FeaturesRejected,
    /// The device lacks the queue, or keeps it in use through a reset.
    QueueUnavailable,
    /// The DMA region or the heap is too small for the configuration asked for.
    OutOfMemory,
    /// Every slot of the queue is in flight. Take completions, then submit again.
    Full,
    /// The request breaks a rule: empty, misaligned, too many segments, segment too long.
    Invalid,
    /// The request reaches past the end of the device, the region or the window.
    OutOfRange,
    /// A write was asked of a read-only device.
    ReadOnly,
    /// The device did not offer what the request needs (a flush, a checksum).
    Unsupported,
    /// The device broke the protocol. Its queues are stopped until a reset.
    PeerMisbehaved,
    /// The device asks for a reset, or has been reset and not started again.
    NeedsReset,
    /// The device did not complete a reset. Memory it was given must not be reused.
    ResetTimeout,
}

/// Who is to blame for an [`Error`], and so what can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller asked for something that cannot be: change the request.
    Misuse,
    /// Something ran out: wait or configure more.
    Resource,
    /// The device cannot do it: do without.
    Unsupported,
    /// The device is faulty or wants a reset: reset it, or give it up.
    Device,
}

impl Error {
    /// The side to blame.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::WrongDevice | Self::Invalid | Self::OutOfRange | Self::ReadOnly => {
                ErrorKind::Misuse
            }
            Self::OutOfMemory | Self::Full => ErrorKind::Resource,
            Self::NotVirtio | Self::Legacy | Self::MissingFeature | Self::Unsupported => {
                ErrorKind::Unsupported
            }
            Self::FeaturesRejected
            | Self::QueueUnavailable
            | Self::PeerMisbehaved
            | Self::NeedsReset
            | Self::ResetTimeout => ErrorKind::Device,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotVirtio => "no virtio device in this window",
            Self::Legacy => "device speaks only the legacy interface",
            Self::WrongDevice => "window holds another kind of device",
            Self::MissingFeature => "device lacks a required feature",
            Self::FeaturesRejected => "device rejected the features it offered",
            Self::QueueUnavailable => "device queue is missing or busy",
            Self::OutOfMemory => "not enough memory for the queue",
            Self::Full => "queue is full",
            Self::Invalid => "request is malformed",
            Self::OutOfRange => "request is out of range",
            Self::ReadOnly => "device is read-only",
            Self::Unsupported => "device does not support the request",
            Self::PeerMisbehaved => "device broke the protocol",
            Self::NeedsReset => "device needs a reset",
            Self::ResetTimeout => "device did not reset",
        })
    }
}

impl core::error::Error for Error {}
