//! Redirections, and the texts that `<<` announces.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::OnceCell;

use super::{Announced, ParseErrorKind, Parser, Result};
use crate::ast::{Part, Redirect, Target, Word};

impl Parser<'_> {
    pub(super) fn redirect(&mut self) -> Result<Option<Redirect>> {
        self.blanks();
        let bytes = self.rest().as_bytes();
        let number = match bytes {
            [digit @ b'0'..=b'9', b'<' | b'>', ..] => Some(digit - b'0'),
            [b'<' | b'>', ..] => None,
            _ => return Ok(None),
        };
        self.at += usize::from(number.is_some());
        if number.is_some_and(|n| n > 2) {
            return Err(self.error(ParseErrorKind::Expected("stream 0, 1 or 2")));
        }
        let operators = ["<<<", "<<-", "<<", "<", ">>", ">&", ">|", ">"];
        let (default, target) = match self.eat_one(&operators) {
            "<<<" => {
                let mut word = self.operand()?;
                word.parts.push(Part::Quoted(String::from("\n")));
                (0, Target::Text(Rc::new(OnceCell::from(word))))
            }
            "<<-" => (0, self.announce(true)?),
            "<<" => (0, self.announce(false)?),
            "<" => (0, Target::Read(self.operand()?)),
            ">>" => (1, Target::Append(self.operand()?)),
            ">&" => (1, self.same()?),
            _ => (1, Target::Write(self.operand()?)),
        };
        Ok(Some(Redirect {
            stream: number.unwrap_or(default),
            target,
        }))
    }

    fn operand(&mut self) -> Result<Word> {
        self.blanks();
        self.word()?
            .ok_or_else(|| self.missing("a name after the redirection"))
    }

    fn same(&mut self) -> Result<Target> {
        match self.bump() {
            Some(digit @ '0'..='2') => Ok(Target::Same(digit as u8 - b'0')),
            _ => Err(self.error(ParseErrorKind::Expected("stream 0, 1 or 2"))),
        }
    }

    /// `<<DELIMITER`: the text follows after the line's end.
    fn announce(&mut self, strip_tabs: bool) -> Result<Target> {
        use Part::{Literal, Quoted};
        let mut delimiter = String::new();
        let mut quoted = false;
        for part in self.operand()?.parts {
            match part {
                Literal(text) => delimiter.push_str(&text),
                Quoted(text) => {
                    quoted = true;
                    delimiter.push_str(&text);
                }
                _ => return Err(self.error(ParseErrorKind::Expected("a plain word after <<"))),
            }
        }
        let word = Rc::new(OnceCell::new());
        self.texts.push(Announced {
            delimiter,
            quoted,
            strip_tabs,
            word: word.clone(),
        });
        Ok(Target::Text(word))
    }

    /// Reads the texts that the line just ended has announced.
    pub(super) fn announced_texts(&mut self) -> Result<()> {
        for announced in core::mem::take(&mut self.texts) {
            let mut body = String::new();
            loop {
                if self.rest().is_empty() {
                    return Err(self.missing("the line that ends the text after <<"));
                }
                let end = self
                    .rest()
                    .find('\n')
                    .map_or(self.rest().len(), |at| at + 1);
                let mut line = &self.rest()[..end];
                self.at += end;
                if announced.strip_tabs {
                    line = line.trim_start_matches('\t');
                }
                if line.trim_end_matches(['\n', '\r']) == announced.delimiter {
                    break;
                }
                body.push_str(line);
            }
            let word = if announced.quoted {
                Word {
                    parts: Vec::from([Part::Quoted(body)]),
                }
            } else {
                self.text_word(&body)?
            };
            // Set here and nowhere else.
            let _ = announced.word.set(word);
        }
        Ok(())
    }
}
