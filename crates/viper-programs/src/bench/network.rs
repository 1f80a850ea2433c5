//! Rows that pass through the network server.

use super::{Figure, Sampler};
use crate::own::{Own, end_of};
use alloc::format;
use alloc::vec;
use core::cell::RefCell;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use viper_proto::names;
use viper_proto::net::client::{Network, TcpStream};
use viper_rt::abi::{FOREVER, Rights, Slot};
use viper_rt::{Error, Object, clock, program};

type Row = (
    &'static str,
    fn(&Sampler, &mut Own) -> Result<Figure, Error>,
);

/// The rows, in order.
pub(super) const ROWS: &[Row] = &[
    ("tcp-round-trip", round_trip),
    ("tcp-send-1m", |s, own| bulk(s, own, "tcp-send-1m", SEND)),
    ("tcp-receive-1m", |s, own| {
        bulk(s, own, "tcp-receive-1m", RECEIVE)
    }),
];

const CHILD_BYTES: u64 = 8 << 20;
/// Where the peer outside of the machine comes to.
const PEER_PORT: u16 = 5020;
const PEER_TIMEOUT_NS: u64 = 20 * clock::SECOND;
/// What the peer says first, and what it is asked to do.
const HELLO: u8 = b'H';
const SEND: u8 = b'S';
const RECEIVE: u8 = b'R';
const BULK_BYTES: usize = 1 << 20;

/// The role of a child: sends back whatever comes.
pub(super) fn echo() -> i64 {
    match try_echo() {
        Ok(()) => 0,
        Err(_) => super::FAILED,
    }
}

fn try_echo() -> Result<(), Error> {
    let port = program::arguments().nth(2).and_then(|p| p.parse().ok());
    let at = local(port.ok_or(Error::InvalidArgument)?);
    let mut stream = Network::connect()?.tcp_connect(at, FOREVER)?;
    let mut space = [0; 64];
    loop {
        match stream.read(&mut space, FOREVER)? {
            0 => return Ok(()),
            count => stream.write_all(&space[..count], FOREVER)?,
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn round_trip(sampler: &Sampler, own: &mut Own) -> Result<Figure, Error> {
    let network = Network::connect_through(&own.names)?;
    let mut listener = network.tcp_listen(local(0), 1)?;
    let port = format!("{}", listener.local().port());
    let names: names::Client = own.names.duplicate(0)?.into();
    let handle = names.connection().channel().raw();
    let handles = [(Slot::NAMES, handle, Rights::ALL)];
    let (child, _quota) = own.child(CHILD_BYTES, &["tcp-echo", &port], &handles)?;
    let mut stream = listener.accept(clock::after(PEER_TIMEOUT_NS))?;
    let mut one = [7];
    let figure = sampler.take(19, "tcp-round-trip", 101, || {
        stream.write_all(&one, FOREVER)?;
        stream.read_exact(&mut one, FOREVER)
    });
    drop(stream);
    end_of(&child, clock::after(PEER_TIMEOUT_NS))?;
    figure
}

/// A peer outside that connects to us.
fn peer(own: &Own) -> Result<TcpStream, Error> {
    let network = Network::connect_through(&own.names)?;
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PEER_PORT);
    let mut listener = network.tcp_listen(any, 1)?;
    let mut stream = listener.accept(clock::after(PEER_TIMEOUT_NS))?;
    let mut hello = [0];
    stream.read_exact(&mut hello, clock::after(PEER_TIMEOUT_NS))?;
    if hello[0] == HELLO {
        Ok(stream)
    } else {
        Err(Error::BadMessage)
    }
}

fn bulk(sampler: &Sampler, own: &mut Own, name: &'static str, what: u8) -> Result<Figure, Error> {
    let stream = RefCell::new(peer(own)?);
    let mut bytes = vec![0x5a; BULK_BYTES];
    let ask = || stream.borrow_mut().write_all(&[what], FOREVER);
    sampler.take_with(20, name, 9, ask, |()| {
        let mut stream = stream.borrow_mut();
        if what == SEND {
            stream.write_all(&bytes, FOREVER)?;
            // It has arrived when the peer says so.
            stream.read_exact(&mut [0], FOREVER)
        } else {
            stream.read_exact(&mut bytes, FOREVER)
        }
    })
}
