//! The network driver on an honest card and on dishonest ones.

use viper_virtio::fake::{Fake, FakeMemory, FakeNet, FakeRegisters, Fault};
use viper_virtio::net::{Cancelled, Checksum, ChecksumPlace};
use viper_virtio::{DmaRegion, Error, Net, NetConfig, Received, Transmit, Transport};

type Driver = Net<FakeRegisters<FakeNet>>;

const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];
const CONFIG: NetConfig = NetConfig {
    receive_depth: 8,
    transmit_depth: 4,
    segments_max: 3,
    wants_checksum_offload: true,
};

struct Bench {
    card: Fake<FakeNet>,
    net: Driver,
    buffer: DmaRegion,
}

fn bench(config: NetConfig, prepare: impl FnOnce(&Fake<FakeNet>)) -> Bench {
    let memory = FakeMemory::new(1 << 18);
    let card = Fake::new(FakeNet::new(MAC), &memory);
    prepare(&card);
    let transport = Transport::probe(card.registers()).unwrap().unwrap();
    let net = Net::new(transport, memory.take(config.dma_len()), config).unwrap();
    Bench {
        card,
        net,
        buffer: memory.take(1 << 16),
    }
}

impl Bench {
    fn post(&mut self, token: u64) -> Result<(), Error> {
        let segment = self.buffer.segment(token as usize * 2048, 2048).unwrap();
        self.net.post_receive(&[segment], token)
    }

    fn send(&mut self, at: usize, len: u32, token: u64) -> Result<(), Error> {
        let segments = [self.buffer.segment(at, len).unwrap()];
        self.net.transmit(&Transmit {
            segments: &segments,
            checksum: None,
            token,
        })
    }

    fn deliver(&self, header: [u8; 12], frame: &[u8]) {
        self.card
            .model(|card| card.inbox.push_back([&header[..], frame].concat()));
        self.card.process(0, 1, |_| 0);
    }

    fn bytes(&self, at: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.buffer.read(at, &mut bytes).unwrap();
        bytes
    }
}

#[test]
fn tells_what_the_card_is() {
    let bench = bench(NetConfig::default(), |_| {});
    let info = bench.net.info();
    assert_eq!(
        (info.mac, info.mtu, info.is_link_up),
        (Some(MAC), Some(1500), true)
    );
    assert_eq!((info.receive_depth, info.transmit_depth), (128, 128));
    assert!(!info.has_transmit_checksum && !info.has_receive_checksum);
    assert_eq!(bench.card.violations(), [""; 0]);
}

#[test]
fn frames_come_whole_into_the_buffers_posted() {
    for (indirect, ring) in [(false, 1024), (true, 8)] {
        let mut bench = bench(CONFIG, |card| {
            card.offer(indirect, true);
            card.limit_queue_size(ring);
        });
        (0..8).for_each(|token| bench.post(token).unwrap());
        assert_eq!(bench.post(8), Err(Error::Full));
        bench.net.kick().unwrap();
        assert_eq!(bench.net.poll_receive(), Ok(None));
        for round in 0..100u64 {
            let frame = vec![round as u8; 60 + round as usize * 14];
            bench.deliver([0; 12], &frame);
            assert!(bench.net.on_interrupt().unwrap().completions);
            let token = round % 8;
            let received = Received {
                token,
                bytes: frame.len() as u32,
                checksum: Checksum::Unknown,
            };
            assert_eq!(bench.net.poll_receive(), Ok(Some(received)));
            assert_eq!(bench.net.poll_receive(), Ok(None));
            assert_eq!(bench.bytes(token as usize * 2048, frame.len()), frame);
            bench.post(token).unwrap();
            bench.net.kick().unwrap();
        }
        assert_eq!(bench.card.violations(), [""; 0]);
    }
}

#[test]
fn frames_go_out_after_a_header_of_zeroes() {
    let mut bench = bench(CONFIG, |_| {});
    bench.buffer.write(0, b"from three pieces").unwrap();
    let piece = |at, len| bench.buffer.segment(at, len).unwrap();
    let segments = [piece(0, 5), piece(5, 6), piece(11, 6)];
    bench
        .net
        .transmit(&Transmit {
            segments: &segments,
            checksum: None,
            token: 9,
        })
        .unwrap();
    assert_eq!(bench.net.reclaim_transmit(), Ok(None));
    bench.net.kick().unwrap();
    assert_eq!(bench.net.reclaim_transmit(), Ok(Some(9)));
    let sent = bench.card.model(|card| card.outbox.remove(0));
    assert_eq!(sent, [&[0; 12][..], b"from three pieces"].concat());
    assert_eq!(bench.card.violations(), [""; 0]);
}

#[test]
fn reclaiming_asks_for_no_interrupts() {
    let mut bench = bench(CONFIG, |_| {});
    let interrupts = bench.card.counts().interrupts;
    for token in 0..50 {
        bench.send(0, 60, token).unwrap();
        bench.net.kick().unwrap();
        assert_eq!(bench.net.reclaim_transmit(), Ok(Some(token)));
        assert_eq!(bench.net.reclaim_transmit(), Ok(None));
    }
    assert_eq!(
        bench.card.counts().interrupts,
        interrupts + 1,
        "the first is on from the start"
    );
}

#[test]
fn checksum_offload_is_passed_on_in_both_directions() {
    let mut bench = bench(CONFIG, |_| {});
    let place = ChecksumPlace {
        start: 34,
        offset: 16,
    };
    let segments = [bench.buffer.segment(0, 54).unwrap()];
    let frame = Transmit {
        segments: &segments,
        checksum: Some(place),
        token: 1,
    };
    bench.net.transmit(&frame).unwrap();
    bench.net.kick().unwrap();
    let sent = bench.card.model(|card| card.outbox.remove(0));
    assert_eq!(sent[..12], [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0]);
    let outside = Transmit {
        checksum: Some(ChecksumPlace {
            start: 34,
            offset: 19,
        }),
        ..frame
    };
    assert_eq!(bench.net.transmit(&outside), Err(Error::Invalid));

    (0..3).for_each(|token| bench.post(token).unwrap());
    bench.net.kick().unwrap();
    bench.deliver([0; 12], &[0; 60]);
    bench.deliver([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0; 60]);
    bench.deliver([1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 1, 0], &[0; 60]);
    for checksum in [Checksum::Unknown, Checksum::Valid, Checksum::Partial(place)] {
        assert_eq!(
            bench.net.poll_receive().unwrap().unwrap().checksum,
            checksum
        );
    }
}

#[test]
fn without_offload_no_checksum_is_taken_or_believed() {
    let config = NetConfig {
        wants_checksum_offload: false,
        ..CONFIG
    };
    let mut bench = bench(config, |_| {});
    let segments = [bench.buffer.segment(0, 60).unwrap()];
    let checksum = Some(ChecksumPlace {
        start: 34,
        offset: 16,
    });
    let frame = Transmit {
        segments: &segments,
        checksum,
        token: 1,
    };
    assert_eq!(bench.net.transmit(&frame), Err(Error::Unsupported));
    bench.post(0).unwrap();
    bench.net.kick().unwrap();
    bench.deliver([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0; 60]);
    assert_eq!(
        bench.net.poll_receive().unwrap().unwrap().checksum,
        Checksum::Unknown
    );
}

#[test]
fn lengths_are_clamped_to_the_buffer() {
    for (claimed, bytes) in [(0, 0), (12, 0), (72, 60), (2060, 2048), (u32::MAX, 2048)] {
        let mut bench = bench(CONFIG, |_| {});
        bench.post(0).unwrap();
        bench.net.kick().unwrap();
        bench.card.inject(Fault::Length(claimed));
        bench.deliver([0; 12], &[0; 60]);
        assert_eq!(bench.net.poll_receive().unwrap().unwrap().bytes, bytes);
    }
}

#[test]
fn buffers_and_frames_out_of_shape_are_refused() {
    let mut bench = bench(CONFIG, |_| {});
    let piece = |len| bench.buffer.segment(0, len).unwrap();
    assert_eq!(bench.net.post_receive(&[], 0), Err(Error::Invalid));
    assert_eq!(
        bench.net.post_receive(&[piece(1513)], 0),
        Err(Error::Invalid)
    );
    assert_eq!(
        bench.net.post_receive(&[piece(1000), piece(0)], 0),
        Err(Error::Invalid)
    );
    assert_eq!(
        bench.net.post_receive(&[piece(1000); 4], 0),
        Err(Error::Invalid)
    );
    assert_eq!(
        bench.net.post_receive(&[piece(40_000); 2], 0),
        Err(Error::Invalid)
    );
    bench.net.post_receive(&[piece(757); 2], 0).unwrap();
    assert_eq!(bench.send(0, 0, 0), Err(Error::Invalid));
}

#[test]
fn link_and_mtu_follow_the_card() {
    let mut bench = bench(CONFIG, |_| {});
    bench.card.model(|card| card.is_link_up = false);
    bench.card.config_changed();
    assert!(bench.net.on_interrupt().unwrap().config_changed);
    assert!(!bench.net.info().is_link_up);
    bench.card.model(|card| card.mtu = 67);
    bench.card.config_changed();
    assert_eq!(bench.net.on_interrupt(), Err(Error::PeerMisbehaved));
}

#[test]
fn a_reset_gives_every_token_back_once() {
    let mut bench = bench(CONFIG, |card| card.set_eager(false));
    (0..5).for_each(|token| bench.post(token).unwrap());
    (10..13).for_each(|token| bench.send(0, 60, token).unwrap());
    bench.net.kick().unwrap();
    bench.card.inject(Fault::Id(77));
    bench.card.process(1, 1, |_| 0);
    assert_eq!(bench.net.poll_transmit(), Err(Error::PeerMisbehaved));
    assert_eq!(bench.net.poll_receive(), Err(Error::PeerMisbehaved));
    let mut tokens = Vec::new();
    bench
        .net
        .reset_and_reinit(|token| tokens.push(token))
        .unwrap();
    let expected: Vec<_> = (0..5)
        .map(Cancelled::Receive)
        .chain((10..13).map(Cancelled::Transmit))
        .collect();
    assert_eq!(tokens, expected);
    bench.send(0, 60, 20).unwrap();
    bench.post(0).unwrap();
    bench.net.kick().unwrap();
    assert_eq!(bench.card.process(1, 9, |_| 0), 1);
    assert_eq!(bench.net.poll_transmit(), Ok(Some(20)));
    bench.card.inject(Fault::StuckReset);
    let none = |_| panic!("the device may still write");
    let net = bench
        .net
        .release(none)
        .expect_err("the device did not reset");
    bench.card.behave();
    let mut tokens = Vec::new();
    net.release(|token| tokens.push(token)).expect("it did now");
    assert_eq!(tokens, [Cancelled::Receive(0)]);
    assert_eq!(bench.card.violations(), [""; 0]);
}

mod frames {
    //! The card with buffers of its own.

    use super::*;
    use viper_virtio::net::{NetFrames, NetFramesConfig};

    const CONFIG: NetFramesConfig = NetFramesConfig {
        net: NetConfig {
            receive_depth: 4,
            transmit_depth: 2,
            segments_max: 1,
            wants_checksum_offload: false,
        },
        receive_bytes: 2048,
        transmit_bytes: 2048,
    };

    fn card() -> (Fake<FakeNet>, NetFrames<FakeRegisters<FakeNet>>) {
        let memory = FakeMemory::new(1 << 18);
        let card = Fake::new(FakeNet::new(MAC), &memory);
        let transport = Transport::probe(card.registers()).unwrap().unwrap();
        let frames = NetFrames::new(transport, memory.take(CONFIG.dma_len()), CONFIG).unwrap();
        (card, frames)
    }

    fn deliver(card: &Fake<FakeNet>, frame: &[u8]) {
        let framed = [&[0; 12][..], frame].concat();
        card.model(|model| model.inbox.push_back(framed));
        card.process(0, 1, |_| 0);
    }

    #[test]
    fn frames_are_lent_and_their_buffers_used_again() {
        let (card, mut frames) = card();
        for round in 0..50u8 {
            let frame = vec![round; 60 + usize::from(round)];
            deliver(&card, &frame);
            let seen = frames.receive(|bytes, _| bytes.to_vec()).unwrap();
            assert_eq!(seen.as_deref(), Some(&frame[..]));
            assert_eq!(frames.receive(|_, _| ()), Ok(None));
            let sent = frames.transmit(frame.len(), None, |bytes| bytes.fill(!round));
            assert_eq!(sent, Ok(true));
            frames.kick().unwrap();
            let out = card.model(|model| model.outbox.remove(0));
            assert_eq!(out[12..], vec![!round; frame.len()]);
        }
        assert_eq!(card.violations(), [""; 0]);
    }

    #[test]
    fn a_full_card_takes_no_more_until_frames_are_gone() {
        let (card, mut frames) = card();
        for _ in 0..2 {
            assert_eq!(frames.transmit(60, None, |_| ()), Ok(true));
        }
        assert!(!frames.can_transmit());
        assert_eq!(frames.transmit(60, None, |_| panic!("no room")), Ok(false));
        assert_eq!(frames.want_room(), Ok(false));
        frames.kick().unwrap();
        assert_eq!(frames.want_room(), Ok(true));
        assert!(frames.can_transmit());
        assert_eq!(frames.transmit(2049, None, |_| ()), Err(Error::Invalid));
        assert_eq!(card.violations(), [""; 0]);
    }

    #[test]
    fn a_reset_gives_all_buffers_back() {
        let (card, mut frames) = card();
        for _ in 0..2 {
            frames.transmit(60, None, |_| ()).unwrap();
        }
        for _ in 0..3 {
            frames.reset().unwrap();
            assert!(frames.can_transmit());
            deliver(&card, &[7; 64]);
            assert_eq!(frames.receive(|bytes, _| bytes.len()), Ok(Some(64)));
        }
        assert_eq!(card.violations(), [""; 0]);
    }
}
