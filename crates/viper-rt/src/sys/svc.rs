//! The `svc` instruction: how a program enters the kernel.
//!
//! Number in the immediate, arguments from `x0` on, deadline of a message call in `x8`; status and
//! results come back from `x0` on. The kernel keeps `x19..=x30`, `sp` and the vector registers.

use super::Ipc;
use core::arch::asm;
use viper_abi::{Handle, IpcBuffer, MsgInfo};

/// The address of this thread's IPC buffer.
#[inline(always)]
pub(crate) fn ipc_buffer() -> *mut IpcBuffer {
    let address: *mut IpcBuffer;
    // SAFETY: reads a register that is readable at EL0 (Arm ARM, TPIDRRO_EL0) and constant for the
    // life of the thread.
    unsafe {
        asm!("mrs {}, tpidrro_el0", out(reg) address,
            options(nomem, nostack, preserves_flags, pure));
    }
    address
}

/// One `svc` with some registers in and out, and some only out.
macro_rules! trap {
    ($number:ident, $out:ident, $argument:expr,
        [$($in_reg:tt $i:tt),*] [$($out_reg:tt $o:tt),*]) => {{
        let argument = $argument;
        let _ = &argument;
        // SAFETY: entering the kernel is sound by itself: it keeps all registers but those listed,
        // and touches the caller's memory only at addresses among the arguments, for which the
        // callers of the unsafe stubs answer.
        unsafe {
            asm!("svc #{n}", n = const $number,
                $( inlateout($in_reg) argument($i) => $out[$i], )*
                $( lateout($out_reg) $out[$o], )*
                lateout("x8") _, lateout("x9") _, lateout("x10") _, lateout("x11") _,
                lateout("x12") _, lateout("x13") _, lateout("x14") _, lateout("x15") _,
                lateout("x16") _, lateout("x17") _, lateout("x18") _, options(nostack));
        }
    }};
}

/// A system call with `N` arguments; the status and up to seven results come back.
///
/// # Panics
/// Does not compile to a panic: `N` is at most 8 in the table.
#[inline(always)]
pub(super) fn svc<const NUMBER: u16, const N: usize>(arguments: [u64; N]) -> [u64; 8] {
    let mut r = [0u64; 8];
    let a = |i: usize| arguments.get(i).copied().unwrap_or(0);
    match N {
        0 => trap!(NUMBER, r, a,
            [] ["x0" 0, "x1" 1, "x2" 2, "x3" 3, "x4" 4, "x5" 5, "x6" 6, "x7" 7]),
        1 => trap!(NUMBER, r, a,
            ["x0" 0] ["x1" 1, "x2" 2, "x3" 3, "x4" 4, "x5" 5, "x6" 6, "x7" 7]),
        2 => trap!(NUMBER, r, a,
            ["x0" 0, "x1" 1] ["x2" 2, "x3" 3, "x4" 4, "x5" 5, "x6" 6, "x7" 7]),
        3 => trap!(NUMBER, r, a,
            ["x0" 0, "x1" 1, "x2" 2] ["x3" 3, "x4" 4, "x5" 5, "x6" 6, "x7" 7]),
        4 => trap!(NUMBER, r, a,
            ["x0" 0, "x1" 1, "x2" 2, "x3" 3] ["x4" 4, "x5" 5, "x6" 6, "x7" 7]),
        5 => trap!(NUMBER, r, a,
            ["x0" 0, "x1" 1, "x2" 2, "x3" 3, "x4" 4] ["x5" 5, "x6" 6, "x7" 7]),
        6 => trap!(NUMBER, r, a,
            ["x0" 0, "x1" 1, "x2" 2, "x3" 3, "x4" 4, "x5" 5] ["x6" 6, "x7" 7]),
        7 => trap!(NUMBER, r, a,
            ["x0" 0, "x1" 1, "x2" 2, "x3" 3, "x4" 4, "x5" 5, "x6" 6] ["x7" 7]),
        _ => trap!(NUMBER, r, a,
            ["x0" 0, "x1" 1, "x2" 2, "x3" 3, "x4" 4, "x5" 5, "x6" 6, "x7" 7] []),
    }
    r
}

/// A message call: everything in registers, both ways.
#[inline(always)]
pub(super) fn message<const NUMBER: u16>(
    handle: Handle,
    info: MsgInfo,
    words: [u64; 6],
    deadline: u64,
) -> Ipc {
    let mut r = Ipc::default();
    // SAFETY: as in `trap`; beyond the registers the kernel touches only the IPC buffer, which
    // nobody holds a reference to.
    unsafe {
        asm!("svc #{n}", n = const NUMBER,
            inlateout("x0") u64::from(handle.0) => r.status,
            inlateout("x1") info.0 => r.info.0,
            inlateout("x2") words[0] => r.words[0],
            inlateout("x3") words[1] => r.words[1],
            inlateout("x4") words[2] => r.words[2],
            inlateout("x5") words[3] => r.words[3],
            inlateout("x6") words[4] => r.words[4],
            inlateout("x7") words[5] => r.words[5],
            inlateout("x8") deadline => r.key,
            lateout("x9") _, lateout("x10") _, lateout("x11") _,
            lateout("x12") _, lateout("x13") _, lateout("x14") _, lateout("x15") _,
            lateout("x16") _, lateout("x17") _, lateout("x18") _, options(nostack));
    }
    r
}

/// `receive`: only the source and the deadline go in.
#[inline(always)]
pub(super) fn receive(source: Handle, deadline: u64) -> Ipc {
    let mut r = Ipc::default();
    // SAFETY: as in `message`.
    unsafe {
        asm!("svc #{n}", n = const viper_abi::number::receive,
            inlateout("x0") u64::from(source.0) => r.status,
            lateout("x1") r.info.0,
            lateout("x2") r.words[0],
            lateout("x3") r.words[1],
            lateout("x4") r.words[2],
            lateout("x5") r.words[3],
            lateout("x6") r.words[4],
            lateout("x7") r.words[5],
            inlateout("x8") deadline => r.key,
            lateout("x9") _, lateout("x10") _, lateout("x11") _,
            lateout("x12") _, lateout("x13") _, lateout("x14") _, lateout("x15") _,
            lateout("x16") _, lateout("x17") _, lateout("x18") _, options(nostack));
    }
    r
}
