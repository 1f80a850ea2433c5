//! The documented errors of every system call, row by row of the table.
#![allow(unsafe_code, reason = "makes calls with wrong arguments")]

use super::report::{Report, Verdict, failed, want};
use crate::machine::system_call;
use alloc::format;
use viper_rt::abi::{FOREVER, Handle, Rights, SYSCALLS, Slot, SyscallInfo, number};
use viper_rt::handle::{Channel, Event, Memory, OwnedHandle, PollSet, Timer};
use viper_rt::{Error, Mapping, Object, program, sys};

const NEVER_MAPPED: u64 = 0x7e_0000_0000;
const KERNEL: u64 = 0xffff_0000_4000_0000;

/// One object of each kind that a program can make.
struct Objects {
    channel: Channel,
    _peer: Channel,
    event: Event,
    set: PollSet,
    timer: Timer,
    memory: Memory,
    mapping: Mapping,
}

impl Objects {
    fn new() -> Result<Objects, Error> {
        let (channel, peer) = Channel::pair(1)?;
        let memory = Memory::new(8192)?;
        let mapping = Mapping::whole(&memory)?;
        Ok(Objects {
            channel,
            _peer: peer,
            event: Event::new()?,
            set: PollSet::new()?,
            timer: Timer::new()?,
            memory,
            mapping,
        })
    }

    /// An object of the kind that an argument of this name takes.
    fn of(&self, argument: &str) -> Option<Handle> {
        Some(match argument {
            "channel" | "source" => self.channel.raw(),
            "event" | "handle" | "object" => self.event.raw(),
            "set" => self.set.raw(),
            "timer" => self.timer.raw(),
            "memory" => self.memory.raw(),
            "process" => program::peek(Slot::PROCESS)?,
            "quota" | "parent" => program::peek(Slot::QUOTA)?,
            _ => return None,
        })
    }

    /// Arguments that are right but for the first, the handle under test.
    fn arguments(&self, call: &str, handle: Handle) -> [u64; 9] {
        let buffer = self.mapping.as_ptr() as u64;
        let h = |handle: Handle| u64::from(handle.0);
        let event = h(self.event.raw());
        let rest: &[u64] = match call {
            "handle_query" | "process_info" | "system_info" => &[buffer],
            "handle_give" => &[event, 0],
            "handle_list" | "process_list" => &[0, buffer, 1],
            "event_signal" | "process_open" => &[1],
            "object_wait" => &[1, 0],
            "poll_add" => &[event, 1, 1],
            "poll_remove" => &[event],
            "timer_set" => &[FOREVER, 0],
            "memory_map" => &[h(self.memory.raw()), 0, 4096, 1, 0],
            "memory_unmap" => &[NEVER_MAPPED, 4096],
            "memory_protect" => &[buffer, 4096, 1],
            "memory_read" | "memory_write" => &[0, buffer, 8],
            "process_create" => &[buffer, 4],
            "thread_create" => &[0x20_0000, 0x20_0000, 0, 0, 0],
            "quota_create" | "dma_create" => &[4096],
            "device_narrow" => &[0, 4096, 0, 0],
            "dma_address" => &[h(self.memory.raw())],
            "debug_write" => &[buffer, 1],
            "debug_read" => &[buffer, 1, 0],
            _ => &[0],
        };
        let mut all = [0; 9];
        all[0] = h(handle);
        all[1..=rest.len()].copy_from_slice(rest);
        all
    }
}

/// Whether a program has or can make what an argument of this name takes.
fn is_makeable(argument: &str) -> bool {
    !matches!(
        argument,
        "device" | "interrupt" | "system" | "thread" | "reply"
    )
}

/// Makes a call of the table.
fn raw(number: u16, arguments: &[u64]) -> Result<u64, Error> {
    let mut all = [0; 9];
    all[..arguments.len()].copy_from_slice(arguments);
    // SAFETY: the tests name only memory of their own or none at all.
    let out = unsafe { system_call(number, all) };
    Error::check(out[0]).map(|()| out[1])
}

/// All tests of this file.
pub(super) fn tests(report: &mut Report<'_>) {
    for call in SYSCALLS {
        let Some(&(argument, "Handle")) = call.arguments.first() else {
            continue;
        };
        for &(error, _) in call.errors {
            // No program is given a device or the system: there is nothing to take rights from.
            let can_be_had = error != Error::NoRight || is_makeable(argument);
            let of_handles = matches!(error, Error::BadHandle | Error::WrongKind | Error::NoRight);
            if of_handles && can_be_had {
                let name = format!("error/{}/{}", call.name, error.name());
                report.run(&name, || handle_error(call, argument, error));
            }
        }
    }
    report.run("error/unknown-number", || {
        for number in (0..128).filter(|n| SYSCALLS.iter().all(|call| call.number != *n)) {
            want(
                &format!("{number}"),
                raw(number, &[]),
                Err(Error::NotSupported),
            )?;
        }
        Ok(())
    });
    match Objects::new() {
        Ok(objects) => arguments(report, &objects),
        Err(error) => report.run("error/objects", || Err(error.name().into())),
    }
}

fn handle_error(call: &SyscallInfo, argument: &str, error: Error) -> Verdict {
    let objects = Objects::new().map_err(failed("objects"))?;
    let check = |what: &str, handle: Handle| {
        let got = raw(call.number, &objects.arguments(call.name, handle));
        want(what, got.map(|_| ()), Err(error))
    };
    match error {
        Error::BadHandle => {
            let stale = Event::new().map_err(failed("event"))?.raw();
            check("stale", stale)?;
            check("forged", Handle(0xff_fff0))?;
            check("all bits", Handle(u32::MAX))
        }
        Error::WrongKind => {
            let wrong = match argument {
                "event" | "object" | "handle" => objects.memory.raw(),
                "memory" if call.name == "memory_map" => objects.timer.raw(),
                _ => objects.event.raw(),
            };
            check("wrong kind", wrong)
        }
        _ => match objects.of(argument) {
            Some(handle) => {
                let (bare,) =
                    sys::handle_duplicate(handle, Rights::NONE).map_err(failed("duplicate"))?;
                let bare = OwnedHandle::new(bare);
                check("no rights", bare.raw())
            }
            None => Err("no object of this kind".into()),
        },
    }
}

/// The errors that other arguments cause.
fn arguments(report: &mut Report<'_>, o: &Objects) {
    use Error::{
        AlreadyExists, BadAddress, InvalidArgument, NoRight, NotFound, TimedOut, WouldBlock,
    };
    let buffer = o.mapping.as_ptr() as u64;
    let h = |handle: Handle| u64::from(handle.0);
    let memory = h(o.memory.raw());
    let event = h(o.event.raw());
    let quota = program::peek(Slot::QUOTA).map_or(0, h);
    let process = program::peek(Slot::PROCESS).map_or(0, h);
    let table: &[(&str, u16, &[u64], Error)] = &[
        (
            "channel_create/depth-0",
            number::channel_create,
            &[0],
            InvalidArgument,
        ),
        (
            "channel_create/depth-65",
            number::channel_create,
            &[65],
            InvalidArgument,
        ),
        (
            "duplicate/more-rights",
            number::handle_duplicate,
            &[memory, 1 << 8],
            NoRight,
        ),
        (
            "query/kernel",
            number::handle_query,
            &[event, KERNEL],
            BadAddress,
        ),
        (
            "query/unmapped",
            number::handle_query,
            &[event, NEVER_MAPPED],
            BadAddress,
        ),
        ("query/null", number::handle_query, &[event, 0], BadAddress),
        (
            "list/kernel",
            number::handle_list,
            &[process, 0, KERNEL, 1],
            BadAddress,
        ),
        (
            "info/kernel",
            number::process_info,
            &[0, KERNEL],
            BadAddress,
        ),
        (
            "info/last-byte",
            number::process_info,
            &[0, buffer + 8191],
            BadAddress,
        ),
        (
            "wait/no-mask",
            number::object_wait,
            &[event, 0, 0],
            InvalidArgument,
        ),
        (
            "wait/would-block",
            number::object_wait,
            &[event, 1, 0],
            WouldBlock,
        ),
        (
            "wait/timed-out",
            number::object_wait,
            &[event, 1, 1],
            TimedOut,
        ),
        (
            "poll_remove/absent",
            number::poll_remove,
            &[h(o.set.raw()), event],
            NotFound,
        ),
        (
            "timer/period",
            number::timer_set,
            &[h(o.timer.raw()), 1, 5],
            InvalidArgument,
        ),
        (
            "memory_create/empty",
            number::memory_create,
            &[0, 0],
            InvalidArgument,
        ),
        (
            "memory_create/too-large",
            number::memory_create,
            &[(1 << 32) + 1, 0],
            InvalidArgument,
        ),
        (
            "memory_create/huge",
            number::memory_create,
            &[u64::MAX, 0],
            InvalidArgument,
        ),
        (
            "memory_create/flag",
            number::memory_create,
            &[4096, 0x80],
            InvalidArgument,
        ),
        (
            "memory_create/contiguous",
            number::memory_create,
            &[17 << 20, 1],
            InvalidArgument,
        ),
        (
            "map/empty",
            number::memory_map,
            &[0, memory, 0, 0, 1, 0],
            InvalidArgument,
        ),
        (
            "map/unaligned",
            number::memory_map,
            &[0, memory, 1, 4096, 1, 0],
            InvalidArgument,
        ),
        (
            "map/outside",
            number::memory_map,
            &[0, memory, 8192, 4096, 1, 0],
            InvalidArgument,
        ),
        (
            "map/wraps",
            number::memory_map,
            &[0, memory, u64::MAX - 4095, 8192, 1, 0],
            InvalidArgument,
        ),
        (
            "map/w-x",
            number::memory_map,
            &[0, memory, 0, 4096, 7, 0],
            InvalidArgument,
        ),
        (
            "map/taken",
            number::memory_map,
            &[0, memory, 0, 4096, 0x101, buffer],
            AlreadyExists,
        ),
        (
            "map/kernel",
            number::memory_map,
            &[0, memory, 0, 4096, 0x101, KERNEL],
            InvalidArgument,
        ),
        (
            "map/wrong-kind",
            number::memory_map,
            &[0, event, 0, 4096, 1, 0],
            Error::WrongKind,
        ),
        (
            "unmap/empty",
            number::memory_unmap,
            &[0, buffer, 0],
            InvalidArgument,
        ),
        (
            "unmap/unaligned",
            number::memory_unmap,
            &[0, buffer + 1, 4096],
            InvalidArgument,
        ),
        (
            "unmap/kernel",
            number::memory_unmap,
            &[0, KERNEL, 4096],
            InvalidArgument,
        ),
        (
            "protect/w-x",
            number::memory_protect,
            &[0, buffer, 4096, 7],
            InvalidArgument,
        ),
        (
            "protect/unmapped",
            number::memory_protect,
            &[0, NEVER_MAPPED, 4096, 1],
            InvalidArgument,
        ),
        (
            "read/outside",
            number::memory_read,
            &[memory, 8190, buffer, 8],
            InvalidArgument,
        ),
        (
            "read/wraps",
            number::memory_read,
            &[memory, u64::MAX, buffer, 8],
            InvalidArgument,
        ),
        (
            "read/too-long",
            number::memory_read,
            &[memory, 0, buffer, (1 << 20) + 1],
            InvalidArgument,
        ),
        (
            "read/kernel",
            number::memory_read,
            &[memory, 0, KERNEL, 8],
            BadAddress,
        ),
        (
            "read/edge",
            number::memory_read,
            &[memory, 0, buffer + 8188, 8],
            BadAddress,
        ),
        (
            "write/kernel",
            number::memory_write,
            &[memory, 0, KERNEL, 8],
            BadAddress,
        ),
        (
            "write/unmapped",
            number::memory_write,
            &[memory, 0, NEVER_MAPPED, 8],
            BadAddress,
        ),
        (
            "sync_code/unmapped",
            number::memory_sync_code,
            &[NEVER_MAPPED, 4096],
            BadAddress,
        ),
        (
            "sync_code/too-long",
            number::memory_sync_code,
            &[buffer, 17 << 20],
            InvalidArgument,
        ),
        (
            "process_create/name",
            number::process_create,
            &[quota, buffer, 33],
            InvalidArgument,
        ),
        (
            "process_create/kernel",
            number::process_create,
            &[quota, KERNEL, 4],
            BadAddress,
        ),
        (
            "thread/priority",
            number::thread_create,
            &[0, 0x20_0000, 0x20_0000, 0, 0, 9],
            InvalidArgument,
        ),
        (
            "thread/stack",
            number::thread_create,
            &[0, 0x20_0000, 0x20_0008, 0, 0, 0],
            InvalidArgument,
        ),
        (
            "thread/core",
            number::thread_create,
            &[0, 0x20_0000, 0x20_0000, 0, 0, 0x8000],
            InvalidArgument,
        ),
        (
            "thread_set/priority",
            number::thread_set,
            &[0, 9],
            InvalidArgument,
        ),
        ("thread_set/above", number::thread_set, &[0, 7], NoRight),
        (
            "futex/unaligned",
            number::futex_wait,
            &[buffer + 1, 0, 0],
            BadAddress,
        ),
        (
            "futex/unmapped",
            number::futex_wait,
            &[NEVER_MAPPED, 0, 0],
            BadAddress,
        ),
        (
            "futex/kernel",
            number::futex_wait,
            &[KERNEL, 0, 0],
            BadAddress,
        ),
        (
            "futex/changed",
            number::futex_wait,
            &[buffer + 4096, 1, FOREVER],
            WouldBlock,
        ),
        (
            "futex/timed-out",
            number::futex_wait,
            &[buffer + 4096, 0, 1],
            TimedOut,
        ),
        (
            "futex_wake/unaligned",
            number::futex_wake,
            &[buffer + 2, 1],
            BadAddress,
        ),
        (
            "futex_wake/unmapped",
            number::futex_wake,
            &[NEVER_MAPPED, 1],
            BadAddress,
        ),
        ("reply/no-call", number::reply, &[0], NotFound),
        ("reply_detach/no-call", number::reply_detach, &[], NotFound),
    ];
    for &(name, number, arguments, error) in table {
        report.run(&format!("argument/{name}"), || {
            want("status", raw(number, arguments).map(|_| ()), Err(error))
        });
    }
}
