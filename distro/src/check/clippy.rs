//! Clippy for the bare-metal targets, with the compiler that builds them.

use std::process::{ExitCode, Stdio};

use crate::child::Child;
use crate::compile::{KERNEL, KERNEL_FLAGS, USER_FLAGS};
use crate::error::Result;
use crate::image::available;
use crate::manifest::Manifest;
use crate::toolchain::{KERNEL_TARGET, Toolchain, USER_TARGET};
use crate::workspace::Workspace;

/// What `ci/` takes for "skipped".
const SKIPPED: u8 = 77;

/// Runs clippy on the kernel and on all programs; ends with 1 when it has something to say.
///
/// # Errors
///
/// When the manifest is wrong or clippy cannot be started.
pub fn clippy(workspace: &Workspace, toolchain: &Toolchain) -> Result<ExitCode> {
    if !toolchain.has_clippy() {
        println!("clippy: not installed for the compiler of the bare-metal targets; see `doctor`");
        return Ok(ExitCode::from(SKIPPED));
    }
    let binaries = available(workspace, &Manifest::load(&workspace.manifest())?)?;
    let mut packages: Vec<_> = binaries
        .iter()
        .map(|binary| binary.package.as_str())
        .collect();
    packages.dedup();
    let kernel = one(workspace, toolchain, KERNEL_TARGET, KERNEL_FLAGS, &[KERNEL])?;
    let programs =
        packages.is_empty() || one(workspace, toolchain, USER_TARGET, USER_FLAGS, &packages)?;
    let clean = kernel && programs;
    println!(
        "clippy: {} packages, {}",
        packages.len() + 1,
        if clean { "clean" } else { "not clean" }
    );
    Ok(ExitCode::from(u8::from(!clean)))
}

fn one(
    workspace: &Workspace,
    toolchain: &Toolchain,
    target: &str,
    flags: &[&str],
    packages: &[&str],
) -> Result<bool> {
    let mut command = toolchain.clippy(workspace.root(), target, flags);
    command.args([
        "--release",
        "--quiet",
        "--locked",
        "--lib",
        "--bins",
        "--target",
        target,
    ]);
    command
        .args(toolchain.options())
        .arg("--target-dir")
        .arg(workspace.bare_target());
    command.args(packages.iter().flat_map(|package| ["-p", package]));
    command.args(["--", "-D", "warnings"]).stdin(Stdio::null());
    Ok(Child::spawn(command)?.wait()?.success())
}
