//! The grammar: text in, a [`List`] out.
//!
//! A recursive descent over the characters, since what a character means depends on where it
//! stands. Nesting is limited to [`DEPTH_MAX`] and the text to [`TEXT_MAX`], so hostile input costs
//! a bounded stack and time linear in its length. Text that could go on on the next line gives
//! [`ParseErrorKind::Incomplete`], so that a prompt can ask for more.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::OnceCell;

use crate::ast::{Command, Connector, Item, List, Pipeline, Simple, Word};

mod compound;
mod redirect;
mod word;

/// Deepest nesting of commands, substitutions and quotes.
pub const DEPTH_MAX: usize = 40;
/// Longest script, in bytes. Its syntax tree takes up to a hundred times as much memory.
pub const TEXT_MAX: usize = 256 * 1024;

/// Why text is not a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// Where, in bytes from the start.
    pub at: usize,
}

/// What is wrong with a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// The text ends where this is still to come.
    Incomplete(&'static str),
    /// This was expected here.
    Expected(&'static str),
    /// This closes nothing.
    Unmatched(&'static str),
    /// A `${...}` that means nothing.
    BadSubstitution,
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// Longer than [`TEXT_MAX`].
    TooLong,
}

impl core::fmt::Display for ParseError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.kind {
            ParseErrorKind::Incomplete(what) => write!(f, "{what} is missing at the end"),
            ParseErrorKind::Expected(what) => write!(f, "{what} expected"),
            ParseErrorKind::Unmatched(what) => write!(f, "{what} without its beginning"),
            ParseErrorKind::BadSubstitution => write!(f, "this ${{...}} means nothing"),
            ParseErrorKind::TooDeep => write!(f, "nested too deeply"),
            ParseErrorKind::TooLong => write!(f, "script is too long"),
        }
    }
}

impl core::error::Error for ParseError {}

type Result<T> = core::result::Result<T, ParseError>;

/// Parses a whole script. O(length).
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse(text: &str) -> Result<List> {
    Parser::new(text).whole()
}

/// Parses a script up to what is wrong in it: the lines before, and the error. O(length).
pub(crate) fn parse_lines(text: &str) -> (List, Option<ParseError>) {
    let mut parser = Parser::new(text);
    match parser.whole() {
        Ok(list) => (list, None),
        Err(error) => {
            let before = text.get(..parser.item_at).unwrap_or("");
            let end = before.rfind('\n').map_or(0, |at| at + 1);
            let lines = before.get(..end).map(|text| Parser::new(text).whole());
            (lines.and_then(Result::ok).unwrap_or_default(), Some(error))
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// Where the item begins that is not in any other.
    item_at: usize,
    /// Texts that `<<` announced on this line.
    texts: Vec<Announced>,
}

struct Announced {
    delimiter: String,
    quoted: bool,
    strip_tabs: bool,
    word: Rc<OnceCell<Word>>,
}

/// Words that end a list; the right column is how messages call them.
const CLOSERS: &[(&str, &str)] = &[
    ("then", "then"),
    ("elif", "elif"),
    ("else", "else"),
    ("fi", "fi"),
    ("do", "do"),
    ("done", "done"),
    ("esac", "esac"),
    ("}", "}"),
];

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            item_at: 0,
            texts: Vec::new(),
        }
    }

    fn whole(&mut self) -> Result<List> {
        if self.text.len() > TEXT_MAX {
            return Err(self.error(ParseErrorKind::TooLong));
        }
        let list = self.list()?;
        if let Some(closer) = self.closer() {
            return Err(self.error(ParseErrorKind::Unmatched(closer)));
        }
        if self.at < self.text.len() {
            return Err(self.error(ParseErrorKind::Expected("a command")));
        }
        if !self.texts.is_empty() {
            return Err(self.error(ParseErrorKind::Incomplete("the text after <<")));
        }
        Ok(list)
    }

    fn error(&self, kind: ParseErrorKind) -> ParseError {
        ParseError { kind, at: self.at }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Takes `what` if it is next.
    fn eat(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        if found {
            self.at += what.len();
        }
        found
    }

    /// Takes the first of `options` that is next; empty when none is.
    fn eat_one(&mut self, options: &[&'static str]) -> &'static str {
        options
            .iter()
            .copied()
            .find(|option| self.eat(option))
            .unwrap_or("")
    }

    fn expect(&mut self, what: &'static str) -> Result<()> {
        if self.eat(what) {
            Ok(())
        } else {
            Err(self.missing(what))
        }
    }

    /// `what` is not here: either the text ends too early, or something else stands here.
    fn missing(&self, what: &'static str) -> ParseError {
        let at_end = self.rest().is_empty();
        let kind = if at_end {
            ParseErrorKind::Incomplete
        } else {
            ParseErrorKind::Expected
        };
        self.error(kind(what))
    }

    /// Runs `inner` one level deeper.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= DEPTH_MAX {
            return Err(self.error(ParseErrorKind::TooDeep));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// Skips blanks, joined lines and comments, but not line ends.
    fn blanks(&mut self) {
        loop {
            if self.eat("\\\n") || self.eat("\\\r\n") {
                continue;
            }
            match self.peek() {
                Some(' ' | '\t' | '\r') => _ = self.bump(),
                // `#?` begins an AmigaDOS pattern.
                Some('#') if !self.rest().starts_with("#?") => {
                    let end = self.rest().find('\n').unwrap_or(self.rest().len());
                    self.at += end;
                }
                _ => return,
            }
        }
    }

    /// Skips blanks and line ends.
    fn lines(&mut self) -> Result<()> {
        loop {
            self.blanks();
            if !self.eat("\n") {
                return Ok(());
            }
            self.announced_texts()?;
        }
    }

    /// The plain word that begins here, or nothing.
    fn plain_word(&self) -> &'a str {
        let end = self
            .rest()
            .find(|c: char| c.is_whitespace() || ";&|<>()$'\"\\`".contains(c));
        let word = end.map_or(self.rest(), |end| &self.rest()[..end]);
        let next = self.rest()[word.len()..].chars().next();
        if next.is_some_and(|c| "$'\"\\`".contains(c)) {
            ""
        } else {
            word
        }
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.plain_word() == word;
        if found {
            self.at += word.len();
        }
        found
    }

    fn expect_word(&mut self, word: &'static str) -> Result<()> {
        self.lines()?;
        if self.eat_word(word) {
            Ok(())
        } else {
            Err(self.missing(word))
        }
    }

    /// What stands here, if it ends a list.
    fn closer(&self) -> Option<&'static str> {
        if self.rest().starts_with(')') {
            return Some(")");
        }
        if self.rest().starts_with(";;") {
            return Some(";;");
        }
        let word = self.plain_word();
        for amiga in ["Else", "EndIf"] {
            if word != "else" && word.eq_ignore_ascii_case(amiga) {
                return Some(amiga);
            }
        }
        CLOSERS
            .iter()
            .find(|(closer, _)| *closer == word)
            .map(|&(_, name)| name)
    }

    /// Commands up to the end, or to something that ends a list.
    fn list(&mut self) -> Result<List> {
        let mut items = Vec::new();
        loop {
            self.lines()?;
            if self.depth == 0 {
                self.item_at = self.at;
            }
            if self.rest().is_empty() || self.closer().is_some() {
                return Ok(List { items });
            }
            let mut item = self.and_or()?;
            self.blanks();
            if self.rest().starts_with(";;") {
                // Belongs to `case`.
            } else if self.eat("&") {
                item.background = true;
            } else if !self.eat(";") && !self.rest().is_empty() && !self.ends_item() {
                return Err(self.error(ParseErrorKind::Expected("; or the end of the line")));
            }
            items.push(item);
        }
    }

    fn ends_item(&self) -> bool {
        self.rest().starts_with('\n') || self.closer().is_some()
    }

    fn and_or(&mut self) -> Result<Item> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.blanks();
            let connector = match self.eat_one(&["&&", "||"]) {
                "&&" => Connector::And,
                "||" => Connector::Or,
                _ => {
                    return Ok(Item {
                        first,
                        rest,
                        background: false,
                    });
                }
            };
            self.lines()?;
            rest.push((connector, self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline> {
        self.blanks();
        let mut negated = false;
        while self.eat_word("!") {
            negated = !negated;
            self.blanks();
        }
        let mut stages = Vec::new();
        loop {
            stages.push(self.nested(Self::command)?);
            self.blanks();
            if self.rest().starts_with("||") || !self.eat("|") {
                return Ok(Pipeline { negated, stages });
            }
            self.lines()?;
        }
    }

    fn command(&mut self) -> Result<Command> {
        if let Some(compound) = self.compound()? {
            let mut redirects = Vec::new();
            while let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
            }
            return Ok(Command::Compound(Box::new(compound), redirects));
        }
        if let Some(name) = self.function_name() {
            self.lines()?;
            if self.rest().is_empty() {
                return Err(self.missing("the function's body"));
            }
            let body = self.nested(Self::command)?;
            return Ok(Command::Function(name, Rc::new(body)));
        }
        self.simple().map(Command::Simple)
    }

    /// Words up to the end of the command.
    fn words(&mut self) -> Result<Vec<Word>> {
        let mut words = Vec::new();
        loop {
            self.blanks();
            match self.word()? {
                Some(word) => words.push(word),
                None => return Ok(words),
            }
        }
    }

    /// A variable's name, if one stands here.
    fn name(&mut self) -> Option<String> {
        let length = name_length(self.rest());
        let name = self.rest().get(..length).filter(|name| !name.is_empty())?;
        self.at += length;
        Some(String::from(name))
    }

    /// Takes `name ()`, if it stands here.
    fn function_name(&mut self) -> Option<String> {
        let length = name_length(self.rest());
        let (name, rest) = self.rest().split_at(length);
        let brackets = rest.trim_start_matches([' ', '\t']).strip_prefix('(')?;
        let after = brackets.trim_start_matches([' ', '\t']).strip_prefix(')')?;
        if name.is_empty() {
            return None;
        }
        self.at = self.text.len() - after.len();
        Some(String::from(name))
    }

    fn simple(&mut self) -> Result<Simple> {
        let mut simple = Simple::default();
        loop {
            self.blanks();
            if let Some(redirect) = self.redirect()? {
                simple.redirects.push(redirect);
                continue;
            }
            if simple.words.is_empty() {
                let length = name_length(self.rest());
                if length > 0 && self.rest()[length..].starts_with('=') {
                    let name = String::from(&self.rest()[..length]);
                    self.at += length + 1;
                    simple
                        .assignments
                        .push((name, self.word()?.unwrap_or_default()));
                    continue;
                }
            }
            match self.word()? {
                Some(word) => simple.words.push(word),
                None => break,
            }
        }
        if simple == Simple::default() {
            return Err(self.missing("a command"));
        }
        Ok(simple)
    }
}

/// Length of the variable's name at the start of `text`.
fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

#[cfg(test)]
#[path = "parse/tests.rs"]
mod tests;
