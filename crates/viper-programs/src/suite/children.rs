//! Children: what they do, and tests of processes.

use super::report::{Report, Verdict, failed, want};
use super::{Context, exhaust, faults, fuzz};
use crate::own::end_of;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use viper_rt::abi::{EndReason, FOREVER, Handle, MsgInfo, PAGE_SIZE, Rights, Signals, Slot};
use viper_rt::handle::{Channel, Event, Memory};
use viper_rt::object::process_info;
use viper_rt::spawn::Start;
use viper_rt::{Error, Mapping, Object, clock, program, sys, thread};

const CHILD_BYTES: u64 = 8 << 20;

/// Does what the arguments of a child say.
pub(super) fn role(mut words: impl Iterator<Item = &'static str>) -> i64 {
    let (role, detail) = (words.next(), words.next().unwrap_or_default());
    match role {
        Some("exit") => detail.parse().unwrap_or(1),
        Some("fault") => faults::role(detail),
        Some("exhaust") => exhaust::role(detail),
        Some("hold") => hold(),
        Some("wait") => wait(),
        Some("limits") => limits(),
        Some("touch") => touch(detail.parse().unwrap_or(0)),
        Some("sleep") => {
            clock::sleep(FOREVER);
            1
        }
        Some("fuzz") => {
            let seed = words.next().and_then(|w| w.parse().ok()).unwrap_or(1);
            fuzz::role(detail.parse().unwrap_or(1000), seed)
        }
        _ => 1,
    }
}

/// Tells that the event works, waits to be told, and tells the error of its next use.
fn hold() -> i64 {
    let (Some(channel), Some(event)) = (
        program::take(Slot::CHANNEL),
        program::take(Slot(Slot::CHANNEL.0 + 1)),
    ) else {
        return 1;
    };
    let (channel, event): (Channel, Event) = (channel.into_object(), event.into_object());
    let works = u64::from(event.signal(1).is_ok());
    let info = MsgInfo::new(0, 8, 0);
    let _ = sys::call(channel.raw(), info, [works, 0, 0, 0, 0, 0], FOREVER);
    match event.signal(1) {
        Err(Error::BadHandle) => 0,
        _ => 2,
    }
}

/// Waits for an event, and tells the error that ended the wait.
fn wait() -> i64 {
    let (Some(channel), Some(event)) = (
        program::take(Slot::CHANNEL),
        program::take(Slot(Slot::CHANNEL.0 + 1)),
    ) else {
        return 1;
    };
    let (channel, event): (Channel, Event) = (channel.into_object(), event.into_object());
    let _ = sys::send(channel.raw(), MsgInfo::new(0, 0, 0), [0; 6], FOREVER);
    match event.wait(Signals(1), FOREVER) {
        Err(Error::BadHandle) => 0,
        _ => 2,
    }
}

const HANDLES_MAX: u32 = 40;
const THREADS_MAX: u32 = 3;

/// Takes as many threads and handles as it can get, and tells whether these were the limits.
fn limits() -> i64 {
    let stay = || clock::sleep(FOREVER);
    let mut threads = Vec::new();
    let thread_error = loop {
        match thread::spawn(stay) {
            Ok(thread) if threads.len() < 10 => threads.push(thread),
            Ok(_) => return 2,
            Err(error) => break error,
        }
    };
    let limited = thread_error == Error::LimitReached && threads.len() as u32 + 1 == THREADS_MAX;
    if !limited {
        return 3;
    }
    let handle_error = loop {
        match Event::new() {
            Ok(event) => core::mem::forget(event),
            Err(error) => break error,
        }
    };
    match process_info(Handle::NONE) {
        Ok(info) if handle_error == Error::LimitReached && info.handles == HANDLES_MAX => 0,
        _ => 4,
    }
}

/// All tests of this file.
pub(super) fn tests(context: &Context, report: &mut Report<'_>) {
    report.run("process/exit-code", || exit_code(context));
    report.run("process/kill", || kill(context));
    report.run("process/ended-refuses", || ended(context));
    report.run("revoke/across-processes", || revoke(context));
    report.run("revoke/ends-a-wait", || revoke_waited(context));
    report.run("process/limits", || limited(context));
    report.run("process/large-end", || large_end(context));
    report.run("process/hundred-in-a-row", || {
        (0..100).try_for_each(|_| exit_code(context))
    });
}

fn exit_code(context: &Context) -> Verdict {
    let (child, _q) = context
        .own
        .child(CHILD_BYTES, &["exit", "42"], &[])
        .map_err(failed("start"))?;
    let info = end_of(&child, clock::after(20 * clock::SECOND)).map_err(failed("end"))?;
    want(
        "end",
        (info.end_reason.name(), info.exit_code),
        (EndReason::EXITED.name(), 42),
    )
}

fn kill(context: &Context) -> Verdict {
    let (child, _q) = context
        .own
        .child(CHILD_BYTES, &["sleep"], &[])
        .map_err(failed("start"))?;
    want(
        "runs",
        child.wait(Signals::ENDED, 0),
        Err(Error::WouldBlock),
    )?;
    want("kill", child.kill(7), Ok(()))?;
    let info = end_of(&child, clock::after(20 * clock::SECOND)).map_err(failed("end"))?;
    want("end", info.end_reason.name(), EndReason::KILLED.name())
}

fn ended(context: &Context) -> Verdict {
    let (child, _q) = context
        .own
        .child(CHILD_BYTES, &["exit", "0"], &[])
        .map_err(failed("start"))?;
    end_of(&child, clock::after(20 * clock::SECOND)).map_err(failed("end"))?;
    let event = Event::new().map_err(failed("event"))?;
    want("kill", child.kill(1), Err(Error::Ended))?;
    want(
        "give",
        child.give(event.raw(), Rights::SIGNAL).map(|_| ()),
        Err(Error::Ended),
    )
}

fn limited(context: &Context) -> Verdict {
    let quota = context
        .own
        .quota
        .carve(CHILD_BYTES)
        .map_err(failed("quota"))?;
    let start = Start {
        name: "limited",
        quota: &quota,
        priority: 3,
        arguments: &[b"child", b"limits"],
        environment: &[],
        handles: &[],
    };
    let child = context
        .own
        .image
        .start_limited(&start, HANDLES_MAX, THREADS_MAX);
    let child = child.map_err(failed("start"))?;
    let info = end_of(&child, clock::after(20 * clock::SECOND)).map_err(failed("end"))?;
    want("code", info.exit_code, 0)
}

/// The end of a process with a lot of memory holds up nobody: a thread that sleeps a millisecond
/// at a time sleeps about that long throughout.
///
/// The machine may itself be held up, where other work shares its processors: of some ends one is
/// enough.
fn large_end(context: &Context) -> Verdict {
    const ATTEMPTS: usize = 5;
    let mut last = Ok(());
    for _ in 0..ATTEMPTS {
        let (longest, took) = one_large_end(context)?;
        if took < 20 * clock::MILLISECOND || longest < took / 2 {
            return Ok(());
        }
        last = want("the longest sleep, of the whole end", longest, took / 2);
    }
    last
}

/// How long the longest sleep was during the end of a large process, and the end.
fn one_large_end(context: &Context) -> Result<(u64, u64), String> {
    const BYTES: u64 = 16 << 20;
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let options = thread::Options {
        priority: 3,
        ..thread::Options::default()
    };
    let longest = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&longest);
    let watcher = thread::spawn_with(options, move || {
        while !over.load(Ordering::Relaxed) {
            let before = clock::now();
            clock::sleep(clock::MILLISECOND);
            theirs.fetch_max(clock::now() - before, Ordering::Relaxed);
        }
    });
    let watcher = watcher.map_err(failed("thread"))?;
    let (ours, theirs) = Channel::pair(2).map_err(failed("channel"))?;
    let handles = [(Slot::CHANNEL, theirs.raw(), Rights::ALL)];
    let bytes = alloc::format!("{BYTES}");
    let words = ["touch", bytes.as_str()];
    let started = context.own.child(BYTES + CHILD_BYTES, &words, &handles);
    let (child, quota) = started.map_err(failed("start"))?;
    let touched = sys::receive(ours.raw(), clock::after(60 * clock::SECOND));
    want("touched", touched.check(), Ok(()))?;
    want(
        "in use",
        quota.usage().is_ok_and(|(_, used)| used >= BYTES),
        true,
    )?;
    longest.store(0, Ordering::Relaxed);
    want("kill", child.kill(7), Ok(()))?;
    let before = clock::now();
    end_of(&child, clock::after(20 * clock::SECOND)).map_err(failed("end"))?;
    let took = clock::now() - before;
    is_over.store(true, Ordering::Relaxed);
    watcher.join(FOREVER).map_err(failed("join"))?;
    drop(child);
    want("left in use", quota.usage().map(|(_, used)| used), Ok(0))?;
    Ok((longest.load(Ordering::Relaxed), took))
}

/// Touches so many bytes, tells it, and waits to be ended.
fn touch(bytes: u64) -> i64 {
    let Some(channel) = program::take(Slot::CHANNEL) else {
        return 1;
    };
    let channel: Channel = channel.into_object();
    let Ok(mapping) = Memory::new(bytes).and_then(|memory| Mapping::whole(&memory)) else {
        return 2;
    };
    for at in (0..mapping.len()).step_by(PAGE_SIZE) {
        let _ = mapping.write(at, &[1]);
    }
    let _ = sys::send(channel.raw(), MsgInfo::new(0, 0, 0), [0; 6], FOREVER);
    clock::sleep(FOREVER);
    0
}

fn revoke_waited(context: &Context) -> Verdict {
    let event = Event::new().map_err(failed("event"))?;
    let (ours, theirs) = Channel::pair(2).map_err(failed("channel"))?;
    let handles = [
        (Slot::CHANNEL, theirs.raw(), Rights::ALL),
        (Slot(Slot::CHANNEL.0 + 1), event.raw(), Rights::WAIT),
    ];
    let (child, _q) = context
        .own
        .child(CHILD_BYTES, &["wait"], &handles)
        .map_err(failed("start"))?;
    let got = sys::receive(ours.raw(), clock::after(20 * clock::SECOND));
    want("it comes to wait", got.check(), Ok(()))?;
    clock::sleep(20 * clock::MILLISECOND);
    want("revoked", event.revoke(), Ok(1))?;
    let info = end_of(&child, clock::after(20 * clock::SECOND)).map_err(failed("end"))?;
    want("the child's BadHandle", info.exit_code, 0)
}

fn revoke(context: &Context) -> Verdict {
    let event = Event::new().map_err(failed("event"))?;
    let (ours, theirs) = Channel::pair(2).map_err(failed("channel"))?;
    let handles = [
        (Slot::CHANNEL, theirs.raw(), Rights::ALL),
        (Slot(Slot::CHANNEL.0 + 1), event.raw(), Rights::SIGNAL),
    ];
    let (child, _q) = context
        .own
        .child(CHILD_BYTES, &["hold"], &handles)
        .map_err(failed("start"))?;
    drop(theirs);
    let got = sys::receive(ours.raw(), clock::after(20 * clock::SECOND));
    want("works there", (got.check(), got.words[0]), (Ok(()), 1))?;
    want("revoked", event.revoke(), Ok(1))?;
    let _ = sys::reply(
        viper_rt::abi::Handle::NONE,
        MsgInfo::new(0, 0, 0),
        [0; 6],
        0,
    );
    let info = end_of(&child, clock::after(20 * clock::SECOND)).map_err(failed("end"))?;
    want("the child's BadHandle", info.exit_code, 0)
}
