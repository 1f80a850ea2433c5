//! What connections have in common.

use crate::sessions::{ClientSessions, ServerSessions};
use crate::verify::{AcceptAnything, ClientVerifier, ServerVerifier};
use crate::{Error, Identity, Roots, UnixSeconds};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use rustls::SignatureScheme;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use spin::Once;

/// How a client connects: whom it trusts, who it is, what it wants to speak.
///
/// Cheap to clone; connections made from clones share the sessions.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    config: rustls::ClientConfig,
    shows: Arc<Shows>,
    verifies: bool,
}

impl ClientConfig {
    /// A client that verifies servers: a chain up to one of `roots`, dates, host name, purpose.
    ///
    /// # Errors
    /// [`Error::NoRoots`] when nobody is trusted, [`Error::BadProvider`].
    pub fn new(provider: Arc<CryptoProvider>, roots: Roots) -> Result<Self, Error> {
        let verifier = ServerVerifier::new(roots.store(), provider.clone())?;
        Self::with_verifier(provider, Arc::new(verifier), true)
    }

    /// A client that takes whatever certificate a server shows, and so may be talking to anybody.
    ///
    /// The traffic is encrypted, which keeps out those who only listen. Meant for tests, and for
    /// users who said "do not verify" in so many words. Needs no clock.
    ///
    /// # Errors
    /// [`Error::BadProvider`].
    pub fn without_verification(provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let verifier = AcceptAnything::new(&provider);
        Self::with_verifier(provider, Arc::new(verifier), false)
    }

    fn with_verifier(
        provider: Arc<CryptoProvider>,
        verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>,
        verifies: bool,
    ) -> Result<Self, Error> {
        let shows = Arc::new(Shows::default());
        let mut config = rustls::ClientConfig::builder_with_details(provider, Arc::new(NO_CLOCK))
            .with_protocol_versions(&[&TLS13])
            .map_err(|_| Error::BadProvider)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(shows.clone());
        config.resumption = Resumption::disabled();
        Ok(Self {
            config,
            shows,
            verifies,
        })
    }

    /// The application protocols to offer (ALPN), the preferred one first.
    #[must_use]
    pub fn with_alpn(mut self, protocols: &[&[u8]]) -> Self {
        self.config.alpn_protocols = owned(protocols);
        self
    }

    /// What to show to servers that ask for a certificate.
    #[must_use]
    pub fn with_identity(mut self, identity: Identity) -> Self {
        self.shows = Arc::new(Shows {
            identity: Some(identity.0),
            asked: AtomicU32::new(0),
        });
        self.config.client_auth_cert_resolver = self.shows.clone();
        self
    }

    /// How many servers asked for a certificate, over all connections of this configuration and
    /// its clones since [`with_identity`](Self::with_identity) was called last.
    #[must_use]
    pub fn times_asked(&self) -> u32 {
        self.shows.asked.load(Ordering::Relaxed)
    }

    /// Remembers up to `max` sessions, for shorter handshakes with servers seen before.
    ///
    /// A session is resumed without looking at the certificate again; it is forgotten with the
    /// configuration, and after seven days at most. Needs a clock to do anything.
    #[must_use]
    pub fn with_sessions(mut self, max: usize) -> Self {
        self.config.resumption = Resumption::store(Arc::new(ClientSessions::new(max)));
        self
    }

    /// For one connection that is made `now`.
    pub(crate) fn at(&self, now: Option<UnixSeconds>) -> Result<rustls::ClientConfig, Error> {
        if self.verifies && now.is_none() {
            return Err(Error::NoClock);
        }
        let mut config = self.config.clone();
        if now.is_none() {
            config.resumption = Resumption::disabled();
        }
        config.time_provider = Arc::new(Clock(now.unwrap_or(UnixSeconds(0))));
        Ok(config)
    }
}

/// Shows servers that ask for a certificate the one there is, and counts them.
///
/// One for all connections of a configuration: rustls resumes sessions only with the same one.
#[derive(Debug, Default)]
struct Shows {
    identity: Option<Arc<CertifiedKey>>,
    asked: AtomicU32,
}

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.identity.clone()
    }

    fn has_certs(&self) -> bool {
        self.identity.is_some()
    }
}

/// How a server answers: who it is, whom it asks for a certificate, what it speaks.
///
/// Cheap to clone; connections made from clones share the sessions.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    config: rustls::ServerConfig,
    verifies: bool,
}

impl ServerConfig {
    /// A server that anybody may connect to.
    ///
    /// # Errors
    /// [`Error::BadProvider`].
    pub fn new(provider: Arc<CryptoProvider>, identity: Identity) -> Result<Self, Error> {
        let anybody = WebPkiClientVerifier::no_client_auth();
        Self::with_verifier(provider, anybody, identity, false)
    }

    /// A server whose clients must show a certificate that one of `roots` stands behind.
    ///
    /// # Errors
    /// [`Error::NoRoots`] when nobody is trusted, [`Error::BadProvider`].
    pub fn for_known_clients(
        provider: Arc<CryptoProvider>,
        identity: Identity,
        roots: Roots,
    ) -> Result<Self, Error> {
        let verifier = ClientVerifier::new(roots.store(), provider.clone(), false)?;
        Self::with_verifier(provider, Arc::new(verifier), identity, true)
    }

    /// As [`for_known_clients`](Self::for_known_clients), but clients may show none.
    /// [`PeerInfo::certificates`](crate::PeerInfo) tells who did.
    ///
    /// # Errors
    /// As [`for_known_clients`](Self::for_known_clients).
    pub fn asking_clients(
        provider: Arc<CryptoProvider>,
        identity: Identity,
        roots: Roots,
    ) -> Result<Self, Error> {
        let verifier = ClientVerifier::new(roots.store(), provider.clone(), true)?;
        Self::with_verifier(provider, Arc::new(verifier), identity, true)
    }

    fn with_verifier(
        provider: Arc<CryptoProvider>,
        verifier: Arc<dyn rustls::server::danger::ClientCertVerifier>,
        identity: Identity,
        verifies: bool,
    ) -> Result<Self, Error> {
        let resolver = SingleCertAndKey::from(identity.0);
        let mut config = rustls::ServerConfig::builder_with_details(provider, Arc::new(NO_CLOCK))
            .with_protocol_versions(&[&TLS13])
            .map_err(|_| Error::BadProvider)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(resolver));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config, verifies })
    }

    /// The application protocols to accept (ALPN), the preferred one first. Clients that offer
    /// others only are refused; those that offer none are not.
    #[must_use]
    pub fn with_alpn(mut self, protocols: &[&[u8]]) -> Self {
        self.config.alpn_protocols = owned(protocols);
        self
    }

    /// Remembers up to `max` sessions, for shorter handshakes with clients seen before. Each
    /// handshake adds two.
    #[must_use]
    pub fn with_sessions(mut self, max: usize) -> Self {
        self.config.session_storage = Arc::new(ServerSessions::new(max));
        self.config.send_tls13_tickets = TICKETS_PER_HANDSHAKE;
        self
    }

    /// For one connection that is made `now`, and what will be known of its client's wishes.
    pub(crate) fn at(
        &self,
        now: Option<UnixSeconds>,
    ) -> Result<(rustls::ServerConfig, Arc<Chosen>), Error> {
        if self.verifies && now.is_none() {
            return Err(Error::NoClock);
        }
        let mut config = self.config.clone();
        if now.is_none() {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        config.time_provider = Arc::new(Clock(now.unwrap_or(UnixSeconds(0))));
        let chosen = Arc::new(Chosen::new(config.cert_resolver));
        config.cert_resolver = chosen.clone();
        Ok((config, chosen))
    }
}

/// A browser makes several connections at a time, and a ticket serves once.
const TICKETS_PER_HANDSHAKE: usize = 2;

fn owned(protocols: &[&[u8]]) -> Vec<Vec<u8>> {
    protocols.iter().map(|name| name.to_vec()).collect()
}

/// A clock that was read when the connection was made. Handshakes are short, dates are coarse.
#[derive(Debug)]
struct Clock(UnixSeconds);

/// In the place of a clock until there is a connection, and with it the time.
const NO_CLOCK: Clock = Clock(UnixSeconds(0));

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.0)))
    }
}

/// Chooses the certificate of one connection, and keeps the name the client asked for, which
/// rustls does not tell otherwise.
#[derive(Debug)]
pub(crate) struct Chosen {
    resolver: Arc<dyn ResolvesServerCert>,
    server_name: Once<Option<String>>,
}

impl Chosen {
    fn new(resolver: Arc<dyn ResolvesServerCert>) -> Self {
        let server_name = Once::new();
        Self {
            resolver,
            server_name,
        }
    }

    pub(crate) fn server_name(&self) -> Option<String> {
        self.server_name.get().cloned().flatten()
    }
}

impl ResolvesServerCert for Chosen {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.server_name
            .call_once(|| hello.server_name().map(ToString::to_string));
        self.resolver.resolve(hello)
    }
}
