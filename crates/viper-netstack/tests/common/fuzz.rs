//! Two hosts that work on, while frames between them are changed and others are made up.
//!
//! Checksums are put right after most changes, so that what is changed is looked at.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use smoltcp::wire::{
    Icmpv4Packet, Icmpv6Packet, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket,
};
use viper_netstack::{
    Cidr, Config, Family, FrameDevice, InterfaceConfig, SocketId, SocketKind, Stack, TcpOptions,
};

use super::common::{End, MS, any, at, mac, v4, v6};

/// The frames that a run begins with, in hexadecimal figures, one in each line.
pub const CORPUS: &str = include_str!("../../corpus/frames.txt");

pub fn corpus() -> Vec<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let lines = CORPUS.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.as_bytes().chunks(2).map(byte).collect())
        .collect()
}

pub struct Fuzz {
    stacks: [Stack; 2],
    ends: [End; 2],
    rng: ChaCha20Rng,
    corpus: Vec<Vec<u8>>,
    now: u64,
    /// Frames that were changed or made up so far.
    pub frames: u64,
    /// Frames that were seen unchanged, if they are to be kept.
    pub seen: Option<Vec<Vec<u8>>>,
    pub sent: u64,
    pub connected: u64,
}

fn host(number: usize, seed: u64) -> Stack {
    let mut config = Config {
        name_servers: vec![v4(1 - number)],
        ..Config::default()
    };
    config.tcp.timeout_ns = Some(3_000 * MS);
    config.linger_ns = 2_000 * MS;
    config.half_open_max = 8;
    config.datagram_bytes = 8192;
    let mut bytes = [number as u8; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut stack = Stack::new(config, bytes, 0);
    let interface = InterfaceConfig {
        addresses: vec![
            Cidr::new(v4(number), 24).unwrap(),
            Cidr::new(v6(number), 64).unwrap(),
        ],
        gateways: vec![[10, 0, 0, 77].into()],
        ..InterfaceConfig::ethernet("net0", mac(number))
    };
    stack.add_interface(&interface).unwrap();
    let options = options();
    stack
        .tcp_listen("[::]:80".parse().unwrap(), 4, &options)
        .unwrap();
    stack.udp_bind("[::]:53".parse().unwrap()).unwrap();
    stack.udp_bind(any(5000)).unwrap();
    stack.ping_open().unwrap();
    stack
}

fn options() -> TcpOptions {
    TcpOptions {
        receive_bytes: 4096,
        send_bytes: 4096,
        timeout_ns: Some(3_000 * MS),
        keep_alive_ns: Some(900 * MS),
        ..TcpOptions::default()
    }
}

impl Fuzz {
    pub fn new(seed: u64) -> Self {
        Self {
            stacks: [host(0, seed), host(1, seed)],
            ends: [End::new(), End::new()],
            rng: ChaCha20Rng::seed_from_u64(seed),
            corpus: corpus(),
            now: 0,
            frames: 0,
            seen: None,
            sent: 0,
            connected: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.next_u32() as usize % bound.max(1)
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.next_u32() % 100 < percent
    }

    /// One round: the hosts work, their frames cross, and some are changed on the way.
    pub fn round(&mut self, change: u32) {
        for host in 0..2 {
            self.work(host);
            let device: &mut dyn FrameDevice = &mut self.ends[host];
            self.stacks[host].poll(self.now, &mut [device]);
        }
        for host in 0..2 {
            while let Some(mut frame) = self.ends[host].sent.pop(<[u8]>::to_vec) {
                if let Some(seen) = &mut self.seen {
                    seen.push(frame.clone());
                }
                if self.chance(change) {
                    self.mutate(&mut frame);
                }
                self.ends[1 - host].received.push(&frame);
            }
            if change > 0 {
                for _ in 0..4 {
                    let mut frame = self.made_up();
                    self.mutate(&mut frame);
                    self.ends[host].received.push(&frame);
                }
            }
        }
        let step = [0, MS / 10, MS, 40 * MS, 1100 * MS][self.below(5)];
        self.now += step;
        // Buffers are bounded, and so is everything that outsiders can make.
        assert!(self.stacks.iter().all(|stack| stack.sockets_len() < 200));
    }

    fn made_up(&mut self) -> Vec<u8> {
        if self.chance(5) || self.corpus.is_empty() {
            let len = self.below(200);
            let mut frame = vec![0; len];
            self.rng.fill_bytes(&mut frame);
            return frame;
        }
        let index = self.below(self.corpus.len());
        self.corpus[index].clone()
    }

    fn mutate(&mut self, frame: &mut Vec<u8>) {
        self.frames += 1;
        for _ in 0..=self.below(4) {
            let position = self.below(frame.len().min(100));
            match self.below(10) {
                0 => frame.truncate(position),
                1 => {
                    let len = self.below(64);
                    frame.extend((0..len).map(|i| i as u8));
                }
                2 if self.corpus.len() > 1 => {
                    let other = self.below(self.corpus.len());
                    let tail: Vec<u8> = self.corpus[other].iter().skip(position).copied().collect();
                    frame.truncate(position);
                    frame.extend(tail);
                }
                3 | 4 if position < frame.len() => {
                    frame[position] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)];
                }
                5 if position + 4 < frame.len() => {
                    let value = [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX][self.below(5)];
                    frame[position..position + 4].copy_from_slice(&value.to_be_bytes());
                }
                6 if frame.len() > 50 => {
                    // Sequence numbers and windows that are nearly right.
                    let at = [38, 42, 48, 58, 62][self.below(5)];
                    if at + 4 <= frame.len() {
                        let old = u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
                        let near = old.wrapping_add(self.rng.next_u32() % 9).wrapping_sub(4);
                        frame[at..at + 4].copy_from_slice(&near.to_be_bytes());
                    }
                }
                _ if position < frame.len() => frame[position] ^= 1 << self.below(8),
                _ => {}
            }
        }
        if self.chance(90) {
            repair(frame);
        }
    }

    /// What programs on a host do.
    fn work(&mut self, host: usize) {
        let sockets: Vec<_> = self.stacks[host].sockets().collect();
        for socket in &sockets {
            self.work_on(host, socket.id, socket.kind, socket.is_owned);
        }
        if sockets.len() < 12 && self.chance(50) {
            let ip = if self.chance(50) {
                v4(1 - host)
            } else {
                v6(1 - host)
            };
            let port = if self.chance(90) { 80 } else { 81 };
            let _ = self.stacks[host].tcp_connect(at(ip, port), None, &options());
        }
        if self.chance(10) {
            let name = ["a.example", "b.example", "localhost"][self.below(3)];
            let _ = self.stacks[host].resolve(name, Family::Any);
        }
        while let Some(question) = self.stacks[host].take_resolved() {
            let _ = self.stacks[host].resolve_result(question);
        }
        while self.stacks[host].take_ready().is_some() {}
    }

    fn work_on(&mut self, host: usize, id: SocketId, kind: SocketKind, is_owned: bool) {
        let data = vec![7; self.below(3000)];
        let dice = self.below(100);
        let ip = if self.chance(50) {
            v4(1 - host)
        } else {
            v6(1 - host)
        };
        let stack = &mut self.stacks[host];
        match kind {
            SocketKind::Tcp if is_owned => {
                if stack.tcp_is_connected(id) == Ok(true) {
                    self.connected += 1;
                }
                if dice < 60 {
                    self.sent += stack.tcp_send(id, &data).unwrap_or(0) as u64;
                }
                let _ = match dice % 20 {
                    0 => stack.tcp_shutdown(id),
                    1 => stack.close(id),
                    2 => stack.tcp_abort(id),
                    _ => stack.tcp_recv(id, &mut [0; 2000]).map(|_| ()),
                };
            }
            SocketKind::Listener => while stack.tcp_accept(id).is_ok() {},
            SocketKind::Udp => {
                while let Ok((data, from)) =
                    stack.udp_recv_with(id, |data, from, _| (data.to_vec(), from))
                {
                    // A name server that repeats the question as its answer.
                    let mut reply = data;
                    if let Some(flags) = reply.get_mut(2) {
                        *flags |= 0x80;
                    }
                    let _ = stack.udp_send(id, from, &reply);
                }
                if dice < 5 {
                    let _ = stack.udp_send(id, at(ip, 5000), &data);
                }
            }
            SocketKind::Ping => {
                while stack.ping_recv_with(id, |_| ()).is_ok() {}
                if dice < 5 {
                    let _ = stack.ping_send(id, ip, 1, &data);
                }
            }
            _ => {}
        }
    }
}

/// Puts the checksums of a frame right as far as it has any.
fn repair(frame: &mut [u8]) {
    let Some((header, packet)) = frame.split_at_mut_checked(14) else {
        return;
    };
    match (header[12], header[13]) {
        (8, 0) => {
            let Ok(mut packet) = Ipv4Packet::new_checked(packet) else {
                return;
            };
            packet.fill_checksum();
            let (from, to) = (packet.src_addr(), packet.dst_addr());
            let protocol = packet.next_header();
            let payload = packet.payload_mut();
            match protocol {
                IpProtocol::Icmp => {
                    if let Ok(mut message) = Icmpv4Packet::new_checked(payload) {
                        message.fill_checksum();
                    }
                }
                _ => repair_transport(protocol, payload, from.into(), to.into()),
            }
        }
        (0x86, 0xdd) => {
            let Ok(mut packet) = Ipv6Packet::new_checked(packet) else {
                return;
            };
            let (from, to) = (packet.src_addr(), packet.dst_addr());
            let protocol = packet.next_header();
            let payload = packet.payload_mut();
            match protocol {
                IpProtocol::Icmpv6 => {
                    if let Ok(mut message) = Icmpv6Packet::new_checked(payload) {
                        message.fill_checksum(&from, &to);
                    }
                }
                _ => repair_transport(protocol, payload, from.into(), to.into()),
            }
        }
        _ => {}
    }
}

fn repair_transport(
    protocol: IpProtocol,
    payload: &mut [u8],
    from: smoltcp::wire::IpAddress,
    to: smoltcp::wire::IpAddress,
) {
    match protocol {
        IpProtocol::Tcp => {
            if let Ok(mut segment) = TcpPacket::new_checked(payload) {
                segment.fill_checksum(&from, &to);
            }
        }
        IpProtocol::Udp => {
            if let Ok(mut datagram) = UdpPacket::new_checked(payload) {
                datagram.fill_checksum(&from, &to);
            }
        }
        _ => {}
    }
}
