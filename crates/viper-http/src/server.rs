//! One connection of a server: requests in, answers out, one after the other.

use crate::framing::{encode_chunk, encode_last_chunk};
use crate::{
    BodyLength, Error, Headers, Limits, Method, Progress, RequestHead, RequestReader, ResponseHead,
    Version,
};
use alloc::vec::Vec;
use core::time::Duration;

/// How long a client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From one answer to the next request.
    pub idle: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Without a byte of the body, and without taking a byte of the answer.
    pub progress: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            idle: Duration::from_secs(30),
            head: Duration::from_secs(15),
            progress: Duration::from_secs(30),
        }
    }
}

/// What a [`Connection`] allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Sizes.
    pub limits: Limits,
    /// Times.
    pub timeouts: Timeouts,
    /// Requests after which the connection is closed.
    pub requests_max: u32,
    /// Bytes of answers that wait to be sent, at most, but for a head.
    pub output_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            limits: Limits::SERVER,
            timeouts: Timeouts::default(),
            requests_max: 1000,
            output_bytes_max: 64 << 10,
        }
    }
}

/// What the connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for a request, or takes one.
    Reading,
    /// The head of the answer is out, the body comes.
    Answering(AnswerBody),
    /// Sends what is left; then the stream is to be closed.
    Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnswerBody {
    /// So many bytes are missing.
    Known(u64),
    /// HEAD, 204, 304: so many bytes are written by the caller and dropped here.
    Dropped(u64),
    Chunked,
    /// Chunks that are dropped.
    DroppedChunks,
    UntilClose,
}

/// A server's side of one connection.
///
/// The caller moves bytes and answers requests; the connection keeps the protocol: framing,
/// keep-alive, time-outs, and the answers to requests that are wrong. While a request is being
/// answered no further one is taken, so a client that sends and never reads fills its own pipe.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    reader: RequestReader,
    phase: Phase,
    keep_alive: bool,
    requests: u32,
    output: Vec<u8>,
    sent: usize,
    deadline: Duration,
}

impl Connection {
    /// A connection that was just accepted.
    #[must_use]
    pub fn new(config: Config, now: Duration) -> Connection {
        Connection {
            config,
            reader: RequestReader::new(config.limits),
            phase: Phase::Reading,
            keep_alive: false,
            requests: 0,
            output: Vec::new(),
            sent: 0,
            deadline: now.saturating_add(config.timeouts.idle),
        }
    }

    /// Takes bytes from the stream, and writes data of a request's body to `body`.
    ///
    /// Nothing is taken while a request waits for its answer or is being answered, or when `body`
    /// is full. An error is answered by itself; after it the connection only closes.
    ///
    /// # Errors
    /// What is wrong with the request, for a log.
    pub fn handle_input(
        &mut self,
        now: Duration,
        input: &[u8],
        body: &mut [u8],
    ) -> Result<Progress, Error> {
        if self.phase != Phase::Reading || self.reader.is_done() {
            return Ok(Progress::default());
        }
        let (was_idle, had_head) = (self.reader.is_idle(), self.reader.head().is_some());
        let progress = match self.reader.handle_input(input, body) {
            Ok(progress) => progress,
            Err(error) => {
                self.refuse(now, error);
                return Err(error);
            }
        };
        let timeouts = self.config.timeouts;
        if self.reader.head().is_some() {
            if !had_head || progress != Progress::default() {
                self.deadline = now.saturating_add(timeouts.progress);
            }
        } else if was_idle && !self.reader.is_idle() {
            self.deadline = now.saturating_add(timeouts.head);
        }
        Ok(progress)
    }

    /// The stream ended: no further request comes. An answer under way can still be sent.
    ///
    /// # Errors
    /// [`Error::UnexpectedEnd`] in the midst of a request.
    pub fn handle_end(&mut self) -> Result<(), Error> {
        self.keep_alive = false;
        if self.phase != Phase::Reading || self.reader.is_done() {
            return Ok(());
        }
        self.phase = Phase::Closing;
        if self.reader.is_idle() {
            return Ok(());
        }
        Err(Error::UnexpectedEnd)
    }

    /// The request that waits for an answer. Its body may not be complete: it may be taken first,
    /// or else the connection closes after the answer.
    #[must_use]
    pub fn request(&self) -> Option<&RequestHead> {
        match self.phase {
            Phase::Reading => self.reader.head(),
            _ => None,
        }
    }

    /// Whether the body of the request is complete, too.
    #[must_use]
    pub fn is_request_complete(&self) -> bool {
        self.reader.is_done()
    }

    /// Tells a client that waits for it to send the body.
    pub fn send_continue(&mut self) {
        if self.phase == Phase::Reading && self.reader.expects_continue() {
            self.output
                .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// Begins the answer. Length and `Connection` are written here, and must not be in `head`.
    ///
    /// A length that is not known goes in chunks to clients that can take them. For HEAD, give
    /// the same as for GET: the body is dropped.
    ///
    /// # Errors
    /// [`Error::WrongState`] without a request; those of [`ResponseHead::encode`].
    pub fn respond(
        &mut self,
        now: Duration,
        mut head: ResponseHead,
        length: BodyLength,
    ) -> Result<(), Error> {
        let request = self.request().ok_or(Error::WrongState)?;
        let is_head = request.method == Method::Head;
        let old = request.version == Version::Http10;
        let length = match length {
            BodyLength::Chunked if old => BodyLength::UntilClose,
            BodyLength::UntilClose if !old => BodyLength::Chunked,
            other => other,
        };
        self.requests = self.requests.saturating_add(1);
        self.keep_alive = self.reader.keeps_alive()
            && self.reader.is_done()
            && self.requests < self.config.requests_max
            && length != BodyLength::UntilClose;
        let bodiless = is_head || head.status.is_bodiless();
        let body = match length {
            BodyLength::Known(len) => {
                if !head.status.is_bodiless() {
                    head.headers.push("Content-Length", decimal(len))?;
                }
                match bodiless {
                    true => AnswerBody::Dropped(len),
                    false => AnswerBody::Known(len),
                }
            }
            BodyLength::Chunked => {
                if !head.status.is_bodiless() {
                    head.headers.push("Transfer-Encoding", "chunked")?;
                }
                match bodiless {
                    true => AnswerBody::DroppedChunks,
                    false => AnswerBody::Chunked,
                }
            }
            BodyLength::UntilClose if bodiless => AnswerBody::DroppedChunks,
            BodyLength::UntilClose => AnswerBody::UntilClose,
        };
        if !self.keep_alive {
            head.headers.push("Connection", "close")?;
        } else if old {
            head.headers.push("Connection", "keep-alive")?;
        }
        head.encode(&mut self.output)?;
        self.phase = Phase::Answering(body);
        self.deadline = now.saturating_add(self.config.timeouts.progress);
        Ok(())
    }

    /// How many bytes of the answer's body [`write`](Connection::write) takes now.
    #[must_use]
    pub fn room(&self) -> usize {
        let Phase::Answering(body) = self.phase else {
            return 0;
        };
        let waiting = self.output.len().saturating_sub(self.sent);
        let room = self.config.output_bytes_max.saturating_sub(waiting);
        match body {
            AnswerBody::Known(left) => usize::try_from(left).unwrap_or(usize::MAX).min(room),
            AnswerBody::Dropped(_) | AnswerBody::DroppedChunks => usize::MAX,
            AnswerBody::Chunked | AnswerBody::UntilClose => room,
        }
    }

    /// Whether the body of the answer has not been written completely.
    #[must_use]
    pub fn is_answering(&self) -> bool {
        matches!(self.phase, Phase::Answering(_))
    }

    /// Whether what is written now goes nowhere: the client asked for the head only.
    #[must_use]
    pub fn is_dropping(&self) -> bool {
        matches!(
            self.phase,
            Phase::Answering(AnswerBody::Dropped(_) | AnswerBody::DroppedChunks)
        )
    }

    /// Writes data of the answer's body; returns how much was taken, [`room`](Connection::room) at
    /// most.
    pub fn write(&mut self, data: &[u8]) -> usize {
        let data = data.get(..self.room()).unwrap_or(data);
        match &mut self.phase {
            Phase::Answering(AnswerBody::Known(left)) => {
                *left = left.saturating_sub(data.len() as u64);
                self.output.extend_from_slice(data);
            }
            Phase::Answering(AnswerBody::Dropped(left)) => {
                *left = left.saturating_sub(data.len() as u64);
            }
            Phase::Answering(AnswerBody::Chunked) => encode_chunk(data, &mut self.output),
            Phase::Answering(AnswerBody::UntilClose) => self.output.extend_from_slice(data),
            _ => {}
        }
        data.len()
    }

    /// Ends the answer. An answer that is shorter than it said cannot be mended: the connection
    /// closes, and the client sees that data are missing.
    pub fn finish(&mut self, now: Duration) {
        let Phase::Answering(body) = self.phase else {
            return;
        };
        match body {
            AnswerBody::Known(left) if left > 0 => self.keep_alive = false,
            AnswerBody::Chunked => encode_last_chunk(&Headers::new(), &mut self.output),
            _ => {}
        }
        if self.keep_alive {
            self.phase = Phase::Reading;
            self.reader = RequestReader::new(self.config.limits);
            self.deadline = now.saturating_add(self.config.timeouts.idle);
        } else {
            self.phase = Phase::Closing;
        }
    }

    /// Gives up on the answer in its midst: what is out is sent, then the connection closes.
    pub fn abandon(&mut self) {
        self.keep_alive = false;
        self.phase = Phase::Closing;
    }

    /// Bytes to send.
    #[must_use]
    pub fn poll_output(&self) -> &[u8] {
        self.output.get(self.sent..).unwrap_or(&[])
    }

    /// So many of them were sent.
    pub fn output_sent(&mut self, now: Duration, len: usize) {
        self.sent = self.sent.saturating_add(len).min(self.output.len());
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
        } else if self.sent >= self.config.output_bytes_max {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        if len > 0 {
            let timeouts = self.config.timeouts;
            let idle = self.phase == Phase::Reading && self.reader.is_idle();
            let timeout = if idle {
                timeouts.idle
            } else {
                timeouts.progress
            };
            if idle || self.phase != Phase::Reading {
                self.deadline = now.saturating_add(timeout);
            }
        }
    }

    /// Whether everything is sent and nothing more will come: close the stream.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closing && self.poll_output().is_empty()
    }

    /// When to call [`handle_timeout`](Connection::handle_timeout). Any other call may change it.
    #[must_use]
    pub fn poll_timeout(&self) -> Duration {
        self.deadline
    }

    /// The time has come: the client was too slow. One that was in the midst of a request is told
    /// so, the others are cut off.
    pub fn handle_timeout(&mut self, now: Duration) {
        if now < self.deadline {
            return;
        }
        if self.phase == Phase::Reading && !self.reader.is_idle() && self.output.is_empty() {
            self.refuse(now, Error::TimedOut);
        } else {
            self.output.clear();
            self.sent = 0;
            self.abandon();
        }
    }

    /// Answers what cannot be answered otherwise, and closes.
    fn refuse(&mut self, now: Duration, error: Error) {
        let status = error.status();
        let text = alloc::format!("{status}: {error}\n");
        let head = ResponseHead::new(status)
            .with("Content-Type", "text/plain; charset=utf-8")
            .and_then(|head| head.with("Content-Length", decimal(text.len() as u64)))
            .and_then(|head| head.with("Connection", "close"));
        let is_head = self
            .reader
            .head()
            .is_some_and(|head| head.method == Method::Head);
        if let Ok(head) = head
            && head.encode(&mut self.output).is_ok()
            && !is_head
        {
            self.output.extend_from_slice(text.as_bytes());
        }
        self.deadline = now.saturating_add(self.config.timeouts.progress);
        self.abandon();
    }
}

fn decimal(number: u64) -> alloc::string::String {
    alloc::format!("{number}")
}
