//! The interrupt controller, version 2 or 3, as the device tree says (Arm IHI 0048 and 0069).

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use super::direct;

/// Which controller, and where its registers are.
#[derive(Clone, Copy, Debug)]
pub enum Gic {
    /// Distributor and core interface.
    V2 { distributor: u64, interface: u64 },
    /// Distributor and the first redistributor.
    V3 {
        distributor: u64,
        redistributors: u64,
    },
}

static DISTRIBUTOR: AtomicU64 = AtomicU64::new(0);
/// Version 2: the core interface. Version 3: zero.
static INTERFACE: AtomicU64 = AtomicU64::new(0);

/// The virtual timer's line, in each core.
pub const TIMER_LINE: u32 = 27;
/// The line by which cores call each other.
pub const CALL_LINE: u32 = 0;

const CTLR: u64 = 0x000;
const GROUP: u64 = 0x080;
const SET_ENABLE: u64 = 0x100;
const CLEAR_ENABLE: u64 = 0x180;
const PRIORITY: u64 = 0x400;
const TARGETS: u64 = 0x800;
const SOFTWARE: u64 = 0xf00;
const ROUTER: u64 = 0x6000;
const WAKER: u64 = 0x14;
const SGI_FRAME: u64 = 0x1_0000;
const REDISTRIBUTOR_STRIDE: u64 = 0x2_0000;

fn read(at: u64) -> u32 {
    // SAFETY: every address is a register of the interrupt controller that the device tree names,
    // mapped as device memory.
    unsafe { (at as *const u32).read_volatile() }
}

fn write(at: u64, value: u32) {
    // SAFETY: as in `read`.
    unsafe { (at as *mut u32).write_volatile(value) }
}

/// Sets the distributor up: everything off, shared lines to the first core.
pub fn init(gic: Gic) {
    let (Gic::V2 { distributor, .. } | Gic::V3 { distributor, .. }) = gic;
    let d = direct(distributor);
    DISTRIBUTOR.store(d, Ordering::Relaxed);
    write(d + CTLR, 0);
    let lines = 32 * ((read(d + 4) & 0x1f) as u64 + 1);
    for n in (32..lines).step_by(32) {
        write(d + CLEAR_ENABLE + n / 8, !0);
        let group = if matches!(gic, Gic::V3 { .. }) { !0 } else { 0 };
        write(d + GROUP + n / 8, group);
    }
    for n in (32..lines).step_by(4) {
        write(d + PRIORITY + n, 0xa0a0_a0a0);
        if matches!(gic, Gic::V2 { .. }) {
            write(d + TARGETS + n, 0x0101_0101);
        }
    }
    match gic {
        Gic::V2 { interface, .. } => {
            INTERFACE.store(direct(interface), Ordering::Relaxed);
            write(d + CTLR, 1);
        }
        Gic::V3 { .. } => {
            write(d + CTLR, 1 << 4 | 1 << 1); // affinity routing, group 1
            for n in 32..lines {
                // SAFETY: as in `read`; routing registers are 64 bits wide.
                unsafe { ((d + ROUTER + 8 * n) as *mut u64).write_volatile(0) };
            }
        }
    }
}

/// Sets this core's interface up: the timer and calls from other cores on.
pub fn init_core(gic: Gic, core: usize) {
    match gic {
        Gic::V2 { .. } => {
            let (d, c) = (
                DISTRIBUTOR.load(Ordering::Relaxed),
                INTERFACE.load(Ordering::Relaxed),
            );
            for n in (0..32).step_by(4) {
                write(d + PRIORITY + n, 0xa0a0_a0a0);
            }
            write(d + SET_ENABLE, 0xffff | 1 << TIMER_LINE);
            write(c + 4, 0xff); // priority mask
            write(c, 1);
        }
        Gic::V3 { redistributors, .. } => {
            let r = direct(redistributors) + core as u64 * REDISTRIBUTOR_STRIDE;
            write(r + WAKER, read(r + WAKER) & !2);
            while read(r + WAKER) & 4 != 0 {}
            let s = r + SGI_FRAME;
            write(s + GROUP, !0);
            for n in (0..32).step_by(4) {
                write(s + PRIORITY + n, 0xa0a0_a0a0);
            }
            write(s + SET_ENABLE, 0xffff | 1 << TIMER_LINE);
            // SAFETY: ICC_SRE, ICC_PMR, ICC_IGRPEN1 and ICC_CTLR are this core's own interface.
            unsafe {
                asm!(
                    "mrs {t}, s3_0_c12_c12_5", "orr {t}, {t}, #1", "msr s3_0_c12_c12_5, {t}", "isb",
                    "mov {t}, #0xff", "msr s3_0_c4_c6_0, {t}",
                    "mov {t}, #0", "msr s3_0_c12_c12_4, {t}",
                    "mov {t}, #1", "msr s3_0_c12_c12_7, {t}", "isb",
                    t = out(reg) _,
                );
            }
        }
    }
}

fn is_v2() -> bool {
    INTERFACE.load(Ordering::Relaxed) != 0
}

/// Takes the next interrupt, if there is one.
pub fn acknowledge() -> Option<u32> {
    let id = if is_v2() {
        read(INTERFACE.load(Ordering::Relaxed) + 0xc)
    } else {
        let id: u64;
        // SAFETY: reading ICC_IAR1_EL1 takes the interrupt, which is what we want.
        unsafe { asm!("mrs {}, s3_0_c12_c12_0", "dsb sy", out(reg) id) };
        id as u32
    };
    (id & 0x3ff < 1020).then_some(id)
}

/// Says that an interrupt was dealt with.
pub fn end(id: u32) {
    if is_v2() {
        write(INTERFACE.load(Ordering::Relaxed) + 0x10, id);
    } else {
        // SAFETY: ICC_EOIR1_EL1 with the number that was acknowledged.
        unsafe { asm!("msr s3_0_c12_c12_1, {}", "isb", in(reg) u64::from(id)) };
    }
}

/// Lets a shared line through, or not.
pub fn set_enabled(line: u32, enabled: bool) {
    if !(32..1020).contains(&line) {
        return;
    }
    let register = if enabled { SET_ENABLE } else { CLEAR_ENABLE };
    let at = DISTRIBUTOR.load(Ordering::Relaxed) + register + u64::from(line / 32) * 4;
    write(at, 1 << (line % 32));
}

/// Interrupts another core.
pub fn call_core(core: usize) {
    // What the other core is to see must be visible before it is called.
    // SAFETY: barriers only order accesses.
    unsafe { asm!("dsb ishst") };
    if is_v2() {
        write(
            DISTRIBUTOR.load(Ordering::Relaxed) + SOFTWARE,
            1 << (16 + core) | CALL_LINE,
        );
    } else {
        // QEMU numbers cores by affinity level 0 in clusters of 16: eight cores are one cluster.
        let value = 1u64 << core | u64::from(CALL_LINE) << 24;
        // SAFETY: ICC_SGI1R_EL1 makes the interrupt pending at that core.
        unsafe { asm!("msr s3_0_c12_c11_5, {}", "isb", in(reg) value) };
    }
}
