//! `wall`: the same work as `interop/linux-guest` does in Linux, timed by the clock.
//!
//! Prints `WALL name nanoseconds` for each part.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use viper_proto::fs::{Files, flags};
use viper_proto::names;
use viper_proto::net::client::{Network, TcpStream};
use viper_rt::abi::{FOREVER, Slot};
use viper_rt::handle::Channel;
use viper_rt::{Error, clock, eprintln, println, program};

const CHUNK: usize = 64 << 10;
const PAGE: usize = 4 << 10;
const TCP_BYTES: usize = 64 << 20;
/// The host as a guest of QEMU's user network sees it.
const HOST: [u8; 4] = [10, 0, 2, 2];
const FAILED: i64 = 20;

/// What the program does; its result is the return code.
pub fn run() -> i64 {
    match measure() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("wall: {error}");
            FAILED
        }
    }
}

struct Disk {
    names: names::Client,
    files: Files,
    buffer: Vec<u8>,
}

fn measure() -> Result<(), Error> {
    let channel: Channel = program::take(Slot::NAMES)
        .ok_or(Error::NoService)?
        .into_object();
    let mut disk = Disk {
        names: names::Client::new(channel),
        files: Files::new(),
        buffer: vec![0x5a; CHUNK],
    };
    time("cold-read-8m", || disk.read("/big", 8 << 20))?;
    time("write-64m-fsync", || disk.write("/out", 64 << 20))?;
    time("small-files-10000", || disk.small_files("/many"))?;
    // The host's port, where somebody takes what is sent, says so, and sends as much.
    let Some(port) = program::arguments().nth(1) else {
        return Ok(());
    };
    let host = SocketAddr::from((HOST, port.parse().map_err(|_| Error::InvalidArgument)?));
    let network = Network::connect_through(&disk.names)?;
    let mut host = network.tcp_connect(host, clock::after(5 * clock::SECOND))?;
    time("tcp-send-64m", || send(&mut host, &mut disk.buffer))?;
    time("tcp-receive-64m", || receive(&mut host, &mut disk.buffer))
}

fn send(host: &mut TcpStream, buffer: &mut [u8]) -> Result<(), Error> {
    for _ in 0..TCP_BYTES / CHUNK {
        host.write_all(buffer, FOREVER)?;
    }
    receive_exact(host, &mut buffer[..1])
}

fn receive(host: &mut TcpStream, buffer: &mut [u8]) -> Result<(), Error> {
    for _ in 0..TCP_BYTES / CHUNK {
        receive_exact(host, buffer)?;
    }
    Ok(())
}

fn receive_exact(host: &mut TcpStream, mut to: &mut [u8]) -> Result<(), Error> {
    while !to.is_empty() {
        match host.read(to, FOREVER)? {
            0 => return Err(Error::PeerClosed),
            count => to = &mut to[count..],
        }
    }
    Ok(())
}

fn time(name: &str, work: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let before = clock::now();
    work()?;
    println!("WALL {name} {}", clock::now() - before);
    Ok(())
}

impl Disk {
    /// A file of this size, a page at a time.
    fn read(&mut self, path: &str, size: u64) -> Result<(), Error> {
        let Self {
            names,
            files,
            buffer,
        } = self;
        let (file, _) = files.open(names, path, flags::READ, 0)?;
        let mut at = 0;
        loop {
            match files.read(names, file, at, &mut buffer[..PAGE])? {
                0 => break,
                count => at += count as u64,
            }
        }
        files.close(file)?;
        if at == size { Ok(()) } else { Err(Error::Io) }
    }

    /// A new file of this size, safe on the disk at the end.
    fn write(&mut self, path: &str, size: u64) -> Result<(), Error> {
        let (file, _) = self
            .files
            .open(&self.names, path, flags::WRITE | flags::CREATE, 0o644)?;
        let mut at = 0;
        while at < size {
            self.put(file, at, CHUNK)?;
            at += CHUNK as u64;
        }
        self.files.sync_file(&self.names, file)?;
        self.files.close(file)
    }

    fn put(&mut self, file: viper_proto::fs::FileId, at: u64, len: usize) -> Result<(), Error> {
        let mut done = 0;
        while done < len {
            let from = &self.buffer[done..len];
            match self
                .files
                .write(&self.names, file, at + done as u64, from)?
            {
                0 => return Err(Error::Io),
                count => done += count,
            }
        }
        Ok(())
    }

    /// A hundred directories with a hundred files of 1 KiB each, then everything to the disk.
    fn small_files(&mut self, path: &str) -> Result<(), Error> {
        self.files.make_directory(&self.names, path, 0o755)?;
        for dir in 0..100 {
            let dir = format!("{path}/d{dir:02}");
            self.files.make_directory(&self.names, &dir, 0o755)?;
            for file in 0..100 {
                let path = format!("{dir}/f{file:02}");
                let how = flags::WRITE | flags::CREATE;
                let (file, _) = self.files.open(&self.names, &path, how, 0o644)?;
                self.put(file, 0, 1024)?;
                self.files.close(file)?;
            }
        }
        self.files.sync(&self.names)
    }
}
