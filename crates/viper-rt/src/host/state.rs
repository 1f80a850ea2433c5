//! Objects, processes and their handle tables.

use super::objects::{ChannelEnd, Device};
use core::sync::atomic::AtomicU64;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use viper_abi::{EndReason, Error, Handle, Kind, Rights, Signals};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Pid(pub u64);
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id(pub u64);

pub(super) enum Obj {
    Channel(ChannelEnd),
    Event(u32),
    Timer {
        deadline: u64,
        period: u64,
    },
    PollSet {
        members: Vec<(Id, u64, Signals)>,
        turn: usize,
    },
    Memory(Arc<super::objects::Buffer>),
    Process(Pid),
    Thread {
        ended: bool,
    },
    Reply(u64),
    Device(Device),
    Interrupt {
        fired: bool,
    },
    System(Arc<Mutex<Vec<u8>>>),
    Quota,
}

impl Obj {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Obj::Channel(_) => Kind::CHANNEL,
            Obj::Event(_) => Kind::EVENT,
            Obj::Timer { .. } => Kind::TIMER,
            Obj::PollSet { .. } => Kind::POLL_SET,
            Obj::Memory(_) => Kind::MEMORY,
            Obj::Process(_) => Kind::PROCESS,
            Obj::Thread { .. } => Kind::THREAD,
            Obj::Reply(_) => Kind::REPLY,
            Obj::Device(_) => Kind::DEVICE,
            Obj::Interrupt { .. } => Kind::INTERRUPT,
            Obj::System(_) => Kind::SYSTEM,
            Obj::Quota => Kind::QUOTA,
        }
    }
}

struct Entry {
    object: Obj,
    references: usize,
}

pub(super) struct Proc {
    pub name: String,
    pub parent: u64,
    pub handles: BTreeMap<u32, (Id, Rights)>,
    next_handle: u32,
    pub end: Option<(EndReason, i64)>,
    pub threads: u32,
    startup: Option<(&'static [u8], &'static [AtomicU64; 2])>,
}

#[derive(Default)]
pub(super) struct Kernel {
    objects: HashMap<Id, Entry>,
    timers: Vec<Id>,
    pub processes: BTreeMap<Pid, Proc>,
    pub calls: HashMap<u64, Option<Result<super::ipc::Message, Error>>>,
}

/// A fake machine: a test has one of its own, and does not wake the threads of another.
pub(super) struct Machine {
    kernel: Mutex<Kernel>,
    changed: Condvar,
}

impl Machine {
    /// A machine, for as long as the tests run, and its first process.
    pub(super) fn new(name: &str) -> (&'static Machine, Pid) {
        let mut kernel = Kernel::default();
        let pid = kernel.new_process(name, 0);
        let machine = Machine {
            kernel: Mutex::new(kernel),
            changed: Condvar::new(),
        };
        (Box::leak(Box::new(machine)), pid)
    }
}

pub(super) type Guard = MutexGuard<'static, Kernel>;

/// The longest sleep without another look.
const LOOK: Duration = Duration::from_millis(50);

/// The kernel of this thread's machine.
pub(super) fn lock() -> Guard {
    let kernel = &super::machine().kernel;
    kernel.lock().unwrap_or_else(|e| e.into_inner())
}

/// Wakes whoever waits on this thread's machine.
pub(super) fn changed() {
    super::machine().changed.notify_all();
}

/// Waits for a change since `looked_ns`, at most until `deadline` or the next timer.
pub(super) fn wait(guard: Guard, looked_ns: u64, deadline: u64) -> Guard {
    let until = deadline.min(guard.next_timer(looked_ns));
    let span = Duration::from_nanos(until.saturating_sub(uptime())).min(LOOK);
    let changed = &super::machine().changed;
    let (guard, _) = changed
        .wait_timeout(guard, span)
        .unwrap_or_else(|e| e.into_inner());
    guard
}

/// A number that no process or object of any machine had.
fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, core::sync::atomic::Ordering::Relaxed)
}

/// Those who wait for a word, by its address, on whichever machine: how often each was woken.
pub(super) mod futex {
    use super::{Condvar, Error, HashMap, LOOK, Mutex, uptime};

    static WAKES: Mutex<Option<HashMap<u64, u64>>> = Mutex::new(None);
    static WOKEN: Condvar = Condvar::new();

    pub(in super::super) fn wake(address: u64) {
        let mut wakes = WAKES.lock().unwrap_or_else(|e| e.into_inner());
        *wakes.get_or_insert_default().entry(address).or_insert(0) += 1;
        WOKEN.notify_all();
    }

    /// Waits while `is_same` holds at the start, until woken, `deadline`, or the end of the process.
    pub(in super::super) fn wait(
        address: u64,
        is_same: impl Fn() -> bool,
        deadline: u64,
        has_ended: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let mut wakes = WAKES.lock().unwrap_or_else(|e| e.into_inner());
        if !is_same() {
            return Err(Error::WouldBlock);
        }
        let count = |wakes: &Option<HashMap<u64, u64>>| {
            wakes.as_ref().and_then(|w| w.get(&address)).copied()
        };
        let before = count(&wakes);
        while count(&wakes) == before {
            if deadline == 0 {
                return Err(Error::WouldBlock);
            }
            let now = uptime();
            if now >= deadline {
                return Err(Error::TimedOut);
            }
            let span = core::time::Duration::from_nanos(deadline - now).min(LOOK);
            (wakes, _) = WOKEN
                .wait_timeout(wakes, span)
                .unwrap_or_else(|e| e.into_inner());
            if has_ended() {
                drop(wakes);
                super::super::exit();
            }
        }
        Ok(())
    }
}

pub(super) fn uptime() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}

impl Kernel {
    pub(super) fn new_process(&mut self, name: &str, parent: u64) -> Pid {
        let pid = Pid(next());
        self.processes.insert(
            pid,
            Proc {
                name: name.into(),
                parent,
                handles: BTreeMap::new(),
                next_handle: 0,
                end: None,
                threads: 0,
                startup: None,
            },
        );
        pid
    }

    pub(super) fn process(&mut self, pid: Pid) -> &mut Proc {
        self.processes.get_mut(&pid).expect("processes are kept")
    }

    pub(super) fn set_startup(&mut self, pid: Pid, block: Vec<u8>) {
        let taken = Box::leak(Box::new([const { AtomicU64::new(0) }; 2]));
        self.process(pid).startup = Some((Vec::leak(block), taken));
    }

    pub(super) fn startup(&self, pid: Pid) -> Option<(&'static [u8], &'static [AtomicU64; 2])> {
        self.processes.get(&pid)?.startup
    }

    pub(super) fn add_thread(&mut self, pid: Pid) {
        self.process(pid).threads += 1;
    }

    pub(super) fn thread_gone(&mut self, pid: Pid) {
        let process = self.process(pid);
        process.threads = process.threads.saturating_sub(1);
        if process.threads == 0 && process.end.is_none() && process.startup.is_some() {
            self.end(pid, EndReason::NO_THREADS, 0);
        }
    }

    /// Ends a process: its handles close now.
    pub(super) fn end(&mut self, pid: Pid, reason: EndReason, code: i64) {
        let process = self.process(pid);
        if process.end.is_some() {
            return;
        }
        process.end = Some((reason, code));
        let handles = core::mem::take(&mut process.handles);
        for (id, _) in handles.into_values() {
            self.release(id);
        }
        changed();
    }

    pub(super) fn add(&mut self, object: Obj) -> Id {
        let id = Id(next());
        if matches!(object, Obj::Timer { .. }) {
            self.timers.push(id);
        }
        let entry = Entry {
            object,
            references: 0,
        };
        self.objects.insert(id, entry);
        id
    }

    pub(super) fn insert(&mut self, pid: Pid, id: Id, rights: Rights) -> Handle {
        self.retain(id);
        let process = self.process(pid);
        process.next_handle += 1;
        let handle = process.next_handle;
        process.handles.insert(handle, (id, rights));
        Handle(handle)
    }

    pub(super) fn insert_new(&mut self, pid: Pid, object: Obj) -> Handle {
        let id = self.add(object);
        self.insert(pid, id, Rights::ALL)
    }

    pub(super) fn retain(&mut self, id: Id) {
        if let Some(entry) = self.objects.get_mut(&id) {
            entry.references += 1;
        }
    }

    pub(super) fn release(&mut self, id: Id) {
        let Some(entry) = self.objects.get_mut(&id) else {
            return;
        };
        entry.references -= 1;
        if entry.references > 0 {
            return;
        }
        let entry = self.objects.remove(&id).expect("found above");
        match entry.object {
            Obj::Channel(end) => self.end_gone(end),
            Obj::Reply(call) => self.fail_call(call),
            Obj::Timer { .. } => self.timers.retain(|&timer| timer != id),
            _ => {}
        }
        changed();
    }

    pub(super) fn find(&self, pid: Pid, handle: Handle) -> Result<(Id, Rights), Error> {
        let process = self.processes.get(&pid).ok_or(Error::BadHandle)?;
        process
            .handles
            .get(&handle.0)
            .copied()
            .ok_or(Error::BadHandle)
    }

    pub(super) fn object(&self, id: Id) -> Option<&Obj> {
        self.objects.get(&id).map(|e| &e.object)
    }

    pub(super) fn object_mut(&mut self, id: Id) -> Option<&mut Obj> {
        self.objects.get_mut(&id).map(|e| &mut e.object)
    }

    pub(super) fn close(&mut self, pid: Pid, handle: Handle) -> Result<(), Error> {
        let (id, _) = self
            .process(pid)
            .handles
            .remove(&handle.0)
            .ok_or(Error::BadHandle)?;
        self.release(id);
        Ok(())
    }

    pub(super) fn give(
        &mut self,
        from: Pid,
        handle: Handle,
        to: Pid,
        rights: Rights,
    ) -> Result<Handle, Error> {
        let (id, have) = self.find(from, handle)?;
        Ok(self.insert(to, id, rights.intersection(have)))
    }

    pub(super) fn handle_count(&self, pid: Pid) -> usize {
        self.processes.get(&pid).map_or(0, |p| p.handles.len())
    }

    /// When the next of the timers rings that had not rung at `looked_ns`.
    fn next_timer(&self, looked_ns: u64) -> u64 {
        let deadlines = self.timers.iter().filter_map(|&id| match self.object(id) {
            Some(&Obj::Timer { deadline, .. }) => Some(deadline),
            _ => None,
        });
        let ahead = deadlines.filter(|&deadline| deadline > looked_ns);
        ahead.min().unwrap_or(u64::MAX)
    }
}
