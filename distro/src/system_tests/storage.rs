//! The storage servers under the whole system: killed in the middle of copies.

use std::time::Duration;

use super::{Lab, Test, Verdict, long, one};
use crate::cli::MachineOptions;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    one("storage-20-kills", |lab| kills(lab, 20, 8)),
    long("storage-200-kills", |lab| kills(lab, 200, 64)),
    long("storage-1000-kills", |lab| kills(lab, 1000, 8)),
];

fn plain() -> MachineOptions {
    MachineOptions {
        no_net: true,
        ..MachineOptions::default()
    }
}

/// Servers are killed in the middle of copies of so many MiB. The guest checks every byte and that
/// nothing is left behind; the disk is checked afterwards.
fn kills(lab: &Lab<'_>, rounds: u64, mib: u64) -> Verdict {
    // Source, copy, and the copy that takes the place of the one before.
    let disk = lab.sized_disk("kills.img", 64 + 4 * mib)?;
    let text = format!("Run GRANT manage,system viper-test-suite storage {rounds} {mib}");
    let time = Duration::from_secs(120 + rounds * mib);
    let outcome = lab.run_for(&plain(), Some(disk.clone()), &text, time)?;
    for line in outcome
        .output
        .lines()
        .filter(|line| line.starts_with("# storage"))
    {
        eprintln!("{line}");
    }
    outcome.all_ok()?;
    lab.is_sound(&disk)
}
