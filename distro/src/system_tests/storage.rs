//! The storage servers under the whole system: killed in the middle of copies, and on disks that
//! fail.

use std::fmt::Write;
use std::time::Duration;

use super::{Lab, Test, Verdict, long, one};
use crate::cli::MachineOptions;
use crate::disk::{self, Entry};
use crate::qemu::Disk;
use crate::session::End;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    one("storage-20-kills", |lab| kills(lab, 20, 8)),
    one("storage-disk-fails", fails_for_good),
    one("storage-disk-fails-once", fails_once),
    one("storage-unreadable-block", unreadable),
    long("storage-200-kills", |lab| kills(lab, 200, 64)),
    long("storage-1000-kills", |lab| kills(lab, 1000, 8)),
];

fn plain() -> MachineOptions {
    MachineOptions {
        no_net: true,
        // It would write its key on the first boot, at a time of its own.
        servers: Some("-sshd".into()),
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

/// A disk that QEMU's `blkdebug` makes fail as `rules` say, and the same disk for afterwards.
fn faulty(lab: &Lab<'_>, rules: &str) -> Result<(Disk, Disk), String> {
    let disk = lab.copied_disk("faulty.img")?;
    let path = lab.scratch().path("faulty.conf");
    std::fs::write(&path, rules).map_err(|error| error.to_string())?;
    let place = format!("blkdebug:{}:{}", path.display(), disk.path.display());
    Ok((Disk::kept(place.into()), disk))
}

/// Rules by which writes fail after the first `good` ones: one of them, or all.
pub(super) fn writes_fail_after(good: u32, once: bool) -> String {
    let mut rules = String::new();
    for state in 1..=good {
        let next = state + 1;
        let _ = writeln!(
            rules,
            "[set-state]\nstate = \"{state}\"\nevent = \"write_aio\"\nnew_state = \"{next}\""
        );
    }
    let (state, once) = (good + 1, if once { "on" } else { "off" });
    let _ = writeln!(
        rules,
        "[inject-error]\nstate = \"{state}\"\nevent = \"write_aio\"\niotype = \"write\"\n\
         errno = \"5\"\nonce = \"{once}\""
    );
    rules
}

/// Commands that write often enough for any of the rules here: each copy is made durable.
fn copies() -> String {
    (0..12)
        .map(|n| format!("Copy C:hello T:copy{n}\n"))
        .collect()
}

/// A disk that takes no more: errors are clear, what is there can be read, nothing hangs, and the
/// disk is sound afterwards.
fn fails_for_good(lab: &Lab<'_>) -> Verdict {
    for good in [5, 8, 12] {
        let (bad, disk) = faulty(lab, &writes_fail_after(good, false))?;
        let text = format!("{}Delete T:copy1; Type S:startup; Version", copies());
        let outcome = lab.run_on(&plain(), Some(bad), &text)?;
        let failed = |reason| format!("after {good} writes: {reason}");
        outcome.code(0).map_err(failed)?;
        outcome.prints("Assign C: SYS:c").map_err(failed)?;
        outcome.prints("Copy: ").map_err(failed)?;
        lab.logged(&["fsd: the disk failed", "read-only until it works"])
            .map_err(failed)?;
        lab.is_sound(&disk).map_err(failed)?;
    }
    Ok(())
}

/// A disk that fails once is used again, and has everything.
fn fails_once(lab: &Lab<'_>) -> Verdict {
    for good in [5, 8, 12] {
        let (bad, disk) = faulty(lab, &writes_fail_after(good, true))?;
        let last = "Wait 4; Copy C:hello T:last; Copy C:bench T:again";
        let outcome = lab.run_on(&plain(), Some(bad), &format!("{}{last}", copies()))?;
        let failed = |reason| format!("after {good} writes: {reason}");
        outcome.code(0).map_err(failed)?;
        lab.logged(&["fsd: the disk works again"]).map_err(failed)?;
        lab.is_sound(&disk).map_err(failed)?;
        for (from, to) in [("/c/hello", "/t/last"), ("/c/bench", "/t/again")] {
            if lab.file(&disk, from)? != lab.file(&disk, to)? {
                return Err(format!("after {good} writes: {to} is not {from}"));
            }
        }
    }
    Ok(())
}

/// A block that cannot be read: its file says so, others are what they were.
fn unreadable(lab: &Lab<'_>) -> Verdict {
    let contents: Vec<u8> = (0..200_000u32).map(|n| b'a' + (n / 7 % 23) as u8).collect();
    let place = lab.copied_disk("faulty.img")?;
    let entry = Entry::File {
        path: "/t/bad".into(),
        contents: contents.clone(),
        executable: false,
    };
    let put = disk::tools().put(&place.path, &[entry]);
    put.map_err(|error| error.to_string())?;
    let image = std::fs::read(&place.path).map_err(|error| error.to_string())?;
    let wanted = &contents[81_920..86_016];
    let block = image.chunks_exact(4096).position(|block| block == wanted);
    let sector = block.ok_or("the file is not on the disk")? * 8;
    let rules = format!(
        "[inject-error]\nevent = \"none\"\niotype = \"read\"\nerrno = \"5\"\nonce = \"off\"\n\
         sector = \"{sector}\"\n"
    );
    let path = lab.scratch().path("faulty.conf");
    std::fs::write(&path, rules).map_err(|error| error.to_string())?;
    let bad = format!("blkdebug:{}:{}", path.display(), place.path.display());
    let bad = Disk::kept(bad.into());
    let outcome = lab.run_on(
        &plain(),
        Some(bad),
        "Type S:startup; Version; Copy T:bad T:good",
    )?;
    outcome.prints("Assign C: SYS:c")?;
    outcome.prints("T:bad: ")?;
    lab.logged(&["fsd: the disk has unreadable blocks"])?;
    match outcome.end {
        End::Code(1..) => {}
        other => return Err(format!("expected a code above 0, found {other:?}")),
    }
    lab.is_sound(&place)?;
    match lab.file(&place, "/t/good") {
        Err(_) => Ok(()),
        Ok(bytes) => Err(format!("{} bytes of a copy are left", bytes.len())),
    }
}
