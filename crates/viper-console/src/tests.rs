//! Bytes in and out. Calls that wait are tested with the servers that take them.

use crate::{OUTPUT_MAX, Output, Seat, SeatKind, Terminal};
use viper_proto::console::{Mode, Size};
use viper_rt::Error;
use viper_rt::abi::FOREVER;

const SEAT: Seat = Seat {
    id: 1,
    kind: SeatKind::Terminal,
};

fn terminal() -> Terminal {
    Terminal::new(Some(Size {
        columns: 80,
        rows: 24,
    }))
}

fn taken(terminal: &mut Terminal, output: Output) -> Vec<u8> {
    let mut all = Vec::new();
    let mut part = [0; 5];
    loop {
        match terminal.take_out(output, &mut part) {
            0 => return all,
            count => all.extend_from_slice(&part[..count]),
        }
    }
}

#[test]
fn a_terminal_echoes_and_keeps_lines_together() {
    let mut terminal = terminal();
    assert_eq!(terminal.feed(b"ab\x7fc"), 4);
    terminal.advance();
    assert_eq!(terminal.take(100), None, "no line yet");
    terminal.feed(b"\r");
    terminal.advance();
    assert_eq!(&*terminal.take(2).unwrap(), b"ac");
    assert_eq!(&*terminal.take(100).unwrap(), b"\n");
    assert!(taken(&mut terminal, Output::Standard).ends_with(b"c\r\n"));
    assert!(terminal.is_quiet());
}

#[test]
fn streams_are_apart_and_bytes_as_they_are() {
    let mut streams = Terminal::new(None);
    assert_eq!(streams.feed(b"a\x03\r"), 3);
    streams.put_out(Output::Standard, b"out\n");
    streams.put_out(Output::Errors, b"err\n");
    assert_eq!(streams.waiting(), 8);
    assert_eq!(taken(&mut streams, Output::Errors), b"err\n");
    assert_eq!(taken(&mut streams, Output::Standard), b"out\n");
    assert_eq!(&*streams.take(240).unwrap(), b"a\x03\r");
    assert_eq!(streams.take(240), None);
    streams.end_input();
    assert_eq!(&*streams.take(240).unwrap(), b"");
    assert_eq!(streams.size(), Err(Error::NotSupported));
    assert_eq!(streams.set_mode(&SEAT, Mode::RAW), Err(Error::NotSupported));
}

#[test]
fn order_is_kept_around_the_end_of_the_ring() {
    let mut streams = Terminal::new(None);
    let (mut put, mut got) = (0u8, 0u8);
    for len in [300usize, 5, 100, 700, 4, 60, 256, 800] {
        let bytes: Vec<u8> = (0..len).map(|n| put.wrapping_add(n as u8)).collect();
        put = put.wrapping_add(len as u8);
        streams.put_out(Output::Standard, &bytes);
        let mut part = [0; 250];
        let count = streams.take_out(Output::Standard, &mut part);
        for byte in &part[..count] {
            assert_eq!(*byte, got);
            got = got.wrapping_add(1);
        }
    }
}

#[test]
fn what_nobody_takes_is_bounded() {
    let mut streams = Terminal::new(None);
    let mut fed = 0;
    while streams.feed(&[7; 1000]) == 1000 {
        fed += 1000;
    }
    assert!(fed < 100_000 && streams.room() == 0 && streams.feed(b"x") == 0);
    while streams.accepts_output(Output::Standard) {
        streams.put_out(Output::Standard, &[7; 240]);
    }
    assert!(streams.waiting() < OUTPUT_MAX + 240);
    assert!(streams.accepts_output(Output::Errors), "the other goes on");
    streams.hang_up();
    assert_eq!(
        streams.feed(&[7; 1000]),
        1000,
        "nobody is there to wait for"
    );
    assert_eq!(taken(&mut streams, Output::Standard).len(), streams_len());
}

fn streams_len() -> usize {
    OUTPUT_MAX.div_ceil(240) * 240
}

#[test]
fn the_mode_ends_with_the_seat_that_set_it() {
    let mut terminal = terminal();
    assert_eq!(terminal.set_mode(&SEAT, Mode::RAW), Ok(Mode::COOKED));
    terminal.feed(b"\x03x");
    terminal.advance();
    assert_eq!(&*terminal.take(100).unwrap(), b"\x03x");
    assert!(terminal.is_quiet(), "no echo");
    terminal.leave(&Seat { id: 2, ..SEAT });
    assert_eq!(terminal.mode, Mode::RAW);
    terminal.leave(&SEAT);
    assert_eq!(terminal.mode, Mode::COOKED);
    assert_eq!(terminal.deadline(), FOREVER);
    assert!(!terminal.interrupt_now(), "nobody waits");
}

#[test]
fn a_terminal_has_the_size_it_was_given_last() {
    let mut terminal = terminal();
    let large = Size {
        columns: 200,
        rows: 60,
    };
    terminal.resize(large);
    assert_eq!(terminal.size(), Ok(large));
}
