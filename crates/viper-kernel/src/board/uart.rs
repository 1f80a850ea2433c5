//! The debug port: a PL011, polled. For panics, faults and recovery only; in normal operation the
//! console server owns the device.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::direct;

static BASE: AtomicU64 = AtomicU64::new(0);
static LINE: AtomicU32 = AtomicU32::new(0);

const DATA: u64 = 0x00;
const FLAGS: u64 = 0x18;
const CONTROL: u64 = 0x30;
const INTERRUPT_MASK: u64 = 0x38;
const INTERRUPT_CLEAR: u64 = 0x44;
const TX_FULL: u32 = 1 << 5;
const RX_EMPTY: u32 = 1 << 4;

/// Uses the PL011 at a physical address, with its interrupt line.
pub fn init(base: u64, line: u32) {
    BASE.store(direct(base), Ordering::Relaxed);
    LINE.store(line, Ordering::Relaxed);
    write(CONTROL, 0x301); // enabled, transmit, receive
}

/// Its interrupt line.
pub fn line() -> Option<u32> {
    match LINE.load(Ordering::Relaxed) {
        0 => None,
        line => Some(line),
    }
}

/// Writes text.
pub fn put(text: &[u8]) {
    if BASE.load(Ordering::Relaxed) == 0 {
        return;
    }
    for &byte in text {
        while read(FLAGS) & TX_FULL != 0 {}
        write(DATA, u32::from(byte));
    }
}

/// Takes what was received; with nothing there, asks for an interrupt at the next byte.
pub fn take(text: &mut [u8]) -> usize {
    if BASE.load(Ordering::Relaxed) == 0 {
        return 0;
    }
    let mut count = 0;
    while count < text.len() && read(FLAGS) & RX_EMPTY == 0 {
        text[count] = read(DATA) as u8;
        count += 1;
    }
    if count == 0 {
        write(INTERRUPT_CLEAR, 0x7ff);
        write(INTERRUPT_MASK, 1 << 4 | 1 << 6); // receive, receive time-out
    }
    count
}

fn read(register: u64) -> u32 {
    let at = BASE.load(Ordering::Relaxed) + register;
    // SAFETY: the base is that of a PL011 by the device tree, mapped as device memory.
    unsafe { (at as *const u32).read_volatile() }
}

fn write(register: u64, value: u32) {
    let at = BASE.load(Ordering::Relaxed) + register;
    // SAFETY: as in `read`.
    unsafe { (at as *mut u32).write_volatile(value) }
}
