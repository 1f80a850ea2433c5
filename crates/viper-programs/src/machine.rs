//! What no safe code can say: counters, system calls by number, and faults on purpose.
#![allow(
    unsafe_code,
    reason = "the programs that test and measure the kernel need the machine"
)]

/// Instructions this core retired; stands still unless the machine counts instructions.
#[inline(always)]
#[must_use]
pub fn instructions() -> u32 {
    #[cfg(target_os = "none")]
    {
        let count: u64;
        // SAFETY: reads a counter that the kernel opens to EL0 (PMUSERENR_EL0).
        unsafe { core::arch::asm!("isb", "mrs {}, pmevcntr0_el0", out(reg) count) };
        count as u32
    }
    #[cfg(not(target_os = "none"))]
    0
}

/// Highest system-call number that [`system_call`] can make.
pub const NUMBER_MAX: u16 = 127;

/// Makes any system call with any registers `x0..=x8`; returns `x0..=x8`.
///
/// # Safety
/// The call must not change memory, mappings or handles that the rest of the program relies on.
#[must_use]
pub unsafe fn system_call(number: u16, registers: [u64; 9]) -> [u64; 9] {
    #[cfg(target_os = "none")]
    {
        let mut r = registers;
        let number = u64::from(number.min(NUMBER_MAX));
        // SAFETY: jumps to the pair `svc #number; b` of the table below; the kernel changes no
        // register but `x0..=x18`. For memory the caller answers.
        unsafe {
            core::arch::asm!(
                "adr x10, 2f",
                "add x10, x10, x9, lsl #3",
                "br x10",
                "2:",
                ".set viper_number, 0",
                ".rept 128",
                ".long 0xd4000001 | (viper_number << 5)",
                "b 3f",
                ".set viper_number, viper_number + 1",
                ".endr",
                "3:",
                inlateout("x0") r[0], inlateout("x1") r[1], inlateout("x2") r[2],
                inlateout("x3") r[3], inlateout("x4") r[4], inlateout("x5") r[5],
                inlateout("x6") r[6], inlateout("x7") r[7], inlateout("x8") r[8],
                inlateout("x9") number => _, lateout("x10") _, lateout("x11") _,
                lateout("x12") _, lateout("x13") _, lateout("x14") _, lateout("x15") _,
                lateout("x16") _, lateout("x17") _, lateout("x18") _,
            );
        }
        r
    }
    #[cfg(not(target_os = "none"))]
    {
        let _ = number;
        registers
    }
}

/// Loads a word from an address, whatever is there.
///
/// # Safety
/// Meant to fault: the process must be ready to end here.
pub unsafe fn load(address: u64) -> u64 {
    // SAFETY: the caller's.
    unsafe { core::ptr::read_volatile(core::hint::black_box(address) as *const u64) }
}

/// Stores a word at an address, whatever is there.
///
/// # Safety
/// Meant to fault: the process must be ready to end here.
pub unsafe fn store(address: u64) {
    // SAFETY: the caller's.
    unsafe { core::ptr::write_volatile(core::hint::black_box(address) as *mut u64, 1) }
}

/// Executes whatever is at an address.
///
/// # Safety
/// Meant to fault: the process must be ready to end here.
pub unsafe fn jump(address: u64) {
    #[cfg(target_os = "none")]
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!("blr {}", in(reg) address, clobber_abi("C"));
    }
    #[cfg(not(target_os = "none"))]
    let _ = address;
}

/// Executes an instruction that is undefined for ever.
pub fn illegal() {
    #[cfg(target_os = "none")]
    // SAFETY: `udf` changes nothing: the kernel ends the process.
    unsafe {
        core::arch::asm!("udf #0");
    }
}

/// Executes a breakpoint.
pub fn breakpoint() {
    #[cfg(target_os = "none")]
    // SAFETY: `brk` changes nothing: the kernel ends the process.
    unsafe {
        core::arch::asm!("brk #0");
    }
}

/// Uses more stack than there is.
#[must_use]
pub fn overflow(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 64]);
    if frame[0] == u64::MAX {
        return 0;
    }
    overflow(depth + 1).wrapping_add(core::hint::black_box(&frame)[7])
}
