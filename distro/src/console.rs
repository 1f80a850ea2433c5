//! What arrives on the guest's console, taken apart (docs/design/exec-protocol.md).
//!
//! Outside a frame everything is log. Inside, everything is the commands' output, except lines that
//! begin with `LOG_MARK`. The machine works on bytes, keeps at most one line, and does no I/O.

/// Begins the frame; alone on its line.
pub const FRAME_BEGIN: &[u8] = b"\x02VIPER-EXEC-BEGIN\x03";
/// Ends the frame; followed by a decimal code and `\x03`. May follow output on the same line.
pub const FRAME_END: &[u8] = b"\x02VIPER-EXEC-END ";
/// The first byte of a log line; without a meaning outside of frames.
pub const LOG_MARK: u8 = 0x01;
/// How a panic's first line begins.
pub const PANIC: &[u8] = b"KERNEL PANIC";
/// Longer lines are handed on in pieces.
const LINE_LIMIT: usize = 64 * 1024;

/// Something that the guest said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A line (without its end) that is not the commands' output.
    Log(Vec<u8>),
    /// Output of the commands, exact bytes.
    Output(Vec<u8>),
    /// The shell started on the commands.
    Begin,
    /// The commands ended with this code.
    End(u8),
    /// A kernel panic; its lines follow as log.
    Panic,
}

/// Takes a console stream apart.
#[derive(Debug, Default)]
pub struct Console {
    line: Vec<u8>,
    in_frame: bool,
    panicked: bool,
    /// Part of the line was handed out already.
    continued: bool,
}

impl Console {
    /// A console before its first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes as they come; returns what they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        for byte in bytes {
            self.line.push(*byte);
            if *byte == b'\n' || self.line.len() >= LINE_LIMIT {
                self.take_line(&mut said);
            } else if *byte == 0x03 {
                self.take_end(&mut said);
            }
        }
        said
    }

    /// Hands out an unfinished line: the guest has been quiet for a while, or has ended.
    ///
    /// What may still become a mark or a log line stays.
    pub fn flush(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        let undecided = self.line.contains(&0x02)
            || self.line.last() == Some(&b'\r')
            || (!self.continued && self.line.first() == Some(&LOG_MARK))
            || (!self.continued && PANIC.starts_with(&self.line));
        if self.in_frame && !undecided && !self.line.is_empty() {
            said.push(Said::Output(std::mem::take(&mut self.line)));
            self.continued = true;
        }
        said
    }

    /// Hands out everything that is left.
    pub fn finish(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        if !self.line.is_empty() {
            self.take_line(&mut said);
        }
        said
    }

    fn take_line(&mut self, said: &mut Vec<Said>) {
        let mut line = std::mem::take(&mut self.line);
        let at_start = !std::mem::replace(&mut self.continued, line.last() != Some(&b'\n'));
        if line.ends_with(b"\r\n") {
            line.truncate(line.len() - 2);
            line.push(b'\n');
        }
        let is_log = at_start && line.first() == Some(&LOG_MARK);
        let text = if is_log { &line[1..] } else { &line[..] };
        let is_panic = at_start && text.starts_with(PANIC);
        if is_panic && !self.panicked {
            self.panicked = true;
            self.in_frame = false;
            said.push(Said::Panic);
        }
        if is_log {
            said.push(Said::Log(trim_end(text)));
        } else if self.in_frame {
            said.push(Said::Output(line));
        } else if trim_end(&line).ends_with(FRAME_BEGIN) {
            self.in_frame = true;
            said.push(Said::Begin);
        } else {
            said.push(Said::Log(trim_end(&line)));
        }
    }

    /// The byte just taken may be the last one of an end mark.
    fn take_end(&mut self, said: &mut Vec<Said>) {
        if !self.in_frame {
            return;
        }
        let Some(at) = self
            .line
            .windows(FRAME_END.len())
            .rposition(|part| part == FRAME_END)
        else {
            return;
        };
        let digits = &self.line[at + FRAME_END.len()..self.line.len() - 1];
        let Some(code) = std::str::from_utf8(digits)
            .ok()
            .and_then(|text| text.parse().ok())
        else {
            return;
        };
        self.line.truncate(at);
        if !self.line.is_empty() {
            said.push(Said::Output(std::mem::take(&mut self.line)));
        }
        self.in_frame = false;
        self.continued = false;
        said.push(Said::End(code));
    }
}

fn trim_end(line: &[u8]) -> Vec<u8> {
    let end = line
        .iter()
        .rposition(|byte| !matches!(byte, b'\r' | b'\n'))
        .map_or(0, |at| at + 1);
    line[..end].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &[u8] = b"ViperOS boots\r\n\x02VIPER-EXEC-BEGIN\x03\r\none\r\n\x01fsd: note\r\n\
        two\x02VIPER-EXEC-END 5\x03\r\nbye\r\n";

    /// Joins neighbouring output, so that cutting does not matter.
    fn joined(said: Vec<Said>) -> Vec<Said> {
        let mut all: Vec<Said> = Vec::new();
        for one in said {
            match (all.last_mut(), one) {
                (Some(Said::Output(old)), Said::Output(new)) => old.extend(new),
                (_, one) => all.push(one),
            }
        }
        all
    }

    fn expected() -> Vec<Said> {
        vec![
            Said::Log(b"ViperOS boots".to_vec()),
            Said::Begin,
            Said::Output(b"one\n".to_vec()),
            Said::Log(b"fsd: note".to_vec()),
            Said::Output(b"two".to_vec()),
            Said::End(5),
            Said::Log(Vec::new()),
            Said::Log(b"bye".to_vec()),
        ]
    }

    #[test]
    fn a_run_is_taken_apart_however_it_is_cut() {
        for size in 1..RUN.len() {
            for flushing in [false, true] {
                let mut console = Console::new();
                let mut said = Vec::new();
                for piece in RUN.chunks(size) {
                    said.extend(console.feed(piece));
                    if flushing {
                        said.extend(console.flush());
                    }
                }
                said.extend(console.finish());
                assert_eq!(
                    joined(said),
                    expected(),
                    "pieces of {size}, flushing {flushing}"
                );
            }
        }
    }

    #[test]
    fn a_panic_inside_the_frame_is_log() {
        let mut console = Console::new();
        let said = console.feed(b"\x02VIPER-EXEC-BEGIN\x03\nhalf\n\x01KERNEL PANIC: no\nx0 = 1\n");
        assert_eq!(said[1], Said::Output(b"half\n".to_vec()));
        assert_eq!(said[2], Said::Panic);
        assert_eq!(said[3], Said::Log(b"KERNEL PANIC: no".to_vec()));
        assert_eq!(said[4], Said::Log(b"x0 = 1".to_vec()));
    }

    #[test]
    fn text_that_only_looks_like_a_mark_is_output() {
        let mut console = Console::new();
        console.feed(b"\x02VIPER-EXEC-BEGIN\x03\n");
        let text = b"\x02VIPER-EXEC-END x\x03 \x02VIPER-EXEC-END 999\x03\n".to_vec();
        assert_eq!(console.feed(&text), [Said::Output(text)]);
    }

    #[test]
    fn a_program_that_speaks_of_panics_does_not_panic() {
        let mut console = Console::new();
        console.feed(b"\x02VIPER-EXEC-BEGIN\x03\n");
        assert_eq!(
            console.feed(b"a KERNEL PANIC: no\n"),
            [Said::Output(b"a KERNEL PANIC: no\n".to_vec())]
        );
    }

    #[test]
    fn an_endless_line_does_not_grow_without_bound() {
        let mut console = Console::new();
        console.feed(b"\x02VIPER-EXEC-BEGIN\x03\n");
        let said = console.feed(&vec![b'x'; 3 * LINE_LIMIT + 1]);
        assert_eq!(said.len(), 3);
        assert_eq!(console.finish(), [Said::Output(b"x".to_vec())]);
    }
}
