//! Runs syntax trees: lists, conditions, loops, redirections.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::ast::{Command, Compound, Connector, Item, List, Pipeline, Redirect, Target, Word};
use crate::context::{About, Context, Flow, Ran, Stop, fail};
use crate::io::{Buffer, Memory, OpenFile, Sink, Source};
use crate::shell::{ERROR, FAIL, OK, WARN};
use crate::system::OpenMode;

impl Context<'_> {
    /// Runs commands one after the other.
    pub(crate) fn list(&mut self, list: &List) -> Ran {
        let mut code = OK;
        for item in &list.items {
            if self.sys.interrupted() {
                return Err(Flow::Interrupted);
            }
            if self.shell.power_off {
                return Err(Flow::Exit(code));
            }
            code = if item.background {
                self.background(item)?
            } else {
                self.item(item)?
            };
        }
        Ok(code)
    }

    fn item(&mut self, item: &Item) -> Ran {
        let chained = !item.rest.is_empty();
        self.shell.unchecked += usize::from(chained);
        let mut ran = self.pipeline(&item.first);
        for (connector, pipeline) in &item.rest {
            ran = match (connector, ran) {
                (Connector::And, Ok(OK)) => self.pipeline(pipeline),
                (Connector::Or, Ok(code)) if code != OK => self.pipeline(pipeline),
                (_, other) => other,
            };
        }
        self.shell.unchecked -= usize::from(chained);
        let code = ran?;
        let stops = self.shell.state.stop_on_error && self.shell.unchecked == 0;
        if stops && code != OK && !chained && !item.first.negated {
            return Err(Flow::Exit(code));
        }
        Ok(code)
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> Ran {
        self.shell.unchecked += usize::from(pipeline.negated);
        let ran = match pipeline.stages.as_slice() {
            [single] => self.command(single),
            stages => self.pipe(stages),
        };
        self.shell.unchecked -= usize::from(pipeline.negated);
        let mut code = ran?;
        if pipeline.negated {
            code = if code == OK { WARN } else { OK };
        }
        self.shell.last = code;
        Ok(code)
    }

    pub(crate) fn command(&mut self, command: &Command) -> Ran {
        match command {
            Command::Simple(simple) => self.simple(simple),
            Command::Compound(compound, redirects) => {
                let ended = self.level(|c| Ok(c.redirected(redirects, |c| c.compound(compound))?));
                ended.or_else(|stop| self.stopped("shell", stop))
            }
            Command::Function(name, body) => {
                self.shell
                    .state
                    .functions
                    .insert(name.clone(), body.clone());
                Ok(OK)
            }
        }
    }

    fn compound(&mut self, compound: &Compound) -> Ran {
        match compound {
            Compound::Group(list) => self.list(list),
            Compound::Subshell(list) => self.subshell(|c| c.list(list)),
            Compound::If(arms, otherwise) => {
                for (condition, body) in arms {
                    if self.condition(condition)? {
                        return self.list(body);
                    }
                }
                otherwise.as_ref().map_or(Ok(OK), |list| self.list(list))
            }
            Compound::While {
                until,
                condition,
                body,
            } => {
                let mut code = OK;
                while self.condition(condition)? != *until {
                    match self.turn(body)? {
                        Some(ran) => code = ran,
                        None => break,
                    }
                }
                Ok(code)
            }
            Compound::For { name, words, body } => self.for_each(name, words.as_deref(), body),
            Compound::Case { word, arms } => self.case(word, arms),
            Compound::AmigaIf {
                condition,
                then,
                otherwise,
            } => match self.amiga_condition(condition) {
                Ok(true) => self.list(then),
                Ok(false) => self.list(otherwise),
                Err(stop) => self.stopped("If", stop),
            },
        }
    }

    fn condition(&mut self, list: &List) -> Result<bool, Flow> {
        self.shell.unchecked += 1;
        let ran = self.list(list);
        self.shell.unchecked -= 1;
        Ok(ran? == OK)
    }

    /// One turn of a loop; `None` when the loop was left.
    fn turn(&mut self, body: &List) -> Result<Option<i32>, Flow> {
        if self.sys.interrupted() {
            return Err(Flow::Interrupted);
        }
        match self.list(body) {
            Ok(code) => Ok(Some(code)),
            Err(Flow::Continue(n)) if n <= 1 => Ok(Some(OK)),
            Err(Flow::Continue(n)) => Err(Flow::Continue(n - 1)),
            Err(Flow::Break(n)) if n <= 1 => Ok(None),
            Err(Flow::Break(n)) => Err(Flow::Break(n - 1)),
            Err(other) => Err(other),
        }
    }

    fn for_each(&mut self, name: &str, words: Option<&[Word]>, body: &List) -> Ran {
        let values = match words {
            Some(words) => match self.expand_words(words) {
                Ok(values) => values,
                Err(stop) => return self.stopped("for", stop),
            },
            None => self.shell.state.arguments.get(1..).unwrap_or(&[]).to_vec(),
        };
        let mut code = OK;
        for value in values {
            self.set_variable(name, &value);
            match self.turn(body)? {
                Some(ran) => code = ran,
                None => break,
            }
        }
        Ok(code)
    }

    fn case(&mut self, word: &Word, arms: &[(Vec<Word>, List)]) -> Ran {
        let text = match self.expand_text(word) {
            Ok(text) => text,
            Err(stop) => return self.stopped("case", stop),
        };
        for (patterns, body) in arms {
            for pattern in patterns {
                match self.expand_pattern(pattern) {
                    Ok(pattern) if crate::glob::matches(&pattern, &text) => {
                        return self.list(body);
                    }
                    Ok(_) => {}
                    Err(stop) => return self.stopped("case", stop),
                }
            }
        }
        Ok(OK)
    }

    /// `[NOT] WARN|ERROR|FAIL`, `[NOT] EXISTS path`, `[NOT] a EQ|GT|GE b [VAL]`.
    fn amiga_condition(&mut self, words: &[Word]) -> Result<bool, Stop> {
        let words = self.expand_words(words)?;
        let is = |word: &String, keyword: &str| word.eq_ignore_ascii_case(keyword);
        let mut words = words.as_slice();
        let mut wanted = true;
        while let [first, rest @ ..] = words
            && is(first, "NOT")
        {
            wanted = !wanted;
            words = rest;
        }
        let holds = match words {
            [level] if is(level, "WARN") => self.shell.last >= WARN,
            [level] if is(level, "ERROR") => self.shell.last >= ERROR,
            [level] if is(level, "FAIL") => self.shell.last >= FAIL,
            [exists, path] if is(exists, "EXISTS") => {
                let path = self.locate(path)?;
                self.sys.stat(&path, true).is_ok()
            }
            [a, operator, b] => compare(a, operator, b, false)?,
            [a, operator, b, val] if is(val, "VAL") => compare(a, operator, b, true)?,
            _ => return fail("cannot make sense of this condition"),
        };
        Ok(holds == wanted)
    }

    /// Runs `inner` so that changes to variables, directory and functions do not last.
    pub(crate) fn subshell(&mut self, inner: impl FnOnce(&mut Self) -> Ran) -> Ran {
        let saved = self.shell.state.clone();
        let was_ended = self.shell.ended;
        let ran = inner(self);
        self.shell.state = saved;
        self.shell.ended = was_ended;
        match ran {
            Err(Flow::Exit(code) | Flow::Return(code)) => Ok(code),
            Err(Flow::Break(_) | Flow::Continue(_)) => Ok(OK),
            other => other,
        }
    }

    /// Runs `inner` in a subshell and gives what it wrote.
    pub(crate) fn captured(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Ran,
    ) -> Result<Vec<u8>, Stop> {
        let memory = Rc::new(RefCell::new(Buffer::default()));
        let outer = core::mem::replace(&mut self.io.stdout, Sink::Memory(memory.clone()));
        let ran = self.deeper(|c| Ok(c.subshell(inner)?));
        self.io.stdout = outer;
        self.shell.last = ran?;
        Ok(memory.take().bytes)
    }

    /// Turns what stopped a command into a return code.
    pub(crate) fn stopped(&mut self, name: &str, stop: Stop) -> Ran {
        match stop {
            Stop::Flow(flow) => Err(flow),
            Stop::Fail(code, message) => Ok(self.failed(name, code, &message)),
            Stop::Usage => Ok(self.usage(name)),
        }
    }

    /// Runs `inner` with redirections in force.
    pub(crate) fn redirected(
        &mut self,
        redirects: &[Redirect],
        inner: impl FnOnce(&mut Self) -> Ran,
    ) -> Ran {
        if redirects.is_empty() {
            return inner(self);
        }
        let saved = self.io.clone();
        let mut opened = Vec::new();
        let all = redirects
            .iter()
            .try_for_each(|redirect| self.redirect(redirect, &mut opened));
        let ran = match all {
            Ok(()) => inner(self),
            Err(stop) => {
                self.io = saved.clone();
                self.stopped("shell", stop)
            }
        };
        self.io = saved;
        let mut closed = Ok(());
        for file in &opened {
            closed = closed.and(self.close_file(file));
        }
        match closed {
            Err(error) if ran.is_ok() => {
                Ok(self.failed("shell", FAIL, &format!("redirected output: {error}")))
            }
            _ => ran,
        }
    }

    fn redirect(
        &mut self,
        redirect: &Redirect,
        opened: &mut Vec<Rc<RefCell<OpenFile>>>,
    ) -> Result<(), Stop> {
        let sink = match &redirect.target {
            Target::Read(word) => {
                let name = self.expand_name(word)?;
                self.io.stdin = match device(&name) {
                    Some(Device::Null) => Source::Null,
                    Some(Device::Console) => Source::Console,
                    None => Source::File(self.open_for(&name, OpenMode::READ, opened)?),
                };
                return Ok(());
            }
            Target::Text(word) => {
                let word = word.get().cloned().unwrap_or_default();
                let bytes = self.expand_text(&word)?.into_bytes();
                let memory = Memory { bytes, at: 0 };
                self.io.stdin = Source::Memory(Rc::new(RefCell::new(memory)));
                return Ok(());
            }
            Target::Same(1) => self.io.stdout.clone(),
            Target::Same(_) => self.io.stderr.clone(),
            Target::Write(word) => self.sink(word, OpenMode::REPLACE, opened)?,
            Target::Append(word) => self.sink(word, OpenMode::APPEND, opened)?,
        };
        match redirect.stream {
            1 => self.io.stdout = sink,
            2 => self.io.stderr = sink,
            _ => return fail("input cannot be written"),
        }
        Ok(())
    }

    fn sink(
        &mut self,
        word: &Word,
        mode: OpenMode,
        opened: &mut Vec<Rc<RefCell<OpenFile>>>,
    ) -> Result<Sink, Stop> {
        let name = self.expand_name(word)?;
        Ok(match device(&name) {
            Some(Device::Null) => Sink::Null,
            Some(Device::Console) => Sink::Console,
            None => Sink::File(self.open_for(&name, mode, opened)?),
        })
    }

    fn open_for(
        &mut self,
        name: &str,
        mode: OpenMode,
        opened: &mut Vec<Rc<RefCell<OpenFile>>>,
    ) -> Result<Rc<RefCell<OpenFile>>, Stop> {
        let path = self.locate(name)?;
        let id = self.sys.open(&path, mode).about(name)?;
        let appends = mode.write && !mode.truncate;
        let offset = if appends {
            self.sys.stat(&path, true).map_or(0, |s| s.size)
        } else {
            0
        };
        let file = OpenFile {
            id,
            path,
            offset,
            gathered: Vec::new(),
        };
        let file = Rc::new(RefCell::new(file));
        opened.push(file.clone());
        Ok(file)
    }
}

enum Device {
    Null,
    Console,
}

/// Names that are not files.
fn device(name: &str) -> Option<Device> {
    match name {
        "/dev/null" => Some(Device::Null),
        "*" | "/dev/tty" => Some(Device::Console),
        _ if name.eq_ignore_ascii_case("NIL:") => Some(Device::Null),
        _ if name.eq_ignore_ascii_case("CONSOLE:") => Some(Device::Console),
        _ => None,
    }
}

/// Compares as text without case, or as numbers.
fn compare(a: &str, operator: &str, b: &str, numbers: bool) -> Result<bool, Stop> {
    let order = if numbers {
        let (Ok(a), Ok(b)) = (a.parse::<i64>(), b.parse::<i64>()) else {
            return fail("VAL compares numbers");
        };
        a.cmp(&b)
    } else {
        a.to_lowercase().cmp(&b.to_lowercase())
    };
    match operator {
        op if op.eq_ignore_ascii_case("EQ") => Ok(order.is_eq()),
        op if op.eq_ignore_ascii_case("GT") => Ok(order.is_gt()),
        op if op.eq_ignore_ascii_case("GE") => Ok(order.is_ge()),
        other => fail(format!("`{other}` is not EQ, GT or GE")),
    }
}
