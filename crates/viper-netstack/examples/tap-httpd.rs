//! Serves a page to Linux over a TAP device, with a stack that Linux knows nothing about.
//!
//! As root:
//!
//! ```text
//! ip tuntap add dev viper0 mode tap && ip addr add 192.168.77.1/24 dev viper0
//! ip link set viper0 up
//! cargo run --example tap-httpd -- viper0 192.168.77.2/24 &
//! curl http://192.168.77.2/
//! ```

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use viper_netstack::{
    Cidr, Config, FrameDevice, InterfaceConfig, Medium, SocketId, Stack, TcpOptions,
};

/// A TAP device: each read and write is one frame.
struct Tap {
    file: File,
    buffer: Vec<u8>,
}

impl Tap {
    fn open(name: &str) -> std::io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")?;
        let mut request = [0; IFREQ_LEN];
        let name = name.as_bytes();
        request[..name.len().min(15)].copy_from_slice(&name[..name.len().min(15)]);
        request[16..18].copy_from_slice(&(IFF_TAP | IFF_NO_PI).to_ne_bytes());
        // SAFETY:
        // 1. `file` is open, so its descriptor is valid for the whole call.
        // 2. TUNSETIFF reads and writes one `struct ifreq`, 40 bytes on 64-bit Linux and 32 on
        //    others (netdevice(7)); `request` has 40, is writable, and outlives the call.
        // 3. `struct ifreq` begins with bytes and has no pointers that this request reads.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
        if result < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the descriptor is valid; F_SETFL takes an integer and touches no memory.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        if result < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(Self {
            file,
            buffer: vec![0; 65_536],
        })
    }

    /// Waits until there is a frame, or for so long.
    fn wait(&self, timeout: Duration) {
        let mut poll = libc::pollfd {
            fd: self.file.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let timeout = i32::try_from(timeout.as_millis() + 1).unwrap_or(i32::MAX);
        // SAFETY: `poll` is one valid entry that outlives the call, and 1 is how many there are.
        unsafe { libc::poll(&raw mut poll, 1, timeout) };
    }
}

impl FrameDevice for Tap {
    fn receive(&mut self, take: &mut dyn FnMut(&[u8], bool)) -> bool {
        match self.file.read(&mut self.buffer) {
            Ok(len) => {
                take(&self.buffer[..len], false);
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn can_transmit(&self) -> bool {
        true
    }

    fn transmit(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> bool {
        fill(&mut self.buffer[..len]);
        self.file.write_all(&self.buffer[..len]).is_ok()
    }
}

struct Visitor {
    id: SocketId,
    request: Vec<u8>,
    unsent: Vec<u8>,
}

impl Visitor {
    /// Reads, answers, and says whether there is more to do.
    fn serve(&mut self, stack: &mut Stack) -> bool {
        let request = &mut self.request;
        while let Ok(len) = stack.tcp_recv_with(self.id, |bytes| {
            request.extend_from_slice(bytes);
            bytes.len()
        }) {
            if len == 0 || request.len() > 8192 {
                break;
            }
        }
        if self.unsent.is_empty() && request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            self.unsent = page(request);
            request.clear();
        }
        while !self.unsent.is_empty() {
            match stack.tcp_send(self.id, &self.unsent) {
                Ok(len) => drop(self.unsent.drain(..len)),
                Err(viper_netstack::Error::WouldBlock) => return true,
                Err(_) => return false,
            }
            if self.unsent.is_empty() {
                return false;
            }
        }
        matches!(stack.tcp_is_connected(self.id), Ok(true))
    }
}

/// `/` is a page, `/123` is that many bytes.
fn page(request: &[u8]) -> Vec<u8> {
    let line = String::from_utf8_lossy(request);
    let path = line
        .split_whitespace()
        .nth(1)
        .unwrap_or("/")
        .trim_start_matches('/');
    let body = match path.parse::<usize>() {
        Ok(len) => (0..len.min(1 << 28)).map(|i| (i / 7) as u8).collect(),
        Err(_) => b"<h1>Hello from viper-netstack</h1>\n".to_vec(),
    };
    let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), &body].concat()
}

fn seed() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(seed)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("usage: tap-httpd DEVICE ADDRESS/PREFIX".into());
    };
    let (ip, prefix) = address
        .split_once('/')
        .ok_or("an address with its prefix")?;
    let cidr = Cidr::new(ip.parse()?, prefix.parse()?).ok_or("no such prefix")?;
    let mut tap = Tap::open(&name)?;
    let start = Instant::now();
    let mut stack = Stack::new(Config::default(), seed()?, 0);
    let medium = Medium::Ethernet {
        mac: [2, 0, 0, 0, 0, 77],
    };
    stack.add_interface(&InterfaceConfig::fixed("net0", medium, &[cidr]))?;
    let options = TcpOptions {
        send_bytes: 1 << 18,
        ..TcpOptions::default()
    };
    let listener = stack.tcp_listen("[::]:80".parse()?, 64, &options)?;
    let mut visitors: Vec<Visitor> = Vec::new();
    loop {
        let now = start.elapsed().as_nanos() as u64;
        let next = stack.poll(now, &mut [&mut tap]);
        let mut is_busy = false;
        while stack.take_ready().is_some() {
            is_busy = true;
        }
        while let Ok(id) = stack.tcp_accept(listener) {
            visitors.push(Visitor {
                id,
                request: Vec::new(),
                unsent: Vec::new(),
            });
        }
        visitors.retain_mut(|visitor| {
            let goes_on = visitor.serve(&mut stack);
            if !goes_on {
                let _ = stack.close(visitor.id);
            }
            goes_on
        });
        if !is_busy {
            let until = next.map_or(u64::MAX, |next| next.saturating_sub(now));
            tap.wait(Duration::from_nanos(until.min(1_000_000_000)));
        }
    }
}

const IFREQ_LEN: usize = 40;
/// `_IOW('T', 202, int)`.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const IFF_TAP: u16 = 2;
const IFF_NO_PI: u16 = 0x1000;
