//! The first process: takes what the kernel gives it, and runs init.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use viper_init::archive::Archive;
use viper_init::board::{self, Found};
use viper_init::init::Init;
use viper_init::manifest::{self, Executable, SystemRight};
use viper_init::options::Options;
use viper_init::world::{Grants, World};
use viper_rt::abi::{PowerAction, Rights, Slot};
use viper_rt::handle::{Device, Memory, OwnedHandle, Process, Quota, System};
use viper_rt::object::DeviceInfo;
use viper_rt::server::Server;
use viper_rt::spawn::{Program, Start};
use viper_rt::{Error, Object, clock, log, program};

viper_rt::entry!(run);

fn run() -> Result<(), Error> {
    let server = Server::new()?;
    let archive_memory = || program::take(Slot::BOOT_ARCHIVE).map(OwnedHandle::into_object);
    let world = Machine::new(archive_memory().and_then(|m: Memory| m.try_clone().ok()));
    let archive = world.archive.as_ref().and_then(|m| m.try_clone().ok());
    let archive = archive.and_then(|memory| Archive::open(memory).ok());
    let members = world
        .archive
        .as_ref()
        .and_then(|m| Archive::open(m.try_clone().ok()?).ok());
    let world = Machine { members, ..world };
    let options = Options::parse(program::arguments());
    log::set_level(options.level("vinit").unwrap_or(log::Level::Off));
    let mut init = Init::new(world, options, archive, server.sources());
    init.boot();
    server.run(&mut init)
}

/// The machine as the kernel hands it over.
struct Machine {
    system: Option<System>,
    quota: Option<Quota>,
    root: Option<Device>,
    found: Vec<Found>,
    wall_clock_ns: Option<u64>,
    archive: Option<Memory>,
    members: Option<Archive>,
    programs: Vec<(String, Program)>,
}

impl Machine {
    fn new(archive: Option<Memory>) -> Machine {
        let root: Option<Device> = program::take(Slot::ROOT_DEVICE).map(OwnedHandle::into_object);
        let base = root
            .as_ref()
            .and_then(|r| r.describe().ok())
            .map_or(0, |d| d.base);
        let read = |address: u64| root.as_ref()?.read(address.checked_sub(base)?).ok();
        let found = board::discover(&device_tree().unwrap_or_default(), read);
        let seconds = found
            .iter()
            .find(|f| f.name == "pl031")
            .and_then(|f| read(f.base));
        let wall_clock_ns = seconds.map(|s| (u64::from(s) * clock::SECOND) - clock::now());
        Machine {
            system: program::take(Slot::SYSTEM).map(OwnedHandle::into_object),
            quota: program::take(Slot::QUOTA).map(OwnedHandle::into_object),
            root,
            found,
            wall_clock_ns,
            archive,
            members: None,
            programs: Vec::new(),
        }
    }

    fn load(&mut self, name: &str) -> Result<usize, Error> {
        if let Some(index) = self.programs.iter().position(|(n, _)| n == name) {
            return Ok(index);
        }
        let archive = self.members.as_ref().ok_or(Error::NotFound)?;
        let member = archive.find(name)?;
        let program = Program::from_memory(archive.memory(), member.offset, member.len_bytes)?;
        self.programs.push((name.into(), program));
        Ok(self.programs.len() - 1)
    }
}

fn device_tree() -> Option<Vec<u8>> {
    let memory: Memory = program::take(Slot::DEVICE_TREE)?.into_object();
    let (size, _) = memory.size().ok()?;
    let mut tree = alloc::vec![0; usize::try_from(size.min(1 << 20)).ok()?];
    memory.read(0, &mut tree).ok()?;
    Some(tree)
}

impl World for Machine {
    fn start(
        &mut self,
        process: &manifest::Process,
        grants: &Grants<'_>,
    ) -> Result<Process, Error> {
        let Executable::Boot(member) = &process.executable else {
            return Err(Error::NotSupported);
        };
        let program = self.load(member)?;
        let quota = self
            .quota
            .as_ref()
            .ok_or(Error::NoRight)?
            .carve(process.memory_bytes)?;
        let mut arguments: Vec<&[u8]> = alloc::vec![process.name.as_bytes()];
        arguments.extend(grants.arguments.iter().map(|a| a.as_bytes()));
        let mut handles = grants.handles.clone();
        if process.may(SystemRight::Spawn) {
            handles.push((Slot::QUOTA, quota.raw(), Rights::ALL));
        }
        let mut environment: Vec<String> = Vec::new();
        if let Some(level) = grants.log {
            environment.push(alloc::format!("{}={}", log::VARIABLE, level.name()));
        }
        let environment: Vec<&[u8]> = environment.iter().map(String::as_bytes).collect();
        let start = Start {
            name: &process.name,
            quota: &quota,
            priority: process.priority,
            arguments: &arguments,
            environment: &environment,
            handles: &handles,
        };
        self.programs[program]
            .1
            .start_limited(&start, process.handles_max, process.threads_max)
    }

    fn has_device(&self, name: &str) -> bool {
        self.found.iter().any(|f| f.name == name)
    }

    fn device(&mut self, name: &str, dma_bytes: u64) -> Option<Device> {
        let found = self.found.iter().find(|f| f.name == name)?;
        let part = DeviceInfo {
            base: found.base,
            len_bytes: found.len_bytes,
            interrupt_first: found.interrupt,
            interrupts: 1,
            dma_bytes,
        };
        self.root.as_ref()?.narrow(part).ok()
    }

    fn system(&self) -> Option<&System> {
        self.system.as_ref()
    }

    fn wall_clock_ns(&self) -> Option<u64> {
        self.wall_clock_ns
    }

    fn set_wall_clock_ns(&mut self, boot_ns: u64) {
        self.wall_clock_ns = Some(boot_ns);
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        let mut line = String::new();
        let _ = line.write_fmt(text);
        if let Some(system) = &self.system {
            let _ = system.debug_write(line.as_bytes());
        }
    }

    fn power_off(&mut self) {
        if let Some(system) = &self.system {
            let _ = system.power(PowerAction::OFF);
        }
    }
}
