//! What goes into and comes out of a network card.

use crate::dma::DmaSegment;

/// What the device is, as negotiated and as last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetInfo {
    /// The card's address. Without one the user makes one up.
    pub mac: Option<[u8; 6]>,
    /// Bytes in a frame's payload at most, if the device says so.
    pub mtu: Option<u16>,
    /// Whether the link is up; true if the device does not say.
    pub is_link_up: bool,
    /// [`Transmit::checksum`] may be used.
    pub has_transmit_checksum: bool,
    /// Received frames may carry other than [`Checksum::Unknown`].
    pub has_receive_checksum: bool,
    /// Receive buffers posted at most.
    pub receive_depth: u16,
    /// Frames in transmission at most.
    pub transmit_depth: u16,
    /// Segments in one frame or buffer at most.
    pub segments_max: u16,
}

/// Where a transport checksum is computed and put: the 16-bit ones' complement sum over the frame
/// from `start` on, stored at `start + offset` (5.1.6.2). All in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumPlace {
    /// From where in the frame the sum runs, to its end.
    pub start: u16,
    /// Where the sum goes, counted from `start`.
    pub offset: u16,
}

/// A frame to send. Its memory stays the device's until its token comes back.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// The frame from its Ethernet header on, without frame check sequence.
    pub segments: &'a [DmaSegment],
    /// A checksum for the device to fill in.
    pub checksum: Option<ChecksumPlace>,
    /// Comes back when the frame has been taken.
    pub token: u64,
}

/// What the device says about the transport checksum of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: check it.
    Unknown,
    /// It was right.
    Valid,
    /// It is not filled in: the frame comes from this very host and was never on a wire. Places
    /// are the device's word and may lie outside the frame.
    Partial(ChecksumPlace),
}

/// A received frame; its memory is the caller's again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The token of the buffer.
    pub token: u64,
    /// Length of the frame in bytes, at most that of the buffer. 0 for an answer too short to
    /// hold a frame.
    pub bytes: u32,
    /// About its transport checksum.
    pub checksum: Checksum,
}

/// A token that a reset gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// Of a receive buffer.
    Receive(u64),
    /// Of a frame that may or may not have been sent.
    Transmit(u64),
}
