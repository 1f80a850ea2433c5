//! The shell's state, and how it is used from outside.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use crate::ast::Command;
use crate::context::{Context, Flow};
use crate::io::Io;
use crate::parse::{self, ParseErrorKind};
use crate::path;
use crate::system::{Grants, Pid, System};

/// Return code: all is well.
pub const OK: i32 = 0;
/// Return code: done, but look at it.
pub const WARN: i32 = 5;
/// Return code: not done.
pub const ERROR: i32 = 10;
/// Return code: not done, and something is broken.
pub const FAIL: i32 = 20;

/// A variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) value: String,
    pub(crate) exported: bool,
}

/// A program in the background.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) number: u32,
    pub(crate) pid: Pid,
    pub(crate) name: String,
}

/// The last return code that was not 0.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) command: String,
    pub(crate) code: i32,
    pub(crate) message: String,
}

/// What a subshell gets a copy of.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) cwd: String,
    pub(crate) variables: BTreeMap<String, Variable>,
    pub(crate) aliases: BTreeMap<String, String>,
    pub(crate) functions: BTreeMap<String, Rc<Command>>,
    /// `$0` and the arguments.
    pub(crate) arguments: Vec<String>,
    /// Directories to look for programs in, as typed.
    pub(crate) search: Vec<String>,
    pub(crate) stop_on_error: bool,
    pub(crate) echo_commands: bool,
    pub(crate) unset_is_error: bool,
}

/// A shell. It holds no system: every call gets one.
#[derive(Debug)]
pub struct Shell {
    pub(crate) state: State,
    /// Return code of the last command.
    pub(crate) last: i32,
    pub(crate) trouble: Option<Trouble>,
    /// The command being run has set `trouble`.
    pub(crate) told: bool,
    pub(crate) jobs: Vec<Job>,
    pub(crate) last_background: Option<Pid>,
    /// Functions, scripts, aliases and substitutions that are being run.
    pub(crate) depth: usize,
    /// The same, and loops, conditions and groups.
    pub(crate) levels: usize,
    /// Above 0 inside conditions, where failure does not end a `set -e` shell.
    pub(crate) unchecked: usize,
    /// The simple command being run had a `$(...)`, whose return code is in `last`.
    pub(crate) substituted: bool,
    /// Aliases that are being expanded.
    pub(crate) aliasing: Vec<String>,
    /// Console output that was not handed over yet.
    pub(crate) console: Vec<u8>,
    /// Input that the line editor has read but not used.
    pub(crate) ahead: VecDeque<u8>,
    /// Lines entered, for `History`; the interactive session keeps it up to date.
    pub(crate) history: Vec<String>,
    pub(crate) history_cleared: bool,
    pub(crate) temporary: u32,
    /// What the programs that are started now may do besides the usual.
    pub(crate) grants: Grants,
    /// `EndShell` was given.
    pub(crate) ended: bool,
    /// `Shutdown` or `Reboot` was given: nothing more is run.
    pub(crate) power_off: bool,
}

/// What is to happen after a line was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The return code.
    pub code: i32,
    /// `EndShell`, `Shutdown` or the like was given: read no more lines.
    pub ended: bool,
}

impl Default for Shell {
    fn default() -> Self {
        Self::new()
    }
}

impl Shell {
    /// A shell in the root of `SYS:` that looks for programs in `C:`.
    pub fn new() -> Self {
        let state = State {
            cwd: String::from("/"),
            arguments: Vec::from([String::from("shell")]),
            search: Vec::from([String::from("C:")]),
            ..State::default()
        };
        Self {
            state,
            last: OK,
            trouble: None,
            told: false,
            jobs: Vec::new(),
            last_background: None,
            depth: 0,
            levels: 0,
            unchecked: 0,
            substituted: false,
            aliasing: Vec::new(),
            console: Vec::new(),
            ahead: VecDeque::new(),
            history: Vec::new(),
            history_cleared: false,
            temporary: 0,
            grants: Grants::default(),
            ended: false,
            power_off: false,
        }
    }

    /// Runs text: one line or many. Complaints go to the system's console.
    ///
    /// Panics never, whatever the text. Stack use is bounded; see the README.
    pub fn run(&mut self, sys: &mut dyn System, text: &str) -> Outcome {
        let mut context = Context {
            shell: self,
            sys,
            io: Io::console(),
        };
        let code = match context.run_text(text, "shell") {
            Ok(code) | Err(Flow::Exit(code) | Flow::Return(code)) => code,
            Err(Flow::Break(_) | Flow::Continue(_)) => OK,
            Err(Flow::Interrupted) => {
                context.complain("*** Break");
                context.trouble("shell", ERROR, "interrupted with Ctrl-C");
                ERROR
            }
        };
        context.flush_quietly();
        self.depth = 0;
        self.levels = 0;
        self.unchecked = 0;
        self.aliasing.clear();
        self.last = code;
        Outcome {
            code,
            ended: self.ended || self.power_off,
        }
    }

    /// Whether `text` is the beginning of something that goes on on the next line.
    pub fn is_incomplete(text: &str) -> bool {
        let missing =
            |error: parse::ParseError| matches!(error.kind, ParseErrorKind::Incomplete(_));
        text.ends_with("\\\n") || parse::parse(text).is_err_and(missing)
    }

    /// The prompt: `SYS:> ` or `SYS:dir> `, yellow when `colour`.
    pub fn prompt(&self, colour: bool) -> String {
        let text = format!("{}>", path::shown(&self.state.cwd));
        if colour {
            format!("\x1b[33m{text}\x1b[0m ")
        } else {
            format!("{text} ")
        }
    }

    /// Return code of the last command.
    pub fn last_code(&self) -> i32 {
        self.last
    }

    /// The current directory as an absolute path.
    pub fn current_dir(&self) -> &str {
        &self.state.cwd
    }

    /// Sets a variable and hands it to programs.
    pub fn export(&mut self, name: &str, value: &str) {
        let variable = Variable {
            value: String::from(value),
            exported: true,
        };
        self.state.variables.insert(String::from(name), variable);
    }

    /// Tells about programs in the background that ended meanwhile.
    pub fn report_jobs(&mut self, sys: &mut dyn System) {
        let mut context = Context {
            shell: self,
            sys,
            io: Io::console(),
        };
        context.reap_jobs();
        context.flush_quietly();
    }
}
