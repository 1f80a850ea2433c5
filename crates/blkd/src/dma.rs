//! Memory that the disk may touch: the only unsafe code of the server.
#![allow(unsafe_code)]

use core::ptr::NonNull;
use viper_rt::handle::{Device, Memory};
use viper_rt::{Error, Mapping};
use viper_virtio::{DeviceAddress, DmaRegion, DmaWindow};

/// Makes memory of `len` bytes for the driver's own rings and headers.
///
/// # Errors
/// Those of the kernel: no allowance, no memory.
pub fn own_region(device: &Device, len: usize) -> Result<DmaRegion, Error> {
    let (memory, address) = device.dma_memory(len as u64)?;
    let mapping = Mapping::new(&memory, 0, len)?;
    let start = NonNull::new(mapping.leak()).ok_or(Error::Internal)?;
    // The kernel keeps contiguous memory in place while anything names it: the mapping does.
    drop(memory);
    // SAFETY:
    // 1. The mapping is readable, writable and `len` long, and the kernel said that the device
    //    finds the same bytes at `address`.
    // 2. It was leaked, so it stays for as long as the program runs.
    // 3. It is memory that this function made and gives to nobody else.
    Ok(unsafe { DmaRegion::new(start, DeviceAddress::new(address), len) })
}

/// Opens a client's memory to the device. Whoever uses the window keeps `memory`.
///
/// # Errors
/// [`Error::NotSupported`] if it is not contiguous, [`Error::NoRight`].
pub fn open_window(device: &Device, memory: &Memory) -> Result<DmaWindow, Error> {
    let (address, len) = device.dma_address(memory)?;
    // SAFETY:
    // 1. `dma_address` only knows contiguous memory, and pins its frames for as long as the device
    //    or the memory exists. Requests that are in flight keep the session, and so the memory.
    // 2. This program does not map the memory, so it has no references to it; what its owner does
    //    with the bytes meanwhile is a race between the owner and the device.
    Ok(unsafe { DmaWindow::new(DeviceAddress::new(address), len) })
}
