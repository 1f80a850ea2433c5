//! Programs that the shell starts, and the processes there are.

use super::{Viper, said};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use viper_proto::fs::flags;
use viper_proto::names::rights;
use viper_rt::abi::{
    EndReason, FOREVER, Handle, HandleInfo, MsgKind, ProcessInfo as Info, Rights, Signals, Slot,
};
use viper_rt::handle::{OwnedHandle, PollSet, Process};
use viper_rt::object::{no_handle_info, no_process_info};
use viper_rt::spawn::{Program, Start};
use viper_rt::{Error, Object, sys};
use viper_shell::error::{Error as Said, Result};
use viper_shell::system::{
    CapInfo, ExitStatus, Grants, Input, Output, Pid, ProcessInfo, Spawn, Waited,
};

/// Memory of a program, at most, in bytes: what the shell's own quota leaves.
const PROGRAM_BYTES: u64 = 1 << 30;
const PRIORITY: u8 = 3;

/// A program that the shell started.
#[derive(Debug)]
pub(super) struct Child {
    process: Process,
    foreground: bool,
}

impl Viper {
    pub(super) fn start(&mut self, spawn: &Spawn<'_>) -> core::result::Result<Pid, Error> {
        let program = self.load(spawn.path)?;
        let mut owned: Vec<(Slot, OwnedHandle)> = Vec::new();
        let given = rights::ASSIGN | rights::BOOT | granted(spawn.grants);
        owned.push((Slot::NAMES, self.names.duplicate(given)?.into_owned()));
        self.streams(spawn, &mut owned)?;
        let quota = self.quota.as_ref().ok_or(Error::NoRight)?;
        let quota = quota.carve(PROGRAM_BYTES)?;
        let all = Rights::ALL;
        let mut handles: Vec<(Slot, Handle, Rights)> = owned
            .iter()
            .map(|(slot, handle)| (*slot, handle.raw(), all))
            .collect();
        handles.push((Slot::QUOTA, quota.raw(), all));
        if let (Some(system), true) = (&self.system, self.console.is_debug()) {
            // Without a console server programs print on the debug port.
            handles.push((Slot::SYSTEM, system.raw(), Rights::WRITE));
        }
        let arguments: Vec<&[u8]> = spawn.args.iter().map(|a| a.as_bytes()).collect();
        let cwd = format!("PWD={}", spawn.cwd);
        let mut environment: Vec<&[u8]> = spawn.env.iter().map(|e| e.as_bytes()).collect();
        environment.push(cwd.as_bytes());
        let name = spawn.path.rsplit('/').next().unwrap_or(spawn.path);
        let process = program.start(&Start {
            name: clip(name),
            quota: &quota,
            priority: PRIORITY,
            arguments: &arguments,
            environment: &environment,
            handles: &handles,
        })?;
        let id = process.info()?.id;
        let foreground = !spawn.background;
        self.children.insert(
            id,
            Child {
                process,
                foreground,
            },
        );
        Ok(Pid(id))
    }

    /// The program of an executable.
    fn load(&mut self, path: &str) -> core::result::Result<Rc<Program>, Error> {
        if self.recovery {
            let (len, memory) = self
                .boot
                .member(&self.names, super::boot::member_of(path))?;
            return Program::from_memory(memory, 0, *len).map(Rc::new);
        }
        self.programs.load(&self.names, &mut self.files, path)
    }

    fn streams(
        &mut self,
        spawn: &Spawn<'_>,
        owned: &mut Vec<(Slot, OwnedHandle)>,
    ) -> core::result::Result<(), Error> {
        match spawn.stdin {
            Input::Console => self.console_stream(Slot::STDIN, owned)?,
            Input::Null => {}
            Input::File { path, offset } => {
                self.file_stream(Slot::STDIN, path, flags::READ, offset, owned)?;
            }
            Input::Pipe(id) => {
                let pipe = self.pipes.get_mut(&id.0).ok_or(Error::BadHandle)?;
                owned.push((Slot::STDIN, pipe.take_reader()?.into_owned()));
            }
        }
        for (slot, output) in [(Slot::STDOUT, spawn.stdout), (Slot::STDERR, spawn.stderr)] {
            let output = if output == Output::Stdout {
                spawn.stdout
            } else {
                output
            };
            match output {
                Output::Console => self.console_stream(slot, owned)?,
                // A handle of none: its output goes nowhere, not to the debug port.
                Output::Null => {}
                Output::File { path, offset } => {
                    self.file_stream(slot, path, flags::WRITE, offset, owned)?;
                }
                Output::Pipe(id) => {
                    let pipe = self.pipes.get(&id.0).ok_or(Error::BadHandle)?;
                    owned.push((slot, pipe.writer()?.into_owned()));
                }
                Output::Stdout => return Err(Error::InvalidArgument),
            }
        }
        // The writing end goes over: the reader must see its end when the program ends.
        for output in [spawn.stdout, spawn.stderr] {
            if let Output::Pipe(id) = output
                && let Some(pipe) = self.pipes.get_mut(&id.0)
            {
                pipe.close_writer();
            }
        }
        Ok(())
    }

    fn console_stream(
        &mut self,
        slot: Slot,
        owned: &mut Vec<(Slot, OwnedHandle)>,
    ) -> core::result::Result<(), Error> {
        if !self.console.is_debug()
            && let Some(stream) = self.console.stream(slot)?
        {
            owned.push((slot, stream.into_owned()));
        }
        Ok(())
    }

    fn file_stream(
        &mut self,
        slot: Slot,
        path: &str,
        flags: u32,
        offset: u64,
        owned: &mut Vec<(Slot, OwnedHandle)>,
    ) -> core::result::Result<(), Error> {
        let (file, _) = self.files.open(&self.names, path, flags, 0)?;
        let channel = self.files.stream(&self.names, file, offset);
        let _ = self.files.close(file);
        owned.push((slot, channel?.into_owned()));
        Ok(())
    }

    pub(super) fn wait_for(&mut self, pid: Pid, block: bool) -> Result<Waited> {
        let child = self.children.get(&pid.0).ok_or(Said::NotFound)?;
        if block {
            // A control-C from before is not for this program.
            let watch = if child.foreground {
                self.console.interrupt()
            } else {
                None
            };
            match wait_either(&child.process, watch).map_err(said)? {
                Ending::Ended => {}
                Ending::Interrupted => return Ok(Waited::Interrupted),
            }
        }
        let info = child.process.info().map_err(said)?;
        if info.end_reason == EndReason::RUNNING {
            return Ok(Waited::Running);
        }
        self.children.remove(&pid.0);
        Ok(Waited::Exited(exit_status(&info)))
    }

    pub(super) fn end(&mut self, pid: Pid) -> Result<()> {
        if let Some(child) = self.children.get(&pid.0) {
            return child.process.kill(20).map_err(said);
        }
        let system = self.system.as_ref().ok_or(Said::PermissionDenied)?;
        system
            .open_process(pid.0)
            .and_then(|p| p.kill(20))
            .map_err(said)
    }

    pub(super) fn list_processes(&mut self) -> core::result::Result<Vec<ProcessInfo>, Error> {
        let system = self.system.as_ref().ok_or(Error::NoRight)?;
        let mut list = Vec::new();
        let mut space = [const { no_process_info() }; 16];
        let mut from = 0;
        loop {
            let (infos, next) = system.processes(from, &mut space)?;
            list.extend(
                infos
                    .iter()
                    .filter(|i| i.end_reason == EndReason::RUNNING)
                    .map(shown),
            );
            if next == 0 {
                return Ok(list);
            }
            from = next;
        }
    }

    pub(super) fn list_caps(
        &mut self,
        pid: Option<Pid>,
    ) -> core::result::Result<Vec<CapInfo>, Error> {
        let process: Process = match pid {
            Some(pid) => self
                .system
                .as_ref()
                .ok_or(Error::NoRight)?
                .open_process(pid.0)?,
            None => {
                let itself = viper_rt::program::peek(Slot::PROCESS).ok_or(Error::NoRight)?;
                let (copy,) = sys::handle_duplicate(itself, Rights::READ)?;
                Process::from_raw(copy)
            }
        };
        let mut list = Vec::new();
        let mut space = [const { no_handle_info() }; 32];
        let mut from = 0;
        loop {
            let (infos, next) = process.handles(from, &mut space)?;
            list.extend(infos.iter().map(cap));
            if next == 0 {
                return Ok(list);
            }
            from = next;
        }
    }
}

enum Ending {
    Ended,
    Interrupted,
}

/// Waits for the end of a process, or for control-C.
fn wait_either(
    process: &Process,
    interrupt: Option<&viper_rt::handle::Event>,
) -> core::result::Result<Ending, Error> {
    let set = PollSet::new()?;
    set.add(process, 1, Signals::ENDED)?;
    if let Some(event) = interrupt {
        set.add(event, 2, super::console::INTERRUPT)?;
    }
    let got = sys::receive(set.raw(), FOREVER);
    got.check()?;
    let _ = set.remove(process);
    if let Some(event) = interrupt {
        let _ = set.remove(event);
    }
    let is_interrupt = got.key == 2 && got.info.kind() == Some(MsgKind::Signals);
    Ok(if is_interrupt {
        Ending::Interrupted
    } else {
        Ending::Ended
    })
}

fn exit_status(info: &Info) -> ExitStatus {
    let fault = match info.end_reason {
        EndReason::EXITED => None,
        EndReason::FAULT => Some(format!(
            "{} fault at {:#x}, program counter {:#x}",
            info.fault_kind.name().to_ascii_lowercase(),
            info.fault_address,
            info.fault_pc
        )),
        EndReason::KILLED => Some(String::from("killed")),
        _ => Some(String::from("its last thread ended")),
    };
    let code = i32::try_from(info.exit_code).unwrap_or(20);
    ExitStatus {
        code: if fault.is_some() { 20 } else { code },
        fault,
    }
}

fn shown(info: &Info) -> ProcessInfo {
    let name = info
        .name
        .get(..info.name_len as usize)
        .unwrap_or(&info.name);
    ProcessInfo {
        pid: Pid(info.id),
        parent: (info.parent != 0).then_some(Pid(info.parent)),
        name: String::from_utf8_lossy(name).into_owned(),
        state: String::from(if info.threads > 0 {
            "running"
        } else {
            "waiting"
        }),
        priority: info.priority.min(7) as u8,
        threads: info.threads,
        handles: info.handles,
        memory: info.used_bytes,
        cpu_ns: info.cpu_ns,
    }
}

fn cap(info: &HandleInfo) -> CapInfo {
    let letters = b"dtrwxmSRsWMIA";
    let rights = Rights::NAMES.iter().zip(letters);
    let held = rights.filter(|((right, _), _)| info.rights.contains(*right));
    CapInfo {
        handle: info.handle.0 & 0xff_ffff,
        generation: info.handle.0 >> 24,
        kind: info.kind.name().to_ascii_lowercase(),
        rights: held.map(|(_, letter)| char::from(*letter)).collect(),
        label: String::new(),
    }
}

/// Rights of the name service that are given on request only.
fn granted(grants: Grants) -> u64 {
    let all = [
        (grants.manage, rights::MANAGE),
        (grants.system, rights::SYSTEM),
        (grants.trace, rights::TRACE),
        (grants.clock, rights::CLOCK),
    ];
    all.iter()
        .filter(|(is_granted, _)| *is_granted)
        .fold(0, |sum, (_, right)| sum | right)
}

/// A name of at most 32 bytes.
fn clip(name: &str) -> &str {
    let mut end = name.len().min(32);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}
