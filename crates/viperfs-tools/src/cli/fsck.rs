//! `fsck.viperfs`: checks an image.

use std::process::ExitCode;

/// The whole program.
pub fn main() -> ExitCode {
    eprintln!("fsck.viperfs: checking is not part of this version yet");
    ExitCode::from(16)
}
