//! Input that was once trouble, or looks as if it could be. New finds are added as files.

use viper_term::{Completion, Decoder, Discipline, Editor, ReadOutcome, Termios};

fn corpus() -> Vec<Vec<u8>> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
    let files = std::fs::read_dir(dir).unwrap();
    let all: Vec<_> = files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    assert!(all.len() >= 10);
    all
}

#[test]
fn the_decoder_does_not_mind_how_input_is_cut() {
    let keys = |bytes: &[u8], size: usize| {
        let mut decoder = Decoder::new();
        let mut keys = Vec::new();
        for piece in bytes.chunks(size) {
            let mut rest = piece;
            while !rest.is_empty() {
                rest = &rest[decoder.handle_input(rest)..];
                keys.extend(std::iter::from_fn(|| decoder.poll_event()));
            }
        }
        decoder.handle_timeout();
        keys.extend(std::iter::from_fn(|| decoder.poll_event()));
        keys
    };
    for bytes in corpus() {
        let whole = keys(&bytes, bytes.len());
        for size in [1, 2, 3, 7] {
            assert_eq!(keys(&bytes, size), whole);
        }
    }
}

#[test]
fn the_discipline_survives_and_gives_everything_back() {
    for bytes in corpus() {
        for termios in [Termios::cooked(), Termios::raw()] {
            let mut terminal = Discipline::new(termios);
            terminal.handle_input(&bytes);
            terminal.handle_input(b"\x03\x04");
            terminal.set_termios(Termios::raw());
            let mut buf = [0; 100];
            let mut total = 0;
            while let ReadOutcome::Bytes(count @ 1..) = terminal.read(&mut buf) {
                total += count;
            }
            assert!(total <= bytes.len() + 2);
            while terminal.poll_output(&mut buf) > 0 {}
            assert_eq!(terminal.read(&mut buf), ReadOutcome::Pending);
        }
    }
}

#[test]
fn the_editor_survives() {
    let mut complete = |line: &str, cursor: usize| Completion {
        start: line.len().min(cursor / 2),
        candidates: ["abc ", "abd ", "日本"].map(String::from).to_vec(),
    };
    for bytes in corpus() {
        for (terminal, width) in [(true, 0), (true, 5), (true, 80), (false, 80)] {
            let mut editor = Editor::new(terminal, width, 3);
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                editor.start("> ");
                rest = &rest[editor.handle_input(rest, &mut complete)..];
                while editor.poll_event().is_some() {}
            }
            editor.handle_timeout(&mut complete);
            assert_eq!(editor.take_output().is_empty(), !terminal);
        }
    }
}
