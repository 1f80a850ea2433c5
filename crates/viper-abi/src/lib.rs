#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod error;
mod startup;
mod table;
mod types;

pub use error::Error;
pub use startup::{STARTUP_MAGIC, Slot, Startup, StartupError, StartupWriter};
pub use types::*;

/// Version of this interface. A call's `since` says with which version it came.
pub const ABI_VERSION: u32 = 1;

/// The documentation of one system call.
#[derive(Clone, Copy, Debug)]
pub struct SyscallInfo {
    /// The number: the immediate of the `svc` instruction.
    pub number: u16,
    /// The name, as traces and stubs have it.
    pub name: &'static str,
    /// The paragraphs of its documentation, a line each.
    pub doc: &'static [&'static str],
    /// Arguments with their types, from `x0` on.
    pub arguments: &'static [(&'static str, &'static str)],
    /// Results with their types, from `x1` on.
    pub results: &'static [(&'static str, &'static str)],
    /// Which argument needs which right.
    pub rights: &'static [(&'static str, &'static str)],
    /// Each error and when it comes.
    pub errors: &'static [(Error, &'static str)],
    /// The ABI version it came with.
    pub since: u32,
}

macro_rules! declare {
    ($(
        $(#[doc = $doc:literal])+
        $number:literal => $name:ident($($arg:ident: $arg_ty:ident),* $(,)?)
            -> ($($ret:ident: $ret_ty:ident),* $(,)?)
            rights { $($who:ident: $right:ident),* $(,)? }
            errors { $($error:ident: $when:literal),* $(,)? }
            since $since:literal;
    )+) => {
        /// Every system call, in the order of its number.
        pub const SYSCALLS: &[SyscallInfo] = &[$(
            SyscallInfo {
                number: $number,
                name: stringify!($name),
                doc: &[$($doc),+],
                arguments: &[$((stringify!($arg), stringify!($arg_ty))),*],
                results: &[$((stringify!($ret), stringify!($ret_ty))),*],
                rights: &[$((stringify!($who), stringify!($right))),*],
                errors: &[$((Error::$error, $when)),*],
                since: $since,
            },
        )+];

        /// The numbers: what stands in the immediate of the `svc` instruction.
        #[expect(non_upper_case_globals, reason = "a number is named like its call")]
        pub mod number {
            $( $(#[doc = $doc])+ pub const $name: u16 = $number; )+
        }

        /// The name of the call with this number, for traces.
        #[must_use]
        pub const fn syscall_name(number: u16) -> Option<&'static str> {
            match number { $( $number => Some(stringify!($name)), )+ _ => None }
        }
    };
}

for_each_syscall!(declare);
