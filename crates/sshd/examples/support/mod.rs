//! The world of the server on the host: sockets, `/bin/sh`, files below a directory.

#![allow(dead_code, reason = "each user takes its part")]

#[path = "../../../viper-ssh/examples/support/host_fs.rs"]
mod host_fs;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use sshd::net::{Listener, Network, Stream};
use sshd::world::{Launch, World};
use viper_proto::{console, stream};
use viper_rt::abi::{FOREVER, Slot};
use viper_rt::handle::{Event, OwnedHandle, Process};
use viper_rt::{Error, Object, host, program, thread};

pub use host_fs::HostFs;

/// Bytes that wait in each direction of a socket.
const QUEUE_MAX: usize = 64 * 1024;

/// The host.
pub struct Host {
    pub root: PathBuf,
    pub network: HostNetwork,
}

impl World for Host {
    type Network = HostNetwork;
    type Files = HostFs;
    type Random = ChaCha20Rng;

    fn network(&self) -> &HostNetwork {
        &self.network
    }

    fn start(
        &mut self,
        launch: &Launch,
        streams: Vec<(Slot, OwnedHandle)>,
    ) -> Result<Process, Error> {
        let launch = launch.clone();
        host::spawn_process("sh", streams, &["sh"], move || shell(&launch))
    }

    fn end_family(&mut self, _: u64) {}

    fn files(&mut self, _: sshd::Identity) -> Result<HostFs, Error> {
        Ok(HostFs::new(self.root.clone()))
    }

    fn random(&mut self) -> Result<ChaCha20Rng, Error> {
        let mut seed = [0; 32];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut seed))
            .map_err(|_| Error::NoService)?;
        Ok(ChaCha20Rng::from_seed(seed))
    }

    fn tell(&mut self, line: &str) {
        eprintln!("sshd: {line}");
    }
}

/// A fake process that is `/bin/sh` behind the stream protocol, or a terminal in miniature.
fn shell(launch: &Launch) -> i64 {
    let take = |slot| program::take(slot).expect("it is given").into_object();
    let (input, output, errors) = (take(Slot::STDIN), take(Slot::STDOUT), take(Slot::STDERR));
    let output = stream::Client::new(output);
    if launch.terminal.is_some() && launch.command.is_none() {
        return terminal(&console::Client::new(input), &output);
    }
    let (input, errors) = (stream::Client::new(input), stream::Client::new(errors));
    let mut command = Command::new("/bin/sh");
    if let Some(text) = &launch.command {
        command.args(["-c", text]);
    }
    let variables = launch.environment.iter().filter_map(|v| v.split_once('='));
    let child = command
        .envs(variables)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else { return 20 };
    let (mut to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let from_errors = child.stderr.take().unwrap();
    let feeder = thread::spawn(move || {
        while let Ok(bytes) = input.read(240, FOREVER) {
            if bytes.is_empty() || to.write_all(&bytes).is_err() {
                break;
            }
        }
    });
    drop(feeder);
    let copy = |mut from: Box<dyn Read + Send>, to: stream::Client| {
        thread::spawn(move || {
            let mut part = [0; 240];
            while let Ok(count @ 1..) = from.read(&mut part) {
                let mut rest = &part[..count];
                while !rest.is_empty() {
                    match to.write(rest) {
                        Ok(taken) => rest = &rest[taken as usize..],
                        Err(_) => return,
                    }
                }
            }
        })
        .expect("a thread")
    };
    let copies = [
        copy(Box::new(from), output),
        copy(Box::new(from_errors), errors),
    ];
    for thread in copies {
        let _ = thread.join(FOREVER);
    }
    child
        .wait()
        .ok()
        .and_then(|status| status.code())
        .map_or(20, i64::from)
}

/// Echoes lines, tells the size of the window, hears of control-C.
fn terminal(input: &console::Client, output: &stream::Client) -> i64 {
    let say = |text: &str| {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match output.write(&rest[..rest.len().min(240)]) {
                Ok(taken) => rest = &rest[taken as usize..],
                Err(_) => return,
            }
        }
    };
    loop {
        say("$ ");
        match input.read(240, FOREVER) {
            Ok(bytes) if bytes.is_empty() => return 0,
            Ok(bytes) => {
                let line = String::from_utf8_lossy(&bytes).trim().to_string();
                let mut words = line.split_whitespace();
                match (words.next(), words.next()) {
                    (Some("terminal"), _) => {
                        let size = input.size().unwrap_or_default();
                        say(&format!("{}x{}\n", size.columns, size.rows));
                    }
                    (Some("exit"), code) => {
                        return code.and_then(|c| c.parse().ok()).unwrap_or(0);
                    }
                    _ => say(&format!("you said {line}\n")),
                }
            }
            Err(Error::Interrupted) => say("interrupted\n"),
            Err(_) => return 20,
        }
    }
}

/// The host's network.
#[derive(Clone, Default)]
pub struct HostNetwork;

impl Network for HostNetwork {
    type Stream = HostStream;
    type Listener = HostListener;

    fn listen(&self, _: IpAddr, port: u16) -> Result<HostListener, Error> {
        // Whatever it asks for, tests stay on this machine.
        let listener = TcpListener::bind(("127.0.0.1", port)).map_err(|_| Error::Busy)?;
        HostListener::new(listener)
    }

    fn connect(&self, host: &str, port: u16, _: u64) -> Result<HostStream, Error> {
        let socket = TcpStream::connect((host, port)).map_err(|_| Error::NotFound)?;
        HostStream::new(socket)
    }
}

/// A listener: a thread accepts, and signals.
pub struct HostListener {
    waiting: Arc<Mutex<VecDeque<TcpStream>>>,
    event: Event,
    at: SocketAddr,
}

impl HostListener {
    fn new(socket: TcpListener) -> Result<HostListener, Error> {
        let event = Event::new()?;
        let (signal, waiting) = (event.try_clone()?, Arc::new(Mutex::new(VecDeque::new())));
        let (at, queue) = (
            socket.local_addr().map_err(|_| Error::Busy)?,
            waiting.clone(),
        );
        // The thread, and so the port, lives as long as the program: enough for tests.
        thread::spawn(move || {
            for stream in socket.incoming() {
                let Ok(stream) = stream else { return };
                queue.lock().unwrap().push_back(stream);
                if signal.signal(1).is_err() {
                    return;
                }
            }
        })?;
        Ok(HostListener { waiting, event, at })
    }
}

impl Listener for HostListener {
    type Stream = HostStream;

    fn try_accept(&mut self) -> Result<HostStream, Error> {
        let socket = self.waiting.lock().unwrap().pop_front();
        HostStream::new(socket.ok_or(Error::WouldBlock)?)
    }

    fn port(&self) -> u16 {
        self.at.port()
    }

    fn event(&self) -> &Event {
        &self.event
    }
}

#[derive(Default)]
struct Queue {
    bytes: VecDeque<u8>,
    ended: bool,
}

/// A connection: one thread reads, one writes, and both signal.
pub struct HostStream {
    incoming: Arc<(Mutex<Queue>, Condvar)>,
    outgoing: Arc<(Mutex<Queue>, Condvar)>,
    event: Event,
    peer: SocketAddr,
    socket: TcpStream,
}

impl HostStream {
    fn new(socket: TcpStream) -> Result<HostStream, Error> {
        let failed = |_| Error::Io;
        socket.set_nodelay(true).map_err(failed)?;
        let (incoming, outgoing) = (Arc::default(), Arc::default());
        let event = Event::new()?;
        let mut from = socket.try_clone().map_err(failed)?;
        let (queue, signal) = (Arc::clone(&incoming), event.try_clone()?);
        thread::spawn(move || {
            let (queue, room): &(Mutex<Queue>, Condvar) = &queue;
            let mut part = vec![0; 16 * 1024];
            loop {
                let count = from.read(&mut part).unwrap_or(0);
                let mut queue = queue.lock().unwrap();
                while queue.bytes.len() >= QUEUE_MAX && !queue.ended {
                    queue = room.wait(queue).unwrap();
                }
                queue.bytes.extend(&part[..count]);
                queue.ended |= count == 0;
                let over = queue.ended;
                drop(queue);
                if signal.signal(1).is_err() || over {
                    return;
                }
            }
        })?;
        let mut to = socket.try_clone().map_err(failed)?;
        let (queue, signal) = (Arc::clone(&outgoing), event.try_clone()?);
        thread::spawn(move || {
            let (queue, more): &(Mutex<Queue>, Condvar) = &queue;
            loop {
                let mut queue = queue.lock().unwrap();
                while queue.bytes.is_empty() && !queue.ended {
                    queue = more.wait(queue).unwrap();
                }
                let bytes: Vec<u8> = queue.bytes.drain(..).collect();
                let over = queue.ended && bytes.is_empty();
                drop(queue);
                if over || to.write_all(&bytes).is_err() {
                    let _ = to.shutdown(Shutdown::Write);
                    return;
                }
                if signal.signal(1).is_err() {
                    continue;
                }
            }
        })?;
        Ok(HostStream {
            incoming,
            outgoing,
            event,
            peer: socket.peer_addr().map_err(failed)?,
            socket,
        })
    }
}

impl Drop for HostStream {
    fn drop(&mut self) {
        self.outgoing.0.lock().unwrap().ended = true;
        self.outgoing.1.notify_all();
        self.incoming.0.lock().unwrap().ended = true;
        self.incoming.1.notify_all();
        let _ = self.socket.shutdown(Shutdown::Read);
    }
}

impl Stream for HostStream {
    fn try_read(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        let mut queue = self.incoming.0.lock().unwrap();
        let count = queue.bytes.len().min(to.len());
        for (place, byte) in to.iter_mut().zip(queue.bytes.drain(..count)) {
            *place = byte;
        }
        self.incoming.1.notify_all();
        match count {
            0 if queue.ended => Ok(0),
            0 => Err(Error::WouldBlock),
            count => Ok(count),
        }
    }

    fn try_write(&mut self, from: &[u8]) -> Result<usize, Error> {
        let mut queue = self.outgoing.0.lock().unwrap();
        let count = from.len().min(QUEUE_MAX.saturating_sub(queue.bytes.len()));
        if count == 0 {
            return Err(Error::WouldBlock);
        }
        queue.bytes.extend(&from[..count]);
        self.outgoing.1.notify_all();
        Ok(count)
    }

    fn shutdown_write(&mut self) -> Result<(), Error> {
        self.outgoing.0.lock().unwrap().ended = true;
        self.outgoing.1.notify_all();
        Ok(())
    }

    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn event(&self) -> &Event {
        &self.event
    }
}
