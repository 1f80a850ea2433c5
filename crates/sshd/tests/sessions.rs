//! The server over the host's sockets and a fake kernel, with `viper-ssh`'s client.

#[path = "../examples/support/mod.rs"]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use sshd::{HOST_KEY, Settings, Sshd, USERS};
use support::{Host, HostNetwork};
use viper_rt::server;
use viper_ssh::key::hash_password;
use viper_ssh::{
    ChannelId, Client, Config, Credential, Error, Event, PrivateKey, PublicKey, Request, Stream,
    TerminalSize,
};

/// A server of its own for a test, with the user `viper` and the password `secret`.
struct Lab {
    root: PathBuf,
    port: u16,
}

impl Lab {
    fn new(name: &str, change: impl FnOnce(&mut Settings)) -> Lab {
        let root = std::env::temp_dir().join(format!("sshd-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("s/ssh")).unwrap();
        std::fs::create_dir_all(root.join("l")).unwrap();
        let hash = hash_password("secret", 1, &mut random()).unwrap();
        let users = format!("viper:{hash}\nlocked:!\n");
        std::fs::write(below(&root, USERS), users).unwrap();
        let key = user_key().public().to_text();
        std::fs::write(root.join("s/ssh/authorized_keys"), format!("{key} test\n")).unwrap();
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut settings = Settings {
            port,
            ..Settings::default()
        };
        change(&mut settings);
        let host = Host {
            root: root.clone(),
            network: HostNetwork,
        };
        std::thread::spawn(move || {
            let _ = server::serve(|sources| Sshd::new(host, settings, sources));
        });
        Lab { root, port }
    }

    fn connect(&self) -> Visitor {
        Visitor::connect(self.port)
    }

    fn logged_in(&self) -> Visitor {
        let mut visitor = self.connect();
        assert!(visitor.log_in("viper", &Credential::Key(user_key())));
        visitor
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn user_key() -> PrivateKey {
    PrivateKey::from_ed25519_seed(&[7; 32])
}

fn random() -> ChaCha20Rng {
    let mut seed = [0; 32];
    let mut source = std::fs::File::open("/dev/urandom").unwrap();
    source.read_exact(&mut seed).unwrap();
    ChaCha20Rng::from_seed(seed)
}

fn password(text: &str) -> Credential {
    Credential::Password(String::from(text).into())
}

/// Whether an error only says that nothing came in time, or that a signal did.
fn is_passing(error: &std::io::Error) -> bool {
    use ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// A client on a socket.
struct Visitor {
    socket: TcpStream,
    session: Client,
    host_key: Option<PublicKey>,
    /// What was asked, and what is answered.
    questions: Vec<String>,
    answers: Vec<String>,
    unread: Vec<u8>,
    started: Instant,
}

impl Visitor {
    fn connect(port: u16) -> Visitor {
        let socket = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(socket) => break socket,
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let tick = Some(Duration::from_millis(10));
        socket.set_read_timeout(tick).unwrap();
        Visitor {
            socket,
            session: Client::new(&Config::default(), random(), Duration::ZERO).unwrap(),
            host_key: None,
            questions: Vec::new(),
            answers: Vec::new(),
            unread: Vec::new(),
            started: Instant::now(),
        }
    }

    fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.session.poll_event() {
                return Ok(event);
            }
            self.step()?;
        }
    }

    fn step(&mut self) -> Result<(), Error> {
        let gone = Error::Disconnected(0);
        while !self.session.poll_output().is_empty() {
            match self.socket.write(self.session.poll_output()) {
                Ok(sent) => self.session.output_sent(sent),
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    eprintln!("the visitor's socket: {error}");
                    return Err(gone);
                }
            }
        }
        let mut space = [0; 16 * 1024];
        match self.socket.read(&mut space) {
            Ok(0) => return Err(gone),
            Ok(count) => self.unread.extend_from_slice(&space[..count]),
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                eprintln!("the visitor's socket: {error}");
                return Err(gone);
            }
        }
        let now = self.started.elapsed();
        assert!(now < Duration::from_secs(120), "it takes too long");
        let taken = self.session.handle_input(now, &self.unread)?;
        self.unread.drain(..taken);
        Ok(())
    }

    fn log_in(&mut self, user: &str, credential: &Credential) -> bool {
        loop {
            match self.next().unwrap() {
                Event::HostKey(key) => {
                    self.host_key = Some(key);
                    self.session.accept_host_key().unwrap();
                }
                Event::ReadyToAuthenticate => {
                    self.session.authenticate(user, credential).unwrap();
                }
                Event::Prompts(prompts) => {
                    assert!(prompts.prompts.iter().all(|p| !p.echo), "a secret shows");
                    self.questions = prompts.prompts.into_iter().map(|p| p.text).collect();
                    let answers = self.answers.iter().map(|a| a.clone().into());
                    let answers: Vec<_> = answers.collect();
                    self.session.answer_prompts(&answers).unwrap();
                }
                Event::AuthFailed { .. } => return false,
                Event::Authenticated => return true,
                _ => {}
            }
        }
    }

    fn open(&mut self) -> ChannelId {
        let channel = self.session.open_session().unwrap();
        while self.next().unwrap() != Event::ChannelOpened(channel) {}
        channel
    }

    fn ask(&mut self, channel: ChannelId, request: &Request) -> bool {
        self.session.request(channel, request, true).unwrap();
        loop {
            if let Event::Reply { success, .. } = self.next().unwrap() {
                return success;
            }
        }
    }

    /// What a program says on its two streams, and how it ends.
    fn finish(&mut self, channel: ChannelId) -> (String, String, Option<Request>) {
        let (mut out, mut errors, mut end, mut closed) = (Vec::new(), Vec::new(), None, false);
        while !closed {
            match self.next().unwrap() {
                Event::Request { request, .. } => end = Some(request),
                Event::Closed(id) => closed = id == channel,
                _ => {}
            }
            for (stream, into) in [(Stream::Data, &mut out), (Stream::Stderr, &mut errors)] {
                let mut space = vec![0; self.session.readable_len(channel, stream)];
                let count = self.session.read_from(channel, stream, &mut space);
                into.extend_from_slice(&space[..count.unwrap_or(0)]);
            }
        }
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(out), text(errors), end)
    }

    fn run(&mut self, command: &str) -> (String, String, Option<Request>) {
        let channel = self.open();
        assert!(self.ask(channel, &Request::Exec(command.into())));
        self.finish(channel)
    }

    fn wait_for(&mut self, channel: ChannelId, wanted: &str) {
        let mut seen = String::new();
        while !seen.contains(wanted) {
            let mut space = vec![0; self.session.readable_len(channel, Stream::Data)];
            let count = self.session.read(channel, &mut space).unwrap();
            seen.push_str(&String::from_utf8_lossy(&space[..count]));
            while self.session.poll_event().is_some() {}
            self.step().unwrap();
        }
    }
}

#[test]
fn commands_have_two_streams_and_a_status() {
    let lab = Lab::new("commands", |_| {});
    let mut visitor = lab.logged_in();
    let ran = visitor.run("echo hello; echo trouble >&2; exit 10");
    let status = Some(Request::ExitStatus(10));
    assert_eq!(ran, ("hello\n".into(), "trouble\n".into(), status));
    // The channels of a connection do not know of each other.
    let channels: Vec<ChannelId> = (0..4).map(|_| visitor.open()).collect();
    for (n, channel) in channels.iter().enumerate() {
        let command = format!("echo {n}; exit {n}");
        assert!(visitor.ask(*channel, &Request::Exec(command.into())));
    }
    // One program for each channel; it waits for input, for who has ended answers nothing.
    let channel = visitor.open();
    assert!(visitor.ask(channel, &Request::Exec(b"wc -c".to_vec())));
    assert!(!visitor.ask(channel, &Request::Shell));
}

#[test]
fn input_comes_and_ends() {
    let lab = Lab::new("input", |_| {});
    let mut visitor = lab.logged_in();
    let channel = visitor.open();
    assert!(visitor.ask(channel, &Request::Exec(b"wc -c".to_vec())));
    assert_eq!(visitor.session.write(channel, b"four"), Ok(4));
    visitor.session.send_eof(channel).unwrap();
    let (out, _, end) = visitor.finish(channel);
    assert_eq!((out.trim(), end), ("4", Some(Request::ExitStatus(0))));
}

#[test]
fn a_terminal_edits_lines_and_hears_control_c() {
    let lab = Lab::new("terminal", |_| {});
    let mut visitor = lab.logged_in();
    let channel = visitor.open();
    let size = |columns, rows| TerminalSize {
        columns,
        rows,
        ..TerminalSize::default()
    };
    let pty = Request::Pty {
        term: "xterm".into(),
        size: size(101, 31),
        modes: vec![0],
    };
    assert!(visitor.ask(channel, &pty));
    assert!(visitor.ask(channel, &Request::Shell));
    visitor.wait_for(channel, "$ ");
    visitor.session.write(channel, b"terminax\x7fl\r").unwrap();
    visitor.wait_for(channel, "101x31\r\n$ ");
    let change = Request::WindowChange(size(80, 25));
    visitor.session.request(channel, &change, false).unwrap();
    visitor.session.write(channel, b"terminal\r").unwrap();
    visitor.wait_for(channel, "80x25\r\n$ ");
    visitor.session.write(channel, b"half a line\x03").unwrap();
    visitor.wait_for(channel, "interrupted\r\n$ ");
    visitor.session.write(channel, b"exit 5\r").unwrap();
    assert_eq!(visitor.finish(channel).2, Some(Request::ExitStatus(5)));
}

#[test]
fn only_those_who_may_get_in() {
    let lab = Lab::new("login", |_| {});
    let host_key = {
        let mut visitor = lab.connect();
        assert!(visitor.log_in("viper", &password("secret")));
        visitor.host_key.unwrap()
    };
    for (user, credential) in [
        (
            "viper",
            Credential::Key(PrivateKey::from_ed25519_seed(&[8; 32])),
        ),
        ("nobody", Credential::Key(user_key())),
        ("nobody", password("secret")),
        ("locked", password("!")),
        ("viper", Credential::None),
    ] {
        let mut visitor = lab.connect();
        assert!(!visitor.log_in(user, &credential), "{user} {credential:?}");
        assert_eq!(visitor.host_key, Some(host_key.clone()), "the key is kept");
    }
    let mut visitor = lab.connect();
    assert!(visitor.log_in("locked", &Credential::Key(user_key())));
    let kept = std::fs::read_to_string(below(&lab.root, HOST_KEY)).unwrap();
    let kept = PrivateKey::from_openssh(&kept, None).unwrap();
    assert_eq!(kept.public(), host_key);
}

#[test]
fn the_password_may_come_as_an_answer_to_a_question() {
    let lab = Lab::new("questions", |_| {});
    let asked = Credential::KeyboardInteractive;
    for (user, answers, wanted) in [
        ("viper", &["secret"][..], true),
        ("viper", &["wrong"][..], false),
        ("viper", &[][..], false),
        ("viper", &["secret", "secret"][..], false),
        ("nobody", &["secret"][..], false),
        ("locked", &["!"][..], false),
    ] {
        let mut visitor = lab.connect();
        visitor.answers = answers.iter().map(|a| String::from(*a)).collect();
        assert_eq!(visitor.log_in(user, &asked), wanted, "{user} {answers:?}");
        assert_eq!(visitor.questions, ["Password: "]);
    }
}

#[test]
fn guessing_gets_slower() {
    let lab = Lab::new("guesses", |_| {});
    let mut visitor = lab.connect();
    let mut times = Vec::new();
    assert!(!visitor.log_in("viper", &password("wrong 0")));
    for n in 1..3 {
        let before = Instant::now();
        let guess = password(&format!("wrong {n}"));
        visitor.session.authenticate("viper", &guess).unwrap();
        while !matches!(visitor.next().unwrap(), Event::AuthFailed { .. }) {}
        times.push(before.elapsed());
    }
    let wanted = [Duration::from_millis(500), Duration::from_secs(1)];
    assert!(times[0] >= wanted[0] && times[1] >= wanted[1], "{times:?}");
}

#[test]
fn who_says_nothing_is_sent_away_and_holds_nobody_up() {
    let lab = Lab::new("silence", |settings| {
        // To log in takes seconds on a machine that is busy.
        settings.login_time = Duration::from_secs(10);
        settings.strangers_max = 3;
    });
    let silent: Vec<Visitor> = (0..2).map(|_| lab.connect()).collect();
    let mut visitor = lab.logged_in();
    // One whose output nobody reads, for a while.
    let stuck = visitor.open();
    assert!(visitor.ask(stuck, &Request::Exec(b"yes".to_vec())));
    let mut other = lab.logged_in();
    assert_eq!(other.run("echo still here").0, "still here\n");
    for mut visitor in silent {
        let deadline = Instant::now() + Duration::from_secs(60);
        // It takes what comes, but never logs in.
        while visitor.next().is_ok() {
            let _ = visitor.session.accept_host_key();
            assert!(Instant::now() < deadline, "it was let stay");
        }
    }
}
