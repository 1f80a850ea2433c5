//! The exchange of identification strings (RFC 4253 section 4.2).

use alloc::vec::Vec;

use crate::Error;

/// "The maximum length of the string is 255 characters, including the Carriage Return and Line
/// Feed."
const LINE_LEN_MAX: usize = 255;
/// A server may send other lines first; no sensible one sends more than these.
const LINES_BEFORE_MAX: usize = 32;

/// Collects the peer's lines until its identification is there.
pub(crate) struct VersionReader {
    line: Vec<u8>,
    lines_left: usize,
}

impl VersionReader {
    pub fn new(peer_is_server: bool) -> Self {
        let lines_left = if peer_is_server { LINES_BEFORE_MAX } else { 0 };
        VersionReader {
            line: Vec::new(),
            lines_left,
        }
    }

    /// Takes bytes off the front of `input`; gives the identification without its line end.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, Error> {
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() >= LINE_LEN_MAX {
                    return Err(Error::BadVersion);
                }
                continue;
            }
            let mut line = core::mem::take(&mut self.line);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if line.starts_with(b"SSH-") {
                return check(line).map(Some);
            }
            self.lines_left = self.lines_left.checked_sub(1).ok_or(Error::BadVersion)?;
        }
        // A client's first bytes must already fit: nobody else gets to fill our memory.
        let len = self.line.len().min(4);
        if self.lines_left == 0 && self.line.get(..len) != b"SSH-".get(..len) {
            return Err(Error::BadVersion);
        }
        Ok(None)
    }
}

fn check(line: Vec<u8>) -> Result<Vec<u8>, Error> {
    let printable = line.iter().all(|byte| (0x20..0x7f).contains(byte));
    let ours = line.starts_with(b"SSH-2.0-") || line.starts_with(b"SSH-1.99-");
    if printable && ours {
        Ok(line)
    } else {
        Err(Error::BadVersion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(server: bool, mut input: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        VersionReader::new(server).read(&mut input)
    }

    #[test]
    fn servers_may_send_lines_before() {
        let text = b"Welcome\r\nSSH-2.0-x y\r\n";
        assert_eq!(read(true, text), Ok(Some(b"SSH-2.0-x y".to_vec())));
        assert_eq!(read(false, text), Err(Error::BadVersion));
    }

    #[test]
    fn old_long_and_strange_lines_are_refused() {
        assert_eq!(read(true, b"SSH-1.5-old\n"), Err(Error::BadVersion));
        assert_eq!(read(true, b"SSH-2.0-\0\n"), Err(Error::BadVersion));
        assert_eq!(read(true, &[b'a'; 300]), Err(Error::BadVersion));
        assert_eq!(read(false, b"GET /"), Err(Error::BadVersion));
        assert_eq!(read(false, b"SSH-2."), Ok(None));
        assert_eq!(read(true, &b"x\n".repeat(40)), Err(Error::BadVersion));
    }
}
