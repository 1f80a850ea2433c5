//! Handles: close, duplicate, revoke, query, give, list.

use viper_abi::{EndReason, Error, Handle, HandleInfo, Kind, Rights};

use super::{LIST_MAX, encode};
use crate::kernel::{Handled, Kernel, cap_handle, cap_rights};
use crate::object::ObjectRef;
use crate::platform::Platform;

impl<P: Platform> Kernel<P> {
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

    pub fn handle_close(&mut self, thread: u32, handle: Handle) -> Handled<()> {
        let table = self.table_of(thread);
        let object = self.caps.close(table, cap_handle(handle))?;
        self.drop_ref(object);
        Ok(())
    }

    pub fn handle_duplicate(
        &mut self,
        t: u32,
        handle: Handle,
        rights: Rights,
    ) -> Handled<(Handle,)> {
        let object = self.any_object(t, handle, Rights::DUPLICATE)?;
        self.make_room(self.threads[t].process, 1)?;
        let table = self.table_of(t);
        let copy = self
            .caps
            .derive(table, cap_handle(handle), cap_rights(rights))?;
        self.add_ref(object);
        Ok((Handle(copy.raw()),))
    }

    pub fn handle_revoke(&mut self, thread: u32, handle: Handle) -> Handled<(u64,)> {
        self.any_object(thread, handle, Rights::DUPLICATE)?;
        Ok((self.revoke(thread, cap_handle(handle))?,))
    }

    pub fn handle_query(&mut self, thread: u32, handle: Handle, info: u64) -> Handled<()> {
        let table = self.table_of(thread);
        let entry = self.caps.query(table, cap_handle(handle))?;
        let bytes = encode::handle(&self.handle_info(cap_handle(handle), entry));
        self.write_user(thread, info, &bytes)?;
        Ok(())
    }

    pub fn handle_give(
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

    pub fn handle_list(
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
}
