//! `fetch`.

use super::{System, told_usage};
use crate::fetch::{Arguments, Connected, Terms, USAGE, World, run};
use crate::stream::{Either, Fault, Secure, Wait};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use viper_http::Url;
use viper_http::url::{Host, Scheme};
use viper_proto::console;
use viper_proto::fs::{FileId, Files, flags, kind};
use viper_proto::net::client::{Network, TcpStream};
use viper_rt::abi::Slot;
use viper_rt::handle::OwnedHandle;
use viper_rt::{Error, clock, eprintln, program, stdio};
use viper_tls::{ClientConfig, Connection, Identity, Roots};

/// Sessions that are remembered from one connection to the next.
const SESSIONS_MAX: usize = 8;

/// Fetches resources: see [`crate::fetch::USAGE`].
#[must_use]
pub fn fetch_main() -> i64 {
    if told_usage(USAGE) {
        return 0;
    }
    let arguments = match Arguments::parse(program::arguments().skip(1)) {
        Ok(arguments) => arguments,
        Err(sentence) => {
            eprintln!("fetch: {sentence}");
            return 20;
        }
    };
    let result = Guest::new(&arguments).map(|mut guest| run(&mut guest, &arguments));
    result.unwrap_or_else(|sentence| {
        eprintln!("fetch: {sentence}");
        20
    })
}

struct Guest {
    system: System,
    network: Network,
    /// The file that is written, and where its next byte goes.
    open: Option<(FileId, u64)>,
    /// What is shown to servers that ask for a certificate.
    identity: Option<Identity>,
    /// What connections on these terms have in common, sessions to resume among it.
    tls: Option<(Terms, ClientConfig)>,
}

impl Guest {
    fn new(arguments: &Arguments) -> Result<Guest, String> {
        let mut system = System::new().map_err(|error| error.to_string())?;
        let network = Network::connect_through(&system.names).map_err(|error| match error {
            Error::NoService => "the network service is not running".into(),
            error => error.to_string(),
        })?;
        let identity = match arguments.identity() {
            Some((chain, key)) => Some(system.identity(chain, key)?),
            None => None,
        };
        Ok(Guest {
            system,
            network,
            open: None,
            identity,
            tls: None,
        })
    }

    /// Tries all addresses of a host.
    fn dial(&self, url: &Url, deadline: u64) -> Result<TcpStream, Fault> {
        let addresses = match url.host() {
            Host::Name(name) => self.network.resolve(name, deadline)?,
            Host::Ipv4(address) => alloc::vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => alloc::vec![IpAddr::V6(*address)],
        };
        let mut last = Error::NotFound;
        let (v4, v6): (Vec<_>, _) = addresses.into_iter().partition(IpAddr::is_ipv4);
        for address in v4.into_iter().chain(v6) {
            let to = SocketAddr::new(address, url.port());
            match self.network.tcp_connect(to, deadline) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(Fault::Network(last))
    }

    /// Whom the user trusts: the certificates in CERTS:.
    fn roots(&mut self) -> Roots {
        let mut roots = Roots::new();
        let Ok(folder) = self.system.absolute("CERTS:") else {
            return roots;
        };
        for name in names_in(&mut self.system, &folder) {
            // What is no certificate may lie there, too.
            if let Ok(file) = self.system.read(&super::place::join(&folder, &name)) {
                let _ = roots.add(&file);
            }
        }
        roots
    }

    fn tls(&mut self, terms: Terms) -> Result<ClientConfig, Fault> {
        if let Some((same, config)) = &self.tls
            && *same == terms
        {
            return Ok(config.clone());
        }
        let crypto = self.system.crypto()?;
        let mut config = match terms.verify {
            true => ClientConfig::new(crypto, self.roots())?,
            false => ClientConfig::without_verification(crypto)?,
        };
        if let (true, Some(identity)) = (terms.identify, &self.identity) {
            config = config.with_identity(identity.clone());
        }
        let config = config.with_sessions(SESSIONS_MAX);
        self.tls = Some((terms, config.clone()));
        Ok(config)
    }

    fn secure(
        &mut self,
        stream: TcpStream,
        url: &Url,
        terms: Terms,
        deadline: u64,
    ) -> Result<Connected<Secure<TcpStream>>, Fault> {
        let config = self.tls(terms)?;
        let asked_before = config.times_asked();
        let host = url.host().to_string();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tls = Connection::client(&config, host, self.system.unix_s())?;
        let mut stream = Secure::new(stream, tls);
        loop {
            match stream.handshake() {
                Ok(()) => break,
                Err(Fault::WouldBlock) => stream.wait(deadline)?,
                Err(fault) => return Err(fault),
            }
        }
        Ok(Connected {
            stream,
            asks_certificate: config.times_asked() != asked_before,
        })
    }
}

/// The names of the files in a directory.
fn names_in(system: &mut System, folder: &str) -> Vec<String> {
    let (names, files) = (&system.names, &mut system.files);
    let read = |files: &mut Files| -> Result<_, Error> {
        let (id, _) = files.open(names, folder, flags::READ | flags::DIRECTORY, 0)?;
        let (mut entries, mut cookie) = (Vec::new(), 0);
        while let Some(next) = files.read_directory(names, id, cookie, &mut entries)? {
            cookie = next;
        }
        files.close(id)?;
        Ok(entries)
    };
    let entries = read(files).unwrap_or_default();
    let files = entries.into_iter().filter(|e| e.kind == kind::FILE);
    files.map(|entry| entry.name).collect()
}

impl World for Guest {
    type Stream = Either<TcpStream>;

    fn connect(
        &mut self,
        url: &Url,
        terms: Terms,
        deadline: u64,
    ) -> Result<Connected<Self::Stream>, Fault> {
        let stream = self.dial(url, deadline)?;
        if url.scheme() == Scheme::Http {
            return Ok(Connected {
                stream: Either::Plain(stream),
                asks_certificate: false,
            });
        }
        let secure = self.secure(stream, url, terms, deadline)?;
        Ok(Connected {
            stream: Either::Secure(Box::new(secure.stream)),
            asks_certificate: secure.asks_certificate,
        })
    }

    fn now_ns(&mut self) -> u64 {
        clock::now()
    }

    fn file_len(&mut self, path: &str) -> Result<Option<u64>, Error> {
        let path = self.system.absolute(path)?;
        match self.system.files.stat_path(&self.system.names, &path, true) {
            Ok(facts) => Ok(Some(facts.size_bytes)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn begin(&mut self, path: &str, len: u64) -> Result<(), Error> {
        let path = self.system.absolute(path)?;
        let (names, files) = (&self.system.names, &mut self.system.files);
        let (file, _) = files.open(names, &path, flags::WRITE | flags::CREATE, 0o644)?;
        files.truncate(names, file, len)?;
        self.open = Some((file, len));
        Ok(())
    }

    fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        let Some((file, at)) = &mut self.open else {
            return stdio::try_write_to(Slot::STDOUT, data);
        };
        let mut rest = data;
        while !rest.is_empty() {
            let count = self
                .system
                .files
                .write(&self.system.names, *file, *at, rest)?;
            *at += count as u64;
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    fn finish(&mut self, part: &str, path: &str) -> Result<(), Error> {
        if let Some((file, _)) = self.open.take() {
            self.system.files.close(file)?;
        }
        let (part, path) = (self.system.absolute(part)?, self.system.absolute(path)?);
        self.system.files.rename(&self.system.names, &part, &path)
    }

    fn remove(&mut self, path: &str) {
        if let Some((file, _)) = self.open.take() {
            let _ = self.system.files.close(file);
        }
        if let Ok(path) = self.system.absolute(path) {
            let _ = self.system.files.unlink(&self.system.names, &path);
        }
    }

    fn show(&mut self, text: &str) {
        stdio::write_to(Slot::STDERR, text.as_bytes());
    }

    fn columns(&mut self) -> Option<usize> {
        // Only a console knows its size.
        let handle = program::take(Slot::STDERR)?;
        let console = console::Client::new(handle.into_object());
        console.connection().set_timeout(clock::SECOND);
        let size = console.size();
        // It stays where `show` finds it.
        core::mem::forget::<OwnedHandle>(console.into_channel().into());
        size.ok().map(|size| size.columns as usize)
    }
}
