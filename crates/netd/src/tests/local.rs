//! Connections within the machine.

use super::world::{ALL, World, error_of, soon, until};
use std::net::SocketAddr;
use viper_proto::net::client::{Network, TcpStream};
use viper_rt::Error;

fn pair(a: &Network, b: &Network) -> (TcpStream, TcpStream) {
    let mut listener = b.tcp_listen("127.0.0.1:0".parse().unwrap(), 4).unwrap();
    let stream = a.tcp_connect(listener.local(), soon()).unwrap();
    let other = listener.accept(soon()).unwrap();
    assert_eq!(
        (stream.local(), stream.peer()),
        (other.peer(), other.local())
    );
    (stream, other)
}

#[test]
fn two_programs_talk() {
    let world = World::new();
    let (a, b) = (world.client(ALL), world.client(ALL));
    let (mut one, mut two) = pair(&a, &b);
    let mut space = [0; 16];
    for n in 0..100u8 {
        one.write_all(&[n], soon()).unwrap();
        assert_eq!(two.read(&mut space, soon()), Ok(1));
        two.write_all(&space[..1], soon()).unwrap();
        assert_eq!(one.read(&mut space, soon()), Ok(1));
        assert_eq!(space[0], n);
    }
    one.shutdown_write().unwrap();
    assert_eq!(two.read(&mut space, soon()), Ok(0));
    two.write_all(b"after", soon()).unwrap();
    one.read_exact(&mut space[..5], soon()).unwrap();
    assert_eq!(&space[..5], b"after");
}

#[test]
fn bulk_is_throttled_and_complete() {
    let world = World::new();
    let (a, b) = (world.client(ALL), world.client(ALL));
    let (mut one, mut two) = pair(&a, &b);
    let bytes: Vec<u8> = (0..500_000u32).map(|n| (n ^ n >> 8) as u8).collect();
    assert!(one.try_write(&bytes).unwrap() < bytes.len());
    assert_eq!(error_of(one.try_write(&bytes)), Some(Error::WouldBlock));
    let first = one.peer();
    assert_eq!(first, two.local());
    let rest = bytes[32 * 1024..].to_vec();
    let writer = viper_rt::thread::spawn(move || {
        one.write_all(&rest, soon()).unwrap();
    });
    let mut back = vec![0; bytes.len()];
    two.read_exact(&mut back, soon()).unwrap();
    assert!(back == bytes);
    writer.unwrap().join(soon()).unwrap();
    assert_eq!(two.read(&mut back, soon()), Ok(0));
}

#[test]
fn the_other_end_hears_of_a_close_an_abort_and_a_death() {
    let world = World::new();
    let (a, b) = (world.client(ALL), world.client(ALL));
    let mut space = [0; 4];
    let (one, mut two) = pair(&a, &b);
    drop(one);
    assert_eq!(two.read(&mut space, soon()), Ok(0));
    assert_eq!(error_of(two.try_write(b"x")), Some(Error::PeerClosed));
    drop(two);

    let (one, mut two) = pair(&a, &b);
    one.abort();
    assert_eq!(
        error_of(two.read(&mut space, soon())),
        Some(Error::ConnectionReset)
    );
    drop(two);

    let c = world.client(ALL);
    let (mut one, mut two) = pair(&c, &b);
    one.write_all(b"bye", soon()).unwrap();
    drop((one, c));
    two.read_exact(&mut space[..3], soon()).unwrap();
    assert_eq!(two.read(&mut space, soon()), Ok(0));
    drop(two);
    until(|| a.sockets().unwrap().is_empty().then_some(()));
}

#[test]
fn nobody_listens_or_too_many_wait() {
    let world = World::new();
    let network = world.client(ALL);
    let at: SocketAddr = "127.0.0.1:9".parse().unwrap();
    assert_eq!(
        error_of(network.tcp_connect(at, soon())),
        Some(Error::ConnectionRefused)
    );
    let listener = network.tcp_listen("[::]:9".parse().unwrap(), 2).unwrap();
    let mut waiting: Vec<_> = (0..2)
        .map(|_| network.tcp_connect(at, soon()).unwrap())
        .collect();
    assert_eq!(
        error_of(network.tcp_connect(at, soon())),
        Some(Error::ConnectionRefused)
    );
    drop(listener);
    let mut space = [0; 1];
    for stream in &mut waiting {
        assert_eq!(
            error_of(stream.read(&mut space, soon())),
            Some(Error::ConnectionReset)
        );
    }
}

#[test]
fn a_server_that_dies_ends_what_goes_through_it() {
    let world = World::new();
    let (a, b) = (world.client(ALL), world.client(ALL));
    let (mut one, mut two) = pair(&a, &b);
    one.write_all(b"was sent", soon()).unwrap();
    let mut udp = a.udp_bind("0.0.0.0:0".parse().unwrap()).unwrap();
    let reader = viper_rt::thread::spawn(move || {
        let mut space = [0; 8];
        two.read_exact(&mut space, soon()).unwrap();
        assert_eq!(
            error_of(two.read(&mut space, soon())),
            Some(Error::ServerDied)
        );
    });
    std::thread::sleep(std::time::Duration::from_millis(20));
    world.server.kill(9).unwrap();
    reader.unwrap().join(soon()).unwrap();
    let mut space = [0; 8];
    assert_eq!(
        error_of(one.read(&mut space, soon())),
        Some(Error::ServerDied)
    );
    assert_eq!(error_of(one.try_write(b"x")), Some(Error::ServerDied));
    assert_eq!(
        error_of(udp.recv_from(&mut space, soon())),
        Some(Error::ServerDied)
    );
    assert_eq!(
        error_of(a.tcp_listen("0.0.0.0:1".parse().unwrap(), 1)),
        Some(Error::ServerDied)
    );
}
