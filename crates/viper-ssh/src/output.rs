//! Bytes that wait to be sent.

use alloc::vec::Vec;

/// With so many sent bytes in front, the rest is moved up.
const SLACK_MAX: usize = 64 * 1024;

/// A queue of bytes whose front is one slice. Taking off the front is cheap on average.
#[derive(Default)]
pub(crate) struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

impl Output {
    /// What waits.
    pub fn pending(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// Where more is appended.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Drops `len` bytes from the front.
    pub fn sent(&mut self, len: usize) {
        self.sent = self.sent.saturating_add(len).min(self.bytes.len());
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        } else if self.sent > SLACK_MAX && self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_gone_and_the_rest_stays() {
        let mut output = Output::default();
        let all: Vec<u8> = (0..500_000_u32).map(|i| i as u8).collect();
        output.bytes().extend_from_slice(&all);
        let mut seen = Vec::new();
        for len in [1, 70_000, 200_000, 5, 0, 229_994] {
            seen.extend_from_slice(&output.pending()[..len]);
            output.sent(len);
        }
        assert!(seen == all && output.pending().is_empty());
        output.sent(10);
        assert!(output.bytes().is_empty());
    }
}
