//! Every command against the fake system.

mod common;

use common::Rig;
use viper_shell::Error;
use viper_shell::system::{Mode, Power, TraceRecord};

#[test]
fn help_knows_every_command() {
    let mut rig = Rig::new();
    let page = rig.ok("help");
    for name in ["Dir", "Copy", "Servers", "Why", "Shutdown", "test"] {
        assert!(page.contains(name), "{name}");
    }
    let copy = rig.ok("Help Copy");
    assert!(copy.starts_with("Copy: copies files\nUsage: Copy from... [TO] to"));
    assert_eq!(rig.ok("? cp"), copy);
    assert_eq!(rig.ok("copy ?"), copy);
    assert!(rig.ok("Help shell").contains("Return codes"));
    assert!(rig.ok("Help ALL").lines().all(|line| line.len() <= 100));
    assert_eq!(
        rig.fails("Help nope", 10),
        "Help: nope: no such command (Help lists them)\n"
    );
}

#[test]
fn every_command_refuses_nonsense_with_a_usage_line() {
    let mut rig = Rig::new();
    let lines = [
        "Dir -Z",
        "List -Z",
        "Cd a b",
        "Cwd x",
        "MakeDir",
        "Info x",
        "Copy",
        "Copy a",
        "Rename",
        "Rename a",
        "Rename a b c d",
        "Move a",
        "Delete",
        "RmDir",
        "Touch",
        "Protect",
        "Owner",
        "Mount D1",
        "Mount a b c d",
        "Mount READONLY",
        "Mount D1 x QUOTA y",
        "Unmount",
        "Unmount a b",
        "MakeLink a",
        "ln a",
        "Truncate a",
        "Truncate a b",
        "Sync x",
        "Type -Z",
        "Head -n",
        "Head LINES x",
        "Tail -n x",
        "Count -Z",
        "Search",
        "Sort -Z",
        "Assign bad",
        "Assign bad:x",
        "Assign : /c",
        "RealPath",
        "Which",
        "Run",
        "Status x",
        "Jobs x",
        "Kill",
        "Wait x",
        "Wait 1 2 3",
        "Servers a b c",
        "Servers fsd explode",
        "Caps a b",
        "Caps x",
        "Avail x",
        "Uptime x",
        "Date x",
        "Version x",
        "Sleep",
        "Sleep x",
        "Sleep .",
        "Shutdown x",
        "Reboot x",
        "Cls x",
        "Why x",
        "History x",
        "Unalias",
        "Alias x= ",
        "EndShell x",
        "Set -Z",
        "Unset",
        "env x",
        "Execute",
        ".",
        "shift x",
        "break x",
        "return x",
        "test a b c d",
        "printf",
        "basename",
        "dirname",
        "seq",
        "seq x",
    ];
    for line in lines {
        let (code, text) = rig.run(line);
        assert!(code == 10 || code == 20, "{line}: {code} {text}");
        assert!(
            text.starts_with("Usage: ") || text.contains(": "),
            "{line}: {text}"
        );
        assert_eq!(text.lines().count(), 1, "{line}: {text}");
    }
    assert_eq!(
        rig.fails("copy", 10)
            .lines()
            .next()
            .unwrap()
            .split(' ')
            .next(),
        Some("Usage:")
    );
}

#[test]
fn dir_lists_names() {
    let mut rig = Rig::new();
    rig.sys.disk.add("/b.txt", "x");
    rig.sys.disk.add("/A.txt", "x");
    rig.sys.disk.add("/.hidden", "x");
    assert_eq!(rig.ok("Dir"), "c/\nl/\ns/\nt/\nA.txt\nb.txt\n");
    assert_eq!(rig.ok("ls FILES"), "A.txt\nb.txt\n");
    assert_eq!(rig.ok("dir dirs"), "c/\nl/\ns/\nt/\n");
    assert!(rig.ok("ls -a").contains(".hidden"));
    assert_eq!(rig.ok("Dir b.txt"), "b.txt\n");
    rig.sys.width = Some(20);
    assert_eq!(rig.ok("Dir"), "c/     t/\nl/     A.txt\ns/     b.txt\n");
    assert_eq!(rig.ok("ls -1 FILES"), "A.txt\nb.txt\n");
    assert_eq!(
        rig.fails("Dir nope", 10),
        "Dir: nope: no such file or directory\n"
    );
    assert_eq!(
        rig.fails("Dir FSD:", 10),
        "Dir: FSD:: FSD: is a service, not a directory\n"
    );
    assert_eq!(rig.fails("Dir X:", 10), "Dir: X:: there is no assign X:\n");
}

#[test]
fn dir_goes_down() {
    let mut rig = Rig::new();
    rig.ok("MakeDir w w/x w/x/y; Touch w/1 w/x/2");
    let all = "SYS:w:\nx/\n1\n\nSYS:w/x:\ny/\n2\n\nSYS:w/x/y:\n";
    assert_eq!(rig.ok("Dir w ALL"), all);
}

#[test]
fn list_shows_sizes_and_dates() {
    let mut rig = Rig::new();
    rig.ok("MakeDir w w/d; Echo 12345 NOLINE > w/file; ln -s file w/link");
    let page = rig.ok("List w");
    let lines: Vec<&str> = page.lines().collect();
    assert_eq!(
        lines[0],
        format!("{:24} {:>12} rwed 22-Nov-2026 04:24:10", "d", "<dir>")
    );
    assert_eq!(
        lines[1],
        format!("{:24} {:>12} rw-d 22-Nov-2026 04:24:10", "file", 5)
    );
    assert!(lines[2].ends_with("-> file"), "{page}");
    assert_eq!(lines[3], "2 files, 1 directory, 5 bytes");
    assert_eq!(rig.ok("ls -l w"), page);
}

#[test]
fn large_directories_come_in_pieces() {
    let mut rig = Rig::new();
    rig.sys.disk.batch = 500;
    rig.ok("MakeDir big");
    for i in 0..5000 {
        rig.sys.disk.add(&format!("/big/{i}"), "");
    }
    assert_eq!(rig.ok("Dir big").lines().count(), 5000);
}

#[test]
fn cd_and_prompt() {
    let mut rig = Rig::new();
    assert_eq!(rig.shell.prompt(false), "SYS:> ");
    rig.ok("MakeDir a a/b; Cd a/b");
    assert_eq!(rig.shell.prompt(false), "SYS:a/b> ");
    assert_eq!(rig.shell.prompt(true), "\x1b[33mSYS:a/b>\x1b[0m ");
    assert_eq!(rig.ok("pwd"), "SYS:a/b\n");
    rig.ok("cd ..");
    assert_eq!(rig.ok("Cd"), "SYS:a\n");
    rig.ok("cd -");
    assert_eq!(rig.ok("Cwd"), "SYS:a/b\n");
    rig.ok("cd C:");
    assert_eq!(rig.shell.current_dir(), "/c");
    rig.ok("CD SYS:");
    rig.ok("Touch f");
    assert_eq!(rig.fails("Cd f", 10), "Cd: f: not a directory\n");
    assert_eq!(
        rig.fails("Cd nope", 10),
        "Cd: nope: no such file or directory\n"
    );
}

#[test]
fn make_dir() {
    let mut rig = Rig::new();
    rig.ok("mkdir one");
    assert_eq!(
        rig.fails("MakeDir one two", 10),
        "MakeDir: one: already exists\n"
    );
    assert!(rig.sys.disk.exists("/two"));
    rig.ok("mkdir -p x/y/z; mkdir -p x/y/z");
    assert!(rig.sys.disk.exists("/x/y/z"));
    rig.fails("mkdir no/where", 10);
}

#[test]
fn copy_a_file() {
    let mut rig = Rig::new();
    let bytes: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
    rig.sys.disk.add("/big", &bytes);
    assert_eq!(rig.ok("Copy big TO copy"), "200,000 bytes copied\n");
    assert_eq!(rig.sys.disk.bytes("/copy").unwrap(), bytes);
    assert_eq!(rig.ok("cp big T:"), "200,000 bytes copied\n");
    assert_eq!(rig.sys.disk.bytes("/t/big").unwrap(), bytes);
    assert_eq!(rig.ok("Copy big other QUIET"), "");
    assert_eq!(
        rig.fails("Copy big big", 10),
        "Copy: big: is the same file as big\n"
    );
    assert_eq!(
        rig.fails("Copy nope x", 10),
        "Copy: nope: no such file or directory\n"
    );
    let text = rig.fails("Copy C: x", 10);
    assert_eq!(
        text,
        "Copy: C:: is a directory (ALL copies it with everything in it)\n"
    );
    assert_eq!(
        rig.ok("Copy C:hello.elf big NEW"),
        "0 files, 0 bytes copied, 1 left alone\n"
    );
    rig.ok("Copy C:hello.elf prog");
    assert_eq!(rig.ok("SYS:prog runs"), "runs\n");
}

#[test]
fn copy_several_and_trees() {
    let mut rig = Rig::new();
    rig.ok("MakeDir d d/e; Echo 1 >d/1; Echo 22 >d/e/2; ln -s 1 d/l; Echo x >x");
    assert_eq!(rig.fails("Copy x d/1 nowhere", 10).lines().count(), 1);
    assert_eq!(rig.ok("Copy x d/1 T:"), "2 files, 4 bytes copied\n");
    assert_eq!(rig.ok("cp -r d copy"), "3 files, 5 bytes copied\n");
    assert_eq!(rig.sys.disk.text("/copy/e/2").unwrap(), "22\n");
    assert_eq!(rig.ok("Type copy/l"), "1\n");
    rig.ok("Copy d copy ALL");
    assert!(rig.sys.disk.exists("/copy/d/e/2"));
    assert_eq!(
        rig.fails("cp -r d d/e", 10),
        "Copy: SYS:d: cannot be copied into itself\n"
    );
    let (code, text) = rig.run("Copy nope x T:");
    assert_eq!(code, 10);
    assert_eq!(
        text,
        "Copy: nope: no such file or directory\n1 file, 2 bytes copied\n"
    );
}

#[test]
fn a_failed_copy_leaves_nothing() {
    let mut rig = Rig::new();
    rig.sys.disk.add("/big", vec![7; 300_000]);
    rig.sys.fail("write", "/out", Error::Io);
    let text = rig.fails("Copy big out", 20);
    let expected =
        "Copy: out: device error; stopped after 0 bytes; the incomplete out was deleted\n";
    assert_eq!(text, expected);
    assert!(!rig.sys.disk.exists("/out"));
    rig.sys.disk.capacity = 400_000;
    let text = rig.fails("Copy big out", 10);
    assert!(
        text.starts_with("Copy: out: no space left on the volume; stopped after"),
        "{text}"
    );
    assert!(!rig.sys.disk.exists("/out"));
    rig.sys.fail("sync", "/out", Error::Io);
    rig.sys.disk.capacity = 1 << 20;
    let text = rig.fails("Copy big out", 20);
    assert!(text.contains("device error"), "{text}");
    assert!(!rig.sys.disk.exists("/out"));
}

#[test]
fn a_copy_outlives_the_file_server() {
    let mut rig = Rig::new();
    rig.sys.disk.add("/big", vec![7; 300_000]);
    rig.sys.fail("sync", "/out", Error::ServerDied);
    rig.ok("Copy big out");
    assert_eq!(rig.sys.disk.bytes("/out").map(<[u8]>::len), Some(300_000));
}

#[test]
fn ctrl_c_stops_a_copy() {
    let mut rig = Rig::new();
    rig.sys.disk.add("/big", vec![7; 1_000_000]);
    rig.sys.interrupt_in = Some(5);
    let text = rig.fails("Copy big out; Echo not reached", 10);
    let mut lines = text.lines();
    let first = lines.next().unwrap();
    assert!(first.starts_with("Copy: stopped after"), "{text}");
    assert!(
        first.ends_with("bytes; the incomplete out was deleted"),
        "{text}"
    );
    assert_eq!(lines.next(), Some("*** Break"));
    assert_eq!(lines.next(), None);
    assert!(!rig.sys.disk.exists("/out"));
}

#[test]
fn rename_and_move() {
    let mut rig = Rig::new();
    rig.ok("Echo a >a; Echo b >b; MakeDir d");
    rig.ok("Rename a AS a2");
    assert_eq!(
        rig.fails("Rename a2 b", 10),
        "Rename: SYS:b: already exists\n"
    );
    rig.ok("Rename a2 d");
    assert!(rig.sys.disk.exists("/d/a2"));
    rig.ok("mv d/a2 b");
    assert_eq!(rig.sys.disk.text("/b").unwrap(), "a\n");
    rig.ok("Touch x y; Move x y TO d");
    assert!(rig.sys.disk.exists("/d/x") && rig.sys.disk.exists("/d/y"));
    assert_eq!(
        rig.fails("Rename d d/e", 10),
        "Rename: d: cannot be moved into itself\n"
    );
    assert_eq!(
        rig.fails("mv nope z", 10),
        "Move: nope: no such file or directory\n"
    );
    rig.sys.fail("rename", "/d", Error::CrossDevice);
    rig.ok("mv d far");
    assert!(rig.sys.disk.exists("/far/x") && !rig.sys.disk.exists("/d"));
}

#[test]
fn delete() {
    let mut rig = Rig::new();
    rig.ok("Touch a b; MakeDir d d/e; Touch d/1 d/e/2; ln -s /c d/link");
    assert_eq!(rig.ok("Delete a"), "");
    assert_eq!(
        rig.fails("Delete a", 10),
        "Delete: a: no such file or directory\n"
    );
    rig.ok("rm -f a");
    let text = rig.fails("Delete d", 10);
    assert_eq!(
        text,
        "Delete: d: directory is not empty (ALL deletes it with everything in it)\n"
    );
    assert_eq!(rig.ok("Delete d ALL"), "5 entries deleted\n");
    assert!(!rig.sys.disk.exists("/d") && rig.sys.disk.exists("/c/hello.elf"));
    assert_eq!(
        rig.fails("rm -rf /", 10),
        "Delete: /: the root cannot be deleted\n"
    );
    rig.ok("MakeDir e; RmDir e");
    rig.sys.disk.read_only = true;
    assert_eq!(
        rig.fails("Delete b", 10),
        "Delete: b: volume is read-only\n"
    );
}

#[test]
fn delete_large_trees() {
    let mut rig = Rig::new();
    rig.ok("MakeDir d");
    for i in 0..100 {
        rig.sys.disk.add(&format!("/d/{i}"), "");
    }
    assert_eq!(rig.ok("rm -r d"), "101 entries deleted\n");
}

#[test]
fn volumes_are_mounted_shown_and_unmounted() {
    let mut rig = Rig::new();
    rig.ok("MakeDir w");
    assert_eq!(rig.fails("Mount D9 w", 10), "Mount: there is no disk D9\n");
    rig.ok("Mount D1 ON w READONLY QUOTA=16M FILES 5");
    let page = rig.ok("Mount");
    assert!(page.contains("D1      SYS:w  Work    read-only"), "{page}");
    let page = rig.ok("Info ALL");
    assert!(page.contains("1 MiB   512 KiB  512 KiB   50%  read-only") || page.contains("50%"));
    assert!(page.contains("16 MiB"), "{page}");
    rig.sys.mounted[0].open_files = 2;
    assert_eq!(
        rig.fails("Unmount w", 10),
        "Unmount: w is in use: 2 files are open there\n"
    );
    rig.sys.mounted[0].open_files = 0;
    rig.ok("Cd w");
    let said = rig.fails("Unmount SYS:w", 10);
    assert!(said.contains("the current directory is there"), "{said}");
    rig.ok("Cd /");
    rig.ok("Unmount w");
    assert_eq!(
        rig.fails("Unmount w", 10),
        "Unmount: w: nothing is mounted there\n"
    );
}

#[test]
fn owners_and_flags_are_shown_and_set() {
    let mut rig = Rig::new();
    rig.ok("Touch f g");
    rig.ok("Owner f g 7:8");
    rig.ok("chown 9 g");
    assert_eq!(rig.ok("Owner f"), "rw-d r-- r--  0644       7:8  f\n");
    rig.ok("Protect f go-r");
    rig.ok("Protect f u+e");
    assert_eq!(
        rig.ok("Protect f g"),
        "rwed --- ---  0700       7:8  f\nrw-d r-- r--  0644       9:8  g\n"
    );
    rig.ok("Protect f g=rx; Protect f o+w; chmod 4755 g");
    assert_eq!(
        rig.ok("Protect f g"),
        "rwed r-e -w-  0752       7:8  f\nrwed r-e r-e  4755       9:8  g\n"
    );
    rig.ok("Protect f -w");
    assert!(rig.ok("List f OWNERS").contains(" r-e- r-e ---       7:8 "));
    assert_eq!(
        rig.fails("Owner nope", 10),
        "Owner: nope: no such file or directory\n"
    );
}

#[test]
fn touch_protect_links() {
    let mut rig = Rig::new();
    rig.ok("Touch f");
    rig.sys.wall_clock_ns = Some(0);
    rig.ok("Touch f C:");
    assert!(rig.ok("List f").contains("01-Jan-1970"));
    rig.ok("Protect f -w");
    assert!(rig.ok("List f").contains(" r--- "));
    rig.ok("chmod 755 f");
    assert!(rig.ok("List f").contains(" rwed "));
    rig.ok("Protect f r");
    assert_eq!(rig.fails("Echo x > f", 10), "shell: f: permission denied\n");
    rig.ok("MakeLink lnk TO C:hello.elf");
    assert_eq!(rig.ok("lnk works"), "works\n");
    rig.ok("ln f hard; MakeLink hard2 f HARD; Truncate f 3");
    assert_eq!(
        rig.ok("Type -x hard2"),
        "00000000  00 00 00                                          ...\n"
    );
    rig.ok("Sync");
}

#[test]
fn type_files() {
    let mut rig = Rig::new();
    rig.ok("Echo one > a; Echo two > b");
    assert_eq!(rig.ok("Type a b"), "one\ntwo\n");
    assert_eq!(rig.ok("cat -n a b"), "     1  one\n     2  two\n");
    let hex = "00000000  6f 6e 65 0a                                       one.\n";
    assert_eq!(rig.ok("Type a HEX"), hex);
    assert_eq!(rig.fails("Type C:", 10), "Type: C:: is a directory\n");
    assert_eq!(
        rig.fails("Type nope a", 10),
        "Type: nope: no such file or directory\none\n"
    );
    rig.sys.input.extend(b"typed\n");
    assert_eq!(rig.ok("cat"), "typed\n");
    rig.sys.fail("read", "/a", Error::Corrupt);
    assert_eq!(
        rig.fails("Type a", 20),
        "Type: a: data on the disk is damaged\n"
    );
}

#[test]
fn text_tools() {
    let mut rig = Rig::new();
    let lines: String = (1..=30).map(|i| format!("line {i}\n")).collect();
    rig.sys.disk.add("/f", &lines);
    assert_eq!(rig.ok("Head f").lines().count(), 10);
    assert_eq!(rig.ok("head -2 f"), "line 1\nline 2\n");
    assert_eq!(
        rig.ok("Head LINES=1 f f"),
        "==> f <==\nline 1\n==> f <==\nline 1\n"
    );
    assert_eq!(rig.ok("tail -n 2 f"), "line 29\nline 30\n");
    assert_eq!(rig.ok("Tail f LINES 0"), "");
    assert_eq!(
        rig.ok("Count f"),
        format!("{:>8}{:>8}{:>8}  f\n", 30, 60, lines.len())
    );
    assert_eq!(rig.ok("Type f | wc -l").trim(), "30");
    assert_eq!(rig.ok("Search 'LINE 3' f"), "line 3\nline 30\n");
    assert_eq!(rig.ok("grep -n 'line 30' f"), "30:line 30\n");
    assert_eq!(rig.ok("Search 3 f COUNT"), "4\n");
    assert_eq!(rig.ok("Search line f C:hello.elf NAMES"), "f\n");
    assert_eq!(rig.fails("Search LINE f CASE", 5), "");
    assert_eq!(rig.ok("grep -v 'line' C:hello.elf"), "#!fake args\n");
    assert!(
        rig.ok("Search fake C: ALL")
            .contains("C:hello.elf:#!fake args")
    );
    rig.sys.disk.add("/s", "b\na\n10\n9\na");
    assert_eq!(rig.ok("Sort s"), "10\n9\na\na\nb\n");
    assert_eq!(rig.ok("sort -u -r s"), "b\na\n9\n10\n");
    assert_eq!(rig.ok("Sort NUMERIC s"), "a\na\nb\n9\n10\n");
    rig.sys.disk.add("/long", vec![b'x'; (1 << 20) + 10]);
    assert_eq!(
        rig.fails("Search x long", 10),
        "Search: long: a line is longer than 1 MiB\n"
    );
}

#[test]
fn assigns() {
    let mut rig = Rig::new();
    let page = rig.ok("Assign");
    assert!(page.contains("  C:           SYS:c  [system]\n"), "{page}");
    assert!(
        page.contains("Services:\n  FSD:         [service]  [system]\n"),
        "{page}"
    );
    rig.ok("MakeDir w1 w2; Echo 1 >w1/f; Echo 2 >w2/g; Assign W: w1; Assign w: SYS:w2 ADD");
    assert_eq!(rig.ok("Assign W: EXISTS"), "W:           SYS:w1 + SYS:w2\n");
    assert_eq!(rig.ok("Type W:f W:g"), "1\n2\n");
    assert_eq!(rig.ok("RealPath W:x"), "/w1/x\n/w2/x\n");
    rig.ok("Echo new > W:h");
    assert!(rig.sys.disk.exists("/w1/h"));
    rig.ok("Assign W: w1 REMOVE");
    assert_eq!(
        rig.fails("Type W:f", 10),
        "Type: W:f: no such file or directory\n"
    );
    rig.ok("Assign W: REMOVE");
    assert_eq!(
        rig.fails("Assign W: EXISTS", 5),
        "Assign: there is no assign W:\n"
    );
    assert_eq!(
        rig.fails("Assign C: w1", 10),
        "Assign: C:: permission denied\n"
    );
    assert_eq!(
        rig.fails("Assign W: nope", 10),
        "Assign: nope: no such file or directory\n"
    );
}

#[test]
fn path_and_which() {
    let mut rig = Rig::new();
    assert_eq!(rig.ok("Path"), "C:\n");
    rig.ok("MakeDir bin; Copy C:hello.elf bin/mine QUIET; Path bin");
    assert_eq!(rig.ok("mine here"), "here\n");
    assert_eq!(rig.ok("Path SHOW"), "C:\nbin\n");
    rig.ok("Path bin REMOVE");
    rig.fails("mine", 10);
    assert_eq!(
        rig.ok("Which ls hello"),
        "Dir is a command of the shell\nSYS:c/hello.elf\n"
    );
    assert_eq!(rig.fails("Which nope", 5), "Which: nope means nothing\n");
    rig.ok("Path bin ADD; Path RESET");
    assert_eq!(rig.ok("Path"), "C:\n");
}

#[test]
fn programs() {
    let mut rig = Rig::new();
    assert_eq!(rig.ok("hello 'two words' x"), "two words x\n");
    assert_eq!(rig.ok("Run HELLO there"), "there\n");
    assert_eq!(rig.ok("C:hello.elf path"), "path\n");
    assert_eq!(rig.fails("three", 3), "");
    assert_eq!(
        rig.ok("Why"),
        "three ended with return code 3 and gave no reason.\n"
    );
    let fault = rig.fails("fault-p", 20);
    assert_eq!(fault, "fault-p: read of address 0x0 at 0x80000010\n");
    rig.sys.disk.add("/c/bad", "\x7fELF");
    assert_eq!(rig.fails("bad", 10), "bad: not a program, or damaged\n");
    assert_eq!(rig.fails("Run nope", 10), "Run: nope: no such program\n");
    assert_eq!(
        rig.fails("nope", 10),
        "nope: unknown command (Help lists the commands)\n"
    );
    rig.ok("Cd C:");
    assert_eq!(rig.ok("cwd-p"), "/c\n");
    rig.ok("Set A 1; B=2; export C=3");
    assert_eq!(rig.ok("D=4 env-p"), "A=1\nC=3\nD=4\n");
    assert_eq!(rig.ok("Echo $A$B$C$D"), "123\n");
}

#[test]
fn ctrl_c_ends_a_program() {
    let mut rig = Rig::new();
    let text = rig.fails("forever-p; Echo no", 10);
    assert_eq!(text, "*** Break\n");
    assert_eq!(rig.sys.killed.len(), 1);
    assert_eq!(
        rig.ok("Why"),
        "shell ended with return code 10 (ERROR): interrupted with Ctrl-C.\n"
    );
}

#[test]
fn background() {
    let mut rig = Rig::new();
    let out = rig.shell.run(&mut rig.sys, "hello in back &");
    assert_eq!(out.code, 0);
    assert!(rig.sys.take_console().starts_with("[1] "));
    rig.shell.run(&mut rig.sys, "Jobs");
    assert!(rig.sys.take_console().ends_with("hello\n"));
    assert_eq!(rig.ok("Wait"), "in back\n");
    rig.shell.run(&mut rig.sys, "Run three &");
    rig.sys.take_console();
    assert_eq!(rig.run("wait %1").0, 3);
    rig.shell.run(&mut rig.sys, "forever-p &");
    rig.shell.run(&mut rig.sys, "Kill $!");
    rig.sys.take_console();
    rig.shell.report_jobs(&mut rig.sys);
    assert_eq!(rig.sys.take_console(), "[1] forever-p killed\n");
    assert!(rig.fails("Echo x &", 10).contains("only programs"));
    assert_eq!(rig.fails("kill 99", 10), "Kill: there is no process 99\n");
    assert_eq!(rig.fails("kill %9", 10), "Kill: there is no job %9\n");
}

#[test]
fn tables() {
    let mut rig = Rig::new();
    let page = rig.ok("ps aux");
    assert!(page.contains("vinit"));
    let columns: Vec<usize> = page
        .lines()
        .map(|line| line.find("1.2 ms").unwrap_or(0))
        .collect();
    assert!(
        columns[1..].windows(2).all(|pair| pair[0] == pair[1]),
        "{page}"
    );
    let page = rig.ok("Servers");
    assert!(
        page.contains("blkd    BLKD:      3  ready         0  00:00:05"),
        "{page}"
    );
    assert!(!rig.ok("Servers fsd").contains("blkd"));
    assert_eq!(rig.ok("Servers FSD restart"), "FSD: restarted\n");
    assert_eq!(rig.ok("Servers blkd KILL"), "blkd: killed\n");
    assert!(rig.ok("Servers blkd status").contains("waiting to restart"));
    assert_eq!(
        rig.fails("Servers nope", 10),
        "Servers: there is no server nope\n"
    );
    assert_eq!(
        rig.fails("Servers nope kill", 10),
        "Servers: there is no server nope\n"
    );
    let page = rig.ok("Caps 3");
    assert!(
        page.ends_with("1    2  channel  send    NAMES:\n1 capability\n"),
        "{page}"
    );
    rig.ok("Caps");
    assert_eq!(rig.fails("Caps 99", 10), "Caps: there is no process 99\n");
    assert!(
        rig.ok("Info")
            .contains("D0      System  SYS:  fake    64 MiB")
    );
    assert!(
        rig.ok("free")
            .contains("Free            104,857,600  100 MiB")
    );
}

#[test]
fn clock_and_version() {
    let mut rig = Rig::new();
    assert!(rig.ok("Uptime").starts_with("Up 1 day 01:01:01"));
    let all = rig.ok("Uptime ALL");
    let lines: Vec<_> = all.lines().map(|line| line.rsplit_once(' ')).collect();
    let first = lines
        .iter()
        .flatten()
        .find(|(name, _)| name.starts_with("First program"));
    assert_eq!(first.map(|(_, ns)| *ns), Some("250"), "{all}");
    assert_eq!(rig.ok("Date"), "Sunday 22-Nov-2026 04:24:10 UTC\n");
    assert_eq!(rig.ok("date '+%F %T %j%%'"), "2026-11-22 04:24:10 %j%\n");
    rig.sys.wall_clock_ns = None;
    assert_eq!(
        rig.fails("Date", 10),
        "Date: this system has no clock that knows the date\n"
    );
    assert_eq!(rig.ok("Version"), "ViperOS 0.1.0 MICROKERNEL\n");
    rig.sys.boot_mode = Mode::Recovery;
    assert!(
        rig.ok("uname -a")
            .starts_with("ViperOS 0.1.0 RECOVERY\nMachine  fake, 4 cores\n")
    );
    let before = rig.sys.uptime_ns;
    rig.ok("Sleep 1.25");
    assert_eq!(rig.sys.uptime_ns - before, 1_250_000_000);
    rig.ok("Wait 2 MINS");
    assert_eq!(rig.sys.uptime_ns - before, 121_250_000_000);
    rig.sys.interrupt_in = Some(2);
    assert_eq!(rig.fails("Sleep 5; Echo no", 10), "*** Break\n");
}

#[test]
fn trace() {
    let mut rig = Rig::new();
    rig.fails("Trace", 5);
    let record = |time_ns, process: &str, event: &str| TraceRecord {
        time_ns,
        request: 7,
        process: process.into(),
        event: event.into(),
    };
    let start = rig.sys.uptime_ns + 10_000;
    rig.sys.traces = vec![
        record(1, "old", "x"),
        record(start, "shell", "call read"),
        record(start + 2_500, "fsd", "recv"),
    ];
    let page = rig.ok("Trace Echo hi");
    assert!(page.starts_with("hi\n"), "{page}");
    assert!(
        page.contains("2.5 us  2.5 us        7  fsd      recv\n"),
        "{page}"
    );
    assert!(!page.contains("old"));
    assert!(rig.ok("Trace").contains("old"));
    assert_eq!(rig.fails("Trace three", 3).lines().count(), 3);
    rig.fails("Trace nope", 10);
}

#[test]
fn ends() {
    let mut rig = Rig::new();
    let outcome = rig.shell.run(&mut rig.sys, "false; EndShell; Echo no");
    assert_eq!((outcome.code, outcome.ended), (5, true));
    assert_eq!(rig.sys.take_console(), "");
    let mut rig = Rig::new();
    assert_eq!(rig.shell.run(&mut rig.sys, "exit 7").code, 7);
    let mut rig = Rig::new();
    rig.sys.disk.add("/s/bye", "Shutdown\nEcho no\n");
    let outcome = rig.shell.run(&mut rig.sys, "Execute S:bye; Echo no");
    assert!(outcome.ended);
    assert_eq!(rig.sys.power, Some(Power::Shutdown));
    assert_eq!(rig.sys.take_console(), "");
    let mut rig = Rig::new();
    rig.sys.fail("sync_all", "/", Error::NoServer);
    rig.shell.run(&mut rig.sys, "Reboot");
    assert_eq!(rig.sys.power, Some(Power::Reboot));
}

#[test]
fn why_history_alias() {
    let mut rig = Rig::new();
    assert_eq!(rig.ok("Why"), "Nothing has gone wrong so far.\n");
    rig.fails("Type nope", 10);
    let why = "Type ended with return code 10 (ERROR): nope: no such file or directory.\n";
    assert_eq!(rig.ok("Why"), why);
    assert_eq!(rig.ok("Echo $RC; false; Echo $? $RC"), "0\n5 5\n");
    rig.ok("Alias hi Echo hi [] there; alias ll2='List SYS:'");
    assert_eq!(rig.ok("HI you"), "hi you there\n");
    assert!(rig.ok("Alias").contains("ll2          List SYS:"));
    rig.ok("Alias Echo Echo loud");
    assert_eq!(rig.ok("Echo 'a  b'"), "loud a  b\n");
    rig.ok("Unalias echo hi");
    assert_eq!(
        rig.fails("hi", 10),
        "hi: unknown command (Help lists the commands)\n"
    );
    assert_eq!(rig.fails("Unalias hi", 10), "Unalias: hi: no such alias\n");
    assert_eq!(rig.ok("History"), "");
    assert_eq!(rig.ok("Cls"), "");
    rig.sys.width = Some(80);
    assert_eq!(rig.ok("Cls"), "\x1b[H\x1b[2J");
}

#[test]
fn echo_and_variables() {
    let mut rig = Rig::new();
    assert_eq!(rig.ok("Echo a  b NOLINE"), "a b");
    assert_eq!(rig.ok("echo -n x"), "x");
    assert_eq!(rig.ok("echo -e 'a\\tb'"), "a\tb\n");
    rig.ok("Set NAME some value");
    assert_eq!(rig.ok("Set NAME"), "some value\n");
    assert!(rig.ok("Set").contains("NAME=some value\n"));
    assert_eq!(rig.ok("env"), "NAME=some value\n");
    rig.ok("Unset NAME");
    assert_eq!(rig.fails("Set NAME", 10), "Set: NAME is not set\n");
    assert_eq!(
        rig.fails("Set 1x y", 10),
        "Set: `1x` is no name for a variable\n"
    );
    assert_eq!(rig.ok("Set -- a b; Echo $# $2; shift; Echo $1"), "2 b\nb\n");
}

#[test]
fn posix_helpers() {
    let mut rig = Rig::new();
    rig.ok("test a = a && [ 2 -gt 1 ] && test -f C:hello.elf && [ ! -d nope ]");
    rig.ok("[ -z '' -a -n x ] && [ a = b -o c = c ]");
    rig.fails("[ a = b ]", 5);
    rig.fails("[ a -lt b ]", 10);
    assert_eq!(
        rig.ok("printf '%-4s|%04d|%x\\n' ab 42 255 c 1 2"),
        "ab  |0042|ff\nc   |0001|2\n"
    );
    assert_eq!(
        rig.ok("basename C:a/b.txt .txt; dirname C:a/b; dirname x; dirname C:x"),
        "b\nC:a\n.\nC:\n"
    );
    assert_eq!(rig.ok("seq 2 4"), "2\n3\n4\n");
    rig.sys.input.extend(b"first second third\n");
    assert_eq!(rig.ok("read a b; Echo $b $a"), "second third first\n");
    rig.fails("read x", 5);
}
