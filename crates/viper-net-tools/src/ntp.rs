//! `ntp`: asks a time server (SNTP version 4, RFC 4330).

use crate::arguments::{Problem, Word};
use crate::text::{Millis, Seconds, address_of};
use crate::{OK, Stop, run};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use viper_proto::names;
use viper_proto::net::client::Network;
use viper_rt::abi::Slot;
use viper_rt::handle::Channel;
use viper_rt::{Error, clock, println, program};

const USAGE: &str = "\
ntp [-w SECONDS] [HOST]
Asks a time server (default pool.ntp.org) and prints how far this clock is from it.
  -w  how long to wait for the answer (default 5)";

/// Seconds between 1900 and 1970.
const ERA_S: u64 = 2_208_988_800;
const PACKET: usize = 48;
const PORT: u16 = 123;

/// Tells how far the clock is from a time server's.
#[must_use]
pub fn ntp() -> i64 {
    run(USAGE, |words| {
        let (mut host, mut patience_s) = (None, 5);
        while let Some(word) = words.take() {
            match word {
                Word::Help => return Err(Stop::Usage),
                Word::Option('w') => patience_s = words.number(1, 3600)?,
                Word::Option(option) => return Err(Problem::UnknownOption(option).into()),
                Word::Plain(name) if host.is_none() => host = Some(name),
                Word::Plain(_) => return Err(Problem::TooMany.into()),
            }
        }
        let host = host.unwrap_or("pool.ntp.org");
        let boot_ns = boot_time()?;
        let network = Network::connect()?;
        let to = address_of(&network, host, |_| true)?;
        let answer = ask(&network, to, boot_ns, patience_s * clock::SECOND);
        let answer = answer.map_err(|error| Stop::Failed(Some(host), error))?;
        println!("server {to}, stratum {}", answer.stratum);
        println!(
            "offset {} s, delay {} ms",
            Seconds(answer.offset_ns),
            Millis(answer.delay_ns)
        );
        println!("this clock was not set: no service offers that");
        Ok(OK)
    })
}

/// Nanoseconds between 1970 and the start of the machine.
fn boot_time() -> Result<u64, Stop> {
    let channel = program::take(Slot::NAMES).ok_or(Error::NoService)?;
    let names = names::Client::new(channel.into_object::<Channel>());
    let boot = names.wall_clock();
    // The session finds its way by the same channel.
    core::mem::forget(names);
    boot.map_err(|error| Stop::Failed(Some("this machine's clock"), error))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    stratum: u8,
    offset_ns: i64,
    delay_ns: u64,
}

fn ask(network: &Network, to: IpAddr, boot_ns: u64, patience_ns: u64) -> Result<Answer, Error> {
    let local = match to {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let mut socket = network.udp_bind(SocketAddr::new(local, 0))?;
    let server = SocketAddr::new(to, PORT);
    let sent_ns = boot_ns + clock::now();
    socket.send_to(&request(sent_ns), server)?;
    let deadline = clock::after(patience_ns);
    let mut space = [0; 512];
    loop {
        let (len, from) = socket.recv_from(&mut space, deadline)?;
        let came_ns = boot_ns + clock::now();
        if from == server
            && let Some(answer) = parse(space.get(..len).unwrap_or_default(), sent_ns, came_ns)
        {
            return answer;
        }
    }
}

fn request(now_ns: u64) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    // No warning, version 4, client.
    packet[0] = 4 << 3 | 3;
    packet[40..].copy_from_slice(&stamp(now_ns).to_be_bytes());
    packet
}

/// What a packet says; `None` if it is not the answer, [`Error::NoService`] if the server will not
/// tell.
fn parse(packet: &[u8], sent_ns: u64, came_ns: u64) -> Option<Result<Answer, Error>> {
    let packet = packet.first_chunk::<PACKET>()?;
    let word = |at: usize| {
        let bytes = packet.get(at..at + 8).and_then(|b| b.first_chunk::<8>());
        bytes.map_or(0, |b| u64::from_be_bytes(*b))
    };
    let (mode, stratum) = (packet[0] & 7, packet[1]);
    // The answer repeats our time: others cannot know it.
    if mode != 4 || word(24) != stamp(sent_ns) {
        return None;
    }
    if stratum == 0 || stratum > 15 || packet[0] >> 6 == 3 || word(40) == 0 {
        return Some(Err(Error::NoService));
    }
    let (received, answered) = (unix_ns(word(32), sent_ns), unix_ns(word(40), sent_ns));
    let there = received.wrapping_sub(sent_ns) as i64;
    let back = answered.wrapping_sub(came_ns) as i64;
    let on_the_way = came_ns.wrapping_sub(sent_ns) as i64;
    let at_the_server = answered.wrapping_sub(received) as i64;
    Some(Ok(Answer {
        stratum,
        offset_ns: (i128::midpoint(i128::from(there), i128::from(back))) as i64,
        delay_ns: on_the_way.saturating_sub(at_the_server).max(0) as u64,
    }))
}

/// Nanoseconds since 1970 as a time stamp: 32 bits of seconds since 1900, 32 of their fraction.
fn stamp(unix_ns: u64) -> u64 {
    let seconds = (unix_ns / clock::SECOND).wrapping_add(ERA_S);
    let fraction = (u128::from(unix_ns % clock::SECOND) << 32) / u128::from(clock::SECOND);
    seconds << 32 | fraction as u64
}

/// The other way round, in the era nearest to `near_ns` (RFC 4330, 3).
fn unix_ns(stamp: u64, near_ns: u64) -> u64 {
    let near_s = (near_ns / clock::SECOND).wrapping_add(ERA_S);
    let apart = ((stamp >> 32) as u32).wrapping_sub(near_s as u32) as i32;
    let seconds = near_s
        .wrapping_add_signed(i64::from(apart))
        .wrapping_sub(ERA_S);
    let fraction = (u128::from(stamp as u32) * u128::from(clock::SECOND)) >> 32;
    seconds
        .wrapping_mul(clock::SECOND)
        .wrapping_add(fraction as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000 * clock::SECOND + 250_000_000;

    /// What a server says whose clock is `ahead_ns` ahead, 10 ms away each way.
    fn answer(ahead_ns: i64) -> [u8; PACKET] {
        let mut packet = [0; PACKET];
        packet[0] = 4 << 3 | 4;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&stamp(NOW).to_be_bytes());
        let received = NOW.wrapping_add_signed(ahead_ns) + 10 * clock::MILLISECOND;
        packet[32..40].copy_from_slice(&stamp(received).to_be_bytes());
        let answered = received + clock::MILLISECOND;
        packet[40..].copy_from_slice(&stamp(answered).to_be_bytes());
        packet
    }

    fn came() -> u64 {
        NOW + 21 * clock::MILLISECOND
    }

    #[test]
    fn the_offset_is_what_the_clocks_differ_by() {
        for ahead in [0, 5_000_000_000, -7_250_000_000, 86_400_000_000_000] {
            let answer = parse(&answer(ahead), NOW, came()).unwrap().unwrap();
            assert!((answer.offset_ns - ahead).abs() < 1000, "{answer:?}");
            assert!(answer.delay_ns.abs_diff(20_000_000) < 1000, "{answer:?}");
        }
    }

    #[test]
    fn stamps_go_on_in_the_next_era() {
        // 2036-02-07 06:28:16: the seconds since 1900 begin anew.
        for unix_s in [0, 2_085_978_495, 2_085_978_496, 2_200_000_000] {
            let ns = unix_s * clock::SECOND + 500_000_000;
            assert_eq!(unix_ns(stamp(ns), ns + 3_000_000_000), ns);
        }
    }

    #[test]
    fn what_is_no_answer_is_ignored_and_a_refusal_is_told() {
        let good = answer(0);
        assert_eq!(parse(&good[..47], NOW, came()), None);
        assert_eq!(
            parse(&good, NOW + 1000, came()),
            None,
            "the answer to another question"
        );
        let mut client = good;
        client[0] = 4 << 3 | 3;
        assert_eq!(parse(&client, NOW, came()), None);
        for (at, value) in [(1, 0), (1, 16), (0, 0xe4)] {
            let mut refusal = good;
            refusal[at] = value;
            assert_eq!(parse(&refusal, NOW, came()), Some(Err(Error::NoService)));
        }
    }
}
