//! The fake kernel under the runtime, and the runtime's server loop on it.

use crate::client::{call, send};
use crate::handle::{Channel, Event, Object, PollSet};
use crate::message::Reader;
use crate::server::{Answer, NewClient, Server, Service, supervisor};
use crate::{clock, host, sys, thread};
use viper_abi::{Error, FOREVER, MsgInfo, Signals, Slot};

#[test]
fn calls_cross_and_a_dead_peer_is_told() {
    let (client, server) = Channel::pair(2).unwrap();
    let echo = thread::spawn(move || {
        let mut got = sys::receive(server.raw(), FOREVER);
        for _ in 0..3 {
            let mut words = got.words;
            words[0] += 1;
            let info = MsgInfo::new(0, 8, 0);
            got = sys::reply_receive(server.raw(), info, words, clock::after(clock::SECOND));
        }
    })
    .unwrap();
    for n in 0..3u64 {
        assert_eq!(call::<u64>(&client, 1, n, FOREVER), Ok(n + 1));
    }
    // The fourth call is received but never answered.
    assert_eq!(
        call::<u64>(&client, 1, 9u64, FOREVER),
        Err(Error::PeerClosed)
    );
    echo.join(FOREVER).unwrap();
    assert_eq!(send(&client, 1, (), 0), Err(Error::PeerClosed));
}

#[test]
fn handles_move_with_messages_and_come_back_when_they_do_not() {
    let (a, b) = Channel::pair(1).unwrap();
    let event = Event::new().unwrap();
    let raw = event.raw();
    send(&a, 1, event, FOREVER).unwrap();
    assert_eq!(host::kind(raw), None);
    let got = sys::receive(b.raw(), 0);
    got.check().unwrap();
    let moved: Event = Reader::new(&got).handle().unwrap();
    moved.signal(3).unwrap();
    assert_eq!(moved.wait(Signals(1), 0), Ok(Signals(1)));
    drop(b);
    let before = host::handle_count();
    assert_eq!(send(&a, 1, moved, 0), Err(Error::PeerClosed));
    assert_eq!(
        host::handle_count(),
        before - 1,
        "what was not sent is closed"
    );
}

struct Counter {
    connected: u32,
    log: Channel,
}

impl Service for Counter {
    type Client = u64;

    fn connect(&mut self, who: NewClient) -> Result<u64, Error> {
        self.connected += 1;
        if who.rights == 0 {
            Err(Error::NoRight)
        } else {
            Ok(who.process_id)
        }
    }

    fn request(&mut self, client: &mut u64, mut request: Reader) -> Answer {
        *client += 1;
        let add = request.word().unwrap_or(0);
        Answer::from_result(Ok(*client + add))
    }

    fn disconnect(&mut self, client: u64) {
        let _ = send(&self.log, 77, client, FOREVER);
    }
}

#[test]
fn the_server_loop_keeps_clients_apart_and_hears_when_they_go() {
    let (log, log_server) = Channel::pair(8).unwrap();
    let (up, down) = Channel::pair(8).unwrap();
    let slots = vec![
        (Slot::SUPERVISOR, down.into_owned()),
        (Slot::CHANNEL, log_server.into_owned()),
    ];
    let process = host::spawn_process("counter", slots, &["counter"], || {
        let log = crate::program::take(Slot::CHANNEL).unwrap().into_object();
        let mut service = Counter { connected: 0, log };
        Server::new().unwrap().run(&mut service).map_or(1, |()| 0)
    })
    .unwrap();
    assert_eq!(
        Reader::new(&sys::receive(up.raw(), FOREVER)).label(),
        u32::from(supervisor::READY)
    );

    let connect = |pid: u64, rights: u64| {
        let (ours, theirs) = Channel::pair(4).unwrap();
        send(&up, supervisor::NEW_CLIENT, (pid, rights, theirs), FOREVER).unwrap();
        ours
    };
    let (one, two) = (connect(100, 1), connect(200, 1));
    assert_eq!(call::<u64>(&one, 1, 0u64, FOREVER), Ok(101));
    assert_eq!(call::<u64>(&two, 1, 5u64, FOREVER), Ok(206));
    assert_eq!(call::<u64>(&one, 1, 0u64, FOREVER), Ok(102));
    let refused = connect(300, 0);
    assert_eq!(
        call::<u64>(&refused, 1, 0u64, FOREVER),
        Err(Error::PeerClosed)
    );
    drop(one);
    let gone = sys::receive(log.raw(), FOREVER);
    assert_eq!((gone.info.label(), gone.words[0]), (77, 102));
    assert_eq!(call::<()>(&up, supervisor::PING, (), FOREVER), Ok(()));
    assert_eq!(
        call::<()>(&up, supervisor::STOP, (), FOREVER).err(),
        Some(Error::PeerClosed)
    );
    process.wait(Signals::ENDED, FOREVER).unwrap();
    assert_eq!(process.info().unwrap().exit_code, 0);
    assert_eq!(call::<u64>(&two, 1, 0u64, FOREVER), Err(Error::PeerClosed));
}

#[test]
fn killing_a_process_closes_what_it_had() {
    let (process, channel) = host::spawn_with_channel("sleeper", Slot::CHANNEL, || {
        clock::sleep(1000 * clock::SECOND);
        0
    })
    .unwrap();
    let set = PollSet::new().unwrap();
    set.add(&channel, 5, Signals::PEER_CLOSED).unwrap();
    set.add(&process, 6, Signals::ENDED).unwrap();
    process.kill(9).unwrap();
    let mut keys = [0, 0];
    for key in &mut keys {
        let got = sys::receive(set.raw(), FOREVER);
        got.check().unwrap();
        *key = got.key;
        if got.key == 5 {
            set.remove(&channel).unwrap()
        } else {
            set.remove(&process).unwrap()
        }
    }
    keys.sort_unstable();
    assert_eq!(keys, [5, 6]);
    assert_eq!(process.kill(1), Err(Error::Ended));
}

/// Answers with more than registers hold, and makes calls of its own between request and reply.
struct Busy(Channel);

impl Service for Busy {
    type Client = ();

    fn connect(&mut self, _: NewClient) -> Result<(), Error> {
        Ok(())
    }

    fn request(&mut self, _: &mut (), _: Reader) -> Answer {
        Answer::from_result(Ok((1u64, 2u64, 3u64, 4u64, 5u64, (6u64, 7u64, 8u64))))
    }

    fn deadline(&self) -> u64 {
        1
    }

    fn timeout(&mut self) {
        let _ = send(&self.0, 1, crate::message::Bytes::clip(&[0xee; 200]), 0);
    }
}

#[test]
fn what_a_timeout_sends_does_not_get_into_the_answer() {
    let (up, down) = Channel::pair(8).unwrap();
    let slots = vec![(Slot::SUPERVISOR, down.into_owned())];
    let process = host::spawn_process("busy", slots, &["busy"], || {
        let (to, _from) = Channel::pair(1).unwrap();
        Server::new().unwrap().run(&mut Busy(to)).map_or(1, |()| 0)
    })
    .unwrap();
    let (ours, theirs) = Channel::pair(4).unwrap();
    send(&up, supervisor::NEW_CLIENT, (1u64, 1u64, theirs), FOREVER).unwrap();
    for _ in 0..20 {
        type Eight = (u64, u64, u64, u64, u64, (u64, u64, u64));
        assert_eq!(
            call::<Eight>(&ours, 1, (), FOREVER),
            Ok((1, 2, 3, 4, 5, (6, 7, 8)))
        );
    }
    process.kill(0).unwrap();
}

#[test]
fn a_held_clock_stands_still_for_its_thread_only() {
    let before = clock::now();
    let (first, last) = host::at_one_time(|| {
        let first = clock::now();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let other = std::thread::spawn(clock::now).join().unwrap();
        assert!(other >= first + 2 * clock::MILLISECOND);
        (first, clock::now())
    });
    assert!(first >= before);
    assert_eq!(first, last);
    assert!(clock::now() >= last + 2 * clock::MILLISECOND);
}
