//! Accounts: what objects cost, and who pays.

use viper_abi::{Error, Kind, Rights};

use crate::arena::{Arena, NIL};
use crate::kernel::Kernel;
use crate::object::ObjectRef;
use crate::platform::Platform;

/// What an object costs its quota, apart from memory pages: more than its records take.
pub const OBJECT_BYTES: u64 = 256;
/// What a thread costs: its record and its IPC buffer.
pub const THREAD_BYTES: u64 = 4096 + 2048;
/// What a process costs: its record, the root of its tables, its handle table.
pub const PROCESS_BYTES: u64 = 4096 * 3;
/// What a queued message costs.
pub const MESSAGE_BYTES: u64 = 384;

impl<P: Platform> Kernel<P> {
    /// Charges bytes to a quota and those above it: to all or, on an error, to none.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    #[inline]
    pub fn charge(&mut self, quota: u32, bytes: u64) -> Result<(), Error> {
        let mut at = quota;
        while at != NIL {
            let q = &self.quotas[at];
            if q.limit - q.used < bytes {
                return Err(Error::OutOfMemory);
            }
            at = q.parent;
        }
        let mut at = quota;
        while at != NIL {
            let q = &mut self.quotas[at];
            q.used += bytes;
            at = q.parent;
        }
        Ok(())
    }

    /// Gives bytes back.
    #[inline]
    pub fn refund(&mut self, quota: u32, bytes: u64) {
        let mut at = quota;
        while at != NIL {
            let q = &mut self.quotas[at];
            q.used -= bytes;
            at = q.parent;
        }
    }

    /// Charges an object to the quota of a thread's process, which it then keeps alive.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn charge_object(&mut self, thread: u32, bytes: u64) -> Result<u32, Error> {
        self.reserve_dead()?;
        let quota = self.processes[self.threads[thread].process].quota;
        self.charge(quota, bytes)?;
        self.quotas[quota].refs += 1;
        Ok(quota)
    }

    /// Undoes [`charge_object`](Self::charge_object).
    pub fn refund_object(&mut self, quota: u32, bytes: u64) {
        self.refund(quota, bytes);
        self.drop_ref(ObjectRef::new(Kind::QUOTA, quota));
    }

    /// Makes an object: charges it, puts it into its arena, gives the caller a handle.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], [`Error::LimitReached`]; nothing is left behind then.
    pub fn create<T>(
        &mut self,
        thread: u32,
        by: Option<viper_abi::Handle>,
        kind: Kind,
        rights: Rights,
        arena: impl Fn(&mut Self) -> &mut Arena<T>,
        make: impl FnOnce(u32) -> T,
    ) -> Result<(viper_abi::Handle, u32), Error> {
        let quota = self.charge_object(thread, OBJECT_BYTES)?;
        let index = match arena(self).insert(make(quota)) {
            Ok(index) => index,
            Err(e) => {
                self.refund_object(quota, OBJECT_BYTES);
                return Err(e);
            }
        };
        match self.install_under(thread, by, ObjectRef::new(kind, index), rights) {
            Ok(handle) => Ok((handle, index)),
            Err(e) => {
                arena(self).remove(index);
                self.refund_object(quota, OBJECT_BYTES);
                Err(e)
            }
        }
    }
}
