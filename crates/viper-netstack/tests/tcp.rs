//! Connections over loopback and over a good wire.

mod common;

use common::{Faults, MS, Net, SECOND, any, at, read_all, settle, v4, v6};
use viper_netstack::{Config, Error, SocketId, Stack, TcpOptions, TcpState};

fn loopback() -> Stack {
    Stack::new(Config::default(), [7; 32], 0)
}

fn pair(stack: &mut Stack, address: &str) -> (SocketId, SocketId) {
    let listener = stack
        .tcp_listen(address.parse().unwrap(), 4, &TcpOptions::default())
        .unwrap();
    let to = stack.listener_address(listener).unwrap();
    let client = stack.tcp_connect(to, None, &TcpOptions::default()).unwrap();
    settle(stack, 0);
    let server = stack.tcp_accept(listener).unwrap();
    stack.close(listener).unwrap();
    (client, server)
}

#[test]
fn bytes_cross_loopback_both_ways() {
    for address in ["127.0.0.1:80", "[::1]:80", "127.9.9.9:80"] {
        let mut stack = loopback();
        let (client, server) = pair(&mut stack, address);
        assert_eq!(stack.tcp_is_connected(client), Ok(true));
        assert_eq!(stack.tcp_send(client, b"question"), Ok(8));
        settle(&mut stack, 0);
        let mut got = Vec::new();
        assert_eq!(read_all(&mut stack, server, &mut got), Ok(false));
        assert_eq!(got, b"question");
        assert_eq!(stack.tcp_send(server, b"answer"), Ok(6));
        settle(&mut stack, 0);
        let mut got = Vec::new();
        assert_eq!(read_all(&mut stack, client, &mut got), Ok(false));
        assert_eq!(got, b"answer");
    }
}

#[test]
fn changes_are_told_once() {
    let mut stack = loopback();
    let (client, server) = pair(&mut stack, "127.0.0.1:80");
    while stack.take_ready().is_some() {}
    stack.tcp_send(client, b"x").unwrap();
    settle(&mut stack, 0);
    assert_eq!(stack.take_ready(), Some(server));
    assert_eq!(stack.take_ready(), None);
    assert_eq!(stack.tcp_recv_with(server, <[u8]>::len), Ok(1));
    settle(&mut stack, 0);
    assert_eq!(stack.take_ready(), None);
}

#[test]
fn a_full_buffer_tells_when_there_is_room() {
    let mut stack = loopback();
    let (client, server) = pair(&mut stack, "127.0.0.1:80");
    let mut sent = 0;
    let block = vec![5; 10_000];
    loop {
        match stack.tcp_send(client, &block) {
            Ok(len) => sent += len,
            Err(error) => {
                assert_eq!(error, Error::WouldBlock);
                settle(&mut stack, 0);
                if stack.tcp_space(client).unwrap().1 == 0 {
                    break;
                }
            }
        }
    }
    while stack.take_ready().is_some() {}
    let mut got = Vec::new();
    read_all(&mut stack, server, &mut got).unwrap();
    settle(&mut stack, 0);
    let ready: Vec<_> = std::iter::from_fn(|| stack.take_ready()).collect();
    assert!(ready.contains(&client), "{ready:?}");
    read_all(&mut stack, server, &mut got).unwrap();
    settle(&mut stack, 0);
    read_all(&mut stack, server, &mut got).unwrap();
    assert_eq!(got.len(), sent);
}

#[test]
fn a_closed_port_refuses() {
    let mut stack = loopback();
    let to = "127.0.0.1:81".parse().unwrap();
    let client = stack.tcp_connect(to, None, &TcpOptions::default()).unwrap();
    settle(&mut stack, 0);
    assert_eq!(stack.take_ready(), Some(client));
    assert_eq!(stack.tcp_is_connected(client), Err(Error::Refused));
    assert_eq!(stack.tcp_send(client, b"x"), Err(Error::Refused));
    stack.close(client).unwrap();
    assert_eq!(stack.sockets_len(), 0);
    assert_eq!(stack.close(client), Err(Error::BadSocket));

    let mut net = Net::new(1, Faults::default());
    for address in [v4(1), v6(1)] {
        let client = net.stacks[0].tcp_connect(at(address, 81), None, &Default::default());
        let client = client.unwrap();
        net.until(5 * SECOND, |net| {
            net.stacks[0].tcp_is_connected(client) != Ok(false)
        });
        assert_eq!(net.stacks[0].tcp_is_connected(client), Err(Error::Refused));
    }
}

#[test]
fn half_close_lets_the_other_half_go_on() {
    let mut net = Net::new(
        2,
        Faults {
            delay_ns: MS,
            ..Faults::default()
        },
    );
    let listener = net.stacks[1]
        .tcp_listen(any(80), 4, &TcpOptions::default())
        .unwrap();
    let (client, server) = net.connect(listener, at(v4(1), 80));
    net.stacks[0].tcp_send(client, b"all I have").unwrap();
    net.stacks[0].tcp_shutdown(client).unwrap();
    assert_eq!(
        net.stacks[0].tcp_send(client, b"more"),
        Err(Error::NotConnected)
    );
    let mut got = Vec::new();
    net.until(5 * SECOND, |net| {
        read_all(&mut net.stacks[1], server, &mut got).unwrap()
    });
    assert_eq!(got, b"all I have");
    assert_eq!(net.stacks[1].tcp_state(server), Ok(TcpState::CloseWait));
    net.stacks[1].tcp_send(server, b"late answer").unwrap();
    net.stacks[1].close(server).unwrap();
    let mut got = Vec::new();
    net.until(5 * SECOND, |net| {
        read_all(&mut net.stacks[0], client, &mut got).unwrap()
    });
    assert_eq!(got, b"late answer");
    // Nobody has closed the client: what it read stays as it is for as long as it likes.
    net.pass(40 * SECOND);
    assert_eq!(net.stacks[0].tcp_recv(client, &mut [0; 4]), Ok(0));
    net.stacks[0].close(client).unwrap();
    net.pass(SECOND);
    assert_eq!(net.stacks[0].sockets_len(), 0);
    assert_eq!(net.stacks[1].sockets_len(), 1);
}

#[test]
fn abort_resets_the_peer() {
    let mut net = Net::new(3, Faults::default());
    let listener = net.stacks[1]
        .tcp_listen("[::]:80".parse().unwrap(), 4, &TcpOptions::default())
        .unwrap();
    let (client, server) = net.connect(listener, at(v6(1), 80));
    net.stacks[0].tcp_abort(client).unwrap();
    net.pass(SECOND);
    assert_eq!(
        net.stacks[1].tcp_recv(server, &mut [0; 4]),
        Err(Error::Reset)
    );
    assert_eq!(net.stacks[1].tcp_send(server, b"x"), Err(Error::Reset));
    assert_eq!(net.stacks[0].sockets_len(), 0);
}

#[test]
fn closing_with_unread_data_resets_the_peer() {
    let mut net = Net::new(4, Faults::default());
    let listener = net.stacks[1]
        .tcp_listen(any(80), 4, &TcpOptions::default())
        .unwrap();
    let (client, server) = net.connect(listener, at(v4(1), 80));
    net.stacks[0].tcp_send(client, b"unread").unwrap();
    net.pass(SECOND);
    net.stacks[1].close(server).unwrap();
    net.pass(SECOND);
    assert_eq!(net.stacks[0].tcp_is_connected(client), Err(Error::Reset));
}

#[test]
fn nobody_at_home_is_unreachable() {
    let mut net = Net::new(5, Faults::default());
    let options = TcpOptions::default();
    let client = net.stacks[0]
        .tcp_connect(at([10, 0, 0, 77].into(), 80), None, &options)
        .unwrap();
    net.until(6 * SECOND, |net| {
        net.stacks[0].tcp_is_connected(client) != Ok(false)
    });
    assert_eq!(
        net.stacks[0].tcp_is_connected(client),
        Err(Error::HostUnreachable)
    );
    assert_eq!(
        net.stacks[0].tcp_connect(at([8, 8, 8, 8].into(), 80), None, &options),
        Err(Error::NoRoute)
    );
}

#[test]
fn our_own_address_is_reached_over_loopback() {
    let mut net = Net::new(6, Faults::default());
    let listener = net.stacks[0]
        .tcp_listen(any(80), 4, &TcpOptions::default())
        .unwrap();
    let client = net.stacks[0]
        .tcp_connect(at(v4(0), 80), None, &Default::default())
        .unwrap();
    net.poll();
    let server = net.stacks[0].tcp_accept(listener).unwrap();
    assert_eq!(net.stacks[0].tcp_ends(server).unwrap().0, at(v4(0), 80));
    assert_eq!(net.stacks[0].tcp_ends(client).unwrap().0.ip(), v4(0));
}

#[test]
fn a_listener_takes_the_oldest_first_and_no_more_than_its_backlog() {
    let mut stack = loopback();
    let listener = stack
        .tcp_listen(any(80), 2, &TcpOptions::default())
        .unwrap();
    let to = "127.0.0.1:80".parse().unwrap();
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(stack.tcp_connect(to, None, &TcpOptions::default()).unwrap());
        settle(&mut stack, 0);
    }
    let stands: Vec<_> = clients
        .iter()
        .map(|id| stack.tcp_is_connected(*id))
        .collect();
    assert_eq!(stands, [Ok(true), Ok(true), Ok(false), Ok(false)]);
    for client in &clients[..2] {
        let server = stack.tcp_accept(listener).unwrap();
        let (_, remote) = stack.tcp_ends(server).unwrap();
        assert_eq!(remote, stack.tcp_ends(*client).unwrap().0);
    }
    assert_eq!(stack.tcp_accept(listener), Err(Error::WouldBlock));
    // The others ask again after a second.
    settle(&mut stack, 1001 * MS);
    assert_eq!(stack.tcp_is_connected(clients[2]), Ok(true));
    assert_eq!(stack.tcp_is_connected(clients[3]), Ok(true));
    stack.close(listener).unwrap();
    settle(&mut stack, 1001 * MS);
    assert_eq!(stack.tcp_is_connected(clients[2]), Err(Error::Reset));
}

#[test]
fn an_address_is_held_once() {
    let mut stack = loopback();
    let options = TcpOptions::default();
    let all = stack.tcp_listen(any(80), 1, &options).unwrap();
    assert_eq!(
        stack.tcp_listen(any(80), 1, &options),
        Err(Error::AddressInUse)
    );
    let one = stack
        .tcp_listen("127.0.0.1:80".parse().unwrap(), 1, &options)
        .unwrap();
    let elsewhere = "10.1.1.1:80".parse().unwrap();
    assert_eq!(
        stack.tcp_listen(elsewhere, 1, &options),
        Err(Error::AddressNotAvailable)
    );
    stack
        .tcp_connect("127.0.0.1:80".parse().unwrap(), None, &options)
        .unwrap();
    stack
        .tcp_connect("127.0.0.2:80".parse().unwrap(), None, &options)
        .unwrap();
    settle(&mut stack, 0);
    assert!(stack.tcp_accept(one).is_ok() && stack.tcp_accept(one).is_err());
    assert!(stack.tcp_accept(all).is_ok() && stack.tcp_accept(all).is_err());
}

#[test]
fn an_idle_connection_lives_on() {
    let mut net = Net::new(
        7,
        Faults {
            delay_ns: MS,
            ..Faults::default()
        },
    );
    let listener = net.stacks[1]
        .tcp_listen(any(80), 4, &TcpOptions::default())
        .unwrap();
    let (client, server) = net.connect(listener, at(v4(1), 80));
    net.stacks[0].tcp_send(client, b"first").unwrap();
    net.pass(7200 * SECOND);
    net.stacks[1].tcp_send(server, b"second").unwrap();
    net.pass(SECOND);
    let mut buffer = [0; 16];
    assert_eq!(net.stacks[1].tcp_recv(server, &mut buffer), Ok(5));
    assert_eq!(net.stacks[0].tcp_recv(client, &mut buffer), Ok(6));
}

#[test]
fn a_peer_that_has_gone_is_noticed() {
    for keep_alive_ns in [None, Some(10 * SECOND)] {
        let mut net = Net::new(
            8,
            Faults {
                delay_ns: MS,
                ..Faults::default()
            },
        );
        let listener = net.stacks[1]
            .tcp_listen(any(80), 4, &TcpOptions::default())
            .unwrap();
        let (client, _) = net.connect(listener, at(v4(1), 80));
        let options = TcpOptions {
            keep_alive_ns,
            timeout_ns: Some(60 * SECOND),
            ..TcpOptions::default()
        };
        net.stacks[0].tcp_set_options(client, &options).unwrap();
        net.pass(30 * SECOND);
        net.faults.loss = 1000;
        if keep_alive_ns.is_none() {
            net.pass(100 * SECOND);
            assert_eq!(net.stacks[0].tcp_is_connected(client), Ok(true));
            net.stacks[0].tcp_send(client, b"anybody?").unwrap();
        }
        net.pass(40 * SECOND);
        assert_eq!(net.stacks[0].tcp_is_connected(client), Ok(true));
        net.pass(40 * SECOND);
        assert_eq!(net.stacks[0].tcp_is_connected(client), Err(Error::TimedOut));
    }
}

/// What a wire shows of a host's requests to connect: their ports and sequence numbers.
fn requests(net: &mut Net) -> Vec<(u16, u32)> {
    let mut all = Vec::new();
    while let Some(frame) = net.ends[0].sent.pop(<[u8]>::to_vec) {
        if frame[12..14] == [8, 0] && frame[23] == 6 && frame[47] & 0x12 == 2 {
            let port = u16::from_be_bytes([frame[34], frame[35]]);
            let sequence = u32::from_be_bytes(frame[38..42].try_into().unwrap());
            all.push((port, sequence));
        }
    }
    all
}

#[test]
fn ports_come_again_as_late_as_they_can() {
    let mut stack = loopback();
    let to = ["127.0.0.1:80", "127.0.0.2:80"].map(|text| text.parse().unwrap());
    let mut seen = std::collections::HashSet::new();
    let mut first = Vec::new();
    for round in 0..20_000 {
        let id = stack
            .tcp_connect(to[round % 2], None, &TcpOptions::default())
            .unwrap();
        let local = stack.tcp_ends(id).unwrap().0;
        assert!(local.port() >= 32_768);
        assert!(
            seen.insert((round % 2, local.port())),
            "port {} again",
            local.port()
        );
        if round < 2 {
            first.push(local.port());
        }
        stack.tcp_abort(id).unwrap();
        settle(&mut stack, 0);
    }
    assert!(
        first[0].abs_diff(first[1]) > 1,
        "one destination tells of the other"
    );
}

#[test]
fn a_peer_in_time_wait_is_asked_again_at_once() {
    let mut net = Net::new(3, Faults::default());
    let listener = net.stacks[1]
        .tcp_listen(any(80), 4, &TcpOptions::default())
        .unwrap();
    // So that hardware addresses are known.
    net.connect(listener, at(v4(1), 80));
    let id = net.stacks[0]
        .tcp_connect(at(v4(1), 80), None, &TcpOptions::default())
        .unwrap();
    let local = net.stacks[0].tcp_ends(id).unwrap().0;
    let device: &mut dyn viper_netstack::FrameDevice = &mut net.ends[0];
    net.stacks[0].poll(net.now, &mut [device]);
    let asked = requests(&mut net);
    assert_eq!((asked.len(), asked[0].0), (1, local.port()));
    // An acknowledgement of another connection between the same ports.
    let old = forged(
        1,
        0,
        (80, local.port()),
        0x10,
        7,
        asked[0].1.wrapping_sub(1000),
    );
    net.ends[0].received.push(&old);
    let device: &mut dyn viper_netstack::FrameDevice = &mut net.ends[0];
    net.stacks[0].poll(net.now, &mut [device]);
    let again = requests(&mut net);
    assert_eq!((again.len(), again[0].0), (1, local.port()));
    assert_ne!(again[0].1, asked[0].1);
    // The answer that the connection waits for, out of turn: it is left alone.
    let early = forged(
        1,
        0,
        (80, local.port()),
        0x10,
        7,
        again[0].1.wrapping_add(1),
    );
    net.ends[0].received.push(&early);
    let device: &mut dyn viper_netstack::FrameDevice = &mut net.ends[0];
    net.stacks[0].poll(net.now, &mut [device]);
    assert_eq!(requests(&mut net), []);
}

/// A segment without data from one host to another.
fn forged(from: usize, to: usize, ports: (u16, u16), flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::*;
    let (source, destination) = (IpAddress::from(v4(from)), IpAddress::from(v4(to)));
    let header = IpRepr::new(source, destination, IpProtocol::Tcp, 20, 64);
    let mut frame = vec![0; 54];
    frame[..6].copy_from_slice(&common::mac(to));
    frame[6..12].copy_from_slice(&common::mac(from));
    frame[12..14].copy_from_slice(&[8, 0]);
    header.emit(&mut frame[14..], &ChecksumCapabilities::default());
    frame[34..36].copy_from_slice(&ports.0.to_be_bytes());
    frame[36..38].copy_from_slice(&ports.1.to_be_bytes());
    frame[38..42].copy_from_slice(&seq.to_be_bytes());
    frame[42..46].copy_from_slice(&ack.to_be_bytes());
    frame[46..50].copy_from_slice(&[0x50, flags, 1, 0]);
    TcpPacket::new_unchecked(&mut frame[34..]).fill_checksum(&source, &destination);
    frame
}

#[test]
fn only_the_right_reset_ends_a_connection() {
    let mut net = Net::new(4, Faults::default());
    let listener = net.stacks[1]
        .tcp_listen(any(80), 4, &TcpOptions::default())
        .unwrap();
    let (client, server) = net.connect(listener, at(v4(1), 80));
    net.stacks[0].tcp_send(client, b"hello").unwrap();
    net.poll();
    let frame = net.flights.peek().unwrap().frame.clone();
    let sequence = u32::from_be_bytes(frame[38..42].try_into().unwrap()).wrapping_add(5);
    let ack = u32::from_be_bytes(frame[42..46].try_into().unwrap());
    net.pass(SECOND);
    let ends = net.stacks[0].tcp_ends(client).unwrap();
    let ports = (ends.0.port(), ends.1.port());
    for ahead in [1, 100, 5000, 65_000, u32::MAX, 1 << 30] {
        let reset = forged(0, 1, ports, 4, sequence.wrapping_add(ahead), 0);
        net.ends[1].received.push(&reset);
        net.pass(SECOND);
        assert_eq!(
            net.stacks[1].tcp_state(server),
            Ok(TcpState::Established),
            "{ahead}"
        );
    }
    net.ends[1]
        .received
        .push(&forged(0, 1, ports, 0x14, sequence, ack));
    net.pass(SECOND);
    assert_eq!(net.stacks[1].tcp_send(server, b"x"), Err(Error::Reset));
}

/// The windows that host 1 tells when host 0 has sent it something, by how host 1 does its work.
fn windows_told(work: impl FnOnce(&mut Net, SocketId)) -> Vec<u16> {
    let mut net = Net::new(5, Faults::default());
    let options = TcpOptions::default();
    let listener = net.stacks[1].tcp_listen(any(80), 4, &options).unwrap();
    let (client, server) = net.connect(listener, at(v4(1), 80));
    // It begins slowly.
    let mut got = Vec::new();
    for _ in 0..4 {
        net.stacks[0].tcp_send(client, &[7; 10 * 1460]).unwrap();
        net.until(SECOND, |net| {
            read_all(&mut net.stacks[1], server, &mut got).unwrap();
            net.stacks[0].tcp_space(client).unwrap().1 == 65_535
        });
    }
    net.stacks[0].tcp_send(client, &[7; 10 * 1460]).unwrap();
    let [sender, receiver] = &mut net.ends;
    net.stacks[0].poll(net.now, &mut [sender]);
    let mut count = 0;
    while let Some(frame) = sender.sent.pop(<[u8]>::to_vec) {
        receiver.received.push(&frame);
        count += 1;
    }
    assert!(count >= 2);
    work(&mut net, server);
    let window = |frame: &[u8]| u16::from_be_bytes([frame[48], frame[49]]);
    std::iter::from_fn(|| net.ends[1].sent.pop(window)).collect()
}

#[test]
fn who_reads_before_it_transmits_tells_all_its_room_at_once() {
    let read = |net: &mut Net, id| {
        let mut got = Vec::new();
        assert_eq!(read_all(&mut net.stacks[1], id, &mut got), Ok(false));
        assert!(got.len() >= 2 * 1460 && got.iter().all(|&byte| byte == 7));
    };
    let apart = windows_told(|net, server| {
        assert!(net.stacks[1].receive(net.now, &mut [&mut net.ends[1]]));
        assert_eq!(net.ends[1].sent.len(), 0);
        read(net, server);
        assert!(!net.stacks[1].receive(net.now, &mut [&mut net.ends[1]]));
        net.stacks[1].transmit(net.now, &mut [&mut net.ends[1]]);
    });
    assert_eq!(apart, [u16::MAX]);
    let together = windows_told(|net, server| {
        net.stacks[1].poll(net.now, &mut [&mut net.ends[1]]);
        read(net, server);
        net.stacks[1].poll(net.now, &mut [&mut net.ends[1]]);
    });
    assert!(together[0] < u16::MAX, "{together:?}");
}
