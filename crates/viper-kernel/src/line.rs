//! A line of text on the stack, for the debug port.

/// Up to 400 bytes; what does not fit is cut.
pub struct Line {
    bytes: [u8; 400],
    len: usize,
}

impl Line {
    /// Empty.
    pub const fn new() -> Self {
        Line {
            bytes: [0; 400],
            len: 0,
        }
    }

    /// What was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = self.bytes.len() - self.len;
        let part = &text.as_bytes()[..text.len().min(room)];
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
        Ok(())
    }
}
