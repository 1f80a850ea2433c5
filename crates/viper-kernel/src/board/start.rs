//! Boot: from the device tree to the first process.

use core::sync::atomic::Ordering;

use aarch64_cpu::registers::{ID_AA64MMFR0_EL1, Readable};
use viper_kernel::Kernel;
use viper_kernel::boot::Found;
use viper_vm::PhysAddr;

use super::machine::{self, Machine};
use super::memory::{self, AllFrames};
use super::tree::Tree;
use super::{archive, direct, gic, smp, time, trap, uart};

/// The first process gets all RAM but this, which stays for kernel objects.
const KERNEL_SHARE: u64 = 16;

#[unsafe(no_mangle)]
extern "C" fn kernel_main(tree_at: u64) -> ! {
    // SAFETY: the boot protocol passes the tree's address; its length is in bytes 4..8, big endian.
    // The tree stays reserved, so that it is valid and unchanged for good.
    let blob: &'static [u8] = unsafe {
        let header = direct(tree_at) as *const u32;
        let len = u32::from_be(header.add(1).read()).min(2 << 20);
        core::slice::from_raw_parts(header.cast(), len as usize)
    };
    let tree = Tree::read(blob).expect("the boot loader passes a device tree with RAM and GIC");
    if let Some((base, line)) = tree.uart {
        uart::init(base, line);
    }
    machine::PSCI_HVC.store(tree.is_psci_hvc, Ordering::Relaxed);
    time::init();
    // The counter may have run for a while before the machine was let go.
    let began = time::now_ns();
    // SAFETY: once, boot core, in this order; nothing was allocated before.
    let (root, ram_bytes, kernel_bytes) = unsafe {
        let (ram, taken) = memory::init(&tree, tree_at).expect("RAM for the frame records");
        let root = memory::map_kernel(&tree).expect("RAM for the kernel's tables");
        let empty = AllFrames.empty_table();
        machine::EMPTY_TABLE.store(empty, Ordering::Relaxed);
        memory::use_tables(root, empty);
        (root, ram, taken)
    };
    gic::init(tree.gic);
    smp::init_core(tree.gic, 0);
    let cores = smp::start_all(&tree, root);
    let asid_max = match ID_AA64MMFR0_EL1.read(ID_AA64MMFR0_EL1::ASIDBits) {
        2 => u16::MAX - 1,
        _ => 255,
    };
    let mut kernel =
        Kernel::new(Machine { asid_max }, AllFrames, cores).expect("RAM for the kernel's records");
    kernel.counters.ram_bytes = ram_bytes;
    kernel.counters.kernel_bytes = kernel_bytes;
    kernel.counters.counter_hz = time::frequency();
    let (start, end) = tree.archive.expect("a boot archive (-initrd)");
    // SAFETY: the loader put the archive there; it is reserved, so that it never changes.
    let files =
        unsafe { core::slice::from_raw_parts(direct(start) as *const u8, (end - start) as usize) };
    let init = archive::find(files, b"init").expect("a file `init` in the boot archive");
    let found = Found {
        init,
        command_line: tree.command_line.as_bytes(),
        archive: (PhysAddr(start), end - start),
        device_tree: (PhysAddr(tree_at), blob.len() as u64),
        devices: (0, tree.ram[0].0),
        lines: (32, 256),
        quota_bytes: ram_bytes - ram_bytes / KERNEL_SHARE - kernel_bytes,
    };
    kernel
        .start_first(&found)
        .expect("the first process starts");
    let now = time::now_ns();
    kernel.counters.first_ns = now - began;
    kernel.counters.idle_ns = began;
    for core in &mut kernel.cores {
        core.since = now;
    }
    // SAFETY: the other cores wait for `IS_READY`.
    unsafe { trap::KERNEL.get().write(kernel) };
    trap::IS_READY.store(true, Ordering::Release);
    trap::enter(0)
}
