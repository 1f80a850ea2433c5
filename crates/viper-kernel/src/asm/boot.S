// Reset to Rust: drop to EL1, turn the MMU on with boot tables, jump to the high half.
//
// Boot tables: the first gigabyte as device memory, the next four as RAM, both at their own
// address (TTBR0, dropped again at once) and at OFFSET (TTBR1).

.equ OFFSET, 0xffffff8000000000

.section .head, "ax"
.global _head
_head:
    b _start                            // code0
    .long 0                             // code1
    .quad 0x200000                      // text_offset
    .quad __image_size
    .quad 0b1010                        // little endian, 4 KiB pages, anywhere
    .quad 0, 0, 0
    .ascii "ARM\x64"
    .long 0

.section .text.boot, "ax"
_start:
    mov x20, x0                         // device tree
    bl drop_to_el1
    // Clear .bss, boot tables and stacks with it.
    adrp x0, __bss_start
    add x0, x0, :lo12:__bss_start
    adrp x1, __bss_end
    add x1, x1, :lo12:__bss_end
1:  stp xzr, xzr, [x0], #16
    cmp x0, x1
    b.lo 1b
    // Boot tables: one level-1 table serves both halves.
    adrp x0, __boot_tables
    mov x1, #0x401                      // block, AF, attribute 0 (device)
    movk x1, #0x0060, lsl #48           // UXN, PXN
    str x1, [x0]
    mov x2, #0x705                      // block, AF, inner shareable, attribute 1 (normal)
    mov x3, #0x40000000
    orr x2, x2, x3
    mov x4, #1
2:  str x2, [x0, x4, lsl #3]
    add x2, x2, x3
    add x4, x4, #1
    cmp x4, #5
    b.ne 2b
    bl enable_mmu
    adrp x1, __stacks
    add x1, x1, #0x8000
    ldr x2, =OFFSET
    add sp, x1, x2
    ldr x3, =kernel_main
    mov x0, x20
    mov x29, xzr
    mov x30, xzr
    br x3

// Secondary cores: x0 = physical address of { table root, stack top, core number }.
.global secondary_start
secondary_start:
    mov x20, x0
    bl drop_to_el1
    adrp x0, __boot_tables
    bl enable_mmu
    ldp x1, x2, [x20]
    ldr x0, [x20, #16]
    mov sp, x2
    ldr x3, =secondary_main
    mov x29, xzr
    mov x30, xzr
    br x3

drop_to_el1:
    msr daifset, #0xf
    mrs x0, CurrentEL
    cmp x0, #(2 << 2)
    b.ne 1f
    mov x0, #(1 << 31)                  // HCR_EL2.RW: EL1 is AArch64
    msr hcr_el2, x0
    mov x0, #3                          // EL1 may use the physical counter and timer
    msr cnthctl_el2, x0
    msr cntvoff_el2, xzr
    mov x0, #0x33ff
    msr cptr_el2, x0
    msr hstr_el2, xzr
    mrs x0, mdcr_el2
    and x0, x0, #0x1f                   // keep HPMN: EL1 owns the PMU
    msr mdcr_el2, x0
    mrs x0, id_aa64pfr0_el1
    ubfx x0, x0, #24, #4
    cbz x0, 2f
    mrs x0, s3_4_c12_c9_5               // ICC_SRE_EL2
    mov x1, #9
    orr x0, x0, x1
    msr s3_4_c12_c9_5, x0
2:  mov x0, #0x3c5                      // EL1h, all masked
    msr spsr_el2, x0
    msr elr_el2, x30
    eret
1:  ret

// x0 = physical address of the level-1 table. Returns at the same (low) address.
enable_mmu:
    msr ttbr0_el1, x0
    msr ttbr1_el1, x0
    ldr x1, =0x44ff04                   // 0 device-nGnRE, 1 normal write-back, 2 non-cacheable
    msr mair_el1, x1
    // T0SZ = T1SZ = 25, write-back inner shareable walks, 4 KiB granules, 16-bit ASIDs.
    ldr x1, =0x00000010b5193519
    mrs x2, id_aa64mmfr0_el1
    and x3, x2, #0xf                    // physical address size
    cmp x3, #5
    mov x4, #5
    csel x3, x3, x4, ls
    orr x1, x1, x3, lsl #32
    bic x1, x1, #(1 << 36)
    ubfx x3, x2, #4, #4                 // ASID bits: 2 means 16
    cmp x3, #2
    b.ne 3f
    orr x1, x1, #(1 << 36)
3:  msr tcr_el1, x1
    isb
    tlbi vmalle1
    dsb nsh
    ic iallu
    dsb nsh
    isb
    ldr x1, =0x34d5d81d                 // M, C, I, SA, SA0, DZE, UCT, UCI, nTWE, nTWI, SPAN, res1
    msr sctlr_el1, x1
    isb
    ret
.ltorg
