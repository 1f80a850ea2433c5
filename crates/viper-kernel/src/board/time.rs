//! Time: the virtual counter in nanoseconds, and the virtual timer.

use core::sync::atomic::{AtomicU64, Ordering};

use aarch64_cpu::registers::{
    CNTFRQ_EL0, CNTKCTL_EL1, CNTV_CTL_EL0, CNTV_CVAL_EL0, CNTVCT_EL0, Readable, Writeable,
};

/// Nanoseconds in a tick, as a fraction of 2^32.
static NS_PER_TICK: AtomicU64 = AtomicU64::new(16 << 32);
/// Ticks in a nanosecond, as a fraction of 2^32.
static TICKS_PER_NS: AtomicU64 = AtomicU64::new((1 << 32) / 16);

/// Reads the frequency.
pub fn init() {
    let hz = frequency();
    NS_PER_TICK.store(
        ((1_000_000_000u128 << 32) / u128::from(hz)) as u64,
        Ordering::Relaxed,
    );
    TICKS_PER_NS.store(
        ((u128::from(hz) << 32) / 1_000_000_000) as u64 + 1,
        Ordering::Relaxed,
    );
}

/// Ticks in a second.
pub fn frequency() -> u64 {
    CNTFRQ_EL0.get().max(1)
}

/// Lets programs read the counter, and stops this core's timer.
pub fn init_core() {
    CNTKCTL_EL1.write(CNTKCTL_EL1::EL0VCTEN::SET);
    CNTV_CTL_EL0.set(0);
}

/// Nanoseconds since the machine started.
#[inline]
pub fn now_ns() -> u64 {
    ((u128::from(CNTVCT_EL0.get()) * u128::from(NS_PER_TICK.load(Ordering::Relaxed))) >> 32) as u64
}

/// Interrupts this core at a time, or (`u64::MAX`) not.
pub fn set_timer(at_ns: u64) {
    if at_ns == u64::MAX {
        CNTV_CTL_EL0.set(0);
        return;
    }
    let ticks = (u128::from(at_ns) * u128::from(TICKS_PER_NS.load(Ordering::Relaxed))) >> 32;
    CNTV_CVAL_EL0.set((ticks + 1).min(u128::from(u64::MAX)) as u64);
    CNTV_CTL_EL0.set(1);
}
