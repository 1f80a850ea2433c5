//! What a virtio driver needs of its process: registers through the kernel, memory for the device.

use crate::handle::{Device, Memory};
use crate::mapping::Mapping;
use core::ptr::NonNull;
use viper_abi::Error;
use viper_virtio::{DeviceAddress, DmaRegion, DmaWindow};

/// The registers of a virtio slot: several share a page, so each access is a system call.
///
/// An access that the kernel refuses reads as zero: drivers take that for a device that is not
/// there.
#[derive(Debug)]
pub struct SlotRegisters(pub Device);

impl viper_virtio::Registers for SlotRegisters {
    fn read(&self, offset: usize) -> u32 {
        self.0.read(offset as u64).unwrap_or(0)
    }

    fn write(&mut self, offset: usize, value: u32) {
        let _ = self.0.write(offset as u64, value);
    }
}

/// Makes memory of `len` bytes for a driver's own rings, headers and buffers. It stays for as long
/// as the program runs.
///
/// # Errors
/// [`Error::LimitReached`] beyond the DMA allowance, [`Error::OutOfMemory`].
pub fn own_region(device: &Device, len: usize) -> Result<DmaRegion, Error> {
    let (memory, address) = device.dma_memory(len as u64)?;
    let start = NonNull::new(Mapping::new(&memory, 0, len)?.leak()).ok_or(Error::Internal)?;
    // SAFETY:
    // 1. The mapping is readable, writable and `len` long, and the kernel said that the device
    //    finds the same bytes at `address`.
    // 2. It was leaked, so it stays for as long as the program runs, and the kernel keeps
    //    contiguous memory in place while a mapping names it.
    // 3. It is memory that this function made and gives to nobody else.
    Ok(unsafe { DmaRegion::new(start, DeviceAddress::new(address), len) })
}

/// Opens a client's contiguous memory to the device. Whoever uses the window keeps `memory`, and
/// does not map it.
///
/// # Errors
/// [`Error::NotSupported`] if it is not contiguous, [`Error::NoRight`].
pub fn open_window(device: &Device, memory: &Memory) -> Result<DmaWindow, Error> {
    let (address, len) = device.dma_address(memory)?;
    // SAFETY:
    // 1. `dma_address` only knows contiguous memory, whose frames stay where they are for as long
    //    as the device or the memory exists.
    // 2. A `Memory` gives no references to its bytes, and a `Mapping` copies through raw pointers:
    //    what its owner does with the bytes meanwhile is between the owner and the device.
    Ok(unsafe { DmaWindow::new(DeviceAddress::new(address), len) })
}
