//! Children: what they do, and tests of processes.

use super::report::{Report, Verdict, failed, want};
use super::{Context, exhaust, faults, fuzz};
use crate::own::end_of;
use viper_rt::abi::{EndReason, FOREVER, MsgInfo, Rights, Signals, Slot};
use viper_rt::handle::{Channel, Event};
use viper_rt::{Error, Object, clock, program, sys};

const CHILD_BYTES: u64 = 8 << 20;

/// Does what the arguments of a child say.
pub(super) fn role(mut words: impl Iterator<Item = &'static str>) -> i64 {
    let (role, detail) = (words.next(), words.next().unwrap_or_default());
    match role {
        Some("exit") => detail.parse().unwrap_or(1),
        Some("fault") => faults::role(detail),
        Some("exhaust") => exhaust::role(detail),
        Some("hold") => hold(),
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

/// All tests of this file.
pub(super) fn tests(context: &Context, report: &mut Report<'_>) {
    report.run("process/exit-code", || exit_code(context));
    report.run("process/kill", || kill(context));
    report.run("process/ended-refuses", || ended(context));
    report.run("revoke/across-processes", || revoke(context));
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
