//! Messages: a sequence of 64-bit words, and handles.
//!
//! Numbers take a word each; bytes take a word for their length and are padded to whole words. The
//! first 48 bytes travel in registers, the rest stands in the thread's IPC buffer. [`Writer`] makes
//! a message, [`Reader`] takes one apart and never reads beyond its end. After inlining, messages
//! of up to six words never touch memory.
//!
//! The IPC buffer is the thread's scratch page: a message call in between overwrites it. Writers
//! and readers therefore live only from one message call to the next.

pub(crate) mod buffer;
mod wire;

pub use wire::{Bytes, List, Put, Take};

use crate::handle::{Object, OwnedHandle};
use crate::sys::Ipc;
use viper_abi::{
    Error, Handle, MESSAGE_HANDLES_MAX, MESSAGE_MAX, MESSAGE_REGISTER_BYTES, MsgInfo, MsgKind,
};

const WORDS: usize = MESSAGE_REGISTER_BYTES / 8;

/// Puts a message together.
#[derive(Debug)]
pub struct Writer {
    words: [u64; WORDS],
    len: usize,
    handles: [Handle; MESSAGE_HANDLES_MAX],
    handle_count: usize,
}

impl Writer {
    /// An empty message.
    #[inline(always)]
    #[must_use]
    pub fn new() -> Writer {
        Writer {
            words: [0; WORDS],
            len: 0,
            handles: [Handle::NONE; MESSAGE_HANDLES_MAX],
            handle_count: 0,
        }
    }

    /// Adds a word.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`] if it does not fit.
    #[inline(always)]
    pub fn word(&mut self, word: u64) -> Result<(), Error> {
        let at = self.len / 8;
        if at < WORDS {
            self.words[at] = word;
        } else if at < MESSAGE_MAX / 8 {
            buffer::set_word(at, word);
        } else {
            return Err(Error::MessageTooLarge);
        }
        self.len += 8;
        Ok(())
    }

    /// Adds bytes: their length, and they themselves up to a whole word.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`] if they do not fit.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let padded = bytes.len().checked_next_multiple_of(8);
        let padded = padded.ok_or(Error::MessageTooLarge)?;
        if padded > MESSAGE_MAX - 8 - self.len.min(MESSAGE_MAX - 8) {
            return Err(Error::MessageTooLarge);
        }
        self.word(bytes.len() as u64)?;
        if padded == 0 {
            return Ok(());
        }
        let end = (self.len + padded) / 8;
        buffer::set_word(end - 1, 0);
        buffer::write(self.len, bytes);
        for at in self.len / 8..WORDS.min(end) {
            self.words[at] = buffer::word(at);
        }
        self.len += padded;
        Ok(())
    }

    /// Adds a handle: it moves with the message.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`] if there are four already; the handle is closed then.
    #[inline]
    pub fn handle(&mut self, handle: OwnedHandle) -> Result<(), Error> {
        let place = self.handles.get_mut(self.handle_count);
        *place.ok_or(Error::MessageTooLarge)? = handle.into_raw();
        self.handle_count += 1;
        Ok(())
    }

    /// The finished message: info word and register words; the rest is in the IPC buffer.
    ///
    /// Its handles are the message's now: if it is not sent, [`close_unsent`] closes them.
    #[inline(always)]
    #[must_use]
    pub fn finish(self, label: u32) -> (MsgInfo, [u64; WORDS]) {
        let info = MsgInfo::new(label, self.len, self.handle_count);
        if self.handle_count > 0 {
            buffer::set_handles(&self.handles);
        }
        let words = self.words;
        core::mem::forget(self);
        (info, words)
    }
}

impl Default for Writer {
    fn default() -> Writer {
        Writer::new()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        for handle in &self.handles[..self.handle_count] {
            drop(OwnedHandle::new(*handle));
        }
    }
}

/// Closes the handles of a finished message that could not be sent.
///
/// Those that did move are stale by then, and closing them does nothing.
pub fn close_unsent(info: MsgInfo) {
    for index in 0..info.handles().min(MESSAGE_HANDLES_MAX) {
        drop(OwnedHandle::new(buffer::handle(index)));
    }
}

/// Takes a message apart.
#[derive(Debug)]
pub struct Reader {
    info: MsgInfo,
    words: [u64; WORDS],
    at: usize,
    handle_at: usize,
}

impl Reader {
    /// The message that a receive or a call brought.
    #[inline(always)]
    #[must_use]
    pub fn new(ipc: &Ipc) -> Reader {
        Reader {
            info: ipc.info,
            words: ipc.words,
            at: 0,
            handle_at: 0,
        }
    }

    /// The label: operation or status.
    #[inline(always)]
    #[must_use]
    pub fn label(&self) -> u32 {
        self.info.label()
    }

    /// What the receive brought.
    #[must_use]
    pub fn kind(&self) -> Option<MsgKind> {
        self.info.kind()
    }

    /// Takes the next word.
    ///
    /// # Errors
    /// [`Error::BadMessage`] at the end of the message.
    #[inline(always)]
    pub fn word(&mut self) -> Result<u64, Error> {
        let end = self.at + 8;
        if end > self.info.len() {
            return Err(Error::BadMessage);
        }
        let index = self.at / 8;
        let word = if index < WORDS {
            self.words[index]
        } else if end <= MESSAGE_MAX {
            buffer::word(index)
        } else {
            return Err(Error::BadMessage);
        };
        self.at = end;
        Ok(word)
    }

    /// Takes bytes with their length.
    ///
    /// # Errors
    /// [`Error::BadMessage`] if there are fewer than the length says.
    #[inline]
    pub fn bytes(&mut self) -> Result<Bytes, Error> {
        let (at, len) = self.byte_range()?;
        Ok(Bytes::read(len, |to| buffer::read(at, to)))
    }

    /// Takes bytes with their length, into the front of `to`. Returns how many.
    ///
    /// # Errors
    /// As [`Reader::bytes`]; [`Error::BadMessage`] if there are more than fit, too.
    #[inline]
    pub fn bytes_into(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        let (at, len) = self.byte_range()?;
        let to = to.get_mut(..len).ok_or(Error::BadMessage)?;
        buffer::read(at, to);
        Ok(len)
    }

    /// Takes a length and passes over so many bytes: where they are in the buffer, and how many.
    #[inline]
    fn byte_range(&mut self) -> Result<(usize, usize), Error> {
        let len = usize::try_from(self.word()?).map_err(|_| Error::BadMessage)?;
        let padded = len.checked_next_multiple_of(8).ok_or(Error::BadMessage)?;
        let left = self.info.len().min(MESSAGE_MAX).saturating_sub(self.at);
        if padded > left {
            return Err(Error::BadMessage);
        }
        if self.at < MESSAGE_REGISTER_BYTES {
            for (index, word) in self.words.iter().enumerate() {
                buffer::set_word(index, *word);
            }
        }
        let start = self.at;
        self.at += padded;
        Ok((start, len))
    }

    /// Takes the next handle.
    ///
    /// # Errors
    /// [`Error::BadMessage`] if there is none left.
    #[inline]
    pub fn handle<T: Object>(&mut self) -> Result<T, Error> {
        if self.handle_at >= self.info.handles().min(MESSAGE_HANDLES_MAX) {
            return Err(Error::BadMessage);
        }
        let handle = buffer::handle(self.handle_at);
        self.handle_at += 1;
        Ok(T::from_raw(handle))
    }

    /// Says that the message has been read to its end.
    ///
    /// # Errors
    /// [`Error::BadMessage`] if something is left.
    #[inline(always)]
    pub fn finish(self) -> Result<(), Error> {
        if self.at == self.info.len() && self.handle_at == self.info.handles() {
            Ok(())
        } else {
            Err(Error::BadMessage)
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        while self.handle_at < self.info.handles().min(MESSAGE_HANDLES_MAX) {
            drop(OwnedHandle::new(buffer::handle(self.handle_at)));
            self.handle_at += 1;
        }
    }
}

#[cfg(test)]
mod tests;
