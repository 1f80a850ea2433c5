//! A shell at a console: prompt, editing, history, continuation lines.

use alloc::string::String;
use alloc::vec::Vec;

use viper_term::{EditEvent, Editor};

use crate::error::{Error, Result};
use crate::shell::{Outcome, Shell};
use crate::system::{ConsoleMode, System};

/// Lines that are remembered.
pub const HISTORY_MAX: usize = 200;

/// A shell with its line editor.
#[derive(Debug)]
pub struct Session {
    shell: Shell,
    editor: Editor,
    /// Lines of something that goes on on the next line.
    pending: String,
    terminal: bool,
    /// The input has ended: nothing more will come to complete a command.
    at_end: bool,
}

impl Session {
    /// A session that asks the system whether its console is a terminal.
    pub fn new(sys: &mut dyn System) -> Self {
        let width = sys.terminal_width();
        Self {
            shell: Shell::new(),
            editor: Editor::new(width.is_some(), width.unwrap_or(80), HISTORY_MAX),
            pending: String::new(),
            terminal: width.is_some(),
            at_end: false,
        }
    }

    /// The shell.
    pub fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }

    /// Runs the script if it is there; for `S:startup`.
    ///
    /// A missing script is no trouble; what goes wrong in it is told on the console.
    pub fn startup(&mut self, sys: &mut dyn System, script: &str) -> Outcome {
        let text = alloc::format!("If EXISTS {script}\n. {script}\nEndIf\n");
        self.shell.run(sys, &text)
    }

    /// Reads and runs lines until `EndShell`, `Shutdown` or the end of input. Returns the last
    /// return code.
    ///
    /// # Errors
    /// When the console can no longer be read.
    pub fn run(&mut self, sys: &mut dyn System) -> Result<i32> {
        loop {
            let Some(line) = self.read_line(sys)? else {
                return Ok(self.shell.last_code());
            };
            if self.enter(sys, &line).ended {
                return Ok(self.shell.last_code());
            }
        }
    }

    /// Runs one entered line, or keeps it until the rest of its command is entered.
    pub fn enter(&mut self, sys: &mut dyn System, line: &str) -> Outcome {
        self.pending.push_str(line);
        self.pending.push('\n');
        let goes_on = line.ends_with('\\') || Shell::is_incomplete(&self.pending);
        if goes_on && !self.at_end {
            return Outcome {
                code: self.shell.last_code(),
                ended: false,
            };
        }
        let text = core::mem::take(&mut self.pending);
        self.shell.history = self.editor.history().iter().map(String::from).collect();
        let outcome = self.shell.run(sys, &text);
        if core::mem::take(&mut self.shell.history_cleared) {
            self.editor.history_mut().clear();
        }
        outcome
    }

    /// Lets the user enter a line; `None` at the end of input.
    fn read_line(&mut self, sys: &mut dyn System) -> Result<Option<String>> {
        if self.terminal {
            self.shell.report_jobs(sys);
            if let Some(width) = sys.terminal_width() {
                self.editor.set_width(width);
            }
        }
        let prompt = match self.pending.is_empty() {
            true => self.shell.prompt(self.terminal),
            false => String::from("> "),
        };
        sys.console_mode(ConsoleMode::Raw)?;
        self.editor.start(&prompt);
        let line = self.edit(sys);
        sys.console_mode(ConsoleMode::Cooked)?;
        line
    }

    fn edit(&mut self, sys: &mut dyn System) -> Result<Option<String>> {
        let mut buf = [0; 256];
        loop {
            if self.shell.ahead.is_empty() {
                show(&mut self.editor, sys)?;
                let count = match sys.console_read(&mut buf) {
                    Err(Error::Interrupted) => {
                        self.shell.ahead.push_back(0x03);
                        0
                    }
                    Ok(0) => return Ok(self.last_words()),
                    other => other?,
                };
                self.shell.ahead.extend(buf.get(..count).unwrap_or(&buf));
            }
            let Self { shell, editor, .. } = self;
            let input: Vec<u8> = shell.ahead.drain(..).collect();
            let taken = editor.handle_input(&input, &mut |line, cursor| {
                shell.complete(sys, line, cursor)
            });
            shell.ahead.extend(input.get(taken..).unwrap_or(&[]));
            show(editor, sys)?;
            match editor.poll_event() {
                Some(EditEvent::Line(line)) => return Ok(Some(line)),
                Some(EditEvent::Interrupted) => {
                    self.pending.clear();
                    let prompt = self.shell.prompt(self.terminal);
                    self.editor.start(&prompt);
                }
                Some(EditEvent::Eof) if self.pending.is_empty() => return Ok(None),
                Some(_) => {
                    self.pending.clear();
                    let prompt = self.shell.prompt(self.terminal);
                    self.editor.start(&prompt);
                }
                None => {}
            }
        }
    }

    /// A last line without an end counts, once.
    fn last_words(&mut self) -> Option<String> {
        self.at_end = true;
        let line = String::from(self.editor.line());
        if line.is_empty() && self.pending.is_empty() {
            return None;
        }
        // If it is part of a command whose rest will not come, running it says what is missing.
        self.editor.start("");
        Some(line)
    }
}

fn show(editor: &mut Editor, sys: &mut dyn System) -> Result<()> {
    let output = editor.take_output();
    if output.is_empty() {
        Ok(())
    } else {
        sys.console_write(&output, false)
    }
}
