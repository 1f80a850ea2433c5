//! Pipelines: programs side by side, commands of the shell in their order.

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::ast::Command;
use crate::context::{Context, Flow, Ran, Stop};
use crate::io::{Buffer, Io, Memory, OpenFile, Sink, Source};
use crate::program::Running;
use crate::shell::OK;
use crate::simple::Meaning;
use crate::system::{OpenMode, PipeId};

/// Between two stages of a pipeline.
#[derive(Clone)]
enum Link {
    Memory(Rc<RefCell<Buffer>>),
    Pipe(PipeId),
}

impl Context<'_> {
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
            self.drop_link(link);
        }
        ran
    }

    /// The program of a stage whose name is plain and means one.
    fn static_program(&mut self, stage: &Command) -> Result<Option<String>, (String, Stop)> {
        let Command::Simple(simple) = stage else {
            return Ok(None);
        };
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
                None => {
                    let buffer = Buffer {
                        spills: true,
                        ..Buffer::default()
                    };
                    Link::Memory(Rc::new(RefCell::new(buffer)))
                }
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
        let mut running: Vec<Option<Running>> = stages.iter().map(|_| None).collect();
        let mut codes = alloc::vec![OK; stages.len()];
        let ran = self.run_in_order(&outer, stages, programs, links, &mut running, &mut codes);
        self.io = outer;
        let mut ended = ran;
        for (i, running) in running.into_iter().enumerate() {
            match (running, ended) {
                (None, _) => {}
                (Some(running), Err(_)) => self.abandon(running),
                (Some(running), Ok(())) => match self.finish(running) {
                    Ok(code) => codes[i] = code,
                    Err(flow) => ended = Err(flow),
                },
            }
        }
        ended.map(|()| codes.last().copied().unwrap_or(OK))
    }

    /// Starts the programs that need not wait, and then goes through the other stages. What is in
    /// `running` afterwards is to be waited for, or abandoned after an error.
    fn run_in_order(
        &mut self,
        outer: &Io,
        stages: &[Command],
        programs: &[Option<String>],
        links: &[Link],
        running: &mut [Option<Running>],
        codes: &mut [i32],
    ) -> Result<(), Flow> {
        let waits = |i: usize| i > 0 && matches!(links.get(i - 1), Some(Link::Memory(_)));
        for (i, stage) in stages.iter().enumerate() {
            if let (Some(path), false) = (&programs[i], waits(i)) {
                self.connect(outer, links, i);
                running[i] = self.start_stage(stage, path, &mut codes[i])?;
                if running[i].is_none() {
                    self.close_links(links, i);
                }
            }
        }
        for (i, stage) in stages.iter().enumerate() {
            if waits(i)
                && let Some(before) = running[i - 1].take()
            {
                codes[i - 1] = self.finish(before)?;
            }
            match &programs[i] {
                Some(path) if waits(i) => {
                    self.connect(outer, links, i);
                    running[i] = self.start_stage(stage, path, &mut codes[i])?;
                }
                Some(_) => {}
                None => {
                    self.connect(outer, links, i);
                    let ran = self.subshell(|c| c.command(stage));
                    self.close_links(links, i);
                    codes[i] = ran?;
                }
            }
        }
        Ok(())
    }

    /// Closes what the shell has of the pipes on both sides of stage `i`.
    fn close_links(&mut self, links: &[Link], i: usize) {
        for link in [
            i.checked_sub(1).and_then(|before| links.get(before)),
            links.get(i),
        ] {
            if let Some(Link::Pipe(pipe)) = link {
                let _ = self.sys.pipe_close(*pipe);
            }
        }
    }

    /// Sets the streams of stage `i`.
    fn connect(&mut self, outer: &Io, links: &[Link], i: usize) {
        self.io = outer.clone();
        if let Some(before) = i.checked_sub(1).and_then(|before| links.get(before)) {
            self.io.stdin = match before {
                Link::Pipe(pipe) => Source::Pipe(*pipe),
                Link::Memory(buffer) => self.read_back(&mut buffer.borrow_mut()),
            };
        }
        if let Some(after) = links.get(i) {
            self.io.stdout = match after {
                Link::Pipe(pipe) => Sink::Pipe(*pipe),
                Link::Memory(memory) => Sink::Memory(memory.clone()),
            };
        }
    }

    /// What was written into a pipe inside the shell, to be read.
    fn read_back(&mut self, buffer: &mut Buffer) -> Source {
        let Some((file, path, _)) = &mut buffer.file else {
            let memory = Memory {
                bytes: core::mem::take(&mut buffer.bytes),
                at: 0,
            };
            return Source::Memory(Rc::new(RefCell::new(memory)));
        };
        let reading = self.sys.open(path, OpenMode::READ);
        let written = core::mem::replace(file, reading.unwrap_or(*file));
        if reading.is_ok() {
            let _ = self.sys.close(written);
        }
        let (id, path) = (*file, path.clone());
        let file = OpenFile {
            id,
            path,
            offset: 0,
            gathered: Vec::new(),
        };
        Source::File(Rc::new(RefCell::new(file)))
    }

    /// Gives back what a link holds.
    fn drop_link(&mut self, link: &Link) {
        match link {
            Link::Pipe(pipe) => _ = self.sys.pipe_close(*pipe),
            Link::Memory(buffer) => {
                if let Some((file, path, _)) = buffer.borrow_mut().file.take() {
                    let _ = self.sys.close(file);
                    let _ = self.sys.unlink(&path);
                }
            }
        }
    }

    fn start_stage(
        &mut self,
        stage: &Command,
        path: &str,
        code: &mut i32,
    ) -> Result<Option<Running>, Flow> {
        let Command::Simple(simple) = stage else {
            return Ok(None);
        };
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
