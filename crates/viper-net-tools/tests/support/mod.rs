//! The host in the place of ViperOS: sockets, files in memory, a clock.
#![allow(dead_code, reason = "not every test uses everything")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use viper_http::Url;
use viper_http::url::Scheme;
use viper_net_tools::fetch::{Arguments, Connected, Terms, World, run};
use viper_net_tools::httpd::{Denied, Facts, Found, Item, Server, Settings, Tree};
use viper_net_tools::stream::{Either, Fault, Secure, Stream, Wait};
use viper_rt::Error;
use viper_tls::provider::{Crypto, FillFn};
use viper_tls::{ClientConfig, Connection, Identity, Roots, SelfSigned, ServerConfig, UnixSeconds};

/// A socket of the host that never waits.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl Socket {
    pub fn new(stream: TcpStream) -> Socket {
        stream.set_nonblocking(true).unwrap();
        Socket(stream)
    }
}

fn fault(error: &std::io::Error) -> Fault {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Fault::WouldBlock,
        ErrorKind::ConnectionRefused => Fault::Network(Error::ConnectionRefused),
        _ => Fault::Network(Error::ConnectionReset),
    }
}

impl Stream for Socket {
    fn try_read(&mut self, to: &mut [u8]) -> Result<usize, Fault> {
        self.0.read(to).map_err(|e| fault(&e))
    }
    fn try_write(&mut self, from: &[u8]) -> Result<usize, Fault> {
        self.0.write(from).map_err(|e| fault(&e))
    }
    fn flush(&mut self) -> Result<bool, Fault> {
        Ok(true)
    }
    fn shutdown_write(&mut self) -> Result<(), Fault> {
        let _ = self.0.shutdown(Shutdown::Write);
        Ok(())
    }
}

impl Wait for Socket {
    fn wait(&mut self, deadline: u64) -> Result<(), Fault> {
        if now_ns() >= deadline {
            return Err(Fault::Network(Error::TimedOut));
        }
        thread::sleep(Duration::from_micros(200));
        Ok(())
    }
}

pub fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64
}

pub fn now_s() -> UnixSeconds {
    UnixSeconds(now_ns() / 1_000_000_000)
}

fn fill(buffer: &mut [u8]) -> Result<(), viper_tls::provider::GetRandomFailed> {
    // Tests may repeat themselves; what must differ within a run does.
    static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    for byte in buffer {
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        *byte = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    }
    Ok(())
}
pub static RANDOM: FillFn = FillFn(fill);
pub static CRYPTO: Crypto = Crypto::new(&RANDOM);

/// Files in memory.
#[derive(Debug, Default, Clone)]
pub struct MemoryTree(pub BTreeMap<String, Vec<u8>>);

impl MemoryTree {
    pub fn with(files: &[(&str, &[u8])]) -> MemoryTree {
        MemoryTree(
            files
                .iter()
                .map(|(n, d)| ((*n).into(), d.to_vec()))
                .collect(),
        )
    }
}

impl Tree for MemoryTree {
    type File = String;
    fn find(&mut self, path: &str) -> Result<Found<String>, Denied> {
        if path == "broken" {
            return Err(Denied::Unavailable);
        }
        if let Some(data) = self.0.get(path) {
            let facts = Facts {
                len: data.len() as u64,
                modified_s: 784_111_777,
                version: 7,
            };
            return Ok(Found::File(path.into(), facts));
        }
        let folder = format!("{path}/");
        match path.is_empty() || self.0.keys().any(|k| k.starts_with(&folder)) {
            true => Ok(Found::Folder),
            false => Err(Denied::NotFound),
        }
    }
    fn list(&mut self, path: &str) -> Result<Vec<Item>, Denied> {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let mut items: Vec<Item> = Vec::new();
        for (name, data) in self
            .0
            .iter()
            .filter_map(|(k, d)| Some((k.strip_prefix(&prefix)?, d)))
        {
            let (name, is_folder) = match name.split_once('/') {
                Some((folder, _)) => (folder, true),
                None => (name, false),
            };
            if !items.iter().any(|i| i.name == name) {
                items.push(Item {
                    name: name.into(),
                    is_folder,
                    len: data.len() as u64,
                    modified_s: 784_111_777,
                });
            }
        }
        Ok(items)
    }
    fn read(&mut self, file: &mut String, at: u64, to: &mut [u8]) -> Result<usize, Denied> {
        if file == "shrinks" && at > 0 {
            return Ok(0);
        }
        let rest = &self.0[file.as_str()][at as usize..];
        let len = rest.len().min(to.len());
        to[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
    fn close(&mut self, _: String) {}
    fn unix_s(&mut self) -> Option<u64> {
        Some(1_795_305_600)
    }
}

/// `httpd` in a thread, gone when dropped.
pub struct Httpd {
    pub at: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<viper_net_tools::httpd::Counters>>,
}

impl Httpd {
    pub fn start(tree: MemoryTree, settings: Settings, tls: Option<ServerConfig>) -> Httpd {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let mut server = Server::new(settings, tree);
            let mut slots = settings.clients_max;
            while !stopped.load(Ordering::Relaxed) {
                let now = start.elapsed();
                while server.has_place(now)
                    && let Ok((stream, _)) = listener.accept()
                {
                    let socket = Socket::new(stream);
                    let stream = match &tls {
                        None => Either::Plain(socket),
                        Some(config) => {
                            let tls = Connection::server(config, Some(now_s())).unwrap();
                            Either::Secure(Box::new(Secure::new(socket, tls)))
                        }
                    };
                    let (slot, _) = server.admit(now, stream).unwrap();
                    slots = slots.max(slot + 1);
                }
                if server.deadline().is_some_and(|d| d <= now) {
                    server.time_out(now);
                }
                server.turn(now, |_, _| {});
                if !server.is_busy() {
                    // Without events: try everybody again.
                    thread::sleep(Duration::from_micros(200));
                    (0..slots).for_each(|slot| server.wake(slot));
                }
            }
            server.counters()
        });
        Httpd {
            at,
            stop,
            thread: Some(thread),
        }
    }

    pub fn plain(files: &[(&str, &[u8])]) -> Httpd {
        Httpd::start(MemoryTree::with(files), Settings::default(), None)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    pub fn stop(mut self) -> viper_net_tools::httpd::Counters {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Httpd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A certificate for `localhost` that nobody knows.
pub fn own_identity() -> (SelfSigned, Identity) {
    let own = SelfSigned::new(&["localhost", "127.0.0.1"], now_s(), 30, &RANDOM).unwrap();
    let identity = Identity::from_pem(
        own.certificate_pem.as_bytes(),
        own.key_pem.as_bytes(),
        &CRYPTO.provider(),
    );
    (own, identity.unwrap())
}

/// Such a certificate, and the configuration of its server.
pub fn own_certificate() -> (SelfSigned, ServerConfig) {
    let (own, identity) = own_identity();
    let config = ServerConfig::new(Arc::new(CRYPTO.provider()), identity).unwrap();
    (own, config)
}

/// What `fetch` finds on the host: files in memory, sockets of the host.
#[derive(Default)]
pub struct Host {
    pub files: BTreeMap<String, Vec<u8>>,
    pub output: Vec<u8>,
    pub shown: String,
    pub roots: Roots,
    pub columns: Option<usize>,
    pub full_at: Option<usize>,
    pub open: Option<String>,
    pub identity: Option<Identity>,
    /// Connections that were made.
    pub connections: usize,
}

impl Host {
    /// Runs `fetch` with these words.
    pub fn fetch(&mut self, words: &str) -> i64 {
        self.output.clear();
        self.shown.clear();
        let arguments = Arguments::parse(words.split_whitespace()).unwrap();
        self.identity = arguments.identity().map(|(chain, key)| {
            let (chain, key) = (&self.files[chain], &self.files[key]);
            Identity::from_pem(chain, key, &CRYPTO.provider()).unwrap()
        });
        self.connections = 0;
        run(self, &arguments)
    }
}

impl World for Host {
    type Stream = Either<Socket>;

    fn connect(
        &mut self,
        url: &Url,
        terms: Terms,
        deadline: u64,
    ) -> Result<Connected<Self::Stream>, Fault> {
        let host = url.host().to_string();
        let stream = TcpStream::connect((host.trim_matches(['[', ']']), url.port()));
        let socket = Socket::new(stream.map_err(|e| fault(&e))?);
        self.connections += 1;
        if url.scheme() == Scheme::Http {
            return Ok(Connected {
                stream: Either::Plain(socket),
                asks_certificate: false,
            });
        }
        let provider = Arc::new(CRYPTO.provider());
        let mut config = match terms.verify {
            true => ClientConfig::new(provider, self.roots.clone())?,
            false => ClientConfig::without_verification(provider)?,
        };
        if let (true, Some(identity)) = (terms.identify, &self.identity) {
            config = config.with_identity(identity.clone());
        }
        let tls = Connection::client(&config, &host, Some(now_s()))?;
        let mut stream = Secure::new(socket, tls);
        while let Err(fault) = stream.handshake() {
            match fault {
                Fault::WouldBlock => stream.wait(deadline)?,
                fault => return Err(fault),
            }
        }
        Ok(Connected {
            stream: Either::Secure(Box::new(stream)),
            asks_certificate: config.times_asked() > 0,
        })
    }
    fn now_ns(&mut self) -> u64 {
        now_ns()
    }
    fn file_len(&mut self, path: &str) -> Result<Option<u64>, Error> {
        Ok(self.files.get(path).map(|f| f.len() as u64))
    }
    fn begin(&mut self, path: &str, len: u64) -> Result<(), Error> {
        self.files
            .entry(path.into())
            .or_default()
            .truncate(len as usize);
        self.open = Some(path.into());
        Ok(())
    }
    fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        let file = match &self.open {
            Some(path) => self.files.get_mut(path).unwrap(),
            None => &mut self.output,
        };
        if self
            .full_at
            .is_some_and(|full| file.len() + data.len() > full)
        {
            return Err(Error::NoSpace);
        }
        file.extend_from_slice(data);
        Ok(())
    }
    fn finish(&mut self, part: &str, path: &str) -> Result<(), Error> {
        self.open = None;
        let data = self.files.remove(part).unwrap();
        self.files.insert(path.into(), data);
        Ok(())
    }
    fn remove(&mut self, path: &str) {
        self.open = None;
        self.files.remove(path);
    }
    fn show(&mut self, text: &str) {
        self.shown.push_str(text);
    }
    fn columns(&mut self) -> Option<usize> {
        self.columns
    }
}

/// A server that answers each connection with the next of these, whatever it is asked. Gives the
/// requests back.
pub fn scripted(answers: Vec<Vec<u8>>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
            }
            requests.push(String::from_utf8_lossy(&request).into_owned());
            let _ = stream.write_all(&answer);
        }
        requests
    });
    (at, thread)
}

/// Sends bytes and reads until the server closes.
pub fn talk(at: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(bytes).unwrap();
    let _ = stream.shutdown(Shutdown::Write);
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

/// Bytes that repeat only after long.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}
