//! A connection, client or server: bytes in, bytes out.

use crate::buffer::Buffer;
use crate::config::Chosen;
use crate::{ClientConfig, Error, ServerConfig, UnixSeconds};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{CipherSuite, CommonState, HandshakeKind, NamedGroup};

/// Bytes from the peer that wait for the rest of their message: the largest handshake message,
/// which rustls limits to 64 KiB, in records.
const INCOMING_LEN_MAX: usize = 96 * 1024;

/// Decrypted bytes that may wait before no more are taken from the peer.
const PLAIN_LEN_MAX: usize = 64 * 1024;

/// Encrypted bytes that may wait before no more are taken from the application.
const OUTPUT_LEN_MAX: usize = 64 * 1024;

/// What one call of [`Connection::write_plain`] takes at most: four full records.
const WRITE_LEN_MAX: usize = 4 * RECORD_LEN_MAX;

/// Application bytes in one record.
const RECORD_LEN_MAX: usize = 16 * 1024;

/// What a record adds to its contents: header, content type, tag.
const RECORD_OVERHEAD: usize = 5 + 1 + 16;

/// A TLS connection that never touches the network.
///
/// The caller moves bytes: what the peer sent goes into [`read_tls`](Self::read_tls), what is in
/// [`tls_output`](Self::tls_output) goes to the peer. Plain bytes come out of
/// [`read_plain`](Self::read_plain) and go into [`write_plain`](Self::write_plain) once
/// [`is_handshaking`](Self::is_handshaking) is over. Look at `tls_output` after every other call.
///
/// After an error there may be output still: an alert that tells the peer. Send it, then close.
/// Every further call returns the same error.
#[derive(Debug)]
pub struct Connection {
    side: Side,
    incoming: Buffer,
    plain: Buffer,
    output: Buffer,
    peer_closed: bool,
    sent_close: bool,
    failed: Option<Error>,
}

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection, Arc<Chosen>),
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Client(_) => "Client",
            Side::Server(..) => "Server",
        })
    }
}

/// What is known about the other side and the connection, once the handshake is over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The application protocol that was agreed on, if any (ALPN).
    pub alpn: Option<Vec<u8>>,
    /// The cipher suite.
    pub suite: CipherSuite,
    /// The key exchange group.
    pub group: Option<NamedGroup>,
    /// What the peer showed, in DER, its own certificate first. Verified, unless the
    /// configuration said not to.
    pub certificates: Vec<Vec<u8>>,
    /// The host name the client asked for; known to servers only.
    pub server_name: Option<String>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Whether the server asked for another key share first (HelloRetryRequest).
    pub retried: bool,
}

impl Connection {
    /// A client that talks to `server`, a host name or IP address.
    ///
    /// `now` is what certificates are checked against. Without a clock there is no verification,
    /// and so no connection, unless the configuration is one
    /// [without verification](ClientConfig::without_verification).
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::NoClock`], [`Error::NoRandomness`].
    pub fn client(
        config: &ClientConfig,
        server: &str,
        now: Option<UnixSeconds>,
    ) -> Result<Self, Error> {
        let name = ServerName::try_from(server).map_err(|_| Error::BadName)?;
        let config = Arc::new(config.at(now)?);
        let client = UnbufferedClientConnection::new(config, name.to_owned())?;
        let mut connection = Self::new(Side::Client(client));
        connection.pump()?;
        Ok(connection)
    }

    /// A server for one client. Without a clock it can neither verify clients (an error) nor
    /// resume sessions (which is then not offered).
    ///
    /// # Errors
    /// [`Error::NoClock`], [`Error::NoRandomness`].
    pub fn server(config: &ServerConfig, now: Option<UnixSeconds>) -> Result<Self, Error> {
        let (config, chosen) = config.at(now)?;
        let server = UnbufferedServerConnection::new(Arc::new(config))?;
        Ok(Self::new(Side::Server(server, chosen)))
    }

    fn new(side: Side) -> Self {
        Self {
            side,
            incoming: Buffer::default(),
            plain: Buffer::default(),
            output: Buffer::default(),
            peer_closed: false,
            sent_close: false,
            failed: None,
        }
    }

    /// Takes bytes that came from the peer, and says how many: fewer than offered, even none,
    /// when much is waiting in [`plain`](Self::plain) or [`tls_output`](Self::tls_output). The
    /// rest is to be offered again.
    ///
    /// # Errors
    /// Whatever the peer or somebody between did wrong. The connection is over then.
    pub fn read_tls(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.check()?;
        let mut taken = 0;
        while taken < bytes.len() && !self.is_congested() {
            let room = RECORD_LEN_MAX.min(INCOMING_LEN_MAX - self.incoming.len());
            let part = &bytes[taken..bytes.len().min(taken + room)];
            if part.is_empty() {
                return Err(self.fail(Error::TooLarge));
            }
            if self.peer_closed {
                // What comes after the peer's last word is not part of the connection.
                return Ok(bytes.len());
            }
            self.incoming.push(part);
            taken += part.len();
            self.pump()?;
        }
        Ok(taken)
    }

    /// Says that the stream from the peer has ended.
    ///
    /// # Errors
    /// [`Error::Truncated`] when the peer did not say so itself: somebody may have cut it off.
    pub fn end_of_input(&mut self) -> Result<(), Error> {
        self.check()?;
        if self.peer_closed {
            Ok(())
        } else {
            self.failed = Some(Error::Truncated);
            Err(Error::Truncated)
        }
    }

    /// Bytes to send to the peer, oldest first. [`output_sent`](Self::output_sent) removes them.
    pub fn tls_output(&self) -> &[u8] {
        self.output.filled()
    }

    /// Says that the first `len` bytes of [`tls_output`](Self::tls_output) are on their way.
    pub fn output_sent(&mut self, len: usize) {
        self.output.take(len);
    }

    /// Decrypted bytes from the peer. [`plain_taken`](Self::plain_taken) removes them.
    pub fn plain(&self) -> &[u8] {
        self.plain.filled()
    }

    /// Says that the first `len` bytes of [`plain`](Self::plain) were used.
    pub fn plain_taken(&mut self, len: usize) {
        self.plain.take(len);
    }

    /// Copies decrypted bytes to `to`, and says how many. None means that there are none now;
    /// whether more will come says [`peer_closed`](Self::peer_closed).
    pub fn read_plain(&mut self, to: &mut [u8]) -> usize {
        let len = to.len().min(self.plain.len());
        to[..len].copy_from_slice(&self.plain.filled()[..len]);
        self.plain.take(len);
        len
    }

    /// Encrypts bytes for the peer, and says how many it took: none during the handshake, or when
    /// much output waits already.
    ///
    /// # Errors
    /// [`Error::Closed`] after [`close_notify`](Self::close_notify), and earlier errors.
    pub fn write_plain(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.check()?;
        if self.sent_close {
            return Err(Error::Closed);
        }
        if bytes.is_empty() || self.output.len() >= OUTPUT_LEN_MAX {
            return Ok(0);
        }
        let part = &bytes[..bytes.len().min(WRITE_LEN_MAX)];
        let mut written = 0;
        self.when_writable(|writer, output| {
            let records = part.len().div_ceil(RECORD_LEN_MAX);
            let mut room = part.len() + records * RECORD_OVERHEAD;
            loop {
                match writer.encrypt(part, output.room(room)) {
                    Ok(len) => {
                        output.wrote(len);
                        written = part.len();
                        return Ok(());
                    }
                    // Longer by a message about new keys.
                    Err(EncryptError::InsufficientSize(InsufficientSizeError {
                        required_size,
                    })) if required_size > room => room = required_size,
                    Err(_) => return Err(Error::Closed),
                }
            }
        })?;
        // rustls may have had something to say besides, such as new keys.
        self.pump()?;
        Ok(written)
    }

    /// Tells the peer that no more will be written. Reading goes on.
    ///
    /// During the handshake there is nothing to close: the stream may be ended right away.
    ///
    /// # Errors
    /// Earlier errors.
    pub fn close_notify(&mut self) -> Result<(), Error> {
        self.check()?;
        if self.sent_close {
            return Ok(());
        }
        let mut sent = false;
        self.when_writable(|writer, output| {
            let len = writer.queue_close_notify(output.room(ALERT_LEN_MAX));
            output.wrote(len.map_err(|_| Error::Bug)?);
            sent = true;
            Ok(())
        })?;
        self.sent_close = sent;
        Ok(())
    }

    /// Changes the keys, and asks the peer to change its own (KeyUpdate). rustls does so by itself
    /// long before a key has protected too much.
    ///
    /// # Errors
    /// [`Error::Closed`] when the handshake is not over or we closed; earlier errors.
    pub fn update_keys(&mut self) -> Result<(), Error> {
        self.check()?;
        if self.is_handshaking() || self.sent_close {
            return Err(Error::Closed);
        }
        let incoming = self.incoming.filled_mut();
        let (discard, result) = match &mut self.side {
            Side::Client(client) => refresh(client.process_tls_records(incoming)),
            Side::Server(server, _) => refresh(server.process_tls_records(incoming)),
        };
        self.incoming.take(discard);
        result.map_err(|error| self.fail(error))?;
        self.pump()
    }

    /// Whether the handshake is still under way.
    pub fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// Whether the peer said that it will send no more.
    pub fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// What there is to know about the peer; nothing before the handshake is over.
    pub fn peer(&self) -> Option<PeerInfo> {
        if self.is_handshaking() {
            return None;
        }
        let server_name = match &self.side {
            Side::Client(_) => None,
            Side::Server(_, chosen) => chosen.server_name(),
        };
        info(self.common(), server_name)
    }

    fn common(&self) -> &CommonState {
        match &self.side {
            Side::Client(client) => client,
            Side::Server(server, _) => server,
        }
    }

    fn check(&self) -> Result<(), Error> {
        self.failed.map_or(Ok(()), Err)
    }

    fn is_congested(&self) -> bool {
        self.plain.len() >= PLAIN_LEN_MAX || self.output.len() >= OUTPUT_LEN_MAX
    }

    /// Ends the connection, after a word to the peer if there is one to say.
    fn fail(&mut self, error: Error) -> Error {
        let error = self.explain(error);
        self.failed = Some(error);
        // Only as long as there is output: no more input may be looked at.
        while self.common().wants_write() && self.step().is_ok() {}
        error
    }

    /// A server that refuses our first message says "handshake failure", and means this.
    fn explain(&self, error: Error) -> Error {
        let begins = self.common().protocol_version().is_none();
        match (&self.side, error) {
            (Side::Client(_), Error::Refused(HANDSHAKE_FAILURE | INSUFFICIENT_SECURITY))
                if begins =>
            {
                Error::NothingInCommon
            }
            _ => error,
        }
    }

    /// Goes on as far as the bytes that are there allow.
    fn pump(&mut self) -> Result<(), Error> {
        loop {
            match self.step() {
                Ok(Step::Again) => {}
                Ok(Step::Wait) => return Ok(()),
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    fn step(&mut self) -> Result<Step, Error> {
        let marked = self.is_handshaking() && is_marked(self.incoming.filled());
        let incoming = self.incoming.filled_mut();
        let mut io = Io {
            plain: &mut self.plain,
            output: &mut self.output,
            peer_closed: &mut self.peer_closed,
        };
        let (discard, step) = match &mut self.side {
            Side::Client(client) => io.handle(client.process_tls_records(incoming)),
            Side::Server(server, _) => io.handle(server.process_tls_records(incoming)),
        };
        self.incoming.take(discard);
        match step {
            Err(Error::OldVersion) if marked => Err(Error::Downgraded),
            step => step,
        }
    }

    /// Calls `write` if application data may be sent.
    fn when_writable(
        &mut self,
        write: impl FnOnce(&mut dyn Writer, &mut Buffer) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.pump()?;
        let (incoming, output) = (self.incoming.filled_mut(), &mut self.output);
        let (discard, result) = match &mut self.side {
            Side::Client(client) => {
                let status = client.process_tls_records(incoming);
                let discard = status.discard;
                let writer = writable(status);
                (discard, writer.map(|mut writer| write(&mut writer, output)))
            }
            Side::Server(server, _) => {
                let status = server.process_tls_records(incoming);
                let discard = status.discard;
                let writer = writable(status);
                (discard, writer.map(|mut writer| write(&mut writer, output)))
            }
        };
        self.incoming.take(discard);
        match result {
            Some(Err(error)) => Err(self.fail(error)),
            Some(Ok(())) | None => Ok(()),
        }
    }
}

/// Alerts of RFC 8446, section 6.2.
const HANDSHAKE_FAILURE: u8 = 40;
const INSUFFICIENT_SECURITY: u8 = 71;

/// Whether a server's first record has the mark of one that knows TLS 1.3, and was made to believe
/// that we do not: the end of its random value (RFC 8446, section 4.1.3).
fn is_marked(incoming: &[u8]) -> bool {
    const HANDSHAKE: u8 = 22;
    const SERVER_HELLO: u8 = 2;
    // Behind the headers of the record and the message, the version, and the rest of the value.
    const MARK: core::ops::Range<usize> = 35..43;
    let mark = incoming.get(MARK).and_then(|mark| mark.split_last());
    incoming.first() == Some(&HANDSHAKE)
        && incoming.get(5) == Some(&SERVER_HELLO)
        && matches!(mark, Some((0 | 1, b"DOWNGRD")))
}

/// Room for a protected alert and a message about new keys.
const ALERT_LEN_MAX: usize = 128;

enum Step {
    /// There may be more to do.
    Again,
    /// Nothing more until bytes come or the application wants something.
    Wait,
}

/// Where the results of a step go.
struct Io<'a> {
    plain: &'a mut Buffer,
    output: &'a mut Buffer,
    peer_closed: &'a mut bool,
}

impl Io<'_> {
    /// Does what rustls asks for. Returns how many incoming bytes are used up besides.
    fn handle<D>(&mut self, status: UnbufferedStatus<'_, '_, D>) -> (usize, Result<Step, Error>) {
        let mut discard = status.discard;
        let step = match status.state {
            Err(error) => Err(error.into()),
            Ok(state) => self.handle_state(state, &mut discard),
        };
        (discard, step)
    }

    fn handle_state<D>(
        &mut self,
        state: ConnectionState<'_, '_, D>,
        discard: &mut usize,
    ) -> Result<Step, Error> {
        match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    self.plain.push(record.payload);
                    *discard += record.discard;
                }
            }
            ConnectionState::EncodeTlsData(mut data) => {
                let mut room = 0;
                loop {
                    match data.encode(self.output.room(room)) {
                        Ok(len) => break self.output.wrote(len),
                        Err(EncodeError::InsufficientSize(InsufficientSizeError {
                            required_size,
                        })) if required_size > room => room = required_size,
                        Err(_) => return Err(Error::Bug),
                    }
                }
            }
            // What is in `output` stays there until it is sent: that is the caller's part.
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => *self.peer_closed = true,
            ConnectionState::BlockedHandshake
            | ConnectionState::WriteTraffic(_)
            | ConnectionState::Closed => return Ok(Step::Wait),
            // Early data is never accepted; there is nothing else.
            _ => return Err(Error::Bug),
        }
        Ok(Step::Again)
    }
}

/// [`WriteTraffic`] of either side.
trait Writer {
    fn encrypt(&mut self, bytes: &[u8], to: &mut [u8]) -> Result<usize, EncryptError>;
    fn queue_close_notify(&mut self, to: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<D> Writer for WriteTraffic<'_, D> {
    fn encrypt(&mut self, bytes: &[u8], to: &mut [u8]) -> Result<usize, EncryptError> {
        WriteTraffic::encrypt(self, bytes, to)
    }

    fn queue_close_notify(&mut self, to: &mut [u8]) -> Result<usize, EncryptError> {
        WriteTraffic::queue_close_notify(self, to)
    }
}

fn writable<'c, D>(status: UnbufferedStatus<'c, '_, D>) -> Option<WriteTraffic<'c, D>> {
    match status.state {
        Ok(ConnectionState::WriteTraffic(writer)) => Some(writer),
        _ => None,
    }
}

fn refresh<D>(status: UnbufferedStatus<'_, '_, D>) -> (usize, Result<(), Error>) {
    let discard = status.discard;
    let result = match writable(status) {
        Some(writer) => writer.refresh_traffic_keys().map_err(Error::from),
        None => Err(Error::Bug),
    };
    (discard, result)
}

fn info(common: &CommonState, server_name: Option<String>) -> Option<PeerInfo> {
    let kind = common.handshake_kind();
    let certificates = common.peer_certificates().unwrap_or_default();
    Some(PeerInfo {
        alpn: common.alpn_protocol().map(<[u8]>::to_vec),
        suite: common.negotiated_cipher_suite()?.suite(),
        group: common
            .negotiated_key_exchange_group()
            .map(|group| group.name()),
        certificates: certificates.iter().map(|der| der.to_vec()).collect(),
        server_name,
        resumed: kind == Some(HandshakeKind::Resumed),
        retried: kind == Some(HandshakeKind::FullWithHelloRetryRequest),
    })
}
