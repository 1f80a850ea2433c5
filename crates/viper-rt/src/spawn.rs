//! Starting programs: an executable becomes memory objects once, and processes as often as wanted.
//!
//! Text and constants are shared by all processes of a [`Program`]; its data is copied on write.

use crate::handle::{Memory, Object, OwnedHandle, Process, Quota, Thread};
use crate::sys;
use alloc::vec;
use alloc::vec::Vec;
use viper_abi::{Error, Handle, MESSAGE_MAX, PAGE_SIZE, Protection, Rights, Slot, StartupWriter};
use viper_elf::{Headers, Kind, Perms};

/// Bytes of stack of a first thread, unless the executable says otherwise.
pub const STACK_BYTES: u64 = 1024 * 1024;
/// Most bytes of arguments, environment and handles together.
pub const STARTUP_MAX: usize = 128 * 1024;
/// Bytes of an executable that hold all its headers.
const HEADER_BYTES: usize = PAGE_SIZE;
/// Bytes copied at once while loading.
const COPY_BYTES: usize = 64 * 1024;

/// A loaded executable.
#[derive(Debug)]
pub struct Program {
    entry: u64,
    stack_bytes: u64,
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    address: u64,
    len_bytes: u64,
    protection: Protection,
    memory: Memory,
}

/// What a process is started with.
#[derive(Debug)]
pub struct Start<'a> {
    /// Name of the process, at most 32 bytes.
    pub name: &'a str,
    /// Account that everything is charged to.
    pub quota: &'a Quota,
    /// Priority 0..=7, at most the caller's own.
    pub priority: u8,
    /// Arguments; the first is the program's name.
    pub arguments: &'a [&'a [u8]],
    /// Environment, as `NAME=value`.
    pub environment: &'a [&'a [u8]],
    /// Handles it gets, with the rights it gets; they stay the caller's, too.
    pub handles: &'a [(Slot, Handle, Rights)],
}

impl Program {
    /// Loads an executable of `file_len` bytes. `read` fills a buffer from an offset on.
    ///
    /// # Errors
    /// [`Error::NotExecutable`] if it is not one, [`Error::OutOfMemory`], and those of `read`.
    pub fn load(
        file_len: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), Error>,
    ) -> Result<Program, Error> {
        let mut first = vec![0; HEADER_BYTES.min(usize::try_from(file_len).unwrap_or(usize::MAX))];
        read(0, &mut first)?;
        let headers = Headers::parse(&first, file_len).map_err(|_| Error::NotExecutable)?;
        if headers.kind() != Kind::Fixed {
            return Err(Error::NotExecutable);
        }
        let mut segments = Vec::with_capacity(headers.segments().len());
        for segment in headers.segments() {
            segments.push(load_segment(segment, &mut read)?);
        }
        Ok(Program {
            entry: headers.entry(),
            stack_bytes: headers
                .stack_len()
                .unwrap_or(STACK_BYTES)
                .clamp(1 << 14, 1 << 26),
            segments,
        })
    }

    /// Loads an executable that stands in a memory object.
    ///
    /// # Errors
    /// As [`Program::load`].
    pub fn from_memory(memory: &Memory, offset: u64, file_len: u64) -> Result<Program, Error> {
        Program::load(file_len, |at, to| memory.read(offset + at, to))
    }

    /// Starts a process.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::LimitReached`], [`Error::NoRight`] for the priority or for
    /// a handle without TRANSFER.
    pub fn start(&self, start: &Start<'_>) -> Result<Process, Error> {
        self.start_limited(start, u32::MAX, u32::MAX)
    }

    /// Starts a process that can have no more than so many handles and threads.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_limited(
        &self,
        start: &Start<'_>,
        handles_max: u32,
        threads_max: u32,
    ) -> Result<Process, Error> {
        let process = Process::new(start.quota, start.name)?;
        let limited = match (handles_max, threads_max) {
            (u32::MAX, u32::MAX) => Ok(()),
            _ => process.limit(handles_max, threads_max),
        };
        match limited.and_then(|()| self.fill(&process, start)) {
            Ok(()) => Ok(process),
            Err(error) => {
                let _ = process.kill(-1);
                Err(error)
            }
        }
    }

    fn fill(&self, process: &Process, start: &Start<'_>) -> Result<(), Error> {
        for segment in &self.segments {
            let own;
            let memory = if segment.protection.intersects(Protection::WRITE) {
                own = segment.memory.snapshot()?;
                &own
            } else {
                &segment.memory
            };
            let (at, fixed) = (segment.address, Protection::FIXED);
            map_into(
                process,
                memory,
                segment.len_bytes,
                segment.protection | fixed,
                at,
            )?;
        }
        let stack = Memory::new(self.stack_bytes)?;
        let protection = Protection::READ | Protection::WRITE | Protection::GUARD;
        let bottom = map_into(process, &stack, self.stack_bytes, protection, 0)?;
        let block = startup_block(process, start)?;
        let entry = (self.entry, bottom + self.stack_bytes, block);
        // SAFETY: the thread runs in the other process.
        let (thread, _) = unsafe {
            let options = u64::from(start.priority);
            sys::thread_create(process.raw(), entry.0, entry.1, entry.2, 0, options)?
        };
        drop(Thread::from_raw(thread));
        Ok(())
    }
}

fn load_segment(
    segment: &viper_elf::Segment,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), Error>,
) -> Result<Segment, Error> {
    let start = segment.page_start();
    let len_bytes = segment.page_end() - start;
    let memory = Memory::new(len_bytes)?;
    let mut buffer = vec![0; COPY_BYTES.min(segment.file_len as usize)];
    let mut done = 0;
    while done < segment.file_len {
        let part = (segment.file_len - done).min(COPY_BYTES as u64) as usize;
        read(segment.file_offset + done, &mut buffer[..part])?;
        memory.write(segment.vaddr - start + done, &buffer[..part])?;
        done += part as u64;
    }
    let protection = match segment.perms {
        Perms::Read => Protection::READ,
        Perms::ReadWrite => Protection::READ | Protection::WRITE,
        Perms::ReadExecute => Protection::READ | Protection::EXECUTE,
    };
    Ok(Segment {
        address: start,
        len_bytes,
        protection,
        memory,
    })
}

fn map_into(
    process: &Process,
    memory: &Memory,
    len_bytes: u64,
    protection: Protection,
    address: u64,
) -> Result<u64, Error> {
    // SAFETY: it is mapped into another process.
    let mapped = unsafe {
        sys::memory_map(
            process.raw(),
            memory.raw(),
            0,
            len_bytes,
            protection,
            address,
        )
    };
    mapped.map(|(address,)| address)
}

/// Gives the handles and maps the block that tells their numbers. Returns its address there.
fn startup_block(process: &Process, start: &Start<'_>) -> Result<u64, Error> {
    let mut slots = Vec::with_capacity(start.handles.len());
    let itself = [(Slot::PROCESS, process.raw(), Rights::ALL)];
    for &(slot, handle, rights) in itself.iter().chain(start.handles) {
        let have = crate::handle::query(handle)?.rights;
        slots.push((slot, process.give(handle, rights.intersection(have))?));
    }
    let texts = || start.arguments.iter().chain(start.environment);
    let text_bytes: usize = texts().map(|t| t.len() + 1).sum();
    let size = (MESSAGE_MAX + slots.len() * 8 + text_bytes).next_multiple_of(PAGE_SIZE);
    if size > STARTUP_MAX {
        return Err(Error::LimitReached);
    }
    let mut block = vec![0; size];
    let mut writer = StartupWriter::new(&mut block, &slots)?;
    start
        .arguments
        .iter()
        .try_for_each(|a| writer.argument(a))?;
    start
        .environment
        .iter()
        .try_for_each(|e| writer.environment(e))?;
    let len = writer.finish();
    let memory = Memory::new(size as u64)?;
    memory.write(0, &block[..len])?;
    map_into(process, &memory, size as u64, Protection::READ, 0)
}

/// All rights of a handle, for [`Start::handles`].
#[must_use]
pub fn whole(slot: Slot, handle: &OwnedHandle) -> (Slot, Handle, Rights) {
    (slot, handle.raw(), Rights::ALL)
}
