//! What `ssh` does once it is logged in: a shell or a command, and forwarded ports.

use crate::arguments::Options;
use crate::failure::{About, Result, fail};
use crate::forward::Forwards;
use crate::keyboard::Keyboard;
use crate::link::Link;
use crate::user::User;
use alloc::string::String;
use alloc::vec::Vec;
use viper_proto::console::{Client, Mode};
use viper_proto::net::client::Network;
use viper_rt::program;
use viper_ssh::pump::{Duplex, Got, Joint};
use viper_ssh::{ChannelId, Event, Request, Stream, TerminalSize};

/// The exit code when there is no other.
pub const FAILED: i64 = 255;

/// The user, as the other end of the channel.
struct Ends<'a> {
    user: &'a User,
    keyboard: Keyboard,
    failed: bool,
}

impl Duplex for Ends<'_> {
    fn get(&mut self, stream: Stream, to: &mut [u8]) -> Got {
        self.keyboard.get(stream, to)
    }

    fn put(&mut self, from: &[u8]) -> usize {
        self.failed |= self.user.write(from).is_err();
        from.len()
    }

    fn finish(&mut self) {}
}

/// The terminal without line editing, until dropped.
struct Raw<'a> {
    terminal: &'a Client,
    before: Mode,
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let _ = self.terminal.set_mode(self.before);
    }
}

/// Runs the command, or a shell, and whatever is forwarded. Returns the exit code.
///
/// # Errors
/// A sentence about what ended the session before its time.
pub fn run(
    link: &mut Link,
    user: &User,
    network: Network,
    options: &Options,
    command: Option<String>,
) -> Result<i64> {
    let forwards = Forwards::start(link, network, &options.local, &options.remote)?;
    let wants = options.terminal.unwrap_or(command.is_none());
    let runs = !options.no_program && options.direct.is_none();
    let terminal = user.terminal().filter(|_| wants && runs);
    let raw = match terminal {
        Some(terminal) => {
            let before = terminal.set_mode(Mode::RAW).about("the terminal")?;
            Some(Raw { terminal, before })
        }
        None => None,
    };
    let input = if options.no_input || options.no_program {
        None
    } else {
        user.input().about("standard input")?
    };
    let keyboard = Keyboard::new(input).about("standard input")?;
    link.watch(keyboard.event())?;
    let main = match (&options.direct, options.no_program) {
        (Some(to), _) => {
            let from = ("127.0.0.1", 0);
            Some(link.session.open_direct_tcpip(&to.host, to.port, from)?)
        }
        (None, true) => None,
        (None, false) => Some(link.session.open_session()?),
    };
    let mut session = Session {
        ends: Ends {
            user,
            keyboard,
            failed: false,
        },
        forwards,
        joint: Joint::default(),
        main,
        is_open: false,
        is_direct: options.direct.is_some(),
        command,
        terminal,
        size: TerminalSize::default(),
        status: options.direct.as_ref().map(|_| 0),
        refused: None,
    };
    let result = session.run(link);
    drop(raw);
    result
}

struct Session<'a> {
    ends: Ends<'a>,
    forwards: Forwards,
    joint: Joint,
    main: Option<ChannelId>,
    is_open: bool,
    /// Whether the channel leads somewhere else, and not to a program.
    is_direct: bool,
    command: Option<String>,
    terminal: Option<&'a Client>,
    size: TerminalSize,
    status: Option<i64>,
    refused: Option<String>,
}

impl Session<'_> {
    fn run(&mut self, link: &mut Link) -> Result<i64> {
        loop {
            let mut moved = link.pump()?;
            while let Some(event) = link.event()? {
                moved = true;
                if self.handle(link, &event)? {
                    self.drain(link)?;
                    return Ok(self.status.unwrap_or(FAILED));
                }
            }
            if let Some(reason) = self.refused.take() {
                return fail(reason);
            }
            moved |= self.forwards.pump(link)?;
            if let (Some(main), true) = (self.main, self.is_open) {
                self.watch_size(link, main)?;
                moved |= self.errors(link, main)?;
                let Link { session, space, .. } = &mut *link;
                moved |= self.joint.pump(session, main, &mut self.ends, space);
                if self.ends.failed {
                    return fail("nobody reads the output any more");
                }
                if self.is_direct && self.joint.is_drained() && self.joint.is_finished() {
                    return Ok(self.status.unwrap_or(FAILED));
                }
            }
            if !moved {
                link.wait()?;
            }
        }
    }

    /// Handles an event; tells whether the program has ended.
    fn handle(&mut self, link: &mut Link, event: &Event) -> Result<bool> {
        match event {
            Event::ChannelOpened(id) if Some(*id) == self.main => self.begin(link, *id)?,
            Event::ChannelRefused {
                channel, message, ..
            } if Some(*channel) == self.main => {
                let what = match self.is_direct {
                    true => "the server does not connect",
                    false => "the server refuses a session",
                };
                self.refused = Some(alloc::format!("{what}: {message}"));
            }
            Event::Eof(id) if Some(*id) == self.main => self.joint.eof_received(),
            Event::Closed(id) if Some(*id) == self.main => return Ok(true),
            Event::Reply { success: false, .. } => {
                self.refused = Some(String::from("the server refuses the request"));
            }
            Event::ForwardReply {
                port: None,
                address,
            } => {
                self.ends
                    .user
                    .say(&alloc::format!("the server does not listen at {address}"));
            }
            Event::Request { request, .. } => match request {
                Request::ExitStatus(status) => self.status = Some(i64::from(*status)),
                Request::ExitSignal {
                    signal, message, ..
                } => {
                    let text = alloc::format!("ended by signal {signal} {message}");
                    self.ends.user.say(text.trim_end());
                }
                _ => {}
            },
            event => self.forwards.handle(link, event)?,
        }
        Ok(false)
    }

    fn begin(&mut self, link: &mut Link, main: ChannelId) -> Result<()> {
        self.is_open = true;
        if self.is_direct {
            return Ok(());
        }
        if let Some(terminal) = self.terminal {
            self.size = size(terminal);
            let pty = Request::Pty {
                term: program::variable("TERM").unwrap_or("xterm").into(),
                size: self.size,
                modes: Vec::from([0]),
            };
            link.session.request(main, &pty, false)?;
        }
        let request = match self.command.take() {
            Some(command) => Request::Exec(command.into_bytes()),
            None => Request::Shell,
        };
        link.session.request(main, &request, true)?;
        Ok(())
    }

    /// Tells the server when the window has another size than it was told last.
    fn watch_size(&mut self, link: &mut Link, main: ChannelId) -> Result<()> {
        let Some(terminal) = self.terminal else {
            return Ok(());
        };
        let now = size(terminal);
        if now != self.size {
            self.size = now;
            link.session
                .request(main, &Request::WindowChange(now), false)?;
        }
        Ok(())
    }

    fn errors(&mut self, link: &mut Link, main: ChannelId) -> Result<bool> {
        let Link { session, space, .. } = link;
        let count = session.read_from(main, Stream::Stderr, space);
        let count = count.unwrap_or(0);
        self.ends.user.write_error(&space[..count])?;
        Ok(count > 0)
    }

    /// Shows what came before the end.
    fn drain(&mut self, link: &mut Link) -> Result<()> {
        let Some(main) = self.main else { return Ok(()) };
        while self.errors(link, main)? {}
        loop {
            let Link { session, space, .. } = &mut *link;
            let count = session.read(main, space).unwrap_or(0);
            if count == 0 {
                return Ok(());
            }
            self.ends.user.write(&space[..count])?;
        }
    }
}

fn size(terminal: &Client) -> TerminalSize {
    let size = terminal.size().unwrap_or_default();
    TerminalSize {
        columns: size.columns,
        rows: size.rows,
        ..TerminalSize::default()
    }
}
