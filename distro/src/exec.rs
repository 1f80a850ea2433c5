//! `exec`: boot without a screen, run commands, print exactly their output.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::backtrace::Backtraces;
use crate::cli::{ExecOptions, MachineOptions};
use crate::console::Said;
use crate::disk;
use crate::error::{Context, Error, Result, unable};
use crate::image::System;
use crate::machine;
use crate::qemu::Disk;
use crate::scratch::Scratch;
use crate::session::{self, End};
use crate::ui;

/// How many log lines are shown when a run fails.
const LOG_TAIL: usize = 40;

/// Runs `exec`.
///
/// # Errors
///
/// When the system cannot boot, panics, takes too long, or a signal asks to stop.
pub fn exec(system: &System, options: &ExecOptions) -> Result<ExitCode> {
    let scratch = Scratch::new(&system.workspace)?;
    let disk = disk::for_exec(system, options, &scratch)?;
    run(system, options, disk, &scratch)
}

/// Runs `exec` on a disk that is chosen already.
///
/// # Errors
///
/// As [`exec`].
pub fn exec_on(system: &System, options: &ExecOptions, disk: Option<Disk>) -> Result<ExitCode> {
    run(system, options, disk, &Scratch::new(&system.workspace)?)
}

fn run(
    system: &System,
    options: &ExecOptions,
    disk: Option<Disk>,
    scratch: &Scratch,
) -> Result<ExitCode> {
    let timeout = Duration::from_secs(options.timeout);
    let verbose = !options.machine.log.is_empty();
    let machine = disk::with_more(&options.machine)?;
    let mut printer = Printer::new(system, verbose);
    let script = Script {
        machine: &machine,
        text: &options.commands,
        disk: disk.clone(),
    };
    let end = script.run(system, scratch, timeout, |said| printer.hear(said))?;
    let code = printer.conclude(end, timeout)?;
    match disk::after_exec(options, disk.as_ref()) {
        // The guest's own failure says more than a file that it did not write.
        Err(error) if code != 0 => ui::warn(error),
        other => other?,
    }
    Ok(ExitCode::from(code))
}

/// Commands and the machine that they run on.
#[derive(Debug)]
pub struct Script<'a> {
    /// The machine's options.
    pub machine: &'a MachineOptions,
    /// The commands.
    pub text: &'a str,
    /// The disk.
    pub disk: Option<Disk>,
}

impl Script<'_> {
    /// Boots, runs the commands, and hands everything that the guest says to `hear`.
    ///
    /// # Errors
    ///
    /// As [`session::run`]; and when the boot archive cannot be written.
    pub fn run(
        &self,
        system: &System,
        scratch: &Scratch,
        timeout: Duration,
        mut hear: impl FnMut(Said),
    ) -> Result<End> {
        self.run_until(system, scratch, timeout, |said| {
            hear(said);
            None
        })
    }

    /// The same; when `hear` returns a time, the machine is killed so much later.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn run_until(
        &self,
        system: &System,
        scratch: &Scratch,
        timeout: Duration,
        hear: impl FnMut(Said) -> Option<Duration>,
    ) -> Result<End> {
        let archive: PathBuf = scratch.path("boot.cpio");
        system.write_archive(&archive, Some(&format!("{}\n", self.text)))?;
        let mut machine = machine::assemble(system, self.machine, archive, self.disk.clone());
        machine.command_line.push_str(" viper.exec=1");
        session::run_until(&machine, timeout, hear)
    }
}

/// Output to stdout; log to stderr when wanted or when something went wrong.
struct Printer<'a> {
    backtraces: Backtraces<'a>,
    verbose: bool,
    panicked: bool,
    log: Vec<String>,
    failure: Option<std::io::Error>,
}

impl<'a> Printer<'a> {
    fn new(system: &'a System, verbose: bool) -> Self {
        Self {
            backtraces: Backtraces::new(system),
            verbose,
            panicked: false,
            log: Vec::new(),
            failure: None,
        }
    }

    fn hear(&mut self, said: Said) {
        match said {
            Said::Output(bytes) => {
                for line in self.backtraces.explain(&bytes) {
                    eprintln!("{line}");
                }
                let mut stdout = std::io::stdout().lock();
                let written = stdout.write_all(&bytes).and_then(|()| stdout.flush());
                self.failure = self.failure.take().or(written.err());
            }
            Said::Log(line) => self.log_line(&line),
            Said::Panic => self.panicked = true,
            Said::Begin | Said::End(_) => {}
        }
    }

    fn log_line(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        let explained = self.backtraces.explain(line);
        for line in std::iter::once(text).chain(explained) {
            if self.verbose || self.panicked {
                eprintln!("{line}");
            } else {
                self.log.push(line);
            }
        }
    }

    fn conclude(self, end: End, timeout: Duration) -> Result<u8> {
        match end {
            End::Code(code) => {
                self.failure
                    .map_or(Ok(()), Err)
                    .context("cannot write the output")?;
                Ok(code)
            }
            End::Off => {
                eprintln!("distro: the machine was switched off before the commands ended");
                Ok(0)
            }
            End::Panic => Err(Error::Panic),
            End::Timeout => {
                self.print_tail();
                Err(Error::Timeout(timeout.as_secs()))
            }
            End::Early(words) => {
                self.print_tail();
                let said = if words.is_empty() {
                    String::new()
                } else {
                    format!(": {words}")
                };
                unable(format!(
                    "the machine was switched off before the commands began{said}"
                ))
            }
        }
    }

    fn print_tail(&self) {
        for line in &self.log[self.log.len().saturating_sub(LOG_TAIL)..] {
            eprintln!("| {line}");
        }
    }
}
