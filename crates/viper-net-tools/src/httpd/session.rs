//! One client.

use super::{Body, Counters, TURN_LEN, Tree, answer};
use crate::stream::{Fault, Stream};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;
use viper_http::server::{Config, Connection};

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// At once, but others first.
    More,
    /// When the stream says so.
    Waits,
    /// Never again.
    Ended,
}

/// How much of a request is read at a time.
const INPUT_LEN: usize = 4 << 10;
/// How long a client that was told to go may still send, so that the answer is not lost to it.
const LINGER: Duration = Duration::from_secs(2);

/// A stream, the protocol on it, and the file that is being sent.
#[derive(Debug)]
pub(super) struct Session<S, F> {
    stream: S,
    http: Connection,
    body: Option<Body<F>>,
    input: Vec<u8>,
    waiting: Range<usize>,
    /// No more comes from the client.
    ended: bool,
    /// Our side is closed; until when the client may still send.
    leaving: Option<Duration>,
    /// When a request was complete, or part of an answer was taken, last.
    served_at: Duration,
    failed: bool,
}

impl<S: Stream, F> Session<S, F> {
    pub(super) fn new(stream: S, config: Config, now: Duration) -> Session<S, F> {
        Session {
            stream,
            http: Connection::new(config, now),
            body: None,
            input: vec![0; INPUT_LEN],
            waiting: 0..0,
            ended: false,
            leaving: None,
            served_at: now,
            failed: false,
        }
    }

    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    pub(super) fn served_at(&self) -> Duration {
        self.served_at
    }

    pub(super) fn deadline(&self) -> Duration {
        self.leaving.unwrap_or_else(|| self.http.poll_timeout())
    }

    pub(super) fn time_out(&mut self, now: Duration) {
        if self.leaving.is_some() || self.http.is_closed() {
            self.failed = true;
        } else {
            self.http.handle_timeout(now);
        }
    }

    /// Does what can be done now, up to a bound.
    pub(super) fn advance<T: Tree<File = F>>(
        &mut self,
        now: Duration,
        tree: &mut T,
        buffer: &mut [u8],
        counters: &mut Counters,
    ) -> Progress {
        let mut moved = 0;
        while moved < TURN_LEN && !self.failed {
            match self.step(now, tree, buffer, counters) {
                Ok(0) => return Progress::Waits,
                Ok(len) => moved += len,
                // What TLS refuses is told to the client, which has to have time to hear it.
                Err(Fault::Tls(_)) if self.leaving.is_none() => {
                    if self.stream.shutdown_write().is_err() {
                        return Progress::Ended;
                    }
                    self.leaving = Some(now.saturating_add(LINGER));
                }
                Err(_) => return Progress::Ended,
            }
        }
        match self.failed {
            true => Progress::Ended,
            false => Progress::More,
        }
    }

    /// Moves something, and says about how much; 0 if nothing can be moved now.
    fn step<T: Tree<File = F>>(
        &mut self,
        now: Duration,
        tree: &mut T,
        buffer: &mut [u8],
        counters: &mut Counters,
    ) -> Result<usize, Fault> {
        if self.leaving.is_some() {
            return self.leave(buffer);
        }
        let mut moved = self.take_requests(now, buffer)?;
        moved += self.make_answer(now, tree, buffer, counters);
        moved += self.send(now, counters)?;
        if self.http.is_closed() && self.stream.flush()? {
            self.stream.shutdown_write()?;
            self.leaving = Some(now.saturating_add(LINGER));
            moved += 1;
        }
        Ok(moved)
    }

    /// From the stream to the protocol.
    fn take_requests(&mut self, now: Duration, sink: &mut [u8]) -> Result<usize, Fault> {
        if self.waiting.is_empty() && !self.ended && self.http.poll_output().is_empty() {
            match self.stream.try_read(&mut self.input) {
                Ok(0) => {
                    self.ended = true;
                    let _ = self.http.handle_end();
                    return Ok(1);
                }
                Ok(len) => self.waiting = 0..len,
                Err(Fault::WouldBlock) => {}
                Err(fault) => return Err(fault),
            }
        }
        let input = self.input.get(self.waiting.clone()).unwrap_or(&[]);
        // A request that is wrong is answered by `http` itself, and its body goes nowhere.
        match self.http.handle_input(now, input, sink) {
            Ok(progress) => {
                self.waiting.start += progress.taken;
                Ok(progress.taken)
            }
            Err(_) => {
                self.waiting = 0..0;
                Ok(1)
            }
        }
    }

    /// From files to the protocol.
    fn make_answer<T: Tree<File = F>>(
        &mut self,
        now: Duration,
        tree: &mut T,
        buffer: &mut [u8],
        counters: &mut Counters,
    ) -> usize {
        let mut moved = 0;
        if let Some(request) = self.http.request() {
            let made = answer(request, tree);
            let length = made.body.length();
            self.body = Some(made.body);
            counters.requests += 1;
            self.served_at = now;
            if self.http.respond(now, made.head, length).is_err() {
                self.http.abandon();
            }
            moved += 1;
        }
        // Not for every byte of room: files are read in large pieces.
        while self.http.is_answering()
            && self.http.poll_output().len() < TURN_LEN / 2
            && moved < TURN_LEN
        {
            let len = self.fill(tree, buffer);
            moved += len.max(1);
            if len == 0 {
                break;
            }
        }
        if self.http.is_answering() && (self.is_complete() || self.http.is_dropping()) {
            self.http.finish(now);
            moved += 1;
        }
        if !self.http.is_answering()
            && let Some(Body::File { file, .. }) = self.body.take()
        {
            tree.close(file);
        }
        moved
    }

    /// Whether all of the body was handed over.
    fn is_complete(&self) -> bool {
        match &self.body {
            Some(body) => body.length() == viper_http::BodyLength::Known(0),
            None => true,
        }
    }

    /// Hands a piece of the body over; how long it was.
    fn fill<T: Tree<File = F>>(&mut self, tree: &mut T, buffer: &mut [u8]) -> usize {
        if self.http.is_dropping() {
            return 0;
        }
        let room = self.http.room().min(buffer.len());
        match &mut self.body {
            Some(Body::Bytes(bytes)) => {
                let len = self.http.write(bytes);
                bytes.drain(..len);
                len
            }
            Some(Body::File { file, start, end }) => {
                let left = usize::try_from(end.saturating_sub(*start)).unwrap_or(usize::MAX);
                let Some(part) = buffer.get_mut(..room.min(left)) else {
                    return 0;
                };
                if part.is_empty() {
                    return 0;
                }
                match tree.read(file, *start, part) {
                    // Shorter than it was: the client must not take it for complete.
                    Ok(0) | Err(_) => {
                        self.http.abandon();
                        0
                    }
                    Ok(len) => {
                        let len = self.http.write(part.get(..len).unwrap_or(&[]));
                        *start = start.saturating_add(len as u64);
                        len
                    }
                }
            }
            None => 0,
        }
    }

    /// From the protocol to the stream.
    fn send(&mut self, now: Duration, counters: &mut Counters) -> Result<usize, Fault> {
        let output = self.http.poll_output();
        if output.is_empty() {
            self.stream.flush()?;
            return Ok(0);
        }
        match self.stream.try_write(output) {
            Ok(len) => {
                self.http.output_sent(now, len);
                self.served_at = now;
                counters.bytes += len as u64;
                Ok(len)
            }
            Err(Fault::WouldBlock) => Ok(0),
            Err(fault) => Err(fault),
        }
    }

    /// Takes what the client still sends, until it closes: closing on it earlier would make the
    /// network throw the answer away before it was read.
    fn leave(&mut self, sink: &mut [u8]) -> Result<usize, Fault> {
        self.stream.flush()?;
        if self.ended {
            self.failed = true;
            return Ok(1);
        }
        match self.stream.discard(sink) {
            Ok(0) => {
                self.failed = true;
                Ok(1)
            }
            Ok(len) => Ok(len),
            Err(Fault::WouldBlock) => Ok(0),
            Err(fault) => Err(fault),
        }
    }

    pub(super) fn into_parts(self) -> (S, Option<F>) {
        let file = match self.body {
            Some(Body::File { file, .. }) => Some(file),
            _ => None,
        };
        (self.stream, file)
    }
}
