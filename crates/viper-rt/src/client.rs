//! The client's side of a service: calls over one channel.

use crate::handle::{Channel, Object};
use crate::message::{Put, Reader, Take, Writer, close_unsent};
use crate::trace::TraceEvent;
use crate::{clock, sys, trace};
use core::cell::Cell;
use viper_abi::{Error, FOREVER};

/// A channel to a server, and how long its calls may take.
#[derive(Debug)]
pub struct Connection {
    channel: Channel,
    timeout_ns: Cell<u64>,
}

impl Connection {
    /// A connection whose calls wait as long as it takes.
    #[must_use]
    pub const fn new(channel: Channel) -> Connection {
        Connection {
            channel,
            timeout_ns: Cell::new(FOREVER),
        }
    }

    /// Limits each call from now on; [`FOREVER`] for no limit.
    pub fn set_timeout(&self, timeout_ns: u64) {
        self.timeout_ns.set(timeout_ns);
    }

    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The channel, by value.
    #[must_use]
    pub fn into_channel(self) -> Channel {
        self.channel
    }

    /// Calls an operation: `arguments` go, a `T` comes back.
    ///
    /// # Errors
    /// What the server answers; [`Error::PeerClosed`] if it is gone, [`Error::TimedOut`],
    /// [`Error::BadMessage`] if the answer is not a `T`, [`Error::MessageTooLarge`].
    #[inline]
    pub fn call<T: Take>(&self, operation: u16, arguments: impl Put) -> Result<T, Error> {
        call(&self.channel, operation, arguments, self.deadline())
    }

    fn deadline(&self) -> u64 {
        clock::after(self.timeout_ns.get())
    }
}

/// Calls an operation over a channel; see [`Connection::call`].
///
/// # Errors
/// As [`Connection::call`].
#[inline]
pub fn call<T: Take>(
    channel: &Channel,
    operation: u16,
    arguments: impl Put,
    deadline: u64,
) -> Result<T, Error> {
    let mut message = Writer::new();
    arguments.put(&mut message)?;
    let label = u32::from(trace::current()) << 16 | u32::from(operation);
    let (info, words) = message.finish(label);
    trace::note_label(label, TraceEvent::CALL, u64::from(operation));
    let reply = sys::call(channel.raw(), info, words, deadline);
    trace::note_label(
        label,
        TraceEvent::RETURN,
        reply.status | u64::from(reply.info.label()),
    );
    if let Err(error) = reply.check() {
        close_unsent(info);
        return Err(error);
    }
    let mut reader = Reader::new(&reply);
    match reader.label() {
        0 => {
            let value = T::take(&mut reader)?;
            reader.finish()?;
            Ok(value)
        }
        label => Err(Error::from_code(i64::from(label as i32)).unwrap_or(Error::BadMessage)),
    }
}

/// Queues a message that nobody answers.
///
/// # Errors
/// [`Error::PeerClosed`], [`Error::TimedOut`], [`Error::WouldBlock`], [`Error::MessageTooLarge`].
pub fn send(
    channel: &Channel,
    operation: u16,
    arguments: impl Put,
    deadline: u64,
) -> Result<(), Error> {
    let mut message = Writer::new();
    arguments.put(&mut message)?;
    let label = u32::from(trace::current()) << 16 | u32::from(operation);
    let (info, words) = message.finish(label);
    sys::send(channel.raw(), info, words, deadline)
        .check()
        .inspect_err(|_| close_unsent(info))
}
