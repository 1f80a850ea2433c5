//! Physical memory: finding it, mapping it for the kernel, and handing out its frames.

use core::arch::asm;

use viper_vm::{
    Buddy, Frame, FrameMeta, FrameRange, FrameRefs, FrameSource, MemType, PageRange, PageTable,
    Perms, PhysAddr, PhysMem, Space, Target, Tlb, VirtAddr, VmError,
};

use super::heap::FRAMES;
use super::tree::{RAM_MAX, Tree};
use super::{OFFSET, direct};

unsafe extern "C" {
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __image_end: u8;
    static __stacks: u8;
    static __stacks_end: u8;
}

/// Size of a core's stack with its guard page.
pub const STACK_BYTES: u64 = 0x8000;

/// Physical memory through the direct map.
#[derive(Clone, Copy, Debug)]
pub struct Direct;

impl PhysMem for Direct {
    #[inline]
    fn read_u64(&self, pa: PhysAddr) -> u64 {
        // SAFETY: the kernel's logic names frames it owns, all mapped at `OFFSET`.
        unsafe { (direct(pa.0) as *const u64).read_volatile() }
    }

    #[inline]
    fn is_zero(&self, pa: PhysAddr, words: u64) -> bool {
        // SAFETY: as in `read_u64`; only tables that nobody writes meanwhile are looked through.
        let words =
            unsafe { core::slice::from_raw_parts(direct(pa.0) as *const u64, words as usize) };
        let (groups, rest) = words.as_chunks::<8>();
        let any = |words: &[u64]| words.iter().fold(0, |all, word| all | word);
        groups.iter().fold(any(rest), |all, group| all | any(group)) == 0
    }

    #[inline]
    fn write_u64(&mut self, pa: PhysAddr, value: u64) {
        // SAFETY: as in `read_u64`.
        unsafe { (direct(pa.0) as *mut u64).write_volatile(value) }
    }

    #[inline]
    fn zero_frame(&mut self, frame: Frame) {
        let mut at = direct(frame.addr().0);
        let end = at + 4096;
        while at < end {
            // SAFETY: the frame is ours and mapped; DC ZVA zeroes 64 aligned bytes on every core
            // this kernel runs on (DCZID_EL0.BS is 4 there, checked at boot).
            unsafe {
                asm!(
                    "dc zva, {a}", "add {b}, {a}, #64", "dc zva, {b}",
                    "add {b}, {a}, #128", "dc zva, {b}", "add {b}, {a}, #192", "dc zva, {b}",
                    "add {b}, {a}, #256", "dc zva, {b}", "add {b}, {a}, #320", "dc zva, {b}",
                    "add {b}, {a}, #384", "dc zva, {b}", "add {b}, {a}, #448", "dc zva, {b}",
                    a = in(reg) at, b = out(reg) _, options(nostack),
                );
            }
            at += 512;
        }
    }

    #[inline]
    fn copy_frame(&mut self, dst: Frame, src: Frame) {
        let (to, from) = (direct(dst.addr().0), direct(src.addr().0));
        // SAFETY: both frames are ours, mapped, and different.
        unsafe { core::ptr::copy_nonoverlapping(from as *const u64, to as *mut u64, 512) };
    }

    #[inline]
    fn publish(&mut self) {
        // SAFETY: a barrier only orders accesses.
        unsafe { asm!("dsb ishst", options(nostack)) };
    }
}

/// The frame allocator, which the kernel heap uses, too.
#[derive(Clone, Copy, Debug)]
pub struct AllFrames;

impl AllFrames {
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "exclusive by the kernel lock")]
    fn buddy(&self) -> &mut Buddy<'static> {
        // SAFETY: an `AllFrames` is used under the kernel lock or on the boot core alone, each
        // reference only for the length of one operation, which does not allocate.
        unsafe { FRAMES.get() }
            .as_mut()
            .expect("frames are found before anything is made")
    }
}

impl AllFrames {
    /// A frame of zeroes, as a table without entries.
    pub fn empty_table(mut self) -> u64 {
        let frame = self.alloc_frame().expect("a frame at boot");
        Direct.zero_frame(frame);
        frame.addr().0
    }
}

impl FrameSource for AllFrames {
    #[inline]
    fn alloc_frame(&mut self) -> Option<Frame> {
        self.buddy().alloc().ok()
    }
    #[inline]
    fn free_frame(&mut self, frame: Frame) {
        // A frame that is not ours to free stays where it is.
        let _ = self.buddy().free(frame);
    }
}

impl FrameRefs for AllFrames {
    fn share(&mut self, frame: Frame) -> Result<(), VmError> {
        self.buddy().share(frame).map(|_| ())
    }
    fn release(&mut self, frame: Frame) -> Result<bool, VmError> {
        self.buddy().release(frame)
    }
}

impl viper_kernel::Frames for AllFrames {
    fn alloc_contiguous(&mut self, count: u32) -> Result<Frame, VmError> {
        self.buddy().alloc_run(count).map(|run| run.start())
    }
    fn free_frames(&self) -> usize {
        self.buddy().free_frames()
    }
    fn ref_count(&self, frame: Frame) -> u32 {
        self.buddy().ref_count(frame)
    }
}

fn symbol(at: &u8) -> u64 {
    core::ptr::from_ref(at) as u64 - OFFSET
}

/// Finds all frames. Returns RAM in bytes, and how much of it the kernel took for itself.
///
/// # Safety
/// Once, on the boot core, before anything is allocated; `tree` describes this machine.
pub unsafe fn init(tree: &Tree<'_>, tree_at: u64) -> Result<(u64, u64), VmError> {
    // SAFETY: linker symbols; only their addresses are used.
    let (start, end) = unsafe { (symbol(&__image_start), symbol(&__image_end)) };
    let empty = FrameRange::new(Frame(0), 0)?;
    let mut ranges = [empty; RAM_MAX];
    let mut total = 0;
    for (range, &(base, len)) in ranges.iter_mut().zip(&tree.ram[..tree.ram_count]) {
        *range = FrameRange::inside(PhysAddr(base), len.min((5 << 30) - base.min(5 << 30)))?;
        total += u64::from(range.count()) * 4096;
    }
    let ranges = &ranges[..tree.ram_count];
    let records = Buddy::metadata_len(ranges)?;
    let at = end.next_multiple_of(4096);
    let bytes = (records * size_of::<FrameMeta>()) as u64;
    let (archive_at, archive_end) = tree.archive.unwrap_or((0, 0));
    let reserved = [
        FrameRange::covering(PhysAddr(start), at + bytes - start)?,
        FrameRange::covering(PhysAddr(archive_at), archive_end - archive_at)?,
        FrameRange::covering(PhysAddr(tree_at), tree.len as u64)?,
    ];
    // SAFETY: the memory behind the image is RAM that nothing uses yet (the loader put archive and
    // tree elsewhere, at 32 MiB and up), mapped by the boot tables; `FrameMeta` is plain data.
    let metadata =
        unsafe { core::slice::from_raw_parts_mut(direct(at) as *mut FrameMeta, records) };
    let buddy = Buddy::new(ranges, &reserved, metadata)?;
    // SAFETY: boot core alone.
    unsafe { *super::heap::FRAMES.get() = Some(buddy) };
    Ok((total, at + bytes - start))
}

struct NoTlb;

impl Tlb for NoTlb {
    fn invalidate(&mut self, _: VirtAddr) {}
    fn invalidate_now(&mut self, _: VirtAddr) {}
}

/// Builds the kernel's own tables: text executable, constants read-only, the rest of RAM
/// read-write, devices, and nothing below each core's stack.
///
/// # Safety
/// Once, on the boot core, after [`init`].
pub unsafe fn map_kernel(tree: &Tree<'_>) -> Result<u64, VmError> {
    // SAFETY: linker symbols; only their addresses are used.
    let [start, text_end, rodata_end, stacks, stacks_end] = unsafe {
        [
            symbol(&__image_start),
            symbol(&__text_end),
            symbol(&__rodata_end),
            symbol(&__stacks),
            symbol(&__stacks_end),
        ]
    };
    let (mut mem, mut frames) = (Direct, AllFrames);
    let mut table = PageTable::new(&mut mem, &mut frames, Space::Kernel)?;
    let mut map = |from: u64, to: u64, perms, mem_type| -> Result<(), VmError> {
        if from >= to {
            return Ok(());
        }
        let range = PageRange::between(VirtAddr(direct(from)), VirtAddr(direct(to)))?;
        let target = Target {
            pa: PhysAddr(from),
            perms,
            mem_type,
        };
        table.map_range(&mut mem, &mut frames, &mut NoTlb, range, target)
    };
    let (ram, rw) = (MemType::NormalWriteBack, Perms::ReadWrite);
    map(start, text_end, Perms::ReadExecute, ram)?;
    map(text_end, rodata_end, Perms::Read, ram)?;
    map(rodata_end, stacks, rw, ram)?;
    for stack in (stacks..stacks_end).step_by(STACK_BYTES as usize) {
        map(stack + 4096, stack + STACK_BYTES, rw, ram)?;
    }
    let mut devices_end = 1 << 30;
    for &(base, len) in &tree.ram[..tree.ram_count] {
        let end = (base + len).min(5 << 30) & !0xfff;
        devices_end = devices_end.min(base & !0xfff);
        if base <= start && stacks_end <= end {
            map(base, start, rw, ram)?;
            map(stacks_end, end, rw, ram)?;
        } else {
            map(base, end, rw, ram)?;
        }
    }
    map(0, devices_end & !((2 << 20) - 1), rw, MemType::DeviceNgnre)?;
    Ok(table.root().addr().0)
}

/// Switches this core to the kernel's own tables; user addresses lead nowhere from now on.
///
/// # Safety
/// `root` is a table made by [`map_kernel`], which maps everything in use, at the same addresses.
pub unsafe fn use_tables(root: u64, empty: u64) {
    // SAFETY: by the caller's promise the code goes on at the same addresses. WXN (bit 19) makes
    // writable memory non-executable whatever its tables say.
    unsafe {
        asm!(
            "msr ttbr1_el1, {root}",
            "msr ttbr0_el1, {empty}",
            "isb",
            "tlbi vmalle1",
            "dsb nsh",
            "isb",
            "mrs {t}, sctlr_el1",
            "orr {t}, {t}, #(1 << 19)",
            "msr sctlr_el1, {t}",
            "isb",
            root = in(reg) root,
            empty = in(reg) empty,
            t = out(reg) _,
        );
    }
}
