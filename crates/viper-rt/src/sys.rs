//! System-call stubs, one function a call, made from the table in `viper-abi`.
//!
//! These are the raw calls: numbers in, numbers out. The typed wrappers of this crate are what
//! programs use. On the host the same stubs lead to the fake kernel of [`crate::host`].
//!
//! The message calls are written by hand and always inlined: their words stay in registers.

use viper_abi::{
    Error, Handle, MemoryFlags, MsgInfo, PowerAction, Protection, Rights, Signals, Word,
    for_each_syscall,
};

#[cfg(target_os = "none")]
#[path = "sys/svc.rs"]
mod backend;
#[cfg(not(target_os = "none"))]
#[path = "sys/hosted.rs"]
mod backend;

pub(crate) use backend::ipc_buffer;

/// What a message call brings back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ipc {
    /// `x0`: zero or an error code.
    pub status: u64,
    /// Length, handles, kind and label of what came.
    pub info: MsgInfo,
    /// The first 48 bytes of what came.
    pub words: [u64; 6],
    /// Key of the member of the poll set.
    pub key: u64,
}

impl Ipc {
    /// The status as a result.
    ///
    /// # Errors
    /// The error in `status`.
    #[inline(always)]
    pub const fn check(&self) -> Result<(), Error> {
        if self.status == 0 {
            Ok(())
        } else {
            Error::check(self.status)
        }
    }
}

macro_rules! message_calls {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:ident;)+) => { $(
        $(#[doc = $doc])+
        #[inline(always)]
        #[must_use]
        pub fn $name(handle: Handle, info: MsgInfo, words: [u64; 6], deadline: u64) -> Ipc {
            backend::message::<{ viper_abi::number::$number }>(handle, info, words, deadline)
        }
    )+ };
}

message_calls! {
    /// Send a message and wait for the reply.
    call = call;
    /// Queue a message.
    send = send;
    /// Reply to the call received last, and receive.
    reply_receive = reply_receive;
    /// Reply to a call.
    reply = reply;
}

/// Take the next message or signals.
#[inline(always)]
#[must_use]
pub fn receive(source: Handle, deadline: u64) -> Ipc {
    backend::receive(source, deadline)
}

macro_rules! count {
    () => { 0 };
    ($head:ident $($tail:ident)*) => { 1 + count!($($tail)*) };
}

macro_rules! body {
    ($number:literal ($($arg:ident)*) ($($ret_ty:ident)*)) => {{
        const N: usize = count!($($arg)*);
        let arguments: [u64; N] = [$(Word::to_word($arg)),*];
        let out = backend::svc::<$number, N>(arguments);
        Error::check(out[0])?;
        #[allow(unused_variables, unused_mut, reason = "some calls have no results")]
        let mut results = out.into_iter().skip(1);
        Ok(($( <$ret_ty as Word>::from_word(results.next().unwrap_or(0)), )*))
    }};
}

/// Calls with a hand-written stub fall out; calls that touch memory by address are unsafe.
macro_rules! stub {
    ($doc:tt $number:literal call $($rest:tt)*) => {};
    ($doc:tt $number:literal send $($rest:tt)*) => {};
    ($doc:tt $number:literal receive $($rest:tt)*) => {};
    ($doc:tt $number:literal reply_receive $($rest:tt)*) => {};
    ($doc:tt $number:literal reply $($rest:tt)*) => {};
    ($doc:tt $number:literal handle_query $($rest:tt)*) => { stub!(@unsafe $doc $number handle_query $($rest)*); };
    ($doc:tt $number:literal handle_list $($rest:tt)*) => { stub!(@unsafe $doc $number handle_list $($rest)*); };
    ($doc:tt $number:literal memory_map $($rest:tt)*) => { stub!(@unsafe $doc $number memory_map $($rest)*); };
    ($doc:tt $number:literal memory_unmap $($rest:tt)*) => { stub!(@unsafe $doc $number memory_unmap $($rest)*); };
    ($doc:tt $number:literal memory_protect $($rest:tt)*) => { stub!(@unsafe $doc $number memory_protect $($rest)*); };
    ($doc:tt $number:literal memory_read $($rest:tt)*) => { stub!(@unsafe $doc $number memory_read $($rest)*); };
    ($doc:tt $number:literal memory_write $($rest:tt)*) => { stub!(@unsafe $doc $number memory_write $($rest)*); };
    ($doc:tt $number:literal process_create $($rest:tt)*) => { stub!(@unsafe $doc $number process_create $($rest)*); };
    ($doc:tt $number:literal process_info $($rest:tt)*) => { stub!(@unsafe $doc $number process_info $($rest)*); };
    ($doc:tt $number:literal process_list $($rest:tt)*) => { stub!(@unsafe $doc $number process_list $($rest)*); };
    ($doc:tt $number:literal thread_create $($rest:tt)*) => { stub!(@unsafe $doc $number thread_create $($rest)*); };
    ($doc:tt $number:literal debug_write $($rest:tt)*) => { stub!(@unsafe $doc $number debug_write $($rest)*); };
    ($doc:tt $number:literal debug_read $($rest:tt)*) => { stub!(@unsafe $doc $number debug_read $($rest)*); };
    ($doc:tt $number:literal system_info $($rest:tt)*) => { stub!(@unsafe $doc $number system_info $($rest)*); };
    (@unsafe {$($doc:literal)+} $number:literal $name:ident ($($arg:ident: $arg_ty:ident)*) ($($ret_ty:ident)*)) => {
        $(#[doc = $doc])+
        ///
        /// # Safety
        /// Addresses name memory that is valid for what the call does with it, and what is
        /// unmapped, protected or mapped over is not in use.
        ///
        /// # Errors
        /// See the system-call table.
        #[inline]
        pub unsafe fn $name($($arg: $arg_ty),*) -> Result<($($ret_ty,)*), Error> {
            body!($number ($($arg)*) ($($ret_ty)*))
        }
    };
    ({$($doc:literal)+} $number:literal $name:ident ($($arg:ident: $arg_ty:ident)*) ($($ret_ty:ident)*)) => {
        $(#[doc = $doc])+
        ///
        /// # Errors
        /// See the system-call table.
        #[inline]
        pub fn $name($($arg: $arg_ty),*) -> Result<($($ret_ty,)*), Error> {
            body!($number ($($arg)*) ($($ret_ty)*))
        }
    };
}

macro_rules! stubs {
    ($(
        $(#[doc = $doc:literal])+
        $number:literal => $name:ident($($arg:ident: $arg_ty:ident),* $(,)?)
            -> ($($ret:ident: $ret_ty:ident),* $(,)?)
            rights { $($who:ident: $right:ident),* $(,)? }
            errors { $($error:ident: $when:literal),* $(,)? }
            since $since:literal;
    )+) => {
        $( stub!({$($doc)+} $number $name ($($arg: $arg_ty)*) ($($ret_ty)*)); )+
    };
}

for_each_syscall!(stubs);
