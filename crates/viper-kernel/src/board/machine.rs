//! The machine, as the kernel's logic sees it.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use smccc::{Hvc, Smc, psci};
use viper_abi::PowerAction;
use viper_kernel::Platform;
use viper_kernel::kernel::CORES_MAX;
use viper_kernel::thread::{Context, FpState};
use viper_vm::{Frame, PhysAddr, PhysMem, VirtAddr};

use super::cell::KernelCell;
use super::memory::{AllFrames, Direct};
use super::{direct, gic, time, uart};

/// Whether PSCI is called by HVC.
pub static PSCI_HVC: AtomicBool = AtomicBool::new(true);
/// The physical address of a table without entries.
pub static EMPTY_TABLE: AtomicU64 = AtomicU64::new(0);
/// Where each core idles.
static IDLE: KernelCell<[Context; CORES_MAX]> = KernelCell::new([Context::ZERO; CORES_MAX]);

unsafe extern "C" {
    fn user_copy_in(to: *mut u8, from: u64, len: usize) -> u64;
    fn user_copy_out(to: u64, from: *const u8, len: usize) -> u64;
    fn fp_save(state: *mut FpState);
    fn fp_load(state: *const FpState);
    fn idle_loop();
}

/// The board behind [`Platform`].
#[derive(Debug)]
pub struct Machine {
    /// Most ASIDs.
    pub asid_max: u16,
}

impl PhysMem for Machine {
    #[inline]
    fn read_u64(&self, pa: PhysAddr) -> u64 {
        Direct.read_u64(pa)
    }
    #[inline]
    fn is_zero(&self, pa: PhysAddr, words: u64) -> bool {
        Direct.is_zero(pa, words)
    }
    #[inline]
    fn write_u64(&mut self, pa: PhysAddr, value: u64) {
        Direct.write_u64(pa, value);
    }
    #[inline]
    fn zero_frame(&mut self, frame: Frame) {
        Direct.zero_frame(frame);
    }
    #[inline]
    fn copy_frame(&mut self, dst: Frame, src: Frame) {
        Direct.copy_frame(dst, src);
    }
    #[inline]
    fn publish(&mut self) {
        Direct.publish();
    }
}

impl Platform for Machine {
    type Frames = AllFrames;

    #[inline]
    fn now_ns(&self) -> u64 {
        time::now_ns()
    }

    fn set_timer(&mut self, deadline_ns: u64) {
        time::set_timer(deadline_ns);
    }

    fn interrupt_core(&mut self, core: usize) {
        gic::call_core(core);
    }

    #[inline]
    fn invalidate_page(&mut self, asid: u16, va: VirtAddr) {
        let operand = u64::from(asid) << 48 | (va.0 >> 12) & 0xfff_ffff_ffff;
        // SAFETY: dropping translations is always allowed; the barriers complete it on all cores.
        unsafe {
            asm!("dsb ishst", "tlbi vae1is, {}", "dsb ish", "isb", in(reg) operand);
        }
    }

    fn invalidate_asid(&mut self, asid: u16) {
        let operand = u64::from(asid) << 48;
        // SAFETY: as in `invalidate_page`.
        unsafe {
            asm!("dsb ishst", "tlbi aside1is, {}", "dsb ish", "isb", in(reg) operand);
        }
    }

    fn leave_address_space(&mut self) {
        let empty = EMPTY_TABLE.load(Ordering::Relaxed);
        // SAFETY: a table without entries translates nothing, and the kernel runs from TTBR1. No
        // context runs here any more: the way out saves no registers (`asm/trap.S`).
        unsafe { asm!("msr ttbr0_el1, {}", "msr tpidr_el1, xzr", "isb", in(reg) empty) };
    }

    fn repeat_call(&mut self) {
        // SAFETY: ELR_EL1 is where the thread goes on, behind its `svc`, until another one goes on
        // here (`asm/trap.S`).
        unsafe {
            asm!("mrs {t}, elr_el1", "sub {t}, {t}, #4", "msr elr_el1, {t}", t = out(reg) _);
        }
    }

    fn sync_code(&mut self, frame: Frame) {
        let base = direct(frame.addr().0);
        for line in (base..base + 4096).step_by(64) {
            // SAFETY: cleaning a line of a mapped frame changes no data.
            unsafe { asm!("dc cvau, {}", in(reg) line) };
        }
        // SAFETY: dropping instruction caches is always allowed.
        unsafe { asm!("dsb ish", "ic ialluis", "dsb ish", "isb") };
    }

    fn copy_in(&mut self, to: &mut [u8], from: u64) -> Result<(), ()> {
        if from
            .checked_add(to.len() as u64)
            .is_none_or(|end| end > viper_abi::USER_MAX)
        {
            return Err(());
        }
        // SAFETY: `to` is valid for its length; the loads are unprivileged, so they reach only what
        // the process that runs here may read, and a fault ends the copy (`user_copy_fixup`).
        let left = unsafe { user_copy_in(to.as_mut_ptr(), from, to.len()) };
        if left == 0 { Ok(()) } else { Err(()) }
    }

    fn copy_out(&mut self, to: u64, from: &[u8]) -> Result<(), ()> {
        if to
            .checked_add(from.len() as u64)
            .is_none_or(|end| end > viper_abi::USER_MAX)
        {
            return Err(());
        }
        // SAFETY: as in `copy_in`, with unprivileged stores.
        let left = unsafe { user_copy_out(to, from.as_ptr(), from.len()) };
        if left == 0 { Ok(()) } else { Err(()) }
    }

    #[inline(always)]
    fn copy_words(&mut self, to: Frame, from: Frame, at_bytes: usize, words: usize) {
        let (to, from) = (direct(to.addr().0), direct(from.addr().0));
        let (mut to, mut from) = (to + at_bytes as u64, from + at_bytes as u64);
        // By hand, as a call of `memcpy` would make the short way of a call save registers.
        // SAFETY: both frames are the kernel's, mapped and different; the logic stays inside.
        unsafe {
            for _ in 0..words / 4 {
                asm!(
                    "ldp {a}, {b}, [{from}], #16", "ldp {c}, {d}, [{from}], #16",
                    "stp {a}, {b}, [{to}], #16", "stp {c}, {d}, [{to}], #16",
                    a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
                    from = inout(reg) from, to = inout(reg) to, options(nostack),
                );
            }
            for _ in 0..words % 4 {
                asm!(
                    "ldr {a}, [{from}], #8", "str {a}, [{to}], #8",
                    a = out(reg) _, from = inout(reg) from, to = inout(reg) to, options(nostack),
                );
            }
        }
    }

    fn read_bytes(&self, from: PhysAddr, to: &mut [u8]) {
        // SAFETY: the kernel's logic names bytes inside a frame it owns.
        unsafe {
            core::ptr::copy_nonoverlapping(direct(from.0) as *const u8, to.as_mut_ptr(), to.len());
        }
    }

    fn write_bytes(&mut self, to: PhysAddr, from: &[u8]) {
        // SAFETY: as in `read_bytes`.
        unsafe {
            core::ptr::copy_nonoverlapping(from.as_ptr(), direct(to.0) as *mut u8, from.len());
        }
    }

    fn fp_save(&mut self, state: &mut FpState) {
        // SAFETY: vector access is on while a thread's state is live; `state` has the layout.
        unsafe { fp_save(state) };
    }

    fn fp_load(&mut self, state: &FpState) {
        // SAFETY: as in `fp_save`.
        unsafe { fp_load(state) };
    }

    #[inline]
    fn fp_enable(&mut self, enabled: bool) {
        let value: u64 = if enabled { 3 << 20 } else { 1 << 20 };
        // SAFETY: CPACR_EL1.FPEN 3: no trap; 1: EL0 traps, EL1 does not.
        unsafe { asm!("msr cpacr_el1, {}", "isb", in(reg) value) };
    }

    fn set_interrupt(&mut self, line: u32, enabled: bool) {
        gic::set_enabled(line, enabled);
    }

    fn device_read(&mut self, at: PhysAddr) -> u32 {
        // SAFETY: the address lies in a device that a capability names, mapped as device memory.
        unsafe { (direct(at.0) as *const u32).read_volatile() }
    }

    fn device_write(&mut self, at: PhysAddr, value: u32) {
        // SAFETY: as in `device_read`.
        unsafe { (direct(at.0) as *mut u32).write_volatile(value) }
    }

    fn debug_write(&mut self, text: &[u8]) {
        uart::put(text);
    }

    fn debug_read(&mut self, text: &mut [u8]) -> usize {
        uart::take(text)
    }

    fn debug_interrupt(&self) -> Option<u32> {
        uart::line()
    }

    fn power(&mut self, action: PowerAction) {
        power(action);
    }

    fn idle_context(&mut self, core: usize) -> *mut Context {
        // SAFETY: under the kernel lock; the contexts are static.
        let idle = unsafe { IDLE.get() };
        let context = &mut idle[core];
        context.pc = idle_loop as *const () as u64;
        context.pstate = 0x345; // EL1h, interrupts on
        context.ttbr0 = EMPTY_TABLE.load(Ordering::Relaxed);
        context.core = core as u32;
        context
    }

    fn asid_max(&self) -> u16 {
        self.asid_max
    }
}

/// Turns the machine off or restarts it.
pub fn power(action: PowerAction) {
    let hvc = PSCI_HVC.load(Ordering::Relaxed);
    // On success these do not return; a failure leaves the machine as it is.
    let _ = match (action, hvc) {
        (PowerAction::RESET, true) => psci::system_reset::<Hvc>(),
        (PowerAction::RESET, false) => psci::system_reset::<Smc>(),
        (_, true) => psci::system_off::<Hvc>(),
        (_, false) => psci::system_off::<Smc>(),
    };
}

/// Starts a core at a physical address.
pub fn core_on(id: u64, entry: u64, argument: u64) -> bool {
    let started = if PSCI_HVC.load(Ordering::Relaxed) {
        psci::cpu_on::<Hvc>(id, entry, argument)
    } else {
        psci::cpu_on::<Smc>(id, entry, argument)
    };
    started.is_ok()
}
