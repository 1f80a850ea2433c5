//! The power goes at any write: QEMU records what the guest writes and flushes, and each image
//! that a cut may leave is checked, mounted and read.
//!
//! The guest does numbered steps, one after the other. The first thing step `n` does is to write
//! its own mark, so a log that has the mark of step `n` proves that all steps before `n` were
//! acknowledged; what they left must be in every image that has the mark.

use std::collections::BTreeMap;

use viperfs::{
    BLOCK_SIZE, BlockDevice, CheckOptions, DeviceError, Fs, MountOptions, ROOT_INO, check,
};
use viperfs_tools::read_file;

use super::{Lab, Test, Verdict, long, one};
use crate::cli::MachineOptions;
use crate::qemu::{Disk, Writes};
use crate::write_log::{Cut, Entry, read, survivors};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    one("power-write-log", |lab| cuts(lab, 60, 300)),
    long("power-write-log-10000", |lab| cuts(lab, 600, 10_000)),
];

/// What a file must hold; `None`: there must be no such file.
type Expected = BTreeMap<String, Option<Vec<u8>>>;

fn mark(step: usize) -> String {
    format!("step {step:06} of the write log")
}

/// The shell's commands for a step. All but the mark wait until they are durable.
fn commands(step: usize) -> String {
    let mut text = format!("Echo \"{}\" >T:mark\nCopy T:mark T:k{step}\n", mark(step));
    if step % 3 == 2 {
        text += &format!("Delete T:k{}\nSync\n", step - 2);
    }
    if step % 4 == 1 {
        text += &format!("Rename T:k{} T:m{step}\nSync\n", step - 1);
    }
    if step % 8 == 7 {
        text += &format!("Copy C:hello T:b{step}\n");
    }
    text
}

/// What the step leaves.
fn effects(step: usize, hello: &[u8], files: &mut Expected) {
    let text = format!("{}\n", mark(step)).into_bytes();
    files.insert(format!("k{step}"), Some(text));
    if step % 3 == 2 {
        files.insert(format!("k{}", step - 2), None);
    }
    if step % 4 == 1 {
        let moved = files.insert(format!("k{}", step - 1), None).flatten();
        files.insert(format!("m{step}"), moved);
    }
    if step % 8 == 7 {
        files.insert(format!("b{step}"), Some(hello.into()));
    }
}

/// Records a run of `steps` steps and judges `count` cuts of it.
fn cuts(lab: &Lab<'_>, steps: usize, count: usize) -> Verdict {
    let image = lab.copied_disk("base.img")?.path;
    let base = std::fs::read(&image).map_err(text)?;
    let log = lab.scratch().path("writes.log");
    std::fs::write(&log, b"").map_err(text)?;
    let disk = Disk {
        path: image,
        writes: Writes::Recorded(log.clone()),
    };
    let options = MachineOptions {
        no_net: true,
        ..MachineOptions::default()
    };
    let script: String = (0..steps).map(commands).collect();
    lab.run_on(&options, Some(disk), &script)?.code(0)?;
    let entries = read(&log).map_err(text)?;
    judge(&base, &entries, steps, count)
}

fn judge(base: &[u8], entries: &[Entry], steps: usize, count: usize) -> Verdict {
    let hello = contents(base.to_vec(), "/c/hello")?.ok_or("no /c/hello on the disk")?;
    let acknowledged: Vec<_> = (0..steps).map(|step| first_mark(entries, step)).collect();
    if acknowledged.iter().flatten().count() < steps {
        return Err("a step left no mark in the log".into());
    }
    for n in 0..count {
        // Every entry in turn if there are fewer than cuts, else evenly spread.
        let at = (n * entries.len() / count).max(n % entries.len().min(count)) + 1;
        let at = at.min(entries.len());
        let cut = match n % 4 {
            0 => Cut::InOrder,
            _ => Cut::Shuffled(n as u64),
        };
        let done = acknowledged.iter().flatten().filter(|&&mark| mark < at);
        let state = survivors(entries, at, cut);
        one_image(base, &state, done.count(), &hello)
            .map_err(|reason| format!("cut {n} ({cut:?}) before write {at}: {reason}"))?;
    }
    Ok(())
}

/// The entry that is the first to hold the mark of a step.
fn first_mark(entries: &[Entry], step: usize) -> Option<usize> {
    let mark = mark(step).into_bytes();
    entries.iter().position(|entry| match entry {
        Entry::Write(_, data, _) => data.chunks(512).any(|sector| sector.starts_with(&mark)),
        Entry::Flush => false,
    })
}

/// The image has no error, and what `begun - 1` steps left.
fn one_image(base: &[u8], writes: &[(u64, &[u8])], begun: usize, hello: &[u8]) -> Verdict {
    let mut image = Image::of(base);
    for (at, data) in writes {
        image.apply(*at, data);
    }
    let report = check(&mut image, &CheckOptions::default(), |_| ());
    if let Some(problem) = report.problems.first() {
        return Err(format!("the check found: {problem}"));
    }
    let mut fs = Fs::mount(image, MountOptions::default()).map_err(text)?;
    let mut files = Expected::new();
    for step in 0..begun.saturating_sub(1) {
        effects(step, hello, &mut files);
    }
    // The step that was under way may have changed these already.
    if begun > 0 {
        let mut next = files.clone();
        effects(begun - 1, hello, &mut next);
        files.retain(|name, contents| next.get(name) == Some(contents));
    }
    for (name, expected) in files {
        let path = format!("/t/{name}");
        let there = fs.walk(ROOT_INO, path.as_bytes(), true).is_ok();
        let found = match there {
            true => Some(read_file(&mut fs, &path).map_err(text)?),
            false => None,
        };
        if found != expected {
            return Err(format!(
                "{path} after {begun} steps: {}",
                difference(&found)
            ));
        }
    }
    Ok(())
}

fn difference(found: &Option<Vec<u8>>) -> String {
    match found {
        None => "it is not there".into(),
        Some(bytes) => format!("it holds {} other bytes", bytes.len()),
    }
}

fn contents(image: Vec<u8>, path: &str) -> Result<Option<Vec<u8>>, String> {
    let mut fs = Fs::mount(Image::of(&image), MountOptions::default()).map_err(text)?;
    Ok(read_file(&mut fs, path).ok())
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// An image with changes over it: cheap to make, and what a mount writes stays in it.
struct Image<'a> {
    base: &'a [u8],
    changed: BTreeMap<u64, Vec<u8>>,
}

impl<'a> Image<'a> {
    fn of(base: &'a [u8]) -> Self {
        Self {
            base,
            changed: BTreeMap::new(),
        }
    }

    fn block(&self, block: u64) -> &[u8] {
        let at = block as usize * BLOCK_SIZE;
        match self.changed.get(&block) {
            Some(bytes) => bytes,
            None => &self.base[at..at + BLOCK_SIZE],
        }
    }

    /// Writes bytes at any offset; what lies behind the end is lost, as on a disk.
    fn apply(&mut self, mut at: u64, mut data: &[u8]) {
        while !data.is_empty() && at < self.base.len() as u64 {
            let block = at / BLOCK_SIZE as u64;
            let within = at as usize % BLOCK_SIZE;
            let len = data.len().min(BLOCK_SIZE - within);
            let mut bytes = self.block(block).to_vec();
            bytes[within..within + len].copy_from_slice(&data[..len]);
            self.changed.insert(block, bytes);
            at += len as u64;
            data = &data[len..];
        }
    }
}

impl BlockDevice for Image<'_> {
    fn block_count(&self) -> u64 {
        (self.base.len() / BLOCK_SIZE) as u64
    }

    fn read(&mut self, block: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        let count = (buf.len() / BLOCK_SIZE) as u64;
        if block
            .checked_add(count)
            .is_none_or(|end| end > self.block_count())
        {
            return Err(DeviceError::OutOfRange);
        }
        for (n, chunk) in (block..).zip(buf.chunks_mut(BLOCK_SIZE)) {
            chunk.copy_from_slice(self.block(n));
        }
        Ok(())
    }

    fn write(&mut self, block: u64, buf: &[u8]) -> Result<(), DeviceError> {
        let count = (buf.len() / BLOCK_SIZE) as u64;
        if block
            .checked_add(count)
            .is_none_or(|end| end > self.block_count())
        {
            return Err(DeviceError::OutOfRange);
        }
        self.apply(block * BLOCK_SIZE as u64, buf);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}
