//! A fake kernel for tests on the host: the same stubs, the same objects, host threads.
//!
//! One lock around everything and one condition variable for each test: slow, simple, and fair
//! enough. A thread that has no process yet becomes one, on a machine of its own; what it starts is
//! there, too.
//!
//! A fake process is a handle table and a startup block; its threads are threads of the host. When
//! it ends or is killed, its handles close at once, its peers hear of it, and its threads unwind at
//! their next system call.
//!
//! **Not** modelled: address spaces (memory maps to where it is), quotas (unlimited), priorities,
//! the handle limits of processes, and the rights of most calls (only that they shrink).

mod ipc;
mod objects;
mod state;
mod syscalls;

use crate::handle::{Channel, Object, OwnedHandle, Process};
use state::{Kernel, Machine, Obj, Pid, lock};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use viper_abi::{Error, Handle, IpcBuffer, Kind, Rights, Slot, StartupWriter};

pub use objects::{DeviceModel, raise};

/// The page of a thread.
#[repr(C, align(4096))]
struct Page([u8; 4096]);

thread_local! {
    static PAGE: RefCell<Box<Page>> = RefCell::new(Box::new(Page([0; 4096])));
    static PROCESS: Cell<Option<(&'static Machine, Pid)>> = const { Cell::new(None) };
    static HELD_NS: Cell<Option<u64>> = const { Cell::new(None) };
}

pub(crate) fn ipc_buffer() -> *mut IpcBuffer {
    PAGE.with(|page| (&raw mut page.borrow_mut().0).cast())
}

pub(crate) fn syscall(number: u16, registers: &mut [u64; 9]) {
    syscalls::enter(current(), number, registers);
}

/// This thread's machine and process; a thread that has none becomes a process of its own.
fn place() -> (&'static Machine, Pid) {
    PROCESS.get().unwrap_or_else(|| {
        let (machine, pid) = Machine::new("host");
        PROCESS.set(Some((machine, pid)));
        (machine, pid)
    })
}

fn machine() -> &'static Machine {
    place().0
}

fn current() -> Pid {
    place().1
}

/// Unwinds the thread of a process that has ended.
struct Ended;

pub(crate) fn exit() -> ! {
    std::panic::resume_unwind(Box::new(Ended));
}

/// Starts a fake process that runs `main` with these handles, which move to it, and arguments.
///
/// Its exit code is what `main` returns, or 101 after a panic.
///
/// # Errors
/// [`Error::BadHandle`] if a handle is not the caller's.
pub fn spawn_process(
    name: &str,
    handles: Vec<(Slot, OwnedHandle)>,
    arguments: &[&str],
    main: impl FnOnce() -> i64 + Send + 'static,
) -> Result<Process, Error> {
    let caller = current();
    let mut kernel = lock();
    let pid = kernel.new_process(name, caller.0);
    let mut slots = Vec::new();
    for (slot, handle) in handles {
        let there = kernel.give(caller, handle.raw(), pid, Rights::ALL)?;
        kernel.close(caller, handle.into_raw())?;
        slots.push((slot, there));
    }
    let process = kernel.insert_new(caller, Obj::Process(pid));
    let mut block = vec![0; 4096];
    let mut writer = StartupWriter::new(&mut block, &slots)?;
    for argument in arguments {
        writer.argument(argument.as_bytes())?;
    }
    let len = writer.finish();
    block.truncate(len);
    kernel.set_startup(pid, block);
    kernel.add_thread(pid);
    drop(kernel);
    run(pid, name, main, true)?;
    Ok(Process::from_raw(process))
}

/// Starts another thread of the calling fake process.
pub(crate) fn spawn_thread(body: Box<dyn FnOnce() + Send>) -> Result<Handle, Error> {
    let pid = current();
    let mut kernel = lock();
    let object = kernel.add(Obj::Thread { ended: false });
    let handle = kernel.insert(pid, object, Rights::ALL);
    kernel.retain(object);
    kernel.add_thread(pid);
    drop(kernel);
    let done = move || {
        body();
        0
    };
    run_then(pid, "thread", done, false, move |kernel| {
        if let Some(Obj::Thread { ended }) = kernel.object_mut(object) {
            *ended = true;
        }
        kernel.release(object);
    })?;
    Ok(handle)
}

fn run(
    pid: Pid,
    name: &str,
    body: impl FnOnce() -> i64 + Send + 'static,
    main: bool,
) -> Result<(), Error> {
    run_then(pid, name, body, main, |_| {})
}

fn run_then(
    pid: Pid,
    name: &str,
    body: impl FnOnce() -> i64 + Send + 'static,
    main: bool,
    then: impl FnOnce(&mut Kernel) + Send + 'static,
) -> Result<(), Error> {
    let machine = machine();
    let spawned = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            PROCESS.set(Some((machine, pid)));
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            let mut kernel = lock();
            ipc::abandon(&mut kernel);
            then(&mut kernel);
            match result {
                Ok(code) if main => kernel.end(pid, viper_abi::EndReason::EXITED, code),
                Ok(_) => kernel.thread_gone(pid),
                Err(payload) if payload.is::<Ended>() => kernel.thread_gone(pid),
                Err(_) => kernel.end(pid, viper_abi::EndReason::EXITED, 101),
            }
            state::changed();
        });
    spawned.map(|_| ()).map_err(|_| Error::LimitReached)
}

/// Makes a device for the calling process, with this model behind its registers.
#[must_use]
pub fn device(
    model: Arc<dyn DeviceModel>,
    len_bytes: u64,
    interrupts: u32,
) -> crate::handle::Device {
    let pid = current();
    let device = Obj::Device(objects::Device::new(model, len_bytes, interrupts));
    crate::handle::Device::from_raw(lock().insert_new(pid, device))
}

/// A system object for the calling process; what is written to the debug port goes to `sink`.
#[must_use]
pub fn system(sink: Arc<std::sync::Mutex<Vec<u8>>>) -> crate::handle::System {
    let pid = current();
    crate::handle::System::from_raw(lock().insert_new(pid, Obj::System(sink)))
}

/// A quota without a limit.
#[must_use]
pub fn quota() -> crate::handle::Quota {
    let pid = current();
    crate::handle::Quota::from_raw(lock().insert_new(pid, Obj::Quota))
}

/// Starts `main` as a fake process with one end of a channel in `slot`, and gives the other end.
///
/// # Errors
/// Those of [`spawn_process`] and [`Channel::pair`].
pub fn spawn_with_channel(
    name: &str,
    slot: Slot,
    main: impl FnOnce() -> i64 + Send + 'static,
) -> Result<(Process, Channel), Error> {
    let (ours, theirs) = Channel::pair(16)?;
    let process = spawn_process(name, vec![(slot, theirs.into_owned())], &[name], main)?;
    Ok((process, ours))
}

/// Runs `body` while this thread's clock stands still: what depends on how long something takes can
/// be shown on a machine of any speed. Deadlines come to pass by the real clock.
pub fn at_one_time<T>(body: impl FnOnce() -> T) -> T {
    let before = HELD_NS.replace(Some(state::uptime()));
    let result = body();
    HELD_NS.set(before);
    result
}

/// What this thread's clock says.
fn now() -> u64 {
    HELD_NS.get().unwrap_or_else(state::uptime)
}

/// The number of live handles of the calling process, to find leaks.
#[must_use]
pub fn handle_count() -> usize {
    let pid = current();
    lock().handle_count(pid)
}

/// The number of the calling process.
#[must_use]
pub fn process_id() -> u64 {
    current().0
}

/// What kind of object a handle of the calling process names.
#[must_use]
pub fn kind(handle: Handle) -> Option<Kind> {
    let pid = current();
    let kernel = lock();
    let (object, _) = kernel.find(pid, handle).ok()?;
    kernel.object(object).map(Obj::kind)
}

/// The startup block of the fake process of this thread.
pub(crate) mod startup {
    use super::{current, lock};
    use core::sync::atomic::AtomicU64;
    use viper_abi::Startup;

    pub(crate) fn block() -> Option<Startup<'static>> {
        let pid = current();
        Startup::parse(lock().startup(pid)?.0).ok()
    }

    pub(crate) fn taken(index: usize) -> Option<&'static AtomicU64> {
        let pid = current();
        lock().startup(pid)?.1.get(index)
    }
}

#[cfg(test)]
mod tests;
