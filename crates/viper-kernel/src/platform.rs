//! What the kernel's logic needs from the machine.
//!
//! The kernel binary implements it with registers and assembly, tests with vectors. Everything
//! that is `unsafe` is on the other side of this trait.

use viper_abi::PowerAction;
use viper_vm::{Frame, FrameRefs, FrameSource, PhysAddr, PhysMem, VirtAddr, VmError};

use crate::thread::{Context, FpState};

/// Frames of the machine's RAM.
pub trait Frames: FrameSource + FrameRefs {
    /// Takes `2^order` contiguous frames that can be given back one by one.
    ///
    /// # Errors
    /// [`VmError::OutOfFrames`] or [`VmError::BadOrder`].
    fn alloc_contiguous(&mut self, count: u32) -> Result<Frame, VmError>;
    /// Frames that can still be handed out.
    fn free_frames(&self) -> usize;
    /// How many owners a frame has.
    fn ref_count(&self, frame: Frame) -> u32;
}

/// The machine.
pub trait Platform: PhysMem {
    /// Its frame allocator.
    type Frames: Frames;

    /// Nanoseconds since the machine started.
    fn now_ns(&self) -> u64;
    /// Makes the timer of this core interrupt at `deadline_ns` (`u64::MAX`: never).
    fn set_timer(&mut self, deadline_ns: u64);
    /// Makes another core enter the kernel.
    fn interrupt_core(&mut self, core: usize);

    /// Drops the translations of one page, on all cores, before it returns.
    fn invalidate_page(&mut self, asid: u16, va: VirtAddr);
    /// Drops all translations of an address space, on all cores, before it returns.
    fn invalidate_asid(&mut self, asid: u16);
    /// The thread that ran on this core has ended: stops using its address space and registers.
    fn leave_address_space(&mut self);
    /// Makes the thread that has just made a system call on this core make it again.
    fn repeat_call(&mut self);
    /// Makes what was written to a frame visible to instruction fetches of all cores.
    fn sync_code(&mut self, frame: Frame);

    /// Copies from the memory of the process that runs on this core.
    ///
    /// # Errors
    /// `()` if part of it cannot be read by that process.
    #[expect(clippy::result_unit_err, reason = "the caller knows the address")]
    fn copy_in(&mut self, to: &mut [u8], from: u64) -> Result<(), ()>;
    /// Copies to the memory of the process that runs on this core.
    ///
    /// # Errors
    /// `()` if part of it cannot be written by that process.
    #[expect(clippy::result_unit_err, reason = "the caller knows the address")]
    fn copy_out(&mut self, to: u64, from: &[u8]) -> Result<(), ()>;
    /// Copies words from one frame to another, at the same place in both.
    fn copy_words(&mut self, to: Frame, from: Frame, at_bytes: usize, words: usize);
    /// Copies between physical memory and a buffer, within one frame.
    fn read_bytes(&self, from: PhysAddr, to: &mut [u8]);
    /// Copies between physical memory and a buffer, within one frame.
    fn write_bytes(&mut self, to: PhysAddr, from: &[u8]);

    /// Saves the vector registers.
    fn fp_save(&mut self, state: &mut FpState);
    /// Loads the vector registers.
    fn fp_load(&mut self, state: &FpState);
    /// Lets user code use the vector registers on this core, or makes it trap.
    fn fp_enable(&mut self, enabled: bool);

    /// Lets an interrupt line through, or not.
    fn set_interrupt(&mut self, line: u32, enabled: bool);
    /// Reads a device register.
    fn device_read(&mut self, at: PhysAddr) -> u32;
    /// Writes a device register.
    fn device_write(&mut self, at: PhysAddr, value: u32);

    /// Writes to the debug port.
    fn debug_write(&mut self, text: &[u8]);
    /// Takes bytes that the debug port has received.
    fn debug_read(&mut self, text: &mut [u8]) -> usize;
    /// The debug port's interrupt line.
    fn debug_interrupt(&self) -> Option<u32>;
    /// Turns the machine off or restarts it. A test platform records it and returns.
    fn power(&mut self, action: PowerAction);

    /// The context in which this core idles.
    fn idle_context(&mut self, core: usize) -> *mut Context;
    /// Most address spaces at a time: ASIDs `1..=asid_max`.
    fn asid_max(&self) -> u16;
}
