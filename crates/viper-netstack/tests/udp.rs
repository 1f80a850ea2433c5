//! Datagrams and echo requests.

mod common;

use common::{Faults, MS, Net, SECOND, any, at, settle, v4, v6};
use viper_netstack::{Config, Error, Stack};

#[test]
fn datagrams_cross_loopback() {
    let mut stack = Stack::new(Config::default(), [7; 32], 0);
    let a = stack.udp_bind(any(0)).unwrap();
    let b = stack.udp_bind("127.0.0.1:53".parse().unwrap()).unwrap();
    let largest = vec![3; 65_507];
    for data in [&b"x"[..], b"", &largest] {
        stack
            .udp_send(a, "127.0.0.1:53".parse().unwrap(), data)
            .unwrap();
        settle(&mut stack, 0);
        assert_eq!(stack.take_ready(), Some(b));
        let from = at([127, 0, 0, 1].into(), stack.udp_address(a).unwrap().port());
        let got = stack
            .udp_recv_with(b, |got, from, to| (got.to_vec(), from, to))
            .unwrap();
        assert_eq!(got, (data.to_vec(), from, [127, 0, 0, 1].into()));
        assert_eq!(stack.udp_recv(b, &mut []), Err(Error::WouldBlock));
    }
    let too_large = vec![3; 65_508];
    let to = "127.0.0.1:53".parse().unwrap();
    assert_eq!(stack.udp_send(a, to, &too_large), Err(Error::TooLarge));
    assert_eq!(stack.udp_bind(to), Err(Error::AddressInUse));
    stack.close(b).unwrap();
    assert!(stack.udp_bind(to).is_ok());
}

#[test]
fn datagrams_cross_a_wire_in_fragments() {
    let mut net = Net::new(
        1,
        Faults {
            delay_ns: MS,
            ..Faults::default()
        },
    );
    let a = net.stacks[0].udp_bind(any(0)).unwrap();
    let b = net.stacks[1]
        .udp_bind("[::]:5000".parse().unwrap())
        .unwrap();
    for len in [1, 1472, 1473, 5000, 16_000] {
        let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
        net.stacks[0].udp_send(a, at(v4(1), 5000), &data).unwrap();
        net.stacks[0]
            .udp_send(a, at(v4(1), 5000), &data[..1])
            .unwrap();
        for expected in [&data[..], &data[..1]] {
            let mut got = Vec::new();
            net.until(5 * SECOND, |net| {
                net.stacks[1]
                    .udp_recv_with(b, |data, _, _| got = data.to_vec())
                    .is_ok()
            });
            assert_eq!(got, expected, "{len}");
        }
    }
    net.stacks[0]
        .udp_send(a, at(v4(1), 5000), b"again")
        .unwrap();
    let c = net.stacks[0].udp_bind("[::]:0".parse().unwrap()).unwrap();
    net.stacks[0].udp_send(c, at(v6(1), 5000), b"six").unwrap();
    net.pass(SECOND);
    let mut buffer = [0; 16];
    let (len, from) = net.stacks[1].udp_recv(b, &mut buffer).unwrap();
    assert_eq!((&buffer[..len], from.ip()), (&b"again"[..], v4(0)));
    let (len, from) = net.stacks[1].udp_recv(b, &mut buffer).unwrap();
    assert_eq!((&buffer[..len], from.ip()), (&b"six"[..], v6(0)));
}

#[test]
fn a_closed_port_is_told() {
    let mut net = Net::new(2, Faults::default());
    for (address, bind) in [(v4(1), any(0)), (v6(1), "[::]:0".parse().unwrap())] {
        let a = net.stacks[0].udp_bind(bind).unwrap();
        net.stacks[0]
            .udp_send(a, at(address, 9), b"anybody?")
            .unwrap();
        net.pass(SECOND);
        assert_eq!(net.stacks[0].take_ready(), Some(a));
        assert_eq!(net.stacks[0].udp_recv(a, &mut []), Err(Error::Refused));
        assert_eq!(net.stacks[0].udp_recv(a, &mut []), Err(Error::WouldBlock));
    }
}

#[test]
fn echo_requests_are_answered() {
    let mut net = Net::new(
        3,
        Faults {
            delay_ns: MS,
            ..Faults::default()
        },
    );
    let ping = net.stacks[0].ping_open().unwrap();
    let targets = [
        v4(1),
        v6(1),
        [127, 0, 0, 1].into(),
        v4(0),
        "::1".parse().unwrap(),
    ];
    for (sequence, to) in targets.into_iter().enumerate() {
        net.stacks[0]
            .ping_send(ping, to, sequence as u16, b"0123456789")
            .unwrap();
        net.pass(SECOND);
        let mut data = Vec::new();
        let reply = net.stacks[0].ping_recv_with(ping, |back| data.extend_from_slice(back));
        let reply = reply.unwrap();
        assert_eq!(
            (reply.from, reply.sequence, reply.len),
            (to, sequence as u16, 10)
        );
        assert_eq!(data, b"0123456789");
    }
    net.stacks[0].ping_send(ping, v4(1), 9, &[1; 4000]).unwrap();
    net.pass(SECOND);
    assert_eq!(
        net.stacks[0].ping_recv_with(ping, |_| ()).unwrap().len,
        4000
    );
    assert_eq!(
        net.stacks[0].ping_recv_with(ping, |_| ()),
        Err(Error::WouldBlock)
    );
}

#[test]
fn nobody_at_home_is_told_and_does_not_block_others() {
    let mut net = Net::new(4, Faults::default());
    let a = net.stacks[0].udp_bind(any(0)).unwrap();
    let b = net.stacks[1].udp_bind(any(7)).unwrap();
    net.stacks[0]
        .udp_send(a, at([10, 0, 0, 77].into(), 7), b"anybody?")
        .unwrap();
    net.pass(6 * SECOND);
    assert_eq!(net.stacks[0].take_ready(), Some(a));
    assert_eq!(
        net.stacks[0].udp_recv(a, &mut []),
        Err(Error::HostUnreachable)
    );
    net.stacks[0].udp_send(a, at(v4(1), 7), b"you?").unwrap();
    net.pass(SECOND);
    assert_eq!(net.stacks[1].udp_recv(b, &mut []).unwrap().0, 4);
    let ping = net.stacks[0].ping_open().unwrap();
    net.stacks[0]
        .ping_send(ping, [10, 0, 0, 78].into(), 1, b"")
        .unwrap();
    net.pass(6 * SECOND);
    assert_eq!(
        net.stacks[0].ping_recv_with(ping, |_| ()),
        Err(Error::HostUnreachable)
    );
}

#[test]
fn one_neighbour_does_not_wait_for_another() {
    let mut net = Net::new(
        5,
        Faults {
            delay_ns: MS,
            ..Faults::default()
        },
    );
    let a = net.stacks[0].udp_bind(any(0)).unwrap();
    let b = net.stacks[1].udp_bind("[::]:7".parse().unwrap()).unwrap();
    let c = net.stacks[0].udp_bind("[::]:0".parse().unwrap()).unwrap();
    net.stacks[0].udp_send(a, at(v4(1), 7), b"4").unwrap();
    net.stacks[0].udp_send(c, at(v6(1), 7), b"6").unwrap();
    net.pass(10 * MS);
    assert!(net.stacks[1].udp_recv(b, &mut []).is_ok());
    assert!(net.stacks[1].udp_recv(b, &mut []).is_ok());
}

#[test]
fn fragments_come_in_any_order() {
    let mut net = Net::new(1, Faults::default());
    let a = net.stacks[0].udp_bind(any(0)).unwrap();
    let b = net.stacks[1].udp_bind(any(5000)).unwrap();
    // So that hardware addresses are known.
    net.stacks[0]
        .udp_send(a, at(v4(1), 5000), b"first")
        .unwrap();
    net.pass(SECOND);
    let mut buffer = [0; 8000];
    assert_eq!(net.stacks[1].udp_recv(b, &mut buffer).unwrap().0, 5);
    let data: Vec<u8> = (0..5000).map(|i| (i * 3) as u8).collect();
    for turn in 0..4 {
        net.stacks[0].udp_send(a, at(v4(1), 5000), &data).unwrap();
        let device: &mut dyn viper_netstack::FrameDevice = &mut net.ends[0];
        net.stacks[0].poll(net.now, &mut [device]);
        let mut frames = Vec::new();
        while let Some(frame) = net.ends[0].sent.pop(<[u8]>::to_vec) {
            frames.push(frame);
        }
        assert_eq!(frames.len(), 4);
        frames.rotate_left(turn);
        frames.reverse();
        for frame in &frames {
            net.ends[1].received.push(frame);
        }
        net.pass(SECOND);
        let len = net.stacks[1].udp_recv(b, &mut buffer).unwrap().0;
        assert_eq!(&buffer[..len], data, "{turn}");
    }
}
