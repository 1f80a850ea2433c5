//! `viper_shell::System` for ViperOS.

use super::boot::member_of;
use super::pipes::Pipe;
use super::{OpenFile, Viper, said};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use viper_proto::console::Mode as TermMode;
use viper_proto::fs::{Attributes, Changes, Mount, flags, kind, mount_state};
use viper_proto::names::state;
use viper_rt::abi::PowerAction;
use viper_rt::{Error, Object, clock};
use viper_shell::error::{Error as Said, Result};
use viper_shell::system::{
    Assign, AssignTarget, CapInfo, ConsoleMode, DirEntry, FileId, FileKind, Load, MemoryInfo, Mode,
    MountOptions, OpenMode, Pid, PipeId, Power, ProcessInfo, ServerInfo, Spawn, Stat, System,
    SystemInfo, TraceRecord, VolumeInfo, Waited,
};

/// Services that are shown as assigns.
const SERVICES: [&str; 4] = ["BLKD", "FSD", "CONSOLED", "ENTROPYD"];
const NEW_FILE_MODE: u32 = 0o644;
const NEW_DIRECTORY_MODE: u32 = 0o755;

impl Viper {
    fn disk(&mut self, file: FileId) -> Result<viper_proto::fs::FileId> {
        match self.open.get(&file.0) {
            Some(OpenFile::Disk(file)) => Ok(*file),
            Some(OpenFile::Boot(_)) => Err(Said::ReadOnly),
            None => Err(Said::InvalidArgument),
        }
    }

    fn writable(&self) -> Result<()> {
        if self.recovery {
            Err(Said::ReadOnly)
        } else {
            Ok(())
        }
    }
}

impl System for Viper {
    fn open(&mut self, path: &str, mode: OpenMode) -> Result<FileId> {
        let file = if self.recovery {
            if mode.write {
                return Err(Said::ReadOnly);
            }
            let name = member_of(path);
            self.boot.length(&self.names, name).map_err(said)?;
            OpenFile::Boot(name.to_string())
        } else {
            let mut wanted = flags::READ;
            for (asked, flag) in [
                (mode.write, flags::WRITE),
                (mode.create, flags::CREATE),
                (mode.truncate, flags::TRUNCATE),
                (mode.exclusive, flags::EXCLUSIVE),
            ] {
                wanted |= if asked { flag } else { 0 };
            }
            let opened = self.files.open(&self.names, path, wanted, NEW_FILE_MODE);
            let (file, attributes) = opened.map_err(said)?;
            if attributes.kind == kind::DIRECTORY {
                let _ = self.files.close(file);
                return Err(Said::IsADirectory);
            }
            OpenFile::Disk(file)
        };
        let id = self.next_file;
        self.next_file += 1;
        self.open.insert(id, file);
        Ok(FileId(id))
    }

    fn read(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match self.open.get(&file.0) {
            Some(OpenFile::Disk(file)) => self.files.read(&self.names, *file, offset, buf),
            Some(OpenFile::Boot(name)) => self.boot.read(&self.names, name, offset, buf),
            None => Err(Error::BadHandle),
        }
        .map_err(said)
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<usize> {
        let file = self.disk(file)?;
        self.files
            .write(&self.names, file, offset, bytes)
            .map_err(said)
    }

    fn sync(&mut self, file: FileId) -> Result<()> {
        let file = self.disk(file)?;
        self.files.sync_file(&self.names, file).map_err(said)
    }

    fn close(&mut self, file: FileId) -> Result<()> {
        match self.open.remove(&file.0) {
            Some(OpenFile::Disk(file)) => self.files.close(file).map_err(said),
            Some(OpenFile::Boot(_)) => Ok(()),
            None => Err(Said::InvalidArgument),
        }
    }

    fn stat(&mut self, path: &str, follow: bool) -> Result<Stat> {
        if self.recovery {
            return boot_stat(self, path);
        }
        self.files
            .stat_path(&self.names, path, follow)
            .map(stat)
            .map_err(said)
    }

    fn read_dir(&mut self, path: &str, from: u64, into: &mut Vec<DirEntry>) -> Result<Option<u64>> {
        if self.recovery {
            let list = self.boot.list(&self.names).map_err(said)?;
            let entry = |(name, _)| DirEntry {
                name,
                kind: FileKind::File,
            };
            into.extend(list.into_iter().map(entry));
            return Ok(None);
        }
        let wanted = flags::READ | flags::DIRECTORY;
        let opened = self.files.open(&self.names, path, wanted, 0);
        let (file, _) = opened.map_err(said)?;
        let mut entries = Vec::new();
        let next = self
            .files
            .read_directory(&self.names, file, from, &mut entries);
        let _ = self.files.close(file);
        let shown = entries
            .into_iter()
            .filter(|e| e.name != "." && e.name != "..");
        into.extend(shown.map(|e| DirEntry {
            name: e.name,
            kind: file_kind(e.kind),
        }));
        next.map_err(said)
    }

    fn make_dir(&mut self, path: &str) -> Result<()> {
        self.writable()?;
        self.files
            .make_directory(&self.names, path, NEW_DIRECTORY_MODE)
            .map_err(said)
    }

    fn unlink(&mut self, path: &str) -> Result<()> {
        self.writable()?;
        self.files.unlink(&self.names, path).map_err(said)
    }

    fn remove_dir(&mut self, path: &str) -> Result<()> {
        self.writable()?;
        self.files.remove_directory(&self.names, path).map_err(said)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        self.writable()?;
        self.files.rename(&self.names, from, to).map_err(said)
    }

    fn symlink(&mut self, target: &str, path: &str) -> Result<()> {
        self.writable()?;
        self.files.symlink(&self.names, target, path).map_err(said)
    }

    fn read_link(&mut self, path: &str) -> Result<String> {
        self.writable()?;
        self.files.read_link(&self.names, path).map_err(said)
    }

    fn hard_link(&mut self, from: &str, to: &str) -> Result<()> {
        self.writable()?;
        self.files.link(&self.names, from, to).map_err(said)
    }

    fn truncate(&mut self, path: &str, size: u64) -> Result<()> {
        self.writable()?;
        let (file, _) = self
            .files
            .open(&self.names, path, flags::WRITE, 0)
            .map_err(said)?;
        let result = self.files.truncate(&self.names, file, size);
        let _ = self.files.close(file);
        result.map_err(said)
    }

    fn set_mode(&mut self, path: &str, mode: u32) -> Result<()> {
        self.writable()?;
        let changes = Changes {
            which: Changes::MODE,
            mode,
            ..Changes::default()
        };
        self.files
            .set_attributes(&self.names, path, changes)
            .map_err(said)
    }

    fn set_modified(&mut self, path: &str, time_ns: Option<u64>) -> Result<()> {
        self.writable()?;
        let now = self.wall_clock_ns().unwrap_or(0);
        let changes = Changes {
            which: Changes::MODIFIED,
            modified_ns: time_ns.unwrap_or(now),
            ..Changes::default()
        };
        self.files
            .set_attributes(&self.names, path, changes)
            .map_err(said)
    }

    fn sync_all(&mut self) -> Result<()> {
        if self.recovery {
            return Ok(());
        }
        self.files.sync(&self.names).map_err(said)
    }

    fn set_owner(&mut self, path: &str, user: u32, group: Option<u32>) -> Result<()> {
        self.writable()?;
        let with_group = if group.is_some() { Changes::GROUP } else { 0 };
        let changes = Changes {
            which: Changes::USER | with_group,
            user,
            group: group.unwrap_or(0),
            ..Changes::default()
        };
        self.files
            .set_attributes(&self.names, path, changes)
            .map_err(said)
    }

    fn mount(
        &mut self,
        device: &str,
        path: &str,
        options: &MountOptions,
    ) -> Result<Option<String>> {
        self.writable()?;
        let how = viper_proto::fs::MountOptions {
            read_only: options.read_only,
            quota_bytes: options.limit_bytes.unwrap_or(u64::MAX),
            quota_inodes: options.limit_files.unwrap_or(u64::MAX),
        };
        self.files
            .mount(&self.names, device, path, how)
            .map_err(said)
    }

    fn unmount(&mut self, path: &str, force: bool) -> Result<()> {
        self.writable()?;
        self.files.unmount(&self.names, path, force).map_err(said)
    }

    fn volumes(&mut self) -> Result<Vec<VolumeInfo>> {
        if self.recovery {
            let list = self.boot.list(&self.names).map_err(said)?;
            return Ok(Vec::from([VolumeInfo {
                name: String::from("BOOT"),
                root: String::from("/"),
                format: String::from("boot archive"),
                total: list.iter().map(|(_, len)| len).sum(),
                files: list.len() as u64,
                read_only: true,
                ..VolumeInfo::default()
            }]));
        }
        let mut volumes = Vec::new();
        for index in 0.. {
            match self.files.mount_at(&self.names, index).map_err(said)? {
                Some(mount) => volumes.push(volume(self, mount)),
                None => break,
            }
        }
        Ok(volumes)
    }

    fn assigns(&mut self) -> Result<Vec<Assign>> {
        let mut list = Vec::new();
        for index in 0.. {
            match self.names.assign_at(index) {
                Ok((name, path)) => {
                    let name = name.as_str().map_err(said)?;
                    list.push(directory(name, path.as_str().map_err(said)?));
                }
                Err(Error::NotFound) => break,
                Err(error) => return Err(said(error)),
            }
        }
        list.extend(SERVICES.map(service));
        Ok(list)
    }

    fn assign(&mut self, name: &str) -> Result<Assign> {
        if let Some(found) = SERVICES.iter().find(|s| s.eq_ignore_ascii_case(name)) {
            return Ok(service(found));
        }
        let full = alloc::format!("{name}:");
        match self.names.assign_get(full.as_bytes()) {
            Ok(path) => Ok(directory(
                &full.to_ascii_uppercase(),
                path.as_str().map_err(said)?,
            )),
            Err(Error::InvalidArgument | Error::NameTooLong) => Err(Said::NotFound),
            Err(error) => Err(said(error)),
        }
    }

    fn assign_set(&mut self, name: &str, directories: &[String]) -> Result<()> {
        // The name service keeps several directories as one text.
        let path = directories.join(";");
        let full = alloc::format!("{name}:");
        self.names
            .assign_set(full.as_bytes(), path.as_bytes())
            .map_err(said)
    }

    fn assign_remove(&mut self, name: &str) -> Result<()> {
        let full = alloc::format!("{name}:");
        self.names.assign_remove(full.as_bytes()).map_err(said)
    }

    fn spawn(&mut self, spawn: &Spawn<'_>) -> Result<Pid> {
        self.start(spawn).map_err(said)
    }

    fn wait(&mut self, pid: Pid, block: bool) -> Result<Waited> {
        self.wait_for(pid, block)
    }

    fn kill(&mut self, pid: Pid) -> Result<()> {
        self.end(pid)
    }

    fn processes(&mut self) -> Result<Vec<ProcessInfo>> {
        self.list_processes().map_err(said)
    }

    fn caps(&mut self, pid: Option<Pid>) -> Result<Vec<CapInfo>> {
        self.list_caps(pid).map_err(said)
    }

    fn pipe(&mut self) -> Result<PipeId> {
        let pipe = Pipe::new().map_err(said)?;
        let id = self.next_pipe;
        self.next_pipe += 1;
        self.pipes.insert(id, pipe);
        Ok(PipeId(id))
    }

    fn pipe_read(&mut self, pipe: PipeId, buf: &mut [u8]) -> Result<usize> {
        let pipe = self.pipes.get(&pipe.0).ok_or(Said::InvalidArgument)?;
        pipe.read(buf).map_err(said)
    }

    fn pipe_write(&mut self, pipe: PipeId, bytes: &[u8]) -> Result<usize> {
        let pipe = self.pipes.get(&pipe.0).ok_or(Said::InvalidArgument)?;
        pipe.write(bytes).map_err(|error| match error {
            Error::PeerClosed => Said::BrokenPipe,
            error => said(error),
        })
    }

    fn pipe_close(&mut self, pipe: PipeId) -> Result<()> {
        self.pipes
            .remove(&pipe.0)
            .map(drop)
            .ok_or(Said::InvalidArgument)
    }

    fn servers(&mut self) -> Result<Vec<ServerInfo>> {
        let mut list = Vec::new();
        let now = clock::now();
        for index in 0.. {
            let (name, status) = match self.names.server_at(index) {
                Ok(server) => server,
                Err(Error::NotFound) => break,
                Err(error) => return Err(said(error)),
            };
            let name = name.as_str().map_err(said)?;
            let service = alloc::format!("{}:", name.to_ascii_uppercase());
            let runs = status.process_id != 0;
            list.push(ServerInfo {
                name: name.to_string(),
                pid: runs.then_some(Pid(status.process_id)),
                state: String::from(match status.state {
                    state::OFF => "off",
                    state::STARTING => "starting",
                    state::READY => "ready",
                    state::WAITING => "waiting to restart",
                    _ => "failed",
                }),
                restarts: status.starts.saturating_sub(1),
                uptime_ns: if runs {
                    now.saturating_sub(status.started_ns)
                } else {
                    0
                },
                service,
                note: String::new(),
            });
        }
        Ok(list)
    }

    fn server_restart(&mut self, name: &str) -> Result<()> {
        self.names.server_restart(name.as_bytes()).map_err(said)
    }

    fn server_kill(&mut self, name: &str) -> Result<()> {
        self.names.server_kill(name.as_bytes()).map_err(said)
    }

    fn console_write(&mut self, bytes: &[u8], error: bool) -> Result<()> {
        self.console.write(&self.names, bytes, error).map_err(said)
    }

    fn console_read(&mut self, buf: &mut [u8]) -> Result<usize> {
        self.console.read(&self.names, buf).map_err(said)
    }

    fn console_mode(&mut self, mode: ConsoleMode) -> Result<()> {
        let mode = match mode {
            ConsoleMode::Cooked => TermMode::COOKED,
            ConsoleMode::Raw => TermMode::RAW,
        };
        self.console.set_mode(&self.names, mode).map_err(said)
    }

    fn terminal_width(&mut self) -> Option<usize> {
        (!self.scripted && self.console.is_terminal()).then(|| self.console.width())
    }

    fn interrupted(&mut self) -> bool {
        self.console.interrupted()
    }

    fn uptime_ns(&mut self) -> u64 {
        clock::now()
    }

    fn load(&mut self) -> Result<Load> {
        let system = self.system.as_ref().ok_or(Said::PermissionDenied)?;
        let info = system.info().map_err(said)?;
        Ok(Load {
            idle_ns: info.idle_ns,
            cores: info.cores,
            first_ns: info.first_ns,
        })
    }

    fn wall_clock_ns(&mut self) -> Option<u64> {
        self.names.wall_clock().ok()?.checked_add(clock::now())
    }

    fn sleep(&mut self, ns: u64) -> Result<()> {
        let deadline = clock::after(ns);
        let Some(event) = self.console.interrupt() else {
            clock::sleep(ns);
            return Ok(());
        };
        match event.wait(super::console::INTERRUPT, deadline.max(1)) {
            Ok(_) => Err(Said::Interrupted),
            Err(Error::TimedOut | Error::WouldBlock) => Ok(()),
            Err(error) => Err(said(error)),
        }
    }

    fn memory(&mut self) -> Result<MemoryInfo> {
        let info = self
            .system
            .as_ref()
            .ok_or(Said::PermissionDenied)?
            .info()
            .map_err(said)?;
        let used = info.ram_bytes.saturating_sub(info.free_bytes);
        Ok(MemoryInfo {
            total: info.ram_bytes,
            free: info.free_bytes,
            kernel: info.kernel_bytes,
            user: used.saturating_sub(info.kernel_bytes),
            largest: 0,
            page: viper_rt::abi::PAGE_SIZE as u32,
        })
    }

    fn trace(&mut self, since_ns: u64) -> Result<Vec<TraceRecord>> {
        self.traced(since_ns).map_err(said)
    }

    fn info(&mut self) -> SystemInfo {
        let cores = self
            .system
            .as_ref()
            .and_then(|s| s.info().ok())
            .map_or(1, |i| i.cores);
        SystemInfo {
            name: String::from("ViperOS"),
            version: String::from(env!("CARGO_PKG_VERSION")),
            mode: if self.recovery {
                Mode::Recovery
            } else {
                Mode::Microkernel
            },
            machine: String::from("aarch64"),
            cpus: cores,
            build: String::new(),
        }
    }

    fn power(&mut self, power: Power) -> Result<()> {
        let action = match power {
            Power::Shutdown => PowerAction::OFF,
            Power::Reboot => PowerAction::RESET,
        };
        self.console.drain();
        self.system
            .as_ref()
            .ok_or(Said::PermissionDenied)?
            .power(action)
            .map_err(said)
    }
}

fn boot_stat(viper: &mut Viper, path: &str) -> Result<Stat> {
    let mut stat = Stat {
        kind: FileKind::Directory,
        size: 0,
        mode: 0o555,
        links: 1,
        inode: 1,
        modified_ns: 0,
        user: 0,
        group: 0,
    };
    if !matches!(path, "/" | "/c") {
        stat.kind = FileKind::File;
        stat.size = viper
            .boot
            .length(&viper.names, member_of(path))
            .map_err(said)?;
    }
    Ok(stat)
}

fn stat(a: Attributes) -> Stat {
    Stat {
        kind: file_kind(a.kind),
        size: a.size_bytes,
        mode: a.mode,
        links: a.links,
        inode: a.inode,
        modified_ns: a.modified_ns,
        user: a.user,
        group: a.group,
    }
}

/// What is known of a mount: of one whose volume is not there, little.
fn volume(viper: &mut Viper, mount: Mount) -> VolumeInfo {
    let Viper { files, names, .. } = viper;
    let limit = |limit: u64| Some(limit).filter(|&limit| limit != u64::MAX);
    let (id, name) = files.volume_at(names, &mount.path).unwrap_or_default();
    let s = files.statistics_at(names, &mount.path).unwrap_or_default();
    let note = match mount.info.state {
        mount_state::FAILED => "the disk failed",
        mount_state::ABSENT => "not there",
        _ => "",
    };
    VolumeInfo {
        device: mount.device,
        name,
        root: mount.path,
        format: String::from("viperfs"),
        total: s.blocks.saturating_mul(s.block_bytes),
        free: s.blocks_free.saturating_mul(s.block_bytes),
        files: mount.info.inodes,
        read_only: mount.info.state != mount_state::WRITABLE,
        note: note.into(),
        identity: identity(id.uuid_high, id.uuid_low),
        open_files: mount.info.open_files,
        limit_bytes: limit(mount.info.quota_bytes),
        limit_files: limit(mount.info.quota_inodes),
    }
}

/// An identity as people write it: groups of hexadecimal digits.
fn identity(high: u64, low: u64) -> String {
    alloc::format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

fn file_kind(number: u32) -> FileKind {
    match number {
        kind::FILE => FileKind::File,
        kind::DIRECTORY => FileKind::Directory,
        kind::LINK => FileKind::Link,
        _ => FileKind::Other,
    }
}

/// An assign as the name service keeps it: its name with a colon, its directories as one text.
fn directory(name: &str, path: &str) -> Assign {
    Assign {
        name: name.trim_end_matches(':').to_string(),
        target: AssignTarget::Directories(path.split(';').map(String::from).collect()),
        system: matches!(name, "SYS:" | "C:" | "S:" | "L:" | "T:" | "CERTS:"),
    }
}

fn service(name: &str) -> Assign {
    Assign {
        name: name.to_string(),
        target: AssignTarget::Service,
        system: true,
    }
}
