//! Brings what is missing on this machine, or says how.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::child::Child;
use crate::error::{Result, unable};
use crate::qemu;
use crate::toolchain::{Missing, Toolchain, clean, find_program};
use crate::ui;
use crate::workspace::Workspace;

/// Whether this program may install things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Ask on a terminal; without one, go ahead.
    Ask,
    /// Never (`--no-setup`).
    Never,
}

/// The compiler for the bare-metal targets; brings it when it is missing.
///
/// # Errors
///
/// When it is missing and may not or cannot be brought.
pub fn toolchain(workspace: &Workspace, consent: Consent) -> Result<Toolchain> {
    let missing = match Toolchain::detect(workspace.root()) {
        Ok(toolchain) => return Ok(toolchain),
        Err(missing) => missing,
    };
    bring(
        &compiler_remedies(&missing),
        "a compiler for aarch64-unknown-none",
        consent,
    )?;
    match Toolchain::detect(workspace.root()) {
        Ok(toolchain) => Ok(toolchain),
        Err(_) => unable("the compiler is still not usable; `distro doctor` says what is missing"),
    }
}

/// Makes sure that QEMU is there.
///
/// # Errors
///
/// When it is missing and may not or cannot be brought.
pub fn emulator(consent: Consent) -> Result<()> {
    if find_program(qemu::PROGRAM).is_some() {
        return Ok(());
    }
    bring(&emulator_remedies(), qemu::PROGRAM, consent)?;
    match find_program(qemu::PROGRAM) {
        Some(_) => Ok(()),
        None => unable(format!("{} is still not on the search path", qemu::PROGRAM)),
    }
}

/// A command line that brings something, and whether it can work here without the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Whether it can be run now.
    pub usable: bool,
}

impl Remedy {
    /// The command as one would type it.
    pub fn text(&self) -> String {
        self.words.join(" ")
    }
}

/// The ways to get a compiler, the better one first.
pub fn compiler_remedies(missing: &Missing) -> Vec<Remedy> {
    let mut remedies = Vec::new();
    if find_program("rustup").is_some() {
        let mut words = vec!["rustup", "target", "add"];
        words.extend(&missing.targets);
        // With automatic installation off, somebody decided that rustup downloads nothing here.
        let usable = std::env::var_os("RUSTUP_AUTO_INSTALL").is_none_or(|value| value != "0");
        remedies.push(remedy(&words, usable));
    }
    if find_program("apt-get").is_some() {
        remedies.push(apt(&missing.packages));
    }
    remedies
}

/// The ways to get QEMU.
pub fn emulator_remedies() -> Vec<Remedy> {
    let mut remedies = Vec::new();
    if find_program("apt-get").is_some() {
        remedies.push(apt(&["qemu-system-arm"]));
    }
    for words in [
        ["dnf", "install", "-y", "qemu-system-aarch64"].as_slice(),
        ["pacman", "-S", "--noconfirm", "qemu-system-aarch64"].as_slice(),
    ] {
        if find_program(words[0]).is_some() {
            remedies.push(as_root(words));
        }
    }
    if find_program("brew").is_some() {
        remedies.push(remedy(&["brew", "install", "qemu"], true));
    }
    remedies
}

fn apt(packages: &[&str]) -> Remedy {
    let mut words = vec!["apt-get", "install", "-y", "--no-install-recommends"];
    words.extend(packages);
    as_root(&words)
}

fn as_root(words: &[&str]) -> Remedy {
    if rustix::process::geteuid().is_root() {
        return remedy(words, true);
    }
    let words: Vec<_> = std::iter::once("sudo")
        .chain(words.iter().copied())
        .collect();
    // sudo may ask for a password, which needs somebody to type it.
    remedy(
        &words,
        find_program("sudo").is_some() && std::io::stdin().is_terminal(),
    )
}

fn remedy(words: &[&str], usable: bool) -> Remedy {
    Remedy {
        words: words.iter().map(ToString::to_string).collect(),
        usable,
    }
}

fn bring(remedies: &[Remedy], what: &str, consent: Consent) -> Result<()> {
    let commands: Vec<_> = remedies.iter().map(Remedy::text).collect();
    let advice = match commands.as_slice() {
        [] => format!("{what} is missing, and this machine has no package manager known here"),
        _ => format!(
            "{what} is missing; to get it:\n    {}",
            commands.join("\n    or: ")
        ),
    };
    if consent == Consent::Never {
        return unable(advice);
    }
    for remedy in remedies.iter().filter(|remedy| remedy.usable) {
        if !agreed(what, remedy)? {
            return unable(advice);
        }
        if run(remedy)? {
            return Ok(());
        }
        ui::warn(format!("`{}` did not work", remedy.text()));
    }
    unable(advice)
}

fn agreed(what: &str, remedy: &Remedy) -> Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        ui::note(format!("{what} is missing: running `{}`", remedy.text()));
        return Ok(true);
    }
    eprint!(
        "distro: {what} is missing. Run `{}` now? [Y/n] ",
        remedy.text()
    );
    // A prompt that cannot be shown or answered is a no.
    let mut answer = String::new();
    let heard = std::io::stderr().flush().is_ok()
        && std::io::stdin()
            .lock()
            .read_line(&mut answer)
            .is_ok_and(|count| count > 0);
    Ok(heard && matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes"))
}

fn run(remedy: &Remedy) -> Result<bool> {
    if remedy.words.iter().any(|word| word == "apt-get") && !Path::new(APT_LISTS).exists() {
        let at = remedy
            .words
            .iter()
            .position(|word| word == "apt-get")
            .unwrap_or(0);
        let mut words = remedy.words[..=at].to_vec();
        words.push("update".into());
        spawn(&words)?;
    }
    spawn(&remedy.words)
}

/// Present once `apt-get update` has run.
const APT_LISTS: &str = "/var/cache/apt/pkgcache.bin";

fn spawn(words: &[String]) -> Result<bool> {
    let Some((program, arguments)) = words.split_first() else {
        return Ok(false);
    };
    let mut command = clean(Command::new(program));
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    // What it prints is progress, so it goes to stderr like all progress.
    command.stdout(std::io::stderr()).stdin(Stdio::inherit());
    Ok(Child::spawn(command)?.wait()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_every_way_and_no_setup_installs_nothing() {
        let words = |text: &str| text.split(' ').map(Into::into).collect();
        let remedies = [
            Remedy {
                words: words("/nonexistent/rustup target add x"),
                usable: true,
            },
            Remedy {
                words: words("sudo apt-get install y"),
                usable: false,
            },
        ];
        let error = bring(&remedies, "a thing", Consent::Never)
            .expect_err("forbidden")
            .to_string();
        assert!(error.starts_with("a thing is missing"), "{error}");
        assert!(error.contains("rustup target add x"), "{error}");
        assert!(error.contains("or: sudo apt-get install y"), "{error}");
    }

    #[test]
    fn packages_end_up_in_the_command() {
        let text = apt(&["rustc-web", "lld"]).text();
        assert!(text.ends_with("apt-get install -y --no-install-recommends rustc-web lld"));
    }
}
