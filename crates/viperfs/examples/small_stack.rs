//! The engine without std on a stack of 32 KiB: how much of it is used, and how much heap.
//!
//! `small_stack` runs every operation on a thread whose stack has 32 KiB, behind which the host
//! keeps a guard page: using more would end the process. What is used is measured by using up the
//! stack before: the same work is run again in processes that first descend by some frames, until
//! one dies, and so is no work at all; the difference is what the work needs. The heap it takes is
//! printed, too. The library itself is `no_std`; only this program needs the host.

use cap::Cap;
use std::alloc::System;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use viperfs::{
    CheckOptions, FormatOptions, Fs, MemoryDevice, MountOptions, Owner, ROOT_INO, RenameMode,
    XattrMode, check, format, repair,
};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Stack that is promised to be enough, in bytes.
const STACK: usize = 32 << 10;
const CACHE_BLOCKS: usize = 160;

fn options() -> MountOptions {
    MountOptions {
        cache_blocks: CACHE_BLOCKS,
        cached_inodes: 32,
        ..MountOptions::default()
    }
}

/// One of everything; the volume is 4 MiB, so that the tree has several levels.
fn work(mut disk: MemoryDevice) {
    let before = ALLOCATOR.allocated();
    let made = format(&mut disk, &FormatOptions::default());
    made.expect("formats");
    let mut fs = Fs::mount(disk, options()).expect("mounts");
    let o = Owner::default();
    let dir = fs.mkdir(ROOT_INO, b"dir", 0o755, o, 1).expect("makes").ino;
    for i in 0..300 {
        let name = format!("file {i}");
        let made = fs.create(dir, name.as_bytes(), 0o644, o, 1);
        let ino = made.expect("creates").ino;
        fs.write(ino, i * 1000, &[7; 5000], 1).expect("writes");
        fs.set_xattr(ino, b"user.k", &[1; 500], XattrMode::Set, 1)
            .expect("sets");
        if i % 3 == 0 {
            fs.allocate(ino, 0, 20_000, true, 1).expect("keeps");
            fs.punch_hole(ino, 100, 9000, 1).expect("punches");
            fs.unlink(dir, name.as_bytes(), 1).expect("unlinks");
        }
    }
    fs.symlink(ROOT_INO, b"link", b"dir/file 1", o, 1)
        .expect("links");
    let ino = fs.walk(ROOT_INO, b"link", true).expect("walks");
    fs.truncate(ino, 100, 1).expect("truncates");
    fs.rename(dir, b"file 1", ROOT_INO, b"moved", RenameMode::Replace, 1)
        .expect("renames");
    fs.fsync(ino).expect("syncs");
    // A power cut, and recovery.
    let disk = fs.abandon();
    let fs = Fs::mount(disk, options()).expect("recovers");
    let disk = fs.unmount().expect("unmounts");
    if std::env::args().len() == 1 {
        let peak = ALLOCATOR.max_allocated() - before;
        println!(
            "heap while mounted, with a cache of {CACHE_BLOCKS} blocks: {} KiB",
            peak >> 10
        );
    }
    let mut disk = disk;
    assert!(check(&mut disk, &CheckOptions::default(), |_| {}).is_clean());
    disk.bytes_mut()[3 * 4096 + 50] ^= 1;
    let done = repair(&mut disk, &CheckOptions::default(), 1, |_| {}).expect("repairs");
    assert!(done.after.is_clean());
}

fn on_stack(bytes: usize, f: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(bytes).spawn(f);
    thread.expect("starts").join().expect("no panic");
}

/// Calls `f` below so many frames of its own.
#[inline(never)]
fn descend(frames: usize, f: &mut dyn FnMut()) {
    let frame = black_box([0_u8; 64]);
    if frames == 0 {
        f();
    } else {
        descend(frames - 1, f);
    }
    black_box(&frame);
}

/// Bytes of one frame of [`descend`], from the addresses of what lies on the stack.
fn frame_size() -> usize {
    let address = |frames| {
        let mut at = 0;
        descend(frames, &mut || {
            let local = black_box(0_u8);
            at = (&raw const local).addr();
        });
        at
    };
    (address(0) - address(16)) / 16
}

/// Whether a process survives the work, or none, that far down.
fn survives(what: &str, frames: usize) -> bool {
    let program = std::env::current_exe().expect("has a path");
    let run = Command::new(program)
        .args([what, &frames.to_string()])
        .output();
    run.expect("runs").status.success()
}

/// The most frames that leave enough of the stack.
fn most_frames(what: &str) -> usize {
    let (mut lives, mut dies) = (0, STACK);
    while dies - lives > 1 {
        let middle = (lives + dies) / 2;
        if survives(what, middle) {
            lives = middle;
        } else {
            dies = middle;
        }
    }
    lives
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, what, frames] = &args[..] {
        let frames = frames.parse().expect("a number");
        let mut disk = (what == "work").then(|| MemoryDevice::new(1024));
        on_stack(STACK, move || {
            descend(frames, &mut || {
                if let Some(disk) = disk.take() {
                    work(disk);
                }
            });
        });
        return ExitCode::SUCCESS;
    }
    let disk = MemoryDevice::new(1024);
    on_stack(STACK, move || work(disk));
    println!("all operations on a stack of {STACK} bytes: done");
    let used = (most_frames("nothing") - most_frames("work")) * frame_size();
    println!("of it, the work uses {used} bytes");
    ExitCode::SUCCESS
}
