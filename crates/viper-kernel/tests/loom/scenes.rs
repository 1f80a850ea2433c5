//! What must come out, whatever the order.

use crate::world::{World, in_every_order};
use viper_abi::{Error, FOREVER, Kind, MsgInfo, Rights, Signals, number};
use viper_kernel::fake::Outcome;
use viper_kernel::object::ObjectRef;

/// The arguments of `call` and `send`: a label, no data, for ever.
fn message(channel: u64, label: u32) -> [u64; 9] {
    [
        channel,
        MsgInfo::new(label, 0, 0).0,
        0,
        0,
        0,
        0,
        0,
        0,
        FOREVER,
    ]
}

/// The arguments of `receive`.
fn source(channel: u64, deadline: u64) -> [u64; 9] {
    [channel, 0, 0, 0, 0, 0, 0, 0, deadline]
}

/// A channel between two programs, with room for so many messages: an end of each.
fn channel(world: &mut World, a: usize, b: usize, depth: u64) -> (u64, u64) {
    let ends = world.ask(a, number::channel_create, &[depth]);
    let theirs = world.share(a, ends[1], b);
    world.ask(a, number::handle_close, &[ends[1]]);
    (ends[0], theirs)
}

fn label(noted: &Result<[u64; 2], Error>) -> u32 {
    MsgInfo(noted.unwrap()[0]).label()
}

#[test]
fn loom_messages_arrive_once_and_in_order() {
    in_every_order(
        2,
        |world| {
            let (from, to) = (world.process(3), world.process(3));
            let (sends, receives) = channel(world, from, to, 1);
            for n in 1..=3 {
                world.notes(from, number::send, &message(sends, n));
                world.notes(to, number::receive, &source(receives, FOREVER));
            }
            world.notes(to, number::receive, &source(receives, FOREVER));
        },
        |world| {
            assert!(world.noted(0).iter().all(Result::is_ok));
            let noted = world.noted(1);
            assert_eq!(noted[..3].iter().map(label).collect::<Vec<_>>(), [1, 2, 3]);
            assert_eq!(noted[3], Err(Error::PeerClosed), "the sender has ended");
        },
    );
}

#[test]
fn loom_one_of_two_receivers_gets_a_message() {
    in_every_order(
        3,
        |world| {
            let (from, one, two) = (world.process(3), world.process(3), world.process(3));
            let (sends, receives) = channel(world, from, one, 2);
            let other = world.share(one, receives, two);
            world.notes(from, number::send, &message(sends, 7));
            world.notes(one, number::receive, &source(receives, FOREVER));
            world.notes(two, number::receive, &source(other, FOREVER));
        },
        |world| {
            assert!(world.noted(0)[0].is_ok());
            let (one, two) = (world.noted(1)[0], world.noted(2)[0]);
            assert_eq!(one.is_ok(), two.is_err(), "{one:?} {two:?}");
            assert_eq!(one.and(two), Err(Error::PeerClosed));
        },
    );
}

#[test]
fn loom_a_call_ends_when_its_server_does() {
    in_every_order(
        3,
        |world| {
            let (client, server, killer) = (world.process(2), world.process(3), world.process(4));
            let (calls, receives) = channel(world, client, server, 1);
            world.notes(client, number::call, &message(calls, 1));
            world.calls(server, number::receive, &source(receives, FOREVER));
            world.calls(server, number::reply, &message(0, 2));
            let victim = ObjectRef::new(Kind::PROCESS, world.programs[server].process);
            let victim = world.give(killer, victim);
            world.calls(killer, number::process_kill, &[victim, 0]);
        },
        |world| match world.noted(0)[0] {
            Ok(_) => assert_eq!(label(&world.noted(0)[0]), 2),
            Err(error) => assert_eq!(error, Error::PeerClosed),
        },
    );
}

#[test]
fn loom_a_killed_caller_gets_no_reply_and_its_server_goes_on() {
    in_every_order(
        3,
        |world| {
            let (client, server, killer) = (world.process(3), world.process(3), world.process(3));
            let (calls, receives) = channel(world, client, server, 1);
            world.calls(client, number::call, &message(calls, 1));
            world.notes(server, number::receive, &source(receives, FOREVER));
            world.calls(server, number::reply, &message(0, 2));
            world.notes(server, number::receive, &source(receives, FOREVER));
            let victim = ObjectRef::new(Kind::PROCESS, world.programs[client].process);
            let victim = world.give(killer, victim);
            world.calls(killer, number::process_kill, &[victim, 0]);
        },
        |world| {
            let noted = world.noted(1);
            assert_eq!(noted[1], Err(Error::PeerClosed));
            if noted[0].is_err() {
                assert_eq!(noted[0], Err(Error::PeerClosed), "killed before it called");
            }
        },
    );
}

#[test]
fn loom_a_wait_ends_by_its_signal_or_its_deadline() {
    in_every_order(
        2,
        |world| {
            let (waits, signals) = (world.process(3), world.process(3));
            let event = world.ask(waits, number::event_create, &[])[0];
            let theirs = world.share(waits, event, signals);
            let deadline = world.m.now_ns() + 1000;
            world.notes(waits, number::object_wait, &[event, 1, deadline]);
            world.notes(waits, number::object_wait, &[event, 1, 0]);
            world.calls(signals, number::event_signal, &[theirs, 1]);
            world.ticks(2000);
        },
        |world| {
            let noted = world.noted(0);
            let first = noted[0].map(|got| Signals(got[0]));
            match (first, noted[1]) {
                (Ok(Signals(1)), Err(Error::WouldBlock)) => {}
                (Err(Error::TimedOut), Ok([1, _]) | Err(Error::WouldBlock)) => {}
                other => panic!("{other:?}"),
            }
        },
    );
}

#[test]
fn loom_a_poll_set_loses_nothing() {
    in_every_order(
        3,
        |world| {
            let (waits, signals, sends) = (world.process(3), world.process(3), world.process(3));
            let set = world.ask(waits, number::poll_create, &[])[0];
            let event = world.ask(waits, number::event_create, &[])[0];
            let (receives, theirs) = channel(world, waits, sends, 1);
            let readable = Signals::READABLE.0;
            world.ask(waits, number::poll_add, &[set, event, 11, 1]);
            world.ask(waits, number::poll_add, &[set, receives, 22, readable]);
            let other = world.share(waits, event, signals);
            world.calls(signals, number::event_signal, &[other, 1]);
            world.calls(sends, number::send, &message(theirs, 5));
            for _ in 0..2 {
                world.calls(waits, number::receive, &source(set, FOREVER));
                world.does(waits, |world, _, thread| {
                    let got = world.m.results(thread).unwrap();
                    world.notes.push((0, Ok([got[7], 0])));
                });
            }
        },
        |world| {
            let mut keys: Vec<u64> = world.noted(0).iter().map(|n| n.unwrap()[0]).collect();
            keys.sort_unstable();
            assert_eq!(keys, [11, 22]);
        },
    );
}

#[test]
fn loom_nobody_waits_through_a_revoked_handle() {
    in_every_order(
        2,
        |world| {
            let (owns, waits) = (world.process(3), world.process(3));
            let event = world.ask(owns, number::event_create, &[])[0];
            let whom = ObjectRef::new(Kind::PROCESS, world.programs[waits].process);
            let whom = world.give(owns, whom);
            let rights = u64::from(Rights::WAIT.0);
            let theirs = world.ask(owns, number::handle_give, &[whom, event, rights])[0];
            world.notes(waits, number::object_wait, &[theirs, 1, FOREVER]);
            world.notes(owns, number::handle_revoke, &[event]);
        },
        |world| {
            assert_eq!(
                world.noted(0)[0].map(|got| got[0]),
                Ok(1),
                "one was derived"
            );
            assert_eq!(world.noted(1)[0], Err(Error::BadHandle));
        },
    );
}

#[test]
fn loom_no_wake_of_a_futex_is_lost() {
    in_every_order(
        2,
        |world| {
            let waits = world.process(3);
            let wakes = world.thread(waits, 3);
            let word = world.page(waits);
            world.does(waits, move |world, core, _| {
                wait_for_word(world, core, word)
            });
            world.does(wakes, move |world, core, _| {
                assert_eq!(world.m.access(core, word, Some(1)), Outcome::Done(1));
            });
            world.calls(wakes, number::futex_wake, &[word, 1]);
        },
        |world| assert_eq!(world.noted(0), [Ok([1, 0])]),
    );
}

/// Looks at a word, and sleeps while it is 0.
fn wait_for_word(world: &mut World, core: usize, word: u64) {
    match world.m.access(core, word, None) {
        Outcome::Done(0) => {
            world.does_first(0, move |world, core, _| wait_for_word(world, core, word));
            world.does_first(0, move |world, core, _| {
                world
                    .m
                    .syscall(core, number::futex_wait, &[word, 0, FOREVER]);
            });
        }
        Outcome::Done(value) => world.notes.push((0, Ok([u64::from(value), 0]))),
        Outcome::Gone => panic!("it was there before"),
    }
}
