//! What the cores of `fetch` and `httpd` need, on ViperOS.

mod client;
mod place;
mod server;
mod tree;

pub use client::fetch_main;
pub use server::httpd_main;

use crate::stream::{Fault, Stream, Wait};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use place::absolute;
use viper_proto::entropy::Random;
use viper_proto::fs::{Files, flags};
use viper_proto::names;
use viper_proto::net::bits;
use viper_proto::net::client::TcpStream;
use viper_rt::abi::{Signals, Slot};
use viper_rt::handle::Channel;
use viper_rt::sync::Mutex;
use viper_rt::{Error, Object, clock, println, program};
use viper_tls::provider::{Crypto, FillFn, GetRandomFailed};
use viper_tls::{Identity, UnixSeconds};

/// Any change of a socket.
const CHANGE: Signals = Signals(bits::ALL as u64);
/// A certificate or key file that is larger is none.
const FILE_MAX: u64 = 1 << 20;

/// Prints the usage if that is what the first word asks for.
fn told_usage(usage: &str) -> bool {
    let asks = matches!(program::arguments().nth(1), Some("?" | "-?" | "--help"));
    if asks {
        println!("{usage}");
    }
    asks
}

impl Stream for TcpStream {
    fn try_read(&mut self, to: &mut [u8]) -> Result<usize, Fault> {
        Ok(TcpStream::try_read(self, to)?)
    }

    fn try_write(&mut self, from: &[u8]) -> Result<usize, Fault> {
        Ok(TcpStream::try_write(self, from)?)
    }

    fn flush(&mut self) -> Result<bool, Fault> {
        // What is in the ring is the server's.
        Ok(true)
    }

    fn shutdown_write(&mut self) -> Result<(), Fault> {
        Ok(TcpStream::shutdown_write(self)?)
    }
}

impl Wait for TcpStream {
    fn wait(&mut self, deadline: u64) -> Result<(), Fault> {
        match self.event().wait(CHANGE, deadline) {
            Err(Error::WouldBlock) => Err(Fault::Network(Error::TimedOut)),
            result => Ok(result.map(|_| ())?),
        }
    }
}

/// The names and files of this program.
struct System {
    names: names::Client,
    files: Files,
    /// Nanoseconds between 1970 and the start of the machine, once it was asked for.
    boot_ns: Cell<Option<u64>>,
}

impl System {
    /// # Errors
    /// [`Error::NoService`] without names.
    fn new() -> Result<System, Error> {
        let channel: Channel = program::take(Slot::NAMES)
            .ok_or(Error::NoService)?
            .into_object();
        Ok(System {
            names: names::Client::new(channel),
            files: Files::new(),
            boot_ns: Cell::new(None),
        })
    }

    /// A path as the user typed it.
    fn absolute(&self, typed: &str) -> Result<String, Error> {
        absolute(typed, program::variable("PWD").unwrap_or("/"), |assign| {
            let path = self.names.assign_get(assign.as_bytes())?;
            core::str::from_utf8(&path)
                .map(Into::into)
                .map_err(|_| Error::BadMessage)
        })
    }

    /// A small file.
    fn read(&mut self, path: &str) -> Result<Vec<u8>, Error> {
        let (file, facts) = self.files.open(&self.names, path, flags::READ, 0)?;
        let result = if facts.size_bytes > FILE_MAX {
            Err(Error::LimitReached)
        } else {
            let mut data = alloc::vec![0; facts.size_bytes as usize];
            self.fill(file, &mut data).map(|()| data)
        };
        let _ = self.files.close(file);
        result
    }

    fn fill(&mut self, file: viper_proto::fs::FileId, to: &mut [u8]) -> Result<(), Error> {
        let mut done = 0;
        while let Some(rest) = to.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.files.read(&self.names, file, done as u64, rest)? {
                0 => return Err(Error::Corrupt),
                count => done += count,
            }
        }
        Ok(())
    }

    /// Writes a small file that only its owner may read.
    fn write(&mut self, path: &str, data: &[u8]) -> Result<(), Error> {
        let make = flags::WRITE | flags::CREATE | flags::TRUNCATE;
        let (file, _) = self.files.open(&self.names, path, make, 0o600)?;
        let mut done = 0;
        let mut result = Ok(());
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            match self.files.write(&self.names, file, done as u64, rest) {
                Ok(count) => done += count,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let synced = self.files.sync_file(&self.names, file);
        let closed = self.files.close(file);
        result.and(synced).and(closed)
    }

    /// A certificate chain and its private key, from their files.
    ///
    /// # Errors
    /// A sentence about the file that will not do.
    fn identity(&mut self, chain: &str, key: &str) -> Result<Identity, String> {
        let chain_pem = self.read_typed(chain)?;
        let key_pem = self.read_typed(key)?;
        let crypto = self.crypto().map_err(|e| format!("randomness: {e}"))?;
        Identity::from_pem(&chain_pem, &key_pem, &crypto).map_err(|error| {
            let file = match error {
                viper_tls::Error::BadKey => key,
                _ => chain,
            };
            format!("{file}: {error}")
        })
    }

    /// A small file by the name that the user typed.
    ///
    /// # Errors
    /// A sentence with that name.
    fn read_typed(&mut self, typed: &str) -> Result<Vec<u8>, String> {
        let path = self.absolute(typed);
        let read = path.and_then(|path| self.read(&path));
        read.map_err(|error| format!("{typed}: {error}"))
    }

    /// The time, if there is a clock.
    fn unix_s(&self) -> Option<UnixSeconds> {
        let boot_ns = self
            .boot_ns
            .get()
            .or_else(|| self.names.wall_clock().ok())?;
        self.boot_ns.set(Some(boot_ns));
        let now_ns = boot_ns.checked_add(clock::now())?;
        Some(UnixSeconds(now_ns / clock::SECOND))
    }

    /// The cryptography, with randomness from the entropy service.
    fn crypto(&self) -> Result<Arc<viper_tls::provider::Provider>, Error> {
        let names = names::Client::new(self.names.duplicate(0)?);
        let random = Random::new(&names)?;
        *SOURCE.lock() = Some(Source { names, random });
        Ok(Arc::new(CRYPTO.provider()))
    }
}

/// The generator behind TLS, which asks for randomness by a plain function.
struct Source {
    names: names::Client,
    random: Random,
}

static SOURCE: Mutex<Option<Source>> = Mutex::new(None);
static FILL: FillFn = FillFn(fill);
static CRYPTO: Crypto = Crypto::new(&FILL);

fn fill(to: &mut [u8]) -> Result<(), GetRandomFailed> {
    let mut source = SOURCE.lock();
    let Source { names, random } = source.as_mut().ok_or(GetRandomFailed)?;
    random.fill(names, to).map_err(|_| GetRandomFailed)
}
