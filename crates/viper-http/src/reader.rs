//! Readers: a stream of bytes in, a head and the data of a body out.

use crate::framing::Framing;
use crate::gzip::GzipDecoder;
use crate::head::LineBuffer;
use crate::{BodyLength, Error, Headers, Limits, Method, RequestHead, ResponseHead, Version};
use alloc::boxed::Box;

/// How far a call got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of input that were taken; offer the others again.
    pub taken: usize,
    /// Bytes of output that were written.
    pub given: usize,
}

/// The data of one body, without framing and compression.
#[derive(Debug)]
struct Body {
    framing: Framing,
    gzip: Option<Box<GzipDecoder>>,
    trailers: Headers,
    given: u64,
    done: bool,
}

impl Body {
    fn new(length: BodyLength, gzip: bool, limits: &Limits) -> Result<Body, Error> {
        if matches!(length, BodyLength::Known(len) if len > limits.body_bytes_max) {
            return Err(Error::BodyTooLarge);
        }
        let is_empty = length == BodyLength::Known(0);
        Ok(Body {
            framing: Framing::new(length),
            gzip: (gzip && !is_empty).then(|| Box::new(GzipDecoder::new())),
            trailers: Headers::new(),
            given: 0,
            done: is_empty,
        })
    }

    fn read(&mut self, input: &[u8], out: &mut [u8], limits: &Limits) -> Result<Progress, Error> {
        let mut done = Progress::default();
        loop {
            let rest = input.get(done.taken..).unwrap_or(&[]);
            let skipped = self.framing.skip(rest, limits, &mut self.trailers)?;
            done.taken += skipped;
            let rest = rest.get(skipped..).unwrap_or(&[]);
            let data = rest.get(..self.framing.data_len(rest.len())).unwrap_or(&[]);
            // One byte more than allowed is enough to see that it is too much.
            let left = limits
                .body_bytes_max
                .saturating_sub(self.given)
                .saturating_add(1);
            let room = out.get_mut(done.given..).unwrap_or(&mut []);
            let room_len = usize::try_from(left).unwrap_or(usize::MAX).min(room.len());
            let room = room.get_mut(..room_len).unwrap_or(&mut []);
            let step = match &mut self.gzip {
                Some(gzip) => gzip.decode(data, room)?,
                None => copy(data, room),
            };
            self.framing.consume(step.taken);
            self.given += step.given as u64;
            if self.given > limits.body_bytes_max {
                return Err(Error::BodyTooLarge);
            }
            if self.gzip.as_ref().is_some_and(|gzip| gzip.is_damaged()) {
                return Err(Error::BadGzip);
            }
            done.taken += step.taken;
            done.given += step.given;
            if skipped == 0 && step == Progress::default() {
                break;
            }
        }
        if self.framing.is_done() {
            self.finish(done.given < out.len())?;
        }
        Ok(done)
    }

    /// All data came; what the decoder still holds may not have been given yet.
    fn finish(&mut self, had_room: bool) -> Result<(), Error> {
        self.done = match &self.gzip {
            Some(gzip) if !gzip.is_at_end() => {
                if had_room {
                    return Err(Error::BadGzip);
                }
                false
            }
            _ => true,
        };
        Ok(())
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> Progress {
    let len = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..len), to.get_mut(..len)) {
        to.copy_from_slice(from);
    }
    Progress {
        taken: len,
        given: len,
    }
}

/// What both readers do alike.
#[derive(Debug)]
struct Reader<H> {
    limits: Limits,
    lines: LineBuffer,
    head: Option<H>,
    body: Option<Body>,
    failed: Option<Error>,
}

impl<H> Reader<H> {
    fn new(limits: Limits, empty_lines_max: u8) -> Reader<H> {
        Reader {
            limits,
            lines: LineBuffer::new(empty_lines_max),
            head: None,
            body: None,
            failed: None,
        }
    }

    /// `begin` makes head and body of the lines; `None` to read another head.
    fn read(
        &mut self,
        input: &[u8],
        out: &mut [u8],
        begin: impl FnMut(&LineBuffer, &Limits) -> Result<Option<(H, Body)>, Error>,
    ) -> Result<Progress, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.read_part(input, out, begin);
        self.failed = result.err();
        result
    }

    fn read_part(
        &mut self,
        input: &[u8],
        out: &mut [u8],
        mut begin: impl FnMut(&LineBuffer, &Limits) -> Result<Option<(H, Body)>, Error>,
    ) -> Result<Progress, Error> {
        if let Some(body) = &mut self.body {
            if body.done {
                return Ok(Progress::default());
            }
            return body.read(input, out, &self.limits);
        }
        let mut taken = 0;
        while let Some(rest) = input.get(taken..).filter(|rest| !rest.is_empty()) {
            let (len, complete) = self.lines.feed(rest, &self.limits)?;
            taken += len;
            if complete {
                let lines = core::mem::take(&mut self.lines);
                if let Some((head, body)) = begin(&lines, &self.limits)? {
                    self.head = Some(head);
                    self.body = Some(body);
                    break;
                }
            }
        }
        Ok(Progress { taken, given: 0 })
    }

    fn end(&mut self) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = match &mut self.body {
            Some(body) if body.done => Ok(()),
            Some(body) => {
                // What is still inside comes with the next call of `handle_input`.
                body.done = body.gzip.is_none();
                body.framing.end()
            }
            None => Err(Error::UnexpectedEnd),
        };
        self.failed = result.err();
        result
    }

    fn is_done(&self) -> bool {
        self.failed.is_none() && self.body.as_ref().is_some_and(|body| body.done)
    }

    fn trailers(&self) -> Option<&Headers> {
        self.body.as_ref().map(|body| &body.trailers)
    }
}

/// Reads one request: its head first, then the data of its body.
///
/// A call returns when the head is complete, so that the caller may look at it before it takes
/// the body, and when the request is complete: what follows belongs to the next one.
#[derive(Debug)]
pub struct RequestReader {
    reader: Reader<RequestHead>,
}

impl RequestReader {
    /// A reader at the beginning of a request.
    #[must_use]
    pub fn new(limits: Limits) -> RequestReader {
        RequestReader {
            reader: Reader::new(limits, 2),
        }
    }

    /// Takes bytes from the stream, and writes data of the body to `out`.
    ///
    /// Nothing is taken when the request is complete, or when `out` is full.
    ///
    /// # Errors
    /// Any [`Error`] about the message; the reader stays at it.
    pub fn handle_input(&mut self, input: &[u8], out: &mut [u8]) -> Result<Progress, Error> {
        self.reader.read(input, out, |lines, limits| {
            let head = RequestHead::parse(lines.bytes(), lines.lines(), limits)?;
            let length = BodyLength::of_request(&head)?;
            let known = |expectation: &[u8]| expectation.eq_ignore_ascii_case(b"100-continue");
            if !head.headers.list("Expect").all(known) {
                return Err(Error::UnsupportedExpectation);
            }
            let body = Body::new(length, false, limits)?;
            Ok(Some((head, body)))
        })
    }

    /// Whether no byte of a request has come.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.reader.head.is_none() && self.reader.lines.is_empty()
    }

    /// The head, once it is complete.
    #[must_use]
    pub fn head(&self) -> Option<&RequestHead> {
        self.reader.head.as_ref()
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        !self.is_done()
            && self
                .head()
                .is_some_and(|head| head.version == Version::Http11 && head.headers.has("Expect"))
    }

    /// The trailers, once the request is complete.
    #[must_use]
    pub fn trailers(&self) -> Option<&Headers> {
        self.reader.trailers()
    }

    /// Whether head and body are complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.reader.is_done()
    }

    /// Whether the client would send another request on the same stream.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        self.head()
            .is_some_and(|head| keeps_alive(head.version, &head.headers))
    }
}

/// Reads the answer to one request: its head first, then the data of its body.
///
/// Heads with a status 1xx are skipped. A call returns when the head is complete, so that the
/// caller may look at it before it takes the body, and when the answer is complete.
#[derive(Debug)]
pub struct ResponseReader {
    reader: Reader<ResponseHead>,
    asked: Method,
    decode_gzip: bool,
    informational: u8,
}

impl ResponseReader {
    /// A reader for the answer to a request with this method. With `decode_gzip` a body that the
    /// server compressed (`Content-Encoding: gzip`) is given as it was before; other codings are
    /// an error. Without, the data are given as they come.
    #[must_use]
    pub fn new(asked: Method, decode_gzip: bool, limits: Limits) -> ResponseReader {
        ResponseReader {
            reader: Reader::new(limits, 0),
            asked,
            decode_gzip,
            informational: 0,
        }
    }

    /// Takes bytes from the stream, and writes data of the body to `out`.
    ///
    /// Nothing is taken when the answer is complete, or when `out` is full. A full `out` may leave
    /// data inside: call again until it is not full, even without input.
    ///
    /// # Errors
    /// Any [`Error`] about the message; the reader stays at it.
    pub fn handle_input(&mut self, input: &[u8], out: &mut [u8]) -> Result<Progress, Error> {
        let (asked, decode, informational) =
            (&self.asked, self.decode_gzip, &mut self.informational);
        self.reader.read(input, out, |lines, limits| {
            let head = ResponseHead::parse(lines.bytes(), lines.lines())?;
            if head.status.is_informational() {
                *informational += 1;
                // Nobody asked for another protocol.
                if *informational > limits.informational_max || head.status.0 == 101 {
                    return Err(Error::BadHead);
                }
                return Ok(None);
            }
            let length = BodyLength::of_response(&head, asked)?;
            let gzip = decode && is_gzip(&head.headers)? && length != BodyLength::Known(0);
            let body = Body::new(length, gzip, limits)?;
            Ok(Some((head, body)))
        })
    }

    /// The stream ended. Call [`handle_input`](ResponseReader::handle_input) without input until
    /// it gives nothing, then [`is_done`](ResponseReader::is_done) says whether all is well.
    ///
    /// # Errors
    /// [`Error::UnexpectedEnd`] if the answer is not complete.
    pub fn handle_end(&mut self) -> Result<(), Error> {
        self.reader.end()
    }

    /// The head, once it is complete.
    #[must_use]
    pub fn head(&self) -> Option<&ResponseHead> {
        self.reader.head.as_ref()
    }

    /// How the end of the body is told; `None` before the head is complete.
    #[must_use]
    pub fn body_length(&self) -> Option<BodyLength> {
        BodyLength::of_response(self.head()?, &self.asked).ok()
    }

    /// Whether the data are decompressed on the way, so that their length is not told.
    #[must_use]
    pub fn is_decoding(&self) -> bool {
        (self.reader.body.as_ref()).is_some_and(|body| body.gzip.is_some())
    }

    /// The trailers, once the answer is complete.
    #[must_use]
    pub fn trailers(&self) -> Option<&Headers> {
        self.reader.trailers()
    }

    /// Whether head and body are complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.reader.is_done()
    }

    /// Whether the server takes another request on the same stream.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        self.body_length()
            .is_some_and(|length| length != BodyLength::UntilClose)
            && self
                .head()
                .is_some_and(|head| keeps_alive(head.version, &head.headers))
    }
}

fn is_gzip(headers: &Headers) -> Result<bool, Error> {
    let mut codings = headers
        .list("Content-Encoding")
        .filter(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(one), None)
            if one.eq_ignore_ascii_case(b"gzip") || one.eq_ignore_ascii_case(b"x-gzip") =>
        {
            Ok(true)
        }
        _ => Err(Error::UnsupportedContentEncoding),
    }
}

/// RFC 9112 section 9.3.
fn keeps_alive(version: Version, headers: &Headers) -> bool {
    !headers.list_has("Connection", "close")
        && (version == Version::Http11 || headers.list_has("Connection", "keep-alive"))
}
