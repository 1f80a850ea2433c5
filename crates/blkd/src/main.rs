//! The block server: takes its disk from the supervisor, and serves.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::boxed::Box;
use blkd::{Blkd, DeviceRegisters, Hardware, open_window, own_region};
use viper_rt::abi::{Rights, Slot};
use viper_rt::handle::{Device, OwnedHandle};
use viper_rt::{Error, Object, eprintln, program, server};
use viper_virtio::{Block, BlockConfig, Transport};

viper_rt::entry!(run);

fn run() -> Result<(), Error> {
    let device: Option<Device> = program::take(Slot::DEVICE).map(OwnedHandle::into_object);
    let hardware = match device {
        Some(device) => hardware(device)?,
        None => None,
    };
    server::serve(|sources| Blkd::new(hardware, &sources))
}

/// Starts the disk. A device that will not start is said once, and served as none.
fn hardware(device: Device) -> Result<Option<Hardware<Block<DeviceRegisters>>>, Error> {
    let interrupt = device.interrupt(0)?;
    let serial = device.describe()?.base;
    let config = BlockConfig::default();
    let region = own_region(&device, config.dma_len())?;
    let for_clients = device.duplicate(Rights::DMA)?;
    let started = Transport::probe(DeviceRegisters(device)).and_then(|transport| match transport {
        Some(transport) => Block::new(transport, region, config).map(Some),
        None => Ok(None),
    });
    let disk = started.unwrap_or_else(|error| {
        let name = program::arguments().next().unwrap_or("blkd");
        eprintln!("{name}: the disk cannot be used: {error}");
        None
    });
    Ok(disk.map(|disk| Hardware {
        disk,
        interrupt,
        open: Box::new(move |memory| open_window(&for_clients, memory)),
        serial,
    }))
}
