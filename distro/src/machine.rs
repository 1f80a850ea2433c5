//! From options and the manifest's defaults to a machine.

use std::path::PathBuf;

use crate::cli::{MachineOptions, Mode};
use crate::image::System;
use crate::qemu::{Disk, Machine, Network};

/// The machine that `options` describe.
pub fn assemble(
    system: &System,
    options: &MachineOptions,
    archive: PathBuf,
    disk: Option<Disk>,
) -> Machine {
    let defaults = &system.manifest.machine;
    Machine {
        kernel: system.kernel.clone(),
        initrd: Some(archive),
        command_line: command_line(&system.manifest.image.command_line, options),
        cores: options.smp.unwrap_or(defaults.cores),
        memory: options
            .mem
            .clone()
            .unwrap_or_else(|| defaults.memory.clone()),
        cpu: options.cpu.clone().unwrap_or_else(|| defaults.cpu.clone()),
        gic: options.gic.unwrap_or(defaults.gic),
        icount: options.icount,
        disk,
        more_disks: options.more_disks.iter().cloned().map(Disk::kept).collect(),
        network: network(options),
        reboots: false,
    }
}

fn network(options: &MachineOptions) -> Network {
    match (&options.wire, &options.tap) {
        _ if options.no_net => Network::None,
        (Some(plug), _) => Network::Wire(plug.clone()),
        (None, Some(name)) => Network::Tap(name.clone()),
        (None, None) => Network::User(options.hostfwd.clone()),
    }
}

fn command_line(defaults: &str, options: &MachineOptions) -> String {
    let mut words: Vec<String> = defaults.split_whitespace().map(Into::into).collect();
    if let Some(mode) = options.mode {
        words.retain(|word| !word.starts_with("viper.mode="));
        words.push(match mode {
            Mode::Normal => "viper.mode=normal".into(),
            Mode::Recovery => "viper.mode=recovery".into(),
        });
    }
    if let Some(servers) = &options.servers {
        words.push(format!("viper.servers={servers}"));
    }
    if !options.log.is_empty() {
        words.push(format!("viper.log={}", options.log.join(",")));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_replace_and_extend_the_defaults() {
        let options = MachineOptions {
            mode: Some(Mode::Recovery),
            servers: Some("-netd".into()),
            log: vec!["fsd:debug".into(), "kernel:info".into()],
            ..MachineOptions::default()
        };
        assert_eq!(
            command_line("viper.mode=normal a=b", &options),
            "a=b viper.mode=recovery viper.servers=-netd viper.log=fsd:debug,kernel:info"
        );
        assert_eq!(command_line("a=b", &MachineOptions::default()), "a=b");
    }
}
