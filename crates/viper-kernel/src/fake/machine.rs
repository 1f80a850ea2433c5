//! Cores that enter the kernel, and the programs' side of it.

use alloc::vec::Vec;
use viper_abi::{
    EndReason, Error, FOREVER, Handle, Kind, MemoryFlags, MsgInfo, Protection, Rights, number,
};
use viper_vm::VirtAddr;

use super::platform::{FakeFrames, FakePlatform};
use crate::arena::NIL;
use crate::calls::PROCESS_RIGHTS;
use crate::entry::Exception;
use crate::fast::{Across, Way};
use crate::kernel::{CORES_MAX, Kernel, cap_handle, cap_rights};
use crate::mapping::Access;
use crate::object::{Device, ObjectRef, Quota};
use crate::platform::Platform;
use crate::process::Start;
use crate::thread::{Context, State};

/// Where the first thread of each fake process has its memory.
pub const HOME: u64 = 0x1_0000_0000;

/// A kernel on a [`FakePlatform`], entered as the board would.
pub struct FakeMachine {
    /// The kernel.
    pub kernel: Kernel<FakePlatform>,
    /// Whether calls and replies try the short way first.
    pub is_short: bool,
    /// Whether a core finishes what it tears down, all slices of it, before its thread goes on.
    pub is_prompt: bool,
    /// Threads that are to make a call again.
    repeats: Vec<(u32, u16)>,
    /// What `TPIDR_EL1` of each core holds.
    on_core: [*const Context; CORES_MAX],
    /// The same as a thread, or `NIL`.
    running: [u32; CORES_MAX],
}

/// What became of an access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It went through.
    Done(u8),
    /// The thread does not run here any more: it was preempted or ended.
    Gone,
}

impl FakeMachine {
    /// A machine without processes.
    pub fn new(cores: usize, frames: u32) -> FakeMachine {
        let kernel = Kernel::new(FakePlatform::new(frames), FakeFrames::new(frames), cores);
        let mut machine = FakeMachine {
            kernel: kernel.expect("memory of the host"),
            is_short: true,
            is_prompt: true,
            repeats: Vec::new(),
            on_core: [core::ptr::null(); CORES_MAX],
            running: [NIL; CORES_MAX],
        };
        for core in 0..cores {
            machine.enter(core, |k| {
                k.this_core = core;
                k.leave()
            });
        }
        machine
    }

    /// A first quota: of everything.
    pub fn root_quota(&mut self, limit: u64) -> u32 {
        self.kernel.reserve_dead().expect("memory of the host");
        let quota = Quota {
            parent: NIL,
            limit,
            used: 0,
            depth: 0,
            refs: 1,
        };
        self.kernel
            .quotas
            .insert(quota)
            .expect("memory of the host")
    }

    /// A process of a quota, with one thread of this priority, and handles to itself, its quota,
    /// the system and a device. Gives process and thread.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn spawn(&mut self, quota: u32, priority: u8) -> Result<(u32, u32), Error> {
        self.interrupt(0, None);
        let k = &mut self.kernel;
        let process = k.new_process(quota, 0, b"fake")?;
        let start = Start {
            entry: HOME,
            stack: HOME,
            argument: 0,
            tls: 0,
            options: u64::from(priority),
        };
        let thread = k.new_thread(process, &start, 7);
        k.drop_ref(ObjectRef::new(Kind::PROCESS, process));
        self.interrupt(0, None);
        let thread = thread?;
        self.give(
            process,
            ObjectRef::new(Kind::PROCESS, process),
            PROCESS_RIGHTS,
        )?;
        self.give(process, ObjectRef::new(Kind::QUOTA, quota), Rights::ALL)?;
        Ok((process, thread))
    }

    /// Gives a process a capability out of nothing.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn give(
        &mut self,
        process: u32,
        object: ObjectRef,
        rights: Rights,
    ) -> Result<Handle, Error> {
        let k = &mut self.kernel;
        k.add_ref(object);
        let table = k.processes[process].table;
        let handle = k.caps.insert_root(table, object, cap_rights(rights));
        match handle {
            Ok(handle) => Ok(Handle(handle.raw())),
            Err(e) => {
                k.drop_ref(object);
                Err(crate::kernel::cap_error(e))
            }
        }
    }

    /// A device with registers and lines, given to a process.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn give_device(&mut self, process: u32, device: Device) -> Result<Handle, Error> {
        let quota = device.quota;
        self.kernel.reserve_dead()?;
        self.kernel.charge(quota, crate::quota::OBJECT_BYTES)?;
        self.kernel.quotas[quota].refs += 1;
        let index = self.kernel.devices.insert(Device { refs: 0, ..device })?;
        self.give(process, ObjectRef::new(Kind::DEVICE, index), Rights::ALL)
    }

    // ----- Cores -----------------------------------------------------------------------------

    /// The thread that runs on a core.
    pub fn running(&self, core: usize) -> Option<u32> {
        (self.running[core] != NIL).then_some(self.running[core])
    }

    /// Enters the kernel and goes on with the context it says, as `resume` does.
    fn enter(&mut self, core: usize, work: impl FnOnce(&mut Kernel<FakePlatform>) -> *mut Context) {
        self.kernel.platform.core = core;
        let mut next: *const Context = work(&mut self.kernel);
        while self.is_prompt && !self.kernel.dead.is_empty() {
            self.kernel.on_timer(core);
            next = self.kernel.leave();
        }
        self.resume(core, next);
    }

    /// Lets the timers go off that were set to go on with what is torn down.
    pub fn tear_down(&mut self) {
        while !self.kernel.dead.is_empty() {
            self.interrupt(0, None);
        }
    }

    fn resume(&mut self, core: usize, next: *const Context) {
        let k = &mut self.kernel;
        let current = k.cores[core].current;
        if current == NIL {
            assert!(
                k.platform.is_idle(core, next),
                "core {core} idles elsewhere"
            );
        } else {
            let context = &k.threads[current].context;
            assert!(
                core::ptr::eq(context, next),
                "core {core} runs another context"
            );
            assert_eq!(context.core as usize, core, "the thread knows its core");
            // One that another core has ended goes on until it is told.
            let state = k.threads[current].state;
            let is_here = [State::Running(core as u8), State::Dying(core as u8)];
            assert!(is_here.contains(&state), "core {core} runs {state:?}");
            for other in (0..CORES_MAX).filter(|&c| c != core) {
                assert_ne!(self.running[other], current, "one thread on two cores");
            }
        }
        if next != self.on_core[core] {
            k.platform.ttbr0[core] = match current {
                NIL => 0,
                t => k.threads[t].context.ttbr0,
            };
        }
        self.on_core[core] = next;
        self.running[core] = current;
    }

    /// A system call of the thread that runs on a core.
    ///
    /// # Panics
    /// If none runs there.
    pub fn syscall(&mut self, core: usize, number: u16, arguments: &[u64]) {
        let thread = self.running(core).expect("somebody runs");
        if let Some(at) = self.repeats.iter().position(|&(t, _)| t == thread) {
            // It has another call to make first.
            let (_, number) = self.repeats.swap_remove(at);
            return self.make_call(core, thread, number);
        }
        let context = &mut self.kernel.threads[thread].context;
        context.x[..arguments.len()].copy_from_slice(arguments);
        if self.is_short && self.short(core, thread, number) {
            return;
        }
        self.make_call(core, thread, number);
    }

    /// Enters the kernel for a call, again and again while the thread is to repeat it.
    fn make_call(&mut self, core: usize, thread: u32, number: u16) {
        loop {
            self.enter(core, |k| match k.on_syscall(core, thread, number) {
                Some(next) => next,
                None => &mut k.threads[thread].context,
            });
            if !core::mem::take(&mut self.kernel.platform.is_repeated) {
                return;
            }
            if self.running(core) != Some(thread) {
                self.repeats.push((thread, number));
                return;
            }
        }
    }

    /// Tries the short way, as the vectors do.
    fn short(&mut self, core: usize, thread: u32, number: u16) -> bool {
        let context = &self.kernel.threads[thread].context;
        let way = Way {
            thread,
            core: core as u8,
            table: context.table,
            handle: viper_cap::Handle::from_raw(context.x[0] as u32),
            word: context.x[1],
            deadline: context.x[if number == number::object_wait { 2 } else { 8 }],
        };
        self.kernel.platform.core = core;
        let across = match number {
            number::event_signal if self.kernel.fast_signal(way) => {
                let next = &mut self.kernel.threads[thread].context;
                next.x[0] = 0;
                Some(Across {
                    next,
                    has_vectors: false,
                })
            }
            number::object_wait => self.kernel.fast_wait(way),
            number::call => self.kernel.fast_call(way),
            number::reply_receive => self.kernel.fast_reply_receive(way),
            _ => None,
        };
        if let Some(Across { next, has_vectors }) = across {
            if has_vectors {
                let to = self.kernel.cores[core].current;
                self.kernel.exchange_vectors(core, thread, to);
            }
            self.resume(core, next);
        }
        across.is_some()
    }

    /// A system call whose results are wanted: `x1..` of the thread, if it goes on at once.
    ///
    /// # Errors
    /// The error in `x0`.
    ///
    /// # Panics
    /// If nobody runs on the core, or the thread does not run there afterwards.
    pub fn ask(&mut self, core: usize, number: u16, arguments: &[u64]) -> Result<[u64; 8], Error> {
        let thread = self.running(core).expect("somebody runs");
        self.syscall(core, number, arguments);
        assert_eq!(self.running(core), Some(thread), "the call returns at once");
        self.results(thread)
    }

    /// What a thread that has come back from a call finds in its registers.
    ///
    /// # Errors
    /// The error in `x0`.
    pub fn results(&self, thread: u32) -> Result<[u64; 8], Error> {
        let x = &self.kernel.threads[thread].context.x;
        Error::check(x[0])?;
        Ok(x[1..9].try_into().expect("eight words"))
    }

    /// Lets time pass, and the timers that are due fire.
    pub fn advance(&mut self, ns: u64) {
        self.kernel.platform.now_ns += ns;
        for core in 0..self.kernel.sched.core_count() {
            if self.kernel.platform.timers[core] <= self.kernel.platform.now_ns {
                self.kernel.platform.timers[core] = u64::MAX;
                self.enter(core, |k| {
                    k.on_timer(core);
                    k.leave()
                });
            }
        }
    }

    /// Delivers the interrupts that cores have sent each other.
    pub fn settle(&mut self) {
        while self.kernel.platform.called != 0 {
            let core = self.kernel.platform.called.trailing_zeros() as usize;
            self.kernel.platform.called &= !(1 << core);
            self.interrupt(core, None);
        }
    }

    /// An interrupt on a core.
    pub fn interrupt(&mut self, core: usize, line: Option<u32>) {
        self.enter(core, |k| {
            k.on_interrupt(core, line);
            k.leave()
        });
    }

    /// An exception of the thread that runs on a core.
    ///
    /// # Panics
    /// If none runs there.
    pub fn except(&mut self, core: usize, what: Exception) {
        let thread = self.running(core).expect("somebody runs");
        self.enter(core, |k| k.on_exception(core, thread, what));
    }

    // ----- The programs' side ----------------------------------------------------------------

    /// Loads or (with a value) stores a byte as the thread on a core, with page faults.
    ///
    /// # Panics
    /// If none runs there, the kernel does not resolve a fault it says it has, or the frame that
    /// is reached belongs to nobody.
    pub fn access(&mut self, core: usize, va: u64, value: Option<u8>) -> Outcome {
        let thread = self.running(core).expect("somebody runs");
        let access = if value.is_some() {
            Access::Write
        } else {
            Access::Read
        };
        for _ in 0..3 {
            if let Some(pa) = self.kernel.platform.translate(core, va, access) {
                let frame = pa.frame().expect("RAM");
                let owners = crate::platform::Frames::ref_count(&self.kernel.frames, frame);
                let is_ram = pa.0 >= super::RAM_BASE;
                assert!(!is_ram || owners > 0, "{va:#x} leads to a free frame");
                if let Some(value) = value {
                    self.kernel.platform.write_byte(pa, value);
                    return Outcome::Done(value);
                }
                return Outcome::Done(self.kernel.platform.read_byte(pa));
            }
            self.except(core, Exception::Memory(access, va));
            if self.running(core) != Some(thread) {
                return Outcome::Gone;
            }
        }
        panic!("the fault at {va:#x} was not resolved");
    }

    /// Writes bytes as the thread on a core.
    ///
    /// # Panics
    /// If the thread does not survive it.
    pub fn store(&mut self, core: usize, va: u64, bytes: &[u8]) {
        for (i, &byte) in bytes.iter().enumerate() {
            let done = self.access(core, va + i as u64, Some(byte));
            assert_eq!(done, Outcome::Done(byte));
        }
    }

    /// Reads bytes as the thread on a core.
    ///
    /// # Panics
    /// If the thread does not survive it.
    pub fn load(&mut self, core: usize, va: u64, bytes: &mut [u8]) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            match self.access(core, va + i as u64, None) {
                Outcome::Done(value) => *byte = value,
                Outcome::Gone => panic!("{va:#x} cannot be read"),
            }
        }
    }

    /// Puts handles where a message's handles stand, as the thread on a core.
    pub fn put_handles(&mut self, core: usize, handles: &[Handle]) {
        let thread = self.running(core).expect("somebody runs");
        let at = self.kernel.threads[thread].context.ipc_buffer + viper_abi::MESSAGE_MAX as u64;
        for (i, handle) in handles.iter().enumerate() {
            self.store(core, at + 4 * i as u64, &handle.0.to_le_bytes());
        }
    }

    /// The handles of the message a thread on a core received.
    pub fn handles(&mut self, core: usize) -> [Handle; 4] {
        let thread = self.running(core).expect("somebody runs");
        let at = self.kernel.threads[thread].context.ipc_buffer + viper_abi::MESSAGE_MAX as u64;
        [0, 1, 2, 3].map(|i| {
            let mut raw = [0; 4];
            self.load(core, at + 4 * i, &mut raw);
            Handle(u32::from_le_bytes(raw))
        })
    }

    /// Memory of the thread on a core, mapped read and write at an address of the kernel's choice.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn map(&mut self, core: usize, pages: u64) -> Result<(Handle, u64), Error> {
        let size = pages * viper_abi::PAGE_SIZE as u64;
        let flags = u64::from(MemoryFlags::NONE.0);
        let memory = self.ask(core, number::memory_create, &[size, flags])?[0];
        let protection = u64::from((Protection::READ | Protection::WRITE).0);
        let mapped = self.ask(
            core,
            number::memory_map,
            &[0, memory, 0, size, protection, 0],
        )?;
        Ok((Handle(memory as u32), mapped[0]))
    }

    /// `receive` without a deadline.
    pub fn receive(&mut self, core: usize, source: Handle) {
        let mut x = [0; 9];
        x[0] = u64::from(source.0);
        x[8] = FOREVER;
        self.syscall(core, number::receive, &x);
    }

    /// A message call (`call`, `send`, `reply`, `reply_receive`) with words 1..=6 and a deadline.
    pub fn message(&mut self, core: usize, number: u16, to: Handle, info: MsgInfo, deadline: u64) {
        let x = [u64::from(to.0), info.0, 1, 2, 3, 4, 5, 6, deadline];
        self.syscall(core, number, &x);
    }

    /// The object that a handle of a process names.
    pub fn object(&self, process: u32, handle: Handle) -> Option<ObjectRef> {
        let table = self.kernel.processes[process].table;
        let entry = self.kernel.caps.query(table, cap_handle(handle)).ok()?;
        Some(entry.object)
    }

    /// Ends a process from outside of any call, on core 0.
    pub fn kill(&mut self, process: u32) {
        self.enter(0, |k| {
            k.on_interrupt(0, None);
            k.end_process(process, EndReason::KILLED, 0);
            k.leave()
        });
        self.settle();
    }

    /// Where an address of a process leads, without touching anything.
    pub fn peek(&self, process: u32, va: u64) -> Option<viper_vm::Leaf> {
        let pages = self.kernel.processes[process].pages.as_ref()?;
        pages.lookup(&self.kernel.platform, VirtAddr(va))
    }

    /// Time on the machine's clock.
    pub fn now_ns(&self) -> u64 {
        self.kernel.platform.now_ns()
    }
}
