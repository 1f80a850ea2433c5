//! The other end of the guest's network figures: a client that connects into the guest.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::qemu::parse_forward;

/// The port at which the guest's `bench` listens.
const GUEST_PORT: u16 = 5020;
const BULK_BYTES: usize = 1 << 20;
/// How long the guest may take to say what it wants.
const GREETING: Duration = Duration::from_secs(3);
/// How long between attempts: the guest listens when it comes to that.
const PAUSE: Duration = Duration::from_millis(100);

/// Connects into the guest again and again, until dropped.
#[derive(Debug)]
pub struct Peer {
    port: u16,
    stop: Arc<AtomicBool>,
}

impl Peer {
    /// Starts one at a port that is free.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn start() -> std::io::Result<Self> {
        let port = free_port()?;
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                // No guest, or it does not listen: the connection ends at once.
                let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(serve);
                std::thread::sleep(PAUSE);
            }
        });
        Ok(Self { port, stop })
    }

    /// The forward that brings it to the guest.
    pub fn forward(&self) -> String {
        forward(self.port, GUEST_PORT)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A port of this machine that is free, as far as one can know.
///
/// # Errors
///
/// When there is none.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// The option that forwards a port of this machine to the guest.
pub fn forward(host: u16, guest: u16) -> String {
    parse_forward(&format!("tcp:{host}-{guest}")).expect("two ports")
}

/// Does what the guest asks for, until it goes.
fn serve(mut guest: TcpStream) -> std::io::Result<()> {
    guest.set_nodelay(true)?;
    // A guest that is not there yet lets a connection hang: better to try again soon.
    guest.set_read_timeout(Some(GREETING))?;
    guest.write_all(b"H")?;
    let mut bytes = vec![0x5a; BULK_BYTES];
    let mut what = [0];
    loop {
        guest.read_exact(&mut what)?;
        guest.set_read_timeout(None)?;
        match &what {
            b"S" => {
                guest.read_exact(&mut bytes)?;
                guest.write_all(b"k")?;
            }
            b"R" => guest.write_all(&bytes)?,
            _ => return Ok(()),
        }
    }
}
