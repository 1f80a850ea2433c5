//! Frames that arrive together are to do what they do when each arrives alone.

mod common;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use common::{End, MS, at, host, read_all, v4, v6};
use smoltcp::wire::{IpAddress, Ipv4Packet, Ipv6Packet, TcpPacket};
use viper_netstack::{Config, FrameDevice, SocketId, Stack, TcpOptions, TcpState};

const ETHERNET: usize = 14;

/// A host with two connections to another one, of which there are two: what is sent to them is the
/// same, but one is shown each frame alone, and the other all that were sent at once.
struct Trio {
    sender: (Stack, End),
    receivers: [(Stack, End); 2],
    flows: Vec<Flow>,
    now: u64,
    rng: ChaCha20Rng,
    is_ipv6: bool,
}

struct Flow {
    id: SocketId,
    accepted: [SocketId; 2],
    sent: Vec<u8>,
    received: [Vec<u8>; 2],
}

/// What the last acknowledgement of a receiver said, by the port it went to.
type Said = std::collections::BTreeMap<u16, i32>;

fn poll((stack, end): &mut (Stack, End), now: u64) {
    let device: &mut dyn FrameDevice = end;
    stack.poll(now, &mut [device]);
}

fn frames((_, end): &mut (Stack, End)) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| end.sent.pop(<[u8]>::to_vec)).collect()
}

impl Trio {
    fn new(seed: u64, is_ipv6: bool) -> Self {
        let new = |number| (host(Config::default(), number, seed), End::new());
        let mut trio = Self {
            sender: new(0),
            receivers: [new(1), new(1)],
            flows: Vec::new(),
            now: 0,
            rng: ChaCha20Rng::seed_from_u64(seed),
            is_ipv6,
        };
        let options = TcpOptions {
            nagle: false,
            ..TcpOptions::default()
        };
        let to = at(if is_ipv6 { v6(1) } else { v4(1) }, 80);
        let listen = |(stack, _): &mut (Stack, End)| stack.tcp_listen(to, 4, &options).unwrap();
        let listeners: Vec<_> = trio.receivers.iter_mut().map(listen).collect();
        for _ in 0..2 {
            let id = trio.sender.0.tcp_connect(to, None, &options).unwrap();
            for _ in 0..10 {
                trio.cross(&mut |_, _| {}, false);
            }
            let accept = |index: usize, trio: &mut Self| {
                let (stack, _) = &mut trio.receivers[index];
                stack.tcp_accept(listeners[index]).unwrap()
            };
            let accepted = [accept(0, &mut trio), accept(1, &mut trio)];
            trio.flows.push(Flow {
                id,
                accepted,
                sent: Vec::new(),
                received: [Vec::new(), Vec::new()],
            });
        }
        trio
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.next_u32() as usize % bound.max(1)
    }

    /// Lets what the sender has to say come to the receivers, and the answers of the first to the
    /// sender. How many frames each receiver has sent at once.
    fn cross(
        &mut self,
        change: &mut dyn FnMut(&mut Self, &mut Vec<Vec<u8>>),
        judges: bool,
    ) -> [usize; 2] {
        self.now += MS / 4;
        poll(&mut self.sender, self.now);
        let mut burst = frames(&mut self.sender);
        change(self, &mut burst);
        let [alone, together] = &mut self.receivers;
        for frame in &burst {
            alone.1.received.push(frame);
            poll(alone, self.now);
            together.1.received.push(frame);
        }
        poll(alone, self.now);
        poll(together, self.now);
        for flow in &mut self.flows {
            for (index, (stack, _)) in self.receivers.iter_mut().enumerate() {
                let end = read_all(stack, flow.accepted[index], &mut flow.received[index]);
                assert!(end.is_ok(), "{end:?}");
            }
            assert!(flow.received[0] == flow.received[1]);
        }
        let (counts, at_once) = self.answers();
        // Acknowledgements that were put off.
        self.now += 50 * MS;
        for receiver in &mut self.receivers {
            poll(receiver, self.now);
        }
        let (_, later) = self.answers();
        if judges {
            for (port, alone) in &at_once[0] {
                let together = at_once[1].get(port).expect("no answer at once");
                assert!(together.wrapping_sub(*alone) >= 0);
            }
            let [alone, together] = [0, 1].map(|index| {
                let mut last = at_once[index].clone();
                last.extend(&later[index]);
                last
            });
            assert_eq!(alone, together);
        }
        counts
    }

    /// Takes what the receivers have sent, lets the sender have that of the first, and says how
    /// much it was and what it acknowledged.
    fn answers(&mut self) -> ([usize; 2], [Said; 2]) {
        let (mut counts, mut said) = ([0; 2], [Said::new(), Said::new()]);
        for (index, receiver) in self.receivers.iter_mut().enumerate() {
            let sent = frames(receiver);
            counts[index] = sent.len();
            for frame in &sent {
                said[index].extend(acknowledgement(frame));
                if index == 0 {
                    self.sender.1.received.push(frame);
                }
            }
        }
        (counts, said)
    }

    fn state(&self, receiver: usize, flow: usize) -> Option<TcpState> {
        let id = self.flows[flow].accepted[receiver];
        self.receivers[receiver].0.tcp_state(id).ok()
    }

    fn send(&mut self) {
        for index in 0..self.flows.len() {
            let len = [0, 1, 300, 1460, 5000, 40_000][self.below(6)];
            let mut data = vec![0; len];
            self.rng.fill_bytes(&mut data);
            let flow = &mut self.flows[index];
            let sent = self.sender.0.tcp_send(flow.id, &data).unwrap_or(0);
            flow.sent.extend_from_slice(&data[..sent]);
        }
    }

    /// What wires and strangers do to frames.
    fn mangle(&mut self, burst: &mut Vec<Vec<u8>>) {
        for _ in 0..self.below(4) {
            if burst.is_empty() {
                return;
            }
            let (one, other) = (self.below(burst.len()), self.below(burst.len()));
            match self.below(6) {
                0 => burst.swap(one, other),
                1 => burst.insert(other, burst[one].clone()),
                2 => drop(burst.remove(one)),
                3 => {
                    let position = self.below(burst[one].len());
                    burst[one][position] ^= 1 << self.below(8);
                }
                4 => burst[one].extend([0; 4]),
                _ => self.change_header(&mut burst[one]),
            }
        }
    }

    /// Changes a header and puts the checksums right.
    fn change_header(&mut self, frame: &mut [u8]) {
        let what = self.below(7);
        let Some(packet) = frame.get_mut(ETHERNET..) else {
            return;
        };
        let (source, destination, ip_len): (IpAddress, IpAddress, usize) = if self.is_ipv6 {
            let Ok(packet) = Ipv6Packet::new_checked(&*packet) else {
                return;
            };
            (packet.src_addr().into(), packet.dst_addr().into(), 40)
        } else {
            let Ok(mut packet) = Ipv4Packet::new_checked(&mut *packet) else {
                return;
            };
            if !packet.verify_checksum() {
                return;
            }
            match what {
                0 => packet.set_hop_limit(3),
                1 => packet.set_dscp(9),
                2 => packet.set_ident(77),
                _ => {}
            }
            packet.fill_checksum();
            (packet.src_addr().into(), packet.dst_addr().into(), 20)
        };
        let Ok(mut segment) = TcpPacket::new_checked(&mut packet[ip_len..]) else {
            return;
        };
        // What is damaged stays it.
        if !segment.verify_checksum(&source, &destination) {
            return;
        }
        match what {
            3 => segment.set_window_len(segment.window_len() / 2),
            4 => segment.set_ack_number(segment.ack_number() - 1),
            5 => segment.set_psh(!segment.psh()),
            6 => segment.set_urg(true),
            _ => {}
        }
        segment.fill_checksum(&source, &destination);
    }
}

fn acknowledgement(frame: &[u8]) -> Option<(u16, i32)> {
    let at = match frame.get(12..14)? {
        [8, 0] => ETHERNET + 20,
        [0x86, 0xdd] if frame.get(20) == Some(&6) => ETHERNET + 40,
        _ => return None,
    };
    let segment = TcpPacket::new_checked(&frame[at..]).ok()?;
    Some((segment.dst_port(), segment.ack_number().0))
}

#[test]
fn a_burst_is_answered_once_and_means_the_same() {
    for is_ipv6 in [false, true] {
        let mut trio = Trio::new(1, is_ipv6);
        let mut counts = [0; 2];
        for _ in 0..40 {
            trio.send();
            let each = trio.cross(&mut |_, _| {}, true);
            counts[0] += each[0];
            counts[1] += each[1];
        }
        let total: usize = trio.flows.iter().map(|flow| flow.sent.len()).sum();
        assert!(total > 300_000);
        // It is what this is for: with fewer answers in between, much was put together.
        assert!(counts[1] * 2 < counts[0], "{counts:?}");
    }
}

#[test]
fn every_segment_behind_a_gap_is_answered() {
    let mut trio = Trio::new(1, false);
    let data = vec![7; 10 * 1460];
    // The sender begins slowly.
    for _ in 0..4 {
        trio.sender.0.tcp_send(trio.flows[0].id, &data).unwrap();
        trio.cross(&mut |_, _| {}, true);
    }
    trio.sender.0.tcp_send(trio.flows[0].id, &data).unwrap();
    let mut left = 0;
    let mut lose_first = |_: &mut Trio, burst: &mut Vec<Vec<u8>>| {
        burst.remove(0);
        left = burst.len();
    };
    let counts = trio.cross(&mut lose_first, true);
    assert!(left >= 4);
    // The peer counts the answers to find out what was lost (RFC 5681, 3.2).
    assert!(counts.iter().all(|count| *count >= left), "{counts:?}");
}

#[test]
fn what_comes_together_means_what_it_means_alone() {
    for seed in 0..20 {
        let mut trio = Trio::new(seed, seed % 3 == 2);
        for _ in 0..60 {
            trio.send();
            trio.cross(&mut Trio::mangle, true);
        }
        for index in 0..trio.flows.len() {
            trio.sender.0.tcp_shutdown(trio.flows[index].id).unwrap();
        }
        for _ in 0..2000 {
            trio.cross(&mut |_, _| {}, false);
            let is_done = (0..2).all(|flow| trio.state(0, flow) == Some(TcpState::CloseWait));
            if is_done {
                break;
            }
        }
        for (index, flow) in trio.flows.iter().enumerate() {
            assert!(flow.received[0] == flow.sent, "seed {seed}");
            assert!(flow.received[1] == flow.sent, "seed {seed}");
            assert_eq!(trio.state(0, index), trio.state(1, index), "seed {seed}");
        }
    }
}
