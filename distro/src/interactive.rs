//! Boot to the prompt: this terminal becomes the guest's console.

use std::io::{IsTerminal, Read, Write};
use std::process::{ChildStdin, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::termios::{self, OptionalActions, Termios};

use crate::backtrace::Backtraces;
use crate::child::{Child, Event, Stream};
use crate::cli::{ExecOptions, MachineOptions};
use crate::console::{LOG_MARK, PANIC};
use crate::error::{Context, Error, Result, unable};
use crate::exec;
use crate::image::System;
use crate::machine;
use crate::net_peer;
use crate::scratch::Scratch;

/// Ctrl-A: the next key is for this program.
const ESCAPE: u8 = 0x01;
/// Commands from a pipe may take long; somebody who feeds them can end them.
const SCRIPT_TIMEOUT_S: u64 = 24 * 3600;

/// Boots on this terminal, or runs standard input as commands when it is not a terminal.
///
/// # Errors
///
/// As `exec`.
pub fn boot(system: &System, options: &MachineOptions, fresh: bool) -> Result<ExitCode> {
    let disk = crate::disk::kept(system, options, fresh)?;
    if !std::io::stdin().is_terminal() {
        return run_stdin(system, options, disk);
    }
    let scratch = Scratch::new(&system.workspace)?;
    let archive = scratch.path("boot.cpio");
    system.write_archive(&archive, None)?;
    let options = crate::disk::with_more(options)?;
    let (options, port) = with_ssh(system, &options)?;
    let mut machine = machine::assemble(system, &options, archive, disk);
    machine.reboots = true;
    let mut command = machine.command();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    eprintln!("distro: Ctrl-A X leaves, Ctrl-A Ctrl-A sends Ctrl-A");
    if let Some(port) = port {
        eprintln!("distro: ssh -p {port} viper@localhost (password: viper)");
    }
    let mut child = Child::spawn(command)?;
    let raw = RawTerminal::enter()?;
    if let Some(stdin) = child.take_stdin() {
        std::thread::spawn(move || type_into(stdin));
    }
    let ended = show(system, &mut child);
    drop(child);
    drop(raw);
    match ended {
        Err(Error::Interrupted) if LEFT.load(Ordering::Relaxed) => Ok(ExitCode::SUCCESS),
        other => other.map(|()| ExitCode::SUCCESS),
    }
}

/// Where the guest's SSH server listens.
const SSH_PORT: u16 = 22;

/// The options with a forward to the guest's SSH server, if it has one, the machine has a network
/// and nobody has forwarded that port; and the port of this machine.
fn with_ssh(system: &System, options: &MachineOptions) -> Result<(MachineOptions, Option<u16>)> {
    let mut options = options.clone();
    let has_server = system.manifest.process.contains_key("sshd");
    let is_forwarded = |forward: &String| forward.ends_with(&format!("-:{SSH_PORT}"));
    if options.no_net || !has_server || options.hostfwd.iter().any(is_forwarded) {
        return Ok((options, None));
    }
    let port = net_peer::free_port().context("a port to forward")?;
    options.hostfwd.push(net_peer::forward(port, SSH_PORT));
    Ok((options, Some(port)))
}

fn run_stdin(
    system: &System,
    options: &MachineOptions,
    disk: Option<crate::qemu::Disk>,
) -> Result<ExitCode> {
    let mut commands = String::new();
    std::io::stdin()
        .read_to_string(&mut commands)
        .context("standard input")?;
    let options = ExecOptions {
        machine: options.clone(),
        timeout: SCRIPT_TIMEOUT_S,
        put: Vec::new(),
        get: Vec::new(),
        commands,
    };
    exec::exec_on(system, &options, disk)
}

/// Copies the guest's console to the terminal until the machine is off.
fn show(system: &System, child: &mut Child) -> Result<()> {
    let mut lines = Lines {
        backtraces: Backtraces::new(system),
        line: Vec::new(),
        panicked: false,
    };
    loop {
        match child.next(Instant::now() + Duration::from_secs(3600))? {
            Event::Bytes(Stream::Out, bytes) => {
                let mut stdout = std::io::stdout().lock();
                stdout
                    .write_all(&bytes)
                    .and_then(|()| stdout.flush())
                    .context("the terminal")?;
                lines.watch(&bytes);
            }
            Event::Bytes(Stream::Err, bytes) => {
                // In raw mode a line end does not return to the first column.
                let text = String::from_utf8_lossy(&bytes).replace('\n', "\r\n");
                eprint!("{text}");
            }
            Event::Quiet => {}
            Event::Closed => break,
        }
    }
    match child.wait()? {
        _ if lines.panicked => Err(Error::Panic),
        status if status.success() => Ok(()),
        status => unable(format!("QEMU: {status}")),
    }
}

/// Looks at the console line by line.
struct Lines<'a> {
    backtraces: Backtraces<'a>,
    line: Vec<u8>,
    panicked: bool,
}

impl Lines<'_> {
    /// Prints names after a line that is a backtrace; notes a panic.
    fn watch(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            self.panicked |= line
                .strip_prefix(&[LOG_MARK])
                .unwrap_or(&line)
                .starts_with(PANIC);
            for text in self.backtraces.explain(&line) {
                eprint!("{text}\r\n");
            }
        }
    }
}

/// Whether Ctrl-A X was typed, as opposed to a signal.
static LEFT: AtomicBool = AtomicBool::new(false);

/// Sends keys to the guest; Ctrl-A X leaves.
fn type_into(mut guest: ChildStdin) {
    let mut keys = Keys::default();
    let mut buffer = [0; 256];
    while let Ok(count @ 1..) = std::io::stdin().lock().read(&mut buffer) {
        let Some(typed) = keys.feed(&buffer[..count]) else {
            return leave();
        };
        if guest
            .write_all(&typed)
            .and_then(|()| guest.flush())
            .is_err()
        {
            return;
        }
    }
}

/// Looks for Ctrl-A in what is typed.
#[derive(Default)]
struct Keys {
    escaped: bool,
}

impl Keys {
    /// What is meant for the guest; `None` when the user leaves.
    fn feed(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let mut keys = Vec::new();
        for key in typed {
            match (std::mem::take(&mut self.escaped), *key) {
                (true, b'x' | b'X') => return None,
                (false, ESCAPE) => self.escaped = true,
                (_, other) => keys.push(other),
            }
        }
        Some(keys)
    }
}

/// The main loop looks at the same flag that signals raise.
fn leave() {
    LEFT.store(true, Ordering::Relaxed);
    crate::child::interrupt();
}

/// The terminal without echo, line editing and signals, until dropped.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).context("the terminal")?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw).context("the terminal")?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no repair.
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_a_is_for_this_program() {
        let mut keys = Keys::default();
        assert_eq!(keys.feed(b"ls\r").as_deref(), Some(b"ls\r".as_slice()));
        assert_eq!(
            keys.feed(b"a\x01\x01b").as_deref(),
            Some(b"a\x01b".as_slice())
        );
        assert_eq!(keys.feed(b"x").as_deref(), Some(b"x".as_slice()));
        assert_eq!(keys.feed(b"\x01").as_deref(), Some(b"".as_slice()));
        assert_eq!(keys.feed(b"x"), None);
    }
}
