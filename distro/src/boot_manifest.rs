//! The form of the manifest that init reads (docs/formats/boot-manifest.SPEC.md).
//!
//! Lines of words, no quoting, no nesting: it can be read in one pass without an allocator.

use std::fmt::Write;

use crate::manifest::{Cap, Device, Manifest, NETWORK, Process, RestartWhen, Role, System};

/// The version in the first line.
pub const VERSION: u32 = 1;

/// Compiles the processes for which `exists` says yes.
///
/// A need of a process that does not exist is left out with it.
pub fn compile(manifest: &Manifest, exists: impl Fn(&str) -> bool) -> String {
    let mut text = format!("viper-boot-manifest {VERSION}\n");
    line(&mut text, format_args!("image {}", manifest.image.version));
    for (name, process) in &manifest.process {
        if exists(name) {
            compile_process(&mut text, name, process, &exists);
        }
    }
    text.push_str("end\n");
    text
}

fn compile_process(text: &mut String, name: &str, p: &Process, exists: &impl Fn(&str) -> bool) {
    line(text, format_args!("process {name}"));
    line(text, format_args!("role {}", role(p.role)));
    match p.is_boot() {
        true => line(text, format_args!("boot {}", p.member(name))),
        false => line(text, format_args!("path {}", p.home)),
    }
    line(text, format_args!("priority {}", p.priority));
    let quota = p.quota;
    line(
        text,
        format_args!(
            "quota {} {} {}",
            quota.memory_kib, quota.handles, quota.threads
        ),
    );
    let restart = p.restart;
    let when = when(restart.when);
    line(
        text,
        format_args!(
            "restart {when} {} {}",
            restart.min_run_ms, restart.max_delay_ms
        ),
    );
    for need in p.needs.iter().filter(|need| exists(need)) {
        line(text, format_args!("need {need}"));
    }
    for cap in &p.caps {
        compile_cap(text, cap);
    }
}

fn compile_cap(text: &mut String, cap: &Cap) {
    match cap {
        Cap::Device {
            name,
            dma_kib,
            required,
        } => {
            let required = if *required { " required" } else { "" };
            let name = device(*name);
            line(text, format_args!("cap device {name} {dma_kib}{required}"));
        }
        Cap::Serve(service) => line(text, format_args!("cap serve {service}")),
        Cap::Connect(service) => line(text, format_args!("cap connect {service}")),
        Cap::Net(rules) => {
            line(text, format_args!("cap connect {NETWORK}"));
            for rule in rules {
                line(text, format_args!("cap grant {NETWORK} {rule}"));
            }
        }
        Cap::System(right) => line(text, format_args!("cap system {}", system(*right))),
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("writing to a string cannot fail");
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Init => "init",
        Role::Shell => "shell",
        Role::Server => "server",
    }
}

fn when(when: RestartWhen) -> &'static str {
    match when {
        RestartWhen::Never => "never",
        RestartWhen::OnFailure => "on-failure",
        RestartWhen::Always => "always",
    }
}

fn device(device: Device) -> &'static str {
    match device {
        Device::Pl011 => "pl011",
        Device::Pl031 => "pl031",
        Device::VirtioBlk => "virtio-blk",
        Device::VirtioBlk1 => "virtio-blk-1",
        Device::VirtioBlk2 => "virtio-blk-2",
        Device::VirtioBlk3 => "virtio-blk-3",
        Device::VirtioRng => "virtio-rng",
        Device::VirtioNet => "virtio-net",
    }
}

fn system(right: System) -> &'static str {
    match right {
        System::Spawn => "spawn",
        System::Processes => "processes",
        System::Supervise => "supervise",
        System::Power => "power",
        System::Trace => "trace",
        System::BootArchive => "boot-archive",
        System::Clock => "clock",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn shipped() -> Manifest {
        Manifest::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("manifest.toml")).expect("valid")
    }

    /// The example of the specification's section 5 is what the shipped manifest compiles to.
    #[test]
    fn the_specification_tells_the_truth() {
        let spec = include_str!("../../docs/formats/boot-manifest.SPEC.md");
        let indented = spec
            .lines()
            .skip_while(|line| !line.starts_with("    viper-boot-manifest"));
        let example: String = indented
            .map_while(|line| line.strip_prefix("    "))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(
            compile(&shipped(), |name| ["blkd", "fsd"].contains(&name)),
            example
        );
    }

    #[test]
    fn every_line_obeys_the_grammar() {
        let text = compile(&shipped(), |_| true);
        assert!(text.is_ascii() && text.ends_with("end\n"));
        for line in text.lines() {
            assert!(line.len() <= 128, "{line}");
            let words: Vec<_> = line.split(' ').collect();
            assert!((1..=6).contains(&words.len()), "{line}");
            assert!(words.iter().all(|word| !word.is_empty()), "{line}");
        }
    }

    #[test]
    fn what_does_not_exist_is_not_mentioned() {
        let text = compile(&shipped(), |name| name != "blkd");
        assert!(!text.contains("process blkd\n") && !text.contains("need blkd"));
        assert!(text.contains("process blkd1\n") && text.contains("process fsd\n"));
        assert_eq!(compile(&shipped(), |_| false).lines().count(), 3);
    }
}
