//! The programs as users run them: output, exit codes, one line about what is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of its own for each test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("src/c/deep")).unwrap();
        fs::write(path.join("src/hello"), "hello\n").unwrap();
        fs::write(path.join("src/c/deep/large"), vec![5; 3_000_000]).unwrap();
        std::os::unix::fs::symlink("c/deep", path.join("src/link")).unwrap();
        Self(path)
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let program = match program {
            "mkfs" => env!("CARGO_BIN_EXE_mkfs-viperfs"),
            "fsck" => env!("CARGO_BIN_EXE_fsck-viperfs"),
            "mount" => env!("CARGO_BIN_EXE_mount-viperfs"),
            _ => env!("CARGO_BIN_EXE_viperfs"),
        };
        Command::new(program)
            .args(args)
            .current_dir(&self.0)
            .output()
            .unwrap()
    }

    /// Standard output of a run that must succeed.
    fn ok(&self, program: &str, args: &[&str]) -> String {
        let out = self.run(program, args);
        assert!(
            out.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    }

    /// Exit code of a run that must fail with one line.
    fn fails(&self, program: &str, args: &[&str]) -> i32 {
        let out = self.run(program, args);
        let text = String::from_utf8(out.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
        out.status.code().unwrap()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap()
    }
}

const SAME: [&str; 4] = [
    "--uuid",
    "00112233-4455-6677-8899-aabbccddeeff",
    "--time",
    "1700000000",
];

#[test]
fn same_input_makes_same_bytes() {
    let p = Place::new("same");
    for image in ["a", "b"] {
        let args = [
            &[image, "--size", "16M", "-L", "sys", "-d", "src"][..],
            &SAME,
        ]
        .concat();
        p.ok("mkfs", &args);
    }
    assert!(p.read("a") == p.read("b"));
    assert!(
        p.ok("viperfs", &["a", "df"])
            .contains("label sys\nuuid 00112233445566778899aabb")
    );
}

#[test]
fn files_go_in_and_come_out() {
    let p = Place::new("files");
    p.ok("mkfs", &["i", "--size", "16M", "--populate", "src"]);
    assert_eq!(p.ok("viperfs", &["i", "ls"]), "c/\nhello\nlink\n");
    assert_eq!(p.ok("viperfs", &["i", "cat", "/hello"]), "hello\n");
    p.ok("viperfs", &["i", "mkdir", "-p", "/x/y"]);
    p.ok("viperfs", &["i", "cp", "/link/large", "/x/y"]);
    p.ok("viperfs", &["i", "put", "src/c", "/x/z"]);
    p.ok("viperfs", &["i", "get", "/x", "out"]);
    let large = p.read("src/c/deep/large");
    assert!(p.read("out/y/large") == large && p.read("out/z/deep/large") == large);
    let sum = |path: &str| p.ok("viperfs", &["i", "hash", path])[..64].to_string();
    assert_eq!(sum("/x/y/large"), sum("/link/large"));
    p.ok("viperfs", &["i", "rm", "-r", "/x"]);
    assert_eq!(p.ok("viperfs", &["i", "ls", "/"]), "c/\nhello\nlink\n");
    assert!(
        p.ok("viperfs", &["i", "stat", "/hello"])
            .contains("size 6\n")
    );
    assert!(p.ok("viperfs", &["i", "dump"]).contains("/c/deep/large"));
    assert_eq!(p.ok("fsck", &["i"]), "");
}

#[test]
fn fsck_finds_and_repairs() {
    let p = Place::new("fsck");
    p.ok("mkfs", &["i", "--size", "16M", "--populate", "src"]);
    let before = p.ok("viperfs", &["i", "hash"]);
    let mut image = p.read("i");
    image[3 * 4096 + 100] ^= 1;
    image[4096 + 100] ^= 1;
    fs::write(p.0.join("i"), &image).unwrap();
    for dry in [&["i"][..], &["-n", "i"], &["--dry-run", "i"]] {
        assert_eq!(p.run("fsck", dry).status.code(), Some(4));
    }
    assert!(p.read("i") == image, "a dry run writes nothing");
    assert_eq!(p.run("fsck", &["-y", "i"]).status.code(), Some(1));
    assert_eq!(p.run("fsck", &["-y", "i"]).status.code(), Some(0));
    assert_eq!(p.ok("viperfs", &["i", "hash"]), before);
}

#[test]
fn bad_input_is_told_in_one_line_and_touches_nothing() {
    let p = Place::new("bad");
    fs::write(p.0.join("text"), "this is no image").unwrap();
    p.ok("mkfs", &["i", "--size", "1M"]);
    let image = p.read("i");
    assert_eq!(p.fails("mkfs", &["new", "--size", "17T"]), 1);
    assert_eq!(p.fails("mkfs", &["new", "--size", "4K"]), 1);
    assert_eq!(p.fails("mkfs", &["new"]), 1);
    assert_eq!(p.fails("mkfs", &["i", "--populate", "nowhere"]), 1);
    assert_eq!(p.fails("mkfs", &["i", "--size", "many"]), 1);
    assert_eq!(p.fails("mkfs", &["i", "--label", &"x".repeat(65)]), 1);
    assert!(!p.0.join("new").exists());
    assert_eq!(p.fails("fsck", &["text"]), 8);
    assert_eq!(p.fails("fsck", &["-y", "text"]), 8);
    assert_eq!(p.fails("fsck", &["nowhere"]), 8);
    assert_eq!(p.fails("fsck", &[]), 16);
    assert_eq!(p.fails("viperfs", &["text", "ls"]), 1);
    assert_eq!(p.fails("viperfs", &["i", "cat", "/none"]), 1);
    assert_eq!(p.fails("viperfs", &["i", "frob"]), 2);
    assert_eq!(p.fails("viperfs", &["i", "ls", "/none"]), 1);
    assert_eq!(p.fails("viperfs", &["i", "get", "/none", "out"]), 1);
    assert_eq!(p.fails("viperfs", &["i", "stat", "/none"]), 1);
    assert_eq!(p.fails("viperfs", &["i", "hash", "/none"]), 1);
    assert_eq!(p.fails("viperfs", &["text", "dump"]), 1);
    assert_eq!(p.fails("viperfs", &["text", "put", "src/hello", "/x"]), 1);
    assert_eq!(p.fails("viperfs", &["text", "tune", "-L", "x"]), 1);
    assert_eq!(p.fails("viperfs", &["i", "tune", "--uuid", "123"]), 2);
    assert_eq!(p.fails("viperfs", &["install-links", "nowhere"]), 1);
    assert_eq!(p.fails("viperfs", &["install-links"]), 2);
    assert_eq!(p.fails("mount", &["text", "src"]), 32);
    assert_eq!(p.fails("mount", &["i", "nowhere"]), 32);
    assert_eq!(p.fails("mount", &["i", "text"]), 32);
    assert_eq!(p.fails("mount", &["i", "src", "-o", "frob"]), 32);
    assert_eq!(p.fails("mount", &["i"]), 1);
    assert!(p.read("i") == image && p.read("text") == b"this is no image");
    // What needs a mount for writing may tidy the journal, but changes no file.
    assert_eq!(p.fails("viperfs", &["i", "put", "nowhere", "/x"]), 1);
    assert_eq!(
        p.fails("viperfs", &["i", "put", "src/c/deep/large", "/large"]),
        1
    );
    assert_eq!(p.ok("viperfs", &["i", "ls"]), "");
    assert_eq!(p.ok("fsck", &["i"]), "");
}

#[test]
fn labels_and_identities() {
    let p = Place::new("tune");
    p.ok(
        "mkfs",
        &[&["i", "--size", "1M", "-L", "old"], &SAME[..]].concat(),
    );
    p.ok("viperfs", &["i", "tune", "-L", "new", "--upgrade"]);
    assert!(
        p.ok("viperfs", &["i", "df"])
            .starts_with("label new\nuuid 00112233")
    );
    let uuid = "ffffffff-4455-6677-8899-aabbccddeeff";
    p.ok("viperfs", &["i", "tune", "--uuid", uuid]);
    assert!(
        p.ok("viperfs", &["i", "df"])
            .starts_with("label new\nuuid ffffffff4455")
    );
    p.ok("fsck", &["i"]);
    let before = p.read("i");
    assert_eq!(p.fails("viperfs", &["i", "tune", "-L", &"x".repeat(65)]), 1);
    p.ok("viperfs", &["i", "tune", "--uuid", "random"]);
    assert!(before != p.read("i"));
}

#[test]
fn links_give_the_usual_names() {
    let p = Place::new("links");
    fs::create_dir(p.0.join("sbin")).unwrap();
    // Twice: links are replaced.
    p.ok("viperfs", &["install-links", "sbin"]);
    p.ok("viperfs", &["install-links", "sbin"]);
    let run = |name: &str, args: &[&str]| {
        let program = p.0.join("sbin").join(name);
        Command::new(program)
            .args(args)
            .current_dir(&p.0)
            .output()
            .unwrap()
            .status
    };
    assert!(run("mkfs.viperfs", &["i", "--size", "1M"]).success());
    assert!(run("fsck.viperfs", &["i"]).success());
    assert_eq!(run("mount.viperfs", &["i", "nowhere"]).code(), Some(32));
    fs::write(p.0.join("sbin/mkfs.viperfs.real"), "x").unwrap();
    fs::remove_file(p.0.join("sbin/mkfs.viperfs")).unwrap();
    fs::write(p.0.join("sbin/mkfs.viperfs"), "a program of somebody's").unwrap();
    assert_eq!(p.fails("viperfs", &["install-links", "sbin"]), 1);
}
