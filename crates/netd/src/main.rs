//! `netd`: the network on the card that the manifest gives it.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

use alloc::boxed::Box;
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

/// Where the supervisor keeps the lease.
const LEASE_SLOT: u32 = 0;

fn run() -> Result<(), Error> {
    let started = names().and_then(|names| Ok((seed(&names)?, names)));
    let (seed, names) = match started {
        Ok(started) => started,
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
        let mut netd = Netd::new(card.map(|(card, i)| (card, Some(i))), seed, sources)?;
        let kept = names.kept(LEASE_SLOT);
        let keep = move |text: &str| {
            // Without it a successor asks for an address, and waits for it.
            let _ = names.keep(LEASE_SLOT, text.as_bytes());
        };
        let text = kept.as_ref().map_or("", |kept| kept.as_str().unwrap_or(""));
        netd.follow(text, Box::new(keep));
        Ok(netd)
    })
}

fn names() -> Result<names::Client, Error> {
    let channel = program::take(Slot::NAMES).ok_or(Error::NoService)?;
    Ok(names::Client::new(channel.into_object::<Channel>()))
}

/// 32 bytes that nobody can guess: sequence numbers and ports come of them.
fn seed(names: &names::Client) -> Result<[u8; 32], Error> {
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
