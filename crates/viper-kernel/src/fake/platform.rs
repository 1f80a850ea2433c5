//! RAM, clock, timers, translation caches and a debug port, all recorded.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use viper_abi::{PAGE_SIZE, PowerAction};
use viper_vm::{
    Buddy, Frame, FrameMeta, FrameRange, FrameRefs, FrameSource, PhysAddr, PhysMem, VirtAddr,
    VmError,
};

use crate::kernel::CORES_MAX;
use crate::mapping::Access;
use crate::platform::{Frames, Platform};
use crate::thread::{Context, FpState};

/// Where the RAM begins.
pub const RAM_BASE: u64 = 1 << 30;
const PAGE: u64 = PAGE_SIZE as u64;

const VALID: u64 = 1;
const TABLE: u64 = 3;
const READ_ONLY: u64 = 1 << 7;
const NOT_EXECUTABLE: u64 = 1 << 54;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// Frames that can run out on demand.
pub struct FakeFrames {
    buddy: Buddy<'static>,
    /// How many more allocations succeed.
    pub fail_after: u32,
}

impl FakeFrames {
    /// All frames of a machine. Their records are leaked: a test process ends soon.
    pub fn new(count: u32) -> FakeFrames {
        let range = FrameRange::new(Frame((RAM_BASE / PAGE) as u32), count).expect("a range");
        let records = Buddy::metadata_len(&[range]).expect("in order");
        let records = alloc::vec![FrameMeta::EMPTY; records].leak();
        FakeFrames {
            buddy: Buddy::new(&[range], &[], records).expect("enough records"),
            fail_after: u32::MAX,
        }
    }

    fn may_fail(&mut self) -> Result<(), VmError> {
        self.fail_after = match self.fail_after {
            0 => return Err(VmError::OutOfFrames),
            u32::MAX => u32::MAX,
            n => n - 1,
        };
        Ok(())
    }
}

impl FrameSource for FakeFrames {
    fn alloc_frame(&mut self) -> Option<Frame> {
        self.may_fail().ok()?;
        self.buddy.alloc().ok()
    }
    fn free_frame(&mut self, frame: Frame) {
        self.buddy
            .free(frame)
            .expect("only frames in use are freed");
    }
}

impl FrameRefs for FakeFrames {
    fn share(&mut self, frame: Frame) -> Result<(), VmError> {
        self.buddy.share(frame).map(|_| ())
    }
    fn release(&mut self, frame: Frame) -> Result<bool, VmError> {
        Ok(self
            .buddy
            .release(frame)
            .expect("only frames in use are released"))
    }
}

impl Frames for FakeFrames {
    fn alloc_contiguous(&mut self, count: u32) -> Result<Frame, VmError> {
        self.may_fail()?;
        self.buddy.alloc_run(count).map(|run| run.start())
    }
    fn free_frames(&self) -> usize {
        self.buddy.free_frames()
    }
    fn ref_count(&self, frame: Frame) -> u32 {
        self.buddy.ref_count(frame)
    }
}

/// The machine behind [`Platform`].
pub struct FakePlatform {
    ram: Vec<u64>,
    /// The clock.
    pub now_ns: u64,
    /// What each core's timer is set to.
    pub timers: [u64; CORES_MAX],
    /// Cores that were interrupted by others, a bit each.
    pub called: u8,
    /// The core that is in the kernel.
    pub core: usize,
    /// `TTBR0_EL1` of each core; zero leads nowhere.
    pub ttbr0: [u64; CORES_MAX],
    /// Translations that were used and not invalidated: by ASID and page, the descriptor.
    cached: BTreeMap<(u16, u64), u64>,
    /// Lines that are let through.
    pub enabled_lines: Vec<u32>,
    /// What was written to the debug port.
    pub debug_output: Vec<u8>,
    /// Whether the thread that made the last call is to make it again.
    pub is_repeated: bool,
    /// How often that was so.
    pub calls_repeated: u32,
    /// What the debug port will read.
    pub debug_input: VecDeque<u8>,
    /// What `power` was asked for.
    pub powered: Option<PowerAction>,
    /// Device registers that were written.
    pub registers: BTreeMap<u64, u32>,
    idle: Vec<Context>,
    asid_max: u16,
}

impl FakePlatform {
    /// A machine with this many frames of RAM.
    pub fn new(frames: u32) -> FakePlatform {
        FakePlatform {
            ram: alloc::vec![0xa5a5_a5a5_a5a5_a5a5; frames as usize * PAGE_SIZE / 8],
            now_ns: 1000,
            timers: [u64::MAX; CORES_MAX],
            called: 0,
            core: 0,
            ttbr0: [0; CORES_MAX],
            cached: BTreeMap::new(),
            enabled_lines: Vec::new(),
            debug_output: Vec::new(),
            is_repeated: false,
            calls_repeated: 0,
            debug_input: VecDeque::new(),
            powered: None,
            registers: BTreeMap::new(),
            idle: alloc::vec![Context::ZERO; CORES_MAX],
            asid_max: 40,
        }
    }

    /// The place in `idle` that this context is, if it is one.
    pub fn is_idle(&self, core: usize, context: *const Context) -> bool {
        core::ptr::eq(&self.idle[core], context)
    }

    fn word(&self, pa: u64) -> usize {
        assert!(
            pa >= RAM_BASE && pa.is_multiple_of(8),
            "{pa:#x} is no word of RAM"
        );
        ((pa - RAM_BASE) / 8) as usize
    }

    /// The descriptor behind a user address on a core, as the tables have it.
    fn walk(&self, ttbr0: u64, va: u64) -> u64 {
        let mut table = ttbr0 & ADDRESS;
        if table == 0 || va >= viper_abi::USER_MAX {
            return 0;
        }
        for level in 1..=3 {
            let shift = 12 + 9 * (3 - level);
            let entry = self.ram[self.word(table + (va >> shift) % 512 * 8)];
            if level == 3 || entry & TABLE != TABLE {
                return if level == 3 { entry } else { 0 };
            }
            table = entry & ADDRESS;
        }
        0
    }

    /// Where an access of user code on a core goes, or `None` for a fault.
    ///
    /// # Panics
    /// If a translation is used that the kernel changed without invalidating it.
    pub fn translate(&mut self, core: usize, va: u64, access: Access) -> Option<PhysAddr> {
        let ttbr0 = self.ttbr0[core];
        let now = self.walk(ttbr0, va);
        let key = ((ttbr0 >> 48) as u16, va / PAGE);
        if let Some(&old) = self.cached.get(&key) {
            assert_eq!(old, now, "stale translation of {va:#x} in ASID {}", key.0);
        }
        if now & VALID == 0 {
            return None;
        }
        self.cached.insert(key, now);
        let allowed = match access {
            Access::Read => true,
            Access::Write => now & READ_ONLY == 0,
            Access::Execute => now & NOT_EXECUTABLE == 0,
        };
        allowed.then_some(PhysAddr((now & ADDRESS) + va % PAGE))
    }

    /// Whether anything is cached for an ASID.
    pub fn caches_asid(&self, asid: u16) -> bool {
        self.cached
            .range((asid, 0)..=(asid, u64::MAX))
            .next()
            .is_some()
    }

    /// Reads a byte of RAM; devices read as zero.
    pub fn read_byte(&self, pa: PhysAddr) -> u8 {
        if pa.0 < RAM_BASE {
            return 0; // a device's register
        }
        let word = self.ram[self.word(pa.0 & !7)];
        word.to_le_bytes()[(pa.0 % 8) as usize]
    }

    /// Writes a byte of RAM; devices ignore it.
    pub fn write_byte(&mut self, pa: PhysAddr, value: u8) {
        if pa.0 < RAM_BASE {
            return;
        }
        let at = self.word(pa.0 & !7);
        let mut bytes = self.ram[at].to_le_bytes();
        bytes[(pa.0 % 8) as usize] = value;
        self.ram[at] = u64::from_le_bytes(bytes);
    }
}

impl PhysMem for FakePlatform {
    fn read_u64(&self, pa: PhysAddr) -> u64 {
        self.ram[self.word(pa.0)]
    }
    fn write_u64(&mut self, pa: PhysAddr, value: u64) {
        let at = self.word(pa.0);
        self.ram[at] = value;
    }
    fn zero_frame(&mut self, frame: Frame) {
        let at = self.word(frame.addr().0);
        self.ram[at..at + 512].fill(0);
    }
    fn copy_frame(&mut self, dst: Frame, src: Frame) {
        let (to, from) = (self.word(dst.addr().0), self.word(src.addr().0));
        self.ram.copy_within(from..from + 512, to);
    }
}

impl Platform for FakePlatform {
    type Frames = FakeFrames;

    fn now_ns(&self) -> u64 {
        self.now_ns
    }
    fn set_timer(&mut self, deadline_ns: u64) {
        self.timers[self.core] = deadline_ns;
    }
    fn interrupt_core(&mut self, core: usize) {
        self.called |= 1 << core;
    }
    fn invalidate_page(&mut self, asid: u16, va: VirtAddr) {
        self.cached.remove(&(asid, va.0 / PAGE));
    }
    fn invalidate_asid(&mut self, asid: u16) {
        self.cached.retain(|key, _| key.0 != asid);
    }
    fn leave_address_space(&mut self) {
        self.ttbr0[self.core] = 0;
    }
    fn repeat_call(&mut self) {
        self.is_repeated = true;
        self.calls_repeated += 1;
    }
    fn sync_code(&mut self, _: Frame) {}

    fn copy_in(&mut self, to: &mut [u8], from: u64) -> Result<(), ()> {
        for (i, byte) in to.iter_mut().enumerate() {
            let va = from.checked_add(i as u64).ok_or(())?;
            let pa = self.translate(self.core, va, Access::Read).ok_or(())?;
            *byte = self.read_byte(pa);
        }
        Ok(())
    }
    fn copy_out(&mut self, to: u64, from: &[u8]) -> Result<(), ()> {
        for (i, &byte) in from.iter().enumerate() {
            let va = to.checked_add(i as u64).ok_or(())?;
            let pa = self.translate(self.core, va, Access::Write).ok_or(())?;
            self.write_byte(pa, byte);
        }
        Ok(())
    }
    fn copy_words(&mut self, to: Frame, from: Frame, at_bytes: usize, words: usize) {
        assert!(at_bytes + 8 * words <= PAGE_SIZE, "beyond the frame");
        let (to, from) = (self.word(to.addr().0), self.word(from.addr().0));
        let first = from + at_bytes / 8;
        self.ram
            .copy_within(first..first + words, to + at_bytes / 8);
    }
    fn read_bytes(&self, from: PhysAddr, to: &mut [u8]) {
        assert!(from.0 % PAGE + to.len() as u64 <= PAGE, "beyond the frame");
        for (i, byte) in to.iter_mut().enumerate() {
            *byte = self.read_byte(PhysAddr(from.0 + i as u64));
        }
    }
    fn write_bytes(&mut self, to: PhysAddr, from: &[u8]) {
        assert!(to.0 % PAGE + from.len() as u64 <= PAGE, "beyond the frame");
        for (i, &byte) in from.iter().enumerate() {
            self.write_byte(PhysAddr(to.0 + i as u64), byte);
        }
    }

    fn fp_save(&mut self, _: &mut FpState) {}
    fn fp_load(&mut self, _: &FpState) {}
    fn fp_enable(&mut self, _: bool) {}

    fn set_interrupt(&mut self, line: u32, enabled: bool) {
        self.enabled_lines.retain(|&l| l != line);
        if enabled {
            self.enabled_lines.push(line);
        }
    }
    fn device_read(&mut self, at: PhysAddr) -> u32 {
        self.registers.get(&at.0).copied().unwrap_or(0)
    }
    fn device_write(&mut self, at: PhysAddr, value: u32) {
        self.registers.insert(at.0, value);
    }

    fn debug_write(&mut self, text: &[u8]) {
        self.debug_output.extend_from_slice(text);
    }
    fn debug_read(&mut self, text: &mut [u8]) -> usize {
        let count = text.len().min(self.debug_input.len());
        for (to, from) in text.iter_mut().zip(self.debug_input.drain(..count)) {
            *to = from;
        }
        count
    }
    fn debug_interrupt(&self) -> Option<u32> {
        Some(33)
    }
    fn power(&mut self, action: PowerAction) {
        self.powered = Some(action);
    }
    fn idle_context(&mut self, core: usize) -> *mut Context {
        &mut self.idle[core]
    }
    fn asid_max(&self) -> u16 {
        self.asid_max
    }
}
