//! Messages in a stream: a length of 32 bits, then so many bytes.

use alloc::vec::Vec;

use super::MESSAGE_LEN_MAX;
use crate::Error;

/// Collects one message at a time.
#[derive(Default)]
pub(super) struct Frames {
    held: Vec<u8>,
}

impl Frames {
    /// Takes bytes off the front of `input`; gives a message once it is whole.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if !self.fill(input, 4) {
            return Ok(None);
        }
        let length = self.held.first_chunk::<4>().ok_or(Error::Malformed)?;
        let length = u32::from_be_bytes(*length) as usize;
        if length == 0 || length > MESSAGE_LEN_MAX {
            return Err(Error::LimitExceeded);
        }
        if !self.fill(input, 4 + length) {
            return Ok(None);
        }
        let mut message = core::mem::take(&mut self.held);
        message.drain(..4);
        Ok(Some(message))
    }

    fn fill(&mut self, input: &mut &[u8], len: usize) -> bool {
        let take = len.saturating_sub(self.held.len()).min(input.len());
        let (head, tail) = input.split_at(take);
        self.held.extend_from_slice(head);
        *input = tail;
        self.held.len() >= len
    }
}

/// Appends a message with its length to the output.
pub(super) fn push(output: &mut Vec<u8>, message: &[u8]) {
    output.extend_from_slice(&(message.len() as u32).to_be_bytes());
    output.extend_from_slice(message);
}
