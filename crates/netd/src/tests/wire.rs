//! Connections, datagrams and echoes over the card.

use super::world::{ALL, World, error_of, soon, until};
use std::net::SocketAddr;
use viper_netstack::{Error as StackError, SocketId, TcpOptions};
use viper_proto::net::client::Network;
use viper_proto::net::{Client, SocketInfo, tcp_state};
use viper_rt::abi::Rights;
use viper_rt::{Error, Object, clock};

const HOST: &str = "10.0.0.1:80";

fn host() -> SocketAddr {
    HOST.parse().unwrap()
}

fn listen(world: &World) -> SocketId {
    let mut stack = world.host.lock().unwrap();
    stack.tcp_listen(host(), 8, &TcpOptions::default()).unwrap()
}

fn accept(world: &World, listener: SocketId) -> SocketId {
    until(|| world.host.lock().unwrap().tcp_accept(listener).ok())
}

/// Reads at the host until `len` bytes have come, or the end.
fn host_reads(world: &World, id: SocketId, len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    until(|| {
        let mut space = [0; 4096];
        match world.host.lock().unwrap().tcp_recv(id, &mut space) {
            Ok(0) => return Some(()),
            Ok(count) => all.extend_from_slice(&space[..count]),
            Err(StackError::WouldBlock) => {}
            Err(error) => panic!("{error}"),
        }
        (all.len() >= len).then_some(())
    });
    all
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}

#[test]
fn bytes_go_both_ways_and_each_end_ends_on_its_own() {
    let world = World::new();
    let listener = listen(&world);
    let network = world.client(ALL);
    let mut stream = network.tcp_connect(host(), soon()).unwrap();
    assert_eq!(stream.peer(), host());
    let id = accept(&world, listener);
    stream.write_all(b"question", soon()).unwrap();
    stream.shutdown_write().unwrap();
    assert_eq!(error_of(stream.try_write(b"x")), Some(Error::PeerClosed));
    assert_eq!(host_reads(&world, id, 100), b"question", "and then the end");
    world.host.lock().unwrap().tcp_send(id, b"answer").unwrap();
    let mut space = [0; 32];
    assert_eq!(stream.read(&mut space, soon()), Ok(6));
    assert_eq!(&space[..6], b"answer");
    assert_eq!(
        error_of(stream.try_read(&mut space)),
        Some(Error::WouldBlock)
    );
    world.host.lock().unwrap().close(id).unwrap();
    assert_eq!(stream.read(&mut space, soon()), Ok(0));
    assert_eq!(stream.read(&mut space, soon()), Ok(0), "the end stays");
}

#[test]
fn a_megabyte_each_way_comes_as_it_went() {
    let world = World::new();
    let listener = listen(&world);
    let network = world.client(ALL);
    let stream = network.tcp_connect(host(), soon()).unwrap();
    let id = accept(&world, listener);
    let bytes = pattern(1 << 20);
    let (mut reader, mut writer) = stream.split();
    let sent = bytes.clone();
    let sender = std::thread::spawn(move || sent);
    let sent = sender.join().unwrap();
    let writing = viper_rt::thread::spawn(move || {
        writer
            .write_all(&sent, clock::after(60 * clock::SECOND))
            .unwrap();
        writer.shutdown().unwrap();
    })
    .unwrap();
    let echo = world.host.clone();
    let echoing = std::thread::spawn(move || {
        let mut space = [0; 8192];
        let mut rest: Vec<u8> = Vec::new();
        let mut is_ended = false;
        while !is_ended || !rest.is_empty() {
            let mut stack = echo.lock().unwrap();
            if !is_ended && rest.is_empty() {
                match stack.tcp_recv(id, &mut space) {
                    Ok(0) => is_ended = true,
                    Ok(count) => rest.extend_from_slice(&space[..count]),
                    Err(_) => {}
                }
            }
            if let Ok(count) = stack.tcp_send(id, &rest) {
                rest.drain(..count);
            } else {
                drop(stack);
                std::thread::yield_now();
            }
        }
        echo.lock().unwrap().close(id).unwrap();
    });
    let mut back = Vec::new();
    let mut space = vec![0; 10_000];
    loop {
        match reader
            .read(&mut space, clock::after(60 * clock::SECOND))
            .unwrap()
        {
            0 => break,
            count => back.extend_from_slice(&space[..count]),
        }
    }
    assert!(back == bytes);
    writing.join(soon()).unwrap();
    echoing.join().unwrap();
}

#[test]
fn whoever_is_not_there_is_told_so() {
    let world = World::new();
    let network = world.client(ALL);
    let nobody = "10.0.0.1:81".parse().unwrap();
    let refused = network.tcp_connect(nobody, soon());
    assert_eq!(error_of(refused), Some(Error::ConnectionRefused));
    let silent = network.tcp_connect("10.0.0.9:1".parse().unwrap(), clock::after(100_000_000));
    assert_eq!(error_of(silent), Some(Error::TimedOut));
    // The stack may still try to reach the silent one, but for nobody any more.
    let is_left = |socket: &SocketInfo| socket.process_id != 0;
    assert!(!network.sockets().unwrap().iter().any(is_left));
}

#[test]
fn a_listener_gives_connections_out_and_a_reset_is_told() {
    let world = World::new();
    let network = world.client(ALL);
    let mut listener = network
        .tcp_listen("0.0.0.0:22".parse().unwrap(), 4)
        .unwrap();
    assert_eq!(error_of(listener.try_accept()), Some(Error::WouldBlock));
    let ours: SocketAddr = "10.0.0.2:22".parse().unwrap();
    let id = {
        let mut stack = world.host.lock().unwrap();
        stack
            .tcp_connect(ours, None, &TcpOptions::default())
            .unwrap()
    };
    let mut stream = listener.accept(soon()).unwrap();
    assert_eq!(stream.local(), ours);
    until(|| world.host.lock().unwrap().tcp_send(id, b"last words").ok());
    let mut space = [0; 10];
    stream.read_exact(&mut space, soon()).unwrap();
    assert_eq!(&space, b"last words");
    world.host.lock().unwrap().tcp_abort(id).unwrap();
    let ended = stream.read(&mut space, soon());
    assert_eq!(error_of(ended), Some(Error::ConnectionReset));
    assert_eq!(
        error_of(stream.try_write(b"x")),
        Some(Error::ConnectionReset)
    );
    let again = network.tcp_listen("0.0.0.0:22".parse().unwrap(), 4);
    assert_eq!(error_of(again), Some(Error::AddressInUse));
}

#[test]
fn what_was_written_before_closing_still_arrives() {
    let world = World::new();
    let listener = listen(&world);
    let network = world.client(ALL);
    let mut stream = network.tcp_connect(host(), soon()).unwrap();
    let id = accept(&world, listener);
    let bytes = pattern(30_000);
    stream.write_all(&bytes, soon()).unwrap();
    drop(stream);
    drop(network);
    assert!(host_reads(&world, id, usize::MAX) == bytes);
}

#[test]
fn a_client_that_dies_leaves_nothing_behind() {
    let world = World::new();
    let listener = listen(&world);
    let watcher = world.client(ALL);
    let handles: Vec<_> = (0..5)
        .map(|n| {
            let network = world.client(ALL);
            let stream = network.tcp_connect(host(), soon()).unwrap();
            let listener = network.tcp_listen(SocketAddr::from(([0, 0, 0, 0], 100 + n)), 1);
            (stream, listener.unwrap(), network)
        })
        .collect();
    let ids: Vec<_> = (0..5).map(|_| accept(&world, listener)).collect();
    assert_eq!(watcher.sockets().unwrap().len(), 10);
    drop(handles);
    for id in ids {
        assert_eq!(host_reads(&world, id, 1), b"");
        world.host.lock().unwrap().close(id).unwrap();
    }
    until(|| watcher.sockets().unwrap().is_empty().then_some(()));
}

#[test]
fn datagrams_and_echoes_find_their_way() {
    let world = World::new();
    let network = world.client(ALL);
    let at: SocketAddr = "10.0.0.1:53".parse().unwrap();
    let id = world.host.lock().unwrap().udp_bind(at).unwrap();
    let mut socket = network.udp_bind("0.0.0.0:0".parse().unwrap()).unwrap();
    assert_ne!(socket.local().port(), 0);
    socket.send_to(b"what", at).unwrap();
    let mut space = [0; 64];
    let (len, from) = until(|| world.host.lock().unwrap().udp_recv(id, &mut space).ok());
    assert_eq!(
        (&space[..len], from.port()),
        (&b"what"[..], socket.local().port())
    );
    for n in 0..20u8 {
        world
            .host
            .lock()
            .unwrap()
            .udp_send(id, from, &[n; 40])
            .unwrap();
        let (len, peer) = socket.recv_from(&mut space, soon()).unwrap();
        assert_eq!((len, peer, space[0]), (40, at, n));
    }
    let cut = &mut [0; 3];
    world
        .host
        .lock()
        .unwrap()
        .udp_send(id, from, b"longer")
        .unwrap();
    assert_eq!(
        socket.recv_from(cut, soon()).unwrap().0,
        3,
        "what does not fit is cut off"
    );
    assert_eq!(error_of(socket.try_recv_from(cut)), Some(Error::WouldBlock));
    assert_eq!(
        error_of(socket.send_to(&[0; 9000], at)),
        Some(Error::MessageTooLarge)
    );

    let mut ping = network.ping_open().unwrap();
    for sequence in 0..3 {
        ping.send("10.0.0.1".parse().unwrap(), sequence, b"echo")
            .unwrap();
        let (len, from, came) = ping.receive(&mut space, soon()).unwrap();
        assert_eq!((&space[..len], came), (&b"echo"[..], sequence));
        assert_eq!(from, at.ip());
    }
}

#[test]
fn lists_tell_what_there_is() {
    let world = World::new();
    let network = world.client(ALL);
    let names: Vec<String> = network
        .interfaces()
        .unwrap()
        .into_iter()
        .map(|i| i.0)
        .collect();
    assert_eq!(names, ["lo", "net0"]);
    let addresses = network.addresses().unwrap();
    let ours = addresses.iter().find(|a| a.prefix_bits == 24).unwrap();
    assert_eq!(std::net::IpAddr::from(ours.address).to_string(), "10.0.0.2");
    let _listener = network.tcp_listen("0.0.0.0:5".parse().unwrap(), 1).unwrap();
    let sockets = network.sockets().unwrap();
    assert_eq!(
        (sockets[0].state, sockets[0].process_id),
        (tcp_state::LISTEN, 42)
    );
    assert_eq!(network.resolve("LocalHost", soon()).unwrap().len(), 2);
    assert_eq!(network.resolve("10.1.2.3", soon()).unwrap().len(), 1);
}

#[test]
fn a_client_says_whose_it_is() {
    let world = World::new();
    let process = viper_rt::host::spawn_process("idle", vec![], &[], || 0).unwrap();
    let client = Client::new(world.channel(ALL));
    let readable = process.duplicate(Rights::READ | Rights::TRANSFER).unwrap();
    assert_eq!(client.introduce(readable), Ok(()));
    let network = Network::over(client.into_channel());
    let at = "0.0.0.0:5".parse().unwrap();
    let _listener = network.tcp_listen(at, 1).unwrap();
    let own = process.info().unwrap().id;
    assert_eq!(network.sockets().unwrap()[0].process_id, own);
}

#[test]
fn without_a_card_there_is_this_machine_alone() {
    let world = World::with(false);
    let network = world.client(ALL);
    assert_eq!(error_of(network.wait_ready(soon())), Some(Error::NotFound));
    let far = network.tcp_connect(host(), soon());
    assert_eq!(error_of(far), Some(Error::Unreachable));
    assert_eq!(network.interfaces().unwrap().len(), 1);
    let mut listener = network
        .tcp_listen("127.0.0.1:0".parse().unwrap(), 1)
        .unwrap();
    network.tcp_connect(listener.local(), soon()).unwrap();
    assert!(listener.accept(soon()).is_ok());
}
