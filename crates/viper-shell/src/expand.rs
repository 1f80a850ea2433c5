//! From words to arguments: parameters, substitutions, splitting, file names.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::arith;
use crate::ast::{Operator, Parameter, Part, Word};
use crate::context::{Context, Stop, fail};
use crate::glob;
use crate::shell::Variable;

/// Longest value, and longest argument list, in bytes.
const VALUE_MAX: usize = 1 << 20;

/// An argument in the making.
#[derive(Default)]
struct Field {
    text: String,
    /// The same as a pattern: what was quoted is escaped.
    pattern: String,
    matches_files: bool,
    /// It is an argument even when empty.
    started: bool,
}

impl Field {
    fn push(&mut self, text: &str, quoted: bool) {
        self.text.push_str(text);
        if quoted {
            glob::escape(text, &mut self.pattern);
            self.started = true;
        } else {
            // The AmigaDOS way to say "anything".
            self.pattern.push_str(&text.replace("#?", "*"));
            self.matches_files |= glob::is_pattern(text);
            self.started |= !text.is_empty();
        }
    }
}

impl Context<'_> {
    /// Expands words to arguments.
    pub(crate) fn expand_words(&mut self, words: &[Word]) -> Result<Vec<String>, Stop> {
        self.shell.substituted = false;
        let mut arguments = Vec::new();
        let mut size = 0;
        for word in words {
            for field in self.fields(word)? {
                // `?` alone asks for help.
                let matches_files = field.matches_files && field.text != "?";
                let found = if matches_files && !field.text.starts_with('-') {
                    self.matching_files(&field.pattern)?
                } else {
                    Vec::new()
                };
                let found = if found.is_empty() {
                    Vec::from([field.text])
                } else {
                    found
                };
                size += found
                    .iter()
                    .map(|argument| argument.len() + 8)
                    .sum::<usize>();
                if size > 4 * VALUE_MAX {
                    return fail("too many arguments");
                }
                arguments.extend(found);
            }
        }
        Ok(arguments)
    }

    /// Expands a word to one text, without splitting and file names.
    pub(crate) fn expand_text(&mut self, word: &Word) -> Result<String, Stop> {
        Ok(self.whole(word)?.text)
    }

    /// Expands a word to a pattern in which quoted characters stand for themselves.
    pub(crate) fn expand_pattern(&mut self, word: &Word) -> Result<String, Stop> {
        Ok(self.whole(word)?.pattern)
    }

    /// Expands a word to a file's name.
    pub(crate) fn expand_name(&mut self, word: &Word) -> Result<String, Stop> {
        match self.expand_text(word)? {
            name if name.is_empty() => fail("the name of the file to redirect is empty"),
            name => Ok(name),
        }
    }

    /// A word as one field.
    fn whole(&mut self, word: &Word) -> Result<Field, Stop> {
        let mut field = Field::default();
        for part in &word.parts {
            match part {
                Part::Literal(text) => field.push(text, false),
                Part::Quoted(text) => field.push(text, true),
                other => {
                    let (value, quoted) = self.value_of(other)?;
                    field.push(&value, quoted);
                }
            }
            limit(&field.text)?;
        }
        Ok(field)
    }

    fn fields(&mut self, word: &Word) -> Result<Vec<Field>, Stop> {
        let mut done = Vec::new();
        let mut field = Field::default();
        for part in &word.parts {
            match part {
                Part::Literal(text) => field.push(text, false),
                Part::Quoted(text) => field.push(text, true),
                Part::Parameter { parameter, quoted } if all_arguments(parameter, *quoted) => {
                    // "$@": every argument is a field, the outer ones joined to what is around.
                    let values = self.shell.state.arguments.get(1..).unwrap_or(&[]).to_vec();
                    for (i, value) in values.iter().enumerate() {
                        if i > 0 && (*quoted || field.started) {
                            done.push(core::mem::take(&mut field));
                        }
                        match quoted {
                            true => field.push(value, true),
                            false => self.split(value, &mut field, &mut done),
                        }
                    }
                }
                other => {
                    let (value, quoted) = self.value_of(other)?;
                    limit(&value)?;
                    if quoted {
                        field.push(&value, true);
                    } else {
                        self.split(&value, &mut field, &mut done);
                    }
                }
            }
            limit(&field.text)?;
        }
        if field.started {
            done.push(field);
        }
        Ok(done)
    }

    /// Splits a value at `IFS` into fields.
    fn split(&self, value: &str, field: &mut Field, done: &mut Vec<Field>) {
        let separators = self.variable("IFS").map_or(" \t\n", |v| v.as_str());
        let is_separator = |c: char| separators.contains(c);
        let mut rest = value;
        while !rest.is_empty() {
            let end = rest.find(is_separator).unwrap_or(rest.len());
            field.push(&rest[..end], false);
            rest = &rest[end..];
            let Some(separator) = rest.chars().next() else {
                return;
            };
            if field.started || !separator.is_whitespace() {
                field.started = true;
                done.push(core::mem::take(field));
            }
            rest = &rest[separator.len_utf8()..];
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() && is_separator(c));
        }
    }

    /// The value of a part that is not text, and whether it is quoted.
    fn value_of(&mut self, part: &Part) -> Result<(String, bool), Stop> {
        Ok(match part {
            Part::Literal(text) => (text.clone(), false),
            Part::Quoted(text) => (text.clone(), true),
            Part::Parameter { parameter, quoted } => (self.parameter(parameter)?, *quoted),
            Part::Arithmetic { formula, quoted } => {
                let formula = self.expand_text(formula)?;
                (self.arithmetic(&formula)?.to_string(), *quoted)
            }
            Part::Command { list, quoted } => {
                let bytes = self.captured(|c| c.list(list))?;
                self.shell.substituted = true;
                let text = String::from_utf8_lossy(&bytes);
                (
                    text.trim_end_matches(['\n', '\r']).replace('\0', ""),
                    *quoted,
                )
            }
        })
    }

    /// Evaluates a formula.
    pub(crate) fn arithmetic(&mut self, formula: &str) -> Result<i64, Stop> {
        let mut assigned = Vec::new();
        let value = arith::evaluate(formula, &mut |name| self.number(name), &mut assigned);
        for (name, value) in assigned {
            self.set_variable(&name, &value.to_string());
        }
        match value {
            Ok(value) => Ok(value),
            Err(what) => fail(format!("{what} in `{formula}`")),
        }
    }

    fn number(&self, name: &str) -> i64 {
        self.variable(name)
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0)
    }

    fn variable(&self, name: &str) -> Option<&String> {
        self.shell
            .state
            .variables
            .get(name)
            .map(|variable| &variable.value)
    }

    /// The value of a parameter; `None` when it is not set.
    pub(crate) fn lookup(&mut self, name: &str) -> Option<String> {
        let arguments = &self.shell.state.arguments;
        match name {
            "?" => return Some(self.shell.last.to_string()),
            "#" => return Some(arguments.len().saturating_sub(1).to_string()),
            "@" | "*" => return Some(arguments.get(1..).unwrap_or(&[]).join(" ")),
            "$" => return Some("1".to_string()),
            "!" => return self.shell.last_background.map(|pid| pid.0.to_string()),
            _ => {}
        }
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return arguments.get(name.parse::<usize>().ok()?).cloned();
        }
        if let Some(value) = self.variable(name) {
            return Some(value.clone());
        }
        match name {
            "RC" => Some(self.shell.last.to_string()),
            "PWD" => Some(self.shell.state.cwd.clone()),
            _ => None,
        }
    }

    pub(crate) fn set_variable(&mut self, name: &str, value: &str) {
        let variables = &mut self.shell.state.variables;
        let exported = variables
            .get(name)
            .is_some_and(|variable| variable.exported);
        variables.insert(
            name.to_string(),
            Variable {
                value: value.to_string(),
                exported,
            },
        );
    }

    fn parameter(&mut self, parameter: &Parameter) -> Result<String, Stop> {
        let Parameter { name, operator } = parameter;
        let value = self.lookup(name);
        match operator {
            Operator::Value => match value {
                None if self.shell.state.unset_is_error => fail(format!("{name} is not set")),
                value => Ok(value.unwrap_or_default()),
            },
            Operator::Length => Ok(value.unwrap_or_default().chars().count().to_string()),
            Operator::Missing {
                operator,
                empty_too,
                word,
            } => {
                let missing = value.as_ref().is_none_or(|v| *empty_too && v.is_empty());
                match operator {
                    '+' if missing => Ok(String::new()),
                    '+' => self.expand_text(word),
                    _ if !missing => Ok(value.unwrap_or_default()),
                    '-' => self.expand_text(word),
                    '=' => {
                        let value = self.expand_text(word)?;
                        self.set_variable(name, &value);
                        Ok(value)
                    }
                    _ => {
                        let why = self.expand_text(word)?;
                        fail(format!(
                            "{name}: {}",
                            if why.is_empty() { "is not set" } else { &why }
                        ))
                    }
                }
            }
            Operator::Trim {
                end,
                longest,
                pattern,
            } => {
                let pattern = self.expand_pattern(pattern)?;
                let value = value.unwrap_or_default();
                Ok(glob::trim(&value, &pattern, *end, *longest).to_string())
            }
        }
    }
}

/// `"$@"` and unquoted `$@`/`$*`.
fn all_arguments(parameter: &Parameter, quoted: bool) -> bool {
    parameter.operator == Operator::Value
        && (parameter.name == "@" || (parameter.name == "*" && !quoted))
}

fn limit(text: &str) -> Result<(), Stop> {
    if text.len() > VALUE_MAX {
        fail("a value is longer than 1 MiB")
    } else {
        Ok(())
    }
}
