//! From the vectors to the kernel's logic: take the lock, look at what happened, say what is next.

use core::arch::asm;
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering;

use viper_abi::FaultKind;
use viper_kernel::arena::NIL;
use viper_kernel::fast::{Across, Way};
use viper_kernel::mapping::Access;
use viper_kernel::thread::Context;
use viper_kernel::{Exception, Kernel};

use super::cell::{KernelCell, KernelLock};
use super::gic;
use super::machine::Machine;

/// The lock around [`KERNEL`] and everything else that is in a `KernelCell`.
#[unsafe(export_name = "KERNEL_LOCK")]
pub static LOCK: KernelLock = KernelLock::new();
/// The kernel, once `IS_READY`.
pub static KERNEL: KernelCell<MaybeUninit<Kernel<Machine>>> =
    KernelCell::new(MaybeUninit::uninit());

/// Runs `work` on the kernel, under the lock.
#[inline]
fn with_kernel(work: impl FnOnce(&mut Kernel<Machine>) -> *mut Context) -> *mut Context {
    LOCK.acquire();
    // SAFETY: we hold the lock; the kernel is not entered again before `release`. There is a
    // kernel: user code and `enter` come after `IS_READY`.
    let next = work(unsafe { kernel() });
    // SAFETY: taken above; the reference is not used any more. `next` is the context of a thread
    // that runs on this core from now on, so that no other core touches it, or the idle context.
    unsafe { LOCK.release() };
    next
}

fn owner(context: *mut Context) -> (usize, u32) {
    // SAFETY: the vectors pass what TPIDR_EL1 holds: the context that runs on this core.
    unsafe { ((*context).core as usize, (*context).thread) }
}

/// The kernel, for a system call: `asm/trap.S` releases the lock when it has saved what is left.
///
/// # Safety
/// The caller holds the lock and no other reference to the kernel, and there is a kernel.
#[inline(always)]
unsafe fn kernel() -> &'static mut Kernel<Machine> {
    let mut at = (&raw const KERNEL).expose_provenance();
    // Unknown to the compiler, the address stays in a register; known, it is made anew for every
    // field, by two instructions each.
    // SAFETY: does nothing.
    unsafe {
        asm!("/* {} */", inout(reg) at, options(pure, nomem, nostack, preserves_flags));
    }
    let kernel: *const KernelCell<MaybeUninit<Kernel<Machine>>> =
        core::ptr::with_exposed_provenance(at);
    // SAFETY: the address is what it was; the rest by the caller's promise.
    unsafe { (*kernel).get().assume_init_mut() }
}

/// A system call without a short way.
#[unsafe(no_mangle)]
extern "C" fn trap_syscall(context: *mut Context, number: u32) -> *mut Context {
    LOCK.acquire();
    trap_long(context, number)
}

/// A system call under the lock.
#[unsafe(no_mangle)]
extern "C" fn trap_long(context: *mut Context, number: u32) -> *mut Context {
    let (core, thread) = owner(context);
    // SAFETY: the lock is held; threads come after boot.
    let kernel = unsafe { kernel() };
    kernel
        .on_syscall(core, thread, number as u16)
        .unwrap_or(context)
}

/// Takes the lock, reads what the short way needs, and tries it. Null if it does not fit; the lock
/// stays held.
#[inline(always)]
fn try_short(
    context: *mut Context,
    handle: u32,
    word: u64,
    deadline: u64,
    way: impl FnOnce(&mut Kernel<Machine>, Way) -> Option<Across>,
) -> *mut Context {
    // SAFETY: the vectors pass what TPIDR_EL1 holds: the context that runs on this core.
    let (core, thread, table) =
        unsafe { ((*context).core as u8, (*context).thread, (*context).table) };
    let handle = viper_cap::Handle::from_raw(handle);
    let registers = Way {
        thread,
        core,
        table,
        handle,
        word,
        deadline,
    };
    LOCK.acquire();
    // SAFETY: as in `trap_long`.
    match way(unsafe { kernel() }, registers) {
        Some(across) => across
            .next
            .map_addr(|address| address | usize::from(across.has_vectors)),
        None => core::ptr::null_mut(),
    }
}

/// After a short way with vector registers: `next` is the context it led to, with bit 0 set.
#[unsafe(no_mangle)]
extern "C" fn trap_vectors(next: *mut Context, before: *mut Context) -> *mut Context {
    let next = next.map_addr(|address| address & !1);
    let ((core, to), (_, from)) = (owner(next), owner(before));
    // SAFETY: as in `trap_long`.
    unsafe { kernel() }.exchange_vectors(core, from, to);
    next
}

#[unsafe(no_mangle)]
extern "C" fn trap_call(
    handle: u32,
    info: u64,
    context: *mut Context,
    deadline: u64,
) -> *mut Context {
    try_short(context, handle, info, deadline, Kernel::fast_call)
}

#[unsafe(no_mangle)]
extern "C" fn trap_reply_receive(
    handle: u32,
    info: u64,
    context: *mut Context,
    deadline: u64,
) -> *mut Context {
    try_short(context, handle, info, deadline, Kernel::fast_reply_receive)
}

#[unsafe(no_mangle)]
extern "C" fn trap_signal(handle: u32, bits: u64, context: *mut Context) -> *mut Context {
    try_short(context, handle, bits, 0, |kernel, way| {
        kernel.fast_signal(way).then(|| {
            // SAFETY: as in `try_short`: it is ours while its thread is in the kernel.
            unsafe { (*context).x[0] = 0 };
            Across {
                next: context,
                has_vectors: false,
            }
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn trap_wait(
    handle: u32,
    mask: u64,
    context: *mut Context,
    deadline: u64,
) -> *mut Context {
    try_short(context, handle, mask, deadline, Kernel::fast_wait)
}

#[unsafe(no_mangle)]
extern "C" fn trap_interrupt(context: *mut Context) -> *mut Context {
    let (core, _) = owner(context);
    with_kernel(|kernel| {
        while let Some(id) = gic::acknowledge() {
            match id & 0x3ff {
                gic::TIMER_LINE => {
                    super::time::set_timer(u64::MAX);
                    gic::end(id);
                    kernel.on_timer(core);
                }
                0..=15 => {
                    gic::end(id);
                    kernel.on_interrupt(core, None);
                }
                line => {
                    kernel.on_interrupt(core, Some(line));
                    gic::end(id);
                }
            }
        }
        kernel.leave()
    })
}

#[unsafe(no_mangle)]
extern "C" fn trap_fault(context: *mut Context, esr: u64, far: u64) -> *mut Context {
    let (core, thread) = owner(context);
    let what = classify(esr, far);
    with_kernel(|kernel| kernel.on_exception(core, thread, what))
}

/// What an exception syndrome means (Arm ARM, ESR_EL1).
fn classify(esr: u64, far: u64) -> Exception {
    let (class, fault) = (esr >> 26 & 0x3f, esr & 0x3f);
    let is_memory = matches!(fault & !3, 0x04 | 0x08 | 0x0c);
    match class {
        0x07 => Exception::Vector,
        0x20 if is_memory => Exception::Memory(Access::Execute, far),
        0x24 if is_memory && esr & 1 << 6 != 0 => Exception::Memory(Access::Write, far),
        0x24 if is_memory => Exception::Memory(Access::Read, far),
        0x24 if fault == 0x21 => Exception::Other(FaultKind::ALIGNMENT, far),
        0x22 | 0x26 => Exception::Other(FaultKind::ALIGNMENT, far),
        0x00 | 0x0e | 0x18 => Exception::Other(FaultKind::ILLEGAL, 0),
        0x3c => Exception::Other(FaultKind::BREAKPOINT, 0),
        _ => Exception::Other(FaultKind::OTHER, far),
    }
}

#[unsafe(no_mangle)]
extern "C" fn trap_kernel_fault(esr: u64, pc: u64, far: u64, frame: u64) -> ! {
    super::panic::die(
        format_args!("exception in the kernel: esr={esr:#x} far={far:#x}"),
        pc,
        frame,
    )
}

/// Leaves the boot code of a core for good: whatever the scheduler has, or idling.
pub fn enter(core: usize) -> ! {
    unsafe extern "C" {
        fn enter_context(context: *mut core::ffi::c_void) -> !;
    }
    let next = with_kernel(|kernel| {
        kernel.this_core = core;
        kernel.cores[core].current = NIL;
        kernel.leave()
    });
    // SAFETY: `next` is a context to resume on this core; nothing on this stack is needed again.
    unsafe { enter_context(next.cast()) }
}

/// Whether the boot core has made the kernel.
pub static IS_READY: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);

/// Waits until the boot core has made the kernel.
pub fn wait_ready() {
    while !IS_READY.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
}
