//! The SSH server, spoken to from this machine by `viper-ssh`'s own client.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use viper_ssh::sftp::{Attributes, Download, SftpClient, SftpEvent, Status, Upload};
use viper_ssh::{
    ChannelId, Client, Config, Credential, Event, PrivateKey, Request, Stream, TerminalSize,
};

use super::{Lab, Test, Verdict, parts};
use crate::cli::MachineOptions;

/// The tests of this file.
pub const TESTS: &[Test] = &[parts("ssh", all)];

/// How long the guest may take until somebody listens.
const BOOT: Duration = Duration::from_secs(100);
const PATIENCE: Duration = Duration::from_secs(60);
/// The machine runs until this file is there.
const UNTIL: &str = "until Dir T:done >NIL: 2>NIL: ; do Wait 1; done";
const PASSWORD: &str = "viper";
const LOGINS: usize = 12;
/// Memory that may be missing after that many log-ins.
const SLACK_KIB: u64 = 256;

fn all(lab: &Lab<'_>) -> Vec<(String, Verdict)> {
    let port = match free_port() {
        Ok(port) => port,
        Err(error) => return vec![("ssh-port".into(), Err(error))],
    };
    let options = MachineOptions {
        hostfwd: vec![crate::net_peer::forward(port, 22)],
        ..MachineOptions::default()
    };
    std::thread::scope(|scope| {
        let client = scope.spawn(move || visit(port));
        let outcome = lab.run_long(&options, UNTIL);
        let mut verdicts = client.join().unwrap_or_default();
        verdicts.push((
            "ssh-ends-the-machine".into(),
            outcome.and_then(|o| o.code(0)),
        ));
        verdicts
    })
}

/// A test by its name; it gets the port of the guest's server.
type Part = (&'static str, fn(u16) -> Verdict);

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    Ok(listener
        .local_addr()
        .map_err(|error| error.to_string())?
        .port())
}

fn visit(port: u16) -> Vec<(String, Verdict)> {
    let tests: &[Part] = &[
        ("ssh-commands", commands),
        ("ssh-wrong-password", wrong_password),
        ("ssh-terminal", terminal),
        ("ssh-input", input),
        ("ssh-files", files),
        ("ssh-forwarding", forwarding),
        ("ssh-questions", questions),
        ("ssh-programs", programs),
        ("ssh-rights", rights),
        ("ssh-users", users),
        ("ssh-many-log-ins", many),
    ];
    let run = |(name, test): &(&str, fn(u16) -> Verdict)| ((*name).into(), test(port));
    let mut verdicts: Vec<(String, Verdict)> = tests.iter().map(run).collect();
    let done = Ssh::connect(port, PASSWORD).and_then(|mut ssh| ssh.run("Echo done >T:done"));
    verdicts.push(("ssh-last-word".into(), done.map(drop)));
    verdicts
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Verdict {
    if found == wanted {
        Ok(())
    } else {
        Err(format!("{what}: expected {wanted:?}, found {found:?}"))
    }
}

/// Output and errors apart, and the return code of the shell.
fn commands(port: u16) -> Verdict {
    let mut ssh = Ssh::connect(port, PASSWORD)?;
    let ran = ssh.run("Echo hello")?;
    expect("Echo", (ran.out.as_str(), ran.code), ("hello\n", Some(0)))?;
    expect("its errors", ran.errors.as_str(), "")?;
    let ran = ssh.run("Type T:there-is-no-such-file")?;
    expect("output of a failure", ran.out.as_str(), "")?;
    if ran.errors.is_empty() || !matches!(ran.code, Some(10 | 20)) {
        return Err(format!("a failure: {:?}, code {:?}", ran.errors, ran.code));
    }
    expect("a code", ssh.run("exit 5")?.code, Some(5))?;
    let ran = ssh.run("hello")?;
    expect("a program", ran.code, Some(0))?;
    let listed = ssh.run("Dir S:")?;
    match listed.out.contains("startup") {
        true => Ok(()),
        false => Err(format!("Dir S: {:?}", listed.out)),
    }
}

fn wrong_password(port: u16) -> Verdict {
    match Ssh::connect(port, "wrong") {
        Ok(_) => Err("it was accepted".into()),
        Err(reason) if reason == REFUSED => Ok(()),
        Err(reason) => Err(reason),
    }
}

/// A shell to type into: prompt, echo, editing, control-C, size, end.
fn terminal(port: u16) -> Verdict {
    let mut ssh = Ssh::connect(port, PASSWORD)?;
    let channel = ssh.open()?;
    let size = TerminalSize {
        columns: 101,
        rows: 31,
        ..TerminalSize::default()
    };
    let pty = Request::Pty {
        term: "xterm".into(),
        size,
        modes: vec![0],
    };
    ssh.ask(channel, &pty)?;
    ssh.ask(channel, &Request::Shell)?;
    ssh.wait_for(channel, "SYS:>")?;
    ssh.write(channel, b"Echox\x7f one two\r")?;
    ssh.wait_for(channel, "one two\r\n")?;
    ssh.wait_for(channel, "SYS:>")?;
    ssh.write(channel, b"Wait 300\r")?;
    std::thread::sleep(Duration::from_millis(700));
    ssh.write(channel, b"\x03")?;
    ssh.wait_for(channel, "SYS:>")?;
    ssh.write(channel, b"EndShell\r")?;
    ssh.finish(channel).map(drop)
}

/// Commands from a pipe, and the end of it.
fn input(port: u16) -> Verdict {
    let mut ssh = Ssh::connect(port, PASSWORD)?;
    let channel = ssh.open()?;
    ssh.ask(channel, &Request::Shell)?;
    ssh.write(channel, b"Echo from-a-pipe\nexit 7\n")?;
    // At `exit` the shell may have closed the channel already.
    let _ = ssh.session.send_eof(channel);
    let ran = ssh.finish(channel)?;
    expect(
        "commands",
        (ran.out.as_str(), ran.code),
        ("from-a-pipe\n", Some(7)),
    )
}

/// The password asked for as a question (keyboard-interactive).
fn questions(port: u16) -> Verdict {
    let mut ssh = Ssh::log_in(port, "viper", &Credential::KeyboardInteractive, PASSWORD)?;
    expect("a code", ssh.run("exit 5")?.code, Some(5))?;
    match Ssh::log_in(port, "viper", &Credential::KeyboardInteractive, "wrong") {
        Ok(_) => Err("a wrong answer was accepted".into()),
        Err(reason) if reason == REFUSED => Ok(()),
        Err(reason) => Err(reason),
    }
}

/// The guest's own ssh, scp and sftp, into its own server; and who netstat says it is.
fn programs(port: u16) -> Verdict {
    let mut ssh = Ssh::connect(port, PASSWORD)?;
    let key = PrivateKey::from_ed25519_seed(&[9; 32]);
    let private = key.to_openssh("test", &mut random()?);
    let public = format!("{} test\n", key.public().to_text());
    ssh.store("T:key", private.as_bytes())?;
    ssh.store("S:ssh/authorized_keys", public.as_bytes())?;
    let options = "-i T:key -o UserKnownHostsFile=T:hosts";
    let unknown = ssh.run(&format!("ssh {options} viper@127.0.0.1 'Echo in'"))?;
    if unknown.code != Some(255) || !unknown.errors.contains("is not known") {
        let Ran { errors, code, .. } = unknown;
        return Err(format!("an unknown host: {errors:?}, code {code:?}"));
    }
    let options = format!("{options} -o StrictHostKeyChecking=accept-new");
    let ran = ssh.run(&format!("ssh {options} viper@127.0.0.1 'Echo in; exit 7'"))?;
    expect("ssh", (ran.out.as_str(), ran.code), ("in\n", Some(7)))?;
    let hosts = ssh.run("Type T:hosts")?.out;
    if !hosts.starts_with("|1|") || hosts.lines().count() != 1 {
        return Err(format!("known hosts are not hashed: {hosts:?}"));
    }
    let copies = [
        "MakeDir T:tree T:tree/sub T:tree/empty; Echo one >T:tree/sub/one".into(),
        format!("scp -r {options} T:tree viper@127.0.0.1:/t/there"),
        format!("scp -r {options} viper@127.0.0.1:/t/there T:back"),
        "Type T:back/sub/one; Dir T:back/empty".into(),
    ];
    for command in &copies {
        let Ran { out, errors, code } = ssh.run(command)?;
        let is_last = command.starts_with("Type");
        if code != Some(0) || is_last && !out.starts_with("one\n") {
            return Err(format!("{command}: {out:?} {errors:?} {code:?}"));
        }
    }
    let listed = ssh.run("Status; netstat")?.out;
    let words = |line: &str| {
        line.split_whitespace()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    let mut lines = listed.lines().map(words);
    let sshd = lines.find(|w| w.iter().any(|w| w == "sshd"));
    let sshd = sshd.and_then(|w| w.first().cloned());
    let mut open = lines.filter(|w| w.iter().any(|w| w == "ESTABLISHED"));
    match open.any(|w| sshd.is_some() && w.last() == sshd.as_ref()) {
        true => Ok(()),
        _ => Err(format!("who has the connections? {listed}")),
    }
}

/// A file there and back.
fn files(port: u16) -> Verdict {
    let data: Vec<u8> = (0..1_000_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut ssh = Ssh::connect(port, PASSWORD)?;
    let (channel, mut sftp) = ssh.store("T:ssh-file", &data)?;
    let mut download = Download::start(&mut sftp, "/t/ssh-file").map_err(text)?;
    let mut back = vec![0; data.len()];
    while download.result().is_none() {
        ssh.files(channel, &mut sftp, |sftp, event| {
            if let SftpEvent::Response { id, response } = event
                && let Ok(Some(chunk)) = download.handle(sftp, id, &response)
            {
                let start = chunk.offset as usize;
                if let Some(place) = back.get_mut(start..start + chunk.data.len()) {
                    place.copy_from_slice(&chunk.data);
                }
            }
            true
        })?;
    }
    expect(
        "the download",
        download.result(),
        Some(Ok::<(), Status>(())),
    )?;
    match back == data {
        true => Ok(()),
        false => Err("the file came back changed".into()),
    }
}

/// A connection through the guest to its own SSH server.
fn forwarding(port: u16) -> Verdict {
    let mut ssh = Ssh::connect(port, PASSWORD)?;
    let there = ssh
        .session
        .open_direct_tcpip("localhost", 22, ("127.0.0.1", 1));
    let there = there.map_err(text)?;
    ssh.until(|event| match event {
        Event::ChannelOpened(id) if *id == there => Some(Ok(())),
        Event::ChannelRefused { message, .. } => Some(Err(message.clone())),
        _ => None,
    })??;
    ssh.wait_for(there, "SSH-2.0-")
}

/// What a session may not do.
fn rights(port: u16) -> Verdict {
    let mut ssh = Ssh::connect(port, PASSWORD)?;
    for command in ["Shutdown", "Assign X: SYS:t", "Servers kill fsd"] {
        let ran = ssh.run(command)?;
        if ran.code == Some(0) {
            return Err(format!("`{command}` was allowed"));
        }
    }
    expect(
        "the machine",
        ssh.run("Echo alive")?.out.as_str(),
        "alive\n",
    )
}

/// A second user has what files let it have, in the shell and by SFTP.
fn users(port: u16) -> Verdict {
    let mut ssh = Ssh::connect(port, PASSWORD)?;
    for command in [
        // The same password as this one's.
        "Copy S:ssh/users T:users; Protect T:users 600",
        "Echo x >T:mine; Protect T:mine 600; Echo y >T:ours; Protect T:ours 644",
    ] {
        expect(command, ssh.run(command)?.code, Some(0))?;
    }
    let list = ssh.run("Type T:users")?.out;
    let line = list.lines().find(|line| line.starts_with("viper:"));
    let hash = line.and_then(|line| line.split(':').nth(1));
    let hash = hash.ok_or("the users have no viper")?;
    let add = format!("Echo 'guest:{hash}:1000:100' >>S:ssh/users");
    expect("a new user", ssh.run(&add)?.code, Some(0))?;
    let mut guest = Ssh::connect_as(port, "guest", PASSWORD)?;
    for (command, code) in [
        ("Type T:ours", 0),
        ("Type T:mine", 10),
        ("Type S:ssh/users", 10),
        ("Echo z >T:ours", 10),
        ("Delete T:ours", 10),
        ("Echo z >S:new", 10),
        ("MakeDir SYS:new", 10),
        ("Protect T:ours 666", 10),
        ("Owner T:ours 1000", 10),
        ("Unmount SYS:", 10),
        ("Mount D0 T:", 10),
        ("Echo theirs >T:guest; Protect T:guest 600", 0),
        ("hello", 0),
    ] {
        expect(command, guest.run(command)?.code, Some(code))?;
    }
    let owner = guest.run("Owner T:guest")?.out;
    if !owner.contains("0600  1000:100") {
        return Err(format!("the guest's file: {owner}"));
    }
    let channel = guest.open()?;
    guest.ask(channel, &Request::Subsystem("sftp".into()))?;
    let mut sftp = SftpClient::new();
    guest.files(channel, &mut sftp, |_, event| {
        matches!(event, SftpEvent::Ready { .. })
    })?;
    for (path, wanted) in [
        ("/t/mine", Err(Status::PermissionDenied)),
        ("/t/guest", Ok(())),
    ] {
        let mut download = Download::start(&mut sftp, path).map_err(text)?;
        while download.result().is_none() {
            guest.files(channel, &mut sftp, |sftp, event| {
                if let SftpEvent::Response { id, response } = event {
                    let _ = download.handle(sftp, id, &response);
                }
                true
            })?;
        }
        expect(path, download.result(), Some(wanted))?;
    }
    expect(
        "the system",
        ssh.run("Type T:guest")?.out.as_str(),
        "theirs\n",
    )?;
    expect(
        "cleaning",
        ssh.run("Copy T:users S:ssh/users")?.code,
        Some(0),
    )
}

/// Memory is given back.
fn many(port: u16) -> Verdict {
    // The first ones fill caches and grow heaps.
    for _ in 0..2 {
        Ssh::connect(port, PASSWORD)?.run("hello")?;
    }
    let before = free_kib(port)?;
    for _ in 0..LOGINS {
        expect(
            "a log-in",
            Ssh::connect(port, PASSWORD)?.run("hello")?.code,
            Some(0),
        )?;
    }
    let after = free_kib(port)?;
    match before.saturating_sub(after) {
        0..=SLACK_KIB => Ok(()),
        lost => Err(format!(
            "{lost} KiB were not given back ({before} before, {after} after)"
        )),
    }
}

/// Free memory, as `Avail` tells it.
fn free_kib(port: u16) -> Result<u64, String> {
    let said = Ssh::connect(port, PASSWORD)?.run("Avail")?.out;
    let mut lines = said.lines().map(|line| line.replace(',', ""));
    let line = lines.find(|line| line.starts_with("Free"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let number = number.map(|bytes| bytes / 1024);
    number.ok_or_else(|| format!("Avail says {said:?}"))
}

const REFUSED: &str = "the log-in was refused";

/// What a command did.
struct Ran {
    out: String,
    errors: String,
    code: Option<u32>,
}

/// A client on a socket that blocks.
struct Ssh {
    socket: TcpStream,
    session: Client,
    unread: Vec<u8>,
    started: Instant,
    deadline: Instant,
}

fn random() -> Result<ChaCha20Rng, String> {
    let mut seed = [0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut seed))
        .map_err(text)?;
    Ok(ChaCha20Rng::from_seed(seed))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Ssh {
    /// Connects, as soon as somebody listens, and logs in by a password.
    fn connect(port: u16, password: &str) -> Result<Ssh, String> {
        Ssh::connect_as(port, "viper", password)
    }

    fn connect_as(port: u16, user: &str, password: &str) -> Result<Ssh, String> {
        let credential = Credential::Password(String::from(password).into());
        Ssh::log_in(port, user, &credential, "")
    }

    /// The same by anything; all questions get this answer.
    fn log_in(port: u16, user: &str, credential: &Credential, answer: &str) -> Result<Ssh, String> {
        let started = Instant::now();
        loop {
            match Ssh::try_log_in(port, user, credential, answer) {
                Err(reason) if reason == CLOSED && started.elapsed() < BOOT => {
                    std::thread::sleep(Duration::from_millis(300));
                }
                result => return result,
            }
        }
    }

    fn try_log_in(
        port: u16,
        user: &str,
        credential: &Credential,
        answer: &str,
    ) -> Result<Ssh, String> {
        let socket = TcpStream::connect(("127.0.0.1", port)).map_err(|_| CLOSED)?;
        let tick = Some(Duration::from_millis(100));
        socket.set_read_timeout(tick).map_err(text)?;
        let random = random()?;
        let mut ssh = Ssh {
            socket,
            session: Client::new(&Config::default(), random, Duration::ZERO).map_err(text)?,
            unread: Vec::new(),
            started: Instant::now(),
            deadline: Instant::now() + PATIENCE,
        };
        loop {
            match ssh.next()? {
                Event::HostKey(_) => ssh.session.accept_host_key().map_err(text)?,
                Event::ReadyToAuthenticate => {
                    ssh.session.authenticate(user, credential).map_err(text)?;
                }
                Event::Prompts(prompts) => {
                    let answers = vec![String::from(answer).into(); prompts.prompts.len()];
                    ssh.session.answer_prompts(&answers).map_err(text)?;
                }
                Event::AuthFailed { .. } => return Err(REFUSED.into()),
                Event::Authenticated => return Ok(ssh),
                _ => {}
            }
        }
    }

    /// Sends what there is to send, and takes what has come.
    fn step(&mut self) -> Result<(), String> {
        let now = self.started.elapsed();
        while !self.session.poll_output().is_empty() {
            let sent = self
                .socket
                .write(self.session.poll_output())
                .map_err(|_| CLOSED)?;
            self.session.output_sent(sent);
        }
        if self.unread.is_empty() {
            let mut space = [0; 32 * 1024];
            match self.socket.read(&mut space) {
                Ok(0) => return Err(CLOSED.into()),
                Ok(count) => self.unread.extend_from_slice(&space[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Err(CLOSED.into()),
            }
        }
        let taken = self.session.handle_input(now, &self.unread).map_err(text)?;
        self.unread.drain(..taken);
        match Instant::now() > self.deadline {
            true => Err("it takes too long".into()),
            false => Ok(()),
        }
    }

    fn next(&mut self) -> Result<Event, String> {
        loop {
            if let Some(event) = self.session.poll_event() {
                return Ok(event);
            }
            self.step()?;
        }
    }

    fn until<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> Result<T, String> {
        self.deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = wanted(&self.next()?) {
                return Ok(found);
            }
        }
    }

    fn open(&mut self) -> Result<ChannelId, String> {
        let channel = self.session.open_session().map_err(text)?;
        self.until(|event| (*event == Event::ChannelOpened(channel)).then_some(()))?;
        Ok(channel)
    }

    fn ask(&mut self, channel: ChannelId, request: &Request) -> Verdict {
        self.session.request(channel, request, true).map_err(text)?;
        let granted = self.until(|event| match event {
            Event::Reply { success, .. } => Some(*success),
            _ => None,
        })?;
        match granted {
            true => Ok(()),
            false => Err(format!("{request:?} was refused")),
        }
    }

    fn write(&mut self, channel: ChannelId, mut bytes: &[u8]) -> Verdict {
        while !bytes.is_empty() {
            let sent = self.session.write(channel, bytes).map_err(text)?;
            bytes = &bytes[sent..];
            self.step()?;
        }
        Ok(())
    }

    fn run(&mut self, command: &str) -> Result<Ran, String> {
        let channel = self.open()?;
        self.ask(channel, &Request::Exec(command.as_bytes().to_vec()))?;
        self.finish(channel)
    }

    /// Collects what a program says until it ends.
    fn finish(&mut self, channel: ChannelId) -> Result<Ran, String> {
        let (mut out, mut errors, mut code) = (Vec::new(), Vec::new(), None);
        let mut closed = false;
        self.deadline = Instant::now() + PATIENCE;
        while !closed {
            match self.next()? {
                Event::Request {
                    request: Request::ExitStatus(status),
                    ..
                } => code = Some(status),
                Event::Closed(id) => closed = id == channel,
                _ => {}
            }
            for (stream, into) in [(Stream::Data, &mut out), (Stream::Stderr, &mut errors)] {
                let mut space = vec![0; self.session.readable_len(channel, stream)];
                let count = self.session.read_from(channel, stream, &mut space);
                into.extend_from_slice(&space[..count.unwrap_or(0)]);
            }
        }
        Ok(Ran {
            out: String::from_utf8_lossy(&out).into_owned(),
            errors: String::from_utf8_lossy(&errors).into_owned(),
            code,
        })
    }

    /// Reads until a text has come.
    fn wait_for(&mut self, channel: ChannelId, wanted: &str) -> Verdict {
        let mut seen = Vec::new();
        self.deadline = Instant::now() + PATIENCE;
        loop {
            let mut byte = [0];
            // Byte by byte: what is behind it is for the next time.
            while self.session.read(channel, &mut byte).map_err(text)? == 1 {
                seen.push(byte[0]);
                if seen.ends_with(wanted.as_bytes()) {
                    return Ok(());
                }
            }
            while self.session.poll_event().is_some() {}
            self.step().map_err(|reason| {
                format!(
                    "{reason}: no {wanted:?} in {:?}",
                    String::from_utf8_lossy(&seen)
                )
            })?;
        }
    }

    /// Stores a file by SFTP, which stays open for more.
    fn store(&mut self, path: &str, data: &[u8]) -> Result<(ChannelId, SftpClient), String> {
        let channel = self.open()?;
        self.ask(channel, &Request::Subsystem("sftp".into()))?;
        let mut sftp = SftpClient::new();
        self.files(channel, &mut sftp, |_, event| {
            matches!(event, SftpEvent::Ready { .. })
        })?;
        let mut upload = Upload::start(&mut sftp, path, &Attributes::default()).map_err(text)?;
        let mut sent = 0;
        while upload.result().is_none() {
            while upload.wants() > 0 {
                let end = data.len().min(sent + upload.wants());
                upload.feed(&mut sftp, &data[sent..end]).map_err(text)?;
                sent = end;
            }
            self.files(channel, &mut sftp, |sftp, event| {
                if let SftpEvent::Response { id, response } = event {
                    let _ = upload.handle(sftp, id, &response);
                }
                true
            })?;
        }
        expect("the upload", upload.result(), Some(Ok::<(), Status>(())))?;
        Ok((channel, sftp))
    }

    /// Moves bytes of SFTP until an event was taken.
    fn files(
        &mut self,
        channel: ChannelId,
        sftp: &mut SftpClient,
        mut take: impl FnMut(&mut SftpClient, SftpEvent) -> bool,
    ) -> Verdict {
        self.deadline = Instant::now() + PATIENCE;
        let mut held = Vec::new();
        loop {
            let sent = self
                .session
                .write(channel, sftp.poll_output())
                .map_err(text)?;
            sftp.output_sent(sent);
            let mut space = vec![0; self.session.readable_len(channel, Stream::Data)];
            let count = self.session.read(channel, &mut space).map_err(text)?;
            held.extend_from_slice(&space[..count]);
            let mut taken = false;
            loop {
                let used = sftp.handle_input(&held).map_err(text)?;
                held.drain(..used);
                let mut events = 0;
                while let Some(event) = sftp.poll_event() {
                    events += 1;
                    taken |= take(sftp, event);
                }
                if events == 0 {
                    break;
                }
            }
            if taken {
                return Ok(());
            }
            while self.session.poll_event().is_some() {}
            if sent == 0 {
                self.step()?;
            }
        }
    }
}

const CLOSED: &str = "the connection was closed";
