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

    /// Reads `scratch.len() / BLOCK_SIZE` blocks and calls `take`, once, with what copies the n-th
    /// of them to where it is wanted.
    ///
    /// A device whose data arrives in memory of its own copies from there, once; this default
    /// reads into `scratch` first.
    ///
    /// # Errors
    /// As [`BlockDevice::read`]; `take` is then not called.
    fn read_with(
        &mut self,
        block: u64,
        scratch: &mut [u8],
        take: &mut dyn FnMut(&CopyOut<'_>),
    ) -> Result<(), DeviceError> {
        self.read(block, scratch)?;
        take(&|n, to| to.copy_from_slice(nth(scratch, n)));
        Ok(())
    }

    /// Calls `give`, once, with what takes the n-th of `scratch.len() / BLOCK_SIZE` blocks, and
    /// writes them from `block` on.
    ///
    /// A device that sends data from memory of its own copies there, once; this default copies
    /// to `scratch` first. All blocks must be given: the old contents of the buffer are any.
    ///
    /// # Errors
    /// As [`BlockDevice::write`].
    fn write_with(
        &mut self,
        block: u64,
        scratch: &mut [u8],
        give: &mut dyn FnMut(&mut CopyIn<'_>),
    ) -> Result<(), DeviceError> {
        give(&mut |n, from| nth_mut(scratch, n).copy_from_slice(from));
        self.write(block, scratch)
    }
}

/// Copies the n-th block of a request out.
pub type CopyOut<'a> = dyn Fn(usize, &mut [u8; BLOCK_SIZE]) + 'a;

/// Copies the n-th block of a request in.
pub type CopyIn<'a> = dyn FnMut(usize, &[u8; BLOCK_SIZE]) + 'a;

fn nth(blocks: &[u8], n: usize) -> &[u8] {
    &blocks[n * BLOCK_SIZE..][..BLOCK_SIZE]
}

fn nth_mut(blocks: &mut [u8], n: usize) -> &mut [u8] {
    &mut blocks[n * BLOCK_SIZE..][..BLOCK_SIZE]
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
        take: &mut dyn FnMut(&CopyOut<'_>),
    ) -> Result<(), DeviceError> {
        (**self).read_with(block, scratch, take)
    }
    fn write_with(
        &mut self,
        block: u64,
        scratch: &mut [u8],
        give: &mut dyn FnMut(&mut CopyIn<'_>),
    ) -> Result<(), DeviceError> {
        (**self).write_with(block, scratch, give)
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
        take: &mut dyn FnMut(&CopyOut<'_>),
    ) -> Result<(), DeviceError> {
        let range = self.range(block, scratch.len())?;
        let blocks = &self.bytes[range];
        take(&|n, to| to.copy_from_slice(nth(blocks, n)));
        Ok(())
    }
    fn write_with(
        &mut self,
        block: u64,
        scratch: &mut [u8],
        give: &mut dyn FnMut(&mut CopyIn<'_>),
    ) -> Result<(), DeviceError> {
        let range = self.range(block, scratch.len())?;
        let blocks = &mut self.bytes[range];
        give(&mut |n, from| nth_mut(blocks, n).copy_from_slice(from));
        Ok(())
    }
}
