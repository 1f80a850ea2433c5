//! A session of either role, and the five verbs that drive it.

use alloc::string::String;
use core::time::Duration;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::channel::{ChannelId, Stream};
use crate::connection::Core;
use crate::random::Random;
use crate::request::{ChannelKind, Request, Tcpip};
use crate::transport::{Incoming, Setup, Transport, version_string};
use crate::{Algorithms, Config, Error, Event, Negotiated, PrivateKey, PublicKey, message};

/// With so many events unread, no more input is taken.
const EVENTS_MAX: usize = 64;
/// With so much output unsent, no more input is taken.
const OUTPUT_MAX: usize = 512 * 1024;

/// What is particular to a client or a server: authentication. Sealed.
pub trait Role: sealed::Sealed {
    /// Handles a message of the service and authentication protocols.
    #[doc(hidden)]
    fn handle(&mut self, core: &mut Core, number: u8, payload: &[u8]) -> Result<(), Error>;

    /// The first exchange of keys is complete.
    #[doc(hidden)]
    fn keys_exchanged(&mut self, core: &mut Core) -> Result<(), Error>;

    /// Whether input has to wait for the caller.
    #[doc(hidden)]
    fn is_waiting(&self) -> bool;
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// One SSH connection, as [`Client`](crate::Client) or [`Server`](crate::Server).
///
/// `now` is always the time since any fixed moment, and must not go back.
///
/// The caller moves bytes: from its socket to [`handle_input`](Self::handle_input), from
/// [`poll_output`](Self::poll_output) to its socket; calls
/// [`handle_timeout`](Self::handle_timeout) at the time that
/// [`poll_timeout`](Self::poll_timeout) gives; and acts on what
/// [`poll_event`](Self::poll_event) tells. Any call can change the output and the time.
pub struct Session<R> {
    pub(crate) core: Core,
    pub(crate) role: R,
    login_deadline: Option<Duration>,
    failed: Option<Error>,
}

impl<R: Role> Session<R> {
    pub(crate) fn with_role(
        role: R,
        config: &Config,
        host_keys: Option<&[PrivateKey]>,
        rng: impl CryptoRng + Send + 'static,
        now: Duration,
    ) -> Result<Self, Error> {
        let mut algorithms: Algorithms = config.algorithms.clone();
        if let Some(keys) = host_keys {
            algorithms
                .host_key
                .retain(|a| keys.iter().any(|key| key.algorithm() == *a));
        }
        let is_server = host_keys.is_some();
        let setup = Setup {
            algorithms,
            host_keys: host_keys.unwrap_or_default().to_vec(),
            is_server,
            version: version_string(&config.software),
            rekey_bytes: config.rekey_bytes.max(1024),
            rekey_time: config.rekey_time.max(Duration::from_secs(1)),
        };
        let transport = Transport::new(setup, Random::new(rng), now)?;
        Ok(Session {
            core: Core::new(transport, config, is_server, now),
            role,
            login_deadline: Some(now.saturating_add(config.login_time)),
            failed: None,
        })
    }

    // The five verbs.

    /// Takes bytes that came from the peer; gives how many were taken.
    ///
    /// Fewer than all are taken while the caller has something else to do first: to act on
    /// events, or to send output. Then offer the rest again, even if nothing new arrived.
    ///
    /// # Errors
    /// Any of [`Error`], after which the session is over; a last message may be in the output.
    pub fn handle_input(&mut self, now: Duration, input: &[u8]) -> Result<usize, Error> {
        self.check()?;
        self.core.now = now;
        let mut rest = input;
        let result = self.take_input(&mut rest);
        self.guard(result)?;
        Ok(input.len() - rest.len())
    }

    /// What has to be sent to the peer. Say how much was, by [`output_sent`](Self::output_sent).
    pub fn poll_output(&self) -> &[u8] {
        self.core.transport.output()
    }

    /// Drops `len` bytes from the front of the output.
    pub fn output_sent(&mut self, len: usize) {
        self.core.transport.output_sent(len);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.failed.is_some() {
            return None;
        }
        let times = [
            Some(self.core.transport.timeout()),
            self.core.timeout(),
            self.login_deadline,
        ];
        times.into_iter().flatten().min()
    }

    /// Does what is due: new keys, a sign of life, giving up.
    ///
    /// # Errors
    /// [`Error::TimedOut`] if the peer had its time; the session is over.
    pub fn handle_timeout(&mut self, now: Duration) -> Result<(), Error> {
        self.check()?;
        self.core.now = now;
        let result = self.act_on_time(now);
        self.guard(result)
    }

    /// The next thing to know or to decide.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.events.pop_front()
    }

    // The connection.

    /// The error that ended the session.
    pub fn failed(&self) -> Option<Error> {
        self.failed
    }

    /// The algorithms in use, once there are any.
    pub fn algorithms(&self) -> Option<Negotiated> {
        self.core.transport.negotiated()
    }

    /// Whether both sides agreed on strict key exchange.
    pub fn is_strict(&self) -> bool {
        self.core.transport.is_strict()
    }

    /// The host key the server uses, once it was shown.
    pub fn host_key(&self) -> Option<&PublicKey> {
        self.core.transport.host_key()
    }

    /// What the peer called itself.
    pub fn peer_version(&self) -> String {
        String::from_utf8_lossy(self.core.transport.peer_version()).into_owned()
    }

    /// The signature algorithms the server said it verifies, if it said so.
    pub fn peer_signature_algorithms(&self) -> Option<&[String]> {
        self.core.transport.peer_signature_algorithms()
    }

    /// Starts an exchange of keys, if none is under way.
    ///
    /// # Errors
    /// As all calls: the error that ended the session.
    pub fn rekey(&mut self) -> Result<(), Error> {
        self.run(|core| core.transport.rekey(core.now))
    }

    /// Ends the session: nothing is taken or sent after what is then in the output.
    pub fn disconnect(&mut self, text: &str) {
        if self.failed.is_none() {
            // There is nobody left to tell about a failure to say goodbye.
            let _ = self
                .core
                .transport
                .send_disconnect(message::BY_APPLICATION, text);
            self.failed = Some(Error::Disconnected(message::BY_APPLICATION));
        }
    }

    // Channels.

    /// Agrees to a channel the peer offered.
    ///
    /// # Errors
    /// [`Error::WrongState`] unless it is offered; [`Error::NoSuchChannel`].
    pub fn accept_channel(&mut self, channel: ChannelId) -> Result<(), Error> {
        self.run(|core| core.accept(channel))
    }

    /// Refuses a channel the peer offered.
    ///
    /// # Errors
    /// As [`accept_channel`](Self::accept_channel).
    pub fn refuse_channel(&mut self, channel: ChannelId, text: &str) -> Result<(), Error> {
        self.run(|core| core.refuse(channel, message::OPEN_PROHIBITED, text))
    }

    /// Asks something on a channel; with `reply_wanted` an [`Event::Reply`] follows.
    ///
    /// # Errors
    /// [`Error::WrongState`] if it is not open or the request is not for this role,
    /// [`Error::ChannelClosed`], [`Error::NoSuchChannel`].
    pub fn request(
        &mut self,
        channel: ChannelId,
        request: &Request,
        reply_wanted: bool,
    ) -> Result<(), Error> {
        self.run(|core| core.request(channel, request, reply_wanted))
    }

    /// Answers the oldest unanswered [`Event::Request`] of the channel that wanted a reply.
    ///
    /// # Errors
    /// [`Error::WrongState`] if none is due, [`Error::NoSuchChannel`].
    pub fn reply(&mut self, channel: ChannelId, success: bool) -> Result<(), Error> {
        self.run(|core| core.reply(channel, success))
    }

    /// Sends as much of `data` as may be sent now; gives how much that was, which can be zero.
    ///
    /// # Errors
    /// [`Error::ChannelClosed`] after either side's end, [`Error::WrongState`] before it is open,
    /// [`Error::NoSuchChannel`].
    pub fn write(&mut self, channel: ChannelId, data: &[u8]) -> Result<usize, Error> {
        self.write_to(channel, Stream::Data, data)
    }

    /// As [`write`](Self::write), to either stream.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_to(
        &mut self,
        channel: ChannelId,
        stream: Stream,
        data: &[u8],
    ) -> Result<usize, Error> {
        self.run(|core| core.write(channel, stream, data))
    }

    /// How much [`write`](Self::write) would take in one message now.
    pub fn writable_len(&self, channel: ChannelId) -> usize {
        self.core.writable_len(channel)
    }

    /// Takes data that arrived; gives its length. What is taken lets the peer send more.
    ///
    /// # Errors
    /// [`Error::NoSuchChannel`]: also when a closed channel has nothing more.
    pub fn read(&mut self, channel: ChannelId, out: &mut [u8]) -> Result<usize, Error> {
        self.read_from(channel, Stream::Data, out)
    }

    /// As [`read`](Self::read), from either stream.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_from(
        &mut self,
        channel: ChannelId,
        stream: Stream,
        out: &mut [u8],
    ) -> Result<usize, Error> {
        match self.failed {
            // What came before the end can still be read.
            Some(_) => self.core.read(channel, stream, out),
            None => self.run(|core| core.read(channel, stream, out)),
        }
    }

    /// How much of a stream is there to read.
    pub fn readable_len(&self, channel: ChannelId, stream: Stream) -> usize {
        self.core.readable_len(channel, stream)
    }

    /// Says that we send no more data; the peer may go on.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn send_eof(&mut self, channel: ChannelId) -> Result<(), Error> {
        self.run(|core| core.eof(channel))
    }

    /// Ends a channel. Its name stays valid until [`Event::Closed`], if that has not come yet.
    ///
    /// # Errors
    /// [`Error::NoSuchChannel`]; [`Error::WrongState`] while it is only offered.
    pub fn close(&mut self, channel: ChannelId) -> Result<(), Error> {
        self.run(|core| core.close(channel))
    }

    /// How many channels there are, in any state.
    pub fn channel_count(&self) -> usize {
        self.core.channel_count()
    }

    pub(crate) fn open(&mut self, kind: &ChannelKind) -> Result<ChannelId, Error> {
        self.run(|core| core.open(kind))
    }

    /// Runs a call of the caller's. Its own mistakes do not end the session.
    pub(crate) fn run<T>(
        &mut self,
        call: impl FnOnce(&mut Core) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.check()?;
        call(&mut self.core)
    }

    fn check(&self) -> Result<(), Error> {
        self.failed.map_or(Ok(()), Err)
    }

    /// Remembers an error that came from the peer's doing, and tells the peer of it.
    pub(crate) fn guard<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = result
            && self.failed.is_none()
        {
            if let Some(reason) = error.disconnect_reason() {
                let text = alloc::format!("{error}");
                let _ = self.core.transport.send_disconnect(reason, &text);
            }
            self.failed = Some(error);
        }
        result
    }

    fn is_paused(&self) -> bool {
        self.core.events.len() >= EVENTS_MAX
            || self.poll_output().len() >= OUTPUT_MAX
            || self.core.transport.is_waiting_for_caller()
            || self.role.is_waiting()
    }

    fn take_input(&mut self, rest: &mut &[u8]) -> Result<(), Error> {
        while !self.is_paused() {
            let now = self.core.now;
            let Some(incoming) = self.core.transport.receive(now, rest)? else {
                break;
            };
            self.core.heard();
            match incoming {
                Incoming::HostKey(key) => self.core.events.push_back(Event::HostKey(key)),
                Incoming::KeysExchanged { first: true } => {
                    self.role.keys_exchanged(&mut self.core)?;
                }
                Incoming::KeysExchanged { first: false } => {
                    self.core.events.push_back(Event::Rekeyed);
                }
                Incoming::Payload(payload) if self.core.authenticated => {
                    self.handle_payload(&payload)?;
                }
                // Some hold passwords.
                Incoming::Payload(payload) => self.handle_payload(&Zeroizing::new(payload))?,
            }
            self.core.transport.rekey_if_due(now)?;
        }
        Ok(())
    }

    fn handle_payload(&mut self, payload: &[u8]) -> Result<(), Error> {
        let number = *payload.first().ok_or(Error::Malformed)?;
        match number {
            message::SERVICE_REQUEST | message::SERVICE_ACCEPT | 50..80 => {
                self.role.handle(&mut self.core, number, payload)?;
                if self.core.authenticated {
                    self.login_deadline = None;
                }
                Ok(())
            }
            80..128 if self.core.authenticated => self.core.handle(number, payload),
            80..128 => Err(Error::UnexpectedMessage(number)),
            _ => self.core.transport.send_unimplemented(),
        }
    }

    pub(crate) fn logged_in(&mut self) {
        self.login_deadline = None;
        self.core.heard();
    }

    fn act_on_time(&mut self, now: Duration) -> Result<(), Error> {
        if self.login_deadline.is_some_and(|deadline| now >= deadline) {
            return Err(Error::TimedOut);
        }
        self.core.transport.handle_timeout(now)?;
        self.core.handle_timeout()
    }
}

/// A forwarded connection's ends, shortened to what the wire takes.
pub(crate) fn tcpip(host: &str, port: u16, originator: (&str, u16)) -> Tcpip {
    Tcpip {
        host: String::from(host),
        port,
        originator: String::from(originator.0),
        originator_port: originator.1,
    }
}
