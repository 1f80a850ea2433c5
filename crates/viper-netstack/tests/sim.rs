//! Streams over bad wires arrive as they were sent.

mod common;

use common::{Faults, MS, Net, SECOND, any, at, v4, v6};
use sha2::{Digest, Sha256};
use viper_netstack::{Config, Error, SocketId, TcpOptions};

struct Flow {
    from: usize,
    sender: SocketId,
    receiver: SocketId,
    sent: usize,
    total: usize,
    hash: Sha256,
    received: usize,
    is_over: bool,
}

fn byte(position: usize) -> u8 {
    (position.wrapping_mul(0x9e37_79b1) >> 13) as u8
}

impl Flow {
    fn new(from: usize, sender: SocketId, receiver: SocketId, total: usize) -> Self {
        let hash = Sha256::new();
        Self {
            from,
            sender,
            receiver,
            sent: 0,
            total,
            hash,
            received: 0,
            is_over: false,
        }
    }

    fn pump(&mut self, net: &mut Net) {
        self.send(net);
        self.receive(net);
    }

    fn send(&mut self, net: &mut Net) {
        let stack = &mut net.stacks[self.from];
        while self.sent < self.total {
            let (start, total) = (self.sent, self.total);
            match stack.tcp_send_with(self.sender, |room| {
                let len = room.len().min(total - start);
                room[..len]
                    .iter_mut()
                    .enumerate()
                    .for_each(|(i, b)| *b = byte(start + i));
                len
            }) {
                Ok(len) => self.sent += len,
                Err(Error::WouldBlock) => break,
                Err(error) => panic!("sent {} of {}: {error}", self.sent, self.total),
            }
            if self.sent == self.total {
                stack.tcp_shutdown(self.sender).unwrap();
            }
        }
    }

    fn receive(&mut self, net: &mut Net) {
        let stack = &mut net.stacks[1 - self.from];
        loop {
            let hash = &mut self.hash;
            match stack.tcp_recv_with(self.receiver, |bytes| {
                hash.update(bytes);
                bytes.len()
            }) {
                Ok(len) => self.received += len,
                Err(Error::WouldBlock) => break,
                Err(Error::Finished) => {
                    self.is_over = true;
                    break;
                }
                Err(error) => panic!("received {} of {}: {error}", self.received, self.total),
            }
        }
    }

    fn check(self) {
        let mut expected = Sha256::new();
        (0..self.total).for_each(|position| expected.update([byte(position)]));
        assert_eq!(self.received, self.total);
        assert_eq!(self.hash.finalize(), expected.finalize());
    }
}

/// Sends `total` bytes both ways at once and returns how many simulated seconds that took.
fn exchange(seed: u64, faults: Faults, ip: usize, total: usize) -> u64 {
    let mut config = Config::default();
    config.tcp.timeout_ns = None;
    let options = TcpOptions {
        timeout_ns: None,
        ..TcpOptions::default()
    };
    let mut net = Net::with_config(seed, faults, config);
    let local = if ip == 4 {
        any(80)
    } else {
        "[::]:80".parse().unwrap()
    };
    let listener = net.stacks[1].tcp_listen(local, 4, &options).unwrap();
    let to = at(if ip == 4 { v4(1) } else { v6(1) }, 80);
    let (client, server) = net.connect(listener, to);
    net.stacks[0].tcp_set_options(client, &options).unwrap();
    let mut flows = [
        Flow::new(0, client, server, total),
        Flow::new(1, server, client, total),
    ];
    let start = net.now;
    net.until(20_000 * SECOND, |net| {
        flows.iter_mut().for_each(|flow| flow.pump(net));
        flows.iter().all(|flow| flow.is_over)
    });
    let seconds = (net.now - start) / SECOND;
    println!("{faults:?}: {total} bytes each way in {seconds} s");
    flows.into_iter().for_each(Flow::check);
    net.stacks[0].close(client).unwrap();
    net.stacks[1].close(server).unwrap();
    net.pass(130 * SECOND);
    assert_eq!(net.stacks[0].sockets_len(), 0);
    assert_eq!(net.stacks[1].sockets_len(), 1);
    assert_eq!(
        net.stacks[0].time_wait_len() + net.stacks[1].time_wait_len(),
        0
    );
    seconds
}

#[test]
fn a_good_wire() {
    assert!(
        exchange(
            1,
            Faults {
                delay_ns: MS,
                ..Faults::default()
            },
            4,
            3 << 20
        ) < 2
    );
}

#[test]
fn one_percent_of_everything() {
    exchange(2, Faults::percent(1), 4, 2 << 20);
    exchange(3, Faults::percent(1), 6, 1 << 20);
}

#[test]
fn five_percent_of_everything() {
    exchange(4, Faults::percent(5), 4, 1 << 20);
    exchange(5, Faults::percent(5), 6, 1 << 20);
}

#[test]
fn twenty_percent_of_everything() {
    exchange(6, Faults::percent(20), 4, 1 << 18);
    exchange(7, Faults::percent(20), 6, 1 << 18);
}

/// A peer that does not read for longer than it may leave data unanswered, but answers, is waited for.
#[test]
fn a_closed_window_is_waited_for() {
    let good = Faults {
        delay_ns: MS,
        ..Faults::default()
    };
    for faults in [good, Faults::percent(5)] {
        let mut net = Net::new(9, faults);
        let options = TcpOptions::default();
        let patience = options.timeout_ns.unwrap();
        let listener = net.stacks[1].tcp_listen(any(80), 4, &options).unwrap();
        let (client, server) = net.connect(listener, at(v4(1), 80));
        let mut flow = Flow::new(0, client, server, 300_000);
        let end = net.now + 3 * patience;
        net.until(4 * patience, |net| {
            flow.send(net);
            net.now >= end
        });
        net.until(600 * SECOND, |net| {
            flow.pump(net);
            flow.is_over
        });
        flow.check();
    }
}

/// What a damaged segment says is not believed, by nobody: else one side waits for what the other
/// takes for received, which is rare and for ever.
#[test]
fn damage_is_not_believed() {
    for seed in 20..40 {
        let damage = Faults {
            corruption: 300,
            loss: 100,
            delay_ns: MS,
            ..Faults::default()
        };
        exchange(seed, damage, 4, 1 << 17);
    }
}

/// The same with twenty seeds more, if `VIPER_LONG=1` is set.
#[test]
fn many_seeds_if_asked_to() {
    let seeds = if std::env::var_os("VIPER_LONG").is_some() {
        20
    } else {
        0
    };
    for seed in 100..100 + seeds {
        for percent in [1, 5, 20] {
            let total = (1 << 22) / (percent as usize * percent as usize);
            exchange(seed, Faults::percent(percent), 4, total);
        }
    }
}
