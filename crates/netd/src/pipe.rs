//! The server's side of a socket's memory and events.

use alloc::sync::Arc;
use viper_proto::net::{STATUS_AT, memory_bytes, ring_place};
use viper_rt::abi::Rights;
use viper_rt::handle::{Event, Memory};
use viper_rt::ring::{Consumer, Producer, SharedWord};
use viper_rt::{Error, Mapping, Object};

/// Memory and events of a socket, before it is said who is at its ends.
#[derive(Debug)]
pub struct Shared {
    memory: Memory,
    mapping: Arc<Mapping>,
    ring_bytes: u32,
    status: SharedWord,
    /// Signalled for the first end, and for the second.
    events: [Event; 2],
}

/// Handles of a socket, for its owner.
pub type Handles = (Memory, Event, Event);

impl Shared {
    /// Makes them, with two rings of `ring_bytes`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::LimitReached`].
    pub fn new(ring_bytes: u32) -> Result<Shared, Error> {
        let len = memory_bytes(ring_bytes);
        // Contiguous memory cannot be copied on write: nobody can make our accesses fail.
        let memory = Memory::contiguous(len as u64)?;
        let mapping = Arc::new(Mapping::new(&memory, 0, len)?);
        Ok(Shared {
            status: SharedWord::new(mapping.clone(), STATUS_AT)?,
            memory,
            mapping,
            ring_bytes,
            events: [Event::new()?, Event::new()?],
        })
    }

    /// Bytes of each ring.
    #[must_use]
    pub fn ring_bytes(&self) -> u32 {
        self.ring_bytes
    }

    /// What the owner of an end gets: memory, the event that is signalled for it, and the one
    /// that it signals.
    ///
    /// # Errors
    /// [`Error::LimitReached`], [`Error::OutOfMemory`].
    pub fn handles(&self, end: usize) -> Result<Handles, Error> {
        let keep = Rights::DUPLICATE | Rights::TRANSFER;
        let access = Rights::READ | Rights::WRITE | Rights::MAP;
        let (own, other) = if end == 0 { (0, 1) } else { (1, 0) };
        Ok((
            self.memory.duplicate(access | keep)?,
            self.events[own].duplicate(Rights::WAIT | Rights::SIGNAL | keep)?,
            self.events[other].duplicate(Rights::SIGNAL | keep)?,
        ))
    }

    /// The event that is signalled for an end.
    #[must_use]
    pub fn event(&self, end: usize) -> &Event {
        &self.events[end & 1]
    }

    /// Signals an end.
    pub fn signal(&self, end: usize, bits: u32) {
        let _ = self.events[end & 1].signal(bits);
    }

    /// Sets the status word.
    pub fn set_status(&self, status: i32) {
        self.status.store(status as u32);
    }

    /// What an end reads.
    ///
    /// # Errors
    /// None for memory that this made.
    pub fn consumer(&self, end: usize) -> Result<Consumer, Error> {
        let place = ring_place((end & 1) ^ 1, self.ring_bytes);
        Consumer::new(self.mapping.clone(), place)
    }

    /// What an end writes.
    ///
    /// # Errors
    /// None for memory that this made.
    pub fn producer(&self, end: usize) -> Result<Producer, Error> {
        Producer::new(self.mapping.clone(), ring_place(end & 1, self.ring_bytes))
    }

    /// Says on behalf of an end that it is gone: it reads no more, and what it wrote was all.
    pub fn close_end(&self, end: usize) {
        if let (Ok(mut producer), Ok(mut consumer)) = (self.producer(end), self.consumer(end)) {
            producer.close();
            consumer.close();
        }
    }
}

/// A socket whose second end is the server.
#[derive(Debug)]
pub struct Pipe {
    shared: Shared,
    /// What the owner writes.
    pub tx: Consumer,
    /// What the owner reads.
    pub rx: Producer,
}

impl Pipe {
    /// Makes it.
    ///
    /// # Errors
    /// As [`Shared::new`].
    pub fn new(ring_bytes: u32) -> Result<Pipe, Error> {
        let shared = Shared::new(ring_bytes)?;
        Ok(Pipe {
            tx: shared.consumer(1)?,
            rx: shared.producer(1)?,
            shared,
        })
    }

    /// What the owner gets.
    ///
    /// # Errors
    /// As [`Shared::handles`].
    pub fn handles(&self) -> Result<Handles, Error> {
        self.shared.handles(0)
    }

    /// Bytes of each ring.
    #[must_use]
    pub fn ring_bytes(&self) -> u32 {
        self.shared.ring_bytes
    }

    /// The event that the owner signals.
    #[must_use]
    pub fn bell(&self) -> &Event {
        self.shared.event(1)
    }

    /// Wakes the owner, if there is a reason.
    pub fn wake(&self, bits: u32) {
        if bits != 0 {
            self.shared.signal(0, bits);
        }
    }

    /// Sets the status word.
    pub fn set_status(&self, status: i32) {
        self.shared.set_status(status);
    }
}
