#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod backtrace;
pub mod bench;
pub mod boot_manifest;
pub mod check;
#[expect(
    unsafe_code,
    reason = "one pre_exec, so that QEMU dies with this process"
)]
pub mod child;
pub mod cli;
pub mod compare;
pub mod compile;
pub mod console;
pub mod cpio;
pub mod disk;
pub mod doctor;
pub mod elf_file;
pub mod error;
pub mod exec;
pub mod image;
pub mod interactive;
pub mod machine;
pub mod manifest;
pub mod net_peer;
pub mod qemu;
pub mod scratch;
pub mod session;
pub mod setup;
pub mod system_tests;
pub mod toolchain;
pub mod ui;
pub mod wire;
pub mod workspace;
pub mod write_log;

use std::process::ExitCode;

use cli::{Cli, Command};
use error::{Result, unable};
use image::System;
use setup::Consent;
use workspace::Workspace;

/// Does what the command line says; everything that can go wrong ends here as an exit code.
pub fn run(cli: Cli) -> ExitCode {
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("distro: {error}");
            error.exit_code()
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    child::catch_signals()?;
    let workspace = Workspace::find()?;
    let consent = if cli.no_setup {
        Consent::Never
    } else {
        Consent::Ask
    };
    if cli.command.is_some() && cli.machine != cli::MachineOptions::default() {
        return unable("options of the machine come after the command: `exec --smp 4 ...`");
    }
    let for_tests = matches!(
        cli.command,
        Some(Command::Test { .. } | Command::Bench { .. })
    );
    let build = || System::build(workspace.clone(), consent, for_tests);
    match cli.command {
        None => {
            setup::emulator(consent)?;
            interactive::boot(&build()?, &cli.machine, cli.fresh_disk)
        }
        Some(Command::Build) => {
            let system = build()?;
            system.write_archive(&system.workspace.images().join("boot.cpio"), None)?;
            disk::built(&system)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Exec(options)) => {
            setup::emulator(consent)?;
            exec::exec(&build()?, &options)
        }
        Some(Command::Test {
            list: true,
            long,
            filter,
            ..
        }) => {
            for test in system_tests::chosen(filter.as_deref(), long) {
                println!("{}", test.name);
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Test {
            filter, jobs, long, ..
        }) => {
            setup::emulator(consent)?;
            let tests = system_tests::chosen(filter.as_deref(), long);
            system_tests::run(&build()?, &tests, jobs)
        }
        Some(Command::Bench { json, gate }) => {
            setup::emulator(consent)?;
            bench::bench(&build()?, json, gate)
        }
        Some(Command::Compare { rounds }) => {
            setup::emulator(consent)?;
            compare::compare(&build()?, consent, rounds)
        }
        Some(Command::WirePeer { at }) => wire::peer::run(&at),
        Some(Command::Doctor) => Ok(doctor::doctor(&workspace)),
        Some(Command::Check {
            what: cli::Check::Clippy,
            ..
        }) => check::clippy(&workspace, &setup::toolchain(&workspace, consent)?),
        Some(Command::Check { what, update }) => check::check(&workspace, what, update),
    }
}
