//! Where a process and a thread begin.

use core::arch::naked_asm;

/// The first instruction of a program: `x0` is the startup block, `sp` the top of the stack.
///
/// # Safety
/// Only the kernel calls it, as the entry of the first thread.
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.entry")]
unsafe extern "C" fn _start() -> ! {
    naked_asm!(
        "mov x29, xzr",
        "mov x30, xzr",
        "bl {main}",
        "brk #1",
        main = sym crate::program::first_thread,
    )
}

/// The first instruction of a further thread: `x0` is its argument.
///
/// # Safety
/// Only the kernel calls it, as the entry that [`crate::thread`] gave.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn thread_start() -> ! {
    naked_asm!(
        "mov x29, xzr",
        "mov x30, xzr",
        "bl {main}",
        "brk #1",
        main = sym crate::thread::further_thread,
    )
}
