//! The line discipline: what stands between a serial line and the programs that read it.
//!
//! In cooked mode input is collected into lines that can be edited until Return, and shown while
//! typed. In raw mode bytes pass untouched. Either way the control characters may become
//! [`Signal`]s. Nothing here blocks or grows without bound: bytes that find no room ring the bell
//! and are counted in [`Discipline::dropped`]; a server that can hold back its device looks at
//! [`Discipline::room`] first.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::termios::{InputFlags, LocalFlags, OutputFlags, Termios, index};
use crate::width::char_width;

/// Longest line in cooked mode, in bytes, its end included.
pub const LINE_MAX: usize = 4096;
/// Bytes that wait for a reader, at most.
pub const INPUT_MAX: usize = 16 * 1024;
/// Bytes of echo that wait for the device, at most.
pub const ECHO_MAX: usize = 8 * 1024;

/// What the user asked for with a control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// Ctrl-C: end what runs in the foreground.
    Interrupt,
    /// Ctrl-\: end it and leave a trace.
    Quit,
    /// Ctrl-Z: put it aside.
    Suspend,
}

/// The outcome of [`Discipline::read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// So many bytes were put into the buffer.
    Bytes(usize),
    /// The user typed the end-of-file character.
    Eof,
    /// Nothing to read yet.
    Pending,
}

/// One terminal's state between its device and its readers. Bounded memory.
#[derive(Clone, Debug)]
pub struct Discipline {
    termios: Termios,
    /// The line that is still being edited.
    line: Vec<u8>,
    /// What can be read.
    ready: VecDeque<u8>,
    /// Cooked mode: lengths of the lines at the front of `ready`; 0 is an end of file.
    records: VecDeque<usize>,
    echo: VecDeque<u8>,
    signals: VecDeque<Signal>,
    literal_next: bool,
    stopped: bool,
    column: usize,
    line_column: usize,
    dropped: u64,
}

/// Signals that wait for [`Discipline::poll_event`]; later ones are merged away.
const SIGNALS_MAX: usize = 16;
/// Lines (and ends of file) that wait for a reader.
const RECORDS_MAX: usize = 4096;

impl Discipline {
    /// A terminal with nothing typed yet.
    pub fn new(termios: Termios) -> Self {
        Self {
            termios,
            line: Vec::new(),
            ready: VecDeque::new(),
            records: VecDeque::new(),
            echo: VecDeque::new(),
            signals: VecDeque::new(),
            literal_next: false,
            stopped: false,
            column: 0,
            line_column: 0,
            dropped: 0,
        }
    }

    /// The settings in force.
    pub fn termios(&self) -> Termios {
        self.termios
    }

    /// Changes the settings. Nothing typed is lost: a half-edited line becomes readable as it is
    /// when cooked mode ends, and unread raw bytes become one line when it begins.
    pub fn set_termios(&mut self, termios: Termios) {
        let was_cooked = self.cooked();
        self.termios = termios;
        if !termios.input.contains(InputFlags::IXON) {
            self.stopped = false;
        }
        match (was_cooked, self.cooked()) {
            (true, false) => {
                self.records.clear();
                self.ready.extend(self.line.drain(..));
            }
            (false, true) if !self.ready.is_empty() => self.records.push_back(self.ready.len()),
            _ => {}
        }
    }

    /// Takes bytes from the device. Never fails; see the module's text for what finds no room.
    pub fn handle_input(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.byte(byte);
        }
    }

    /// How many bytes can surely be taken without dropping one.
    pub fn room(&self) -> usize {
        if self.records.len() >= RECORDS_MAX {
            return 0;
        }
        INPUT_MAX.saturating_sub(self.ready.len() + self.line.len())
    }

    /// Bytes dropped so far for want of room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether Ctrl-S holds output back. The server keeps program output (not echo) meanwhile.
    pub fn output_stopped(&self) -> bool {
        self.stopped
    }

    /// The next signal, oldest first.
    pub fn poll_event(&mut self) -> Option<Signal> {
        self.signals.pop_front()
    }

    /// Echo to send to the device: fills `buf` from its start and returns how much.
    pub fn poll_output(&mut self, buf: &mut [u8]) -> usize {
        let count = buf.len().min(self.echo.len());
        for (place, byte) in buf.iter_mut().zip(self.echo.drain(..count)) {
            *place = byte;
        }
        count
    }

    /// Whether [`Self::read`] would give something.
    pub fn readable(&self) -> bool {
        if self.cooked() {
            return !self.records.is_empty();
        }
        let least = usize::from(self.termios.control[index::MIN]);
        self.ready.len() >= least.clamp(1, INPUT_MAX)
    }

    /// Moves input into `buf`: at most one line in cooked mode, whatever there is in raw mode
    /// (once `MIN` bytes are there).
    pub fn read(&mut self, buf: &mut [u8]) -> ReadOutcome {
        if buf.is_empty() {
            return ReadOutcome::Bytes(0);
        }
        if !self.readable() {
            let waits = self.cooked() || self.termios.control[index::MIN] > 0;
            return if waits {
                ReadOutcome::Pending
            } else {
                ReadOutcome::Bytes(0)
            };
        }
        let limit = if self.cooked() {
            self.records.front().copied()
        } else {
            None
        };
        let count = buf
            .len()
            .min(limit.unwrap_or(usize::MAX))
            .min(self.ready.len());
        for (place, byte) in buf.iter_mut().zip(self.ready.drain(..count)) {
            *place = byte;
        }
        match limit {
            Some(0) => {
                self.records.pop_front();
                ReadOutcome::Eof
            }
            Some(length) if count == length => {
                self.records.pop_front();
                ReadOutcome::Bytes(count)
            }
            Some(length) => {
                if let Some(first) = self.records.front_mut() {
                    *first = length - count;
                }
                ReadOutcome::Bytes(count)
            }
            None => ReadOutcome::Bytes(count),
        }
    }

    /// Turns program output into what goes to the device, appended to `out`.
    pub fn process_output(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let expand = self
            .termios
            .output
            .contains(OutputFlags::OPOST | OutputFlags::ONLCR);
        for &byte in bytes {
            if byte == b'\n' && expand {
                out.push(b'\r');
                self.column = 0;
            }
            out.push(byte);
            self.advance(byte);
        }
    }

    /// Drops everything typed and not yet read.
    pub fn flush_input(&mut self) {
        self.line.clear();
        self.ready.clear();
        self.records.clear();
    }

    fn cooked(&self) -> bool {
        self.termios.local.contains(LocalFlags::ICANON)
    }

    fn local(&self, flag: LocalFlags) -> bool {
        self.termios.local.contains(flag)
    }

    fn is(&self, which: usize, byte: u8) -> bool {
        byte != 0 && self.termios.control.get(which) == Some(&byte)
    }

    fn byte(&mut self, byte: u8) {
        if core::mem::take(&mut self.literal_next) {
            self.text(byte);
            return;
        }
        if self.signal(byte) || self.flow(byte) {
            return;
        }
        let byte = match byte {
            b'\r' if self.termios.input.contains(InputFlags::IGNCR) => return,
            b'\r' if self.termios.input.contains(InputFlags::ICRNL) => b'\n',
            b'\n' if self.termios.input.contains(InputFlags::INLCR) => b'\r',
            other => other,
        };
        if self.cooked() {
            self.cooked_byte(byte);
        } else {
            self.text(byte);
        }
    }

    fn signal(&mut self, byte: u8) -> bool {
        if !self.local(LocalFlags::ISIG) {
            return false;
        }
        let signal = match byte {
            b if self.is(index::INTR, b) => Signal::Interrupt,
            b if self.is(index::QUIT, b) => Signal::Quit,
            b if self.is(index::SUSP, b) => Signal::Suspend,
            _ => return false,
        };
        if !self.local(LocalFlags::NOFLSH) {
            self.flush_input();
        }
        self.stopped = false;
        self.show(byte);
        if self.signals.len() < SIGNALS_MAX {
            self.signals.push_back(signal);
        }
        true
    }

    fn flow(&mut self, byte: u8) -> bool {
        if !self.termios.input.contains(InputFlags::IXON) {
            return false;
        }
        if self.is(index::STOP, byte) {
            self.stopped = true;
        } else if self.is(index::START, byte) {
            self.stopped = false;
        } else {
            return false;
        }
        true
    }

    fn cooked_byte(&mut self, byte: u8) {
        let extended = self.local(LocalFlags::IEXTEN);
        match byte {
            b'\n' => self.end_line(byte),
            b if self.is(index::EOL, b) => self.end_line(byte),
            b if self.is(index::EOF, b) => self.push_record(),
            b if self.is(index::ERASE, b) || b == 0x08 => {
                self.erase_char();
            }
            b if self.is(index::KILL, b) => self.kill(),
            b if extended && self.is(index::WERASE, b) => self.erase_word(),
            b if extended && self.is(index::REPRINT, b) => self.reprint(),
            b if extended && self.is(index::LNEXT, b) => self.literal_next = true,
            _ => self.text(byte),
        }
    }

    /// A byte that is kept as it is.
    fn text(&mut self, byte: u8) {
        if self.cooked() {
            // One byte of the line stays free for its end.
            if self.line.len() + 1 >= LINE_MAX || self.room() <= 1 {
                self.drop_byte();
                return;
            }
            if self.line.is_empty() {
                self.line_column = self.column;
            }
            self.line.push(byte);
        } else if self.room() == 0 {
            self.drop_byte();
            return;
        } else {
            self.ready.push_back(byte);
        }
        self.show(byte);
    }

    fn drop_byte(&mut self) {
        self.dropped += 1;
        self.echo_bytes(b"\x07");
    }

    fn end_line(&mut self, byte: u8) {
        if self.room() == 0 {
            self.drop_byte();
            return;
        }
        self.line.push(byte);
        if byte == b'\n' {
            if self.local(LocalFlags::ECHO) || self.local(LocalFlags::ECHONL) {
                self.echo_newline();
            }
        } else {
            self.show(byte);
        }
        self.push_record();
    }

    fn push_record(&mut self) {
        if self.records.len() >= RECORDS_MAX {
            self.drop_byte();
            return;
        }
        self.records.push_back(self.line.len());
        self.ready.extend(self.line.drain(..));
    }

    /// Removes the last character. Returns its first byte.
    fn erase_char(&mut self) -> Option<u8> {
        let mut byte = self.line.pop()?;
        let start = |b: u8| b & 0xc0 != 0x80;
        if self.termios.input.contains(InputFlags::IUTF8) {
            while !start(byte) && !self.line.is_empty() {
                byte = self.line.pop()?;
            }
        }
        self.erase_shown();
        Some(byte)
    }

    fn erase_word(&mut self) {
        let space = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_whitespace());
        while space(self.line.last()) {
            self.erase_char();
        }
        while !self.line.is_empty() && !space(self.line.last()) {
            self.erase_char();
        }
    }

    fn kill(&mut self) {
        if self.local(LocalFlags::ECHOK) && self.local(LocalFlags::ECHOE) {
            while self.erase_char().is_some() {}
        } else {
            self.line.clear();
            if self.local(LocalFlags::ECHO) {
                self.echo_newline();
            }
        }
    }

    fn reprint(&mut self) {
        if !self.local(LocalFlags::ECHO) {
            return;
        }
        self.echo_newline();
        self.line_column = 0;
        let line = core::mem::take(&mut self.line);
        for &byte in &line {
            self.show(byte);
        }
        self.line = line;
    }

    /// Makes the screen agree with a line that got shorter.
    fn erase_shown(&mut self) {
        if !self.local(LocalFlags::ECHO) || !self.local(LocalFlags::ECHOE) {
            return;
        }
        let column = self
            .line
            .iter()
            .fold(self.line_column, |at, &b| self.column_after(at, b));
        // A combining mark may take no column; a wide character takes two.
        let cells = self.column.saturating_sub(self.shown_column(column));
        for _ in 0..cells {
            self.echo_bytes(b"\x08 \x08");
        }
        self.column = self.column.saturating_sub(cells);
    }

    /// The column after the line's text. UTF-8 is measured by character, everything else by byte.
    fn shown_column(&self, by_bytes: usize) -> usize {
        let Ok(text) = core::str::from_utf8(&self.line) else {
            return by_bytes;
        };
        text.chars().fold(self.line_column, |at, c| match c {
            '\t' => at / 8 * 8 + 8,
            c if c.is_control() && !self.local(LocalFlags::ECHOCTL) => at,
            c => at + char_width(c),
        })
    }

    fn column_after(&self, at: usize, byte: u8) -> usize {
        match byte {
            b'\t' => at / 8 * 8 + 8,
            0..0x20 | 0x7f if self.local(LocalFlags::ECHOCTL) => at + 2,
            0..0x20 | 0x7f | 0x80..=0xbf => at,
            _ => at + 1,
        }
    }

    /// Echoes one input byte.
    fn show(&mut self, byte: u8) {
        if !self.local(LocalFlags::ECHO) {
            return;
        }
        let control = (byte < 0x20 && byte != b'\t' && byte != b'\n') || byte == 0x7f;
        if byte == b'\n' {
            self.echo_newline();
        } else if control && self.local(LocalFlags::ECHOCTL) {
            self.echo_bytes(&[b'^', byte ^ 0x40]);
            self.column += 2;
        } else {
            self.echo_bytes(&[byte]);
            self.after_echo(byte);
        }
    }

    /// Keeps the column right after an echoed byte: the first byte of a character counts one, its
    /// last byte corrects that to the character's width.
    fn after_echo(&mut self, byte: u8) {
        self.column = self.column_after(self.column, byte);
        if !(0x80..0xc0).contains(&byte) {
            return;
        }
        let first = self.line.iter().rev().take(4).position(|&b| b >= 0xc0);
        let tail = first.and_then(|back| self.line.get(self.line.len() - 1 - back..));
        let text = tail.and_then(|bytes| core::str::from_utf8(bytes).ok());
        if let Some(c) = text.and_then(|text| text.chars().next()) {
            self.column = (self.column + char_width(c)).saturating_sub(1);
        }
    }

    fn echo_newline(&mut self) {
        let expand = self
            .termios
            .output
            .contains(OutputFlags::OPOST | OutputFlags::ONLCR);
        self.echo_bytes(if expand { b"\r\n" } else { b"\n" });
        self.column = 0;
    }

    fn echo_bytes(&mut self, bytes: &[u8]) {
        if self.echo.len() + bytes.len() <= ECHO_MAX {
            self.echo.extend(bytes);
        }
    }

    /// Follows the column through program output (a rough measure: escape sequences count).
    fn advance(&mut self, byte: u8) {
        self.column = match byte {
            b'\r' => 0,
            0x08 => self.column.saturating_sub(1),
            b'\t' => self.column / 8 * 8 + 8,
            0..0x20 | 0x7f | 0x80..=0xbf => self.column,
            _ => self.column + 1,
        };
    }
}

#[cfg(test)]
#[path = "discipline/tests.rs"]
mod tests;
