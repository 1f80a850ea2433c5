//! The network server dies under many connections: they end with a clear error, what listens is
//! there again at once, and nothing else notices.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::{Lab, Outcome, Test, Verdict, long, one};
use crate::cli::MachineOptions;
use crate::disk::{self, Entry};
use crate::net_peer::{forward, free_port};
use crate::qemu::Disk;
use crate::wire::peer;

/// The tests of this file.
pub const TESTS: &[Test] = &[
    one("net-server-dies-100-flows", under_work),
    one("net-server-dies-twice-100-flows", |lab| {
        kills(lab, 1, 100, 2)
    }),
    one("net-too-many-flows", too_many),
    long("net-server-dies-1-flow", |lab| kills(lab, 1, 1, 5)),
    long("net-server-dies-smp-4-100-flows", |lab| {
        kills(lab, 4, 100, 5)
    }),
    long("net-server-dies-300-flows", |lab| kills(lab, 1, 300, 3)),
    long("net-server-dies-20-times-100-flows", |lab| {
        kills(lab, 1, 100, 20)
    }),
];

/// Where `nc` listens in the guest, and where `nettest` does.
const NC_PORT: u16 = 5021;
const FLOWS_PORT: u16 = 5033;
/// How long callers wait for an answer before they call again.
const ANSWER: Duration = Duration::from_millis(100);
/// A file of some MiB that is copied meanwhile.
const FILE_BYTES: u32 = 6 << 20;

/// Servers that a list has at least, `netd` not counted.
const SERVERS: usize = 5;

/// A machine whose two listeners this one can call.
struct Guest {
    options: MachineOptions,
    nc_port: u16,
    flows_port: u16,
    disk: Disk,
    file: Vec<u8>,
}

impl Guest {
    fn new(lab: &Lab<'_>) -> Result<Self, String> {
        let (nc_port, flows_port) = (free_port().map_err(text)?, free_port().map_err(text)?);
        let disk = lab.copied_disk("flows.img")?;
        let file: Vec<u8> = (0..FILE_BYTES)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let entry = Entry::File {
            path: "/t/file".into(),
            contents: file.clone(),
            executable: false,
        };
        disk::tools().put(&disk.path, &[entry]).map_err(text)?;
        Ok(Self {
            options: MachineOptions {
                hostfwd: vec![forward(nc_port, NC_PORT), forward(flows_port, FLOWS_PORT)],
                ..MachineOptions::default()
            },
            nc_port,
            flows_port,
            disk,
            file,
        })
    }

    /// Runs commands, while somebody calls the listener of `nettest` all the time.
    fn run(
        &self,
        lab: &Lab<'_>,
        script: &str,
        time: Duration,
        mut hear: impl FnMut(&str),
    ) -> Result<Outcome, String> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _ = call(self.flows_port, b"");
                    thread::sleep(Duration::from_millis(10));
                }
            });
            let disk = Some(self.disk.clone());
            let outcome = lab.run_until(&self.options, disk, script, time, |text| {
                hear(text);
                None
            });
            over.store(true, Ordering::Relaxed);
            outcome
        })
    }

    /// A copy that the guest made is what it was made of.
    fn is_copied(&self, lab: &Lab<'_>, path: &str) -> Verdict {
        match lab.file(&self.disk, path)? == self.file {
            true => Ok(()),
            false => Err(format!("{path} is not what was copied")),
        }
    }
}

/// Says something to a port, and hears what it answers soon.
fn call(port: u16, words: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(words)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// `Servers netd kill` while 100 connections are at work: files are copied before, at once after
/// and later, `nc` goes on listening, and all other servers are the processes that they were.
fn under_work(lab: &Lab<'_>) -> Verdict {
    let guest = Guest::new(lab)?;
    let at = peer::service().map_err(text)?;
    let script = format!(
        "netinfo -w 20 > NIL:\nnc -kl {NC_PORT} > T:got &\nnettest flows {at} 100 90 > T:flows 2>&1 &\n\
         until Search \"at work\" T:flows > NIL: || Search \"nettest:\" T:flows > NIL:\n\
         do Sleep 1\ndone\n\
         Servers\nEcho one; Sleep 1; Copy T:file T:before\n\
         Servers netd kill\nCopy T:file T:after\nType S:startup\n\
         Wait %2; Echo the code is $?\nEcho two; Sleep 1; Copy T:file T:later\n\
         Servers\nnetstat\nType T:flows\nType T:got\nping -c 1 10.0.2.2"
    );
    let time = Duration::from_secs(200);
    let outcome = guest.run(lab, &script, time, |text| {
        for word in ["one", "two"] {
            if text.lines().any(|line| line.trim() == word) {
                let port = guest.nc_port;
                thread::spawn(move || call(port, format!("call {word}\n").as_bytes()));
            }
        }
    })?;
    tell("net-server-dies-100-flows", &outcome);
    outcome.code(0)?;
    outcome.prints("the code is 0")?;
    outcome.prints("Assign C: SYS:c")?;
    outcome.prints("100 connections ended with \"server died\"")?;
    outcome.prints("100 new connections worked")?;
    outcome.prints("to callers from outside")?;
    outcome.prints("call one")?;
    outcome.prints("call two")?;
    outcome.prints("1 sent, 1 received, 0% lost")?;
    for path in ["/t/before", "/t/after", "/t/later"] {
        guest.is_copied(lab, path)?;
    }
    lab.is_sound(&guest.disk)?;
    others_are_the_same(&outcome.output)?;
    nothing_is_left(&outcome, at)
}

/// The server is killed so often under so many connections, and nothing is left behind.
fn kills(lab: &Lab<'_>, cores: u8, count: u32, kills: u32) -> Verdict {
    let mut guest = Guest::new(lab)?;
    guest.options.smp = Some(cores);
    let at = peer::service().map_err(text)?;
    let script = format!(
        "netinfo -w 20 > NIL:\nCopy T:file T:before\n\
         Run GRANT manage,system nettest flows {at} {count} 90 {kills} &\nCopy T:file T:during\n\
         Wait %1; Echo the code is $?\nnetstat\nServers"
    );
    let time = Duration::from_secs(u64::from(180 + kills * (20 + count / 4)));
    let outcome = guest.run(lab, &script, time, |_| {})?;
    tell(&format!("{kills} deaths, {count} flows"), &outcome);
    outcome.code(0)?;
    outcome.prints("the code is 0")?;
    outcome.prints(&format!(
        "death {kills}: {count} connections ended with \"server died\""
    ))?;
    guest.is_copied(lab, "/t/before")?;
    guest.is_copied(lab, "/t/during")?;
    nothing_is_left(&outcome, at)?;
    lab.is_sound(&guest.disk)
}

/// More connections than one program may have: it is told so, and everything else goes on.
fn too_many(lab: &Lab<'_>) -> Verdict {
    let guest = Guest::new(lab)?;
    let at = peer::service().map_err(text)?;
    let script = format!(
        "netinfo -w 20 > NIL:\nnettest flows {at} 1000 20; Echo the code is $?\n\
         nettest connects {at} 20\nping -c 1 10.0.2.2\nSleep 1\nnetstat"
    );
    let outcome = guest.run(lab, &script, Duration::from_secs(100), |_| {})?;
    tell("net-too-many-flows", &outcome);
    outcome.prints("1000 connections wanted, ")?;
    outcome.prints(" could be had: limit reached")?;
    outcome.prints("the code is 10")?;
    outcome.prints("connected and closed 20 times")?;
    outcome.prints("1 sent, 1 received, 0% lost")?;
    nothing_is_left(&outcome, at)
}

/// The output lists no socket that is connected to the peer.
fn nothing_is_left(outcome: &Outcome, peer: SocketAddr) -> Verdict {
    let peer = peer.to_string();
    let is_left = |line: &&str| line.starts_with("tcp") && line.contains(&peer);
    match outcome.output.lines().filter(is_left).count() {
        0 => Ok(()),
        count => Err(format!("{count} sockets are left")),
    }
}

/// The figures of a run.
fn tell(name: &str, outcome: &Outcome) {
    for line in outcome.output.lines() {
        let line = line.trim();
        if line.starts_with("flows: ") || line.starts_with("nettest: ") {
            println!("# {name}: {line}");
        }
    }
}

/// All servers but `netd` are the processes that they were: the output has two lists of them.
fn others_are_the_same(output: &str) -> Verdict {
    let mut lists: Vec<Vec<String>> = Vec::new();
    for line in output.lines() {
        // A server, its service and its process.
        let words: Vec<&str> = line.split_whitespace().take(3).collect();
        match (words.first(), lists.last_mut()) {
            (Some(&"Server"), _) => lists.push(Vec::new()),
            (
                Some(&("vinit" | "consoled" | "entropyd" | "blkd" | "fsd" | "sh" | "sshd")),
                Some(list),
            ) => {
                list.push(words.join(" "));
            }
            _ => {}
        }
    }
    match lists.as_slice() {
        [before, after] if before.len() >= SERVERS && before == after => Ok(()),
        _ => Err(format!("the servers before and after: {lists:?}")),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
