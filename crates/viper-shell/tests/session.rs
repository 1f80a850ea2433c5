//! The interactive session.

mod common;

use viper_shell::fake::FakeSystem;
use viper_shell::{Session, Shell};

/// Types keys at a session until they run out; gives what the console shows.
fn typed(width: Option<usize>, keys: &str) -> (FakeSystem, String) {
    let mut sys = FakeSystem::new();
    sys.width = width;
    sys.input.extend(keys.as_bytes());
    let mut session = Session::new(&mut sys);
    session.run(&mut sys).unwrap();
    assert_eq!(sys.leaks(), 0);
    let text = sys.take_console();
    (sys, text)
}

#[test]
fn without_a_terminal_only_output() {
    let (_, text) = typed(None, "Echo a\nfor i in 1 2\ndo\nEcho $i\ndone\nEcho last");
    assert_eq!(text, "a\n1\n2\nlast\n");
    let (_, text) = typed(None, "Echo a\r\nendshell\r\nEcho no\r\n");
    assert_eq!(text, "a\n");
}

#[test]
fn what_is_missing_at_the_end_is_told_once() {
    let (_, text) = typed(None, "Echo a\nif true\nthen");
    assert_eq!(text, "a\nshell: line 3: fi is missing at the end\n");
    let (_, text) = typed(None, "Echo 'a\n");
    assert_eq!(text, "shell: the closing ' is missing at the end\n");
}

#[test]
fn a_terminal_has_a_prompt_in_colour() {
    let (_, text) = typed(Some(80), "Cd C:\rEcho hi\r");
    let yellow = |text: &str| format!("\x1b[33m{text}\x1b[0m ");
    let expected = [
        &yellow("SYS:>"),
        "Cd C:\r\n",
        &yellow("SYS:c>"),
        "Echo hi\r\nhi\n",
        &yellow("SYS:c>"),
    ];
    assert_eq!(text, expected.concat());
}

#[test]
fn editing_history_and_continuation() {
    let (_, text) = typed(Some(80), "Echo x\x7fy\r\x1b[A\r");
    assert_eq!(text.matches("\r\ny\n").count(), 2, "{text}");
    let (_, text) = typed(Some(80), "Echo 'a\rb'\rHistory\r");
    assert!(
        text.contains("\x1b[33mSYS:>\x1b[0m Echo 'a\r\n> b'\r\na\nb\n"),
        "{text}"
    );
    assert!(
        text.contains("   1  Echo 'a\n   2  b'\n   3  History\n"),
        "{text}"
    );
    let (_, text) = typed(Some(80), "Echo a\rHistory CLEAR\rHistory\r");
    assert!(!text.contains("1  Echo"), "{text}");
    let (_, text) = typed(Some(80), "Echo 'a\r\x03Echo b\r\x04");
    assert!(text.contains("\r\nb\n"), "{text}");
}

#[test]
fn commands_read_the_lines_that_follow() {
    let (_, text) = typed(None, "read x\ngiven\nEcho got $x\n");
    assert_eq!(text, "got given\n");
    let (_, text) = typed(Some(80), "read x\rgiven\rEcho got $x\r");
    assert!(text.contains("\r\ngot given\n"), "{text}");
}

#[test]
fn completion() {
    let mut sys = FakeSystem::new();
    let mut shell = Shell::new();
    shell.run(
        &mut sys,
        "MakeDir work; Touch 'work/a file' work/abc; alias mine Echo",
    );
    let mut ask = |line: &str| {
        let found = shell.complete(&mut sys, line, line.len());
        (found.start, found.candidates)
    };
    assert_eq!(ask("vers"), (0, vec!["Version ".to_string()]));
    assert_eq!(ask("Echo a; upt"), (8, vec!["Uptime ".to_string()]));
    assert_eq!(ask("Co").1, ["continue ", "Copy ", "Count "]);
    assert_eq!(ask("mi").1, ["mine "]);
    assert_eq!(ask("hel").1, ["hello ", "Help "]);
    assert_eq!(ask("grep").1, ["grep "]);
    assert_eq!(ask("Type wo"), (5, vec!["work/".to_string()]));
    assert_eq!(ask("Type work/a").1, ["'work/a file' ", "work/abc "]);
    assert_eq!(ask("Type SYS:work/ab").1, ["SYS:work/abc "]);
    assert_eq!(ask("Cd s").1, ["s/", "S:", "SYS:"]);
    assert_eq!(ask("Type FS").1, Vec::<String>::new());
    assert_eq!(ask("work/ab").1, ["work/abc "]);
    assert_eq!(ask("Type nope/x").1, Vec::<String>::new());
}

#[test]
fn tab_on_a_terminal() {
    let (_, text) = typed(Some(80), "vers\t\r");
    assert!(text.contains("ViperOS 0.1.0 MICROKERNEL\n"), "{text}");
}

#[test]
fn startup() {
    let mut sys = FakeSystem::new();
    let mut session = Session::new(&mut sys);
    assert_eq!(session.startup(&mut sys, "S:startup").code, 0);
    assert_eq!(sys.take_console(), "");
    sys.disk
        .add("/s/startup", "Alias hi Echo hello\nSet X 1\nEcho ready\n");
    session.startup(&mut sys, "S:startup");
    session.enter(&mut sys, "hi $X");
    assert_eq!(sys.take_console(), "ready\nhello 1\n");
}

#[test]
fn shutdown_ends_the_session() {
    let (sys, text) = typed(None, "Shutdown\nEcho no\n");
    assert!(sys.power.is_some());
    assert_eq!(text, "");
}
