//! `netd`: the network on the card that the manifest gives it.
#![cfg_attr(target_os = "none", no_std, no_main)]

use netd::{Card, DEVICE_KEY, Netd, Refusal};
use viper_proto::{entropy, names};
use viper_rt::abi::{Signals, Slot};
use viper_rt::handle::{Channel, Device, Interrupt, OwnedHandle};
use viper_rt::virtio::{SlotRegisters, own_region};
use viper_rt::{Error, clock, eprintln, program, server};
use viper_virtio::Transport;
use viper_virtio::net::{NetFrames, NetFramesConfig};

viper_rt::entry!(run);

/// How long the server waits for its seed.
const SEED_TIMEOUT_NS: u64 = 2 * clock::SECOND;

fn run() -> Result<(), Error> {
    let seed = match seed() {
        Ok(seed) => seed,
        Err(error) => {
            eprintln!("netd: no network without entropy: {error}");
            return server::serve(|_| Ok(Refusal(Error::NoService)));
        }
    };
    let device = program::take(Slot::DEVICE).map(OwnedHandle::into_object);
    let card = match device.map(start) {
        Some(Ok(card)) => Some(card),
        Some(Err(error)) => {
            eprintln!("netd: the network card cannot be used: {error}");
            None
        }
        None => None,
    };
    server::serve(|sources| {
        if let Some((_, interrupt)) = &card {
            sources.watch(interrupt, DEVICE_KEY, Signals::INTERRUPT)?;
        }
        Netd::new(card.map(|(card, i)| (card, Some(i))), seed, sources)
    })
}

/// 32 bytes that nobody can guess: sequence numbers and ports come of them.
fn seed() -> Result<[u8; 32], Error> {
    let channel = program::take(Slot::NAMES).ok_or(Error::NoService)?;
    let names = names::Client::new(channel.into_object::<Channel>());
    let channel = names.connect(b"ENTROPYD:", clock::after(SEED_TIMEOUT_NS))?;
    let client = entropy::Client::new(channel);
    client.connection().set_timeout(SEED_TIMEOUT_NS);
    (*client.get(32)?).try_into().map_err(|_| Error::BadMessage)
}

fn start(device: Device) -> Result<(Card<SlotRegisters>, Interrupt), Error> {
    let interrupt = device.interrupt(0)?;
    let config = NetFramesConfig::default();
    let memory = own_region(&device, config.dma_len())?;
    let failed = |_| Error::Io;
    let transport = Transport::probe(SlotRegisters(device)).map_err(failed)?;
    let transport = transport.ok_or(Error::NotFound)?;
    let frames = NetFrames::new(transport, memory, config).map_err(failed)?;
    Ok((Card::new(frames), interrupt))
}
