//! Clock, timers, deadlines, futexes.

use super::report::{Report, Verdict, failed, want};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use viper_rt::abi::{FOREVER, Signals};
use viper_rt::handle::{Event, Timer};
use viper_rt::{Error, Object, clock, sys, thread};

/// All tests of this file.
pub(super) fn tests(report: &mut Report<'_>) {
    let tests: &[super::Test] = &[
        ("time/sleep", sleep),
        ("time/timer", timer),
        ("time/timer-period", period),
        ("time/timer-stop", stop),
        ("time/wait-deadline", deadline),
        ("futex/wake", futex),
        ("futex/nobody", || {
            want(
                "woken",
                sys::futex_wake(&raw const WORD as u64, 1),
                Ok((0,)),
            )
        }),
    ];
    for (name, test) in tests {
        report.run(name, test);
    }
}

static WORD: AtomicU32 = AtomicU32::new(0);

fn sleep() -> Verdict {
    let start = clock::now();
    clock::sleep(3 * clock::MILLISECOND);
    want(
        "long enough",
        clock::now() >= start + 3 * clock::MILLISECOND,
        true,
    )
}

fn timer() -> Verdict {
    let timer = Timer::new().map_err(failed("timer"))?;
    let at = clock::after(2 * clock::MILLISECOND);
    timer.start(at, 0).map_err(failed("start"))?;
    let early = timer.wait(Signals::EXPIRED, 0);
    // An emulated core may not have run for long.
    if clock::now() < at {
        want("early", early, Err(Error::WouldBlock))?;
    }
    want(
        "wait",
        timer.wait(Signals::EXPIRED, FOREVER),
        Ok(Signals::EXPIRED),
    )?;
    want("not early", clock::now() >= at, true)?;
    want(
        "once",
        timer.wait(Signals::EXPIRED, 0),
        Err(Error::WouldBlock),
    )
}

fn period() -> Verdict {
    let timer = Timer::new().map_err(failed("timer"))?;
    let start = clock::now();
    timer
        .start(start + clock::MILLISECOND, clock::MILLISECOND)
        .map_err(failed("start"))?;
    for _ in 0..5 {
        want(
            "tick",
            timer.wait(Signals::EXPIRED, FOREVER),
            Ok(Signals::EXPIRED),
        )?;
    }
    want("moved", clock::now() > start, true)
}

fn stop() -> Verdict {
    let timer = Timer::new().map_err(failed("timer"))?;
    timer
        .start(clock::after(100 * clock::MILLISECOND), 0)
        .map_err(failed("start"))?;
    timer.stop().map_err(failed("stop"))?;
    let late = clock::after(110 * clock::MILLISECOND);
    want(
        "stopped",
        timer.wait(Signals::EXPIRED, late),
        Err(Error::TimedOut),
    )
}

fn deadline() -> Verdict {
    let event = Event::new().map_err(failed("event"))?;
    let late = clock::after(2 * clock::MILLISECOND);
    want("wait", event.wait(Signals(1), late), Err(Error::TimedOut))?;
    want("not early", clock::now() >= late, true)?;
    let past = clock::now().saturating_sub(1).max(1);
    want("past", event.wait(Signals(1), past), Err(Error::TimedOut))
}

fn futex() -> Verdict {
    let word = Arc::new(AtomicU32::new(0));
    let there = word.clone();
    let waiter = thread::spawn(move || {
        while there.load(Ordering::Acquire) == 0 {
            let _ = sys::futex_wait(Arc::as_ptr(&there) as u64, 0, FOREVER);
        }
    })
    .map_err(failed("thread"))?;
    clock::sleep(2 * clock::MILLISECOND);
    word.store(1, Ordering::Release);
    let _ = sys::futex_wake(Arc::as_ptr(&word) as u64, u32::MAX);
    waiter
        .join(clock::after(5 * clock::SECOND))
        .map_err(failed("join"))
}
