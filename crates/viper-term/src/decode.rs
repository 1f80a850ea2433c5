//! Bytes from a terminal become keys.
//!
//! One state machine for UTF-8 and escape sequences, so a read may end anywhere: in the middle of
//! a character, or between ESC and the rest. Whether a lone ESC was the Escape key only time can
//! tell: when [`Decoder::needs_timeout`] says so, wait a little (50 ms is usual) and, if nothing
//! came, call [`Decoder::handle_timeout`].

use alloc::collections::VecDeque;

/// A key press.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Key {
    /// A character. Ill-formed UTF-8 arrives as U+FFFD, one for each broken piece.
    Char(char),
    /// Control with a lower-case letter or one of ``@ [ \ ] ^ _``.
    Ctrl(char),
    /// Alt (or Escape just before) with a character.
    Alt(char),
    /// Return, or a line feed. A line feed right after a carriage return is part of it.
    Enter,
    /// Tab.
    Tab,
    /// Shift and Tab.
    BackTab,
    /// Backspace: DEL or BS.
    Backspace,
    /// Escape by itself.
    Escape,
    /// Delete forward.
    Delete,
    /// Insert.
    Insert,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Control or Alt with arrow left.
    WordLeft,
    /// Control or Alt with arrow right.
    WordRight,
    /// Home.
    Home,
    /// End.
    End,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// A function key, from 1.
    F(u8),
    /// The terminal's answer to "where is the cursor": row and column from 1.
    CursorAt {
        /// Row, from 1.
        row: u16,
        /// Column, from 1.
        column: u16,
    },
}

/// What the bytes so far are the beginning of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ground,
    /// `have` of `need` bytes of a character are in `partial`.
    Utf8 {
        need: u8,
        have: u8,
    },
    Escape,
    Csi,
    /// `ESC [ [`: one more byte names a function key (Linux console).
    LinuxFunction,
    Ss3,
}

/// Turns bytes into [`Key`]s. O(1) for each byte, bounded memory.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
    partial: [u8; 4],
    params: [u8; PARAMS_MAX],
    params_len: usize,
    after_return: bool,
    keys: VecDeque<Key>,
}

/// Parameter bytes of one control sequence that are kept; longer sequences are ignored.
const PARAMS_MAX: usize = 16;
/// Keys that wait for [`Decoder::poll_event`].
const KEYS_MAX: usize = 256;
/// The most keys one byte can produce.
const KEYS_PER_BYTE: usize = 3;

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder that has seen nothing.
    pub fn new() -> Self {
        Self {
            state: State::Ground,
            partial: [0; 4],
            params: [0; PARAMS_MAX],
            params_len: 0,
            after_return: false,
            keys: VecDeque::new(),
        }
    }

    /// Takes bytes and returns how many it took: fewer than given only when 250 keys wait for
    /// [`Self::poll_event`].
    pub fn handle_input(&mut self, bytes: &[u8]) -> usize {
        for (taken, &byte) in bytes.iter().enumerate() {
            if self.keys.len() + KEYS_PER_BYTE > KEYS_MAX {
                return taken;
            }
            self.byte(byte);
        }
        bytes.len()
    }

    /// No byte came for a while: a waiting ESC is the Escape key, other beginnings are dropped.
    pub fn handle_timeout(&mut self) {
        match self.state {
            State::Ground => return,
            State::Escape => self.push(Key::Escape),
            State::Utf8 { .. } => self.push(Key::Char(char::REPLACEMENT_CHARACTER)),
            State::Csi | State::LinuxFunction | State::Ss3 => {}
        }
        self.state = State::Ground;
    }

    /// Whether the last byte began something that only more bytes or a time-out can end.
    pub fn needs_timeout(&self) -> bool {
        self.state != State::Ground
    }

    /// The next key, oldest first.
    pub fn poll_event(&mut self) -> Option<Key> {
        self.keys.pop_front()
    }

    fn push(&mut self, key: Key) {
        if self.keys.len() < KEYS_MAX {
            self.keys.push_back(key);
        }
    }

    fn byte(&mut self, byte: u8) {
        match self.state {
            State::Ground => self.ground(byte),
            State::Utf8 { need, have } => self.continuation(byte, need, have),
            State::Escape => self.escape(byte),
            State::Csi => self.csi(byte),
            State::LinuxFunction => {
                self.state = State::Ground;
                if (b'A'..=b'E').contains(&byte) {
                    self.push(Key::F(byte - b'A' + 1));
                }
            }
            State::Ss3 => self.ss3(byte),
        }
    }

    fn ground(&mut self, byte: u8) {
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        match byte {
            b'\n' if after_return => {}
            b'\r' | b'\n' => self.push(Key::Enter),
            b'\t' => self.push(Key::Tab),
            0x08 | 0x7f => self.push(Key::Backspace),
            0x1b => self.state = State::Escape,
            0 => self.push(Key::Ctrl('@')),
            0x01..=0x1a => self.push(Key::Ctrl((byte - 1 + b'a') as char)),
            0x1c..=0x1f => self.push(Key::Ctrl((byte + 0x40) as char)),
            0x20..=0x7e => self.push(Key::Char(byte as char)),
            0xc2..=0xf4 => {
                self.partial[0] = byte;
                let need = 2 + u8::from(byte >= 0xe0) + u8::from(byte >= 0xf0);
                self.state = State::Utf8 { need, have: 1 };
            }
            _ => self.push(Key::Char(char::REPLACEMENT_CHARACTER)),
        }
    }

    fn continuation(&mut self, byte: u8, need: u8, have: u8) {
        if !(0x80..=0xbf).contains(&byte) {
            self.state = State::Ground;
            self.push(Key::Char(char::REPLACEMENT_CHARACTER));
            self.ground(byte);
            return;
        }
        if let Some(place) = self.partial.get_mut(have as usize) {
            *place = byte;
        }
        if have + 1 < need {
            self.state = State::Utf8 {
                need,
                have: have + 1,
            };
            return;
        }
        self.state = State::Ground;
        let bytes = self.partial.get(..need as usize).unwrap_or(&[]);
        let decoded = core::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.chars().next());
        self.push(Key::Char(decoded.unwrap_or(char::REPLACEMENT_CHARACTER)));
    }

    fn escape(&mut self, byte: u8) {
        self.state = State::Ground;
        match byte {
            b'[' => {
                self.params_len = 0;
                self.state = State::Csi;
            }
            b'O' => self.state = State::Ss3,
            0x1b => {
                self.push(Key::Escape);
                self.state = State::Escape;
            }
            0x20..=0x7f => self.push(Key::Alt(byte as char)),
            _ => {
                self.push(Key::Escape);
                self.ground(byte);
            }
        }
    }

    fn csi(&mut self, byte: u8) {
        match byte {
            b'[' if self.params_len == 0 => self.state = State::LinuxFunction,
            0x20..=0x3f => {
                // One past the end marks "too long": the sequence is skipped whole.
                if let Some(place) = self.params.get_mut(self.params_len) {
                    *place = byte;
                }
                self.params_len = (self.params_len + 1).min(PARAMS_MAX + 1);
            }
            0x40..=0x7e => {
                self.state = State::Ground;
                if let Some(key) = self.csi_key(byte) {
                    self.push(key);
                }
            }
            // A control character ends the sequence and counts by itself.
            _ => {
                self.state = State::Ground;
                self.ground(byte);
            }
        }
    }

    fn csi_key(&self, last: u8) -> Option<Key> {
        let params = self.params.get(..self.params_len)?;
        let mut numbers = params.split(|&b| b == b';').map(number);
        let (first, second) = (numbers.next().flatten(), numbers.next().flatten());
        // 1 + a set of Shift 1, Alt 2, Control 4.
        let word = second.is_some_and(|m| m.wrapping_sub(1) & 0b110 != 0);
        Some(match last {
            b'C' if word => Key::WordRight,
            b'D' if word => Key::WordLeft,
            b'R' => Key::CursorAt {
                row: first?,
                column: second?,
            },
            b'Z' => Key::BackTab,
            b'~' => return tilde_key(first?),
            _ => return letter_key(last),
        })
    }

    fn ss3(&mut self, byte: u8) {
        self.state = State::Ground;
        if byte < 0x20 {
            self.ground(byte);
        } else if let Some(key) = letter_key(byte) {
            self.push(key);
        }
    }
}

/// A decimal parameter; `None` when empty, not a number or above 65535.
fn number(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u16, |n, &d| {
        let digit = d.checked_sub(b'0').filter(|&v| v <= 9)?;
        n.checked_mul(10)?.checked_add(digit.into())
    })
}

fn letter_key(last: u8) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'F' => Key::End,
        b'H' => Key::Home,
        b'M' => Key::Enter,
        b'P'..=b'S' => Key::F(last - b'P' + 1),
        _ => return None,
    })
}

fn tilde_key(number: u16) -> Option<Key> {
    Some(match number {
        1 | 7 => Key::Home,
        2 => Key::Insert,
        3 => Key::Delete,
        4 | 8 => Key::End,
        5 => Key::PageUp,
        6 => Key::PageDown,
        11..=15 => Key::F((number - 10) as u8),
        17..=21 => Key::F((number - 11) as u8),
        23 | 24 => Key::F((number - 12) as u8),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(pieces: &[&[u8]]) -> Vec<Key> {
        let mut decoder = Decoder::new();
        let mut keys = Vec::new();
        for piece in pieces {
            assert_eq!(decoder.handle_input(piece), piece.len());
            keys.extend(core::iter::from_fn(|| decoder.poll_event()));
        }
        decoder.handle_timeout();
        keys.extend(core::iter::from_fn(|| decoder.poll_event()));
        keys
    }

    #[test]
    fn plain_and_control() {
        use Key::*;
        assert_eq!(
            keys(&[b"aZ\x01\x03\x1c\x1f\0"]),
            [
                Char('a'),
                Char('Z'),
                Ctrl('a'),
                Ctrl('c'),
                Ctrl('\\'),
                Ctrl('_'),
                Ctrl('@')
            ]
        );
        assert_eq!(keys(&[b"\t\x7f\x08"]), [Tab, Backspace, Backspace]);
    }

    #[test]
    fn line_ends() {
        assert_eq!(keys(&[b"\r"]), [Key::Enter]);
        assert_eq!(keys(&[b"\r", b"\n"]), [Key::Enter]);
        assert_eq!(keys(&[b"\n\n"]), [Key::Enter; 2]);
        assert_eq!(keys(&[b"\r\r"]), [Key::Enter; 2]);
    }

    #[test]
    fn sequences() {
        use Key::*;
        let all = b"\x1b[A\x1b[B\x1b[C\x1b[D\x1b[H\x1b[F\x1bOA\x1bOH\x1bOF\x1b[1~\x1b[3~\x1b[4~";
        assert_eq!(
            keys(&[all]),
            [
                Up, Down, Right, Left, Home, End, Up, Home, End, Home, Delete, End
            ]
        );
        assert_eq!(
            keys(&[b"\x1b[1;5C\x1b[1;3D\x1b[1;2C"]),
            [WordRight, WordLeft, Right]
        );
        assert_eq!(
            keys(&[b"\x1b[15~\x1b[17~\x1b[24~\x1bOP\x1b[[E"]),
            [F(5), F(6), F(12), F(1), F(5)]
        );
        assert_eq!(
            keys(&[b"\x1b[24;80R"]),
            [CursorAt {
                row: 24,
                column: 80
            }]
        );
        assert_eq!(keys(&[b"\x1bb\x1b\x7f"]), [Alt('b'), Alt('\x7f')]);
    }

    #[test]
    fn split_anywhere_is_the_same() {
        let all = "aé日🦀\x1b[3~\x1b[1;5D\x1bOF\x1bx".as_bytes();
        let whole = keys(&[all]);
        assert_eq!(whole.len(), 8);
        for at in 0..all.len() {
            assert_eq!(keys(&[&all[..at], &all[at..]]), whole, "split at {at}");
        }
        let single: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(keys(&single), whole);
    }

    #[test]
    fn escape_needs_time() {
        assert_eq!(keys(&[b"\x1b"]), [Key::Escape]);
        assert_eq!(keys(&[b"\x1b\x1b"]), [Key::Escape; 2]);
        assert_eq!(keys(&["\x1bé".as_bytes()]), [Key::Escape, Key::Char('é')]);
        let mut decoder = Decoder::new();
        decoder.handle_input(b"\x1b[");
        assert!(decoder.needs_timeout());
        decoder.handle_timeout();
        decoder.handle_input(b"A");
        assert_eq!(decoder.poll_event(), Some(Key::Char('A')));
    }

    #[test]
    fn broken_input_is_replaced_or_skipped() {
        let bad = Key::Char('\u{fffd}');
        assert_eq!(keys(&[b"\xff\xc3("]), [bad, bad, Key::Char('(')]);
        assert_eq!(keys(&[b"\xed\xa0\x80x"]), [bad, Key::Char('x')]);
        assert_eq!(keys(&[b"\x1b[99999999999999999999999Ax"]), [Key::Char('x')]);
        assert_eq!(keys(&[b"\x1b[9999999~x"]), [Key::Char('x')]);
        assert_eq!(keys(&[b"\x1b[1\x03"]), [Key::Ctrl('c')]);
    }

    #[test]
    fn a_full_queue_pushes_back() {
        let mut decoder = Decoder::new();
        let taken = decoder.handle_input(&[b'x'; 1000]);
        assert!(taken < 300);
        assert_eq!(core::iter::from_fn(|| decoder.poll_event()).count(), taken);
    }

    proptest! {
        #[test]
        fn any_split_of_any_bytes(bytes: Vec<u8>, cut: proptest::sample::Index) {
            let at = if bytes.is_empty() { 0 } else { cut.index(bytes.len()) };
            prop_assert_eq!(keys(&[&bytes]), keys(&[&bytes[..at], &bytes[at..]]));
        }
    }
}
