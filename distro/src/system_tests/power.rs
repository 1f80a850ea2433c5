//! The machine is switched off in the middle of writing, again and again. Long.

use std::time::Duration;

use super::{Lab, Test, Verdict, long};
use crate::cli::MachineOptions;
use crate::qemu::Disk;
use crate::session::End;

/// The tests of this file.
pub const TESTS: &[Test] = &[long("power-100-cuts", hundred_cuts)];

const CUTS: u32 = 100;
const FILES: u32 = 400;

/// What was acknowledged before a cut is there after it, at every cut.
fn hundred_cuts(lab: &Lab<'_>) -> Verdict {
    let disk = lab.copied_disk("cut.img")?;
    let options = MachineOptions {
        no_net: true,
        ..MachineOptions::default()
    };
    let calibration = std::time::Instant::now();
    lab.run_on(&options, Some(disk.clone()), "Version")?
        .code(0)?;
    let boot = calibration.elapsed();
    for cut in 0..CUTS {
        // From "just after the prompt" to "well into the copies", in uneven steps.
        let after = boot / 2 + Duration::from_millis(u64::from(cut * 37 % 100) * 40);
        one_cut(lab, &options, &disk, after).map_err(|reason| format!("cut {cut}: {reason}"))?;
    }
    Ok(())
}

fn one_cut(lab: &Lab<'_>, options: &MachineOptions, disk: &Disk, after: Duration) -> Verdict {
    let lines: Vec<_> = (0..FILES)
        .map(|n| format!("Copy S:startup T:cut{n}; Echo kept {n}"))
        .collect();
    let cut = lab.run_for(options, Some(disk.clone()), &lines.join("\n"), after)?;
    if !matches!(cut.end, End::Timeout | End::Code(_)) {
        return Err(format!("before the cut: {:?}", cut.end));
    }
    let kept = cut
        .output
        .lines()
        .filter_map(|line| line.strip_prefix("kept "))
        .next_back();
    let Some(last) = kept else {
        return lab.run_on(options, Some(disk.clone()), "Version")?.code(0);
    };
    let check = format!("Type T:cut{last}; Delete T:cut#?");
    let outcome = lab.run_on(options, Some(disk.clone()), &check)?;
    outcome
        .prints("Assign C: SYS:c")
        .map_err(|reason| format!("file {last}: {reason}"))
}
