//! `devtest`: a driver that was given one virtio slot and the clock, and tries to get at more.
//!
//! Only images for tests have it, switched off; `Servers devtest RESTART` starts it, and
//! `viper-test-suite` and `bench` look at its exit code: how many of its checks failed. It says
//! which on the debug port. When instructions are counted, it also measures what an interrupt costs.

use crate::bench::{Figure, Sampler, median};
use crate::machine::instructions;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use viper_rt::abi::{FOREVER, Handle, Kind, Rights, Signals, Slot};
use viper_rt::handle::{Device, Event, Memory, OwnedHandle, System};
use viper_rt::object::DeviceInfo;
use viper_rt::registers::Registers;
use viper_rt::{Error, Object, clock, program, sys, thread};

/// What the manifest gives this process.
const DMA_BYTES: u64 = 4096;
const SLOT_BYTES: u64 = 0x200;
const THREADS_MAX: usize = 3;
const VIRTIO_MAGIC: u32 = u32::from_le_bytes(*b"virt");

/// Registers of the PL031 (Arm DDI 0224).
mod pl031 {
    pub const DATA: u64 = 0;
    pub const MATCH: u64 = 4;
    pub const MASK: u64 = 0x10;
    pub const CLEAR: u64 = 0x1c;
}

/// Counts failures, and tells about them.
struct Report {
    system: Option<System>,
    failed: i64,
}

impl Report {
    fn say(&self, line: &str) {
        if let Some(system) = &self.system {
            let _ = system.debug_write(line.as_bytes());
        }
    }

    fn want<T: PartialEq + core::fmt::Debug>(&mut self, what: &str, found: T, wanted: T) {
        if found != wanted {
            self.failed += 1;
            self.say(&format!(
                "# devtest: {what}: expected {wanted:?}, got {found:?}\n"
            ));
        }
    }
}

/// Runs the program.
#[must_use]
pub fn run() -> i64 {
    let mut report = Report {
        system: program::take(Slot::SYSTEM).map(OwnedHandle::into_object),
        failed: 0,
    };
    let device = |n| program::take(Slot(Slot::DEVICE.0 + n)).map(OwnedHandle::into_object);
    let (slot, clock): (Option<Device>, Option<Device>) = (device(0), device(1));
    let (Some(slot), Some(clock)) = (slot, clock) else {
        report.say("# devtest: it was not given its devices\n");
        return 1;
    };
    registers(&mut report, &slot);
    interrupts(&mut report, &slot);
    dma(&mut report, &slot);
    fewer_rights(&mut report, &slot);
    narrower(&mut report, &slot);
    derived(&mut report, &slot, &clock);
    nothing_else(&mut report);
    limits(&mut report);
    if let Err(error) = interrupt_arrives(&mut report, clock) {
        report.want("an interrupt", Err(error), Ok(()));
    }
    report.failed
}

/// Its own registers and no others, though they share a page.
fn registers(report: &mut Report, slot: &Device) {
    let len = slot.describe().map(|d| d.len_bytes);
    report.want("a slot's length", len, Ok(SLOT_BYTES));
    report.want("its magic", slot.read(0), Ok(VIRTIO_MAGIC));
    report.want(
        "its last register",
        slot.read(SLOT_BYTES - 4).map(|_| ()),
        Ok(()),
    );
    let outside = [
        SLOT_BYTES,
        SLOT_BYTES + 8,
        SLOT_BYTES - 2,
        2,
        0u64.wrapping_sub(SLOT_BYTES),
        0u64.wrapping_sub(4),
        1 << 32,
    ];
    for offset in outside {
        let what = format!("offset {offset:#x}");
        report.want(&what, slot.read(offset), Err(Error::InvalidArgument));
        report.want(&what, slot.write(offset, 0), Err(Error::InvalidArgument));
    }
    let mapped = sys::device_map(slot.raw());
    report.want("mapping a shared page", mapped, Err(Error::NotSupported));
}

fn interrupts(report: &mut Report, slot: &Device) {
    for index in [1, 2, 32, u32::MAX] {
        let other = slot.interrupt(index).map(drop);
        report.want("another line", other, Err(Error::InvalidArgument));
    }
    // Its own line belongs to the server that drives the slot.
    report.want("its line", slot.interrupt(0).map(drop), Err(Error::Busy));
}

fn dma(report: &mut Report, slot: &Device) {
    let more = slot.dma_memory(DMA_BYTES + 1).map(drop);
    report.want("too much DMA memory", more, Err(Error::LimitReached));
    let all = slot.dma_memory(DMA_BYTES);
    report.want(
        "its DMA memory",
        all.as_ref().map(|_| ()).map_err(|e| *e),
        Ok(()),
    );
    let again = slot.dma_memory(1).map(drop);
    report.want("DMA memory again", again, Err(Error::LimitReached));
    let plain = Memory::new(4096).and_then(|memory| slot.dma_address(&memory));
    report.want("the address of any memory", plain, Err(Error::NotSupported));
}

fn fewer_rights(report: &mut Report, slot: &Device) {
    let Ok(bare) = slot.duplicate(Rights::DUPLICATE) else {
        return report.want("a copy without rights", false, true);
    };
    let no_right = Err(Error::NoRight);
    report.want("read without MAP", bare.read(0).map(drop), no_right);
    report.want("write without MAP", bare.write(0, 0), no_right);
    report.want(
        "map without MAP",
        sys::device_map(bare.raw()).map(drop),
        no_right,
    );
    report.want("line without IRQ", bare.interrupt(0).map(drop), no_right);
    report.want("memory without DMA", bare.dma_memory(1).map(drop), no_right);
    let memory = Memory::contiguous(4096).and_then(|memory| bare.dma_address(&memory));
    report.want("address without DMA", memory.map(drop), no_right);
    let Ok(part) = slot.describe() else { return };
    report.want(
        "narrow without MANAGE",
        bare.narrow(part).map(drop),
        no_right,
    );
}

/// A part of a device is never more than the device.
fn narrower(report: &mut Report, slot: &Device) {
    let Ok(own) = slot.describe() else {
        return report.want("what it is", false, true);
    };
    let more = [
        DeviceInfo {
            base: own.base + SLOT_BYTES,
            ..own
        },
        DeviceInfo {
            base: own.base - SLOT_BYTES,
            ..own
        },
        DeviceInfo {
            len_bytes: SLOT_BYTES + 4,
            ..own
        },
        DeviceInfo {
            len_bytes: u64::MAX - own.base + 1,
            ..own
        },
        DeviceInfo {
            base: 0,
            len_bytes: u64::MAX,
            ..own
        },
        DeviceInfo {
            interrupt_first: own.interrupt_first + 1,
            ..own
        },
        DeviceInfo {
            interrupts: 2,
            ..own
        },
        DeviceInfo {
            interrupts: u32::MAX,
            ..own
        },
        DeviceInfo {
            dma_bytes: own.dma_bytes + 1,
            ..own
        },
    ];
    for part in more {
        let made = slot.narrow(part).map(drop);
        report.want(&format!("{part:x?}"), made, Err(Error::InvalidArgument));
    }
}

/// What is made out of a device has no more rights, and goes when that is revoked.
fn derived(report: &mut Report, slot: &Device, clock: &Device) {
    let narrowed = slot
        .duplicate(Rights::DUPLICATE | Rights::MANAGE)
        .and_then(|middle| Ok((middle.narrow(slot.describe()?)?, middle)));
    match narrowed {
        Ok((part, middle)) => {
            let read = part.read(0).map(drop);
            report.want("more rights by narrowing", read, Err(Error::NoRight));
            report.want("what was narrowed, revoked", middle.revoke(), Ok(1));
            let gone = part.describe().map(drop);
            report.want("a narrowed device after that", gone, Err(Error::BadHandle));
        }
        Err(error) => report.want("narrowing a copy", Err(error), Ok(())),
    }
    let line = clock
        .try_clone()
        .and_then(|middle| Ok((middle.interrupt(0)?, middle)));
    match line {
        Ok((line, middle)) => {
            report.want("a line, revoked", middle.revoke(), Ok(1));
            let gone = line.acknowledge();
            report.want("a line after that", gone, Err(Error::BadHandle));
        }
        Err(error) => report.want("a line of a copy", Err(error), Ok(())),
    }
}

/// None of its other handles, and no number it makes up, is a device.
fn nothing_else(report: &mut Report) {
    let own: Vec<Handle> = (0..2)
        .filter_map(|n| program::peek(Slot(Slot::DEVICE.0 + n)))
        .collect();
    let stray = unowned_device(|handle| own.contains(&handle));
    report.want("a device out of nothing", stray, None);
}

/// A handle by which the caller gets at a device though it was given none: among the handles it
/// has, and numbers it makes up.
pub fn unowned_device(is_given: impl Fn(Handle) -> bool) -> Option<Handle> {
    (0..1 << 14)
        .flat_map(|index| [1u32, 2, 3, 255].map(|generation| Handle(generation << 24 | index)))
        .chain([Handle(0), Handle(u32::MAX)])
        .filter(|handle| !is_given(*handle))
        .find(|&handle| {
            sys::device_read(handle, 0).is_ok()
                || sys::device_map(handle).is_ok()
                || sys::device_info(handle).is_ok()
                || sys::interrupt_create(handle, 0).is_ok()
                || sys::dma_create(handle, 4096).is_ok()
                || viper_rt::handle::query(handle).is_ok_and(|info| info.kind == Kind::DEVICE)
        })
}

/// No more threads and handles than the manifest says.
fn limits(report: &mut Report) {
    let threads: Vec<_> = (0..THREADS_MAX)
        .map(|_| thread::spawn(|| clock::sleep(10 * clock::MILLISECOND)))
        .collect();
    let errors: Vec<_> = threads
        .iter()
        .filter_map(|t| t.as_ref().err().copied())
        .collect();
    report.want(
        "threads beyond the limit",
        errors,
        alloc::vec![Error::LimitReached],
    );
    for thread in threads.into_iter().flatten() {
        let _ = thread.join(FOREVER);
    }
    let events: Vec<_> = (0..100).map(|_| Event::new()).collect();
    let errors = events
        .iter()
        .filter_map(|e| e.as_ref().err().copied())
        .next();
    report.want(
        "handles beyond the limit",
        errors,
        Some(Error::LimitReached),
    );
}

/// What the interrupt's thread saw.
#[derive(Default)]
struct Seen {
    /// The instruction counter when it was woken last.
    count: AtomicU32,
    /// How often it was woken.
    times: AtomicU32,
}

const ROUNDS: usize = 101;

/// The clock's alarm reaches a thread of ours; with a counter, tells what that costs.
fn interrupt_arrives(report: &mut Report, device: Device) -> Result<(), Error> {
    let interrupt = device.interrupt(0)?;
    let theirs = Registers::new(device.try_clone()?)?;
    let clock = Registers::new(device)?;
    let seen = Arc::new(Seen::default());
    clock.write(pl031::CLEAR, 1);
    clock.write(pl031::MASK, 1);
    let told = Arc::clone(&seen);
    let options = thread::Options {
        priority: 5,
        ..thread::Options::default()
    };
    let driver = thread::spawn_with(options, move || {
        for _ in 0..ROUNDS {
            if interrupt.wait(Signals::INTERRUPT, FOREVER).is_err() {
                return;
            }
            told.count.store(instructions(), Ordering::Relaxed);
            theirs.write(pl031::CLEAR, 1);
            told.times.fetch_add(1, Ordering::Relaxed);
            let _ = interrupt.acknowledge();
        }
    })?;
    // From here on the driver is the more important one.
    sys::thread_set(Handle::NONE, 3)?;
    clock::sleep(clock::MILLISECOND);
    let (mut arrived, mut returned) = (Vec::new(), Vec::new());
    // One that comes later than it is waited for counts as the driver's, but its time is not known.
    while (seen.times.load(Ordering::Relaxed) as usize) < ROUNDS {
        let times = seen.times.load(Ordering::Relaxed);
        let now = clock.read(pl031::DATA);
        let start = instructions();
        clock.write(pl031::MATCH, now);
        let back = instructions();
        let deadline = clock::after(10 * clock::MILLISECOND);
        while seen.times.load(Ordering::Relaxed) == times && clock::now() < deadline {
            clock::sleep(clock::MILLISECOND);
        }
        // Or the second was over in between.
        if seen.times.load(Ordering::Relaxed) != times {
            arrived.push(seen.count.load(Ordering::Relaxed).wrapping_sub(start));
            returned.push(back.wrapping_sub(start));
        }
    }
    driver.join(FOREVER)?;
    clock.write(pl031::MASK, 0);
    if median(&mut arrived) != 0 {
        let overhead = Sampler::new().overhead();
        for (name, values) in [
            ("irq-to-driver", &mut arrived),
            ("irq-with-acknowledge", &mut returned),
        ] {
            let figure = Figure {
                row: 6,
                name,
                value: median(values).saturating_sub(overhead),
                unit: "instructions",
                ipcs: None,
            };
            let line: String = format!("{figure}\n");
            report.say(&line);
        }
    }
    Ok(())
}
