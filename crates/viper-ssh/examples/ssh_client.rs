//! An SSH client on the host: commands, port forwarding, files by SFTP.
//!
//! ```text
//! ssh_client --port 2222 --known-hosts FILE [--accept-new] [--user NAME]
//!            [--key FILE [--passphrase TEXT]] [--password TEXT] [--answer TEXT]
//!            [--kex NAME] [--host-key NAME] [--cipher NAME] [--mac NAME]
//!            [--rekey-bytes N] [--rekey-seconds N] [--pty] [--env NAME=VALUE]
//!            [--local PORT:HOST:PORT] [--remote PORT:HOST:PORT]
//!            [--put LOCAL:REMOTE | --get REMOTE:LOCAL | --ls PATH] HOST [COMMAND ...]
//! ```
//!
//! It ends with the status of the command, or 255 and a reason.

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::process::exit;
use std::thread;
use std::time::{Duration, Instant};

use support::{Arguments, Link, Message, Next};
use viper_ssh::key::{HostKeyCheck, KnownHosts};
use viper_ssh::sftp::{Attributes, Download, Response, SftpClient, SftpEvent, Status, Upload};
use viper_ssh::{
    ChannelId, ChannelKind, Cipher, Client, ClientRole, Config, Credential, Error, Event, Kex, Mac,
    PrivateKey, PublicKey, Request, SignatureAlgorithm, Stream, TerminalSize,
};
use zeroize::Zeroizing;

fn main() {
    let arguments = Arguments::read(&["accept-new", "pty"]);
    let mut program = Program::connect(arguments);
    let result = program.run();
    program.link.finish();
    match result {
        Ok(status) => exit(status),
        Err(error) => {
            eprintln!("ssh_client: {error}");
            exit(255);
        }
    }
}

struct Program {
    arguments: Arguments,
    link: Link<ClientRole>,
    credentials: Vec<Credential>,
    known_hosts: String,
    host: String,
    port: u16,
    main: Option<ChannelId>,
    files: Option<Files>,
    status: Option<i32>,
    finished: bool,
}

impl Program {
    fn connect(arguments: Arguments) -> Self {
        let host = arguments.words.first().expect("a host is named").clone();
        let port = arguments.number("port").unwrap_or(22);
        let path = arguments.get("known-hosts");
        let known_hosts = path
            .and_then(|path| fs::read_to_string(path).ok())
            .unwrap_or_default();
        let started = Instant::now();
        let client = Client::new(&config(&arguments), support::rng(), Duration::ZERO);
        let socket = TcpStream::connect((host.as_str(), port)).unwrap_or_else(|error| {
            eprintln!("ssh_client: {error}");
            exit(255);
        });
        let link = Link::new(client.expect("the settings fit"), socket, started);
        let credentials = credentials(&arguments);
        Program {
            link: link.expect("the socket works"),
            credentials,
            known_hosts,
            host,
            port,
            main: None,
            files: None,
            status: None,
            finished: false,
            arguments,
        }
    }

    fn run(&mut self) -> Result<i32, Error> {
        loop {
            match self.link.next()? {
                Next::Event(event) => self.handle(event)?,
                Next::Message(Message::Accepted(socket, to, port)) => {
                    let session = &mut self.link.session;
                    let channel = session.open_direct_tcpip(&to, port, ("127.0.0.1", 0))?;
                    let _ = self.link.join(channel, socket);
                }
                Next::Message(_) => {}
                Next::End => return self.status.ok_or(Error::Disconnected(10)),
            }
            if self.finished {
                return Ok(self.status.unwrap_or(255));
            }
            if let (Some(files), Some(channel)) = (&mut self.files, self.main)
                && let Some(result) = files.pump(&mut self.link.session, channel)?
            {
                self.files = None;
                self.link.session.send_eof(channel)?;
                self.status = Some(match result {
                    Ok(()) => 0,
                    Err(status) => {
                        eprintln!("ssh_client: {status}");
                        1
                    }
                });
            }
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::HostKey(key) => return self.check_host_key(&key),
            Event::Banner(text) => eprint!("{text}"),
            Event::ReadyToAuthenticate | Event::AuthFailed { .. } => {
                if self.credentials.is_empty() {
                    eprintln!("ssh_client: permission denied ({event:?})");
                    self.finish("no more credentials");
                    return Ok(());
                }
                let credential = self.credentials.remove(0);
                let user = self.arguments.get("user").unwrap_or("viper");
                self.link.session.authenticate(user, &credential)?;
            }
            Event::Prompts(prompts) => {
                let answer = self.arguments.get("answer").unwrap_or_default();
                let answers: Vec<_> = prompts
                    .prompts
                    .iter()
                    .map(|_| Zeroizing::new(answer.to_string()))
                    .collect();
                self.link.session.answer_prompts(&answers)?;
            }
            Event::Authenticated => self.start()?,
            Event::ChannelOpened(channel) if Some(channel) == self.main => self.begin(channel)?,
            Event::ChannelOffered {
                channel,
                kind: ChannelKind::ForwardedTcpip(_),
            } => {
                self.accept_forwarded(channel)?;
            }
            Event::ChannelRefused {
                channel, message, ..
            } => {
                eprintln!("ssh_client: refused: {message}");
                self.link.forget(channel);
                if Some(channel) == self.main {
                    self.status = Some(255);
                    self.finish("nothing to do");
                }
            }
            Event::Request { request, .. } => match request {
                Request::ExitStatus(status) => {
                    self.status = Some(self.status.unwrap_or(status as i32))
                }
                Request::ExitSignal { signal, .. } => {
                    eprintln!("ssh_client: ended by {signal}");
                    self.status = Some(254);
                }
                _ => {}
            },
            Event::Reply { success: false, .. } => eprintln!("ssh_client: request refused"),
            Event::Eof(channel) => self.link.eof_received(channel),
            Event::Closed(channel) => return self.closed(channel),
            _ => {}
        }
        Ok(())
    }

    fn check_host_key(&mut self, key: &PublicKey) -> Result<(), Error> {
        let known = KnownHosts::parse(&self.known_hosts);
        match known.check(&self.host, self.port, key) {
            Ok(HostKeyCheck::Known) => {}
            Ok(HostKeyCheck::Unknown) if self.arguments.has("accept-new") => {
                let line = KnownHosts::hashed_line(&self.host, self.port, key, &mut support::rng());
                if let Some(path) = self.arguments.get("known-hosts") {
                    let file = OpenOptions::new().append(true).create(true).open(path);
                    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
                }
            }
            result => {
                eprintln!("ssh_client: {} of {}: {key:?}", describe(result), self.host);
                self.link.session.refuse_host_key();
                return Ok(());
            }
        }
        self.link.session.accept_host_key()
    }

    fn start(&mut self) -> Result<(), Error> {
        let session = &mut self.link.session;
        eprintln!(
            "{:?}, strict: {}",
            session.algorithms(),
            session.is_strict()
        );
        for forward in self.arguments.all("remote") {
            let (port, _, _) = forward_parts(forward);
            session.request_forward("127.0.0.1", port)?;
        }
        for forward in self.arguments.all("local") {
            let (port, host, to) = forward_parts(forward);
            let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
            let sender = self.link.sender.clone();
            thread::spawn(move || {
                for socket in listener.incoming().flatten() {
                    if sender
                        .send(Message::Accepted(socket, host.clone(), to))
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
        self.main = Some(self.link.session.open_session()?);
        Ok(())
    }

    fn begin(&mut self, channel: ChannelId) -> Result<(), Error> {
        let session = &mut self.link.session;
        if let Some(files) = Files::from_arguments(&self.arguments) {
            session.request(channel, &Request::Subsystem("sftp".into()), true)?;
            self.files = Some(files);
            return Ok(());
        }
        if self.arguments.has("pty") {
            let size = TerminalSize {
                columns: 80,
                rows: 24,
                ..TerminalSize::default()
            };
            let pty = Request::Pty {
                term: "vt100".into(),
                size,
                modes: vec![0],
            };
            session.request(channel, &pty, true)?;
        }
        for variable in self.arguments.all("env") {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            let request = Request::Env {
                name: name.into(),
                value: value.into(),
            };
            session.request(channel, &request, false)?;
        }
        let command = self.arguments.words[1..].join(" ");
        let request = if command.is_empty() {
            Request::Shell
        } else {
            Request::Exec(command.into_bytes())
        };
        session.request(channel, &request, true)?;
        self.link.write_to(channel, io::stdout());
        self.link.show_stderr(channel);
        self.link.read_from(channel, Stream::Data, io::stdin());
        Ok(())
    }

    fn accept_forwarded(&mut self, channel: ChannelId) -> Result<(), Error> {
        let forward = self
            .arguments
            .get("remote")
            .expect("only asked for if given");
        let (_, host, to) = forward_parts(forward);
        match TcpStream::connect((host.as_str(), to)) {
            Ok(socket) => {
                self.link.session.accept_channel(channel)?;
                let _ = self.link.join(channel, socket);
                Ok(())
            }
            Err(error) => self
                .link
                .session
                .refuse_channel(channel, &error.to_string()),
        }
    }

    fn closed(&mut self, channel: ChannelId) -> Result<(), Error> {
        if Some(channel) != self.main {
            let _ = self.link.session.close(channel);
            self.link.forget(channel);
            return Ok(());
        }
        // What is still unread goes out before the end.
        self.link.drain(channel);
        self.finish("done");
        Ok(())
    }

    fn finish(&mut self, reason: &str) {
        self.link.session.disconnect(reason);
        self.finished = true;
    }
}

fn describe(result: Result<HostKeyCheck, Error>) -> String {
    match result {
        Ok(_) => "unknown host key".into(),
        Err(error) => error.to_string(),
    }
}

fn forward_parts(text: &str) -> (u16, String, u16) {
    let parts: Vec<&str> = text.split(':').collect();
    let [port, host, to] = parts[..] else {
        panic!("PORT:HOST:PORT, not {text}")
    };
    (
        port.parse().expect("a port"),
        host.into(),
        to.parse().expect("a port"),
    )
}

fn config(arguments: &Arguments) -> Config {
    let mut config = Config::default();
    let algorithms = &mut config.algorithms;
    if let Some(name) = arguments.get("kex") {
        algorithms.kex = vec![Kex::from_name(name).expect("a known method")];
    }
    if let Some(name) = arguments.get("host-key") {
        algorithms.host_key = vec![SignatureAlgorithm::from_name(name).expect("a known type")];
    }
    if let Some(name) = arguments.get("cipher") {
        algorithms.cipher = vec![Cipher::from_name(name).expect("a known cipher")];
    }
    if let Some(name) = arguments.get("mac") {
        algorithms.mac = vec![Mac::from_name(name).expect("a known code")];
    }
    config.rekey_bytes = arguments.number("rekey-bytes").unwrap_or(1 << 30);
    config.rekey_time = Duration::from_secs(arguments.number("rekey-seconds").unwrap_or(3600));
    config
}

fn credentials(arguments: &Arguments) -> Vec<Credential> {
    let mut credentials = Vec::new();
    for path in arguments.all("key") {
        let text = fs::read_to_string(path).expect("the key can be read");
        match PrivateKey::from_openssh(&text, arguments.get("passphrase")) {
            Ok(key) => credentials.push(Credential::Key(key)),
            Err(error) => eprintln!("ssh_client: {path}: {error}"),
        }
    }
    if arguments.has("answer") {
        credentials.push(Credential::KeyboardInteractive);
    }
    for password in arguments.all("password") {
        credentials.push(Credential::Password(Zeroizing::new(password.into())));
    }
    credentials
}

/// One thing to do by SFTP.
struct Files {
    sftp: SftpClient,
    task: Task,
    unread: Vec<u8>,
}

enum Task {
    Put { from: String, to: String },
    Get { from: String, to: String },
    List(String),
    Putting(Upload, File),
    Getting(Download, File),
    Listing(Option<viper_ssh::sftp::Handle>),
    Done(Result<(), Status>),
}

impl Files {
    fn from_arguments(arguments: &Arguments) -> Option<Self> {
        let pair = |text: &str| {
            let (from, to) = text
                .split_once(':')
                .expect("two paths with a colon between");
            (from.to_string(), to.to_string())
        };
        let task = if let Some(text) = arguments.get("put") {
            let (from, to) = pair(text);
            Task::Put { from, to }
        } else if let Some(text) = arguments.get("get") {
            let (from, to) = pair(text);
            Task::Get { from, to }
        } else {
            Task::List(arguments.get("ls")?.into())
        };
        Some(Files {
            sftp: SftpClient::new(),
            task,
            unread: Vec::new(),
        })
    }

    /// Moves bytes and does the task; gives the result once it is there.
    fn pump(
        &mut self,
        session: &mut Client,
        channel: ChannelId,
    ) -> Result<Option<Result<(), Status>>, Error> {
        loop {
            let mut moved = false;
            if self.unread.is_empty() {
                let mut bytes = vec![0; 64 * 1024];
                let len = session.read(channel, &mut bytes)?;
                self.unread.extend_from_slice(&bytes[..len]);
            }
            let taken = self.sftp.handle_input(&self.unread)?;
            self.unread.drain(..taken);
            moved |= taken > 0;
            while let Some(event) = self.sftp.poll_event() {
                moved = true;
                self.handle(event)?;
            }
            moved |= self.feed()?;
            let sent = session.write(channel, self.sftp.poll_output())?;
            self.sftp.output_sent(sent);
            if let Task::Done(result) = &self.task {
                return Ok(Some(*result));
            }
            if !moved && sent == 0 {
                return Ok(None);
            }
        }
    }

    fn handle(&mut self, event: SftpEvent) -> Result<(), Error> {
        match event {
            SftpEvent::Ready { .. } => self.begin(),
            SftpEvent::Response { id, response } => {
                let sftp = &mut self.sftp;
                let result = match &mut self.task {
                    Task::Putting(upload, _) => {
                        upload.handle(sftp, id, &response)?;
                        upload.result()
                    }
                    Task::Getting(download, file) => {
                        if let Some(chunk) = download.handle(sftp, id, &response)? {
                            file.write_all_at(&chunk.data, chunk.offset)
                                .expect("it can be written");
                        }
                        download.result()
                    }
                    Task::Listing(handle) => list(sftp, handle, response)?,
                    _ => None,
                };
                if let Some(result) = result {
                    self.task = Task::Done(result);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self) -> Result<(), Error> {
        let sftp = &mut self.sftp;
        self.task = match &self.task {
            Task::Put { from, to } => {
                let file = File::open(from).expect("the file can be read");
                Task::Putting(Upload::start(sftp, to, &Attributes::default())?, file)
            }
            Task::Get { from, to } => {
                let file = File::create(to).expect("the file can be made");
                Task::Getting(Download::start(sftp, from)?, file)
            }
            Task::List(path) => {
                sftp.open_directory(path)?;
                Task::Listing(None)
            }
            _ => return Ok(()),
        };
        Ok(())
    }

    fn feed(&mut self) -> Result<bool, Error> {
        let Task::Putting(upload, file) = &mut self.task else {
            return Ok(false);
        };
        let mut fed = false;
        while upload.wants() > 0 && self.sftp.poll_output().len() < 1 << 20 {
            let mut data = vec![0; upload.wants()];
            let len = file.read(&mut data).expect("the file can be read");
            upload.feed(&mut self.sftp, &data[..len])?;
            fed = true;
        }
        Ok(fed)
    }
}

fn list(
    sftp: &mut SftpClient,
    handle: &mut Option<viper_ssh::sftp::Handle>,
    response: Response,
) -> Result<Option<Result<(), Status>>, Error> {
    match response {
        Response::Handle(open) => {
            sftp.read_directory(&open)?;
            *handle = Some(open);
        }
        Response::Names(names) => {
            for entry in names {
                println!("{}", entry.long_name());
            }
            if let Some(handle) = handle {
                sftp.read_directory(handle)?;
            }
        }
        Response::Status {
            status: Status::Eof,
            ..
        } => return Ok(Some(Ok(()))),
        Response::Status { status, .. } => return Ok(Some(Err(status))),
        _ => {}
    }
    Ok(None)
}
