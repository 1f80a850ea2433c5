//! Dir, List, Cd, MakeDir.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Arguments, Spec, no_arguments, worse};
use crate::context::{About, Context, Ended, Stop, fail};
use crate::error::Error;
use crate::path;
use crate::shell::OK;
use crate::system::{DirEntry, FileKind};
use crate::text::{self, Moment};

pub(super) static COMMANDS: &[Spec] = &[
    Spec::new(
        "Dir",
        &["ls"],
        "Dir [path...] [ALL] [FILES|DIRS] [LONG] [OWNERS]",
        "shows names",
        dir,
    )
    .details(
        "Directories end in `/` and come first. ALL goes into directories, FILES and DIRS show \
         only one kind, LONG is List, OWNERS is List OWNERS. Letters: -a with hidden names, -l LONG, -R ALL, -1 one \
         per line.",
    ),
    Spec::new(
        "List",
        &["ll"],
        "List [path...] [ALL] [OWNERS]",
        "shows names with sizes and dates",
        list,
    )
    .details(
        "The flags are r read, w write, e execute, d delete, as they are for the owner. OWNERS (-o) \
         also shows those of the group and of everybody else, and user and group by number.",
    ),
    Spec::new(
        "Cd",
        &["chdir"],
        "Cd [path]",
        "changes or shows the current directory",
        cd,
    )
    .details("`Cd /` goes to the root, `Cd ..` up, `Cd -` back to where it was before."),
    Spec::new("Cwd", &["pwd"], "Cwd", "shows the current directory", cwd),
    Spec::new(
        "MakeDir",
        &["mkdir"],
        "MakeDir path... [PARENTS]",
        "makes directories",
        make_dir,
    )
    .details("PARENTS (-p) makes the directories above, too, and accepts existing ones."),
];

/// Names that are sorted together; a larger directory is shown piece by piece.
const SORTED_MAX: usize = 4096;
/// Deepest tree that is walked.
pub(super) const TREE_MAX: usize = 64;

#[derive(Clone, Copy)]
struct Show {
    long: bool,
    owners: bool,
    all: bool,
    hidden: bool,
    files: bool,
    directories: bool,
    width: Option<usize>,
}

#[derive(Default)]
struct Totals {
    files: u64,
    directories: u64,
    bytes: u64,
}

fn dir(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let keywords = [
        ("ALL", "R"),
        ("FILES", ""),
        ("DIRS", ""),
        ("LONG", "l"),
        ("OWNERS", "o"),
        ("HIDDEN", "aA"),
        ("ONE", "1"),
        ("IGNORED", "hFdtr"),
    ];
    let args = Arguments::parse(arguments, &keywords)?;
    let width = if args.has("ONE") { None } else { c.width() };
    let show = Show {
        long: args.has("LONG") || args.has("OWNERS"),
        owners: args.has("OWNERS"),
        all: args.has("ALL"),
        hidden: args.has("HIDDEN"),
        files: !args.has("DIRS"),
        directories: !args.has("FILES"),
        width,
    };
    show_all(c, &args.rest, show)
}

fn list(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let keywords = [("ALL", "R"), ("OWNERS", "o"), ("IGNORED", "ahlt")];
    let args = Arguments::parse(arguments, &keywords)?;
    let show = Show {
        long: true,
        owners: args.has("OWNERS"),
        all: args.has("ALL"),
        hidden: true,
        files: true,
        directories: true,
        width: None,
    };
    show_all(c, &args.rest, show)
}

fn show_all(c: &mut Context<'_>, paths: &[String], show: Show) -> Ended {
    let here = [String::new()];
    let paths = if paths.is_empty() { &here } else { paths };
    let name = if show.long { "List" } else { "Dir" };
    let mut code = OK;
    for (i, typed) in paths.iter().enumerate() {
        if i > 0 && show.all {
            c.line("")?;
        }
        let titled = paths.len() > 1 || show.all;
        code = match show_one(c, typed, show, titled) {
            Ok(()) => code,
            Err(stop) => worse(c, name, code, stop)?,
        };
    }
    Ok(code)
}

fn show_one(c: &mut Context<'_>, typed: &str, show: Show, titled: bool) -> Result<(), Stop> {
    let shown = if typed.is_empty() {
        "the current directory"
    } else {
        typed
    };
    let path = c.locate(typed)?;
    let stat = c.sys.stat(&path, true).about(shown)?;
    let mut totals = Totals::default();
    if stat.kind != FileKind::Directory {
        let name = typed.to_string();
        let entry = DirEntry {
            name,
            kind: FileKind::File,
        };
        if show.long {
            return long_line(c, &path, &entry, (0, show.owners), &mut totals);
        }
        return c.line(typed);
    }
    let mut waiting = Vec::from([(path, 0)]);
    while let Some((path, depth)) = waiting.pop() {
        if titled {
            let title = path::shown(&path);
            let colon = if title.ends_with(':') { "" } else { ":" };
            c.line(&format!("{title}{colon}"))?;
        }
        let below = show_directory(c, &path, show, &mut totals)?;
        if show.all && !below.is_empty() {
            if depth >= TREE_MAX {
                return fail(format!("{}: nested too deeply", path::shown(&path)));
            }
            let below = below.into_iter().rev();
            waiting.extend(below.map(|name| (path::join(&path, &name), depth + 1)));
        }
        if show.all && !waiting.is_empty() {
            c.line("")?;
        }
    }
    if show.long {
        c.line(&totals.text())?;
    }
    Ok(())
}

impl Totals {
    fn text(&self) -> String {
        format!(
            "{}, {}, {}",
            text::count(self.files, "file", "files"),
            text::count(self.directories, "directory", "directories"),
            text::count(self.bytes, "byte", "bytes"),
        )
    }
}

/// Shows one directory and returns the names of the directories in it when they are wanted.
fn show_directory(
    c: &mut Context<'_>,
    path: &str,
    show: Show,
    totals: &mut Totals,
) -> Result<Vec<String>, Stop> {
    let mut below = Vec::new();
    let mut from = Some(0);
    while let Some(start) = from {
        let mut entries = Vec::new();
        let mut next = Some(start);
        while let Some(at) = next.filter(|_| entries.len() < SORTED_MAX) {
            c.check()?;
            next = c
                .sys
                .read_dir(path, at, &mut entries)
                .about(&path::shown(path))?;
        }
        from = next;
        entries.retain(|entry| {
            let directory = entry.kind == FileKind::Directory;
            let wanted = if directory {
                show.directories
            } else {
                show.files
            };
            wanted && (show.hidden || !entry.name.starts_with('.'))
        });
        sort(&mut entries);
        if show.all {
            let directories = entries.iter().filter(|e| e.kind == FileKind::Directory);
            below.extend(directories.map(|e| e.name.clone()));
        }
        if show.long {
            let widest = entries
                .iter()
                .map(|e| e.name.chars().count())
                .max()
                .unwrap_or(0);
            for entry in &entries {
                let full = path::join(path, &entry.name);
                long_line(c, &full, entry, (widest, show.owners), totals)?;
            }
        } else {
            let names: Vec<String> = entries.iter().map(display_name).collect();
            c.out(&text::columns(&names, show.width))?;
        }
    }
    Ok(below)
}

/// Directories first, then by name without case.
fn sort(entries: &mut [DirEntry]) {
    entries.sort_by_cached_key(|entry| {
        (
            entry.kind != FileKind::Directory,
            entry.name.to_lowercase(),
            entry.name.clone(),
        )
    });
}

fn display_name(entry: &DirEntry) -> String {
    match entry.kind {
        FileKind::Directory => format!("{}/", entry.name),
        FileKind::Link => format!("{}@", entry.name),
        _ => entry.name.clone(),
    }
}

fn long_line(
    c: &mut Context<'_>,
    path: &str,
    entry: &DirEntry,
    (widest, owners): (usize, bool),
    totals: &mut Totals,
) -> Result<(), Stop> {
    let stat = match c.sys.stat(path, false) {
        Ok(stat) => stat,
        // It went away meanwhile.
        Err(Error::NotFound) => return Ok(()),
        Err(error) => return Err(error).about(&entry.name),
    };
    let size = match stat.kind {
        FileKind::Directory => {
            totals.directories += 1;
            String::from("<dir>")
        }
        FileKind::Link => {
            totals.files += 1;
            String::from("<link>")
        }
        _ => {
            totals.files += 1;
            totals.bytes += stat.size;
            stat.size.to_string()
        }
    };
    let name = text::padded(&entry.name, widest.max(24));
    let moment = Moment::new(stat.modified_ns);
    let (date, time) = (moment.date(), moment.time());
    let flags = text::protection(stat.mode);
    let mut line = format!("{name} {size:>12} {flags} {date} {time}");
    if owners {
        let owner = format!("{}:{}", stat.user, stat.group);
        let all = text::all_protection(stat.mode);
        line = format!("{name} {size:>12} {all} {owner:>9} {date} {time}");
    }
    if stat.kind == FileKind::Link {
        let target = c.sys.read_link(path).unwrap_or_default();
        line.push_str(&format!(" -> {target}"));
    }
    c.line(&line)
}

fn cd(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let typed = match arguments {
        [] => return cwd(c, arguments),
        [back] if back == "-" => match c.lookup("OLDPWD") {
            Some(path) => path,
            None => return fail("there is no directory to go back to"),
        },
        [typed] => typed.clone(),
        _ => return Err(Stop::Usage),
    };
    let (path, stat) = c.stat(&typed)?;
    if stat.kind != FileKind::Directory {
        return Err(Error::NotADirectory).about(&typed);
    }
    let old = core::mem::replace(&mut c.shell.state.cwd, path);
    c.set_variable("OLDPWD", &old);
    Ok(OK)
}

fn cwd(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    no_arguments(arguments)?;
    let shown = path::shown(&c.shell.state.cwd);
    c.line(&shown)?;
    Ok(OK)
}

fn make_dir(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let args = Arguments::parse(arguments, &[("PARENTS", "p"), ("IGNORED", "v")])?;
    if args.rest.is_empty() {
        return Err(Stop::Usage);
    }
    let mut code = OK;
    for typed in &args.rest {
        let made = make_one(c, typed, args.has("PARENTS"));
        if let Err(stop) = made {
            code = worse(c, "MakeDir", code, stop)?;
        }
    }
    Ok(code)
}

fn make_one(c: &mut Context<'_>, typed: &str, parents: bool) -> Result<(), Stop> {
    let path = c.locate(typed)?;
    if !parents {
        return c.sys.make_dir(&path).about(typed);
    }
    let ends = path
        .match_indices('/')
        .map(|(at, _)| at)
        .skip(1)
        .chain([path.len()]);
    for end in ends {
        let made = c.sys.make_dir(&path[..end]);
        let exists = |c: &mut Context<'_>| {
            c.sys
                .stat(&path[..end], true)
                .is_ok_and(|stat| stat.kind == FileKind::Directory)
        };
        match made {
            Err(Error::AlreadyExists | Error::ReadOnly | Error::PermissionDenied) if exists(c) => {}
            other => other.about(typed)?,
        }
    }
    Ok(())
}
