//! The shell's system: what `viper-shell` needs, over the services of ViperOS.

mod boot;
mod console;
mod pipes;
mod processes;
mod system;
mod traces;

use crate::kept::Kept;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
pub use console::Console;
use processes::Child;
use viper_proto::fs::Files;
use viper_proto::names;
use viper_rt::abi::Slot;
use viper_rt::handle::{Channel, OwnedHandle, Quota, System as SystemHandle};
use viper_rt::{Error, program};
use viper_shell::error as shell;

/// The system around the shell.
pub struct Viper {
    names: names::Client,
    system: Option<SystemHandle>,
    quota: Option<Quota>,
    console: Console,
    files: Files,
    /// Recovery: the boot archive is the file system.
    recovery: bool,
    /// Commands are run from the boot archive, not typed.
    scripted: bool,
    boot: boot::BootFiles,
    open: BTreeMap<u64, OpenFile>,
    next_file: u64,
    children: BTreeMap<u64, Child>,
    /// Programs started last, by inode, size and time of the last change.
    programs: Kept,
    pipes: BTreeMap<u64, pipes::Pipe>,
    next_pipe: u64,
}

#[derive(Debug)]
enum OpenFile {
    Disk(viper_proto::fs::FileId),
    Boot(String),
}

/// What the arguments ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--recovery`: the debug console and the boot archive, no servers.
    pub recovery: bool,
    /// `--boot-script NAME`: run this member of the boot archive and end.
    pub boot_script: Option<String>,
    /// `-c TEXT`: run this text and end.
    pub text: Option<String>,
    /// A script's path.
    pub script: Option<String>,
}

impl Options {
    /// Reads the arguments behind the program's name.
    pub fn parse<'a>(arguments: impl Iterator<Item = &'a str>) -> Options {
        let mut options = Options::default();
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            match argument {
                "--recovery" => options.recovery = true,
                "--boot-script" => options.boot_script = arguments.next().map(Into::into),
                "-c" => options.text = arguments.next().map(Into::into),
                path => options.script = options.script.or_else(|| Some(path.into())),
            }
        }
        options
    }
}

impl Viper {
    /// Takes what the process was started with.
    ///
    /// # Errors
    /// [`Error::NoService`] without a name channel.
    pub fn new(options: &Options) -> Result<Viper, Error> {
        let channel: Channel = program::take(Slot::NAMES)
            .ok_or(Error::NoService)?
            .into_object();
        let names = names::Client::new(channel);
        let system: Option<SystemHandle> =
            program::take(Slot::SYSTEM).map(OwnedHandle::into_object);
        let console = Console::open(&names, options.recovery, system.as_ref());
        let mut files = Files::new();
        files.set_traced(true);
        Ok(Viper {
            names,
            system,
            quota: program::take(Slot::QUOTA).map(OwnedHandle::into_object),
            console,
            files,
            recovery: options.recovery,
            scripted: options.boot_script.is_some() || options.text.is_some(),
            boot: boot::BootFiles::default(),
            open: BTreeMap::new(),
            next_file: 1,
            children: BTreeMap::new(),
            programs: Kept::default(),
            pipes: BTreeMap::new(),
            next_pipe: 1,
        })
    }

    /// A member of the boot archive as text.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`] if it is not UTF-8.
    pub fn boot_text(&mut self, name: &str) -> Result<String, Error> {
        let bytes = self.boot.read_all(&self.names, name)?;
        String::from_utf8(bytes).map_err(|_| Error::Corrupt)
    }

    /// Whether it was started with standard streams: by another program, not with the system.
    #[must_use]
    pub fn has_streams(&self) -> bool {
        self.console.has_streams()
    }

    /// Whether somebody types; otherwise commands come from a pipe or file.
    #[must_use]
    pub fn is_typed(&self) -> bool {
        self.console.is_terminal()
    }

    /// Waits until everything written is on the terminal.
    pub fn drain(&mut self) {
        self.console.drain();
    }

    /// What is missing, a line each.
    #[must_use]
    pub fn lacks(&self) -> Vec<&'static str> {
        let mut lacks = Vec::new();
        if !self.recovery && self.console.is_debug() {
            lacks.push("no console server: this is the debug console");
        }
        lacks
    }
}

/// An error of the system as the shell says it.
fn said(error: Error) -> shell::Error {
    use shell::Error as Said;
    match error {
        Error::NotFound => Said::NotFound,
        Error::AlreadyExists => Said::AlreadyExists,
        Error::NotDirectory => Said::NotADirectory,
        Error::IsDirectory => Said::IsADirectory,
        Error::NotEmpty => Said::NotEmpty,
        Error::NoSpace => Said::NoSpace,
        Error::ReadOnly => Said::ReadOnly,
        Error::NoRight => Said::PermissionDenied,
        Error::NameTooLong => Said::NameTooLong,
        Error::InvalidArgument | Error::BadHandle | Error::WrongKind => Said::InvalidArgument,
        Error::Loop => Said::TooManyLinks,
        Error::CrossDevice => Said::CrossDevice,
        Error::FileTooLarge | Error::MessageTooLarge => Said::TooLarge,
        Error::Busy | Error::WouldBlock => Said::Busy,
        Error::Corrupt | Error::BadMessage => Said::Corrupt,
        Error::PeerClosed | Error::ServerDied => Said::ServerDied,
        Error::NoService => Said::NoServer,
        Error::TimedOut => Said::TimedOut,
        Error::Interrupted => Said::Interrupted,
        Error::OutOfMemory | Error::LimitReached => Said::Exhausted,
        Error::NotExecutable => Said::NotExecutable,
        Error::NotSupported => Said::Unsupported,
        Error::Ended => Said::NotFound,
        _ => Said::Io,
    }
}
