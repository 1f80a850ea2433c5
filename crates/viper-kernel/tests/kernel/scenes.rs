//! What is supposed to happen, scene by scene.

use viper_abi::{
    EndReason, Error, FOREVER, Handle, Kind, MsgInfo, MsgKind, Protection, Rights, Signals, number,
};
use viper_kernel::fake::{FakeMachine, Outcome};
use viper_kernel::object::ObjectRef;
use viper_kernel::thread::{State, Wait};

/// A client and a server process, with a channel from one to the other, on some cores.
struct Pair {
    m: FakeMachine,
    client: u32,
    server: u32,
    /// The client's end, in the client's table.
    to_server: Handle,
    /// The server's end, in the server's table.
    from_client: Handle,
}

const ALL: Rights = Rights::ALL;

fn pair(cores: usize, client_priority: u8, server_priority: u8) -> Pair {
    let mut m = FakeMachine::new(cores, 512);
    let quota = m.root_quota(8 << 20);
    let (client_process, client) = m.spawn(quota, client_priority).unwrap();
    m.settle();
    let core = (0..cores).find(|&c| m.running(c) == Some(client)).unwrap();
    let ends = m.ask(core, number::channel_create, &[2]).unwrap();
    let (server_process, server) = m.spawn(quota, server_priority).unwrap();
    let end = m.object(client_process, Handle(ends[1] as u32)).unwrap();
    let from_client = m.give(server_process, end, ALL).unwrap();
    m.settle();
    Pair {
        m,
        client,
        server,
        to_server: Handle(ends[0] as u32),
        from_client,
    }
}

impl Pair {
    fn core_of(&self, thread: u32) -> usize {
        (0..8)
            .find(|&c| self.m.running(c) == Some(thread))
            .expect("it runs")
    }
    fn state(&self, thread: u32) -> State {
        self.m.kernel.threads[thread].state
    }
    /// The server receives, the client calls, the server replies and receives, in turn.
    fn serve(&mut self, info: MsgInfo, reply: MsgInfo) {
        let core = self.core_of(self.server);
        self.m.receive(core, self.from_client);
        let core = self.core_of(self.client);
        self.m
            .message(core, number::call, self.to_server, info, FOREVER);
        assert_eq!(self.state(self.client), State::Blocked(Wait::Reply));
        let got = self.m.results(self.server).unwrap();
        assert_eq!(MsgInfo(got[0]), info.with_kind(MsgKind::Call));
        assert_eq!(got[1..7], [1, 2, 3, 4, 5, 6]);
        let core = self.core_of(self.server);
        let from = self.from_client;
        self.m
            .message(core, number::reply_receive, from, reply, FOREVER);
        let got = self.m.results(self.client).unwrap();
        assert_eq!(MsgInfo(got[0]), reply.with_kind(MsgKind::Message));
    }
    /// Everything a program could see of the two threads.
    fn view(&self) -> Vec<(State, [u64; 9], u64)> {
        [self.client, self.server]
            .map(|t| {
                let thread = &self.m.kernel.threads[t];
                let x = thread.context.x[..9].try_into().unwrap();
                (thread.state, x, thread.ipcs)
            })
            .to_vec()
    }
}

#[test]
fn the_short_way_and_the_long_way_are_the_same() {
    for (info, reply) in [(0, 0), (48, 8), (49, 256), (256, 255), (100, 100)] {
        let mut views = Vec::new();
        for is_short in [true, false] {
            let mut p = pair(1, 3, 5);
            p.m.is_short = is_short;
            // The server has run first, being the more important one.
            let buffer = p.m.kernel.threads[p.client].context.ipc_buffer;
            let core = p.core_of(p.server);
            p.m.receive(core, p.from_client);
            p.m.store(0, buffer + 48, &[7; 208]);
            let to = p.to_server;
            p.m.message(0, number::call, to, MsgInfo::new(9, info, 0), FOREVER);
            assert_eq!(p.m.running(0), Some(p.server));
            let mut rest = [0; 208];
            p.m.load(
                0,
                p.m.kernel.threads[p.server].context.ipc_buffer + 48,
                &mut rest,
            );
            let copied = info.saturating_sub(48).next_multiple_of(8);
            assert!(rest[..copied].iter().all(|&b| b == 7));
            assert!(
                rest[copied..].iter().all(|&b| b == 0),
                "no more than was sent"
            );
            let from = p.from_client;
            p.m.message(
                0,
                number::reply_receive,
                from,
                MsgInfo::new(8, reply, 0),
                FOREVER,
            );
            assert_eq!(p.m.running(0), Some(p.client));
            views.push(p.view());
            p.m.ask(0, number::null, &[]).unwrap(); // tells the scheduler
            p.m.check_all();
        }
        assert_eq!(views[0], views[1], "{info} and {reply} bytes");
    }
}

#[test]
fn a_reply_gives_way_to_who_is_more_important_than_the_caller() {
    for is_short in [true, false] {
        let mut p = pair(1, 1, 7);
        p.m.is_short = is_short;
        p.m.receive(0, p.from_client);
        p.m.message(0, number::call, p.to_server, MsgInfo::new(0, 8, 0), FOREVER);
        assert_eq!(p.m.running(0), Some(p.server));
        let quota = 0;
        let (_, middle) = p.m.spawn(quota, 4).unwrap();
        p.m.message(
            0,
            number::reply_receive,
            p.from_client,
            MsgInfo::new(0, 0, 0),
            FOREVER,
        );
        assert_eq!(p.m.running(0), Some(middle));
        assert_eq!(p.state(p.client), State::Ready);
    }
}

/// An event that both threads of a pair have a handle to: the client's and the server's.
fn share_event(p: &mut Pair) -> (Handle, Handle) {
    let core = p.core_of(p.client);
    let mine = p.m.ask(core, number::event_create, &[]).unwrap()[0];
    let mine = Handle(mine as u32);
    let [client, server] = [p.client, p.server].map(|t| p.m.kernel.threads[t].process);
    let event = p.m.object(client, mine).unwrap();
    (mine, p.m.give(server, event, ALL).unwrap())
}

fn wait(p: &mut Pair, event: Handle, mask: u64) {
    p.m.syscall(0, number::object_wait, &[u64::from(event.0), mask, FOREVER]);
}

#[test]
fn signals_go_the_short_way_with_the_same_result() {
    let mut views = Vec::new();
    for is_short in [true, false] {
        let mut p = pair(1, 3, 3);
        p.m.is_short = is_short;
        let (ping, ping_there) = share_event(&mut p);
        let (pong, pong_there) = share_event(&mut p);
        let (mut seen, mut short) = (Vec::new(), 0);
        // The server's turn comes when the client first waits.
        wait(&mut p, pong, 1);
        for bits in 1..20 {
            assert_eq!(p.m.running(0), Some(p.server));
            wait(&mut p, ping_there, 1);
            if bits == 1 {
                assert_eq!(p.m.running(0), None, "both wait");
                p.m.kernel.wake_with(p.client, Ok(()));
                p.m.interrupt(0, None);
            }
            assert_eq!(p.m.running(0), Some(p.client));
            seen.push(p.view());
            p.m.check();
            p.m.ask(0, number::event_signal, &[u64::from(ping.0), bits << 1 | 1])
                .unwrap();
            assert_eq!(p.state(p.server), State::Ready);
            short += u32::from(p.m.kernel.unsettled & viper_kernel::kernel::WOKEN != 0);
            wait(&mut p, pong, 1);
            assert_eq!(p.m.running(0), Some(p.server));
            assert_eq!(p.m.results(p.server).unwrap()[0], 1, "what it waited for");
            seen.push(p.view());
            p.m.ask(0, number::event_signal, &[u64::from(pong_there.0), 1])
                .unwrap();
        }
        assert_eq!(short > 10, is_short, "{short} of 19 signals");
        p.m.ask(0, number::null, &[]).unwrap(); // tells the scheduler
        p.m.check_all();
        // Bits that nobody waited for are all there still.
        let left =
            p.m.ask(0, number::object_wait, &[u64::from(ping_there.0), 62, 0]);
        seen.push(vec![(State::Ended, [0; 9], left.unwrap()[0])]);
        views.push(seen);
    }
    assert_eq!(views[0], views[1]);
}

#[test]
fn a_woken_thread_gets_its_turn_though_the_signaller_goes_on() {
    for is_short in [true, false] {
        let mut p = pair(1, 3, 3);
        p.m.is_short = is_short;
        let (ping, ping_there) = share_event(&mut p);
        wait(&mut p, ping, 1); // the client; the server goes on
        p.m.ask(0, number::event_signal, &[u64::from(ping_there.0), 1])
            .unwrap();
        assert_eq!(p.m.running(0), Some(p.server));
        for _ in 0..3 {
            p.m.advance(viper_kernel::kernel::SLICE_NS);
        }
        // Nobody made a call: the timer alone shares the core.
        let turns = (0..4).map(|_| {
            p.m.advance(viper_kernel::kernel::SLICE_NS + 1);
            p.m.running(0)
        });
        let turns: Vec<_> = turns.collect();
        assert!(turns.contains(&Some(p.client)) && turns.contains(&Some(p.server)));
        p.m.check_all();
    }
}

#[test]
fn a_reply_gives_way_to_a_thread_that_the_server_has_woken() {
    for is_short in [true, false] {
        let mut p = pair(1, 1, 7);
        p.m.is_short = is_short;
        p.m.receive(0, p.from_client);
        let (ping, ping_there) = share_event(&mut p);
        let client = p.m.kernel.threads[p.client].process;
        let event = p.m.object(client, ping).unwrap();
        let (middle_process, middle) = p.m.spawn(0, 4).unwrap();
        let there = p.m.give(middle_process, event, ALL).unwrap();
        assert_eq!(p.m.running(0), Some(middle));
        wait(&mut p, there, 1);
        assert_eq!(p.m.running(0), Some(p.client));
        p.m.message(0, number::call, p.to_server, MsgInfo::new(0, 8, 0), FOREVER);
        assert_eq!(p.m.running(0), Some(p.server));
        p.m.ask(0, number::event_signal, &[u64::from(ping_there.0), 1])
            .unwrap();
        let reply = MsgInfo::new(0, 0, 0);
        p.m.message(0, number::reply_receive, p.from_client, reply, FOREVER);
        assert_eq!(p.m.running(0), Some(middle));
        assert_eq!(p.state(p.client), State::Ready);
        p.m.check_all();
    }
}

#[test]
fn calls_cross_cores_without_losing_anybody() {
    let mut p = pair(2, 3, 3);
    for _ in 0..10 {
        p.serve(MsgInfo::new(1, 64, 0), MsgInfo::new(2, 64, 0));
        p.m.settle();
        p.m.check_all();
        // The server waits; end its wait by a message that is no call.
        let core = p.core_of(p.client);
        p.m.message(core, number::send, p.to_server, MsgInfo::new(0, 0, 0), 0);
        p.m.settle();
        p.m.check_all();
    }
}

#[test]
fn handles_move_all_or_none() {
    let mut p = pair(2, 3, 3);
    let core = p.core_of(p.client);
    let event = Handle(p.m.ask(core, number::event_create, &[]).unwrap()[0] as u32);
    let bare =
        p.m.ask(core, number::handle_duplicate, &[u64::from(event.0), 0])
            .unwrap()[0];
    let info = MsgInfo::new(0, 0, 2);
    for (second, error) in [
        (Handle(bare as u32), Error::NoRight),
        (event, Error::BadHandle),
        (Handle(77), Error::BadHandle),
    ] {
        p.m.put_handles(core, &[event, second]);
        p.m.message(core, number::send, p.to_server, info, 0);
        assert_eq!(p.m.results(p.client), Err(error));
        let process = p.m.kernel.threads[p.client].process;
        assert!(p.m.object(process, event).is_some(), "it has stayed");
    }
    let timer = Handle(p.m.ask(core, number::timer_create, &[]).unwrap()[0] as u32);
    p.m.put_handles(core, &[event, timer]);
    p.m.message(core, number::send, p.to_server, info, 0);
    p.m.results(p.client).unwrap();
    let core = p.core_of(p.server);
    p.m.receive(core, p.from_client);
    let [a, b, _, _] = p.m.handles(core);
    let process = p.m.kernel.threads[p.server].process;
    assert_eq!(p.m.object(process, a).map(|o| o.kind), Some(Kind::EVENT));
    assert_eq!(p.m.object(process, b).map(|o| o.kind), Some(Kind::TIMER));
    p.m.check_all();
}

#[test]
fn deadlines_end_waits_and_late_replies_find_nobody() {
    let mut p = pair(2, 3, 3);
    let core = p.core_of(p.server);
    p.m.receive(core, p.from_client);
    let core = p.core_of(p.client);
    let deadline = p.m.now_ns() + 500;
    p.m.message(
        core,
        number::call,
        p.to_server,
        MsgInfo::new(0, 0, 0),
        deadline,
    );
    assert_eq!(p.state(p.client), State::Blocked(Wait::Reply));
    p.m.settle();
    p.m.advance(600);
    p.m.settle();
    assert_eq!(p.m.results(p.client), Err(Error::TimedOut));
    let core = p.core_of(p.server);
    p.m.message(core, number::reply, Handle::NONE, MsgInfo::new(0, 0, 0), 0);
    assert_eq!(p.m.results(p.server), Err(Error::NotFound));
    p.m.check_all();
}

#[test]
fn a_server_that_ends_tells_its_callers() {
    let mut p = pair(2, 3, 5);
    let core = p.core_of(p.server);
    p.m.receive(core, p.from_client);
    let core = p.core_of(p.client);
    p.m.message(
        core,
        number::call,
        p.to_server,
        MsgInfo::new(0, 0, 0),
        FOREVER,
    );
    let process = p.m.kernel.threads[p.server].process;
    p.m.kill(process);
    p.m.settle();
    assert_eq!(p.m.results(p.client), Err(Error::PeerClosed));
    let core = p.core_of(p.client);
    p.m.message(core, number::send, p.to_server, MsgInfo::new(0, 0, 0), 0);
    // The client still holds its own handle to the server's end.
    p.m.results(p.client).unwrap();
    p.m.check_all();
}

#[test]
fn revoking_reaches_other_processes_and_queues() {
    let mut p = pair(2, 3, 3);
    let core = p.core_of(p.client);
    let event = p.m.ask(core, number::event_create, &[]).unwrap()[0];
    let copy =
        p.m.ask(core, number::handle_duplicate, &[event, 0x3ff])
            .unwrap_err();
    assert_eq!(copy, Error::NoRight);
    let rights = (Rights::TRANSFER | Rights::SIGNAL | Rights::WAIT).0;
    let copy =
        p.m.ask(core, number::handle_duplicate, &[event, rights.into()])
            .unwrap()[0];
    p.m.put_handles(core, &[Handle(copy as u32)]);
    p.m.message(core, number::send, p.to_server, MsgInfo::new(0, 0, 1), 0);
    assert_eq!(
        p.m.ask(core, number::handle_revoke, &[event]).unwrap()[0],
        1
    );
    let core = p.core_of(p.server);
    p.m.receive(core, p.from_client);
    assert_eq!(
        p.m.handles(core)[0],
        Handle::NONE,
        "what was revoked does not arrive"
    );
    p.m.check_all();
}

#[test]
fn revoking_a_handle_ends_the_waits_through_it() {
    // What the other process does with its copy of the handle, and what it finds afterwards.
    type Act = fn(&mut Pair, Handle);
    let waits: [(&str, Act); 4] = [
        ("receive", |p, h| p.m.receive(0, h)),
        ("send", |p, h| {
            for _ in 0..3 {
                p.m.message(0, number::send, h, MsgInfo::new(0, 8, 0), FOREVER);
            }
        }),
        ("call", |p, h| {
            p.m.message(0, number::call, h, MsgInfo::new(0, 8, 0), FOREVER);
        }),
        ("object_wait", |p, h| wait(p, h, Signals::PEER_CLOSED.0)),
    ];
    for (name, act) in waits {
        let mut p = pair(1, 3, 5);
        let [client, server] = [p.client, p.server].map(|t| p.m.kernel.threads[t].process);
        // The server, more important, gets a handle that is derived from the client's.
        wait_for_client(&mut p);
        let object = ObjectRef::new(Kind::PROCESS, server);
        let to_process = p.m.give(client, object, ALL).unwrap();
        let ends = p.m.ask(0, number::channel_create, &[2]).unwrap();
        let rights = Rights::SEND | Rights::RECEIVE | Rights::WAIT;
        let given = [u64::from(to_process.0), ends[0], u64::from(rights.0)];
        let there = p.m.ask(0, number::handle_give, &given).unwrap()[0];
        p.m.kernel.wake_with(p.server, Ok(()));
        p.m.interrupt(0, None);
        assert_eq!(p.m.running(0), Some(p.server));
        act(&mut p, Handle(there as u32));
        assert_eq!(p.m.running(0), Some(p.client), "{name} waits");
        p.m.check_all();
        p.m.syscall(0, number::handle_revoke, &[ends[0]]);
        assert_eq!(p.m.running(0), Some(p.server), "{name}: it is woken");
        assert_eq!(p.m.results(p.server), Err(Error::BadHandle), "{name}");
        assert_eq!(
            p.m.results(p.client).unwrap()[0],
            1,
            "{name}: one was revoked"
        );
        p.m.check_all();
    }
}

#[test]
fn revoking_a_handle_takes_its_object_out_of_the_poll_set() {
    let mut p = pair(1, 3, 5);
    let [client, server] = [p.client, p.server].map(|t| p.m.kernel.threads[t].process);
    let set = p.m.ask(0, number::poll_create, &[]).unwrap()[0];
    wait_for_client(&mut p);
    let object = ObjectRef::new(Kind::PROCESS, server);
    let to_process = p.m.give(client, object, ALL).unwrap();
    let event = p.m.ask(0, number::event_create, &[]).unwrap()[0];
    let given = [u64::from(to_process.0), event, u64::from(Rights::WAIT.0)];
    let there = p.m.ask(0, number::handle_give, &given).unwrap()[0];
    p.m.kernel.wake_with(p.server, Ok(()));
    p.m.interrupt(0, None);
    p.m.ask(0, number::poll_add, &[set, there, 7, 1]).unwrap();
    p.m.receive(0, Handle(set as u32));
    assert_eq!(p.m.ask(0, number::handle_revoke, &[event]).unwrap()[0], 1);
    p.m.ask(0, number::event_signal, &[event, 1]).unwrap();
    assert!(matches!(
        p.state(p.server),
        State::Blocked(Wait::ReceiveSet(_))
    ));
    p.m.check_all();
}

#[test]
fn long_work_is_done_in_slices() {
    let mut m = FakeMachine::new(1, 2048);
    m.is_prompt = false;
    m.kernel.work_max = 64;
    let quota = m.root_quota(8 << 20);
    let before = m.census();
    let (_, keeper) = m.spawn(quota, 3).unwrap();
    m.tear_down();
    let with_one = m.census();
    let (process, _) = m.spawn(quota, 5).unwrap();
    // 500 pages, and 500 handles derived from one.
    let (memory, at) = m.map(0, 500).unwrap();
    for page in 0..500 {
        m.access(0, at + page * 4096, Some(1));
    }
    let event = m.ask(0, number::event_create, &[]).unwrap()[0];
    for _ in 0..500 {
        m.ask(0, number::handle_duplicate, &[event, 0]).unwrap();
    }
    // A slice of each long call, as the machine's cores would see it.
    let entries = m.kernel.platform.calls_repeated;
    assert_eq!(m.ask(0, number::handle_revoke, &[event]).unwrap()[0], 500);
    assert_eq!(m.kernel.platform.calls_repeated - entries, 500 / 64);
    let entries = m.kernel.platform.calls_repeated;
    m.ask(0, number::memory_protect, &[0, at, 500 * 4096, 1])
        .unwrap();
    m.ask(0, number::memory_unmap, &[0, at + 4096, 400 * 4096])
        .unwrap();
    assert_eq!(
        m.kernel.platform.calls_repeated - entries,
        500 / 64 + 400 / 64
    );
    assert!(m.peek(process, at).is_some() && m.peek(process, at + 400 * 4096).is_none());
    let _ = memory;
    // The end of the process: others run in between, and are told when all is back.
    m.syscall(0, number::process_exit, &[0]);
    let mut slices = 0;
    while !m.kernel.dead.is_empty() {
        assert_eq!(m.running(0), Some(keeper));
        assert!(m.census() != with_one);
        assert_eq!(m.kernel.platform.timers[0], 0, "the timer goes on with it");
        m.interrupt(0, None);
        slices += 1;
    }
    assert!(slices >= 500 / 64, "{slices} slices");
    assert_eq!(m.census(), with_one);
    m.kill(m.kernel.threads[keeper].process);
    m.tear_down();
    assert_eq!(m.census(), before);
}

#[test]
fn memory_is_brought_in_by_slices() {
    let mut m = FakeMachine::new(1, 1024);
    m.kernel.work_max = 64;
    let quota = m.root_quota(300 * 4096);
    let (process, _) = m.spawn(quota, 3).unwrap();
    let populate = u64::from((Protection::READ | Protection::WRITE | Protection::POPULATE).0);
    let make = |m: &mut FakeMachine, pages: u64| {
        let size = pages * 4096;
        let memory = m.ask(0, number::memory_create, &[size, 0]).unwrap()[0];
        let entries = m.kernel.platform.calls_repeated;
        let mapped = m.ask(
            0,
            number::memory_map,
            &[0, memory, 0, size, populate, 0x7000],
        );
        let slices = m.kernel.platform.calls_repeated - entries;
        m.ask(0, number::handle_close, &[memory]).unwrap();
        m.check_all();
        (mapped.map(|x| x[0]), slices)
    };
    let (at, slices) = make(&mut m, 200);
    let at = at.unwrap();
    assert_eq!(slices, 200 / 64);
    assert!((0..200).all(|page| m.peek(process, at + page * 4096).is_some()));
    assert!(m.peek(process, at + 200 * 4096).is_none());
    // The quota ends in the middle: nothing stays mapped, and the next call begins anew.
    let (refused, slices) = make(&mut m, 150);
    assert_eq!((refused, slices), (Err(Error::OutOfMemory), 1));
    let (next, slices) = make(&mut m, 1);
    assert_eq!(slices, 0);
    assert!(m.peek(process, next.unwrap()).is_some());
}

/// The server waits for its client, which runs from then on.
fn wait_for_client(p: &mut Pair) {
    assert_eq!(p.m.running(0), Some(p.server));
    p.m.receive(0, p.from_client);
    assert_eq!(p.m.running(0), Some(p.client));
}

#[test]
fn copy_on_write_keeps_both_sides_apart() {
    let mut p = pair(1, 5, 3);
    let (memory, at) = p.m.map(0, 2).unwrap();
    p.m.store(0, at, &[1, 2, 3]);
    let copy =
        p.m.ask(0, number::memory_clone, &[memory.0.into()])
            .unwrap()[0];
    let rw = u64::from((Protection::READ | Protection::WRITE).0);
    let there =
        p.m.ask(0, number::memory_map, &[0, copy, 0, 8192, rw, 0])
            .unwrap()[0];
    let mut bytes = [0; 3];
    p.m.load(0, there, &mut bytes);
    assert_eq!(bytes, [1, 2, 3]);
    p.m.check_all();
    p.m.store(0, at, &[9]);
    p.m.load(0, there, &mut bytes);
    assert_eq!(bytes, [1, 2, 3], "the copy is as it was");
    // Through the handle, while it is mapped: the mapping follows.
    p.m.store(0, at + 4096, &[42]);
    let again =
        p.m.ask(0, number::memory_clone, &[memory.0.into()])
            .unwrap()[0];
    p.m.ask(0, number::memory_write, &[memory.0.into(), 0, at + 4096, 1])
        .unwrap();
    p.m.load(0, at, &mut bytes);
    assert_eq!(bytes, [42, 2, 3]);
    p.m.ask(0, number::handle_close, &[again]).unwrap();
    p.m.check_all();
}

#[test]
fn unmapping_and_protecting_split_regions() {
    let mut p = pair(1, 5, 3);
    let (memory, at) = p.m.map(0, 5).unwrap();
    for page in 0..5 {
        p.m.store(0, at + page * 4096, &[page as u8]);
    }
    p.m.ask(0, number::memory_unmap, &[0, at + 4096, 4096])
        .unwrap();
    let read = u64::from(Protection::READ.0);
    p.m.ask(0, number::memory_protect, &[0, at + 3 * 4096, 4096, read])
        .unwrap();
    p.m.check_all();
    let hole = p.m.ask(0, number::memory_protect, &[0, at, 8192, read]);
    assert_eq!(hole, Err(Error::InvalidArgument));
    for page in [0, 2, 3, 4] {
        assert_eq!(
            p.m.access(0, at + page * 4096, None),
            Outcome::Done(page as u8)
        );
    }
    assert_eq!(p.m.access(0, at + 4 * 4096, Some(8)), Outcome::Done(8));
    p.m.ask(0, number::handle_close, &[memory.0.into()])
        .unwrap();
    p.m.check_all();
    assert_eq!(
        p.m.access(0, at + 3 * 4096, Some(8)),
        Outcome::Gone,
        "it can only be read"
    );
    let process = p.m.kernel.threads.get(p.client).map(|t| t.process);
    let reason = process.map(|p_| p.m.kernel.processes[p_].end.reason);
    assert!(reason.is_none_or(|r| r == EndReason::FAULT));
    p.m.check_all();
}

#[test]
fn a_full_table_leaves_the_message_in_the_poll_set() {
    let mut p = pair(1, 5, 3);
    let pair = p.m.ask(0, number::channel_create, &[4]).unwrap();
    let set = p.m.ask(0, number::poll_create, &[]).unwrap()[0];
    p.m.ask(0, number::poll_add, &[set, pair[1], 77, u64::MAX])
        .unwrap();
    let mut spare = Vec::new();
    for _ in 0..2 {
        spare.push(p.m.ask(0, number::event_create, &[]).unwrap()[0]);
    }
    p.m.put_handles(0, &[Handle(spare[0] as u32)]);
    p.m.message(
        0,
        number::send,
        Handle(pair[0] as u32),
        MsgInfo::new(3, 0, 1),
        0,
    );
    p.m.results(p.client).unwrap();
    // Fill the table: copies until there is no room, which takes the quota's objects not at all.
    let mut copies = Vec::new();
    let full = loop {
        match p.m.ask(0, number::handle_duplicate, &[spare[1], 0]) {
            Ok(made) => copies.push(made[0]),
            Err(e) => break e,
        }
    };
    assert!(matches!(full, Error::LimitReached | Error::OutOfMemory));
    let receive = |m: &mut FakeMachine| m.ask(0, number::receive, &[set, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(receive(&mut p.m), Err(full));
    p.m.ask(0, number::handle_close, &[copies[0]]).unwrap();
    let got = receive(&mut p.m).unwrap();
    assert_eq!((MsgInfo(got[0]).label(), got[7]), (3, 77));
    p.m.check_all();
}

#[test]
fn a_channel_in_its_own_queue_is_collected() {
    let mut p = pair(1, 5, 3);
    let before = p.m.census();
    let (process, thread) = p.m.spawn(0, 7).unwrap();
    assert_eq!(p.m.running(0), Some(thread));
    let ends = p.m.ask(0, number::channel_create, &[4]).unwrap();
    let others = p.m.ask(0, number::channel_create, &[4]).unwrap();
    // Each end travels into the queue of the other channel.
    for (through, what) in [(ends[0], others[1]), (others[0], ends[1])] {
        p.m.put_handles(0, &[Handle(what as u32)]);
        p.m.message(
            0,
            number::send,
            Handle(through as u32),
            MsgInfo::new(0, 0, 1),
            0,
        );
        p.m.results(thread).unwrap();
    }
    p.m.check_all();
    p.m.kill(process);
    p.m.check_all();
    assert_eq!(p.m.census(), before);
}

#[test]
fn a_process_that_ends_gives_everything_back() {
    let mut m = FakeMachine::new(3, 512);
    let quota = m.root_quota(1 << 20);
    let before = m.census();
    for _ in 0..3 {
        let mut processes = Vec::new();
        for _ in 0..3 {
            processes.push(m.spawn(quota, 4).unwrap().0);
            m.settle();
        }
        for core in 0..3 {
            let (_, at) = m.map(core, 3).unwrap();
            m.store(core, at, &[1]);
            m.ask(core, number::thread_create, &[0, at, at, 0, 0, 2])
                .unwrap();
            m.ask(core, number::timer_create, &[]).unwrap();
            let event = m.ask(core, number::event_create, &[]).unwrap()[0];
            let set = m.ask(core, number::poll_create, &[]).unwrap()[0];
            m.ask(core, number::poll_add, &[set, event, 1, 1]).unwrap();
        }
        m.settle();
        m.check_all();
        // All of them run, on three cores, and are killed from the first.
        for process in processes {
            m.kill(process);
            m.check_all();
        }
        assert_eq!(m.census(), before);
    }
}

#[test]
fn every_allocation_may_fail() {
    for fail_after in 0..40 {
        let mut m = FakeMachine::new(1, 512);
        let quota = m.root_quota(1 << 20);
        let before = m.census();
        m.kernel.frames.fail_after = fail_after;
        if let Ok((_, thread)) = m.spawn(quota, 4) {
            let size = 6 * 4096;
            let ask = |m: &mut FakeMachine, number, x: &[u64]| m.ask(0, number, x).map(|r| r[0]);
            let memory = ask(&mut m, number::memory_create, &[size, 0]).unwrap();
            let populate = u64::from((Protection::READ | Protection::WRITE).0 | 1 << 10);
            let _ = ask(
                &mut m,
                number::memory_map,
                &[0, memory, 0, size, populate, 0],
            );
            m.check_all();
            let _ = ask(&mut m, number::memory_clone, &[memory]);
            let _ = ask(&mut m, number::memory_create, &[size, 1]);
            let _ = ask(&mut m, number::thread_create, &[0, 0, 0, 0, 0, 1]);
            let q = ask(&mut m, number::process_create, &[0, 0, 0]);
            assert!(q.is_err() && m.running(0) == Some(thread));
            m.check_all();
        }
        m.kernel.frames.fail_after = u32::MAX;
        for process in m.kernel.processes.indices().collect::<Vec<_>>() {
            m.kill(process);
        }
        assert_eq!(m.census(), before, "after {fail_after} frames");
    }
}

#[test]
fn every_quota_may_be_used_up() {
    for limit in (0..200).map(|n| n * 512) {
        let mut m = FakeMachine::new(1, 512);
        let quota = m.root_quota(limit);
        let before = m.census();
        if m.spawn(quota, 4).is_ok() {
            for (number, x) in [
                (number::event_create, &[][..]),
                (number::channel_create, &[3]),
                (number::poll_create, &[]),
                (number::timer_create, &[]),
                (number::memory_create, &[8192, 0]),
                (number::memory_create, &[8192, 1]),
                (number::thread_create, &[0, 0, 0, 0, 0, 1]),
            ] {
                let _ = m.ask(0, number, x);
                m.check_all();
            }
            if let Ok((_, at)) = m.map(0, 8) {
                m.access(0, at, Some(1));
                m.check_all();
            }
        }
        for process in m.kernel.processes.indices().collect::<Vec<_>>() {
            m.kill(process);
        }
        assert_eq!(m.census(), before, "with {limit} bytes");
    }
}

#[test]
fn waits_on_oneself_end_with_oneself() {
    let mut p = pair(1, 5, 3);
    let process = p.m.kernel.threads[p.client].process;
    let own =
        p.m.give(process, ObjectRef::new(Kind::PROCESS, process), ALL)
            .unwrap();
    let ended = Signals::ENDED.0;
    p.m.syscall(0, number::object_wait, &[own.0.into(), ended, FOREVER]);
    assert!(matches!(
        p.state(p.client),
        State::Blocked(Wait::Signals(..))
    ));
    p.m.check_all();
    p.m.kill(process);
    p.m.check_all();
}

#[test]
fn turns_are_shared_on_every_core() {
    let mut m = FakeMachine::new(2, 512);
    let quota = m.root_quota(1 << 20);
    let threads: Vec<u32> = (0..5).map(|_| m.spawn(quota, 3).unwrap().1).collect();
    m.settle();
    let mut has_run = vec![false; threads.len()];
    for _ in 0..12 {
        m.advance(5_000_001);
        m.settle();
        for core in 0..2 {
            let running = m.running(core).unwrap();
            has_run[threads.iter().position(|&t| t == running).unwrap()] = true;
        }
    }
    assert!(has_run.iter().all(|&b| b), "{has_run:?}");
    m.check_all();
}
