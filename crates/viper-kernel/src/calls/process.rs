//! Processes, threads and quotas.

use viper_abi::{EndReason, Error, Handle, Kind, PROCESS_NAME_MAX, ProcessInfo, Rights};
use viper_sched::{CoreMask, Priority, ThreadId};

use super::{LIST_MAX, PROCESS_RIGHTS, encode};
use crate::kernel::{Handled, Kernel, Stop};
use crate::object::{ObjectRef, Quota};
use crate::platform::Platform;
use crate::process::Start;
use crate::quota::OBJECT_BYTES;
use crate::thread::{Special, State};

/// Quotas nest no deeper.
const QUOTA_DEPTH_MAX: u32 = 8;

impl<P: Platform> Kernel<P> {
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

    pub fn process_create(
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

    pub fn process_exit(&mut self, thread: u32, code: i64) -> Handled<()> {
        let process = self.threads[thread].process;
        self.end_process(process, EndReason::EXITED, code);
        Err(Stop::Written)
    }

    pub fn process_kill(&mut self, thread: u32, process: Handle, code: i64) -> Handled<()> {
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

    pub fn process_info(&mut self, thread: u32, process: Handle, info: u64) -> Handled<()> {
        let process = self.process_or_self(thread, process, Rights::READ)?;
        let bytes = self.process_info_bytes(process);
        self.write_user(thread, info, &bytes)?;
        Ok(())
    }

    pub fn process_list(
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

    pub fn process_open(&mut self, thread: u32, system: Handle, id: u64) -> Handled<(Handle,)> {
        self.object(thread, system, Kind::SYSTEM, Rights::MANAGE)?;
        let found = self
            .processes
            .indices()
            .find(|&p| self.processes[p].id == id && self.processes[p].refs > 0);
        let object = ObjectRef::new(Kind::PROCESS, found.ok_or(Error::NotFound)?);
        let handle = self.install(thread, object, PROCESS_RIGHTS)?;
        self.add_ref(object);
        Ok((handle,))
    }

    pub fn process_limit(
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

    pub fn thread_create(
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

    pub fn thread_exit(&mut self, thread: u32) -> Handled<()> {
        self.end_thread(thread);
        Err(Stop::Written)
    }

    pub fn thread_set(&mut self, thread: u32, target: Handle, options: u64) -> Handled<()> {
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

    pub fn thread_yield(&mut self, _: u32) -> Handled<()> {
        self.sched.end_slice(self.core_id());
        self.has_news = true;
        Ok(())
    }

    pub fn quota_create(&mut self, thread: u32, by: Handle, limit: u64) -> Handled<(Handle,)> {
        let parent = self.object(thread, by, Kind::QUOTA, Rights::WRITE)?;
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
        match self.install_under(thread, Some(by), object, rights) {
            Ok(handle) => Ok((handle,)),
            Err(e) => {
                self.drop_ref(object);
                Err(e.into())
            }
        }
    }

    pub fn quota_info(&mut self, thread: u32, quota: Handle) -> Handled<(u64, u64)> {
        let index = self.object(thread, quota, Kind::QUOTA, Rights::READ)?;
        Ok((self.quotas[index].limit, self.quotas[index].used))
    }
}
