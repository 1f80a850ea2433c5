//! Where a body ends: by its length, by its chunks, or with the stream.

use crate::head::{LineBuffer, parse_trailers};
use crate::{Error, Headers, Limits, Method, RequestHead, ResponseHead, Version};

/// How the end of a body is told (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// So many bytes; 0 if there is no body.
    Known(u64),
    /// In chunks, with trailers after the last one.
    Chunked,
    /// All bytes until the stream ends. Only in answers.
    UntilClose,
}

impl BodyLength {
    /// Of a request.
    ///
    /// # Errors
    /// Whatever two programs could read in two ways is refused: [`Error::AmbiguousLength`],
    /// [`Error::BadContentLength`], [`Error::BadTransferEncoding`],
    /// [`Error::UnsupportedTransferEncoding`].
    pub fn of_request(head: &RequestHead) -> Result<BodyLength, Error> {
        Ok(told(&head.headers, head.version)?.unwrap_or(BodyLength::Known(0)))
    }

    /// Of the answer to a request with this method.
    ///
    /// # Errors
    /// As [`of_request`](BodyLength::of_request).
    pub fn of_response(head: &ResponseHead, asked: &Method) -> Result<BodyLength, Error> {
        if *asked == Method::Head || head.status.is_bodiless() {
            return Ok(BodyLength::Known(0));
        }
        Ok(told(&head.headers, head.version)?.unwrap_or(BodyLength::UntilClose))
    }
}

/// What the headers say about the length.
fn told(headers: &Headers, version: Version) -> Result<Option<BodyLength>, Error> {
    let mut lengths = headers.all("Content-Length");
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(Error::AmbiguousLength);
    }
    if headers.has("Transfer-Encoding") {
        if length.is_some() {
            return Err(Error::AmbiguousLength);
        }
        return transfer_coding(headers, version).map(Some);
    }
    let number = |value| decimal(value).ok_or(Error::BadContentLength);
    Ok(length.map(number).transpose()?.map(BodyLength::Known))
}

fn transfer_coding(headers: &Headers, version: Version) -> Result<BodyLength, Error> {
    if version == Version::Http10 {
        return Err(Error::BadTransferEncoding);
    }
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let mut codings = headers.list("Transfer-Encoding");
    match (codings.next(), codings.next()) {
        (Some(only), None) if is_chunked(only) => Ok(BodyLength::Chunked),
        (Some(first), Some(_)) if !is_chunked(first) => {
            let last = headers.list("Transfer-Encoding").last();
            Err(if last.is_some_and(is_chunked) {
                Error::UnsupportedTransferEncoding
            } else {
                Error::BadTransferEncoding
            })
        }
        _ => Err(Error::BadTransferEncoding),
    }
}

/// Digits and nothing else, at most 19 of them.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// Follows the framing of one body: which bytes are data, and when it is over.
#[derive(Debug)]
pub(crate) enum Framing {
    Length(u64),
    UntilClose,
    Chunked(Chunks),
    Done,
}

/// Where in a chunked body we are (RFC 9112 section 7.1).
#[derive(Debug)]
pub(crate) enum Chunks {
    Size(SizeLine),
    Data(u64),
    /// The CR LF after a chunk's data; whether the CR has come.
    DataEnd(bool),
    Trailers(LineBuffer),
}

/// The line before a chunk: its size in hexadecimal, and extensions that nobody uses.
#[derive(Debug, Default)]
pub(crate) struct SizeLine {
    size: u64,
    digits: u8,
    len: usize,
    extension: bool,
    carriage_return: bool,
}

impl Framing {
    pub(crate) fn new(length: BodyLength) -> Framing {
        match length {
            BodyLength::Known(0) => Framing::Done,
            BodyLength::Known(len) => Framing::Length(len),
            BodyLength::UntilClose => Framing::UntilClose,
            BodyLength::Chunked => Framing::Chunked(Chunks::Size(SizeLine::default())),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Framing::Done)
    }

    /// Takes what is not data from the front of `input`. Returns how much that was.
    pub(crate) fn skip(
        &mut self,
        input: &[u8],
        limits: &Limits,
        trailers: &mut Headers,
    ) -> Result<usize, Error> {
        let mut taken = 0;
        while let Framing::Chunked(chunks) = self
            && let Some(rest) = input.get(taken..)
            && !rest.is_empty()
        {
            match chunks {
                Chunks::Data(_) => break,
                Chunks::Size(line) => {
                    taken += 1;
                    if let Some(size) = line.take(rest[0], limits)? {
                        *chunks = match size {
                            0 => Chunks::Trailers(LineBuffer::new(0)),
                            size => Chunks::Data(size),
                        };
                    }
                }
                Chunks::DataEnd(carriage_return) => {
                    taken += 1;
                    match (rest[0], *carriage_return) {
                        (b'\r', false) => *carriage_return = true,
                        (b'\n', true) => *chunks = Chunks::Size(SizeLine::default()),
                        _ => return Err(Error::BadChunk),
                    }
                }
                Chunks::Trailers(lines) => {
                    let (len, complete) = lines.feed(rest, limits)?;
                    taken += len;
                    if complete {
                        *trailers = parse_trailers(lines)?;
                        *self = Framing::Done;
                    }
                }
            }
        }
        Ok(taken)
    }

    /// How many of the next `len` bytes are data.
    pub(crate) fn data_len(&self, len: usize) -> usize {
        match self {
            Framing::Length(left) | Framing::Chunked(Chunks::Data(left)) => {
                usize::try_from(*left).unwrap_or(usize::MAX).min(len)
            }
            Framing::UntilClose => len,
            _ => 0,
        }
    }

    /// `len` bytes of data were taken, at most [`data_len`](Framing::data_len).
    pub(crate) fn consume(&mut self, len: usize) {
        match self {
            Framing::Length(left) => {
                *left = left.saturating_sub(len as u64);
                if *left == 0 {
                    *self = Framing::Done;
                }
            }
            Framing::Chunked(chunks) => {
                if let Chunks::Data(left) = chunks {
                    *left = left.saturating_sub(len as u64);
                    if *left == 0 {
                        *chunks = Chunks::DataEnd(false);
                    }
                }
            }
            _ => {}
        }
    }

    /// The stream ended.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        match self {
            Framing::UntilClose | Framing::Done => {
                *self = Framing::Done;
                Ok(())
            }
            _ => Err(Error::UnexpectedEnd),
        }
    }
}

impl SizeLine {
    /// Takes one byte; the size after the last one.
    fn take(&mut self, byte: u8, limits: &Limits) -> Result<Option<u64>, Error> {
        if self.carriage_return {
            return match byte {
                b'\n' => Ok(Some(self.size)),
                _ => Err(Error::BadChunk),
            };
        }
        self.len += 1;
        if self.len > limits.chunk_line_bytes_max {
            return Err(Error::LineTooLong);
        }
        match byte {
            b'\r' | b';' if self.digits == 0 => return Err(Error::BadChunk),
            b'\r' => self.carriage_return = true,
            b';' => self.extension = true,
            _ if self.extension => {
                if byte != b'\t' && (byte < b' ' || byte == 0x7f) {
                    return Err(Error::BadChunk);
                }
            }
            _ => {
                let digit = char::from(byte).to_digit(16).ok_or(Error::BadChunk)?;
                self.digits += 1;
                // 15 digits: no sum of sizes that memory could hold overflows.
                if self.digits > 15 {
                    return Err(Error::BadChunk);
                }
                self.size = self.size << 4 | u64::from(digit);
            }
        }
        Ok(None)
    }
}

/// Appends data as one chunk; nothing for no data, which would be the last chunk.
pub fn encode_chunk(data: &[u8], to: &mut alloc::vec::Vec<u8>) {
    if data.is_empty() {
        return;
    }
    to.extend_from_slice(alloc::format!("{:x}\r\n", data.len()).as_bytes());
    to.extend_from_slice(data);
    to.extend_from_slice(b"\r\n");
}

/// Appends the last chunk and the trailers.
pub fn encode_last_chunk(trailers: &Headers, to: &mut alloc::vec::Vec<u8>) {
    to.extend_from_slice(b"0\r\n");
    trailers.encode(to);
    to.extend_from_slice(b"\r\n");
}
