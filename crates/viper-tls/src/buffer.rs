//! A queue of bytes that lie in one piece.

use alloc::vec::Vec;

/// Bytes that are appended at one end and taken at the other.
///
/// Nothing is moved but when room is short, so taking is O(1) and appending amortised O(length).
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// Bytes beyond `end` are there to be written to.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Removes `len` bytes from the front, or all if there are fewer.
    pub(crate) fn take(&mut self, len: usize) {
        self.start += len.min(self.len());
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
    }

    /// At least `len` bytes to write to; [`wrote`](Self::wrote) then appends them.
    pub(crate) fn room(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.len() - self.end < len {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let needed = self.end + len;
            if self.bytes.len() < needed {
                self.bytes.resize(needed, 0);
            }
        }
        &mut self.bytes[self.end..]
    }

    pub(crate) fn wrote(&mut self, len: usize) {
        self.end += len.min(self.bytes.len() - self.end);
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.wrote(bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn behaves_like_a_queue(steps in prop::collection::vec((0usize..300, 0usize..300), 0..60)) {
            let mut buffer = Buffer::default();
            let mut model = VecDeque::new();
            let mut next = 0u8;
            for (push, take) in steps {
                let bytes: Vec<u8> = (0..push).map(|_| { next = next.wrapping_add(1); next }).collect();
                buffer.push(&bytes);
                model.extend(bytes);
                buffer.take(take);
                model.drain(..take.min(model.len()));
                prop_assert_eq!(buffer.filled(), model.make_contiguous());
                prop_assert!(buffer.bytes.len() <= 60 * 300);
            }
        }
    }
}
