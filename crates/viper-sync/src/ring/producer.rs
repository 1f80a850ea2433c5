//! The writing side.

use super::{Ring, RingError};
use crate::loom::Ordering;

/// The side that puts entries of `WORDS` 64-bit words into a ring.
///
/// There must be one only. A second one is harmless to memory, but entries get lost.
#[derive(Debug)]
pub struct Producer<'a, const WORDS: usize> {
    ring: Ring<'a>,
    /// Entries written so far, published or not.
    tail: u32,
    /// Entries published so far.
    published: u32,
    /// Entries that the consumer had released when last looked at.
    head: u32,
}

impl<'a, const WORDS: usize> Producer<'a, WORDS> {
    /// Takes the writing side, going on where the header says that it stopped.
    ///
    /// # Errors
    ///
    /// [`RingError::BadLayout`] if the agreed entries have another size, [`RingError::Corrupt`].
    pub fn new(ring: Ring<'a>) -> Result<Self, RingError> {
        ring.expect_words(WORDS)?;
        let tail = ring.header.producer.position.load(Ordering::Relaxed);
        let head = ring.header.consumer.position.load(Ordering::Acquire);
        ring.distance(tail, head)?;
        Ok(Self {
            ring,
            tail,
            published: tail,
            head,
        })
    }

    /// Writes an entry, which the consumer sees after the next [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// [`RingError::Full`], [`RingError::Corrupt`].
    #[inline]
    pub fn push(&mut self, entry: &[u64; WORDS]) -> Result<(), RingError> {
        if self.known_room() == 0 && self.room()? == 0 {
            return Err(RingError::Full);
        }
        for (slot, &word) in self.ring.slot(self.tail).iter().zip(entry) {
            slot.store(word, Ordering::Relaxed);
        }
        self.tail = self.tail.wrapping_add(1);
        Ok(())
    }

    /// Writes as many entries as there is room for, and says how many.
    ///
    /// # Errors
    ///
    /// [`RingError::Corrupt`].
    pub fn push_slice(&mut self, entries: &[[u64; WORDS]]) -> Result<usize, RingError> {
        for (done, entry) in entries.iter().enumerate() {
            match self.push(entry) {
                Ok(()) => {}
                Err(RingError::Full) => return Ok(done),
                Err(error) => return Err(error),
            }
        }
        Ok(entries.len())
    }

    /// Shows all entries written to the consumer, and says whether it must be woken.
    #[inline]
    #[must_use = "a consumer that sleeps must be woken if this is true"]
    pub fn publish(&mut self) -> bool {
        if self.published == self.tail {
            return false;
        }
        let old = core::mem::replace(&mut self.published, self.tail);
        let header = self.ring.header;
        header.producer.publish(old, self.tail, &header.consumer)
    }

    /// How many entries fit in now.
    ///
    /// # Errors
    ///
    /// [`RingError::Corrupt`].
    pub fn room(&mut self) -> Result<u32, RingError> {
        let head = self.ring.header.consumer.position.load(Ordering::Acquire);
        self.look_at(head)
    }

    /// Announces that this side will sleep until there is room; `true` if it should.
    ///
    /// [`publish`](Self::publish) first: the consumer does not know of more. After `false` there
    /// is room. After `true`, sleep until woken (by [`Consumer::release`](super::Consumer::release)
    /// of the other side) or until a deadline, and look again.
    ///
    /// # Errors
    ///
    /// [`RingError::Corrupt`].
    pub fn prepare_wait(&mut self) -> Result<bool, RingError> {
        let header = self.ring.header;
        let head_if_full = self.tail.wrapping_sub(self.ring.layout().entries());
        let head = header.producer.announce(head_if_full, &header.consumer);
        Ok(self.look_at(head)? == 0)
    }

    fn look_at(&mut self, head: u32) -> Result<u32, RingError> {
        self.ring.distance(self.tail, head)?;
        self.head = head;
        Ok(self.known_room())
    }

    #[inline]
    fn known_room(&self) -> u32 {
        self.ring
            .layout()
            .entries()
            .saturating_sub(self.tail.wrapping_sub(self.head))
    }
}
