//! Threads that turn blocking files and sockets into messages for one loop, shared by the examples.

#![allow(dead_code, reason = "each example uses its part")]

pub mod host_fs;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;
use viper_ssh::{ChannelId, Error, Role, Session, Stream};

/// A generator seeded by the host's kernel.
pub fn rng() -> ChaCha20Rng {
    let mut seed = [0; 32];
    let mut file = File::open("/dev/urandom").expect("the host has /dev/urandom");
    file.read_exact(&mut seed).expect("/dev/urandom never ends");
    ChaCha20Rng::from_seed(seed)
}

/// The options of the command line: `--name value`, and the rest.
pub struct Arguments {
    options: Vec<(String, String)>,
    pub words: Vec<String>,
}

impl Arguments {
    pub fn read(flags: &[&str]) -> Self {
        let mut arguments = Arguments {
            options: Vec::new(),
            words: Vec::new(),
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg
                .strip_prefix("--")
                .filter(|_| arguments.words.is_empty())
            {
                Some(name) if flags.contains(&name) => {
                    arguments.options.push((name.into(), String::new()));
                }
                Some(name) => {
                    let value = args
                        .next()
                        .unwrap_or_else(|| panic!("--{name} needs a value"));
                    arguments.options.push((name.into(), value));
                }
                None => arguments.words.push(arg),
            }
        }
        arguments
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name).map(|text| {
            text.parse()
                .unwrap_or_else(|_| panic!("--{name}: no number"))
        })
    }
}

/// What the threads tell the loop.
pub enum Message {
    /// Bytes from the SSH peer; none at the end.
    Net(Vec<u8>),
    /// The last output is on its way.
    Sent,
    /// Bytes from a program, file or forwarded connection; none at the end.
    Local(ChannelId, Stream, Vec<u8>),
    /// A local writer took what it was given, or is gone.
    Took(ChannelId, bool),
    /// A program ended.
    Exit(ChannelId, std::process::ExitStatus),
    /// Someone connected to a port we listen on.
    Accepted(TcpStream, String, u16),
}

/// One SSH connection with its threads.
pub struct Link<R: Role> {
    pub session: Session<R>,
    pub sender: Sender<Message>,
    receiver: Receiver<Message>,
    socket: TcpStream,
    to_socket: Sender<Vec<u8>>,
    sending: bool,
    unread: Vec<u8>,
    more_wanted: SyncSender<()>,
    net_ended: bool,
    started: Instant,
    locals: HashMap<ChannelId, Local>,
}

/// The local side of a channel.
#[derive(Default)]
struct Local {
    /// Bytes for the channel, and what lets their reader go on.
    waiting: Vec<(Stream, Vec<u8>, SyncSender<()>)>,
    readers: HashMap<u8, SyncSender<()>>,
    readers_open: usize,
    writer: Option<Sender<Vec<u8>>>,
    writing: bool,
    stderr: bool,
    eof_received: bool,
    eof_when_done: bool,
}

impl<R: Role> Link<R> {
    pub fn new(session: Session<R>, socket: TcpStream, started: Instant) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let (sender, receiver) = mpsc::channel();
        let (more_wanted, more) = mpsc::sync_channel(1);
        let (mut input, to_loop) = (socket.try_clone()?, sender.clone());
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let len = input.read(&mut buffer).unwrap_or(0);
                if to_loop.send(Message::Net(buffer[..len].to_vec())).is_err() || len == 0 {
                    return;
                }
                if more.recv().is_err() {
                    return;
                }
            }
        });
        let (to_socket, output) = mpsc::channel::<Vec<u8>>();
        let (mut writer, to_loop) = (socket.try_clone()?, sender.clone());
        thread::spawn(move || {
            for bytes in output {
                // A failure shows on the reading side too.
                let _ = writer.write_all(&bytes);
                if to_loop.send(Message::Sent).is_err() {
                    return;
                }
            }
        });
        Ok(Link {
            session,
            sender,
            receiver,
            socket,
            to_socket,
            sending: false,
            unread: Vec::new(),
            more_wanted,
            net_ended: false,
            started,
            locals: HashMap::new(),
        })
    }

    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Moves bytes until an event or a foreign message needs attention.
    pub fn next(&mut self) -> Result<Next, Error> {
        loop {
            self.pump()?;
            if let Some(event) = self.session.poll_event() {
                return Ok(Next::Event(event));
            }
            // What was left for the caller's sake may be taken now.
            if !self.unread.is_empty() && self.feed()? {
                continue;
            }
            if let Some(error) = self.session.failed() {
                return Err(error);
            }
            if self.net_ended && self.unread.is_empty() {
                return Ok(Next::End);
            }
            let timeout = self
                .session
                .poll_timeout()
                .map(|at| at.saturating_sub(self.now()));
            match self
                .receiver
                .recv_timeout(timeout.unwrap_or(Duration::from_secs(3600)))
            {
                Ok(message) => {
                    if let Some(message) = self.handle(message)? {
                        return Ok(Next::Message(message));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let now = self.now();
                    self.session.handle_timeout(now)?;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(Next::End),
            }
        }
    }

    fn handle(&mut self, message: Message) -> Result<Option<Message>, Error> {
        match message {
            Message::Net(bytes) if bytes.is_empty() => self.net_ended = true,
            Message::Net(bytes) => {
                self.unread = bytes;
                self.feed()?;
            }
            Message::Sent => {
                self.sending = false;
                return Ok(Some(Message::Sent));
            }
            Message::Local(channel, stream, bytes) => {
                let Some(local) = self.locals.get_mut(&channel) else {
                    return Ok(None);
                };
                if bytes.is_empty() {
                    local.readers_open -= 1;
                } else if let Some(more) = local.readers.get(&(stream as u8)) {
                    local.waiting.push((stream, bytes, more.clone()));
                }
            }
            Message::Took(channel, alive) => {
                if let Some(local) = self.locals.get_mut(&channel) {
                    local.writing = false;
                    if !alive {
                        local.writer = None;
                    }
                }
            }
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    /// Gives the session what came from the net; tells whether it took any.
    fn feed(&mut self) -> Result<bool, Error> {
        let now = self.now();
        let taken = self.session.handle_input(now, &self.unread)?;
        self.unread.drain(..taken);
        if self.unread.is_empty() {
            let _ = self.more_wanted.try_send(());
        }
        Ok(taken > 0)
    }

    fn pump(&mut self) -> Result<(), Error> {
        let channels: Vec<ChannelId> = self.locals.keys().copied().collect();
        for channel in channels {
            self.pump_out(channel);
            self.pump_in(channel);
        }
        if !self.sending && !self.session.poll_output().is_empty() {
            let output = self.session.poll_output().to_vec();
            self.session.output_sent(output.len());
            self.sending = true;
            let _ = self.to_socket.send(output);
        }
        Ok(())
    }

    /// From the local side to the channel.
    fn pump_out(&mut self, channel: ChannelId) {
        let Some(local) = self.locals.get_mut(&channel) else {
            return;
        };
        while let Some((stream, bytes, more)) = local.waiting.first_mut() {
            match self.session.write_to(channel, *stream, bytes) {
                Ok(len) if len < bytes.len() => {
                    bytes.drain(..len);
                    return;
                }
                // Not open yet.
                Err(Error::WrongState) => return,
                _ => {
                    let _ = more.try_send(());
                    local.waiting.remove(0);
                }
            }
        }
        if local.eof_when_done && local.readers_open == 0 {
            local.eof_when_done = false;
            let _ = self.session.send_eof(channel);
        }
    }

    /// From the channel to the local side.
    fn pump_in(&mut self, channel: ChannelId) {
        let Some(local) = self.locals.get_mut(&channel) else {
            return;
        };
        if local.stderr {
            let mut buffer = [0; 4096];
            while let Ok(len) = self.session.read_from(channel, Stream::Stderr, &mut buffer) {
                if len == 0 {
                    break;
                }
                let _ = io::stderr().write_all(&buffer[..len]);
            }
        }
        if local.writing {
            return;
        }
        let held = self.session.readable_len(channel, Stream::Data);
        if held == 0 {
            if local.eof_received {
                local.writer = None;
            }
            return;
        }
        let mut buffer = vec![0; held.min(256 * 1024)];
        let len = self.session.read(channel, &mut buffer).unwrap_or(0);
        buffer.truncate(len);
        if let Some(writer) = &local.writer {
            local.writing = writer.send(buffer).is_ok();
        }
    }

    /// Sends what a reader gives to the channel; several may be added.
    pub fn read_from(
        &mut self,
        channel: ChannelId,
        stream: Stream,
        mut from: impl Read + Send + 'static,
    ) {
        let (more, wait) = mpsc::sync_channel(1);
        let local = self.locals.entry(channel).or_default();
        local.readers.insert(stream as u8, more);
        local.readers_open += 1;
        local.eof_when_done = true;
        let sender = self.sender.clone();
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let len = from.read(&mut buffer).unwrap_or(0);
                let bytes = buffer[..len].to_vec();
                if sender.send(Message::Local(channel, stream, bytes)).is_err() || len == 0 {
                    return;
                }
                if wait.recv().is_err() {
                    return;
                }
            }
        });
    }

    /// Sends what comes on the channel to a writer, which is dropped at the end of the data.
    pub fn write_to(&mut self, channel: ChannelId, mut to: impl Finish + Send + 'static) {
        let (writer, bytes) = mpsc::channel::<Vec<u8>>();
        self.locals.entry(channel).or_default().writer = Some(writer);
        let sender = self.sender.clone();
        thread::spawn(move || {
            for bytes in bytes {
                let alive = to.write_all(&bytes).and_then(|()| to.flush()).is_ok();
                if sender.send(Message::Took(channel, alive)).is_err() || !alive {
                    break;
                }
            }
            to.finish();
        });
    }

    /// Shows the channel's standard error on ours.
    pub fn show_stderr(&mut self, channel: ChannelId) {
        self.locals.entry(channel).or_default().stderr = true;
    }

    /// Joins the channel and a socket.
    pub fn join(&mut self, channel: ChannelId, socket: TcpStream) -> io::Result<()> {
        self.read_from(channel, Stream::Data, socket.try_clone()?);
        self.write_to(channel, socket);
        Ok(())
    }

    /// Notes that the peer sends no more on this channel.
    pub fn eof_received(&mut self, channel: ChannelId) {
        if let Some(local) = self.locals.get_mut(&channel) {
            local.eof_received = true;
        }
    }

    /// Whether all that the local side had is sent.
    pub fn is_drained(&self, channel: ChannelId) -> bool {
        self.locals
            .get(&channel)
            .is_none_or(|local| local.readers_open == 0 && local.waiting.is_empty())
    }

    /// Whether all that came is written locally.
    pub fn is_written(&self, channel: ChannelId) -> bool {
        self.locals.get(&channel).is_none_or(|local| !local.writing)
            && self.session.readable_len(channel, Stream::Data) == 0
    }

    /// Writes locally all that came, and waits for it to be done.
    pub fn drain(&mut self, channel: ChannelId) {
        while !self.is_written(channel) {
            self.pump_in(channel);
            match self.receiver.recv_timeout(Duration::from_secs(10)) {
                Ok(Message::Took(..)) => {
                    if let Some(local) = self.locals.get_mut(&channel) {
                        local.writing = false;
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
        self.pump_in(channel);
    }

    pub fn forget(&mut self, channel: ChannelId) {
        self.locals.remove(&channel);
    }

    /// Sends the rest and closes the socket.
    pub fn finish(self) {
        let _ = self.to_socket.send(self.session.poll_output().to_vec());
        let mut unsent = 1 + usize::from(self.sending);
        while unsent > 0 {
            match self.receiver.recv_timeout(Duration::from_secs(1)) {
                Ok(Message::Sent) => unsent -= 1,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// What comes next.
pub enum Next {
    Event(viper_ssh::Event),
    Message(Message),
    End,
}

/// A writer that can say it has no more.
pub trait Finish: Write {
    fn finish(&mut self) {}
}

impl Finish for std::process::ChildStdin {}
impl Finish for io::Stdout {}
impl Finish for TcpStream {
    fn finish(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}
