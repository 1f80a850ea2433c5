//! The thread's IPC buffer, through raw pointers: nobody holds a reference into it.

use crate::sys;
use viper_abi::{Handle, IpcBuffer, MESSAGE_HANDLES_MAX, MESSAGE_MAX};

/// Copies bytes in at `at`.
///
/// # Panics
/// If that reaches beyond the data: every caller checks it first.
#[inline(always)]
pub(super) fn write(at: usize, bytes: &[u8]) {
    assert!(at <= MESSAGE_MAX && bytes.len() <= MESSAGE_MAX - at);
    let buffer: *mut IpcBuffer = sys::ipc_buffer();
    // SAFETY:
    // 1. The IPC buffer is mapped and writable for the life of the thread, only this thread uses
    //    it, and no reference into it exists.
    // 2. The range is within the 256 bytes of data: asserted above.
    unsafe {
        let data = (&raw mut (*buffer).data).cast::<u8>().add(at);
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
    }
}

/// Copies bytes out from `at` on.
///
/// # Panics
/// As [`write`].
#[inline(always)]
pub(super) fn read(at: usize, to: &mut [u8]) {
    assert!(at <= MESSAGE_MAX && to.len() <= MESSAGE_MAX - at);
    let buffer: *mut IpcBuffer = sys::ipc_buffer();
    // SAFETY: as in `write`.
    unsafe {
        let data = (&raw const (*buffer).data).cast::<u8>().add(at);
        core::ptr::copy_nonoverlapping(data, to.as_mut_ptr(), to.len());
    }
}

/// The place of word `index`. Whole words are moved as such: targets without unaligned accesses
/// would move their bytes one by one.
///
/// # Panics
/// If there is no such word: every caller checks it first.
#[inline(always)]
fn place(index: usize) -> *mut u64 {
    assert!(index < MESSAGE_MAX / 8);
    let buffer: *mut IpcBuffer = sys::ipc_buffer();
    // SAFETY: as in `write`; the data is at the start of the buffer, which is aligned to 8.
    unsafe { (&raw mut (*buffer).data).cast::<u64>().add(index) }
}

/// Word `index` of the data.
///
/// # Panics
/// If there is no such word: every caller checks it first.
#[inline(always)]
pub(super) fn word(index: usize) -> u64 {
    // SAFETY: as in `write`; `place` is within the data, and aligned.
    u64::from_le(unsafe { place(index).read() })
}

/// Sets word `index` of the data.
///
/// # Panics
/// As [`word`].
#[inline(always)]
pub(super) fn set_word(index: usize, word: u64) {
    // SAFETY: as in `word`.
    unsafe { place(index).write(word.to_le()) };
}

/// The handle in one of the four places.
///
/// # Panics
/// If there is no such place.
pub(super) fn handle(index: usize) -> Handle {
    assert!(index < MESSAGE_HANDLES_MAX);
    let buffer: *mut IpcBuffer = sys::ipc_buffer();
    // SAFETY: as in `write`; the place exists.
    unsafe {
        (&raw const (*buffer).handles)
            .cast::<Handle>()
            .add(index)
            .read()
    }
}

/// Fills the four places.
pub(super) fn set_handles(handles: &[Handle; MESSAGE_HANDLES_MAX]) {
    let buffer: *mut IpcBuffer = sys::ipc_buffer();
    // SAFETY: as in `write`.
    unsafe { (&raw mut (*buffer).handles).write(*handles) };
}

/// Runs `work`, which may make message calls, and puts the buffer back as it was.
pub(crate) fn kept(work: impl FnOnce()) {
    let buffer: *mut IpcBuffer = sys::ipc_buffer();
    // SAFETY: as in `write`; the buffer is bytes and numbers, any of which are valid.
    let before = unsafe { buffer.read() };
    work();
    // SAFETY: as above.
    unsafe { buffer.write(before) };
}
