//! Decompression of gzip data (RFC 1952), piece by piece.

use crate::{Error, Progress};
use alloc::boxed::Box;
use core::fmt;
use crc::{CRC_32_ISO_HDLC, Crc, Digest, Table};
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

static CRC32: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);

const HEADER_CRC: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

/// A decoder of gzip data: any number of members, one after the other.
///
/// It needs 43 KiB of memory, whatever the data. How far the data grows is for the caller to
/// limit: each call fills what it is given, and no more.
pub struct GzipDecoder {
    state: State,
    inflate: Box<InflateState>,
    digest: Digest<'static, u32, Table<16>>,
    /// Checksum of the header, whether or not it is told.
    header: Digest<'static, u32, Table<16>>,
    /// Bytes of this member's data so far, modulo 2^32.
    len: u32,
    flags: u8,
}

impl fmt::Debug for GzipDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GzipDecoder")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Byte so many of the ten that begin a member.
    Fixed(u8),
    /// Length of the extra field; bytes of it that came.
    ExtraLen(u8, u16),
    Extra(u16),
    Name,
    Comment,
    HeaderCrc(u8, u16),
    Data,
    /// Byte so many of the checksum and the length; what came of them.
    Trailer(u8, u64),
    /// Between members: a good place for the end.
    Member,
    /// What came is no gzip data.
    Damaged,
}

impl Default for GzipDecoder {
    fn default() -> GzipDecoder {
        GzipDecoder::new()
    }
}

impl GzipDecoder {
    /// A decoder at the beginning of the data.
    #[must_use]
    pub fn new() -> GzipDecoder {
        GzipDecoder {
            state: State::Fixed(0),
            inflate: InflateState::new_boxed(DataFormat::Raw),
            digest: CRC32.digest(),
            header: CRC32.digest(),
            len: 0,
            flags: 0,
        }
    }

    /// Decodes until the input is used up or `out` is full; without input, what is still inside.
    ///
    /// # Errors
    /// [`Error::BadGzip`] for anything that is not gzip data with the right checksums: after what
    /// came before it was given.
    pub fn decode(&mut self, input: &[u8], out: &mut [u8]) -> Result<Progress, Error> {
        let mut done = Progress::default();
        loop {
            let rest = input.get(done.taken..).unwrap_or(&[]);
            if self.state == State::Damaged {
                return if done.given == 0 {
                    Err(Error::BadGzip)
                } else {
                    Ok(done)
                };
            }
            if self.state == State::Data {
                let room = out.get_mut(done.given..).unwrap_or(&mut []);
                if room.is_empty() {
                    return Ok(done);
                }
                let step = self.inflate(rest, room);
                done.taken += step.taken;
                done.given += step.given;
                if self.state == State::Data && step == Progress::default() {
                    return Ok(done);
                }
            } else if let Some(&byte) = rest.first() {
                self.frame(byte);
                done.taken += 1;
            } else {
                return Ok(done);
            }
        }
    }

    /// Whether the data may end here.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.state == State::Member
    }

    /// Whether the next call says that the data is damaged.
    pub(crate) fn is_damaged(&self) -> bool {
        self.state == State::Damaged
    }

    fn inflate(&mut self, input: &[u8], out: &mut [u8]) -> Progress {
        let result = inflate(&mut self.inflate, input, out, MZFlush::None);
        let given = out.get(..result.bytes_written).unwrap_or(&[]);
        self.digest.update(given);
        self.len = self.len.wrapping_add(given.len() as u32);
        match result.status {
            Ok(MZStatus::StreamEnd) => self.state = State::Trailer(0, 0),
            Ok(_) | Err(MZError::Buf) => {}
            Err(_) => self.state = State::Damaged,
        }
        Progress {
            taken: result.bytes_consumed,
            given: given.len(),
        }
    }

    /// Takes one byte of what is around the compressed data.
    fn frame(&mut self, byte: u8) {
        if !matches!(self.state, State::HeaderCrc(..) | State::Trailer(..)) {
            self.header.update(&[byte]);
        }
        self.state = match self.state {
            State::Member => {
                *self = GzipDecoder::new();
                return self.frame(byte);
            }
            State::Fixed(at) => self.fixed(at, byte),
            State::ExtraLen(0, _) => State::ExtraLen(1, u16::from(byte)),
            State::ExtraLen(_, low) => match low | u16::from(byte) << 8 {
                0 => self.after(EXTRA),
                len => State::Extra(len),
            },
            State::Extra(1) => self.after(EXTRA),
            State::Extra(left) => State::Extra(left - 1),
            State::Name if byte == 0 => self.after(NAME),
            State::Comment if byte == 0 => self.after(COMMENT),
            State::HeaderCrc(0, _) => State::HeaderCrc(1, u16::from(byte)),
            State::HeaderCrc(_, low) => {
                let told = low | u16::from(byte) << 8;
                match told == self.header.clone().finalize() as u16 {
                    true => State::Data,
                    false => State::Damaged,
                }
            }
            State::Trailer(7, told) => {
                let told = told | u64::from(byte) << 56;
                let crc = self.digest.clone().finalize();
                match told == u64::from(self.len) << 32 | u64::from(crc) {
                    true => State::Member,
                    false => State::Damaged,
                }
            }
            State::Trailer(at, told) => {
                State::Trailer(at + 1, told | u64::from(byte) << (8 * u32::from(at)))
            }
            same => same,
        };
    }

    /// Magic, method, flags, time (4), extra flags, system.
    fn fixed(&mut self, at: u8, byte: u8) -> State {
        let valid = match at {
            0 => byte == 0x1f,
            1 => byte == 0x8b,
            2 => byte == 8,
            3 => {
                self.flags = byte;
                byte & RESERVED == 0
            }
            _ => true,
        };
        match at {
            _ if !valid => State::Damaged,
            9 => self.after(0),
            _ => State::Fixed(at + 1),
        }
    }

    /// What comes after a part of the header.
    fn after(&mut self, part: u8) -> State {
        let comes = |other| part < other && self.flags & other != 0;
        if part == 0 && self.flags & EXTRA != 0 {
            State::ExtraLen(0, 0)
        } else if comes(NAME) {
            State::Name
        } else if comes(COMMENT) {
            State::Comment
        } else if self.flags & HEADER_CRC != 0 {
            State::HeaderCrc(0, 0)
        } else {
            State::Data
        }
    }
}
