//! The commands of the shell.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::context::{Context, Ended, Stop};

mod copy;
mod delete;
mod directory;
mod help;
mod lines;
mod names;
mod posix;
mod process;
mod script;
mod session;
mod system;
mod variables;
mod volumes;

pub(crate) use help::help;
pub(crate) use process::grants;

/// A command.
pub(crate) struct Spec {
    /// Its name as written in the manual.
    pub(crate) name: &'static str,
    /// Other names, in lower case.
    pub(crate) aliases: &'static [&'static str],
    /// Its arguments, in AmigaDOS fashion.
    pub(crate) usage: &'static str,
    /// What it does, in a line.
    pub(crate) summary: &'static str,
    /// More about it; may be empty.
    pub(crate) details: &'static str,
    /// Its return code is an answer and nothing for `Why`.
    pub(crate) quiet: bool,
    /// The command itself.
    pub(crate) run: fn(&mut Context<'_>, &[String]) -> Ended,
}

impl Spec {
    const fn new(
        name: &'static str,
        aliases: &'static [&'static str],
        usage: &'static str,
        summary: &'static str,
        run: fn(&mut Context<'_>, &[String]) -> Ended,
    ) -> Self {
        Self {
            name,
            aliases,
            usage,
            summary,
            details: "",
            quiet: false,
            run,
        }
    }

    const fn details(mut self, details: &'static str) -> Self {
        self.details = details;
        self
    }

    const fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }
}

/// All commands by theme.
pub(crate) static GROUPS: &[(&str, &[Spec])] = &[
    ("Directories", directory::COMMANDS),
    ("Files", copy::COMMANDS),
    ("More about files", delete::COMMANDS),
    ("Volumes", volumes::COMMANDS),
    ("Text", lines::COMMANDS),
    ("Names", names::COMMANDS),
    ("Programs", process::COMMANDS),
    ("The system", system::COMMANDS),
    ("The shell", session::COMMANDS),
    ("Variables", variables::COMMANDS),
    ("Scripts", script::COMMANDS),
    ("POSIX", posix::COMMANDS),
];

/// All commands.
pub(crate) fn all() -> impl Iterator<Item = &'static Spec> {
    GROUPS.iter().flat_map(|(_, commands)| commands.iter())
}

/// The command of this name, in any case of letters.
pub(crate) fn find(name: &str) -> Option<&'static Spec> {
    let is = |other: &str| other.eq_ignore_ascii_case(name);
    all()
        .find(|spec| is(spec.name))
        .or_else(|| all().find(|spec| spec.aliases.iter().any(|alias| is(alias))))
}

/// An option of a command: a keyword, as `ALL`, and letters, as in `-r`. A keyword that ends in
/// `=` takes a value: `LINES 5`, `LINES=5`, `-n 5`, `-n5`.
pub(crate) type Keyword = (&'static str, &'static str);

/// Arguments sorted into options and the rest.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// What is not an option.
    pub(crate) rest: Vec<String>,
    given: Vec<(&'static str, String)>,
}

impl Arguments {
    /// Sorts arguments. After `--` everything is an argument.
    pub(crate) fn parse(arguments: &[String], keywords: &[Keyword]) -> Result<Self, Stop> {
        let mut sorted = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                sorted.rest.extend(arguments.cloned());
                break;
            }
            if let Some((keyword, value)) = find_keyword(argument, keywords) {
                let value = match value {
                    Some(value) => value.to_string(),
                    None if keyword.ends_with('=') => arguments.next().ok_or(Stop::Usage)?.clone(),
                    None => String::new(),
                };
                sorted.given.push((keyword, value));
                continue;
            }
            match argument.strip_prefix('-') {
                Some(letters) if !letters.is_empty() => {
                    sorted.letters(letters, keywords, &mut arguments)?;
                }
                _ => sorted.rest.push(argument.clone()),
            }
        }
        Ok(sorted)
    }

    fn letters(
        &mut self,
        letters: &str,
        keywords: &[Keyword],
        arguments: &mut core::slice::Iter<'_, String>,
    ) -> Result<(), Stop> {
        for (at, letter) in letters.char_indices() {
            let fits = |&&(_, short): &&Keyword| short.contains(letter);
            let (keyword, _) = keywords.iter().find(fits).ok_or(Stop::Usage)?;
            if keyword.ends_with('=') {
                let value = match &letters[at + letter.len_utf8()..] {
                    "" => arguments.next().ok_or(Stop::Usage)?.clone(),
                    value => value.to_string(),
                };
                self.given.push((keyword, value));
                return Ok(());
            }
            self.given.push((keyword, String::new()));
        }
        Ok(())
    }

    /// Whether an option was given.
    pub(crate) fn has(&self, keyword: &str) -> bool {
        self.given.iter().any(|(given, _)| *given == keyword)
    }

    /// The value of an option, if it was given.
    pub(crate) fn value(&self, keyword: &str) -> Option<&str> {
        let given = self.given.iter().rev().find(|(given, _)| *given == keyword);
        given.map(|(_, value)| value.as_str())
    }

    /// The value of an option as a number.
    pub(crate) fn number(&self, keyword: &str) -> Result<Option<u64>, Stop> {
        match self.value(keyword) {
            Some(text) => number(text).map(Some),
            None => Ok(None),
        }
    }

    /// Nothing but options was given, or this is no usage of the command.
    pub(crate) fn nothing_else(&self) -> Result<(), Stop> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Stop::Usage)
        }
    }
}

/// The keyword an argument is, and the value joined to it with `=`.
fn find_keyword<'a>(
    argument: &'a str,
    keywords: &[Keyword],
) -> Option<(&'static str, Option<&'a str>)> {
    for (keyword, _) in keywords {
        match keyword.strip_suffix('=') {
            Some(name) => {
                if argument.eq_ignore_ascii_case(name) {
                    return Some((keyword, None));
                }
                if let Some((given, value)) = argument.split_once('=')
                    && given.eq_ignore_ascii_case(name)
                {
                    return Some((keyword, Some(value)));
                }
            }
            None if argument.eq_ignore_ascii_case(keyword) => return Some((keyword, None)),
            None => {}
        }
    }
    None
}

/// A number, or this is no usage of the command.
pub(crate) fn number(text: &str) -> Result<u64, Stop> {
    text.parse().map_err(|_| Stop::Usage)
}

/// A command that takes no arguments got none.
pub(crate) fn no_arguments(arguments: &[String]) -> Result<(), Stop> {
    if arguments.is_empty() {
        Ok(())
    } else {
        Err(Stop::Usage)
    }
}

/// Adds to a list what `what` could not do, and says it at once.
pub(crate) fn worse(context: &mut Context<'_>, name: &str, so_far: i32, stop: Stop) -> Ended {
    match stop {
        Stop::Fail(code, message) => {
            context.complain(&format!("{name}: {message}"));
            context.trouble(name, code, &message);
            Ok(so_far.max(code))
        }
        other => Err(other),
    }
}
