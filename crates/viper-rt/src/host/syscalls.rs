//! The other calls of the fake kernel.

use super::ipc::{self, block};
use super::objects::{Buffer, ChannelEnd};
use super::state::{Guard, Id, Kernel, Obj, Pid, changed, futex, lock, uptime};
use crate::object::no_process_info;
use std::collections::VecDeque;
use std::sync::Arc;
use viper_abi::{
    EndReason, Error, Handle, HandleInfo, Kind, ProcessInfo, Rights, Signals, SystemInfo, number,
};

/// A system call of a thread of `pid`.
pub(super) fn enter(pid: Pid, call: u16, r: &mut [u64; 9]) {
    let mut kernel = lock();
    if kernel.process(pid).end.is_some() {
        drop(kernel);
        if std::thread::panicking() {
            r[0] = Error::BadHandle.code() as u64;
            return;
        }
        super::exit();
    }
    let result = match call {
        number::call => ipc::call(kernel, pid, r),
        number::send => ipc::send(kernel, pid, r),
        number::receive => ipc::receive(kernel, pid, r),
        number::reply_receive => ipc::reply_receive(kernel, pid, r),
        number::reply => ipc::reply(kernel, pid, r),
        number::object_wait => object_wait(kernel, pid, r),
        number::sleep_until => {
            let slept = block(kernel, pid, r[0].max(1), |_| Ok(None::<()>));
            slept.1.or(Ok(()))
        }
        number::futex_wait => futex_wait(kernel, pid, r),
        number::thread_yield => {
            drop(kernel);
            std::thread::yield_now();
            Ok(())
        }
        number::device_read | number::device_write => device(kernel, pid, call, r),
        _ => simple(kernel, pid, call, r),
    };
    r[0] = match result {
        Ok(()) => 0,
        Err(error) => error.code() as u64,
    };
}

fn object_wait(kernel: Guard, pid: Pid, r: &mut [u64; 9]) -> Result<(), Error> {
    let (object, mask) = (Handle(r[0] as u32), Signals(r[1]));
    let (mut kernel, signals) = block(kernel, pid, r[2], |k| {
        let (id, _) = k.find(pid, object)?;
        let now = k.signals(id).ok_or(Error::WrongKind)?.intersection(mask);
        Ok((now != Signals::NONE).then_some((id, now)))
    });
    let (id, now) = signals?;
    kernel.take_signals(id, now);
    r[1] = now.0;
    Ok(())
}

fn futex_wait(kernel: Guard, pid: Pid, r: &mut [u64; 9]) -> Result<(), Error> {
    drop(kernel);
    let address = r[0];
    // SAFETY: the caller owns the word and keeps it while it waits.
    let word = unsafe { &*(address as *const core::sync::atomic::AtomicU32) };
    let is_same = || word.load(core::sync::atomic::Ordering::SeqCst) == r[1] as u32;
    let has_ended = || lock().process(pid).end.is_some();
    futex::wait(address, is_same, r[2], has_ended)
}

fn device(kernel: Guard, pid: Pid, call: u16, r: &mut [u64; 9]) -> Result<(), Error> {
    let (id, _) = kernel.find(pid, Handle(r[0] as u32))?;
    let Some(Obj::Device(device)) = kernel.object(id) else {
        return Err(Error::WrongKind);
    };
    if !r[1].is_multiple_of(4) || r[1] >= device.len_bytes {
        return Err(Error::InvalidArgument);
    }
    let model = device.model.clone();
    drop(kernel);
    if call == number::device_read {
        r[1] = u64::from(model.read(r[1]));
    } else {
        model.write(r[1], r[2] as u32);
    }
    Ok(())
}

fn simple(mut guard: Guard, pid: Pid, call: u16, r: &mut [u64; 9]) -> Result<(), Error> {
    let k: &mut Kernel = &mut guard;
    let first = Handle(r[0] as u32);
    match call {
        number::null => {}
        number::handle_close => k.close(pid, first)?,
        number::handle_duplicate => {
            let (_, have) = k.find(pid, first)?;
            let wanted = Rights(r[1] as u32);
            if !have.contains(wanted) || !have.contains(Rights::DUPLICATE) {
                return Err(Error::NoRight);
            }
            r[1] = u64::from(k.give(pid, first, pid, wanted)?.0);
        }
        number::handle_query => {
            let (id, rights) = k.find(pid, first)?;
            let info = HandleInfo {
                handle: first,
                kind: k.object(id).map_or(Kind(0), Obj::kind),
                rights,
                reserved: 0,
                object: id.0,
            };
            // SAFETY: the stub's caller gave a place for one `HandleInfo`.
            unsafe { (r[1] as *mut HandleInfo).write(info) };
        }
        number::handle_give => {
            let to = process(k, pid, first)?;
            r[1] = u64::from(k.give(pid, Handle(r[1] as u32), to, Rights(r[2] as u32))?.0);
        }
        number::channel_create => {
            let depth = r[0] as usize;
            if !(1..=64).contains(&depth) {
                return Err(Error::InvalidArgument);
            }
            let end = |peer| {
                Obj::Channel(ChannelEnd {
                    peer,
                    depth,
                    queue: VecDeque::new(),
                    polled: false,
                })
            };
            let a = k.add(end(None));
            let b = k.add(end(Some(a)));
            if let Some(Obj::Channel(end)) = k.object_mut(a) {
                end.peer = Some(b);
            }
            r[1] = u64::from(k.insert(pid, a, Rights::ALL).0);
            r[2] = u64::from(k.insert(pid, b, Rights::ALL).0);
        }
        number::reply_detach => {
            let call = ipc::detach()?;
            r[1] = u64::from(k.insert_new(pid, Obj::Reply(call)).0);
        }
        number::event_create => r[1] = u64::from(k.insert_new(pid, Obj::Event(0)).0),
        number::event_signal => match object(k, pid, first)? {
            Obj::Event(bits) => *bits |= r[1] as u32,
            _ => return Err(Error::WrongKind),
        },
        number::poll_create => {
            let set = Obj::PollSet {
                members: Vec::new(),
                turn: 0,
            };
            r[1] = u64::from(k.insert_new(pid, set).0);
        }
        number::poll_add => poll_add(k, pid, r)?,
        number::poll_remove => poll_remove(k, pid, r)?,
        number::timer_create => {
            let timer = Obj::Timer {
                deadline: u64::MAX,
                period: 0,
            };
            r[1] = u64::from(k.insert_new(pid, timer).0);
        }
        number::timer_set => match object(k, pid, first)? {
            Obj::Timer { deadline, period } => (*deadline, *period) = (r[1], r[2]),
            _ => return Err(Error::WrongKind),
        },
        number::clock_now => r[1] = super::now(),
        number::memory_create => {
            let len = (r[0] as usize).next_multiple_of(4096);
            if len == 0 || r[0] > 4 << 30 {
                return Err(Error::InvalidArgument);
            }
            let buffer = Buffer::new(len).ok_or(Error::OutOfMemory)?;
            r[1] = u64::from(k.insert_new(pid, Obj::Memory(Arc::new(buffer))).0);
        }
        number::memory_map => {
            let (id, _) = k.find(pid, Handle(r[1] as u32))?;
            let buffer = k.buffer(id)?;
            let end = r[2].checked_add(r[3]).ok_or(Error::InvalidArgument)?;
            if r[3] == 0 || !r[2].is_multiple_of(4096) || end > buffer.len as u64 {
                return Err(Error::InvalidArgument);
            }
            r[1] = buffer.start as u64 + r[2];
            // A mapping keeps the memory; it is not counted further, so it is never freed.
            core::mem::forget(buffer);
        }
        number::memory_unmap | number::memory_protect | number::thread_set => {}
        number::memory_info => {
            let (id, _) = k.find(pid, first)?;
            let len = k.buffer(id)?.len as u64;
            (r[1], r[2]) = (len, len);
        }
        number::memory_read | number::memory_write => memory_copy(k, pid, call, r)?,
        number::memory_clone => {
            let (id, _) = k.find(pid, first)?;
            let old = k.buffer(id)?;
            let new = Buffer::new(old.len).ok_or(Error::OutOfMemory)?;
            // SAFETY: two allocations of the same length.
            unsafe { core::ptr::copy_nonoverlapping(old.start, new.start, old.len) };
            r[1] = u64::from(k.insert_new(pid, Obj::Memory(Arc::new(new))).0);
        }
        number::process_create => {
            let child = k.new_process("child", pid.0);
            r[1] = u64::from(k.insert_new(pid, Obj::Process(child)).0);
        }
        number::process_exit => k.end(pid, EndReason::EXITED, r[0] as i64),
        number::process_kill => {
            let victim = process(k, pid, first)?;
            if k.process(victim).end.is_some() {
                return Err(Error::Ended);
            }
            k.end(victim, EndReason::KILLED, r[1] as i64);
        }
        number::process_info => {
            let of = if first.is_none() {
                pid
            } else {
                process(k, pid, first)?
            };
            let info = describe(k, of);
            // SAFETY: the stub's caller gave a place for one `ProcessInfo`.
            unsafe { (r[1] as *mut ProcessInfo).write(info) };
        }
        number::process_list => {
            let wanted: Vec<Pid> = k
                .processes
                .keys()
                .copied()
                .filter(|p| p.0 >= r[1])
                .collect();
            let max = r[3] as usize;
            for (index, of) in wanted.iter().take(max).enumerate() {
                let info = describe(k, *of);
                // SAFETY: the stub's caller gave room for `max` entries.
                unsafe { (r[2] as *mut ProcessInfo).add(index).write(info) };
            }
            r[1] = wanted.len().min(max) as u64;
            r[2] = wanted.get(max).map_or(0, |p| p.0);
        }
        number::process_open => {
            let of = Pid(r[1]);
            if !k.processes.contains_key(&of) {
                return Err(Error::NotFound);
            }
            r[1] = u64::from(k.insert_new(pid, Obj::Process(of)).0);
        }
        // Nothing is counted here.
        number::process_limit => _ = process(k, pid, first)?,
        number::futex_wake => {
            futex::wake(r[0]);
            r[1] = 0;
        }
        number::quota_create => r[1] = u64::from(k.insert_new(pid, Obj::Quota).0),
        number::quota_info => (r[1], r[2]) = (u64::MAX, 0),
        number::device_narrow => r[1] = u64::from(k.give(pid, first, pid, Rights::ALL)?.0),
        number::device_info => match object(k, pid, first)? {
            Obj::Device(d) => {
                (r[1], r[2], r[3], r[4]) = (0, d.len_bytes, (d.lines.len() as u64) << 32, 1 << 30);
            }
            _ => return Err(Error::WrongKind),
        },
        number::interrupt_create => {
            let line = k.add(Obj::Interrupt { fired: false });
            match object(k, pid, first)? {
                Obj::Device(d) => {
                    *d.lines
                        .get_mut(r[1] as usize)
                        .ok_or(Error::InvalidArgument)? = Some(line);
                }
                _ => return Err(Error::WrongKind),
            }
            r[1] = u64::from(k.insert(pid, line, Rights::ALL).0);
        }
        number::interrupt_ack => {}
        number::dma_create => {
            let len = (r[1] as usize).next_multiple_of(4096);
            let buffer = Buffer::new(len.max(4096)).ok_or(Error::OutOfMemory)?;
            r[2] = buffer.start as u64;
            r[1] = u64::from(k.insert_new(pid, Obj::Memory(Arc::new(buffer))).0);
        }
        number::dma_address => {
            let (id, _) = k.find(pid, Handle(r[1] as u32))?;
            let buffer = k.buffer(id)?;
            (r[1], r[2]) = (buffer.start as u64, buffer.len as u64);
        }
        number::debug_write => match object(k, pid, first)? {
            Obj::System(sink) => {
                // SAFETY: the stub's caller gave a readable range.
                let text = unsafe { core::slice::from_raw_parts(r[1] as *const u8, r[2] as usize) };
                sink.lock()
                    .unwrap_or_else(|e| e.into_inner())
                    .extend_from_slice(text);
            }
            _ => return Err(Error::WrongKind),
        },
        number::system_info => {
            let info = SystemInfo {
                uptime_ns: uptime(),
                counter_hz: 1_000_000_000,
                cores: 1,
                processes: k.processes.values().filter(|p| p.end.is_none()).count() as u32,
                ..SystemInfo::default()
            };
            // SAFETY: the stub's caller gave a place for one `SystemInfo`.
            unsafe { (r[1] as *mut SystemInfo).write(info) };
        }
        _ => return Err(Error::NotSupported),
    }
    // What is freed or ended says so itself.
    if matches!(
        call,
        number::event_signal | number::timer_set | number::poll_add | number::handle_give
    ) {
        changed();
    }
    Ok(())
}

fn object(k: &mut Kernel, pid: Pid, handle: Handle) -> Result<&mut Obj, Error> {
    let (id, _) = k.find(pid, handle)?;
    k.object_mut(id).ok_or(Error::BadHandle)
}

fn process(k: &mut Kernel, pid: Pid, handle: Handle) -> Result<Pid, Error> {
    match object(k, pid, handle)? {
        Obj::Process(of) => Ok(*of),
        _ => Err(Error::WrongKind),
    }
}

fn describe(k: &mut Kernel, of: Pid) -> ProcessInfo {
    let process = k.process(of);
    let mut info = no_process_info();
    info.id = of.0;
    info.parent = process.parent;
    info.threads = process.threads;
    info.handles = process.handles.len() as u32;
    if let Some((reason, code)) = process.end {
        (info.end_reason, info.exit_code) = (reason, code);
    }
    let name = process.name.as_bytes();
    info.name_len = name.len().min(32) as u32;
    info.name[..name.len().min(32)].copy_from_slice(&name[..name.len().min(32)]);
    info
}

fn set_polled(k: &mut Kernel, id: Id, value: bool) {
    if let Some(Obj::Channel(end)) = k.object_mut(id) {
        end.polled = value;
    }
}

fn poll_add(k: &mut Kernel, pid: Pid, r: &[u64; 9]) -> Result<(), Error> {
    let (id, _) = k.find(pid, Handle(r[1] as u32))?;
    k.signals(id).ok_or(Error::WrongKind)?;
    match object(k, pid, Handle(r[0] as u32))? {
        Obj::PollSet { members, .. } if members.iter().any(|m| m.0 == id) => {
            return Err(Error::AlreadyExists);
        }
        Obj::PollSet { members, .. } => members.push((id, r[2], Signals(r[3]))),
        _ => return Err(Error::WrongKind),
    }
    set_polled(k, id, true);
    Ok(())
}

fn poll_remove(k: &mut Kernel, pid: Pid, r: &[u64; 9]) -> Result<(), Error> {
    let (id, _) = k.find(pid, Handle(r[1] as u32))?;
    match object(k, pid, Handle(r[0] as u32))? {
        Obj::PollSet { members, .. } => {
            let at = members
                .iter()
                .position(|m| m.0 == id)
                .ok_or(Error::NotFound)?;
            members.remove(at);
        }
        _ => return Err(Error::WrongKind),
    }
    set_polled(k, id, false);
    Ok(())
}

fn memory_copy(k: &mut Kernel, pid: Pid, call: u16, r: &[u64; 9]) -> Result<(), Error> {
    let (id, _) = k.find(pid, Handle(r[0] as u32))?;
    let buffer = k.buffer(id)?;
    let end = r[1].checked_add(r[3]).ok_or(Error::InvalidArgument)?;
    if end > buffer.len as u64 || r[3] > 1 << 20 {
        return Err(Error::InvalidArgument);
    }
    let len = r[3] as usize;
    // SAFETY: the range is inside of the buffer; the stub's caller answers for the other side.
    unsafe {
        let inside = buffer.start.add(r[1] as usize);
        if call == number::memory_read {
            core::ptr::copy(inside, r[2] as *mut u8, len);
        } else {
            core::ptr::copy(r[2] as *const u8, inside, len);
        }
    }
    Ok(())
}
