//! Following a request through the servers: a trace id travels in the labels of messages, and each
//! process notes what happens in a ring that its supervisor can read.
//!
//! An id of zero means "not traced" and costs two instructions a call. A record is 32 bytes:
//! counter stamp, trace id, event, and an argument; writing one is no system call.

use crate::handle::{Memory, Object};
use crate::mapping::Mapping;
use crate::sync::Mutex;
use crate::{clock, program, sys};
use alloc::vec::Vec;
use viper_abi::{Error, Slot};

/// Bytes of a trace ring: a header of 32 bytes, then records.
pub const RING_BYTES: usize = 16 * 1024;
/// Bytes of a record.
pub const RECORD_BYTES: usize = 32;
/// Records a ring holds.
pub const RECORDS: usize = RING_BYTES / RECORD_BYTES - 1;

/// Where in the thread's page its trace id is kept: behind the part the kernel uses.
const ID_OFFSET: usize = 2048;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct TraceEvent(pub u16);

impl TraceEvent {
    /// A server begins to handle a request; the argument is the operation.
    pub const BEGIN: TraceEvent = TraceEvent(1);
    /// It answers; the argument is the status.
    pub const END: TraceEvent = TraceEvent(2);
    /// It will answer later.
    pub const LATER: TraceEvent = TraceEvent(3);
    /// The device was asked; the argument is the server's own.
    pub const DEVICE: TraceEvent = TraceEvent(4);
    /// The device answered.
    pub const COMPLETE: TraceEvent = TraceEvent(5);
    /// Found in a cache.
    pub const HIT: TraceEvent = TraceEvent(6);
    /// Not found in a cache.
    pub const MISS: TraceEvent = TraceEvent(7);
    /// A client calls a server; the argument is the operation.
    pub const CALL: TraceEvent = TraceEvent(8);
    /// The call came back; the argument is the status.
    pub const RETURN: TraceEvent = TraceEvent(9);
}

/// One record of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counter stamp.
    pub stamp: u64,
    /// The request.
    pub id: u16,
    /// What happened.
    pub event: TraceEvent,
    /// Its argument.
    pub argument: u64,
}

/// The id of the request this thread works for; 0 if it is not traced.
#[inline(always)]
#[must_use]
pub fn current() -> u16 {
    // SAFETY: the IPC buffer is a page of this thread; the kernel and the message code use its
    // first 272 bytes only.
    unsafe {
        sys::ipc_buffer()
            .cast::<u8>()
            .add(ID_OFFSET)
            .cast::<u16>()
            .read()
    }
}

/// Sets the id of the request this thread works for. Returns the one before.
#[inline(always)]
pub fn set_current(id: u16) -> u16 {
    let before = current();
    // SAFETY: as in `current`.
    unsafe {
        sys::ipc_buffer()
            .cast::<u8>()
            .add(ID_OFFSET)
            .cast::<u16>()
            .write(id)
    };
    before
}

/// Notes an event of the current request, if it is traced and the process has a ring.
#[inline(always)]
pub fn note(event: TraceEvent, argument: u64) {
    let id = current();
    if id != 0 {
        write(id, event, argument);
    }
}

/// Notes an event of the request that a message's label tells, if that is traced.
#[inline(always)]
pub(crate) fn note_label(label: u32, event: TraceEvent, argument: u64) {
    if label >> 16 != 0 {
        write((label >> 16) as u16, event, argument);
    }
}

/// The ring of this process; on the host one for each fake process.
static RINGS: Mutex<Vec<(u64, Mapping)>> = Mutex::new(Vec::new());

#[cfg(target_os = "none")]
const fn owner() -> u64 {
    0
}

#[cfg(not(target_os = "none"))]
use crate::host::process_id as owner;

/// Runs `work` on the process's ring, which is mapped at first use.
fn with_ring<T>(work: impl FnOnce(&Mapping) -> Result<T, Error>) -> Result<T, Error> {
    let owner = owner();
    let mut rings = RINGS.lock();
    if let Some((_, ring)) = rings.iter().find(|(of, _)| *of == owner) {
        return work(ring);
    }
    let ring = open().ok_or(Error::NotFound)?;
    let result = work(&ring);
    rings.push((owner, ring));
    result
}

#[cold]
fn write(id: u16, event: TraceEvent, argument: u64) {
    let _ = with_ring(|ring| append(ring, id, event, argument));
}

fn open() -> Option<Mapping> {
    let memory: Memory = Memory::from_owned(program::take(Slot::TRACE)?);
    Mapping::new(&memory, 0, RING_BYTES).ok()
}

fn append(ring: &Mapping, id: u16, event: TraceEvent, argument: u64) -> Result<(), Error> {
    let mut count = [0; 8];
    ring.read(0, &mut count)?;
    let count = u64::from_le_bytes(count);
    let at = RECORD_BYTES + (count as usize % RECORDS) * RECORD_BYTES;
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(&clock::counter().to_le_bytes());
    record[8..10].copy_from_slice(&id.to_le_bytes());
    record[10..12].copy_from_slice(&event.0.to_le_bytes());
    record[16..24].copy_from_slice(&argument.to_le_bytes());
    ring.write(at, &record)?;
    ring.write(0, &count.wrapping_add(1).to_le_bytes())
}

/// Reads the records of this process's own ring; see [`read`].
///
/// # Errors
/// [`Error::NotFound`] without a ring.
pub fn read_own(each: impl FnMut(Record)) -> Result<(), Error> {
    with_ring(|ring| read(ring, each))
}

/// Reads the records of a ring, oldest first, and hands them to `each`.
///
/// The ring's owner may write meanwhile: records it overwrites just then can come out mixed.
///
/// # Errors
/// [`Error::InvalidArgument`] if the mapping is shorter than a ring.
pub fn read(ring: &Mapping, mut each: impl FnMut(Record)) -> Result<(), Error> {
    let mut count = [0; 8];
    ring.read(0, &mut count)?;
    let count = u64::from_le_bytes(count);
    for n in count.saturating_sub(RECORDS as u64)..count {
        let mut b = [0; RECORD_BYTES];
        let at = RECORD_BYTES + (n % RECORDS as u64) as usize * RECORD_BYTES;
        ring.read(at, &mut b)?;
        let word = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| b[at + i]));
        each(Record {
            stamp: word(0),
            id: word(8) as u16,
            event: TraceEvent((word(8) >> 16) as u16),
            argument: word(16),
        });
    }
    Ok(())
}
