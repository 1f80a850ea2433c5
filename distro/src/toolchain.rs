//! Which compiler builds the bare-metal targets: found by looking, not by guessing the machine.
//!
//! 1. The normal toolchain, when its sysroot has `core` for both targets (rustup put it there).
//! 2. Otherwise the distribution's `/usr/bin/cargo` and `/usr/bin/rustc` with the library sources
//!    beside them; that cargo compiles `core` and `alloc` itself. The code uses stable features
//!    only; `RUSTC_BOOTSTRAP` serves `-Zbuild-std` and nothing else.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::output_of;

/// The kernel's target: no floating-point registers in the code.
pub const KERNEL_TARGET: &str = "aarch64-unknown-none-softfloat";
/// The target of every user program.
pub const USER_TARGET: &str = "aarch64-unknown-none";
/// The fallback's clippy.
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";
/// The oldest compiler that takes the sources, as (major, minor).
const OLDEST: (u32, u32) = (1, 95);

/// A compiler for both targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// `cargo` from the path with prebuilt targets.
    Prebuilt,
    /// `/usr/bin/cargo`, which builds the library from source.
    FromSource {
        /// The linker; the distribution's compiler brings none.
        linker: PathBuf,
    },
}

/// What keeps the fallback from working.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Rust targets that the normal toolchain lacks.
    pub targets: Vec<&'static str>,
    /// Debian packages that would make the fallback work.
    pub packages: Vec<&'static str>,
}

impl Toolchain {
    /// Looks for a compiler, in the order of the module's documentation.
    ///
    /// # Errors
    ///
    /// What is missing for either way.
    pub fn detect(root: &Path) -> Result<Self, Missing> {
        let sysroot = sysroot(root);
        let targets: Vec<_> = [KERNEL_TARGET, USER_TARGET]
            .into_iter()
            .filter(|target| {
                !sysroot
                    .as_deref()
                    .is_some_and(|root| has_core(root, target))
            })
            .collect();
        if targets.is_empty() {
            return Ok(Toolchain::Prebuilt);
        }
        let linker = find_linker(sysroot.as_deref());
        let mut packages = Vec::new();
        if !recent_enough("/usr/bin/rustc") {
            packages.push("rustc-web");
        }
        if !Path::new("/usr/bin/cargo").exists() || packages.contains(&"rustc-web") {
            packages.push("cargo-web");
        }
        if !Path::new("/usr/lib/rustlib/src/rust/library/core/src").exists() {
            packages.push("rust-web-src");
        }
        match linker {
            Some(linker) if packages.is_empty() => Ok(Toolchain::FromSource { linker }),
            Some(_) => Err(Missing { targets, packages }),
            None => {
                packages.push("lld");
                Err(Missing { targets, packages })
            }
        }
    }

    /// A cargo command with a clean environment, set up for `target`.
    ///
    /// The same sources make the same bytes wherever they lie: paths in the code begin with `deps`
    /// (crates from the registry) or are relative to the checkout.
    pub fn cargo(&self, root: &Path, target: &str, flags: &[&str]) -> Command {
        let key = target.to_uppercase().replace('-', "_");
        let mut command = match self {
            Toolchain::Prebuilt => clean(Command::new("cargo")),
            Toolchain::FromSource { linker } => {
                let mut command = clean(Command::new("/usr/bin/cargo"));
                command
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env(format!("CARGO_TARGET_{key}_LINKER"), linker);
                command
            }
        };
        command
            .current_dir(root)
            .env("CARGO_ENCODED_RUSTFLAGS", encoded(flags));
        command
    }

    /// A clippy command with the same settings.
    pub fn clippy(&self, root: &Path, target: &str, flags: &[&str]) -> Command {
        let plain = self.cargo(root, target, flags);
        let mut command = match self {
            Toolchain::Prebuilt => clean(Command::new("cargo")),
            // `cargo clippy` would find the one of another toolchain first.
            Toolchain::FromSource { .. } => clean(Command::new(DEBIAN_CLIPPY)),
        };
        for (name, value) in plain.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        if *self != Toolchain::Prebuilt {
            command.env("CARGO", "/usr/bin/cargo");
        }
        command.current_dir(root).arg("clippy");
        command
    }

    /// Whether this toolchain has a clippy.
    pub fn has_clippy(&self) -> bool {
        match self {
            Toolchain::Prebuilt => find_program("cargo-clippy").is_some(),
            Toolchain::FromSource { .. } => Path::new(DEBIAN_CLIPPY).exists(),
        }
    }

    /// The options of `cargo build` and its like that this toolchain needs.
    pub fn options(&self) -> &'static [&'static str] {
        match self {
            Toolchain::Prebuilt => &[],
            Toolchain::FromSource { .. } => &[
                "-Zbuild-std=core,alloc,compiler_builtins",
                "-Zbuild-std-features=compiler-builtins-mem",
            ],
        }
    }

    /// One line for `doctor`.
    pub fn describe(&self) -> String {
        match self {
            Toolchain::Prebuilt => "the normal toolchain with both bare-metal targets".into(),
            Toolchain::FromSource { linker } => {
                format!(
                    "/usr/bin/cargo building core from source, linker {}",
                    linker.display()
                )
            }
        }
    }
}

/// The compiler's flags in the form that allows spaces in paths.
fn encoded(flags: &[&str]) -> OsString {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let mut all: Vec<OsString> = flags.iter().map(Into::into).collect();
    all.extend(home.map(|home| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(home.join("registry/src"));
        flag.push("=deps");
        flag
    }));
    all.join(&OsString::from("\x1f"))
}

/// Takes away what an outer cargo left in the environment and what would change the build.
pub fn clean(mut command: Command) -> Command {
    let keep = ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_BUILD_JOBS"];
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let configuration = text.starts_with("CARGO_HTTP") || text.starts_with("CARGO_REGISTR");
        if text.starts_with("CARGO") && !keep.contains(&text) && !configuration {
            command.env_remove(text);
        }
    }
    for name in [
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_BOOTSTRAP",
    ] {
        command.env_remove(name);
    }
    for name in [
        "RUSTFLAGS",
        "RUSTDOC",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
    ] {
        command.env_remove(name);
    }
    command.env_remove("LD_LIBRARY_PATH");
    command
}

fn sysroot(root: &Path) -> Option<PathBuf> {
    let mut command = clean(Command::new("rustc"));
    command.current_dir(root).args(["--print", "sysroot"]);
    output_of(command)
        .ok()
        .map(|text| PathBuf::from(text.trim()))
}

fn has_core(sysroot: &Path, target: &str) -> bool {
    let Ok(entries) = sysroot
        .join("lib/rustlib")
        .join(target)
        .join("lib")
        .read_dir()
    else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

/// The linker of the normal toolchain, else the distribution's.
fn find_linker(sysroot: Option<&Path>) -> Option<PathBuf> {
    let hosts = sysroot.and_then(|root| root.join("lib/rustlib").read_dir().ok());
    let own = hosts
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/rust-lld"));
    let system = ["/usr/bin/rust-lld", "/usr/bin/ld.lld"]
        .into_iter()
        .map(PathBuf::from);
    own.chain(system).find(|path| path.exists())
}

fn recent_enough(rustc: &str) -> bool {
    let mut command = clean(Command::new(rustc));
    command.arg("--version");
    output_of(command).is_ok_and(|text| version(&text).is_some_and(|found| found >= OLDEST))
}

/// Reads `rustc 1.96.0 (...)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Finds a program on the search path.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path: OsString = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        assert_eq!(
            version("rustc 1.96.0 (ac68faa20 2026-05-25)"),
            Some((1, 96))
        );
        assert_eq!(version("rustc"), None);
        assert!((2, 0) > OLDEST && (1, 63) < OLDEST);
    }

    #[test]
    fn a_sysroot_without_the_target_has_no_core() {
        assert!(!has_core(Path::new("/nonexistent"), USER_TARGET));
    }

    #[test]
    fn the_outer_cargo_does_not_leak() {
        let command = clean(Command::new("true"));
        let removed = |name: &str| {
            command
                .get_envs()
                .any(|(key, value)| key == name && value.is_none())
        };
        assert!(removed("RUSTC") && removed("RUSTUP_TOOLCHAIN") && removed("RUSTFLAGS"));
    }
}
