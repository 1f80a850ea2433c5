//! A mounted image, used by the host's programs. Skipped, with a word, where mounting is forbidden.

use rustix::fs::{FallocateFlags, FlockOperation, SeekFrom, XattrFlags, fallocate, fcntl_lock};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A mounted image in a directory of its own.
struct Mounted {
    place: PathBuf,
    child: Child,
}

impl Mounted {
    fn at(&self, name: &str) -> PathBuf {
        self.place.join("dir").join(name)
    }

    /// Unmounts; the program must end well and leave a clean image.
    fn finish(mut self) {
        let dir = self.place.join("dir");
        assert!(Command::new("umount").arg(dir).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        let fsck = Command::new(env!("CARGO_BIN_EXE_fsck-viperfs"))
            .arg(self.place.join("image"))
            .output()
            .unwrap();
        assert!(fsck.status.success(), "{fsck:?}");
    }

    fn run(&self, program: &str, args: &[&str]) {
        let done = Command::new(program)
            .args(args)
            .current_dir(self.at(""))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(done.status.success(), "{program} {args:?}: {done:?}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let dir = self.place.join("dir");
            let _ = Command::new("umount").arg("-l").arg(dir).status();
        }
    }
}

fn mount_image(place: &Path, options: &[&str]) -> Option<Child> {
    if File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .is_err()
    {
        println!("skipped: no /dev/fuse to use");
        return None;
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_mount-viperfs"))
        .args(["--foreground", "--tell"])
        .args(options)
        .args([place.join("image"), place.join("dir")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = child.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    if line == "mounted\n" {
        return Some(child);
    }
    let failed = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(
        text.contains("not permitted") || text.contains("denied"),
        "{text}"
    );
    println!("skipped: {text}");
    None
}

fn mounted(name: &str) -> Option<Mounted> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuse-{name}"));
    // Of an earlier run that failed.
    let _ = Command::new("umount").arg(place.join("dir")).output();
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(place.join("dir")).unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_mkfs-viperfs"))
        .args(["--size", "64M", "--quiet"])
        .arg(place.join("image"))
        .status();
    assert!(made.unwrap().success());
    let child = mount_image(&place, &[])?;
    Some(Mounted { place, child })
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: no {program}");
    }
    found
}

#[test]
fn files_of_all_kinds() {
    let Some(m) = mounted("kinds") else { return };
    fs::write(m.at("a"), "text").unwrap();
    fs::hard_link(m.at("a"), m.at("b")).unwrap();
    symlink("a", m.at("c")).unwrap();
    fs::create_dir(m.at("d")).unwrap();
    fs::set_permissions(m.at("a"), fs::Permissions::from_mode(0o640)).unwrap();
    let meta = fs::metadata(m.at("b")).unwrap();
    assert_eq!(
        (meta.nlink(), meta.mode() & 0o7777, meta.len()),
        (2, 0o640, 4)
    );
    assert_eq!(fs::read_to_string(m.at("c")).unwrap(), "text");
    fs::rename(m.at("b"), m.at("d/b")).unwrap();
    assert!(fs::rename(m.at("d"), m.at("d/e")).is_err());
    let mut names: Vec<_> = fs::read_dir(m.at(""))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["a", "c", "d"]);
    // What is open outlives its name.
    let open = File::options()
        .read(true)
        .write(true)
        .open(m.at("a"))
        .unwrap();
    fs::remove_file(m.at("a")).unwrap();
    fs::remove_file(m.at("d/b")).unwrap();
    open.write_all_at(b"more", 4).unwrap();
    let mut text = [0; 8];
    open.read_exact_at(&mut text, 0).unwrap();
    assert_eq!(&text, b"textmore");
    drop(open);
    let mut log = File::options()
        .append(true)
        .create(true)
        .open(m.at("log"))
        .unwrap();
    log.write_all(b"one ").unwrap();
    File::options()
        .append(true)
        .open(m.at("log"))
        .unwrap()
        .write_all(b"two ")
        .unwrap();
    log.write_all(b"three").unwrap();
    log.sync_all().unwrap();
    drop(log);
    assert_eq!(fs::read_to_string(m.at("log")).unwrap(), "one two three");
    m.finish();
}

#[test]
fn attributes_space_and_holes() {
    let Some(m) = mounted("space") else { return };
    let path = m.at("f");
    let mut options = File::options();
    options.read(true).write(true).create(true);
    let file = options.open(&path).unwrap();
    rustix::fs::setxattr(&path, "user.k", b"value", XattrFlags::CREATE).unwrap();
    let again = rustix::fs::setxattr(&path, "user.k", b"", XattrFlags::CREATE);
    assert_eq!(again, Err(rustix::io::Errno::EXIST));
    let mut value = [0; 100];
    let n = rustix::fs::getxattr(&path, "user.k", &mut value[..]).unwrap();
    assert_eq!(&value[..n], b"value");
    fallocate(&file, FallocateFlags::empty(), 0, 1_000_000).unwrap();
    let meta = file.metadata().unwrap();
    assert_eq!((meta.len(), meta.blocks()), (1_000_000, 245 * 8));
    file.write_all_at(&[7; 100_000], 200_000).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, punch, 0, 204_800).unwrap();
    file.sync_all().unwrap();
    assert_eq!(file.metadata().unwrap().blocks(), 195 * 8);
    let data = rustix::fs::seek(&file, SeekFrom::Data(0)).unwrap();
    let hole = rustix::fs::seek(&file, SeekFrom::Hole(data)).unwrap();
    assert_eq!((data, hole), (204_800, 303_104));
    let mut all = vec![1; 1_000_000];
    file.read_exact_at(&mut all, 0).unwrap();
    assert!(
        all[..204_800]
            .iter()
            .chain(&all[300_000..])
            .all(|&b| b == 0)
    );
    assert!(all[204_800..300_000].iter().all(|&b| b == 7));
    drop(file);
    m.finish();
}

/// The other process of the test below: says whether it got the lock at once.
#[test]
fn lock_from_another_process() {
    let Some(path) = std::env::var_os("VIPERFS_LOCK") else {
        return;
    };
    let file = File::options().write(true).open(path).unwrap();
    let got = fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive);
    println!("locked: {}", got.is_ok());
    fcntl_lock(&file, FlockOperation::LockExclusive).unwrap();
    println!("granted");
}

#[test]
fn locks_of_processes() {
    let Some(m) = mounted("locks") else { return };
    let file = File::create(m.at("f")).unwrap();
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["lock_from_another_process", "--exact", "--nocapture"])
        .env("VIPERFS_LOCK", m.at("f"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(other.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.any(|l| l.contains("locked: ") && l.contains("false")));
    // Now it waits, until the file is closed here.
    drop(file);
    assert!(lines.any(|l| l.contains("granted")));
    assert!(other.wait().unwrap().success());
    m.finish();
}

#[test]
fn programs_of_the_host() {
    let Some(m) = mounted("programs") else { return };
    fs::create_dir_all(m.at("tree/deep")).unwrap();
    fs::write(m.at("tree/deep/file"), vec![3; 100_000]).unwrap();
    fs::hard_link(m.at("tree/deep/file"), m.at("tree/hard")).unwrap();
    symlink("deep/file", m.at("tree/soft")).unwrap();
    rustix::fs::setxattr(m.at("tree/hard"), "user.k", b"v", XattrFlags::empty()).unwrap();
    fs::set_permissions(m.at("tree/deep"), fs::Permissions::from_mode(0o2750)).unwrap();
    m.run("cp", &["-a", "tree", "copy"]);
    m.run("diff", &["-r", "--no-dereference", "tree", "copy"]);
    let (old, new) = (
        fs::metadata(m.at("tree/hard")),
        fs::metadata(m.at("copy/hard")),
    );
    let (old, new) = (old.unwrap(), new.unwrap());
    assert_eq!((new.nlink(), new.mtime_nsec()), (2, old.mtime_nsec()));
    assert_eq!(
        fs::metadata(m.at("copy/deep")).unwrap().mode() & 0o7777,
        0o2750
    );
    assert!(
        fs::symlink_metadata(m.at("copy/soft"))
            .unwrap()
            .is_symlink()
    );
    let mut value = [0; 9];
    assert_eq!(
        rustix::fs::getxattr(m.at("copy/hard"), "user.k", &mut value[..]),
        Ok(1)
    );
    if has("git") {
        m.run("git", &["init", "-q", "tree"]);
        m.run("git", &["-C", "tree", "add", "."]);
        let who = ["-c", "user.name=n", "-c", "user.email=e"];
        m.run(
            "git",
            &[&["-C", "tree"], &who[..], &["commit", "-qm", "m"]].concat(),
        );
        m.run("git", &["clone", "-q", "--no-local", "tree", "clone"]);
        m.run("git", &["-C", "clone", "fsck", "--strict"]);
        m.run(
            "diff",
            &["-r", "--no-dereference", "-x", ".git", "tree", "clone"],
        );
    }
    if has("make") {
        fs::write(m.at("Makefile"), "all: out\nout: in\n\tcat in in > out\n").unwrap();
        fs::write(m.at("in"), "x").unwrap();
        m.run("make", &[]);
        m.run("make", &["-q"]);
        assert_eq!(fs::read_to_string(m.at("out")).unwrap(), "xx");
    }
    m.finish();
}

#[test]
fn images_in_use_are_left_alone() {
    let Some(m) = mounted("busy") else { return };
    fs::write(m.at("f"), "text").unwrap();
    let image = m.place.join("image");
    let image = image.to_str().unwrap();
    for (program, args) in [
        (env!("CARGO_BIN_EXE_mkfs-viperfs"), vec![image]),
        (env!("CARGO_BIN_EXE_fsck-viperfs"), vec!["-y", image]),
        (env!("CARGO_BIN_EXE_viperfs"), vec![image, "rm", "/f"]),
        (env!("CARGO_BIN_EXE_mount-viperfs"), vec![image, "/tmp"]),
    ] {
        let done = Command::new(program).args(args).output().unwrap();
        let text = String::from_utf8(done.stderr).unwrap();
        assert!(
            !done.status.success() && text.lines().count() == 1,
            "{text}"
        );
        assert!(text.contains("in use by another program"), "{text}");
    }
    let place = m.place.clone();
    m.finish();
    let Some(child) = mount_image(&place, &["-o", "ro"]) else {
        return;
    };
    let m = Mounted { place, child };
    assert_eq!(fs::read_to_string(m.at("f")).unwrap(), "text");
    assert!(fs::write(m.at("g"), "no").is_err() && fs::remove_file(m.at("f")).is_err());
    m.finish();
}
