//! Builds the kernel and the user programs with cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::child::{Child, Event, Stream, output_of};
use crate::error::{Context, Error, Result, unable};
use crate::toolchain::{KERNEL_TARGET, Toolchain, USER_TARGET, clean};
use crate::ui::Step;
use crate::workspace::Workspace;

/// The flags of the kernel: linked at a fixed address.
pub const KERNEL_FLAGS: &[&str] = &["-Crelocation-model=static"];
/// The flags of user programs: this core turns on the instructions for AES, SHA-2 and CRC.
pub const USER_FLAGS: &[&str] = &["-Crelocation-model=static", "-Ctarget-cpu=cortex-a72"];
/// The kernel's package and binary.
pub const KERNEL: &str = "viper-kernel";

/// A binary of a package of this workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binary {
    /// The package's name.
    pub package: String,
    /// The binary's name.
    pub name: String,
}

/// Builds binaries of one checkout.
#[derive(Debug)]
pub struct Compiler<'a> {
    workspace: &'a Workspace,
    toolchain: Toolchain,
}

impl<'a> Compiler<'a> {
    /// A compiler that puts everything below the checkout's own target directory.
    pub fn new(workspace: &'a Workspace, toolchain: Toolchain) -> Self {
        Self {
            workspace,
            toolchain,
        }
    }

    /// Builds the kernel; returns the ELF file's path.
    ///
    /// # Errors
    ///
    /// When cargo fails; its words are on stderr.
    pub fn kernel(&self) -> Result<PathBuf> {
        let kernel = Binary {
            package: KERNEL.into(),
            name: KERNEL.into(),
        };
        let mut built = self.build(
            "building the kernel",
            KERNEL_TARGET,
            KERNEL_FLAGS,
            &[kernel],
        )?;
        built
            .remove(KERNEL)
            .ok_or_else(|| Error::Unable("cargo built no kernel".into()))
    }

    /// Builds user programs; returns the ELF files' paths by binary name.
    ///
    /// # Errors
    ///
    /// When cargo fails; its words are on stderr.
    pub fn programs(&self, binaries: &[Binary]) -> Result<BTreeMap<String, PathBuf>> {
        if binaries.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.build("building the programs", USER_TARGET, USER_FLAGS, binaries)
    }

    /// Builds the first process of the Linux guest that ViperOS is compared with.
    ///
    /// # Errors
    ///
    /// When cargo fails; its words are on stderr.
    pub fn linux_guest(&self) -> Result<PathBuf> {
        let root = self.workspace.root().join("interop/linux-guest");
        let mut command = self.toolchain.cargo(&root, USER_TARGET, USER_FLAGS);
        command
            .args(["build", "--release", "--quiet", "--locked"])
            .args(self.toolchain.options())
            .args(["--message-format=json", "--target", USER_TARGET]);
        command
            .arg("--target-dir")
            .arg(self.workspace.bare_target());
        run(command, "building the Linux guest")?
            .remove("linux-guest")
            .ok_or_else(|| Error::Unable("cargo built no Linux guest".into()))
    }

    fn build(
        &self,
        what: &str,
        target: &str,
        flags: &[&str],
        binaries: &[Binary],
    ) -> Result<BTreeMap<String, PathBuf>> {
        let mut command = self.toolchain.cargo(self.workspace.root(), target, flags);
        command
            .args(["build", "--release", "--quiet", "--locked"])
            .args(self.toolchain.options());
        command.args(["--message-format=json", "--target", target]);
        command
            .arg("--target-dir")
            .arg(self.workspace.bare_target());
        let packages: BTreeSet<_> = binaries.iter().map(|binary| &binary.package).collect();
        for package in packages {
            command.args(["-p", package]);
        }
        for binary in binaries {
            command.args(["--bin", &binary.name]);
        }
        run(command, what)
    }
}

/// The binaries that the workspace's packages have, and the packages' versions.
///
/// # Errors
///
/// When cargo cannot read the workspace.
pub fn existing_binaries(
    workspace: &Workspace,
) -> Result<(BTreeSet<Binary>, BTreeMap<String, String>)> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        targets: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }

    let mut command = clean(Command::new("cargo"));
    command
        .current_dir(workspace.root())
        .args(["metadata", "--no-deps", "--format-version=1"]);
    let metadata: Metadata =
        serde_json::from_str(&output_of(command)?).context("cargo metadata")?;
    let mut binaries = BTreeSet::new();
    let mut versions = BTreeMap::new();
    for package in metadata.packages {
        for target in package.targets {
            if target.kind.iter().any(|kind| kind == "bin") {
                binaries.insert(Binary {
                    package: package.name.clone(),
                    name: target.name,
                });
            }
        }
        versions.insert(package.name, package.version);
    }
    Ok((binaries, versions))
}

/// One message of cargo, of those that matter here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    executable: Option<PathBuf>,
    #[serde(default)]
    fresh: bool,
    #[serde(default)]
    target: Option<Named>,
    #[serde(default)]
    message: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Diagnostic {
    #[serde(default)]
    rendered: Option<String>,
}

fn run(mut command: Command, what: &str) -> Result<BTreeMap<String, PathBuf>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut step = Step::begin(what);
    let mut child = Child::spawn(command)?;
    let mut build = Build::default();
    let mut pending = Vec::new();
    loop {
        match child.next(Instant::now() + Duration::from_secs(3600))? {
            Event::Bytes(Stream::Out, bytes) => pending.extend(bytes),
            Event::Bytes(Stream::Err, _) | Event::Quiet => {}
            Event::Closed => break,
        }
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            build.take(&line, &mut step);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        build.said.iter().for_each(|(_, text)| step.print(text));
        return unable(format!("{what} failed (cargo: {status})"));
    }
    step.end();
    Ok(build.executables)
}

/// What cargo has told so far.
#[derive(Default)]
struct Build {
    executables: BTreeMap<String, PathBuf>,
    /// What the compiler said about packages that are not done yet.
    said: Vec<(String, String)>,
}

impl Build {
    fn take(&mut self, line: &[u8], step: &mut Step) {
        let Ok(message) = serde_json::from_slice::<Message>(line) else {
            return;
        };
        match message.reason.as_str() {
            "compiler-message" => {
                let text = message.message.and_then(|diagnostic| diagnostic.rendered);
                self.said
                    .extend(text.map(|text| (message.package_id, text)));
            }
            "compiler-artifact" => self.take_artifact(message, step),
            _ => {}
        }
    }

    /// Old warnings of packages that were not compiled anew are not repeated.
    fn take_artifact(&mut self, message: Message, step: &mut Step) {
        let Some(target) = message.target else { return };
        let (about, rest): (Vec<_>, Vec<_>) = self
            .said
            .drain(..)
            .partition(|(package, _)| *package == message.package_id);
        self.said = rest;
        if !message.fresh {
            about.iter().for_each(|(_, text)| step.print(text));
            step.advance(&target.name);
        }
        if let Some(path) = message.executable {
            self.executables.insert(target.name, path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(lines: &[&str]) -> Build {
        let mut build = Build::default();
        let mut step = Step::begin("test");
        lines
            .iter()
            .for_each(|line| build.take(line.as_bytes(), &mut step));
        build
    }

    #[test]
    fn artifacts_and_errors_are_kept() {
        let error = r#"{"reason":"compiler-message","package_id":"a","message":{"rendered":"E"}}"#;
        let fresh = r#"{"reason":"compiler-artifact","package_id":"a","fresh":true,
            "target":{"name":"blkd"},"executable":"/t/blkd"}"#;
        assert_eq!(build(&[error]).said, [("a".to_string(), "E".to_string())]);
        let done = build(&[error, "not json", r#"{"reason":"build-finished"}"#, fresh]);
        assert!(done.said.is_empty());
        assert_eq!(done.executables["blkd"], PathBuf::from("/t/blkd"));
    }
}
