//! Doubles of the world: memory in a map, frames that are counted, a TLB that remembers.
#![allow(dead_code, reason = "each test file uses its own part of the doubles")]

use std::collections::{BTreeMap, BTreeSet};

use viper_vm::{Frame, FrameRefs, FrameSource, PhysAddr, PhysMem, Tlb, VirtAddr, VmError};

/// Sparse memory, whose untouched words read as garbage.
#[derive(Default)]
pub struct Memory(pub BTreeMap<u64, u64>);

impl PhysMem for Memory {
    fn read_u64(&self, pa: PhysAddr) -> u64 {
        assert_eq!(pa.0 % 8, 0);
        self.0.get(&pa.0).copied().unwrap_or(0xdead_beef_dead_beef)
    }
    fn write_u64(&mut self, pa: PhysAddr, value: u64) {
        assert_eq!(pa.0 % 8, 0);
        self.0.insert(pa.0, value);
    }
    fn zero_frame(&mut self, frame: Frame) {
        for word in 0..512 {
            self.0.insert(frame.addr().0 + word * 8, 0);
        }
    }
    fn copy_frame(&mut self, dst: Frame, src: Frame) {
        for word in 0..512 {
            let value = self.read_u64(PhysAddr(src.addr().0 + word * 8));
            self.0.insert(dst.addr().0 + word * 8, value);
        }
    }
}

/// Frames from a counter, with a limit, that must all come back.
pub struct Frames {
    pub out: BTreeSet<Frame>,
    pub back: Vec<Frame>,
    next: u32,
    pub left: usize,
}

impl Frames {
    pub fn new(limit: usize) -> Self {
        Self {
            out: BTreeSet::new(),
            back: Vec::new(),
            next: 1000,
            left: limit,
        }
    }
}

impl FrameSource for Frames {
    fn alloc_frame(&mut self) -> Option<Frame> {
        self.left = self.left.checked_sub(1)?;
        let frame = self.back.pop().unwrap_or_else(|| {
            self.next += 1;
            Frame(self.next)
        });
        assert!(self.out.insert(frame));
        Some(frame)
    }
    fn free_frame(&mut self, frame: Frame) {
        assert!(self.out.remove(&frame), "{frame:?} is not out");
        self.back.push(frame);
        self.left += 1;
    }
}

/// Counts owners, up to a limit in total.
pub struct Owners {
    pub count: BTreeMap<Frame, u32>,
    pub shares_left: usize,
}

impl Owners {
    pub fn new(shares_left: usize) -> Self {
        Self {
            count: BTreeMap::new(),
            shares_left,
        }
    }

    pub fn fresh(&mut self, frame: Frame) -> Frame {
        assert!(self.count.insert(frame, 1).is_none());
        frame
    }
}

impl FrameRefs for Owners {
    fn share(&mut self, frame: Frame) -> Result<(), VmError> {
        let count = self.count.get_mut(&frame).ok_or(VmError::NotManaged)?;
        self.shares_left = self
            .shares_left
            .checked_sub(1)
            .ok_or(VmError::TooManyRefs)?;
        *count += 1;
        Ok(())
    }
    fn release(&mut self, frame: Frame) -> Result<bool, VmError> {
        let count = self.count.get_mut(&frame).ok_or(VmError::DoubleFree)?;
        *count -= 1;
        if *count == 0 {
            self.count.remove(&frame);
            return Ok(true);
        }
        Ok(false)
    }
}

/// Remembers which pages were invalidated.
#[derive(Default)]
pub struct Flushed {
    pub batched: BTreeSet<u64>,
    pub now: BTreeSet<u64>,
}

impl Flushed {
    pub fn covers(&self, va: u64) -> bool {
        self.batched.contains(&va) || self.now.contains(&va)
    }
}

impl Tlb for Flushed {
    fn invalidate(&mut self, va: VirtAddr) {
        self.batched.insert(va.0);
    }
    fn invalidate_now(&mut self, va: VirtAddr) {
        self.now.insert(va.0);
    }
}
