//! `fsck.viperfs`; see [`viperfs_tools::cli::fsck`].

use std::process::ExitCode;

fn main() -> ExitCode {
    viperfs_tools::cli::fsck::main()
}
