//! `entropyd`: random bytes from the virtio entropy device that the manifest gives it.
#![cfg_attr(target_os = "none", no_std, no_main)]

use entropyd::{DEVICE_KEY, Entropy};
use viper_rt::abi::{Signals, Slot};
use viper_rt::handle::{Device, Interrupt, OwnedHandle};
use viper_rt::virtio::{SlotRegisters, own_region};
use viper_rt::{Error, eprintln, program, server};
use viper_virtio::{Rng, Transport};

viper_rt::entry!(run);

fn run() -> Result<(), Error> {
    let device = program::take(Slot::DEVICE).map(OwnedHandle::into_object);
    let started = device.map(start);
    if let Some(Err(error)) = &started {
        eprintln!("entropyd: no entropy: {error}");
    }
    server::serve(|sources| {
        let Some(Ok((rng, interrupt))) = started else {
            return Ok(Entropy::new(None, None));
        };
        sources.watch(&interrupt, DEVICE_KEY, Signals::INTERRUPT)?;
        Ok(Entropy::new(Some(rng), Some(interrupt)))
    })
}

fn start(device: Device) -> Result<(Rng<SlotRegisters>, Interrupt), Error> {
    let interrupt = device.interrupt(0)?;
    let memory = own_region(&device, Rng::<SlotRegisters>::DMA_LEN)?;
    let failed = |_| Error::Io;
    let transport = Transport::probe(SlotRegisters(device)).map_err(failed)?;
    let rng = Rng::new(transport.ok_or(Error::NotFound)?, memory).map_err(failed)?;
    Ok((rng, interrupt))
}
