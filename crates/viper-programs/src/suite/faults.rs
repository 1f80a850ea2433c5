//! Faults on purpose, each in a child: it ends as it should, and we go on.
#![allow(unsafe_code, reason = "the children fault on purpose")]

use super::Context;
use super::report::{Report, Verdict, failed, want};
use crate::machine;
use crate::own::end_of;
use viper_rt::abi::{EndReason, FaultKind};
use viper_rt::clock;

const CHILD_BYTES: u64 = 8 << 20;
const KERNEL: u64 = 0xffff_0000_4008_0000;

fn load(at: u64) -> u64 {
    // SAFETY: the process is made for ending here.
    unsafe { machine::load(at) }
}

fn store(at: u64) {
    // SAFETY: the process is made for ending here.
    unsafe { machine::store(at) }
}

fn jump(to: u64) {
    // SAFETY: the process is made for ending here.
    unsafe { machine::jump(to) }
}

/// The faults: name, what the child does, what the kernel calls it.
const FAULTS: &[(&str, fn(), FaultKind)] = &[
    ("null-read", || _ = load(0), FaultKind::READ),
    ("null-write", || store(0), FaultKind::WRITE),
    ("kernel-read", || _ = load(KERNEL), FaultKind::READ),
    ("kernel-write", || store(KERNEL), FaultKind::WRITE),
    ("kernel-jump", || jump(KERNEL), FaultKind::EXECUTE),
    ("text-write", || store(text()), FaultKind::WRITE),
    ("data-jump", || jump(data()), FaultKind::EXECUTE),
    ("odd-jump", || jump(text() + 2), FaultKind::ALIGNMENT),
    ("illegal", machine::illegal, FaultKind::ILLEGAL),
    ("breakpoint", machine::breakpoint, FaultKind::BREAKPOINT),
    (
        "stack-overflow",
        || _ = machine::overflow(0),
        FaultKind::WRITE,
    ),
];

static DATA: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0xd65f_03c0);

fn text() -> u64 {
    machine::illegal as *const () as u64 & !7
}

fn data() -> u64 {
    &raw const DATA as u64
}

/// The child's part.
pub(super) fn role(name: &str) -> i64 {
    if let Some((_, fault, _)) = FAULTS.iter().find(|(n, ..)| *n == name) {
        fault();
    }
    // It did not fault.
    1
}

/// All tests of this file.
pub(super) fn tests(context: &Context, report: &mut Report<'_>) {
    for (name, _, kind) in FAULTS {
        report.run(&alloc::format!("fault/{name}"), || {
            one(context, name, *kind)
        });
    }
}

fn one(context: &Context, name: &str, kind: FaultKind) -> Verdict {
    let (child, _quota) = context
        .own
        .child(CHILD_BYTES, &["fault", name], &[])
        .map_err(failed("start"))?;
    let info = end_of(&child, clock::after(20 * clock::SECOND)).map_err(failed("end"))?;
    want("end", info.end_reason.name(), EndReason::FAULT.name())?;
    want("fault", info.fault_kind.name(), kind.name())
}
