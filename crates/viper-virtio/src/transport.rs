//! The virtio-mmio window, version 2: identification, negotiation, queues, interrupts.
//!
//! <https://docs.oasis-open.org/virtio/virtio/v1.2/virtio-v1.2.html>, section 4.2.2.

use crate::dma::DeviceAddress;
use crate::error::Error;

/// The 0x200-byte register window of one device.
///
/// On a system that mediates sub-page windows each access may be a system call, so drivers make
/// as few as they can: none to submit, one to notify a batch, one to acknowledge an interrupt.
pub trait Registers {
    /// Reads the 32-bit register at byte `offset`, a multiple of 4 below 0x200.
    fn read(&self, offset: usize) -> u32;

    /// Writes the 32-bit register at byte `offset`, a multiple of 4 below 0x200. Accesses to
    /// memory before this call happen before the write, as for any store to a device.
    fn write(&mut self, offset: usize, value: u32);

    /// Reads one byte of the configuration space. Override it where narrow accesses are possible:
    /// the standard asks for them (4.2.2.2), and devices take a 32-bit read all the same.
    fn read_u8(&self, offset: usize) -> u8 {
        (self.read(offset & !3) >> ((offset & 3) * 8)) as u8
    }

    /// Writes one byte of the configuration space. See [`Self::read_u8`]; but here the bytes beside
    /// it are read and written back, which is wrong where they do not read as they were written
    /// (the selectors of an input device). No driver of this crate uses it: it is for the bridge.
    fn write_u8(&mut self, offset: usize, value: u8) {
        let shift = (offset & 3) * 8;
        let rest = self.read(offset & !3) & !(0xff << shift);
        self.write(offset & !3, rest | u32::from(value) << shift);
    }

    /// Reads two bytes of the configuration space at an even `offset`. See [`Self::read_u8`].
    fn read_u16(&self, offset: usize) -> u16 {
        (self.read(offset & !3) >> ((offset & 2) * 8)) as u16
    }
}

/// What a device is for (standard, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceKind {
    /// Network card.
    Net,
    /// Block device.
    Block,
    /// Console.
    Console,
    /// Entropy source.
    Rng,
    /// Graphics adapter.
    Gpu,
    /// Keyboard, mouse and their like.
    Input,
    /// Any other, by its number.
    Other(u32),
}

impl DeviceKind {
    const fn from_id(id: u32) -> Self {
        match id {
            1 => Self::Net,
            2 => Self::Block,
            3 => Self::Console,
            4 => Self::Rng,
            16 => Self::Gpu,
            18 => Self::Input,
            other => Self::Other(other),
        }
    }
}

/// What an interrupt was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupt {
    /// Requests have completed: poll for them.
    pub completions: bool,
    /// The device's configuration has changed and has been read again.
    pub config_changed: bool,
}

/// A modern virtio device behind its registers.
#[derive(Debug)]
pub struct Transport<R> {
    registers: R,
    kind: DeviceKind,
}

impl<R: Registers> Transport<R> {
    /// Looks at a window. `None` means a valid window with no device in it.
    ///
    /// # Errors
    ///
    /// [`Error::NotVirtio`] and [`Error::Legacy`].
    pub fn probe(registers: R) -> Result<Option<Self>, Error> {
        if registers.read(reg::MAGIC) != MAGIC {
            return Err(Error::NotVirtio);
        }
        // An empty slot has id 0; its version says how the machine was configured (4.2.2.2).
        let version = registers.read(reg::VERSION);
        let id = registers.read(reg::DEVICE_ID);
        if id == 0 {
            return Ok(None);
        }
        if version != VERSION_MODERN {
            return Err(Error::Legacy);
        }
        Ok(Some(Self {
            registers,
            kind: DeviceKind::from_id(id),
        }))
    }

    /// What the device is for.
    #[must_use]
    pub const fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// Gives the registers back. The device keeps its state: see the drivers' `release`.
    pub fn into_registers(self) -> R {
        self.registers
    }

    /// The registers, for what this crate does not do itself: writes to the configuration space,
    /// or looking at the device.
    #[must_use]
    pub const fn registers(&self) -> &R {
        &self.registers
    }

    /// The registers, to write to. A write may upset the driver that runs on them.
    pub const fn registers_mut(&mut self) -> &mut R {
        &mut self.registers
    }

    /// Resets the device, and makes sure that it has (2.4.2, 4.2.3.1). Whatever it was doing for
    /// an earlier driver ends here.
    pub(crate) fn reset(&mut self) -> Result<(), Error> {
        self.registers.write(reg::STATUS, 0);
        for _ in 0..RESET_POLLS_MAX {
            if self.status() == 0 {
                return Ok(());
            }
            core::hint::spin_loop();
        }
        Err(Error::ResetTimeout)
    }

    /// Resets and negotiates (3.1.1): what is both offered and `wanted`, or an error if some of
    /// `required` is not offered. Leaves the device ready for its queues.
    pub(crate) fn negotiate(&mut self, wanted: u64, required: u64) -> Result<u64, Error> {
        self.reset()?;
        self.registers.write(reg::STATUS, status::ACKNOWLEDGE);
        self.registers
            .write(reg::STATUS, status::ACKNOWLEDGE | status::DRIVER);
        let offered = self.offered_features();
        let required = required | feature::VERSION_1;
        if required & !offered != 0 {
            return Err(self.fail(Error::MissingFeature));
        }
        let accepted = offered & (wanted | required);
        self.accept_features(accepted);
        self.registers.write(reg::STATUS, status::FEATURES_OK_SET);
        if self.status() & status::FEATURES_OK == 0 {
            return Err(self.fail(Error::FeaturesRejected));
        }
        Ok(accepted)
    }

    /// The largest ring that queue `index` takes.
    pub(crate) fn queue_size_max(&mut self, index: u16) -> Result<u16, Error> {
        self.registers.write(reg::QUEUE_SEL, u32::from(index));
        if self.registers.read(reg::QUEUE_READY) != 0 {
            return Err(self.fail(Error::QueueUnavailable));
        }
        match self.registers.read(reg::QUEUE_NUM_MAX) {
            0 => Err(self.fail(Error::QueueUnavailable)),
            max => Ok(u16::try_from(max)
                .unwrap_or(QUEUE_SIZE_MAX)
                .min(QUEUE_SIZE_MAX)),
        }
    }

    /// Tells the device where queue `index` is, and starts it (4.2.3.2).
    pub(crate) fn start_queue(&mut self, index: u16, place: &QueuePlace) {
        self.registers.write(reg::QUEUE_SEL, u32::from(index));
        self.registers.write(reg::QUEUE_NUM, u32::from(place.size));
        for (register, address) in [
            (reg::QUEUE_DESC, place.descriptors),
            (reg::QUEUE_DRIVER, place.available),
            (reg::QUEUE_DEVICE, place.used),
        ] {
            self.registers.write(register, address.raw() as u32);
            self.registers
                .write(register + 4, (address.raw() >> 32) as u32);
        }
        self.registers.write(reg::QUEUE_READY, 1);
    }

    /// Lets the device run.
    pub(crate) fn start(&mut self) {
        self.registers.write(reg::STATUS, status::DRIVER_OK_SET);
    }

    pub(crate) fn notify(&mut self, queue: u16) {
        self.registers.write(reg::QUEUE_NOTIFY, u32::from(queue));
    }

    /// Acknowledges an interrupt for completions already seen in memory: one access. Should the
    /// configuration have changed too, the line stays up and the next interrupt tells.
    pub(crate) fn acknowledge_completions(&mut self) -> Interrupt {
        self.registers.write(reg::INTERRUPT_ACK, INTERRUPT_USED);
        Interrupt {
            completions: true,
            config_changed: false,
        }
    }

    /// Asks what the interrupt is about, and acknowledges it: two accesses.
    pub(crate) fn acknowledge_any(&mut self) -> Interrupt {
        let pending = self.registers.read(reg::INTERRUPT_STATUS);
        let known = pending & (INTERRUPT_USED | INTERRUPT_CONFIG);
        if known != 0 {
            self.registers.write(reg::INTERRUPT_ACK, known);
        }
        Interrupt {
            completions: known & INTERRUPT_USED != 0,
            config_changed: known & INTERRUPT_CONFIG != 0,
        }
    }

    /// Whether the device says that it cannot go on (2.1.1).
    pub(crate) fn needs_reset(&self) -> bool {
        self.status() & status::DEVICE_NEEDS_RESET != 0
    }

    /// Runs `read` over the configuration space until no change came between (2.5.1).
    pub(crate) fn read_config<T>(&self, read: impl Fn(&Config<'_, R>) -> T) -> Result<T, Error> {
        for _ in 0..CONFIG_READS_MAX {
            let before = self.registers.read(reg::CONFIG_GENERATION);
            let value = read(&Config(&self.registers));
            if self.registers.read(reg::CONFIG_GENERATION) == before {
                return Ok(value);
            }
        }
        Err(Error::PeerMisbehaved)
    }

    fn status(&self) -> u32 {
        self.registers.read(reg::STATUS)
    }

    pub(crate) fn offered_features(&mut self) -> u64 {
        self.registers.write(reg::DEVICE_FEATURES_SEL, 0);
        let low = self.registers.read(reg::DEVICE_FEATURES);
        self.registers.write(reg::DEVICE_FEATURES_SEL, 1);
        let high = self.registers.read(reg::DEVICE_FEATURES);
        u64::from(high) << 32 | u64::from(low)
    }

    pub(crate) fn accept_features(&mut self, accepted: u64) {
        self.registers.write(reg::DRIVER_FEATURES_SEL, 0);
        self.registers.write(reg::DRIVER_FEATURES, accepted as u32);
        self.registers.write(reg::DRIVER_FEATURES_SEL, 1);
        self.registers
            .write(reg::DRIVER_FEATURES, (accepted >> 32) as u32);
    }

    /// Tells the device that the driver has given it up (2.1), and passes `error` on.
    fn fail(&mut self, error: Error) -> Error {
        let now = self.status();
        self.registers.write(reg::STATUS, now | status::FAILED);
        error
    }
}

/// Where a queue is for the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueuePlace {
    pub(crate) size: u16,
    pub(crate) descriptors: DeviceAddress,
    pub(crate) available: DeviceAddress,
    pub(crate) used: DeviceAddress,
}

/// The device-specific configuration space.
pub(crate) struct Config<'a, R>(&'a R);

impl<R: Registers> Config<'_, R> {
    pub(crate) fn u8(&self, offset: usize) -> u8 {
        self.0.read_u8(reg::CONFIG + offset)
    }

    pub(crate) fn u16(&self, offset: usize) -> u16 {
        self.0.read_u16(reg::CONFIG + offset)
    }

    pub(crate) fn u32(&self, offset: usize) -> u32 {
        self.0.read(reg::CONFIG + offset)
    }

    pub(crate) fn u64(&self, offset: usize) -> u64 {
        u64::from(self.u32(offset + 4)) << 32 | u64::from(self.u32(offset))
    }
}

/// Register offsets (4.2.2, table 4.1).
pub(crate) mod reg {
    pub(crate) const MAGIC: usize = 0x000;
    pub(crate) const VERSION: usize = 0x004;
    pub(crate) const DEVICE_ID: usize = 0x008;
    pub(crate) const DEVICE_FEATURES: usize = 0x010;
    pub(crate) const DEVICE_FEATURES_SEL: usize = 0x014;
    pub(crate) const DRIVER_FEATURES: usize = 0x020;
    pub(crate) const DRIVER_FEATURES_SEL: usize = 0x024;
    pub(crate) const QUEUE_SEL: usize = 0x030;
    pub(crate) const QUEUE_NUM_MAX: usize = 0x034;
    pub(crate) const QUEUE_NUM: usize = 0x038;
    pub(crate) const QUEUE_READY: usize = 0x044;
    pub(crate) const QUEUE_NOTIFY: usize = 0x050;
    pub(crate) const INTERRUPT_STATUS: usize = 0x060;
    pub(crate) const INTERRUPT_ACK: usize = 0x064;
    pub(crate) const STATUS: usize = 0x070;
    pub(crate) const QUEUE_DESC: usize = 0x080;
    pub(crate) const QUEUE_DRIVER: usize = 0x090;
    pub(crate) const QUEUE_DEVICE: usize = 0x0a0;
    pub(crate) const CONFIG_GENERATION: usize = 0x0fc;
    pub(crate) const CONFIG: usize = 0x100;
}

/// Device status bits (2.1).
pub(crate) mod status {
    pub(crate) const ACKNOWLEDGE: u32 = 1;
    pub(crate) const DRIVER: u32 = 2;
    pub(crate) const DRIVER_OK: u32 = 4;
    pub(crate) const FEATURES_OK: u32 = 8;
    pub(crate) const DEVICE_NEEDS_RESET: u32 = 64;
    pub(crate) const FAILED: u32 = 128;
    pub(crate) const FEATURES_OK_SET: u32 = ACKNOWLEDGE | DRIVER | FEATURES_OK;
    pub(crate) const DRIVER_OK_SET: u32 = FEATURES_OK_SET | DRIVER_OK;
}

/// Feature bits that do not depend on the kind of device (6).
pub(crate) mod feature {
    pub(crate) const INDIRECT: u64 = 1 << 28;
    pub(crate) const EVENT_INDEX: u64 = 1 << 29;
    pub(crate) const VERSION_1: u64 = 1 << 32;
    pub(crate) const ACCESS_PLATFORM: u64 = 1 << 33;
    /// What every driver here takes if offered. Device addresses are what the platform says they
    /// are, so `ACCESS_PLATFORM` costs nothing.
    pub(crate) const COMMON: u64 = INDIRECT | EVENT_INDEX | ACCESS_PLATFORM;
}

pub(crate) const MAGIC: u32 = 0x7472_6976;
pub(crate) const VERSION_MODERN: u32 = 2;
pub(crate) const INTERRUPT_USED: u32 = 1;
pub(crate) const INTERRUPT_CONFIG: u32 = 2;
/// The largest split ring there can be (2.7).
const QUEUE_SIZE_MAX: u16 = 1 << 15;
/// Reads of the status before a reset counts as failed. QEMU needs one.
const RESET_POLLS_MAX: u32 = 1000;
const CONFIG_READS_MAX: u32 = 8;
