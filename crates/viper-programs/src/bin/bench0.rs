//! Kernel figures from a first process: what each basic operation costs in guest instructions.
//!
//! Meaningful under `-icount shift=0`, where the event counter counts exactly.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::vec::Vec;
use viper_rt::abi::{FOREVER, MsgInfo, PowerAction, Protection, Rights, Signals, Slot};
use viper_rt::handle::{Channel, Event, Memory, System};
use viper_rt::{Mapping, Object, eprintln, program, sys, thread};

viper_rt::entry!(run);

#[cfg(target_os = "none")]
fn count() -> u32 {
    let n: u64;
    unsafe { core::arch::asm!("isb", "mrs {}, pmevcntr0_el0", out(reg) n) };
    n as u32
}
#[cfg(not(target_os = "none"))]
fn count() -> u32 {
    0
}

fn measure(row: u32, name: &str, rounds: usize, mut work: impl FnMut()) {
    let mut all = Vec::new();
    for _ in 0..rounds {
        let start = count();
        work();
        all.push(count().wrapping_sub(start).wrapping_sub(1));
    }
    all.sort_unstable();
    eprintln!("BENCH {row} \"{name}\" {} instructions", all[rounds / 2]);
}

fn echo(server: &Channel) {
    let mut got = sys::receive(server.raw(), FOREVER);
    while got.check().is_ok() {
        got = sys::reply_receive(server.raw(), got.info, got.words, FOREVER);
    }
}

fn run() -> i64 {
    measure(1, "null", 101, || {
        let _ = sys::null();
    });
    let (client, server) = Channel::pair(4).unwrap();
    let t = thread::spawn_with(
        thread::Options {
            priority: 7,
            ..Default::default()
        },
        move || echo(&server),
    )
    .unwrap();
    for (row, len) in [(2, 48), (3, 256)] {
        measure(row, "call", 101, || {
            sys::call(
                client.raw(),
                MsgInfo::new(7, len, 0),
                [1, 2, 3, 4, 5, 6],
                FOREVER,
            )
            .check()
            .unwrap();
        });
    }
    drop(client);
    t.join(FOREVER).unwrap();
    let event = Event::new().unwrap();
    measure(5, "signal, no waiter", 101, || event.signal(1).unwrap());
    let (ping, pong) = (Event::new().unwrap(), Event::new().unwrap());
    let (ping2, pong2) = (ping.try_clone().unwrap(), pong.try_clone().unwrap());
    let t = thread::spawn(move || {
        for _ in 0..1101 {
            ping2.wait(Signals(1), FOREVER).unwrap();
            pong2.signal(1).unwrap();
        }
    })
    .unwrap();
    measure(5, "notification round trip", 101, || {
        ping.signal(1).unwrap();
        pong.wait(Signals(1), FOREVER).unwrap();
    });
    unsafe { core::arch::asm!(".inst 0xd29ffe1f") };
    for _ in 0..1000 {
        ping.signal(1).unwrap();
        pong.wait(Signals(1), FOREVER).unwrap();
    }
    unsafe { core::arch::asm!(".inst 0xd29ffe3f") };
    t.join(FOREVER).unwrap();
    measure(7, "duplicate and close", 101, || {
        let h = sys::handle_duplicate(event.raw(), Rights::SIGNAL).unwrap();
        sys::handle_close(h.0).unwrap();
    });
    measure(8, "revoke 64", 11, || {
        for _ in 0..64 {
            sys::handle_duplicate(event.raw(), Rights::SIGNAL).unwrap();
        }
        let start = count();
        let n = sys::handle_revoke(event.raw()).unwrap();
        let spent = count().wrapping_sub(start);
        if spent == 0xdead {
            eprintln!("{}", n.0);
        }
        REVOKE.store(spent, core::sync::atomic::Ordering::Relaxed);
    });
    eprintln!(
        "BENCH 8 revoke {}",
        REVOKE.load(core::sync::atomic::Ordering::Relaxed)
    );
    let memory = Memory::new(4096 * 200).unwrap();
    let mapping = Mapping::whole(&memory).unwrap();
    let mut page = 0;
    measure(9, "page fault", 101, || {
        mapping.write(page * 4096, &[1]).unwrap();
        page += 1;
    });
    measure(10, "thread create, run, join", 51, || {
        thread::spawn(|| {}).unwrap().join(FOREVER).unwrap();
    });
    let _ = (Protection::READ, Slot::NAMES);
    if let Some(system) = program::take(Slot::SYSTEM) {
        let _ = system.into_object::<System>().power(PowerAction::OFF);
    }
    0
}

static REVOKE: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);
