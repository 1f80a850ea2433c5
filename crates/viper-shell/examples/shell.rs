//! The ViperOS shell on the host: `cargo run -p viper-shell --example shell`.
//!
//! `SYS:` is the directory given as the first argument, or the current one. With `-c COMMANDS` it
//! runs those and ends with their return code. The terminal stays in its own line mode, so keys
//! are edited by the terminal, not by the shell.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use viper_shell::system::*;
use viper_shell::{Error, Result, Session, System};

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let commands = match args.iter().position(|arg| arg == "-c") {
        Some(at) if at + 1 < args.len() => {
            let text = args.remove(at + 1);
            args.remove(at);
            Some(text)
        }
        _ => None,
    };
    let root = args.first().map_or(".", String::as_str);
    let root = fs::canonicalize(root).unwrap_or_else(|error| {
        eprintln!("shell: {root}: {error}");
        std::process::exit(20);
    });
    let mut sys = Host::new(root);
    let mut session = Session::new(&mut sys);
    let code = match commands {
        Some(text) => session.shell().run(&mut sys, &text).code,
        None => session.run(&mut sys).unwrap_or(20),
    };
    std::process::exit(code);
}

/// The host's files and programs as a [`System`].
struct Host {
    root: PathBuf,
    start: Instant,
    files: BTreeMap<u64, File>,
    children: BTreeMap<u64, Child>,
    assigns: Vec<Assign>,
    next: u64,
}

impl Host {
    fn new(root: PathBuf) -> Self {
        let assign = |name: &str, dir: &str| Assign {
            name: name.into(),
            target: AssignTarget::Directories(vec![dir.into()]),
            system: true,
        };
        let assigns = vec![assign("SYS", "/"), assign("C", "/c"), assign("T", "/tmp")];
        let (files, children) = (BTreeMap::new(), BTreeMap::new());
        Self {
            root,
            start: Instant::now(),
            files,
            children,
            assigns,
            next: 1,
        }
    }

    fn host(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn file(&self, file: FileId) -> Result<&File> {
        self.files.get(&file.0).ok_or(Error::InvalidArgument)
    }

    fn stdio(&self, path: &str, offset: u64, write: bool) -> Result<Stdio> {
        use std::io::{Seek, SeekFrom};
        let path = self.host(path);
        let mut options = OpenOptions::new();
        let mut file = options
            .read(!write)
            .write(write)
            .open(path)
            .map_err(error)?;
        file.seek(SeekFrom::Start(offset)).map_err(error)?;
        Ok(file.into())
    }

    fn output(&self, output: &Output<'_>) -> Result<Stdio> {
        Ok(match output {
            Output::Console | Output::Stdout => Stdio::inherit(),
            Output::File { path, offset } => self.stdio(path, *offset, true)?,
            Output::Null | Output::Pipe(_) => Stdio::null(),
        })
    }
}

fn error(error: io::Error) -> Error {
    use io::ErrorKind::*;
    match error.kind() {
        NotFound => Error::NotFound,
        AlreadyExists => Error::AlreadyExists,
        PermissionDenied => Error::PermissionDenied,
        NotADirectory => Error::NotADirectory,
        IsADirectory => Error::IsADirectory,
        DirectoryNotEmpty => Error::NotEmpty,
        StorageFull => Error::NoSpace,
        ReadOnlyFilesystem => Error::ReadOnly,
        InvalidFilename => Error::NameTooLong,
        CrossesDevices => Error::CrossDevice,
        ExecutableFileBusy | ResourceBusy => Error::Busy,
        Interrupted => Error::Interrupted,
        _ if error.raw_os_error() == Some(8) => Error::NotExecutable,
        _ => Error::Io,
    }
}

fn kind(file: fs::FileType) -> FileKind {
    match file {
        f if f.is_dir() => FileKind::Directory,
        f if f.is_symlink() => FileKind::Link,
        f if f.is_file() => FileKind::File,
        _ => FileKind::Other,
    }
}

impl System for Host {
    fn open(&mut self, path: &str, mode: OpenMode) -> Result<FileId> {
        let path = self.host(path);
        if path.is_dir() {
            return Err(Error::IsADirectory);
        }
        let mut options = OpenOptions::new();
        options
            .read(!mode.write)
            .write(mode.write)
            .truncate(mode.truncate);
        options.create(mode.create).create_new(mode.exclusive);
        let file = options.open(path).map_err(error)?;
        self.next += 1;
        self.files.insert(self.next, file);
        Ok(FileId(self.next))
    }

    fn read(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.file(file)?.read_at(buf, offset).map_err(error)
    }

    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<usize> {
        self.file(file)?.write_at(bytes, offset).map_err(error)
    }

    fn sync(&mut self, file: FileId) -> Result<()> {
        self.file(file)?.sync_all().map_err(error)
    }

    fn close(&mut self, file: FileId) -> Result<()> {
        self.files
            .remove(&file.0)
            .map(drop)
            .ok_or(Error::InvalidArgument)
    }

    fn stat(&mut self, path: &str, follow: bool) -> Result<Stat> {
        let path = self.host(path);
        let facts = if follow {
            fs::metadata(&path)
        } else {
            fs::symlink_metadata(&path)
        };
        let facts = facts.map_err(error)?;
        Ok(Stat {
            kind: kind(facts.file_type()),
            size: facts.len(),
            mode: facts.mode() & 0o7777,
            links: facts.nlink() as u32,
            inode: facts.ino(),
            modified_ns: facts.mtime() as u64 * 1_000_000_000 + facts.mtime_nsec() as u64,
            user: facts.uid(),
            group: facts.gid(),
        })
    }

    fn read_dir(&mut self, path: &str, from: u64, into: &mut Vec<DirEntry>) -> Result<Option<u64>> {
        const BATCH: usize = 1000;
        let all = fs::read_dir(self.host(path)).map_err(error)?;
        let mut all = all.skip(from as usize);
        for entry in all.by_ref().take(BATCH) {
            let entry = entry.map_err(error)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            into.push(DirEntry {
                name,
                kind: entry.file_type().map_or(FileKind::Other, kind),
            });
        }
        Ok(all.next().map(|_| from + BATCH as u64))
    }

    fn make_dir(&mut self, path: &str) -> Result<()> {
        fs::create_dir(self.host(path)).map_err(error)
    }

    fn unlink(&mut self, path: &str) -> Result<()> {
        fs::remove_file(self.host(path)).map_err(error)
    }

    fn remove_dir(&mut self, path: &str) -> Result<()> {
        fs::remove_dir(self.host(path)).map_err(error)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        fs::rename(self.host(from), self.host(to)).map_err(error)
    }

    fn symlink(&mut self, target: &str, path: &str) -> Result<()> {
        let target = match target.starts_with('/') {
            true => self.host(target),
            false => PathBuf::from(target),
        };
        symlink(target, self.host(path)).map_err(error)
    }

    fn read_link(&mut self, path: &str) -> Result<String> {
        let target = fs::read_link(self.host(path)).map_err(error)?;
        let inside = target
            .strip_prefix(&self.root)
            .map(|rest| Path::new("/").join(rest));
        Ok(inside.unwrap_or(target).to_string_lossy().into_owned())
    }

    fn hard_link(&mut self, from: &str, to: &str) -> Result<()> {
        fs::hard_link(self.host(from), self.host(to)).map_err(error)
    }

    fn truncate(&mut self, path: &str, size: u64) -> Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .open(self.host(path))
            .map_err(error)?;
        file.set_len(size).map_err(error)
    }

    fn set_mode(&mut self, path: &str, mode: u32) -> Result<()> {
        fs::set_permissions(self.host(path), fs::Permissions::from_mode(mode)).map_err(error)
    }

    fn set_modified(&mut self, path: &str, time_ns: Option<u64>) -> Result<()> {
        let file = File::open(self.host(path)).map_err(error)?;
        let given = time_ns.map(|ns| UNIX_EPOCH + Duration::from_nanos(ns));
        file.set_modified(given.unwrap_or_else(SystemTime::now))
            .map_err(error)
    }

    fn sync_all(&mut self) -> Result<()> {
        Ok(())
    }

    fn volumes(&mut self) -> Result<Vec<VolumeInfo>> {
        Err(Error::Unsupported)
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
        self.assigns
            .retain(|assign| !assign.name.eq_ignore_ascii_case(name));
        let target = AssignTarget::Directories(directories.to_vec());
        self.assigns.push(Assign {
            name: name.to_uppercase(),
            target,
            system: false,
        });
        Ok(())
    }

    fn assign_remove(&mut self, name: &str) -> Result<()> {
        self.assign(name)?;
        self.assigns
            .retain(|assign| !assign.name.eq_ignore_ascii_case(name));
        Ok(())
    }

    fn spawn(&mut self, spawn: &Spawn<'_>) -> Result<Pid> {
        let mut command = Command::new(self.host(spawn.path));
        command
            .args(spawn.args.iter().skip(1))
            .current_dir(self.host(spawn.cwd));
        command.envs(spawn.env.iter().filter_map(|pair| pair.split_once('=')));
        command.stdin(match spawn.stdin {
            Input::Console => Stdio::inherit(),
            Input::File { path, offset } => self.stdio(path, offset, false)?,
            Input::Null | Input::Pipe(_) => Stdio::null(),
        });
        command
            .stdout(self.output(&spawn.stdout)?)
            .stderr(self.output(&spawn.stderr)?);
        let child = command.spawn().map_err(|spawned| match error(spawned) {
            Error::PermissionDenied => Error::NotExecutable,
            other => other,
        })?;
        let pid = u64::from(child.id());
        self.children.insert(pid, child);
        Ok(Pid(pid))
    }

    fn wait(&mut self, pid: Pid, block: bool) -> Result<Waited> {
        let child = self.children.get_mut(&pid.0).ok_or(Error::NotFound)?;
        let status = match block {
            true => Some(child.wait().map_err(error)?),
            false => child.try_wait().map_err(error)?,
        };
        let Some(status) = status else {
            return Ok(Waited::Running);
        };
        self.children.remove(&pid.0);
        let fault = status
            .code()
            .is_none()
            .then(|| format!("ended by {status}"));
        Ok(Waited::Exited(ExitStatus {
            code: status.code().unwrap_or(20),
            fault,
        }))
    }

    fn kill(&mut self, pid: Pid) -> Result<()> {
        self.children
            .get_mut(&pid.0)
            .ok_or(Error::NotFound)?
            .kill()
            .map_err(error)
    }

    fn processes(&mut self) -> Result<Vec<ProcessInfo>> {
        Err(Error::Unsupported)
    }

    fn caps(&mut self, _: Option<Pid>) -> Result<Vec<CapInfo>> {
        Err(Error::Unsupported)
    }

    fn servers(&mut self) -> Result<Vec<ServerInfo>> {
        Ok(Vec::new())
    }

    fn server_restart(&mut self, _: &str) -> Result<()> {
        Err(Error::NotFound)
    }

    fn server_kill(&mut self, _: &str) -> Result<()> {
        Err(Error::NotFound)
    }

    fn console_write(&mut self, bytes: &[u8], complaint: bool) -> Result<()> {
        let written = match complaint {
            true => io::stderr().write_all(bytes),
            false => io::stdout()
                .write_all(bytes)
                .and_then(|()| io::stdout().flush()),
        };
        written.map_err(error)
    }

    fn console_read(&mut self, buf: &mut [u8]) -> Result<usize> {
        io::stdin().read(buf).map_err(error)
    }

    fn console_mode(&mut self, _: ConsoleMode) -> Result<()> {
        Ok(())
    }

    fn terminal_width(&mut self) -> Option<usize> {
        // The host's terminal echoes by itself; the editor's echo would double it.
        let echoes = io::stdin().is_terminal();
        (io::stdout().is_terminal() && !echoes).then_some(80)
    }

    fn interrupted(&mut self) -> bool {
        false
    }

    fn uptime_ns(&mut self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn wall_clock_ns(&mut self) -> Option<u64> {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .map(|time| time.as_nanos() as u64)
    }

    fn sleep(&mut self, ns: u64) -> Result<()> {
        std::thread::sleep(Duration::from_nanos(ns));
        Ok(())
    }

    fn load(&mut self) -> Result<Load> {
        Err(Error::Unsupported)
    }

    fn memory(&mut self) -> Result<MemoryInfo> {
        Err(Error::Unsupported)
    }

    fn trace(&mut self, _: u64) -> Result<Vec<TraceRecord>> {
        Ok(Vec::new())
    }

    fn info(&mut self) -> SystemInfo {
        SystemInfo {
            name: "ViperOS shell".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            mode: Mode::Recovery,
            machine: std::env::consts::ARCH.into(),
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            build: "on the host".into(),
        }
    }

    fn power(&mut self, _: Power) -> Result<()> {
        Ok(())
    }
}
