use super::*;
use crate::width::char_width;
use proptest::prelude::*;

/// A small terminal: a grid that scrolls, with the put-off wrap of real ones.
struct Model {
    width: usize,
    height: usize,
    rows: Vec<Vec<String>>,
    row: usize,
    column: usize,
    wrap_waits: bool,
    bells: usize,
}

impl Model {
    fn new(width: usize, height: usize) -> Self {
        let rows = vec![vec![String::new(); width]; height];
        Self {
            width,
            height,
            rows,
            row: 0,
            column: 0,
            wrap_waits: false,
            bells: 0,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut parser: vte::Parser = vte::Parser::new();
        parser.advance(self, bytes);
    }

    fn line_feed(&mut self) {
        self.wrap_waits = false;
        if self.row + 1 < self.height {
            self.row += 1;
        } else {
            self.rows.remove(0);
            self.rows.push(vec![String::new(); self.width]);
        }
    }

    fn text(&self) -> Vec<String> {
        let line = |row: &Vec<String>| {
            let cells = row.iter().map(|c| {
                if c.is_empty() {
                    " "
                } else {
                    c.trim_matches('\0')
                }
            });
            cells.collect::<String>().trim_end().to_string()
        };
        let mut lines: Vec<_> = self.rows.iter().map(line).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }
}

impl vte::Perform for Model {
    fn print(&mut self, c: char) {
        let cells = char_width(c);
        if cells == 0 {
            // A mark joins the cell before the cursor, or the last one when a wrap waits.
            let at = if self.wrap_waits {
                self.column
            } else {
                self.column.saturating_sub(1)
            };
            self.rows[self.row][at].push(c);
            return;
        }
        if self.wrap_waits || self.column + cells > self.width {
            self.line_feed();
            self.column = 0;
        }
        self.rows[self.row][self.column] = c.to_string();
        for at in self.column + 1..self.column + cells {
            self.rows[self.row][at] = "\0".into();
        }
        self.column += cells;
        if self.column >= self.width {
            self.column = self.width - 1;
            self.wrap_waits = true;
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\r' => (self.column, self.wrap_waits) = (0, false),
            b'\n' => self.line_feed(),
            0x07 => self.bells += 1,
            other => panic!("the editor wrote control {other:#x}"),
        }
    }

    fn csi_dispatch(&mut self, params: &vte::Params, _: &[u8], ignored: bool, action: char) {
        assert!(!ignored);
        let first = params.iter().next().map_or(0, |p| p[0]) as usize;
        let count = first.max(1);
        if action != 'm' {
            self.wrap_waits = false;
        }
        match action {
            'A' => self.row = self.row.saturating_sub(count),
            'B' => self.row = (self.row + count).min(self.height - 1),
            'C' => self.column = (self.column + count).min(self.width - 1),
            'D' => self.column = self.column.saturating_sub(count),
            'H' => (self.row, self.column) = (0, 0),
            'J' => {
                let (row, column) = if first == 2 {
                    (0, 0)
                } else {
                    (self.row, self.column)
                };
                self.rows[row][column..].fill(String::new());
                for line in &mut self.rows[row + 1..] {
                    line.fill(String::new());
                }
            }
            'm' => {}
            other => panic!("the editor wrote CSI {other}"),
        }
    }
}

fn none(_: &str, _: usize) -> Completion {
    Completion::default()
}

struct Rig {
    editor: Editor,
    model: Model,
}

impl Rig {
    fn new(width: usize) -> Self {
        let mut rig = Self {
            editor: Editor::new(true, width, 16),
            model: Model::new(width, 12),
        };
        rig.start();
        rig
    }

    fn start(&mut self) {
        self.editor.start("\x1b[33m> \x1b[0m");
        self.show();
    }

    fn show(&mut self) -> Vec<u8> {
        let out = self.editor.take_output();
        self.model.feed(&out);
        out
    }

    fn keys(&mut self, keys: &str) -> Vec<u8> {
        self.editor.handle_input(keys.as_bytes(), &mut none);
        self.show()
    }

    fn line(&mut self, keys: &str) -> String {
        self.keys(keys);
        let Some(EditEvent::Line(line)) = self.editor.poll_event() else {
            panic!("no line")
        };
        self.start();
        line
    }
}

#[test]
fn typing_at_the_end_writes_just_that() {
    let mut rig = Rig::new(40);
    assert_eq!(rig.keys("a"), b"a");
    assert_eq!(rig.keys("é"), "é".as_bytes());
    assert_eq!(rig.model.text(), ["> aé"]);
    assert_eq!(rig.line("\r"), "aé");
}

#[test]
fn editing_keys() {
    let mut rig = Rig::new(40);
    assert_eq!(rig.line("bc\x1b[Ha\x1b[Fd\r"), "abcd");
    assert_eq!(rig.line("abc\x1b[D\x1b[D\x1b[3~\r"), "ac");
    assert_eq!(rig.line("abc\x1b[D\x7f\r"), "ac");
    assert_eq!(rig.line("abc\x01\x04\x05x\r"), "bcx");
    assert_eq!(rig.line("one two\x15three\r"), "three");
    assert_eq!(rig.line("one two\x01\x1b[C\x0b\x19!\r"), "one two!");
    assert_eq!(rig.line("one  two  \x17x\r"), "one  x");
    assert_eq!(rig.line("one two\x1b[1;5D\x1b[1;5DX\r"), "Xone two");
    assert_eq!(rig.line("one two\x01\x1bfX\x1bd\r"), "oneX");
}

#[test]
fn combining_marks_move_with_their_letter() {
    let mut rig = Rig::new(40);
    assert_eq!(rig.line("ae\u{301}\x7f\r"), "a");
    assert_eq!(rig.line("e\u{301}x\x1b[D\x1b[DA\r"), "Ae\u{301}x");
    assert_eq!(rig.line("e\u{301}x\x01\x1b[3~\r"), "x");
}

#[test]
fn long_lines_wrap() {
    let mut rig = Rig::new(10);
    rig.keys("abcdefgh");
    assert_eq!(rig.model.text(), ["> abcdefgh"]);
    assert_eq!((rig.model.row, rig.model.column), (1, 0));
    rig.keys("ijklmnopqrstu");
    assert_eq!(rig.model.text(), ["> abcdefgh", "ijklmnopqr", "stu"]);
    rig.keys("\x01X");
    assert_eq!(rig.model.text(), ["> Xabcdefg", "hijklmnopq", "rstu"]);
    assert_eq!((rig.model.row, rig.model.column), (0, 3));
    rig.keys("\x0b");
    assert_eq!(rig.model.text(), ["> X"]);
    assert_eq!(rig.line("\r"), "X");
}

#[test]
fn wide_characters_wrap_whole() {
    let mut rig = Rig::new(10);
    rig.keys("abcdefg日本");
    assert_eq!(rig.model.text(), ["> abcdefg", "日本"]);
    rig.keys("\x01y");
    assert_eq!(rig.model.text(), ["> yabcdefg", "日本"]);
    rig.keys("\x04");
    assert_eq!(rig.model.text(), ["> ybcdefg", "日本"]);
}

#[test]
fn long_lines_scroll_the_screen() {
    let mut rig = Rig::new(10);
    let long = "0123456789".repeat(11);
    rig.keys(&long);
    assert_eq!(rig.model.text().len(), 12);
    rig.keys("\x7f\x7f!");
    assert_eq!(rig.model.text().last().unwrap(), "!");
}

#[test]
fn history_up_and_down() {
    let mut rig = Rig::new(40);
    for line in ["first\r", "second\r", "second\r", "\r", "third\r"] {
        rig.line(line);
    }
    assert_eq!(rig.line("\x1b[A\x1b[A\r"), "second");
    assert_eq!(rig.line("draft\x1b[A\x1b[A\x1b[B\x1b[B!\r"), "draft!");
    rig.keys("\x1b[B");
    assert_eq!(rig.model.bells, 1);
}

#[test]
fn history_search() {
    let mut rig = Rig::new(60);
    for line in ["Copy a b\r", "Type x\r", "Copy c d\r", "Dir\r"] {
        rig.line(line);
    }
    rig.keys("\x12Co");
    assert_eq!(rig.model.text().last().unwrap(), "(search)`Co': Copy c d");
    assert_eq!(rig.line("\x12\r"), "Copy a b");
    rig.keys("keep\x12zzz");
    assert!(
        rig.model
            .text()
            .last()
            .unwrap()
            .starts_with("(not found)`zzz'")
    );
    rig.keys("\x07");
    assert_eq!(rig.model.text().last().unwrap(), "> keep");
}

#[test]
fn control_c_and_control_d() {
    let mut rig = Rig::new(40);
    rig.keys("abc\x03");
    assert_eq!(rig.editor.poll_event(), Some(EditEvent::Interrupted));
    assert_eq!(rig.model.text(), ["> abc^C"]);
    rig.start();
    rig.keys("\x04");
    assert_eq!(rig.editor.poll_event(), Some(EditEvent::Eof));
}

#[test]
fn clear_screen_keeps_the_line() {
    let mut rig = Rig::new(40);
    rig.line("something\r");
    rig.keys("text\x1b[D\x0c");
    assert_eq!(rig.model.text(), ["> text"]);
    assert_eq!(rig.model.column, 5);
}

#[test]
fn input_after_return_is_left_alone() {
    let mut editor = Editor::new(true, 40, 4);
    editor.start("> ");
    assert_eq!(editor.handle_input(b"one\rtwo\r", &mut none), 4);
    assert_eq!(editor.handle_input(b"two\r", &mut none), 0);
    editor.start("> ");
    assert_eq!(editor.handle_input(b"two\r", &mut none), 4);
}

#[test]
fn completion() {
    let mut complete = |line: &str, cursor: usize| {
        let start = line[..cursor].rfind(' ').map_or(0, |at| at + 1);
        let words = ["Copy ", "Count ", "Date "];
        let fits = |w: &&&str| {
            w.to_lowercase()
                .starts_with(&line[start..cursor].to_lowercase())
        };
        let candidates = words.iter().filter(fits).map(|w| w.to_string()).collect();
        Completion { start, candidates }
    };
    let mut rig = Rig::new(30);
    rig.editor.handle_input(b"d\t", &mut complete);
    assert_eq!(rig.editor.line(), "Date ");
    rig.editor.handle_input(b"c\t", &mut complete);
    assert_eq!(rig.editor.line(), "Date Co");
    rig.editor.handle_input(b"\t", &mut complete);
    rig.show();
    assert_eq!(rig.model.bells, 1);
    rig.editor.handle_input(b"\t", &mut complete);
    rig.show();
    assert_eq!(rig.model.text(), ["> Date Co", "Copy   Count", "> Date Co"]);
    rig.editor.handle_input(b"p\t", &mut complete);
    assert_eq!(rig.editor.line(), "Date Copy ");
    rig.editor.handle_input(b"zz\t", &mut complete);
    assert_eq!(rig.editor.line(), "Date Copy zz");
}

#[test]
fn plain_input_is_silent() {
    let mut editor = Editor::new(false, 80, 4);
    editor.start("SYS:> ");
    editor.handle_input(b"a\tb\x1b[A\n", &mut none);
    assert_eq!(editor.poll_event(), Some(EditEvent::Line("a b".into())));
    assert!(editor.take_output().is_empty());
}

#[test]
fn lines_are_bounded() {
    let mut editor = Editor::new(true, 80, 4);
    editor.start("");
    editor.handle_input(&vec![b'x'; LINE_MAX + 10], &mut none);
    assert_eq!(editor.line().len(), LINE_MAX);
}

/// What a terminal shows after drawing the editor's line afresh.
fn fresh(editor: &Editor, width: usize, height: usize) -> (Vec<String>, usize, usize) {
    let mut screen = Screen::new(width);
    let mut out = Vec::new();
    screen.draw("> ", editor.line(), editor.cursor(), &mut out);
    let mut model = Model::new(width, height);
    model.feed(&out);
    (model.text(), model.row, model.column)
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z ]".prop_map(|s| s),
        2 => prop_oneof![Just("日"), Just("é"), Just("e\u{301}"), Just("\u{301}"), Just("🦀")]
            .prop_map(String::from),
        4 => prop_oneof![
            Just("\x1b[D"), Just("\x1b[C"), Just("\x1b[A"), Just("\x1b[B"), Just("\x01"),
            Just("\x05"), Just("\x0b"), Just("\x17"), Just("\x7f"), Just("\x04"), Just("\x19"),
            Just("\x1b[1;5D"), Just("abcdefghij"),
        ].prop_map(String::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever is typed, the screen looks as if the line had been drawn afresh.
    #[test]
    fn redraw_is_exact(keys in proptest::collection::vec(any_key(), 0..40), width in 6usize..30) {
        let mut rig = Rig { editor: Editor::new(true, width, 16), model: Model::new(width, 60) };
        rig.editor.history_mut().add("an older line that is rather long");
        rig.editor.history_mut().add("日本");
        rig.start();
        for key in keys {
            rig.keys(&key);
            if rig.editor.poll_event().is_some() {
                rig.model = Model::new(width, 60);
                rig.start();
            }
            let (text, row, column) = fresh(&rig.editor, width, 60);
            prop_assert_eq!(rig.model.text(), text, "after {:?}", key);
            prop_assert_eq!((rig.model.row, rig.model.column), (row, column));
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        let mut editor = Editor::new(true, 20, 4);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            editor.start("> ");
            let taken = editor.handle_input(rest, &mut none);
            rest = &rest[taken..];
            Model::new(20, 10).feed(&editor.take_output());
        }
    }
}
