//! Assign, Path, Which.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Arguments, Spec};
use crate::context::{About, Context, Ended, Stop, fail};
use crate::error::Error;
use crate::path;
use crate::shell::{OK, WARN};
use crate::simple::Meaning;
use crate::system::{Assign, AssignTarget, FileKind};
use crate::text;

pub(super) static COMMANDS: &[Spec] = &[
    Spec::new(
        "Assign",
        &[],
        "Assign [NAME: [path...] [ADD|REMOVE|EXISTS]]",
        "shows and makes names for directories",
        assign,
    )
    .details(
        "`Assign` lists all names, `Assign W: SYS:work` makes one, ADD puts a directory behind \
         the ones it has, REMOVE takes the name away (or one directory from it), EXISTS returns \
         5 when there is no such name.",
    )
    .quiet(),
    Spec::new(
        "Path",
        &[],
        "Path [directory...] [ADD|REMOVE|RESET|SHOW]",
        "shows and sets where programs are looked for",
        search_path,
    )
    .details("Without a keyword directories are added. RESET leaves only C:."),
    Spec::new(
        "RealPath",
        &[],
        "RealPath path...",
        "shows what a path stands for",
        real_path,
    ),
    Spec::new(
        "Which",
        &["type?", "command"],
        "Which name...",
        "shows what a command's name means",
        which,
    )
    .details("Returns 5 when it means nothing.")
    .quiet(),
];

fn assign(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let keywords = [("ADD", ""), ("REMOVE", ""), ("EXISTS", ""), ("LIST", "")];
    let args = Arguments::parse(arguments, &keywords)?;
    let Some((name, paths)) = args.rest.split_first() else {
        return list(c);
    };
    let Some(name) = name.strip_suffix(':').filter(|name| valid(name)) else {
        return Err(Stop::Usage);
    };
    if args.has("EXISTS") {
        return exists(c, name);
    }
    let mut directories = Vec::new();
    for typed in paths {
        let (path, stat) = c.stat(typed)?;
        if stat.kind != FileKind::Directory {
            return Err(Error::NotADirectory).about(typed);
        }
        directories.push(path);
    }
    let shown = format!("{name}:");
    if args.has("REMOVE") {
        return remove(c, name, &directories);
    }
    if directories.is_empty() {
        return if args.has("ADD") || args.has("LIST") {
            Err(Stop::Usage)
        } else {
            exists(c, name)
        };
    }
    if args.has("ADD") {
        let mut before = current(c, name)?;
        before.retain(|path| !directories.contains(path));
        before.append(&mut directories);
        directories = before;
    }
    c.sys.assign_set(name, &directories).about(&shown)?;
    Ok(OK)
}

/// Letters, digits, `_`, `-` and `.`, at most 31.
fn valid(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !name.is_empty() && name.len() <= 31 && name.chars().all(fits)
}

fn current(c: &mut Context<'_>, name: &str) -> Result<Vec<String>, Stop> {
    match c.sys.assign(name) {
        Ok(Assign {
            target: AssignTarget::Directories(all),
            ..
        }) => Ok(all),
        Ok(_) => fail(format!("{name}: is a service")),
        Err(Error::NotFound) => Ok(Vec::new()),
        Err(error) => Err(error).about(name),
    }
}

fn remove(c: &mut Context<'_>, name: &str, directories: &[String]) -> Ended {
    let shown = format!("{name}:");
    let mut left = current(c, name)?;
    if left.is_empty() {
        return fail(format!("there is no assign {shown}"));
    }
    left.retain(|path| !directories.contains(path));
    if directories.is_empty() || left.is_empty() {
        c.sys.assign_remove(name).about(&shown)?;
    } else {
        c.sys.assign_set(name, &left).about(&shown)?;
    }
    Ok(OK)
}

fn exists(c: &mut Context<'_>, name: &str) -> Ended {
    match c.sys.assign(name) {
        Ok(assign) => {
            let line = describe(&assign);
            c.line(&line)?;
            Ok(OK)
        }
        Err(Error::NotFound) => {
            c.complain(&format!("Assign: there is no assign {name}:"));
            Ok(WARN)
        }
        Err(error) => Err(error).about(name),
    }
}

fn describe(assign: &Assign) -> String {
    let target = match &assign.target {
        AssignTarget::Service => String::from("[service]"),
        AssignTarget::Directories(all) => {
            let all: Vec<String> = all.iter().map(|path| shown(path)).collect();
            all.join(" + ")
        }
    };
    let name = text::padded(&format!("{}:", assign.name), 12);
    let system = if assign.system { "  [system]" } else { "" };
    format!("{name} {target}{system}")
}

/// The root is called by the only name it has without assigns.
fn shown(path: &str) -> String {
    if path == "/" {
        String::from("/")
    } else {
        path::shown(path)
    }
}

fn list(c: &mut Context<'_>) -> Ended {
    let (services, directories): (Vec<Assign>, Vec<Assign>) = c
        .sys
        .assigns()?
        .into_iter()
        .partition(|a| a.target == AssignTarget::Service);
    for (title, assigns) in [("Directories:", directories), ("Services:", services)] {
        if !assigns.is_empty() {
            c.line(title)?;
            for assign in &assigns {
                c.line(&format!("  {}", describe(assign)))?;
            }
        }
    }
    Ok(OK)
}

fn search_path(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let keywords = [("ADD", ""), ("REMOVE", ""), ("RESET", ""), ("SHOW", "")];
    let args = Arguments::parse(arguments, &keywords)?;
    for typed in &args.rest {
        if !args.has("REMOVE") && c.stat(typed)?.1.kind != FileKind::Directory {
            return Err(Error::NotADirectory).about(typed);
        }
    }
    let state = &mut c.shell.state;
    if args.has("RESET") {
        state.search = Vec::from([String::from("C:")]);
    }
    let is = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
    for typed in &args.rest {
        state.search.retain(|known| !is(known, typed));
        if !args.has("REMOVE") {
            state.search.push(typed.to_string());
        }
    }
    if args.has("SHOW") || arguments.is_empty() {
        for directory in c.shell.state.search.clone() {
            c.line(&directory)?;
        }
    }
    Ok(OK)
}

fn real_path(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    if arguments.is_empty() {
        return Err(Stop::Usage);
    }
    for typed in arguments {
        for path in c.candidates(typed)? {
            c.line(&path)?;
        }
    }
    Ok(OK)
}

fn which(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let args = Arguments::parse(arguments, &[("IGNORED", "v")])?;
    if args.rest.is_empty() {
        return Err(Stop::Usage);
    }
    let mut code = OK;
    for name in &args.rest {
        let text = match c.meaning(name) {
            Ok(Meaning::Alias(text)) => format!("{name} is an alias for {text}"),
            Ok(Meaning::Function(_)) => format!("{name} is a function"),
            Ok(Meaning::Builtin(spec)) => format!("{} is a command of the shell", spec.name),
            Ok(Meaning::Program(path)) => path::shown(&path),
            Err(Stop::Fail(..)) => {
                code = WARN;
                c.complain(&format!("Which: {name} means nothing"));
                continue;
            }
            Err(stop) => return Err(stop),
        };
        c.line(&text)?;
    }
    Ok(code)
}
