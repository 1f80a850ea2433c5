//! Where things are in the shared memory.
//!
//! ```text
//!   0  magic u32, version u32, entries u32, words per entry u32
//!  64  tail u32, wake at u32 (both written by the producer only)
//! 128  head u32, wake at u32 (both written by the consumer only)
//! 192  entries, each of some 64-bit words
//! ```
//! Little-endian. Positions count entries from 0 on and wrap around at 2^32; entry `n` is in slot
//! `n % entries`. Each side has a cache line of its own, so that they do not slow each other down.
//!
//! "Wake at `p`" asks the other side for a wake-up when its position goes from `p` or before to
//! beyond `p`. Nobody has to take it back: once passed, it means nothing more.

use core::fmt;
#[cfg(not(loom))]
use core::ptr::NonNull;

use super::RingError;
use crate::loom::{AtomicU32, AtomicU64, Ordering, fence};

/// How many entries a ring has, and how large they are. Both sides know it by agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RingLayout {
    entries: u32,
    words: u32,
}

/// The start of the shared memory.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct RingHeader {
    magic: AtomicU32,
    version: AtomicU32,
    entries: AtomicU32,
    words: AtomicU32,
    pub(super) producer: Side,
    pub(super) consumer: Side,
}

/// What one side tells the other, on a cache line of its own.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Side {
    /// How many entries this side is done with.
    pub position: AtomicU32,
    /// This side sleeps, or did, until the other side's position gets past this one.
    pub wake_at: AtomicU32,
}

/// A ring in shared memory, seen from either side.
#[derive(Clone, Copy)]
pub struct Ring<'a> {
    pub(super) header: &'a RingHeader,
    slots: &'a [AtomicU64],
    layout: RingLayout,
}

/// "VRNG", read as a little-endian number.
const MAGIC: u32 = u32::from_le_bytes(*b"VRNG");
const VERSION: u32 = 1;

/// The last position before 0: no wake-up for the next 2^32 - 1 entries.
const NEVER: u32 = u32::MAX;

/// At most 2^20 entries of at most 512 words: 4 GiB.
const ENTRIES_MAX: u32 = 1 << 20;
const WORDS_MAX: u32 = 512;

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<RingHeader>() == 192);
    assert!(core::mem::offset_of!(RingHeader, producer) == 64);
    assert!(core::mem::offset_of!(RingHeader, consumer) == 128);
};

impl RingLayout {
    /// Bytes before the entries.
    pub const HEADER_LEN: usize = 192;

    /// `entries` entries, a power of two, of `words` 64-bit words each.
    ///
    /// # Errors
    ///
    /// [`RingError::BadLayout`] if `entries` is no power of two or above 2^20, or if `words` is 0
    /// or above 512.
    pub const fn new(entries: u32, words: u32) -> Result<Self, RingError> {
        let entries_fit = entries.is_power_of_two() && entries <= ENTRIES_MAX;
        if entries_fit && words != 0 && words <= WORDS_MAX {
            Ok(Self { entries, words })
        } else {
            Err(RingError::BadLayout)
        }
    }

    /// Number of entries.
    pub const fn entries(self) -> u32 {
        self.entries
    }

    /// 64-bit words in an entry.
    pub const fn words(self) -> u32 {
        self.words
    }

    /// Bytes of shared memory that the ring takes.
    pub const fn len_bytes(self) -> usize {
        Self::HEADER_LEN + self.slot_words() * 8
    }

    /// Words of all entries together.
    pub const fn slot_words(self) -> usize {
        self.entries as usize * self.words as usize
    }
}

impl RingHeader {
    /// A header of zeroes: the state of fresh memory, before [`Ring::init`].
    pub fn new() -> Self {
        let zero = || AtomicU32::new(0);
        let side = || Side {
            position: zero(),
            wake_at: zero(),
        };
        Self {
            magic: zero(),
            version: zero(),
            entries: zero(),
            words: zero(),
            producer: side(),
            consumer: side(),
        }
    }
}

impl Default for RingHeader {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Ring<'a> {
    /// The ring at the start of shared memory.
    ///
    /// # Errors
    ///
    /// [`RingError::BadMemory`] if the memory is too small or not aligned to 64 bytes.
    ///
    /// # Safety
    ///
    /// 1. `memory` is valid for reads and writes of `len_bytes` bytes during `'a`.
    /// 2. During `'a`, this program accesses those bytes through atomics only, such as through
    ///    other `Ring`s. Other programs may do to them whatever they like.
    #[cfg(not(loom))]
    pub unsafe fn from_raw(
        memory: NonNull<u8>,
        len_bytes: usize,
        layout: RingLayout,
    ) -> Result<Self, RingError> {
        let header = memory.cast::<RingHeader>();
        if !header.is_aligned() || len_bytes < layout.len_bytes() {
            return Err(RingError::BadMemory);
        }
        // SAFETY: within the memory: `len_bytes` exceeds the length of the header.
        let slots = unsafe { memory.add(RingLayout::HEADER_LEN) }.cast::<AtomicU64>();
        // SAFETY:
        // 1. Valid for `'a`, large enough and aligned: see above. The slots begin at a multiple of
        //    64 bytes, hence of 8, and `len_bytes` covers `slot_words` of them.
        // 2. Any bytes are valid atomics, so it does not matter what the peer has left there.
        // 3. Shared references to atomics allow that others write them: by the caller's promise,
        //    this program does so atomically, and what other programs do is, to this one, as if
        //    another of its threads stored atomically.
        unsafe {
            let slots = NonNull::slice_from_raw_parts(slots, layout.slot_words());
            Ok(Self {
                header: header.as_ref(),
                slots: slots.as_ref(),
                layout,
            })
        }
    }

    /// A ring inside of one program, between two threads.
    ///
    /// # Errors
    ///
    /// [`RingError::BadMemory`] if there are fewer slots than the layout needs.
    pub fn from_parts(
        header: &'a RingHeader,
        slots: &'a [AtomicU64],
        layout: RingLayout,
    ) -> Result<Self, RingError> {
        let slots = slots
            .get(..layout.slot_words())
            .ok_or(RingError::BadMemory)?;
        Ok(Self {
            header,
            slots,
            layout,
        })
    }

    /// Writes the header of an empty ring: to be called once, by the side that made the memory,
    /// before the other one sees it.
    pub fn init(&self) {
        let header = self.header;
        for (field, value) in [
            (&header.producer.position, 0),
            (&header.producer.wake_at, NEVER),
            (&header.consumer.position, 0),
            (&header.consumer.wake_at, NEVER),
            (&header.version, VERSION),
            (&header.entries, self.layout.entries),
            (&header.words, self.layout.words),
        ] {
            field.store(value, Ordering::Relaxed);
        }
        header.magic.store(MAGIC, Ordering::Release);
    }

    /// Checks that the other side means the same by this memory. Not needed for safety: what
    /// counts is the agreed layout.
    ///
    /// # Errors
    ///
    /// [`RingError::WrongHeader`].
    pub fn check(&self) -> Result<(), RingError> {
        let header = self.header;
        let same = header.magic.load(Ordering::Acquire) == MAGIC
            && header.version.load(Ordering::Relaxed) == VERSION
            && header.entries.load(Ordering::Relaxed) == self.layout.entries
            && header.words.load(Ordering::Relaxed) == self.layout.words;
        if same {
            Ok(())
        } else {
            Err(RingError::WrongHeader)
        }
    }

    /// The agreed layout.
    pub fn layout(&self) -> RingLayout {
        self.layout
    }

    /// Refuses entries of another size than agreed.
    pub(super) fn expect_words(&self, words: usize) -> Result<(), RingError> {
        if self.layout.words as usize == words {
            Ok(())
        } else {
            Err(RingError::BadLayout)
        }
    }

    /// The slot of entry number `position`.
    #[inline]
    pub(super) fn slot(&self, position: u32) -> &'a [AtomicU64] {
        let words = self.layout.words as usize;
        let start = (position & (self.layout.entries - 1)) as usize * words;
        // Always in bounds: the slots are `entries * words` words, see `from_parts`.
        self.slots.get(start..start + words).unwrap_or_default()
    }

    /// How far `tail` is ahead of `head`, if that is possible.
    #[inline]
    pub(super) fn distance(&self, tail: u32, head: u32) -> Result<u32, RingError> {
        let used = tail.wrapping_sub(head);
        if used <= self.layout.entries {
            Ok(used)
        } else {
            Err(RingError::Corrupt)
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
    pub fn publish(&self, old: u32, new: u32, peer: &Side) -> bool {
        self.position.store(new, Ordering::Release);
        fence(Ordering::SeqCst);
        let wake_at = peer.wake_at.load(Ordering::Relaxed);
        wake_at.wrapping_sub(old) < new.wrapping_sub(old)
    }

    /// Says that this side will sleep if the position of `peer` still is `wake_at`, and returns
    /// that position.
    #[inline]
    pub fn announce(&self, wake_at: u32, peer: &Side) -> u32 {
        self.wake_at.store(wake_at, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        peer.position.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Ring<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}
