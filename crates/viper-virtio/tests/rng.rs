//! The entropy driver on an honest source and on dishonest ones.

use viper_virtio::fake::{Fake, FakeDisk, FakeMemory, FakeRegisters, FakeRng, Fault};
use viper_virtio::{Error, Rng, Transport};

type Driver = Rng<FakeRegisters<FakeRng>>;

fn bench(answer_len_max: usize) -> (Fake<FakeRng>, Driver) {
    let memory = FakeMemory::new(1 << 16);
    let source = Fake::new(
        FakeRng {
            next: 1,
            answer_len_max,
        },
        &memory,
    );
    let transport = Transport::probe(source.registers()).unwrap().unwrap();
    let rng = Rng::new(transport, memory.take(Driver::DMA_LEN)).unwrap();
    (source, rng)
}

#[test]
fn brings_the_bytes_of_the_device() {
    let (source, mut rng) = bench(10);
    let mut out = [0; 64];
    assert_eq!(rng.poll(&mut out), Ok(None));
    rng.request(64).unwrap();
    assert_eq!(rng.request(64), Err(Error::Full));
    assert!(rng.on_interrupt().unwrap().completions);
    assert_eq!(rng.poll(&mut out), Ok(Some(10)));
    assert_eq!(out[..11], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0]);
    rng.request(4).unwrap();
    assert_eq!(rng.poll(&mut out), Ok(Some(4)));
    assert_eq!(out[..4], [11, 12, 13, 14]);
    assert_eq!(source.violations(), [""; 0]);
}

#[test]
fn a_request_is_never_longer_than_the_buffer() {
    let (_, mut rng) = bench(usize::MAX);
    assert_eq!(rng.request(0), Err(Error::Invalid));
    rng.request(usize::MAX).unwrap();
    let mut out = [0; 1024];
    assert_eq!(rng.poll(&mut out), Ok(Some(Driver::REQUEST_LEN_MAX)));
}

#[test]
fn claims_that_cannot_be_true_stop_the_source() {
    for fault in [
        Fault::Length(0),
        Fault::Length(65),
        Fault::Length(u32::MAX),
        Fault::Untouched,
    ] {
        let (source, mut rng) = bench(usize::MAX);
        source.inject(fault);
        rng.request(64).unwrap();
        let mut out = [0; 64];
        assert_eq!(rng.poll(&mut out), Err(Error::PeerMisbehaved), "{fault:?}");
        assert_eq!(rng.request(1), Err(Error::PeerMisbehaved));
        assert_eq!(out, [0; 64], "nothing untrusted came through");
        rng.reset_and_reinit().unwrap();
        rng.request(64).unwrap();
        assert_eq!(rng.poll(&mut out), Ok(Some(64)));
    }
}

#[test]
fn memory_comes_back_erased_and_only_after_a_reset() {
    let (source, mut rng) = bench(usize::MAX);
    source.inject(Fault::StuckReset);
    rng.request(64).unwrap();
    let rng = rng.release().expect_err("the device did not reset");
    source.behave();
    let (_, memory) = rng.release().expect("it did now");
    assert_eq!(memory.len(), Driver::DMA_LEN);
    let mut bytes = vec![0; memory.len()];
    memory.read(0, &mut bytes).unwrap();
    assert!(
        !bytes
            .windows(8)
            .any(|eight| eight == [1, 2, 3, 4, 5, 6, 7, 8])
    );
}

#[test]
fn a_driver_refuses_another_kind_of_device() {
    let memory = FakeMemory::new(1 << 16);
    let disk = Fake::new(FakeDisk::new(1), &memory);
    let transport = Transport::probe(disk.registers()).unwrap().unwrap();
    assert_eq!(
        Rng::new(transport, memory.take(4096)).err(),
        Some(Error::WrongDevice)
    );
    assert_eq!(disk.counts().writes, 0, "and leaves it alone");
}
