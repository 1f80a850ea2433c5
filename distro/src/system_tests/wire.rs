//! The network on a bad wire, with a peer whose TCP nobody here wrote.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Lab, Outcome, Test, Verdict, long, one};
use crate::cli::MachineOptions;
use crate::wire::fuzz::changed;
use crate::wire::peer::Peer;
use crate::wire::{Dice, Tally, Weather, Wire};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    one("net-lossy", lossy),
    one("net-fuzzed", fuzzed),
    long("net-lossy-long-1", |lab| long_run(lab, 1.0)),
    long("net-lossy-long-5", |lab| long_run(lab, 5.0)),
    long("net-lossy-long-20", |lab| long_run(lab, 20.0)),
    long("net-lossy-long-all", all_troubles),
    long("net-connects-10000", connects_10000),
];

const MIB: u64 = 1 << 20;
const SEED: u64 = 20;

/// A guest at one end of a wire, and a peer at the other.
struct Line {
    wire: Wire,
    peer: Peer,
    options: MachineOptions,
}

impl Line {
    /// With Linux' TCP if that can be had here, and QEMU's otherwise.
    fn best(weather: Weather) -> Result<Self, String> {
        let wire = Wire::new(weather, SEED).map_err(text)?;
        let (peer, reason) = Peer::best(&wire).map_err(text)?;
        if let Some(reason) = reason {
            println!("# not Linux but {} is the peer: {reason}", peer.name());
        }
        Ok(Self::between(wire, peer))
    }

    fn emulator(weather: Weather) -> Result<Self, String> {
        let wire = Wire::new(weather, SEED).map_err(text)?;
        let peer = Peer::emulator(&wire).map_err(text)?;
        Ok(Self::between(wire, peer))
    }

    fn between(wire: Wire, peer: Peer) -> Self {
        let options = MachineOptions {
            wire: Some(wire.guest()),
            ..MachineOptions::default()
        };
        Self {
            wire,
            peer,
            options,
        }
    }

    fn run(&self, lab: &Lab<'_>, text: &str, time: Duration) -> Result<Outcome, String> {
        let disk = crate::qemu::Disk::scratch(lab.built_disk()?);
        lab.run_for(&self.options, Some(disk), text, time)
    }

    /// So many bytes each way come as they were sent; says what that took.
    fn both_ways(&self, lab: &Lab<'_>, name: &str, bytes: u64, time: Duration) -> Verdict {
        let at = self.peer.address();
        let script = format!(
            "netinfo -w 100 > NIL:\nnettest send {at} {bytes}\nnettest receive {at} {bytes}"
        );
        let outcome = self.run(lab, &script, time)?;
        outcome.code(0)?;
        outcome.prints(&format!("sent {bytes} bytes in "))?;
        outcome.prints(&format!("received {bytes} bytes in "))?;
        for line in outcome
            .output
            .lines()
            .filter(|line| line.contains(" hash to "))
        {
            println!("# {name}, peer {}: {}", self.peer.name(), line.trim());
        }
        let (out, into) = self.wire.tallies();
        println!("# {name}, from the guest: {}", tell(&out));
        println!("# {name}, to the guest: {}", tell(&into));
        Ok(())
    }
}

fn tell(tally: &Tally) -> String {
    format!(
        "{} frames, {} lost, {} twice, {} changed, {} held back; {} segments of data repeated",
        tally.frames,
        tally.lost,
        tally.duplicated,
        tally.corrupted,
        tally.reordered,
        tally.repeated
    )
}

/// Bad enough for every kind of recovery, and short.
fn lossy(lab: &Lab<'_>) -> Verdict {
    let weather = Weather {
        loss: 5.0,
        duplicate: 1.0,
        corrupt: 1.0,
        reorder: 2.0,
        ..Weather::default()
    };
    let line = Line::best(weather)?;
    line.both_ways(lab, "net-lossy", 2 * MIB, Duration::from_secs(100))?;
    let (out, into) = line.wire.tallies();
    for tally in [out, into] {
        if tally.lost * tally.corrupted * tally.duplicated * tally.reordered == 0 {
            return Err(format!("the weather was too good: {}", tell(&tally)));
        }
    }
    Ok(())
}

fn long_run(lab: &Lab<'_>, loss: f64) -> Verdict {
    let weather = Weather {
        loss,
        ..Weather::default()
    };
    let name = format!("{loss} % loss");
    let hour = Duration::from_secs(3600);
    Line::best(weather)?.both_ways(lab, &name, 100_000_000, hour)
}

fn all_troubles(lab: &Lab<'_>) -> Verdict {
    let weather = Weather {
        loss: 1.0,
        duplicate: 1.0,
        corrupt: 1.0,
        reorder: 2.0,
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(2),
    };
    let hour = Duration::from_secs(3600);
    Line::best(weather)?.both_ways(lab, "every trouble", 100_000_000, hour)
}

/// A hundred thousand changed frames into the running guest, which then works as before.
fn fuzzed(lab: &Lab<'_>) -> Verdict {
    const FRAMES: u64 = 100_000;
    let line = Line::emulator(Weather::default())?;
    let at = line.peer.address();
    // Sockets of each kind for the frames to be about, and traffic to change.
    let script = format!(
        "netinfo -w 20 > NIL:\nnc -kl 7000 > NIL: &\nnettest send {at} 100000\n\
         ping -c 3 -i 10 10.0.2.2\nresolve nobody.invalid > NIL:\n\
         Echo begin; nettest frames {FRAMES} 90\nEcho end; ping -c 3 -i 100 10.0.2.2\n\
         nettest send {at} 100000\nnettest receive {at} 100000\nServers"
    );
    let (begun, ended, injected) = (
        AtomicBool::new(false),
        AtomicBool::new(false),
        AtomicU64::new(0),
    );
    let disk = crate::qemu::Disk::scratch(lab.built_disk()?);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut dice = Dice::new(SEED);
            let mut seeds = Vec::new();
            while !ended.load(Ordering::Relaxed) && injected.load(Ordering::Relaxed) < FRAMES {
                if !begun.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
                if seeds.is_empty() {
                    seeds = line.wire.last_frames();
                }
                let frame = changed(&seeds, &mut dice, CARD);
                if line.wire.inject(&frame).is_ok() {
                    injected.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let time = Duration::from_secs(150);
        let outcome = lab.run_until(&line.options, Some(disk), &script, time, |text| {
            begun.fetch_or(text.contains("begin"), Ordering::Relaxed);
            ended.fetch_or(text.contains("end"), Ordering::Relaxed);
            None
        });
        ended.store(true, Ordering::Relaxed);
        outcome
    })?;
    let injected = injected.load(Ordering::Relaxed);
    let came = { outcome.output.lines() }.find(|line| line.contains(" frames came"));
    println!(
        "# net-fuzzed: {injected} frames sent; {}",
        came.unwrap_or("")
    );
    outcome.code(0)?;
    if injected < FRAMES || came.is_none() {
        return Err(format!("only {injected} frames were sent"));
    }
    let after = outcome.output.split("end").nth(1).unwrap_or("");
    for wanted in ["3 received, 0% lost", "sent 100000", "received 100000"] {
        if !after.contains(wanted) {
            return Err(format!("after the frames there is no `{wanted}`"));
        }
    }
    Ok(())
}

fn connects_10000(lab: &Lab<'_>) -> Verdict {
    many_connects(lab, 10_000)
}

/// Connects and closes: sockets and memory are what they were.
fn many_connects(lab: &Lab<'_>, count: u64) -> Verdict {
    let line = Line::emulator(Weather::default())?;
    let at = line.peer.address();
    // The first ones fill what is kept for reuse, and the table of what is in TIME-WAIT.
    let round = format!("nettest connects {at} {count}\nSleep 2\nAvail\nnetstat\n");
    let script = format!(
        "netinfo -w 20 > NIL:\n{}",
        [round.as_str(); 3].join("Echo again\n")
    );
    let started = Instant::now();
    let outcome = line.run(lab, &script, Duration::from_secs(300))?;
    outcome.code(0)?;
    outcome.prints(&format!("connected and closed {count} times"))?;
    let rounds: Vec<&str> = outcome.output.split("again\n").collect();
    let used: Vec<u64> = rounds
        .iter()
        .map(|round| in_use(round))
        .collect::<Result<_, _>>()?;
    println!(
        "# three times {count} connections in {:.0} s: {used:?} bytes in use after each",
        started.elapsed().as_secs_f32()
    );
    // The heap keeps the most that it had, and more connections than ever may by chance be ending at
    // the same time: but not each time.
    if used.len() != 3 || used.windows(2).all(|pair| pair[1] > pair[0] + SLACK) {
        return Err(format!("memory in use after each round: {used:?}"));
    }
    let after = rounds.last().copied().unwrap_or_default();
    let peer = at.to_string();
    let sockets = |text: &str| text.lines().filter(|line| line.contains(&peer)).count();
    match sockets(after) {
        0 => Ok(()),
        left => Err(format!("{left} sockets are left")),
    }
}

fn in_use(text: &str) -> Result<u64, String> {
    let line = text.lines().find(|line| line.starts_with("In use"));
    let digits: String = line
        .and_then(|line| line["In use".len()..].split_whitespace().next())
        .unwrap_or("")
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().map_err(|_| "`Avail` says no use".into())
}

/// What memory may differ by: a pair of buffers, and a few pages of tables.
const SLACK: u64 = (128 + 32) << 10;
/// The address that QEMU gives the first card.
const CARD: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
