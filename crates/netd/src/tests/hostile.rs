//! Clients that may not, that lie, and that want too much.

use super::world::{ALL, World, error_of, soon, until};
use crate::server::{CLIENT_SOCKETS_MAX, RING_BYTES, WIDE_MAX, WIDE_RING_BYTES};
use std::net::SocketAddr;
use viper_proto::net::{Client, DATA_AT, Endpoint, bits, memory_bytes};
use viper_rt::abi::Signals;
use viper_rt::{Error, Mapping, Object, clock};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn rights_are_what_the_manifest_says() {
    let world = World::new();
    let nothing = world.client("");
    let udp = at("0.0.0.0:0");
    assert_eq!(
        error_of(nothing.tcp_connect(at("10.0.0.1:80"), soon())),
        Some(Error::NoRight)
    );
    assert_eq!(
        error_of(nothing.tcp_connect(at("127.0.0.1:80"), soon())),
        Some(Error::NoRight)
    );
    assert_eq!(
        error_of(nothing.tcp_listen(at("0.0.0.0:22"), 1)),
        Some(Error::NoRight)
    );
    assert_eq!(error_of(nothing.udp_bind(udp)), Some(Error::NoRight));
    assert_eq!(error_of(nothing.ping_open()), Some(Error::NoRight));
    assert!(nothing.resolve("localhost", soon()).is_ok());
    assert_eq!(
        error_of(nothing.resolve("example.org", soon())),
        Some(Error::NoRight)
    );

    let some = world.client("tcp listen 22\ntcp connect 10.0.0.1:81\nudp 10.0.0.1:53");
    assert!(some.tcp_listen(at("0.0.0.0:22"), 1).is_ok());
    assert_eq!(
        error_of(some.tcp_listen(at("0.0.0.0:23"), 1)),
        Some(Error::NoRight)
    );
    assert_eq!(
        error_of(some.tcp_connect(at("10.0.0.1:80"), soon())),
        Some(Error::NoRight)
    );
    let refused = some.tcp_connect(at("10.0.0.1:81"), soon());
    assert_eq!(
        error_of(refused),
        Some(Error::ConnectionRefused),
        "it may, but nobody listens"
    );
    assert_eq!(
        error_of(some.udp_bind(at("0.0.0.0:53"))),
        Some(Error::NoRight)
    );
    let mut socket = some.udp_bind(udp).unwrap();
    socket.send_to(b"fine", at("10.0.0.1:53")).unwrap();
    assert_eq!(
        error_of(socket.recv_from(&mut [0; 4], clock::after(20_000_000))),
        Some(Error::TimedOut)
    );
    socket.send_to(b"not fine", at("10.0.0.1:54")).unwrap();
    assert_eq!(
        error_of(socket.recv_from(&mut [0; 4], soon())),
        Some(Error::NoRight)
    );
    let broken = world.client("tcp connect everywhere");
    let refused = broken.tcp_connect(at("10.0.0.1:80"), soon());
    assert_eq!(
        error_of(refused),
        Some(Error::NoRight),
        "rules that are none allow nothing"
    );
}

#[test]
fn a_socket_is_its_clients_alone() {
    let world = World::new();
    let one = Client::new(world.channel(ALL));
    let other = Client::new(world.channel(ALL));
    let (link, ..) = one.udp_bind(Endpoint::from(at("0.0.0.0:0"))).unwrap();
    for number in [link.socket, link.socket + 1, u32::MAX] {
        assert_eq!(error_of(other.close(number, true)), Some(Error::BadHandle));
        assert_eq!(error_of(other.tcp_accept(number)), Some(Error::BadHandle));
    }
    assert_eq!(
        error_of(one.tcp_accept(link.socket)),
        Some(Error::BadHandle),
        "not a listener"
    );
    assert!(one.close(link.socket, false).is_ok());
    assert_eq!(
        error_of(one.close(link.socket, false)),
        Some(Error::BadHandle)
    );
}

#[test]
fn one_client_cannot_take_all_sockets() {
    let world = World::new();
    let greedy = world.client(ALL);
    let many: Vec<_> = (0..CLIENT_SOCKETS_MAX)
        .map(|_| greedy.udp_bind(at("0.0.0.0:0")).unwrap())
        .collect();
    assert_eq!(
        error_of(greedy.udp_bind(at("0.0.0.0:0"))),
        Some(Error::LimitReached)
    );
    assert!(world.client(ALL).udp_bind(at("0.0.0.0:0")).is_ok());
    drop(many);
    assert!(greedy.udp_bind(at("0.0.0.0:0")).is_ok());
}

#[test]
fn many_connections_have_less_room_each() {
    let world = World::new();
    let client = Client::new(world.channel(ALL));
    let to = Endpoint::from(at("10.0.0.1:80"));
    let mut made: Vec<_> = (0..=WIDE_MAX)
        .map(|_| client.tcp_connect(to).unwrap())
        .collect();
    let (last, _, _, _) = made.pop().unwrap();
    assert_eq!(last.ring_bytes, RING_BYTES);
    assert!(made.iter().all(|made| made.0.ring_bytes == WIDE_RING_BYTES));
    for (link, ..) in &made[..2] {
        client.close(link.socket, true).unwrap();
    }
    assert_eq!(
        client.tcp_connect(to).unwrap().0.ring_bytes,
        WIDE_RING_BYTES
    );
}

/// Every word of a socket's memory overwritten, for each kind of socket: the socket may fail, the
/// server and everybody else may not.
#[test]
fn rings_full_of_lies_hurt_nobody_else() {
    let world = World::new();
    let listener = world.host_listens(80);
    let witness = world.client(ALL);
    let mut stream = witness.tcp_connect(at("10.0.0.1:80"), soon()).unwrap();
    let id = until(|| world.host.lock().unwrap().tcp_accept(listener).ok());
    let mut number = 0x9e37_79b9_7f4a_7c15u64;
    for round in 0..60 {
        let client = Client::new(world.channel(ALL));
        let (link, memory, wake, bell) = match round % 3 {
            0 => client
                .tcp_connect(Endpoint::from(at("10.0.0.1:80")))
                .unwrap(),
            1 => client.udp_bind(Endpoint::from(at("0.0.0.0:0"))).unwrap(),
            _ => client.ping_open().unwrap(),
        };
        let mapping = Mapping::new(&memory, 0, memory_bytes(link.ring_bytes)).unwrap();
        let _ = wake.wait(Signals(bits::ALL.into()), clock::after(2_000_000));
        for offset in (0..DATA_AT + 256).step_by(4) {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(round);
            let word = match round % 4 {
                0 => (number >> 33) as u32,
                1 => u32::MAX,
                2 => (number >> 60) as u32,
                _ => link.ring_bytes - (number >> 62) as u32,
            };
            mapping.write(offset, &word.to_le_bytes()).unwrap();
        }
        bell.signal(u32::MAX).unwrap();
        if round % 2 == 0 {
            let _ = client.close(link.socket, false);
        }
    }
    stream.write_all(b"still here", soon()).unwrap();
    let mut space = [0; 10];
    let mut got = 0;
    until(|| {
        got += world
            .host
            .lock()
            .unwrap()
            .tcp_recv(id, &mut space[got..])
            .unwrap_or(0);
        (got == 10).then_some(())
    });
    assert_eq!(&space, b"still here");
}

#[test]
fn messages_of_any_form_are_answered() {
    let world = World::new();
    let channel = world.channel(ALL);
    for operation in 0..20u16 {
        for words in [0usize, 1, 3, 7, 20] {
            let bytes = vec![0xa5u8; words * 8];
            let result: Result<u64, Error> =
                viper_rt::client::call(&channel, operation, &bytes[..], soon());
            assert_ne!(result, Err(Error::TimedOut), "{operation}");
            assert_ne!(result, Err(Error::PeerClosed), "{operation}");
        }
    }
}
