//! One life of a machine: from QEMU's start to its end, watched over the console.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::child::{Child, Event, Stream};
use crate::console::{Console, Said};
use crate::error::Result;
use crate::qemu::Machine;

/// After a panic's first line, how long its report may take.
const PANIC_REPORT: Duration = Duration::from_secs(3);
/// After the commands' end, how long the guest may take to power off.
const POWER_OFF: Duration = Duration::from_secs(10);
/// After this long without a byte, an unfinished line is handed on.
const QUIET: Duration = Duration::from_millis(100);

/// How a machine's life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The commands ended with this code.
    Code(u8),
    /// The machine was switched off (or reset) while the commands ran: one of them asked for it.
    Off,
    /// The kernel panicked.
    Panic,
    /// It took too long.
    Timeout,
    /// QEMU ended before the commands began; its own words.
    Early(String),
}

/// Starts `machine` without input and hands everything that it says to `hear`.
///
/// # Errors
///
/// When QEMU cannot be started, or a signal asks to stop. QEMU is gone in any case.
pub fn run(machine: &Machine, timeout: Duration, mut hear: impl FnMut(Said)) -> Result<End> {
    let mut watch = Watch::new(timeout);
    let child = Child::spawn(piped(machine.command()))?;
    loop {
        match child.next(watch.next_look())? {
            Event::Bytes(Stream::Out, bytes) => {
                watch.last_byte = Instant::now();
                let said = watch.console.feed(&bytes);
                watch.note(said, &mut hear);
            }
            Event::Bytes(Stream::Err, bytes) => watch.complaints.extend(bytes),
            Event::Quiet => {
                if watch.last_byte.elapsed() >= QUIET {
                    let said = watch.console.flush();
                    watch.note(said, &mut hear);
                }
                if Instant::now() >= watch.deadline {
                    break;
                }
            }
            Event::Closed => {
                watch.closed = true;
                break;
            }
        }
    }
    let said = watch.console.finish();
    watch.note(said, &mut hear);
    Ok(watch.end())
}

fn piped(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

struct Watch {
    console: Console,
    deadline: Instant,
    last_byte: Instant,
    begun: bool,
    closed: bool,
    code: Option<u8>,
    panicked: bool,
    complaints: Vec<u8>,
}

impl Watch {
    fn new(timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            console: Console::new(),
            deadline: now + timeout,
            last_byte: now,
            begun: false,
            closed: false,
            code: None,
            panicked: false,
            complaints: Vec::new(),
        }
    }

    fn next_look(&self) -> Instant {
        self.deadline.min(Instant::now() + QUIET)
    }

    fn note(&mut self, said: Vec<Said>, hear: &mut impl FnMut(Said)) {
        for one in said {
            match one {
                Said::Begin => self.begun = true,
                Said::End(code) => {
                    self.code = Some(code);
                    self.shorten(POWER_OFF);
                }
                Said::Panic => {
                    self.panicked = true;
                    self.shorten(PANIC_REPORT);
                }
                Said::Log(_) | Said::Output(_) => {}
            }
            hear(one);
        }
    }

    fn shorten(&mut self, left: Duration) {
        self.deadline = self.deadline.min(Instant::now() + left);
    }

    fn end(self) -> End {
        match self.code {
            _ if self.panicked => End::Panic,
            Some(code) => End::Code(code),
            None if !self.closed => End::Timeout,
            None if self.begun => End::Off,
            None => End::Early(String::from_utf8_lossy(&self.complaints).trim().into()),
        }
    }
}
