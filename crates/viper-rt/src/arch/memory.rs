//! `memcpy`, `memmove` and `memset` with pairs of vector registers: 64 bytes a round, and 256 for
//! long copies.
//!
//! The compiler calls these by name. Those of `compiler_builtins` are weak and four times slower.
//! Small and odd lengths copy a head and a tail that overlap, so that no loop handles single
//! bytes. Unaligned accesses are fine: memory is Normal and alignment checks are off at EL0.

use core::arch::naked_asm;

/// Copies `n` bytes; the ranges do not overlap.
///
/// # Safety
/// As in C: both ranges are valid. (They may even overlap: it is `memmove`.)
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    naked_asm!("b {}", sym memmove)
}

/// Copies `n` bytes; the ranges may overlap.
///
/// # Safety
/// As in C: both ranges are valid.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    naked_asm!(
        "add x4, x1, x2", // end of source
        "add x5, x0, x2", // end of target
        "cmp x2, #16",
        "b.lo 2f",
        "cmp x2, #64",
        "b.hi 5f",
        // 16..=64: up to four pairs, all loads before all stores.
        "ldr q0, [x1]",
        "ldr q3, [x4, #-16]",
        "cmp x2, #32",
        "b.ls 1f",
        "ldr q1, [x1, #16]",
        "ldr q2, [x4, #-32]",
        "str q1, [x0, #16]",
        "str q2, [x5, #-32]",
        "1: str q0, [x0]",
        "str q3, [x5, #-16]",
        "ret",
        // 0..=15: 8, 4, 2 or 1 at each end.
        "2: tbz x2, #3, 3f",
        "ldr x6, [x1]",
        "ldr x7, [x4, #-8]",
        "str x6, [x0]",
        "str x7, [x5, #-8]",
        "ret",
        "3: tbz x2, #2, 4f",
        "ldr w6, [x1]",
        "ldr w7, [x4, #-4]",
        "str w6, [x0]",
        "str w7, [x5, #-4]",
        "ret",
        "4: cbz x2, 9f",
        "lsr x8, x2, #1", // 1: 0, 2: 1, 3: 1
        "ldrb w6, [x1]",
        "ldrb w9, [x1, x8]",
        "ldrb w7, [x4, #-1]",
        "strb w6, [x0]",
        "strb w9, [x0, x8]",
        "strb w7, [x5, #-1]",
        "9: ret",
        // More than 64: forwards, unless the target begins inside of the source.
        "5: sub x6, x0, x1",
        "cmp x6, x2",
        "b.lo 7f",
        // The last 64 bytes go last but are loaded first: an overlap below must not eat them.
        "ldp q4, q5, [x4, #-64]",
        "ldp q6, q7, [x4, #-32]",
        "mov x3, x0",
        "sub x2, x2, #64",
        "cmp x2, #256",
        "b.lo 6f",
        // 256 at a time, as long as so much is left before the last 64.
        "10: ldp q16, q17, [x1], #32",
        "ldp q18, q19, [x1], #32",
        "ldp q20, q21, [x1], #32",
        "ldp q22, q23, [x1], #32",
        "ldp q24, q25, [x1], #32",
        "ldp q26, q27, [x1], #32",
        "ldp q28, q29, [x1], #32",
        "ldp q30, q31, [x1], #32",
        "sub x2, x2, #256",
        "stp q16, q17, [x3], #32",
        "stp q18, q19, [x3], #32",
        "stp q20, q21, [x3], #32",
        "stp q22, q23, [x3], #32",
        "stp q24, q25, [x3], #32",
        "stp q26, q27, [x3], #32",
        "stp q28, q29, [x3], #32",
        "cmp x2, #256",
        "stp q30, q31, [x3], #32",
        "b.hs 10b",
        "cbz x2, 11f",
        "6: ldp q0, q1, [x1]",
        "ldp q2, q3, [x1, #32]",
        "add x1, x1, #64",
        "subs x2, x2, #64",
        "stp q0, q1, [x3]",
        "stp q2, q3, [x3, #32]",
        "add x3, x3, #64",
        "b.hi 6b",
        "11: stp q4, q5, [x5, #-64]",
        "stp q6, q7, [x5, #-32]",
        "ret",
        // Backwards: the first 64 bytes go last.
        "7: ldp q4, q5, [x1]",
        "ldp q6, q7, [x1, #32]",
        "sub x2, x2, #64",
        "8: ldp q0, q1, [x4, #-64]",
        "ldp q2, q3, [x4, #-32]",
        "sub x4, x4, #64",
        "subs x2, x2, #64",
        "stp q0, q1, [x5, #-64]",
        "stp q2, q3, [x5, #-32]",
        "sub x5, x5, #64",
        "b.hi 8b",
        "stp q4, q5, [x0]",
        "stp q6, q7, [x0, #32]",
        "ret",
    )
}

/// Fills `n` bytes with `value`.
///
/// # Safety
/// As in C: the range is valid.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, n: usize) -> *mut u8 {
    naked_asm!(
        "dup v0.16b, w1",
        "add x4, x0, x2",
        "cmp x2, #16",
        "b.lo 2f",
        "cmp x2, #64",
        "b.hi 5f",
        "str q0, [x0]",
        "str q0, [x4, #-16]",
        "cmp x2, #32",
        "b.ls 1f",
        "str q0, [x0, #16]",
        "str q0, [x4, #-32]",
        "1: ret",
        "2: umov x1, v0.d[0]",
        "tbz x2, #3, 3f",
        "str x1, [x0]",
        "str x1, [x4, #-8]",
        "ret",
        "3: tbz x2, #2, 4f",
        "str w1, [x0]",
        "str w1, [x4, #-4]",
        "ret",
        "4: cbz x2, 1b",
        "lsr x5, x2, #1",
        "strb w1, [x0]",
        "strb w1, [x0, x5]",
        "strb w1, [x4, #-1]",
        "ret",
        "5: mov x3, x0",
        "sub x2, x2, #64",
        "6: stp q0, q0, [x3]",
        "stp q0, q0, [x3, #32]",
        "add x3, x3, #64",
        "subs x2, x2, #64",
        "b.hi 6b",
        "stp q0, q0, [x4, #-64]",
        "stp q0, q0, [x4, #-32]",
        "ret",
    )
}
