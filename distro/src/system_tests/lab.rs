//! What system tests work with: machines to run commands on, and their outcomes.

use std::cell::RefCell;
use std::time::Duration;

use super::Verdict;
use crate::cli::MachineOptions;
use crate::console::Said;
use crate::disk;
use crate::exec::Script;
use crate::image::System;
use crate::qemu::Disk;
use crate::scratch::Scratch;
use crate::session::End;

/// How long one machine may take. Eight emulated cores on two real ones are slow.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long a machine may take that runs many tests, or measures.
const LONG_TIMEOUT: Duration = Duration::from_secs(1200);

/// Runs machines for one test.
pub struct Lab<'a> {
    system: &'a System,
    scratch: Scratch,
    log: RefCell<Vec<String>>,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The commands' output.
    pub output: String,
}

impl<'a> Lab<'a> {
    /// A lab with its own scratch folder.
    ///
    /// # Errors
    ///
    /// When that folder cannot be made.
    pub fn new(system: &'a System) -> crate::error::Result<Self> {
        let scratch = Scratch::new(&system.workspace)?;
        Ok(Self {
            system,
            scratch,
            log: RefCell::default(),
        })
    }

    /// The scratch folder.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The disk made from the manifest; not to be written.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn built_disk(&self) -> Result<std::path::PathBuf, String> {
        disk::built(self.system).map_err(text_of)
    }

    /// A copy of that disk, to be written.
    ///
    /// # Errors
    ///
    /// When it cannot be made or copied.
    pub fn copied_disk(&self, name: &str) -> Result<Disk, String> {
        let path = self.scratch.path(name);
        std::fs::copy(self.built_disk()?, &path).map_err(|error| error.to_string())?;
        Ok(Disk::kept(path))
    }

    /// A disk like that one, of another size, to be written.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn sized_disk(&self, name: &str, size_mib: u64) -> Result<Disk, String> {
        let path = self.scratch.path(name);
        disk::sized(self.system, &path, size_mib).map_err(text_of)?;
        Ok(Disk::kept(path))
    }

    /// A disk that no machine runs on has no damage.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn is_sound(&self, disk: &Disk) -> Verdict {
        let problems = disk::tools().check(&disk.path).map_err(text_of)?;
        match problems.first() {
            None => Ok(()),
            Some(first) => Err(format!("the disk has {} problems: {first}", problems.len())),
        }
    }

    /// Runs commands on the standard disk; what they write is thrown away.
    ///
    /// # Errors
    ///
    /// A reason when the machine could not be run at all.
    pub fn run(&self, options: &MachineOptions, text: &str) -> Result<Outcome, String> {
        self.run_for(options, self.standard(options)?, text, TIMEOUT)
    }

    /// The same for commands that take long.
    ///
    /// # Errors
    ///
    /// A reason when the machine could not be run at all.
    pub fn run_long(&self, options: &MachineOptions, text: &str) -> Result<Outcome, String> {
        self.run_for(options, self.standard(options)?, text, LONG_TIMEOUT)
    }

    /// Runs commands on the given disk.
    ///
    /// # Errors
    ///
    /// A reason when the machine could not be run at all.
    pub fn run_on(
        &self,
        options: &MachineOptions,
        disk: Option<Disk>,
        text: &str,
    ) -> Result<Outcome, String> {
        self.run_for(options, disk, text, TIMEOUT)
    }

    /// Runs commands on the given disk, at most for `time`: then the machine is killed.
    ///
    /// # Errors
    ///
    /// A reason when the machine could not be run at all.
    pub fn run_for(
        &self,
        options: &MachineOptions,
        disk: Option<Disk>,
        text: &str,
        time: Duration,
    ) -> Result<Outcome, String> {
        self.run_until(options, disk, text, time, |_| None)
    }

    /// The same; when `cut` returns a time at a line of the output, the machine is killed so much
    /// later.
    ///
    /// # Errors
    ///
    /// A reason when the machine could not be run at all.
    pub fn run_until(
        &self,
        options: &MachineOptions,
        disk: Option<Disk>,
        text: &str,
        time: Duration,
        mut cut: impl FnMut(&str) -> Option<Duration>,
    ) -> Result<Outcome, String> {
        let script = Script {
            machine: options,
            text,
            disk,
        };
        let mut output = Vec::new();
        let mut log = Vec::new();
        let hear = |said| {
            match said {
                Said::Output(bytes) => {
                    let line = String::from_utf8_lossy(&bytes).into_owned();
                    output.extend(bytes);
                    return cut(&line);
                }
                Said::Log(line) => log.push(String::from_utf8_lossy(&line).into_owned()),
                Said::Begin | Said::End(_) | Said::Panic => {}
            }
            None
        };
        let end = script.run_until(self.system, &self.scratch, time, hear);
        let output = String::from_utf8_lossy(&output).into_owned();
        *self.log.borrow_mut() = log
            .iter()
            .cloned()
            .chain(output.lines().map(Into::into))
            .collect();
        Ok(Outcome {
            end: end.map_err(text_of)?,
            output,
        })
    }

    /// The contents of a file on a disk that no machine runs on, as the next boot would find it.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn file(&self, disk: &Disk, path: &str) -> Result<Vec<u8>, String> {
        disk::tools().get(&disk.path, path).map_err(text_of)
    }

    /// A line of the last run's log has all these words.
    ///
    /// # Errors
    ///
    /// That none has.
    pub fn logged(&self, words: &[&str]) -> Verdict {
        match self
            .log
            .borrow()
            .iter()
            .any(|line| words.iter().all(|word| line.contains(word)))
        {
            true => Ok(()),
            false => Err(format!("no line of the log has {words:?}")),
        }
    }

    fn standard(&self, options: &MachineOptions) -> Result<Option<Disk>, String> {
        if options.no_disk {
            return Ok(None);
        }
        Ok(Some(Disk::scratch(self.built_disk()?)))
    }

    /// The log and output of the last run.
    pub fn last_log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }
}

impl Outcome {
    /// The commands ended with this code.
    ///
    /// # Errors
    ///
    /// How they ended instead.
    pub fn code(&self, code: u8) -> Verdict {
        match &self.end {
            End::Code(found) if *found == code => Ok(()),
            other => Err(format!("expected code {code}, found {other:?}")),
        }
    }

    /// The commands ended with 0. The reason otherwise is the first line that says `not ok`.
    ///
    /// # Errors
    ///
    /// How they ended instead.
    pub fn all_ok(&self) -> Verdict {
        let bad = self.output.lines().find(|line| line.starts_with("not ok"));
        bad.map_or_else(|| self.code(0), |line| Err(line.into()))
    }

    /// The output has this text.
    ///
    /// # Errors
    ///
    /// That it has not.
    pub fn prints(&self, text: &str) -> Verdict {
        match self.output.contains(text) {
            true => Ok(()),
            false => Err(format!("the output has no `{text}`")),
        }
    }
}

fn text_of(error: crate::error::Error) -> String {
    error.to_string()
}
