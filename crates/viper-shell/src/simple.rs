//! Simple commands: finding what a name means, and running it.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::ast::{Command, Simple};
use crate::commands::{self, Spec};
use crate::context::{Context, Ended, Flow, Ran, Stop, fail};
use crate::io::Sink;
use crate::path;
use crate::shell::{ERROR, OK, Variable};
use crate::system::FileKind;

/// What a command's name means.
pub(crate) enum Meaning {
    Builtin(&'static Spec),
    Function(Rc<Command>),
    Alias(String),
    /// Absolute path of an executable.
    Program(String),
}

impl Context<'_> {
    pub(crate) fn simple(&mut self, simple: &Simple) -> Ran {
        let words = match self.expand_words(&simple.words) {
            Ok(words) => words,
            Err(stop) => return self.stopped("shell", stop),
        };
        let mut assigned = Vec::new();
        for (name, word) in &simple.assignments {
            match self.expand_text(word) {
                Ok(value) => assigned.push((name.clone(), value)),
                Err(stop) => return self.stopped("shell", stop),
            }
        }
        if self.shell.state.echo_commands && !words.is_empty() {
            self.complain(&format!("+ {}", words.join(" ")));
        }
        self.redirected(&simple.redirects, |c| c.with_assigned(assigned, &words))
    }

    /// Sets variables for good when there is no command, otherwise for its time.
    fn with_assigned(&mut self, assigned: Vec<(String, String)>, words: &[String]) -> Ran {
        if words.is_empty() {
            for (name, value) in assigned {
                self.set_variable(&name, &value);
            }
            // `x=$(false)` ends as the substitution did.
            return Ok(if self.shell.substituted {
                self.shell.last
            } else {
                OK
            });
        }
        let mut saved = Vec::new();
        for (name, value) in assigned {
            let variable = Variable {
                value,
                exported: true,
            };
            saved.push((
                name.clone(),
                self.shell.state.variables.insert(name, variable),
            ));
        }
        let ran = self.invoke(words);
        for (name, old) in saved.into_iter().rev() {
            match old {
                Some(variable) => _ = self.shell.state.variables.insert(name, variable),
                None => _ = self.shell.state.variables.remove(&name),
            }
        }
        ran
    }

    /// Runs a command by its name.
    pub(crate) fn invoke(&mut self, words: &[String]) -> Ran {
        let Some((name, arguments)) = words.split_first() else {
            return Ok(OK);
        };
        match self.meaning(name) {
            Ok(Meaning::Builtin(spec)) => self.builtin(spec, name, arguments),
            Ok(Meaning::Function(body)) => {
                let ended = self.deeper(|c| c.function(&body, words));
                ended.or_else(|stop| self.stopped(name, stop))
            }
            Ok(Meaning::Alias(text)) => self.alias(name, &text, arguments),
            Ok(Meaning::Program(path)) => self
                .run_program(&path, words)
                .or_else(|stop| self.stopped(name, stop)),
            Err(stop) => self.stopped(name, stop),
        }
    }

    fn builtin(&mut self, spec: &'static Spec, name: &str, arguments: &[String]) -> Ran {
        if matches!(arguments, [only] if only == "?" || only == "--help") {
            return self
                .out(&commands::help(spec))
                .map_or_else(|s| self.stopped(name, s), |()| Ok(OK));
        }
        self.shell.told = false;
        let ended = (spec.run)(self, arguments);
        let ended = ended.and_then(|code| {
            // What a command wrote is out before its end counts.
            if matches!(self.io.stdout, Sink::Console) {
                self.flush_console()?
            }
            Ok(code)
        });
        match ended {
            Ok(code) => {
                let known = self
                    .shell
                    .trouble
                    .as_ref()
                    .is_some_and(|known| known.code == code);
                if code != OK && !spec.quiet && !(self.shell.told && known) {
                    self.trouble(spec.name, code, "");
                }
                Ok(code)
            }
            Err(stop) => self.stopped(spec.name, stop),
        }
    }

    /// Says how a command is used.
    pub(crate) fn usage(&mut self, name: &str) -> i32 {
        let usage = commands::find(name).map_or(name, |spec| spec.usage);
        self.complain(&format!("Usage: {usage}"));
        self.trouble(name, ERROR, "the arguments made no sense");
        ERROR
    }

    fn function(&mut self, body: &Command, words: &[String]) -> Ended {
        let outer = core::mem::replace(&mut self.shell.state.arguments, words.to_vec());
        let ran = self.command(body);
        self.shell.state.arguments = outer;
        match ran {
            Err(Flow::Return(code)) => Ok(code),
            other => Ok(other?),
        }
    }

    /// Puts the arguments where the alias says `[]`, or at its end, and runs that.
    fn alias(&mut self, name: &str, text: &str, arguments: &[String]) -> Ran {
        let quoted: Vec<String> = arguments.iter().map(|a| quote(a)).collect();
        let quoted = quoted.join(" ");
        let text = match text.contains("[]") {
            true => text.replacen("[]", &quoted, 1),
            false => format!("{text} {quoted}"),
        };
        self.shell.aliasing.push(name.to_string());
        let ended = self.deeper(|c| Ok(c.run_text(&text, "alias")?));
        self.shell.aliasing.pop();
        ended.or_else(|stop| self.stopped(name, stop))
    }

    /// What `name` means: alias, function, command of the shell, or program.
    pub(crate) fn meaning(&mut self, name: &str) -> Result<Meaning, Stop> {
        if let Some(meaning) = self.inner_meaning(name) {
            return Ok(meaning);
        }
        match self.find_program(name)? {
            Some(path) => Ok(Meaning::Program(path)),
            None => fail("unknown command (Help lists the commands)"),
        }
    }

    pub(crate) fn inner_meaning(&mut self, name: &str) -> Option<Meaning> {
        let lower = name.to_lowercase();
        if !self
            .shell
            .aliasing
            .iter()
            .any(|active| active.to_lowercase() == lower)
            && let Some(text) = self.shell.state.aliases.get(&lower)
        {
            return Some(Meaning::Alias(text.clone()));
        }
        if let Some(body) = self.shell.state.functions.get(name) {
            return Some(Meaning::Function(body.clone()));
        }
        commands::find(name).map(Meaning::Builtin)
    }

    /// The executable for `name`: a path as it is, a plain name along the search path and then in
    /// the current directory; also with `.elf`, and in lower case.
    pub(crate) fn find_program(&mut self, name: &str) -> Result<Option<String>, Stop> {
        if name.contains(['/', ':']) {
            let path = self.locate(name)?;
            return Ok(self.executable(&path).then_some(path));
        }
        if name.is_empty() {
            return Ok(None);
        }
        let lower = name.to_lowercase();
        let mut names = Vec::from([name.to_string(), format!("{name}.elf")]);
        if lower != name {
            names.push(format!("{lower}.elf"));
            names.push(lower);
        }
        let mut search = self.shell.state.search.clone();
        search.push(String::new());
        for dir in search {
            for name in &names {
                // A search directory that is gone is passed over.
                let found = self
                    .candidates(&path::beside(&dir, name))
                    .unwrap_or_default();
                if let Some(path) = found.into_iter().find(|path| self.executable(path)) {
                    return Ok(Some(path));
                }
            }
        }
        Ok(None)
    }

    fn executable(&mut self, path: &str) -> bool {
        self.sys
            .stat(path, true)
            .is_ok_and(|stat| stat.kind == FileKind::File)
    }
}

/// The word so quoted that the parser gives it back as it is.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
