//! Init itself: starts what the manifest names, supervises it, and serves names.
//!
//! It never calls a server: messages to servers are queued or dropped, so that no server can hold
//! it up.

mod connect;
mod names;
mod orphans;

use crate::archive::Archive;
use crate::assigns::Assigns;
use crate::manifest::{Cap, Manifest, Process, Role, SystemRight};
use crate::options::Options;
use crate::supervision::{State, Supervision};
use crate::world::{Grants, World};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use connect::Waiter;
use viper_proto::names::rights;
use viper_rt::abi::{EndReason, FOREVER, ProcessInfo, Rights, Signals, Slot};
use viper_rt::handle::{Channel, Device, Memory, Object, Process as ProcessHandle};
use viper_rt::message::{Bytes, Reader};
use viper_rt::server::{Answer, NewClient, Service, Sources, supervisor};
use viper_rt::trace::RING_BYTES;
use viper_rt::{Error, clock};

/// How long a process waits for what it needs before it is started without.
pub const NEED_TIMEOUT_NS: u64 = 3 * clock::SECOND;
/// Messages that wait for a client at most, in each direction.
const CLIENT_DEPTH: u32 = 8;
const SUPERVISOR_DEPTH: u32 = 32;

/// Texts that a server may leave for its successors.
const KEPT_SLOTS: usize = 16;

/// A client of the name service.
#[derive(Clone, Debug)]
pub struct NameClient {
    /// Its process; of the first that got the channel, when it was duplicated.
    process_id: u64,
    /// See `viper_proto::names::rights`.
    rights: u64,
    /// The process of the manifest whose connections it may make.
    owner: usize,
    /// For whom it works: 0, the system itself, unless somebody of the system said otherwise.
    user: u32,
    group: u32,
}

/// A process of the manifest, and what there is of it.
#[derive(Debug)]
struct Managed {
    entry: Process,
    supervision: Supervision,
    process: Option<ProcessHandle>,
    process_id: u64,
    channel: Option<Channel>,
    ring: Option<Memory>,
    exit_code: i64,
    /// It was ended by command: no line about it.
    by_command: bool,
    /// What it left for its successors.
    kept: [Option<Bytes>; KEPT_SLOTS],
}

/// The first process.
#[derive(Debug)]
pub struct Init<W> {
    world: W,
    options: Options,
    archive: Option<Archive>,
    managed: Vec<Managed>,
    assigns: Assigns,
    sources: Sources<NameClient>,
    waiters: Vec<Waiter>,
    image: String,
    booted_ns: u64,
    finished: bool,
}

impl<W: World> Init<W> {
    /// Makes it ready: reads the manifest, falls back to recovery if that is not possible.
    #[must_use]
    pub fn new(
        world: W,
        options: Options,
        archive: Option<Archive>,
        sources: Sources<NameClient>,
    ) -> Init<W> {
        let mut init = Init {
            world,
            options,
            archive,
            managed: Vec::new(),
            assigns: Assigns::default(),
            sources,
            waiters: Vec::new(),
            image: String::from("?"),
            booted_ns: clock::now(),
            finished: false,
        };
        init.read_manifest();
        init
    }

    /// Starts what can be started. To be called once, before the loop.
    pub fn boot(&mut self) {
        let mode = if self.options.recovery {
            "RECOVERY"
        } else {
            "MICROKERNEL"
        };
        self.world
            .write(format_args!("ViperOS {} {mode}\n", self.image));
        self.advance();
    }

    /// Whether the shell of an exec boot has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The world, for tests.
    pub fn world(&mut self) -> &mut W {
        &mut self.world
    }

    fn read_manifest(&mut self) {
        let text = match &self.archive {
            Some(archive) => archive.text("manifest"),
            None => Err(Error::NotFound),
        };
        let manifest = match text.map(|text| Manifest::parse(&text)) {
            Ok(Ok(manifest)) => manifest,
            Ok(Err(error)) => {
                self.problem(format_args!("{error}"));
                self.options.recovery = true;
                Manifest::default()
            }
            Err(error) => {
                self.problem(format_args!("no manifest: {error}"));
                self.options.recovery = true;
                Manifest::default()
            }
        };
        self.image = manifest.image;
        let recovery = self.options.recovery;
        let is_there = |p: &Process| p.required_devices().all(|d| self.world.has_device(d));
        let mut processes: Vec<Process> = manifest
            .processes
            .into_iter()
            .filter(|p| p.role != Role::Init && is_there(p))
            .collect();
        if recovery {
            processes.retain(|p| p.role == Role::Shell);
            if processes.is_empty() {
                processes.push(recovery_shell());
            }
        }
        self.managed = processes.into_iter().map(Managed::new).collect();
        for managed in &mut self.managed {
            if managed.entry.role == Role::Server && self.options.is_off(&managed.entry.name) {
                managed.supervision.switched_off();
            }
        }
    }

    /// One line about something that went wrong; a log line.
    fn problem(&mut self, text: core::fmt::Arguments<'_>) {
        let mark = if self.options.exec { "\x01" } else { "" };
        self.world.write(format_args!("{mark}vinit: {text}\n"));
    }

    /// Starts whatever may be started now.
    fn advance(&mut self) {
        // A start can fail at once and so make another process's need hopeless: go round again.
        for _ in 0..=self.managed.len() {
            let now = clock::now();
            let startable = |m: &Managed| match m.supervision.state() {
                State::Pending => self.needs_settled(m, now),
                _ => m.supervision.is_due(now),
            };
            let ready: Vec<usize> = (0..self.managed.len())
                .filter(|&i| startable(&self.managed[i]))
                .collect();
            if ready.is_empty() {
                break;
            }
            ready.into_iter().for_each(|index| self.start(index));
        }
        self.answer_waiters();
    }

    fn needs_settled(&self, managed: &Managed, now: u64) -> bool {
        let patient = self.options.recovery || now >= self.booted_ns + NEED_TIMEOUT_NS;
        managed.entry.needs.iter().all(|need| {
            let needed = self.managed.iter().find(|m| m.entry.name == *need);
            needed.is_none_or(|m| match m.supervision.state() {
                State::Pending | State::Starting => patient,
                _ => true,
            })
        })
    }

    fn start(&mut self, index: usize) {
        let is_shell = self.managed[index].entry.role == Role::Shell;
        if is_shell && self.options.exec {
            if self.managed[index].supervision.starts() > 0 {
                return;
            }
            self.world.write(format_args!("\x02VIPER-EXEC-BEGIN\x03\n"));
        }
        let now = clock::now();
        self.managed[index].supervision.started(now);
        self.managed[index].by_command = false;
        if let Err(error) = self.try_start(index) {
            let name = self.managed[index].entry.name.clone();
            self.problem(format_args!("{name} cannot be started: {error}"));
            self.managed[index].exit_code = 20;
            self.gone(index, true);
        }
    }

    fn try_start(&mut self, index: usize) -> Result<(), Error> {
        let entry = self.managed[index].entry.clone();
        let names = self.name_channel(index)?;
        let (ours, theirs) = Channel::pair(SUPERVISOR_DEPTH)?;
        let devices = self.devices(&entry);
        if self.managed[index].ring.is_none() {
            self.managed[index].ring = Memory::new(RING_BYTES as u64).ok();
        }
        let all = Rights::ALL;
        let mut grants = Grants::default();
        grants.handles.push((Slot::NAMES, names.raw(), all));
        grants.handles.push((Slot::SUPERVISOR, theirs.raw(), all));
        if let Some(ring) = &self.managed[index].ring {
            grants.handles.push((Slot::TRACE, ring.raw(), all));
        }
        for (n, device) in (0..).zip(&devices) {
            grants
                .handles
                .push((Slot(Slot::DEVICE.0 + n), device.raw(), all));
        }
        if let Some(system) = self.world.system() {
            grants
                .handles
                .push((Slot::SYSTEM, system.raw(), system_rights(&entry)));
        }
        grants.arguments = self.arguments(&entry);
        grants.log = self.options.level(&entry.name);
        let process = self.world.start(&entry, &grants)?;
        viper_rt::log!(Info, "starts {}", entry.name);
        if let Err(error) = self.watch(index, &process, &ours) {
            // Nobody would hear of its end: it must not run.
            let _ = process.kill(20);
            return Err(error);
        }
        let managed = &mut self.managed[index];
        managed.process_id = process.info().map_or(0, |info| info.id);
        managed.process = Some(process);
        managed.channel = Some(ours);
        Ok(())
    }

    fn watch(&self, index: usize, process: &ProcessHandle, ours: &Channel) -> Result<(), Error> {
        self.sources
            .watch(process, process_key(index), Signals::ENDED)?;
        self.sources
            .watch(ours, channel_key(index), Signals::PEER_CLOSED)
    }

    fn arguments(&self, entry: &Process) -> Vec<&'static str> {
        match entry.role {
            Role::Shell if self.options.exec && self.options.recovery => {
                vec!["--recovery", "--boot-script", "exec"]
            }
            Role::Shell if self.options.exec => vec!["--boot-script", "exec"],
            Role::Shell if self.options.recovery => vec!["--recovery"],
            _ => Vec::new(),
        }
    }

    fn devices(&mut self, entry: &Process) -> Vec<Device> {
        let wanted = entry.caps.iter().filter_map(|cap| match cap {
            Cap::Device {
                name, dma_bytes, ..
            } => Some((name, *dma_bytes)),
            _ => None,
        });
        let mut devices = Vec::new();
        for (name, dma_bytes) in wanted {
            devices.extend(self.world.device(name, dma_bytes));
        }
        devices
    }

    /// A name channel for a process of the manifest: our end is served from now on.
    fn name_channel(&mut self, index: usize) -> Result<Channel, Error> {
        let client = NameClient {
            process_id: 0,
            rights: name_rights(&self.managed[index].entry),
            owner: index,
            user: 0,
            group: 0,
        };
        let (ours, theirs) = Channel::pair(CLIENT_DEPTH)?;
        self.sources.adopt(ours, client);
        Ok(theirs)
    }

    /// A process has ended.
    fn ended(&mut self, index: usize) {
        let Some(process) = self.managed[index].process.take() else {
            return;
        };
        let _ = self.sources.unwatch(&process);
        let info = process.info().ok();
        if let Some(system) = self.world.system() {
            orphans::end(system, self.managed[index].process_id);
        }
        let failed = info.is_none_or(|i| i.end_reason != EndReason::EXITED || i.exit_code != 0);
        self.managed[index].exit_code = info.map_or(20, |i| i.exit_code);
        self.gone(index, failed);
        let managed = &self.managed[index];
        let is_shell = managed.entry.role == Role::Shell;
        let quiet = managed.by_command || is_shell && (!failed || self.options.exec);
        if let (Some(info), false) = (info, quiet) {
            let name = managed.entry.name.clone();
            let state = managed.supervision.state();
            self.tell_end(&name, &info, state);
        }
    }

    fn tell_end(&mut self, name: &str, info: &ProcessInfo, state: State) {
        let then = match state {
            State::Waiting(_) => "; it starts again",
            _ => "",
        };
        let (code, kind) = (info.exit_code, info.fault_kind.name());
        match info.end_reason {
            EndReason::FAULT => self.problem(format_args!(
                "{name} ended by a fault ({kind} at {:#x}, pc {:#x}){then}",
                info.fault_address, info.fault_pc
            )),
            EndReason::KILLED => self.problem(format_args!("{name} was killed{then}")),
            _ => self.problem(format_args!("{name} ended with code {code}{then}")),
        }
    }

    fn gone(&mut self, index: usize, failed: bool) {
        let managed = &mut self.managed[index];
        managed.process = None;
        managed.process_id = 0;
        if let Some(channel) = managed.channel.take() {
            let _ = self.sources.unwatch(&channel);
        }
        if managed.supervision.has_hope() {
            managed.supervision.ended(clock::now(), failed);
        }
        if managed.entry.role == Role::Shell && self.options.exec {
            managed.supervision.switched_off();
            let code = managed.exit_code & 0xff;
            self.world
                .write(format_args!("\x02VIPER-EXEC-END {code}\x03\n"));
            self.finished = true;
            self.world.power_off();
        }
    }
}

impl<W: World> Service for Init<W> {
    type Client = NameClient;

    fn connect(&mut self, _: NewClient) -> Result<NameClient, Error> {
        // Nobody supervises init.
        Err(Error::NotSupported)
    }

    fn request(&mut self, client: &mut NameClient, request: Reader) -> Answer {
        viper_proto::names::dispatch(self, client, request)
    }

    fn message(&mut self, key: u32, message: Reader) -> Answer {
        let index = (key / 2) as usize;
        if message.label() as u16 == supervisor::READY
            && let Some(managed) = self.managed.get_mut(index)
        {
            managed.supervision.ready();
            drop(message);
            self.advance();
        }
        Answer::Later
    }

    fn signal(&mut self, key: u32, signals: Signals) {
        let index = (key / 2) as usize;
        if index >= self.managed.len() {
            return;
        }
        if key.is_multiple_of(2) && signals.contains(Signals::ENDED) {
            self.ended(index);
            self.advance();
        } else if signals.contains(Signals::PEER_CLOSED)
            && let Some(channel) = self.managed[index].channel.take()
        {
            // It closed its channel before it ended: nobody can be connected any more.
            let _ = self.sources.unwatch(&channel);
        }
    }

    fn deadline(&self) -> u64 {
        let starts = self.managed.iter().filter_map(|m| m.supervision.due());
        let needs = self.managed.iter().filter_map(|m| {
            let waits = m.supervision.state() == State::Pending && !m.entry.needs.is_empty();
            waits.then_some(self.booted_ns + NEED_TIMEOUT_NS)
        });
        let waiters = self.waiters.iter().map(|w| w.deadline);
        starts.chain(needs).chain(waiters).min().unwrap_or(FOREVER)
    }

    fn timeout(&mut self) {
        self.advance();
    }
}

impl Managed {
    fn new(entry: Process) -> Managed {
        Managed {
            supervision: Supervision::new(entry.restart),
            entry,
            process: None,
            process_id: 0,
            channel: None,
            ring: None,
            exit_code: 0,
            by_command: false,
            kept: [None; KEPT_SLOTS],
        }
    }
}

fn process_key(index: usize) -> u32 {
    index as u32 * 2
}

fn channel_key(index: usize) -> u32 {
    index as u32 * 2 + 1
}

/// The shell of a recovery boot whose manifest cannot be read.
fn recovery_shell() -> Process {
    use crate::manifest::{Executable, Restart, RestartWhen};
    let rights = [
        SystemRight::Spawn,
        SystemRight::Processes,
        SystemRight::Supervise,
        SystemRight::Power,
        SystemRight::Trace,
        SystemRight::BootArchive,
        SystemRight::Clock,
    ];
    Process {
        name: "sh".into(),
        role: Role::Shell,
        executable: Executable::Boot("sh".into()),
        priority: 3,
        memory_bytes: 32 << 20,
        handles_max: 1024,
        threads_max: 8,
        restart: Restart {
            when: RestartWhen::Always,
            run_min_ms: 1000,
            delay_max_ms: 5000,
        },
        needs: Vec::new(),
        caps: rights.map(Cap::System).to_vec(),
    }
}

/// What a process may do with the system handle: everybody may print on the debug port.
fn system_rights(entry: &Process) -> Rights {
    let mut rights = Rights::WRITE;
    if entry.role == Role::Shell || entry.may(SystemRight::Spawn) {
        // What it starts may see memory and processes.
        rights = rights | Rights::TRANSFER | Rights::DUPLICATE | Rights::READ;
    }
    if entry.may(SystemRight::Processes) {
        rights = rights | Rights::READ | Rights::MANAGE;
    }
    if entry.may(SystemRight::Power) {
        rights = rights | Rights::MANAGE;
    }
    rights
}

fn name_rights(entry: &Process) -> u64 {
    let mut given = 0;
    if !entry.service().is_empty() {
        given |= rights::KEEP;
    }
    if entry.role == Role::Shell {
        given |= rights::ASSIGN;
    }
    if entry.may(SystemRight::Supervise) {
        given |= rights::MANAGE;
    }
    if entry.may(SystemRight::Processes) || entry.may(SystemRight::Power) {
        given |= rights::SYSTEM;
    }
    if entry.may(SystemRight::Trace) {
        given |= rights::TRACE;
    }
    if entry.may(SystemRight::BootArchive) {
        given |= rights::BOOT;
    }
    if entry.may(SystemRight::Clock) {
        given |= rights::CLOCK;
    }
    given
}

#[cfg(test)]
mod tests;
