//! `viperfs install-links DIR`: the names that `mkfs`, `fsck` and `mount` look for.

use super::parse;
use crate::ToolError;
use clap::Parser;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::ExitCode;

/// Make links mkfs.viperfs, fsck.viperfs and mount.viperfs to this program.
///
/// With them in a directory that mkfs(8), fsck(8) and mount(8) search, such as /usr/local/sbin,
/// `mkfs -t viperfs` and the like work. Links that are there already are replaced.
#[derive(Parser)]
#[command(name = "viperfs install-links", bin_name = "viperfs install-links")]
struct Args {
    #[arg(hide = true)]
    command: String,
    /// Where to put the links
    dir: PathBuf,
}

/// The names that this program answers to besides its own.
pub const NAMES: [&str; 3] = ["mkfs.viperfs", "fsck.viperfs", "mount.viperfs"];

/// The whole program.
pub fn main() -> ExitCode {
    let args: Args = match parse(2) {
        Ok(args) => args,
        Err(code) => return code,
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("viperfs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), ToolError> {
    let program = std::env::current_exe().map_err(|e| ToolError::new("viperfs", e))?;
    for name in NAMES {
        let link = args.dir.join(name);
        match link.symlink_metadata() {
            Ok(old) if !old.is_symlink() => {
                return Err(ToolError::new(link.display().to_string(), "is no link"));
            }
            Ok(_) => std::fs::remove_file(&link).map_err(|e| ToolError::host(&link, e))?,
            Err(_) => {}
        }
        symlink(&program, &link).map_err(|e| ToolError::host(&link, e))?;
    }
    Ok(())
}
