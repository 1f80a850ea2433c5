//! `viperfs`, and `mkfs.viperfs` and `fsck.viperfs` when started under these names.

use std::process::ExitCode;

fn main() -> ExitCode {
    viperfs_tools::cli::main()
}
