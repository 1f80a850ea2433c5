//! Handles and what they name: looking up, installing, counting.

use viper_abi::{Error, Kind, Rights};
use viper_cap::TableId;

use crate::kernel::{Kernel, cap_error, cap_handle, cap_rights};
use crate::object::ObjectRef;
use crate::platform::Platform;

/// What a place for a capability costs: a slot in its table and a node in the forest.
pub const HANDLE_BYTES: u64 = 64;
/// Places in a handle table that are part of what a process costs.
const PLACES_FREE: usize = 16;

/// What a handle table of so many places costs.
const fn table_bytes(places: usize) -> u64 {
    places.saturating_sub(PLACES_FREE) as u64 * HANDLE_BYTES
}

impl<P: Platform> Kernel<P> {
    /// The handle table of a thread's process.
    #[inline]
    pub fn table_of(&self, thread: u32) -> TableId {
        self.threads[thread].context.table
    }

    /// The object behind a handle, if it is of this kind and the handle has these rights.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::WrongKind`], [`Error::NoRight`].
    #[inline]
    pub fn object(
        &self,
        thread: u32,
        handle: viper_abi::Handle,
        kind: Kind,
        rights: Rights,
    ) -> Result<u32, Error> {
        let entry = self
            .caps
            .query(self.table_of(thread), cap_handle(handle))
            .map_err(cap_error)?;
        if entry.object.kind != kind {
            return Err(Error::WrongKind);
        }
        if !entry.rights.contains(cap_rights(rights)) {
            return Err(Error::NoRight);
        }
        Ok(entry.object.index)
    }

    /// A process named by a handle, or the caller's own.
    ///
    /// # Errors
    /// As [`object`](Self::object).
    pub fn process_or_self(
        &self,
        thread: u32,
        handle: viper_abi::Handle,
        rights: Rights,
    ) -> Result<u32, Error> {
        if handle.is_none() {
            return Ok(self.threads[thread].process);
        }
        self.object(thread, handle, Kind::PROCESS, rights)
    }

    /// Makes sure that a process's handle table has room, which is charged to the process: the
    /// table never shrinks, and neither does what it costs.
    ///
    /// # Errors
    /// [`Error::LimitReached`], [`Error::OutOfMemory`].
    #[inline]
    pub fn make_room(&mut self, process: u32, count: usize) -> Result<(), Error> {
        let owner = &self.processes[process];
        let table = self.caps.table(owner.table).map_err(cap_error)?;
        if table.has_room(count) && table_bytes(table.capacity()) <= owner.table_bytes {
            return Ok(());
        }
        self.make_more_room(process, count)
    }

    #[cold]
    fn make_more_room(&mut self, process: u32, count: usize) -> Result<(), Error> {
        let owner = &self.processes[process];
        self.caps.reserve(owner.table, count).map_err(cap_error)?;
        let table = self.caps.table(owner.table).map_err(cap_error)?;
        let bytes = table_bytes(table.capacity());
        let more = bytes.saturating_sub(owner.table_bytes);
        self.charge(owner.quota, more)?;
        let owner = &mut self.processes[process];
        owner.table_bytes = bytes;
        owner.overhead_bytes += more;
        Ok(())
    }

    /// Gives a thread's process the first capability to a new object.
    ///
    /// # Errors
    /// [`Error::LimitReached`], [`Error::OutOfMemory`].
    pub fn install(
        &mut self,
        thread: u32,
        object: ObjectRef,
        rights: Rights,
    ) -> Result<viper_abi::Handle, Error> {
        self.install_under(thread, None, object, rights)
    }

    /// The same for an object that exists by the authority of one of the process's handles:
    /// revoking that one takes it away.
    ///
    /// # Errors
    /// [`Error::BadHandle`], [`Error::LimitReached`], [`Error::OutOfMemory`].
    pub fn install_under(
        &mut self,
        thread: u32,
        by: Option<viper_abi::Handle>,
        object: ObjectRef,
        rights: Rights,
    ) -> Result<viper_abi::Handle, Error> {
        self.reserve_dead()?;
        self.make_room(self.threads[thread].process, 1)?;
        let (table, rights) = (self.table_of(thread), cap_rights(rights));
        let handle = match by {
            None => self.caps.insert_root(table, object, rights),
            Some(by) => self
                .caps
                .insert_under(table, cap_handle(by), table, object, rights),
        };
        Ok(viper_abi::Handle(handle.map_err(cap_error)?.raw()))
    }

    /// Adds a capability or kernel reference to an object.
    pub fn add_ref(&mut self, object: ObjectRef) {
        if let Some(refs) = self.refs_mut(object) {
            *refs += 1;
        }
    }

    fn refs_mut(&mut self, object: ObjectRef) -> Option<&mut u32> {
        let i = object.index;
        Some(match object.kind {
            Kind::PROCESS => &mut self.processes[i].refs,
            Kind::THREAD => &mut self.threads[i].refs,
            Kind::MEMORY => &mut self.memories[i].refs,
            Kind::CHANNEL => &mut self.channels[i / 2].ends[(i % 2) as usize].refs,
            Kind::EVENT => &mut self.events[i].refs,
            Kind::POLL_SET => &mut self.sets[i].refs,
            Kind::TIMER => &mut self.timers[i].refs,
            Kind::DEVICE => &mut self.devices[i].refs,
            Kind::INTERRUPT => &mut self.interrupts[i].refs,
            Kind::QUOTA => &mut self.quotas[i].refs,
            _ => return None,
        })
    }

    /// Takes a capability or kernel reference away; the object ends in [`Self::bury`].
    pub fn drop_ref(&mut self, object: ObjectRef) {
        if object.kind == Kind::REPLY {
            // The right to reply is gone unused: the caller learns of it.
            self.abandon_call(object.index, object.extra);
            return;
        }
        let Some(refs) = self.refs_mut(object) else {
            return;
        };
        *refs -= 1;
        if *refs == 0 {
            // Room was reserved when the object was made.
            self.dead.push(object);
            self.has_news = true;
        }
    }

    /// Makes sure that all objects that live, and one more, have a place among the dead.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn reserve_dead(&mut self) -> Result<(), Error> {
        // A process can be on its way out and without a name at the same time.
        let live = 2 * self.processes.len()
            + self.threads.len()
            + self.memories.len()
            + 2 * self.channels.len()
            + self.events.len()
            + self.sets.len()
            + self.timers.len()
            + self.devices.len()
            + self.interrupts.len()
            + self.quotas.len();
        let wanted = live as usize + 8;
        let have = self.dead.capacity();
        if have < wanted {
            let more = wanted - self.dead.len() + wanted / 2;
            self.dead
                .try_reserve(more)
                .map_err(|_| Error::OutOfMemory)?;
        }
        Ok(())
    }
}
