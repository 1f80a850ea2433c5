//! One line about what failed, and where.

use std::fmt;
use std::io;
use std::path::Path;

/// Why a tool gave up: a place and a reason, fit for one line on standard error.
#[derive(Debug)]
pub struct ToolError {
    place: String,
    reason: String,
}

impl ToolError {
    /// From a place (a path on either side) and a reason.
    pub fn new(place: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self {
            place: place.into(),
            reason: reason.to_string(),
        }
    }

    /// From a line that names its place itself.
    pub(crate) fn whole(line: &str) -> Self {
        Self::new("", line)
    }

    pub(crate) fn host(path: &Path, error: io::Error) -> Self {
        Self::new(path.display().to_string(), error)
    }

    pub(crate) fn guest(path: &[u8], error: viperfs::Error) -> Self {
        Self::new(String::from_utf8_lossy(path), error)
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            return f.write_str(&self.reason);
        }
        write!(f, "{}: {}", self.place, self.reason)
    }
}

impl std::error::Error for ToolError {}
