//! What the parser makes of a script.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::OnceCell;

/// Commands one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Each with what ends it.
    pub items: Vec<Item>,
}

/// One and-or chain of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The first pipeline.
    pub first: Pipeline,
    /// The rest, each run depending on the return code before it.
    pub rest: Vec<(Connector, Pipeline)>,
    /// Ended with `&`: not waited for.
    pub background: bool,
}

/// `&&` or `||`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connector {
    /// Go on when the return code is 0.
    And,
    /// Go on when it is not.
    Or,
}

/// Commands whose output feeds the next one's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// Began with `!`: success and failure change places.
    pub negated: bool,
    /// At least one.
    pub stages: Vec<Command>,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A name with arguments.
    Simple(Simple),
    /// A group, condition or loop.
    Compound(Box<Compound>, Vec<Redirect>),
    /// `name() command`: defines a function.
    Function(String, Rc<Command>),
}

/// A name with arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simple {
    /// `NAME=value` in front.
    pub assignments: Vec<(String, Word)>,
    /// The command and its arguments.
    pub words: Vec<Word>,
    /// Redirections, in order.
    pub redirects: Vec<Redirect>,
}

/// Commands that hold commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compound {
    /// `{ ...; }`
    Group(List),
    /// `( ... )`: changes to variables and directory do not last.
    Subshell(List),
    /// `if`/`elif`: conditions with what follows them, then `else`.
    If(Vec<(List, List)>, Option<List>),
    /// `while` and `until`.
    While {
        /// `until`: runs as long as the condition fails.
        until: bool,
        /// The condition.
        condition: List,
        /// What is repeated.
        body: List,
    },
    /// `for NAME in WORDS`; over the arguments without `in`.
    For {
        /// The variable.
        name: String,
        /// Its values.
        words: Option<Vec<Word>>,
        /// What is repeated.
        body: List,
    },
    /// `case WORD in PATTERN) ... ;; esac`
    Case {
        /// What is compared.
        word: Word,
        /// Patterns and what they lead to.
        arms: Vec<(Vec<Word>, List)>,
    },
    /// `If CONDITION` ... `Else` ... `EndIf`, the AmigaDOS way.
    AmigaIf {
        /// `[NOT] WARN|ERROR|FAIL`, `[NOT] EXISTS path`, `a EQ|GT|GE b [VAL]`.
        condition: Vec<Word>,
        /// When it holds.
        then: List,
        /// When it does not.
        otherwise: List,
    },
}

/// A redirection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 0 input, 1 output, 2 errors.
    pub stream: u8,
    /// Where from or where to.
    pub target: Target,
}

/// The other side of a redirection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `< file`
    Read(Word),
    /// `> file`
    Write(Word),
    /// `>> file`
    Append(Word),
    /// `>& n`: the same as another stream.
    Same(u8),
    /// `<<` and `<<<`: text from the script. Set once the parser has met the text.
    Text(Rc<OnceCell<Word>>),
}

/// A word: parts put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// The parts.
    pub parts: Vec<Part>,
}

impl Word {
    /// The text when nothing in the word is quoted or expanded.
    pub fn plain(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

/// A piece of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text, in which `*`, `?` and `[` match file names.
    Literal(String),
    /// Text as it is.
    Quoted(String),
    /// `$name` and `${...}`.
    Parameter {
        /// Which, and how it is changed.
        parameter: Box<Parameter>,
        /// In double quotes: stays one word.
        quoted: bool,
    },
    /// `$(...)`: the output of commands.
    Command {
        /// The commands.
        list: Rc<List>,
        /// In double quotes.
        quoted: bool,
    },
    /// `$((...))`.
    Arithmetic {
        /// The formula, before its parameters are put in.
        formula: Word,
        /// In double quotes.
        quoted: bool,
    },
}

/// `$name`, or `${name` with an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Variable name, position, or one of `? # @ * $ ! 0`.
    pub name: String,
    /// What is done with the value.
    pub operator: Operator,
}

/// What `${name...}` does with the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Nothing.
    Value,
    /// `${#name}`: its length in characters.
    Length,
    /// `-`, `=`, `?`, `+`, with `:` when empty counts as unset.
    Missing {
        /// Which.
        operator: char,
        /// With a colon.
        empty_too: bool,
        /// The word after it.
        word: Word,
    },
    /// `#`, `##`, `%`, `%%`: without a matching start or end.
    Trim {
        /// The end, not the start.
        end: bool,
        /// As much as possible.
        longest: bool,
        /// The pattern.
        pattern: Word,
    },
}
