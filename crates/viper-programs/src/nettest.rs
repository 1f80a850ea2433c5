//! `nettest`: what the system tests of the network do in the guest.
//!
//! The peer is `distro`'s (`wire/peer.rs`): a line says what is wanted, and both sides hash.

mod flows;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use core::fmt::Write;
use core::net::SocketAddr;
use sha2::{Digest, Sha256};
use viper_proto::net::client::{Network, TcpStream};
use viper_rt::abi::FOREVER;
use viper_rt::{Error, clock, eprintln, println, program};

const USAGE: &str = "\
nettest send ADDRESS:PORT BYTES       sends so many bytes; the peer answers with their hash
nettest receive ADDRESS:PORT BYTES    is sent so many bytes, and their hash
nettest connects ADDRESS:PORT COUNT   connects and closes so often, each side first in turn
nettest flows ADDRESS:PORT COUNT SECONDS [KILLS]
    so many connections at work until somebody ends the network server, within so many seconds:
    how each ends, and how soon everything is back; with KILLS it does that itself, so often, and
    compares what is in use after the first and the last (`Run GRANT manage,system nettest ...`)
nettest frames COUNT SECONDS          waits for so many frames, and until no more come";

const CHUNK: usize = 64 << 10;
const USED_WRONGLY: i64 = 20;
const FAILED: i64 = 10;
/// How long no frame comes when no more will.
const QUIET_NS: u64 = 500 * clock::MILLISECOND;
/// After so many connections it is said how long they took: later ones are to be as quick.
const PART: u64 = 500;
/// How long connecting may take on a bad wire.
const PATIENCE_NS: u64 = 120 * clock::SECOND;

/// What the program does; its result is the return code.
pub fn run() -> i64 {
    let mut words = program::arguments().skip(1);
    let mut next = || words.next().unwrap_or("");
    let (what, at, number) = (next(), next(), next());
    let mut more = || next().parse().unwrap_or(0);
    let (seconds, kills) = (more(), more());
    let text = |error: Error| error.to_string();
    let outcome = match (what, at.parse(), number.parse()) {
        ("send", Ok(at), Ok(bytes)) => send(at, bytes).map_err(text),
        ("receive", Ok(at), Ok(bytes)) => receive(at, bytes).map_err(text),
        ("connects", Ok(at), Ok(count)) => connects(at, count).map_err(text),
        ("flows", Ok(at), Ok(count @ 1..)) if seconds > 0 => {
            flows::run(at, count as usize, seconds, kills)
        }
        ("frames", _, Ok(seconds)) => match at.parse() {
            Ok(count) => frames(count, seconds).map_err(text),
            Err(_) => Err(text(Error::InvalidArgument)),
        },
        _ => {
            println!("{USAGE}");
            return USED_WRONGLY;
        }
    };
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("nettest: {what}: {error}");
            FAILED
        }
    }
}

fn connect(network: &Network, at: SocketAddr) -> Result<TcpStream, Error> {
    network.tcp_connect(at, clock::after(PATIENCE_NS))
}

fn send(at: SocketAddr, bytes: u64) -> Result<(), Error> {
    let mut peer = connect(&Network::connect()?, at)?;
    let started = clock::now();
    peer.write_all(format!("receive {bytes}\n").as_bytes(), FOREVER)?;
    let mut stream = Bytes(bytes);
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let part = &mut chunk[..left.min(CHUNK as u64) as usize];
        stream.fill(part);
        hash.update(&*part);
        peer.write_all(part, FOREVER)?;
        left -= part.len() as u64;
    }
    compare("sent", bytes, started, &mut peer, hash)
}

fn receive(at: SocketAddr, bytes: u64) -> Result<(), Error> {
    let mut peer = connect(&Network::connect()?, at)?;
    let started = clock::now();
    peer.write_all(format!("send {bytes} {bytes}\n").as_bytes(), FOREVER)?;
    let mut stream = Bytes(bytes);
    let mut hash = Sha256::new();
    let (mut chunk, mut expected) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut left = bytes;
    while left > 0 {
        let part = left.min(CHUNK as u64) as usize;
        peer.read_exact(&mut chunk[..part], FOREVER)?;
        stream.fill(&mut expected[..part]);
        if chunk[..part] != expected[..part] {
            return Err(Error::Corrupt);
        }
        hash.update(&chunk[..part]);
        left -= part as u64;
    }
    compare("received", bytes, started, &mut peer, hash)
}

/// The peer says its hash; it is ours, or something is wrong.
fn compare(
    what: &str,
    bytes: u64,
    started: u64,
    peer: &mut TcpStream,
    hash: Sha256,
) -> Result<(), Error> {
    let mut theirs = [0; 32];
    peer.read_exact(&mut theirs, FOREVER)?;
    let seconds = (clock::now() - started) as f64 / 1e9;
    let ours: [u8; 32] = hash.finalize().into();
    if ours != theirs {
        return Err(Error::Corrupt);
    }
    let mut text = String::new();
    for byte in &ours[..8] {
        let _ = write!(text, "{byte:02x}");
    }
    println!("{what} {bytes} bytes in {seconds:.1} s, both hash to {text}..");
    Ok(())
}

fn connects(at: SocketAddr, count: u64) -> Result<(), Error> {
    let network = Network::connect()?;
    let started = clock::now();
    let (mut byte, mut before) = ([0], started);
    for round in 0..count {
        if round > 0 && round % PART == 0 {
            let now = clock::now();
            let part_ms = (now - before) / clock::MILLISECOND;
            println!("{PART} connections, up to {round}, in {part_ms} ms");
            before = now;
        }
        let mut peer = connect(&network, at)?;
        match round % 4 {
            // The peer closes first,
            0 => {
                peer.write_all(b"close\n", FOREVER)?;
                if peer.read(&mut byte, FOREVER)? != 0 {
                    return Err(Error::Corrupt);
                }
            }
            // or this side, before it has said anything, or after an exchange,
            1 => {}
            2 => {
                peer.write_all(b"echo\n!", FOREVER)?;
                peer.read_exact(&mut byte, FOREVER)?;
            }
            // or with a reset.
            _ => peer.abort(),
        }
    }
    let seconds = (clock::now() - started) as f64 / 1e9;
    println!("connected and closed {count} times in {seconds:.1} s");
    Ok(())
}

fn frames(count: u64, seconds: u64) -> Result<(), Error> {
    let network = Network::connect()?;
    let deadline = clock::after(seconds * clock::SECOND);
    let mut before = 0;
    while clock::now() < deadline {
        clock::sleep(QUIET_NS);
        let all = network.interfaces()?;
        let (_, card) = all.get(1).ok_or(Error::NotFound)?;
        if card.packets_in >= count && card.packets_in == before {
            let dropped = card.dropped;
            println!("{before} frames came, {dropped} were dropped");
            return Ok(());
        }
        before = card.packets_in;
    }
    eprintln!("nettest: {before} frames came");
    Err(Error::TimedOut)
}

/// The stream of bytes that belongs to a seed; the peer knows it, too.
struct Bytes(u64);

impl Bytes {
    fn fill(&mut self, to: &mut [u8]) {
        for word in to.chunks_mut(8) {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let bytes = (self.0 ^ self.0 >> 29).to_le_bytes();
            word.copy_from_slice(&bytes[..word.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_goes_on_where_it_was() {
        let (mut whole, mut parts) = ([0; 64], [0; 64]);
        Bytes(5).fill(&mut whole);
        let mut stream = Bytes(5);
        let (first, second) = parts.split_at_mut(24);
        stream.fill(first);
        stream.fill(second);
        assert_eq!(whole, parts);
        let mut other = [0; 64];
        Bytes(6).fill(&mut other);
        assert_ne!(whole, other);
    }
}
