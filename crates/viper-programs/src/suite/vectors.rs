//! Vector registers stay a thread's own, whoever runs in between and however it got the core.
#![allow(unsafe_code, reason = "fills vector registers around system calls")]

use super::report::{Report, Verdict, failed, want};
use crate::machine::call_with_vectors;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use viper_rt::abi::{FOREVER, Handle, MsgInfo, Signals, number};
use viper_rt::handle::{Channel, Event};
use viper_rt::{Object, sys, thread};

const ROUNDS: u64 = 200;

/// All tests of this file.
pub(super) fn tests(report: &mut Report<'_>) {
    report.run("vectors/signals", signals);
    report.run("vectors/calls", calls);
    report.run("vectors/turns", turns);
}

/// Whether this round of this thread uses vectors: long runs with and without, out of step.
fn uses(round: u64, who: u64) -> bool {
    (round + who * 37) % 80 < 50
}

/// Waits for an event, with or without vector registers in use; counts what they lost.
fn wait(event: &Event, round: u64, who: u64, lost: &AtomicU32) {
    if !uses(round, who) {
        let _ = event.wait(Signals(1), FOREVER);
        return;
    }
    let mut r = [0; 9];
    (r[0], r[1], r[2]) = (u64::from(event.raw().0), 1, FOREVER);
    // SAFETY: waiting changes no memory.
    let (_, same) = unsafe { call_with_vectors::<{ number::object_wait }>(r, round * 2 + who) };
    lost.fetch_add(u32::from(!same), Ordering::Relaxed);
}

fn signals() -> Verdict {
    let lost = Arc::new(AtomicU32::new(0));
    let (ping, pong) = (
        Event::new().map_err(failed("event"))?,
        Event::new().map_err(failed("event"))?,
    );
    let (ping2, pong2) = (
        ping.try_clone().map_err(failed("clone"))?,
        pong.try_clone().map_err(failed("clone"))?,
    );
    let theirs = Arc::clone(&lost);
    let partner = thread::spawn(move || {
        for round in 0..ROUNDS {
            wait(&ping2, round, 1, &theirs);
            let _ = pong2.signal(1);
        }
    });
    let partner = partner.map_err(failed("thread"))?;
    for round in 0..ROUNDS {
        ping.signal(1).map_err(failed("signal"))?;
        wait(&pong, round, 0, &lost);
    }
    partner.join(FOREVER).map_err(failed("join"))?;
    want("registers lost", lost.load(Ordering::Relaxed), 0)
}

/// One message call that crosses to another thread and back.
fn cross<const NUMBER: u16>(to: Handle, round: u64, who: u64, lost: &AtomicU32) -> bool {
    let mut r = [0; 9];
    (r[0], r[1], r[8]) = (u64::from(to.0), MsgInfo::new(1, 48, 0).0, FOREVER);
    if uses(round, who) {
        // SAFETY: message calls change the IPC buffer only.
        let (out, same) = unsafe { call_with_vectors::<NUMBER>(r, round * 2 + who) };
        lost.fetch_add(u32::from(!same), Ordering::Relaxed);
        return out[0] == 0;
    }
    // SAFETY: as above.
    let out = unsafe { crate::machine::system_call(NUMBER, r) };
    out[0] == 0
}

fn calls() -> Verdict {
    let lost = Arc::new(AtomicU32::new(0));
    let (client, server) = Channel::pair(2).map_err(failed("channel"))?;
    let theirs = Arc::clone(&lost);
    let partner = thread::spawn(move || {
        let mut round = 0;
        let _ = sys::receive(server.raw(), FOREVER);
        while cross::<{ number::reply_receive }>(server.raw(), round, 1, &theirs) {
            round += 1;
        }
    });
    let partner = partner.map_err(failed("thread"))?;
    for round in 0..ROUNDS {
        let went = cross::<{ number::call }>(client.raw(), round, 0, &lost);
        want("call", went, true)?;
    }
    drop(client);
    partner.join(FOREVER).map_err(failed("join"))?;
    want("registers lost", lost.load(Ordering::Relaxed), 0)
}

/// Threads that the timer takes the core from.
fn turns() -> Verdict {
    let lost = Arc::new(AtomicU32::new(0));
    let threads: Result<Vec<_>, _> = (0..4)
        .map(|who| {
            let lost = Arc::clone(&lost);
            thread::spawn(move || {
                for round in 0..ROUNDS {
                    // SAFETY: giving up the turn changes no memory.
                    let (_, same) = unsafe {
                        call_with_vectors::<{ number::thread_yield }>([0; 9], round * 4 + who)
                    };
                    lost.fetch_add(u32::from(!same), Ordering::Relaxed);
                }
            })
        })
        .collect();
    for thread in threads.map_err(failed("thread"))? {
        thread.join(FOREVER).map_err(failed("join"))?;
    }
    want("registers lost", lost.load(Ordering::Relaxed), 0)
}
