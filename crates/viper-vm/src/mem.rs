//! What the models need from the world: memory, frames and TLB maintenance.

use crate::{Frame, PhysAddr, VirtAddr, VmError};

/// Physical memory, as far as page tables and page copies need it.
///
/// A kernel implements it through its direct map, a test with a `Vec`. Addresses given are in
/// frames that the caller handed in before (as table or page), and words are 8-byte aligned.
pub trait PhysMem {
    /// Reads a little-endian word.
    fn read_u64(&self, pa: PhysAddr) -> u64;

    /// Whether `words` words from `pa` on, all in one frame, are zero.
    #[inline]
    fn is_zero(&self, pa: PhysAddr, words: u64) -> bool {
        (0..words).all(|word| self.read_u64(PhysAddr(pa.0 + word * 8)) == 0)
    }

    /// Writes a little-endian word with one single-copy-atomic store: a table walker on another
    /// processor may read it at any time.
    fn write_u64(&mut self, pa: PhysAddr, value: u64);

    /// Fills a frame with zeroes.
    fn zero_frame(&mut self, frame: Frame);

    /// Copies the whole of `src` to `dst`.
    fn copy_frame(&mut self, dst: Frame, src: Frame);

    /// Orders earlier writes before later ones in the eyes of the table walkers (`DSB ISHST`).
    ///
    /// Called after new descriptors, before they are linked in or relied on. Descriptors that are
    /// removed or changed are announced to [`Tlb`] instead, which orders them itself.
    /// The default does nothing, which suits tests.
    #[inline]
    fn publish(&mut self) {}
}

/// Hands out single frames, for page tables.
pub trait FrameSource {
    /// A frame of undefined content, or `None` if there is none.
    fn alloc_frame(&mut self) -> Option<Frame>;

    /// Takes back a frame that [`alloc_frame`](Self::alloc_frame) handed out.
    fn free_frame(&mut self, frame: Frame);
}

/// Counts owners of frames, for copy-on-write.
pub trait FrameRefs {
    /// Adds an owner.
    ///
    /// # Errors
    ///
    /// [`VmError::TooManyRefs`] at the maximum; [`VmError::NotManaged`] if nobody owns it.
    fn share(&mut self, frame: Frame) -> Result<(), VmError>;

    /// Drops an owner; `true` if it was the last one and the frame is free now.
    ///
    /// # Errors
    ///
    /// [`VmError::DoubleFree`] or [`VmError::NotManaged`] if it had none.
    fn release(&mut self, frame: Frame) -> Result<bool, VmError>;
}

/// Translation cache maintenance for one address space.
pub trait Tlb {
    /// The leaf translation around `va` was removed or changed just before.
    ///
    /// To do: order the store first (`DSB ISHST`), then invalidate for all processors (`TLBI
    /// VALE1IS`) and wait (`DSB ISH`). It may be batched, as long as it is done before anything
    /// relies on it: before an unmapped frame is reused, the page is mapped again, or a restriction
    /// is reported as in force.
    fn invalidate(&mut self, va: VirtAddr);

    /// Like [`invalidate`](Self::invalidate), but with the cached tables on the way to `va` too
    /// (`TLBI VAE1IS`), and complete when this returns: break-before-make relies on it.
    fn invalidate_now(&mut self, va: VirtAddr);
}

/// Translation cache maintenance by way of the memory `M`, for machines where both are behind one
/// object: the implementor then is no more than the ASID.
///
/// Everything that is a [`Tlb`] on its own is one of these too.
pub trait Invalidate<M: PhysMem> {
    /// [`Tlb::invalidate`], given the memory.
    fn invalidate_in(&mut self, mem: &mut M, va: VirtAddr);

    /// [`Tlb::invalidate_now`], given the memory.
    fn invalidate_now_in(&mut self, mem: &mut M, va: VirtAddr);
}

impl<M: PhysMem, T: Tlb> Invalidate<M> for T {
    #[inline]
    fn invalidate_in(&mut self, _: &mut M, va: VirtAddr) {
        self.invalidate(va);
    }

    #[inline]
    fn invalidate_now_in(&mut self, _: &mut M, va: VirtAddr) {
        self.invalidate_now(va);
    }
}
