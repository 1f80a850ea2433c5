//! An in-memory system for tests and demonstrations: files, programs, pipes, servers, a console.
//!
//! Programs are files that begin with `#!fake` and a word: `args` (writes its arguments), `cat`,
//! `upper`, `env`, `cwd`, `exit N`, `fault`, `forever` (until killed), `both` (writes to both
//! streams). Everything else that is executed is "not a program". A program runs when it is waited
//! for, or when somebody reads what it writes.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::path;
use crate::system::*;

mod disk;
mod program;

pub use disk::Disk;
use program::Process;

/// The fake. Fields are public so that tests can arrange and look at everything.
#[derive(Debug)]
pub struct FakeSystem {
    /// The files.
    pub disk: Disk,
    /// What was written to the console, complaints included.
    pub console: Vec<u8>,
    /// Only the complaints.
    pub complaints: Vec<u8>,
    /// What will be typed.
    pub input: VecDeque<u8>,
    /// Whether the console is a terminal, and how wide.
    pub width: Option<usize>,
    /// How the console hands over input now.
    pub mode: ConsoleMode,
    /// Ctrl-C is pressed at this question for it (1 the next).
    pub interrupt_in: Option<u32>,
    /// Failures to come: operation, path, error. Each happens once.
    pub failures: Vec<(&'static str, String, Error)>,
    /// Whether there are pipes.
    pub pipes: bool,
    /// Assigns; names in upper case.
    pub assigns: Vec<Assign>,
    /// Servers.
    pub servers: Vec<ServerInfo>,
    /// Trace records, in the order of time.
    pub traces: Vec<TraceRecord>,
    /// The date, if the system knows it.
    pub wall_clock_ns: Option<u64>,
    /// Time since boot; moves a little with every look at it.
    pub uptime_ns: u64,
    /// How it was booted.
    pub boot_mode: Mode,
    /// Volumes that were mounted.
    pub mounted: Vec<VolumeInfo>,
    /// How it was ended.
    pub power: Option<Power>,
    /// Programs that were killed.
    pub killed: Vec<Pid>,
    /// Files and pipes that are open.
    open: BTreeMap<u64, u64>,
    next_id: u64,
    processes: BTreeMap<u64, Process>,
    pipe_bytes: BTreeMap<u64, Pipe>,
}

#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// The shell has the writing end.
    shell_writes: bool,
    /// The shell has the reading end.
    shell_reads: bool,
}

impl Default for FakeSystem {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeSystem {
    /// A small system: `/c` with programs, `/s`, `/t`, some assigns and servers.
    pub fn new() -> Self {
        let mut disk = Disk::new();
        for dir in ["/c", "/s", "/t", "/l"] {
            disk.add_dir(dir);
        }
        for name in [
            "args", "cat", "upper", "env", "cwd", "fault", "forever", "both",
        ] {
            disk.add_program(&format!("/c/{name}-p.elf"), &format!("#!fake {name}\n"));
        }
        disk.add_program("/c/hello.elf", "#!fake args\n");
        disk.add_program("/c/three.elf", "#!fake exit 3\n");
        let assign = |name: &str, dir: &str| Assign {
            name: name.to_string(),
            target: AssignTarget::Directories(Vec::from([dir.to_string()])),
            system: true,
        };
        let service = |name: &str| Assign {
            name: name.to_string(),
            target: AssignTarget::Service,
            system: true,
        };
        let server = |name: &str, pid: u64| ServerInfo {
            name: name.to_string(),
            pid: Some(Pid(pid)),
            state: String::from("ready"),
            restarts: 0,
            uptime_ns: 5_000_000_000,
            service: format!("{}:", name.to_uppercase()),
            note: String::new(),
        };
        Self {
            disk,
            console: Vec::new(),
            complaints: Vec::new(),
            input: VecDeque::new(),
            width: None,
            mode: ConsoleMode::Cooked,
            interrupt_in: None,
            failures: Vec::new(),
            pipes: true,
            assigns: Vec::from([
                assign("SYS", "/"),
                assign("C", "/c"),
                assign("S", "/s"),
                assign("T", "/t"),
                service("FSD"),
            ]),
            servers: Vec::from([server("blkd", 3), server("fsd", 4)]),
            traces: Vec::new(),
            wall_clock_ns: Some(1_795_321_450_000_000_000),
            uptime_ns: 90_061_000_000_000,
            boot_mode: Mode::Microkernel,
            power: None,
            mounted: Vec::new(),
            killed: Vec::new(),
            open: BTreeMap::new(),
            next_id: 100,
            processes: BTreeMap::new(),
            pipe_bytes: BTreeMap::new(),
        }
    }

    /// Takes what was written to the console so far.
    pub fn take_console(&mut self) -> String {
        self.complaints.clear();
        String::from_utf8_lossy(&core::mem::take(&mut self.console)).into_owned()
    }

    /// Makes the next `operation` on `path` fail.
    pub fn fail(&mut self, operation: &'static str, path: &str, error: Error) {
        self.failures.push((operation, path.to_string(), error));
    }

    /// Files, processes and pipes that are still open: all should be given back in the end.
    pub fn leaks(&self) -> usize {
        self.open.len() + self.processes.len() + self.pipe_bytes.len()
    }

    fn check(&mut self, operation: &str, path: &str) -> Result<()> {
        let fits = |(op, on, _): &(&str, String, Error)| *op == operation && on == path;
        match self.failures.iter().position(fits) {
            Some(at) => Err(self.failures.remove(at).2),
            None => Ok(()),
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn inode(&self, file: FileId) -> Result<u64> {
        self.open
            .get(&file.0)
            .copied()
            .ok_or(Error::InvalidArgument)
    }

    fn server(&mut self, name: &str) -> Result<&mut ServerInfo> {
        self.servers
            .iter_mut()
            .find(|server| server.name.eq_ignore_ascii_case(name))
            .ok_or(Error::NotFound)
    }
}

impl System for FakeSystem {
    fn open(&mut self, path: &str, mode: OpenMode) -> Result<FileId> {
        self.check("open", path)?;
        let inode = self.disk.open(path, mode)?;
        let id = self.id();
        self.open.insert(id, inode);
        Ok(FileId(id))
    }

    fn read(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let inode = self.inode(file)?;
        let path = self.disk.path_of(inode);
        self.check("read", &path)?;
        self.disk.read(inode, offset, buf)
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<usize> {
        let inode = self.inode(file)?;
        let path = self.disk.path_of(inode);
        self.check("write", &path)?;
        self.disk.write(inode, offset, bytes)
    }

    fn sync(&mut self, file: FileId) -> Result<()> {
        let path = self.disk.path_of(self.inode(file)?);
        self.check("sync", &path)
    }

    fn close(&mut self, file: FileId) -> Result<()> {
        self.open
            .remove(&file.0)
            .map(|_| ())
            .ok_or(Error::InvalidArgument)
    }

    fn stat(&mut self, path: &str, follow: bool) -> Result<Stat> {
        self.check("stat", path)?;
        self.disk.stat(path, follow)
    }

    fn read_dir(&mut self, path: &str, from: u64, into: &mut Vec<DirEntry>) -> Result<Option<u64>> {
        self.check("read_dir", path)?;
        self.disk.read_dir(path, from, into)
    }

    fn make_dir(&mut self, path: &str) -> Result<()> {
        self.check("make_dir", path)?;
        self.disk.make_dir(path)
    }

    fn unlink(&mut self, path: &str) -> Result<()> {
        self.check("unlink", path)?;
        self.disk.unlink(path)
    }

    fn remove_dir(&mut self, path: &str) -> Result<()> {
        self.check("remove_dir", path)?;
        self.disk.remove_dir(path)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        self.check("rename", from)?;
        self.disk.rename(from, to)
    }

    fn symlink(&mut self, target: &str, path: &str) -> Result<()> {
        self.disk.symlink(target, path)
    }

    fn read_link(&mut self, path: &str) -> Result<String> {
        self.disk.read_link(path)
    }

    fn hard_link(&mut self, from: &str, to: &str) -> Result<()> {
        self.disk.hard_link(from, to)
    }

    fn truncate(&mut self, path: &str, size: u64) -> Result<()> {
        self.disk.truncate(path, size)
    }

    fn set_mode(&mut self, path: &str, mode: u32) -> Result<()> {
        self.disk.set_mode(path, mode)
    }

    fn set_modified(&mut self, path: &str, time_ns: Option<u64>) -> Result<()> {
        let now = self.wall_clock_ns.unwrap_or(0);
        self.disk.set_modified(path, time_ns.unwrap_or(now))
    }

    fn sync_all(&mut self) -> Result<()> {
        self.check("sync_all", "/")
    }

    fn set_owner(&mut self, path: &str, user: u32, group: Option<u32>) -> Result<()> {
        self.check("set_owner", path)?;
        self.disk.set_owner(path, user, group)
    }

    /// `D1` has a volume, other devices have none.
    fn mount(
        &mut self,
        device: &str,
        path: &str,
        options: &MountOptions,
    ) -> Result<Option<String>> {
        self.check("mount", path)?;
        if device != "D1" {
            return Ok(Some(format!("there is no disk {device}")));
        }
        self.mounted.push(VolumeInfo {
            device: device.to_string(),
            name: String::from("Work"),
            root: path.to_string(),
            format: String::from("fake"),
            total: 1 << 20,
            free: 1 << 19,
            read_only: options.read_only,
            limit_bytes: options.limit_bytes,
            limit_files: options.limit_files,
            ..VolumeInfo::default()
        });
        Ok(None)
    }

    fn unmount(&mut self, path: &str, _: bool) -> Result<()> {
        self.check("unmount", path)?;
        let at = self.mounted.iter().position(|volume| volume.root == path);
        let at = at.ok_or(Error::NotFound)?;
        if self.mounted[at].open_files > 0 {
            return Err(Error::Busy);
        }
        self.mounted.remove(at);
        Ok(())
    }

    fn volumes(&mut self) -> Result<Vec<VolumeInfo>> {
        let used = self.disk.used();
        let first = [VolumeInfo {
            device: String::from("D0"),
            name: String::from("System"),
            root: String::from("/"),
            format: String::from("fake"),
            total: self.disk.capacity,
            free: self.disk.capacity.saturating_sub(used),
            files: 0,
            read_only: self.disk.read_only,
            ..VolumeInfo::default()
        }];
        Ok(first.into_iter().chain(self.mounted.clone()).collect())
    }

    fn assigns(&mut self) -> Result<Vec<Assign>> {
        Ok(self.assigns.clone())
    }

    fn assign(&mut self, name: &str) -> Result<Assign> {
        let found = self
            .assigns
            .iter()
            .find(|assign| assign.name.eq_ignore_ascii_case(name));
        found.cloned().ok_or(Error::NotFound)
    }

    fn assign_set(&mut self, name: &str, directories: &[String]) -> Result<()> {
        if self.assign(name).is_ok_and(|assign| assign.system) {
            return Err(Error::PermissionDenied);
        }
        let _ = self.assign_remove(name);
        let target = AssignTarget::Directories(directories.to_vec());
        self.assigns.push(Assign {
            name: name.to_uppercase(),
            target,
            system: false,
        });
        Ok(())
    }

    fn assign_remove(&mut self, name: &str) -> Result<()> {
        if self.assign(name)?.system {
            return Err(Error::PermissionDenied);
        }
        self.assigns
            .retain(|assign| !assign.name.eq_ignore_ascii_case(name));
        Ok(())
    }

    fn spawn(&mut self, spawn: &Spawn<'_>) -> Result<Pid> {
        self.check("spawn", spawn.path)?;
        let process = Process::new(&self.disk, spawn)?;
        for pipe in process
            .stdin
            .pipe()
            .into_iter()
            .chain(process.output_pipes())
        {
            self.pipe_bytes.get(&pipe).ok_or(Error::BrokenPipe)?;
        }
        if let Some(pipe) = process
            .stdin
            .pipe()
            .and_then(|id| self.pipe_bytes.get_mut(&id))
        {
            pipe.shell_reads = false;
        }
        for id in process.output_pipes() {
            if let Some(pipe) = self.pipe_bytes.get_mut(&id) {
                pipe.shell_writes = false;
            }
        }
        let pid = self.id();
        self.processes.insert(pid, process);
        Ok(Pid(pid))
    }

    fn wait(&mut self, pid: Pid, block: bool) -> Result<Waited> {
        if !self.processes.contains_key(&pid.0) {
            return Err(Error::NotFound);
        }
        if block && !self.run_process(pid.0) {
            return Ok(Waited::Interrupted);
        }
        if self
            .processes
            .get(&pid.0)
            .is_some_and(|process| process.status.is_none())
        {
            return Ok(Waited::Running);
        }
        let status = self
            .processes
            .remove(&pid.0)
            .and_then(|process| process.status);
        Ok(Waited::Exited(status.unwrap_or_default()))
    }

    fn kill(&mut self, pid: Pid) -> Result<()> {
        let process = self.processes.get_mut(&pid.0).ok_or(Error::NotFound)?;
        process.status = Some(ExitStatus {
            code: 20,
            fault: Some(String::from("killed")),
        });
        self.killed.push(pid);
        Ok(())
    }

    fn processes(&mut self) -> Result<Vec<ProcessInfo>> {
        let info = |pid: u64, name: &str| ProcessInfo {
            pid: Pid(pid),
            parent: (pid > 1).then_some(Pid(1)),
            name: name.to_string(),
            state: String::from("waiting"),
            priority: 4,
            threads: 1,
            handles: 12,
            memory: 256 * 1024,
            cpu_ns: 1_234_567,
        };
        let mut all = Vec::from([info(1, "vinit"), info(3, "blkd"), info(4, "fsd")]);
        all.extend(
            self.processes
                .iter()
                .map(|(&pid, process)| info(pid, &process.name)),
        );
        Ok(all)
    }

    fn caps(&mut self, pid: Option<Pid>) -> Result<Vec<CapInfo>> {
        if pid.is_some_and(|pid| ![1, 3, 4].contains(&pid.0)) {
            return Err(Error::NotFound);
        }
        Ok(Vec::from([CapInfo {
            handle: 1,
            generation: 2,
            kind: String::from("channel"),
            rights: String::from("send"),
            label: String::from("NAMES:"),
        }]))
    }

    fn pipe(&mut self) -> Result<PipeId> {
        if !self.pipes {
            return Err(Error::Unsupported);
        }
        let id = self.id();
        self.pipe_bytes.insert(
            id,
            Pipe {
                shell_writes: true,
                shell_reads: true,
                ..Pipe::default()
            },
        );
        Ok(PipeId(id))
    }

    fn pipe_read(&mut self, pipe: PipeId, buf: &mut [u8]) -> Result<usize> {
        self.run_writers(pipe.0);
        let pipe = self
            .pipe_bytes
            .get_mut(&pipe.0)
            .ok_or(Error::InvalidArgument)?;
        let count = buf.len().min(pipe.bytes.len());
        for (place, byte) in buf.iter_mut().zip(pipe.bytes.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }

    fn pipe_write(&mut self, pipe: PipeId, bytes: &[u8]) -> Result<usize> {
        let pipe = self.pipe_bytes.get_mut(&pipe.0).ok_or(Error::BrokenPipe)?;
        pipe.bytes.extend(bytes);
        Ok(bytes.len())
    }

    fn pipe_close(&mut self, pipe: PipeId) -> Result<()> {
        let used = self.processes.values().any(|process| {
            process.stdin.pipe() == Some(pipe.0) || process.output_pipes().any(|id| id == pipe.0)
        });
        match self.pipe_bytes.get_mut(&pipe.0) {
            Some(pipe) if used => (pipe.shell_writes, pipe.shell_reads) = (false, false),
            _ => _ = self.pipe_bytes.remove(&pipe.0),
        }
        Ok(())
    }

    fn servers(&mut self) -> Result<Vec<ServerInfo>> {
        Ok(self.servers.clone())
    }

    fn server_restart(&mut self, name: &str) -> Result<()> {
        let server = self.server(name)?;
        server.restarts += 1;
        server.uptime_ns = 0;
        Ok(())
    }

    fn server_kill(&mut self, name: &str) -> Result<()> {
        let server = self.server(name)?;
        server.pid = None;
        server.state = String::from("waiting to restart");
        server.note = String::from("killed by the user");
        Ok(())
    }

    fn console_write(&mut self, bytes: &[u8], error: bool) -> Result<()> {
        self.console.extend_from_slice(bytes);
        if error {
            self.complaints.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn console_read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let line = self.input.iter().position(|&b| b == b'\n').map(|at| at + 1);
        let most = match self.mode {
            ConsoleMode::Cooked => line.unwrap_or(self.input.len()),
            ConsoleMode::Raw => self.input.len(),
        };
        let count = most.min(buf.len());
        for (place, byte) in buf.iter_mut().zip(self.input.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }

    fn console_mode(&mut self, mode: ConsoleMode) -> Result<()> {
        self.mode = mode;
        Ok(())
    }

    fn terminal_width(&mut self) -> Option<usize> {
        self.width
    }

    fn interrupted(&mut self) -> bool {
        match self.interrupt_in {
            Some(1) => {
                self.interrupt_in = None;
                true
            }
            Some(n) => {
                self.interrupt_in = Some(n - 1);
                false
            }
            None => false,
        }
    }

    fn uptime_ns(&mut self) -> u64 {
        self.uptime_ns += 1000;
        self.uptime_ns
    }

    fn load(&mut self) -> Result<Load> {
        Ok(Load {
            idle_ns: self.uptime_ns,
            cores: 4,
            first_ns: 250,
        })
    }

    fn wall_clock_ns(&mut self) -> Option<u64> {
        self.wall_clock_ns
    }

    fn sleep(&mut self, ns: u64) -> Result<()> {
        self.uptime_ns = self.uptime_ns.saturating_add(ns);
        if self.interrupted() {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }

    fn memory(&mut self) -> Result<MemoryInfo> {
        Ok(MemoryInfo {
            total: 128 << 20,
            free: 100 << 20,
            kernel: 8 << 20,
            user: 16 << 20,
            largest: 64 << 20,
            page: 4096,
        })
    }

    fn trace(&mut self, since_ns: u64) -> Result<Vec<TraceRecord>> {
        let later = self
            .traces
            .iter()
            .filter(|record| record.time_ns >= since_ns);
        Ok(later.cloned().collect())
    }

    fn info(&mut self) -> SystemInfo {
        SystemInfo {
            name: String::from("ViperOS"),
            version: String::from("0.1.0"),
            mode: self.boot_mode,
            machine: String::from("fake"),
            cpus: 4,
            build: String::from("test"),
        }
    }

    fn power(&mut self, power: Power) -> Result<()> {
        self.power = Some(power);
        Ok(())
    }
}

/// The directory a path lies in.
fn parent(path: &str) -> String {
    path::join(path, "..")
}
