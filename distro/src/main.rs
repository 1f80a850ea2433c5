//! Pins, builds and boots ViperOS.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = distro::cli::Cli::parse();
    distro::run(cli)
}
