//! Child processes that never outlive this one.
//!
//! Three things make sure of it: dropping a [`Child`] kills and reaps it, signals only raise a flag
//! that every waiting loop looks at, and the operating system itself kills the child when this
//! process dies some other way (`PR_SET_PDEATHSIG`, Linux).

use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};

/// How long a waiting loop may sleep before it looks at the signals again.
const TICK: Duration = Duration::from_millis(50);

/// Makes SIGINT, SIGTERM and SIGHUP raise a flag instead of ending the process.
///
/// # Errors
///
/// When the operating system refuses a handler.
pub fn catch_signals() -> Result<()> {
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        // A second signal ends the process at once: a stuck clean-up must not hold the user.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(flag()))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(flag())))
            .context("cannot catch signals")?;
    }
    Ok(())
}

/// Says whether a signal asked this process to stop.
pub fn interrupted() -> bool {
    flag().load(Ordering::Relaxed)
}

/// Asks this process to stop, as a signal would.
pub fn interrupt() {
    flag().store(true, Ordering::Relaxed);
}

fn flag() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(Arc::default)
}

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The child's standard output.
    Out,
    /// The child's standard error.
    Err,
}

/// What a child does next.
#[derive(Debug)]
pub enum Event {
    /// It wrote this.
    Bytes(Stream, Vec<u8>),
    /// Nothing until the deadline.
    Quiet,
    /// It closed its outputs.
    Closed,
}

/// A running child process, killed and reaped when dropped.
#[derive(Debug)]
pub struct Child {
    inner: std::process::Child,
    output: Receiver<(Stream, Vec<u8>)>,
}

impl Child {
    /// Starts `command`; its piped outputs arrive through [`Child::next`].
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn spawn(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        die_with_parent(&mut command);
        let mut inner = command.spawn().context(format!("cannot start {name}"))?;
        let (sender, output) = channel();
        if let Some(stdout) = inner.stdout.take() {
            forward(Stream::Out, stdout, sender.clone());
        }
        if let Some(stderr) = inner.stderr.take() {
            forward(Stream::Err, stderr, sender);
        }
        Ok(Self { inner, output })
    }

    /// The writing end of the child's standard input, once, when it is a pipe.
    pub fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.inner.stdin.take()
    }

    /// The operating system's number for the child.
    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// Waits for the next event, at most until `deadline`.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] after a signal.
    pub fn next(&self, deadline: Instant) -> Result<Event> {
        loop {
            if interrupted() {
                return Err(Error::Interrupted);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left.min(TICK)) {
                Ok((stream, bytes)) => return Ok(Event::Bytes(stream, bytes)),
                Err(RecvTimeoutError::Disconnected) => return Ok(Event::Closed),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return Ok(Event::Quiet),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Waits for the end of the child, looking at the signals.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] after a signal; [`Error::Unable`] when it cannot be waited for.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if interrupted() {
                return Err(Error::Interrupted);
            }
            match self.inner.try_wait().context("cannot wait for a child")? {
                Some(status) => return Ok(status),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only when the child is gone already, which is what is wanted.
        let _ = self.inner.kill();
        let _ = self.inner.wait();
    }
}

/// Runs `command` to its end and returns what it wrote to standard output.
///
/// # Errors
///
/// When it cannot be started or ends with an error; its last words are in the text.
pub fn output_of(mut command: Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null());
    let output = command.output().context(format!("cannot start {name}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Unable(format!(
            "{name}: {}: {}",
            output.status,
            words.trim()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn forward(stream: Stream, mut from: impl Read + Send + 'static, to: Sender<(Stream, Vec<u8>)>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) if to.send((stream, buffer[..count].to_vec())).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
}

/// Asks the kernel to kill the child when the thread that started it dies.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    use rustix::process::{Signal, set_parent_process_death_signal};

    // SAFETY:
    // 1. `pre_exec` runs between fork and exec, where only async-signal-safe work is allowed
    //    (its documentation). The closure makes one prctl(2) system call through rustix, which
    //    neither allocates nor takes a lock; the error conversion only wraps an integer.
    // 2. It captures nothing, so no other thread's state is touched in the child.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command) {}
