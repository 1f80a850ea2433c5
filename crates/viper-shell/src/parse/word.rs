//! Words: quotes, `$`, and text with `$` in it.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use super::{ParseErrorKind, Parser, Result, name_length};
use crate::ast::{Operator, Parameter, Part, Word};

/// Collects parts and joins neighbouring text.
#[derive(Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn literal(&mut self, c: char) {
        match self.0.last_mut() {
            Some(Part::Literal(text)) => text.push(c),
            _ => self.0.push(Part::Literal(String::from(c))),
        }
    }

    fn quoted(&mut self, more: &str) {
        match self.0.last_mut() {
            Some(Part::Quoted(text)) => text.push_str(more),
            _ => self.0.push(Part::Quoted(String::from(more))),
        }
    }
}

impl Parser<'_> {
    /// The word that begins here; `None` when something else does.
    pub(super) fn word(&mut self) -> Result<Option<Word>> {
        let start = self.at;
        let mut parts = Parts::default();
        while let Some(c) = self.peek() {
            if c.is_whitespace() || ";&|<>()".contains(c) {
                break;
            }
            self.word_piece(&mut parts)?;
        }
        Ok((self.at > start).then_some(Word { parts: parts.0 }))
    }

    /// One character or construct of an unquoted word.
    fn word_piece(&mut self, parts: &mut Parts) -> Result<()> {
        match self.bump() {
            Some('\'') => self.single_quoted(parts),
            Some('"') => self.nested(|p| p.double_quoted(parts)),
            Some('\\') => {
                match self.bump() {
                    Some('\n') => {}
                    Some(c) => parts.quoted(c.encode_utf8(&mut [0; 4])),
                    None => return Err(self.missing("the character after \\")),
                }
                Ok(())
            }
            Some('$') => self.dollar(parts, false),
            Some('`') => self.backquoted(parts, false),
            Some(c) => {
                parts.literal(c);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn single_quoted(&mut self, parts: &mut Parts) -> Result<()> {
        let Some(end) = self.rest().find('\'') else {
            self.at = self.text.len();
            return Err(self.missing("the closing '"));
        };
        parts.quoted(&self.rest()[..end]);
        self.at += end + 1;
        Ok(())
    }

    fn double_quoted(&mut self, parts: &mut Parts) -> Result<()> {
        // Even "" is a word.
        parts.quoted("");
        loop {
            match self.bump() {
                Some('"') => return Ok(()),
                Some(c) => self.quoted_piece(c, parts)?,
                None => return Err(self.missing("the closing \"")),
            }
        }
    }

    /// One character or construct inside double quotes, its first character taken.
    fn quoted_piece(&mut self, first: char, parts: &mut Parts) -> Result<()> {
        match first {
            '$' => self.dollar(parts, true),
            '`' => self.backquoted(parts, true),
            '\\' => {
                match self.peek() {
                    Some('\n') => _ = self.bump(),
                    Some(c @ ('$' | '`' | '"' | '\\')) => {
                        self.bump();
                        parts.quoted(c.encode_utf8(&mut [0; 4]));
                    }
                    _ => parts.quoted("\\"),
                }
                Ok(())
            }
            c => {
                parts.quoted(c.encode_utf8(&mut [0; 4]));
                Ok(())
            }
        }
    }

    /// A text from `<<`, in which `$` counts but quotes do not.
    pub(super) fn text_word(&mut self, body: &str) -> Result<Word> {
        let mut inner = Parser {
            text: body,
            at: 0,
            depth: self.depth,
            item_at: 0,
            texts: Vec::new(),
        };
        let mut parts = Parts::default();
        let outer = self.at;
        while let Some(c) = inner.bump() {
            inner
                .nested(|p| p.quoted_piece(c, &mut parts))
                .map_err(|e| super::ParseError { at: outer, ..e })?;
        }
        Ok(Word { parts: parts.0 })
    }

    fn dollar(&mut self, parts: &mut Parts, quoted: bool) -> Result<()> {
        let part = if self.eat("((") {
            let formula = self.nested(Self::formula)?;
            Part::Arithmetic { formula, quoted }
        } else if self.eat("(") {
            let list = self.nested(Self::list)?;
            self.expect(")")?;
            Part::Command {
                list: Rc::new(list),
                quoted,
            }
        } else if self.eat("{") {
            let parameter = Box::new(self.nested(Self::braces)?);
            Part::Parameter { parameter, quoted }
        } else {
            let name = self.parameter_name();
            if name.is_empty() {
                if quoted {
                    parts.quoted("$");
                } else {
                    parts.literal('$');
                }
                return Ok(());
            }
            let parameter = Box::new(Parameter {
                name,
                operator: Operator::Value,
            });
            Part::Parameter { parameter, quoted }
        };
        parts.0.push(part);
        Ok(())
    }

    /// A name, a digit, or a special parameter.
    fn parameter_name(&mut self) -> String {
        let mut length = name_length(self.rest());
        if length == 0
            && self
                .peek()
                .is_some_and(|c| c.is_ascii_digit() || "?#@*$!".contains(c))
        {
            length = 1;
        }
        let name = String::from(self.rest().get(..length).unwrap_or(""));
        self.at += length;
        name
    }

    /// After `${`.
    fn braces(&mut self) -> Result<Parameter> {
        if self.rest().starts_with('#') && !self.rest().starts_with("#}") {
            self.bump();
            let name = self.braced_name()?;
            self.expect("}")?;
            return Ok(Parameter {
                name,
                operator: Operator::Length,
            });
        }
        let name = self.braced_name()?;
        let empty_too = self.eat(":");
        let operator = match self.bump() {
            Some('}') if !empty_too => {
                return Ok(Parameter {
                    name,
                    operator: Operator::Value,
                });
            }
            Some(operator @ ('-' | '=' | '?' | '+')) => Operator::Missing {
                operator,
                empty_too,
                word: self.until_brace()?,
            },
            Some(side @ ('#' | '%')) if !empty_too => {
                let longest = self.eat(if side == '%' { "%" } else { "#" });
                Operator::Trim {
                    end: side == '%',
                    longest,
                    pattern: self.until_brace()?,
                }
            }
            None => return Err(self.missing("}")),
            Some(_) => return Err(self.error(ParseErrorKind::BadSubstitution)),
        };
        Ok(Parameter { name, operator })
    }

    fn braced_name(&mut self) -> Result<String> {
        let digits = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
        let name = match digits {
            0 => self.parameter_name(),
            length => {
                let name = String::from(&self.rest()[..length]);
                self.at += length;
                name
            }
        };
        match name.is_empty() {
            true if self.rest().is_empty() => Err(self.missing("}")),
            true => Err(self.error(ParseErrorKind::BadSubstitution)),
            false => Ok(name),
        }
    }

    /// The word up to `}`.
    fn until_brace(&mut self) -> Result<Word> {
        let mut parts = Parts::default();
        loop {
            match self.peek() {
                Some('}') => {
                    self.bump();
                    return Ok(Word { parts: parts.0 });
                }
                Some(_) => self.word_piece(&mut parts)?,
                None => return Err(self.missing("}")),
            }
        }
    }

    /// After `$((`: the formula up to `))`.
    fn formula(&mut self) -> Result<Word> {
        let mut parts = Parts::default();
        let mut open = 0usize;
        loop {
            match self.bump() {
                Some(')') if open == 0 => {
                    self.expect(")")?;
                    return Ok(Word { parts: parts.0 });
                }
                Some(c) => {
                    open += usize::from(c == '(');
                    open -= usize::from(c == ')');
                    self.quoted_piece(c, &mut parts)?;
                }
                None => return Err(self.missing("))")),
            }
        }
    }

    /// After a back quote: commands up to the next one.
    fn backquoted(&mut self, parts: &mut Parts, quoted: bool) -> Result<()> {
        let mut text = String::new();
        loop {
            match self.bump() {
                Some('`') => break,
                Some('\\') if self.peek().is_some_and(|c| "`$\\".contains(c)) => {
                    text.extend(self.bump());
                }
                Some(c) => text.push(c),
                None => return Err(self.missing("the closing `")),
            }
        }
        let list = self.nested(|p| {
            let mut inner = Parser {
                text: &text,
                at: 0,
                depth: p.depth,
                item_at: 0,
                texts: Vec::new(),
            };
            let list = inner
                .list()
                .map_err(|e| super::ParseError { at: p.at, ..e })?;
            match inner.rest().is_empty() {
                true => Ok(list),
                false => Err(p.error(ParseErrorKind::Expected("a command in `...`"))),
            }
        })?;
        parts.0.push(Part::Command {
            list: Rc::new(list),
            quoted,
        });
        Ok(())
    }
}
