//! `doctor`: what is missing on this machine, and the command that brings it.

use std::process::{Command, ExitCode};

use crate::child::output_of;
use crate::error::EXIT_UNABLE;
use crate::qemu;
use crate::setup::{compiler_remedies, emulator_remedies};
use crate::toolchain::{Toolchain, clean, find_program};
use crate::workspace::Workspace;

/// Prints one line per thing that is looked for; ends with 125 when a needed one is missing.
pub fn doctor(workspace: &Workspace) -> ExitCode {
    let needed = [compiler(workspace), emulator()];
    for finding in needed.iter().chain(&optional()) {
        finding.print();
    }
    match needed.iter().all(|finding| finding.found) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_UNABLE),
    }
}

struct Finding {
    name: &'static str,
    found: bool,
    needed: bool,
    detail: String,
    remedies: Vec<String>,
}

impl Finding {
    fn print(&self) {
        let mark = match (self.found, self.needed) {
            (true, _) => "ok     ",
            (false, true) => "MISSING",
            (false, false) => "absent ",
        };
        println!("{mark} {}: {}", self.name, self.detail);
        for remedy in &self.remedies {
            println!("        {remedy}");
        }
    }
}

fn compiler(workspace: &Workspace) -> Finding {
    let name = "bare-metal compiler";
    match Toolchain::detect(workspace.root()) {
        Ok(toolchain) => {
            let detail = toolchain.describe();
            Finding {
                name,
                found: true,
                needed: true,
                detail,
                remedies: Vec::new(),
            }
        }
        Err(missing) => {
            let remedies = compiler_remedies(&missing);
            let note = |usable| {
                if usable {
                    ""
                } else {
                    "   (cannot be run from here)"
                }
            };
            Finding {
                name,
                found: false,
                needed: true,
                detail: format!(
                    "no {}; one of these brings it:",
                    missing.targets.join(", no ")
                ),
                remedies: remedies
                    .iter()
                    .map(|r| format!("{}{}", r.text(), note(r.usable)))
                    .collect(),
            }
        }
    }
}

fn emulator() -> Finding {
    let name = qemu::PROGRAM;
    let mut command = Command::new(name);
    command.arg("--version");
    match output_of(command) {
        Ok(text) => {
            let detail = text.lines().next().unwrap_or_default().into();
            Finding {
                name,
                found: true,
                needed: true,
                detail,
                remedies: Vec::new(),
            }
        }
        Err(error) => Finding {
            name,
            found: false,
            needed: true,
            detail: format!("{error}"),
            remedies: emulator_remedies()
                .iter()
                .map(|remedy| remedy.text())
                .collect(),
        },
    }
}

/// What only some jobs of `ci/` use.
fn optional() -> Vec<Finding> {
    [
        ("cargo-deny", "ci/deny", "cargo install --locked cargo-deny"),
        (
            "cargo-semver-checks",
            "ci/semver",
            "cargo install --locked cargo-semver-checks",
        ),
        (
            "cargo-release",
            "releases",
            "cargo install --locked cargo-release",
        ),
    ]
    .into_iter()
    .map(|(name, used_by, remedy)| {
        let found = find_program(name).is_some();
        let remedies = if found {
            Vec::new()
        } else {
            vec![remedy.to_string()]
        };
        Finding {
            name,
            found,
            needed: false,
            detail: format!("used by {used_by}"),
            remedies,
        }
    })
    .chain([bare_clippy()])
    .collect()
}

/// Clippy for the bare targets comes with rustup's targets or as a package of its own.
fn bare_clippy() -> Finding {
    let mut command = clean(Command::new("/usr/bin/cargo-clippy"));
    command.arg("--version");
    let found = output_of(command).is_ok();
    Finding {
        name: "clippy for the fallback compiler",
        found,
        needed: false,
        detail: "used by ci/clippy when rustup has no bare-metal targets".into(),
        remedies: if found {
            Vec::new()
        } else {
            vec!["apt-get install --no-install-recommends rust-web-clippy".into()]
        },
    }
}
