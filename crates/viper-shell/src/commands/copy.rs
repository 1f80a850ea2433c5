//! Copy and Move.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::directory::TREE_MAX;
use super::{Arguments, Spec, worse};
use crate::context::{About, Context, Ended, Flow, Stop, fail};
use crate::error::Error;
use crate::io::CHUNK;
use crate::path;
use crate::shell::{OK, WARN};
use crate::system::{DirEntry, FileId, FileKind, OpenMode, Stat};
use crate::text;

pub(super) static COMMANDS: &[Spec] = &[
    Spec::new(
        "Copy",
        &["cp"],
        "Copy from... [TO] to [ALL] [NEW] [CLONE] [QUIET]",
        "copies files",
        copy,
    )
    .details(
        "Several files need a directory to go to. ALL (-r) copies directories with \
             everything in them, NEW (-n) leaves existing files alone, CLONE (-p) keeps dates and \
             flags. What Copy has reported is safe on the disk.",
    ),
    Spec::new(
        "Rename",
        &["ren"],
        "Rename old [AS|TO] new",
        "gives a file another name",
        rename,
    )
    .details("Refuses to replace an existing file; Move replaces it."),
    Spec::new(
        "Move",
        &["mv"],
        "Move from... [TO] to",
        "moves files to another place",
        move_files,
    )
    .details("Across volumes the files are copied and then deleted."),
];

/// What a copy has done so far.
#[derive(Default)]
struct Progress {
    files: u64,
    bytes: u64,
    skipped: u64,
    code: i32,
}

#[derive(Clone, Copy)]
struct How {
    all: bool,
    new_only: bool,
    clone: bool,
    quiet: bool,
}

/// Takes `TO` out, and parts the sources from the target.
fn sources_and_target(rest: Vec<String>, words: &[&str]) -> Result<(Vec<String>, String), Stop> {
    let is_word = |text: &String| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    let mut sources = rest;
    let count = sources.len();
    // Only just before the last one; elsewhere it is a file's name.
    if count >= 3 && is_word(&sources[count - 2]) {
        sources.remove(count - 2);
    }
    match (sources.pop(), sources.is_empty()) {
        (Some(target), false) => Ok((sources, target)),
        _ => Err(Stop::Usage),
    }
}

fn copy(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let keywords = [
        ("ALL", "rRa"),
        ("NEW", "n"),
        ("CLONE", "p"),
        ("QUIET", "q"),
        ("IGNORED", "fv"),
    ];
    let args = Arguments::parse(arguments, &keywords)?;
    let how = How {
        all: args.has("ALL"),
        new_only: args.has("NEW"),
        clone: args.has("CLONE"),
        quiet: args.has("QUIET"),
    };
    let (sources, target) = sources_and_target(args.rest, &["TO"])?;
    let mut progress = Progress::default();
    let copied = copy_all(c, &sources, &target, how, &mut progress);
    let several = sources.len() > 1 || how.all;
    if several && progress.files > 0 {
        c.sys.sync_all().about(&target)?;
    }
    if !how.quiet && (progress.files > 0 || progress.skipped > 0) {
        c.line(&progress.text(several))?;
    }
    copied.map(|()| progress.code)
}

impl Progress {
    fn text(&self, several: bool) -> String {
        let bytes = text::count(self.bytes, "byte", "bytes");
        let mut text = match several || self.files != 1 {
            true => format!(
                "{}, {bytes} copied",
                text::count(self.files, "file", "files")
            ),
            false => format!("{bytes} copied"),
        };
        if self.skipped > 0 {
            text.push_str(&format!(", {} left alone", text::grouped(self.skipped)));
        }
        text
    }
}

fn copy_all(
    c: &mut Context<'_>,
    sources: &[String],
    target: &str,
    how: How,
    progress: &mut Progress,
) -> Result<(), Stop> {
    let into = target_directory(c, sources, target)?;
    for typed in sources {
        let copied = copy_one(c, typed, target, into.as_deref(), how, progress);
        if let Err(stop) = copied {
            if sources.len() == 1 {
                return Err(stop);
            }
            progress.code = worse(c, "Copy", progress.code, stop)?;
        }
    }
    Ok(())
}

/// The directory to put things into, if the target is one.
fn target_directory(
    c: &mut Context<'_>,
    sources: &[String],
    target: &str,
) -> Result<Option<String>, Stop> {
    let path = c.locate(target)?;
    match c.sys.stat(&path, true) {
        Ok(stat) if stat.kind == FileKind::Directory => Ok(Some(path)),
        Ok(_) | Err(Error::NotFound) if target.ends_with('/') => {
            Err(Error::NotADirectory).about(target)
        }
        Ok(_) | Err(Error::NotFound) if sources.len() > 1 => {
            fail(format!("{target}: several files need a directory to go to"))
        }
        Ok(_) | Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error).about(target),
    }
}

fn copy_one(
    c: &mut Context<'_>,
    typed: &str,
    target: &str,
    into: Option<&str>,
    how: How,
    progress: &mut Progress,
) -> Result<(), Stop> {
    let (from, stat) = c.stat(typed)?;
    let to = match into {
        Some(dir) if path::file_name(&from).is_empty() => dir.to_string(),
        Some(dir) => path::join(dir, path::file_name(&from)),
        None => c.locate(target)?,
    };
    let shown = match into {
        Some(_) => path::beside(target, path::file_name(&from)),
        None => target.to_string(),
    };
    match stat.kind {
        FileKind::Directory if !how.all => fail(format!(
            "{typed}: is a directory (ALL copies it with everything in it)"
        )),
        FileKind::Directory => copy_tree(c, &from, &to, how, progress),
        _ => copy_file(c, (&from, typed, stat), (&to, &shown), how, progress, true),
    }
}

/// Copies a directory with everything in it.
fn copy_tree(
    c: &mut Context<'_>,
    from: &str,
    to: &str,
    how: How,
    progress: &mut Progress,
) -> Result<(), Stop> {
    if path::contains(from, to) {
        return fail(format!(
            "{}: cannot be copied into itself",
            path::shown(from)
        ));
    }
    let mut waiting = Vec::from([(from.to_string(), to.to_string(), 0)]);
    while let Some((from, to, depth)) = waiting.pop() {
        match c.sys.make_dir(&to) {
            Ok(()) | Err(Error::AlreadyExists) => {}
            Err(error) => return Err(error).about(&path::shown(&to)),
        }
        let mut next = Some(0);
        while let Some(at) = next {
            let mut entries: Vec<DirEntry> = Vec::new();
            next = c
                .sys
                .read_dir(&from, at, &mut entries)
                .about(&path::shown(&from))?;
            for entry in entries {
                let inner = path::join(&from, &entry.name);
                let goal = path::join(&to, &entry.name);
                if entry.kind != FileKind::Directory {
                    copy_entry(c, &inner, &goal, entry.kind, how, progress)?;
                } else if depth + 1 >= TREE_MAX {
                    return fail(format!("{}: nested too deeply", path::shown(&inner)));
                } else {
                    waiting.push((inner, goal, depth + 1));
                }
            }
        }
    }
    Ok(())
}

/// Copies a file or link found in a directory; goes on after what concerns only this one.
fn copy_entry(
    c: &mut Context<'_>,
    from: &str,
    to: &str,
    kind: FileKind,
    how: How,
    progress: &mut Progress,
) -> Result<(), Stop> {
    let (from_shown, to_shown) = (path::shown(from), path::shown(to));
    let copied = match kind {
        FileKind::Link => copy_link(c, from, to)
            .about(&to_shown)
            .map(|()| progress.files += 1),
        _ => match c.sys.stat(from, true).about(&from_shown) {
            Ok(stat) => copy_file(
                c,
                (from, &from_shown, stat),
                (to, &to_shown),
                how,
                progress,
                false,
            ),
            Err(stop) => Err(stop),
        },
    };
    match copied {
        Err(stop @ Stop::Fail(crate::shell::FAIL, _)) => Err(stop),
        Err(stop) => {
            progress.code = worse(c, "Copy", progress.code, stop)?;
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn copy_link(c: &mut Context<'_>, from: &str, to: &str) -> Result<(), Error> {
    let target = c.sys.read_link(from)?;
    match c.sys.unlink(to) {
        Ok(()) | Err(Error::NotFound) => {}
        Err(error) => return Err(error),
    }
    c.sys.symlink(&target, to)
}

/// Copies one file. `sync`: at its end wait until it is safe on the disk.
fn copy_file(
    c: &mut Context<'_>,
    (from, from_shown, stat): (&str, &str, Stat),
    (to, to_shown): (&str, &str),
    how: How,
    progress: &mut Progress,
    sync: bool,
) -> Result<(), Stop> {
    if let Ok(there) = c.sys.stat(to, true) {
        if there.kind == FileKind::Directory {
            return Err(Error::IsADirectory).about(to_shown);
        }
        if from == to || (there.inode == stat.inode && same_file(c, from, to)) {
            return fail(format!("{from_shown}: is the same file as {to_shown}"));
        }
        if how.new_only {
            progress.skipped += 1;
            return Ok(());
        }
    }
    let mut transfer = Transfer::open(c, (from, from_shown), (to, to_shown))?;
    let copied = transfer.run(c, sync);
    let done = transfer.done;
    if let Err(stop) = transfer.close(c).and(copied) {
        return Err(give_up(c, (to, to_shown), done, stop));
    }
    if how.clone {
        c.sys.set_mode(to, stat.mode).about(to_shown)?;
        c.sys
            .set_modified(to, Some(stat.modified_ns))
            .about(to_shown)?;
    } else if stat.mode & 0o111 != 0 {
        // A program stays a program, where the system can say so.
        let _ = c.sys.set_mode(to, stat.mode);
    }
    progress.files += 1;
    progress.bytes += done;
    Ok(())
}

/// Whether two paths with the same inode number are on the same volume: then renaming one to the
/// other changes nothing, and the volumes' roots tell.
fn same_file(c: &mut Context<'_>, a: &str, b: &str) -> bool {
    let Ok(volumes) = c.sys.volumes() else {
        return true;
    };
    let volume = |path: &str| {
        let roots = volumes.iter().map(|volume| volume.root.as_str());
        roots
            .filter(|root| path::contains(root, path))
            .max_by_key(|root| root.len())
    };
    volume(a) == volume(b)
}

/// Bytes between two points that a copy can go back to.
const SAFE_BYTES: u64 = 8 << 20;
/// How often a copy goes back to the same point.
const RETREATS_MAX: u32 = 8;

/// A file on its way.
///
/// When the file server dies, what was written and was not safe on the disk is lost. The copy
/// notices, and goes on from the last point where everything was.
struct Transfer<'a> {
    from: (&'a str, &'a str),
    to: (&'a str, &'a str),
    source: FileId,
    /// `None`: closed, and could not be opened again.
    target: Option<FileId>,
    done: u64,
    safe: u64,
    retreats: u32,
}

impl<'a> Transfer<'a> {
    /// Opens two files, each given by its path and how it is shown.
    fn open(
        c: &mut Context<'_>,
        from: (&'a str, &'a str),
        to: (&'a str, &'a str),
    ) -> Result<Transfer<'a>, Stop> {
        let source = c.sys.open(from.0, OpenMode::READ).about(from.1)?;
        match c.sys.open(to.0, OpenMode::REPLACE).about(to.1) {
            Ok(target) => Ok(Transfer {
                from,
                to,
                source,
                target: Some(target),
                done: 0,
                safe: 0,
                retreats: 0,
            }),
            Err(stop) => {
                let _ = c.sys.close(source);
                Err(stop)
            }
        }
    }

    /// Copies everything. `sync`: and waits until it is safe on the disk.
    fn run(&mut self, c: &mut Context<'_>, sync: bool) -> Result<(), Stop> {
        let mut buf = alloc::vec![0; CHUNK];
        loop {
            c.check()?;
            match self.step(c, &mut buf, sync) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err((Error::ServerDied, shown)) => self.retreat(c, shown)?,
                Err((error, shown)) => return Err(error).about(shown),
            }
        }
    }

    /// Copies a piece. Whether there is more; else what failed, and for whom.
    fn step(
        &mut self,
        c: &mut Context<'_>,
        buf: &mut [u8],
        sync: bool,
    ) -> Result<bool, (Error, &'a str)> {
        let (from, to) = (self.from.1, self.to.1);
        let target = self.target.ok_or((Error::ServerDied, to))?;
        let count = c.sys.read(self.source, self.done, buf);
        let count = count.map_err(|error| (error, from))?;
        let piece = buf.get(..count).unwrap_or(buf);
        let mut written = 0;
        while let Some(rest) = piece.get(written..).filter(|rest| !rest.is_empty()) {
            let at = self.done + written as u64;
            match c.sys.write(target, at, rest) {
                Ok(0) => return Err((Error::Io, to)),
                Ok(n) => written += n,
                Err(error) => return Err((error, to)),
            }
        }
        self.done += count as u64;
        let is_end = count == 0;
        if is_end && sync || self.done - self.safe >= SAFE_BYTES {
            c.sys.sync(target).map_err(|error| (error, to))?;
            (self.safe, self.retreats) = (self.done, 0);
        }
        Ok(!is_end)
    }

    /// Goes back to where everything was safe.
    fn retreat(&mut self, c: &mut Context<'_>, shown: &str) -> Result<(), Stop> {
        self.retreats += 1;
        if self.retreats > RETREATS_MAX {
            return Err(Error::ServerDied).about(shown);
        }
        if let Some(target) = self.target.take() {
            let _ = c.sys.close(target);
        }
        let mode = match self.safe {
            0 => OpenMode::REPLACE,
            _ => OpenMode::APPEND,
        };
        self.target = match c.sys.open(self.to.0, mode) {
            Err(Error::ServerDied) => None,
            target => Some(target.about(self.to.1)?),
        };
        self.done = self.safe;
        Ok(())
    }

    fn close(self, c: &mut Context<'_>) -> Result<(), Stop> {
        let _ = c.sys.close(self.source);
        match self.target.map(|target| c.sys.close(target)) {
            Some(closed) => closed.about(self.to.1),
            None => Ok(()),
        }
    }
}

/// Deletes what a failed copy left, and says so.
fn give_up(c: &mut Context<'_>, (to, shown): (&str, &str), done: u64, stop: Stop) -> Stop {
    let deleted = c.sys.unlink(to).is_ok();
    let bytes = text::count(done, "byte", "bytes");
    let rest = match deleted {
        true => format!("stopped after {bytes}; the incomplete {shown} was deleted"),
        false => format!("stopped after {bytes}; {shown} is incomplete"),
    };
    match stop {
        Stop::Fail(code, message) => Stop::Fail(code, format!("{message}; {rest}")),
        Stop::Flow(Flow::Interrupted) => {
            c.complain(&format!("Copy: {rest}"));
            stop
        }
        other => other,
    }
}

fn rename(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let args = Arguments::parse(arguments, &[])?;
    let (sources, target) = sources_and_target(args.rest, &["AS", "TO"])?;
    let [old] = sources.as_slice() else {
        return Err(Stop::Usage);
    };
    move_one(c, old, &target, false)?;
    Ok(OK)
}

fn move_files(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let args = Arguments::parse(arguments, &[("IGNORED", "fv")])?;
    let (sources, target) = sources_and_target(args.rest, &["TO"])?;
    target_directory(c, &sources, &target)?;
    let mut code = OK;
    for old in &sources {
        if let Err(stop) = move_one(c, old, &target, true) {
            code = worse(c, "Move", code, stop)?;
        }
    }
    Ok(code)
}

fn move_one(c: &mut Context<'_>, old: &str, new: &str, replace: bool) -> Result<(), Stop> {
    let from = c.locate(old)?;
    let stat = c.sys.stat(&from, false).about(old)?;
    let mut to = c.locate(new)?;
    let mut there = c.sys.stat(&to, true).ok();
    if from != to && there.is_some_and(|stat| stat.kind == FileKind::Directory) {
        to = path::join(&to, path::file_name(&from));
        there = c.sys.stat(&to, false).ok();
    }
    if from == to {
        return Ok(());
    }
    if stat.kind == FileKind::Directory && path::contains(&from, &to) {
        return fail(format!("{old}: cannot be moved into itself"));
    }
    // Only the case of letters changes on some volumes: then it is the same file.
    if there.is_some_and(|there| !replace && there.inode != stat.inode) {
        return Err(Error::AlreadyExists).about(&path::shown(&to));
    }
    match c.sys.rename(&from, &to) {
        Err(Error::CrossDevice) if replace => move_by_copy(c, &from, &to, stat),
        Err(Error::CrossDevice) => fail(format!("{new}: on another volume (Move goes there)")),
        Err(error @ (Error::NotFound | Error::NotADirectory)) => Err(error).about(new),
        other => other.about(old),
    }
}

fn move_by_copy(c: &mut Context<'_>, from: &str, to: &str, stat: Stat) -> Result<(), Stop> {
    let how = How {
        all: true,
        new_only: false,
        clone: true,
        quiet: true,
    };
    let mut progress = Progress::default();
    let (from_shown, to_shown) = (path::shown(from), path::shown(to));
    match stat.kind {
        FileKind::Directory => copy_tree(c, from, to, how, &mut progress)?,
        FileKind::Link => copy_link(c, from, to).about(&to_shown)?,
        _ => {
            let source = (from, from_shown.as_str(), stat);
            copy_file(c, source, (to, &to_shown), how, &mut progress, false)?;
        }
    }
    if progress.code > WARN {
        return fail(format!(
            "{from_shown}: not everything was copied; nothing was deleted"
        ));
    }
    c.sys.sync_all().about(&to_shown)?;
    super::delete::delete_tree(c, from, &mut 0)
}
