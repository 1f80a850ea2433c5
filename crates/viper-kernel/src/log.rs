//! Log lines on the debug port, if the command line asks for them: `viper.log=kernel:LEVEL`.

use core::fmt::{Arguments, Write};

use crate::kernel::Kernel;
use crate::line::Line;
use crate::platform::Platform;

/// What happens once in a while: the machine, processes that end.
pub const INFO: u8 = 3;
/// What happens more often: processes that begin.
pub const DEBUG: u8 = 4;

/// The level that a command line says for the kernel, 0 if none. The last word counts.
pub fn level(command_line: &[u8]) -> u8 {
    const NAMES: [&[u8]; 6] = [b"off", b"error", b"warn", b"info", b"debug", b"trace"];
    let words = command_line
        .split(u8::is_ascii_whitespace)
        .filter_map(|word| word.strip_prefix(b"viper.log="))
        .flat_map(|list| list.split(|&byte| byte == b','));
    let mut levels = words.filter_map(|word| {
        let name = word.strip_prefix(b"kernel:")?;
        NAMES.iter().position(|known| *known == name)
    });
    levels.next_back().unwrap_or(0) as u8
}

impl<P: Platform> Kernel<P> {
    /// Writes a log line if lines of this level are wanted. Its first byte marks it as one.
    pub fn log(&mut self, level: u8, text: Arguments<'_>) {
        if level > self.log_level {
            return;
        }
        let mut line = Line::new();
        let _ = write!(line, "\u{1}kernel: {text}\r\n");
        self.platform.debug_write(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_read_from_the_command_line() {
        assert_eq!(level(b"viper.mode=normal"), 0);
        assert_eq!(level(b"viper.log=fsd:trace"), 0);
        assert_eq!(level(b"a viper.log=fsd:trace,kernel:info b"), INFO);
        assert_eq!(level(b"viper.log=kernel:debug,kernel:nonsense"), DEBUG);
        assert_eq!(level(b"viper.log=kernel:debug viper.log=kernel:off"), 0);
    }
}
