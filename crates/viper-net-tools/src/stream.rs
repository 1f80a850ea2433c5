//! Streams of bytes, plain or through TLS, that never wait by themselves.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use viper_rt::Error;
use viper_tls::Connection;

/// Why bytes do not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not now: wait, then try again.
    WouldBlock,
    /// The connection ended, or the network refused.
    Network(Error),
    /// TLS refused.
    Tls(viper_tls::Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        match error {
            Error::WouldBlock => Fault::WouldBlock,
            other => Fault::Network(other),
        }
    }
}

impl From<viper_tls::Error> for Fault {
    fn from(error: viper_tls::Error) -> Fault {
        Fault::Tls(error)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::WouldBlock => f.write_str("it would have to wait"),
            Fault::Network(error) => error.fmt(f),
            Fault::Tls(error) => error.fmt(f),
        }
    }
}

/// A connection to a peer.
pub trait Stream {
    /// Reads what is there; 0 is the end.
    ///
    /// # Errors
    /// [`Fault::WouldBlock`] if nothing is there, and whatever ended the connection.
    fn try_read(&mut self, to: &mut [u8]) -> Result<usize, Fault>;

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// [`Fault::WouldBlock`] if there is none, and whatever ended the connection.
    fn try_write(&mut self, from: &[u8]) -> Result<usize, Fault>;

    /// Hands down what was written; whether that was all.
    ///
    /// # Errors
    /// Whatever ended the connection.
    fn flush(&mut self) -> Result<bool, Fault>;

    /// Says that nothing more will be written.
    ///
    /// # Errors
    /// Whatever ended the connection.
    fn shutdown_write(&mut self) -> Result<(), Fault>;

    /// Takes bytes that nobody wants any more, also when they make no sense; 0 is the end.
    ///
    /// # Errors
    /// As [`try_read`](Stream::try_read).
    fn discard(&mut self, space: &mut [u8]) -> Result<usize, Fault> {
        self.try_read(space)
    }
}

/// A stream that can be waited for.
pub trait Wait {
    /// Waits until something changes, at most until `deadline` in nanoseconds of uptime.
    ///
    /// # Errors
    /// [`Error::TimedOut`] as a [`Fault`].
    fn wait(&mut self, deadline: u64) -> Result<(), Fault>;
}

/// How much is read from the stream at a time.
const INPUT_LEN: usize = 16 << 10;

/// TLS over a stream.
#[derive(Debug)]
pub struct Secure<S> {
    stream: S,
    tls: Connection,
    input: Vec<u8>,
    /// What of `input` has not been taken by TLS yet.
    waiting: core::ops::Range<usize>,
    shut: bool,
}

impl<S: Stream> Secure<S> {
    /// TLS as `tls` has it, from its first byte on.
    #[must_use]
    pub fn new(stream: S, tls: Connection) -> Secure<S> {
        Secure {
            stream,
            tls,
            input: vec![0; INPUT_LEN],
            waiting: 0..0,
            shut: false,
        }
    }

    /// Goes on with the handshake; whether it is over.
    ///
    /// # Errors
    /// [`Fault::WouldBlock`], and whatever ended the connection.
    pub fn handshake(&mut self) -> Result<(), Fault> {
        loop {
            let sent = self.flush();
            if !self.tls.is_handshaking() {
                return sent.map(|_| ());
            }
            self.receive_despite(sent)?;
        }
    }

    /// The stream below.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Receives, also from a peer that takes nothing any more: it may have said why.
    fn receive_despite(&mut self, sent: Result<bool, Fault>) -> Result<(), Fault> {
        match (self.receive(), sent) {
            (Err(Fault::WouldBlock | Fault::Network(_)), Err(fault)) => Err(fault),
            (received, _) => received,
        }
    }

    /// Moves bytes from the stream to TLS.
    fn receive(&mut self) -> Result<(), Fault> {
        if self.waiting.is_empty() {
            let len = self.stream.try_read(&mut self.input)?;
            if len == 0 {
                self.tls.end_of_input()?;
                // A handshake cannot go on; and a peer that closed was handled before.
                return Err(Fault::Tls(viper_tls::Error::Truncated));
            }
            self.waiting = 0..len;
        }
        let bytes = self.input.get(self.waiting.clone()).unwrap_or(&[]);
        match self.tls.read_tls(bytes) {
            Ok(taken) => {
                self.waiting.start += taken;
                if taken == 0 {
                    // Only when output or plain bytes wait: both go first.
                    return Err(Fault::WouldBlock);
                }
                Ok(())
            }
            Err(error) => {
                // The peer is told why, as far as that is possible.
                let _ = self.send();
                Err(Fault::Tls(error))
            }
        }
    }

    /// Moves bytes from TLS to the stream.
    fn send(&mut self) -> Result<bool, Fault> {
        loop {
            let output = self.tls.tls_output();
            if output.is_empty() {
                return Ok(true);
            }
            match self.stream.try_write(output) {
                Ok(len) => self.tls.output_sent(len),
                Err(Fault::WouldBlock) => return Ok(false),
                Err(fault) => return Err(fault),
            }
        }
    }
}

impl<S: Stream> Stream for Secure<S> {
    fn try_read(&mut self, to: &mut [u8]) -> Result<usize, Fault> {
        loop {
            let len = self.tls.read_plain(to);
            if len > 0 || to.is_empty() {
                return Ok(len);
            }
            if self.tls.peer_closed() {
                return Ok(0);
            }
            let sent = self.flush();
            self.receive_despite(sent)?;
        }
    }

    fn try_write(&mut self, from: &[u8]) -> Result<usize, Fault> {
        self.handshake()?;
        let taken = self.tls.write_plain(from)?;
        self.flush()?;
        match taken {
            0 if !from.is_empty() => Err(Fault::WouldBlock),
            taken => Ok(taken),
        }
    }

    fn flush(&mut self) -> Result<bool, Fault> {
        let all = self.send()?;
        if all && self.shut {
            self.stream.shutdown_write()?;
        }
        Ok(all && self.stream.flush()?)
    }

    fn shutdown_write(&mut self) -> Result<(), Fault> {
        if !self.shut {
            self.shut = true;
            // After an error the alert was the last word.
            let _ = self.tls.close_notify();
        }
        self.flush().map(|_| ())
    }

    fn discard(&mut self, space: &mut [u8]) -> Result<usize, Fault> {
        match self.try_read(space) {
            Err(Fault::Tls(_)) => self.stream.try_read(space),
            result => result,
        }
    }
}

impl<S: Wait> Wait for Secure<S> {
    fn wait(&mut self, deadline: u64) -> Result<(), Fault> {
        self.stream.wait(deadline)
    }
}

/// A stream of either kind.
#[derive(Debug)]
pub enum Either<S> {
    /// In clear text.
    Plain(S),
    /// Over TLS.
    Secure(alloc::boxed::Box<Secure<S>>),
}

impl<S: Stream> Either<S> {
    /// The stream that carries it.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        match self {
            Either::Plain(stream) => stream,
            Either::Secure(stream) => stream.get_ref(),
        }
    }
}

impl<S: Stream> Stream for Either<S> {
    fn try_read(&mut self, to: &mut [u8]) -> Result<usize, Fault> {
        match self {
            Either::Plain(stream) => stream.try_read(to),
            Either::Secure(stream) => stream.try_read(to),
        }
    }

    fn try_write(&mut self, from: &[u8]) -> Result<usize, Fault> {
        match self {
            Either::Plain(stream) => stream.try_write(from),
            Either::Secure(stream) => stream.try_write(from),
        }
    }

    fn flush(&mut self) -> Result<bool, Fault> {
        match self {
            Either::Plain(stream) => stream.flush(),
            Either::Secure(stream) => stream.flush(),
        }
    }

    fn shutdown_write(&mut self) -> Result<(), Fault> {
        match self {
            Either::Plain(stream) => stream.shutdown_write(),
            Either::Secure(stream) => stream.shutdown_write(),
        }
    }

    fn discard(&mut self, space: &mut [u8]) -> Result<usize, Fault> {
        match self {
            Either::Plain(stream) => stream.discard(space),
            Either::Secure(stream) => stream.discard(space),
        }
    }
}

impl<S: Wait> Wait for Either<S> {
    fn wait(&mut self, deadline: u64) -> Result<(), Fault> {
        match self {
            Either::Plain(stream) => stream.wait(deadline),
            Either::Secure(stream) => stream.wait(deadline),
        }
    }
}
