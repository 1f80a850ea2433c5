//! The device drivers of the `virtio-drivers` crate on our [`Registers`].
//!
//! For the devices that this crate has no driver for (input, console, GPU, sound), where their
//! blocking calls and fixed queues do no harm. They bring their own queues and take DMA memory
//! through `virtio_drivers::Hal`, which is the process's to implement; the promises of this
//! crate about hostile devices are not theirs.

use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus};
use virtio_drivers::{Error, PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::dma::DeviceAddress;
use crate::transport::{QueuePlace, Registers, Transport, reg};

/// A [`Transport`] in the form in which `virtio-drivers` wants it.
#[derive(Debug)]
pub struct Bridge<R> {
    transport: Transport<R>,
    kind: DeviceType,
}

impl<R: Registers> Bridge<R> {
    /// Wraps a device. `None` if `virtio-drivers` does not know its kind.
    pub fn new(transport: Transport<R>) -> Option<Self> {
        let id = transport.registers().read(reg::DEVICE_ID);
        let kind = DeviceType::try_from(id).ok()?;
        Some(Self { transport, kind })
    }

    /// Gives the transport back. The device keeps its state.
    pub fn into_transport(self) -> Transport<R> {
        self.transport
    }

    fn read(&self, register: usize) -> u32 {
        self.transport.registers().read(register)
    }

    fn write(&mut self, register: usize, value: u32) {
        self.transport.registers_mut().write(register, value);
    }

    /// Offset of `len` bytes of the configuration space, if they are inside the window.
    fn config_offset(offset: usize, len: usize) -> Result<usize> {
        let at = reg::CONFIG
            .checked_add(offset)
            .ok_or(Error::ConfigSpaceTooSmall)?;
        match at.checked_add(len) {
            Some(end) if end <= WINDOW_LEN => Ok(at),
            _ => Err(Error::ConfigSpaceTooSmall),
        }
    }
}

impl<R: Registers> virtio_drivers::transport::Transport for Bridge<R> {
    fn device_type(&self) -> DeviceType {
        self.kind
    }

    fn read_device_features(&mut self) -> u64 {
        self.transport.offered_features()
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        self.transport.accept_features(driver_features);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.write(reg::QUEUE_SEL, queue.into());
        self.read(reg::QUEUE_NUM_MAX)
    }

    fn notify(&mut self, queue: u16) {
        self.transport.notify(queue);
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.read(reg::STATUS))
    }

    /// A reset waits until the device has done it, or is given up after a while: the queue set-up
    /// that follows then finds the queue in use.
    fn set_status(&mut self, status: DeviceStatus) {
        match status.bits() {
            0 => _ = self.transport.reset(),
            bits => self.write(reg::STATUS, bits),
        }
    }

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        let Ok(size) = u16::try_from(size) else {
            return;
        };
        let place = QueuePlace {
            size,
            descriptors: DeviceAddress::new(descriptors),
            available: DeviceAddress::new(driver_area),
            used: DeviceAddress::new(device_area),
        };
        self.transport.start_queue(queue, &place);
    }

    fn queue_unset(&mut self, queue: u16) {
        self.write(reg::QUEUE_SEL, queue.into());
        self.write(reg::QUEUE_READY, 0);
        for _ in 0..UNSET_POLLS_MAX {
            if self.read(reg::QUEUE_READY) == 0 {
                return;
            }
            core::hint::spin_loop();
        }
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.write(reg::QUEUE_SEL, queue.into());
        self.read(reg::QUEUE_READY) != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let interrupt = self.transport.acknowledge_any();
        let mut status = InterruptStatus::empty();
        status.set(InterruptStatus::QUEUE_INTERRUPT, interrupt.completions);
        status.set(
            InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT,
            interrupt.config_changed,
        );
        status
    }

    fn read_config_generation(&self) -> u32 {
        self.read(reg::CONFIG_GENERATION)
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let at = Self::config_offset(offset, size_of::<T>())?;
        let mut value = T::new_zeroed();
        for (i, byte) in value.as_mut_bytes().iter_mut().enumerate() {
            *byte = self.transport.registers().read_u8(at + i);
        }
        Ok(value)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> Result<()> {
        let at = Self::config_offset(offset, size_of::<T>())?;
        for (i, byte) in value.as_bytes().iter().enumerate() {
            self.transport.registers_mut().write_u8(at + i, *byte);
        }
        Ok(())
    }
}

const WINDOW_LEN: usize = 0x200;
const UNSET_POLLS_MAX: u32 = 1000;
