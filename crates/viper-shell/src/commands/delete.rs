//! Delete, Touch, Protect, Owner, MakeLink.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::directory::TREE_MAX;
use super::{Arguments, Spec, number, worse};
use crate::context::{About, Context, Ended, Stop, fail};
use crate::error::Error;
use crate::path;
use crate::shell::OK;
use crate::system::{DirEntry, FileKind, OpenMode};
use crate::text;

pub(super) static COMMANDS: &[Spec] = &[
    Spec::new(
        "Delete",
        &["rm", "del"],
        "Delete path... [ALL] [QUIET] [FORCE]",
        "deletes files",
        delete,
    )
    .details(
        "Deletes files and empty directories. ALL (-r) deletes directories with everything \
             in them; FORCE (-f) does not mind what is not there.",
    ),
    Spec::new(
        "RmDir",
        &[],
        "RmDir path...",
        "deletes empty directories",
        remove_dir,
    ),
    Spec::new(
        "Touch",
        &[],
        "Touch path...",
        "makes files, or sets their date to now",
        touch,
    ),
    Spec::new(
        "Protect",
        &["chmod"],
        "Protect path... [[ugo][+|-]rwed|number]",
        "shows or changes flags",
        protect,
    )
    .details(
        "`Protect x` shows the flags of the owner, the group and everybody else. `Protect x rwed` \
         sets them, `Protect x -w` takes one away, `Protect x +e` adds one; with u, g or o in front \
         only those of the owner, the group or others: `Protect x go-r`. chmod takes its mode first: \
         `chmod 755 x`.",
    ),
    Spec::new(
        "Owner",
        &["chown"],
        "Owner path... [user[:group]]",
        "shows or changes who owns files",
        owner,
    )
    .details(
        "Users and groups are numbers; 0 is the system. `Owner x` shows them, `Owner x 1000:1000` \
         sets them. chown takes the owner first: `chown 1000 x`.",
    ),
    Spec::new(
        "MakeLink",
        &[],
        "MakeLink new [TO] old [HARD]",
        "makes a link to a file",
        make_link,
    )
    .details("Without HARD a symbolic link. `ln -s old new` has its own order."),
    Spec::new("ln", &[], "ln [-s] old new", "makes a link to a file", ln),
    Spec::new(
        "Truncate",
        &[],
        "Truncate path size",
        "cuts or extends a file",
        truncate,
    ),
    Spec::new(
        "Sync",
        &[],
        "Sync",
        "makes everything written safe on the disk",
        sync,
    ),
];

fn delete(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let keywords = [
        ("ALL", "rR"),
        ("QUIET", "q"),
        ("FORCE", "f"),
        ("IGNORED", "v"),
    ];
    let args = Arguments::parse(arguments, &keywords)?;
    if args.rest.is_empty() && !args.has("FORCE") {
        return Err(Stop::Usage);
    }
    let (mut code, mut count) = (OK, 0);
    for typed in &args.rest {
        match delete_one(c, typed, args.has("ALL"), &mut count) {
            Ok(()) => {}
            Err(Missing::NotThere) if args.has("FORCE") => {}
            Err(Missing::NotThere) => {
                let stop = Err::<(), _>(Error::NotFound).about(typed).unwrap_err();
                code = worse(c, "Delete", code, stop)?;
            }
            Err(Missing::Stop(stop)) => {
                if count > 0 && matches!(stop, Stop::Flow(_)) {
                    let files = text::count(count, "entry was", "entries were");
                    c.complain(&format!("Delete: {files} deleted before"));
                }
                code = worse(c, "Delete", code, stop)?;
            }
        }
    }
    if args.has("ALL") && count > 1 && !args.has("QUIET") {
        c.line(&format!(
            "{} deleted",
            text::count(count, "entry", "entries")
        ))?;
    }
    Ok(code)
}

enum Missing {
    NotThere,
    Stop(Stop),
}

impl From<Stop> for Missing {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

fn delete_one(c: &mut Context<'_>, typed: &str, all: bool, count: &mut u64) -> Result<(), Missing> {
    let path = c.locate(typed)?;
    let stat = match c.sys.stat(&path, false) {
        Ok(stat) => stat,
        Err(Error::NotFound) => return Err(Missing::NotThere),
        Err(error) => return Err(error).about(typed).map_err(Missing::Stop),
    };
    if path == "/" {
        return Ok(fail(format!("{typed}: the root cannot be deleted"))?);
    }
    if stat.kind == FileKind::Directory {
        if all {
            return Ok(delete_tree(c, &path, count)?);
        }
        match c.sys.remove_dir(&path) {
            Err(Error::NotEmpty) => {
                let hint = "directory is not empty (ALL deletes it with everything in it)";
                return Ok(fail(format!("{typed}: {hint}"))?);
            }
            other => other.about(typed)?,
        }
    } else {
        c.sys.unlink(&path).about(typed)?;
    }
    *count += 1;
    Ok(())
}

/// Deletes a file, or a directory with everything in it. Links are not followed.
pub(super) fn delete_tree(c: &mut Context<'_>, path: &str, count: &mut u64) -> Result<(), Stop> {
    // A directory is met twice: to empty it, and then to remove it.
    let mut waiting = Vec::from([(path.to_string(), 0, false)]);
    while let Some((path, depth, emptied)) = waiting.pop() {
        c.check()?;
        if emptied {
            c.sys.remove_dir(&path).about(&path::shown(&path))?;
            *count += 1;
            continue;
        }
        if depth > TREE_MAX {
            return fail(format!("{}: nested too deeply", path::shown(&path)));
        }
        match read_some(c, &path) {
            Ok(entries) if entries.is_empty() => waiting.push((path, depth, true)),
            Ok(entries) => {
                // More may be left: the directory is looked at again after these.
                waiting.push((path.clone(), depth, false));
                for entry in entries {
                    let inner = path::join(&path, &entry.name);
                    if entry.kind == FileKind::Directory {
                        waiting.push((inner, depth + 1, false));
                    } else {
                        c.sys.unlink(&inner).about(&path::shown(&inner))?;
                        *count += 1;
                    }
                }
            }
            Err(Error::NotADirectory) => {
                c.sys.unlink(&path).about(&path::shown(&path))?;
                *count += 1;
            }
            Err(error) => return Err(error).about(&path::shown(&path)),
        }
    }
    Ok(())
}

/// The first entries of a directory; none when it is empty.
fn read_some(c: &mut Context<'_>, path: &str) -> Result<Vec<DirEntry>, Error> {
    let mut entries = Vec::new();
    let mut next = Some(0);
    while let Some(at) = next.filter(|_| entries.is_empty()) {
        next = c.sys.read_dir(path, at, &mut entries)?;
    }
    Ok(entries)
}

fn each(
    c: &mut Context<'_>,
    name: &str,
    all: &[String],
    mut what: impl FnMut(&mut Context<'_>, &str, &str) -> Result<(), Error>,
) -> Ended {
    if all.is_empty() {
        return Err(Stop::Usage);
    }
    let mut code = OK;
    for typed in all {
        let done = match c.locate(typed) {
            Ok(path) => what(c, &path, typed).about(typed),
            Err(stop) => Err(stop),
        };
        if let Err(stop) = done {
            code = worse(c, name, code, stop)?;
        }
    }
    Ok(code)
}

fn remove_dir(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let args = Arguments::parse(arguments, &[])?;
    each(c, "RmDir", &args.rest, |c, path, _| c.sys.remove_dir(path))
}

fn touch(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let args = Arguments::parse(arguments, &[("IGNORED", "m")])?;
    each(c, "Touch", &args.rest, |c, path, _| {
        let mode = OpenMode {
            exclusive: true,
            ..OpenMode::APPEND
        };
        match c.sys.open(path, mode) {
            Ok(file) => c.sys.close(file),
            Err(Error::AlreadyExists | Error::IsADirectory) => c.sys.set_modified(path, None),
            Err(error) => Err(error),
        }
    })
}

/// A change of flags: bits to take away, and bits to add.
#[derive(Clone, Copy)]
struct Change {
    clear: u32,
    set: u32,
}

impl Change {
    /// `rwed`, `+e`, `-w`, `755`, `u+x`.
    fn parse(text: &str) -> Option<Self> {
        if text.len() >= 3 && text.len() <= 4 && text.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
            let set = u32::from_str_radix(text, 8).ok()?;
            return Some(Self { clear: 0o7777, set });
        }
        let plain = text.trim_start_matches(['u', 'g', 'o', 'a']);
        let (classes, text) = (&text[..text.len() - plain.len()], plain);
        let mask = classes.chars().fold(0, |mask, class| {
            mask | match class {
                'u' => 0o700,
                'g' => 0o070,
                'o' => 0o007,
                _ => 0o777,
            }
        });
        let mask = if classes.is_empty() { 0o777 } else { mask };
        let (sign, flags) = match text.as_bytes().first()? {
            b'+' | b'-' | b'=' => (text.as_bytes()[0], &text[1..]),
            _ if !classes.is_empty() => return None,
            _ => (b'=', text),
        };
        // Without a class, only the owner is given the right to write, and it is taken from all.
        let write = match (classes.is_empty(), sign) {
            (true, b'+' | b'=') => 0o200,
            _ => 0o222,
        };
        let mut bits = 0;
        for flag in flags.chars() {
            bits |= match flag.to_ascii_lowercase() {
                'r' => 0o444,
                'w' | 'd' => write,
                'e' | 'x' => 0o111,
                '-' if sign == b'=' => 0,
                _ => return None,
            };
        }
        let bits = bits & mask;
        Some(match sign {
            b'+' => Self {
                clear: 0,
                set: bits,
            },
            b'-' => Self {
                clear: bits,
                set: 0,
            },
            _ => Self {
                clear: mask,
                set: bits,
            },
        })
    }
}

/// `5`, `5:6`, `5.6`: a user, and perhaps a group.
fn parse_owner(text: &str) -> Option<(u32, Option<u32>)> {
    match text.split_once([':', '.']) {
        Some((user, group)) => Some((user.parse().ok()?, Some(group.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    }
}

fn owner(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let first = arguments.first().and_then(|text| parse_owner(text));
    let last = arguments.last().and_then(|text| parse_owner(text));
    let (owner, files) = match (first, last, arguments) {
        (_, Some(owner), [files @ .., _]) if !files.is_empty() => (owner, files),
        (Some(owner), _, [_, files @ ..]) if !files.is_empty() => (owner, files),
        (_, _, files) => return show(c, "Owner", files),
    };
    each(c, "Owner", files, |c, path, _| {
        c.sys.set_owner(path, owner.0, owner.1)
    })
}

/// Shows flags and owners.
fn show(c: &mut Context<'_>, name: &str, files: &[String]) -> Ended {
    let mut lines = Vec::new();
    let code = each(c, name, files, |c, path, typed| {
        let stat = c.sys.stat(path, true)?;
        let flags = text::all_protection(stat.mode);
        let owner = format!("{}:{}", stat.user, stat.group);
        lines.push(format!(
            "{flags}  {:04o} {owner:>9}  {typed}",
            stat.mode & 0o7777
        ));
        Ok(())
    })?;
    for line in lines {
        c.line(&line)?;
    }
    Ok(code)
}

fn protect(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let first = arguments.first().and_then(|text| Change::parse(text));
    let last = arguments.last().and_then(|text| Change::parse(text));
    let (change, files) = match (first, last, arguments) {
        (_, Some(change), [files @ .., _]) if !files.is_empty() => (change, files),
        (Some(change), _, [_, files @ ..]) if !files.is_empty() => (change, files),
        (_, _, files) => return show(c, "Protect", files),
    };
    each(c, "Protect", files, |c, path, _| {
        let mode = c.sys.stat(path, true)?.mode;
        c.sys
            .set_mode(path, mode & 0o7777 & !change.clear | change.set)
    })
}

fn make_link(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let args = Arguments::parse(arguments, &[("HARD", ""), ("SOFT", "")])?;
    let (new, old) = match args.rest.as_slice() {
        [new, to, old] if to.eq_ignore_ascii_case("TO") => (new, old),
        [new, old] => (new, old),
        _ => return Err(Stop::Usage),
    };
    link(c, old, new, args.has("HARD"))
}

fn ln(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let args = Arguments::parse(arguments, &[("SOFT", "s"), ("IGNORED", "f")])?;
    let [old, new] = args.rest.as_slice() else {
        return Err(Stop::Usage);
    };
    link(c, old, new, !args.has("SOFT"))
}

fn link(c: &mut Context<'_>, old: &str, new: &str, hard: bool) -> Ended {
    let mut path = c.locate(new)?;
    if c.sys
        .stat(&path, true)
        .is_ok_and(|stat| stat.kind == FileKind::Directory)
    {
        path = path::join(&path, path::file_name(old));
    }
    if hard {
        let from = c.locate(old)?;
        c.sys.hard_link(&from, &path).about(new)?;
    } else {
        // The system knows no assigns: they are resolved now. Other texts stay as they are.
        let target = if old.contains(':') {
            c.locate(old)?
        } else {
            old.to_string()
        };
        c.sys.symlink(&target, &path).about(new)?;
    }
    Ok(OK)
}

fn truncate(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let [typed, size] = arguments else {
        return Err(Stop::Usage);
    };
    let size = number(size)?;
    let path = c.locate(typed)?;
    c.sys.truncate(&path, size).about(typed)?;
    Ok(OK)
}

fn sync(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    super::no_arguments(arguments)?;
    c.sys.sync_all()?;
    Ok(OK)
}
