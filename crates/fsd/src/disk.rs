//! The disk under the engine: a client of the block service that outlives the block server.
//!
//! What is written goes into memory that the disk reads itself, and stays there until a flush has
//! made it durable. When the block server dies, its successor is given all of that again, in order,
//! before anything else: see `docs/design/storage-restart.md`.

use alloc::vec::Vec;
use viper_proto::block::{Client, DiskInfo, SECTOR_BYTES, Vector};
use viper_rt::abi::Rights;
use viper_rt::handle::Memory;
use viper_rt::trace::{self, TraceEvent};
use viper_rt::{Error, Mapping, Object, clock};
use viperfs::{BLOCK_SIZE, BlockDevice, CopyIn, CopyOut, DeviceError};

/// Bytes of the place that reads come to.
const READ_BYTES: usize = 256 * 1024;
/// Bytes of the place where writes wait for a flush.
const STAGE_BYTES: usize = 1024 * 1024;
/// Most bytes in one request of the block service.
const REQUEST_BYTES: usize = 1024 * 1024;
/// How long an answer may take. The block server gives up a silent disk much earlier.
const TIMEOUT_NS: u64 = 60 * clock::SECOND;
/// How long to wait for a block server to come back,
const GIVE_UP_NS: u64 = 10 * clock::SECOND;
/// how often to look,
const PAUSE_NS: u64 = 10 * clock::MILLISECOND;
/// and how many of them a request may cost: it may be what kills them.
const DEATHS_MAX: u32 = 4;

const SECTORS_PER_BLOCK: u64 = BLOCK_SIZE as u64 / SECTOR_BYTES;

/// How to get at a block server.
pub trait Connect {
    /// A connection to the block server. Waits until `deadline` for one that is about to come.
    ///
    /// # Errors
    /// [`Error::NoService`], [`Error::NotFound`], [`Error::TimedOut`].
    fn connect(&mut self, deadline: u64) -> Result<Client, Error>;
}

/// A run of blocks that was written since the last flush.
#[derive(Clone, Copy, Debug)]
struct Staged {
    block: u64,
    offset: usize,
    len: usize,
}

/// A disk of the block service.
#[derive(Debug)]
pub struct BlockDisk<C> {
    connect: C,
    link: Option<(Client, u32)>,
    info: DiskInfo,
    memory: Memory,
    mapping: Mapping,
    staged: Vec<Staged>,
    used: usize,
    /// The block server did not come back: do not wait for it again.
    is_given_up: bool,
}

impl<C: Connect> BlockDisk<C> {
    /// Connects to the disk.
    ///
    /// # Errors
    /// Those of the connection; [`Error::NotFound`] if there is no disk.
    pub fn open(mut connect: C) -> Result<Self, Error> {
        let client = connect.connect(clock::after(GIVE_UP_NS))?;
        client.connection().set_timeout(TIMEOUT_NS);
        let info = client.info()?;
        let memory = Memory::contiguous((READ_BYTES + STAGE_BYTES) as u64)?;
        let mapping = Mapping::whole(&memory)?;
        let session = client.session(share(&memory)?)?;
        let mut disk = BlockDisk {
            connect,
            link: Some((client, session)),
            info,
            memory,
            mapping,
            staged: Vec::new(),
            used: 0,
            is_given_up: false,
        };
        // Requests of a predecessor may be on their way still: none passes a flush.
        disk.flush().map_err(|_| Error::Io)?;
        Ok(disk)
    }

    /// Makes a request, and makes it again if the block server died over it.
    fn request(
        &mut self,
        make: impl Fn(&Client, u32) -> Result<(), Error>,
    ) -> Result<(), DeviceError> {
        let patience_ns = if self.is_given_up { 0 } else { GIVE_UP_NS };
        let deadline = clock::after(patience_ns);
        let mut deaths = 0;
        loop {
            let error = match self.attempt(&make, deadline) {
                Ok(()) => {
                    self.is_given_up = false;
                    return Ok(());
                }
                Err(error) => error,
            };
            match error {
                Error::ReadOnly => return Err(DeviceError::ReadOnly),
                Error::InvalidArgument => return Err(DeviceError::OutOfRange),
                // It died; or the supervisor has not noticed yet, or not started the next.
                Error::PeerClosed if self.link.take().is_some() => deaths += 1,
                Error::PeerClosed | Error::NoService | Error::Busy => {}
                Error::TimedOut if self.link.is_none() => {}
                _ => return Err(DeviceError::Io),
            }
            if deaths >= DEATHS_MAX || clock::now() >= deadline {
                self.is_given_up = true;
                return Err(DeviceError::Io);
            }
            clock::sleep(PAUSE_NS);
        }
    }

    fn attempt(
        &mut self,
        make: impl Fn(&Client, u32) -> Result<(), Error>,
        deadline: u64,
    ) -> Result<(), Error> {
        if self.link.is_none() {
            self.link = Some(self.reconnect(deadline)?);
        }
        match &self.link {
            Some((client, session)) => make(client, *session),
            None => Err(Error::Internal),
        }
    }

    /// Connects to the next block server, and gives it what the last one may have lost.
    fn reconnect(&mut self, deadline: u64) -> Result<(Client, u32), Error> {
        let client = self.connect.connect(deadline)?;
        client.connection().set_timeout(TIMEOUT_NS);
        let info = client.info()?;
        if (info.serial, info.sectors) != (self.info.serial, self.info.sectors) {
            // Another disk: writing to it would be worse than failing.
            return Err(Error::Io);
        }
        let session = client.session(share(&self.memory)?)?;
        for staged in &self.staged {
            client.write(session, &[vector(staged.block, staged.len, staged.offset)])?;
        }
        Ok((client, session))
    }

    /// Reads at most [`READ_BYTES`] to the start of the memory.
    fn fetch(&mut self, block: u64, len: usize) -> Result<(), DeviceError> {
        trace::note(TraceEvent::MISS, block);
        let vector = vector(block, len, 0);
        self.request(|client, session| client.read(session, &[vector]))
    }

    /// Room for `len` bytes, at most [`STAGE_BYTES`], in the place where writes wait.
    fn room(&mut self, len: usize) -> Result<usize, DeviceError> {
        if self.used + len > STAGE_BYTES {
            self.flush()?;
        }
        Ok(READ_BYTES + self.used)
    }

    /// Writes what stands in the room.
    fn send(&mut self, block: u64, offset: usize, len: usize) -> Result<(), DeviceError> {
        let vector = vector(block, len, offset);
        self.request(|client, session| client.write(session, &[vector]))?;
        self.stage(block, offset, len);
        Ok(())
    }

    /// Remembers what was written, next to the last if that is where it is.
    fn stage(&mut self, block: u64, offset: usize, len: usize) {
        self.used += len;
        if let Some(last) = self.staged.last_mut() {
            let follows = last.block + (last.len / BLOCK_SIZE) as u64 == block
                && last.offset + last.len == offset
                && last.len + len <= REQUEST_BYTES;
            if follows {
                last.len += len;
                return;
            }
        }
        self.staged.push(Staged { block, offset, len });
    }

    fn check(&self, block: u64, len: usize) -> Result<(), DeviceError> {
        let end = block.checked_add((len / BLOCK_SIZE) as u64);
        if end.is_some_and(|end| end <= self.block_count()) {
            Ok(())
        } else {
            Err(DeviceError::OutOfRange)
        }
    }
}

fn share(memory: &Memory) -> Result<Memory, Error> {
    memory.duplicate(Rights::READ | Rights::WRITE | Rights::MAP | Rights::TRANSFER)
}

fn vector(block: u64, len: usize, offset: usize) -> Vector {
    Vector {
        sector: block * SECTORS_PER_BLOCK,
        count: len as u64 / SECTOR_BYTES,
        offset: offset as u64,
    }
}

impl<C: Connect> BlockDevice for BlockDisk<C> {
    fn block_count(&self) -> u64 {
        self.info.sectors / SECTORS_PER_BLOCK
    }

    fn read(&mut self, block: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.check(block, buf.len())?;
        for (n, part) in buf.chunks_mut(READ_BYTES).enumerate() {
            self.fetch(block + (n * (READ_BYTES / BLOCK_SIZE)) as u64, part.len())?;
            self.mapping.read(0, part).map_err(|_| DeviceError::Io)?;
        }
        Ok(())
    }

    fn write(&mut self, block: u64, buf: &[u8]) -> Result<(), DeviceError> {
        self.check(block, buf.len())?;
        for (n, part) in buf.chunks(STAGE_BYTES).enumerate() {
            let room = self.room(part.len())?;
            self.mapping
                .write(room, part)
                .map_err(|_| DeviceError::Io)?;
            let block = block + (n * (STAGE_BYTES / BLOCK_SIZE)) as u64;
            self.send(block, room, part.len())?;
        }
        Ok(())
    }

    /// As much as the engine reads at once arrives in one piece, and is copied from there.
    fn read_with(
        &mut self,
        block: u64,
        scratch: &mut [u8],
        take: &mut dyn FnMut(&CopyOut<'_>),
    ) -> Result<(), DeviceError> {
        if scratch.len() > READ_BYTES {
            return Err(DeviceError::OutOfRange);
        }
        self.check(block, scratch.len())?;
        self.fetch(block, scratch.len())?;
        let mapping = &self.mapping;
        take(&|n, to| {
            // Within the memory, as the length of the request was.
            let _ = mapping.read(n * BLOCK_SIZE, to);
        });
        Ok(())
    }

    fn write_with(
        &mut self,
        block: u64,
        scratch: &mut [u8],
        give: &mut dyn FnMut(&mut CopyIn<'_>),
    ) -> Result<(), DeviceError> {
        if scratch.len() > STAGE_BYTES {
            return Err(DeviceError::OutOfRange);
        }
        self.check(block, scratch.len())?;
        let room = self.room(scratch.len())?;
        let mapping = &self.mapping;
        give(&mut |n, from| {
            let _ = mapping.write(room + n * BLOCK_SIZE, from);
        });
        self.send(block, room, scratch.len())
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        if let Err(error) = self.request(|client, _| client.flush()) {
            // Nothing is known of what was written: a new connection begins with all of it.
            self.link = None;
            return Err(error);
        }
        self.staged.clear();
        self.used = 0;
        Ok(())
    }

    fn is_read_only(&self) -> bool {
        self.info.read_only
    }
}
