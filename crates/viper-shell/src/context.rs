//! What a running command has at hand, and how it fails.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::error::Error;
use crate::io::{Io, Sink};
use crate::parse;
use crate::path::{self, PATH_MAX, Typed};
use crate::shell::{ERROR, FAIL, OK, Shell, Trouble};
use crate::system::{AssignTarget, Stat, System};

/// Functions, scripts, aliases and substitutions inside each other, at most.
pub const CALLS_MAX: usize = 24;

/// Calls and loops, conditions and groups inside each other, at most, while running.
pub const LEVELS_MAX: usize = 96;

/// A command's surroundings. Runs syntax trees, too: see `exec`.
pub(crate) struct Context<'a> {
    pub(crate) shell: &'a mut Shell,
    pub(crate) sys: &'a mut dyn System,
    pub(crate) io: Io,
}

/// A way out of the normal order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Leave so many loops.
    Break(usize),
    /// Go on with the so-manieth loop.
    Continue(usize),
    /// Leave the function or script.
    Return(i32),
    /// Leave the shell or subshell.
    Exit(i32),
    /// Ctrl-C: give up the whole line.
    Interrupted,
}

/// Why a command came to no good end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Says why, and ends with the code.
    Fail(i32, String),
    /// The arguments make no sense: the usage line says how it goes.
    Usage,
    /// Not a failure.
    Flow(Flow),
}

/// What a command returns.
pub(crate) type Ended = Result<i32, Stop>;
/// What running part of a script returns.
pub(crate) type Ran = Result<i32, Flow>;

impl From<Flow> for Stop {
    fn from(flow: Flow) -> Self {
        Self::Flow(flow)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Interrupted => Self::Flow(Flow::Interrupted),
            _ => Self::Fail(code_of(error), error.sentence().to_owned()),
        }
    }
}

/// How bad an error is.
fn code_of(error: Error) -> i32 {
    match error {
        Error::Io | Error::Corrupt | Error::ServerDied | Error::NoServer | Error::Exhausted => FAIL,
        _ => ERROR,
    }
}

/// Says what an error was about.
pub(crate) trait About<T> {
    /// `what: sentence`
    fn about(self, what: &str) -> Result<T, Stop>;
}

impl<T> About<T> for Result<T, Error> {
    fn about(self, what: &str) -> Result<T, Stop> {
        self.map_err(|error| match error {
            Error::Interrupted => Stop::Flow(Flow::Interrupted),
            _ => Stop::Fail(code_of(error), format!("{what}: {error}")),
        })
    }
}

/// A failure with the usual code.
pub(crate) fn fail<T>(message: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Fail(ERROR, message.into()))
}

impl Context<'_> {
    /// Writes text to standard output.
    pub(crate) fn out(&mut self, text: &str) -> Result<(), Stop> {
        Ok(self.write(text.as_bytes())?)
    }

    /// Writes a line to standard output.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Stop> {
        self.out(text)?;
        self.out("\n")
    }

    /// Writes a line to standard error. Never fails: there is nowhere else to complain.
    pub(crate) fn complain(&mut self, text: &str) {
        let sink = self.io.stderr.clone();
        let line = format!("{text}\n");
        let _ = self.write_to(&sink, line.as_bytes());
    }

    /// Complains about a failure of `command`, remembers it for `Why`, and gives its code.
    pub(crate) fn failed(&mut self, command: &str, code: i32, message: &str) -> i32 {
        self.complain(&format!("{command}: {message}"));
        self.trouble(command, code, message);
        code
    }

    /// Remembers trouble for `Why`.
    pub(crate) fn trouble(&mut self, command: &str, code: i32, message: &str) {
        let (command, message) = (command.to_string(), message.to_string());
        self.shell.told = true;
        self.shell.trouble = Some(Trouble {
            command,
            code,
            message,
        });
    }

    /// Fails when Ctrl-C was pressed.
    pub(crate) fn check(&mut self) -> Result<(), Stop> {
        if self.sys.interrupted() {
            Err(Flow::Interrupted.into())
        } else {
            Ok(())
        }
    }

    /// Whether standard output is a terminal, and how wide.
    pub(crate) fn width(&mut self) -> Option<usize> {
        match self.io.stdout {
            Sink::Console => self.sys.terminal_width(),
            _ => None,
        }
    }

    /// Parses and runs text: all of it, or the lines before what does not parse. `name` is who
    /// speaks then.
    pub(crate) fn run_text(&mut self, text: &str, name: &str) -> Ran {
        let (list, error) = parse::parse_lines(text);
        match error {
            None => self.list(&list),
            Some(error) => {
                self.list(&list)?;
                let before = text.get(..error.at).unwrap_or(text);
                let line = before.matches('\n').count() + 1;
                let place = if text.trim_end().contains('\n') {
                    format!("line {line}: ")
                } else {
                    String::new()
                };
                let near: String = text
                    .get(error.at..)
                    .unwrap_or("")
                    .chars()
                    .take(16)
                    .collect();
                let near = near.lines().next().unwrap_or("").trim();
                let message = match near.is_empty() {
                    true => format!("{place}{error}"),
                    false => format!("{place}{error}, not `{near}`"),
                };
                Ok(self.failed(name, ERROR, &message))
            }
        }
    }

    /// Runs `inner` one call deeper.
    pub(crate) fn deeper<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        if self.shell.depth >= CALLS_MAX {
            return fail("functions, scripts or aliases call each other too deeply");
        }
        self.shell.depth += 1;
        let result = self.level(inner);
        self.shell.depth -= 1;
        result
    }

    /// Runs `inner` one level deeper.
    pub(crate) fn level<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        if self.shell.levels >= LEVELS_MAX {
            return fail("commands are nested too deeply");
        }
        self.shell.levels += 1;
        let result = inner(self);
        self.shell.levels -= 1;
        result
    }

    /// Every absolute path that `typed` may mean: more than one for an assign to several
    /// directories.
    pub(crate) fn candidates(&mut self, typed: &str) -> Result<Vec<String>, Stop> {
        if typed.len() > PATH_MAX {
            return Err(Error::NameTooLong).about("path");
        }
        if typed.contains('\0') {
            return Err(Error::InvalidName).about("path");
        }
        Ok(match Typed::new(typed) {
            Typed::Root(rest) => Vec::from([path::join("/", rest)]),
            Typed::Relative(rest) => Vec::from([path::join(&self.shell.state.cwd, rest)]),
            Typed::Assign(name, rest) => {
                let found = self.sys.assign(name);
                let target = match found {
                    Ok(assign) => assign.target,
                    Err(Error::NotFound | Error::NoServer | Error::Unsupported)
                        if name.eq_ignore_ascii_case("SYS") =>
                    {
                        AssignTarget::Directories(Vec::from([String::from("/")]))
                    }
                    Err(Error::NotFound) => {
                        return fail(format!("{typed}: there is no assign {name}:"));
                    }
                    Err(error) => return Err(error).about(typed),
                };
                match target {
                    AssignTarget::Directories(all) => {
                        all.iter().map(|dir| path::join(dir, rest)).collect()
                    }
                    AssignTarget::Service => {
                        return fail(format!("{typed}: {name}: is a service, not a directory"));
                    }
                }
            }
        })
    }

    /// The absolute path that `typed` means: the first that exists, or else the first.
    pub(crate) fn locate(&mut self, typed: &str) -> Result<String, Stop> {
        let mut all = self.candidates(typed)?;
        if all.len() > 1 {
            let found = all
                .iter()
                .position(|path| self.sys.stat(path, false).is_ok());
            all.swap(0, found.unwrap_or(0));
        }
        match all.into_iter().next() {
            Some(path) => Ok(path),
            None => Err(Error::NotFound).about(typed),
        }
    }

    /// Facts about what `typed` names, links followed; its absolute path too.
    pub(crate) fn stat(&mut self, typed: &str) -> Result<(String, Stat), Stop> {
        let path = self.locate(typed)?;
        let stat = self.sys.stat(&path, true).about(typed)?;
        Ok((path, stat))
    }

    /// Tells about programs in the background that have ended.
    pub(crate) fn reap_jobs(&mut self) {
        use crate::system::Waited;
        let jobs = core::mem::take(&mut self.shell.jobs);
        for job in jobs {
            match self.sys.wait(job.pid, false) {
                Ok(Waited::Running | Waited::Interrupted) => self.shell.jobs.push(job),
                Ok(Waited::Exited(status)) => {
                    let how = match (&status.fault, status.code) {
                        (Some(fault), _) => fault.clone(),
                        (None, OK) => String::from("done"),
                        (None, code) => format!("ended with {code}"),
                    };
                    self.complain(&format!("[{}] {} {how}", job.number, job.name));
                }
                Err(_) => {}
            }
        }
    }
}
