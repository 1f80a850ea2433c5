//! Rows that need nothing but the kernel.

use super::{Figure, Sampler};
use crate::own::{Own, end_of};
use core::cell::Cell;
use viper_rt::abi::{FOREVER, MsgInfo, Rights, Signals, Slot};
use viper_rt::handle::{Channel, Event, Memory};
use viper_rt::message::{Reader, Writer};
use viper_rt::{Error, Mapping, Object, sys, thread};

type Row = (&'static str, fn(&Sampler, &Own) -> Result<Figure, Error>);

/// The rows, in order.
pub(super) const ROWS: &[Row] = &[
    ("null-syscall", |s, _| {
        s.take(1, "null-syscall", 301, sys::null)
    }),
    ("call-reply", |s, own| {
        round_trip(s, own, 2, "call-reply", 48)
    }),
    ("message-256", |s, own| {
        round_trip(s, own, 3, "message-256", 256)
    }),
    ("message-handle", |s, _| message_handle(s)),
    ("notify-round-trip", |s, _| notify(s)),
    ("signal-no-waiter", |s, _| signal(s)),
    ("duplicate-close", |s, _| duplicate_close(s)),
    ("revoke-64", |s, _| revoke(s)),
    ("page-fault", |s, _| page_fault(s)),
    ("thread-create-join", |s, _| threads(s)),
    ("shared-memory-64k", |s, _| shared_memory(s)),
];

const CHILD_BYTES: u64 = 8 << 20;

fn round_trip(
    sampler: &Sampler,
    own: &Own,
    row: u32,
    name: &'static str,
    len: usize,
) -> Result<Figure, Error> {
    let (client, server) = Channel::pair(4)?;
    let handles = [(Slot::CHANNEL, server.raw(), Rights::ALL)];
    let (child, _quota) = own.child(CHILD_BYTES, &["echo"], &handles)?;
    drop(server);
    let info = MsgInfo::new(7, len, 0);
    let call = || sys::call(client.raw(), info, [1, 2, 3, 4, 5, 6], FOREVER).check();
    call()?;
    let figure = sampler.take(row, name, 301, call);
    drop(client);
    end_of(&child, FOREVER)?;
    figure
}

fn message_handle(sampler: &Sampler) -> Result<Figure, Error> {
    let (from, to) = Channel::pair(4)?;
    let event = Event::new()?;
    let pass = |copy: Event| {
        let mut message = Writer::new();
        message.word(1)?;
        message.handle(copy.into_owned())?;
        let (info, words) = message.finish(9);
        sys::send(from.raw(), info, words, 0).check()?;
        let got = sys::receive(to.raw(), 0);
        got.check()?;
        Reader::new(&got).handle::<Event>().map(drop)
    };
    sampler.take_with(4, "message-handle", 101, || event.try_clone(), pass)
}

fn notify(sampler: &Sampler) -> Result<Figure, Error> {
    const ROUNDS: usize = 301;
    let (ping, pong) = (Event::new()?, Event::new()?);
    let (ping2, pong2) = (ping.try_clone()?, pong.try_clone()?);
    let partner = thread::spawn(move || {
        for _ in 0..ROUNDS {
            let _ = ping2.wait(Signals(1), FOREVER);
            let _ = pong2.signal(1);
        }
    })?;
    let figure = sampler.take(5, "notify-round-trip", ROUNDS, || {
        ping.signal(1)?;
        pong.wait(Signals(1), FOREVER).map(|_| ())
    });
    partner.join(FOREVER)?;
    figure
}

fn signal(sampler: &Sampler) -> Result<Figure, Error> {
    let event = Event::new()?;
    sampler.take(5, "signal-no-waiter", 301, || event.signal(1))
}

fn duplicate_close(sampler: &Sampler) -> Result<Figure, Error> {
    let event = Event::new()?;
    sampler.take(7, "duplicate-close", 301, || {
        let (copy,) = sys::handle_duplicate(event.raw(), Rights::SIGNAL)?;
        sys::handle_close(copy)
    })
}

fn revoke(sampler: &Sampler) -> Result<Figure, Error> {
    let event = Event::new()?;
    let prepare =
        || (0..64).try_for_each(|_| sys::handle_duplicate(event.raw(), Rights::SIGNAL).map(|_| ()));
    sampler.take_with(8, "revoke-64", 31, prepare, |()| match event.revoke()? {
        64 => Ok(()),
        _ => Err(Error::Internal),
    })
}

fn page_fault(sampler: &Sampler) -> Result<Figure, Error> {
    const ROUNDS: usize = 201;
    let memory = Memory::new(ROUNDS as u64 * 4096)?;
    let mapping = Mapping::whole(&memory)?;
    let page = Cell::new(0);
    sampler.take(9, "page-fault", ROUNDS, || {
        mapping.write(page.get() * 4096, &[1])?;
        page.set(page.get() + 1);
        Ok(())
    })
}

fn threads(sampler: &Sampler) -> Result<Figure, Error> {
    sampler.take(10, "thread-create-join", 51, || {
        thread::spawn(|| {})?.join(FOREVER)
    })
}

fn shared_memory(sampler: &Sampler) -> Result<Figure, Error> {
    sampler.take(12, "shared-memory-64k", 31, || {
        let memory = Memory::new(64 << 10)?;
        let mapping = Mapping::whole(&memory)?;
        (0..16).try_for_each(|page| mapping.write(page * 4096, &[1]))
    })
}
