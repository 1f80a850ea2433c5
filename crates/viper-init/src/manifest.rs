//! The boot manifest: what to start, and with which rights. See docs/formats/boot-manifest.SPEC.md.

use alloc::string::String;
use alloc::vec::Vec;

/// A manifest that passed its checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Version of the image.
    pub image: String,
    /// The processes, in the order of the text.
    pub processes: Vec<Process>,
}

/// What a process is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The reader of the manifest itself.
    Init,
    /// The one shell.
    Shell,
    /// A server.
    #[default]
    Server,
}

/// Where an executable is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executable {
    /// A member of the boot archive.
    Boot(String),
    /// A path on the disk.
    Path(String),
}

/// When a process is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartWhen {
    /// Never.
    #[default]
    Never,
    /// After a fault, a kill, or a code other than 0.
    OnFailure,
    /// Always.
    Always,
}

/// The restart rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restart {
    /// When.
    pub when: RestartWhen,
    /// Having run for less than this, it waits first.
    pub run_min_ms: u32,
    /// Longest wait.
    pub delay_max_ms: u32,
}

/// A right over the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemRight {
    /// Make processes within its quota.
    Spawn,
    /// See and end those that others made.
    Processes,
    /// Restart and switch servers.
    Supervise,
    /// Off and reset.
    Power,
    /// Read others' traces.
    Trace,
    /// Read the boot archive.
    BootArchive,
    /// Set the clock.
    Clock,
}

/// A right of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cap {
    /// A device by name, and bytes of DMA memory.
    Device {
        /// `pl011`, `pl031`, `virtio-blk` and so on.
        name: String,
        /// DMA allowance in bytes.
        dma_bytes: u64,
        /// On a machine without it there is no such process.
        is_required: bool,
    },
    /// Offer a service.
    Serve(String),
    /// Connect to a service.
    Connect(String),
    /// Something that a service lets it do, in the service's own words.
    Grant {
        /// The service, with its colon.
        service: String,
        /// Words with single spaces.
        text: String,
    },
    /// A right over the system.
    System(SystemRight),
}

/// A process block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Its executable.
    pub executable: Executable,
    /// Its priority, 0 to 7.
    pub priority: u8,
    /// Memory in bytes that it may use.
    pub memory_bytes: u64,
    /// Handles that it may have at a time.
    pub handles_max: u32,
    /// Threads that it may have at a time.
    pub threads_max: u32,
    /// When it is started again.
    pub restart: Restart,
    /// What must be ready before.
    pub needs: Vec<String>,
    /// Its rights.
    pub caps: Vec<Cap>,
}

impl Process {
    /// The service it offers, with its colon; empty if none.
    #[must_use]
    pub fn service(&self) -> &str {
        let serve = self.caps.iter().find_map(|c| match c {
            Cap::Serve(name) => Some(name.as_str()),
            _ => None,
        });
        serve.unwrap_or("")
    }

    /// What a service lets it do, a line each.
    #[must_use]
    pub fn grants(&self, of: &str) -> String {
        let mut lines = String::new();
        for cap in &self.caps {
            if let Cap::Grant { service, text } = cap
                && service == of
            {
                if !lines.is_empty() {
                    lines.push('\n');
                }
                lines.push_str(text);
            }
        }
        lines
    }

    /// The devices without which there is no such process.
    pub fn required_devices(&self) -> impl Iterator<Item = &str> {
        self.caps.iter().filter_map(|cap| match cap {
            Cap::Device {
                name,
                is_required: true,
                ..
            } => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether it has a right over the system.
    #[must_use]
    pub fn may(&self, right: SystemRight) -> bool {
        self.caps.contains(&Cap::System(right))
    }
}

/// A line of the manifest is not what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// Its number, from 1.
    pub line: u32,
    /// What is wrong.
    pub reason: &'static str,
}

impl core::fmt::Display for ManifestError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "manifest line {}: {}", self.line, self.reason)
    }
}

impl core::error::Error for ManifestError {}

impl Manifest {
    /// Reads the text.
    ///
    /// # Errors
    /// [`ManifestError`] with the first line that is wrong.
    pub fn parse(text: &str) -> Result<Manifest, ManifestError> {
        let mut reader = Reader::default();
        for (index, line) in text.lines().enumerate() {
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            let fail = |reason| ManifestError {
                line: number,
                reason,
            };
            reader.line(line).map_err(fail)?;
        }
        let lines = u32::try_from(text.lines().count()).unwrap_or(u32::MAX);
        let short = ManifestError {
            line: lines,
            reason: "cut short: no end",
        };
        if reader.ended {
            Ok(reader.manifest)
        } else {
            Err(short)
        }
    }
}

#[derive(Default)]
struct Reader {
    manifest: Manifest,
    lines: u32,
    ended: bool,
}

type Check<T = ()> = Result<T, &'static str>;

impl Reader {
    fn line(&mut self, line: &str) -> Check {
        if line.len() > 128 {
            return Err("longer than 128 bytes");
        }
        let words: Vec<&str> = line.split(' ').collect();
        self.lines += 1;
        match (self.lines, words.as_slice()) {
            _ if self.ended => Err("text behind the end"),
            (1, ["viper-boot-manifest", "1"]) => Ok(()),
            (1, _) => Err("not a boot manifest of version 1"),
            (2, ["image", version]) => {
                self.manifest.image = String::from(*version);
                Ok(())
            }
            (2, _) => Err("the image's version must be here"),
            (_, ["end"]) => {
                self.ended = true;
                Ok(())
            }
            (_, ["process", name]) => self.process(name),
            (_, words) => match self.manifest.processes.last_mut() {
                Some(process) => property(process, words),
                None => Err("outside of a process block"),
            },
        }
    }

    fn process(&mut self, name: &str) -> Check {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        if name.is_empty() || name.len() > 31 || !name.bytes().all(good) {
            return Err("not a process name");
        }
        if self.manifest.processes.iter().any(|p| p.name == name) {
            return Err("a second process of this name");
        }
        self.manifest.processes.push(Process {
            name: name.into(),
            role: Role::Server,
            executable: Executable::Boot(name.into()),
            priority: 0,
            memory_bytes: 0,
            handles_max: u32::MAX,
            threads_max: u32::MAX,
            restart: Restart::default(),
            needs: Vec::new(),
            caps: Vec::new(),
        });
        Ok(())
    }
}

fn property(process: &mut Process, words: &[&str]) -> Check {
    match words {
        ["role", role] => {
            process.role = match *role {
                "init" => Role::Init,
                "shell" => Role::Shell,
                "server" => Role::Server,
                _ => return Err("no such role"),
            }
        }
        ["boot", member] => process.executable = Executable::Boot((*member).into()),
        ["path", path] => process.executable = Executable::Path((*path).into()),
        ["priority", level] => match number(level)? {
            level @ 0..=7 => process.priority = level as u8,
            _ => return Err("the priority is above 7"),
        },
        ["quota", memory_kib, handles, threads] => {
            process.handles_max = number(handles)?;
            process.threads_max = number(threads)?;
            process.memory_bytes = u64::from(number(memory_kib)?) * 1024;
        }
        ["restart", when, run_min, delay_max] => {
            process.restart = Restart {
                when: match *when {
                    "never" => RestartWhen::Never,
                    "on-failure" => RestartWhen::OnFailure,
                    "always" => RestartWhen::Always,
                    _ => return Err("no such restart rule"),
                },
                run_min_ms: number(run_min)?,
                delay_max_ms: number(delay_max)?,
            }
        }
        ["need", name] => process.needs.push((*name).into()),
        ["cap", rest @ ..] => process.caps.push(cap(rest)?),
        _ => return Err("unknown line"),
    }
    Ok(())
}

fn cap(words: &[&str]) -> Check<Cap> {
    Ok(match words {
        ["device", name, dma_kib, rest @ ..] => Cap::Device {
            name: (*name).into(),
            dma_bytes: u64::from(number(dma_kib)?) * 1024,
            is_required: match rest {
                [] => false,
                ["required"] => true,
                _ => return Err("unknown right"),
            },
        },
        ["serve", name] => Cap::Serve(service(name)?),
        ["connect", name] => Cap::Connect(service(name)?),
        ["grant", name, text @ ..] if !text.is_empty() => Cap::Grant {
            service: service(name)?,
            text: text.join(" "),
        },
        ["system", right] => Cap::System(match *right {
            "spawn" => SystemRight::Spawn,
            "processes" => SystemRight::Processes,
            "supervise" => SystemRight::Supervise,
            "power" => SystemRight::Power,
            "trace" => SystemRight::Trace,
            "boot-archive" => SystemRight::BootArchive,
            "clock" => SystemRight::Clock,
            _ => return Err("no such right"),
        }),
        _ => return Err("unknown right"),
    })
}

fn service(name: &str) -> Check<String> {
    let stem = name
        .strip_suffix(':')
        .ok_or("a service name ends with a colon")?;
    let good = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    if stem.is_empty() || stem.len() > 15 || !stem.bytes().all(good) {
        return Err("not a service name");
    }
    Ok(name.into())
}

fn number(text: &str) -> Check<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !plain {
        return Err("not a number");
    }
    text.parse().map_err(|_| "the number is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const TEXT: &str = include_str!("../testdata/manifest");

    #[test]
    fn the_example_is_read() {
        let manifest = Manifest::parse(TEXT).unwrap();
        assert_eq!(manifest.image, "0.1.0");
        let fsd = &manifest.processes[1];
        assert_eq!((fsd.name.as_str(), fsd.service()), ("fsd", "FSD:"));
        assert_eq!(fsd.needs, ["blkd"]);
        assert_eq!(fsd.memory_bytes, 16384 * 1024);
        assert_eq!((fsd.handles_max, fsd.threads_max), (1024, 4));
        assert_eq!(fsd.restart.when, RestartWhen::Always);
        assert!(!fsd.may(SystemRight::Power));
    }

    #[test]
    fn grants_are_told_in_the_words_of_the_service() {
        let more = "cap grant NETD: tcp connect *:*\ncap grant NETD: icmp\nend\n";
        let text = TEXT.replace("end\n", more);
        let manifest = Manifest::parse(&text).unwrap();
        let fsd = &manifest.processes[1];
        assert_eq!(fsd.grants("NETD:"), "tcp connect *:*\nicmp");
        assert_eq!(fsd.grants("FSD:"), "");
        assert!(Manifest::parse(&text.replace(" icmp", "")).is_err());
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let wrong = TEXT.replace("priority 4", "priority 8");
        let error = Manifest::parse(&wrong).unwrap_err();
        assert_eq!(error.reason, "the priority is above 7");
        assert_eq!(
            wrong.lines().nth(error.line as usize - 1),
            Some("priority 8")
        );
        assert!(Manifest::parse(TEXT.strip_suffix("end\n").unwrap()).is_err());
        assert!(Manifest::parse("viper-boot-manifest 2\n").is_err());
        assert!(Manifest::parse("").is_err());
    }

    #[test]
    fn every_cut_and_changed_byte_is_survived() {
        for cut in 0..TEXT.len() - 1 {
            assert!(Manifest::parse(&TEXT[..cut]).is_err() || cut >= TEXT.len() - 1);
            let mut bytes = TEXT.as_bytes().to_vec();
            bytes[cut] ^= 5;
            let _ = core::str::from_utf8(&bytes).map(Manifest::parse);
        }
    }
}
