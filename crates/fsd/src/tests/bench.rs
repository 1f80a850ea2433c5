//! A small supervisor: starts the servers, connects clients to them, and kills them when told.

use crate::{Fsd, System, World};
use blkd::fake::{FakeDisk, NoRegisters};
use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use viper_proto::fs::{Files, flags};
use viper_proto::names;
use viper_rt::abi::{FOREVER, Slot};
use viper_rt::client::{self, send};
use viper_rt::handle::{Channel, Device, OwnedHandle, Process};
use viper_rt::message::Reader;
use viper_rt::server::{self, Answer, NewClient, Service, Sources, supervisor};
use viper_rt::{Error, Object, clock, host, program};
use viperfs::{FormatOptions, MemoryDevice};

/// The wall clock at the start of the fake machine.
pub(super) const BOOT_NS: u64 = 1_700_000_000_000_000_000;

/// Lines that the file server said.
pub(super) type Log = Arc<Mutex<Vec<String>>>;

type Make = Box<dyn FnMut(&Sources<()>) -> Started + Send>;

struct Started {
    process: Process,
    up: Channel,
}

struct Init {
    sources: Sources<()>,
    makers: BTreeMap<&'static str, Make>,
    running: BTreeMap<&'static str, Started>,
}

impl Init {
    fn start(&mut self, name: &str) {
        if let Some((&name, make)) = self.makers.get_key_value(name).map(|(n, _)| (n, ())) {
            let make = (make, self.makers.get_mut(name).unwrap()).1;
            let started = make(&self.sources);
            self.running.insert(name, started);
        }
    }

    fn answer(&mut self, mut request: Reader) -> Result<Answer, Error> {
        match request.label() as u16 {
            // connect
            1 => {
                let name = request.bytes()?;
                let name = if &*name == b"BLKD:" { "blkd" } else { "fsd" };
                let started = self.running.get(name).ok_or(Error::NoService)?;
                let (ours, theirs) = Channel::pair(8)?;
                send(
                    &started.up,
                    supervisor::NEW_CLIENT,
                    (1u64, 1u64, theirs),
                    FOREVER,
                )
                .map_err(|_| Error::NoService)?;
                Ok(Answer::from_result(Ok(ours)))
            }
            // duplicate
            2 => {
                let _ = request.word()?;
                let (ours, theirs) = Channel::pair(8)?;
                self.sources.adopt(ours, ());
                Ok(Answer::from_result(Ok(theirs)))
            }
            // server_kill, server_restart
            operation @ (9 | 10) => {
                let name = request.bytes()?;
                let name = name.as_str()?.to_owned();
                if let Some(started) = self.running.remove(name.as_str()) {
                    let _ = started.process.kill(1);
                }
                if operation == 10 {
                    self.start(&name);
                }
                Ok(Answer::from_result(Ok(())))
            }
            // wall_clock
            18 => Ok(Answer::from_result(Ok(BOOT_NS))),
            _ => Err(Error::NotSupported),
        }
    }
}

impl Service for Init {
    type Client = ();

    fn connect(&mut self, _: NewClient) -> Result<(), Error> {
        Ok(())
    }

    fn request(&mut self, _: &mut (), request: Reader) -> Answer {
        self.answer(request).unwrap_or_else(Answer::error)
    }

    fn stop(&mut self) {
        for started in core::mem::take(&mut self.running).into_values() {
            let _ = started.process.kill(0);
        }
    }
}

/// The world of the file server, with its log kept.
struct Logged(System, Log);

impl World for Logged {
    type Disk = <System as World>::Disk;

    fn open_disk(&mut self, part: Option<(u64, u64)>) -> Result<Self::Disk, Error> {
        self.0.open_disk(part)
    }

    fn wall_clock_ns(&self) -> i64 {
        self.0.wall_clock_ns()
    }

    fn say(&mut self, line: fmt::Arguments<'_>) {
        self.1
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line.to_string());
    }
}

fn start_blkd(disk: &FakeDisk, device: &Device) -> Started {
    let (up, down) = Channel::pair(16).unwrap();
    let slots = vec![
        (Slot::SUPERVISOR, down.into_owned()),
        (Slot::DEVICE, device.try_clone().unwrap().into_owned()),
    ];
    let disk = disk.clone();
    // As the device is reset when a driver starts: what the last one left is gone.
    let main = move || {
        let _ = blkd::Disk::restart(&mut disk.clone(), &mut |_| {});
        disk.serve(clock::SECOND)
    };
    let process = host::spawn_process("blkd", slots, &["blkd"], main).unwrap();
    Started { process, up }
}

fn start_fsd(sources: &Sources<()>, log: &Log) -> Started {
    let (up, down) = Channel::pair(16).unwrap();
    let (ours, theirs) = Channel::pair(8).unwrap();
    sources.adopt(ours, ());
    let slots = vec![
        (Slot::SUPERVISOR, down.into_owned()),
        (Slot::NAMES, theirs.into_owned()),
    ];
    let log = log.clone();
    let process = host::spawn_process("fsd", slots, &["fsd"], move || {
        let names = program::take(Slot::NAMES).map(OwnedHandle::into_object);
        let world = Logged(System::new(names.map(names::Client::new)), log);
        i64::from(server::serve(|sources| Ok(Fsd::new(world, sources))).is_err())
    });
    Started {
        process: process.unwrap(),
        up,
    }
}

/// A machine with a disk, the two servers, and a program with files.
pub(super) struct Bench {
    pub(super) disk: FakeDisk,
    pub(super) names: names::Client,
    pub(super) files: Files,
    log: Log,
    up: Channel,
}

/// A disk with an empty volume of so many blocks.
pub(super) fn formatted(blocks: u64) -> FakeDisk {
    let mut device = MemoryDevice::new(blocks);
    let options = FormatOptions {
        label: "test",
        uuid: [7; 16],
        ..FormatOptions::default()
    };
    viperfs::format(&mut device, &options).unwrap();
    FakeDisk::holding(device.into_bytes())
}

impl Bench {
    pub(super) fn new(disk: FakeDisk) -> Bench {
        Bench::with(disk, true)
    }

    pub(super) fn with(disk: FakeDisk, has_blkd: bool) -> Bench {
        let log = Log::default();
        let (up, down) = Channel::pair(16).unwrap();
        let (served, said) = (disk.clone(), log.clone());
        let slots = vec![(Slot::SUPERVISOR, down.into_owned())];
        let init = move || {
            let ran = server::serve(|sources| {
                let device = host::device(Arc::new(NoRegisters), 512, 1);
                let mut makers = BTreeMap::<_, Make>::new();
                makers.insert("blkd", Box::new(move |_| start_blkd(&served, &device)));
                makers.insert("fsd", Box::new(move |sources| start_fsd(sources, &said)));
                let running = BTreeMap::new();
                let mut init = Init {
                    sources,
                    makers,
                    running,
                };
                if has_blkd {
                    init.start("blkd");
                }
                init.start("fsd");
                Ok(init)
            });
            i64::from(ran.is_err())
        };
        drop(host::spawn_process("init", slots, &["init"], init).unwrap());
        let (ours, theirs) = Channel::pair(8).unwrap();
        send(&up, supervisor::NEW_CLIENT, (1u64, 1u64, theirs), FOREVER).unwrap();
        Bench {
            disk,
            names: names::Client::new(ours),
            files: Files::new(),
            log,
            up,
        }
    }

    /// Lines that the file server said so far.
    pub(super) fn log(&self) -> Vec<String> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let how = flags::WRITE | flags::CREATE | flags::TRUNCATE;
        let (file, _) = self.files.open(&self.names, path, how, 0o644)?;
        let mut done = 0;
        while done < bytes.len() {
            let wrote = self
                .files
                .write(&self.names, file, done as u64, &bytes[done..]);
            match wrote {
                Ok(n) => done += n,
                Err(error) => {
                    let _ = self.files.close(file);
                    return Err(error);
                }
            }
        }
        self.files.close(file)
    }

    pub(super) fn read(&mut self, path: &str) -> Result<Vec<u8>, Error> {
        let (file, attributes) = self.files.open(&self.names, path, flags::READ, 0)?;
        let mut bytes = vec![0; attributes.size_bytes as usize];
        let mut done = 0;
        while done < bytes.len() {
            match self
                .files
                .read(&self.names, file, done as u64, &mut bytes[done..])?
            {
                0 => return Err(Error::Corrupt),
                n => done += n,
            }
        }
        self.files.close(file)?;
        Ok(bytes)
    }

    /// A channel of its own to the file server.
    pub(super) fn connect(&self) -> viper_proto::fs::Client {
        let channel = self
            .names
            .connect(b"FSD:", clock::after(clock::SECOND))
            .unwrap();
        viper_proto::fs::Client::new(channel)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = client::call::<()>(&self.up, supervisor::STOP, (), FOREVER);
    }
}

pub(super) fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..len).map(step).collect()
}
