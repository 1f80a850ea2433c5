//! Handles that close themselves, and what all kernel objects have in common.

use crate::sys;
use viper_abi::{Error, Handle, HandleInfo, Kind, Rights, Signals};

/// A handle this process owns: closed on drop.
///
/// It does **not** prove that the handle is valid or what it names: the kernel checks that at each
/// use.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct OwnedHandle(Handle);

impl OwnedHandle {
    /// Takes over a handle.
    #[must_use]
    pub const fn new(handle: Handle) -> OwnedHandle {
        OwnedHandle(handle)
    }

    /// The number, for a call.
    #[must_use]
    #[inline]
    pub const fn raw(&self) -> Handle {
        self.0
    }

    /// Gives the number up without closing it.
    #[must_use]
    #[inline]
    pub const fn into_raw(self) -> Handle {
        let handle = self.0;
        core::mem::forget(self);
        handle
    }

    /// What it is and allows.
    ///
    /// # Errors
    /// [`Error::BadHandle`].
    pub fn info(&self) -> Result<HandleInfo, Error> {
        query(self.0)
    }

    /// As the wrapper for its kind of object.
    #[must_use]
    pub fn into_object<T: Object>(self) -> T {
        T::from_owned(self)
    }
}

impl Drop for OwnedHandle {
    fn drop(&mut self) {
        if !self.0.is_none() {
            // A handle that was moved or revoked meanwhile is stale, and that is no matter here.
            let _ = sys::handle_close(self.0);
        }
    }
}

/// What a handle is and allows.
///
/// # Errors
/// [`Error::BadHandle`].
pub fn query(handle: Handle) -> Result<HandleInfo, Error> {
    let mut info = HandleInfo {
        handle: Handle::NONE,
        kind: Kind(0),
        rights: Rights::NONE,
        reserved: 0,
        object: 0,
    };
    // SAFETY: `info` is valid for the write of one `HandleInfo`.
    unsafe { sys::handle_query(handle, &raw mut info as u64)? };
    Ok(info)
}

/// A typed wrapper around a handle.
pub trait Object: Sized {
    /// The kind of object it is for.
    const KIND: Kind;

    /// Wraps a handle. Calls through it fail with [`Error::WrongKind`] if it names another kind.
    fn from_owned(handle: OwnedHandle) -> Self;

    /// The handle inside.
    fn owned(&self) -> &OwnedHandle;

    /// The handle inside, by value.
    fn into_owned(self) -> OwnedHandle;

    /// The number, for a call.
    #[inline]
    fn raw(&self) -> Handle {
        self.owned().raw()
    }

    /// Wraps a raw handle and takes it over.
    fn from_raw(handle: Handle) -> Self {
        Self::from_owned(OwnedHandle::new(handle))
    }

    /// A second handle to the same object with these rights or fewer.
    ///
    /// # Errors
    /// [`Error::NoRight`], [`Error::BadHandle`], [`Error::LimitReached`], [`Error::OutOfMemory`].
    fn duplicate(&self, rights: Rights) -> Result<Self, Error> {
        sys::handle_duplicate(self.raw(), rights).map(|(h,)| Self::from_raw(h))
    }

    /// A second handle with the same rights.
    ///
    /// # Errors
    /// As [`Object::duplicate`].
    fn try_clone(&self) -> Result<Self, Error> {
        self.duplicate(self.owned().info()?.rights)
    }

    /// Deletes every handle derived from this one, in every process. Returns how many.
    ///
    /// # Errors
    /// [`Error::NoRight`] or [`Error::BadHandle`].
    fn revoke(&self) -> Result<u64, Error> {
        sys::handle_revoke(self.raw()).map(|(n,)| n)
    }

    /// Waits until one of the signals is set. `deadline` is in nanoseconds of uptime.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::WouldBlock`], [`Error::Busy`] and those of bad handles.
    fn wait(&self, mask: Signals, deadline: u64) -> Result<Signals, Error> {
        sys::object_wait(self.raw(), mask, deadline).map(|(s,)| s)
    }
}

macro_rules! objects {
    ($( $(#[doc = $doc:literal])+ $name:ident = $kind:ident; )+) => { $(
        $(#[doc = $doc])+
        #[derive(Debug, PartialEq, Eq, Hash)]
        pub struct $name(OwnedHandle);

        impl Object for $name {
            const KIND: Kind = Kind::$kind;
            fn from_owned(handle: OwnedHandle) -> Self { Self(handle) }
            #[inline]
            fn owned(&self) -> &OwnedHandle { &self.0 }
            fn into_owned(self) -> OwnedHandle { self.0 }
        }

        impl From<OwnedHandle> for $name {
            fn from(handle: OwnedHandle) -> Self { Self(handle) }
        }

        impl From<$name> for OwnedHandle {
            fn from(object: $name) -> OwnedHandle { object.0 }
        }
    )+ };
}

objects! {
    /// A process.
    Process = PROCESS;
    /// A thread.
    Thread = THREAD;
    /// Memory that can be mapped, here and elsewhere.
    Memory = MEMORY;
    /// One end of a channel.
    Channel = CHANNEL;
    /// 32 signal bits.
    Event = EVENT;
    /// A set of objects that are waited for together.
    PollSet = POLL_SET;
    /// A timer.
    Timer = TIMER;
    /// Registers, interrupts and a DMA allowance.
    Device = DEVICE;
    /// One interrupt line.
    Interrupt = INTERRUPT;
    /// An account for memory and objects.
    Quota = QUOTA;
    /// The right to answer one call.
    Reply = REPLY;
    /// The machine.
    System = SYSTEM;
}
