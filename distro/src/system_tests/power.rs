//! The machine is switched off in the middle of writing, again and again. Long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Lab, Test, Verdict, long, one};
use crate::cli::MachineOptions;
use crate::qemu::Disk;
use crate::session::End;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    one("power-3-cuts", |lab| cuts(lab, 3)),
    long("power-100-cuts", |lab| cuts(lab, 100)),
    long("power-1000-cuts", |lab| cuts(lab, 1000)),
];

/// How long a machine may take to be cut.
const TIME: Duration = Duration::from_secs(120);

/// What was said to be safe before a cut is there after it, at every cut; and the disk is sound.
fn cuts(lab: &Lab<'_>, count: u32) -> Verdict {
    let disk = lab.copied_disk("cut.img")?;
    let mut kept = BTreeMap::new();
    let (mut acknowledged, mut slowest, started) = (0, Duration::ZERO, Instant::now());
    for cut in 0..count {
        let start = Instant::now();
        acknowledged +=
            one_cut(lab, &disk, cut, &mut kept).map_err(|reason| format!("cut {cut}: {reason}"))?;
        slowest = slowest.max(start.elapsed());
    }
    eprintln!(
        "# power: {count} cuts, {acknowledged} files acknowledged, {} checked at each end, {:.1} s \
         a cut, {:.1} s at most",
        kept.len(),
        started.elapsed().as_secs_f32() / count as f32,
        slowest.as_secs_f32()
    );
    if acknowledged == 0 {
        return Err("nothing was acknowledged before any cut".into());
    }
    Ok(())
}

/// Runs the writer, cuts its power somewhere in the middle of its work, and checks every file.
/// Returns how many writes were acknowledged.
fn one_cut(
    lab: &Lab<'_>,
    disk: &Disk,
    cut: u32,
    kept: &mut BTreeMap<u64, u64>,
) -> Result<usize, String> {
    let first = u64::from(cut + 1) << 20;
    let options = MachineOptions {
        no_net: true,
        ..MachineOptions::default()
    };
    // After a few files, and then in the middle of something: uneven steps in milliseconds.
    let (mut files_left, after) = (1 + cut % 7, Duration::from_millis(u64::from(cut * 37 % 60)));
    let text = format!("viper-test-suite keep {first}");
    let outcome = lab.run_until(&options, Some(disk.clone()), &text, TIME, |line| {
        files_left -= u32::from(line.starts_with("kept ") && files_left > 0);
        (files_left == 0).then_some(after)
    })?;
    if outcome.end != End::Timeout {
        return Err(format!("before the cut: {:?}", outcome.end));
    }
    let said: Vec<_> = outcome.output.lines().filter_map(acknowledgement).collect();
    kept.extend(said.iter().copied());
    lab.is_sound(disk)?;
    for (&file, &version) in &*kept {
        let bytes = lab.file(disk, &format!("/t/keep{file}"))?;
        let found = bytes.first_chunk().map(|word| u64::from_le_bytes(*word));
        let found = found.ok_or(format!("file {file} is empty"))?;
        if found < version || bytes != contents(found) {
            return Err(format!(
                "file {file} has version {found}, {version} was acknowledged"
            ));
        }
    }
    Ok(said.len())
}

/// Reads `kept FILE VERSION`; a line that was cut off is none.
fn acknowledgement(line: &str) -> Option<(u64, u64)> {
    let (file, version) = line
        .strip_prefix("kept ")?
        .strip_suffix(" .")?
        .split_once(' ')?;
    Some((file.parse().ok()?, version.parse().ok()?))
}

/// What the guest writes into a file: its version, and words that follow from it.
fn contents(version: u64) -> Vec<u8> {
    let words = 1 + version.wrapping_mul(7919) % 20_000;
    let word = |n: u64| version.wrapping_mul(n * 2 + 1);
    (0..words).flat_map(|n| word(n).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_whole_lines() {
        assert_eq!(acknowledgement("kept 3 17 ."), Some((3, 17)));
        for line in ["kept 3 17", "kept 3 .", "kept", "saved 3 17 ."] {
            assert_eq!(acknowledgement(line), None);
        }
        assert_eq!(contents(5)[..8], 5u64.to_le_bytes());
    }
}
