//! `ping` and `ping6`.

use crate::arguments::{Problem, Word};
use crate::text::{Millis, address_of};
use crate::{FAILED, OK, Stop, WARN, Words, run};
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use viper_proto::net::client::{Network, PingSocket};
use viper_rt::{Error, clock, println};

const USAGE: &str = "\
ping [-c COUNT] [-i MILLISECONDS] [-s BYTES] [-w SECONDS] HOST
  -c  echoes to send (default 4)
  -i  time between them (default 1000)
  -s  bytes in each (default 56)
  -w  how long to wait for the last answer (default 2)
Returns 0 if all came back, 5 if some did, 10 if none did. ping6 takes IPv6 addresses only.";

/// Sends echoes to a host, and tells what came back.
#[must_use]
pub fn ping() -> i64 {
    run(USAGE, |words| work(words, IpAddr::is_ipv4, true))
}

/// The same over IPv6.
#[must_use]
pub fn ping6() -> i64 {
    run(USAGE, |words| work(words, IpAddr::is_ipv6, false))
}

#[derive(Debug)]
struct Plan {
    count: u64,
    interval_ns: u64,
    size: usize,
    patience_ns: u64,
    host: &'static str,
}

fn plan(words: &mut Words) -> Result<Plan, Stop> {
    let mut plan = Plan {
        count: 4,
        interval_ns: clock::SECOND,
        size: 56,
        patience_ns: 2 * clock::SECOND,
        host: "",
    };
    while let Some(word) = words.take() {
        match word {
            Word::Help => return Err(Stop::Usage),
            Word::Option('c') => plan.count = words.number(1, 65_535)?,
            Word::Option('i') => {
                plan.interval_ns = words.number(1, 3_600_000)? * clock::MILLISECOND;
            }
            Word::Option('s') => plan.size = words.number(0, 8000)? as usize,
            Word::Option('w') => plan.patience_ns = words.number(1, 3600)? * clock::SECOND,
            Word::Option(option) => return Err(Problem::UnknownOption(option).into()),
            Word::Plain(host) if plan.host.is_empty() => plan.host = host,
            Word::Plain(_) => return Err(Problem::TooMany.into()),
        }
    }
    if plan.host.is_empty() {
        return Err(Problem::Missing("a host").into());
    }
    Ok(plan)
}

fn work(words: &mut Words, suits: fn(&IpAddr) -> bool, or_other: bool) -> Result<i64, Stop> {
    let plan = plan(words)?;
    let network = Network::connect()?;
    // A host that has addresses of the other kind only is pinged there.
    let to = match address_of(&network, plan.host, suits) {
        Err(Stop::Failed(_, Error::NotFound)) if or_other => {
            address_of(&network, plan.host, |_| true)?
        }
        result => result?,
    };
    let mut socket = network.ping_open()?;
    println!("PING {} ({to}): {} bytes", plan.host, plan.size);
    let tally = echoes(&mut socket, to, &plan)?;
    tally.tell(plan.host, plan.count);
    Ok(match tally.times.len() as u64 {
        0 => FAILED,
        came if came < plan.count => WARN,
        _ => OK,
    })
}

#[derive(Debug, Default)]
struct Tally {
    times: Vec<u64>,
    duplicates: u64,
}

fn echoes(socket: &mut PingSocket, to: IpAddr, plan: &Plan) -> Result<Tally, Stop> {
    let bytes: Vec<u8> = (0..plan.size).map(|n| n as u8).collect();
    let mut space = vec![0; plan.size + 1];
    let mut tally = Tally::default();
    let mut sent: Vec<(u64, bool)> = Vec::new();
    for sequence in 0..plan.count {
        socket.send(to, sequence as u16, &bytes)?;
        sent.push((clock::now(), false));
        let is_last = sequence + 1 == plan.count;
        let patience = if is_last {
            plan.patience_ns
        } else {
            plan.interval_ns
        };
        let until = clock::after(patience);
        while !(is_last && tally.times.len() as u64 == plan.count) {
            let (len, from, sequence) = match socket.receive(&mut space, until) {
                Ok(echo) => echo,
                Err(Error::TimedOut) => break,
                Err(error) => return Err(error.into()),
            };
            let now = clock::now();
            let Some((start, is_answered)) = sent.get_mut(usize::from(sequence)) else {
                continue;
            };
            if from != to || space.get(..len) != Some(&bytes[..]) {
                continue;
            }
            if core::mem::replace(is_answered, true) {
                tally.duplicates += 1;
                continue;
            }
            let time = now.saturating_sub(*start);
            println!(
                "{len} bytes from {from}: seq={sequence} time={} ms",
                Millis(time)
            );
            tally.times.push(time);
        }
    }
    Ok(tally)
}

impl Tally {
    fn tell(&self, host: &str, count: u64) {
        let came = self.times.len() as u64;
        let lost = count - came;
        println!(
            "--- {host}: {count} sent, {came} received, {}% lost",
            lost * 100 / count
        );
        if self.duplicates > 0 {
            println!("--- {} came twice", self.duplicates);
        }
        if let (Some(min), Some(max)) = (self.times.iter().min(), self.times.iter().max()) {
            let mean = self.times.iter().sum::<u64>() / came;
            println!(
                "--- min/avg/max {}/{}/{} ms",
                Millis(*min),
                Millis(mean),
                Millis(*max)
            );
        }
    }
}
