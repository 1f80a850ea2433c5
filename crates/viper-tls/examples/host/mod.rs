//! What the host lends the examples: sockets, clock, randomness, arguments.
#![allow(dead_code, reason = "each example uses a part")]

use rustls::crypto::{CryptoProvider, GetRandomFailed};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use viper_tls::provider::{Crypto, FillFn};
use viper_tls::{Connection, PeerInfo, UnixSeconds};

pub type Outcome<T> = Result<T, Box<dyn Error>>;

fn fill(buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
    let source = std::fs::File::open("/dev/urandom");
    let filled = source.and_then(|mut source| source.read_exact(buffer));
    filled.map_err(|_| GetRandomFailed)
}

pub static RANDOM: FillFn = FillFn(fill);
static CRYPTO: Crypto = Crypto::new(&RANDOM);

/// `--name value` pairs, `--flag`s and the rest.
pub struct Arguments {
    pub rest: Vec<String>,
    options: BTreeMap<String, String>,
}

impl Arguments {
    /// `flags` are the options without a value.
    pub fn parse(flags: &[&str]) -> Outcome<Self> {
        let mut arguments = std::env::args().skip(1);
        let (mut rest, mut options) = (Vec::new(), BTreeMap::new());
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix("--") {
                Some(name) if flags.contains(&name) => {
                    options.insert(name.to_string(), String::new());
                }
                Some(name) => {
                    let value = arguments.next().ok_or(format!("--{name} what?"))?;
                    options.insert(name.to_string(), value);
                }
                None => rest.push(argument),
            }
        }
        Ok(Self { rest, options })
    }

    pub fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    pub fn number(&self, name: &str) -> Outcome<Option<u64>> {
        Ok(self.text(name).map(str::parse).transpose()?)
    }

    pub fn file(&self, name: &str) -> Outcome<Option<Vec<u8>>> {
        let Some(path) = self.text(name) else {
            return Ok(None);
        };
        let file = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        Ok(Some(file))
    }

    /// `--alpn a,b`
    pub fn protocols(&self) -> Vec<&[u8]> {
        let names = self.text("alpn").unwrap_or_default().split(',');
        names
            .filter(|name| !name.is_empty())
            .map(str::as_bytes)
            .collect()
    }

    /// `--at SECONDS` or the host's clock; `--no-clock` for none.
    pub fn now(&self) -> Outcome<Option<UnixSeconds>> {
        if self.has("no-clock") {
            return Ok(None);
        }
        let host = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(Some(UnixSeconds(self.number("at")?.unwrap_or(host))))
    }

    /// `--suite NAME` and `--group NAME` leave but one of each.
    pub fn provider(&self) -> Outcome<Arc<CryptoProvider>> {
        let mut provider = CRYPTO.provider();
        let keep = |wanted: Option<&str>, name: String| wanted.is_none_or(|it| name.contains(it));
        let (suite, group) = (self.text("suite"), self.text("group"));
        provider
            .cipher_suites
            .retain(|it| keep(suite, format!("{:?}", it.suite())));
        provider
            .kx_groups
            .retain(|it| keep(group, format!("{:?}", it.name())));
        if provider.cipher_suites.is_empty() || provider.kx_groups.is_empty() {
            return Err("no such suite or group".into());
        }
        Ok(Arc::new(provider))
    }
}

/// A connection on a socket.
pub struct Stream {
    pub tls: Connection,
    socket: TcpStream,
}

impl Stream {
    pub fn new(tls: Connection, socket: TcpStream) -> Outcome<Self> {
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        socket.set_write_timeout(Some(Duration::from_secs(10)))?;
        socket.set_nodelay(true)?;
        Ok(Self { tls, socket })
    }

    /// Sends what is to be sent and takes what has come, for 20 ms at most. False at the end.
    pub fn turn(&mut self) -> Outcome<bool> {
        self.flush()?;
        let mut buffer = [0; 16 * 1024];
        let len = match self.socket.read(&mut buffer) {
            Ok(0) => {
                self.tls.end_of_input()?;
                return Ok(false);
            }
            Ok(len) => len,
            Err(error) if is_timeout(&error) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = &buffer[..len];
        while !bytes.is_empty() {
            let taken = self.tls.read_tls(bytes);
            self.flush()?;
            bytes = &bytes[taken?..];
            if self.tls.plain().len() >= 64 * 1024 {
                return Err("too much at once for an example".into());
            }
        }
        Ok(true)
    }

    pub fn handshake(&mut self) -> Outcome<PeerInfo> {
        while self.tls.is_handshaking() {
            if !self.turn()? {
                return Err("the peer left during the handshake".into());
            }
        }
        self.flush()?;
        Ok(self.tls.peer().ok_or("no peer")?)
    }

    pub fn write(&mut self, mut bytes: &[u8]) -> Outcome<()> {
        while !bytes.is_empty() {
            let written = self.tls.write_plain(bytes)?;
            bytes = &bytes[written..];
            self.flush()?;
        }
        Ok(())
    }

    pub fn flush(&mut self) -> Outcome<()> {
        while !self.tls.tls_output().is_empty() {
            let sent = self.socket.write(self.tls.tls_output())?;
            self.tls.output_sent(sent);
        }
        Ok(())
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// One line about a connection.
pub fn describe(peer: &PeerInfo) -> String {
    let alpn = peer.alpn.as_deref().map(String::from_utf8_lossy);
    format!(
        "{:?} {} alpn={} name={} certificates={} resumed={} retried={}",
        peer.suite,
        peer.group.map_or("-".into(), |group| format!("{group:?}")),
        alpn.unwrap_or("-".into()),
        peer.server_name.as_deref().unwrap_or("-"),
        peer.certificates.len(),
        peer.resumed,
        peer.retried,
    )
}
