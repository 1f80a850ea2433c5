//! `print!` and `eprint!`: lines go to the stream in STDOUT or STDERR, else to the debug port.
//!
//! One message for each call of the macro when its text is at most 240 bytes. Nothing is buffered
//! between calls.

use crate::message::Writer;
use crate::{object, program, sys};
use core::fmt::{self, Write};
use viper_abi::{Error, FOREVER, Handle, Slot};

/// Operation number of a stream's WRITE: the same as in `viper-proto`, which tests it.
pub const STREAM_WRITE: u32 = 2;
/// Most bytes in one WRITE.
pub const STREAM_WRITE_MAX: usize = 240;

/// Collects text and writes it out in pieces.
struct Output {
    slot: Slot,
    len: usize,
    text: [u8; STREAM_WRITE_MAX],
}

impl Output {
    fn flush(&mut self) {
        let text = &self.text[..self.len];
        if !text.is_empty() {
            write_to(self.slot, text);
        }
        self.len = 0;
    }
}

impl Write for Output {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let mut rest = s.as_bytes();
        while !rest.is_empty() {
            if self.len == STREAM_WRITE_MAX {
                self.flush();
            }
            let n = rest.len().min(STREAM_WRITE_MAX - self.len);
            self.text[self.len..self.len + n].copy_from_slice(&rest[..n]);
            self.len += n;
            rest = &rest[n..];
        }
        Ok(())
    }
}

/// Writes bytes to the stream in `slot`, else to the debug port; a stream that fails swallows them.
pub fn write_to(slot: Slot, text: &[u8]) {
    let _ = try_write_to(slot, text);
}

/// Writes bytes to the stream in `slot`, else to the debug port: all of them.
///
/// # Errors
/// What the stream says; [`Error::PeerClosed`] when it takes no more.
pub fn try_write_to(slot: Slot, text: &[u8]) -> Result<(), Error> {
    let stream = program::peek(slot).filter(|h| !h.is_none());
    for part in text.chunks(STREAM_WRITE_MAX) {
        match stream {
            Some(stream) => stream_write(stream, part)?,
            None => {
                if let Some(system) = program::peek(Slot::SYSTEM) {
                    let _ = object::debug_write(system, part);
                }
            }
        }
    }
    Ok(())
}

fn stream_write(stream: Handle, mut part: &[u8]) -> Result<(), Error> {
    while !part.is_empty() {
        let mut message = Writer::new();
        message.bytes(part)?;
        let (info, words) = message.finish(STREAM_WRITE);
        let reply = sys::call(stream, info, words, FOREVER);
        reply.check()?;
        let code = i64::from(reply.info.label() as i32);
        if code != 0 {
            return Err(Error::from_code(code).unwrap_or(Error::Io));
        }
        let written = reply.words[0] as usize;
        if written == 0 {
            return Err(Error::PeerClosed);
        }
        part = part.get(written..).unwrap_or(&[]);
    }
    Ok(())
}

#[doc(hidden)]
pub fn print(slot: Slot, text: fmt::Arguments<'_>) {
    let mut out = Output {
        slot,
        len: 0,
        text: [0; STREAM_WRITE_MAX],
    };
    let _ = out.write_fmt(text);
    out.flush();
}

/// Prints to standard output.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::stdio::print($crate::abi::Slot::STDOUT, format_args!($($arg)*)) };
}

/// Prints to standard output, with a line end.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($arg:tt)*) => {
        $crate::stdio::print($crate::abi::Slot::STDOUT, format_args!("{}\n", format_args!($($arg)*)))
    };
}

/// Prints to standard error, with a line end.
#[macro_export]
macro_rules! eprintln {
    ($($arg:tt)*) => {
        $crate::stdio::print($crate::abi::Slot::STDERR, format_args!("{}\n", format_args!($($arg)*)))
    };
}
