//! Commands that hold commands: conditions, loops, groups.

use alloc::vec::Vec;

use super::{Parser, Result};
use crate::ast::{Compound, List, Word};

impl Parser<'_> {
    pub(super) fn compound(&mut self) -> Result<Option<Compound>> {
        if self.eat("(") {
            let list = self.list()?;
            self.expect(")")?;
            return Ok(Some(Compound::Subshell(list)));
        }
        let word = self.plain_word();
        Ok(Some(match word {
            "{" => {
                self.at += 1;
                let list = self.list()?;
                self.expect_word("}")?;
                Compound::Group(list)
            }
            "if" if !self.asks_as_amiga() => self.if_command()?,
            "while" | "until" => self.while_command(word == "until")?,
            "for" => self.for_command()?,
            "case" => self.case_command()?,
            "if" | "If" | "IF" => self.amiga_if()?,
            _ => return Ok(None),
        }))
    }

    fn if_command(&mut self) -> Result<Compound> {
        let mut arms = Vec::new();
        self.at += "if".len();
        loop {
            let condition = self.list()?;
            self.expect_word("then")?;
            let body = self.list()?;
            arms.push((condition, body));
            if !self.eat_word("elif") {
                break;
            }
        }
        let otherwise = if self.eat_word("else") {
            Some(self.list()?)
        } else {
            None
        };
        self.expect_word("fi")?;
        Ok(Compound::If(arms, otherwise))
    }

    fn while_command(&mut self, until: bool) -> Result<Compound> {
        self.at += "while".len();
        let condition = self.list()?;
        let body = self.do_group()?;
        Ok(Compound::While {
            until,
            condition,
            body,
        })
    }

    fn for_command(&mut self) -> Result<Compound> {
        self.at += "for".len();
        self.blanks();
        let name = self
            .name()
            .ok_or_else(|| self.missing("a variable's name"))?;
        self.lines()?;
        let mut words = None;
        if self.eat_word("in") {
            words = Some(self.words()?);
        }
        self.blanks();
        self.eat(";");
        let body = self.do_group()?;
        Ok(Compound::For { name, words, body })
    }

    fn do_group(&mut self) -> Result<List> {
        self.expect_word("do")?;
        let body = self.list()?;
        self.expect_word("done")?;
        Ok(body)
    }

    fn case_command(&mut self) -> Result<Compound> {
        self.at += "case".len();
        self.blanks();
        let word = self.word()?.ok_or_else(|| self.missing("a word"))?;
        self.expect_word("in")?;
        let mut arms = Vec::new();
        loop {
            self.lines()?;
            if self.eat_word("esac") {
                return Ok(Compound::Case { word, arms });
            }
            self.eat("(");
            let patterns = self.patterns()?;
            let body = self.list()?;
            arms.push((patterns, body));
            self.blanks();
            if !self.eat(";;") && self.plain_word() != "esac" {
                return Err(self.missing(";; or esac"));
            }
        }
    }

    fn patterns(&mut self) -> Result<Vec<Word>> {
        let mut patterns = Vec::new();
        loop {
            self.blanks();
            patterns.push(self.word()?.ok_or_else(|| self.missing("a pattern"))?);
            self.blanks();
            if !self.eat("|") {
                self.expect(")")?;
                return Ok(patterns);
            }
        }
    }

    /// Whether `if` is followed by one of AmigaDOS's conditions, rather than by a command.
    fn asks_as_amiga(&self) -> bool {
        let end = self.rest().find(['\n', ';']).unwrap_or(self.rest().len());
        let line = self.rest().get(..end).unwrap_or("");
        let mut words = line.split_whitespace().skip(1);
        let is_one = |word: Option<&str>, of: &[&str]| {
            word.is_some_and(|word| of.iter().any(|other| word.eq_ignore_ascii_case(other)))
        };
        is_one(words.next(), &["NOT", "EXISTS", "WARN", "ERROR", "FAIL"])
            || is_one(words.next(), &["EQ", "GT", "GE", "VAL"])
    }

    fn amiga_if(&mut self) -> Result<Compound> {
        self.at += "If".len();
        let condition = self.words()?;
        self.eat(";");
        let then = self.list()?;
        let mut otherwise = List::default();
        if self
            .closer()
            .is_some_and(|closer| closer.eq_ignore_ascii_case("else"))
        {
            self.at += "Else".len();
            otherwise = self.list()?;
        }
        if self.closer() != Some("EndIf") {
            return Err(self.missing("EndIf"));
        }
        self.at += "EndIf".len();
        Ok(Compound::AmigaIf {
            condition,
            then,
            otherwise,
        })
    }
}
