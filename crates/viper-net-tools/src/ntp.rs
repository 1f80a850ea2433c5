//! `ntp`: asks a time server (SNTP version 4, RFC 4330).

use crate::arguments::{Problem, Word};
use crate::text::{Millis, Seconds, address_of};
use crate::{OK, Stop, run};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use viper_netstack::{Error as StackError, sntp};
use viper_proto::net::client::Network;
use viper_proto::{entropy, names};
use viper_rt::abi::Slot;
use viper_rt::handle::Channel;
use viper_rt::{Error, clock, println, program};

const USAGE: &str = "\
ntp [-w SECONDS] [HOST]
Asks a time server (default pool.ntp.org) and prints how far this clock is from it.
  -w  how long to wait for the answer (default 5)";

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
        let channel = program::take(Slot::NAMES).ok_or(Error::NoService)?;
        let names = names::Client::new(channel.into_object::<Channel>());
        let network = Network::connect_through(&names)?;
        let to = address_of(&network, host, |_| true)?;
        let exchange = sntp::Exchange::new(cookie(&names)?);
        let answer = ask(&network, to, &exchange, patience_s * clock::SECOND);
        let (answer, came_ns) = answer.map_err(|error| Stop::Failed(Some(host), error))?;
        println!("server {to}, stratum {}", answer.stratum);
        let clock_ns = names.wall_clock();
        let clock_ns = clock_ns.map_err(|e| Stop::Failed(Some("this machine's clock"), e))?;
        let offset = answer.unix_ns.wrapping_sub(clock_ns + came_ns) as i64;
        let wrong = Millis(answer.uncertainty_ns);
        println!("offset {} s, give or take {wrong} ms", Seconds(offset));
        println!("this clock was not set: no service offers that");
        Ok(OK)
    })
}

/// 64 bits that nobody can guess.
fn cookie(names: &names::Client) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    entropy::Random::new(names)?.fill(names, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// The answer, and when it came.
fn ask(
    network: &Network,
    to: IpAddr,
    exchange: &sntp::Exchange,
    patience_ns: u64,
) -> Result<(sntp::Answer, u64), Error> {
    let local = match to {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let mut socket = network.udp_bind(SocketAddr::new(local, 0))?;
    let server = SocketAddr::new(to, PORT);
    let sent_ns = clock::now();
    socket.send_to(&exchange.request(), server)?;
    let deadline = clock::after(patience_ns);
    let mut space = [0; 512];
    loop {
        let (len, from) = socket.recv_from(&mut space, deadline)?;
        let came_ns = clock::now();
        let reply = space.get(..len).unwrap_or_default();
        match exchange.answer(reply, sent_ns, came_ns) {
            _ if from != server => {}
            Ok(answer) => return Ok((answer, came_ns)),
            Err(StackError::Malformed) => {}
            Err(_) => return Err(Error::NotSupported),
        }
    }
}
