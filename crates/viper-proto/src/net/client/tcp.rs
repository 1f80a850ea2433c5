//! TCP connections and listeners.

use super::SocketAddr;
use super::session::{End, Inner, Made, Session, open};
use crate::net::bits;
use alloc::sync::Arc;
use viper_rt::abi::{Rights, Signals};
use viper_rt::handle::Event;
use viper_rt::ring::{Consumer, Producer};
use viper_rt::{Error, Object};

/// A TCP connection. Dropping it closes it: what was written is still sent.
#[derive(Debug)]
pub struct TcpStream {
    reader: TcpReader,
    writer: TcpWriter,
}

/// The reading half of a [`TcpStream`]; the connection is closed when both are dropped.
#[derive(Debug)]
pub struct TcpReader {
    end: Arc<End>,
    ring: Consumer,
    is_ended: bool,
}

/// The writing half of a [`TcpStream`]; the connection is closed when both are dropped.
#[derive(Debug)]
pub struct TcpWriter {
    end: Arc<End>,
    ring: Producer,
    is_shut: bool,
}

pub(super) fn connect(inner: &Arc<Inner>, to: SocketAddr) -> Result<TcpStream, Error> {
    let session = inner.session()?;
    match session.call(|client| client.tcp_connect(to.into())) {
        Ok(made) => TcpStream::new(session, made),
        Err(Error::PeerClosed) => {
            session.died();
            Err(Error::ServerDied)
        }
        Err(error) => Err(error),
    }
}

impl TcpStream {
    fn new(session: Arc<Session>, made: Made) -> Result<TcpStream, Error> {
        let (end, tx, rx) = open(session, made)?;
        Ok(TcpStream {
            reader: TcpReader {
                end: end.clone(),
                ring: rx,
                is_ended: false,
            },
            writer: TcpWriter {
                end,
                ring: tx,
                is_shut: false,
            },
        })
    }

    /// Whether it is connected; `false` while it is being made.
    ///
    /// # Errors
    /// [`Error::ConnectionRefused`], [`Error::Unreachable`] or whatever has ended it.
    pub fn is_connected(&self) -> Result<bool, Error> {
        self.reader.end.is_open()
    }

    /// Waits until it is connected.
    ///
    /// # Errors
    /// As [`TcpStream::is_connected`]; [`Error::TimedOut`].
    pub fn wait_connected(&self, deadline: u64) -> Result<(), Error> {
        while !self.is_connected()? {
            self.reader.end.wait(bits::ALL, deadline)?;
        }
        Ok(())
    }

    /// Reads what is there. `Ok(0)` is the end of the stream (or of `to`).
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if nothing is there: the event is signalled when that changes.
    /// [`Error::ConnectionReset`], [`Error::ServerDied`] and whatever else ended the connection,
    /// once everything that came before was read.
    #[inline]
    pub fn try_read(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        self.reader.try_read(to)
    }

    /// Reads, waiting for the first byte. `Ok(0)` is the end of the stream (or of `to`).
    ///
    /// # Errors
    /// As [`TcpStream::try_read`]; [`Error::TimedOut`] instead of `WouldBlock`.
    #[inline]
    pub fn read(&mut self, to: &mut [u8], deadline: u64) -> Result<usize, Error> {
        self.reader.read(to, deadline)
    }

    /// Reads until `to` is full.
    ///
    /// # Errors
    /// As [`TcpStream::read`]; [`Error::PeerClosed`] if the stream ends before.
    pub fn read_exact(&mut self, to: &mut [u8], deadline: u64) -> Result<(), Error> {
        self.reader.read_exact(to, deadline)
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if there is none: the event is signalled when that changes.
    /// [`Error::PeerClosed`] after [`TcpStream::shutdown_write`] or if nobody reads any more;
    /// [`Error::ConnectionReset`], [`Error::ServerDied`] and whatever else ended the connection.
    #[inline]
    pub fn try_write(&mut self, from: &[u8]) -> Result<usize, Error> {
        self.writer.try_write(from)
    }

    /// Writes all of it, waiting for room.
    ///
    /// # Errors
    /// As [`TcpStream::try_write`]; [`Error::TimedOut`] instead of `WouldBlock`.
    pub fn write_all(&mut self, from: &[u8], deadline: u64) -> Result<(), Error> {
        self.writer.write_all(from, deadline)
    }

    /// Says that nothing more will be written: the other end reads the end of the stream.
    ///
    /// # Errors
    /// Whatever ended the connection before.
    pub fn shutdown_write(&mut self) -> Result<(), Error> {
        self.writer.shutdown()
    }

    /// Ends the connection at once: the other end gets a reset, and what is on the way is lost.
    pub fn abort(self) {
        self.reader.end.abort();
    }

    /// Two halves, for two threads.
    #[must_use]
    pub fn split(self) -> (TcpReader, TcpWriter) {
        (self.reader, self.writer)
    }

    /// The other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.reader.end.link().peer.into()
    }

    /// This end.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.reader.end.link().local.into()
    }

    /// Signalled on any change: data, room, end, reset. See [`crate::net::bits`].
    #[must_use]
    pub fn event(&self) -> &Event {
        self.reader.end.event()
    }
}

impl TcpReader {
    /// As [`TcpStream::try_read`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn try_read(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        loop {
            let count = self.ring.read(to)?;
            if count > 0 || to.is_empty() {
                if self.ring.release() {
                    self.end.ring(bits::WRITE)?;
                }
                return Ok(count);
            }
            if self.is_ended || self.ring.is_ended()? {
                self.is_ended = true;
                return Ok(0);
            }
            self.end.is_open()?;
            if self.ring.prepare_wait()? {
                return Err(Error::WouldBlock);
            }
        }
    }

    /// As [`TcpStream::read`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn read(&mut self, to: &mut [u8], deadline: u64) -> Result<usize, Error> {
        loop {
            match self.try_read(to) {
                Err(Error::WouldBlock) => self.end.wait(bits::READ, deadline)?,
                result => return result,
            }
        }
    }

    /// As [`TcpStream::read_exact`].
    ///
    /// # Errors
    /// As there.
    pub fn read_exact(&mut self, to: &mut [u8], deadline: u64) -> Result<(), Error> {
        let mut rest = to;
        while !rest.is_empty() {
            match self.read(rest, deadline)? {
                0 => return Err(Error::PeerClosed),
                count => rest = rest.get_mut(count..).unwrap_or_default(),
            }
        }
        Ok(())
    }
}

impl TcpWriter {
    /// As [`TcpStream::try_write`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn try_write(&mut self, from: &[u8]) -> Result<usize, Error> {
        loop {
            self.end.is_open()?;
            if self.is_shut || self.ring.is_abandoned() {
                return Err(Error::PeerClosed);
            }
            let count = self.ring.write(from)?;
            if count > 0 || from.is_empty() {
                if self.ring.publish() {
                    self.end.ring(bits::READ)?;
                }
                return Ok(count);
            }
            // Being woken for every byte of room would be no help to anybody.
            let wanted = from.len().min(self.ring.capacity() / 2);
            if self.ring.prepare_wait(wanted)? {
                return Err(Error::WouldBlock);
            }
        }
    }

    /// As [`TcpStream::write_all`].
    ///
    /// # Errors
    /// As there.
    pub fn write_all(&mut self, mut from: &[u8], deadline: u64) -> Result<(), Error> {
        while !from.is_empty() {
            match self.try_write(from) {
                Ok(count) => from = from.get(count..).unwrap_or_default(),
                Err(Error::WouldBlock) => self.end.wait(bits::WRITE, deadline)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// As [`TcpStream::shutdown_write`].
    ///
    /// # Errors
    /// As there.
    pub fn shutdown(&mut self) -> Result<(), Error> {
        if self.is_shut {
            return Ok(());
        }
        self.end.is_open()?;
        self.is_shut = true;
        self.ring.close();
        self.end.ring(bits::READ)
    }
}

/// A TCP listener. It outlives the server: what it listens at is registered again.
#[derive(Debug)]
pub struct TcpListener {
    inner: Arc<Inner>,
    backlog: u32,
    wake: Arc<Event>,
    registered: Registered,
}

#[derive(Debug)]
struct Registered {
    session: Arc<Session>,
    listener: u32,
    local: SocketAddr,
}

pub(super) fn listen(
    inner: &Arc<Inner>,
    at: SocketAddr,
    backlog: u32,
) -> Result<TcpListener, Error> {
    let wake = Arc::new(Event::new()?);
    let registered = register(inner, at, backlog, &wake)?;
    Ok(TcpListener {
        inner: inner.clone(),
        backlog,
        wake,
        registered,
    })
}

fn register(
    inner: &Arc<Inner>,
    at: SocketAddr,
    backlog: u32,
    wake: &Arc<Event>,
) -> Result<Registered, Error> {
    // It may be repeated: what a server that died had registered is gone.
    inner.with(|session| {
        let theirs = wake.duplicate(Rights::SIGNAL | Rights::TRANSFER)?;
        let made = session.call(|client| client.tcp_listen(at.into(), backlog, theirs));
        let (listener, local) = made?;
        session.watch(wake)?;
        Ok(Registered {
            session: session.clone(),
            listener,
            local: local.into(),
        })
    })
}

impl TcpListener {
    /// Takes a connection that waits.
    ///
    /// After the server died this registers the listener with its successor, for which it waits.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] if there is none: the event is signalled when that changes. Those of
    /// [`super::Network::tcp_listen`] when it has to be registered again.
    pub fn try_accept(&mut self) -> Result<TcpStream, Error> {
        if self.registered.session.is_dead() {
            self.register_again()?;
        }
        let Registered {
            session, listener, ..
        } = &self.registered;
        match session.call(|client| client.tcp_accept(*listener)) {
            Ok(made) => TcpStream::new(session.clone(), made),
            Err(Error::PeerClosed) => {
                session.died();
                self.register_again()?;
                Err(Error::WouldBlock)
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// As [`TcpListener::try_accept`]; [`Error::TimedOut`] instead of `WouldBlock`.
    pub fn accept(&mut self, deadline: u64) -> Result<TcpStream, Error> {
        loop {
            match self.try_accept() {
                Err(Error::WouldBlock) => {}
                result => return result,
            }
            match self.wake.wait(Signals(u64::from(bits::ALL)), deadline) {
                Err(Error::WouldBlock) => return Err(Error::TimedOut),
                result => result?,
            };
        }
    }

    fn register_again(&mut self) -> Result<(), Error> {
        let at = self.registered.local;
        self.registered = register(&self.inner, at, self.backlog, &self.wake)?;
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.registered.local
    }

    /// Signalled when a connection waits, or the server has died.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.wake
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if !self.session.is_dead() {
            let listener = self.listener;
            let _ = self.session.call(|client| client.close(listener, false));
        }
    }
}
