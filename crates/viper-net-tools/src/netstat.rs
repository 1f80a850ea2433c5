//! `netstat`.

use crate::arguments::{Problem, Word};
use crate::{OK, Stop, run};
use alloc::string::{String, ToString};
use core::net::SocketAddr;
use viper_proto::net::client::Network;
use viper_proto::net::{Endpoint, kind, tcp_state};
use viper_rt::println;

const USAGE: &str = "\
netstat
Prints the sockets of all programs. Queues: bytes not yet taken by the program, and not yet
acknowledged by the other end; of a listener, connections not yet accepted.";

/// Lists sockets.
#[must_use]
pub fn netstat() -> i64 {
    run(USAGE, |words| {
        match words.take() {
            None => {}
            Some(Word::Help) => return Err(Stop::Usage),
            Some(Word::Option(option)) => return Err(Problem::UnknownOption(option).into()),
            Some(Word::Plain(_)) => return Err(Problem::TooMany.into()),
        }
        let network = Network::connect()?;
        println!(
            "{:<6} {:>6} {:>6} {:<24} {:<24} {:<12} {:>7}",
            "Kind", "In", "Out", "Local", "Peer", "State", "Process"
        );
        for socket in network.sockets()? {
            let name = match socket.kind {
                kind::TCP | kind::LISTENER => "tcp",
                kind::UDP => "udp",
                _ => "icmp",
            };
            let state = match socket.kind {
                kind::TCP | kind::LISTENER => tcp_state::NAMES.get(socket.state as usize),
                _ => None,
            };
            println!(
                "{name:<6} {:>6} {:>6} {:<24} {:<24} {:<12} {:>7}",
                socket.receive_queue,
                socket.send_queue,
                place(socket.local),
                place(socket.peer),
                state.copied().unwrap_or("-"),
                socket.process_id,
            );
        }
        Ok(OK)
    })
}

fn place(at: Endpoint) -> String {
    let at = SocketAddr::from(at);
    match (at.ip().is_unspecified(), at.port()) {
        (true, 0) => String::from("*"),
        (true, port) => alloc::format!("*:{port}"),
        _ => at.to_string(),
    }
}
