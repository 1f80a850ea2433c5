//! Makes everything that QEMU starts from: kernel image, boot archive, disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::boot_manifest;
use crate::compile::{Binary, Compiler, KERNEL, existing_binaries};
use crate::cpio::Archive;
use crate::elf_file::{Symbols, flatten, is_boot_image, strip};
use crate::error::{Context, Result, unable};
use crate::manifest::{Manifest, Role};
use crate::setup::{Consent, toolchain};
use crate::ui;
use crate::workspace::{Workspace, write_if_changed};

/// A built system.
#[derive(Debug)]
pub struct System {
    /// The checkout that it was built from.
    pub workspace: Workspace,
    /// What it was built from.
    pub manifest: Manifest,
    /// What QEMU starts.
    pub kernel: PathBuf,
    /// The kernel's ELF file with its symbols.
    pub kernel_elf: PathBuf,
    /// The boot archive's members without a script, in order: name, contents, executable.
    members: Vec<(String, Vec<u8>, bool)>,
    /// Unstripped executables by the name of their process or program.
    executables: BTreeMap<String, PathBuf>,
}

impl System {
    /// Builds the kernel, the programs and the boot archive, with what is there `for_tests` only
    /// or without.
    ///
    /// # Errors
    ///
    /// When something is missing, wrong in the manifest, or does not compile.
    pub fn build(workspace: Workspace, consent: Consent, for_tests: bool) -> Result<Self> {
        let mut manifest = Manifest::load(&workspace.manifest())?;
        if for_tests {
            manifest = manifest.with_tests();
        }
        let binaries = available(&workspace, &manifest)?;
        let compiler = Compiler::new(&workspace, toolchain(&workspace, consent)?);
        let kernel_elf = compiler.kernel()?;
        let built = compiler.programs(&binaries)?;
        std::fs::create_dir_all(workspace.images())
            .context(format!("cannot make {}", workspace.images().display()))?;
        let mut system = Self {
            kernel: kernel_elf.clone(),
            kernel_elf,
            members: Vec::new(),
            executables: named(&manifest, &built),
            manifest,
            workspace,
        };
        system.make_kernel()?;
        system.make_members()?;
        Ok(system)
    }

    /// Writes the boot archive, with `script` as the commands of `exec`.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write_archive(&self, path: &Path, script: Option<&str>) -> Result<()> {
        write_if_changed(path, &self.archive(script)?)?;
        Ok(())
    }

    /// The bytes of the boot archive.
    ///
    /// # Errors
    ///
    /// When a member is too large for the format.
    pub fn archive(&self, script: Option<&str>) -> Result<Vec<u8>> {
        let mut archive = Archive::new();
        let what = "cannot make the boot archive";
        for (name, contents, executable) in &self.members {
            archive.add(name, contents, *executable).context(what)?;
        }
        if let Some(script) = script {
            archive
                .add("exec", script.as_bytes(), false)
                .context(what)?;
        }
        archive.finish().context(what)
    }

    /// The stripped executable of a process or program, when the workspace has it.
    ///
    /// # Errors
    ///
    /// When the file is unreadable or not an ELF file.
    pub fn stripped(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(path) = self.executables.get(name) else {
            return Ok(None);
        };
        strip(&read(path)?).map(Some).context(path.display())
    }

    /// The symbols of the kernel (`kernel`), a process or a program.
    pub fn symbols(&self, name: &str) -> Option<Symbols> {
        let path = match name {
            "kernel" => &self.kernel_elf,
            // What the kernel calls the first process.
            "init" => self.executables.get(self.manifest.init()?)?,
            _ => self.executables.get(name)?,
        };
        Symbols::read(&std::fs::read(path).ok()?).ok()
    }

    /// QEMU passes a boot archive and the device tree only to kernels with a boot header.
    fn make_kernel(&mut self) -> Result<()> {
        let image = flatten(&read(&self.kernel_elf)?)?;
        if !is_boot_image(&image) {
            ui::warn("the kernel has no arm64 boot header: QEMU gives it no boot archive");
            return Ok(());
        }
        self.kernel = self.workspace.images().join("kernel.img");
        write_if_changed(&self.kernel, &image)?;
        Ok(())
    }

    fn make_members(&mut self) -> Result<()> {
        let compiled =
            boot_manifest::compile(&self.manifest, |name| self.executables.contains_key(name));
        self.members
            .push(("manifest".into(), compiled.into_bytes(), false));
        let mut processes: Vec<_> = self.manifest.process.iter().collect();
        processes.sort_by_key(|(_, process)| process.role != Role::Init);
        for (name, process) in processes
            .into_iter()
            .filter(|(_, process)| process.is_boot())
        {
            let Some(contents) = self.stripped(name)? else {
                continue;
            };
            let member = process.member(name);
            if !self.members.iter().any(|(other, ..)| other == member) {
                self.members.push((member.into(), contents, true));
            }
        }
        Ok(())
    }
}

/// The manifest's binaries that the workspace has.
///
/// # Errors
///
/// When the kernel is not among them; or another one is not, and the manifest says `complete`.
pub fn available(workspace: &Workspace, manifest: &Manifest) -> Result<Vec<Binary>> {
    let (existing, versions) = existing_binaries(workspace)?;
    check_versions(manifest, &versions)?;
    let kernel = Binary {
        package: KERNEL.into(),
        name: KERNEL.into(),
    };
    if !existing.contains(&kernel) {
        return unable(format!("the package {KERNEL} has no binary {KERNEL}"));
    }
    let (found, absent): (Vec<_>, Vec<_>) = manifest
        .binaries()
        .into_iter()
        .partition(|binary| existing.contains(binary));
    let absent: BTreeSet<_> = absent
        .into_iter()
        .map(|binary| format!("{} of {}", binary.name, binary.package))
        .collect();
    if !absent.is_empty() {
        let list = absent.into_iter().collect::<Vec<_>>().join(", ");
        if manifest.image.complete {
            return unable(format!(
                "these binaries of the manifest do not exist: {list}"
            ));
        }
        ui::warn(format!(
            "left out of the image, they do not exist yet: {list}"
        ));
    }
    Ok(found)
}

/// The crates in the image have exactly the versions that the manifest pins.
fn check_versions(manifest: &Manifest, versions: &BTreeMap<String, String>) -> Result<()> {
    let binaries = manifest.binaries();
    let used = binaries
        .iter()
        .map(|binary| binary.package.as_str())
        .chain([KERNEL]);
    for package in used {
        let (pinned, found) = (manifest.image.versions.get(package), versions.get(package));
        match (pinned, found) {
            (None, _) => return unable(format!("image.versions does not pin {package}")),
            (Some(pinned), Some(found)) if pinned != found => {
                return unable(format!(
                    "image.versions pins {package} {pinned}, but the sources are {found}"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

fn named(manifest: &Manifest, built: &BTreeMap<String, PathBuf>) -> BTreeMap<String, PathBuf> {
    let processes = manifest
        .process
        .iter()
        .map(|(name, p)| (name, p.binary(name).name));
    let programs = manifest
        .program
        .iter()
        .map(|(name, p)| (name, p.binary(name).name));
    processes
        .chain(programs)
        .filter_map(|(name, binary)| Some((name.clone(), built.get(&binary)?.clone())))
        .collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).context(path.display())
}
