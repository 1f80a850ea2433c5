//! From a call's number and registers to its handler, generated from the table in `viper-abi`.

use viper_abi::{
    Error, Handle, MemoryFlags, MsgInfo, PowerAction, Protection, Rights, Signals, Word,
};

use crate::kernel::{Handled, Stop};

macro_rules! generate {
    ($(
        $(#[doc = $doc:literal])+
        $number:literal => $name:ident($($arg:ident: $arg_ty:ident),* $(,)?)
            -> ($($ret:ident: $ret_ty:ident),* $(,)?)
            rights { $($who:ident: $right:ident),* $(,)? }
            errors { $($error:ident: $when:literal),* $(,)? }
            since $since:literal;
    )+) => {
        /// One handler for each system call. Without all of them the kernel does not compile.
        #[expect(clippy::too_many_arguments, reason = "as many as the call has registers")]
        pub trait Syscalls {
            /// The registers of a thread, if it still exists.
            fn registers(&mut self, thread: u32) -> Option<&mut [u64; 31]>;
            /// Makes the running thread make its call again.
            fn repeat(&mut self);
            $(
                $(#[doc = $doc])+
                ///
                /// # Errors
                $( #[doc = concat!("- `", stringify!($error), "`: ", $when)] )*
                fn $name(&mut self, thread: u32 $(, $arg: $arg_ty)*)
                    -> Handled<($($ret_ty,)*)>;
            )+
        }

        /// Runs the handler of a call on a thread's registers.
        #[inline]
        pub fn dispatch<S: Syscalls>(calls: &mut S, thread: u32, number: u16) {
            match number {
                $( $number => run::$name(calls, thread), )+
                _ => fail(calls, thread, Stop::Error(Error::NotSupported)),
            }
        }

        /// From registers to a handler and back, a function a call: each saves what it needs only.
        mod run {
            use super::*;
            $(
                #[inline(never)]
                pub(super) fn $name<S: Syscalls>(calls: &mut S, thread: u32) {
                    let Some(_x) = calls.registers(thread) else { return };
                    let mut _next = 0;
                    $( let $arg = <$arg_ty as Word>::from_word(_x[_next]); _next += 1; )*
                    match calls.$name(thread $(, $arg)*) {
                        Ok(($($ret,)*)) => {
                            let Some(x) = calls.registers(thread) else { return };
                            x[0] = 0;
                            let mut _at = 1;
                            $( x[_at] = $ret.to_word(); _at += 1; )*
                        }
                        Err(stop) => fail(calls, thread, stop),
                    }
                }
            )+
        }
    };
}

fn fail<S: Syscalls>(calls: &mut S, thread: u32, stop: Stop) {
    match stop {
        Stop::Error(e) => {
            if let Some(x) = calls.registers(thread) {
                x[0] = e.code() as u64;
            }
        }
        Stop::Again => calls.repeat(),
        Stop::Written => {}
    }
}

viper_abi::for_each_syscall!(generate);
