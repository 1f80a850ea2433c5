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

/// Makes a system call with all vector registers filled from `seed`; gives `x0..=x8`, and whether
/// the vector registers were the same afterwards.
///
/// # Safety
/// As for [`system_call`].
#[must_use]
pub unsafe fn call_with_vectors<const NUMBER: u16>(mut r: [u64; 9], seed: u64) -> ([u64; 9], bool) {
    #[cfg(target_os = "none")]
    {
        use core::arch::asm;
        let mut lanes = [[0u64; 2]; 32];
        for (at, lane) in (0u64..).zip(&mut lanes) {
            *lane = [seed ^ at.wrapping_mul(0x9e37_79b9_7f4a_7c15), seed + at];
        }
        let mut after = [[0u64; 2]; 32];
        let (from, to) = (lanes.as_ptr(), after.as_mut_ptr());
        // SAFETY: loads 512 bytes of `lanes`, stores as many to `after`; all vector registers are
        // named as lost, and so is what a system call may change. For memory the caller answers.
        unsafe {
            asm!(
                "ld1 {{v0.2d-v3.2d}}, [x21], #64", "ld1 {{v4.2d-v7.2d}}, [x21], #64",
                "ld1 {{v8.2d-v11.2d}}, [x21], #64", "ld1 {{v12.2d-v15.2d}}, [x21], #64",
                "ld1 {{v16.2d-v19.2d}}, [x21], #64", "ld1 {{v20.2d-v23.2d}}, [x21], #64",
                "ld1 {{v24.2d-v27.2d}}, [x21], #64", "ld1 {{v28.2d-v31.2d}}, [x21], #64",
                "svc #{n}",
                "st1 {{v0.2d-v3.2d}}, [x22], #64", "st1 {{v4.2d-v7.2d}}, [x22], #64",
                "st1 {{v8.2d-v11.2d}}, [x22], #64", "st1 {{v12.2d-v15.2d}}, [x22], #64",
                "st1 {{v16.2d-v19.2d}}, [x22], #64", "st1 {{v20.2d-v23.2d}}, [x22], #64",
                "st1 {{v24.2d-v27.2d}}, [x22], #64", "st1 {{v28.2d-v31.2d}}, [x22], #64",
                n = const NUMBER,
                inlateout("x0") r[0], inlateout("x1") r[1], inlateout("x2") r[2],
                inlateout("x3") r[3], inlateout("x4") r[4], inlateout("x5") r[5],
                inlateout("x6") r[6], inlateout("x7") r[7], inlateout("x8") r[8],
                inout("x21") from => _, inout("x22") to => _,
                lateout("x9") _, lateout("x10") _, lateout("x11") _, lateout("x12") _,
                lateout("x13") _, lateout("x14") _, lateout("x15") _, lateout("x16") _,
                lateout("x17") _, lateout("x18") _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
                out("v6") _, out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                out("v12") _, out("v13") _, out("v14") _, out("v15") _, out("v16") _,
                out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
                out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _,
                out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            );
        }
        (r, lanes == after)
    }
    #[cfg(not(target_os = "none"))]
    {
        let _ = (seed, NUMBER, &mut r);
        (r, true)
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
