//! The board: QEMU `virt` and machines like it. Registers, assembly and boot live here; every
//! decision is the library's.

mod archive;
mod cell;
mod gic;
mod heap;
mod machine;
mod memory;
mod panic;
mod smp;
mod start;
mod time;
mod trap;
mod tree;
mod uart;

core::arch::global_asm!(include_str!("../asm/boot.S"), options(raw));
core::arch::global_asm!(include_str!("../asm/trap.S"), options(raw));
core::arch::global_asm!(include_str!("../asm/mem.S"), options(raw));

/// Where physical address zero is mapped.
pub const OFFSET: u64 = 0xffff_ff80_0000_0000;

/// The direct map's address of a physical address.
#[inline]
pub const fn direct(pa: u64) -> u64 {
    OFFSET + pa
}
