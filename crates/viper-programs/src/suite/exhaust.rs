//! One child takes all it can get of one thing: it gets an error, and everything comes back.

use super::Context;
use super::report::{Report, Verdict, failed, want};
use crate::own::{Own, end_of};
use alloc::string::String;
use alloc::vec::Vec;
use viper_rt::abi::{EndReason, FOREVER, FaultKind, Handle, Rights, Slot};
use viper_rt::handle::{Channel, Event, Memory, Process, Quota, Timer};
use viper_rt::object::process_info;
use viper_rt::{Error, Mapping, Object, clock, program, sys, thread};

const CHILD_BYTES: u64 = 4 << 20;
const ROUNDS: usize = 1 << 20;

/// What a child can take: name and how.
type Way = (&'static str, fn() -> Result<(), Error>);

const WAYS: &[Way] = &[
    ("handles", || {
        take(|| sys::handle_duplicate(own_event()?, Rights::SIGNAL).map(|_| ()))
    }),
    ("events", || take(|| Event::new().map(core::mem::forget))),
    ("timers", || take(|| Timer::new().map(core::mem::forget))),
    ("channels", || {
        take(|| Channel::pair(64).map(core::mem::forget))
    }),
    ("contiguous", || {
        take(|| Memory::contiguous(65536).map(core::mem::forget))
    }),
    ("processes", || {
        let quota: Quota = program::take(Slot::QUOTA)
            .ok_or(Error::Internal)?
            .into_object();
        take(|| Process::new(&quota, "more").map(core::mem::forget))
    }),
    ("threads", || {
        take(|| thread::spawn(|| clock::sleep(FOREVER)).map(core::mem::forget))
    }),
    ("kernel-copies", || {
        let memory = Memory::new(64 << 20)?;
        let mut at = 0;
        take(|| {
            at += 4096;
            memory.write(at, &[1])
        })
    }),
];

fn own_event() -> Result<Handle, Error> {
    static EVENT: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);
    let order = core::sync::atomic::Ordering::Relaxed;
    if EVENT.load(order) == 0 {
        EVENT.store(Event::new()?.into_owned().into_raw().0, order);
    }
    Ok(Handle(EVENT.load(order)))
}

/// Repeats until it fails.
fn take(mut one: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    (0..ROUNDS).try_for_each(|_| one())
}

/// The child's part: 0 when the end was an error of the right kind.
pub(super) fn role(name: &str) -> i64 {
    if name == "memory" {
        return touch();
    }
    let Some((_, way)) = WAYS.iter().find(|(n, _)| *n == name) else {
        return 1;
    };
    match way() {
        Err(Error::OutOfMemory | Error::LimitReached) => 0,
        Err(error) => error.code(),
        Ok(()) => 2,
    }
}

/// Touches more than there is: ends by a fault.
fn touch() -> i64 {
    let touched = Memory::new(64 << 20).and_then(|memory| {
        let mapping = Mapping::whole(&memory)?;
        (0..16384).try_for_each(|page| mapping.write(page * 4096, &[1]))
    });
    touched.map_or_else(Error::code, |()| 2)
}

/// All tests of this file.
pub(super) fn tests(context: &Context, report: &mut Report<'_>) {
    for (name, _) in WAYS {
        report.run(&alloc::format!("exhaust/{name}"), || {
            unchanged(&context.own, || {
                let info = child(context, name)?;
                // A new thread's first touch of its stack may be what is too much.
                if *name == "threads" && info.fault_kind == FaultKind::NO_MEMORY {
                    return Ok(());
                }
                want("end", info.end_reason.name(), EndReason::EXITED.name())?;
                want("code", info.exit_code, 0)
            })
        });
    }
    report.run("exhaust/memory", || {
        unchanged(&context.own, || {
            let info = child(context, "memory")?;
            want("end", info.end_reason.name(), EndReason::FAULT.name())?;
            want("fault", info.fault_kind.name(), FaultKind::NO_MEMORY.name())
        })
    });
}

fn child(context: &Context, name: &str) -> Result<viper_rt::abi::ProcessInfo, String> {
    let started = context.own.child(CHILD_BYTES, &["exhaust", name], &[]);
    let (child, _quota) = started.map_err(failed("start"))?;
    end_of(&child, clock::after(60 * clock::SECOND)).map_err(failed("end"))
}

/// Runs a test twice and checks that the second time left nothing behind.
///
/// The first one may grow this program's own heap.
pub(super) fn unchanged(own: &Own, mut test: impl FnMut() -> Verdict) -> Verdict {
    test()?;
    let before = counters(own)?;
    test()?;
    // The last of a child may be freed a little later than its end is told.
    let mut after = counters(own)?;
    for _ in 0..20 {
        if after == before {
            break;
        }
        clock::sleep(5 * clock::MILLISECOND);
        after = counters(own)?;
    }
    want("counters afterwards", after, before)
}

/// What has to be as before: handles, threads, bytes, and the system's objects if we may look.
pub(super) fn counters(own: &Own) -> Result<Vec<(&'static str, u64)>, String> {
    let info = process_info(Handle::NONE).map_err(failed("info"))?;
    let (_, used) = own.quota.usage().map_err(failed("quota"))?;
    let mut list = Vec::from([
        ("handles", u64::from(info.handles)),
        ("threads", u64::from(info.threads)),
        ("quota", used),
    ]);
    if let Ok(all) = own.names.system().and_then(|system| system.info()) {
        list.extend([
            ("processes", u64::from(all.processes)),
            ("all threads", u64::from(all.threads)),
            ("all handles", u64::from(all.handles)),
            ("channels", u64::from(all.channels)),
            ("memories", u64::from(all.memories)),
        ]);
    }
    Ok(list)
}
