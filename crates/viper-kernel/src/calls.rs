//! The handlers of the system calls: they check handles and arguments, and call the parts of the
//! kernel that do the work.

use viper_abi::{
    EndReason, Error, FOREVER, Handle, HandleInfo, Kind, MemoryFlags, MsgInfo, PAGE_SIZE,
    PROCESS_NAME_MAX, PowerAction, ProcessInfo, Protection, Rights, Signals, SystemInfo,
};
use viper_sched::{CoreMask, Priority, ThreadId};
use viper_vm::{MemType, PageRange, Perms, PhysAddr, Target, VirtAddr};

use crate::arena::NIL;
use crate::deadline::Owner;
use crate::dispatch::Syscalls;
use crate::kernel::{
    Handled, Kernel, LINES, OBJECT_BYTES, Stop, cap_error, cap_handle, cap_rights,
};
use crate::memory::{Access, user_range};
use crate::object::{
    Channel, ChannelEnd, Device, Event, Interrupt, Notifier, ObjectRef, PollSet, Quota, Region,
    Timer,
};
use crate::platform::Platform;
use crate::process::Start;
use crate::thread::{Queue, Special, State, Wait, Waiting};

/// Quotas nest no deeper.
const QUOTA_DEPTH_MAX: u32 = 8;
/// Most bytes in a debug port call.
const DEBUG_MAX: usize = 256;
/// Most entries that one list call writes.
const LIST_MAX: u32 = 256;

/// Rights of the maker of a channel end.
const CHANNEL_RIGHTS: Rights = Rights(
    Rights::DUPLICATE.0 | Rights::TRANSFER.0 | Rights::SEND.0 | Rights::RECEIVE.0 | Rights::WAIT.0,
);

impl<P: Platform> Kernel<P> {
    #[inline]
    fn any_object(&self, thread: u32, handle: Handle, rights: Rights) -> Result<ObjectRef, Error> {
        let entry = self
            .caps
            .query(self.table_of(thread), cap_handle(handle))
            .map_err(cap_error)?;
        if !entry.rights.contains(cap_rights(rights)) {
            return Err(Error::NoRight);
        }
        Ok(entry.object)
    }

    /// The object behind a handle, if it has signals and the handle may wait for them.
    #[inline(always)]
    fn waitable(&mut self, thread: u32, handle: Handle) -> Result<ObjectRef, Error> {
        match self.any_object(thread, handle, Rights::WAIT) {
            Ok(object) => Ok(object),
            Err(error) => Err(self.why_not_waitable(thread, handle, error)),
        }
    }

    #[cold]
    #[inline(never)]
    fn why_not_waitable(&mut self, thread: u32, handle: Handle, error: Error) -> Error {
        match self.any_object(thread, handle, Rights::NONE) {
            Ok(object) if self.notifier(object).is_none() => Error::WrongKind,
            _ => error,
        }
    }

    fn has_rights(&self, thread: u32, handle: Handle, rights: Rights) -> bool {
        self.any_object(thread, handle, rights).is_ok()
    }

    /// A number that two handles share if and only if they name the same object.
    fn identity(&self, object: ObjectRef) -> u64 {
        match object.kind {
            Kind::PROCESS => self.processes[object.index].id,
            Kind::THREAD => self.threads[object.index].id,
            _ => u64::from(object.kind.0) << 32 | u64::from(object.index),
        }
    }

    fn handle_info(
        &self,
        handle: viper_cap::Handle,
        entry: &viper_cap::Entry<ObjectRef>,
    ) -> HandleInfo {
        HandleInfo {
            handle: Handle(handle.raw()),
            kind: entry.object.kind,
            rights: Rights(entry.rights.bits()),
            reserved: 0,
            object: self.identity(entry.object),
        }
    }

    fn process_facts(&self, index: u32) -> ProcessInfo {
        let p = &self.processes[index];
        let quota = &self.quotas[p.quota];
        let mut priority = 0;
        let (mut ipcs, mut cpu_ns) = (p.ipcs, p.cpu_ns);
        for thread in self.threads.indices() {
            let t = &self.threads[thread];
            if t.process == index {
                priority = priority.max(t.priority);
                ipcs += t.ipcs;
                cpu_ns += t.cpu_ns;
            }
        }
        ProcessInfo {
            id: p.id,
            parent: p.parent,
            used_bytes: quota.used,
            limit_bytes: quota.limit,
            cpu_ns,
            ipcs,
            fault_address: p.end.address,
            fault_pc: p.end.pc,
            exit_code: p.end.code,
            end_reason: p.end.reason,
            fault_kind: p.end.fault,
            threads: p.thread_count,
            handles: self.caps.table(p.table).map_or(0, |t| t.len() as u32),
            priority: u32::from(priority),
            name_len: u32::from(p.name_len),
            name: p.name,
        }
    }

    fn process_info_bytes(&self, index: u32) -> [u8; size_of::<ProcessInfo>()] {
        encode::process(&self.process_facts(index))
    }

    /// A call on `range` has done `part` of it: the thread makes it again for the rest.
    fn go_on_from(&mut self, thread: u32, range: PageRange, part: PageRange) -> Handled<()> {
        let x = &mut self.threads[thread].context.x;
        x[1] = part.end().0;
        x[2] = range.end().0 - part.end().0;
        Err(Stop::Again)
    }

    fn register(&self, thread: u32, device: Handle, offset: u64) -> Result<PhysAddr, Error> {
        let index = self.object(thread, device, Kind::DEVICE, Rights::MAP)?;
        let device = &self.devices[index];
        let inside = offset.checked_add(4).is_some_and(|end| end <= device.len);
        if !inside || !offset.is_multiple_of(4) {
            return Err(Error::InvalidArgument);
        }
        Ok(PhysAddr(device.base + offset))
    }
}

/// Wire forms of the records that calls write: little endian, in the order of declaration.
mod encode {
    use super::*;

    struct Writer<const N: usize> {
        bytes: [u8; N],
        at: usize,
    }

    impl<const N: usize> Writer<N> {
        const fn new() -> Self {
            Writer {
                bytes: [0; N],
                at: 0,
            }
        }
        fn put(&mut self, bytes: &[u8]) {
            self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
            self.at += bytes.len();
        }
        fn words(&mut self, words: &[u64]) {
            for word in words {
                self.put(&word.to_le_bytes());
            }
        }
        fn halves(&mut self, halves: &[u32]) {
            for half in halves {
                self.put(&half.to_le_bytes());
            }
        }
    }

    pub fn process(info: &ProcessInfo) -> [u8; size_of::<ProcessInfo>()] {
        let mut w = Writer::new();
        w.words(&[
            info.id,
            info.parent,
            info.used_bytes,
            info.limit_bytes,
            info.cpu_ns,
            info.ipcs,
            info.fault_address,
            info.fault_pc,
            info.exit_code as u64,
        ]);
        w.halves(&[
            info.end_reason.0,
            info.fault_kind.0,
            info.threads,
            info.handles,
            info.priority,
            info.name_len,
        ]);
        w.put(&info.name);
        w.bytes
    }

    pub fn handle(info: &HandleInfo) -> [u8; size_of::<HandleInfo>()] {
        let mut w = Writer::new();
        w.halves(&[info.handle.0, info.kind.0, info.rights.0, 0]);
        w.words(&[info.object]);
        w.bytes
    }

    pub fn system(info: &SystemInfo) -> [u8; size_of::<SystemInfo>()] {
        let mut w = Writer::new();
        w.words(&[
            info.ram_bytes,
            info.free_bytes,
            info.kernel_bytes,
            info.uptime_ns,
            info.counter_hz,
        ]);
        w.halves(&[
            info.cores,
            info.processes,
            info.threads,
            info.handles,
            info.channels,
            info.memories,
        ]);
        w.words(&[
            info.idle_ns,
            info.ipcs,
            info.ipcs_direct,
            info.switches,
            info.page_faults,
            info.first_ns,
        ]);
        w.bytes
    }
}

impl<P: Platform> Syscalls for Kernel<P> {
    #[inline]
    fn registers(&mut self, thread: u32) -> Option<&mut [u64; 31]> {
        self.threads.get_mut(thread).map(|t| &mut t.context.x)
    }

    fn repeat(&mut self) {
        self.platform.repeat_call();
    }

    fn handle_close(&mut self, thread: u32, handle: Handle) -> Handled<()> {
        let table = self.table_of(thread);
        let object = self.caps.close(table, cap_handle(handle))?;
        self.drop_ref(object);
        Ok(())
    }

    fn handle_duplicate(&mut self, t: u32, handle: Handle, rights: Rights) -> Handled<(Handle,)> {
        let object = self.any_object(t, handle, Rights::DUPLICATE)?;
        self.make_room(self.threads[t].process, 1)?;
        let table = self.table_of(t);
        let copy = self
            .caps
            .derive(table, cap_handle(handle), cap_rights(rights))?;
        self.add_ref(object);
        Ok((Handle(copy.raw()),))
    }

    fn handle_revoke(&mut self, thread: u32, handle: Handle) -> Handled<(u64,)> {
        self.any_object(thread, handle, Rights::DUPLICATE)?;
        Ok((self.revoke(thread, cap_handle(handle))?,))
    }

    fn handle_query(&mut self, thread: u32, handle: Handle, info: u64) -> Handled<()> {
        let table = self.table_of(thread);
        let entry = self.caps.query(table, cap_handle(handle))?;
        let bytes = encode::handle(&self.handle_info(cap_handle(handle), entry));
        self.write_user(thread, info, &bytes)?;
        Ok(())
    }

    fn handle_give(
        &mut self,
        thread: u32,
        process: Handle,
        handle: Handle,
        rights: Rights,
    ) -> Handled<(Handle,)> {
        let process = self.object(thread, process, Kind::PROCESS, Rights::MANAGE)?;
        let object = self.any_object(thread, handle, Rights::TRANSFER)?;
        if self.processes[process].end.reason != EndReason::RUNNING {
            return Err(Error::Ended.into());
        }
        self.make_room(process, 1)?;
        let (from, to) = (self.table_of(thread), self.processes[process].table);
        let there = self
            .caps
            .copy(from, cap_handle(handle), to, cap_rights(rights))?;
        self.add_ref(object);
        Ok((Handle(there.raw()),))
    }

    fn handle_list(
        &mut self,
        thread: u32,
        process: Handle,
        from: u32,
        infos: u64,
        max: u32,
    ) -> Handled<(u32, u32)> {
        let process = self.process_or_self(thread, process, Rights::READ)?;
        let table = self.processes[process].table;
        let (mut count, mut next) = (0, from);
        while count < max.min(LIST_MAX) {
            let Ok(table) = self.caps.table(table) else {
                return Ok((count, 0));
            };
            let Some((handle, entry)) = table.iter_from(next).next() else {
                return Ok((count, 0));
            };
            let bytes = encode::handle(&self.handle_info(handle, entry));
            next = handle.index() + 1;
            self.write_user(
                thread,
                infos + u64::from(count) * bytes.len() as u64,
                &bytes,
            )?;
            count += 1;
        }
        Ok((count, next))
    }

    fn channel_create(&mut self, thread: u32, depth: u32) -> Handled<(Handle, Handle)> {
        if depth == 0 || depth > 64 {
            return Err(Error::InvalidArgument.into());
        }
        let quota = self.charge_object(thread, OBJECT_BYTES)?;
        let made = self.channels.insert(Channel {
            ends: [ChannelEnd::NEW, ChannelEnd::NEW],
            depth,
            quota,
        });
        let index = match made {
            Ok(index) => index,
            Err(e) => {
                self.refund_object(quota, OBJECT_BYTES);
                return Err(e.into());
            }
        };
        let ends = [2 * index, 2 * index + 1].map(|end| ObjectRef::new(Kind::CHANNEL, end));
        let a = self.install(thread, ends[0], CHANNEL_RIGHTS);
        let b = a.and_then(|_| self.install(thread, ends[1], CHANNEL_RIGHTS));
        match (a, b) {
            (Ok(a), Ok(b)) => Ok((a, b)),
            (Ok(a), Err(e)) => {
                let table = self.table_of(thread);
                let _ = self.caps.close(table, cap_handle(a));
                self.drop_ref(ends[0]);
                self.drop_ref(ends[1]);
                Err(e.into())
            }
            (Err(e), _) => {
                self.drop_ref(ends[0]);
                self.drop_ref(ends[1]);
                Err(e.into())
            }
        }
    }

    fn call(
        &mut self,
        thread: u32,
        channel: Handle,
        info: MsgInfo,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
    ) -> Handled<(MsgInfo, u64, u64, u64, u64, u64, u64)> {
        self.call_channel(thread, channel, info)?;
        Err(Stop::Written)
    }

    fn send(
        &mut self,
        thread: u32,
        channel: Handle,
        info: MsgInfo,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
    ) -> Handled<()> {
        self.send_channel(thread, channel, info)
    }

    fn receive(
        &mut self,
        thread: u32,
        source: Handle,
    ) -> Handled<(MsgInfo, u64, u64, u64, u64, u64, u64)> {
        self.receive_from(thread, source)?;
        Err(Stop::Written)
    }

    fn reply_receive(
        &mut self,
        thread: u32,
        source: Handle,
        info: MsgInfo,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
    ) -> Handled<(MsgInfo, u64, u64, u64, u64, u64, u64)> {
        self.reply_and_receive(thread, source, info)?;
        Err(Stop::Written)
    }

    fn reply(
        &mut self,
        thread: u32,
        reply: Handle,
        info: MsgInfo,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
        _: u64,
    ) -> Handled<()> {
        self.reply_to(thread, reply, info)
    }

    fn reply_detach(&mut self, thread: u32) -> Handled<(Handle,)> {
        self.detach_reply(thread)
    }

    fn event_create(&mut self, thread: u32) -> Handled<(Handle,)> {
        let rights = Rights::DUPLICATE | Rights::TRANSFER | Rights::SIGNAL | Rights::WAIT;
        let make = |quota| Event {
            notifier: Notifier::NEW,
            refs: 1,
            quota,
        };
        let (handle, _) = self.create(thread, Kind::EVENT, rights, |k| &mut k.events, make)?;
        Ok((handle,))
    }

    fn event_signal(&mut self, thread: u32, event: Handle, bits: u32) -> Handled<()> {
        let index = self.object(thread, event, Kind::EVENT, Rights::SIGNAL)?;
        self.signal_event(index, Signals(u64::from(bits)));
        Ok(())
    }

    fn object_wait(
        &mut self,
        thread: u32,
        object: Handle,
        mask: Signals,
        deadline: u64,
    ) -> Handled<(Signals,)> {
        let object = self.waitable(thread, object)?;
        self.wait_for(thread, object, mask, deadline)
    }

    fn poll_create(&mut self, thread: u32) -> Handled<(Handle,)> {
        let rights = Rights::DUPLICATE | Rights::TRANSFER | Rights::RECEIVE | Rights::MANAGE;
        let make = |quota| PollSet {
            receivers: Queue::EMPTY,
            ready: (NIL, NIL),
            members: NIL,
            refs: 1,
            quota,
        };
        let (handle, _) = self.create(thread, Kind::POLL_SET, rights, |k| &mut k.sets, make)?;
        Ok((handle,))
    }

    fn poll_add(
        &mut self,
        thread: u32,
        set: Handle,
        object: Handle,
        key: u64,
        mask: Signals,
    ) -> Handled<()> {
        let set = self.object(thread, set, Kind::POLL_SET, Rights::MANAGE)?;
        let named = self.waitable(thread, object)?;
        if named.kind == Kind::CHANNEL && !self.has_rights(thread, object, Rights::RECEIVE) {
            return Err(Error::NoRight.into());
        }
        let by = (self.table_of(thread), cap_handle(object));
        self.add_member(set, named, by, key, mask)?;
        Ok(())
    }

    fn poll_remove(&mut self, thread: u32, set: Handle, object: Handle) -> Handled<()> {
        let set = self.object(thread, set, Kind::POLL_SET, Rights::MANAGE)?;
        let object = self.any_object(thread, object, Rights::NONE)?;
        let member = self.notifier(object).ok_or(Error::NotFound)?.member;
        if member == NIL || self.members[member].set != set {
            return Err(Error::NotFound.into());
        }
        self.remove_member(member);
        Ok(())
    }

    fn timer_create(&mut self, thread: u32) -> Handled<(Handle,)> {
        let rights = Rights::DUPLICATE | Rights::TRANSFER | Rights::WRITE | Rights::WAIT;
        self.deadlines.add_owner()?;
        let make = |quota| Timer {
            notifier: Notifier::NEW,
            period_ns: 0,
            deadline_at: NIL,
            refs: 1,
            quota,
        };
        match self.create(thread, Kind::TIMER, rights, |k| &mut k.timers, make) {
            Ok((handle, _)) => Ok((handle,)),
            Err(e) => {
                self.deadlines.remove_owner();
                Err(e.into())
            }
        }
    }

    fn timer_set(
        &mut self,
        thread: u32,
        timer: Handle,
        deadline: u64,
        period_ns: u64,
    ) -> Handled<()> {
        let index = self.object(thread, timer, Kind::TIMER, Rights::WRITE)?;
        if (1..1000).contains(&period_ns) {
            return Err(Error::InvalidArgument.into());
        }
        self.stop_timer(index);
        self.timers[index].period_ns = period_ns;
        let notifier = &mut self.timers[index].notifier;
        notifier.signals = notifier.signals.without(Signals::EXPIRED);
        if deadline != FOREVER {
            self.set_deadline(Owner::Timer(index), deadline);
        }
        Ok(())
    }

    fn clock_now(&mut self, _: u32) -> Handled<(u64,)> {
        Ok((self.platform.now_ns(),))
    }

    fn sleep_until(&mut self, thread: u32, deadline: u64) -> Handled<()> {
        if deadline <= self.platform.now_ns() {
            return Ok(());
        }
        self.block(thread, Wait::Sleep, deadline);
        Err(Stop::Written)
    }

    fn memory_create(
        &mut self,
        thread: u32,
        size_bytes: u64,
        flags: MemoryFlags,
    ) -> Handled<(Handle,)> {
        if flags.without(MemoryFlags::CONTIGUOUS) != MemoryFlags::NONE {
            return Err(Error::InvalidArgument.into());
        }
        let contiguous = flags.contains(MemoryFlags::CONTIGUOUS);
        Ok((self.new_memory(thread, size_bytes, contiguous)?.0,))
    }

    fn memory_clone(&mut self, thread: u32, memory: Handle) -> Handled<(Handle,)> {
        let index = self.object(thread, memory, Kind::MEMORY, Rights::READ)?;
        Ok((self.clone_memory(thread, index)?,))
    }

    fn memory_map(
        &mut self,
        thread: u32,
        process: Handle,
        memory: Handle,
        offset: u64,
        len_bytes: u64,
        protection: Protection,
        address: u64,
    ) -> Handled<(u64,)> {
        let process = self.process_or_self(thread, process, Rights::MANAGE)?;
        let index = self.object(thread, memory, Kind::MEMORY, Rights::MAP)?;
        let mut max = 0;
        for (right, access) in [
            (Rights::READ, Protection::READ),
            (Rights::WRITE, Protection::WRITE),
            (Rights::EXECUTE, Protection::EXECUTE),
        ] {
            if self.has_rights(thread, memory, right) {
                max |= access.0 as u8;
            }
        }
        if protection.0 as u8 & 7 & !max != 0 {
            return Err(Error::NoRight.into());
        }
        let known = Protection::READ
            | Protection::WRITE
            | Protection::EXECUTE
            | Protection::FIXED
            | Protection::GUARD
            | Protection::POPULATE;
        if protection.without(known) != Protection::NONE {
            return Err(Error::InvalidArgument.into());
        }
        Ok((self.map_memory(process, index, offset, len_bytes, protection, max, address)?,))
    }

    fn memory_unmap(
        &mut self,
        thread: u32,
        process: Handle,
        address: u64,
        len_bytes: u64,
    ) -> Handled<()> {
        let process = self.process_or_self(thread, process, Rights::MANAGE)?;
        let range = program_range(address, len_bytes)?;
        let part = self.part(process, range);
        if part == range || self.unmap(process, part).is_err() {
            self.unmap(process, range)?;
            return Ok(());
        }
        self.go_on_from(thread, range, part)
    }

    fn memory_protect(
        &mut self,
        thread: u32,
        process: Handle,
        address: u64,
        len_bytes: u64,
        protection: Protection,
    ) -> Handled<()> {
        let process = self.process_or_self(thread, process, Rights::MANAGE)?;
        let range = program_range(address, len_bytes)?;
        let part = self.part(process, range);
        if part == range || self.protect(process, part, protection).is_err() {
            self.protect(process, range, protection)?;
            return Ok(());
        }
        self.go_on_from(thread, range, part)
    }

    fn memory_info(&mut self, thread: u32, memory: Handle) -> Handled<(u64, u64)> {
        let index = self.object(thread, memory, Kind::MEMORY, Rights::NONE)?;
        let memory = &self.memories[index];
        let size = u64::from(memory.len_pages) * PAGE_SIZE as u64;
        let committed = match &memory.backing {
            crate::object::Backing::Paged(list) => u64::from(list.present()) * PAGE_SIZE as u64,
            _ => size,
        };
        Ok((size, committed))
    }

    fn memory_read(
        &mut self,
        thread: u32,
        memory: Handle,
        offset: u64,
        address: u64,
        len_bytes: u64,
    ) -> Handled<()> {
        let index = self.object(thread, memory, Kind::MEMORY, Rights::READ)?;
        self.copy_memory(thread, index, offset, address, len_bytes, false)?;
        Ok(())
    }

    fn memory_write(
        &mut self,
        thread: u32,
        memory: Handle,
        offset: u64,
        address: u64,
        len_bytes: u64,
    ) -> Handled<()> {
        let index = self.object(thread, memory, Kind::MEMORY, Rights::WRITE)?;
        self.copy_memory(thread, index, offset, address, len_bytes, true)?;
        Ok(())
    }

    fn memory_sync_code(&mut self, thread: u32, address: u64, len_bytes: u64) -> Handled<()> {
        let before = address % PAGE_SIZE as u64;
        let len_bytes = len_bytes.max(1).checked_add(before);
        let range = user_range(address - before, len_bytes.ok_or(Error::InvalidArgument)?)?;
        if range.len_bytes() > 16 << 20 {
            return Err(Error::InvalidArgument.into());
        }
        let process = self.threads[thread].process;
        let mut va = range.start();
        while va < range.end() {
            let pages = self.processes[process].pages.as_ref().ok_or(Error::Ended)?;
            let frame = pages
                .translate(&self.platform, va)
                .and_then(PhysAddr::frame);
            self.platform.sync_code(frame.ok_or(Error::BadAddress)?);
            va = VirtAddr(va.0 + PAGE_SIZE as u64);
        }
        Ok(())
    }

    fn process_create(
        &mut self,
        thread: u32,
        quota: Handle,
        name: u64,
        name_len: u32,
    ) -> Handled<(Handle,)> {
        let quota = self.object(thread, quota, Kind::QUOTA, Rights::WRITE)?;
        let mut buffer = [0; PROCESS_NAME_MAX];
        let bytes = buffer
            .get_mut(..name_len as usize)
            .ok_or(Error::InvalidArgument)?;
        self.read_user(thread, name, bytes)?;
        core::str::from_utf8(bytes).map_err(|_| Error::InvalidArgument)?;
        let parent = self.processes[self.threads[thread].process].id;
        let bytes = &buffer[..name_len as usize];
        let index = self.new_process(quota, parent, bytes)?;
        let object = ObjectRef::new(Kind::PROCESS, index);
        match self.install(thread, object, PROCESS_RIGHTS) {
            Ok(handle) => Ok((handle,)),
            Err(e) => {
                self.drop_ref(object);
                Err(e.into())
            }
        }
    }

    fn process_exit(&mut self, thread: u32, code: i64) -> Handled<()> {
        let process = self.threads[thread].process;
        self.end_process(process, EndReason::EXITED, code);
        Err(Stop::Written)
    }

    fn process_kill(&mut self, thread: u32, process: Handle, code: i64) -> Handled<()> {
        let process = self.object(thread, process, Kind::PROCESS, Rights::MANAGE)?;
        if self.processes[process].end.reason != EndReason::RUNNING {
            return Err(Error::Ended.into());
        }
        self.end_process(process, EndReason::KILLED, code);
        if matches!(self.threads[thread].state, State::Ended) {
            return Err(Stop::Written);
        }
        Ok(())
    }

    fn process_info(&mut self, thread: u32, process: Handle, info: u64) -> Handled<()> {
        let process = self.process_or_self(thread, process, Rights::READ)?;
        let bytes = self.process_info_bytes(process);
        self.write_user(thread, info, &bytes)?;
        Ok(())
    }

    fn process_list(
        &mut self,
        thread: u32,
        system: Handle,
        from: u64,
        infos: u64,
        max: u32,
    ) -> Handled<(u32, u64)> {
        self.object(thread, system, Kind::SYSTEM, Rights::READ)?;
        let (mut count, mut from) = (0, from);
        while count < max.min(LIST_MAX) {
            let next = self
                .processes
                .indices()
                .filter(|&p| self.processes[p].id >= from)
                .min_by_key(|&p| self.processes[p].id);
            let Some(process) = next else {
                return Ok((count, 0));
            };
            let bytes = self.process_info_bytes(process);
            self.write_user(
                thread,
                infos + u64::from(count) * bytes.len() as u64,
                &bytes,
            )?;
            from = self.processes[process].id + 1;
            count += 1;
        }
        Ok((count, from))
    }

    fn process_open(&mut self, thread: u32, system: Handle, id: u64) -> Handled<(Handle,)> {
        self.object(thread, system, Kind::SYSTEM, Rights::MANAGE)?;
        let found = self
            .processes
            .indices()
            .find(|&p| self.processes[p].id == id);
        let object = ObjectRef::new(Kind::PROCESS, found.ok_or(Error::NotFound)?);
        let handle = self.install(thread, object, PROCESS_RIGHTS)?;
        self.add_ref(object);
        Ok((handle,))
    }

    fn process_limit(
        &mut self,
        thread: u32,
        process: Handle,
        handles: u32,
        threads: u32,
    ) -> Handled<()> {
        let index = self.object(thread, process, Kind::PROCESS, Rights::MANAGE)?;
        let process = &mut self.processes[index];
        if process.end.reason != EndReason::RUNNING {
            return Err(Error::Ended.into());
        }
        self.caps.lower_limit(process.table, handles)?;
        process.threads_max = process.threads_max.min(threads);
        Ok(())
    }

    fn thread_create(
        &mut self,
        thread: u32,
        process: Handle,
        entry: u64,
        stack: u64,
        argument: u64,
        tls: u64,
        options: u64,
    ) -> Handled<(Handle, u64)> {
        let process = self.process_or_self(thread, process, Rights::MANAGE)?;
        let max = self.threads[thread].priority;
        let start = Start {
            entry,
            stack,
            argument,
            tls,
            options,
        };
        // A thread that nobody can name would end at once, and its process with it.
        self.make_room(self.threads[thread].process, 1)?;
        let made = self.new_thread(process, &start, max)?;
        let object = ObjectRef::new(Kind::THREAD, made);
        let rights =
            Rights::DUPLICATE | Rights::TRANSFER | Rights::READ | Rights::WAIT | Rights::MANAGE;
        match self.install(thread, object, rights) {
            Ok(handle) => {
                self.add_ref(object);
                Ok((handle, self.threads[made].id))
            }
            Err(e) => {
                self.end_thread(made);
                Err(e.into())
            }
        }
    }

    fn thread_exit(&mut self, thread: u32) -> Handled<()> {
        self.end_thread(thread);
        Err(Stop::Written)
    }

    fn thread_set(&mut self, thread: u32, target: Handle, options: u64) -> Handled<()> {
        let index = if target.is_none() {
            thread
        } else {
            self.object(thread, target, Kind::THREAD, Rights::MANAGE)?
        };
        let level = (options & 0xff) as u8;
        let priority = Priority::new(level).ok_or(Error::InvalidArgument)?;
        if options >> 16 != 0 {
            return Err(Error::InvalidArgument.into());
        }
        if level > self.threads[thread].priority {
            return Err(Error::NoRight.into());
        }
        if matches!(self.threads[index].state, State::Ended | State::Dying(_)) {
            return Err(Error::Ended.into());
        }
        let affinity = match (options >> 8 & 0xff) as u8 {
            0 => CoreMask::ALL,
            mask => CoreMask(mask),
        };
        let id = ThreadId(index);
        let moved = self
            .sched
            .set_affinity(id, affinity)
            .map_err(|_| Error::InvalidArgument)?;
        self.threads[index].priority = level;
        self.threads[index]
            .special
            .set(Special::PINNED, affinity != CoreMask::ALL);
        let changed = self
            .sched
            .set_base(id, priority)
            .map_err(|_| Error::Internal)?;
        for core in [moved, changed].into_iter().flatten() {
            self.nudge(core);
        }
        Ok(())
    }

    fn thread_yield(&mut self, _: u32) -> Handled<()> {
        self.sched.end_slice(self.core_id());
        self.has_news = true;
        Ok(())
    }

    fn futex_wait(
        &mut self,
        thread: u32,
        address: u64,
        expected: u32,
        deadline: u64,
    ) -> Handled<()> {
        let key = self.futex_key(thread, address)?;
        let mut word = [0; 4];
        self.read_user(thread, address, &mut word)?;
        if u32::from_le_bytes(word) != expected {
            return Err(Error::WouldBlock.into());
        }
        if deadline <= self.platform.now_ns() {
            return Err(Error::TimedOut.into());
        }
        self.memories[key.memory]
            .futexes
            .push::<Waiting>(&mut self.threads, thread);
        self.block(thread, Wait::Futex(key), deadline);
        Err(Stop::Written)
    }

    fn futex_wake(&mut self, thread: u32, address: u64, count: u32) -> Handled<(u32,)> {
        let key = self.futex_key(thread, address)?;
        let mut woken = 0;
        let mut next = self.memories[key.memory].futexes.first();
        while let Some(waiter) = next {
            next = Queue::after::<Waiting>(&mut self.threads, waiter);
            if woken == count {
                break;
            }
            if self.threads[waiter].state == State::Blocked(Wait::Futex(key)) {
                self.wake_with(waiter, Ok(()));
                woken += 1;
            }
        }
        Ok((woken,))
    }

    fn quota_create(&mut self, thread: u32, parent: Handle, limit: u64) -> Handled<(Handle,)> {
        let parent = self.object(thread, parent, Kind::QUOTA, Rights::WRITE)?;
        let depth = self.quotas[parent].depth + 1;
        if depth > QUOTA_DEPTH_MAX {
            return Err(Error::LimitReached.into());
        }
        self.reserve_dead()?;
        self.charge(parent, OBJECT_BYTES)?;
        let made = self.quotas.insert(Quota {
            parent,
            limit,
            used: 0,
            depth,
            refs: 1,
        });
        let index = match made {
            Ok(index) => index,
            Err(e) => {
                self.refund(parent, OBJECT_BYTES);
                return Err(e.into());
            }
        };
        self.quotas[parent].refs += 1;
        let object = ObjectRef::new(Kind::QUOTA, index);
        let rights = Rights::DUPLICATE | Rights::TRANSFER | Rights::READ | Rights::WRITE;
        match self.install(thread, object, rights) {
            Ok(handle) => Ok((handle,)),
            Err(e) => {
                self.drop_ref(object);
                Err(e.into())
            }
        }
    }

    fn quota_info(&mut self, thread: u32, quota: Handle) -> Handled<(u64, u64)> {
        let index = self.object(thread, quota, Kind::QUOTA, Rights::READ)?;
        Ok((self.quotas[index].limit, self.quotas[index].used))
    }

    fn device_narrow(
        &mut self,
        thread: u32,
        device: Handle,
        base: u64,
        len_bytes: u64,
        interrupts: u64,
        dma_bytes: u64,
    ) -> Handled<(Handle,)> {
        let parent = self.object(thread, device, Kind::DEVICE, Rights::MANAGE)?;
        let (line, lines) = (interrupts as u32, (interrupts >> 32) as u32);
        let whole = &self.devices[parent];
        let within = |start: u64, len: u64, of: u64, of_len: u64| {
            let end = start.checked_add(len);
            len == 0 || start >= of && end.is_some_and(|end| end <= of + of_len)
        };
        let fits = within(base, len_bytes, whole.base, whole.len)
            && within(
                u64::from(line),
                u64::from(lines),
                u64::from(whole.line),
                u64::from(whole.lines),
            );
        if !fits || dma_bytes > whole.dma_bytes {
            return Err(Error::InvalidArgument.into());
        }
        let make = |quota| Device {
            base,
            len: len_bytes,
            line,
            lines,
            dma_bytes,
            refs: 1,
            quota,
        };
        let rights = Rights::DUPLICATE
            | Rights::TRANSFER
            | Rights::MANAGE
            | Rights::MAP
            | Rights::IRQ
            | Rights::DMA;
        let (handle, _) = self.create(thread, Kind::DEVICE, rights, |k| &mut k.devices, make)?;
        Ok((handle,))
    }

    fn device_info(&mut self, thread: u32, device: Handle) -> Handled<(u64, u64, u64, u64)> {
        let index = self.object(thread, device, Kind::DEVICE, Rights::NONE)?;
        let d = &self.devices[index];
        Ok((
            d.base,
            d.len,
            u64::from(d.line) | u64::from(d.lines) << 32,
            d.dma_bytes,
        ))
    }

    fn device_map(&mut self, thread: u32, device: Handle) -> Handled<(u64,)> {
        let index = self.object(thread, device, Kind::DEVICE, Rights::MAP)?;
        let (base, len) = (self.devices[index].base, self.devices[index].len);
        let page = PAGE_SIZE as u64;
        if len == 0 || !base.is_multiple_of(page) || !len.is_multiple_of(page) || len > 16 << 20 {
            return Err(Error::NotSupported.into());
        }
        let process = self.threads[thread].process;
        let within = PageRange::between(VirtAddr(1 << 32), VirtAddr(viper_abi::IPC_BUFFERS))?;
        let request = viper_vm::GapRequest {
            len_bytes: len,
            align_bytes: page,
            hint: None,
            within,
            guard_bytes: page,
        };
        let range = self.processes[process]
            .regions
            .find_gap(&request)
            .map_err(|_| Error::OutOfMemory)?;
        let value = Region {
            memory: NIL,
            offset: 0,
            protection: 3,
            protection_max: 0,
        };
        self.processes[process].regions.insert(range, value)?;
        for at in (0..len).step_by(PAGE_SIZE) {
            let target = Target {
                pa: PhysAddr(base + at),
                perms: Perms::ReadWrite,
                mem_type: MemType::DeviceNgnre,
            };
            if let Err(e) = self.map_frame(process, VirtAddr(range.start().0 + at), target) {
                self.unmap(process, range)?;
                return Err(e.into());
            }
        }
        Ok((range.start().0,))
    }

    fn device_read(&mut self, thread: u32, device: Handle, offset: u64) -> Handled<(u32,)> {
        let at = self.register(thread, device, offset)?;
        Ok((self.platform.device_read(at),))
    }

    fn device_write(
        &mut self,
        thread: u32,
        device: Handle,
        offset: u64,
        value: u32,
    ) -> Handled<()> {
        let at = self.register(thread, device, offset)?;
        self.platform.device_write(at, value);
        Ok(())
    }

    fn interrupt_create(&mut self, thread: u32, device: Handle, index: u32) -> Handled<(Handle,)> {
        let device = self.object(thread, device, Kind::DEVICE, Rights::IRQ)?;
        let (first, lines) = (self.devices[device].line, self.devices[device].lines);
        if index >= lines || (first + index) as usize >= LINES {
            return Err(Error::InvalidArgument.into());
        }
        let line = first + index;
        if self.line_owner[line as usize] != NIL {
            return Err(Error::Busy.into());
        }
        let rights = Rights::DUPLICATE | Rights::TRANSFER | Rights::WAIT;
        let make = |quota| Interrupt {
            notifier: Notifier::NEW,
            line,
            refs: 1,
            quota,
        };
        let (handle, made) =
            self.create(thread, Kind::INTERRUPT, rights, |k| &mut k.interrupts, make)?;
        self.line_owner[line as usize] = made;
        self.platform.set_interrupt(line, true);
        Ok((handle,))
    }

    fn interrupt_ack(&mut self, thread: u32, interrupt: Handle) -> Handled<()> {
        let index = self.object(thread, interrupt, Kind::INTERRUPT, Rights::WAIT)?;
        let line = self.interrupts[index].line;
        self.platform.set_interrupt(line, true);
        Ok(())
    }

    fn dma_create(&mut self, thread: u32, device: Handle, size: u64) -> Handled<(Handle, u64)> {
        let index = self.object(thread, device, Kind::DEVICE, Rights::DMA)?;
        let bytes = size
            .checked_next_multiple_of(PAGE_SIZE as u64)
            .ok_or(Error::InvalidArgument)?;
        if bytes > self.devices[index].dma_bytes {
            return Err(if bytes > 16 << 20 {
                Error::InvalidArgument
            } else {
                Error::LimitReached
            }
            .into());
        }
        let (handle, memory) = self.new_memory(thread, size, true)?;
        self.devices[index].dma_bytes -= bytes;
        let crate::object::Backing::Contiguous(first) = self.memories[memory].backing else {
            return Err(Error::Internal.into());
        };
        Ok((handle, first.addr().0))
    }

    fn dma_address(&mut self, thread: u32, device: Handle, memory: Handle) -> Handled<(u64, u64)> {
        self.object(thread, device, Kind::DEVICE, Rights::DMA)?;
        let index = self.object(thread, memory, Kind::MEMORY, Rights::MAP)?;
        let memory = &self.memories[index];
        match memory.backing {
            crate::object::Backing::Contiguous(first) => Ok((
                first.addr().0,
                u64::from(memory.len_pages) * PAGE_SIZE as u64,
            )),
            _ => Err(Error::NotSupported.into()),
        }
    }

    fn debug_write(&mut self, thread: u32, system: Handle, text: u64, len: u32) -> Handled<()> {
        self.object(thread, system, Kind::SYSTEM, Rights::WRITE)?;
        let mut buffer = [0; DEBUG_MAX];
        let text_bytes = buffer
            .get_mut(..len as usize)
            .ok_or(Error::InvalidArgument)?;
        self.read_user(thread, text, text_bytes)?;
        self.platform.debug_write(text_bytes);
        Ok(())
    }

    fn debug_read(
        &mut self,
        thread: u32,
        system: Handle,
        text: u64,
        len: u32,
        deadline: u64,
    ) -> Handled<(u32,)> {
        self.object(thread, system, Kind::SYSTEM, Rights::MANAGE)?;
        let mut buffer = [0; DEBUG_MAX];
        let bytes = buffer
            .get_mut(..len as usize)
            .filter(|bytes| !bytes.is_empty())
            .ok_or(Error::InvalidArgument)?;
        self.prepare_user(thread, text, u64::from(len), Access::Write)?;
        let count = self.platform.debug_read(bytes);
        if count > 0 {
            self.write_user(thread, text, &buffer[..count])?;
            return Ok((count as u32,));
        }
        if deadline <= self.platform.now_ns() {
            return Err(Error::TimedOut.into());
        }
        if let Some(line) = self.platform.debug_interrupt() {
            self.platform.set_interrupt(line, true);
        }
        self.debug_readers
            .push::<Waiting>(&mut self.threads, thread);
        self.block(thread, Wait::DebugRead(text, len), deadline);
        Err(Stop::Written)
    }

    fn system_power(&mut self, thread: u32, system: Handle, action: PowerAction) -> Handled<()> {
        self.object(thread, system, Kind::SYSTEM, Rights::MANAGE)?;
        if !matches!(action, PowerAction::OFF | PowerAction::RESET) {
            return Err(Error::InvalidArgument.into());
        }
        self.platform.power(action);
        Ok(())
    }

    fn system_info(&mut self, thread: u32, system: Handle, info: u64) -> Handled<()> {
        self.object(thread, system, Kind::SYSTEM, Rights::READ)?;
        let c = self.counters;
        // The short way counts in the threads only: what they have and `c.ipcs` lacks went there.
        let ipcs = c.ended_ipcs
            + self
                .threads
                .indices()
                .map(|t| self.threads[t].ipcs)
                .sum::<u64>()
            + self
                .processes
                .indices()
                .map(|p| self.processes[p].ipcs)
                .sum::<u64>();
        let facts = SystemInfo {
            ram_bytes: c.ram_bytes,
            free_bytes: self.platform_free_bytes(),
            kernel_bytes: c.kernel_bytes,
            uptime_ns: self.platform.now_ns(),
            counter_hz: c.counter_hz,
            cores: self.sched.core_count() as u32,
            processes: self.processes.len(),
            threads: self.threads.len(),
            handles: self.caps.len() as u32,
            channels: self.channels.len(),
            memories: self.memories.len(),
            idle_ns: c.idle_ns,
            ipcs,
            ipcs_direct: c.ipcs_direct + (ipcs - c.ipcs),
            switches: c.switches,
            page_faults: c.page_faults,
            first_ns: c.first_ns,
        };
        self.write_user(thread, info, &encode::system(&facts))?;
        Ok(())
    }

    fn null(&mut self, _: u32) -> Handled<()> {
        Ok(())
    }
}

/// Rights of the maker of a process.
pub const PROCESS_RIGHTS: Rights = Rights(
    Rights::DUPLICATE.0 | Rights::TRANSFER.0 | Rights::READ.0 | Rights::WAIT.0 | Rights::MANAGE.0,
);

/// A range that a program may unmap and protect: below the IPC buffers.
fn program_range(address: u64, len_bytes: u64) -> Result<PageRange, Error> {
    let range = user_range(address, len_bytes)?;
    if range.end().0 > viper_abi::IPC_BUFFERS {
        Err(Error::InvalidArgument)
    } else {
        Ok(range)
    }
}
