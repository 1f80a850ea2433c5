//! Programs that run in memory.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Disk, FakeSystem};
use crate::error::{Error, Result};
use crate::system::{ExitStatus, Input, OpenMode, Output, Spawn};

/// A stream of a process: an [`Input`] or [`Output`] that owns its path.
#[derive(Clone, Debug)]
pub(super) enum Stream {
    Console,
    Null,
    File(String, u64),
    Pipe(u64),
    Stdout,
}

impl Stream {
    pub(super) fn pipe(&self) -> Option<u64> {
        if let Self::Pipe(id) = self {
            Some(*id)
        } else {
            None
        }
    }
}

impl From<Input<'_>> for Stream {
    fn from(input: Input<'_>) -> Self {
        match input {
            Input::Console => Self::Console,
            Input::Null => Self::Null,
            Input::File { path, offset } => Self::File(path.to_string(), offset),
            Input::Pipe(pipe) => Self::Pipe(pipe.0),
        }
    }
}

impl From<Output<'_>> for Stream {
    fn from(output: Output<'_>) -> Self {
        match output {
            Output::Console => Self::Console,
            Output::Null => Self::Null,
            Output::File { path, offset } => Self::File(path.to_string(), offset),
            Output::Pipe(pipe) => Self::Pipe(pipe.0),
            Output::Stdout => Self::Stdout,
        }
    }
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) name: String,
    pub(super) stdin: Stream,
    stdout: Stream,
    stderr: Stream,
    program: Vec<String>,
    args: Vec<String>,
    env: Vec<String>,
    cwd: String,
    pub(super) status: Option<ExitStatus>,
}

impl Process {
    pub(super) fn new(disk: &Disk, spawn: &Spawn<'_>) -> Result<Self> {
        let text = disk.program(spawn.path)?;
        let program = text.strip_prefix("#!fake ").ok_or(Error::NotExecutable)?;
        Ok(Self {
            name: spawn.args.first().cloned().unwrap_or_default(),
            stdin: spawn.stdin.into(),
            stdout: spawn.stdout.into(),
            stderr: spawn.stderr.into(),
            program: program.split_whitespace().map(String::from).collect(),
            args: spawn.args.to_vec(),
            env: spawn.env.to_vec(),
            cwd: spawn.cwd.to_string(),
            status: None,
        })
    }

    pub(super) fn output_pipes(&self) -> impl Iterator<Item = u64> + use<> {
        [self.stdout.pipe(), self.stderr.pipe()]
            .into_iter()
            .flatten()
    }
}

impl FakeSystem {
    /// Runs a process to its end; false when it would run forever.
    pub(super) fn run_process(&mut self, pid: u64) -> bool {
        let Some(process) = self.processes.get(&pid) else {
            return true;
        };
        if process.status.is_some() {
            return true;
        }
        let (stdin, stdout) = (process.stdin.clone(), process.stdout.clone());
        let stderr = match &process.stderr {
            Stream::Stdout => stdout.clone(),
            other => other.clone(),
        };
        let word = process.program.first().cloned().unwrap_or_default();
        let number = process.program.get(1).and_then(|text| text.parse().ok());
        let args = process.args.get(1..).unwrap_or(&[]).join(" ");
        let env = process.env.join("\n");
        let cwd = process.cwd.clone();
        let mut status = ExitStatus::default();
        let (mut out, mut err) = (String::new(), String::new());
        match word.as_str() {
            "args" => out = args + "\n",
            "cat" => out = self.input_of(&stdin),
            "upper" => out = self.input_of(&stdin).to_uppercase(),
            "env" => out = env + "\n",
            "cwd" => out = cwd + "\n",
            "exit" => status.code = number.unwrap_or(0),
            "both" => (out, err) = (String::from("out\n"), String::from("err\n")),
            "forever" => return false,
            _ => {
                status.code = 20;
                status.fault = Some(String::from("read of address 0x0 at 0x80000010"));
            }
        }
        let at = self.output_to(&stdout, 0, &out);
        let both = matches!(
            self.processes.get(&pid).map(|process| &process.stderr),
            Some(Stream::Stdout)
        );
        self.output_to(&stderr, if both { at } else { 0 }, &err);
        if let Some(process) = self.processes.get_mut(&pid) {
            process.status = Some(status);
        }
        if let Stream::Pipe(id) = stdin {
            self.pipe_bytes.remove(&id);
        }
        true
    }

    /// Runs the processes that write to a pipe.
    pub(super) fn run_writers(&mut self, pipe: u64) {
        let writers: Vec<u64> = self
            .processes
            .iter()
            .filter(|(_, process)| process.output_pipes().any(|id| id == pipe))
            .map(|(&pid, _)| pid)
            .collect();
        for pid in writers {
            self.run_process(pid);
        }
        let waits = self
            .pipe_bytes
            .get(&pipe)
            .is_some_and(|pipe| pipe.shell_writes);
        assert!(
            !waits,
            "deadlock: a pipe is read while the shell may still write to it"
        );
    }

    fn input_of(&mut self, stream: &Stream) -> String {
        let bytes = match stream {
            Stream::Console => self.input.drain(..).collect(),
            Stream::File(path, offset) => {
                let bytes = self.disk.bytes(path).unwrap_or(&[]);
                bytes.get(*offset as usize..).unwrap_or(&[]).to_vec()
            }
            Stream::Pipe(id) => {
                self.run_writers(*id);
                let pipe = self.pipe_bytes.get_mut(id);
                pipe.map(|pipe| pipe.bytes.drain(..).collect())
                    .unwrap_or_default()
            }
            Stream::Null | Stream::Stdout => Vec::new(),
        };
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Writes after `more` bytes that were written before; returns how many there are then.
    fn output_to(&mut self, stream: &Stream, more: u64, text: &str) -> u64 {
        match stream {
            Stream::Console => self.console.extend_from_slice(text.as_bytes()),
            Stream::File(path, offset) => {
                if let Ok(inode) = self.disk.open(path, OpenMode::APPEND) {
                    let mut done = 0;
                    while done < text.len() {
                        let at = offset + more + done as u64;
                        match self.disk.write(inode, at, &text.as_bytes()[done..]) {
                            Ok(count) => done += count,
                            Err(_) => break,
                        }
                    }
                }
            }
            Stream::Pipe(id) => {
                if let Some(pipe) = self.pipe_bytes.get_mut(id) {
                    pipe.bytes.extend(text.as_bytes());
                }
            }
            Stream::Null | Stream::Stdout => {}
        }
        more + text.len() as u64
    }
}
