//! Commands that POSIX scripts expect of a shell.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::session::unescaped;
use super::variables::is_name;
use super::{Spec, number};
use crate::context::{Context, Ended, Stop, fail};
use crate::path;
use crate::shell::{OK, WARN};
use crate::system::{FileKind, Stat};

pub(super) static COMMANDS: &[Spec] = &[
    Spec::new(
        "test",
        &["["],
        "test expression",
        "compares; returns 0 or 5",
        test,
    )
    .details(
        "-e -f -d -L -s -r -w -x file, -z -n text, a = b, a != b, a -eq -ne -lt -le -gt -ge b, \
             ! expression, expression -a expression, expression -o expression.",
    )
    .quiet(),
    Spec::new(
        "read",
        &[],
        "read name...",
        "reads a line into variables",
        read,
    )
    .details("The last variable gets the rest of the line. Returns 5 at the end of input.")
    .quiet(),
    Spec::new(
        "printf",
        &[],
        "printf format [arguments...]",
        "writes text after a format",
        printf,
    )
    .details("%s %d %x %o %c %b %% with a width: %-8s %5d %03d; \\n \\t \\\\."),
    Spec::new(
        "basename",
        &[],
        "basename path [suffix]",
        "shows a path's last part",
        basename,
    ),
    Spec::new(
        "dirname",
        &[],
        "dirname path",
        "shows a path without its last part",
        dirname,
    ),
    Spec::new(
        "seq",
        &[],
        "seq [first] last",
        "shows numbers in a row",
        seq,
    ),
];

fn test(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let mut words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if words.last() == Some(&"]") {
        words.pop();
    }
    Ok(if expression(c, &words, 0)? { OK } else { WARN })
}

fn expression(c: &mut Context<'_>, words: &[&str], depth: usize) -> Result<bool, Stop> {
    if depth > 32 {
        return fail("the expression is nested too deeply");
    }
    // Three words with an operator in the middle are never split.
    if let [a, operator, b] = words
        && let Some(holds) = compare(a, operator, b)?
    {
        return Ok(holds);
    }
    for (operator, decides) in [("-o", true), ("-a", false)] {
        if let Some(at) = words
            .iter()
            .position(|word| *word == operator)
            .filter(|&at| at > 0)
        {
            let left = expression(c, &words[..at], depth + 1)?;
            let right = expression(c, &words[at + 1..], depth + 1)?;
            return Ok(if decides {
                left || right
            } else {
                left && right
            });
        }
    }
    match words {
        [] => Ok(false),
        ["!", rest @ ..] => Ok(!expression(c, rest, depth + 1)?),
        [text] => Ok(!text.is_empty()),
        ["-n", text] => Ok(!text.is_empty()),
        ["-z", text] => Ok(text.is_empty()),
        [operator, typed] => about_file(c, operator, typed),
        _ => Err(Stop::Usage),
    }
}

fn about_file(c: &mut Context<'_>, operator: &str, typed: &str) -> Result<bool, Stop> {
    let path = match c.locate(typed) {
        Ok(path) => path,
        Err(Stop::Fail(..)) => return Ok(false),
        Err(stop) => return Err(stop),
    };
    let fits: fn(Stat) -> bool = match operator {
        "-e" | "-L" | "-h" => |_| true,
        "-f" => |stat| stat.kind == FileKind::File,
        "-d" => |stat| stat.kind == FileKind::Directory,
        "-s" => |stat| stat.size > 0,
        "-r" => |stat| stat.mode & 0o444 != 0,
        "-w" => |stat| stat.mode & 0o222 != 0,
        "-x" => |stat| stat.mode & 0o111 != 0,
        _ => return Err(Stop::Usage),
    };
    if matches!(operator, "-L" | "-h") {
        return Ok(c
            .sys
            .stat(&path, false)
            .is_ok_and(|stat| stat.kind == FileKind::Link));
    }
    Ok(c.sys.stat(&path, true).is_ok_and(fits))
}

fn compare(a: &str, operator: &str, b: &str) -> Result<Option<bool>, Stop> {
    match operator {
        "=" | "==" => return Ok(Some(a == b)),
        "!=" => return Ok(Some(a != b)),
        "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge" => {}
        _ => return Ok(None),
    }
    let value = |text: &str| match text.trim().parse::<i64>() {
        Ok(value) => Ok(value),
        Err(_) => fail(format!("`{text}` is not a number")),
    };
    let order = value(a)?.cmp(&value(b)?);
    Ok(Some(match operator {
        "-eq" => order.is_eq(),
        "-ne" => order.is_ne(),
        "-lt" => order.is_lt(),
        "-le" => order.is_le(),
        "-gt" => order.is_gt(),
        _ => order.is_ge(),
    }))
}

fn read(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let names: Vec<&String> = arguments
        .iter()
        .filter(|name| !name.starts_with('-'))
        .collect();
    if let Some(bad) = names.iter().find(|name| !is_name(name)) {
        return fail(format!("`{bad}` is no name for a variable"));
    }
    let mut bytes = Vec::new();
    let mut ended = false;
    loop {
        let mut byte = [0];
        if c.read(&mut byte)? == 0 {
            ended = true;
            break;
        }
        if byte[0] == b'\n' {
            break;
        }
        if bytes.len() > 64 * 1024 {
            return fail("the line is longer than 64 KiB");
        }
        bytes.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&bytes).into_owned();
    let mut rest = line.trim();
    match names.split_last() {
        None => c.set_variable("REPLY", rest),
        Some((last, first)) => {
            for name in first {
                let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                c.set_variable(name, word);
                rest = after.trim_start();
            }
            c.set_variable(last, rest);
        }
    }
    Ok(if ended && bytes.is_empty() { WARN } else { OK })
}

fn printf(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let Some((format, mut values)) = arguments.split_first() else {
        return Err(Stop::Usage);
    };
    let format = unescaped(format);
    loop {
        let before = values.len();
        let text = formatted(&format, &mut values)?;
        c.out(&text)?;
        if values.is_empty() || values.len() == before {
            return Ok(OK);
        }
    }
}

/// Widths in formats, at most.
const WIDTH_MAX: usize = 1000;

fn formatted(format: &str, values: &mut &[String]) -> Result<String, Stop> {
    let mut text = String::new();
    let mut chars = format.chars().peekable();
    let mut take = || match values.split_first() {
        Some((first, rest)) => {
            *values = rest;
            first.clone()
        }
        None => String::new(),
    };
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let left = chars.next_if_eq(&'-').is_some();
        let zeros = chars.next_if_eq(&'0').is_some();
        let mut width = 0;
        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
            chars.next();
            width = (width * 10 + digit as usize).min(WIDTH_MAX);
        }
        let piece = match chars.next() {
            Some('%') | None => String::from("%"),
            Some('s') => take(),
            Some('b') => unescaped(&take()),
            Some('c') => take().chars().take(1).collect(),
            Some(kind @ ('d' | 'i' | 'u' | 'x' | 'X' | 'o')) => {
                let value = take();
                let number = match value.trim() {
                    "" => 0,
                    text => match text.parse::<i64>() {
                        Ok(number) => number,
                        Err(_) => return fail(format!("`{text}` is not a number")),
                    },
                };
                match kind {
                    'x' => format!("{number:x}"),
                    'X' => format!("{number:X}"),
                    'o' => format!("{number:o}"),
                    _ => number.to_string(),
                }
            }
            Some(other) => return fail(format!("%{other} is not understood")),
        };
        text.push_str(&match (left, zeros) {
            (true, _) => format!("{piece:<width$}"),
            (_, true) => format!("{piece:0>width$}"),
            _ => format!("{piece:>width$}"),
        });
    }
    Ok(text)
}

fn basename(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let (typed, suffix) = match arguments {
        [typed] => (typed, ""),
        [typed, suffix] => (typed, suffix.as_str()),
        _ => return Err(Stop::Usage),
    };
    let name = path::file_name(typed);
    let cut = name
        .strip_suffix(suffix)
        .filter(|cut| !cut.is_empty())
        .unwrap_or(name);
    c.line(if cut.is_empty() { "/" } else { cut })?;
    Ok(OK)
}

fn dirname(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let [typed] = arguments else {
        return Err(Stop::Usage);
    };
    let trimmed = typed.trim_end_matches('/');
    let dir = match (trimmed.rfind('/'), trimmed.find(':')) {
        _ if trimmed.is_empty() => "/",
        (Some(0), _) => "/",
        (Some(at), _) => &trimmed[..at],
        (None, Some(at)) => &trimmed[..=at],
        (None, None) => ".",
    };
    c.line(dir)?;
    Ok(OK)
}

fn seq(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let (first, last) = match arguments {
        [last] => (1, number(last)?),
        [first, last] => (number(first)?, number(last)?),
        _ => return Err(Stop::Usage),
    };
    for value in first..=last {
        c.line(&value.to_string())?;
    }
    Ok(OK)
}
