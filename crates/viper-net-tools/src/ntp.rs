//! `ntp`: asks a time server (SNTP version 4, RFC 4330).

use crate::arguments::{Problem, Word};
use crate::text::{Millis, Seconds, address_of};
use crate::{OK, Stop, WARN, run};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use viper_netstack::{Error as StackError, sntp};
use viper_proto::net::client::Network;
use viper_proto::{entropy, names};
use viper_rt::abi::Slot;
use viper_rt::handle::Channel;
use viper_rt::{Error, clock, println, program};

const USAGE: &str = "\
ntp [-q] [-p PORT] [-w SECONDS] [HOST]
Asks a time server (default pool.ntp.org), prints how far the system's clock is from it, and sets
it: `Run GRANT clock ntp`. What has asked for the time already keeps to it until it asks again.
  -q  only asks
  -p  the server's port (default 123)
  -w  how long to wait for the answer (default 5)
Returns 0, 5 if the clock could not be set, or 10.";

const PORT: u16 = 123;

/// Tells how far the clock is from a time server's.
#[must_use]
pub fn ntp() -> i64 {
    run(USAGE, |words| {
        let (mut host, mut patience_s, mut port, mut only_asks) = (None, 5, PORT, false);
        while let Some(word) = words.take() {
            match word {
                Word::Help => return Err(Stop::Usage),
                Word::Option('q') => only_asks = true,
                Word::Option('p') => port = words.number(1, 65_535)? as u16,
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
        let server = SocketAddr::new(to, port);
        let exchange = sntp::Exchange::new(cookie(&names)?);
        let answer = ask(&network, server, &exchange, patience_s * clock::SECOND);
        let (answer, came_ns) = answer.map_err(|error| Stop::Failed(Some(host), error))?;
        println!("server {to}, stratum {}", answer.stratum);
        let wrong = Millis(answer.uncertainty_ns);
        match names.wall_clock() {
            Ok(clock_ns) => {
                let offset = answer.unix_ns.wrapping_sub(clock_ns + came_ns) as i64;
                println!("offset {} s, give or take {wrong} ms", Seconds(offset));
            }
            // A machine without a clock of its own.
            Err(Error::NoService) => println!("no clock yet, give or take {wrong} ms"),
            Err(error) => return Err(Stop::Failed(Some("the system's clock"), error)),
        }
        if only_asks {
            return Ok(OK);
        }
        match names.set_wall_clock(answer.unix_ns.saturating_sub(came_ns)) {
            Ok(()) => println!("the clock was set"),
            Err(Error::NoRight) => {
                println!("the clock was not set: that takes the right (Run GRANT clock ntp)");
                return Ok(WARN);
            }
            Err(error) => return Err(Stop::Failed(Some("the system's clock"), error)),
        }
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
    server: SocketAddr,
    exchange: &sntp::Exchange,
    patience_ns: u64,
) -> Result<(sntp::Answer, u64), Error> {
    let local = match server.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let mut socket = network.udp_bind(SocketAddr::new(local, 0))?;
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
