//! The text being edited and the cursor in it.

use alloc::string::String;

use crate::width::char_width;

/// A line of text with a cursor that stands between characters, never inside one, and never
/// between a character and its combining marks.
#[derive(Clone, Debug)]
pub(super) struct LineBuffer {
    text: String,
    cursor: usize,
    bytes_max: usize,
}

impl LineBuffer {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            text: String::new(),
            cursor: 0,
            bytes_max,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.cursor = 0;
    }

    pub(super) fn take(&mut self) -> String {
        self.cursor = 0;
        core::mem::take(&mut self.text)
    }

    /// Replaces the line (cut at the limit) and puts the cursor at its end.
    pub(super) fn set(&mut self, text: &str) {
        self.clear();
        self.text
            .push_str(&text[..text.floor_char_boundary(self.bytes_max)]);
        self.cursor = self.text.len();
    }

    /// Inserts before the cursor. False when the line is full.
    pub(super) fn insert(&mut self, c: char) -> bool {
        if self.text.len() + c.len_utf8() > self.bytes_max {
            return false;
        }
        self.text.insert(self.cursor, c);
        self.cursor += c.len_utf8();
        true
    }

    /// Replaces what is between byte `start` and the cursor. False when it does not fit.
    pub(super) fn replace_before(&mut self, start: usize, with: &str) -> bool {
        if start > self.cursor || !self.text.is_char_boundary(start) {
            return false;
        }
        if self.text.len() - (self.cursor - start) + with.len() > self.bytes_max {
            return false;
        }
        self.text.replace_range(start..self.cursor, with);
        self.cursor = start + with.len();
        true
    }

    pub(super) fn left(&mut self) {
        self.cursor = self.previous();
    }

    pub(super) fn right(&mut self) {
        self.cursor = self.next();
    }

    pub(super) fn home(&mut self) {
        self.cursor = 0;
    }

    pub(super) fn end(&mut self) {
        self.cursor = self.text.len();
    }

    pub(super) fn word_left(&mut self) {
        self.cursor = self.word_start();
    }

    pub(super) fn word_right(&mut self) {
        self.cursor = self.word_end();
    }

    pub(super) fn backspace(&mut self) {
        self.cut(self.previous(), self.cursor);
    }

    pub(super) fn delete(&mut self) {
        self.cut(self.cursor, self.next());
    }

    pub(super) fn cut_before(&mut self) -> String {
        self.cut(0, self.cursor)
    }

    pub(super) fn cut_after(&mut self) -> String {
        self.cut(self.cursor, self.text.len())
    }

    pub(super) fn cut_word_before(&mut self) -> String {
        let before = &self.text[..self.cursor];
        let end = before.trim_end().len();
        let start = before[..end].rfind(char::is_whitespace).map_or(0, |at| {
            at + before[at..].chars().next().map_or(0, char::len_utf8)
        });
        self.cut(start, self.cursor)
    }

    pub(super) fn cut_word_after(&mut self) -> String {
        self.cut(self.cursor, self.word_end())
    }

    fn cut(&mut self, start: usize, end: usize) -> String {
        let cut = self.text.drain(start..end).collect();
        self.cursor = start;
        cut
    }

    /// Start of the character (with its marks) before the cursor.
    fn previous(&self) -> usize {
        let mut before = self.text[..self.cursor].char_indices().rev();
        before
            .find(|&(at, c)| at == 0 || char_width(c) > 0)
            .map_or(0, |(at, _)| at)
    }

    /// End of the character (with its marks) after the cursor.
    fn next(&self) -> usize {
        let mut after = self.text[self.cursor..].char_indices().skip(1);
        let end = after.find(|&(_, c)| char_width(c) > 0);
        end.map_or(self.text.len(), |(at, _)| self.cursor + at)
    }

    fn word_start(&self) -> usize {
        let before = &self.text[..self.cursor];
        let word = before.trim_end_matches(|c: char| !c.is_alphanumeric());
        word.trim_end_matches(char::is_alphanumeric).len()
    }

    fn word_end(&self) -> usize {
        let after = &self.text[self.cursor..];
        let word = after.trim_start_matches(|c: char| !c.is_alphanumeric());
        self.text.len() - word.trim_start_matches(char::is_alphanumeric).len()
    }
}
