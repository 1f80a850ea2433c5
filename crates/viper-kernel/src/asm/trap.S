// Into the kernel and out of it.
//
// TPIDR_EL1 holds the context of what runs on this core: a thread's, or the core's idle context.
// The kernel is event-driven: it never blocks, so each core has one stack, empty at each entry.
// The Rust handlers return the context to go on with; `resume` loads it.
//
// A system call loses x0-x18 by contract (docs/abi), so they are not saved beyond the arguments
// x0-x8. What stands in x9-x18 afterwards is what the thread had there when it was last
// interrupted: its own values, never the kernel's. x19-x28 and the system registers of the thread
// survive the handlers, which are ordinary functions; so they are saved only when another thread
// goes on. Until then the kernel lock stays held, so that no other core takes the thread up.

.equ CTX_X,     0
.equ CTX_SP,    248
.equ CTX_PC,    256
.equ CTX_PSTATE, 264
.equ CTX_TLS,   272
.equ CTX_IPC,   280
.equ CTX_TTBR0, 288

.macro save_high ctx
    stp x19, x20, [\ctx, #CTX_X + 19 * 8]
    stp x21, x22, [\ctx, #CTX_X + 21 * 8]
    stp x23, x24, [\ctx, #CTX_X + 23 * 8]
    stp x25, x26, [\ctx, #CTX_X + 25 * 8]
    stp x27, x28, [\ctx, #CTX_X + 27 * 8]
    mrs x19, sp_el0
    mrs x20, elr_el1
    mrs x21, spsr_el1
    mrs x22, tpidr_el0
    stp x19, x20, [\ctx, #CTX_SP]
    stp x21, x22, [\ctx, #CTX_PSTATE]
.endm

// All registers; x9 and x10 are below the stack, which is empty; x10 is the context.
.macro save_all
    stp x0, x1, [x10, #CTX_X]
    stp x2, x3, [x10, #CTX_X + 2 * 8]
    stp x4, x5, [x10, #CTX_X + 4 * 8]
    stp x6, x7, [x10, #CTX_X + 6 * 8]
    ldp x0, x1, [sp, #-16]
    str x8, [x10, #CTX_X + 8 * 8]
    str x0, [x10, #CTX_X + 9 * 8]
    stp x1, x11, [x10, #CTX_X + 10 * 8]
    stp x12, x13, [x10, #CTX_X + 12 * 8]
    stp x14, x15, [x10, #CTX_X + 14 * 8]
    stp x16, x17, [x10, #CTX_X + 16 * 8]
    str x18, [x10, #CTX_X + 18 * 8]
    stp x29, x30, [x10, #CTX_X + 29 * 8]
    save_high x10
    mov x0, x10
    mov x29, xzr
.endm

// Lets other cores into the kernel: `KernelLock::release`.
.macro unlock
    adrp x2, KERNEL_LOCK
    ldrb w3, [x2, #:lo12:KERNEL_LOCK + 8]   // is_shared
    cbz w3, 8f
    add x2, x2, #:lo12:KERNEL_LOCK          // is_held
    stlr wzr, [x2]
8:
.endm

.macro entry
    .balign 0x80
.endm

.section .text.vectors, "ax"
.balign 0x800
.global vectors
vectors:
    // Current level with SP_EL0: never used.
    .rept 4
    entry
    b unexpected
    .endr
    // Current level with SP_ELx.
    entry
    b kernel_sync
    entry                                   // IRQ: only the idle loop lets them in
    mrs x0, tpidr_el1
    mov x29, xzr
    bl trap_interrupt
    b resume
    entry
    b unexpected
    entry
    b unexpected
    // Lower level, AArch64. System calls go on right here.
    entry
    stp x9, x10, [sp, #-16]
    mrs x9, esr_el1
    mov w10, #0x56000000                    // SVC from AArch64; below, its immediate
    sub w9, w9, w10
    mrs x10, tpidr_el1
    cmp w9, #0x10, lsl #12
    b.hs user_fault
    stp x0, x1, [x10, #CTX_X]
    stp x2, x3, [x10, #CTX_X + 2 * 8]
    stp x4, x5, [x10, #CTX_X + 4 * 8]
    stp x6, x7, [x10, #CTX_X + 6 * 8]
    str x8, [x10, #CTX_X + 8 * 8]
    stp x29, x30, [x10, #CTX_X + 29 * 8]
    cmp w9, #11
    b.eq short_call
    cmp w9, #14
    b.eq short_reply_receive
    cmp w9, #21
    b.eq short_signal
    cmp w9, #22
    b.eq short_wait
    b system_call
    entry
    stp x9, x10, [sp, #-16]
    mrs x10, tpidr_el1
    b user_interrupt
    entry
    b unexpected
    entry
    stp x9, x10, [sp, #-16]                 // SError: the process that caused it ends
    mrs x10, tpidr_el1
    b user_fault
    // Lower level, AArch32: not supported, no such thread can be made.
    .rept 4
    entry
    b unexpected
    .endr

user_fault:
    save_all
    mrs x1, esr_el1
    mrs x2, far_el1
    bl trap_fault
    b resume

user_interrupt:
    save_all
    bl trap_interrupt
    b resume

.balign 64
short_call:
    mov x3, x8
    mov x2, x10
    bl trap_call                            // null: it does not fit the short way
    tbnz x0, #0, vectors_across             // bit 0: vector registers have to be exchanged
    cbnz x0, switch
    mov w1, #11
    b long
short_reply_receive:
    mov x3, x8
    mov x2, x10
    bl trap_reply_receive
    tbnz x0, #0, vectors_across
    cbnz x0, switch
    mov w1, #14
    b long
short_signal:
    mov x2, x10
    bl trap_signal
    cbnz x0, stay
    mov w1, #21
    b long
short_wait:
    mov x3, x2
    mov x2, x10
    bl trap_wait
    tbnz x0, #0, vectors_across
    cbnz x0, go_on
    mov w1, #22
long:
    mov x29, xzr
    mrs x0, tpidr_el1
    bl trap_long
    b go_on
system_call:
    mov w1, w9
    mov x0, x10
    mov x29, xzr
    bl trap_syscall

// After a system call: goes on with the context in x0. The lock is held.
go_on:
    mrs x1, tpidr_el1
    cmp x0, x1
    b.ne 1f
stay:
    unlock
    ldp x29, x30, [x0, #CTX_X + 29 * 8]
    b low
1:  cbnz x1, switch
    b 2f                                    // the thread that made the call has ended
vectors_across:
    mrs x1, tpidr_el1
    mov x29, xzr
    bl trap_vectors
switch:
    mrs x1, tpidr_el1
    save_high x1
2:  unlock
resume_other:
    ldp x2, x3, [x0, #CTX_TLS]              // and CTX_IPC
    ldr x4, [x0, #CTX_TTBR0]
    msr tpidr_el1, x0
    msr tpidr_el0, x2
    msr tpidrro_el0, x3
    msr ttbr0_el1, x4
resume_same:
    ldp x1, x2, [x0, #CTX_SP]
    ldr x3, [x0, #CTX_PSTATE]
    msr sp_el0, x1
    msr elr_el1, x2
    msr spsr_el1, x3
    ldp x29, x30, [x0, #CTX_X + 29 * 8]
    ldp x27, x28, [x0, #CTX_X + 27 * 8]
    ldp x25, x26, [x0, #CTX_X + 25 * 8]
    ldp x23, x24, [x0, #CTX_X + 23 * 8]
    ldp x21, x22, [x0, #CTX_X + 21 * 8]
    ldp x19, x20, [x0, #CTX_X + 19 * 8]
low:
    ldp x17, x18, [x0, #CTX_X + 17 * 8]
    ldp x15, x16, [x0, #CTX_X + 15 * 8]
    ldp x13, x14, [x0, #CTX_X + 13 * 8]
    ldp x11, x12, [x0, #CTX_X + 11 * 8]
    ldp x9, x10, [x0, #CTX_X + 9 * 8]
    ldp x7, x8, [x0, #CTX_X + 7 * 8]
    ldp x5, x6, [x0, #CTX_X + 5 * 8]
    ldp x3, x4, [x0, #CTX_X + 3 * 8]
    ldr x2, [x0, #CTX_X + 2 * 8]
    ldp x0, x1, [x0, #CTX_X]
    eret

// Goes on with the context in x0, when all of the one that ran here is saved.
.global resume
resume:
    mrs x1, tpidr_el1
    cmp x0, x1
    b.ne resume_other
    b resume_same

unexpected:
    mrs x0, esr_el1
    mrs x1, elr_el1
    mrs x2, far_el1
    mov x3, x29
    bl trap_kernel_fault
0:  wfi
    b 0b

// A synchronous exception in the kernel: a user copy that met a hole, or a bug.
kernel_sync:
    mrs x16, elr_el1
    adr x17, user_copy_start
    cmp x16, x17
    b.lo unexpected
    adr x17, user_copy_end
    cmp x16, x17
    b.hs unexpected
    adr x17, user_copy_fixup
    msr elr_el1, x17
    eret

// Where an idle core waits. SP is the empty stack, so that an interrupt finds it so.
.global idle_loop
idle_loop:
    wfi
    b idle_loop

// Copies between the kernel and user memory by unprivileged accesses: what the user may not
// touch, they may not touch. x0 = to, x1 = from, x2 = length; returns 0, or 1 after a fault. A
// fault overwrites where the thread goes on, so that is kept in x4 and x5.
.global user_copy_in
.global user_copy_out
user_copy_start:
user_copy_in:
    mrs x4, elr_el1
    mrs x5, spsr_el1
    cmp x2, #8
    b.lo 2f
1:  ldtr x3, [x1]
    sub x2, x2, #8
    str x3, [x0], #8
    add x1, x1, #8
    cmp x2, #8
    b.hs 1b
2:  cbz x2, 4f
3:  ldtrb w3, [x1]
    add x1, x1, #1
    strb w3, [x0], #1
    subs x2, x2, #1
    b.ne 3b
4:  mov x0, #0
    ret
user_copy_out:
    mrs x4, elr_el1
    mrs x5, spsr_el1
    cmp x2, #8
    b.lo 2f
1:  ldr x3, [x1], #8
    sttr x3, [x0]
    add x0, x0, #8
    sub x2, x2, #8
    cmp x2, #8
    b.hs 1b
2:  cbz x2, 4f
3:  ldrb w3, [x1], #1
    sttrb w3, [x0]
    add x0, x0, #1
    subs x2, x2, #1
    b.ne 3b
4:  mov x0, #0
    ret
user_copy_end:
user_copy_fixup:
    msr elr_el1, x4
    msr spsr_el1, x5
    mov x0, #1
    ret

.arch_extension fp
.arch_extension simd
// x0 = where to: 32 vector registers, FPCR, FPSR.
.global fp_save
fp_save:
    stp q0, q1, [x0, #0]
    stp q2, q3, [x0, #32]
    stp q4, q5, [x0, #64]
    stp q6, q7, [x0, #96]
    stp q8, q9, [x0, #128]
    stp q10, q11, [x0, #160]
    stp q12, q13, [x0, #192]
    stp q14, q15, [x0, #224]
    stp q16, q17, [x0, #256]
    stp q18, q19, [x0, #288]
    stp q20, q21, [x0, #320]
    stp q22, q23, [x0, #352]
    stp q24, q25, [x0, #384]
    stp q26, q27, [x0, #416]
    stp q28, q29, [x0, #448]
    stp q30, q31, [x0, #480]
    add x0, x0, #512
    mrs x1, fpcr
    mrs x2, fpsr
    stp x1, x2, [x0]
    ret
// x0 = where from.
.global fp_load
fp_load:
    ldp q0, q1, [x0, #0]
    ldp q2, q3, [x0, #32]
    ldp q4, q5, [x0, #64]
    ldp q6, q7, [x0, #96]
    ldp q8, q9, [x0, #128]
    ldp q10, q11, [x0, #160]
    ldp q12, q13, [x0, #192]
    ldp q14, q15, [x0, #224]
    ldp q16, q17, [x0, #256]
    ldp q18, q19, [x0, #288]
    ldp q20, q21, [x0, #320]
    ldp q22, q23, [x0, #352]
    ldp q24, q25, [x0, #384]
    ldp q26, q27, [x0, #416]
    ldp q28, q29, [x0, #448]
    ldp q30, q31, [x0, #480]
    add x0, x0, #512
    ldp x1, x2, [x0]
    msr fpcr, x1
    msr fpsr, x2
    ret

// Leaves the boot stack: x0 = context. The stack of this core is empty from now on.
.global enter_context
enter_context:
    ldr w2, [x0, #CTX_TTBR0 + 12]       // core
    ldr x1, =__stacks
    add x2, x2, #1
    add x1, x1, x2, lsl #15
    mov sp, x1
    msr tpidr_el1, xzr
    b resume
.ltorg
