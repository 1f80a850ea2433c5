//! `httpd`.

use super::tree::Folder;
use super::{CHANGE, System, told_usage};
use crate::httpd::{Arguments, Server, Settings, USAGE};
use crate::stream::{Either, Secure};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use viper_proto::net::client::{Network, TcpListener, TcpStream};
use viper_rt::abi::{FOREVER, Signals};
use viper_rt::message::Reader;
use viper_rt::server::{Answer, NewClient, Server as Loop, Service, Sources};
use viper_rt::{Error, clock, eprintln, println, program};
use viper_tls::{Connection, Identity, Roots, SelfSigned, ServerConfig, UnixSeconds};

/// Connections that wait to be accepted, per port.
const BACKLOG: u32 = 16;
/// How long a certificate is valid that is made here.
const CERTIFICATE_DAYS: u32 = 365;
/// The keys of streams come behind those of listeners.
const STREAMS: u32 = 16;

/// Serves a directory: see [`crate::httpd::USAGE`].
#[must_use]
pub fn httpd_main() -> i64 {
    if told_usage(USAGE) {
        return 0;
    }
    let result = Arguments::parse(program::arguments().skip(1)).and_then(|a| serve(&a));
    match result {
        Ok(()) => 0,
        Err(sentence) => {
            eprintln!("httpd: {sentence}");
            20
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), String> {
    let mut system = System::new().map_err(|error| format!("{error}"))?;
    let tls = match arguments.tls_port {
        0 => None,
        _ => Some(tls_config(&mut system, arguments)?),
    };
    let root = folder(&mut system, &arguments.directory)?;
    let network = Network::connect_through(&system.names).map_err(|error| match error {
        Error::NoService => "the network service is not running".into(),
        error => format!("{error}"),
    })?;
    let mut listeners = Vec::new();
    for (port, is_secure) in [(arguments.port, false), (arguments.tls_port, true)] {
        if port != 0 {
            let at = SocketAddr::new(address(&arguments.address)?, port);
            let listener = network.tcp_listen(at, BACKLOG);
            let listener = listener.map_err(|error| format!("port {port}: {error}"))?;
            listeners.push((listener, is_secure));
        }
    }
    if !arguments.quiet {
        let shown = if root.is_empty() { "/" } else { &root };
        println!("httpd: serves {shown} at {}", shown_ports(arguments));
    }
    let settings = Settings {
        clients_max: arguments.clients_max,
        ..Settings::default()
    };
    let work = || -> Result<(), Error> {
        let server = Loop::new()?;
        let mut daemon = Daemon {
            server: Server::new(settings, Folder { system, root }),
            sources: server.sources(),
            listeners,
            tls,
            end: match arguments.seconds {
                0 => FOREVER,
                seconds => clock::after(seconds.saturating_mul(clock::SECOND)),
            },
            must_accept: true,
        };
        daemon.begin()?;
        server.run(&mut daemon)?;
        if !arguments.quiet {
            let done = daemon.server.counters();
            println!(
                "httpd: {} connections, {} requests, {} bytes",
                done.connections, done.requests, done.bytes
            );
        }
        Ok(())
    };
    work().map_err(|error| format!("{error}"))
}

/// The directory, absolute and without a slash at the end.
fn folder(system: &mut System, typed: &str) -> Result<String, String> {
    let said = |error| format!("{typed}: {error}");
    let path = system.absolute(typed).map_err(said)?;
    let facts = system.files.stat_path(&system.names, &path, true);
    if facts.map_err(said)?.kind != viper_proto::fs::kind::DIRECTORY {
        return Err(format!("{typed} is no directory"));
    }
    Ok(String::from(path.trim_end_matches('/')))
}

fn address(text: &str) -> Result<IpAddr, String> {
    match text {
        "" => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        text => text.parse().map_err(|_| format!("{text} is no address")),
    }
}

fn shown_ports(arguments: &Arguments) -> String {
    let mut ports = Vec::new();
    if arguments.port != 0 {
        ports.push(format!("port {} (http)", arguments.port));
    }
    if arguments.tls_port != 0 {
        ports.push(format!("port {} (https)", arguments.tls_port));
    }
    ports.join(" and ")
}

/// Who the server is, and whom it serves.
fn tls_config(system: &mut System, arguments: &Arguments) -> Result<ServerConfig, String> {
    let identity = identity(system, arguments)?;
    let crypto = system.crypto().map_err(|e| format!("randomness: {e}"))?;
    let config = match &arguments.client_authority {
        None => ServerConfig::new(crypto, identity),
        Some(file) => {
            let roots = client_roots(system, file)?;
            match arguments.client_optional {
                true => ServerConfig::asking_clients(crypto, identity, roots),
                false => ServerConfig::for_known_clients(crypto, identity, roots),
            }
        }
    };
    let config = config.map_err(|error| format!("TLS: {error}"))?;
    Ok(config.with_alpn(&[b"http/1.1"]).with_sessions(256))
}

/// The certificate and key from their files; made now if there are none.
fn identity(system: &mut System, arguments: &Arguments) -> Result<Identity, String> {
    let (chain, key) = (&arguments.certificate, &arguments.key);
    let is_there = |system: &mut System, typed: &str| {
        let path = system.absolute(typed);
        let known = path.and_then(|path| system.files.stat_path(&system.names, &path, true));
        !matches!(known, Err(Error::NotFound))
    };
    if !is_there(system, chain) && !is_there(system, key) {
        make_certificate(system, arguments)?;
    }
    system.identity(chain, key)
}

/// The authorities of clients. Their certificates have dates, too.
fn client_roots(system: &mut System, file: &str) -> Result<Roots, String> {
    if system.unix_s().is_none() {
        return Err("there is no clock to verify clients' certificates by".into());
    }
    let mut roots = Roots::new();
    let pem = system.read_typed(file)?;
    roots
        .add(&pem)
        .map_err(|error| format!("{file}: {error}"))?;
    Ok(roots)
}

/// A certificate that vouches for itself, kept for the next start.
fn make_certificate(system: &mut System, arguments: &Arguments) -> Result<(), String> {
    let now = system
        .unix_s()
        .ok_or("there is no clock to date a certificate by")?;
    // The source of randomness.
    system.crypto().map_err(|e| format!("randomness: {e}"))?;
    let mut names: Vec<&str> = arguments.names.iter().map(String::as_str).collect();
    if names.is_empty() {
        names.extend(["viperos", "localhost", "127.0.0.1"]);
    }
    let made = SelfSigned::new(&names, now, CERTIFICATE_DAYS, &super::FILL)
        .map_err(|error| format!("{error}"))?;
    let (chain, key) = (made.certificate_pem.as_str(), made.key_pem.as_str());
    for (typed, text) in [(&arguments.key, key), (&arguments.certificate, chain)] {
        let path = system.absolute(typed);
        let written = path.and_then(|path| system.write(&path, text.as_bytes()));
        written.map_err(|error| format!("{typed}: {error}"))?;
    }
    println!(
        "httpd: made a certificate for {}: {}",
        names.join(", "),
        arguments.certificate
    );
    Ok(())
}

/// The server with its sockets.
struct Daemon {
    server: Server<Either<TcpStream>, Folder>,
    sources: Sources<()>,
    listeners: Vec<(TcpListener, bool)>,
    tls: Option<ServerConfig>,
    /// When to stop.
    end: u64,
    /// Connections may wait that could not be taken.
    must_accept: bool,
}

impl Daemon {
    fn begin(&mut self) -> Result<(), Error> {
        for (key, (listener, _)) in self.listeners.iter().enumerate() {
            self.sources.watch(listener.event(), key as u32, CHANGE)?;
        }
        self.go_on();
        Ok(())
    }

    /// Accepts, and lets everybody have a turn.
    fn go_on(&mut self) {
        let now = now();
        if self.must_accept {
            self.must_accept = false;
            for at in 0..self.listeners.len() {
                self.accept(at, now);
            }
        }
        let sources = &self.sources;
        let mut has_place = false;
        self.server.turn(now, |_, stream| {
            let _ = sources.unwatch(stream.get_ref().event());
            has_place = true;
        });
        self.must_accept |= has_place;
    }

    fn accept(&mut self, at: usize, now: Duration) {
        let time = self.clock();
        while let Some((listener, is_secure)) = self.listeners.get_mut(at) {
            if !self.server.has_place(now) {
                // Somebody ends, or has been silent for long enough, in a while.
                self.must_accept = true;
                return;
            }
            let Ok(stream) = listener.try_accept() else {
                return;
            };
            let stream = match (&self.tls, *is_secure) {
                (Some(config), true) => match Connection::server(config, time) {
                    Ok(tls) => Either::Secure(Box::new(Secure::new(stream, tls))),
                    Err(_) => continue,
                },
                _ => Either::Plain(stream),
            };
            let Ok((slot, lost)) = self.server.admit(now, stream) else {
                continue;
            };
            if let Some(lost) = lost {
                let _ = self.sources.unwatch(lost.get_ref().event());
            }
            self.watch(slot);
        }
    }

    fn watch(&mut self, slot: usize) {
        if let Some(stream) = self.server.stream(slot) {
            let key = STREAMS + slot as u32;
            // Without it the time-out ends the connection.
            let _ = self.sources.watch(stream.get_ref().event(), key, CHANGE);
        }
    }

    fn clock(&mut self) -> Option<UnixSeconds> {
        use crate::httpd::Tree;
        self.server.tree().unix_s().map(UnixSeconds)
    }
}

impl Service for Daemon {
    type Client = ();

    fn connect(&mut self, _: NewClient) -> Result<(), Error> {
        Err(Error::NotSupported)
    }

    fn request(&mut self, (): &mut (), _: Reader) -> Answer {
        Answer::error(Error::NotSupported)
    }

    fn signal(&mut self, key: u32, _: Signals) {
        match key.checked_sub(STREAMS) {
            Some(slot) => self.server.wake(slot as usize),
            None => self.must_accept = true,
        }
        self.go_on();
    }

    fn deadline(&self) -> u64 {
        if self.server.is_busy() {
            return 0;
        }
        let wait = if self.must_accept {
            clock::after(clock::SECOND / 2)
        } else {
            FOREVER
        };
        let slow = self.server.deadline().map_or(FOREVER, |deadline| {
            u64::try_from(deadline.as_nanos()).unwrap_or(FOREVER)
        });
        slow.min(self.end).min(wait)
    }

    fn timeout(&mut self) {
        self.server.time_out(now());
        self.go_on();
    }

    fn is_finished(&self) -> bool {
        clock::now() >= self.end
    }
}

fn now() -> Duration {
    Duration::from_nanos(clock::now())
}
