//! Interfaces that are told what they are: by DHCP servers and by routers.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use common::{End, SECOND, mac};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::*;
use viper_netstack::{
    Cidr, Config, DhcpState, FrameDevice, InterfaceConfig, InterfaceId, Lease, Stack,
};

const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];

struct Host {
    stack: Stack,
    end: End,
    now: u64,
}

impl Host {
    fn new() -> Self {
        let mut stack = Stack::new(Config::default(), [3; 32], 0);
        stack
            .add_interface(&InterfaceConfig::ethernet("net0", mac(0)))
            .unwrap();
        Self {
            stack,
            end: End::new(),
            now: 0,
        }
    }

    fn poll(&mut self) -> Vec<Vec<u8>> {
        let device: &mut dyn FrameDevice = &mut self.end;
        self.stack.poll(self.now, &mut [device]);
        std::iter::from_fn(|| self.end.sent.pop(<[u8]>::to_vec)).collect()
    }

    fn pass(&mut self, time: u64) -> Vec<Vec<u8>> {
        let (end, mut frames) = (self.now + time, Vec::new());
        while self.now < end {
            frames.extend(self.poll());
            self.now += SECOND / 4;
        }
        frames
    }

    fn addresses(&self) -> Vec<String> {
        let status = self.stack.interfaces().nth(1).unwrap();
        status
            .addresses
            .iter()
            .map(|cidr| cidr.to_string())
            .collect()
    }

    fn gateways(&self) -> Vec<IpAddr> {
        self.stack.interfaces().nth(1).unwrap().gateways
    }

    fn dhcp(&self) -> DhcpState {
        self.stack.interfaces().nth(1).unwrap().dhcp
    }
}

const OWN: &str = "fe80::ff:fe00:1/64";

fn message(frame: &[u8]) -> Option<(DhcpMessageType, u32, Vec<u8>)> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
    let datagram = UdpPacket::new_checked(packet.payload()).ok()?;
    if frame.ethertype() != EthernetProtocol::Ipv4 || datagram.dst_port() != 67 {
        return None;
    }
    let packet = DhcpPacket::new_checked(datagram.payload()).ok()?;
    let repr = DhcpRepr::parse(&packet).ok()?;
    Some((
        repr.message_type,
        repr.transaction_id,
        datagram.payload().to_vec(),
    ))
}

fn answer(kind: DhcpMessageType, transaction_id: u32, lease: u32, your_ip: Ipv4Addr) -> Vec<u8> {
    let server = Ipv4Addr::new(10, 0, 2, 2);
    let repr = DhcpRepr {
        message_type: kind,
        transaction_id,
        secs: 0,
        client_hardware_address: EthernetAddress(mac(0)),
        client_ip: Ipv4Addr::UNSPECIFIED,
        your_ip,
        server_ip: server,
        router: Some(server),
        subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: false,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(server),
        parameter_request_list: None,
        dns_servers: Some([Ipv4Addr::new(10, 0, 2, 3)].into_iter().collect()),
        max_size: None,
        renew_duration: None,
        rebind_duration: None,
        lease_duration: Some(lease),
        additional_options: &[],
    };
    let sums = ChecksumCapabilities::default();
    let udp = UdpRepr {
        src_port: 67,
        dst_port: 68,
    };
    let (from, to) = (IpAddress::from(server), IpAddress::v4(255, 255, 255, 255));
    let ip = IpRepr::new(from, to, IpProtocol::Udp, 8 + repr.buffer_len(), 64);
    let mut bytes = vec![0; 14 + ip.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    frame.set_src_addr(EthernetAddress(SERVER));
    frame.set_dst_addr(EthernetAddress::BROADCAST);
    frame.set_ethertype(EthernetProtocol::Ipv4);
    let payload = frame.payload_mut();
    ip.emit(&mut *payload, &sums);
    let mut datagram = UdpPacket::new_unchecked(&mut payload[ip.header_len()..]);
    udp.emit(
        &mut datagram,
        &from,
        &to,
        repr.buffer_len(),
        |payload| repr.emit(&mut DhcpPacket::new_unchecked(payload)).unwrap(),
        &sums,
    );
    bytes
}

/// Answers what a good server would, for leases of `lease` seconds.
fn serve(host: &mut Host, time: u64, lease: u32, ip: [u8; 4]) -> usize {
    let (end, mut requests) = (host.now + time, 0);
    while host.now < end {
        for frame in host.poll() {
            let Some((kind, id, _)) = message(&frame) else {
                continue;
            };
            let reply = match kind {
                DhcpMessageType::Discover => DhcpMessageType::Offer,
                DhcpMessageType::Request => DhcpMessageType::Ack,
                _ => continue,
            };
            requests += 1;
            host.end.received.push(&answer(reply, id, lease, ip.into()));
        }
        host.now += SECOND / 4;
    }
    requests
}

#[test]
fn a_lease_is_taken_renewed_and_lost() {
    let mut host = Host::new();
    assert_eq!(host.dhcp(), DhcpState::Asking);
    assert_eq!(serve(&mut host, 5 * SECOND, 600, [10, 0, 2, 15]), 2);
    assert_eq!(
        host.dhcp(),
        DhcpState::Bound {
            server: [10, 0, 2, 2].into()
        }
    );
    assert_eq!(host.addresses(), [OWN, "10.0.2.15/24"]);
    assert_eq!(host.gateways(), [IpAddr::from([10, 0, 2, 2])]);
    assert_eq!(host.stack.name_servers(), [IpAddr::from([10, 0, 2, 3])]);
    assert!(host.stack.take_addresses_changed());
    // Long before its time is over, it asks again; the server goes on giving it. It has to find the
    // server's hardware address for that.
    let mut renewed = 0;
    for _ in 0..1600 {
        for frame in host.poll() {
            if let Some((DhcpMessageType::Request, id, _)) = message(&frame) {
                renewed += 1;
                host.end.received.push(&answer(
                    DhcpMessageType::Ack,
                    id,
                    600,
                    [10, 0, 2, 15].into(),
                ));
            } else if let Some(reply) = arp_reply(&frame, [10, 0, 2, 2].into()) {
                host.end.received.push(&reply);
            }
        }
        host.now += SECOND / 2;
    }
    assert!((5..=20).contains(&renewed), "{renewed}");
    assert_eq!(host.addresses(), [OWN, "10.0.2.15/24"]);
    host.pass(700 * SECOND);
    assert_eq!(host.dhcp(), DhcpState::Asking);
    assert_eq!(host.addresses(), [OWN]);
    assert!(host.gateways().is_empty() && host.stack.name_servers().is_empty());
    serve(&mut host, 20 * SECOND, 600, [10, 0, 2, 16]);
    assert_eq!(host.addresses(), [OWN, "10.0.2.16/24"]);
    host.stack.restart_dhcp(InterfaceId::LOOPBACK).unwrap();
}

fn remembered(ip: [u8; 4]) -> Lease {
    Lease {
        address: Cidr::new(ip.into(), 24).unwrap(),
        router: Some([10, 0, 2, 2].into()),
        name_servers: vec![[10, 0, 2, 3].into()],
        server: [10, 0, 2, 2].into(),
    }
}

#[test]
fn a_lease_of_before_is_used_at_once_and_then_confirmed() {
    let mut host = Host::new();
    let net0 = host.stack.interfaces().nth(1).unwrap().id;
    let lease = remembered([10, 0, 2, 15]);
    host.stack.remember_lease(net0, lease.clone()).unwrap();
    assert!(host.stack.take_addresses_changed());
    assert_eq!(host.stack.lease(net0), Some(&lease));
    // Before the server has answered, and after.
    assert!(!host.poll().is_empty());
    for time in [0, 100 * SECOND] {
        serve(&mut host, time, 600, [10, 0, 2, 15]);
        assert_eq!(host.addresses(), [OWN, "10.0.2.15/24"]);
        assert_eq!(host.gateways(), [IpAddr::from([10, 0, 2, 2])]);
        assert_eq!(host.stack.name_servers(), [IpAddr::from([10, 0, 2, 3])]);
        assert_eq!(host.stack.lease(net0), Some(&lease));
    }
    let never = host.stack.interfaces().next().unwrap().id;
    let other = remembered([10, 0, 2, 77]);
    host.stack.remember_lease(never, other.clone()).unwrap();
    host.stack.remember_lease(net0, other).unwrap();
    assert_eq!(host.stack.lease(never), None, "there is no DHCP");
    assert_eq!(host.stack.lease(net0), Some(&lease), "it has one");
}

#[test]
fn a_lease_of_before_gives_way_to_another_or_to_silence() {
    let mut host = Host::new();
    let net0 = host.stack.interfaces().nth(1).unwrap().id;
    host.stack
        .remember_lease(net0, remembered([10, 0, 2, 15]))
        .unwrap();
    serve(&mut host, 5 * SECOND, 600, [10, 0, 2, 16]);
    assert_eq!(host.addresses(), [OWN, "10.0.2.16/24"]);

    let mut host = Host::new();
    host.stack
        .remember_lease(net0, remembered([10, 0, 2, 15]))
        .unwrap();
    host.pass(55 * SECOND);
    assert_eq!(host.addresses(), [OWN, "10.0.2.15/24"]);
    host.pass(10 * SECOND);
    assert_eq!(host.addresses(), [OWN], "nobody has confirmed it");
    assert_eq!(host.dhcp(), DhcpState::Asking);
    assert!(host.gateways().is_empty() && host.stack.name_servers().is_empty());

    for nonsense in [[127, 0, 0, 1], [0, 0, 0, 0], [224, 0, 0, 1]] {
        let mut host = Host::new();
        let _ = host.stack.remember_lease(net0, remembered(nonsense));
        assert_eq!(host.addresses(), [OWN], "{nonsense:?}");
    }
}

fn arp_reply(frame: &[u8], owner: Ipv4Addr) -> Option<Vec<u8>> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Arp {
        return None;
    }
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).ok()?).ok()?
    else {
        return None;
    };
    if target_protocol_addr != owner {
        return None;
    }
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(SERVER),
        source_protocol_addr: owner,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    let mut bytes = vec![0; 14 + reply.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    frame.set_src_addr(EthernetAddress(SERVER));
    frame.set_dst_addr(source_hardware_addr);
    frame.set_ethertype(EthernetProtocol::Arp);
    reply.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    Some(bytes)
}

#[test]
fn leases_that_cannot_be_are_refused() {
    for ip in [
        [255, 255, 255, 255],
        [224, 0, 0, 1],
        [127, 0, 0, 1],
        [0, 0, 0, 0],
    ] {
        let mut host = Host::new();
        serve(&mut host, 30 * SECOND, 600, ip);
        assert_eq!(host.addresses(), [OWN], "{ip:?}");
    }
}

fn announcement(hop_limit: u8, lifetime: u16, options: &[u8]) -> Vec<u8> {
    let source: Ipv6Addr = "fe80::2".parse().unwrap();
    let all: Ipv6Addr = "ff02::1".parse().unwrap();
    let mut body = vec![134, 0, 0, 0, 64, 0];
    body.extend(lifetime.to_be_bytes());
    body.extend([0; 8]);
    body.extend(options);
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: all,
        next_header: IpProtocol::Icmpv6,
        payload_len: body.len(),
        hop_limit,
    };
    let mut bytes = vec![0; 14 + 40 + body.len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    frame.set_src_addr(EthernetAddress(SERVER));
    frame.set_dst_addr(EthernetAddress([0x33, 0x33, 0, 0, 0, 1]));
    frame.set_ethertype(EthernetProtocol::Ipv6);
    let mut packet = Ipv6Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet);
    packet.payload_mut().copy_from_slice(&body);
    let mut message = Icmpv6Packet::new_unchecked(packet.payload_mut());
    message.fill_checksum(&source, &all);
    bytes
}

fn prefix(address: &str, len: u8, flags: u8, valid: u32) -> Vec<u8> {
    let mut option = vec![3, 4, len, flags];
    option.extend(valid.to_be_bytes());
    option.extend(valid.to_be_bytes());
    option.extend([0; 4]);
    option.extend(address.parse::<Ipv6Addr>().unwrap().octets());
    option
}

#[test]
fn routers_are_asked_and_believed() {
    let mut host = Host::new();
    let solicits = |frames: Vec<Vec<u8>>| frames.iter().filter(|f| f.get(54) == Some(&133)).count();
    assert_eq!(solicits(host.pass(20 * SECOND)), 3);
    let mut options = prefix("fec0::", 64, 0xc0, 86_400);
    options.extend([25, 3, 0, 0, 0, 0, 1, 0]);
    options.extend("fec0::3".parse::<Ipv6Addr>().unwrap().octets());
    host.end.received.push(&announcement(255, 1800, &options));
    host.pass(SECOND);
    let own = "fec0::ff:fe00:1/64";
    assert_eq!(host.addresses(), [OWN, own]);
    assert_eq!(host.gateways(), ["fe80::2".parse::<IpAddr>().unwrap()]);
    assert_eq!(
        host.stack.name_servers(),
        ["fec0::3".parse::<IpAddr>().unwrap()]
    );
    // A forged announcement cannot take the address away at once, the router may go.
    host.end
        .received
        .push(&announcement(255, 0, &prefix("fec0::", 64, 0xc0, 1)));
    host.pass(60 * SECOND);
    assert_eq!(host.addresses(), [OWN, own]);
    assert!(host.gateways().is_empty());
    host.now += 7200 * SECOND;
    host.pass(SECOND);
    assert_eq!(host.addresses(), [OWN]);
    assert!(host.stack.name_servers().is_empty());
}

#[test]
fn announcements_that_cannot_be_are_refused() {
    let mut host = Host::new();
    let good = prefix("2001:db8::", 64, 0xc0, 600);
    for frame in [
        announcement(254, 600, &good),
        announcement(255, 600, &good[..31]),
        announcement(255, 600, &[3, 0, 0, 0]),
        announcement(255, 600, &prefix("ff02::", 64, 0xc0, 600)),
        announcement(255, 600, &prefix("fe80::", 64, 0xc0, 600)),
        announcement(255, 600, &prefix("::", 64, 0xc0, 600)),
        announcement(255, 600, &prefix("2001:db8::", 63, 0xc0, 600)),
        announcement(255, 600, &prefix("2001:db8::", 64, 0x80, 600)),
        announcement(255, 600, &prefix("2001:db8::", 64, 0xc0, 0)),
    ] {
        host.end.received.push(&frame);
        host.pass(SECOND);
        assert_eq!(host.addresses(), [OWN]);
    }
    for i in 0..20 {
        let many = prefix(&format!("2001:db8:{i}::"), 64, 0xc0, 600);
        host.end.received.push(&announcement(255, 600, &many));
        host.pass(SECOND);
    }
    assert_eq!(host.addresses().len(), 5);
}
