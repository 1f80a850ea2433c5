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
    run_until(machine, timeout, |said| {
        hear(said);
        None
    })
}

/// The same; when `hear` returns a time, QEMU is killed so much later, whatever it does: the power
/// is cut.
///
/// # Errors
///
/// As [`run`].
pub fn run_until(
    machine: &Machine,
    timeout: Duration,
    hear: impl FnMut(Said) -> Option<Duration>,
) -> Result<End> {
    watch(machine.command(), timeout, hear)
}

fn watch(
    command: Command,
    timeout: Duration,
    mut hear: impl FnMut(Said) -> Option<Duration>,
) -> Result<End> {
    let mut watch = Watch::new(timeout);
    let child = Child::spawn(piped(command))?;
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

    fn note(&mut self, said: Vec<Said>, hear: &mut impl FnMut(Said) -> Option<Duration>) {
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
            if let Some(left) = hear(one) {
                self.shorten(left);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a shell script in QEMU's place makes of a run: its end and its output.
    fn play(script: &str, timeout_ms: u64) -> (End, String) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut output = Vec::new();
        let end = watch(command, Duration::from_millis(timeout_ms), |said| {
            if let Said::Output(bytes) = said {
                output.extend(bytes);
            }
            None
        });
        (
            end.expect("a run"),
            String::from_utf8(output).expect("UTF-8"),
        )
    }

    const BEGIN: &str = r"printf 'boot\r\n\002VIPER-EXEC-BEGIN\003\r\n';";

    #[test]
    fn the_end_mark_gives_the_code() {
        let script = format!(r"{BEGIN} printf 'out\r\n\002VIPER-EXEC-END 5\003\r\n'");
        assert_eq!(play(&script, 5000), (End::Code(5), "out\n".into()));
    }

    #[test]
    fn an_unfinished_line_is_not_held_back_for_ever() {
        let script = format!("{BEGIN} printf 'half'; exec sleep 5");
        assert_eq!(play(&script, 1000), (End::Timeout, "half".into()));
    }

    #[test]
    fn power_off_inside_the_frame_is_no_failure() {
        assert_eq!(
            play(&format!("{BEGIN} printf 'bye\\n'"), 5000),
            (End::Off, "bye\n".into())
        );
    }

    #[test]
    fn the_power_can_be_cut_at_a_word() {
        let mut command = Command::new("sh");
        let script = format!(r"{BEGIN} printf 'one\ntwo\n'; exec sleep 30");
        command.args(["-c", &script]);
        let started = Instant::now();
        let end = watch(command, Duration::from_secs(30), |said| match said {
            Said::Output(bytes) if bytes.ends_with(b"two\n") => Some(Duration::ZERO),
            _ => None,
        });
        assert_eq!(end.expect("a run"), End::Timeout);
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn an_early_end_brings_the_complaint() {
        let early = End::Early("no such machine".into());
        assert_eq!(
            play("echo no such machine >&2; exit 1", 5000),
            (early, String::new())
        );
    }

    #[test]
    fn a_panic_wins_over_everything_and_waits_for_its_report_only() {
        let script = format!(r"{BEGIN} printf 'KERNEL PANIC: x\n\002VIPER-EXEC-END 0\003\n'");
        assert_eq!(play(&script, 5000).0, End::Panic);
    }

    #[test]
    fn silence_times_out_and_leaves_nothing_behind() {
        let started = Instant::now();
        assert_eq!(play("exec sleep 30", 300).0, End::Timeout);
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
