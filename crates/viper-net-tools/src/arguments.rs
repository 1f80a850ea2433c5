//! Words of a command line.

use core::fmt;
use viper_rt::program;

/// A word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word<'a> {
    /// `-x`.
    Option(char),
    /// `?`, `-?` or `--help`.
    Help,
    /// Anything else.
    Plain(&'a str),
}

/// What is wrong with a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// There is no such option.
    UnknownOption(char),
    /// Something must follow.
    Missing(&'static str),
    /// A word too many.
    TooMany,
    /// A number is none, or out of range.
    BadNumber,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::UnknownOption(option) => write!(f, "no option -{option}"),
            Problem::Missing(what) => write!(f, "{what} is missing"),
            Problem::TooMany => f.write_str("too many arguments"),
            Problem::BadNumber => f.write_str("not a number, or out of range"),
        }
    }
}

impl core::error::Error for Problem {}

/// The words behind the program's name.
#[derive(Clone, Debug)]
pub struct Arguments<I> {
    words: I,
    /// Options that stand behind the last one in the same word.
    rest: &'static str,
}

/// The words that this program was started with.
pub type Own = core::iter::Skip<OwnWords>;

/// All words that this program was started with.
#[derive(Clone, Debug)]
pub struct OwnWords(usize);

impl Iterator for OwnWords {
    type Item = &'static str;

    fn next(&mut self) -> Option<&'static str> {
        self.0 += 1;
        program::arguments().nth(self.0 - 1)
    }
}

/// The words that this program was started with, behind its name.
#[must_use]
pub fn own() -> Arguments<Own> {
    Arguments::new(OwnWords(0).skip(1))
}

impl<I: Iterator<Item = &'static str>> Arguments<I> {
    /// These words.
    pub fn new(words: I) -> Arguments<I> {
        Arguments { words, rest: "" }
    }

    /// The next word, or the next option of a word with several.
    pub fn take(&mut self) -> Option<Word<'static>> {
        let mut letters = self.rest.chars();
        if let Some(option) = letters.next() {
            self.rest = letters.as_str();
            return Some(Word::Option(option));
        }
        let word = self.words.next()?;
        match word {
            "?" | "-?" | "--help" => return Some(Word::Help),
            _ => {}
        }
        let mut letters = word.strip_prefix('-').unwrap_or("").chars();
        match letters.next() {
            Some(option) if option.is_ascii_alphanumeric() => {
                self.rest = letters.as_str();
                Some(Word::Option(option))
            }
            _ => Some(Word::Plain(word)),
        }
    }

    /// What belongs to the option before: the rest of its word, or the next one.
    ///
    /// # Errors
    /// [`Problem::Missing`].
    pub fn value(&mut self, what: &'static str) -> Result<&'static str, Problem> {
        if self.rest.is_empty() {
            return self.words.next().ok_or(Problem::Missing(what));
        }
        Ok(core::mem::take(&mut self.rest))
    }

    /// The number that belongs to the option before.
    ///
    /// # Errors
    /// [`Problem::Missing`], [`Problem::BadNumber`].
    pub fn number(&mut self, min: u64, max: u64) -> Result<u64, Problem> {
        number(self.value("a number")?, min, max)
    }
}

/// A number in words, within bounds.
///
/// # Errors
/// [`Problem::BadNumber`].
pub fn number(text: &str, min: u64, max: u64) -> Result<u64, Problem> {
    let value = text.parse().map_err(|_| Problem::BadNumber)?;
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(Problem::BadNumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&'static str]) -> Arguments<impl Iterator<Item = &'static str>> {
        Arguments::new(list.iter().copied())
    }

    #[test]
    fn options_stand_alone_or_together() {
        let mut a = words(&["-lv", "-p80", "-w", "5", "host", "-", "--help", "?"]);
        assert_eq!(a.take(), Some(Word::Option('l')));
        assert_eq!(a.take(), Some(Word::Option('v')));
        assert_eq!(a.take(), Some(Word::Option('p')));
        assert_eq!(a.number(1, 65_535), Ok(80));
        assert_eq!(a.take(), Some(Word::Option('w')));
        assert_eq!(a.value("x"), Ok("5"));
        assert_eq!(a.take(), Some(Word::Plain("host")));
        assert_eq!(a.take(), Some(Word::Plain("-")));
        assert_eq!(a.take(), Some(Word::Help));
        assert_eq!(a.take(), Some(Word::Help));
        assert_eq!(a.take(), None);
    }

    #[test]
    fn wrong_numbers_are_refused() {
        for text in ["", "x", "-1", "0", "11", "99999999999999999999"] {
            assert_eq!(number(text, 1, 10), Err(Problem::BadNumber), "{text}");
        }
        assert_eq!(words(&[]).number(1, 2), Err(Problem::Missing("a number")));
    }
}
