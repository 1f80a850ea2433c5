//! `compare`: the same work in ViperOS and in a Linux guest on the same emulator, by the clock.
//!
//! Seconds under emulation are no property of a system; the ratio of two runs side by side says
//! something. Linux is Debian's kernel for small virtual machines with ext4; its only process is
//! `interop/linux-guest`, which does, call for call, what `wall` does in ViperOS.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::child::output_of;
use crate::cli::MachineOptions;
use crate::compile::Compiler;
use crate::console::Said;
use crate::cpio::Archive;
use crate::disk;
use crate::error::{Context, Error, Result, unable};
use crate::exec::Script;
use crate::image::System;
use crate::qemu::{Disk, Machine};
use crate::scratch::Scratch;
use crate::session::{self, End};
use crate::setup::{self, Consent};
use crate::ui::Step;

/// The package that depends on the kernel's newest version.
const KERNEL_PACKAGE: &str = "linux-image-cloud-arm64";
/// What Linux needs for the machine's devices, in the order of loading.
const MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_mmio",
    "virtio_blk",
    "failover",
    "net_failover",
    "virtio_net",
];
const TIMEOUT: Duration = Duration::from_secs(600);
const DISK_BYTES: u64 = 512 << 20;
const BIG_BYTES: usize = 8 << 20;
const TCP_BYTES: usize = 64 << 20;

/// Nanoseconds by the name of the work.
type Times = BTreeMap<String, u64>;

/// Runs both `rounds` times in turn and prints the medians.
///
/// # Errors
///
/// When Linux cannot be brought, or one of the guests does not come to its end.
pub fn compare(system: &System, consent: Consent, rounds: u8) -> Result<ExitCode> {
    let linux = Linux::prepare(system, consent)?;
    let host = Host::listen()?;
    let mut ours: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut theirs = ours.clone();
    for round in 1..=rounds {
        let mut step = Step::begin(format!("round {round} of {rounds}"));
        step.advance("ViperOS");
        gather(&mut ours, viper(system, host.port)?);
        step.advance("Linux");
        gather(&mut theirs, linux.run(system, host.port)?);
        step.end();
    }
    print!("{}", table(&ours, &theirs));
    Ok(ExitCode::SUCCESS)
}

fn gather(all: &mut BTreeMap<String, Vec<u64>>, times: Times) {
    for (name, ns) in times {
        all.entry(name).or_default().push(ns);
    }
}

fn table(ours: &BTreeMap<String, Vec<u64>>, theirs: &BTreeMap<String, Vec<u64>>) -> String {
    let line = |cells: [String; 4]| {
        let [name, viper, linux, ratio] = cells;
        format!("{name:20} {viper:>10} {linux:>10} {ratio:>14}\n")
    };
    let head = ["work", "ViperOS ms", "Linux ms", "Linux/ViperOS"];
    let mut text = line(head.map(Into::into));
    for (name, times) in ours {
        let viper = median(times);
        let linux = theirs.get(name).map(|times| median(times));
        let ms = |ns: u64| format!("{:.1}", ns as f64 / 1e6);
        text += &line([
            name.clone(),
            ms(viper),
            linux.map_or("-".into(), ms),
            linux.map_or("-".into(), |ns| format!("{:.2}", ns as f64 / viper as f64)),
        ]);
    }
    text
}

fn median(times: &[u64]) -> u64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}

/// Reads a `WALL name ns` line.
fn parse(line: &str) -> Option<(String, u64)> {
    let mut words = line.trim().strip_prefix("WALL ")?.split_whitespace();
    Some((words.next()?.into(), words.next()?.parse().ok()?))
}

/// A file whose content does not compress to nothing anywhere.
fn big() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..BIG_BYTES).map(|_| next()).collect()
}

fn viper(system: &System, port: u16) -> Result<Times> {
    let scratch = Scratch::new(&system.workspace)?;
    let image = scratch.path("viper.img");
    disk::sized(system, &image, DISK_BYTES >> 20)?;
    let big = disk::Entry::File {
        path: "/big".into(),
        contents: big(),
        executable: false,
    };
    disk::tools().put(&image, &[big])?;
    let options = MachineOptions::default();
    let command = format!("wall {port}");
    let script = Script {
        machine: &options,
        text: &command,
        disk: Some(Disk::kept(image)),
    };
    let mut output = Vec::new();
    let end = script.run(system, &scratch, TIMEOUT, |said| {
        if let Said::Output(bytes) = said {
            output.extend(bytes);
        }
    })?;
    let output = String::from_utf8_lossy(&output);
    match end {
        End::Code(0) => Ok(output.lines().filter_map(parse).collect()),
        other => unable(format!("`wall` ended with {other:?}: {}", output.trim())),
    }
}

/// The Linux guest, ready to be started.
struct Linux {
    kernel: PathBuf,
    modules: Vec<(String, Vec<u8>)>,
    init: Vec<u8>,
}

impl Linux {
    fn prepare(system: &System, consent: Consent) -> Result<Self> {
        let dir = system.workspace.images().join("linux");
        let tree = dir.join("tree");
        if !tree.join("boot").exists() {
            download(&dir, &tree)?;
        }
        let compiler = Compiler::new(
            &system.workspace,
            setup::toolchain(&system.workspace, consent)?,
        );
        let init = compiler.linux_guest()?;
        let kernel = find(&tree.join("boot"), &|name| name.starts_with("vmlinuz"))
            .ok_or_else(|| missing("no kernel in Debian's package"))?;
        let mut modules = Vec::new();
        for module in MODULES {
            let name = format!("{module}.ko");
            // What is not a module is in the kernel.
            if let Some(path) = find(&tree.join("lib/modules"), &|found| found == name) {
                modules.push((name, std::fs::read(&path).context(path.display())?));
            }
        }
        Ok(Self {
            kernel,
            modules,
            init: std::fs::read(&init).context(init.display())?,
        })
    }

    fn run(&self, system: &System, port: u16) -> Result<Times> {
        let scratch = Scratch::new(&system.workspace)?;
        let initrd = scratch.path("initrd");
        let mut archive = Archive::new();
        let mut add = |name: &str, contents: &[u8], executable| {
            archive
                .add(name, contents, executable)
                .context("the initial RAM disk")
        };
        add("init", &self.init, true)?;
        add("port", port.to_string().as_bytes(), false)?;
        let mut names = String::new();
        for (name, contents) in &self.modules {
            add(name, contents, false)?;
            names += &format!("/{name}\n");
        }
        add("modules", names.as_bytes(), false)?;
        let bytes = archive.finish().context("the initial RAM disk")?;
        std::fs::write(&initrd, bytes).context(initrd.display())?;
        let machine = Machine {
            initrd: Some(initrd),
            kernel: self.kernel.clone(),
            command_line: "console=ttyAMA0 quiet".into(),
            disk: Some(Disk::kept(ext4(&scratch)?)),
            ..crate::machine::assemble(system, &MachineOptions::default(), "".into(), None)
        };
        let mut lines = Vec::new();
        let end = session::run(&machine, TIMEOUT, |said| {
            if let Said::Log(line) = said {
                lines.push(String::from_utf8_lossy(&line).into_owned());
            }
        })?;
        if end == End::Timeout || lines.iter().any(|line| line.contains("WALL-FAILED")) {
            return unable(format!("Linux ended with {end:?}: {}", lines.join("\n")));
        }
        Ok(lines.iter().filter_map(|line| parse(line)).collect())
    }
}

/// A disk for Linux, of the same size and with the same file.
fn ext4(scratch: &Scratch) -> Result<PathBuf> {
    let (image, content) = (scratch.path("ext4.img"), scratch.path("content"));
    std::fs::create_dir_all(&content).context(content.display())?;
    std::fs::write(content.join("big"), big()).context(content.display())?;
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-d"]);
    command.arg(&content).arg(&image);
    command.arg(format!("{}K", DISK_BYTES >> 10));
    output_of(command).context("mke2fs (package e2fsprogs)")?;
    Ok(image)
}

/// Brings Debian's kernel for arm64, whatever this machine's own architecture is.
fn download(dir: &Path, tree: &Path) -> Result<()> {
    let mut step = Step::begin("bringing Debian's Linux kernel");
    step.advance(KERNEL_PACKAGE);
    for part in ["state/lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(dir.join(part)).context(dir.display())?;
    }
    std::fs::write(dir.join("status"), b"").context(dir.display())?;
    let apt = |program: &str, words: &[&str]| {
        let mut command = Command::new(program);
        for (name, value) in [
            ("State", "state"),
            ("State::status", "status"),
            ("Cache", "cache"),
        ] {
            command.arg(format!("-oDir::{name}={}", dir.join(value).display()));
        }
        command.args(["-oAPT::Architecture=arm64", "-oAPT::Architectures=arm64"]);
        command.args(["-oAPT::Sandbox::User=root", "-qq"]);
        command.args(words).current_dir(dir);
        output_of(command).context("Debian's packages are needed for the Linux guest")
    };
    apt("apt-get", &["update"])?;
    let depends = apt("apt-cache", &["depends", KERNEL_PACKAGE])?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: linux-image"))
        .ok_or_else(|| missing("Debian's package names no kernel"))?;
    apt("apt-get", &["download", &format!("linux-image{package}")])?;
    let file =
        find(dir, &|name| name.ends_with(".deb")).ok_or_else(|| missing("no package arrived"))?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(&file).arg(tree);
    output_of(unpack)?;
    step.end();
    Ok(())
}

fn missing(what: &str) -> Error {
    Error::Unable(what.into())
}

/// The first file below a folder whose name is wanted.
fn find(dir: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(dir).ok()?.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    entries.iter().find_map(|entry| {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => find(&path, wanted),
            _ => wanted(&entry.file_name().to_string_lossy()).then_some(path),
        }
    })
}

/// The other end of the guests' connections: takes 16 MiB, says so with a byte, and sends 16 MiB.
struct Host {
    port: u16,
}

impl Host {
    fn listen() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("a port for the guests")?;
        let port = listener
            .local_addr()
            .context("a port for the guests")?
            .port();
        // Ends with this program.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream);
            }
        });
        Ok(Self { port })
    }
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut chunk = vec![0x5a; 64 << 10];
    let mut left = TCP_BYTES;
    while left > 0 {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            count => left = left.saturating_sub(count),
        }
    }
    stream.write_all(b"!")?;
    for _ in 0..TCP_BYTES / chunk.len() {
        stream.write_all(&chunk)?;
    }
    // Until the guest has read it all.
    stream.read(&mut chunk[..1]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_medians_compared() {
        assert_eq!(
            parse("WALL cold 1500000\r"),
            Some(("cold".into(), 1_500_000))
        );
        assert_eq!(parse("[ 0.1] WALL cold 15"), None);
        let mut ours = BTreeMap::new();
        for ns in [9_000_000, 1_000_000, 2_000_000] {
            gather(&mut ours, Times::from([("cold".into(), ns)]));
        }
        let theirs = BTreeMap::from([("cold".into(), vec![5_000_000])]);
        let table = table(&ours, &theirs);
        let row: Vec<_> = table
            .lines()
            .nth(1)
            .unwrap_or("")
            .split_whitespace()
            .collect();
        assert_eq!(row, ["cold", "2.0", "5.0", "2.50"]);
    }
}
