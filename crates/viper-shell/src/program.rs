//! Programs: started with the streams in force, waited for, or left in the background.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::ast::{Command, Item};
use crate::commands;
use crate::context::{About, Context, Ended, Flow, Ran, Stop, fail};
use crate::error::Error;
use crate::io::{Buffer, CHUNK, Memory, OpenFile, Sink, Source};
use crate::path;
use crate::shell::{FAIL, Job, OK};
use crate::simple::Meaning;
use crate::system::{ExitStatus, Grants, Input, OpenMode, Output, Pid, PipeId, Spawn, Waited};

/// A program that was started, and the files that stand for its streams.
pub(crate) struct Running {
    pid: Pid,
    name: String,
    /// Temporary input, deleted at the end.
    input: Option<String>,
    /// Temporary output, and the memory it goes to.
    outputs: Vec<(String, Rc<RefCell<Buffer>>)>,
    /// Redirected output: the offset moves to the end.
    files: Vec<Rc<RefCell<OpenFile>>>,
}

impl Context<'_> {
    /// Runs a program in the foreground to its end.
    pub(crate) fn run_program(&mut self, path: &str, words: &[String]) -> Ended {
        let running = self.start(path, words, false)?;
        Ok(self.finish(running)?)
    }

    /// Does something while programs are started with these grants.
    pub(crate) fn granting<T>(&mut self, grants: Grants, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = core::mem::replace(&mut self.shell.grants, grants);
        let result = work(self);
        self.shell.grants = before;
        result
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
        let (grants, words) = commands::grants(words)?;
        let Some(name) = words.first() else {
            return Err(Stop::Usage);
        };
        let path = match self.meaning(name)? {
            Meaning::Program(path) => path,
            _ => return fail(format!("{name}: only programs can run in the background")),
        };
        let mut started = Err(Stop::Usage);
        self.redirected(&simple.redirects, |c| {
            c.granting(grants, |c| started = c.start(&path, words, true));
            Ok(OK)
        })?;
        let running = started?;
        self.add_job(running.pid, name);
        Ok(OK)
    }

    pub(crate) fn add_job(&mut self, pid: Pid, name: &str) {
        let number = self
            .shell
            .jobs
            .iter()
            .map(|job| job.number)
            .max()
            .unwrap_or(0)
            + 1;
        self.complain(&format!("[{number}] {}", pid.0));
        self.shell.last_background = Some(pid);
        self.shell.jobs.push(Job {
            number,
            pid,
            name: name.to_string(),
        });
    }

    /// Starts a program with the streams in force.
    pub(crate) fn start(
        &mut self,
        path: &str,
        words: &[String],
        background: bool,
    ) -> Result<Running, Stop> {
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
            Source::Memory(memory) => input = Some(self.temporary_input(memory, running)?),
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
        let spawn = Spawn {
            path,
            args: words,
            env: &env,
            cwd: &cwd,
            stdin,
            stdout,
            stderr,
            background,
            grants: self.shell.grants,
        };
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
        let exported = self
            .shell
            .state
            .variables
            .iter()
            .filter(|(_, v)| v.exported);
        exported
            .map(|(name, variable)| format!("{name}={}", variable.value))
            .collect()
    }

    /// A new file in `T:` with these bytes.
    pub(crate) fn temporary(&mut self, bytes: &[u8]) -> Result<String, Stop> {
        let dir = self.locate("T:")?;
        let mode = OpenMode {
            exclusive: true,
            ..OpenMode::REPLACE
        };
        loop {
            self.shell.temporary = self.shell.temporary.wrapping_add(1);
            let path = path::join(&dir, &format!("shell-{}.tmp", self.shell.temporary));
            match self.sys.open(&path, mode) {
                Ok(file) => {
                    let written = self.write_all(file, 0, bytes);
                    let closed = self.sys.close(file);
                    if let Err(error) = written.and(closed) {
                        let _ = self.sys.unlink(&path);
                        return Err(error).about("temporary file in T:");
                    }
                    return Ok(path);
                }
                Err(Error::AlreadyExists) => {}
                Err(error) => return Err(error).about("temporary file in T:"),
            }
        }
    }

    fn temporary_input(
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
    pub(crate) fn finish(&mut self, running: Running) -> Ran {
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

    /// Ends a program without a word.
    pub(crate) fn abandon(&mut self, running: Running) {
        let _ = self.sys.kill(running.pid);
        for _ in 0..2 {
            // The first answer may be a Ctrl-C that is already taken care of.
            if let Ok(Waited::Exited(_)) | Err(_) = self.sys.wait(running.pid, true) {
                break;
            }
        }
        self.clean_up(&running);
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
    fn collect(&mut self, path: &str, memory: &Rc<RefCell<Buffer>>) -> Result<(), Stop> {
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
        for path in running
            .input
            .iter()
            .chain(running.outputs.iter().map(|(path, _)| path))
        {
            let _ = self.sys.unlink(path);
        }
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
            Self::File(path, offset) => Output::File {
                path,
                offset: *offset,
            },
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
