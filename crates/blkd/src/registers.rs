//! A device's registers through the kernel: several devices share a page, so none can map it.

use viper_rt::handle::Device;
use viper_virtio::Registers;

/// The registers of a device capability: a system call an access.
///
/// An access that the kernel refuses reads as zero: drivers take that for a device that is not
/// there.
#[derive(Debug)]
pub struct DeviceRegisters(pub Device);

impl Registers for DeviceRegisters {
    fn read(&self, offset: usize) -> u32 {
        self.0.read(offset as u64).unwrap_or(0)
    }

    fn write(&mut self, offset: usize, value: u32) {
        let _ = self.0.write(offset as u64, value);
    }
}
