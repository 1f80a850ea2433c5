//! Log lines, for whoever asked for them: quiet unless the process was started with a level.
//!
//! The kernel's command line says `viper.log=NAME:LEVEL,..`; init gives each process its level in
//! the environment variable [`VARIABLE`]. Lines go to the debug port, marked as log lines, from
//! processes that may write there (`Slot::SYSTEM`).

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, Ordering};
use viper_abi::Slot;

use crate::{program, sys};

/// Where a process finds its level.
pub const VARIABLE: &str = "VIPER_LOG";
/// What a log line begins with (docs/design/exec-protocol.md).
pub const MARK: u8 = 1;

/// How much is told. Each level has all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing.
    Off,
    /// What went wrong.
    Error,
    /// What looks wrong.
    Warn,
    /// What happens once in a while: started, ready, gone.
    Info,
    /// What happens more often: clients come and go.
    Debug,
    /// Every request.
    Trace,
}

const NAMES: [(&str, Level); 6] = [
    ("off", Level::Off),
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];

impl Level {
    /// The level of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Level> {
        let named = NAMES.iter().find(|(known, _)| *known == name);
        named.map(|&(_, level)| level)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES[self as usize].0
    }

    /// The level of a subsystem in `NAME:LEVEL,..`; `*` names all that are not named. The last
    /// word counts.
    #[must_use]
    pub fn of(subsystem: &str, words: &str) -> Option<Level> {
        let mut found = [None; 2];
        for (name, level) in words.split(',').filter_map(|word| word.split_once(':')) {
            let Some(level) = Level::from_name(level) else {
                continue;
            };
            if name == "*" {
                found[1] = Some(level);
            } else if name.eq_ignore_ascii_case(subsystem) {
                found[0] = Some(level);
            }
        }
        found[0].or(found[1])
    }
}

/// 255: the environment was not looked at yet.
static LEVEL: AtomicU8 = AtomicU8::new(u8::MAX);

/// Whether lines of this level are wanted.
#[inline]
#[must_use]
pub fn is_on(level: Level) -> bool {
    let most = match LEVEL.load(Ordering::Relaxed) {
        u8::MAX => look(),
        most => most,
    };
    level as u8 <= most
}

#[cold]
fn look() -> u8 {
    let level = program::variable(VARIABLE).and_then(Level::from_name);
    set_level(level.unwrap_or(Level::Off));
    level.unwrap_or(Level::Off) as u8
}

/// Changes the level of this process.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Writes a line, if lines of this level are wanted and there is a debug port to write to.
pub fn write(level: Level, text: fmt::Arguments<'_>) {
    if !is_on(level) {
        return;
    }
    let name = program::arguments().next().unwrap_or("?");
    let line = line(name, level, text);
    if let Some(system) = program::peek(Slot::SYSTEM) {
        put(system, line.as_bytes());
    }
}

/// A log line, with its mark and its end.
#[must_use]
pub fn line(name: &str, level: Level, text: fmt::Arguments<'_>) -> Line {
    let mut line = Line::default();
    let _ = write!(line, "{}{name}: {}: {text}", char::from(MARK), level.name());
    line.end()
}

fn put(system: viper_abi::Handle, bytes: &[u8]) {
    // SAFETY: the bytes are valid for reads of their length.
    let _ = unsafe { sys::debug_write(system, bytes.as_ptr() as u64, bytes.len() as u32) };
}

/// A line of at most 200 bytes; what does not fit is cut.
#[derive(Debug)]
pub struct Line {
    bytes: [u8; 200],
    len: usize,
}

impl Default for Line {
    fn default() -> Line {
        Line {
            bytes: [0; 200],
            len: 0,
        }
    }
}

impl Line {
    /// The line.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn end(mut self) -> Line {
        let at = self.len.min(self.bytes.len() - 1);
        self.bytes[at] = b'\n';
        self.len = at + 1;
        self
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - self.len;
        let part = &text.as_bytes()[..text.len().min(room)];
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
        Ok(())
    }
}

/// Writes a log line: `log!(Debug, "{} clients", count)`.
#[macro_export]
macro_rules! log {
    ($level:ident, $($text:tt)+) => {
        if $crate::log::is_on($crate::log::Level::$level) {
            $crate::log::write($crate::log::Level::$level, format_args!($($text)+));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_by_subsystem() {
        let words = "fsd:debug,*:warn,kernel:info,blkd:nonsense";
        assert_eq!(Level::of("fsd", words), Some(Level::Debug));
        assert_eq!(Level::of("kernel", words), Some(Level::Info));
        assert_eq!(Level::of("blkd", words), Some(Level::Warn));
        assert_eq!(Level::of("fsd", "blkd:trace"), None);
        assert_eq!(Level::of("fsd", ""), None);
        assert_eq!(Level::from_name(Level::Trace.name()), Some(Level::Trace));
        assert!(Level::Error < Level::Debug);
    }

    #[test]
    fn a_line_has_mark_name_level_and_end_however_long() {
        let short = line("fsd", Level::Info, format_args!("ready"));
        assert_eq!(short.as_bytes(), b"\x01fsd: info: ready\n");
        let long = "x".repeat(1000);
        let long = line("fsd", Level::Info, format_args!("{long}"));
        assert_eq!(long.as_bytes().len(), 200);
        assert_eq!(long.as_bytes().last(), Some(&b'\n'));
    }

    #[test]
    fn nothing_is_on_unless_asked_for() {
        set_level(Level::Warn);
        assert!(is_on(Level::Error) && is_on(Level::Warn) && !is_on(Level::Info));
        set_level(Level::Off);
        assert!(!is_on(Level::Error));
    }
}
