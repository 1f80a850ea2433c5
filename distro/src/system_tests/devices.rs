//! The disk as the guest sees it: kept, blank, full of noise, truncated.

use super::{Lab, Test, Verdict, one};
use crate::cli::MachineOptions;
use crate::disk::{self, Entry};
use crate::qemu::Disk;
use crate::session::End;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    one("disk-startup-is-there", startup),
    one("disk-keeps-files", keeps_files),
    one("disk-throw-away", throw_away),
    one("disk-program-from-host", program_from_host),
    one("disk-program-truncated", |lab| {
        bad_program(lab, |elf| elf.truncate(elf.len() / 2))
    }),
    one("disk-program-without-end-of-header", |lab| {
        bad_program(lab, |elf| elf.truncate(50))
    }),
    one("disk-program-foreign", |lab| {
        bad_program(lab, |elf| elf[18] = 62)
    }),
    one("disk-program-damaged", |lab| {
        bad_program(lab, |elf| elf[64..120].fill(0xFF))
    }),
    one("disk-program-replaced", replaced_program),
    one("disk-program-empty", |lab| bad_program(lab, Vec::clear)),
    one("disk-blank", |lab| damaged(lab, &vec![0; 1 << 20])),
    one("disk-noise", |lab| damaged(lab, &noise(1 << 20))),
    one("disk-one-sector", |lab| damaged(lab, &[0; 512])),
];

fn plain() -> MachineOptions {
    MachineOptions {
        no_net: true,
        ..MachineOptions::default()
    }
}

fn startup(lab: &Lab<'_>) -> Verdict {
    let outcome = lab.run(&plain(), "Type S:startup")?;
    outcome.code(0)?;
    outcome.prints("Assign C: SYS:c")
}

fn keeps_files(lab: &Lab<'_>) -> Verdict {
    let disk = lab.copied_disk("kept.img")?;
    lab.run_on(&plain(), Some(disk.clone()), "Copy S:startup T:kept")?
        .code(0)?;
    let outcome = lab.run_on(&plain(), Some(disk), "Type T:kept")?;
    outcome.code(0)?;
    outcome.prints("Assign C: SYS:c")
}

fn throw_away(lab: &Lab<'_>) -> Verdict {
    lab.run(&plain(), "Copy S:startup T:gone")?.code(0)?;
    let outcome = lab.run(&plain(), "Type T:gone")?;
    match outcome.end {
        End::Code(1..) => Ok(()),
        other => Err(format!("the file is still there: {other:?}")),
    }
}

fn program_from_host(lab: &Lab<'_>) -> Verdict {
    let disk = with_program(lab, |_| {})?;
    lab.run_on(&plain(), Some(disk), "T:guest")?.code(0)
}

/// A program that is none ends with an error in its turn, and the shell goes on.
fn bad_program(lab: &Lab<'_>, damage: fn(&mut Vec<u8>)) -> Verdict {
    let disk = with_program(lab, damage)?;
    let outcome = lab.run_on(&plain(), Some(disk.clone()), "T:guest; Version")?;
    outcome.code(0)?;
    outcome.prints("ViperOS")?;
    match lab.run_on(&plain(), Some(disk), "T:guest")?.end {
        End::Code(1..) => Ok(()),
        other => Err(format!("expected a code above 0, found {other:?}")),
    }
}

/// A program that was started before is kept in memory, but not longer than its file is the same.
fn replaced_program(lab: &Lab<'_>) -> Verdict {
    let outcome = lab.run(
        &plain(),
        "Copy C:hello T:p\nT:p one\nT:p two\nEcho nothing >T:p\nT:p three\n\
         Delete T:p\nT:p four\nCopy C:hello T:p\nT:p five",
    )?;
    outcome.code(0)?;
    for (word, is_wanted) in [
        ("one", true),
        ("two", true),
        ("three", false),
        ("four", false),
        ("five", true),
    ] {
        if outcome.output.lines().any(|line| line.trim() == word) != is_wanted {
            return Err(format!("`{word}` printed: {}", !is_wanted));
        }
    }
    Ok(())
}

/// A disk with a changed copy of `hello` at `T:guest`.
fn with_program(lab: &Lab<'_>, change: fn(&mut Vec<u8>)) -> Result<Disk, String> {
    let disk = lab.copied_disk("kept.img")?;
    let tools = disk::tools();
    let mut contents = tools
        .get(&disk.path, "/c/hello")
        .map_err(|error| error.to_string())?;
    change(&mut contents);
    let entry = Entry::File {
        path: "/t/guest".into(),
        contents,
        executable: true,
    };
    tools
        .put(&disk.path, &[entry])
        .map_err(|error| error.to_string())?;
    Ok(disk)
}

/// Whatever the disk holds, there is a prompt, and nothing panics.
fn damaged(lab: &Lab<'_>, contents: &[u8]) -> Verdict {
    let path = lab.scratch().path("damaged.img");
    std::fs::write(&path, contents).map_err(|error| error.to_string())?;
    let outcome = lab.run_on(&plain(), Some(Disk::kept(path)), "Version")?;
    outcome.code(0)?;
    outcome.prints("ViperOS")
}

/// The same noise every time (a 64-bit linear congruential generator).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x0123_4567_89AB_CDEF_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}
