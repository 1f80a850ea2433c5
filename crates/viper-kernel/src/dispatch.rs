//! From a call's number and registers to its handler, generated from the table in `viper-abi`.

use viper_abi::{
    Error, Handle, MemoryFlags, MsgInfo, PowerAction, Protection, Rights, Signals, Word,
};

use crate::kernel::{Kernel, Stop};
use crate::platform::Platform;

macro_rules! generate {
    ($(
        $(#[doc = $doc:literal])+
        $number:literal => $name:ident($($arg:ident: $arg_ty:ident),* $(,)?)
            -> ($($ret:ident: $ret_ty:ident),* $(,)?)
            rights { $($who:ident: $right:ident),* $(,)? }
            errors { $($error:ident: $when:literal),* $(,)? }
            since $since:literal;
    )+) => {
        impl<P: Platform> Kernel<P> {
            /// Runs the handler of a call on a thread's registers. Without one for each call of
            /// the table, the kernel does not compile.
            #[inline]
            pub fn dispatch(&mut self, thread: u32, number: u16) {
                match number {
                    $( $number => run::$name(self, thread), )+
                    _ => fail(self, thread, Stop::Error(Error::NotSupported)),
                }
            }
        }

        /// From registers to a handler and back, a function a call: each saves what it needs only.
        mod run {
            use super::*;
            $(
                #[inline(never)]
                pub(super) fn $name<P: Platform>(kernel: &mut Kernel<P>, thread: u32) {
                    let Some(_x) = registers(kernel, thread) else { return };
                    let mut _next = 0;
                    $( let $arg = <$arg_ty as Word>::from_word(_x[_next]); _next += 1; )*
                    match kernel.$name(thread $(, $arg)*) {
                        Ok(($($ret,)*)) => {
                            let Some(x) = registers(kernel, thread) else { return };
                            x[0] = 0;
                            let mut _at = 1;
                            $( x[_at] = $ret.to_word(); _at += 1; )*
                        }
                        Err(stop) => fail(kernel, thread, stop),
                    }
                }
            )+
        }
    };
}

/// The registers of a thread, if it still exists.
#[inline]
fn registers<P: Platform>(kernel: &mut Kernel<P>, thread: u32) -> Option<&mut [u64; 31]> {
    kernel.threads.get_mut(thread).map(|t| &mut t.context.x)
}

fn fail<P: Platform>(kernel: &mut Kernel<P>, thread: u32, stop: Stop) {
    match stop {
        Stop::Error(e) => {
            if let Some(thread) = kernel.threads.get_mut(thread) {
                thread.progress = 0;
                thread.context.x[0] = e.code() as u64;
            }
        }
        Stop::Again => kernel.platform.repeat_call(),
        Stop::Written => {}
    }
}

viper_abi::for_each_syscall!(generate);
