//! Processes and threads: how they come and how they end.

use viper_abi::{
    EndReason, Error, FaultKind, IPC_BUFFERS, Kind, PAGE_SIZE, PROCESS_NAME_MAX, Signals,
    THREADS_MAX,
};
use viper_cap::Limits;
use viper_sched::{CoreMask, Priority, ThreadId};
use viper_vm::{
    FrameSource, MemType, PageRange, PageTable, Perms, RegionMap, Space, Target, VirtAddr,
};

use crate::arena::NIL;
use crate::kernel::{Kernel, cap_error, vm_error};
use crate::log::DEBUG;
use crate::mapping::REGIONS_MAX;
use crate::object::{End, Notifier, ObjectRef, Process, Region, user_bounds};
use crate::platform::Platform;
use crate::quota::{PROCESS_BYTES, THREAD_BYTES};
use crate::thread::{Context, FpState, Link, Queue, Siblings, Special, State, Thread, Wait};

/// Most handles a process can have.
pub const HANDLES_MAX: u32 = 65_536;

/// How a new thread begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Program counter.
    pub entry: u64,
    /// Stack pointer.
    pub stack: u64,
    /// `x0`.
    pub argument: u64,
    /// `TPIDR_EL0`.
    pub tls: u64,
    /// Priority and affinity.
    pub options: u64,
}

impl<P: Platform> Kernel<P> {
    /// Makes a process without threads, charged to `quota`. It has no capability yet: the caller
    /// gives out the reference it gets.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::LimitReached`].
    pub fn new_process(&mut self, quota: u32, parent: u64, name: &[u8]) -> Result<u32, Error> {
        self.reserve_dead()?;
        self.charge(quota, PROCESS_BYTES)?;
        let made = self.new_process_parts(quota, parent, name);
        if made.is_err() {
            self.refund(quota, PROCESS_BYTES);
        }
        made
    }

    fn new_process_parts(&mut self, quota: u32, parent: u64, name: &[u8]) -> Result<u32, Error> {
        let asid = self.take_asid()?;
        let limits = Limits {
            live_max: HANDLES_MAX,
            slots_max: 4 * HANDLES_MAX,
        };
        let table = match self.caps.create_table(limits) {
            Ok(table) => table,
            Err(e) => {
                self.give_asid(asid);
                return Err(cap_error(e));
            }
        };
        let pages = PageTable::new(&mut self.platform, &mut self.frames, Space::User);
        let pages = match pages {
            Ok(pages) => pages,
            Err(e) => {
                self.give_asid(asid);
                let _ = self.caps.destroy_table(table, |_| {});
                return Err(vm_error(e));
            }
        };
        let root = pages.root();
        let mut stored = [0; PROCESS_NAME_MAX];
        let len = name.len().min(PROCESS_NAME_MAX);
        stored[..len].copy_from_slice(&name[..len]);
        let process = Process {
            table,
            quota,
            pages: Some(pages),
            asid,
            regions: RegionMap::new(user_bounds(), REGIONS_MAX),
            threads: Queue::EMPTY,
            thread_count: 0,
            threads_max: THREADS_MAX as u32,
            ipc_slots: [0; THREADS_MAX / 64],
            notifier: Notifier::NEW,
            refs: 1,
            id: self.next_id,
            parent,
            end: End::RUNNING,
            cpu_ns: 0,
            ipcs: 0,
            name: stored,
            name_len: len as u8,
            overhead_bytes: PROCESS_BYTES,
            table_bytes: 0,
            ruin: None,
        };
        match self.processes.insert(process) {
            Ok(index) => {
                let name = core::str::from_utf8(&stored[..len]).unwrap_or("?");
                let id = self.fresh_id();
                self.log(DEBUG, format_args!("{name} ({id}) of {parent}"));
                self.quotas[quota].refs += 1;
                Ok(index)
            }
            Err(e) => {
                self.give_asid(asid);
                let _ = self.caps.destroy_table(table, |_| {});
                self.frames.free_frame(root);
                Err(e)
            }
        }
    }

    fn take_asid(&mut self) -> Result<u16, Error> {
        let max = self.platform.asid_max();
        for (i, word) in self.asids.iter_mut().enumerate() {
            let free = (!*word & if i == 0 { !1 } else { !0 }).trailing_zeros();
            let asid = i as u32 * 64 + free;
            if free < 64 && asid <= u32::from(max) {
                *word |= 1 << free;
                return Ok(asid as u16);
            }
        }
        Err(Error::LimitReached)
    }

    /// An address space is gone.
    pub fn give_asid(&mut self, asid: u16) {
        self.asids[usize::from(asid) / 64] &= !(1 << (asid % 64));
    }

    /// Makes a thread and starts it. Its capability is up to the caller: the thread itself holds
    /// one reference while it lives.
    ///
    /// # Errors
    /// As `thread_create` documents, rights aside.
    pub fn new_thread(
        &mut self,
        process: u32,
        start: &Start,
        priority_max: u8,
    ) -> Result<u32, Error> {
        let priority = (start.options & 0xff) as u8;
        let affinity = match (start.options >> 8 & 0xff) as u8 {
            0 => CoreMask::ALL,
            mask => CoreMask(mask),
        };
        let level = Priority::new(priority).ok_or(Error::InvalidArgument)?;
        if priority > priority_max {
            return Err(Error::NoRight);
        }
        if start.options >> 16 != 0 || !start.stack.is_multiple_of(16) {
            return Err(Error::InvalidArgument);
        }
        let owner = &self.processes[process];
        if owner.end.reason != EndReason::RUNNING {
            return Err(Error::Ended);
        }
        if owner.thread_count >= owner.threads_max {
            return Err(Error::LimitReached);
        }
        self.reserve_dead()?;
        let quota = self.processes[process].quota;
        self.charge(quota, THREAD_BYTES)?;
        let made = self.new_thread_parts(process, start, priority);
        let thread = match made {
            Ok(thread) => thread,
            Err(e) => {
                self.refund(quota, THREAD_BYTES);
                return Err(e);
            }
        };
        if let Err(e) = self.sched.add(ThreadId(thread), level, affinity) {
            self.undo_thread(thread);
            self.threads.remove(thread);
            return Err(match e {
                viper_sched::SchedError::OutOfMemory => Error::OutOfMemory,
                _ => Error::InvalidArgument,
            });
        }
        self.threads[thread]
            .special
            .set(Special::PINNED, affinity != CoreMask::ALL);
        self.processes[process].refs += 1;
        self.make_ready(thread);
        Ok(thread)
    }

    fn new_thread_parts(
        &mut self,
        process: u32,
        start: &Start,
        priority: u8,
    ) -> Result<u32, Error> {
        self.deadlines.add_owner()?;
        let undo = |k: &mut Self, e| {
            k.deadlines.remove_owner();
            Err(e)
        };
        let slots = &mut self.processes[process].ipc_slots;
        let Some(slot) = slots
            .iter()
            .position(|w| *w != u64::MAX)
            .map(|i| i * 64 + slots[i].trailing_ones() as usize)
        else {
            return undo(self, Error::LimitReached);
        };
        let Some(frame) = self.frames.alloc_frame() else {
            return undo(self, Error::OutOfMemory);
        };
        self.platform.zero_frame(frame);
        let address = IPC_BUFFERS + (slot * PAGE_SIZE) as u64;
        let target = Target {
            pa: frame.addr(),
            perms: Perms::ReadWrite,
            mem_type: MemType::NormalWriteBack,
        };
        if let Err(e) = self.map_ipc_buffer(process, address, target) {
            self.frames.free_frame(frame);
            return undo(self, e);
        }
        let owner = &self.processes[process];
        let root = owner.pages.as_ref().map_or(0, |p| p.root().addr().0);
        let mut context = Context {
            sp: start.stack,
            pc: start.entry,
            tls: start.tls,
            ipc_buffer: address,
            ttbr0: root | u64::from(owner.asid) << 48,
            table: owner.table,
            ..Context::ZERO
        };
        context.x[0] = start.argument;
        let thread = Thread {
            context,
            process,
            state: State::Blocked(Wait::Sleep),
            caller: None,
            call_number: 0,
            ipc_frame: frame,
            ipc_slot: slot as u16,
            priority,
            special: Special::NONE,
            vector_turns: 0,
            queue_link: Link::NONE,
            process_link: Link::NONE,
            deadline_at: NIL,
            id: self.fresh_id(),
            ipcs: 0,
            cpu_ns: 0,
            progress: 0,
            refs: 1,
            notifier: Notifier::NEW,
            fp: FpState::ZERO,
        };
        let index = match self.threads.insert(thread) {
            Ok(index) => index,
            Err(e) => {
                self.unmap_ipc_buffer(process, address);
                self.frames.free_frame(frame);
                return undo(self, e);
            }
        };
        self.threads[index].context.thread = index;
        let owner = &mut self.processes[process];
        owner.ipc_slots[slot / 64] |= 1 << (slot % 64);
        let mut list = owner.threads;
        list.push::<Siblings>(&mut self.threads, index);
        let owner = &mut self.processes[process];
        owner.threads = list;
        owner.thread_count += 1;
        Ok(index)
    }

    fn map_ipc_buffer(&mut self, process: u32, address: u64, target: Target) -> Result<(), Error> {
        let range = PageRange::new(VirtAddr(address), PAGE_SIZE as u64).map_err(vm_error)?;
        let value = Region {
            memory: NIL,
            offset: 0,
            protection: 3,
            protection_max: 0,
        };
        self.processes[process]
            .regions
            .insert(range, value)
            .map_err(vm_error)?;
        if let Err(e) = self.map_frame(process, VirtAddr(address), target) {
            let _ = self.unmap(process, range);
            return Err(e);
        }
        Ok(())
    }

    fn unmap_ipc_buffer(&mut self, process: u32, address: u64) {
        if let Ok(range) = PageRange::new(VirtAddr(address), PAGE_SIZE as u64) {
            let _ = self.unmap(process, range);
        }
    }

    // ----- The end ---------------------------------------------------------------------------

    /// Ends a thread. One that runs on another core is told, and gone when that core comes by.
    pub fn end_thread(&mut self, thread: u32) {
        self.has_news = true;
        match self.threads[thread].state {
            State::Ended | State::Dying(_) => return,
            State::Blocked(_) => self.unwait(thread),
            State::Ready | State::Running(_) => {}
        }
        let state = self.threads[thread].state;
        if self.arrival == thread {
            self.arrival = NIL;
        }
        let interrupt = self.sched.remove(ThreadId(thread)).ok().flatten();
        if let State::Running(core) = state
            && usize::from(core) != self.this_core
        {
            self.threads[thread].state = State::Dying(core);
            self.dying |= 1 << (core & 7);
            self.threads[thread].special.set(Special::DYING, true);
            if let Some(core) = interrupt {
                self.nudge(core);
            }
            return;
        }
        self.finish_thread(thread);
    }

    /// A thread runs nowhere any more.
    pub fn finish_thread(&mut self, thread: u32) {
        self.threads[thread].state = State::Ended;
        self.undo_thread(thread);
        let process = self.threads[thread].process;
        let last = self.processes[process].thread_count == 0;
        if last {
            if self.processes[process].end.reason == EndReason::RUNNING {
                self.processes[process].end.reason = EndReason::NO_THREADS;
            }
            self.finish_process(process);
        }
        self.notify(ObjectRef::new(Kind::THREAD, thread), Signals::ENDED);
        self.drop_ref(ObjectRef::new(Kind::THREAD, thread));
    }

    /// Gives back what a thread has: what `new_thread_parts` took.
    fn undo_thread(&mut self, thread: u32) {
        let Thread {
            process,
            ipc_slot,
            ipc_frame,
            ..
        } = self.threads[thread];
        if let Some((caller, number)) = self.threads[thread].caller.take() {
            self.abandon_call(caller, number);
        }
        if self.cores[self.this_core].current == thread {
            // It ran here until now, on translations that may be gone soon.
            let now = self.platform.now_ns();
            self.threads[thread].cpu_ns += self.time_spent(now);
            self.cores[self.this_core].current = NIL;
            self.platform.leave_address_space();
        }
        let owner = &mut self.processes[process];
        let slot = usize::from(ipc_slot);
        owner.ipc_slots[slot / 64] &= !(1 << (slot % 64));
        owner.thread_count -= 1;
        let used = &mut self.threads[thread];
        owner.ipcs += core::mem::take(&mut used.ipcs);
        owner.cpu_ns += core::mem::take(&mut used.cpu_ns);
        let mut list = owner.threads;
        list.remove::<Siblings>(&mut self.threads, thread);
        self.processes[process].threads = list;
        self.unmap_ipc_buffer(process, IPC_BUFFERS + (slot * PAGE_SIZE) as u64);
        self.frames.free_frame(ipc_frame);
        self.deadlines.remove_owner();
        let quota = self.processes[process].quota;
        self.refund(quota, THREAD_BYTES);
    }

    /// Ends a process: its threads first, and with the last of them what it has.
    pub fn end_process(&mut self, process: u32, reason: EndReason, code: i64) {
        if self.processes[process].end.reason != EndReason::RUNNING {
            return;
        }
        self.processes[process].end.reason = reason;
        self.processes[process].end.code = code;
        if self.processes[process].thread_count == 0 {
            self.finish_process(process);
            return;
        }
        let mut next = self.processes[process].threads.first();
        while let Some(thread) = next {
            next = Queue::after::<Siblings>(&mut self.threads, thread);
            self.end_thread(thread);
        }
    }

    /// Ends the process of a thread because of what the thread did.
    pub fn fault(&mut self, thread: u32, kind: FaultKind, address: u64) {
        let process = self.threads[thread].process;
        let pc = self.threads[thread].context.pc;
        if self.processes[process].end.reason == EndReason::RUNNING {
            let end = &mut self.processes[process].end;
            end.fault = kind;
            end.address = address;
            end.pc = pc;
            self.report_fault(thread, kind, address);
            self.end_process(process, EndReason::FAULT, -1);
        }
    }

    /// One line about a fault, on the debug port, with the return addresses on the user stack.
    fn report_fault(&mut self, thread: u32, kind: FaultKind, address: u64) {
        use core::fmt::Write;
        let process = &self.processes[self.threads[thread].process];
        let name_len = usize::from(process.name_len);
        let name = process.name;
        let name = core::str::from_utf8(&name[..name_len]).unwrap_or("?");
        let (id, pc) = (process.id, self.threads[thread].context.pc);
        let mut line = crate::line::Line::new();
        let _ = write!(
            line,
            "user fault: {name} ({id}): {} at {address:#x}, pc={pc:#x}; backtrace: {name} {pc:#x}",
            fault_text(kind),
        );
        let mut frame = self.threads[thread].context.x[29];
        for _ in 0..8 {
            let mut pair = [0u8; 16];
            if frame == 0
                || !frame.is_multiple_of(8)
                || self.platform.copy_in(&mut pair, frame).is_err()
            {
                break;
            }
            let [next, back] = [&pair[..8], &pair[8..]]
                .map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes")));
            if back == 0 {
                break;
            }
            let _ = write!(line, " {back:#x}");
            if next <= frame {
                break;
            }
            frame = next;
        }
        let _ = line.write_str("\r\n");
        self.platform.debug_write(line.as_bytes());
    }
}

/// What a program did, in words.
const fn fault_text(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::READ => "bad read",
        FaultKind::WRITE => "bad write",
        FaultKind::EXECUTE => "bad jump",
        FaultKind::ILLEGAL => "illegal instruction",
        FaultKind::ALIGNMENT => "misaligned access",
        FaultKind::BREAKPOINT => "breakpoint",
        FaultKind::NO_MEMORY => "out of memory",
        _ => "exception",
    }
}
