//! A device's registers: mapped where a device has its pages to itself, through the kernel
//! elsewhere.

use crate::handle::{Device, Object};
use crate::sys;
use viper_abi::Error;

/// The 32-bit registers of a device.
#[derive(Debug)]
pub struct Registers {
    device: Device,
    len_bytes: u64,
    mapped: Option<*mut u32>,
}

// SAFETY: the mapping belongs to the process; every access is one volatile load or store.
unsafe impl Send for Registers {}

impl Registers {
    /// The registers of `device`.
    ///
    /// # Errors
    /// Those of [`Device::describe`].
    pub fn new(device: Device) -> Result<Registers, Error> {
        let len_bytes = device.describe()?.len_bytes;
        let mapped = sys::device_map(device.raw())
            .ok()
            .map(|(address,)| address as *mut u32);
        Ok(Registers {
            device,
            len_bytes,
            mapped,
        })
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Reads the register at a byte offset; 0 if there is none.
    #[inline]
    #[must_use]
    pub fn read(&self, offset: u64) -> u32 {
        match self.place(offset) {
            // SAFETY: `place` gave an aligned address inside of the mapped registers.
            Some(place) => unsafe { place.read_volatile() },
            None => self.device.read(offset).unwrap_or(0),
        }
    }

    /// Writes the register at a byte offset; nothing happens if there is none.
    #[inline]
    pub fn write(&self, offset: u64, value: u32) {
        match self.place(offset) {
            // SAFETY: as in `read`.
            Some(place) => unsafe { place.write_volatile(value) },
            None => drop(self.device.write(offset, value)),
        }
    }

    #[inline]
    fn place(&self, offset: u64) -> Option<*mut u32> {
        let mapped = self.mapped?;
        if !offset.is_multiple_of(4) || offset.checked_add(4)? > self.len_bytes {
            return None;
        }
        // SAFETY: inside of the mapping, as just checked; mapped for the life of the process.
        Some(unsafe { mapped.byte_add(offset as usize) })
    }
}
