//! Rings between two threads, and a peer that lies.

use super::{Consumer, HEADER_BYTES, Place, Producer};
use crate::handle::{Event, Memory};
use crate::{Error, Mapping, Object};
use alloc::sync::Arc;
use viper_abi::{FOREVER, Signals};

const PLACE: Place = Place {
    header: 0,
    data: 4096,
    len_bytes: 1024,
};

fn ends() -> (Arc<Mapping>, Producer, Consumer) {
    let memory = Memory::new(8192).unwrap();
    let mapping = Arc::new(Mapping::whole(&memory).unwrap());
    let producer = Producer::new(mapping.clone(), PLACE).unwrap();
    let consumer = Consumer::new(mapping.clone(), PLACE).unwrap();
    (mapping, producer, consumer)
}

#[test]
fn bytes_come_out_as_they_went_in_around_the_end() {
    let (_, mut producer, mut consumer) = ends();
    let (mut sent, mut got) = (0u32, 0u32);
    for round in 1..200usize {
        let bytes: Vec<u8> = (0..round * 7).map(|i| (sent as usize + i) as u8).collect();
        sent += producer.write(&bytes).unwrap() as u32;
        let _ = producer.publish();
        let mut to = vec![0; round * 5];
        let count = consumer.read(&mut to).unwrap();
        for byte in &to[..count] {
            assert_eq!(*byte, got as u8);
            got += 1;
        }
        let _ = consumer.release();
        assert_eq!(consumer.available().unwrap() as u32, sent - got);
    }
    assert!(sent > 10 * PLACE.len_bytes && got > 9 * PLACE.len_bytes);
}

#[test]
fn a_wake_up_is_due_only_when_the_other_side_waits_for_it() {
    let (_, mut producer, mut consumer) = ends();
    assert_eq!(producer.write(b"a"), Ok(1));
    assert!(producer.publish(), "a fresh consumer waits");
    assert_eq!(producer.write(b"b"), Ok(1));
    assert!(!producer.publish(), "it was woken and has not slept since");
    let mut to = [0; 8];
    assert_eq!(consumer.read(&mut to), Ok(2));
    assert!(consumer.release(), "a fresh producer waits");
    assert_eq!(consumer.prepare_wait(), Ok(true));
    assert_eq!(producer.write(&[7; 2000]), Ok(1024));
    assert!(producer.publish());
    assert_eq!(producer.prepare_wait(512), Ok(true));
    assert_eq!(consumer.read(&mut [0; 511]), Ok(511));
    assert!(!consumer.release(), "not enough room yet");
    assert_eq!(consumer.read(&mut [0; 1]), Ok(1));
    assert!(consumer.release());
    assert_eq!(producer.prepare_wait(512), Ok(false));
}

#[test]
fn the_end_comes_behind_the_last_byte() {
    let (_, mut producer, mut consumer) = ends();
    producer.write(b"last").unwrap();
    let _ = producer.publish();
    producer.close();
    assert_eq!(consumer.is_ended(), Ok(false));
    consumer.skip(4).unwrap();
    assert_eq!(consumer.is_ended(), Ok(true));
    assert_eq!(consumer.skip(1), Err(Error::Corrupt));
    assert!(!producer.is_abandoned());
    consumer.close();
    assert!(producer.is_abandoned());
}

#[test]
fn impossible_positions_are_refused() {
    for lie in [1025u32, 5000, u32::MAX - 1024, 1 << 31] {
        let (mapping, mut producer, mut consumer) = ends();
        mapping.write(0, &lie.to_le_bytes()).unwrap();
        assert_eq!(consumer.available(), Err(Error::Corrupt), "{lie}");
        assert_eq!(consumer.read(&mut [0; 4]), Err(Error::Corrupt));
        assert_eq!(consumer.prepare_wait(), Err(Error::Corrupt));
        mapping.write(64, &lie.to_le_bytes()).unwrap();
        assert_eq!(producer.room(), Err(Error::Corrupt), "{lie}");
        assert_eq!(producer.write(&[0; 2000]), Err(Error::Corrupt));
        assert_eq!(producer.prepare_wait(1), Err(Error::Corrupt));
    }
}

#[test]
fn places_outside_of_the_memory_are_refused() {
    let memory = Memory::new(8192).unwrap();
    let mapping = Arc::new(Mapping::whole(&memory).unwrap());
    for (header, data, len_bytes) in [
        (8192 - HEADER_BYTES + 64, 0, 64),
        (0, 8192, 1),
        (0, 4096, 8192),
        (32, 4096, 64),
        (0, 4096, 48),
        (0, usize::MAX, 64),
        (usize::MAX - 63, 0, 64),
    ] {
        let place = Place {
            header,
            data,
            len_bytes,
        };
        assert!(Producer::new(mapping.clone(), place).is_err(), "{place:?}");
    }
}

/// Each side sleeps whenever it may: a lost wake-up would hang this.
#[test]
fn no_wake_up_is_lost() {
    const TOTAL: usize = 300_000;
    let (_, mut producer, mut consumer) = ends();
    let (data, room) = (Event::new().unwrap(), Event::new().unwrap());
    let (data2, room2) = (data.try_clone().unwrap(), room.try_clone().unwrap());
    let writer = crate::thread::spawn(move || {
        let bytes: Vec<u8> = (0..TOTAL).map(|i| (i % 251) as u8).collect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let count = producer.write(rest).unwrap();
            rest = &rest[count..];
            if producer.publish() {
                data2.signal(1).unwrap();
            }
            if !rest.is_empty() && producer.prepare_wait(rest.len().min(700)).unwrap() {
                room2.wait(Signals(1), FOREVER).unwrap();
            }
        }
    })
    .unwrap();
    let mut seen = 0;
    let mut to = [0; 333];
    while seen < TOTAL {
        let count = consumer.read(&mut to).unwrap();
        for byte in &to[..count] {
            assert_eq!(*byte, (seen % 251) as u8);
            seen += 1;
        }
        if consumer.release() {
            room.signal(1).unwrap();
        }
        if count == 0 && consumer.prepare_wait().unwrap() {
            data.wait(Signals(1), FOREVER).unwrap();
        }
    }
    writer.join(FOREVER).unwrap();
}
