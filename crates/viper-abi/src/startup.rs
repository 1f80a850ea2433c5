//! The startup block: what a process finds when it starts.
//!
//! A read-only block of memory whose address is in `x0` of the first thread and whose length is in
//! its header: arguments, environment, and the handles it was given, each under a slot number.

use crate::{Error, Handle};

/// "VIPERUP1", little endian.
pub const STARTUP_MAGIC: u64 = u64::from_le_bytes(*b"VIPERUP1");

const HEADER_BYTES: usize = 24;
const HANDLE_BYTES: usize = 8;

/// What a handle in the startup block is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Slot(pub u32);

impl Slot {
    /// The process itself.
    pub const PROCESS: Slot = Slot(1);
    /// The quota the process is charged to.
    pub const QUOTA: Slot = Slot(2);
    /// The name service.
    pub const NAMES: Slot = Slot(3);
    /// The system (debug port, power, lists), for those who may.
    pub const SYSTEM: Slot = Slot(4);
    /// Standard input.
    pub const STDIN: Slot = Slot(5);
    /// Standard output.
    pub const STDOUT: Slot = Slot(6);
    /// Standard error.
    pub const STDERR: Slot = Slot(7);
    /// The current directory: no handle of its own, kept for the file service.
    pub const CWD: Slot = Slot(8);
    /// The channel to the supervisor: a server registers and serves here.
    pub const SUPERVISOR: Slot = Slot(9);
    /// The trace ring.
    pub const TRACE: Slot = Slot(10);
    /// The device tree blob, as memory.
    pub const DEVICE_TREE: Slot = Slot(11);
    /// The boot archive, as memory.
    pub const BOOT_ARCHIVE: Slot = Slot(12);
    /// All devices (the first process only).
    pub const ROOT_DEVICE: Slot = Slot(13);
    /// Devices given by the manifest: `DEVICE + n`.
    pub const DEVICE: Slot = Slot(32);
    /// Other channels given by the manifest or the parent: `CHANNEL + n`.
    pub const CHANNEL: Slot = Slot(64);
}

/// A startup block is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartupError {
    /// No magic number at its start.
    NoMagic,
    /// Shorter than it says.
    Truncated,
    /// The buffer to write to is too small.
    Full,
    /// A string holds a zero byte.
    ZeroByte,
}

impl From<StartupError> for Error {
    fn from(e: StartupError) -> Error {
        match e {
            StartupError::Full => Error::LimitReached,
            _ => Error::BadMessage,
        }
    }
}

/// A checked view of a startup block.
///
/// Layout: magic u64, total length u32, handle count u32, argument count u32, environment count
/// u32, then `(slot u32, handle u32)` pairs, then the arguments and the environment as strings
/// that end with a zero byte.
#[derive(Clone, Copy, Debug)]
pub struct Startup<'a> {
    handles: &'a [u8],
    strings: &'a [u8],
    arguments: u32,
    environment: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, StartupError> {
    let b = bytes.get(at..at + 4).ok_or(StartupError::Truncated)?;
    Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

impl<'a> Startup<'a> {
    /// Total length in bytes that the header in these 16 bytes or more announces.
    ///
    /// # Errors
    /// [`StartupError::NoMagic`] or [`StartupError::Truncated`].
    pub fn length(header: &[u8]) -> Result<usize, StartupError> {
        let magic = header.get(..8).ok_or(StartupError::Truncated)?;
        if magic != STARTUP_MAGIC.to_le_bytes() {
            return Err(StartupError::NoMagic);
        }
        Ok(u32_at(header, 8)? as usize)
    }

    /// Checks and views a block.
    ///
    /// # Errors
    /// When it is not a startup block or shorter than it says.
    pub fn parse(block: &'a [u8]) -> Result<Startup<'a>, StartupError> {
        let block = block
            .get(..Self::length(block)?)
            .ok_or(StartupError::Truncated)?;
        let count = u32_at(block, 12)? as usize;
        let end = count
            .checked_mul(HANDLE_BYTES)
            .and_then(|n| n.checked_add(HEADER_BYTES))
            .ok_or(StartupError::Truncated)?;
        let startup = Startup {
            handles: block
                .get(HEADER_BYTES..end)
                .ok_or(StartupError::Truncated)?,
            strings: &block[end..],
            arguments: u32_at(block, 16)?,
            environment: u32_at(block, 20)?,
        };
        let wanted = u64::from(startup.arguments) + u64::from(startup.environment);
        let found = startup.strings.iter().filter(|&&b| b == 0).count() as u64;
        if found < wanted {
            Err(StartupError::Truncated)
        } else {
            Ok(startup)
        }
    }

    /// The handle in this slot, if there is one.
    #[must_use]
    pub fn handle(&self, slot: Slot) -> Option<Handle> {
        self.handles().find(|&(s, _)| s == slot).map(|(_, h)| h)
    }

    /// All handles with their slots.
    pub fn handles(&self) -> impl Iterator<Item = (Slot, Handle)> + 'a {
        self.handles.as_chunks::<HANDLE_BYTES>().0.iter().map(|b| {
            let slot = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            (
                Slot(slot),
                Handle(u32::from_le_bytes([b[4], b[5], b[6], b[7]])),
            )
        })
    }

    /// The arguments; the first is the program's name.
    pub fn arguments(&self) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.strings
            .split(|&b| b == 0)
            .take(self.arguments as usize)
    }

    /// The environment, as `NAME=value`.
    pub fn environment(&self) -> impl Iterator<Item = &'a [u8]> + 'a {
        let skip = self.arguments as usize;
        self.strings
            .split(|&b| b == 0)
            .skip(skip)
            .take(self.environment as usize)
    }
}

/// Writes a startup block: first handles, then arguments, then environment.
#[derive(Debug)]
pub struct StartupWriter<'b> {
    block: &'b mut [u8],
    len: usize,
    handles: u32,
    arguments: u32,
    environment: u32,
}

impl<'b> StartupWriter<'b> {
    /// Starts a block with these handles.
    ///
    /// # Errors
    /// [`StartupError::Full`].
    pub fn new(
        block: &'b mut [u8],
        handles: &[(Slot, Handle)],
    ) -> Result<StartupWriter<'b>, StartupError> {
        let count = u32::try_from(handles.len()).map_err(|_| StartupError::Full)?;
        let mut w = StartupWriter {
            block,
            len: 0,
            handles: count,
            arguments: 0,
            environment: 0,
        };
        w.put(&[0; HEADER_BYTES])?;
        for (slot, handle) in handles {
            w.put(&slot.0.to_le_bytes())?;
            w.put(&handle.0.to_le_bytes())?;
        }
        Ok(w)
    }

    /// Adds an argument.
    ///
    /// # Errors
    /// [`StartupError::Full`] or [`StartupError::ZeroByte`].
    ///
    /// # Panics
    /// When an environment entry was added before.
    pub fn argument(&mut self, text: &[u8]) -> Result<(), StartupError> {
        assert_eq!(self.environment, 0, "arguments come before the environment");
        self.string(text)?;
        self.arguments += 1;
        Ok(())
    }

    /// Adds an environment entry, `NAME=value`.
    ///
    /// # Errors
    /// [`StartupError::Full`] or [`StartupError::ZeroByte`].
    pub fn environment(&mut self, text: &[u8]) -> Result<(), StartupError> {
        self.string(text)?;
        self.environment += 1;
        Ok(())
    }

    /// Completes the header. Returns the length of the block in bytes.
    #[must_use]
    pub fn finish(self) -> usize {
        let words = [
            self.len as u32,
            self.handles,
            self.arguments,
            self.environment,
        ];
        self.block[..8].copy_from_slice(&STARTUP_MAGIC.to_le_bytes());
        for (at, word) in (8..).step_by(4).zip(words) {
            self.block[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        self.len
    }

    fn string(&mut self, text: &[u8]) -> Result<(), StartupError> {
        if text.contains(&0) {
            return Err(StartupError::ZeroByte);
        }
        if self.block.len() - self.len <= text.len() {
            return Err(StartupError::Full);
        }
        self.put(text)?;
        self.put(&[0])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StartupError> {
        let end = self.len + bytes.len();
        let at = self
            .block
            .get_mut(self.len..end)
            .ok_or(StartupError::Full)?;
        at.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let mut block = [0u8; 128];
        let mut w = StartupWriter::new(
            &mut block,
            &[(Slot::PROCESS, Handle(7)), (Slot::NAMES, Handle(9))],
        )
        .unwrap();
        w.argument(b"prog").unwrap();
        w.argument(b"").unwrap();
        w.environment(b"A=b").unwrap();
        let len = w.finish();
        let s = Startup::parse(&block[..len]).unwrap();
        assert_eq!(s.handle(Slot::NAMES), Some(Handle(9)));
        assert_eq!(s.handle(Slot::QUOTA), None);
        assert!(s.arguments().eq([b"prog".as_slice(), b""]));
        assert!(s.environment().eq([b"A=b".as_slice()]));
    }

    #[test]
    fn every_truncation_and_bit_flip_is_survived() {
        let mut block = [0u8; 64];
        let mut w = StartupWriter::new(&mut block, &[(Slot::PROCESS, Handle(1))]).unwrap();
        w.argument(b"x").unwrap();
        let len = w.finish();
        for cut in 0..len {
            assert!(Startup::parse(&block[..cut]).is_err());
        }
        for bit in 0..len * 8 {
            let mut b = block;
            b[bit / 8] ^= 1 << (bit % 8);
            if let Ok(s) = Startup::parse(&b[..len]) {
                let _ = (
                    s.handles().count(),
                    s.arguments().count(),
                    s.environment().count(),
                );
            }
        }
    }

    #[test]
    fn full_block_is_an_error() {
        let mut block = [0u8; 30];
        let mut w = StartupWriter::new(&mut block, &[]).unwrap();
        assert_eq!(w.argument(b"123456"), Err(StartupError::Full));
        assert_eq!(w.argument(b"1\x002"), Err(StartupError::ZeroByte));
        assert_eq!(w.argument(b"12345"), Ok(()));
    }
}
