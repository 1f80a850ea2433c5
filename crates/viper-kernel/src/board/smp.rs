//! The other cores: started by PSCI, counted when they have come up.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::gic::Gic;
use super::memory::STACK_BYTES;
use super::tree::Tree;
use super::{OFFSET, gic, machine, memory, time, trap};

/// What `secondary_start` reads: it runs without the MMU.
#[repr(C, align(64))]
struct Record {
    root: AtomicU64,
    stack: AtomicU64,
    core: AtomicU64,
}

static RECORD: Record = Record {
    root: AtomicU64::new(0),
    stack: AtomicU64::new(0),
    core: AtomicU64::new(0),
};
static ONLINE: AtomicUsize = AtomicUsize::new(1);
static ROOT: AtomicU64 = AtomicU64::new(0);
static GIC: super::cell::KernelCell<Option<Gic>> = super::cell::KernelCell::new(None);

unsafe extern "C" {
    static __stacks: u8;
    fn secondary_start();
}

/// Starts all cores that the tree names, one by one. Returns how many run.
pub fn start_all(tree: &Tree<'_>, root: u64) -> usize {
    ROOT.store(root, Ordering::Relaxed);
    // SAFETY: only the boot core runs; the others read it after they have been started.
    unsafe { *GIC.get() = Some(tree.gic) };
    let entry = secondary_start as *const () as u64 - OFFSET;
    let record = core::ptr::from_ref(&RECORD) as u64 - OFFSET;
    if tree.core_count > 1 {
        trap::LOCK.share();
    }
    for core in 1..tree.core_count {
        // SAFETY: a linker symbol; only its address is used.
        let stack =
            unsafe { core::ptr::from_ref(&__stacks) } as u64 + (core as u64 + 1) * STACK_BYTES;
        RECORD.root.store(root, Ordering::Relaxed);
        RECORD.stack.store(stack, Ordering::Relaxed);
        RECORD.core.store(core as u64, Ordering::Relaxed);
        // SAFETY: cleans the record's line to memory, where the core looks without caches.
        unsafe {
            core::arch::asm!("dc civac, {}", "dsb sy", in(reg) core::ptr::from_ref(&RECORD));
        }
        if !machine::core_on(tree.cores[core], entry, record) {
            break;
        }
        let deadline = time::now_ns() + 1_000_000_000;
        while ONLINE.load(Ordering::Acquire) == core {
            if time::now_ns() > deadline {
                return core;
            }
            core::hint::spin_loop();
        }
    }
    ONLINE.load(Ordering::Acquire)
}

#[unsafe(no_mangle)]
extern "C" fn secondary_main(core: usize) -> ! {
    // SAFETY: the boot core made these tables, and wrote the cell before it started this core.
    unsafe {
        memory::use_tables(
            ROOT.load(Ordering::Relaxed),
            machine::EMPTY_TABLE.load(Ordering::Relaxed),
        );
    }
    // SAFETY: as above.
    let gic = unsafe { *GIC.get() };
    init_core(gic.expect("set before any other core starts"), core);
    ONLINE.fetch_add(1, Ordering::Release);
    trap::wait_ready();
    trap::enter(core)
}

/// What every core sets up for itself.
pub fn init_core(which: Gic, core: usize) {
    unsafe extern "C" {
        static vectors: u8;
    }
    // SAFETY: the vectors are code of ours; vector registers trap at EL0 until a thread asks;
    // programs may read the event counters, for measurements (PMUSERENR: EN, CR, ER; PMCR: E, LC).
    unsafe {
        core::arch::asm!(
            "msr vbar_el1, {v}",
            "mov {t}, #(1 << 20)",
            "msr cpacr_el1, {t}",
            "mov {t}, #0x41",
            "msr pmcr_el0, {t}",
            "mov {t}, #8",
            "msr pmevtyper0_el0, {t}",
            "mov {t}, #1",
            "orr {t}, {t}, #(1 << 31)",
            "msr pmcntenset_el0, {t}",
            "mov {t}, #0b1101",
            "msr pmuserenr_el0, {t}",
            "isb",
            v = in(reg) core::ptr::from_ref(&vectors),
            t = out(reg) _,
        );
    }
    gic::init_core(which, core);
    time::init_core();
}
