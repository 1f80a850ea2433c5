//! Byte rings in memory that is shared with a peer that is not trusted.
//!
//! One side produces, the other consumes; a side believes nothing that it finds in the memory. It
//! keeps its own position to itself and checks the peer's each time that it looks, so a hostile
//! peer can make the bytes garbage or stop, and no more. A position that is impossible is
//! [`Error::Corrupt`], and the ring is of no use from then on.
//!
//! Nothing here waits. A side that is about to says so (`prepare_wait`); the other side's
//! `publish` tells when a wake-up is due, and the wake-up itself, usually a bit of an event, is the
//! caller's. So a stream that flows needs no system call.
//!
//! Memory of zeroes is an empty ring whose two sides both want to be woken.

use crate::mapping::Mapping;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering, fence};
use viper_abi::Error;

/// Bytes of shared memory before the data of a ring: one cache line for each side.
pub const HEADER_BYTES: usize = 128;
/// Most bytes of data.
pub const DATA_BYTES_MAX: u32 = 1 << 24;

/// Where a ring lies in a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Byte offset of the header, a multiple of 64.
    pub header: usize,
    /// Byte offset of the data.
    pub data: usize,
    /// Bytes of data: a power of two, at most [`DATA_BYTES_MAX`].
    pub len_bytes: u32,
}

/// What one side writes. In a cache line of its own.
#[derive(Debug)]
#[repr(C, align(64))]
struct Side {
    /// Bytes that this side is done with, modulo 2^32.
    position: AtomicU32,
    /// This side sleeps, or did, until the other side's position gets past this one.
    wake_at: AtomicU32,
    /// Not 0: this side is done for good.
    closed: AtomicU32,
}

#[derive(Debug)]
#[repr(C)]
struct Header {
    producer: Side,
    consumer: Side,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

#[derive(Debug)]
struct Ring {
    mapping: Arc<Mapping>,
    place: Place,
}

impl Ring {
    fn new(mapping: Arc<Mapping>, place: Place) -> Result<Ring, Error> {
        let inside =
            |at: usize, len: usize| at.checked_add(len).is_some_and(|e| e <= mapping.len());
        let good = place.len_bytes.is_power_of_two()
            && place.len_bytes <= DATA_BYTES_MAX
            && (mapping.as_ptr() as usize | place.header).is_multiple_of(64)
            && inside(place.header, HEADER_BYTES)
            && inside(place.data, place.len_bytes as usize);
        if good {
            Ok(Ring { mapping, place })
        } else {
            Err(Error::InvalidArgument)
        }
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY:
        // 1. `new` showed the header to be aligned and inside of the mapping, which lives as long
        //    as `self`.
        // 2. Any bytes are valid atomics, and shared references to atomics allow that others write
        //    them. This process reaches these bytes through atomics only, as nothing hands out
        //    references into mappings, and what other processes do is, to this one, as if another
        //    of its threads stored atomically.
        unsafe {
            &*self
                .mapping
                .as_ptr()
                .add(self.place.header)
                .cast::<Header>()
        }
    }

    /// The part of the data at `position`, at most `len` bytes: offset and length without a wrap.
    #[inline]
    fn piece(&self, position: u32, len: usize) -> (usize, usize) {
        let at = (position & (self.place.len_bytes - 1)) as usize;
        let straight = self.place.len_bytes as usize - at;
        (self.place.data + at, len.min(straight))
    }

    fn copy_in(&self, position: u32, from: &[u8]) -> Result<(), Error> {
        let (at, len) = self.piece(position, from.len());
        let (first, second) = from.split_at(len);
        self.mapping.write(at, first)?;
        if second.is_empty() {
            return Ok(());
        }
        self.mapping.write(self.place.data, second)
    }

    fn copy_out(&self, position: u32, to: &mut [u8]) -> Result<(), Error> {
        let (at, len) = self.piece(position, to.len());
        let (first, second) = to.split_at_mut(len);
        self.mapping.read(at, first)?;
        if second.is_empty() {
            return Ok(());
        }
        self.mapping.read(self.place.data, second)
    }

    /// How far `tail` is ahead of `head`, if that is possible.
    #[inline]
    fn distance(&self, tail: u32, head: u32) -> Result<u32, Error> {
        match tail.wrapping_sub(head) {
            used if used <= self.place.len_bytes => Ok(used),
            _ => Err(Error::Corrupt),
        }
    }
}

impl Side {
    /// Publishes that this side's position goes from `old` to `new`, and says whether `peer` must
    /// be woken for that.
    ///
    /// No wake-up is lost: this function and `announce` both have a sequentially consistent fence
    /// between their store and their load, so at least one of the two sees the other's store. If
    /// `peer` sleeps because it did not see `new`, this side sees what it wakes at.
    #[inline]
    fn publish(&self, old: u32, new: u32, peer: &Side) -> bool {
        self.position.store(new, Ordering::Release);
        fence(Ordering::SeqCst);
        let wake_at = peer.wake_at.load(Ordering::Relaxed);
        wake_at.wrapping_sub(old) < new.wrapping_sub(old)
    }

    /// Says that this side will sleep until the position of `peer` is past `wake_at`, and returns
    /// that position as it is now.
    #[inline]
    fn announce(&self, wake_at: u32, peer: &Side) -> u32 {
        self.wake_at.store(wake_at, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        peer.position.load(Ordering::Acquire)
    }
}

/// The side that writes.
#[derive(Debug)]
pub struct Producer {
    ring: Ring,
    /// Bytes written so far, published or not.
    tail: u32,
    published: u32,
    /// Bytes that the consumer had released when last looked at.
    head: u32,
}

impl Producer {
    /// The writing side of a ring of zeroes. There must be one only.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the place is not a good one, or not inside of the mapping.
    pub fn new(mapping: Arc<Mapping>, place: Place) -> Result<Producer, Error> {
        Ok(Producer {
            ring: Ring::new(mapping, place)?,
            tail: 0,
            published: 0,
            head: 0,
        })
    }

    /// Bytes that there is room for now.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    #[inline]
    pub fn room(&mut self) -> Result<usize, Error> {
        let head = self.ring.header().consumer.position.load(Ordering::Acquire);
        self.look_at(head)
    }

    /// Writes as much as there is room for, and says how much. The consumer sees it after the next
    /// [`Producer::publish`].
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    #[inline]
    pub fn write(&mut self, from: &[u8]) -> Result<usize, Error> {
        let mut room = self.known_room();
        if room < from.len() {
            room = self.room()?;
        }
        let part = &from[..from.len().min(room)];
        self.ring.copy_in(self.tail, part)?;
        self.tail = self.tail.wrapping_add(part.len() as u32);
        Ok(part.len())
    }

    /// Shows all that was written to the consumer. Whether it must be woken.
    #[inline]
    #[must_use = "a consumer that sleeps must be woken if this is true"]
    pub fn publish(&mut self) -> bool {
        if self.published == self.tail {
            return false;
        }
        let old = core::mem::replace(&mut self.published, self.tail);
        let header = self.ring.header();
        header.producer.publish(old, self.tail, &header.consumer)
    }

    /// Says that this side will sleep until there is room for `wanted` bytes (at least 1, at most
    /// the ring's length). `false`: there is room already.
    ///
    /// [`Producer::publish`] first: the consumer does not know of more.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn prepare_wait(&mut self, wanted: usize) -> Result<bool, Error> {
        let wanted = wanted.clamp(1, self.capacity()) as u32;
        let too_little = wanted - 1;
        let wake_at = self
            .tail
            .wrapping_add(too_little)
            .wrapping_sub(self.ring.place.len_bytes);
        let header = self.ring.header();
        let head = header.producer.announce(wake_at, &header.consumer);
        Ok(self.look_at(head)? < wanted as usize)
    }

    /// Says that nothing more will come: the end of the stream. Wake the consumer then.
    pub fn close(&mut self) {
        self.ring
            .header()
            .producer
            .closed
            .store(1, Ordering::Release);
    }

    /// Whether [`Producer::close`] was called, by this side as the memory has it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ring.header().producer.closed.load(Ordering::Relaxed) != 0
    }

    /// Whether the consumer has gone: nobody will read what is written.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.ring.header().consumer.closed.load(Ordering::Acquire) != 0
    }

    /// Whether the consumer has taken everything that was published.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn is_drained(&mut self) -> Result<bool, Error> {
        Ok(self.room()? == self.capacity())
    }

    /// Bytes that the ring holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ring.place.len_bytes as usize
    }

    fn look_at(&mut self, head: u32) -> Result<usize, Error> {
        self.ring.distance(self.tail, head)?;
        self.head = head;
        Ok(self.known_room())
    }

    #[inline]
    fn known_room(&self) -> usize {
        let used = self.tail.wrapping_sub(self.head);
        self.ring.place.len_bytes.saturating_sub(used) as usize
    }
}

/// The side that reads.
#[derive(Debug)]
pub struct Consumer {
    ring: Ring,
    /// Bytes taken so far, released or not.
    head: u32,
    released: u32,
    /// Bytes that the producer had published when last looked at.
    tail: u32,
}

impl Consumer {
    /// The reading side of a ring of zeroes. There must be one only.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the place is not a good one, or not inside of the mapping.
    pub fn new(mapping: Arc<Mapping>, place: Place) -> Result<Consumer, Error> {
        Ok(Consumer {
            ring: Ring::new(mapping, place)?,
            head: 0,
            released: 0,
            tail: 0,
        })
    }

    /// Bytes that can be taken now.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    #[inline]
    pub fn available(&mut self) -> Result<usize, Error> {
        let tail = self.ring.header().producer.position.load(Ordering::Acquire);
        self.look_at(tail)
    }

    /// Takes bytes, as many as there are and fit, and says how many. The producer gets their room
    /// at the next [`Consumer::release`].
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    #[inline]
    pub fn read(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        let mut there = self.tail.wrapping_sub(self.head) as usize;
        if there < to.len() {
            there = self.available()?;
        }
        let len = to.len().min(there);
        self.ring.copy_out(self.head, &mut to[..len])?;
        self.head = self.head.wrapping_add(len as u32);
        Ok(len)
    }

    /// Takes bytes without looking at them.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there are fewer.
    pub fn skip(&mut self, len: usize) -> Result<(), Error> {
        if self.available()? < len {
            return Err(Error::Corrupt);
        }
        self.head = self.head.wrapping_add(len as u32);
        Ok(())
    }

    /// Gives the room of all that was taken back to the producer. Whether it must be woken.
    #[inline]
    #[must_use = "a producer that sleeps must be woken if this is true"]
    pub fn release(&mut self) -> bool {
        if self.released == self.head {
            return false;
        }
        let old = core::mem::replace(&mut self.released, self.head);
        let header = self.ring.header();
        header.consumer.publish(old, self.head, &header.producer)
    }

    /// Says that this side will sleep until there is something. `false`: there is already.
    ///
    /// [`Consumer::release`] first. The end of the stream wakes, too: see
    /// [`Consumer::is_ended`].
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn prepare_wait(&mut self) -> Result<bool, Error> {
        let header = self.ring.header();
        let tail = header.consumer.announce(self.head, &header.producer);
        Ok(self.look_at(tail)? == 0)
    }

    /// Whether the producer has said that nothing more will come, and everything was taken.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn is_ended(&mut self) -> Result<bool, Error> {
        // The flag first: what was published before it is seen behind it.
        let closed = self.ring.header().producer.closed.load(Ordering::Acquire) != 0;
        Ok(closed && self.available()? == 0)
    }

    /// Says that nothing more will be read. Wake the producer then.
    pub fn close(&mut self) {
        self.ring
            .header()
            .consumer
            .closed
            .store(1, Ordering::Release);
    }

    fn look_at(&mut self, tail: u32) -> Result<usize, Error> {
        let used = self.ring.distance(tail, self.head)?;
        self.tail = tail;
        Ok(used as usize)
    }
}

/// A 32-bit word of shared memory, beside the rings.
#[derive(Debug)]
pub struct SharedWord {
    mapping: Arc<Mapping>,
    offset: usize,
}

impl SharedWord {
    /// The word at this byte offset, a multiple of 4.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is not, or not inside of the mapping.
    pub fn new(mapping: Arc<Mapping>, offset: usize) -> Result<SharedWord, Error> {
        let inside = offset
            .checked_add(4)
            .is_some_and(|end| end <= mapping.len());
        if inside && (mapping.as_ptr() as usize | offset).is_multiple_of(4) {
            Ok(SharedWord { mapping, offset })
        } else {
            Err(Error::InvalidArgument)
        }
    }

    /// What it holds; what the peer wrote before it is seen after this.
    #[inline]
    #[must_use]
    pub fn load(&self) -> u32 {
        self.word().load(Ordering::Acquire)
    }

    /// Changes it; what was written before is seen by who sees this.
    #[inline]
    pub fn store(&self, value: u32) {
        self.word().store(value, Ordering::Release);
    }

    #[inline]
    fn word(&self) -> &AtomicU32 {
        // SAFETY: aligned and inside of the mapping, see `new`; for the rest see `Ring::header`.
        unsafe { &*self.mapping.as_ptr().add(self.offset).cast::<AtomicU32>() }
    }
}

#[cfg(all(test, not(target_os = "none")))]
mod tests;
