//! What init needs of the world around it, so that tests can give it another one.

use crate::manifest;
use alloc::vec::Vec;
use core::fmt;
use viper_rt::Error;
use viper_rt::abi::{Handle, Rights, Slot};
use viper_rt::handle::{Device, Process, System};

/// What a process is started with.
#[derive(Debug, Default)]
pub struct Grants<'a> {
    /// Its arguments after its name.
    pub arguments: Vec<&'a str>,
    /// How much it is to log.
    pub log: Option<viper_rt::log::Level>,
    /// Handles by slot; they stay init's, too.
    pub handles: Vec<(Slot, Handle, Rights)>,
}

/// The world of init.
pub trait World {
    /// Starts a process of the manifest.
    ///
    /// # Errors
    /// Any error: it counts as an end of the process.
    fn start(&mut self, process: &manifest::Process, grants: &Grants<'_>)
    -> Result<Process, Error>;

    /// Whether the machine has the device of this name.
    fn has_device(&self, name: &str) -> bool;

    /// The device of this name with a DMA allowance, if the machine has it.
    fn device(&mut self, name: &str, dma_bytes: u64) -> Option<Device>;

    /// The system.
    fn system(&self) -> Option<&System>;

    /// Nanoseconds between 1970 and the start of the machine.
    fn wall_clock_ns(&self) -> Option<u64>;

    /// Changes that.
    fn set_wall_clock_ns(&mut self, boot_ns: u64);

    /// Writes to the console, which no server may have yet.
    fn write(&mut self, text: fmt::Arguments<'_>);

    /// Turns the machine off.
    fn power_off(&mut self);
}
