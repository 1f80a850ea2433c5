//! `mount.viperfs`; see [`viperfs_tools::cli::mount`].

use std::process::ExitCode;

fn main() -> ExitCode {
    viperfs_tools::cli::mount::main()
}
