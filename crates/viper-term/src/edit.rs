//! The line editor: keys in, a line and redraw bytes out.
//!
//! The editor keeps what it has drawn and writes only what differs, with the few control sequences
//! every terminal knows: cursor moves (`ESC [ n A/B/C/D`), erase to the end of the screen
//! (`ESC [ J`), carriage return and line feed. Lines longer than the terminal wrap, also with wide
//! characters. Without a terminal it writes nothing and just finds the lines.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use crate::decode::{Decoder, Key};
use crate::history::History;

mod buffer;
mod screen;

use buffer::LineBuffer;
use screen::Screen;

/// What came out of editing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EditEvent {
    /// Return was pressed; the line without its end.
    Line(String),
    /// Ctrl-C was pressed; the line is gone.
    Interrupted,
    /// Ctrl-D was pressed on an empty line.
    Eof,
}

/// What a completer found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// Where in the line the candidates belong, in bytes; they replace from here to the cursor.
    pub start: usize,
    /// Possible replacements. A single one is put in whole; of several, what they share.
    pub candidates: Vec<String>,
}

/// Edits one line at a time. Bounded memory: the line, the history, one redraw.
#[derive(Clone, Debug)]
pub struct Editor {
    decoder: Decoder,
    buffer: LineBuffer,
    history: History,
    /// Which history line is shown; `None` for the new line.
    recalled: Option<usize>,
    /// The new line while a history line is shown.
    draft: String,
    search: Option<Search>,
    prompt: String,
    screen: Screen,
    output: Vec<u8>,
    events: VecDeque<EditEvent>,
    terminal: bool,
    active: bool,
    /// The terminal shows an older state of the line.
    stale: bool,
    tabs: u32,
    cut: String,
}

/// A search backwards through the history.
#[derive(Clone, Debug)]
struct Search {
    pattern: String,
    found: Option<usize>,
    failed: bool,
    /// The line from before the search.
    draft: String,
}

/// Longest line, in bytes.
pub const LINE_MAX: usize = 4096;
/// Candidates that are listed when Tab is pressed twice.
pub const LISTED_MAX: usize = 200;
const SEARCH_MAX: usize = 256;

impl Editor {
    /// An editor for a terminal of `width` columns, or for plain input when `terminal` is false.
    /// It keeps `history_max` lines.
    pub fn new(terminal: bool, width: usize, history_max: usize) -> Self {
        Self {
            decoder: Decoder::new(),
            buffer: LineBuffer::new(LINE_MAX),
            history: History::new(history_max),
            recalled: None,
            draft: String::new(),
            search: None,
            prompt: String::new(),
            screen: Screen::new(width),
            output: Vec::new(),
            events: VecDeque::new(),
            terminal,
            active: false,
            stale: false,
            tabs: 0,
            cut: String::new(),
        }
    }

    /// Changes the terminal's width. Takes effect with the next redraw.
    pub fn set_width(&mut self, width: usize) {
        self.screen.set_width(width);
    }

    /// The lines entered so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The lines entered so far, to load, clear or extend them.
    pub fn history_mut(&mut self) -> &mut History {
        &mut self.history
    }

    /// The line as it stands.
    pub fn line(&self) -> &str {
        self.buffer.text()
    }

    /// Where the cursor is in [`Self::line`], in bytes.
    pub fn cursor(&self) -> usize {
        self.buffer.cursor()
    }

    /// Begins a new line. The prompt may hold colours.
    pub fn start(&mut self, prompt: &str) {
        self.prompt.clear();
        self.prompt.push_str(prompt);
        self.buffer.clear();
        self.recalled = None;
        self.search = None;
        self.tabs = 0;
        self.active = true;
        self.screen.reset();
        self.redraw();
    }

    /// Takes bytes and returns how many it took. It stops after the byte that ends the line: the
    /// rest belongs to whoever reads next. `complete` is asked with the line and the cursor when
    /// Tab is pressed.
    pub fn handle_input(
        &mut self,
        bytes: &[u8],
        complete: &mut dyn FnMut(&str, usize) -> Completion,
    ) -> usize {
        let mut taken = 0;
        for byte in bytes {
            if !self.active {
                break;
            }
            self.decoder.handle_input(core::slice::from_ref(byte));
            self.drain(complete);
            taken += 1;
        }
        self.update();
        taken
    }

    /// No byte came for a while: see [`Decoder::handle_timeout`].
    pub fn handle_timeout(&mut self, complete: &mut dyn FnMut(&str, usize) -> Completion) {
        self.decoder.handle_timeout();
        self.drain(complete);
        self.update();
    }

    /// Whether a time-out should follow; see [`Decoder::needs_timeout`].
    pub fn needs_timeout(&self) -> bool {
        self.decoder.needs_timeout()
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<EditEvent> {
        self.events.pop_front()
    }

    /// All bytes to write to the terminal now.
    pub fn take_output(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.output)
    }

    fn drain(&mut self, complete: &mut dyn FnMut(&str, usize) -> Completion) {
        while self.active {
            let Some(key) = self.decoder.poll_event() else {
                return;
            };
            self.key(key, complete);
        }
    }

    fn key(&mut self, key: Key, complete: &mut dyn FnMut(&str, usize) -> Completion) {
        if !self.terminal {
            return self.plain_key(key);
        }
        if self.search.is_some() && self.search_key(key) {
            return;
        }
        self.tabs = if key == Key::Tab { self.tabs + 1 } else { 0 };
        match key {
            Key::Enter => return self.finish(),
            Key::Ctrl('c') => return self.interrupt(),
            Key::Ctrl('d') if self.buffer.is_empty() => return self.end_of_file(),
            Key::Ctrl('l') => {
                self.output.extend_from_slice(b"\x1b[H\x1b[2J");
                self.screen.reset();
            }
            Key::Ctrl('r') => self.begin_search(),
            Key::Tab => self.complete(complete),
            Key::Up | Key::Ctrl('p') => self.recall_older(),
            Key::Down | Key::Ctrl('n') => self.recall_newer(),
            other => self.edit(other),
        }
        self.stale = true;
    }

    /// Input that is not typed: lines, nothing else.
    fn plain_key(&mut self, key: Key) {
        match key {
            Key::Enter => self.finish(),
            Key::Ctrl('c') => self.interrupt(),
            Key::Ctrl('d') if self.buffer.is_empty() => self.end_of_file(),
            Key::Backspace => self.buffer.backspace(),
            Key::Tab => self.insert(' '),
            Key::Char(c) => self.insert(c),
            _ => {}
        }
    }

    fn edit(&mut self, key: Key) {
        let buffer = &mut self.buffer;
        let cut = match key {
            Key::Char(c) => return self.insert(c),
            Key::Ctrl('y') => return self.paste(),
            Key::Left | Key::Ctrl('b') => return buffer.left(),
            Key::Right | Key::Ctrl('f') => return buffer.right(),
            Key::WordLeft | Key::Alt('b') => return buffer.word_left(),
            Key::WordRight | Key::Alt('f') => return buffer.word_right(),
            Key::Home | Key::Ctrl('a') => return buffer.home(),
            Key::End | Key::Ctrl('e') => return buffer.end(),
            Key::Backspace => return buffer.backspace(),
            Key::Delete | Key::Ctrl('d') => return buffer.delete(),
            Key::Ctrl('u') => buffer.cut_before(),
            Key::Ctrl('k') => buffer.cut_after(),
            Key::Ctrl('w') | Key::Alt('\x7f') => buffer.cut_word_before(),
            Key::Alt('d') => buffer.cut_word_after(),
            _ => return,
        };
        if !cut.is_empty() {
            self.cut = cut;
        }
    }

    fn insert(&mut self, c: char) {
        if !c.is_control() && !self.buffer.insert(c) {
            self.bell();
        }
    }

    fn paste(&mut self) {
        let text = core::mem::take(&mut self.cut);
        for c in text.chars() {
            self.insert(c);
        }
        self.cut = text;
    }

    fn bell(&mut self) {
        if self.terminal {
            self.output.push(0x07);
        }
    }

    fn finish(&mut self) {
        self.leave_line("");
        let line = self.buffer.take();
        self.history.add(&line);
        self.events.push_back(EditEvent::Line(line));
    }

    fn interrupt(&mut self) {
        self.leave_line("^C");
        self.buffer.clear();
        self.events.push_back(EditEvent::Interrupted);
    }

    fn end_of_file(&mut self) {
        self.leave_line("");
        self.events.push_back(EditEvent::Eof);
    }

    /// Puts the cursor on a fresh row below the line.
    fn leave_line(&mut self, note: &str) {
        self.active = false;
        self.search = None;
        if self.terminal {
            self.buffer.end();
            self.redraw();
            self.output.extend_from_slice(note.as_bytes());
            self.output.extend_from_slice(b"\r\n");
        }
    }

    fn recall_older(&mut self) {
        let from = self.recalled.unwrap_or(self.history.len());
        match from.checked_sub(1) {
            Some(index) => self.recall(Some(index)),
            None => self.bell(),
        }
    }

    fn recall_newer(&mut self) {
        match self.recalled {
            Some(index) if index + 1 < self.history.len() => self.recall(Some(index + 1)),
            Some(_) => self.recall(None),
            None => self.bell(),
        }
    }

    fn recall(&mut self, index: Option<usize>) {
        if self.recalled.is_none() {
            self.draft = String::from(self.buffer.text());
        }
        self.recalled = index;
        let line = match index {
            Some(index) => String::from(self.history.line(index).unwrap_or("")),
            None => core::mem::take(&mut self.draft),
        };
        self.buffer.set(&line);
    }

    fn complete(&mut self, complete: &mut dyn FnMut(&str, usize) -> Completion) {
        let cursor = self.buffer.cursor();
        let found = complete(self.buffer.text(), cursor);
        let typed = self.buffer.text().get(found.start..cursor);
        let (Some(typed), Some(shared)) = (typed, shared_start(&found.candidates)) else {
            return self.bell();
        };
        // A shorter "shared start" happens when candidates differ from what is typed in case.
        let progress = shared.len() > typed.len();
        if found.candidates.len() == 1 || progress {
            if !self.buffer.replace_before(found.start, &shared) {
                self.bell();
            }
            self.tabs = 0;
        } else if self.tabs >= 2 {
            self.list(&found.candidates);
        } else {
            self.bell();
        }
    }

    /// Shows the candidates in columns below the line, then the line again.
    fn list(&mut self, candidates: &[String]) {
        self.update();
        self.screen.leave(&mut self.output);
        let names = candidates
            .iter()
            .take(LISTED_MAX)
            .map(|name| name.trim_end());
        let shown: Vec<&str> = names.collect();
        screen::columns(&shown, self.screen.width(), &mut self.output);
        if candidates.len() > shown.len() {
            self.output.extend_from_slice(b"...\r\n");
        }
        self.screen.reset();
        self.tabs = 1;
    }

    fn begin_search(&mut self) {
        self.search = Some(Search {
            pattern: String::new(),
            found: None,
            failed: false,
            draft: String::from(self.buffer.text()),
        });
    }

    /// Handles a key while searching. Returns false when the key ends the search and still counts.
    fn search_key(&mut self, key: Key) -> bool {
        let Some(mut search) = self.search.take() else {
            return false;
        };
        match key {
            Key::Char(c) if !c.is_control() && search.pattern.len() < SEARCH_MAX => {
                search.pattern.push(c);
                self.search_from(&mut search, self.history.len());
            }
            Key::Backspace => {
                search.pattern.pop();
                self.search_from(&mut search, self.history.len());
            }
            Key::Ctrl('r') => {
                let before = search.found.unwrap_or(self.history.len());
                self.search_from(&mut search, before);
            }
            Key::Ctrl('c' | 'g') | Key::Escape => {
                self.buffer.set(&search.draft);
                self.stale = true;
                return true;
            }
            _ => return false,
        }
        self.search = Some(search);
        self.stale = true;
        true
    }

    fn search_from(&mut self, search: &mut Search, before: usize) {
        let found = self.history.find_before(before, &search.pattern);
        search.failed = found.is_none() && !search.pattern.is_empty();
        if let Some(index) = found {
            search.found = found;
            let line = String::from(self.history.line(index).unwrap_or(""));
            self.buffer.set(&line);
        }
    }

    /// Draws what changed since the last time: once for all keys that came together.
    fn update(&mut self) {
        if self.stale && self.active {
            self.redraw();
        }
    }

    fn redraw(&mut self) {
        self.stale = false;
        if !self.terminal {
            return;
        }
        let prompt = match &self.search {
            None => None,
            Some(search) => {
                let label = if search.failed {
                    "(not found)`"
                } else {
                    "(search)`"
                };
                Some([label, &search.pattern, "': "].concat())
            }
        };
        let prompt = prompt.as_deref().unwrap_or(&self.prompt);
        self.screen.draw(
            prompt,
            self.buffer.text(),
            self.buffer.cursor(),
            &mut self.output,
        );
    }
}

/// What all candidates begin with; `None` without candidates.
fn shared_start(candidates: &[String]) -> Option<String> {
    let (first, rest) = candidates.split_first()?;
    let mut length = first.len();
    for other in rest {
        let same = first
            .char_indices()
            .zip(other.chars())
            .find(|((_, a), b)| a != b);
        let end = same.map_or(first.len().min(other.len()), |((at, _), _)| at);
        length = length.min(end);
    }
    first.get(..length).map(String::from)
}

#[cfg(test)]
#[path = "edit/tests.rs"]
mod tests;
