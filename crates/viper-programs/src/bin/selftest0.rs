//! A first process that needs nothing but the kernel: checks the basic calls, says how each went
//! on the debug port, and turns the machine off.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::vec::Vec;
use viper_rt::abi::{FOREVER, MsgInfo, PowerAction, Signals, Slot};
use viper_rt::handle::{Channel, Event, Memory, PollSet, System, Timer};
use viper_rt::{Error, Mapping, Object, clock, eprintln, program, sys, thread};

viper_rt::entry!(run);

type Check = fn() -> Result<(), Error>;

fn run() -> i64 {
    eprintln!("selftest0: alive");
    let checks: &[(&str, Check)] = &[
        ("null", || sys::null()),
        ("clock", clock_runs),
        ("heap", heap),
        ("memory", memory),
        ("event", event),
        ("timer", timer),
        ("thread", thread_runs),
        ("ipc", ipc),
        ("poll set", poll_set),
        ("stale handle", stale),
    ];
    let mut failed = 0;
    for (name, check) in checks {
        match check() {
            Ok(()) => eprintln!("selftest0: ok   {name}"),
            Err(error) => {
                failed += 1;
                eprintln!("selftest0: FAIL {name}: {error}");
            }
        }
    }
    eprintln!(
        "selftest0: {} passed, {failed} failed",
        checks.len() - failed
    );
    if let Some(system) = program::take(Slot::SYSTEM) {
        let _ = system.into_object::<System>().power(PowerAction::OFF);
    }
    failed as i64
}

fn ensure(condition: bool) -> Result<(), Error> {
    if condition {
        Ok(())
    } else {
        Err(Error::Internal)
    }
}

fn clock_runs() -> Result<(), Error> {
    let before = clock::now();
    clock::sleep(clock::MILLISECOND);
    ensure(clock::now() >= before + clock::MILLISECOND)
}

fn heap() -> Result<(), Error> {
    let numbers: Vec<u64> = (0..100_000).collect();
    ensure(numbers.iter().sum::<u64>() == 4_999_950_000)
}

fn memory() -> Result<(), Error> {
    let memory = Memory::new(3 * 4096)?;
    let mapping = Mapping::whole(&memory)?;
    mapping.write(4090, b"across a page")?;
    let mut back = [0; 13];
    memory.read(4090, &mut back)?;
    ensure(&back == b"across a page")?;
    ensure(memory.size()? == (3 * 4096, 2 * 4096))
}

fn event() -> Result<(), Error> {
    let event = Event::new()?;
    event.signal(5)?;
    ensure(event.wait(Signals(4), FOREVER)? == Signals(4))?;
    ensure(event.wait(Signals(4), 0) == Err(Error::WouldBlock))
}

fn timer() -> Result<(), Error> {
    let timer = Timer::new()?;
    timer.start(clock::after(clock::MILLISECOND), 0)?;
    ensure(timer.wait(Signals::EXPIRED, FOREVER)? == Signals::EXPIRED)
}

fn thread_runs() -> Result<(), Error> {
    let event = Event::new()?;
    let copy = event.try_clone()?;
    let thread = thread::spawn(move || {
        let _ = copy.signal(1);
    })?;
    ensure(event.wait(Signals(1), FOREVER)? == Signals(1))?;
    thread.join(FOREVER)
}

fn ipc() -> Result<(), Error> {
    let (client, server) = Channel::pair(4)?;
    let thread = thread::spawn(move || echo(&server))?;
    for round in 0..100u64 {
        let words = [round, 1, 2, 3, 4, 5];
        let reply = sys::call(client.raw(), MsgInfo::new(7, 48, 0), words, FOREVER);
        reply.check()?;
        ensure(reply.info.label() == 8 && reply.words == [round + 1, 1, 2, 3, 4, 5])?;
    }
    drop(client);
    thread.join(FOREVER)
}

fn echo(server: &Channel) {
    let mut got = sys::receive(server.raw(), FOREVER);
    while got.check().is_ok() {
        let mut words = got.words;
        words[0] += 1;
        got = sys::reply_receive(server.raw(), MsgInfo::new(8, 48, 0), words, FOREVER);
    }
}

fn poll_set() -> Result<(), Error> {
    let set = PollSet::new()?;
    let (client, server) = Channel::pair(4)?;
    let event = Event::new()?;
    set.add(&server, 11, Signals::PEER_CLOSED)?;
    set.add(&event, 22, Signals(1))?;
    sys::send(client.raw(), MsgInfo::new(3, 8, 0), [99, 0, 0, 0, 0, 0], 0).check()?;
    let got = sys::receive(set.raw(), FOREVER);
    got.check()?;
    ensure(got.key == 11 && got.words[0] == 99)?;
    event.signal(1)?;
    let got = sys::receive(set.raw(), FOREVER);
    got.check()?;
    ensure(got.key == 22 && got.words[0] == 1)?;
    drop(client);
    let got = sys::receive(set.raw(), FOREVER);
    got.check()?;
    ensure(got.key == 11 && Signals(got.words[0]).contains(Signals::PEER_CLOSED))?;
    set.remove(&server)?;
    ensure(sys::receive(set.raw(), 0).check() == Err(Error::WouldBlock))
}

fn stale() -> Result<(), Error> {
    let event = Event::new()?;
    let raw = event.raw();
    drop(event);
    ensure(sys::event_signal(raw, 1) == Err(Error::BadHandle))
}
