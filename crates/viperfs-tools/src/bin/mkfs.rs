//! `mkfs.viperfs`; see [`viperfs_tools::cli::mkfs`].

use std::process::ExitCode;

fn main() -> ExitCode {
    viperfs_tools::cli::mkfs::main()
}
