//! Simple commands and pipelines: finding what a name means, and running it.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::ast::{Command, Item, Simple};
use crate::commands::{self, Spec};
use crate::context::{About, Context, Ended, Flow, Ran, Stop, fail};
use crate::error::Error;
use crate::io::{CHUNK, Memory, OpenFile, Sink, Source};
use crate::path;
use crate::shell::{ERROR, FAIL, Job, OK, Variable};
use crate::system::{
    ExitStatus, FileKind, Input, OpenMode, Output, Pid, PipeId, Spawn, Waited,
};

/// What a command's name means.
pub(crate) enum Meaning {
    Builtin(&'static Spec),
    Function(Rc<Command>),
    Alias(String),
    /// Absolute path of an executable.
    Program(String),
}

/// A program that was started, and the files that stand for its streams.
struct Running {
    pid: Pid,
    name: String,
    /// Temporary input, deleted at the end.
    input: Option<String>,
    /// Temporary output, and the memory it goes to.
    outputs: Vec<(String, Rc<RefCell<Vec<u8>>>)>,
    /// Redirected output: the offset moves to the end.
    files: Vec<Rc<RefCell<OpenFile>>>,
}

/// Between two stages of a pipeline.
#[derive(Clone)]
enum Link {
    Memory(Rc<RefCell<Vec<u8>>>),
    Pipe(PipeId),
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
            return Ok(if self.shell.substituted { self.shell.last } else { OK });
        }
        let mut saved = Vec::new();
        for (name, value) in assigned {
            let variable = Variable { value, exported: true };
            saved.push((name.clone(), self.shell.state.variables.insert(name, variable)));
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
        let Some((name, arguments)) = words.split_first() else { return Ok(OK) };
        match self.meaning(name) {
            Ok(Meaning::Builtin(spec)) => self.builtin(spec, name, arguments),
            Ok(Meaning::Function(body)) => {
                let ended = self.deeper(|c| c.function(&body, words));
                ended.or_else(|stop| self.stopped(name, stop))
            }
            Ok(Meaning::Alias(text)) => self.alias(name, &text, arguments),
            Ok(Meaning::Program(path)) => {
                self.run_program(&path, words).or_else(|stop| self.stopped(name, stop))
            }
            Err(stop) => self.stopped(name, stop),
        }
    }

    /// Runs a program in the foreground to its end.
    pub(crate) fn run_program(&mut self, path: &str, words: &[String]) -> Ended {
        let running = self.start(path, words, false)?;
        Ok(self.finish(running)?)
    }

    fn builtin(&mut self, spec: &'static Spec, name: &str, arguments: &[String]) -> Ran {
        if matches!(arguments, [only] if only == "?" || only == "--help") {
            return self.out(&commands::help(spec)).map_or_else(|s| self.stopped(name, s), |()| Ok(OK));
        }
        let ended = (spec.run)(self, arguments);
        let ended = ended.and_then(|code| {
            // What a command wrote is out before its end counts.
            if matches!(self.io.stdout, Sink::Console) { self.flush_console()? }
            Ok(code)
        });
        match ended {
            Ok(code) => {
                if code != OK && !spec.quiet {
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
        let first = outer.first().cloned();
        self.shell.state.arguments = outer;
        let _ = first;
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

    fn inner_meaning(&mut self, name: &str) -> Option<Meaning> {
        let lower = name.to_lowercase();
        if !self.shell.aliasing.iter().any(|active| active.to_lowercase() == lower)
            && let Some(text) = self.shell.state.aliases.get(&lower)
        {
            return Some(Meaning::Alias(text.clone()));
        }
        if let Some(body) = self.shell.state.functions.get(name) {
            return Some(Meaning::Function(body.clone()));
        }
        commands::find(name).map(Meaning::Builtin)
    }

    /// The executable for `name`: a path as it is, a plain name along the search path; also with
    /// `.elf`, and in lower case.
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
        for dir in self.shell.state.search.clone() {
            for name in &names {
                // A search directory that is gone is passed over.
                let found = self.candidates(&path::beside(&dir, name)).unwrap_or_default();
                if let Some(path) = found.into_iter().find(|path| self.executable(path)) {
                    return Ok(Some(path));
                }
            }
        }
        Ok(None)
    }

    fn executable(&mut self, path: &str) -> bool {
        self.sys.stat(path, true).is_ok_and(|stat| stat.kind == FileKind::File)
    }

    /// Runs one program of an item behind the prompt's back.
    pub(crate) fn background(&mut self, item: &Item) -> Ran {
        let ended = self.try_background(item);
        ended.or_else(|stop| self.stopped("shell", stop))
    }

    fn try_background(&mut self, item: &Item) -> Ended {
        let [Command::Simple(simple)] = item.first.stages.as_slice() else {
            return fail("only a single program can run in the background");
        };
        let words = self.expand_words(&simple.words)?;
        let (Some(name), true) = (words.first(), item.rest.is_empty()) else {
            return fail("only a single program can run in the background");
        };
        let words = match commands::find(name) {
            Some(spec) if spec.name == "Run" => words.get(1..).unwrap_or(&[]),
            _ => &words,
        };
        let Some(name) = words.first() else { return Err(Stop::Usage) };
        let path = match self.meaning(name)? {
            Meaning::Program(path) => path,
            _ => return fail(format!("{name}: only programs can run in the background")),
        };
        let mut started = Err(Stop::Usage);
        self.redirected(&simple.redirects, |c| {
            started = c.start(&path, words, true);
            Ok(OK)
        })?;
        let running = started?;
        self.add_job(running.pid, name);
        Ok(OK)
    }

    pub(crate) fn add_job(&mut self, pid: Pid, name: &str) {
        let number = self.shell.jobs.iter().map(|job| job.number).max().unwrap_or(0) + 1;
        self.complain(&format!("[{number}] {}", pid.0));
        self.shell.last_background = Some(pid);
        self.shell.jobs.push(Job { number, pid, name: name.to_string() });
    }

    /// Starts a program with the streams in force.
    fn start(&mut self, path: &str, words: &[String], background: bool) -> Result<Running, Stop> {
        let mut running = Running {
            pid: Pid(0),
            name: words.first().cloned().unwrap_or_default(),
            input: None,
            outputs: Vec::new(),
            files: Vec::new(),
        };
        let started = self.start_into(path, words, background, &mut running);
        match started {
            Ok(pid) => {
                running.pid = pid;
                Ok(running)
            }
            Err(stop) => {
                self.clean_up(&running);
                Err(stop)
            }
        }
    }

    fn start_into(
        &mut self,
        path: &str,
        words: &[String],
        background: bool,
        running: &mut Running,
    ) -> Result<Pid, Stop> {
        self.flush_console()?;
        let (mut input, mut offset) = (None, 0);
        let io = self.io.clone();
        match &io.stdin {
            Source::File(file) => {
                input = Some(file.borrow().path.clone());
                offset = file.borrow().offset;
            }
            Source::Memory(memory) => input = Some(self.to_temporary(memory, running)?),
            _ => {}
        }
        let stdin = match (&io.stdin, &input) {
            (_, Some(path)) => Input::File { path, offset },
            (Source::Console, _) if !background => Input::Console,
            (Source::Pipe(pipe), _) => Input::Pipe(*pipe),
            _ => Input::Null,
        };
        let out = self.output(&io.stdout, running)?;
        let err = if same(&io.stdout, &io.stderr) {
            Described::Stdout
        } else {
            self.output(&io.stderr, running)?
        };
        let env: Vec<String> = self.environment();
        let cwd = self.shell.state.cwd.clone();
        let (stdout, stderr) = (out.as_output(), err.as_output());
        let spawn =
            Spawn { path, args: words, env: &env, cwd: &cwd, stdin, stdout, stderr, background };
        Ok(self.sys.spawn(&spawn)?)
    }

    fn output(&mut self, sink: &Sink, running: &mut Running) -> Result<Described, Stop> {
        Ok(match sink {
            Sink::Console | Sink::ConsoleError => Described::Console,
            Sink::Null => Described::Null,
            Sink::Pipe(pipe) => Described::Pipe(*pipe),
            Sink::File(file) => {
                self.flush_file(&mut file.borrow_mut())?;
                running.files.push(file.clone());
                let file = file.borrow();
                Described::File(file.path.clone(), file.offset)
            }
            Sink::Memory(memory) => {
                let path = self.temporary(&[])?;
                running.outputs.push((path.clone(), memory.clone()));
                Described::File(path, 0)
            }
        })
    }

    fn environment(&self) -> Vec<String> {
        let exported = self.shell.state.variables.iter().filter(|(_, v)| v.exported);
        exported.map(|(name, variable)| format!("{name}={}", variable.value)).collect()
    }

    /// A new file in `T:` with these bytes.
    fn temporary(&mut self, bytes: &[u8]) -> Result<String, Stop> {
        let dir = self.locate("T:")?;
        let mode = OpenMode { exclusive: true, ..OpenMode::REPLACE };
        loop {
            self.shell.temporary = self.shell.temporary.wrapping_add(1);
            let path = path::join(&dir, &format!("shell-{}.tmp", self.shell.temporary));
            match self.sys.open(&path, mode) {
                Ok(file) => {
                    let written = self.write_all(file, 0, bytes);
                    self.sys.close(file)?;
                    written.about("temporary file in T:")?;
                    return Ok(path);
                }
                Err(Error::AlreadyExists) => {}
                Err(error) => return Err(error).about("temporary file in T:"),
            }
        }
    }

    fn to_temporary(
        &mut self,
        memory: &Rc<RefCell<Memory>>,
        running: &mut Running,
    ) -> Result<String, Stop> {
        let rest = {
            let mut memory = memory.borrow_mut();
            let at = memory.at.min(memory.bytes.len());
            let rest = memory.bytes.split_off(at);
            memory.at = memory.bytes.len();
            rest
        };
        let path = self.temporary(&rest)?;
        running.input = Some(path.clone());
        Ok(path)
    }

    /// Waits for a program's end, and collects what it wrote.
    fn finish(&mut self, running: Running) -> Ran {
        let status = self.wait_for(running.pid);
        let mut collected = Ok(());
        for (path, memory) in &running.outputs {
            collected = collected.and(self.collect(path, memory));
        }
        for file in &running.files {
            let mut file = file.borrow_mut();
            let size = self.sys.stat(&file.path, true).map_or(0, |stat| stat.size);
            file.offset = file.offset.max(size);
        }
        self.clean_up(&running);
        if let Err(stop) = collected {
            return self.stopped(&running.name, stop);
        }
        match status {
            Ok(status) => Ok(self.ended(&running.name, status)),
            Err(stop) => self.stopped(&running.name, stop),
        }
    }

    fn ended(&mut self, name: &str, status: ExitStatus) -> i32 {
        match status.fault {
            Some(fault) => {
                let code = if status.code == OK { FAIL } else { status.code };
                self.failed(name, code, &fault)
            }
            None => {
                if status.code != OK {
                    self.trouble(name, status.code, "");
                }
                status.code
            }
        }
    }

    /// Waits for a process; Ctrl-C ends it.
    pub(crate) fn wait_for(&mut self, pid: Pid) -> Result<ExitStatus, Stop> {
        self.flush_quietly();
        let mut interrupted = false;
        loop {
            match self.sys.wait(pid, true)? {
                Waited::Exited(_) if interrupted => return Err(Flow::Interrupted.into()),
                Waited::Exited(status) => return Ok(status),
                Waited::Running => {}
                Waited::Interrupted => {
                    interrupted = true;
                    match self.sys.kill(pid) {
                        Ok(()) | Err(Error::NotFound) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }

    /// Moves a temporary file's bytes to memory.
    fn collect(&mut self, path: &str, memory: &Rc<RefCell<Vec<u8>>>) -> Result<(), Stop> {
        let file = self.sys.open(path, OpenMode::READ)?;
        let mut buf = alloc::vec![0; CHUNK];
        let mut at = 0;
        let sink = Sink::Memory(memory.clone());
        let copied = loop {
            match self.sys.read(file, at, &mut buf) {
                Ok(0) => break Ok(()),
                Ok(count) => {
                    at += count as u64;
                    let piece = buf.get(..count).unwrap_or(&buf);
                    if let Err(error) = self.write_to(&sink, piece) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        self.sys.close(file)?;
        copied.about("output")
    }

    fn clean_up(&mut self, running: &Running) {
        for path in running.input.iter().chain(running.outputs.iter().map(|(path, _)| path)) {
            let _ = self.sys.unlink(path);
        }
    }

    /// Runs the stages of a pipeline. Programs run side by side when the system has pipes;
    /// commands of the shell run in their order.
    pub(crate) fn pipe(&mut self, stages: &[Command]) -> Ran {
        let mut programs = Vec::new();
        for stage in stages {
            match self.static_program(stage) {
                Ok(program) => programs.push(program),
                Err((name, stop)) => return self.stopped(&name, stop),
            }
        }
        let links = self.links(&programs);
        let outer = self.io.clone();
        let ran = self.run_stages(stages, &programs, &links);
        self.io = outer;
        for link in &links {
            if let Link::Pipe(pipe) = link {
                let _ = self.sys.pipe_close(*pipe);
            }
        }
        ran
    }

    /// The program of a stage whose name is plain and means one.
    fn static_program(&mut self, stage: &Command) -> Result<Option<String>, (String, Stop)> {
        let Command::Simple(simple) = stage else { return Ok(None) };
        let Some(name) = simple.words.first().and_then(|word| word.plain()) else {
            return Ok(None);
        };
        if !simple.assignments.is_empty() || self.inner_meaning(name).is_some() {
            return Ok(None);
        }
        match self.meaning(name) {
            Ok(Meaning::Program(path)) => Ok(Some(path)),
            Ok(_) => Ok(None),
            Err(stop) => Err((name.to_string(), stop)),
        }
    }

    /// What connects the stages. A program's output goes to a command of the shell through a pipe
    /// only if no such command comes earlier: it would run first, and both would wait forever.
    fn links(&mut self, programs: &[Option<String>]) -> Vec<Link> {
        let mut inner_before = false;
        let mut links = Vec::new();
        for pair in programs.windows(2) {
            let [from, to] = pair else { continue };
            let piped = match (from, to) {
                (_, Some(_)) => true,
                (Some(_), None) => !inner_before,
                (None, None) => false,
            };
            inner_before |= from.is_none();
            let pipe = if piped { self.sys.pipe().ok() } else { None };
            links.push(match pipe {
                Some(pipe) => Link::Pipe(pipe),
                None => Link::Memory(Rc::default()),
            });
        }
        links
    }

    fn run_stages(
        &mut self,
        stages: &[Command],
        programs: &[Option<String>],
        links: &[Link],
    ) -> Ran {
        let outer = self.io.clone();
        let count = stages.len();
        let mut running: Vec<Option<Running>> = (0..count).map(|_| None).collect();
        let mut codes = alloc::vec![OK; count];
        for (i, stage) in stages.iter().enumerate() {
            let waits = i > 0 && matches!(links.get(i - 1), Some(Link::Memory(_)));
            if let (Some(path), false) = (&programs[i], waits) {
                self.connect(&outer, links, i);
                running[i] = self.start_stage(stage, path, &mut codes[i])?;
                if running[i].is_none() {
                    self.close_links(links, i);
                }
            }
        }
        let mut result = Ok(OK);
        for (i, stage) in stages.iter().enumerate() {
            let waits = i > 0 && matches!(links.get(i - 1), Some(Link::Memory(_)));
            if waits && let Some(before) = running[i - 1].take() {
                codes[i - 1] = self.finish(before)?;
            }
            if programs[i].is_some() && !waits {
                continue;
            }
            self.connect(&outer, links, i);
            match (&programs[i], result) {
                (Some(path), Ok(_)) => {
                    running[i] = self.start_stage(stage, path, &mut codes[i])?;
                }
                (None, Ok(_)) => match self.subshell(|c| c.command(stage)) {
                    Ok(code) => codes[i] = code,
                    Err(flow) => result = Err(flow),
                },
                (_, Err(_)) => {}
            }
            if programs[i].is_none() {
                self.close_links(links, i);
            }
        }
        self.io = outer;
        for (i, running) in running.into_iter().enumerate() {
            if let Some(running) = running {
                match self.finish(running) {
                    Ok(code) => codes[i] = code,
                    Err(flow) => result = Err(flow),
                }
            }
        }
        result.map(|_| codes.last().copied().unwrap_or(OK))
    }

    /// Closes what the shell has of the pipes on both sides of stage `i`.
    fn close_links(&mut self, links: &[Link], i: usize) {
        for link in [i.checked_sub(1).and_then(|before| links.get(before)), links.get(i)] {
            if let Some(Link::Pipe(pipe)) = link {
                let _ = self.sys.pipe_close(*pipe);
            }
        }
    }

    /// Sets the streams of stage `i`.
    fn connect(&mut self, outer: &crate::io::Io, links: &[Link], i: usize) {
        self.io = outer.clone();
        if let Some(before) = i.checked_sub(1).and_then(|before| links.get(before)) {
            self.io.stdin = match before {
                Link::Pipe(pipe) => Source::Pipe(*pipe),
                Link::Memory(memory) => {
                    let memory = Memory { bytes: memory.take(), at: 0 };
                    Source::Memory(Rc::new(RefCell::new(memory)))
                }
            };
        }
        if let Some(after) = links.get(i) {
            self.io.stdout = match after {
                Link::Pipe(pipe) => Sink::Pipe(*pipe),
                Link::Memory(memory) => Sink::Memory(memory.clone()),
            };
        }
    }

    fn start_stage(
        &mut self,
        stage: &Command,
        path: &str,
        code: &mut i32,
    ) -> Result<Option<Running>, Flow> {
        let Command::Simple(simple) = stage else { return Ok(None) };
        let words = match self.expand_words(&simple.words) {
            Ok(words) => words,
            Err(stop) => {
                *code = self.stopped("shell", stop)?;
                return Ok(None);
            }
        };
        let mut started = None;
        *code = self.redirected(&simple.redirects, |c| match c.start(path, &words, false) {
            Ok(running) => {
                started = Some(running);
                Ok(OK)
            }
            Err(stop) => c.stopped(words.first().map_or("shell", |name| name), stop),
        })?;
        Ok(started)
    }
}

/// An [`Output`] that owns its path.
enum Described {
    Console,
    Null,
    File(String, u64),
    Pipe(PipeId),
    Stdout,
}

impl Described {
    fn as_output(&self) -> Output<'_> {
        match self {
            Self::Console => Output::Console,
            Self::Null => Output::Null,
            Self::File(path, offset) => Output::File { path, offset: *offset },
            Self::Pipe(pipe) => Output::Pipe(*pipe),
            Self::Stdout => Output::Stdout,
        }
    }
}

/// Whether both go to the same place, so that one must not overwrite the other.
fn same(a: &Sink, b: &Sink) -> bool {
    match (a, b) {
        (Sink::File(a), Sink::File(b)) => Rc::ptr_eq(a, b),
        (Sink::Memory(a), Sink::Memory(b)) => Rc::ptr_eq(a, b),
        (Sink::Pipe(a), Sink::Pipe(b)) => a == b,
        _ => false,
    }
}

/// The word so quoted that the parser gives it back as it is.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
