//! The input driver on an honest keyboard and on a dishonest one.

use viper_virtio::fake::{Fake, FakeInput, FakeMemory, FakeRegisters, Fault};
use viper_virtio::{Error, Input, InputEvent, Transport};

type Driver = Input<FakeRegisters<FakeInput>>;

fn bench() -> (Fake<FakeInput>, Driver) {
    let memory = FakeMemory::new(1 << 16);
    let keyboard = Fake::new(FakeInput::default(), &memory);
    let transport = Transport::probe(keyboard.registers()).unwrap().unwrap();
    let input = Input::new(transport, memory.take(Driver::DMA_LEN)).unwrap();
    (keyboard, input)
}

fn type_keys(keyboard: &Fake<FakeInput>, codes: std::ops::Range<u16>) -> usize {
    let events = codes.map(|code| (1, code, u32::from(code) << 8));
    keyboard.model(|keyboard| keyboard.events.extend(events));
    keyboard.process(0, usize::MAX, |_| 0)
}

#[test]
fn events_come_in_order_and_their_buffers_go_round() {
    let (keyboard, mut input) = bench();
    assert_eq!(input.poll(), Ok(None));
    for round in 0..2000 {
        let codes = round..round + round % 40;
        assert_eq!(type_keys(&keyboard, codes.clone()), codes.len());
        if !codes.is_empty() {
            assert!(input.on_interrupt().unwrap().completions);
        }
        for code in codes {
            let event = InputEvent {
                kind: 1,
                code,
                value: u32::from(code) << 8,
            };
            assert_eq!(input.poll(), Ok(Some(event)));
        }
        assert_eq!(input.poll(), Ok(None));
        assert!(!keyboard.is_interrupting());
    }
    assert_eq!(keyboard.violations(), [""; 0]);
}

#[test]
fn events_beyond_the_buffers_wait_in_the_device() {
    let (keyboard, mut input) = bench();
    assert_eq!(type_keys(&keyboard, 0..100), 64);
    let mut codes = Vec::new();
    while let Some(event) = input.poll().unwrap() {
        codes.push(event.code);
    }
    // The model, told of the free buffers, has gone on by itself.
    while let Some(event) = input.poll().unwrap() {
        codes.push(event.code);
    }
    assert_eq!(codes, (0..100).collect::<Vec<_>>());
}

#[test]
fn half_an_event_stops_the_device_until_a_reset() {
    let (keyboard, mut input) = bench();
    keyboard.inject(Fault::Length(7));
    type_keys(&keyboard, 5..6);
    assert_eq!(input.poll(), Err(Error::PeerMisbehaved));
    assert_eq!(input.on_interrupt(), Err(Error::PeerMisbehaved));
    input.reset_and_reinit().unwrap();
    type_keys(&keyboard, 6..7);
    assert_eq!(input.poll().unwrap().unwrap().code, 6);
    let (_, memory) = input.release().expect("the device resets");
    assert_eq!(memory.len(), Driver::DMA_LEN);
}

#[test]
fn the_device_answers_queries_as_far_as_there_is_room() {
    let (_, mut input) = bench();
    let mut answer = [0; 16];
    assert_eq!(input.query(1, 0, &mut answer), 4);
    assert_eq!(&answer[..5], b"keys\0");
    assert_eq!(input.query(1, 0, &mut answer[..2]), 2);
}
