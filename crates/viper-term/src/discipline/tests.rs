use super::*;
use proptest::prelude::*;

fn echo(d: &mut Discipline) -> String {
    let mut buf = vec![0; ECHO_MAX];
    let count = d.poll_output(&mut buf);
    String::from_utf8_lossy(&buf[..count]).into_owned()
}

fn read(d: &mut Discipline) -> Option<Vec<u8>> {
    let mut buf = [0; 256];
    match d.read(&mut buf) {
        ReadOutcome::Bytes(n) => Some(buf[..n].to_vec()),
        ReadOutcome::Eof => Some(Vec::new()),
        ReadOutcome::Pending => None,
    }
}

fn cooked(input: &[u8]) -> Discipline {
    let mut d = Discipline::new(Termios::cooked());
    d.handle_input(input);
    d
}

#[test]
fn a_line_is_shown_and_read_whole() {
    let mut d = cooked(b"hi");
    assert_eq!(read(&mut d), None);
    d.handle_input(b"!\rnext\r");
    assert_eq!(echo(&mut d), "hi!\r\nnext\r\n");
    assert_eq!(read(&mut d).unwrap(), b"hi!\n");
    assert_eq!(read(&mut d).unwrap(), b"next\n");
    assert_eq!(read(&mut d), None);
}

#[test]
fn a_small_buffer_takes_a_line_in_pieces() {
    let mut d = cooked(b"abcdef\rx\r");
    let mut buf = [0; 4];
    assert_eq!(d.read(&mut buf), ReadOutcome::Bytes(4));
    assert_eq!(d.read(&mut buf), ReadOutcome::Bytes(3));
    assert_eq!(&buf[..3], b"ef\n");
    assert_eq!(d.read(&mut buf), ReadOutcome::Bytes(2));
}

#[test]
fn erase_takes_whole_characters() {
    let mut d = cooked("aé日\x7f\x7fb\r".as_bytes());
    assert_eq!(read(&mut d).unwrap(), b"ab\n");
    assert_eq!(echo(&mut d), "aé日\x08 \x08\x08 \x08\x08 \x08b\r\n");
}

#[test]
fn erase_of_tabs_and_controls() {
    let mut out = Vec::new();
    let mut d = Discipline::new(Termios::cooked());
    d.process_output(b"> ", &mut out);
    d.handle_input(b"a\t\x7f");
    assert_eq!(echo(&mut d), format!("a\t{}", "\x08 \x08".repeat(5)));
    d.handle_input(b"\x16\x03\x7f");
    assert_eq!(echo(&mut d), "^C\x08 \x08\x08 \x08");
    d.handle_input(b"\r");
    assert_eq!(read(&mut d).unwrap(), b"a\n");
}

#[test]
fn word_and_line_erase() {
    let mut d = cooked(b"one two  \x17X\r");
    assert_eq!(read(&mut d).unwrap(), b"one X\n");
    d.handle_input(b"gone\x15kept\r");
    assert_eq!(read(&mut d).unwrap(), b"kept\n");
}

#[test]
fn signals_flush_and_are_shown() {
    let mut d = cooked(b"abc\x03\x1c\x1a");
    assert_eq!(echo(&mut d), "abc^C^\\^Z");
    let signals: Vec<_> = core::iter::from_fn(|| d.poll_event()).collect();
    assert_eq!(signals, [Signal::Interrupt, Signal::Quit, Signal::Suspend]);
    d.handle_input(b"d\r");
    assert_eq!(read(&mut d).unwrap(), b"d\n");
}

#[test]
fn end_of_file() {
    let mut d = cooked(b"\x04");
    assert_eq!(d.read(&mut [0; 8]), ReadOutcome::Eof);
    d.handle_input(b"part\x04");
    assert_eq!(read(&mut d).unwrap(), b"part");
    assert_eq!(read(&mut d), None);
}

#[test]
fn raw_passes_everything() {
    let mut d = Discipline::new(Termios::raw());
    d.handle_input(b"\x03\r\n\x04\xff");
    assert_eq!(read(&mut d).unwrap(), b"\x03\r\n\x04\xff");
    assert_eq!(echo(&mut d), "");
    let mut out = Vec::new();
    d.process_output(b"a\nb", &mut out);
    assert_eq!(out, b"a\nb");
    let mut termios = Termios::raw();
    termios.control[index::MIN] = 3;
    d.set_termios(termios);
    d.handle_input(b"ab");
    assert_eq!(read(&mut d), None);
    d.handle_input(b"c");
    assert_eq!(read(&mut d).unwrap(), b"abc");
}

#[test]
fn changing_modes_loses_nothing() {
    let mut d = cooked(b"line\rhalf");
    d.set_termios(Termios::raw());
    assert_eq!(read(&mut d).unwrap(), b"line\nhalf");
    d.handle_input(b"raw");
    d.set_termios(Termios::cooked());
    assert_eq!(read(&mut d).unwrap(), b"raw");
}

#[test]
fn output_gets_carriage_returns() {
    let mut d = Discipline::new(Termios::cooked());
    let mut out = Vec::new();
    d.process_output(b"a\nb\n", &mut out);
    assert_eq!(out, b"a\r\nb\r\n");
}

#[test]
fn flow_control() {
    let mut termios = Termios::cooked();
    termios.input |= InputFlags::IXON;
    let mut d = Discipline::new(termios);
    d.handle_input(b"a\x13");
    assert!(d.output_stopped());
    d.handle_input(b"\x11b\r");
    assert!(!d.output_stopped());
    assert_eq!(read(&mut d).unwrap(), b"ab\n");
}

#[test]
fn interrupt_gets_through_when_full() {
    let mut d = cooked(&[b'x'; 3 * LINE_MAX]);
    assert!(d.dropped() > 0);
    d.handle_input(b"\x03");
    assert_eq!(d.poll_event(), Some(Signal::Interrupt));
    assert_eq!(d.room(), INPUT_MAX);
}

#[test]
fn no_echo_for_secrets() {
    let mut termios = Termios::cooked();
    termios.local -= LocalFlags::ECHO;
    termios.local |= LocalFlags::ECHONL;
    let mut d = Discipline::new(termios);
    d.handle_input(b"pass\x7f\r");
    assert_eq!(echo(&mut d), "\r\n");
    assert_eq!(read(&mut d).unwrap(), b"pas\n");
}

fn chunks() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let chunk = proptest::collection::vec(any::<u8>(), 0..300);
    proptest::collection::vec(chunk, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn memory_stays_bounded(chunks in chunks(), raw: bool) {
        let mut d = Discipline::new(if raw { Termios::raw() } else { Termios::cooked() });
        for chunk in &chunks {
            for _ in 0..16 {
                d.handle_input(chunk);
            }
            prop_assert!(d.ready.len() + d.line.len() <= INPUT_MAX + 1);
            prop_assert!(d.echo.len() <= ECHO_MAX);
            prop_assert!(d.records.iter().sum::<usize>() <= d.ready.len());
        }
        while read(&mut d).is_some() {}
        prop_assert!(raw || d.ready.is_empty());
    }

    #[test]
    fn room_is_honest(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let mut d = Discipline::new(Termios::raw());
        for chunk in bytes.chunks(777) {
            let room = d.room();
            let fits = &chunk[..chunk.len().min(room)];
            d.handle_input(fits);
            prop_assert_eq!(d.dropped(), 0);
        }
    }
}
