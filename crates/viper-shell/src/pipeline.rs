//! Pipelines: programs side by side, commands of the shell in their order.

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::ast::Command;
use crate::context::{Context, Flow, Ran, Stop};
use crate::io::{Io, Memory, Sink, Source};
use crate::program::Running;
use crate::shell::OK;
use crate::simple::Meaning;
use crate::system::PipeId;

/// Between two stages of a pipeline.
#[derive(Clone)]
enum Link {
    Memory(Rc<RefCell<Vec<u8>>>),
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
            if let Link::Pipe(pipe) = link {
                let _ = self.sys.pipe_close(*pipe);
            }
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
                Link::Memory(memory) => {
                    let memory = Memory {
                        bytes: memory.take(),
                        at: 0,
                    };
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
