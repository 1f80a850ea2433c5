//! A wire between the guest's network card and a peer on which frames get lost.
//!
//! The guest's QEMU and the peer's speak datagrams on Unix sockets; this process stands between
//! them. See [`peer`] for who is at the other end.

pub mod fuzz;
pub mod peer;
mod repeats;
mod weather;

use std::collections::VecDeque;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Context, Result};
use repeats::Repeats;
use weather::Sky;
pub use weather::{Dice, Tally, Weather};

/// A wire; frames stop when it is dropped.
#[derive(Debug)]
pub struct Wire {
    dir: Dir,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    out: Arc<Mutex<Side>>,
    into: Arc<Mutex<Side>>,
    injector: UnixDatagram,
}

/// The folder of the sockets. Its name is short: names of sockets may not be long.
#[derive(Debug)]
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What is known of one direction.
#[derive(Debug, Default)]
struct Side {
    tally: Tally,
    /// The last frames that went this way.
    last: VecDeque<Vec<u8>>,
}

/// The sockets of one end: what QEMU binds, and what it sends to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plug {
    /// QEMU's own.
    pub local: PathBuf,
    /// The wire's.
    pub remote: PathBuf,
}

impl Plug {
    fn at(dir: &Path, name: &str) -> Self {
        Self {
            local: dir.join(name),
            remote: dir.join(format!("wire-{name}")),
        }
    }

    /// QEMU's `-netdev` for it.
    pub fn netdev(&self, id: &str) -> String {
        let path = |path: &Path| path.to_string_lossy().replace(',', ",,");
        format!(
            "dgram,id={id},local.type=unix,local.path={},remote.type=unix,remote.path={}",
            path(&self.local),
            path(&self.remote)
        )
    }
}

impl Wire {
    /// A wire with this weather in both directions; `seed` makes it the same every time.
    ///
    /// # Errors
    ///
    /// When its sockets cannot be made.
    pub fn new(weather: Weather, seed: u64) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("viper-wire-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Left by a process that had the same number.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).context(path.display())?;
        let dir = Dir(path);
        let (guest, peer) = (Plug::at(&dir.0, "guest"), Plug::at(&dir.0, "peer"));
        let bind = |path: &Path| UnixDatagram::bind(path).context(path.display());
        let (at_guest, at_peer) = (bind(&guest.remote)?, bind(&peer.remote)?);
        let clone = |socket: &UnixDatagram| socket.try_clone().context("a socket of the wire");
        let injector = clone(&at_guest)?;
        let mut wire = Self {
            dir,
            stop: Arc::default(),
            threads: Vec::new(),
            out: Arc::default(),
            into: Arc::default(),
            injector,
        };
        let out = (clone(&at_guest)?, clone(&at_peer)?, peer.local);
        wire.carry(out, Sky::new(weather, seed), wire.out.clone());
        let into = (at_peer, at_guest, guest.local);
        wire.carry(into, Sky::new(weather, seed + 1), wire.into.clone());
        Ok(wire)
    }

    fn carry(
        &mut self,
        (from, by, to): (UnixDatagram, UnixDatagram, PathBuf),
        mut sky: Sky,
        side: Arc<Mutex<Side>>,
    ) {
        let stop = self.stop.clone();
        self.threads.push(std::thread::spawn(move || {
            let _ = by.set_write_timeout(Some(LOOK));
            let mut repeats = Repeats::default();
            let mut space = vec![0; FRAME_MAX];
            while !stop.load(Ordering::Relaxed) {
                let next = sky.next().map_or(LOOK, |due| {
                    due.saturating_duration_since(Instant::now()).min(LOOK)
                });
                let _ = from.set_read_timeout(Some(next.max(Duration::from_micros(1))));
                if let Ok(len) = from.recv(&mut space) {
                    let frame = space[..len].to_vec();
                    sky.tally.repeated += u64::from(repeats.note(&frame));
                    sky.take(Instant::now(), frame);
                }
                while let Some(frame) = sky.due(Instant::now()) {
                    // Counted first: who has received it finds it counted.
                    {
                        let mut side = side.lock().expect("no panic while counting");
                        side.tally = sky.tally;
                        side.last.push_back(frame.clone());
                        if side.last.len() > KEPT {
                            side.last.pop_front();
                        }
                    }
                    // Nobody may be there yet, or any more.
                    let _ = by.send_to(&frame, &to);
                }
            }
        }));
    }

    /// Where the guest's card is plugged in.
    pub fn guest(&self) -> Plug {
        Plug::at(&self.dir.0, "guest")
    }

    /// Where the peer is plugged in.
    pub fn peer(&self) -> Plug {
        Plug::at(&self.dir.0, "peer")
    }

    /// What was done so far to the guest's frames, and to those for it.
    pub fn tallies(&self) -> (Tally, Tally) {
        let tally = |side: &Mutex<Side>| side.lock().expect("no panic while counting").tally;
        (tally(&self.out), tally(&self.into))
    }

    /// The last frames that went to the guest.
    pub fn last_frames(&self) -> Vec<Vec<u8>> {
        let side = self.into.lock().expect("no panic while counting");
        side.last.iter().cloned().collect()
    }

    /// Sends a frame of one's own to the guest, whatever the weather.
    ///
    /// # Errors
    ///
    /// When nobody takes it.
    pub fn inject(&self, frame: &[u8]) -> std::io::Result<()> {
        let plug = self.guest();
        self.injector.send_to(frame, plug.local).map(drop)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// How often a thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);
const FRAME_MAX: usize = 70_000;
/// Frames of each direction that are remembered.
const KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cross_and_are_counted() {
        let wire = Wire::new(Weather::default(), 1).expect("a wire");
        let guest = UnixDatagram::bind(wire.guest().local).expect("a guest");
        let peer = UnixDatagram::bind(wire.peer().local).expect("a peer");
        let mut space = [0; 100];
        guest
            .send_to(b"to the peer", wire.guest().remote)
            .expect("sent");
        peer.set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a time");
        assert_eq!(peer.recv(&mut space).expect("a frame"), 11);
        peer.send_to(b"back", wire.peer().remote).expect("sent");
        guest
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a time");
        assert_eq!(guest.recv(&mut space).expect("a frame"), 4);
        wire.inject(b"a third").expect("injected");
        assert_eq!(guest.recv(&mut space).expect("a frame"), 7);
        let (out, into) = wire.tallies();
        assert_eq!((out.frames, out.bytes), (1, 11));
        assert_eq!((into.frames, into.bytes), (1, 4));
        assert_eq!(wire.last_frames(), [b"back".to_vec()]);
    }
}
