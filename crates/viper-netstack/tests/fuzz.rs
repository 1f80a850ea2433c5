//! No frame makes a stack panic, loop or grow.

mod common;
#[path = "common/fuzz.rs"]
mod fuzz;

use common::{End, host};
use fuzz::{Fuzz, corpus};
use viper_netstack::{Config, FrameDevice, dns};

/// Ten million of them with `VIPER_LONG=1`.
#[test]
fn a_hundred_thousand_changed_frames() {
    let total = if std::env::var_os("VIPER_LONG").is_some() {
        10_000_000
    } else {
        100_000
    };
    // A new pair of hosts now and then: some changes are for good.
    for run in 1..=total / 50_000 {
        let mut fuzz = Fuzz::new(run);
        while fuzz.frames < 50_000 {
            fuzz.round(20);
        }
        // Otherwise it would not have been a test of anything.
        assert!(
            fuzz.sent > 10_000 && fuzz.connected > 100,
            "{} {}",
            fuzz.sent,
            fuzz.connected
        );
    }
}

#[test]
fn the_corpus_as_it_is() {
    let mut stack = host(Config::default(), 1, 1);
    stack
        .tcp_listen(([0, 0, 0, 0], 80).into(), 4, &Default::default())
        .unwrap();
    let mut end = End::new();
    for (time, frame) in corpus().into_iter().enumerate() {
        for len in [frame.len(), frame.len() / 2, frame.len().saturating_sub(1)] {
            end.received.push(&frame[..len]);
            let device: &mut dyn FrameDevice = &mut end;
            stack.poll(time as u64 * 1_000_000, &mut [device]);
        }
        while end.sent.pop(|_| ()).is_some() {}
    }
    assert!(stack.interfaces().nth(1).unwrap().counters.frames_received > 300);
}

#[test]
fn replies_of_name_servers() {
    let mut random = 1u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize
    };
    let mut good = vec![0, 7, 0x81, 0x80, 0, 1, 0, 2, 0, 1, 0, 0];
    good.extend(b"\x01a\x02de\0\0\x01\0\x01");
    good.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x0e");
    good.extend(b"\xc0\x22\0\x01\0\x01\0\0\0\x3c\0\x04\x01\x02\x03\x04");
    good.extend(b"\xc0\x0e\0\x06\0\x01\0\0\0\x3c\0\x18\xc0\x0c\xc0\x0c");
    good.extend([0; 20]);
    assert!(dns::fuzz_reply(&good, 7, "a.de", 1));
    let mut read = 0;
    for _ in 0..100_000 {
        let mut reply = good.clone();
        for _ in 0..=next() % 3 {
            let position = next() % reply.len();
            reply[position] = next() as u8;
        }
        if next() % 3 == 0 {
            reply.truncate(next() % good.len());
        }
        read += u32::from(dns::fuzz_reply(&reply, 7, "a.de", 1));
    }
    assert!(read > 1000);
}
