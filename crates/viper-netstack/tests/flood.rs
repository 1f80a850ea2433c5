//! Many connections, and many that are none.

mod common;

use common::{Faults, MS, Net, SECOND, any, at, mac, v4};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, IpRepr, Ipv4Address,
    TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use viper_netstack::{Config, Error, TcpOptions};

/// A request to connect from a made-up host to port 80 of host 1.
fn request(source: Ipv4Address, port: u16, checksum: bool) -> Vec<u8> {
    let segment = TcpRepr {
        src_port: port,
        dst_port: 80,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(port as i32 * 1000),
        ack_number: None,
        window_len: 1000,
        window_scale: None,
        max_seg_size: Some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let (from, to) = (IpAddress::from(source), IpAddress::from(v4(1)));
    let header = IpRepr::new(from, to, IpProtocol::Tcp, segment.buffer_len(), 64);
    let sums = ChecksumCapabilities::default();
    let mut bytes = vec![0; 14 + header.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    frame.set_src_addr(EthernetAddress(mac(0)));
    frame.set_dst_addr(EthernetAddress(mac(1)));
    frame.set_ethertype(EthernetProtocol::Ipv4);
    let payload = frame.payload_mut();
    header.emit(&mut *payload, &sums);
    let mut packet = TcpPacket::new_unchecked(&mut payload[header.header_len()..]);
    segment.emit(&mut packet, &from, &to, &sums);
    if !checksum {
        packet.set_checksum(packet.checksum() ^ 1);
    }
    bytes
}

#[test]
fn a_flood_of_requests_leaves_a_listener_usable() {
    let mut net = Net::new(
        1,
        Faults {
            delay_ns: MS,
            ..Faults::default()
        },
    );
    let options = TcpOptions {
        receive_bytes: 4096,
        send_bytes: 4096,
        ..TcpOptions::default()
    };
    let listener = net.stacks[1].tcp_listen(any(80), 8, &options).unwrap();
    let flood = |net: &mut Net, count: u32| {
        for i in 0..count {
            let source = Ipv4Address::from(0x0a00_0100 + i % 60_000);
            net.ends[1]
                .received
                .push(&request(source, 1024 + (i % 60_000) as u16, true));
            if i % 64 == 63 {
                net.poll();
            }
        }
    };
    flood(&mut net, 10_000);
    assert!(net.stacks[1].sockets_len() <= 1 + Config::default().half_open_max);
    assert!(
        net.stacks[1]
            .interfaces()
            .nth(1)
            .unwrap()
            .counters
            .request_drops
            > 9000
    );
    let (client, server) = net.connect(listener, at(v4(1), 80));
    net.stacks[0].tcp_send(client, b"still there?").unwrap();
    net.until(SECOND, |net| {
        net.stacks[1].tcp_space(server).unwrap().0 == 12
    });
    // While it goes on, too, as long as the answer comes before the list has turned over.
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let client = net.stacks[0]
                .tcp_connect(at(v4(1), 80), None, &options)
                .unwrap();
            for _ in 0..10 {
                flood(&mut net, 5);
                net.step();
            }
            client
        })
        .collect();
    net.pass(5 * SECOND);
    for client in clients {
        assert_eq!(net.stacks[0].tcp_is_connected(client), Ok(true));
    }
    // What was never answered goes.
    while let Ok(server) = net.stacks[1].tcp_accept(listener) {
        net.stacks[1].tcp_abort(server).unwrap();
    }
    net.stacks[1].tcp_abort(server).unwrap();
    net.pass(30 * SECOND);
    assert_eq!(net.stacks[1].sockets_len(), 1);
}

#[test]
fn requests_with_wrong_checksums_leave_nothing() {
    let mut net = Net::new(2, Faults::default());
    net.stacks[1]
        .tcp_listen(any(80), 8, &TcpOptions::default())
        .unwrap();
    for i in 0..100 {
        net.ends[1]
            .received
            .push(&request(Ipv4Address::new(10, 0, 0, 9), 1024 + i, false));
    }
    net.poll();
    assert_eq!(net.stacks[1].sockets_len(), 1);
    assert_eq!(net.ends[1].sent.len(), 0);
}

#[test]
fn ten_thousand_connections_leave_nothing() {
    let options = TcpOptions {
        receive_bytes: 4096,
        send_bytes: 4096,
        ..TcpOptions::default()
    };
    let mut net = Net::new(
        3,
        Faults {
            delay_ns: MS / 10,
            ..Faults::default()
        },
    );
    let listener = net.stacks[1].tcp_listen(any(80), 64, &options).unwrap();
    let to = at(v4(1), 80);
    let mut done = 0;
    while done < 10_000 {
        let clients: Vec<_> = (0..20)
            .filter_map(|_| net.stacks[0].tcp_connect(to, None, &options).ok())
            .collect();
        assert_eq!(clients.len(), 20, "after {done}");
        let mut servers = Vec::new();
        net.until(5 * SECOND, |net| {
            while let Ok(server) = net.stacks[1].tcp_accept(listener) {
                servers.push(server);
            }
            servers.len() == 20
        });
        for (i, client) in clients.iter().enumerate() {
            if i % 2 == 0 {
                net.stacks[0].tcp_send(*client, b"x").unwrap();
            }
        }
        net.pass(MS);
        for (i, (client, server)) in clients.iter().zip(&servers).enumerate() {
            // Sometimes the one side closes first, sometimes the other, sometimes with unread
            // data, which is a reset.
            let mut buffer = [0; 4];
            if i % 3 != 0 {
                let _ = net.stacks[1].tcp_recv(*server, &mut buffer);
            }
            if i % 4 < 2 {
                net.stacks[0].close(*client).unwrap();
                net.stacks[1].close(*server).unwrap();
            } else {
                net.stacks[1].close(*server).unwrap();
                net.stacks[0].close(*client).unwrap();
            }
        }
        net.pass(5 * MS);
        done += 20;
    }
    net.pass(100 * SECOND);
    assert_eq!(net.stacks[0].sockets_len(), 0);
    assert_eq!(net.stacks[1].sockets_len(), 1);
    assert_eq!(
        net.stacks[0].time_wait_len() + net.stacks[1].time_wait_len(),
        0
    );
    assert_eq!(net.stacks[1].tcp_accept(listener), Err(Error::WouldBlock));
}
