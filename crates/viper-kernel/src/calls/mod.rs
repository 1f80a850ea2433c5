//! The handlers of the system calls, by what they are about: they check handles and arguments, and
//! call the parts of the kernel that do the work.
//!
//! Each call of the table has a method of its name here; `dispatch` calls it with the arguments.
//! Its errors are those that the table names.
#![expect(
    clippy::missing_errors_doc,
    reason = "the table in viper-abi says them"
)]
#![expect(
    clippy::too_many_arguments,
    reason = "a system call has as many as it needs"
)]
#![expect(
    missing_docs,
    reason = "the table in viper-abi says what each call does"
)]

mod device;
mod encode;
mod handle;
mod memory;
mod message;
mod process;
mod system;
mod time;

use viper_abi::{Error, Handle, Rights};

use crate::kernel::{Kernel, cap_error, cap_handle, cap_rights};
use crate::object::ObjectRef;
use crate::platform::Platform;

/// Most entries that one list call writes.
const LIST_MAX: u32 = 256;

/// Rights of the maker of a process.
pub const PROCESS_RIGHTS: Rights = Rights(
    Rights::DUPLICATE.0 | Rights::TRANSFER.0 | Rights::READ.0 | Rights::WAIT.0 | Rights::MANAGE.0,
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

    /// What a handle allows.
    fn rights_of(&self, thread: u32, handle: Handle) -> Result<Rights, Error> {
        let entry = self.caps.query(self.table_of(thread), cap_handle(handle));
        Ok(Rights(entry.map_err(cap_error)?.rights.bits()))
    }

    fn has_rights(&self, thread: u32, handle: Handle, rights: Rights) -> bool {
        self.any_object(thread, handle, rights).is_ok()
    }
}
