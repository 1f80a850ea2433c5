//! The pages in `docs/abi/` and the snapshot come from the table, and are never stale.
//!
//! `VIPER_UPDATE=1 cargo test -p viper-abi` writes them anew. The snapshot is the promise: a line
//! that is in it may not change or go; new lines are added at the end of their part.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use viper_abi::{EndReason, Error, FaultKind, Kind, Rights, SYSCALLS, Signals, SyscallInfo};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compares a file with what it should be, or writes it.
fn check(path: &Path, wanted: &str) {
    if std::env::var_os("VIPER_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("files lie in directories")).unwrap();
        std::fs::write(path, wanted).unwrap();
        return;
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is stale; VIPER_UPDATE=1 cargo test -p viper-abi writes it",
        path.display()
    );
}

fn list(pairs: &[(&str, &str)]) -> String {
    let each: Vec<String> = pairs
        .iter()
        .map(|(name, of)| format!("{name}: {of}"))
        .collect();
    each.join(", ")
}

fn page(call: &SyscallInfo) -> String {
    let mut text = format!("## {} `{}`\n\n", call.number, call.name);
    let _ = writeln!(
        text,
        "```\n{}({}) -> ({})\n```\n",
        call.name,
        list(call.arguments),
        list(call.results)
    );
    for line in call.doc {
        let _ = writeln!(text, "{}", line.trim_start());
    }
    if !call.rights.is_empty() {
        let _ = writeln!(text, "\nRights: {}.", list(call.rights));
    }
    if !call.errors.is_empty() {
        text.push_str("\n| error | code | when |\n|---|---|---|\n");
        for (error, when) in call.errors {
            let _ = writeln!(text, "| {} | {} | {when} |", error.name(), error.code());
        }
    }
    text.push('\n');
    text
}

#[test]
fn the_pages_are_current() {
    let mut text = String::from(
        "# System calls\n\nGenerated from the table in `crates/viper-abi/src/table.rs`; do not edit.\n\n\
         A call is `svc #number`. Arguments are in `x0` to `x7`, the deadline of a message in `x8`. \
         On return `x0` is 0 or a negative error, results follow from `x1` on, `x8` is the key of a \
         receive. `x0` to `x18` and the flags are lost, all else is kept. A number without a call \
         gives `NotSupported`.\n\n| number | call | in one line |\n|---|---|---|\n",
    );
    for call in SYSCALLS {
        let line = call.doc.first().map_or("", |line| line.trim());
        let _ = writeln!(
            text,
            "| {} | [`{}`](#{}-{}) | {line} |",
            call.number, call.name, call.number, call.name
        );
    }
    text.push('\n');
    for call in SYSCALLS {
        text.push_str(&page(call));
    }
    check(&root().join("docs/abi/syscalls.md"), &text);
    let mut text = String::from(
        "# Errors, rights, kinds and signals\n\nGenerated from `crates/viper-abi`; do not edit.\n\n\
         | error | code | text |\n|---|---|---|\n",
    );
    for error in Error::ALL {
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            error.name(),
            error.code(),
            error.text()
        );
    }
    text.push_str("\n| right | bit |\n|---|---|\n");
    for (right, name) in Rights::NAMES {
        let _ = writeln!(text, "| {name} | {} |", right.0.trailing_zeros());
    }
    text.push_str("\n| signal | bit |\n|---|---|\n");
    for (signal, name) in Signals::NAMES {
        let _ = writeln!(text, "| {name} | {} |", signal.0.trailing_zeros());
    }
    check(&root().join("docs/abi/values.md"), &text);
}

#[test]
fn the_snapshot_is_kept() {
    let mut text = String::new();
    for call in SYSCALLS {
        let _ = writeln!(
            text,
            "call {} {}({}) -> ({})",
            call.number,
            call.name,
            list(call.arguments),
            list(call.results)
        );
    }
    for error in Error::ALL {
        let _ = writeln!(text, "error {} {}", error.code(), error.name());
    }
    for (right, name) in Rights::NAMES {
        let _ = writeln!(text, "right {:#x} {name}", right.0);
    }
    for (signal, name) in Signals::NAMES {
        let _ = writeln!(text, "signal {:#x} {name}", signal.0);
    }
    for n in 0..64 {
        for (what, name) in [
            ("kind", Kind(n).name()),
            ("end", EndReason(n).name()),
            ("fault", FaultKind(n).name()),
        ] {
            if name != "unknown" {
                let _ = writeln!(text, "{what} {n} {name}");
            }
        }
    }
    let record = |name: &str, size: usize| format!("record {name} {size} bytes\n");
    text += &record("ProcessInfo", size_of::<viper_abi::ProcessInfo>());
    text += &record("HandleInfo", size_of::<viper_abi::HandleInfo>());
    text += &record("SystemInfo", size_of::<viper_abi::SystemInfo>());
    text += &record("IpcBuffer", size_of::<viper_abi::IpcBuffer>());
    check(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("abi.snapshot"),
        &text,
    );
}

#[test]
fn numbers_ascend_and_names_are_unique() {
    assert!(SYSCALLS.is_sorted_by(|a, b| a.number < b.number));
    let mut names: Vec<&str> = SYSCALLS.iter().map(|call| call.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SYSCALLS.len());
    assert!(
        SYSCALLS
            .iter()
            .all(|call| call.arguments.len() <= 8 && call.results.len() <= 7)
    );
}

#[test]
fn errors_round_trip() {
    for &error in Error::ALL {
        assert_eq!(Error::from_code(error.code()), Some(error));
        assert_eq!(Error::check(error.code() as u64), Err(error));
    }
    assert_eq!(Error::check(0), Ok(()));
    assert_eq!(Error::check(-9999i64 as u64), Err(Error::Internal));
}
