//! The server over a device that is a model.

use super::Entropy;
use viper_proto::entropy::Client;
use viper_proto::names::rights;
use viper_rt::abi::{FOREVER, Slot};
use viper_rt::handle::Channel;
use viper_rt::server::{Server, supervisor};
use viper_rt::{Error, Object, client, host, sys};
use viper_virtio::fake::{Fake, FakeMemory, FakeRng, Fault};
use viper_virtio::{Rng, Transport};

/// A server whose device gives at most so many bytes at once; `None`: there is no device.
fn connect(answer_len_max: Option<usize>, fault: Option<Fault>) -> Client {
    let (_, up) = host::spawn_with_channel("entropyd", Slot::SUPERVISOR, move || {
        let memory = FakeMemory::new(1 << 16);
        let device = answer_len_max.map(|answer_len_max| {
            let model = FakeRng {
                next: 1,
                answer_len_max,
            };
            Fake::new(model, &memory)
        });
        let rng = device.as_ref().map(|device| {
            let transport = Transport::probe(device.registers()).unwrap().unwrap();
            let region = memory.take(Rng::<viper_virtio::fake::FakeRegisters<FakeRng>>::DMA_LEN);
            Rng::new(transport, region).unwrap()
        });
        if let (Some(device), Some(fault)) = (&device, fault) {
            device.inject(fault);
        }
        let mut service = Entropy::new(rng, None);
        Server::new().unwrap().run(&mut service).map_or(1, |()| 0)
    })
    .unwrap();
    sys::receive(up.raw(), FOREVER).check().unwrap();
    let (ours, theirs) = Channel::pair(4).unwrap();
    client::send(
        &up,
        supervisor::NEW_CLIENT,
        (1u64, rights::ALL, theirs),
        FOREVER,
    )
    .unwrap();
    // The server lives as long as its supervisor's channel.
    core::mem::forget(up);
    Client::new(ours)
}

#[test]
fn bytes_are_given_once_and_in_any_length() {
    let client = connect(Some(256), None);
    let mut next = 1u8;
    for len in [1, 128, 7, 128, 64, 128] {
        let bytes = client.get(len).unwrap();
        assert_eq!(bytes.len(), len as usize);
        for byte in bytes.iter() {
            assert_eq!(*byte, next, "each byte of the source once, in its order");
            next = next.wrapping_add(1);
        }
    }
    assert_eq!(client.get(0).err(), Some(Error::InvalidArgument));
    assert_eq!(client.get(129).err(), Some(Error::InvalidArgument));
}

#[test]
fn a_slow_source_is_asked_as_often_as_needed() {
    assert_eq!(connect(Some(10), None).get(128).unwrap().len(), 128);
}

#[test]
fn without_a_source_there_is_an_error_and_never_a_constant() {
    assert_eq!(connect(None, None).get(32).err(), Some(Error::NoService));
}

#[test]
fn a_device_that_misbehaves_gives_errors_and_is_started_anew() {
    for fault in [
        Fault::Untouched,
        Fault::Length(1000),
        Fault::Id(7),
        Fault::Length(0),
    ] {
        let client = connect(Some(256), Some(fault));
        assert_eq!(client.get(32).err(), Some(Error::Io), "{fault:?}");
        assert_eq!(client.get(32).map(|b| b.len()), Ok(32), "after a reset");
    }
}
