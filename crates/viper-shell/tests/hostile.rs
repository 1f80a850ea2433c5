//! Nonsense and malice: nothing panics, nothing stays open, nothing runs on for ever.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::Rig;
use proptest::prelude::*;
use viper_shell::Error;

/// Runs text on a small system where Ctrl-C comes soon enough.
fn survives(text: &str, patience: u32) {
    let mut rig = Rig::new();
    rig.ok("MakeDir d d/e; Echo some text > d/f; ln -s d link; ln -s loop loop; Alias a Echo []");
    rig.sys.disk.capacity = 1 << 20;
    rig.sys.interrupt_in = Some(patience);
    let _ = rig.shell.run(&mut rig.sys, text);
    rig.sys.interrupt_in = Some(1);
    // Programs left in the background may still be there; files may not.
    let _ = rig.shell.run(&mut rig.sys, "true");
    rig.sys.interrupt_in = None;
    let console = rig.sys.take_console();
    assert!(console.len() < 8 << 20);
    // A command that no test here makes an alias of something else.
    let alive = rig.shell.run(&mut rig.sys, "Version").code;
    assert_eq!(alive, 0, "{console}");
}

#[test]
fn kept_corpus() {
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        survives(&String::from_utf8_lossy(&bytes), 10_000);
    }
}

#[test]
fn commands_as_aliases_of_words() {
    survives("Alias Echo if", 10_000);
}

#[test]
fn every_command_with_hostile_arguments() {
    let mut rig = Rig::new();
    let page = rig.ok("Help ALL");
    let names: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("Usage: "))
        .collect();
    let names: Vec<&str> = names
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.len() > 60, "{}", names.len());
    let arguments = [
        "",
        "''",
        "-",
        "--",
        "-x",
        "-99",
        "99999999999999999999999",
        "''  ''",
        "* *",
        "d",
        "d/f",
        "nope",
        "loop",
        "link",
        "/",
        ".",
        "..",
        "FSD:",
        "X:",
        ":",
        "::",
        "C:",
        "a:b:c",
        "d/f d",
        "d d/e",
        "d/f nope/x",
        "d/f d/f",
        "d ALL",
        "TO",
        "a TO",
        "TO b",
        "d/f TO",
        "ALL",
        "%1",
        "$(cat C:hello.elf)",
        "\u{1b}[31m",
        "'\n'",
        "[",
        "]",
        "! !",
        "= =",
        "-n -n",
        "LINES",
        "%99999999d",
        "'%*'",
        "1 18446744073709551615 x",
    ];
    for name in names {
        for argument in arguments {
            let line = format!("{name} {argument} < d/f");
            let result = catch_unwind(AssertUnwindSafe(|| survives(&line, 300)));
            assert!(result.is_ok(), "{line:?}");
        }
    }
}

#[test]
fn every_command_with_failing_systems() {
    let errors = [
        Error::Io,
        Error::ServerDied,
        Error::NoServer,
        Error::Interrupted,
    ];
    let lines = [
        "Dir d ALL",
        "List d",
        "Copy d/f x",
        "cp -r d y",
        "Delete d ALL",
        "mv d z",
        "Type d/f",
        "Echo x > x",
        "cat < d/f",
        "Search x d ALL",
        "Execute d/f",
        "hello | cat",
        "Echo * d/*",
        "Rename d/f g",
        "MakeDir q",
        "Touch d/f x",
        "Protect d/f w",
        "Sort d/f > d/g",
    ];
    let operations = [
        ("open", "/d/f"),
        ("open", "/x"),
        ("read", "/d/f"),
        ("write", "/x"),
        ("stat", "/d"),
        ("stat", "/d/f"),
        ("read_dir", "/d"),
        ("read_dir", "/"),
        ("make_dir", "/y"),
        ("unlink", "/d/f"),
        ("remove_dir", "/d"),
        ("rename", "/d"),
        ("sync", "/x"),
        ("sync_all", "/"),
        ("spawn", "/c/hello.elf"),
        ("make_dir", "/q"),
        ("open", "/d/g"),
    ];
    for error in errors {
        for (operation, path) in operations {
            for line in lines {
                let mut rig = Rig::new();
                rig.ok("MakeDir d d/e; Echo text > d/f");
                rig.sys.fail(operation, path, error);
                let (code, text) = rig.run(line);
                if !rig.sys.failures.is_empty() {
                    continue;
                }
                // The failure was met: it was told, unless what failed was only a question.
                assert!(
                    code == 0 || !text.is_empty(),
                    "{operation} {path} {error:?}: {line}"
                );
                assert!(text.lines().count() <= 4, "{line}: {text}");
            }
        }
    }
}

/// Runs text in a thread with so many KiB of stack.
fn in_stack(kib: usize, text: String) -> String {
    let run = move || {
        let mut rig = Rig::new();
        rig.shell.run(&mut rig.sys, &text);
        rig.sys.take_console()
    };
    std::thread::Builder::new()
        .stack_size(kib * 1024)
        .spawn(run)
        .unwrap()
        .join()
        .unwrap()
}

/// Built for tests the code needs several times the stack of a release.
const STACK_KIB: usize = if cfg!(debug_assertions) { 2048 } else { 512 };

#[test]
fn the_deepest_scripts_fit_the_stack() {
    let openings = [
        ("{ ", "; }"),
        ("(", ")"),
        ("if true; then ", "; fi"),
        ("for i in 1; do ", "; done > NIL:"),
        ("case x in x) ", ";; esac"),
        ("If x EQ x; ", "; EndIf"),
        ("! { ", "; } | cat"),
        ("Echo \"$( ", ")\""),
        ("eval \"$( ", ")\""),
        ("Echo ${x:-$( ", ")}"),
    ];
    for (open, close) in openings {
        for depth in [10, 17, 36, 39] {
            let body = format!("{}f{}", open.repeat(depth), close.repeat(depth));
            in_stack(STACK_KIB, format!("f() {{ {body}; }}; f"));
        }
    }
    in_stack(STACK_KIB, String::from("Alias a eval b; Alias b eval a; a"));
    in_stack(STACK_KIB, String::from("f() { x=$(f); Echo $x; }; f"));
}

fn word() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "Echo", "Dir", "Copy", "Delete", "cat", "Type", "hello", "cat-p", "three", "Set", "read",
        "x=1", "$x", "\"$x\"", "*", "d", "d/f", "nope", "ALL", "TO", "|", "||", "&&", ";", "\n",
        ">", "<", ">>", "2>&1", "f()", "{", "}", "(", ")", "if", "then", "fi", "while", "do",
        "done", "for", "in", "break", "continue", "return", "exit", "$(", "$((", "))", "1", "+",
        "eval", "Execute", "shift", "test", "Alias", "a", "If", "EXISTS", "EndIf", "&", "Wait",
        "<<<", "Cd", "..", "Trace", "true", "false", "!", "set", "-e", "-u", "Sort", "Head",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_words(words in proptest::collection::vec(word(), 0..25)) {
        survives(&words.join(" "), 500);
    }

    #[test]
    fn any_text(text: String) {
        survives(&text, 500);
    }
}
