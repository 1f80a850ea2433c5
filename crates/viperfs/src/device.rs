//! The world below: a block device, and one made of memory.

use alloc::vec;
use alloc::vec::Vec;

/// Bytes in a block, the unit of every device request.
pub const BLOCK_SIZE: usize = 4096;

/// Why a device refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceError {
    /// The request failed in the device or on the way to it.
    Io,
    /// The request reaches past the last block.
    OutOfRange,
    /// The device does not accept writes.
    ReadOnly,
}

impl core::fmt::Display for DeviceError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Io => "device input/output error",
            Self::OutOfRange => "request past the end of the device",
            Self::ReadOnly => "device is read-only",
        })
    }
}

impl core::error::Error for DeviceError {}

/// An array of 4096-byte blocks that can be made durable.
///
/// Buffers are whole blocks: their length is a multiple of [`BLOCK_SIZE`] and not zero.
///
/// # What the engine relies on
/// - After `flush` returns `Ok`, every `write` that returned before it is durable.
/// - Between two flushes writes may reach the medium in any order, and a block being written when
///   power fails may hold any mixture of old and new bytes.
pub trait BlockDevice {
    /// Number of blocks.
    fn block_count(&self) -> u64;

    /// Reads `buf.len() / BLOCK_SIZE` blocks that start at `block`.
    ///
    /// # Errors
    /// Any [`DeviceError`]; the contents of `buf` are then unspecified.
    fn read(&mut self, block: u64, buf: &mut [u8]) -> Result<(), DeviceError>;

    /// Writes `buf.len() / BLOCK_SIZE` blocks that start at `block`.
    ///
    /// # Errors
    /// Any [`DeviceError`]; the blocks may then hold old, new or mixed bytes.
    fn write(&mut self, block: u64, buf: &[u8]) -> Result<(), DeviceError>;

    /// Makes every write that has returned durable.
    ///
    /// # Errors
    /// Any [`DeviceError`]; nothing is then known about earlier writes.
    fn flush(&mut self) -> Result<(), DeviceError>;

    /// Whether writes are refused.
    fn is_read_only(&self) -> bool {
        false
    }

    /// Reads `scratch.len() / BLOCK_SIZE` blocks and shows them to `show`, once, in one piece.
    ///
    /// A device whose data arrives in memory of its own shows that, and saves a copy; this
    /// default reads into `scratch`.
    ///
    /// # Errors
    /// As [`BlockDevice::read`]; `show` is then not called.
    fn read_with(
        &mut self,
        block: u64,
        scratch: &mut [u8],
        show: &mut dyn FnMut(&[u8]),
    ) -> Result<(), DeviceError> {
        self.read(block, scratch)?;
        show(scratch);
        Ok(())
    }

    /// Has `fill` fill `scratch.len()` bytes, once, and writes them from `block` on.
    ///
    /// A device that sends data from memory of its own has that filled, and saves a copy; this
    /// default uses `scratch`. `fill` must fill everything: the buffer's old contents are any.
    ///
    /// # Errors
    /// As [`BlockDevice::write`].
    fn write_with(
        &mut self,
        block: u64,
        scratch: &mut [u8],
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), DeviceError> {
        fill(scratch);
        self.write(block, scratch)
    }
}

impl<D: BlockDevice + ?Sized> BlockDevice for &mut D {
    fn block_count(&self) -> u64 {
        (**self).block_count()
    }
    fn read(&mut self, block: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        (**self).read(block, buf)
    }
    fn write(&mut self, block: u64, buf: &[u8]) -> Result<(), DeviceError> {
        (**self).write(block, buf)
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        (**self).flush()
    }
    fn is_read_only(&self) -> bool {
        (**self).is_read_only()
    }
    fn read_with(
        &mut self,
        block: u64,
        scratch: &mut [u8],
        show: &mut dyn FnMut(&[u8]),
    ) -> Result<(), DeviceError> {
        (**self).read_with(block, scratch, show)
    }
    fn write_with(
        &mut self,
        block: u64,
        scratch: &mut [u8],
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), DeviceError> {
        (**self).write_with(block, scratch, fill)
    }
}

/// A block device in memory: a RAM disk, or an image held in a `Vec<u8>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryDevice {
    bytes: Vec<u8>,
}

impl MemoryDevice {
    /// A device of `blocks` zeroed blocks.
    pub fn new(blocks: u64) -> Self {
        Self {
            bytes: vec![0; blocks as usize * BLOCK_SIZE],
        }
    }

    /// A device over `bytes`; a partial last block is not reachable.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The image.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The image, to be changed behind the file system's back.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The image, given back.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn range(&self, block: u64, len: usize) -> Result<core::ops::Range<usize>, DeviceError> {
        let start = usize::try_from(block)
            .ok()
            .and_then(|b| b.checked_mul(BLOCK_SIZE))
            .ok_or(DeviceError::OutOfRange)?;
        let end = start.checked_add(len).ok_or(DeviceError::OutOfRange)?;
        if end > self.bytes.len() {
            return Err(DeviceError::OutOfRange);
        }
        Ok(start..end)
    }
}

impl BlockDevice for MemoryDevice {
    fn block_count(&self) -> u64 {
        (self.bytes.len() / BLOCK_SIZE) as u64
    }
    fn read(&mut self, block: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        let range = self.range(block, buf.len())?;
        buf.copy_from_slice(&self.bytes[range]);
        Ok(())
    }
    fn write(&mut self, block: u64, buf: &[u8]) -> Result<(), DeviceError> {
        let range = self.range(block, buf.len())?;
        self.bytes[range].copy_from_slice(buf);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
    fn read_with(
        &mut self,
        block: u64,
        scratch: &mut [u8],
        show: &mut dyn FnMut(&[u8]),
    ) -> Result<(), DeviceError> {
        let range = self.range(block, scratch.len())?;
        show(&self.bytes[range]);
        Ok(())
    }
    fn write_with(
        &mut self,
        block: u64,
        scratch: &mut [u8],
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), DeviceError> {
        let range = self.range(block, scratch.len())?;
        fill(&mut self.bytes[range]);
        Ok(())
    }
}
