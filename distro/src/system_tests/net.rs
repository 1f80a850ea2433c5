//! The network: addresses, names, echoes, connections both ways, rights, and a server that dies.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{Lab, Test, Verdict, long, one};
use crate::cli::MachineOptions;
use crate::disk::{self, Entry};
use crate::net_peer::{forward, free_port};

/// The tests of this file.
pub const TESTS: &[Test] = &[
    one("net-dhcp", dhcp),
    one("net-resolve", resolve),
    one("net-ping", ping),
    one("net-tcp-out", tcp_out),
    one("net-tcp-in", tcp_in),
    one("net-tcp-refused", refused),
    one("net-within", within),
    one("net-server-dies", server_dies),
    one("net-ntp", ntp),
    one("net-none", none),
    one("net-switched-off", switched_off),
    one("net-usage", usage),
    long("net-8-mib-both-ways", bulk),
];

/// The host, as QEMU's user network shows it to the guest.
const HOST: &str = "10.0.2.2";
const GUEST_PORT: u16 = 5021;
/// 1 May 2031, in seconds since 1900.
const IN_2031: u32 = 4_144_348_800;
const PATIENCE: Duration = Duration::from_secs(100);

fn net() -> MachineOptions {
    MachineOptions::default()
}

fn no_net() -> MachineOptions {
    MachineOptions {
        no_net: true,
        ..MachineOptions::default()
    }
}

fn dhcp(lab: &Lab<'_>) -> Verdict {
    let outcome = lab.run(&net(), "netinfo -w 20")?;
    outcome.code(0)?;
    outcome.prints("net0: ethernet, up, mtu 1500")?;
    outcome.prints("address 10.0.2.15/24 (dhcp)")?;
    outcome.prints("route 0.0.0.0/0 by 10.0.2.2 (dhcp)")?;
    outcome.prints("name server 10.0.2.3")
}

fn resolve(lab: &Lab<'_>) -> Verdict {
    let outcome = lab.run(&net(), "resolve localhost 10.1.2.3 ::1")?;
    outcome.code(0)?;
    outcome.prints("localhost 127.0.0.1")?;
    outcome.prints("localhost ::1")?;
    outcome.prints("10.1.2.3 10.1.2.3")
}

fn ping(lab: &Lab<'_>) -> Verdict {
    // The first has to wait for an address.
    let outcome = lab.run(
        &net(),
        "Ping -c 3 -i 100 10.0.2.2; ping -c 2 -i 10 localhost",
    )?;
    outcome.code(0)?;
    outcome.prints("3 sent, 3 received, 0% lost")?;
    outcome.prints("2 sent, 2 received, 0% lost")
}

/// A listener on the host that says what it read, and answers.
fn host_listener(answer: &'static [u8]) -> Result<(u16, Receiver<Vec<u8>>), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
    let port = listener.local_addr().map_err(text)?.port();
    let (said, heard) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all);
            let _ = stream.write_all(answer);
            if said.send(all).is_err() {
                return;
            }
        }
    });
    Ok((port, heard))
}

fn tcp_out(lab: &Lab<'_>) -> Verdict {
    let (port, heard) = host_listener(b"from the host\n")?;
    let outcome = lab.run(&net(), &format!("Echo from the guest | nc {HOST} {port}"))?;
    outcome.code(0)?;
    outcome.prints("from the host")?;
    match heard.recv_timeout(Duration::from_secs(5)) {
        Ok(bytes) if bytes == b"from the guest\n" => Ok(()),
        other => Err(format!("the host heard {other:?}")),
    }
}

/// Connects into the guest until somebody there answers.
fn into_guest(port: u16, question: &'static [u8]) -> Receiver<Vec<u8>> {
    let (said, heard) = channel();
    thread::spawn(move || {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let answer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).and_then(|mut stream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(question)?;
                stream.shutdown(std::net::Shutdown::Write)?;
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer)?;
                Ok(answer)
            });
            match answer {
                Ok(answer) if !answer.is_empty() => {
                    let _ = said.send(answer);
                    return;
                }
                _ => thread::sleep(Duration::from_millis(100)),
            }
        }
    });
    heard
}

fn tcp_in(lab: &Lab<'_>) -> Verdict {
    let port = free_port().map_err(text)?;
    let options = MachineOptions {
        hostfwd: vec![forward(port, GUEST_PORT)],
        ..net()
    };
    let heard = into_guest(port, b"is anybody there\n");
    let outcome = lab.run(&options, &format!("Echo yes, here | nc -l {GUEST_PORT}"))?;
    outcome.code(0)?;
    outcome.prints("is anybody there")?;
    match heard.recv_timeout(Duration::from_secs(5)) {
        Ok(bytes) if bytes == b"yes, here\n" => Ok(()),
        other => Err(format!("the host heard {other:?}")),
    }
}

fn refused(lab: &Lab<'_>) -> Verdict {
    let outcome = lab.run(&net(), "nc -d localhost 9")?;
    outcome.code(10)?;
    outcome.prints("connection refused")
}

fn within(lab: &Lab<'_>) -> Verdict {
    let script = "nc -l 7000 > T:got &\nSleep 1\nEcho through the rings | nc localhost 7000\nSleep 1\n\
                  Type T:got\nnetstat";
    let outcome = lab.run(&net(), script)?;
    outcome.code(0)?;
    outcome.prints("through the rings")
}

fn server_dies(lab: &Lab<'_>) -> Verdict {
    let port = free_port().map_err(text)?;
    let options = MachineOptions {
        hostfwd: vec![forward(port, GUEST_PORT)],
        ..net()
    };
    let (host, _heard) = host_listener(b"")?;
    // A connection out, one within, and a listener, when the server dies: the connections end, the
    // listener is there again, and everything else never noticed.
    let script = format!(
        "netinfo -w 20\nnc -d {HOST} {host} &\nnc -l 7000 &\nSleep 1\nnc -d localhost 7000 &\n\
         nc -kl {GUEST_PORT} > T:got &\nSleep 1\nServers netd kill\nType S:startup\nSleep 2\n\
         Servers\nnetstat\nping -c 1 {HOST}"
    );
    let heard = into_guest(port, b"after its death\n");
    let outcome = lab.run(&options, &script)?;
    drop(heard);
    outcome.code(0)?;
    outcome.prints("Assign C: SYS:c")?;
    outcome.prints("server died")?;
    outcome.prints(&format!("*:{GUEST_PORT}"))?;
    outcome.prints("1 sent, 1 received, 0% lost")
}

/// A time server of one's own, in another year: it sets the clock, if that is allowed.
fn ntp(lab: &Lab<'_>) -> Verdict {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
    let port = socket.local_addr().map_err(text)?.port();
    // Ends with this program.
    thread::spawn(move || {
        let mut question = [0; 100];
        while let Ok((48, from)) = socket.recv_from(&mut question) {
            let mut reply = [0; 48];
            // Version 4, a server, of stratum 1.
            reply[..2].copy_from_slice(&[0x24, 1]);
            reply[12..16].copy_from_slice(b"TEST");
            reply[24..32].copy_from_slice(&question[40..48]);
            for at in [16, 32, 40] {
                reply[at..at + 4].copy_from_slice(&IN_2031.to_be_bytes());
            }
            let _ = socket.send_to(&reply, from);
        }
    });
    let script = format!(
        "netinfo -w 20 > NIL:\nntp -p {port} {HOST}\nDate +before%Y\n\
         Run GRANT clock ntp -p {port} {HOST}\nDate +after%Y-%m\nntp -q -p {port} {HOST}"
    );
    let outcome = lab.run(&net(), &script)?;
    outcome.prints("the clock was not set: that takes the right")?;
    outcome.prints("the clock was set")?;
    outcome.prints("after2031-05")?;
    if outcome.output.contains("before2031") {
        return Err("the clock was set without the right".into());
    }
    // The server's clock stands still; ours has gone on for a moment.
    outcome
        .prints("offset -0.")
        .or_else(|_| outcome.prints("offset 0."))
        .or_else(|_| outcome.prints("offset -1."))
}

fn none(lab: &Lab<'_>) -> Verdict {
    let outcome = lab.run(&no_net(), "netinfo -w 5")?;
    outcome.code(10)?;
    outcome.prints("there is no network card")?;
    let outcome = lab.run(&no_net(), &format!("nc -d {HOST} 80"))?;
    outcome.code(10)?;
    outcome.prints("host unreachable")
}

fn switched_off(lab: &Lab<'_>) -> Verdict {
    let options = MachineOptions {
        servers: Some("-netd".into()),
        ..net()
    };
    let outcome = lab.run(&options, "Version; netinfo")?;
    outcome.code(20)?;
    outcome.prints("ViperOS")?;
    outcome.prints("the network service is not running")
}

fn usage(lab: &Lab<'_>) -> Verdict {
    for name in [
        "ping", "ping6", "netinfo", "netstat", "resolve", "nc", "ntp",
    ] {
        let outcome = lab.run(&no_net(), &format!("{name} --help"))?;
        outcome.code(0)?;
        outcome.prints(if name == "ping6" { "ping" } else { name })?;
    }
    lab.run(&no_net(), "nc -x")?.code(20)
}

fn bulk(lab: &Lab<'_>) -> Verdict {
    const LEN: usize = 8 << 20;
    let bytes: Vec<u8> = (0..LEN as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let disk = lab.copied_disk("bulk.img")?;
    let tools = disk::tools();
    let entry = Entry::File {
        path: "/t/out".into(),
        contents: bytes.clone(),
        executable: false,
    };
    tools.put(&disk.path, &[entry]).map_err(text)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
    let port = listener.local_addr().map_err(text)?.port();
    let echo = thread::spawn(move || -> std::io::Result<()> {
        let (stream, _) = listener.accept()?;
        let (mut from, mut to) = (stream.try_clone()?, stream);
        std::io::copy(&mut from, &mut to)?;
        to.shutdown(std::net::Shutdown::Write)
    });
    let script = format!("nc {HOST} {port} < T:out > T:back");
    let time = Duration::from_secs(600);
    let outcome = lab.run_for(&net(), Some(disk.clone()), &script, time)?;
    outcome.code(0)?;
    drop(echo);
    let back = tools.get(&disk.path, "/t/back").map_err(text)?;
    if back == bytes {
        Ok(())
    } else {
        Err(format!(
            "{} of {LEN} bytes came back, or others",
            back.len()
        ))
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
