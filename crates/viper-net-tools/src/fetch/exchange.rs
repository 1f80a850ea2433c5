//! One request and its answer, over a stream that is waited for.

use super::line::Line;
use super::{Failure, World};
use crate::stream::{Fault, Stream, Wait};
use alloc::vec;
use alloc::vec::Vec;
use viper_http::{
    BodyLength, Error, Limits, Method, Progress, RequestHead, ResponseHead, ResponseReader,
};

/// How long a server may be silent, unless told otherwise.
pub const TIMEOUT_NS: u64 = 30_000_000_000;
/// How much is read from the stream at a time.
const INPUT_LEN: usize = 32 << 10;

/// A request that was sent, and what comes back.
#[derive(Debug)]
pub struct Exchange<S> {
    line: Line<S>,
    reader: ResponseReader,
    input: Vec<u8>,
    waiting: core::ops::Range<usize>,
    /// Something came from the server.
    answered: bool,
    ended: bool,
    timed_out: bool,
    timeout_ns: u64,
}

impl<S: Stream + Wait> Exchange<S> {
    /// An exchange that has not begun.
    pub(super) fn new(
        line: Line<S>,
        method: Method,
        decodes: bool,
        timeout_ns: u64,
    ) -> Exchange<S> {
        Exchange {
            line,
            reader: ResponseReader::new(method, decodes, Limits::CLIENT),
            input: vec![0; INPUT_LEN],
            waiting: 0..0,
            answered: false,
            ended: false,
            timed_out: false,
            timeout_ns,
        }
    }

    /// Sends the request, and waits for the head of the answer.
    pub(super) fn begin<W: World>(
        &mut self,
        world: &mut W,
        request: &RequestHead,
    ) -> Result<ResponseHead, Failure> {
        let Err(failure) = self.send(world, request) else {
            return self.head(world).cloned();
        };
        if failure == Failure::TimedOut {
            return Err(failure);
        }
        // Whoever does not take all of it may have said why.
        match self.head(world).cloned() {
            Err(Failure::Connection(Fault::Tls(why))) if why != viper_tls::Error::Truncated => {
                Err(Fault::Tls(why).into())
            }
            Err(_) => Err(failure),
            answer => answer,
        }
    }

    fn send<W: World>(&mut self, world: &mut W, head: &RequestHead) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        head.encode(&mut bytes)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match self.line.stream.try_write(rest) {
                Ok(len) => rest = rest.get(len..).unwrap_or(&[]),
                Err(fault) => self.wait(world, fault)?,
            }
        }
        while !self.line.stream.flush()? {
            self.wait(world, Fault::WouldBlock)?;
        }
        Ok(())
    }

    /// The connection.
    pub(super) fn line(&self) -> &Line<S> {
        &self.line
    }

    /// Whether the connection ended without a byte of an answer.
    pub(super) fn is_unanswered(&self) -> bool {
        !self.answered && !self.timed_out
    }

    /// Whether the server takes another request when this one is over.
    pub(super) fn keeps_alive(&self) -> bool {
        self.reader.keeps_alive()
    }

    /// The connection, if it can serve again.
    pub(super) fn into_line(self) -> Option<Line<S>> {
        let serves =
            self.reader.is_done() && self.keeps_alive() && self.waiting.is_empty() && !self.ended;
        serves.then_some(self.line)
    }

    /// Waits for the head.
    fn head<W: World>(&mut self, world: &mut W) -> Result<&ResponseHead, Failure> {
        while self.reader.head().is_none() {
            self.advance(world, &mut [])?;
        }
        self.reader.head().ok_or(Failure::Http(Error::WrongState))
    }

    /// How long the body is, if the head tells.
    #[must_use]
    pub fn body_len(&self) -> Option<u64> {
        match self.reader.body_length()? {
            BodyLength::Known(len) if !self.reader.is_decoding() => Some(len),
            _ => None,
        }
    }

    /// Waits for data of the body; 0 at its end.
    pub(super) fn body<W: World>(
        &mut self,
        world: &mut W,
        to: &mut [u8],
    ) -> Result<usize, Failure> {
        while !self.reader.is_done() {
            let len = self.advance(world, to)?;
            if len > 0 {
                return Ok(len);
            }
        }
        Ok(0)
    }

    /// Moves bytes once: from the stream, or from what is here already.
    fn advance<W: World>(&mut self, world: &mut W, to: &mut [u8]) -> Result<usize, Failure> {
        let input = self.input.get(self.waiting.clone()).unwrap_or(&[]);
        let progress = self.reader.handle_input(input, to)?;
        self.waiting.start += progress.taken;
        if progress != Progress::default() || self.reader.is_done() {
            return Ok(progress.given);
        }
        if self.ended {
            return Err(Failure::Http(Error::UnexpectedEnd));
        }
        match self.line.stream.try_read(&mut self.input) {
            Ok(0) => {
                self.ended = true;
                self.reader.handle_end()?;
            }
            Ok(len) => {
                self.answered = true;
                self.waiting = 0..len;
            }
            Err(fault) => self.wait(world, fault)?,
        }
        Ok(0)
    }

    fn wait<W: World>(&mut self, world: &mut W, fault: Fault) -> Result<(), Failure> {
        if fault != Fault::WouldBlock {
            return Err(fault.into());
        }
        let deadline = world.now_ns().saturating_add(self.timeout_ns);
        let waited = self.line.stream.wait(deadline).map_err(Failure::from);
        self.timed_out = waited == Err(Failure::TimedOut);
        waited
    }
}
