//! The reading side.

use super::{Ring, RingError};
use crate::loom::Ordering;

/// The side that takes entries of `WORDS` 64-bit words out of a ring.
///
/// Each entry is copied word by word before anybody looks at it, so that it cannot change after a
/// check. There must be one consumer only. A second one is harmless to memory, but entries are
/// seen twice.
#[derive(Debug)]
pub struct Consumer<'a, const WORDS: usize> {
    ring: Ring<'a>,
    /// Entries read so far, released or not.
    head: u32,
    /// Entries released so far.
    released: u32,
    /// Entries that the producer had published when last looked at.
    tail: u32,
}

impl<'a, const WORDS: usize> Consumer<'a, WORDS> {
    /// Takes the reading side, going on where the header says that it stopped.
    ///
    /// # Errors
    ///
    /// [`RingError::BadLayout`] if the agreed entries have another size, [`RingError::Corrupt`].
    pub fn new(ring: Ring<'a>) -> Result<Self, RingError> {
        ring.expect_words(WORDS)?;
        let head = ring.header.consumer.position.load(Ordering::Relaxed);
        let tail = ring.header.producer.position.load(Ordering::Acquire);
        ring.distance(tail, head)?;
        Ok(Self {
            ring,
            head,
            released: head,
            tail,
        })
    }

    /// Copies the next entry out, if there is one. Its slot is free for the producer after the
    /// next [`release`](Self::release).
    ///
    /// # Errors
    ///
    /// [`RingError::Corrupt`].
    #[inline]
    pub fn pop(&mut self) -> Result<Option<[u64; WORDS]>, RingError> {
        if self.tail == self.head && self.available()? == 0 {
            return Ok(None);
        }
        let mut entry = [0; WORDS];
        for (word, slot) in entry.iter_mut().zip(self.ring.slot(self.head)) {
            *word = slot.load(Ordering::Relaxed);
        }
        self.head = self.head.wrapping_add(1);
        Ok(Some(entry))
    }

    /// Copies as many entries as there are and fit, and says how many.
    ///
    /// # Errors
    ///
    /// [`RingError::Corrupt`].
    pub fn pop_slice(&mut self, entries: &mut [[u64; WORDS]]) -> Result<usize, RingError> {
        for (done, entry) in entries.iter_mut().enumerate() {
            match self.pop()? {
                Some(found) => *entry = found,
                None => return Ok(done),
            }
        }
        Ok(entries.len())
    }

    /// Gives the slots of all entries read back to the producer, and says whether it must be
    /// woken.
    #[inline]
    #[must_use = "a producer that sleeps must be woken if this is true"]
    pub fn release(&mut self) -> bool {
        if self.released == self.head {
            return false;
        }
        let old = core::mem::replace(&mut self.released, self.head);
        let header = self.ring.header;
        header.consumer.publish(old, self.head, &header.producer)
    }

    /// How many entries there are to read now.
    ///
    /// # Errors
    ///
    /// [`RingError::Corrupt`].
    pub fn available(&mut self) -> Result<u32, RingError> {
        let tail = self.ring.header.producer.position.load(Ordering::Acquire);
        self.look_at(tail)
    }

    /// Announces that this side will sleep until there are entries; `true` if it should.
    ///
    /// [`release`](Self::release) first: the producer may be waiting for room. After `false` there
    /// are entries. After `true`, sleep until woken (by [`Producer::publish`] of the other side)
    /// or until a deadline, and look again.
    ///
    /// [`Producer::publish`]: super::Producer::publish
    ///
    /// # Errors
    ///
    /// [`RingError::Corrupt`].
    pub fn prepare_wait(&mut self) -> Result<bool, RingError> {
        let header = self.ring.header;
        let tail = header.consumer.announce(self.head, &header.producer);
        Ok(self.look_at(tail)? == 0)
    }

    /// Believes the producer's position if it is not less than what was read, and not more than
    /// fits behind what was released.
    fn look_at(&mut self, tail: u32) -> Result<u32, RingError> {
        let unread = self.ring.distance(tail, self.head)?;
        self.ring.distance(tail, self.released)?;
        self.tail = tail;
        Ok(unread)
    }
}
