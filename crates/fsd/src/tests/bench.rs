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

/// The user and group that a client works for.
type Who = (u64, u64);
type Make = Box<dyn FnMut(&Sources<Who>) -> Started + Send>;

struct Started {
    process: Process,
    up: Channel,
}

struct Init {
    sources: Sources<Who>,
    kept: BTreeMap<u64, Vec<u8>>,
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

    fn answer(&mut self, who: Who, mut request: Reader) -> Result<Answer, Error> {
        match request.label() as u16 {
            // connect
            1 => {
                let name = request.bytes()?;
                let name = name.as_str()?.to_lowercase();
                let name = name.strip_suffix(':').ok_or(Error::NotFound)?;
                if !self.makers.contains_key(name) {
                    return Err(Error::NotFound);
                }
                let started = self.running.get(name).ok_or(Error::NoService)?;
                let (user, group) = who;
                let (ours, theirs) = Channel::pair(8)?;
                send(
                    &started.up,
                    supervisor::NEW_CLIENT,
                    (1u64, 1u64, theirs, &b""[..], user, group),
                    FOREVER,
                )
                .map_err(|_| Error::NoService)?;
                Ok(Answer::from_result(Ok(ours)))
            }
            // duplicate
            2 => {
                let _ = request.word()?;
                let (ours, theirs) = Channel::pair(8)?;
                self.sources.adopt(ours, who);
                Ok(Answer::from_result(Ok(theirs)))
            }
            // duplicate_as
            22 => {
                let _ = request.word()?;
                let (ours, theirs) = Channel::pair(8)?;
                self.sources.adopt(ours, (request.word()?, request.word()?));
                Ok(Answer::from_result(Ok(theirs)))
            }
            // keep, kept
            20 => {
                let slot = request.word()?;
                self.kept.insert(slot, request.bytes()?.to_vec());
                Ok(Answer::from_result(Ok(())))
            }
            21 => {
                let kept = self.kept.get(&request.word()?);
                let kept = kept.map_or(&b""[..], Vec::as_slice);
                Ok(Answer::from_result(Ok(kept)))
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
    type Client = Who;

    fn connect(&mut self, _: NewClient) -> Result<Who, Error> {
        Ok((0, 0))
    }

    fn request(&mut self, who: &mut Who, request: Reader) -> Answer {
        self.answer(*who, request).unwrap_or_else(Answer::error)
    }

    fn stop(&mut self) {
        for started in core::mem::take(&mut self.running).into_values() {
            let _ = started.process.kill(0);
        }
    }
}

/// The world of the file server, with its log kept.
#[derive(Clone)]
struct Logged(System, Log);

impl World for Logged {
    type Disk = <System as World>::Disk;

    fn open_disk(&mut self, number: u32, part: Option<(u64, u64)>) -> Result<Self::Disk, Error> {
        self.0.open_disk(number, part)
    }

    fn keep(&mut self, slot: u32, text: &str) {
        self.0.keep(slot, text);
    }

    fn kept(&mut self, slot: u32) -> String {
        self.0.kept(slot)
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

fn start_fsd(sources: &Sources<Who>, log: &Log) -> Started {
    let (up, down) = Channel::pair(16).unwrap();
    let (ours, theirs) = Channel::pair(8).unwrap();
    sources.adopt(ours, (0, 0));
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
        Bench::with_more(disk, has_blkd, &[])
    }

    /// A machine with further disks.
    pub(super) fn with_more(disk: FakeDisk, has_blkd: bool, more: &[FakeDisk]) -> Bench {
        const NAMES: [&str; 3] = ["blkd1", "blkd2", "blkd3"];
        let more = more.to_vec();
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
                for (name, disk) in NAMES.into_iter().zip(more.clone()) {
                    let device = host::device(Arc::new(NoRegisters), 512, 1);
                    makers.insert(name, Box::new(move |_| start_blkd(&disk, &device)));
                }
                let mut init = Init {
                    sources,
                    kept: BTreeMap::new(),
                    makers,
                    running: BTreeMap::new(),
                };
                NAMES.iter().for_each(|name| init.start(name));
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

    /// The names of a program that works for a user.
    pub(super) fn names_as(&self, user: u32, group: u32) -> names::Client {
        names::Client::new(self.names.duplicate_as(0, user, group).unwrap())
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
