//! What the shell needs of the system around it.
//!
//! The trait is object-safe and synchronous. The shell gives **absolute, normalised** paths: they
//! begin with `/` (the root of `SYS:`), have no `.`/`..`/empty components, and no assign: the
//! shell resolves those with [`System::assign`]. Times are nanoseconds, sizes bytes. An operation
//! that the system lacks returns [`Error::Unsupported`]; the commands say so and the rest works.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::{Error, Result};

/// An open file. Means something only to the system that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(pub u64);

/// A pipe made by [`System::pipe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PipeId(pub u64);

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub u64);

/// How to open a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenMode {
    /// For writing; otherwise for reading only.
    pub write: bool,
    /// Make it when missing.
    pub create: bool,
    /// Empty it.
    pub truncate: bool,
    /// Fail with `AlreadyExists` when it exists.
    pub exclusive: bool,
}

impl OpenMode {
    /// An existing file, for reading.
    pub const READ: Self = Self {
        write: false,
        create: false,
        truncate: false,
        exclusive: false,
    };
    /// A new or emptied file, for writing.
    pub const REPLACE: Self = Self {
        write: true,
        create: true,
        truncate: true,
        exclusive: false,
    };
    /// A new or existing file as it is, for writing.
    pub const APPEND: Self = Self {
        write: true,
        create: true,
        truncate: false,
        exclusive: false,
    };
}

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Something else.
    Other,
}

/// Facts about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Bytes in it.
    pub size: u64,
    /// Permission bits as in POSIX (`0o644`).
    pub mode: u32,
    /// Names it has.
    pub links: u32,
    /// Number that is the same exactly for the same file of a volume.
    pub inode: u64,
    /// Last change, since 1970.
    pub modified_ns: u64,
    /// Who owns it.
    pub user: u32,
    /// The group it is for.
    pub group: u32,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without a path.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
}

/// How a volume is to be mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Without ever writing to it.
    pub read_only: bool,
    /// Bytes that may be in use on it.
    pub limit_bytes: Option<u64>,
    /// Files and directories that may be on it.
    pub limit_files: Option<u64>,
}

/// State of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeInfo {
    /// The disk or partition it is on: "D1.2".
    pub device: String,
    /// Its name.
    pub name: String,
    /// Where its root is, as a path.
    pub root: String,
    /// The file system's name.
    pub format: String,
    /// Size in bytes.
    pub total: u64,
    /// Free bytes.
    pub free: u64,
    /// Files and directories in use; 0 when unknown.
    pub files: u64,
    /// Whether nothing can be written.
    pub read_only: bool,
    /// Errors met since it was mounted, or other remarks; empty when all is well.
    pub note: String,
    /// Its identity, as text; empty when unknown.
    pub identity: String,
    /// Files that are open on it.
    pub open_files: u32,
    /// Bytes that may be in use on it.
    pub limit_bytes: Option<u64>,
    /// Files and directories that may be on it.
    pub limit_files: Option<u64>,
}

/// What an assign stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssignTarget {
    /// Directories (absolute paths), looked at in this order.
    Directories(Vec<String>),
    /// A service, such as `BLKD:`.
    Service,
}

/// A name such as `SYS:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assign {
    /// The name without its colon.
    pub name: String,
    /// What it stands for.
    pub target: AssignTarget,
    /// It belongs to the system and cannot be changed here.
    pub system: bool,
}

/// Where a program's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// The console.
    Console,
    /// Nothing: end of file at once.
    Null,
    /// A file from an offset on.
    File {
        /// Absolute path.
        path: &'a str,
        /// Where to begin.
        offset: u64,
    },
    /// The reading end of a pipe, which goes over to the program.
    Pipe(PipeId),
}

/// Where a program's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// The console.
    Console,
    /// Nowhere.
    Null,
    /// A file from an offset on; the file exists.
    File {
        /// Absolute path.
        path: &'a str,
        /// Where to begin.
        offset: u64,
    },
    /// The writing end of a pipe, which goes over to the program.
    Pipe(PipeId),
    /// The very same as standard output. Only for standard error.
    Stdout,
}

/// What a program may do besides the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Kill and restart servers.
    pub manage: bool,
    /// Look at all processes, and switch the machine off.
    pub system: bool,
    /// Read trace rings.
    pub trace: bool,
    /// Set the clock.
    pub clock: bool,
}

/// A program to start.
#[derive(Clone, Copy, Debug)]
pub struct Spawn<'a> {
    /// Absolute path of the executable.
    pub path: &'a str,
    /// Arguments, the first being the name it was called by.
    pub args: &'a [String],
    /// `NAME=value` pairs.
    pub env: &'a [String],
    /// Current directory, absolute.
    pub cwd: &'a str,
    /// Standard input.
    pub stdin: Input<'a>,
    /// Standard output.
    pub stdout: Output<'a>,
    /// Standard error.
    pub stderr: Output<'a>,
    /// Not in the foreground: Ctrl-C is not for it.
    pub background: bool,
    /// What it may do besides the usual.
    pub grants: Grants,
}

/// How a process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitStatus {
    /// Its return code; 20 when it did not end by itself.
    pub code: i32,
    /// What ended it, when it did not end by itself: "read of address 0x0 at 0x80001000".
    pub fault: Option<String>,
}

/// What [`System::wait`] came back with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It ended; the process is gone now.
    Exited(ExitStatus),
    /// It still runs (only without blocking).
    Running,
    /// Ctrl-C was pressed; it still runs. The shell kills it and waits again.
    Interrupted,
}

/// A line of the process table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its number.
    pub pid: Pid,
    /// Who started it, if that is known.
    pub parent: Option<Pid>,
    /// Its name.
    pub name: String,
    /// What it is doing: "running", "ready", "waiting".
    pub state: String,
    /// Priority, 0 to 7.
    pub priority: u8,
    /// Threads.
    pub threads: u32,
    /// Handles in use.
    pub handles: u32,
    /// Memory it is charged for.
    pub memory: u64,
    /// Processor time it used.
    pub cpu_ns: u64,
}

/// A supervised server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its name: "fsd".
    pub name: String,
    /// Its process, when it runs.
    pub pid: Option<Pid>,
    /// "ready", "starting", "waiting to restart", "failed", "off".
    pub state: String,
    /// How often it was started again.
    pub restarts: u32,
    /// How long it runs.
    pub uptime_ns: u64,
    /// The service it offers: "FSD:", or empty.
    pub service: String,
    /// Why it is in this state; empty when all is well.
    pub note: String,
}

/// A capability that a process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapInfo {
    /// Handle.
    pub handle: u32,
    /// Generation of the handle's slot.
    pub generation: u32,
    /// Kind of object: "channel", "memory", "device".
    pub kind: String,
    /// Rights, one letter or word each: "rwmt".
    pub rights: String,
    /// What it is for; may be empty.
    pub label: String,
}

/// The state of memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryInfo {
    /// All memory.
    pub total: u64,
    /// Free.
    pub free: u64,
    /// Of the rest: the kernel's.
    pub kernel: u64,
    /// Of the rest: what processes are charged for.
    pub user: u64,
    /// Largest free block in one piece; 0 when unknown.
    pub largest: u64,
    /// Size of a page.
    pub page: u32,
}

/// What the processors did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How long they had nothing to do, all together.
    pub idle_ns: u64,
    /// How many there are.
    pub cores: u32,
    /// When the first program began, since boot.
    pub first_ns: u64,
}

/// One step on a request's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceRecord {
    /// When, since boot.
    pub time_ns: u64,
    /// Which request: the same number in every process it goes through; 0 for none.
    pub request: u64,
    /// The process that recorded it.
    pub process: String,
    /// What happened: "call read", "recv", "reply ok 4096".
    pub event: String,
}

/// How the system was booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The whole system.
    Microkernel,
    /// The shell alone, on the debug console.
    Recovery,
}

/// Who the system is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemInfo {
    /// "ViperOS".
    pub name: String,
    /// "0.1.0".
    pub version: String,
    /// How it was booted.
    pub mode: Mode,
    /// "aarch64".
    pub machine: String,
    /// Processor cores in use.
    pub cpus: u32,
    /// More about the build, or empty.
    pub build: String,
}

/// How the console hands over what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleMode {
    /// Line by line, with echo; Ctrl-C interrupts.
    Cooked,
    /// Byte by byte, for the line editor.
    Raw,
}

/// The ways to end the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Off.
    Shutdown,
    /// Off and on again.
    Reboot,
}

/// The system around the shell. See the module's text about paths, units and errors.
pub trait System {
    // Files.

    /// Opens a file (not a directory).
    fn open(&mut self, path: &str, mode: OpenMode) -> Result<FileId>;
    /// Reads from `offset`; 0 bytes mean the end. May read less than asked for.
    fn read(&mut self, file: FileId, offset: u64, buf: &mut [u8]) -> Result<usize>;
    /// Writes at `offset`; may write less than asked for, but not nothing.
    fn write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<usize>;
    /// Makes what was written to the file safe against power loss.
    fn sync(&mut self, file: FileId) -> Result<()>;
    /// Closes it.
    fn close(&mut self, file: FileId) -> Result<()>;
    /// Facts about what a path names; about a link itself unless `follow`.
    fn stat(&mut self, path: &str, follow: bool) -> Result<Stat>;
    /// Appends entries of a directory to `into`, without `.` and `..`: some of them, beginning at
    /// `from` (0 first). Returns where to go on, or `None` after the last.
    fn read_dir(&mut self, path: &str, from: u64, into: &mut Vec<DirEntry>) -> Result<Option<u64>>;
    /// Makes a directory.
    fn make_dir(&mut self, path: &str) -> Result<()>;
    /// Removes a file or link.
    fn unlink(&mut self, path: &str) -> Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&mut self, path: &str) -> Result<()>;
    /// Renames or moves within a volume; replaces an existing file.
    fn rename(&mut self, from: &str, to: &str) -> Result<()>;
    /// Makes a symbolic link at `path` whose text is `target`.
    fn symlink(&mut self, target: &str, path: &str) -> Result<()>;
    /// The text of a symbolic link.
    fn read_link(&mut self, path: &str) -> Result<String>;
    /// Gives an existing file a second name.
    fn hard_link(&mut self, _from: &str, _to: &str) -> Result<()> {
        Err(Error::Unsupported)
    }
    /// Cuts or extends a file.
    fn truncate(&mut self, path: &str, size: u64) -> Result<()>;
    /// Changes permission bits.
    fn set_mode(&mut self, _path: &str, _mode: u32) -> Result<()> {
        Err(Error::Unsupported)
    }
    /// Changes the owner, and the group if one is given.
    fn set_owner(&mut self, _path: &str, _user: u32, _group: Option<u32>) -> Result<()> {
        Err(Error::Unsupported)
    }
    /// Sets the time of the last change: the given one, or now.
    fn set_modified(&mut self, _path: &str, _time_ns: Option<u64>) -> Result<()> {
        Err(Error::Unsupported)
    }
    /// Makes everything written so far safe against power loss.
    fn sync_all(&mut self) -> Result<()>;
    /// The mounted volumes; the one that holds `/` first.
    fn volumes(&mut self) -> Result<Vec<VolumeInfo>>;
    /// Mounts the volume of a device on a directory. `Some`: what is wrong with the device.
    fn mount(
        &mut self,
        _device: &str,
        _path: &str,
        _options: &MountOptions,
    ) -> Result<Option<String>> {
        Err(Error::Unsupported)
    }
    /// Ends a mount; with `force` also if its disk does not take what was written.
    fn unmount(&mut self, _path: &str, _force: bool) -> Result<()> {
        Err(Error::Unsupported)
    }

    // Assigns.

    /// All assigns, in the order to show them.
    fn assigns(&mut self) -> Result<Vec<Assign>>;
    /// One assign by its name without colon, in any case of letters; `NotFound` otherwise.
    fn assign(&mut self, name: &str) -> Result<Assign>;
    /// Makes or replaces an assign to directories.
    fn assign_set(&mut self, name: &str, directories: &[String]) -> Result<()>;
    /// Removes an assign.
    fn assign_remove(&mut self, name: &str) -> Result<()>;

    // Processes.

    /// Starts a program.
    fn spawn(&mut self, spawn: &Spawn<'_>) -> Result<Pid>;
    /// Waits for the end of a program that [`Self::spawn`] started; does not wait unless `block`.
    fn wait(&mut self, pid: Pid, block: bool) -> Result<Waited>;
    /// Ends a process.
    fn kill(&mut self, pid: Pid) -> Result<()>;
    /// All processes.
    fn processes(&mut self) -> Result<Vec<ProcessInfo>>;
    /// What a process holds; the shell itself for `None`.
    fn caps(&mut self, pid: Option<Pid>) -> Result<Vec<CapInfo>>;
    /// A pipe, for programs that run side by side. Without pipes the shell runs them one after
    /// the other over a file in `T:`.
    fn pipe(&mut self) -> Result<PipeId> {
        Err(Error::Unsupported)
    }
    /// Takes bytes from a pipe whose writing end a program has; waits for some; 0 is the end.
    fn pipe_read(&mut self, _pipe: PipeId, _buf: &mut [u8]) -> Result<usize> {
        Err(Error::Unsupported)
    }
    /// Puts bytes into a pipe whose reading end a program has; waits for room.
    fn pipe_write(&mut self, _pipe: PipeId, _bytes: &[u8]) -> Result<usize> {
        Err(Error::Unsupported)
    }
    /// Closes the ends of a pipe that the shell still has; a program keeps its own.
    fn pipe_close(&mut self, _pipe: PipeId) -> Result<()> {
        Err(Error::Unsupported)
    }

    // Servers.

    /// The supervised servers.
    fn servers(&mut self) -> Result<Vec<ServerInfo>>;
    /// Ends a server in an orderly way and starts it again.
    fn server_restart(&mut self, name: &str) -> Result<()>;
    /// Ends a server at once, as a crash would; supervision does what it does then.
    fn server_kill(&mut self, name: &str) -> Result<()>;

    // The console.

    /// Writes to the console; `error` when it is a complaint, not output.
    fn console_write(&mut self, bytes: &[u8], error: bool) -> Result<()>;
    /// Waits for input and takes some; 0 is the end of input, `Interrupted` Ctrl-C (cooked mode).
    fn console_read(&mut self, buf: &mut [u8]) -> Result<usize>;
    /// Changes how input is handed over.
    fn console_mode(&mut self, mode: ConsoleMode) -> Result<()>;
    /// Columns of the terminal; `None` when the console is not a terminal.
    fn terminal_width(&mut self) -> Option<usize>;
    /// Whether Ctrl-C was pressed since the last call. Does not wait.
    fn interrupted(&mut self) -> bool;

    // The rest.

    /// Time since boot.
    fn uptime_ns(&mut self) -> u64;
    /// How busy the system was since its start.
    fn load(&mut self) -> Result<Load>;
    /// Time since 1970 in UTC, when the system knows it.
    fn wall_clock_ns(&mut self) -> Option<u64>;
    /// Waits; `Interrupted` when Ctrl-C comes first.
    fn sleep(&mut self, ns: u64) -> Result<()>;
    /// The state of memory.
    fn memory(&mut self) -> Result<MemoryInfo>;
    /// What was traced since `since_ns`, in the order of time.
    fn trace(&mut self, since_ns: u64) -> Result<Vec<TraceRecord>>;
    /// Who the system is.
    fn info(&mut self) -> SystemInfo;
    /// Ends the system. When it returns `Ok`, the end is on its way.
    fn power(&mut self, power: Power) -> Result<()>;
}
