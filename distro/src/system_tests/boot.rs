//! It boots, on every machine that is promised, and whatever is missing.

use super::{Lab, Test, Verdict, one};
use crate::cli::{MachineOptions, Mode};
use crate::session::End;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    one("log-levels", log_levels),
    one("boot-banner", banner),
    one("boot-return-code", return_code),
    one("boot-smp-1", |lab| cores(lab, 1)),
    one("boot-smp-2", |lab| cores(lab, 2)),
    one("boot-smp-4", |lab| cores(lab, 4)),
    one("boot-smp-8", |lab| cores(lab, 8)),
    one("boot-gic-2", |lab| gic(lab, 2)),
    one("boot-gic-3", |lab| gic(lab, 3)),
    one("boot-gic-3-smp-8", gic_3_with_8_cores),
    one("boot-mem-64m", |lab| memory(lab, "64M")),
    one("boot-mem-4g", |lab| memory(lab, "4096M")),
    one("boot-cpu-max", cpu_max),
    one("boot-net", net),
    one("boot-recovery", recovery),
    one("boot-no-disk", no_disk),
    one("boot-no-servers", no_servers),
    one("boot-twice-the-same", twice_the_same),
    one("boot-keeps-what-is-written", keeps_what_is_written),
];

/// What a whole system answers.
const ALL: &str = "Version; Dir SYS:; Servers; Type S:startup";

fn plain() -> MachineOptions {
    MachineOptions {
        no_net: true,
        ..MachineOptions::default()
    }
}

/// Boots to a prompt and back to power-off, whatever else is there.
fn answers(lab: &Lab<'_>, options: &MachineOptions) -> Verdict {
    let outcome = lab.run(options, "Version")?;
    outcome.code(0)?;
    outcome.prints("ViperOS")
}

/// Boots to a prompt with all servers and the disk.
fn works(lab: &Lab<'_>, options: &MachineOptions) -> Verdict {
    let outcome = lab.run(options, ALL)?;
    outcome.code(0)?;
    for text in ["ViperOS", "BLKD", "FSD", "Assign C: SYS:c"] {
        outcome.prints(text)?;
    }
    Ok(())
}

fn banner(lab: &Lab<'_>) -> Verdict {
    let outcome = lab.run(&plain(), "Version")?;
    outcome.code(0)?;
    lab.logged(&["ViperOS", "MICROKERNEL"])
}

fn return_code(lab: &Lab<'_>) -> Verdict {
    let outcome = lab.run(&plain(), "Version; NoSuchCommandAnywhere")?;
    match outcome.end {
        End::Code(1..) => outcome.prints("ViperOS"),
        other => Err(format!("expected a code above 0, found {other:?}")),
    }
}

fn cores(lab: &Lab<'_>, cores: u8) -> Verdict {
    let options = MachineOptions {
        smp: Some(cores),
        ..plain()
    };
    works(lab, &options)?;
    let plural = if cores == 1 { "" } else { "s" };
    lab.run(&options, "Version FULL")?
        .prints(&format!("{cores} core{plural}"))
}

fn gic(lab: &Lab<'_>, gic: u8) -> Verdict {
    works(
        lab,
        &MachineOptions {
            gic: Some(gic),
            ..plain()
        },
    )
}

fn gic_3_with_8_cores(lab: &Lab<'_>) -> Verdict {
    works(
        lab,
        &MachineOptions {
            gic: Some(3),
            smp: Some(8),
            ..plain()
        },
    )
}

fn memory(lab: &Lab<'_>, size: &str) -> Verdict {
    works(
        lab,
        &MachineOptions {
            mem: Some(size.into()),
            ..plain()
        },
    )
}

fn cpu_max(lab: &Lab<'_>) -> Verdict {
    works(
        lab,
        &MachineOptions {
            cpu: Some("max".into()),
            ..plain()
        },
    )
}

fn net(lab: &Lab<'_>) -> Verdict {
    works(lab, &MachineOptions::default())
}

fn recovery(lab: &Lab<'_>) -> Verdict {
    let outcome = lab.run(
        &MachineOptions {
            mode: Some(Mode::Recovery),
            ..plain()
        },
        "Version",
    )?;
    outcome.code(0)?;
    lab.logged(&["ViperOS", "RECOVERY"])
}

fn no_disk(lab: &Lab<'_>) -> Verdict {
    answers(
        lab,
        &MachineOptions {
            no_disk: true,
            ..plain()
        },
    )
}

fn no_servers(lab: &Lab<'_>) -> Verdict {
    let servers = "-consoled,-entropyd,-blkd,-fsd".to_string();
    answers(
        lab,
        &MachineOptions {
            servers: Some(servers),
            ..plain()
        },
    )
}

/// Under instruction counting two boots print the same.
fn twice_the_same(lab: &Lab<'_>) -> Verdict {
    let options = MachineOptions {
        icount: true,
        no_disk: true,
        ..plain()
    };
    let first = lab.run(&options, "Version")?;
    let second = lab.run(&options, "Version")?;
    first.code(0)?;
    match first.output == second.output {
        true => Ok(()),
        false => Err(format!(
            "first {:?}, second {:?}",
            first.output, second.output
        )),
    }
}

/// What was asked for is logged, and nothing else; nothing of it is output.
fn log_levels(lab: &Lab<'_>) -> Verdict {
    let command = "hello";
    let quiet = lab.run(&plain(), command)?;
    quiet.code(0)?;
    for name in ["kernel: ", "fsd: ", "blkd: ", "vinit: "] {
        if lab.logged(&[name]).is_ok() {
            return Err(format!("a line of {name}without being asked"));
        }
    }
    let options = MachineOptions {
        log: ["kernel:info", "fsd:trace", "vinit:info"]
            .map(Into::into)
            .into(),
        ..plain()
    };
    let told = lab.run(&options, command)?;
    told.code(0)?;
    if told.output != quiet.output {
        return Err("log lines are among the output".into());
    }
    lab.logged(&["kernel: ", "cores"])?;
    lab.logged(&["kernel: hello", "EXITED"])?;
    lab.logged(&["vinit: info: starts", "fsd"])?;
    lab.logged(&["fsd: info: ready"])?;
    lab.logged(&["fsd: trace: request"])?;
    match lab.logged(&["blkd: "]) {
        Ok(()) => Err("blkd was not asked for".into()),
        Err(_) => Ok(()),
    }
}

/// The last thing that commands write is on the disk when the machine is off.
fn keeps_what_is_written(lab: &Lab<'_>) -> Verdict {
    let disk = lab.copied_disk("kept.img")?;
    let text = "Echo one >T:new; mv T:new T:kept; Type C:hello >T:copy";
    lab.run_on(&plain(), Some(disk.clone()), text)?.code(0)?;
    let (kept, copy) = (lab.file(&disk, "/t/kept")?, lab.file(&disk, "/t/copy")?);
    if kept != b"one\n" || copy != lab.file(&disk, "/c/hello")? {
        return Err(format!("{} and {} bytes were kept", kept.len(), copy.len()));
    }
    lab.is_sound(&disk)
}
