//! Help, Echo, Cls, Why, History, Alias, EndShell.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Arguments, Spec, no_arguments, number};
use crate::context::{Context, Ended, Flow, Stop, fail};
use crate::shell::{ERROR, FAIL, OK, WARN};
use crate::text;

pub(super) static COMMANDS: &[Spec] = &[
    Spec::new(
        "Help",
        &["?", "man"],
        "Help [command]",
        "shows the commands, or explains one",
        help,
    )
    .details("`Help ALL` explains every command, `Help shell` the language."),
    Spec::new(
        "Echo",
        &[],
        "Echo [text...] [NOLINE]",
        "writes its arguments",
        echo,
    )
    .details("NOLINE (-n) leaves out the line's end; with -e \\n \\t \\\\ \\e are replaced."),
    Spec::new("Cls", &["clear"], "Cls", "clears the screen", cls),
    Spec::new(
        "Why",
        &[],
        "Why",
        "explains the last return code that was not 0",
        why,
    ),
    Spec::new(
        "History",
        &[],
        "History [n|CLEAR]",
        "shows the lines entered",
        history,
    ),
    Spec::new(
        "Alias",
        &[],
        "Alias [name [text]]",
        "shows and makes other names for commands",
        alias,
    )
    .details(
        "`[]` in the text stands for the arguments; without it they come last. Also \
             `alias name=text`.",
    ),
    Spec::new(
        "Unalias",
        &[],
        "Unalias name...",
        "takes aliases away",
        unalias,
    ),
    Spec::new(
        "EndShell",
        &["exit", "quit", "endcli"],
        "EndShell [code]",
        "ends the shell",
        end_shell,
    ),
];

fn help(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    match arguments {
        [] => {
            let page = super::help::overview();
            c.out(&page)?;
        }
        [all] if all.eq_ignore_ascii_case("ALL") => {
            for spec in super::all() {
                c.out(&super::help(spec))?;
                c.line("")?;
            }
        }
        [language] if language.eq_ignore_ascii_case("shell") => c.out(super::help::LANGUAGE)?,
        names => {
            for name in names {
                match super::find(name) {
                    Some(spec) => c.out(&super::help(spec))?,
                    None => return fail(format!("{name}: no such command (Help lists them)")),
                }
            }
        }
    }
    Ok(OK)
}

fn echo(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let mut words = arguments;
    let (mut end, mut escapes) = (true, false);
    while let Some((first, rest)) = words.split_first() {
        match first.as_str() {
            "-n" => end = false,
            "-e" => escapes = true,
            "-ne" | "-en" => (end, escapes) = (false, true),
            _ => break,
        }
        words = rest;
    }
    if let Some((last, rest)) = words.split_last()
        && last.eq_ignore_ascii_case("NOLINE")
    {
        (words, end) = (rest, false);
    }
    let mut text = words.join(" ");
    if escapes {
        text = unescaped(&text);
    }
    if end {
        text.push('\n');
    }
    c.out(&text)?;
    Ok(OK)
}

/// Replaces `\n` and its kin.
pub(super) fn unescaped(text: &str) -> String {
    let mut result = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => result.push('\n'),
            Some('t') => result.push('\t'),
            Some('r') => result.push('\r'),
            Some('e') => result.push('\x1b'),
            Some('a') => result.push('\x07'),
            Some('0') => result.push('\0'),
            Some('\\') | None => result.push('\\'),
            Some(other) => result.extend(['\\', other]),
        }
    }
    result
}

fn cls(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    no_arguments(arguments)?;
    // Without a terminal there is nothing to clear.
    if c.width().is_some() {
        c.out("\x1b[H\x1b[2J")?;
    }
    Ok(OK)
}

fn why(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    no_arguments(arguments)?;
    let Some(trouble) = c.shell.trouble.clone() else {
        c.line("Nothing has gone wrong so far.")?;
        return Ok(OK);
    };
    let level = match trouble.code {
        ..WARN => "",
        WARN..ERROR => " (WARN)",
        ERROR..FAIL => " (ERROR)",
        _ => " (FAIL)",
    };
    let command = &trouble.command;
    let ended = format!("{command} ended with return code {}{level}", trouble.code);
    let line = match trouble.message.is_empty() {
        true => format!("{ended} and gave no reason."),
        false => format!("{ended}: {}.", trouble.message),
    };
    c.line(&line)?;
    Ok(OK)
}

fn history(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let args = Arguments::parse(arguments, &[("CLEAR", "c")])?;
    if args.has("CLEAR") {
        c.shell.history.clear();
        c.shell.history_cleared = true;
        return Ok(OK);
    }
    let all = c.shell.history.len();
    let wanted = match args.rest.as_slice() {
        [] => all,
        [count] => usize::try_from(number(count)?).unwrap_or(all),
        _ => return Err(Stop::Usage),
    };
    let lines: Vec<(usize, String)> = c
        .shell
        .history
        .iter()
        .cloned()
        .enumerate()
        .skip(all.saturating_sub(wanted))
        .collect();
    for (i, line) in lines {
        c.line(&format!("{:>4}  {line}", i + 1))?;
    }
    Ok(OK)
}

fn alias(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let Some((name, text)) = arguments.split_first() else {
        for (name, text) in c.shell.state.aliases.clone() {
            c.line(&format!("{} {text}", text::padded(&name, 12)))?;
        }
        return Ok(OK);
    };
    if let (Some((name, value)), []) = (name.split_once('='), text) {
        return define(c, name, value);
    }
    if text.is_empty() {
        return match c.shell.state.aliases.get(&name.to_lowercase()).cloned() {
            Some(text) => c
                .line(&format!("{} {text}", text::padded(name, 12)))
                .map(|()| OK),
            None => fail(format!("{name}: no such alias")),
        };
    }
    define(c, name, &text.join(" "))
}

fn define(c: &mut Context<'_>, name: &str, text: &str) -> Ended {
    if name.is_empty() || text.trim().is_empty() {
        return Err(Stop::Usage);
    }
    c.shell
        .state
        .aliases
        .insert(name.to_lowercase(), text.to_string());
    Ok(OK)
}

fn unalias(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    if arguments.is_empty() {
        return Err(Stop::Usage);
    }
    for name in arguments {
        if c.shell.state.aliases.remove(&name.to_lowercase()).is_none() {
            return fail(format!("{name}: no such alias"));
        }
    }
    Ok(OK)
}

fn end_shell(c: &mut Context<'_>, arguments: &[String]) -> Ended {
    let code = match arguments {
        [] => c.shell.last,
        [code] => code.parse().map_err(|_| Stop::Usage)?,
        _ => return Err(Stop::Usage),
    };
    c.shell.ended = true;
    Err(Flow::Exit(code).into())
}
