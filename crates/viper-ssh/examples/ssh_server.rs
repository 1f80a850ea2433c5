//! An SSH server on the host: commands by `sh -c`, port forwarding, SFTP below a directory.
//!
//! ```text
//! ssh_server --port 2222 --host-key FILE [--user NAME --password TEXT] [--authorized-keys FILE]
//!            [--questions] [--rekey-bytes N] [--rekey-seconds N] [--root DIR] [--once]
//! ```
//!
//! It runs what its users ask for with the rights of whoever started it: for tests only.

mod support;

use std::collections::HashMap;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use support::host_fs::HostFs;
use support::{Arguments, Link, Message, Next};
use viper_ssh::key::AuthorizedKeys;
use viper_ssh::sftp::SftpServer;
use viper_ssh::{
    AuthAnswer, AuthAttempt, AuthMethod, ChannelId, ChannelKind, Event, PrivateKey, Prompt,
    Prompts, Request, Server, ServerConfig, ServerRole, Stream,
};

struct Settings {
    config: ServerConfig,
    user: String,
    password: Option<String>,
    keys: AuthorizedKeys,
    root: PathBuf,
}

fn main() {
    let arguments = Arguments::read(&["questions", "once"]);
    let host_keys = arguments.all("host-key").map(|path| {
        let text = fs::read_to_string(path).expect("the host key can be read");
        PrivateKey::from_openssh(&text, None).expect("the host key is an unencrypted OpenSSH file")
    });
    let mut config = ServerConfig::new(host_keys.collect());
    config.keyboard_interactive = arguments.has("questions");
    config.banner = arguments.get("banner").map(String::from);
    config.common.rekey_bytes = arguments.number("rekey-bytes").unwrap_or(1 << 30);
    config.common.rekey_time =
        Duration::from_secs(arguments.number("rekey-seconds").unwrap_or(3600));
    config.common.keepalive_time = arguments.number("keepalive").map(Duration::from_secs);
    let keys = arguments
        .get("authorized-keys")
        .map(|path| fs::read_to_string(path).unwrap());
    let settings = Arc::new(Settings {
        config,
        user: arguments.get("user").unwrap_or("viper").into(),
        password: arguments.get("password").map(String::from),
        keys: AuthorizedKeys::parse(&keys.unwrap_or_default()),
        root: arguments.get("root").unwrap_or("/").into(),
    });
    let port = arguments.number("port").unwrap_or(2222);
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    println!(
        "listening on {}",
        listener.local_addr().expect("it is bound")
    );
    for socket in listener.incoming().flatten() {
        let settings = settings.clone();
        let serve = thread::spawn(move || Connection::run(&settings, socket));
        if arguments.has("once") {
            let _ = serve.join();
            return;
        }
    }
}

struct Connection<'a> {
    settings: &'a Settings,
    link: Link<ServerRole>,
    environment: HashMap<ChannelId, Vec<(String, String)>>,
    exits: HashMap<ChannelId, std::process::ExitStatus>,
    children: HashMap<ChannelId, u32>,
    shells: HashMap<ChannelId, Shell>,
    sftp: HashMap<ChannelId, Files>,
}

/// A terminal session in miniature, enough to see that one works.
struct Shell {
    line: Vec<u8>,
    terminal: String,
}

/// An SFTP server, and the requests it has still to take.
struct Files {
    sftp: SftpServer<HostFs>,
    unread: Vec<u8>,
}

impl Files {
    fn pump(&mut self, session: &mut Server, channel: ChannelId) -> Result<(), viper_ssh::Error> {
        loop {
            let sent = session.write(channel, self.sftp.poll_output())?;
            self.sftp.output_sent(sent);
            if self.unread.is_empty() {
                let mut bytes = vec![0; 64 * 1024];
                let len = session.read(channel, &mut bytes)?;
                self.unread.extend_from_slice(&bytes[..len]);
            }
            let taken = self.sftp.handle_input(&self.unread)?;
            self.unread.drain(..taken);
            if sent == 0 && taken == 0 {
                return Ok(());
            }
        }
    }
}

impl<'a> Connection<'a> {
    fn run(settings: &'a Settings, socket: TcpStream) {
        let started = Instant::now();
        let server = Server::new(settings.config.clone(), support::rng(), Duration::ZERO);
        let link = Link::new(server.expect("the settings fit"), socket, started);
        let mut connection = Connection {
            settings,
            link: link.expect("the socket works"),
            environment: HashMap::new(),
            exits: HashMap::new(),
            children: HashMap::new(),
            shells: HashMap::new(),
            sftp: HashMap::new(),
        };
        let result = connection.serve();
        eprintln!(
            "session of {:?} ended: {result:?}",
            connection.link.session.user()
        );
        connection.link.finish();
    }

    fn serve(&mut self) -> Result<(), viper_ssh::Error> {
        loop {
            match self.link.next()? {
                Next::Event(event) => self.handle(event)?,
                Next::Message(Message::Exit(channel, status)) => {
                    self.exits.insert(channel, status);
                }
                Next::Message(Message::Accepted(socket, address, port)) => {
                    self.forward(socket, &address, port)?;
                }
                Next::Message(_) => {}
                Next::End => return Ok(()),
            }
            self.finish_programs()?;
            self.serve_files()?;
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), viper_ssh::Error> {
        let session = &mut self.link.session;
        match event {
            Event::AuthAttempt(attempt) => {
                let answer = self.decide(&attempt);
                eprintln!("{} by {:?}: {answer:?}", attempt.user, attempt.method);
                self.link.session.answer_auth(answer)
            }
            Event::Authenticated => {
                eprintln!(
                    "{:?}, strict: {}",
                    session.algorithms(),
                    session.is_strict()
                );
                Ok(())
            }
            Event::ChannelOffered {
                channel,
                kind: ChannelKind::Session,
            } => session.accept_channel(channel),
            Event::ChannelOffered {
                channel,
                kind: ChannelKind::DirectTcpip(to),
            } => match TcpStream::connect((to.host.as_str(), to.port)) {
                Ok(socket) => {
                    session.accept_channel(channel)?;
                    let _ = self.link.join(channel, socket);
                    Ok(())
                }
                Err(error) => session.refuse_channel(channel, &error.to_string()),
            },
            Event::Request {
                channel,
                request,
                reply_wanted,
            } => {
                let done = self.request(channel, request);
                if reply_wanted {
                    self.link.session.reply(channel, done)
                } else {
                    Ok(())
                }
            }
            Event::Readable(channel) => self.type_into_shell(channel),
            Event::Eof(channel) if self.sftp.contains_key(&channel) => {
                self.serve_files()?;
                self.sftp.remove(&channel);
                self.link
                    .session
                    .request(channel, &Request::ExitStatus(0), false)?;
                session_close(&mut self.link, channel)
            }
            Event::Eof(channel) => {
                self.link.eof_received(channel);
                Ok(())
            }
            Event::Closed(channel) => {
                self.sftp.remove(&channel);
                session_close(&mut self.link, channel)
            }
            Event::ForwardRequested { address, port } => {
                let port = self.listen(address, port);
                self.link.session.answer_forward(port)
            }
            _ => Ok(()),
        }
    }

    fn decide(&self, attempt: &AuthAttempt) -> AuthAnswer {
        let password = self.settings.password.as_deref();
        let right = match &attempt.method {
            AuthMethod::Password(text) => password == Some(text.as_str()),
            AuthMethod::PublicKey { key, .. } => self.settings.keys.find(key).is_some(),
            AuthMethod::KeyboardInteractive => {
                let prompt = Prompt {
                    text: "Password: ".into(),
                    echo: false,
                };
                let prompts = vec![prompt];
                return AuthAnswer::Ask(Prompts {
                    prompts,
                    ..Prompts::default()
                });
            }
            AuthMethod::Answers(answers) => {
                matches!(&answers[..], [text] if password == Some(text.as_str()))
            }
            _ => false,
        };
        let known = attempt.user == self.settings.user;
        if right && known {
            AuthAnswer::Accept
        } else {
            AuthAnswer::Reject
        }
    }

    fn request(&mut self, channel: ChannelId, request: Request) -> bool {
        match request {
            Request::Env { name, value } => {
                let value = String::from_utf8_lossy(&value).into_owned();
                self.environment
                    .entry(channel)
                    .or_default()
                    .push((name, value));
                true
            }
            Request::Exec(command) => {
                let command = String::from_utf8_lossy(&command).into_owned();
                self.exec(channel, &command).is_ok()
            }
            Request::Pty { term, size, .. } => {
                let terminal = format!("{term} {}x{}", size.columns, size.rows);
                self.shells.insert(
                    channel,
                    Shell {
                        line: Vec::new(),
                        terminal,
                    },
                );
                true
            }
            Request::WindowChange(size) => {
                if let Some(shell) = self.shells.get_mut(&channel) {
                    shell.terminal = format!("changed {}x{}", size.columns, size.rows);
                }
                true
            }
            Request::Shell if self.shells.contains_key(&channel) => {
                self.link.session.write(channel, b"$ ").is_ok()
            }
            Request::Shell => self.exec(channel, "exec sh").is_ok(),
            Request::Subsystem(name) if name == "sftp" => {
                let fs = HostFs::new(self.settings.root.clone());
                self.sftp.insert(
                    channel,
                    Files {
                        sftp: SftpServer::new(fs),
                        unread: Vec::new(),
                    },
                );
                true
            }
            Request::Signal(name) => {
                let Some(id) = self.children.get(&channel) else {
                    return false;
                };
                let kill = Command::new("kill")
                    .arg("-s")
                    .arg(name)
                    .arg(id.to_string())
                    .status();
                kill.is_ok_and(|status| status.success())
            }
            _ => false,
        }
    }

    fn exec(&mut self, channel: ChannelId, command: &str) -> io::Result<()> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", command])
            .envs(self.environment.remove(&channel).unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        self.children.insert(channel, child.id());
        if let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        {
            self.link.write_to(channel, input);
            self.link.read_from(channel, Stream::Data, output);
            self.link.read_from(channel, Stream::Stderr, errors);
        }
        let sender = self.link.sender.clone();
        thread::spawn(move || {
            if let Ok(status) = child.wait() {
                let _ = sender.send(Message::Exit(channel, status));
            }
        });
        Ok(())
    }

    /// Reports the end of programs whose output is all sent.
    fn finish_programs(&mut self) -> Result<(), viper_ssh::Error> {
        use std::os::unix::process::ExitStatusExt;
        let done: Vec<ChannelId> = self
            .exits
            .keys()
            .copied()
            .filter(|channel| self.link.is_drained(*channel))
            .collect();
        for channel in done {
            self.children.remove(&channel);
            let Some(status) = self.exits.remove(&channel) else {
                continue;
            };
            let request = match (status.code(), status.signal()) {
                (None, Some(signal)) => Request::ExitSignal {
                    signal: match signal {
                        9 => "KILL".into(),
                        15 => "TERM".into(),
                        2 => "INT".into(),
                        other => format!("{other}@example.org"),
                    },
                    core_dumped: status.core_dumped(),
                    message: String::new(),
                },
                (code, _) => Request::ExitStatus(code.unwrap_or(255) as u32),
            };
            // The client may have closed the channel meanwhile.
            let _ = self.link.session.request(channel, &request, false);
            let _ = session_close(&mut self.link, channel);
        }
        Ok(())
    }

    fn type_into_shell(&mut self, channel: ChannelId) -> Result<(), viper_ssh::Error> {
        let Some(shell) = self.shells.get_mut(&channel) else {
            return Ok(());
        };
        let mut bytes = vec![0; self.link.session.readable_len(channel, Stream::Data)];
        self.link.session.read(channel, &mut bytes)?;
        for byte in bytes {
            if byte != b'\r' {
                self.link.session.write(channel, &[byte])?;
                shell.line.push(byte);
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut shell.line)).into_owned();
            let mut words = line.split_whitespace();
            let answer = match words.next() {
                Some("terminal") => format!("\r\n{}\r\n$ ", shell.terminal),
                Some("exit") => {
                    let status = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                    self.link.session.write(channel, b"\r\n")?;
                    self.link
                        .session
                        .request(channel, &Request::ExitStatus(status), false)?;
                    return session_close(&mut self.link, channel);
                }
                _ => "\r\n?\r\n$ ".into(),
            };
            self.link.session.write(channel, answer.as_bytes())?;
        }
        Ok(())
    }

    /// Moves bytes between channels and their SFTP servers as far as both take them.
    fn serve_files(&mut self) -> Result<(), viper_ssh::Error> {
        let mut broken = Vec::new();
        for (channel, files) in &mut self.sftp {
            if files.pump(&mut self.link.session, *channel).is_err() {
                broken.push(*channel);
            }
        }
        for channel in broken {
            self.sftp.remove(&channel);
            session_close(&mut self.link, channel)?;
        }
        Ok(())
    }

    fn listen(&mut self, address: String, port: u16) -> Option<u16> {
        let listener = TcpListener::bind(("127.0.0.1", port)).ok()?;
        let port = listener.local_addr().ok()?.port();
        let sender = self.link.sender.clone();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                if sender
                    .send(Message::Accepted(socket, address.clone(), port))
                    .is_err()
                {
                    return;
                }
            }
        });
        Some(port)
    }

    fn forward(
        &mut self,
        socket: TcpStream,
        address: &str,
        port: u16,
    ) -> Result<(), viper_ssh::Error> {
        let from = socket
            .peer_addr()
            .map(|peer| (peer.ip().to_string(), peer.port()));
        let (host, from_port) = from.unwrap_or_default();
        let session = &mut self.link.session;
        let channel = session.open_forwarded_tcpip(address, port, (&host, from_port))?;
        // Data can only flow once the client agrees; until then the window is closed.
        let _ = self.link.join(channel, socket);
        Ok(())
    }
}

fn session_close(link: &mut Link<ServerRole>, channel: ChannelId) -> Result<(), viper_ssh::Error> {
    let result = link.session.close(channel);
    link.forget(channel);
    if result == Err(viper_ssh::Error::NoSuchChannel) {
        Ok(())
    } else {
        result
    }
}
