//! Two stacks and a wire between them that may lose, delay, repeat and damage frames.

#![allow(dead_code, reason = "each test uses its own part of it")]

use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use viper_netstack::{
    Cidr, Config, Error, FrameDevice, FrameQueue, InterfaceConfig, Medium, SocketId, Stack,
};

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1000 * MS;

/// What a wire does to frames. Shares are in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub loss: u32,
    pub duplication: u32,
    pub corruption: u32,
    pub reordering: u32,
    pub delay_ns: u64,
    pub jitter_ns: u64,
}

impl Faults {
    pub fn percent(percent: u32) -> Self {
        let share = percent * 10;
        Self {
            loss: share,
            duplication: share,
            corruption: share,
            reordering: share,
            delay_ns: 2 * MS,
            jitter_ns: MS,
        }
    }
}

/// One end of a wire: what arrived, and what is to be sent.
pub struct End {
    pub received: FrameQueue,
    pub sent: FrameQueue,
}

impl End {
    pub fn new() -> Self {
        Self {
            received: FrameQueue::new(1024),
            sent: FrameQueue::new(1024),
        }
    }
}

impl FrameDevice for End {
    fn receive(&mut self, take: &mut dyn FnMut(&[u8], bool)) -> bool {
        self.received.receive(take)
    }

    fn can_transmit(&self) -> bool {
        self.sent.can_transmit()
    }

    fn transmit(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> bool {
        self.sent.transmit(len, fill)
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Flight {
    /// Negative, for the heap gives the largest first.
    arrival: std::cmp::Reverse<(u64, u64)>,
    to: usize,
    pub frame: Vec<u8>,
}

/// Two hosts, 10.0.0.1 and 10.0.0.2, fd00::1 and fd00::2.
pub struct Net {
    pub stacks: [Stack; 2],
    pub ends: [End; 2],
    pub now: u64,
    pub faults: Faults,
    pub frames: u64,
    rng: ChaCha20Rng,
    pub flights: BinaryHeap<Flight>,
    wakes: [Option<u64>; 2],
    serial: u64,
}

pub fn mac(host: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0, host as u8 + 1]
}

pub fn v4(host: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, host as u8 + 1])
}

pub fn v6(host: usize) -> IpAddr {
    format!("fd00::{}", host + 1).parse().unwrap()
}

pub fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

pub fn any(port: u16) -> SocketAddr {
    at(IpAddr::from([0, 0, 0, 0]), port)
}

pub fn host(config: Config, number: usize, seed: u64) -> Stack {
    let mut bytes = [number as u8 + 1; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut stack = Stack::new(config, bytes, 0);
    let addresses = [
        Cidr::new(v4(number), 24).unwrap(),
        Cidr::new(v6(number), 64).unwrap(),
    ];
    let medium = Medium::Ethernet { mac: mac(number) };
    stack
        .add_interface(&InterfaceConfig::fixed("net0", medium, &addresses))
        .unwrap();
    stack
}

impl Net {
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self::with_config(seed, faults, Config::default())
    }

    pub fn with_config(seed: u64, faults: Faults, config: Config) -> Self {
        Self {
            stacks: [host(config.clone(), 0, seed), host(config, 1, seed)],
            ends: [End::new(), End::new()],
            now: 0,
            faults,
            frames: 0,
            rng: ChaCha20Rng::seed_from_u64(seed),
            flights: BinaryHeap::new(),
            wakes: [None; 2],
            serial: 0,
        }
    }

    fn chance(&mut self, share: u32) -> bool {
        share > 0 && self.rng.next_u32() % 1000 < share
    }

    fn launch(&mut self, to: usize, frame: &[u8]) {
        self.frames += 1;
        if self.chance(self.faults.loss) {
            return;
        }
        let mut frame = frame.to_vec();
        if self.chance(self.faults.corruption) && frame.len() > 14 {
            let position = 14 + self.rng.next_u32() as usize % (frame.len() - 14);
            frame[position] ^= 1 << (self.rng.next_u32() % 8);
        }
        let mut arrival = self.now + self.faults.delay_ns;
        if self.faults.jitter_ns > 0 {
            arrival += self.rng.next_u64() % self.faults.jitter_ns;
        }
        if self.chance(self.faults.reordering) {
            arrival += self.faults.delay_ns.max(MS);
        }
        for _ in 0..1 + u32::from(self.chance(self.faults.duplication)) {
            self.serial += 1;
            let arrival = std::cmp::Reverse((arrival, self.serial));
            self.flights.push(Flight {
                arrival,
                to,
                frame: frame.clone(),
            });
        }
    }

    /// Polls both stacks now and moves what they send onto the wire.
    pub fn poll(&mut self) {
        for host in 0..2 {
            let device: &mut dyn FrameDevice = &mut self.ends[host];
            self.wakes[host] = self.stacks[host].poll(self.now, &mut [device]);
        }
        for host in 0..2 {
            while let Some(frame) = self.ends[host].sent.pop(<[u8]>::to_vec) {
                self.launch(1 - host, &frame);
            }
        }
    }

    /// Polls, then lets time pass until something happens; `false` if nothing ever will.
    pub fn step(&mut self) -> bool {
        self.poll();
        let arrival = self.flights.peek().map(|flight| flight.arrival.0.0);
        let Some(next) = self.wakes.into_iter().flatten().chain(arrival).min() else {
            return false;
        };
        self.now = self.now.max(next);
        while self
            .flights
            .peek()
            .is_some_and(|flight| flight.arrival.0.0 <= self.now)
        {
            let flight = self.flights.pop().unwrap();
            self.ends[flight.to].received.push(&flight.frame);
        }
        true
    }

    /// Steps until `done`, or panics after `limit` nanoseconds.
    pub fn until(&mut self, limit: u64, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        loop {
            self.poll();
            if done(self) {
                return;
            }
            assert!(self.now <= end, "not done after {} ms", limit / MS);
            if !self.step() {
                self.now += 10 * MS;
            }
        }
    }

    /// Lets `time` nanoseconds pass.
    pub fn pass(&mut self, time: u64) {
        let end = self.now + time;
        self.until(2 * time + SECOND, |net| net.now >= end);
    }

    /// A connection from host 0 to a listener of host 1.
    pub fn connect(&mut self, listener: SocketId, to: SocketAddr) -> (SocketId, SocketId) {
        let options = Default::default();
        let client = self.stacks[0].tcp_connect(to, None, &options).unwrap();
        let mut server = None;
        self.until(600 * SECOND, |net| {
            if server.is_none() {
                server = net.stacks[1].tcp_accept(listener).ok();
            }
            server.is_some() && net.stacks[0].tcp_is_connected(client).unwrap()
        });
        (client, server.unwrap())
    }
}

/// Everything that can be read now, and whether the stream has ended.
pub fn read_all(stack: &mut Stack, id: SocketId, to: &mut Vec<u8>) -> Result<bool, Error> {
    let mut buffer = [0; 4096];
    loop {
        match stack.tcp_recv(id, &mut buffer) {
            Ok(0) => return Ok(true),
            Ok(len) => to.extend_from_slice(&buffer[..len]),
            Err(Error::WouldBlock) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Polls a stack that has no device until it has nothing to do now.
pub fn settle(stack: &mut Stack, now: u64) {
    for _ in 0..1000 {
        if stack.poll(now, &mut []).is_none_or(|next| next > now) {
            return;
        }
    }
    panic!("the stack does not come to rest");
}
