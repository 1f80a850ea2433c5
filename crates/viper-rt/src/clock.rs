//! Time: nanoseconds since the machine started.

use crate::sys;
use viper_abi::FOREVER;

/// Nanoseconds since the machine started. No system call, but for the first time.
#[inline]
#[must_use]
pub fn now() -> u64 {
    #[cfg(target_os = "none")]
    {
        at_counter(counter())
    }
    #[cfg(not(target_os = "none"))]
    sys::clock_now().map_or(0, |(now,)| now)
}

/// The nanoseconds of uptime at a value of [`counter`].
#[cfg(target_os = "none")]
#[must_use]
pub fn at_counter(count: u64) -> u64 {
    let mut scale = SCALE.load(Ordering::Acquire);
    if scale == 0 {
        scale = calibrate();
    }
    scaled(count, scale).wrapping_add(OFFSET.load(Ordering::Relaxed))
}

/// The nanoseconds of uptime at a value of [`counter`].
#[cfg(not(target_os = "none"))]
#[must_use]
pub fn at_counter(count: u64) -> u64 {
    count
}

#[cfg(target_os = "none")]
use core::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds a tick of the counter, as a 32.32 fixed-point number.
#[cfg(target_os = "none")]
static SCALE: AtomicU64 = AtomicU64::new(0);
/// What the kernel's clock is ahead of the counter, in nanoseconds.
#[cfg(target_os = "none")]
static OFFSET: AtomicU64 = AtomicU64::new(0);

#[cfg(target_os = "none")]
fn scaled(count: u64, scale: u64) -> u64 {
    ((u128::from(count) * u128::from(scale)) >> 32) as u64
}

/// Asks the kernel once. The counter is read first: a deadline that the kernel says has passed has
/// passed here, too.
#[cfg(target_os = "none")]
#[cold]
fn calibrate() -> u64 {
    let hertz: u64;
    // SAFETY: reads a register that is readable at EL0 wherever the counter is.
    unsafe {
        core::arch::asm!("mrs {}, cntfrq_el0", out(reg) hertz, options(nomem, nostack));
    }
    let scale = ((SECOND << 32) / hertz.max(1)).max(1);
    let here = scaled(counter(), scale);
    let kernel = sys::clock_now().map_or(here, |(now,)| now);
    OFFSET.store(kernel.wrapping_sub(here), Ordering::Relaxed);
    SCALE.store(scale, Ordering::Release);
    scale
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
