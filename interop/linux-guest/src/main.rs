//! See the README.
#![no_std]
#![no_main]

mod sys;

use core::fmt::Write;
use sys::{Console, Result};

const CHUNK: usize = 64 << 10;
const PAGE: usize = 4 << 10;

static mut BUFFER: [u8; CHUNK] = [0; CHUNK];

/// # Safety
/// The kernel's entry into this program: once, with an aligned stack.
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    // SAFETY: the only thread, and this runs once.
    let buffer = unsafe { &mut *core::ptr::addr_of_mut!(BUFFER) };
    let _ = sys::mount(c"none", c"/dev", c"devtmpfs");
    let mut console = Console::open();
    if let Err(code) = run(&mut console, buffer) {
        let _ = writeln!(console, "WALL-FAILED {code}");
    }
    sys::power_off()
}

fn run(console: &mut Console, buffer: &mut [u8; CHUNK]) -> Result<()> {
    // Names with a line end each; it becomes the end of the string.
    let list = read_small(c"/modules", buffer)?;
    for name in list
        .split_mut(|byte| *byte == b'\n')
        .filter(|name| !name.is_empty())
    {
        let mut path = [0; 64];
        path[..name.len()].copy_from_slice(name);
        sys::load_module(text(&path))?;
    }
    let port = read_small(c"/port", buffer)?;
    let port = port
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    sys::mount(c"/dev/vda", c"/mnt", c"ext4")?;
    let mut time = |name: &str, work: &mut dyn FnMut() -> Result<()>| -> Result<()> {
        let before = sys::now_ns();
        work()?;
        let spent = sys::now_ns() - before;
        let _ = writeln!(console, "WALL {name} {spent}");
        Ok(())
    };
    time("cold-read-8m", &mut || read_file(buffer))?;
    time("write-64m-fsync", &mut || write_file(buffer))?;
    time("small-files-10000", &mut || small_files(buffer))?;
    if sys::network_up().is_ok() {
        let socket = sys::connect(sys::HOST, port)?;
        time("tcp-send-64m", &mut || send(socket, buffer))?;
        time("tcp-receive-64m", &mut || receive(socket, buffer))?;
    }
    Ok(())
}

fn read_small<'a>(path: &core::ffi::CStr, to: &'a mut [u8]) -> Result<&'a mut [u8]> {
    let file = sys::open(path, sys::READ)?;
    let len = sys::read(file, to)?;
    sys::close(file)?;
    Ok(&mut to[..len])
}

fn read_file(buffer: &mut [u8; CHUNK]) -> Result<()> {
    let file = sys::open(c"/mnt/big", sys::READ)?;
    let mut total = 0;
    loop {
        match sys::read(file, &mut buffer[..PAGE])? {
            0 => break,
            count => total += count,
        }
    }
    sys::close(file)?;
    if total == 8 << 20 { Ok(()) } else { Err(-5) }
}

fn write_file(buffer: &mut [u8; CHUNK]) -> Result<()> {
    buffer.fill(0x5a);
    let file = sys::open(c"/mnt/out", sys::WRITE | sys::CREATE)?;
    for _ in 0..(64 << 20) / CHUNK {
        sys::write_all(file, buffer)?;
    }
    sys::fsync(file)?;
    sys::close(file)
}

/// A hundred directories with a hundred files of 1 KiB each, then everything to the disk.
fn small_files(buffer: &mut [u8; CHUNK]) -> Result<()> {
    sys::make_dir(c"/mnt/many")?;
    let mut path = *b"/mnt/many/d00/f00\0";
    for dir in 0..100_u8 {
        digits(&mut path[11..13], dir);
        path[13] = 0;
        sys::make_dir(text(&path))?;
        path[13] = b'/';
        for file in 0..100_u8 {
            digits(&mut path[15..17], file);
            let file = sys::open(text(&path), sys::WRITE | sys::CREATE)?;
            sys::write_all(file, &buffer[..1024])?;
            sys::close(file)?;
        }
    }
    sys::sync();
    Ok(())
}

fn digits(to: &mut [u8], number: u8) {
    to[0] = b'0' + number / 10;
    to[1] = b'0' + number % 10;
}

fn text(path: &[u8]) -> &core::ffi::CStr {
    core::ffi::CStr::from_bytes_until_nul(path).unwrap_or(c"/")
}

fn send(socket: i32, buffer: &mut [u8; CHUNK]) -> Result<()> {
    for _ in 0..(64 << 20) / CHUNK {
        sys::write_all(socket, buffer)?;
    }
    // The host answers with a byte when it has everything.
    sys::read_exact(socket, &mut buffer[..1])
}

fn receive(socket: i32, buffer: &mut [u8; CHUNK]) -> Result<()> {
    for _ in 0..(64 << 20) / CHUNK {
        sys::read_exact(socket, &mut buffer[..])?;
    }
    Ok(())
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::power_off()
}
