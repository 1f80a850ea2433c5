//! What the terminal shows of the line, and how to change it with few bytes.

use alloc::string::String;
use alloc::vec::Vec;

use crate::width::{Position, char_width, text_width};

/// The drawn prompt and line, and where the terminal's cursor was left.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    width: usize,
    drawn: Option<Drawn>,
}

#[derive(Clone, Debug)]
struct Drawn {
    width: usize,
    prompt: String,
    text: String,
    at: Position,
    end: Position,
}

/// Narrower terminals are treated as this wide.
const WIDTH_MIN: usize = 4;

impl Screen {
    pub(super) fn new(width: usize) -> Self {
        Self {
            width: width.max(WIDTH_MIN),
            drawn: None,
        }
    }

    pub(super) fn set_width(&mut self, width: usize) {
        self.width = width.max(WIDTH_MIN);
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Nothing is drawn: the terminal's cursor stands at the start of a free row.
    pub(super) fn reset(&mut self) {
        self.drawn = None;
    }

    /// Moves to a fresh row below what is drawn.
    pub(super) fn leave(&mut self, out: &mut Vec<u8>) {
        if let Some(drawn) = self.drawn.take() {
            go(drawn.at, drawn.end, out);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Makes the terminal show `prompt` and `text` with its cursor at byte `cursor` of `text`.
    pub(super) fn draw(&mut self, prompt: &str, text: &str, cursor: usize, out: &mut Vec<u8>) {
        let width = self.width;
        let start = after_prompt(prompt, width);
        let place = |upto: &str| start.after_text(upto, width).wrapped(width);
        let end = place(text);
        let goal = place(text.get(..cursor).unwrap_or(text));
        let at = match self.drawn.take() {
            Some(old) if old.fits(prompt, text, width) => change(&old, text, start, out),
            old => {
                if let Some(old) = old {
                    go(old.at, Position::default(), out);
                    out.extend_from_slice(b"\x1b[J");
                }
                out.extend_from_slice(prompt.as_bytes());
                write(text, start, width, out)
            }
        };
        go(at, goal, out);
        let (prompt, text) = (String::from(prompt), String::from(text));
        self.drawn = Some(Drawn {
            width,
            prompt,
            text,
            at: goal,
            end,
        });
    }
}

impl Drawn {
    /// Whether `text` can be drawn by changes: the prompt is the same, and no combining mark joins
    /// its last cell.
    fn fits(&self, prompt: &str, text: &str, width: usize) -> bool {
        let joins = |text: &str| text.chars().next().is_some_and(|c| char_width(c) == 0);
        self.prompt == prompt && self.width == width && !joins(&self.text) && !joins(text)
    }
}

/// Turns the drawn text into `text`; returns where the terminal's cursor is then.
fn change(old: &Drawn, text: &str, start: Position, out: &mut Vec<u8>) -> Position {
    if old.text == text {
        return old.at;
    }
    let same = same_start(&old.text, text);
    let from = start
        .after_text(&text[..same], old.width)
        .wrapped(old.width);
    go(old.at, from, out);
    if same < old.text.len() {
        out.extend_from_slice(b"\x1b[J");
    }
    write(&text[same..], from, old.width, out)
}

/// Length of what both texts begin with, not parting a character from its marks.
fn same_start(old: &str, new: &str) -> usize {
    let mut same = 0;
    for ((at, a), b) in old.char_indices().zip(new.chars()) {
        if a != b {
            break;
        }
        same = at + a.len_utf8();
    }
    let marks = |text: &str| {
        text[same..]
            .chars()
            .next()
            .is_some_and(|c| char_width(c) == 0)
    };
    if marks(old) || marks(new) {
        let last = new[..same]
            .char_indices()
            .rev()
            .find(|&(_, c)| char_width(c) > 0);
        return last.map_or(0, |(at, _)| at);
    }
    same
}

/// Where the prompt ends. A prompt wider than the terminal wraps like text.
fn after_prompt(prompt: &str, width: usize) -> Position {
    let cells = text_width(prompt);
    Position {
        row: cells / width,
        column: cells % width,
    }
}

/// Writes `text` from `at` on and carries out a wrap the terminal would put off.
fn write(text: &str, at: Position, width: usize, out: &mut Vec<u8>) -> Position {
    let mut utf8 = [0; 4];
    for c in text.chars() {
        if c.is_ascii_control() {
            out.extend_from_slice(&[b'^', c as u8 ^ 0x40]);
        } else if c.is_control() {
            out.extend_from_slice(b"^?");
        } else {
            out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
        }
    }
    let end = at.after_text(text, width);
    if end.column >= width {
        out.extend_from_slice(b"\r\n");
    }
    end.wrapped(width)
}

/// Moves the terminal's cursor between two places that both exist on the screen.
fn go(from: Position, to: Position, out: &mut Vec<u8>) {
    if to.row < from.row {
        step(from.row - to.row, b'A', out);
    } else if to.row > from.row {
        step(to.row - from.row, b'B', out);
    }
    if to.column == from.column {
    } else if to.column == 0 {
        out.push(b'\r');
    } else if to.column < from.column {
        step(from.column - to.column, b'D', out);
    } else {
        step(to.column - from.column, b'C', out);
    }
}

fn step(count: usize, direction: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\x1b[");
    if count > 1 {
        out.extend_from_slice(alloc::format!("{count}").as_bytes());
    }
    out.push(direction);
}

/// Lists names in as many columns as fit, sorted downwards.
pub(super) fn columns(names: &[&str], width: usize, out: &mut Vec<u8>) {
    let widest = names.iter().map(|n| text_width(n)).max().unwrap_or(0) + 2;
    let across = (width / widest).max(1);
    let rows = names.len().div_ceil(across).max(1);
    for row in 0..rows {
        let mut line = names.iter().skip(row).step_by(rows).peekable();
        while let Some(name) = line.next() {
            out.extend_from_slice(name.as_bytes());
            if line.peek().is_some() {
                let pad = widest.saturating_sub(text_width(name));
                out.extend(core::iter::repeat_n(b' ', pad));
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}
