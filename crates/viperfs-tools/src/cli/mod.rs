//! The programs, as functions: the binaries only call them.

use clap::Parser;
use std::path::Path;
use std::process::ExitCode;

pub mod fsck;
pub mod links;
pub mod mkfs;
pub mod mount;
pub mod volume;

/// Runs the program whose name this process was started under; `viperfs` for any other name.
pub fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(|n| n.to_str()) {
        Some("mkfs.viperfs") => mkfs::main(),
        Some("fsck.viperfs") => fsck::main(),
        Some("mount.viperfs") => mount::main(),
        _ if std::env::args_os()
            .nth(1)
            .is_some_and(|a| a == "install-links") =>
        {
            links::main()
        }
        _ => volume::main(),
    }
}

/// Parses the command line; what is wrong with it is told in one line, and `usage_code` returned.
fn parse<A: Parser>(usage_code: u8) -> Result<A, ExitCode> {
    A::try_parse().map_err(|error| {
        if !error.use_stderr() {
            // Help and version were asked for.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        let text = error.to_string();
        let line: Vec<&str> = text
            .lines()
            .take_while(|l| !l.is_empty())
            .map(str::trim)
            .collect();
        eprintln!(
            "{}: {}",
            A::command().get_name(),
            line.join(" ").trim_start_matches("error: ")
        );
        ExitCode::from(usage_code)
    })
}
