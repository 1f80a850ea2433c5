//! Both sides against each other, in memory.

mod chains;
mod handshake;
mod pki;

use crate::{ClientConfig, Connection, Error, ServerConfig, UnixSeconds};
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use core::sync::atomic::{AtomicU64, Ordering};
use rustls::crypto::{CryptoProvider, GetRandomFailed};
use std::sync::Arc;
use viper_tls_provider::{Crypto, FillFn};

/// Different bytes at each call.
fn fill(buffer: &mut [u8]) -> Result<(), GetRandomFailed> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let seed = NEXT.fetch_add(1, Ordering::Relaxed);
    ChaCha20Rng::seed_from_u64(seed).fill_bytes(buffer);
    Ok(())
}

static RANDOM: FillFn = FillFn(fill);
static CRYPTO: Crypto = Crypto::new(&RANDOM);

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CRYPTO.provider())
}

/// 2026-11-22.
const NOW: UnixSeconds = UnixSeconds(1_795_305_600);
const DAY: u64 = 24 * 60 * 60;

/// Moves all output of `from` to `to`, in parts of `part` bytes. Stops at an error.
fn deliver(from: &mut Connection, to: &mut Connection, part: usize) -> Result<usize, Error> {
    let mut moved = 0;
    while !from.tls_output().is_empty() {
        let output = from.tls_output();
        let taken = to.read_tls(&output[..output.len().min(part)])?;
        if taken == 0 {
            break;
        }
        from.output_sent(taken);
        moved += taken;
    }
    Ok(moved)
}

/// Both sides of a connection.
struct Pair {
    client: Connection,
    server: Connection,
}

impl Pair {
    fn new(client: &ClientConfig, server: &ServerConfig, name: &str) -> Self {
        Self {
            client: Connection::client(client, name, Some(NOW)).unwrap(),
            server: Connection::server(server, Some(NOW)).unwrap(),
        }
    }

    /// Lets bytes flow until there are none left, or the client or server fails.
    fn run(&mut self) -> Result<(), (Who, Error)> {
        self.run_in_parts(usize::MAX)
    }

    fn run_in_parts(&mut self, part: usize) -> Result<(), (Who, Error)> {
        loop {
            let there = deliver(&mut self.client, &mut self.server, part);
            let there = there.map_err(|error| (Who::Server, error))?;
            let back = deliver(&mut self.server, &mut self.client, part);
            let back = back.map_err(|error| (Who::Client, error))?;
            if there + back == 0 {
                return Ok(());
            }
        }
    }

    fn is_up(&self) -> bool {
        !self.client.is_handshaking() && !self.server.is_handshaking()
    }
}

/// Who noticed an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Client,
    Server,
}

fn read_all(connection: &mut Connection) -> Vec<u8> {
    let mut all = Vec::new();
    let mut part = [0; 1000];
    loop {
        match connection.read_plain(&mut part) {
            0 => return all,
            len => all.extend_from_slice(&part[..len]),
        }
    }
}
