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
            $(
                $(#[doc = $doc])+
                ///
                /// # Errors
                $( #[doc = concat!("- `", stringify!($error), "`: ", $when)] )*
                fn $name(&mut self, thread: u32 $(, $arg: $arg_ty)*)
                    -> Handled<($($ret_ty,)*)>;
            )+
        }

        /// Runs the handler of a call. `x` are its arguments; the results are returned to be
        /// written to the registers, `None` if they are written already or later.
        #[inline]
        pub fn dispatch<S: Syscalls>(
            calls: &mut S,
            thread: u32,
            number: u16,
            x: &[u64; 9],
        ) -> Option<[u64; 8]> {
            let mut out = [0u64; 8];
            let stop = match number {
                $( $number => {
                    let mut _next = 0;
                    $( let $arg = <$arg_ty as Word>::from_word(x[_next]); _next += 1; )*
                    match calls.$name(thread $(, $arg)*) {
                        Ok(($($ret,)*)) => {
                            let mut _at = 1;
                            $( out[_at] = $ret.to_word(); _at += 1; )*
                            return Some(out);
                        }
                        Err(stop) => stop,
                    }
                } )+
                _ => Stop::Error(Error::NotSupported),
            };
            match stop {
                Stop::Written => None,
                Stop::Error(e) => {
                    out[0] = e.code() as u64;
                    Some(out)
                }
            }
        }
    };
}

viper_abi::for_each_syscall!(generate);
