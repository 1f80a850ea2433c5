//! Who is at the other end of a wire: a TCP that nobody here wrote.
//!
//! Without rights it is the one in QEMU's user network (a descendant of 4.4BSD's): a QEMU without
//! a machine joins it to the wire, and programs of this machine are reached through it. With the
//! right to make a network of one's own (`unshare --net`, `ip`, `/dev/net/tun`) it is this
//! machine's Linux.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{Plug, Wire};
use crate::child::{Child, output_of};
use crate::error::{Context, Result, unable};
use crate::qemu;

/// A peer, gone when dropped.
#[derive(Debug)]
pub struct Peer {
    _child: Child,
    address: SocketAddr,
    name: &'static str,
}

impl Peer {
    /// QEMU's user network at the end of `wire`, with a service behind it.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started.
    pub fn emulator(wire: &Wire) -> Result<Self> {
        Ok(Self {
            address: service()?,
            _child: Child::spawn(hub(&wire.peer(), "user,id=far"))?,
            name: "QEMU's user network",
        })
    }

    /// This machine's Linux at the end of `wire`, in a network of its own.
    ///
    /// # Errors
    ///
    /// Why that cannot be.
    pub fn linux(wire: &Wire) -> Result<Self> {
        let own = std::env::current_exe().context("this program")?;
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command
            .args(["--net", "--kill-child", "--fork", "--"])
            .arg(own);
        command.arg("wire-peer").arg(wire.peer().local);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = Child::spawn(command)?;
        let mut said = Vec::new();
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            use crate::child::{Event, Stream};
            match child.next(deadline)? {
                Event::Bytes(Stream::Out, bytes) if bytes.starts_with(READY) => break,
                Event::Bytes(_, bytes) => said.extend(bytes),
                Event::Quiet | Event::Closed => {
                    return unable(format!(
                        "no network of one's own: {}",
                        String::from_utf8_lossy(&said).trim()
                    ));
                }
            }
        }
        Ok(Self {
            _child: child,
            address: SocketAddr::from((LINUX, PORT)),
            name: "Linux",
        })
    }

    /// This machine's Linux if it can be had, and QEMU's user network otherwise: then the second
    /// is the reason.
    ///
    /// # Errors
    ///
    /// When there is neither.
    pub fn best(wire: &Wire) -> Result<(Self, Option<String>)> {
        match Self::linux(wire) {
            Ok(peer) => Ok((peer, None)),
            Err(error) => Ok((Self::emulator(wire)?, Some(error.to_string()))),
        }
    }

    /// Where its service is, for the guest.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whose TCP it is.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// The service alone, for guests in QEMU's user network: where they find it.
///
/// # Errors
///
/// When there is no port.
pub fn service() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port")?;
    let port = listener.local_addr().context("a port")?.port();
    // Ends with this program.
    std::thread::spawn(move || serve(&listener));
    Ok(SocketAddr::from((HOST, port)))
}

/// A QEMU without a machine that joins a network, whose id is `far`, to the wire.
fn hub(plug: &Plug, far: &str) -> Command {
    let mut command = Command::new(qemu::PROGRAM);
    command.args(["-M", "none", "-nodefaults", "-no-user-config"]);
    command.args(["-display", "none", "-monitor", "none", "-serial", "none"]);
    for (netdev, id) in [(&*plug.netdev("wire"), "wire"), (far, "far")] {
        command.args(["-netdev", netdev, "-netdev"]);
        command.arg(format!("hubport,hubid=0,id=port-{id},netdev={id}"));
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// The peer's own process, in a network that is empty yet.
///
/// # Errors
///
/// When its card cannot be made.
pub fn run(at: &Path) -> Result<ExitCode> {
    let dir = at.parent().unwrap_or(at);
    let plug = Plug::at(dir, "peer");
    for words in [
        &["link", "set", "lo", "up"][..],
        &["tuntap", "add", "dev", TAP, "mode", "tap"],
        &["address", "add", &format!("{LINUX}/24"), "dev", TAP],
        &["link", "set", TAP, "up"],
        &["route", "add", "default", "dev", TAP],
    ] {
        let mut command = Command::new("ip");
        command.args(words);
        output_of(command)?;
    }
    let tap = format!("tap,id=far,ifname={TAP},script=no,downscript=no");
    let _hub = Child::spawn(hub(&plug, &tap))?;
    let leases = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).context("a port for leases")?;
    leases.set_broadcast(true).context("a port for leases")?;
    std::thread::spawn(move || lease(&leases));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).context("a port")?;
    let mut out = std::io::stdout();
    out.write_all(READY)
        .and_then(|()| out.flush())
        .context("the parent")?;
    serve(&listener);
    Ok(ExitCode::SUCCESS)
}

/// Gives the guest its address: DHCP (RFC 2131) for one client that asks for nothing special.
fn lease(socket: &UdpSocket) {
    let mut space = [0; 1500];
    while let Ok((len, _)) = socket.recv_from(&mut space) {
        if let Some(reply) = offer(&space[..len]) {
            let _ = socket.send_to(&reply, (Ipv4Addr::BROADCAST, 68));
        }
    }
}

/// The answer to a question of a DHCP client, if there is one.
fn offer(question: &[u8]) -> Option<Vec<u8>> {
    let options = question.get(240..)?;
    // The type of the message is option 53; all others are skipped.
    let mut at = 0;
    let kind = loop {
        match options.get(at..)? {
            [53, 1, kind, ..] => break *kind,
            [0, ..] => at += 1,
            [_, len, ..] => at += 2 + usize::from(*len),
            _ => return None,
        }
    };
    let answer = match kind {
        DISCOVER => OFFER,
        REQUEST => ACKNOWLEDGE,
        _ => return None,
    };
    let mut reply = question[..240].to_vec();
    reply[0] = 2;
    reply[16..20].copy_from_slice(&GUEST.octets());
    reply[20..24].copy_from_slice(&LINUX.octets());
    reply.extend([53, 1, answer, 54, 4]);
    reply.extend(LINUX.octets());
    reply.extend([51, 4, 0, 1, 0, 0, 1, 4, 255, 255, 255, 0, 3, 4]);
    reply.extend(LINUX.octets());
    reply.push(255);
    Some(reply)
}

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACKNOWLEDGE: u8 = 5;

fn serve(listener: &TcpListener) {
    let ended = Arc::new(AtomicU64::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // No file is free, or the other side has gone already.
            std::thread::sleep(LOOK);
            continue;
        };
        let ended = ended.clone();
        std::thread::spawn(move || {
            let _ = answer(stream, &ended);
        });
    }
}

/// Does what a line asks for: `send N SEED` wants N bytes of a stream and their hash,
/// `receive N` brings N and wants their hash, `echo` wants back what it brings, and `close`
/// nothing. `give`, `take` and `hold` go on, with bytes from here, with bytes to here, and with none,
/// until the other side ends, or says `end` in another connection: `ended` counts how often.
fn answer(stream: TcpStream, ended: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut input = BufReader::with_capacity(CHUNK, stream);
    let mut line = String::new();
    input.by_ref().take(100).read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let what = words.next().unwrap_or("");
    let mut number = || {
        words
            .next()
            .and_then(|word| word.parse().ok())
            .unwrap_or(0_u64)
    };
    match what {
        "send" => {
            let (mut left, mut bytes) = (number(), Bytes(number()));
            let mut hash = Sha256::new();
            let mut chunk = vec![0; CHUNK];
            while left > 0 {
                let part = &mut chunk[..left.min(CHUNK as u64) as usize];
                bytes.fill(part);
                hash.update(&*part);
                out.write_all(part)?;
                left -= part.len() as u64;
            }
            out.write_all(&hash.finalize())?;
            // Until the guest has it all.
            input.read(&mut chunk).map(drop)
        }
        "receive" => {
            let mut hash = Sha256::new();
            let mut chunk = vec![0; CHUNK];
            let mut left = number();
            while left > 0 {
                let part = left.min(CHUNK as u64) as usize;
                let count = input.read(&mut chunk[..part])?;
                if count == 0 {
                    return Ok(());
                }
                hash.update(&chunk[..count]);
                left -= count as u64;
            }
            out.write_all(&hash.finalize())?;
            input.read(&mut chunk).map(drop)
        }
        "echo" => std::io::copy(&mut input, &mut out).map(drop),
        "give" => until_ended(ended, &out, |chunk| (&out).write(chunk)),
        "take" | "hold" => until_ended(ended, &out, |chunk| input.read(chunk)),
        "end" => {
            ended.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Repeats what moves bytes until the other side ends, or all are to.
fn until_ended(
    ended: &AtomicU64,
    stream: &TcpStream,
    mut step: impl FnMut(&mut [u8]) -> std::io::Result<usize>,
) -> std::io::Result<()> {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(LOOK))?;
    let before = ended.load(Ordering::Relaxed);
    let mut chunk = vec![0; CHUNK];
    while ended.load(Ordering::Relaxed) == before {
        match step(&mut chunk) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The stream of bytes that belongs to a seed; `nettest` in the guest knows it, too.
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

/// This machine, as QEMU's user network shows it to the guest.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const LINUX: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 9);
const PORT: u16 = 5030;
const TAP: &str = "wire";
const READY: &[u8] = b"ready\n";
const PATIENCE: Duration = Duration::from_secs(20);
const CHUNK: usize = 64 << 10;
/// How often it is looked whether all are to end.
const LOOK: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_for_an_address_are_answered() {
        let mut question = vec![1; 240];
        assert_eq!(offer(&question), None);
        question.extend([55, 2, 1, 3, 0, 53, 1, DISCOVER, 255]);
        let reply = offer(&question).expect("an offer");
        assert_eq!((reply[0], &reply[16..20]), (2, &[10, 0, 2, 15][..]));
        assert_eq!(reply[240..243], [53, 1, OFFER]);
        for len in 0..question.len() {
            let _ = offer(&question[..len]);
        }
        question[247] = 4;
        assert_eq!(offer(&question), None);
    }
}
