//! Where frames come from and go to.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A network card, a TAP device, or a queue: something that moves whole frames.
pub trait FrameDevice {
    /// Hands the oldest received frame to `take` and forgets it; `false` if there is none.
    ///
    /// The second argument of `take` says that the device has verified the transport checksum
    /// of this frame. It matters only if the interface was configured with `checksums_checked`.
    fn receive(&mut self, take: &mut dyn FnMut(&[u8], bool)) -> bool;

    /// Whether `transmit` would find room for one more frame.
    fn can_transmit(&self) -> bool;

    /// Sends a frame of `len` bytes that `fill` writes, and says whether it could.
    ///
    /// `fill` is called at most once, with exactly `len` bytes of any content.
    fn transmit(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> bool;
}

/// A bounded queue of frames that keeps its buffers for reuse.
///
/// As a [`FrameDevice`] it is two ends of one wire when two stacks swap their queues, and a
/// place for tests to look at frames.
#[derive(Debug)]
pub struct FrameQueue {
    frames: VecDeque<Buffer>,
    spare: Vec<Buffer>,
    spare_large: Vec<Buffer>,
    frames_max: usize,
    bytes: usize,
    bytes_max: usize,
    scratch: Vec<u8>,
}

/// A frame: the first `len` of `bytes`, which are kept longer so as not to be cleared again.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
}

impl Buffer {
    pub(crate) fn frame(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

impl FrameQueue {
    /// A queue of at most `frames_max` frames.
    pub const fn new(frames_max: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            spare: Vec::new(),
            spare_large: Vec::new(),
            frames_max,
            bytes: 0,
            bytes_max: BYTES_MAX,
            scratch: Vec::new(),
        }
    }

    /// How many frames wait.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether no frame waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether another frame fits.
    pub fn has_room(&self) -> bool {
        self.frames.len() < self.frames_max && self.bytes < self.bytes_max
    }

    /// Adds a copy of `frame`, or says that there is no room.
    pub fn push(&mut self, frame: &[u8]) -> bool {
        let room = self.has_room();
        self.push_with(frame.len(), |buffer| buffer.copy_from_slice(frame));
        room
    }

    /// Hands the oldest frame to `take`; `None` if there is none.
    pub fn pop<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let buffer = self.pop_buffer()?;
        let result = take(buffer.frame());
        self.recycle(buffer);
        Some(result)
    }

    /// Adds a frame that `fill` writes. Without room `fill` writes a frame that nobody sees.
    pub(crate) fn push_with<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        if !self.has_room() {
            return fill(scratch(&mut self.scratch, len));
        }
        let pool = if len > SMALL {
            &mut self.spare_large
        } else {
            &mut self.spare
        };
        let mut buffer = pool.pop().unwrap_or(Buffer {
            bytes: Vec::new(),
            len: 0,
        });
        let result = fill(scratch(&mut buffer.bytes, len));
        buffer.len = len;
        self.bytes += len;
        self.frames.push_back(buffer);
        result
    }

    pub(crate) fn pop_buffer(&mut self) -> Option<Buffer> {
        let buffer = self.frames.pop_front()?;
        self.bytes -= buffer.len;
        Some(buffer)
    }

    pub(crate) fn recycle(&mut self, buffer: Buffer) {
        let (pool, spare_max) = if buffer.bytes.len() > SMALL {
            (&mut self.spare_large, SPARE_LARGE_MAX)
        } else {
            (&mut self.spare, SPARE_MAX)
        };
        if pool.len() < spare_max {
            pool.push(buffer);
        }
    }
}

impl FrameDevice for FrameQueue {
    fn receive(&mut self, take: &mut dyn FnMut(&[u8], bool)) -> bool {
        self.pop(|frame| take(frame, false)).is_some()
    }

    fn can_transmit(&self) -> bool {
        self.has_room()
    }

    fn transmit(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> bool {
        let room = self.has_room();
        if room {
            self.push_with(len, fill);
        }
        room
    }
}

/// The first `len` bytes of `buffer`, which grows but never shrinks.
pub(crate) fn scratch(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    &mut buffer[..len]
}

/// Buffers up to this size are kept apart from the larger ones.
const SMALL: usize = 2048;
const SPARE_MAX: usize = 64;
const SPARE_LARGE_MAX: usize = 8;
/// A queue holds at most this much, plus one frame.
const BYTES_MAX: usize = 1 << 20;
