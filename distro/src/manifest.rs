//! `manifest.toml`: what goes into the image and what each process may do.
//!
//! The schema is explained in the README; unknown keys are errors, so that a typing mistake never
//! takes a right away or gives one silently.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use viper_proto::net::rules;

use crate::compile::Binary;
use crate::error::{self, Context, Error};

/// The whole manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The image as a whole.
    pub image: Image,
    /// The machine that it boots on unless options say otherwise.
    pub machine: MachineDefaults,
    /// The disk.
    pub disk: DiskContent,
    /// What init starts, by name.
    #[serde(default)]
    pub process: BTreeMap<String, Process>,
    /// Processes of images for tests and measurements, by name: switched off, and no part of
    /// other images.
    #[serde(default)]
    pub test_process: BTreeMap<String, Process>,
    /// What is only there to be started by somebody, by name.
    #[serde(default)]
    pub program: BTreeMap<String, Program>,
}

/// The image as a whole.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Its version.
    pub version: String,
    /// The kernel's command line; options add to it.
    #[serde(default)]
    pub command_line: String,
    /// Whether a binary that the workspace lacks is an error, or left out with a warning.
    pub complete: bool,
    /// Exact versions of the crates whose binaries are in the image.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
}

/// The machine that the image boots on unless options say otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineDefaults {
    /// Size of the memory, such as `256M`.
    pub memory: String,
    /// Model of the cores.
    pub cpu: String,
    /// Number of cores.
    pub cores: u8,
    /// Version of the interrupt controller.
    pub gic: u8,
}

/// The disk and its files, apart from programs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskContent {
    /// Size of the image in MiB.
    pub size_mib: u64,
    /// Name of the volume.
    pub label: String,
    /// Identity of the volume; fixed, so that the same input makes the same image.
    pub uuid: String,
    /// Time of everything on it, in seconds since 1970; fixed for the same reason.
    pub time_s: i64,
    /// Folders, parents first.
    #[serde(default)]
    pub directories: Vec<String>,
    /// Files: path on the disk to path in the checkout.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Permissions of paths that are not those of all others: 0o755 for folders and programs, and
    /// 0o644. Everything is user 0's.
    #[serde(default)]
    pub modes: BTreeMap<String, u32>,
    /// Where the certification authorities that browsers trust go, in PEM, if anywhere.
    #[serde(default)]
    pub roots: Option<String>,
}

/// A process that init starts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// The package that it is built from.
    #[serde(rename = "crate")]
    pub package: String,
    /// The binary, when it is not named as the process.
    pub bin: Option<String>,
    /// Where it lives: `boot` (the boot archive) or a path on the disk.
    pub home: String,
    /// Scheduling priority, 0 (lowest) to 7.
    pub priority: u8,
    /// What it may use up.
    pub quota: Quota,
    /// What happens when it ends.
    #[serde(default)]
    pub restart: Restart,
    /// What it is for, which decides whether it runs in a recovery boot.
    #[serde(default)]
    pub role: Role,
    /// Processes that must be ready before it starts.
    #[serde(default)]
    pub needs: Vec<String>,
    /// What it may do.
    #[serde(default)]
    pub caps: Vec<Cap>,
}

/// What a process may use up.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Memory in KiB, everything that it makes included.
    pub memory_kib: u64,
    /// Slots in its handle table.
    pub handles: u32,
    /// Threads.
    pub threads: u32,
}

/// What happens when a process ends.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// In which case it is started again.
    pub when: RestartWhen,
    /// A process that ran shorter than this waits longer before its next start.
    #[serde(default = "min_run_ms")]
    pub min_run_ms: u32,
    /// The longest wait.
    #[serde(default = "max_delay_ms")]
    pub max_delay_ms: u32,
}

impl Default for Restart {
    fn default() -> Self {
        let (min_run_ms, max_delay_ms) = (min_run_ms(), max_delay_ms());
        Self {
            when: RestartWhen::Never,
            min_run_ms,
            max_delay_ms,
        }
    }
}

fn min_run_ms() -> u32 {
    1000
}

fn max_delay_ms() -> u32 {
    5000
}

/// In which case a process is started again.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum RestartWhen {
    /// Never.
    Never,
    /// When it was faulted, killed or ended with a code other than 0.
    OnFailure,
    /// Always.
    Always,
}

/// What a process is for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The first process. It is started by the kernel and lives in the boot archive as `init`.
    Init,
    /// The shell: the only other process of a recovery boot.
    Shell,
    /// A server: not in a recovery boot, and `viper.servers=-NAME` switches it off.
    #[default]
    Server,
}

/// One thing that a process may do.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Cap {
    /// Use a device: its registers and its interrupt, and DMA memory up to `dma_kib`.
    Device {
        /// Which device.
        name: Device,
        /// DMA memory in KiB.
        #[serde(default)]
        dma_kib: u32,
        /// On a machine without it there is no such process.
        #[serde(default)]
        required: bool,
    },
    /// Offer a service under this name, such as `BLKD:`.
    Serve(String),
    /// Connect to the service of this name.
    Connect(String),
    /// Use the network as these rules say; implies the connection to its service.
    Net(Vec<String>),
    /// A right over the whole system.
    System(System),
}

/// A device of the `virt` machine.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// The serial port.
    Pl011,
    /// The clock.
    Pl031,
    /// The first disk.
    VirtioBlk,
    /// The second disk.
    #[serde(rename = "virtio-blk-1")]
    VirtioBlk1,
    /// The third disk.
    #[serde(rename = "virtio-blk-2")]
    VirtioBlk2,
    /// The fourth disk.
    #[serde(rename = "virtio-blk-3")]
    VirtioBlk3,
    /// The random source.
    VirtioRng,
    /// The network.
    VirtioNet,
}

/// A right over the whole system.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Make processes, within the own quota.
    Spawn,
    /// See and end processes that others made.
    Processes,
    /// Restart and switch servers.
    Supervise,
    /// Power off and reset.
    Power,
    /// Read traces and statistics of others.
    Trace,
    /// Read the boot archive.
    BootArchive,
    /// Set the clock.
    Clock,
}

/// A program on the disk.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The package that it is built from.
    #[serde(rename = "crate")]
    pub package: String,
    /// The binary, when it is not named as the program.
    pub bin: Option<String>,
    /// Its path on the disk.
    pub path: String,
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    ///
    /// A text that names the file, the place and the mistake.
    pub fn load(path: &Path) -> error::Result<Self> {
        let text = std::fs::read_to_string(path).context(path.display())?;
        Self::parse(&text).map_err(|reason| Error::Unable(format!("{}: {reason}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        manifest.check()?;
        manifest.clone().with_tests().check()?;
        Ok(manifest)
    }

    /// The same with the processes that are there for tests, switched off.
    pub fn with_tests(mut self) -> Self {
        for (name, process) in std::mem::take(&mut self.test_process) {
            self.image.command_line += &format!(" viper.servers=-{name}");
            self.process.entry(name).or_insert(process);
        }
        self
    }

    /// Every binary that the image needs, apart from the kernel.
    pub fn binaries(&self) -> Vec<Binary> {
        let processes = self
            .process
            .iter()
            .map(|(name, process)| process.binary(name));
        let programs = self
            .program
            .iter()
            .map(|(name, program)| program.binary(name));
        let mut all: Vec<_> = processes.chain(programs).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The name of the first process.
    pub fn init(&self) -> Option<&str> {
        let mut inits = self
            .process
            .iter()
            .filter(|(_, process)| process.role == Role::Init);
        inits.next().map(|(name, _)| name.as_str())
    }

    fn check(&self) -> Result<(), String> {
        let inits = self
            .process
            .values()
            .filter(|process| process.role == Role::Init)
            .count();
        if inits > 1 {
            return Err("more than one process has the role `init`".into());
        }
        for (name, process) in &self.process {
            process
                .check(name, self)
                .map_err(|reason| format!("process.{name}: {reason}"))?;
        }
        for (name, program) in &self.program {
            check_name(name)
                .and_then(|()| check_path(&program.path))
                .map_err(|reason| format!("program.{name}: {reason}"))?;
        }
        for path in self.disk.directories.iter().chain(self.disk.files.keys()) {
            check_path(path).map_err(|reason| format!("disk: {reason}"))?;
        }
        self.check_binaries()?;
        self.check_services()
    }

    fn check_binaries(&self) -> Result<(), String> {
        for pair in self.binaries().windows(2) {
            if pair[0].name == pair[1].name {
                let Binary { package, name } = &pair[0];
                return Err(format!(
                    "{package} and {} both have a binary {name}",
                    pair[1].package
                ));
            }
        }
        Ok(())
    }

    /// Every name has one server, and every connection a server.
    fn check_services(&self) -> Result<(), String> {
        let mut servers = BTreeMap::new();
        for (name, process) in &self.process {
            for cap in &process.caps {
                if let Cap::Serve(service) = cap
                    && let Some(other) = servers.insert(service.as_str(), name)
                {
                    return Err(format!("{other} and {name} both serve {service}"));
                }
            }
        }
        for (name, process) in &self.process {
            for cap in &process.caps {
                let service = match cap {
                    Cap::Connect(service) => service.as_str(),
                    Cap::Net(_) => NETWORK,
                    _ => continue,
                };
                if !servers.contains_key(service) {
                    return Err(format!("process.{name}: nobody serves {service}"));
                }
            }
        }
        Ok(())
    }
}

impl Process {
    /// The binary that the process runs.
    pub fn binary(&self, name: &str) -> Binary {
        let bin = self.bin.as_deref().unwrap_or(name);
        Binary {
            package: self.package.clone(),
            name: bin.into(),
        }
    }

    /// The name of its executable in the boot archive: processes of one binary share it.
    pub fn member<'a>(&'a self, name: &'a str) -> &'a str {
        match self.role {
            Role::Init => "init",
            _ => self.bin.as_deref().unwrap_or(name),
        }
    }

    /// Whether it lives in the boot archive.
    pub fn is_boot(&self) -> bool {
        self.home == "boot"
    }

    fn check(&self, name: &str, manifest: &Manifest) -> Result<(), String> {
        check_name(name)?;
        if !self.is_boot() {
            check_path(&self.home)?;
        }
        if self.role != Role::Server && !self.is_boot() {
            return Err("init and the shell live in the boot archive (home = \"boot\")".into());
        }
        if self.priority > 7 {
            return Err(format!("priority {} is above 7", self.priority));
        }
        for need in &self.needs {
            if need == name {
                return Err("it needs itself".into());
            }
            if !manifest.process.contains_key(need) {
                return Err(format!("it needs {need}, which is not declared"));
            }
        }
        self.check_cycle(name, manifest)?;
        self.caps.iter().try_for_each(check_cap)
    }

    /// No process may need itself by way of others.
    fn check_cycle(&self, name: &str, manifest: &Manifest) -> Result<(), String> {
        let mut reached: Vec<&String> = self.needs.iter().collect();
        let mut next = 0;
        while let Some(need) = reached.get(next).copied() {
            if need == name {
                return Err("it needs itself by way of others".into());
            }
            for further in manifest
                .process
                .get(need)
                .into_iter()
                .flat_map(|p| &p.needs)
            {
                if !reached.contains(&further) {
                    reached.push(further);
                }
            }
            next += 1;
        }
        Ok(())
    }
}

impl Program {
    /// The binary that is the program.
    pub fn binary(&self, name: &str) -> Binary {
        let bin = self.bin.as_deref().unwrap_or(name);
        Binary {
            package: self.package.clone(),
            name: bin.into(),
        }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if name.is_empty() || name.len() > 31 || !name.chars().all(valid) {
        return Err("a name has 1 to 31 characters of a-z 0-9 - _ .".into());
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), String> {
    let parts_fine = path
        .split('/')
        .skip(1)
        .all(|part| !matches!(part, "" | "." | ".."));
    let visible = path.chars().all(|c| c.is_ascii_graphic());
    if !path.starts_with('/') || !parts_fine || !visible {
        return Err(format!("`{path}` is not an absolute path without spaces"));
    }
    Ok(())
}

/// The service that `net` is about.
pub const NETWORK: &str = "NETD:";

/// The rules are what the service takes, and fit the message that tells it of them.
fn check_rules(list: &[String]) -> Result<(), String> {
    let text = list.join("\n");
    if text.len() > rules::TEXT_BYTES_MAX {
        let max = rules::TEXT_BYTES_MAX;
        return Err(format!("its network rules have more than {max} bytes"));
    }
    match rules::Rules::parse(&text) {
        Ok(_) => Ok(()),
        Err(bad) => Err(format!("`{}` is not a network rule", list[bad.line])),
    }
}

fn check_cap(cap: &Cap) -> Result<(), String> {
    if let Cap::Net(rules) = cap {
        return check_rules(rules);
    }
    let (Cap::Serve(name) | Cap::Connect(name)) = cap else {
        return Ok(());
    };
    let word = name.strip_suffix(':').unwrap_or_default();
    let valid = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    if word.is_empty() || word.len() > 15 || !word.chars().all(valid) {
        return Err(format!("`{name}` is not a service name such as BLKD:"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
