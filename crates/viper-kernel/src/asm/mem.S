// Copying and filling memory for the kernel, which has no vector registers: eight words a round.
// Unaligned accesses are fine: the kernel's memory is normal memory and SCTLR_EL1.A is clear.

.section .text.mem, "ax"

// x0 = to, x1 = from, x2 = length. Returns x0.
.global memcpy
.balign 16
memcpy:
    mov x3, x0
    subs x2, x2, #64
    b.lo 2f
1:  ldp x4, x5, [x1]
    ldp x6, x7, [x1, #16]
    ldp x8, x9, [x1, #32]
    ldp x10, x11, [x1, #48]
    add x1, x1, #64
    stp x4, x5, [x3]
    stp x6, x7, [x3, #16]
    stp x8, x9, [x3, #32]
    stp x10, x11, [x3, #48]
    add x3, x3, #64
    subs x2, x2, #64
    b.hs 1b
2:  tbz x2, #5, 3f                      // the low six bits are those of the length
    ldp x4, x5, [x1]
    ldp x6, x7, [x1, #16]
    add x1, x1, #32
    stp x4, x5, [x3]
    stp x6, x7, [x3, #16]
    add x3, x3, #32
3:  tbz x2, #4, 4f
    ldp x4, x5, [x1], #16
    stp x4, x5, [x3], #16
4:  tbz x2, #3, 5f
    ldr x4, [x1], #8
    str x4, [x3], #8
5:  tst x2, #7
    b.eq 9f
    tbz x2, #2, 6f
    ldr w4, [x1], #4
    str w4, [x3], #4
6:  tbz x2, #1, 7f
    ldrh w4, [x1], #2
    strh w4, [x3], #2
7:  tbz x2, #0, 9f
    ldrb w4, [x1]
    strb w4, [x3]
9:  ret

// The same where the two may overlap.
.global memmove
.balign 16
memmove:
    sub x3, x0, x1
    cmp x3, x2
    b.hs memcpy                         // to does not begin inside of from
    add x3, x0, x2
    add x1, x1, x2
    subs x2, x2, #16
    b.lo 2f
1:  ldp x4, x5, [x1, #-16]!
    stp x4, x5, [x3, #-16]!
    subs x2, x2, #16
    b.hs 1b
2:  tbz x2, #3, 3f
    ldr x4, [x1, #-8]!
    str x4, [x3, #-8]!
3:  ands x2, x2, #7
    b.eq 5f
4:  ldrb w4, [x1, #-1]!
    strb w4, [x3, #-1]!
    subs x2, x2, #1
    b.ne 4b
5:  ret

// x0 = to, w1 = byte, x2 = length. Returns x0.
.global memset
.balign 16
memset:
    mov x3, x0
    and x1, x1, #0xff
    orr x1, x1, x1, lsl #8
    orr x1, x1, x1, lsl #16
    orr x1, x1, x1, lsl #32
    subs x2, x2, #64
    b.lo 2f
1:  stp x1, x1, [x3]
    stp x1, x1, [x3, #16]
    stp x1, x1, [x3, #32]
    stp x1, x1, [x3, #48]
    add x3, x3, #64
    subs x2, x2, #64
    b.hs 1b
2:  tbz x2, #5, 3f
    stp x1, x1, [x3]
    stp x1, x1, [x3, #16]
    add x3, x3, #32
3:  tbz x2, #4, 4f
    stp x1, x1, [x3], #16
4:  tbz x2, #3, 5f
    str x1, [x3], #8
5:  tst x2, #7
    b.eq 9f
    tbz x2, #2, 6f
    str w1, [x3], #4
6:  tbz x2, #1, 7f
    strh w1, [x3], #2
7:  tbz x2, #0, 9f
    strb w1, [x3]
9:  ret
