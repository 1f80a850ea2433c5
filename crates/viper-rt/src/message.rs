//! Messages: words first, then bytes, and handles.
//!
//! A message is a sequence of 64-bit words, followed by bytes; the first 48 bytes travel in
//! registers, the rest stands in the thread's IPC buffer. [`Writer`] makes one, [`Reader`] takes
//! one apart and never reads beyond its end. After inlining, messages of up to six words never
//! touch memory.
//!
//! The IPC buffer is the thread's scratch page: a message call in between overwrites it. Writers
//! and readers therefore live only from one message call to the next.

use crate::handle::{Object, OwnedHandle};
use crate::sys::{self, Ipc};
use viper_abi::{
    Error, Handle, IpcBuffer, MESSAGE_HANDLES_MAX, MESSAGE_MAX, MESSAGE_REGISTER_BYTES, MsgInfo,
    MsgKind,
};

const WORDS: usize = MESSAGE_REGISTER_BYTES / 8;

/// A value that is a fixed number of words of a message.
pub trait Wire: Sized {
    /// Writes the words.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`] if they do not fit.
    fn put(&self, to: &mut Writer) -> Result<(), Error>;

    /// Reads the words.
    ///
    /// # Errors
    /// [`Error::BadMessage`] if they are not there or not a value of this type.
    fn take(from: &mut Reader) -> Result<Self, Error>;
}

macro_rules! wire_numbers {
    ($($ty:ty),+) => { $(
        impl Wire for $ty {
            #[inline(always)]
            fn put(&self, to: &mut Writer) -> Result<(), Error> { to.word(*self as u64) }
            #[inline(always)]
            fn take(from: &mut Reader) -> Result<$ty, Error> {
                <$ty>::try_from(from.word()?).map_err(|_| Error::BadMessage)
            }
        }
    )+ };
}
wire_numbers!(u8, u16, u32, u64);

impl Wire for i64 {
    #[inline(always)]
    fn put(&self, to: &mut Writer) -> Result<(), Error> {
        to.word(*self as u64)
    }
    #[inline(always)]
    fn take(from: &mut Reader) -> Result<i64, Error> {
        from.word().map(|w| w as i64)
    }
}

impl Wire for bool {
    #[inline(always)]
    fn put(&self, to: &mut Writer) -> Result<(), Error> {
        to.word(u64::from(*self))
    }
    #[inline(always)]
    fn take(from: &mut Reader) -> Result<bool, Error> {
        match from.word()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::BadMessage),
        }
    }
}

impl Wire for () {
    #[inline(always)]
    fn put(&self, _: &mut Writer) -> Result<(), Error> {
        Ok(())
    }
    #[inline(always)]
    fn take(_: &mut Reader) -> Result<(), Error> {
        Ok(())
    }
}

impl<T: Wire, const N: usize> Wire for [T; N] {
    #[inline]
    fn put(&self, to: &mut Writer) -> Result<(), Error> {
        self.iter().try_for_each(|item| item.put(to))
    }
    #[inline]
    fn take(from: &mut Reader) -> Result<[T; N], Error> {
        let mut failure = None;
        let items = core::array::from_fn(|_| match T::take(from) {
            Ok(item) => Some(item),
            Err(error) => {
                failure = Some(error);
                None
            }
        });
        match failure {
            Some(error) => Err(error),
            None => Ok(items.map(|item| item.expect("no failure, so every item is there"))),
        }
    }
}

macro_rules! wire_tuples {
    ($(($($name:ident)+))+) => { $(
        impl<$($name: Wire),+> Wire for ($($name,)+) {
            #[inline(always)]
            #[expect(non_snake_case, reason = "the names stand for types and their values")]
            fn put(&self, to: &mut Writer) -> Result<(), Error> {
                let ($($name,)+) = self;
                $( $name.put(to)?; )+
                Ok(())
            }
            #[inline(always)]
            fn take(from: &mut Reader) -> Result<Self, Error> {
                Ok(($( $name::take(from)?, )+))
            }
        }
    )+ };
}
wire_tuples! { (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }

/// A list of at most `N` values: a count and `N` places' worth of words in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List<T, const N: usize> {
    len: usize,
    items: [T; N],
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    /// A list of these values.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`] if there are more than `N`.
    pub fn new(items: &[T]) -> Result<List<T, N>, Error> {
        let mut list = List {
            len: items.len(),
            items: [T::default(); N],
        };
        let places = list.items.get_mut(..items.len());
        places.ok_or(Error::MessageTooLarge)?.copy_from_slice(items);
        Ok(list)
    }

    /// The values.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.items[..self.len]
    }
}

impl<T: Wire + Copy + Default, const N: usize> Wire for List<T, N> {
    #[inline]
    fn put(&self, to: &mut Writer) -> Result<(), Error> {
        to.word(self.len as u64)?;
        self.as_slice().iter().try_for_each(|item| item.put(to))
    }
    #[inline]
    fn take(from: &mut Reader) -> Result<Self, Error> {
        let len = usize::try_from(from.word()?).map_err(|_| Error::BadMessage)?;
        let mut list = List {
            len,
            items: [T::default(); N],
        };
        for place in list.items.get_mut(..len).ok_or(Error::BadMessage)? {
            *place = T::take(from)?;
        }
        Ok(list)
    }
}

/// Bytes taken out of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    len: usize,
    bytes: [u8; MESSAGE_MAX],
}

impl Bytes {
    /// As text.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if it is not UTF-8.
    pub fn as_str(&self) -> Result<&str, Error> {
        core::str::from_utf8(self).map_err(|_| Error::InvalidArgument)
    }
}

impl core::ops::Deref for Bytes {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl core::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.escape_ascii())
    }
}

/// Puts a message together.
#[derive(Debug)]
pub struct Writer {
    words: [u64; WORDS],
    len: usize,
    handles: [Handle; MESSAGE_HANDLES_MAX],
    handle_count: usize,
    lengths_bytes: bool,
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
            lengths_bytes: false,
        }
    }

    /// Adds a word. All words come before all bytes.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`] if it does not fit or bytes were added before.
    #[inline(always)]
    pub fn word(&mut self, word: u64) -> Result<(), Error> {
        if self.lengths_bytes {
            return Err(Error::MessageTooLarge);
        }
        let at = self.len / 8;
        if at < WORDS {
            self.words[at] = word;
        } else if at < MESSAGE_MAX / 8 {
            buffer_write(at * 8, &word.to_le_bytes());
        } else {
            return Err(Error::MessageTooLarge);
        }
        self.len += 8;
        Ok(())
    }

    /// Adds bytes at the end of the message.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`] if they do not fit.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let end = self.len.checked_add(bytes.len()).ok_or(Error::MessageTooLarge)?;
        if end > MESSAGE_MAX {
            return Err(Error::MessageTooLarge);
        }
        buffer_write(self.len, bytes);
        if self.len < MESSAGE_REGISTER_BYTES {
            self.reload(self.len / 8, self.len % 8);
        }
        self.len = end;
        self.lengths_bytes = true;
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
    #[inline(always)]
    #[must_use]
    pub fn finish(self, label: u32) -> (MsgInfo, [u64; WORDS]) {
        let info = MsgInfo::new(label, self.len, self.handle_count);
        if self.handle_count > 0 {
            buffer_set_handles(&self.handles);
        }
        let words = self.words;
        // The handles are the message's now.
        core::mem::forget(self);
        (info, words)
    }

    /// Takes register words from the buffer after bytes were written there.
    fn reload(&mut self, first: usize, kept: usize) {
        for at in first..WORDS {
            let mut word = buffer_word(at * 8);
            if at == first && kept > 0 {
                let mask = u64::MAX >> (64 - kept * 8);
                word = word & !mask | self.words[at] & mask;
            }
            self.words[at] = word;
        }
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

/// Closes handles that a message call failed to move; those that moved are stale and skipped.
pub(crate) fn close_unsent(info: MsgInfo) {
    for index in 0..info.handles().min(MESSAGE_HANDLES_MAX) {
        drop(OwnedHandle::new(buffer_handle(index)));
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
        } else {
            buffer_word(self.at)
        };
        self.at = end;
        Ok(word)
    }

    /// Takes `len` bytes.
    ///
    /// # Errors
    /// [`Error::BadMessage`] if there are fewer.
    #[inline]
    pub fn bytes(&mut self, len: usize) -> Result<Bytes, Error> {
        let end = self.at.checked_add(len).ok_or(Error::BadMessage)?;
        if end > self.info.len() || end > MESSAGE_MAX {
            return Err(Error::BadMessage);
        }
        let mut bytes = Bytes {
            len,
            bytes: [0; MESSAGE_MAX],
        };
        if self.at < MESSAGE_REGISTER_BYTES {
            buffer_write_words(&self.words);
        }
        buffer_read(self.at, &mut bytes.bytes[..len]);
        self.at = end;
        Ok(bytes)
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
        let handle = buffer_handle(self.handle_at);
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
            drop(OwnedHandle::new(buffer_handle(self.handle_at)));
            self.handle_at += 1;
        }
    }
}

fn buffer_write(at: usize, bytes: &[u8]) {
    debug_assert!(at + bytes.len() <= MESSAGE_MAX);
    let buffer: *mut IpcBuffer = sys::ipc_buffer();
    // SAFETY:
    // 1. The IPC buffer is mapped and writable for the life of the thread, and only this thread
    //    uses it; nobody holds references into it.
    // 2. All callers in this file checked that the range is within the 256 bytes of data.
    unsafe {
        let data = (&raw mut (*buffer).data).cast::<u8>().add(at);
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
    }
}

fn buffer_write_words(words: &[u64; WORDS]) {
    for (index, word) in words.iter().enumerate() {
        buffer_write(index * 8, &word.to_le_bytes());
    }
}

fn buffer_read(at: usize, to: &mut [u8]) {
    debug_assert!(at + to.len() <= MESSAGE_MAX);
    let buffer: *mut IpcBuffer = sys::ipc_buffer();
    // SAFETY: as in `buffer_write`.
    unsafe {
        let data = (&raw const (*buffer).data).cast::<u8>().add(at);
        core::ptr::copy_nonoverlapping(data, to.as_mut_ptr(), to.len());
    }
}

#[inline]
fn buffer_word(at: usize) -> u64 {
    let mut word = [0; 8];
    buffer_read(at, &mut word);
    u64::from_le_bytes(word)
}

fn buffer_handle(index: usize) -> Handle {
    let buffer: *mut IpcBuffer = sys::ipc_buffer();
    // SAFETY: as in `buffer_write`; all callers checked `index` against the four places.
    unsafe { (&raw const (*buffer).handles).cast::<Handle>().add(index).read() }
}

fn buffer_set_handles(handles: &[Handle; MESSAGE_HANDLES_MAX]) {
    let buffer: *mut IpcBuffer = sys::ipc_buffer();
    // SAFETY: as in `buffer_write`.
    unsafe { (&raw mut (*buffer).handles).write(*handles) };
}
