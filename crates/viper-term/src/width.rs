//! How many columns text takes, and where it lands on a terminal of a given width.

use unicode_width::UnicodeWidthChar;

/// The columns `c` takes when drawn: 0, 1 or 2. Control characters are drawn as `^X`: 2.
pub fn char_width(c: char) -> usize {
    if c.is_control() {
        2
    } else {
        c.width().unwrap_or(0)
    }
}

/// The columns `text` takes when drawn. ANSI control sequences (colours) take none.
///
/// O(length).
pub fn text_width(text: &str) -> usize {
    let mut chars = text.chars();
    let mut width = 0;
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            skip_sequence(&mut chars);
        } else {
            width += char_width(c);
        }
    }
    width
}

/// Moves past the rest of an escape sequence whose ESC was just taken.
fn skip_sequence(chars: &mut core::str::Chars<'_>) {
    if chars.next() == Some('[') {
        for c in chars.by_ref() {
            if ('\x40'..='\x7e').contains(&c) {
                break;
            }
        }
    }
}

/// A place relative to the cell where the prompt starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Rows below the first one.
    pub row: usize,
    /// Columns from the left edge, from 0.
    pub column: usize,
}

impl Position {
    /// Where the cursor stands after drawing `c` here on a terminal of `width` columns.
    ///
    /// `column == width` means that the terminal waits with its wrap until more is written.
    pub fn after(mut self, c: char, width: usize) -> Self {
        let cells = char_width(c);
        if self.column + cells > width {
            self.row += 1;
            self.column = 0;
        }
        self.column += cells;
        self
    }

    /// Where the cursor stands after drawing `text` here. O(length).
    pub fn after_text(self, text: &str, width: usize) -> Self {
        text.chars().fold(self, |at, c| at.after(c, width))
    }

    /// The same place with a waiting wrap carried out.
    pub fn wrapped(self, width: usize) -> Self {
        if self.column >= width {
            Self {
                row: self.row + 1,
                column: 0,
            }
        } else {
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths() {
        assert_eq!(text_width("abc"), 3);
        assert_eq!(text_width("\x1b[33mSYS:> \x1b[0m"), 6);
        assert_eq!(text_width("日本"), 4);
        assert_eq!(text_width("e\u{301}"), 1);
        assert_eq!(text_width("\x01"), 2);
        assert_eq!(text_width("\x1b"), 0);
        assert_eq!(text_width("\x1b[3"), 0);
    }

    #[test]
    fn wide_characters_do_not_straddle_the_edge() {
        let at = Position::default().after_text("abc日", 4);
        assert_eq!(at, Position { row: 1, column: 2 });
        let at = Position::default().after_text("abcd", 4);
        assert_eq!(at, Position { row: 0, column: 4 });
        assert_eq!(at.wrapped(4), Position { row: 1, column: 0 });
    }
}
