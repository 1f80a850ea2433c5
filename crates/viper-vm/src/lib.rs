#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod addr;
mod buddy;
mod error;
mod mem;
mod pages;
mod region;
mod table;

pub use addr::{Frame, FrameRange, PAGE_SHIFT, PAGE_SIZE, PageRange, PhysAddr, VirtAddr};
pub use buddy::{Buddy, FrameMeta, ORDER_MAX};
pub use error::VmError;
pub use mem::{FrameRefs, FrameSource, Invalidate, PhysMem, Tlb};
pub use pages::PageList;
pub use region::{GapRequest, Region, RegionMap, RegionValue};
pub use table::{BLOCK_SIZE, Destroy, Leaf, Mapped, MemType, PageTable, Perms, Space, Target};
