//! The language: quoting, expansion, control flow, redirection, pipes.

mod common;

use common::Rig;
use viper_shell::system::Mode;
use viper_shell::{Error, Shell};

#[test]
fn words_and_quotes() {
    let mut rig = Rig::new();
    assert_eq!(
        rig.ok("ECHO a   'b  c' \"d  e\" f\\ g"),
        "a b  c d  e f g\n"
    );
    assert_eq!(
        rig.ok("Echo 'it'\\''s' \"\\\"q\\\" \\$x \\a\""),
        "it's \"q\" $x \\a\n"
    );
    assert_eq!(rig.ok("Echo one # two"), "one\n");
    assert_eq!(rig.ok("Echo a#b"), "a#b\n");
    assert_eq!(rig.ok("Echo a\\\nb"), "ab\n");
    assert_eq!(rig.ok("hello '' x"), " x\n");
    assert_eq!(rig.ok(""), "");
    assert_eq!(rig.ok("\n\n# only a comment\n"), "");
    assert_eq!(rig.ok("Echo é日本"), "é日本\n");
}

#[test]
fn lists() {
    let mut rig = Rig::new();
    assert_eq!(rig.ok("Echo a; Echo b\nEcho c"), "a\nb\nc\n");
    assert_eq!(rig.ok("true && Echo yes || Echo no"), "yes\n");
    assert_eq!(rig.ok("false && Echo yes || Echo no"), "no\n");
    assert_eq!(rig.ok("! false && Echo yes"), "yes\n");
    rig.fails("! true", 5);
    assert_eq!(rig.ok("Echo a &&\nEcho b"), "a\nb\n");
}

#[test]
fn parameters() {
    let mut rig = Rig::new();
    rig.ok("x=5; y='a b'; f=dir/name.tar.gz");
    assert_eq!(
        rig.ok("Echo $x ${x}y $xy. \"$y\" '$x' $ \"$\""),
        "5 5y . a b $x $ $\n"
    );
    assert_eq!(
        rig.ok("Echo ${z:-none} ${x:-none} ${z:+set} ${x:+set} ${#y}"),
        "none 5 set 3\n"
    );
    assert_eq!(rig.ok("Echo ${z:=new} $z"), "new new\n");
    assert_eq!(
        rig.ok("Echo ${f%.*} ${f%%.*} ${f#*/} ${f##*.}"),
        "dir/name.tar dir/name name.tar.gz gz\n"
    );
    assert_eq!(
        rig.fails("Echo ${nope:?not here}", 10),
        "shell: nope: not here\n"
    );
    assert_eq!(rig.ok("Echo ${nope-\"a  b\"}"), "a b\n");
    assert_eq!(rig.ok("Echo \"${nope-a  b}\""), "a  b\n");
    rig.ok("set -u");
    assert_eq!(rig.fails("Echo $nope", 10), "shell: nope is not set\n");
}

#[test]
fn splitting() {
    let mut rig = Rig::new();
    rig.ok("x='a  b c'; empty=''");
    assert_eq!(
        rig.ok("for w in $x; do Echo \"<$w>\"; done"),
        "<a>\n<b>\n<c>\n"
    );
    assert_eq!(
        rig.ok("for w in \"$x\" $empty \"\"; do Echo \"<$w>\"; done"),
        "<a  b c>\n<>\n"
    );
    assert_eq!(
        rig.ok("(IFS=:; p=a:b::c; for w in $p; do Echo \"<$w>\"; done)"),
        "<a>\n<b>\n<>\n<c>\n"
    );
    rig.sys
        .disk
        .add("/s/args", "Echo $#; for a; do Echo \"[$a]\"; done\n");
    assert_eq!(rig.ok("Execute S:args 'x y' z"), "2\n[x y]\n[z]\n");
    rig.sys.disk.add(
        "/s/all",
        "for a in \"$@\"; do Echo \"[$a]\"; done; Echo \"$*\" $0\n",
    );
    assert_eq!(rig.ok("sh S:all 'x y' z"), "[x y]\n[z]\nx y z S:all\n");
    rig.sys.disk.add(
        "/s/split",
        "for a in $@; do Echo \"[$a]\"; done; Echo \"<$@>\"\n",
    );
    assert_eq!(rig.ok("sh S:split 'x y' '' z"), "[x]\n[y]\n[z]\n<x y  z>\n");
}

#[test]
fn substitution_and_arithmetic() {
    let mut rig = Rig::new();
    assert_eq!(rig.ok("Echo [$(Echo a; Echo b)] `Echo c`"), "[a b] c\n");
    assert_eq!(rig.ok("Echo \"$(Echo a; Echo b)\""), "a\nb\n");
    assert_eq!(rig.ok("Echo $(hello from $(Echo inside))"), "from inside\n");
    assert_eq!(
        rig.ok("x=3; Echo $((x * (2 + 1))) $((y = 4)) $y"),
        "9 4 4\n"
    );
    assert_eq!(
        rig.fails("Echo $((1 / 0))", 10),
        "shell: division by zero in `1 / 0`\n"
    );
    assert_eq!(
        rig.ok("x=1; $(x=2); Echo $x; cd C:; y=$(cd S:); pwd"),
        "1\nSYS:c\n"
    );
    assert_eq!(rig.fails("x=$(three)", 3), "");
    assert_eq!(rig.ok("x=$(three); Echo ok"), "ok\n");
}

#[test]
fn file_names() {
    let mut rig = Rig::new();
    rig.ok("MakeDir d; Touch d/a1 d/a2 d/b1 d/.h");
    assert_eq!(
        rig.ok("Echo d/a* d/?1 d/[!a]*"),
        "d/a1 d/a2 d/a1 d/b1 d/b1\n"
    );
    assert_eq!(
        rig.ok("Echo d/#?1 d/none* 'd/*' d/\\*"),
        "d/a1 d/b1 d/none* d/* d/*\n"
    );
    assert_eq!(
        rig.ok("Echo C:h* /c/h* */a1"),
        "C:hello.elf /c/hello.elf d/a1\n"
    );
    assert_eq!(rig.ok("Cd d; Echo *"), "a1 a2 b1\n");
    assert_eq!(rig.ok("p='a*'; Echo $p \"$p\""), "a1 a2 a*\n");
    rig.ok("Delete b?");
    assert!(!rig.sys.disk.exists("/d/b1"));
}

#[test]
fn paths() {
    let mut rig = Rig::new();
    rig.ok("MakeDir a a/b; Echo x > a/f; Cd a/b");
    for path in [
        "../f",
        "/a/f",
        "SYS:a/f",
        "sys:/a/f",
        ":a/f",
        "C:../a/f",
        "/../a/./f",
        "../../a//f",
    ] {
        assert_eq!(rig.ok(&format!("Type {path}")), "x\n", "{path}");
    }
    rig.fails(&format!("Type {}", "x/".repeat(3000)), 10);
}

#[test]
fn conditions_and_loops() {
    let mut rig = Rig::new();
    let script = "for i in 1 2 3 4; do\n if [ $i = 2 ]; then continue; elif [ $i = 4 ]\n then break; \
                  else Echo $i; fi\ndone";
    assert_eq!(rig.ok(script), "1\n3\n");
    assert_eq!(
        rig.ok("i=0; while [ $i -lt 3 ]; do i=$((i+1)); done; Echo $i"),
        "3\n"
    );
    assert_eq!(
        rig.ok("i=0; until [ $i -ge 2 ]; do i=$((i+1)); done; Echo $i"),
        "2\n"
    );
    assert_eq!(
        rig.ok("for a in 1 2; do for b in 1 2; do Echo $a$b; break 2; done; done"),
        "11\n"
    );
    let case = "case $x in a|b) Echo ab;; c*) Echo c;; *) Echo other; esac";
    for (x, expected) in [("a", "ab"), ("b", "ab"), ("cde", "c"), ("zz", "other")] {
        assert_eq!(rig.ok(&format!("x={x}; {case}")), format!("{expected}\n"));
    }
    assert_eq!(rig.ok("case '*' in \\*) Echo star;; esac"), "star\n");
    assert_eq!(rig.ok("if false; then Echo a; fi; Echo $?"), "0\n");
    assert_eq!(rig.ok("{ Echo a; Echo b; } | Count LINES").trim(), "2");
    assert_eq!(
        rig.ok("x=1; (x=2; cd C:; Echo $x); Echo $x; pwd"),
        "2\n1\nSYS:\n"
    );
}

#[test]
fn endless_loops_can_be_interrupted() {
    let mut rig = Rig::new();
    rig.sys.interrupt_in = Some(1000);
    assert_eq!(rig.fails("while true; do true; done", 10), "*** Break\n");
    rig.sys.interrupt_in = Some(1000);
    assert_eq!(rig.fails("while :; do :; done; Echo no", 10), "*** Break\n");
    rig.sys.interrupt_in = Some(100);
    assert_eq!(rig.fails("until false\ndo\ndone", 10), "*** Break\n");
}

#[test]
fn functions() {
    let mut rig = Rig::new();
    rig.ok("greet() { Echo hi $1; return 3; Echo no; }");
    assert_eq!(rig.fails("greet you", 3), "hi you\n");
    assert_eq!(rig.ok("f() Echo single; f"), "single\n");
    assert_eq!(rig.ok("g()\n{\n Echo $#\n}\ng a b"), "2\n");
    assert_eq!(rig.ok("h() { Echo in; } > out; h; Type out"), "in\n");
    let text = rig.fails("r() { r; }; r", 10);
    assert!(text.contains("call each other too deeply"), "{text}");
    rig.ok("Unset greet");
    rig.fails("greet", 10);
}

#[test]
fn what_comes_before_an_error_is_done() {
    let mut rig = Rig::new();
    let text = rig.fails(
        "echo one\nfor x in 2 3; do echo $x; done\necho four; done\necho five",
        10,
    );
    assert!(text.starts_with("one\n2\n3\n"), "{text}");
    assert!(text.contains("line 3") && !text.contains("four"), "{text}");
    let text = rig.fails("echo one; fi", 10);
    assert!(!text.contains("one\n"), "{text}");
    let text = rig.fails("echo one\n{ echo two\necho three", 10);
    assert!(
        text.starts_with("one\n") && !text.contains("two\n"),
        "{text}"
    );
    let text = rig.fails("cat << END\n$((1 + 1))\nEND\necho 'x\n", 10);
    assert!(text.starts_with("2\n"), "{text}");
}

#[test]
fn amiga_if() {
    let mut rig = Rig::new();
    let script = "If EXISTS C:hello.elf\n Echo there\nElse\n Echo gone\nEndIf";
    assert_eq!(rig.ok(script), "there\n");
    assert_eq!(rig.ok("If NOT EXISTS nope; Echo none; EndIf"), "none\n");
    assert_eq!(rig.ok("if not exists nope; echo none; endif"), "none\n");
    assert_eq!(rig.ok("if a eq b\necho a\nelse\necho b\nendif"), "b\n");
    assert_eq!(
        rig.ok("if test a = a; then echo sh; else echo no; fi"),
        "sh\n"
    );
    assert_eq!(
        rig.ok("false; If WARN; Echo warned; EndIf; If ERROR; Echo no; EndIf"),
        "warned\n"
    );
    assert_eq!(rig.ok("If abc EQ ABC; Echo same; EndIf"), "same\n");
    assert_eq!(
        rig.ok("If 10 GT 9 VAL; Echo more; EndIf; If 10 GT 9; Echo no; EndIf"),
        "more\n"
    );
    assert_eq!(
        rig.ok("IF a GE b\nElse\nIf a EQ a\nEcho in\nEndIf\nENDIF"),
        "in\n"
    );
    rig.fails("If a ODD b; EndIf", 10);
    rig.fails("If EXISTS; EndIf", 10);
}

#[test]
fn redirection() {
    let mut rig = Rig::new();
    rig.ok("Echo one > f; Echo two >> f; Echo three >>f");
    assert_eq!(rig.ok("Type < f"), "one\ntwo\nthree\n");
    assert_eq!(rig.ok("> empty; Count BYTES empty").trim(), "0  empty");
    rig.fails("Type nope 2> err", 10);
    assert_eq!(
        rig.ok("Type err"),
        "Type: nope: no such file or directory\n"
    );
    rig.fails(
        "{ Echo a; Type nope; Echo b; } > both 2>&1; Type nope > NIL: 2>&1",
        10,
    );
    assert_eq!(
        rig.ok("Type both"),
        "a\nType: nope: no such file or directory\nb\n"
    );
    assert_eq!(
        rig.ok("hello prog > p; Echo after >> p; Type p"),
        "prog\nafter\n"
    );
    rig.ok("{ Echo a; hello b; Echo c; } > mixed");
    assert_eq!(rig.sys.disk.text("/mixed").unwrap(), "a\nb\nc\n");
    rig.ok("both-p > two 2>&1");
    assert_eq!(rig.sys.disk.text("/two").unwrap(), "out\nerr\n");
    assert_eq!(rig.ok("Echo x > /dev/null; Echo y > NIL:; cat < NIL:"), "");
    assert_eq!(rig.ok("cat-p < f"), "one\ntwo\nthree\n");
    assert_eq!(
        rig.fails("Type < nope", 10),
        "shell: nope: no such file or directory\n"
    );
    assert_eq!(
        rig.fails("Echo x > no/such", 10),
        "shell: no/such: no such file or directory\n"
    );
    rig.sys.fail("write", "/full", Error::NoSpace);
    let text = rig.fails("Echo x > full", 20);
    assert_eq!(
        text,
        "shell: redirected output: no space left on the volume\n"
    );
}

#[test]
fn texts_in_scripts() {
    let mut rig = Rig::new();
    let script = "x=5\ncat <<END; Echo after\na $x \"q\" $(Echo s)\n\\$x\nEND\nEcho end";
    assert_eq!(rig.ok(script), "a 5 \"q\" s\n$x\nafter\nend\n");
    assert_eq!(rig.ok("cat <<'END'\n$x\nEND\n"), "$x\n");
    assert_eq!(rig.ok("cat <<-END\n\t\ttabs\n\tEND\n"), "tabs\n");
    assert_eq!(rig.ok("cat <<A <<B\na\nA\nb\nB\n"), "b\n");
    assert_eq!(rig.ok("upper-p <<< \"some $((1+1))\""), "SOME 2\n");
    assert_eq!(
        rig.ok("f() { cat <<X\n$1\nX\n}\nf one; f two"),
        "one\ntwo\n"
    );
}

#[test]
fn pipes() {
    for pipes in [true, false] {
        let mut rig = Rig::new();
        rig.sys.pipes = pipes;
        let cases = [
            ("Echo hi | cat", "hi\n"),
            ("Echo hi | upper-p", "HI\n"),
            ("hello hi | cat", "hi\n"),
            ("hello hi | upper-p", "HI\n"),
            ("hello hi | upper-p | cat | upper-p | cat", "HI\n"),
            ("Echo hi | cat-p | cat | cat-p | upper-p | cat", "HI\n"),
            ("seq 3 | Sort REVERSE | Head LINES 1", "3\n"),
            ("Echo 'a b' | read x; Echo \"[$x]\"", "[]\n"),
            ("Echo 'a b' | { read x y; Echo $y$x; }", "ba\n"),
            ("hello x | while read l; do Echo \"<$l>\"; done", "<x>\n"),
            ("x=$(hello y | upper-p); Echo $x", "Y\n"),
            ("hello z | cat > f; Type f", "z\n"),
            ("both-p 2>&1 | Sort", "err\nout\n"),
            ("Echo a | (cat; hello b) | upper-p", "A\nB\n"),
        ];
        for (line, expected) in cases {
            assert_eq!(rig.ok(line), expected, "{line}, pipes: {pipes}");
        }
        assert_eq!(rig.fails("Echo a | three", 3), "");
        assert_eq!(rig.ok("three | Echo a"), "a\n");
        let unknown = "nope: unknown command (Help lists the commands)\n";
        assert_eq!(rig.fails("Echo a | nope | cat", 10), unknown);
        rig.fails("hello a | forever-p | cat", 10);
    }
}

#[test]
fn large_pipes_go_through_a_file() {
    for pipes in [true, false] {
        let mut rig = Rig::new();
        rig.sys.pipes = pipes;
        let line = "0123456789abcdef\n";
        rig.sys.disk.add("/big", line.repeat(100_000));
        let count = "1700000";
        assert_eq!(rig.ok("Type big | Count BYTES").trim(), count);
        assert_eq!(rig.ok("Type big | cat | cat | Count BYTES").trim(), count);
        assert_eq!(rig.ok("Type big | cat-p | Count BYTES").trim(), count);
        assert_eq!(
            rig.ok("cat-p < big | upper-p | Tail LINES 1"),
            line.to_uppercase()
        );
        assert_eq!(rig.ok("Type big | Head LINES 1"), line);
        let text = rig.fails("x=$(Type big)", 10);
        assert!(text.contains("at most 1 MiB"), "{text}");
        rig.sys.disk.capacity = 2_000_000;
        let text = rig.fails("set -e; Type big | { cat > NIL:; false; }", 5);
        assert!(text.contains("Type: "), "{text}");
        rig.ok("rm -r T:");
        assert!(rig.fails("Type big | false", 5).contains("at most 1 MiB"));
    }
}

#[test]
fn ctrl_c_ends_all_of_a_pipeline() {
    for pipes in [true, false] {
        let mut rig = Rig::new();
        rig.sys.pipes = pipes;
        assert_eq!(
            rig.fails("forever-p | forever-p | cat; Echo no", 10),
            "*** Break\n"
        );
        assert_eq!(
            rig.fails("cat-p < NIL: | forever-p; Echo no", 10),
            "*** Break\n"
        );
    }
}

#[test]
fn scripts() {
    let mut rig = Rig::new();
    rig.sys
        .disk
        .add("/s/a", "Echo in $1\nx=set\nreturn 5\nEcho no\n");
    assert_eq!(rig.fails("Execute S:a arg", 5), "in arg\n");
    assert_eq!(rig.ok("Echo \"[$x]\""), "[]\n");
    assert_eq!(rig.fails(". S:a dot", 5), "in dot\n");
    assert_eq!(rig.ok("Echo \"[$x]\""), "[set]\n");
    rig.sys.disk.add("/s/exit", "Echo a; exit 4; Echo b");
    assert_eq!(rig.ok("sh S:exit; Echo rc $?"), "a\nrc 4\n");
    rig.sys.disk.add(
        "/s/e",
        "set -e\nif false; then :; fi\nfalse || true\nfalse\nEcho no\n",
    );
    assert_eq!(rig.fails("Execute S:e", 5), "");
    rig.sys.disk.add("/s/loop", "Execute S:loop\n");
    assert!(rig.fails("Execute S:loop", 10).contains("too deeply"));
    rig.sys.disk.add("/s/bad", "Echo a\nif true\nEcho b\n");
    assert_eq!(
        rig.fails("Execute S:bad", 10),
        "a\nS:bad: line 4: then is missing at the end\n"
    );
    rig.sys.disk.add("/s/binary", b"\xff\xfe");
    assert_eq!(
        rig.fails("Execute S:binary", 10),
        "Execute: S:binary: is not a text\n"
    );
    assert_eq!(rig.ok("sh -c 'Echo $0 $1' zero one"), "zero one\n");
    assert_eq!(rig.ok("eval 'Echo a;' Echo b"), "a\nb\n");
}

#[test]
fn mistakes_are_told() {
    let mut rig = Rig::new();
    for (line, expected) in [
        ("Echo 'x", "shell: the closing ' is missing at the end\n"),
        ("Echo )", "shell: ) without its beginning, not `)`\n"),
        ("done", "shell: done without its beginning, not `done`\n"),
        ("EndIf", "shell: EndIf without its beginning, not `EndIf`\n"),
        ("| x", "shell: a command expected, not `| x`\n"),
        ("Echo ${x!}", "shell: this ${...} means nothing, not `}`\n"),
    ] {
        assert_eq!(rig.fails(line, 10), expected, "{line}");
    }
}

#[test]
fn incomplete_lines_are_known() {
    for text in [
        "Echo 'a",
        "if true",
        "Echo a &&",
        "Echo a |",
        "cat <<X\nb\n",
        "f() {",
        "Echo $(",
        "x\\\n",
    ] {
        assert!(Shell::is_incomplete(text), "{text}");
    }
    for text in ["Echo a", "fi", ")", "Echo a;", ""] {
        assert!(!Shell::is_incomplete(text), "{text}");
    }
}

#[test]
fn values_are_bounded() {
    let mut rig = Rig::new();
    let text = rig.fails("x=0123456789; while :; do x=$x$x || exit 9; done", 9);
    assert!(!text.is_empty());
    rig.sys.boot_mode = Mode::Recovery;
}
