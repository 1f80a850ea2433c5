//! Time: nanoseconds since the machine started.

use crate::sys;
use viper_abi::FOREVER;

/// Nanoseconds since the machine started.
#[must_use]
pub fn now() -> u64 {
    sys::clock_now().map_or(0, |(now,)| now)
}

/// The deadline this many nanoseconds from now; [`FOREVER`] stays that.
#[must_use]
pub fn after(timeout_ns: u64) -> u64 {
    if timeout_ns == FOREVER {
        FOREVER
    } else {
        now().saturating_add(timeout_ns)
    }
}

/// Sleeps.
pub fn sleep(duration_ns: u64) {
    let _ = sys::sleep_until(after(duration_ns));
}

/// The counter that trace stamps use.
#[inline]
#[must_use]
pub fn counter() -> u64 {
    #[cfg(target_os = "none")]
    {
        let count: u64;
        // SAFETY: reads a counter; the kernel allows it at EL0 (CNTKCTL_EL1.EL0VCTEN).
        unsafe {
            core::arch::asm!("mrs {}, cntvct_el0", out(reg) count, options(nomem, nostack));
        }
        count
    }
    #[cfg(not(target_os = "none"))]
    now()
}

/// One microsecond in nanoseconds.
pub const MICROSECOND: u64 = 1_000;
/// One millisecond in nanoseconds.
pub const MILLISECOND: u64 = 1_000_000;
/// One second in nanoseconds.
pub const SECOND: u64 = 1_000_000_000;
